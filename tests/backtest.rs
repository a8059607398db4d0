//! Another policy on recorded runs: what the back-test says changes is what changes when the same
//! task is executed under that policy.

use std::collections::{BTreeMap, BTreeSet};

use gatedrun::event::{Event, Record, Ruling};
use gatedrun::inputs::Inputs;
use gatedrun::replay::backtest::{Standing, backtest};
use gatedrun::replay::decisions::Change;
use serde_json::{Value, json};

use crate::support::{Folder, run};

/// What a decision is about, and what was decided before and under the other policy: how often.
type Changes = BTreeMap<(String, Option<String>, Option<String>), usize>;

/// The decisions of a run, by what they are about.
fn decisions(records: &[Record]) -> BTreeMap<String, Vec<String>> {
    let (mut decisions, mut step): (BTreeMap<String, Vec<String>>, u64) = Default::default();
    for record in records {
        step = record.step.unwrap_or(step);
        if let Event::GateDecided(gate) = &record.event {
            let word = gate.ruling().to_string();
            let about = match &gate.call_id {
                Some(call_id) => call_id.clone(),
                None => format!("step {} {word}", record.step.unwrap_or(step + 1)),
            };
            decisions.entry(about).or_default().push(word);
        }
    }
    decisions
}

/// What differs between two executions, found without anything of the product's comparison.
fn executed(before: &[Record], after: &[Record]) -> Changes {
    // A rule that ended the run before a step lets it go on where that step has begun.
    let begun = after.iter().filter_map(|record| record.step).max().unwrap_or(0);
    let lifted = |about: &str| {
        let step =
            about.strip_prefix("step ").and_then(|about| about.strip_suffix(" deny:loop_budget"));
        step.is_some_and(|step| step.parse::<u64>().unwrap() <= begun)
    };
    let (before, after) = (decisions(before), decisions(after));
    let abouts: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut changes = Changes::new();
    for about in abouts {
        let none = Vec::new();
        let (was, now) = (before.get(about).unwrap_or(&none), after.get(about).unwrap_or(&none));
        for index in 0..was.len().max(now.len()) {
            let (was, now) = (was.get(index).cloned(), now.get(index).cloned());
            let now = now.or_else(|| lifted(about).then(|| "allow".to_owned()));
            if was != now {
                *changes.entry((about.clone(), was, now)).or_default() += 1;
            }
        }
    }
    changes
}

/// What a back-test says, in the same words.
fn told(changes: &[Change]) -> Changes {
    let about = |change: &Change| {
        let word = change.was.or(change.now).map_or_else(String::new, |word| word.to_string());
        change.call_id.clone().unwrap_or_else(|| format!("step {} {word}", change.step))
    };
    let mut told = Changes::new();
    for change in changes {
        let text = |word: Option<Ruling>| word.map(|word| word.to_string());
        let change = (about(change), text(change.was), text(change.now));
        *told.entry(change).or_default() += 1;
    }
    told
}

fn random_task(folder: &Folder, policy: &str) -> Inputs {
    let mut task: Value = serde_json::from_slice(&folder.read("tasks/canonical/v1.json")).unwrap();
    let id = format!("test/{}", policy.replace(['/', '.'], "_"));
    task["id"] = id.clone().into();
    task["policy"] = policy.into();
    task["llm"] = json!({"random": {"max_calls_per_step": 3}});
    task["faults"] = json!([{"tool": "summarize", "mode": "fail_then_succeed", "failures": 2}]);
    task.as_object_mut().unwrap().remove("expected");
    folder.write(&format!("tasks/{id}.json"), task.to_string());
    folder.library().load(&format!("tasks/{id}.json"), None).unwrap()
}

