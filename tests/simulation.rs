//! Each run is a function of its seed; what must hold is checked in every one of them.

use std::collections::{HashMap, HashSet};

use gatedrun::event::{Decision, Event, Record, Totals};
use gatedrun::evidence::recorder::project;
use gatedrun::ledger::{Answer, Past};
use gatedrun::run::Course;
use serde_json::{Value, json};

use crate::support::{Folder, run};

const RUNS: u64 = 10_000;

#[test]
fn ten_thousand_random_runs_hold_the_invariants() {
    let folder = Folder::project();
    let mut task: Value = serde_json::from_slice(&folder.read("tasks/canonical/v1.json")).unwrap();
    task["id"] = "test/random".into();
    task["llm"] = json!({"random": {"max_calls_per_step": 3}});
    task["faults"] = json!([
        {"tool": "summarize", "mode": "fail_then_succeed", "failures": 2},
    ]);
    task.as_object_mut().unwrap().remove("expected");
    folder.write("tasks/test/random.json", task.to_string());
    // Half of the runs go on after a denial, so that they get further.
    let policy = String::from_utf8(folder.read("policy/v1.yaml")).unwrap();
    folder.write("policy/v2.yaml", policy.replace("on_deny: terminate", "on_deny: continue"));
    task["id"] = "test/lenient".into();
    task["policy"] = "policy/v2.yaml".into();
    folder.write("tasks/test/lenient.json", task.to_string());
    let library = folder.library();
    let mut inputs = [
        library.load("tasks/test/random.json", None).unwrap(),
        library.load("tasks/test/lenient.json", None).unwrap(),
    ];
    let (mut executed, mut ends) = (0_u64, HashMap::new());
    for seed in 0..RUNS {
        let inputs = &mut inputs[usize::from(seed % 2 == 1)];
        inputs.task.seed = seed;
        let work = folder.path().join("work");
        let (recorded, records) = run(inputs, &work);
        executed += check(&records);
        let end = recorded.summary.finished.as_ref().unwrap().terminal_reason.as_str();
        *ends.entry(end).or_insert(0_u64) += 1;
        // The same seed gives the same bytes, and so does the ledger alone.
        let _ = std::fs::remove_dir_all(&work);
        let (again, _) = run(inputs, &work);
        let _ = std::fs::remove_dir_all(&work);
        let projected = project(recorded.state.as_slice(), Vec::new(), Vec::new()).unwrap();
        // Over its own record the loop computes the same, and touches nothing on the way.
        let past = Past::whole(recorded.state.as_slice(), |_| Answer::Stop);
        let replayed = gatedrun::run::run(
            inputs,
            work.clone(),
            Course::from(past),
            Vec::new(),
            Vec::new(),
            |_| {},
        )
        .unwrap_or_else(|error| panic!("seed {seed} replayed: {error}"));
        assert!(!work.exists(), "seed {seed}: replaying wrote something");
        let others = [("executed again", again), ("projected", projected), ("replayed", replayed)];
        for (how, other) in others {
            assert_eq!(other.state, recorded.state, "seed {seed} {how}");
            assert_eq!(other.trace, recorded.trace, "seed {seed} {how}");
            assert_eq!(other.report, recorded.report, "seed {seed} {how}");
            assert_eq!(other.manifest, recorded.manifest, "seed {seed} {how}");
        }
        let all = String::from_utf8_lossy(&recorded.state).into_owned();
        assert!(!all.contains(folder.path().as_str()) && !all.contains("root:x:"), "seed {seed}");
    }
    assert!(executed > RUNS * 5, "{executed} executions are too few to show anything");
    assert!(ends.len() >= 3, "{ends:?}");
}

/// Checks one run; how many tools it executed.
fn check(records: &[Record]) -> u64 {
    let mut allowed: HashSet<&str> = HashSet::new();
    let mut denied: HashSet<&str> = HashSet::new();
    let (mut executed, mut finished) = (0, 0);
    let mut totals = Totals::default();
    for record in records {
        match &record.event {
            Event::GateDecided(gate) => {
                if let Some(call_id) = gate.call_id.as_deref() {
                    let set =
                        if gate.decision == Decision::Allow { &mut allowed } else { &mut denied };
                    assert!(set.insert(call_id), "{call_id} was decided twice");
                    assert_eq!(gate.rule_id.is_some(), gate.decision == Decision::Deny);
                }
            }
            Event::ToolStarted(started) => {
                assert!(
                    allowed.remove(started.call_id.as_str()),
                    "a call ran without an allow, or twice"
                );
                executed += 1;
            }
            Event::ToolAttempted(attempted) => {
                assert!(!denied.contains(attempted.call_id.as_str()))
            }
            Event::ToolFinished(done) => {
                assert!(!denied.contains(done.call_id.as_str()), "a denied call has a result");
                assert_eq!(done.ok, done.result.is_some());
                assert_ne!(done.ok, done.error.is_some());
            }
            Event::StepFinished(step) => {
                totals = step.totals;
                assert!(
                    totals.steps <= 10 && totals.usage.total() <= 50_000,
                    "a budget was exceeded"
                );
            }
            Event::RunFinished(run) => {
                finished += 1;
                assert_eq!(run.totals, totals);
                assert!(run.answer.is_none());
            }
            _ => {}
        }
    }
    assert_eq!(finished, 1);
    assert!(matches!(records.last().unwrap().event, Event::RunFinished(_)));
    assert!(allowed.is_empty(), "an allowed call was not run");
    executed
}
