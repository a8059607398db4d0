//! A run is a function of its ledger: run again over a whole one, or resumed from any part of
//! one, it produces the same bytes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use camino::Utf8Path;
use gatedrun::agent::RunError;
use gatedrun::evidence::recorder::Recorded;
use gatedrun::governor::Recovery;
use gatedrun::inputs::{Inputs, Library, Root};
use gatedrun::ledger::{Answer, LedgerError, Past, Push};
use gatedrun::run::{Course, run};

use serde_json::{Value, json};

use crate::support::{Folder, committed_runs, exhaustive, file, root, scripted};

fn drive(
    inputs: &Inputs,
    work: &Utf8Path,
    past: Past<'_>,
) -> Result<Recorded<Vec<u8>, Vec<u8>>, RunError> {
    run(inputs, work.to_owned(), Course::from(past), Vec::new(), Vec::new(), |_| {})
}

#[test]
fn every_committed_run_replays_without_a_tool() {
    let library = Library::new(Root::Folder(root()));
    let folder = Folder::new();
    for id in committed_runs() {
        let inputs = library.load(&format!("tasks/{id}.json"), None).unwrap();
        let state = file(&format!("runs/{id}/state.jsonl"));
        let past = Past::whole(state.as_slice(), |_| Answer::Stop);
        let replayed = drive(&inputs, &folder.path().join("work"), past).unwrap();
        assert_eq!(replayed.state, state, "{id}");
        assert_eq!(replayed.trace, file(&format!("runs/{id}/trace.json")), "{id}");
        assert_eq!(replayed.report, file(&format!("runs/{id}/run_report.md")), "{id}");
        assert_eq!(replayed.manifest, file(&format!("runs/{id}/manifest.json")), "{id}");
        assert!(!folder.path().join("work").exists(), "{id}: something was written");
    }
}

/// What the kernel refused is a fact of its moment, and is taken from the record wherever it stands.
#[test]
fn what_the_kernel_refused_is_replayed_where_nothing_refuses() {
    let read = |path: &str| json!({"tool": "read", "arguments": {"path": path}});
    let script = json!([
        {"calls": [read("work/link"), read("corpus/op-01.md"), read("work/link")]},
        {"final_answer": "done"}
    ]);
    let folder = Folder::lenient_project();
    // Every denial lets the run continue, and the second call that is allowed is warned of.
    let policy = String::from_utf8(folder.read("policy/v1.yaml")).unwrap();
    let policy = policy.replace("on_deny: terminate", "on_deny: continue").replace(
        "max_tokens: 50000",
        "max_tokens: 50000\n  max_tool_calls: 2\n  warn_at_percent: 50",
    );
    folder.write("policy/v1.yaml", policy);
    let inputs = scripted(&folder, script, &[]);
    let work = folder.path().join("work");
    std::fs::create_dir(&work).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", work.join("link")).unwrap();
    let whole = drive(&inputs, &work, Past::none()).unwrap();
    let ledger = String::from_utf8(whole.state.clone()).unwrap();
    assert_eq!(ledger.matches("\"open_refused\":").count(), 2, "{ledger}");
    assert_eq!(ledger.matches("\"subject\":\"step\"").count(), 1, "a warning: {ledger}");
    let elsewhere = folder.path().join("elsewhere");
    let past = Past::whole(whole.state.as_slice(), |_| Answer::Stop);
    let replayed = drive(&inputs, &elsewhere, past).unwrap();
    assert!(replayed.state == whole.state && replayed.manifest == whole.manifest);
    // Cut anywhere, the run is resumed to the same end where the link still is.
    for cut in cuts(&whole.state, 211) {
        let carried = drive(&inputs, &work, Past::cut_short(&whole.state[..cut])).unwrap();
        assert!(carried.state == whole.state, "at byte {cut}");
    }
}

/// A task that writes, reads back, retries and overwrites, for this many rounds of five steps.
fn busy(folder: &Folder, rounds: usize) {
    let mut task: Value = serde_json::from_slice(&file("tasks/canonical/v1.json")).unwrap();
    let name = json!({"$concat": ["work/notes/", {"$step": {}}, ".md"]});
    let round = json!([
        {"calls": [
            {"tool": "write", "arguments": {"path": name, "content": {"$concat": ["first ", {"$step": {}}]}}},
            {"tool": "write", "arguments": {"path": "work/last.md", "content": {"$concat": ["round ", {"$step": {}}]}}},
        ]},
        {"calls": [{"tool": "read", "arguments": {"path": "work/last.md"}}]},
        {"calls": [{"tool": "summarize", "arguments": {"text": {"$concat": ["Round ", {"$step": {}}, ". It went on."]}, "max_sentences": 1}}]},
    ]);
    let mut script: Vec<Value> = Vec::new();
    for _ in 0..rounds {
        script.extend(round.as_array().unwrap().iter().cloned());
    }
    script.push(json!({"final_answer": "done"}));
    task["id"] = "test/busy".into();
    task["llm"] = json!({"script": script});
    task["faults"] = json!([{"tool": "summarize", "mode": "fail_then_succeed", "failures": 2}]);
    task.as_object_mut().unwrap().remove("expected");
    folder.write("tasks/test/busy.json", task.to_string());
    folder.edit("policy/v1.yaml", "max_iterations: 10", "max_iterations: 100000");
    folder.edit("policy/v1.yaml", "max_tokens: 50000", "max_tokens: 1000000000");
    folder.edit("policy/v1.yaml", "max_repeats: 3", "max_repeats: 100000");
}