#[test]
fn a_thousand_random_runs_change_as_they_do_when_executed() {
    let folder = Folder::lenient_project();
    let text = String::from_utf8(folder.read("policy/v1.yaml")).unwrap();
    let lenient = text.replace("on_deny: terminate", "on_deny: continue");
    folder.write("policy/lenient.yaml", &lenient);
    // (name, what it is, the lenient one or not)
    let others: [(&str, String); 8] = [
        ("no_fetch", text.replace("[search, fetch, read", "[search, read")),
        ("no_fetch_lenient", lenient.replace("[search, fetch, read", "[search, read")),
        ("repeats", lenient.replace("max_repeats: 3", "max_repeats: 1")),
        (
            "iterations",
            lenient.replace("max_iterations: 10", "max_iterations: 4\n  warn_at_percent: 50"),
        ),
        ("calls", text.replace("max_tokens: 50000", "max_tokens: 50000\n  max_tool_calls: 5")),
        ("retries", lenient.replace("max_retries: 3", "max_retries: 1")),
        ("results", lenient.replace("max_bytes: 65536", "max_bytes: 1024")),
        ("longer", lenient.replace("max_iterations: 10", "max_iterations: 14")),
    ];
    for (name, text) in &others {
        folder.write(&format!("policy/{name}.yaml"), text);
    }
    let library = folder.library();
    let mut bases =
        [random_task(&folder, "policy/v1.yaml"), random_task(&folder, "policy/lenient.yaml")];
    let (mut changed, mut bounded, mut exact, mut continued) = (0, 0, 0, 0);
    for seed in 0..1_000_usize {
        let base = &mut bases[seed % 2];
        let name = others[(seed / 2) % others.len()].0;
        base.task.seed = seed as u64;
        let fresh = |part: &str| {
            let path = folder.path().join(part);
            let _ = std::fs::remove_dir_all(&path);
            path
        };
        let (recorded, before) = run(base, &fresh("work"));
        folder.write("run/state.jsonl", &recorded.state);
        let old = library.replace_policy(base, &format!("policy/{name}.yaml")).unwrap();
        let run_folder = folder.path().join("run");
        let tested = backtest(&run_folder, base, &old, Some(fresh("continued"))).unwrap();
        let _ = fresh("continued");
        let still = backtest(&run_folder, base, &old, None).unwrap();
        let (_, after) = run(base, &fresh("work"));
        library.replace_policy(base, ["policy/v1.yaml", "policy/lenient.yaml"][seed % 2]).unwrap();
        let due = executed(&before, &after);
        assert_eq!(told(&tested.changes), due, "seed {seed} under {name}: {tested:#?}");
        // Without a folder to go on in, nothing is executed, and no change is told that is none; a
        // recorded decision of which none is told is unknown.
        let known = told(&still.changes);
        let is_subset = known.iter().all(|(change, times)| due.get(change) >= Some(times));
        assert!(!still.continued && is_subset, "seed {seed} under {name}: {still:#?}");
        assert!(!folder.path().join("continued").exists());
        assert_eq!((still.standing, still.from_step), (tested.standing, tested.from_step));
        let unknown = told(&still.unknown);
        let is_open = |about: &str| unknown.keys().any(|open| open.0 == about);
        for (about, was, now) in due.keys() {
            let change = (about.clone(), was.clone(), now.clone());
            assert!(
                known.contains_key(&change) || is_open(about) || was.is_none(),
                "seed {seed} under {name}: {change:?} of {still:#?}"
            );
        }
        let recorded = before.iter().filter(|r| matches!(r.event, Event::GateDecided(_))).count();
        assert_eq!(tested.decisions, recorded as u64, "seed {seed} under {name}");
        // A result that is cut otherwise may change what follows, and then may not.
        if due.is_empty() && !matches!(name, "results" | "retries") {
            assert_eq!(tested.standing, Standing::Exact, "seed {seed} under {name}: {tested:#?}");
        }
        changed += usize::from(!due.is_empty());
        continued += usize::from(tested.continued);
        match tested.standing {
            Standing::Exact => exact += 1,
            Standing::Bounded(_) => bounded += 1,
        }
    }
    assert!(changed > 200, "{changed} runs changed");
    assert!(bounded > 100 && exact > 100 && continued > 100, "{bounded} {exact} {continued}");
}

/// A task with this script under this policy, recorded in `run/`.
fn recorded(folder: &Folder, script: Value, policy: &str) -> Inputs {
    let mut task: Value = serde_json::from_slice(&folder.read("tasks/canonical/v1.json")).unwrap();
    task["id"] = "test/script".into();
    task["policy"] = policy.into();
    task["llm"] = json!({"script": script});
    task.as_object_mut().unwrap().remove("expected");
    folder.write("tasks/test/script.json", task.to_string());
    let inputs = folder.library().load("tasks/test/script.json", None).unwrap();
    let (made, _) = run(&inputs, &folder.path().join("work"));
    folder.write("run/state.jsonl", made.state);
    std::fs::remove_dir_all(folder.path().join("work")).unwrap_or_default();
    inputs
}

/// A warning just before the change is one warning, also where the run is continued from there.
#[test]
fn a_warning_before_the_change_is_told_once() {
    let folder = Folder::lenient_project();
    let call = json!({"calls": [{"tool": "search", "arguments": {"query": "relay"}}]});
    let mut script = vec![call; 6];
    script.push(json!({"final_answer": "done"}));
    // The recorded run ends before its third step; the other policy lets it take that one, with a warning.
    let text = String::from_utf8(folder.read("policy/v1.yaml")).unwrap();
    let text = text.replace("max_repeats: 3", "max_repeats: 9");
    let limited = |to: &str| text.replace("  max_iterations: 10\n", to);
    folder.write("policy/short.yaml", limited("  max_iterations: 2\n"));
    for iterations in 3..=5 {
        let mut base = recorded(&folder, json!(script), "policy/short.yaml");
        let other = format!("  max_iterations: {iterations}\n  warn_at_percent: 60\n");
        folder.write("policy/other.yaml", limited(&other));
        let (_, before) = run(&base, &folder.path().join("work"));
        let old = folder.library().replace_policy(&mut base, "policy/other.yaml").unwrap();
        let scratch = Some(folder.path().join("continued"));
        let tested = backtest(&folder.path().join("run"), &base, &old, scratch).unwrap();
        for part in ["work", "continued"] {
            let _ = std::fs::remove_dir_all(folder.path().join(part));
        }
        let (_, after) = run(&base, &folder.path().join("work"));
        let _ = std::fs::remove_dir_all(folder.path().join("work"));
        assert_eq!(told(&tested.changes), executed(&before, &after), "{iterations}: {tested:#?}");
        assert!(tested.changes.iter().any(|change| change.was.is_none()), "{tested:#?}");
    }
}

/// Where the task was edited since, its LLM says nothing about the recorded run.
#[test]
fn a_run_is_not_continued_with_another_task() {
    let folder = Folder::lenient_project();
    let call =
        json!({"calls": [{"tool": "fetch", "arguments": {"url": "https://other.example/"}}]});
    let script = json!([call, {"final_answer": "done"}]);
    recorded(&folder, script, "policy/v1.yaml");
    let text = String::from_utf8(folder.read("policy/v1.yaml")).unwrap();
    let host = "    - host: fixtures.local";
    folder.write(
        "policy/other.yaml",
        text.replace(host, &format!("    - host: other.example\n{host}")),
    );
    let mut task: Value = serde_json::from_slice(&folder.read("tasks/test/script.json")).unwrap();
    let library = folder.library();
    let tested = |task: &Value, policy: &str| {
        folder.write("tasks/test/script.json", task.to_string());
        let mut inputs = library.load("tasks/test/script.json", None).unwrap();
        let old = library.replace_policy(&mut inputs, policy).unwrap();
        let scratch = folder.path().join("continued");
        let _ = std::fs::remove_dir_all(&scratch);
        backtest(&folder.path().join("run"), &inputs, &old, Some(scratch)).unwrap()
    };
    let same = tested(&task, "policy/other.yaml");
    assert!(same.continued && same.unknown.is_empty(), "{same:#?}");
    task["llm"] = json!({"script": [{"final_answer": "x"}]});
    let other = tested(&task, "policy/other.yaml");
    assert!(!other.continued, "{other:#?}");
    assert!(other.changes.iter().all(|change| change.now.is_some()), "{other:#?}");
}