/// Every point at which a ledger may be cut, or in `make test` every one that is odd enough.
fn cuts(state: &[u8], stride: usize) -> Vec<usize> {
    let stride = if exhaustive() { 1 } else { stride };
    let near = |at: usize| {
        let from = at.saturating_sub(1);
        state[from..(at + 2).min(state.len())].contains(&b'\n')
    };
    (0..=state.len()).filter(|at| at % stride == 0 || near(*at)).collect()
}

#[test]
fn a_ledger_cut_at_any_byte_is_carried_on_to_the_same_artifacts() {
    let library = Library::new(Root::Folder(root()));
    let folder = Folder::lenient_project();
    busy(&folder, 1);
    let retries = "failure_modes/retry_exhaustion";
    let writes = folder.library().load("tasks/test/busy.json", None).unwrap();
    let cases = [
        (library.load("tasks/canonical/v1.json", None).unwrap(), 211),
        (library.load(&format!("tasks/{retries}.json"), None).unwrap(), 211),
        (writes, 211),
    ];
    let mut resumed = 0;
    for (inputs, stride) in &cases {
        let whole = drive(inputs, &folder.path().join("whole"), Past::none()).unwrap();
        for cut in cuts(&whole.state, *stride) {
            let work = folder.path().join("work");
            let _ = std::fs::remove_dir_all(&work);
            // The folder is as the tools had left it by then.
            let course = Course {
                recovery: Recovery { rebuild: true, ..Recovery::default() },
                ..Course::from(Past::cut_short(&whole.state[..cut]))
            };
            let carried = run(inputs, work, course, Vec::new(), Vec::new(), |_| {}).unwrap();
            let id = &inputs.task.id;
            assert!(carried.state == whole.state, "{id} at byte {cut}: the ledger");
            assert!(carried.trace == whole.trace, "{id} at byte {cut}: the trace");
            assert!(carried.report == whole.report, "{id} at byte {cut}: the report");
            assert!(carried.manifest == whole.manifest, "{id} at byte {cut}: the manifest");
            resumed += 1;
        }
    }
    assert!(resumed > 300, "{resumed} cuts show too little");
}

#[test]
fn whoever_stops_a_run_leaves_no_call_in_doubt() {
    let folder = Folder::lenient_project();
    // A contract that does not say that writing again is writing once.
    folder.edit("tools/write.json", "\"idempotentHint\": true", "\"idempotentHint\": false");
    busy(&folder, 1);
    let inputs = folder.library().load("tasks/test/busy.json", None).unwrap();
    let whole = drive(&inputs, &folder.path().join("whole"), Past::none()).unwrap();
    let events = whole.state.iter().filter(|byte| **byte == b'\n').count() as u64;
    let mut stopped = 0;
    for at in 0..events {
        let work = folder.path().join(at.to_string());
        let flag = AtomicBool::new(false);
        // What the sink has when the run stops is what lies on the disk.
        let mut ledger = Vec::new();
        let course = Course { interrupt: Some(&flag), ..Course::fresh() };
        let result = gatedrun::run::drive(&inputs, work.clone(), course, |push| {
            if let Push::Record(record, line, _) = push {
                ledger.extend_from_slice(line);
                ledger.push(b'\n');
                if record.seq == at {
                    flag.store(true, Ordering::Relaxed);
                }
            }
            Ok(())
        });
        match result {
            Err(RunError::Ledger(LedgerError::Interrupted)) => stopped += 1,
            Ok(()) if at == events - 1 => continue,
            other => panic!("event {at}: {other:?}"),
        }
        let carried = drive(&inputs, &work, Past::cut_short(ledger.as_slice()));
        let carried = carried.unwrap_or_else(|error| panic!("event {at}: {error}"));
        assert!(carried.state == whole.state, "event {at}: the ledger");
        assert!(carried.manifest == whole.manifest, "event {at}: the manifest");
    }
    assert!(stopped == events - 1 && stopped > 30, "{stopped} of {events}");
}