/// What was never recorded, and is not continued, is unknown to programs too.
#[test]
fn what_cannot_be_continued_is_counted_as_unknown() {
    let folder = Folder::lenient_project();
    let call = json!({"calls": [{"tool": "search", "arguments": {"query": "relay"}}]});
    let mut base = recorded(&folder, json!(vec![call; 5]), "policy/v1.yaml");
    let text = String::from_utf8(folder.read("policy/v1.yaml")).unwrap();
    folder.write("policy/other.yaml", text.replace("max_repeats: 3", "max_repeats: 20"));
    let old = folder.library().replace_policy(&mut base, "policy/other.yaml").unwrap();
    let run = folder.path().join("run");
    let tested = backtest(&run, &base, &old, Some(folder.path().join("continued"))).unwrap();
    assert!(matches!(tested.standing, Standing::Bounded(_)), "{tested:#?}");
    assert_eq!(tested.unknown.len(), 1, "{tested:#?}");
    assert!(tested.unknown[0].was.is_none() && tested.unknown[0].step == 5, "{tested:#?}");
}

#[test]
fn what_was_written_before_the_change_is_there_after_it() {
    let folder = Folder::lenient_project();
    let text = String::from_utf8(folder.read("policy/v1.yaml")).unwrap();
    let lenient = text.replace("on_deny: terminate", "on_deny: continue");
    folder.write("policy/lenient.yaml", &lenient);
    folder.write("policy/next.yaml", lenient.replace("denied: []", "denied: [summarize]"));
    let script = json!([
        {"calls": [{"tool": "write", "arguments": {"path": "work/a.md", "content": "https://elsewhere.example/"}}]},
        {"calls": [{"tool": "summarize", "arguments": {"text": "One sentence."}}]},
        {"calls": [{"tool": "read", "arguments": {"path": "work/a.md"}}]},
        {"calls": [{"tool": "fetch", "arguments": {"url": {"$result": {"step": 3, "call": 1, "pointer": "/text"}}}}]},
        {"final_answer": "done"}
    ]);
    let mut inputs = recorded(&folder, script, "policy/lenient.yaml");
    let before = folder.library().replace_policy(&mut inputs, "policy/next.yaml").unwrap();
    let work = folder.path().join("continued");
    let tested = backtest(&folder.path().join("run"), &inputs, &before, Some(work)).unwrap();
    assert!(tested.continued && tested.notes.is_empty(), "{tested:#?}");
    assert_eq!(tested.standing, Standing::Bounded(2));
    assert_eq!(tested.changes.len(), 1, "the URL read back is denied as before: {tested:#?}");
}

#[test]
fn a_result_that_was_cut_otherwise_bounds_what_is_known() {
    let folder = Folder::lenient_project();
    let text = String::from_utf8(folder.read("policy/v1.yaml")).unwrap();
    folder.write("policy/small.yaml", text.replace("max_bytes: 65536", "max_bytes: 1024"));
    let script = json!([
        {"calls": [{"tool": "search", "arguments": {"query": "relay cabinet"}}]},
        {"calls": [{"tool": "read", "arguments": {"path": "corpus/op-19.md"}}]},
        {"final_answer": "done"}
    ]);
    // What the LLM makes of another result is unknown even where it no longer called a tool.
    let short = json!([script[0], script[2]]);
    for script in [script, short] {
        a_cut_result_bounds(&folder, script);
    }
}

fn a_cut_result_bounds(folder: &Folder, script: Value) {
    let mut inputs = recorded(folder, script, "policy/small.yaml");
    let ledger = String::from_utf8(folder.read("run/state.jsonl")).unwrap();
    let cut = ledger.lines().find(|line| line.contains("\"cut\":true")).expect("a cut result");
    let step: Value = serde_json::from_str(cut).unwrap();
    let before = folder.library().replace_policy(&mut inputs, "policy/v1.yaml").unwrap();
    let test = |before| {
        let work = folder.path().join("continued");
        backtest(&folder.path().join("run"), &inputs, before, Some(work)).unwrap()
    };
    let tested = test(&before);
    assert_eq!(tested.standing, Standing::Bounded(step["step"].as_u64().unwrap()), "{tested:#?}");
    assert!(tested.continued && tested.changes.is_empty(), "{tested:#?}");
}