#[test]
fn a_process_that_is_killed_at_any_moment_is_carried_on_and_writes_once() {
    let kills = if exhaustive() { 1_000 } else { 200 };
    let folder = Folder::lenient_project();
    busy(&folder, 60);
    let whole = folder.gatedrun(&["run", "tasks/test/busy.json", "--out", "whole", "--json"]);
    assert_eq!(whole.code, 0, "{}", whole.err);
    let started = std::time::Instant::now();
    let again = folder.gatedrun(&["run", "tasks/test/busy.json", "--out", "again", "--json"]);
    assert_eq!(again.code, 0, "{}", again.err);
    let mut took = started.elapsed();
    let mut random = gatedrun::derive::rng(7, &["kills"]);
    let (mut killed, mut completed, mut resumed) = (0, 0, 0);
    while killed < kills {
        let partial = folder.path().join("run.partial");
        let mut args = vec!["resume", "run", "--task", "tasks/test/busy.json", "--json"];
        // Where no event was recorded there is a lock, and no run.
        if partial.join("state.jsonl").exists() {
            resumed += 1;
        } else {
            args = vec!["run", "tasks/test/busy.json", "--out", "run", "--json"];
        }
        let mut child = folder.spawn(&args);
        // From the start of the process to well after its end.
        let wait = gatedrun::derive::below(
            &mut random,
            u64::try_from(took.as_micros()).unwrap() * 13 / 10,
        );
        std::thread::sleep(Duration::from_micros(wait));
        let was_running = child.try_wait().unwrap().is_none();
        child.kill().unwrap();
        child.wait().unwrap();
        killed += u64::from(was_running);
        // How long a run takes changes with what else the machine does.
        took = if was_running { took * 21 / 20 } else { took * 9 / 10 };
        written_once(&folder);
        if folder.path().join("run").exists() {
            assert!(!partial.exists(), "a finished run left something behind");
            same_run(&folder, "whole", "run");
            std::fs::remove_dir_all(folder.path().join("run")).unwrap();
            completed += 1;
        }
    }
    if folder.path().join("run.partial/state.jsonl").exists() {
        let last = folder.gatedrun(&["resume", "run", "--task", "tasks/test/busy.json"]);
        assert_eq!(last.code, 0, "{}", last.err);
        same_run(&folder, "whole", "run");
    }
    assert!(resumed > kills / 3, "{resumed} of {kills} kills left something to resume");
    assert!(completed > 5, "{completed} runs came to their end between {kills} kills");
}

/// The write tool's own receipts: under each key it replaced a file once at most.
fn written_once(folder: &Folder) {
    let Ok(receipts) = std::fs::read_to_string(folder.path().join("run.partial/work.receipts"))
    else {
        return;
    };
    let mut replaced = std::collections::HashSet::new();
    for line in receipts.lines() {
        // What a kill left of a line stands alone: every line begins as a receipt does.
        assert!("{\"did\":\"".starts_with(&line[..line.len().min(8)]), "{line}");
        let Ok(receipt) = serde_json::from_str::<Value>(line) else { continue };
        if receipt["did"] == "replaced" {
            let key = receipt["idempotency_key"].as_str().unwrap().to_owned();
            assert!(replaced.insert(key), "written twice: {line}");
        }
    }
}

/// The same bytes in every file of two runs, those that they wrote themselves included.
fn same_run(folder: &Folder, a: &str, b: &str) {
    let mut files = 0;
    for entry in walkdir::WalkDir::new(folder.path().join(a)) {
        let entry = entry.unwrap();
        let relative = entry.path().strip_prefix(folder.path().join(a)).unwrap();
        let other = folder.path().join(b).into_std_path_buf().join(relative);
        if entry.file_type().is_file() {
            let bytes = std::fs::read(other).unwrap();
            assert!(std::fs::read(entry.path()).unwrap() == bytes, "{}", relative.display());
            files += 1;
        }
    }
    let count = |root: &str| walkdir::WalkDir::new(folder.path().join(root)).into_iter().count();
    assert_eq!(count(a), count(b));
    assert!(files > 4);
}

#[test]
fn a_renamed_unfinished_run_is_not_called_finished() {
    let (folder, _) = crate::support::in_doubt();
    let at = |name: &str| folder.path().join(name);
    std::fs::rename(at("runs/test/doubt.partial"), at("elsewhere")).unwrap();
    let ran = folder.gatedrun(&["resume", "elsewhere", "--task", "tasks/test/doubt.json"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(ran.err.contains("rename it to elsewhere.partial"), "{}", ran.all());
}
