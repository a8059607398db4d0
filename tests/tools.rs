use std::process::{Command, Stdio};

use gatedrun::corpus::Corpus;
use gatedrun::event::{AttemptOutcome, Event, FailureMode, TerminalReason};
use gatedrun::executor::bound;
use gatedrun::tools::{search, summarize};
use serde_json::{Value, json};

use crate::support::{Folder, Ran, root, run, scripted, text};
use crate::vectors::second_opinion;

#[test]
fn sentences_end_where_a_reader_says() {
    let cases: Vec<Value> = serde_json::from_str(&text("tests/cases/sentences.json")).unwrap();
    assert!(cases.len() >= 20);
    for case in cases {
        let found = summarize::sentences(case["text"].as_str().unwrap());
        assert_eq!(json!(found), case["sentences"], "{}", case["note"]);
    }
}

#[test]
fn search_ranks_by_words_then_matches_then_path() {
    let files =
        [("a.md", "red red red"), ("b.md", "Red green"), ("c.md", "GREEN red"), ("d.md", "blue")];
    let files =
        files.into_iter().map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())).collect();
    let corpus = Corpus::from_files("docs", files).unwrap();
    let find = |query: &str, top_k: usize| {
        search::run(&corpus, &search::Args { query, top_k }).unwrap().result
    };
    let ids = |result: &Value| -> Vec<String> {
        result["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids(&find("red GREEN", 5)), ["b", "c", "a"]);
    assert_eq!(ids(&find("red", 2)), ["a", "b"]);
    assert_eq!(find("red", 2)["documents_matched"], 3);
    assert_eq!(find("re", 5)["documents_matched"], 0, "a word is whole");
    assert_eq!(find("...", 5)["documents_matched"], 0);
    assert_eq!(find("red red", 5), find("red", 5), "a word asked twice counts once");
}

#[test]
fn snippets_show_the_place_on_one_line() {
    let long =
        format!("# Title\n\n{}the Nadel\nim Heuhaufen, {}", "ünd ".repeat(100), "x ".repeat(200));
    let corpus =
        Corpus::from_files("docs", [("a.md".to_owned(), long.into_bytes())].into()).unwrap();
    let found = search::run(&corpus, &search::Args { query: "nadel", top_k: 5 }).unwrap().result;
    let snippet = found["results"][0]["snippet"].as_str().unwrap();
    assert!(snippet.starts_with('…') && snippet.ends_with('…'), "{snippet}");
    assert!(snippet.contains("the Nadel im Heuhaufen"), "{snippet}");
    assert!(snippet.chars().count() <= 162, "{snippet}");
}

#[test]
fn a_cut_result_keeps_its_shape_and_says_what_is_gone() {
    let mut value = json!({"path": "corpus/a.md", "bytes": 5000, "text": "é\"".repeat(2500)});
    let whole = gatedrun::json::canonical(&value).len();
    assert!(bound::cut(&mut value, whole, 2000));
    assert!(gatedrun::json::canonical(&value).len() <= 2000);
    let text = value["text"].as_str().unwrap();
    assert!(text.contains("… [cut: ") && text.ends_with(" of 7500 bytes]"), "{text}");
    assert_eq!(value["path"], "corpus/a.md");
    let mut numbers = json!(vec![12345; 1000]);
    assert!(!bound::cut(&mut numbers, 6001, 2000), "nothing in it can be cut");
}

#[test]
fn a_result_over_the_bound_is_cut_and_its_digest_kept() {
    let folder = Folder::project();
    let script = json!([
        {"calls": [{"tool": "read", "arguments": {"path": "corpus/op-01.md"}}]},
        {"final_answer": "x"}
    ]);
    let inputs = scripted(&folder, script, &[("max_bytes: 65536", "max_bytes: 1024")]);
    let (recorded, records) = run(&inputs, &folder.path().join("work"));
    let finished = records.iter().find_map(|r| match &r.event {
        Event::ToolFinished(finished) => Some(finished.clone()),
        _ => None,
    });
    let finished = finished.unwrap();
    assert!(finished.cut && finished.ok && finished.bytes > 1024);
    let kept = finished.result.unwrap();
    assert!(kept.canonical().len() <= 1024);
    let whole = json!({"path": "corpus/op-01.md", "bytes": inputs.corpus.get("op-01.md").unwrap().text.len(), "text": inputs.corpus.get("op-01.md").unwrap().text});
    assert_eq!(finished.sha256, Some(gatedrun::json::Digest::of_value(&whole)));
    assert_eq!(recorded.summary.cut, 1);
}

#[test]
fn write_makes_parents_replaces_whole_and_leaves_nothing_behind() {
    let folder = Folder::project();
    let write = |path: &str, content: &str| json!({"calls": [{"tool": "write", "arguments": {"path": path, "content": content}}]});
    let script = json!([
        write("work/a/b/c.md", "first"), write("work/a/b/c.md", "second\u{e9}"), write("work/a/b/c.md", "second\u{e9}"),
        {"calls": [{"tool": "read", "arguments": {"path": "work/a/b/c.md"}}]},
        {"final_answer": {"$result": {"step": 4, "pointer": "/text"}}}
    ]);
    let inputs = scripted(&folder, script, &[]);
    let work = folder.path().join("work");
    let (recorded, _) = run(&inputs, &work);
    assert_eq!(recorded.summary.finished.unwrap().answer.as_deref(), Some("secondé"));
    assert_eq!(folder.read("work/a/b/c.md"), "secondé".as_bytes());
    let names: Vec<_> =
        std::fs::read_dir(work.join("a/b")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["c.md"], "no temporary file is left");
    let manifest: Value = serde_json::from_slice(&recorded.manifest).unwrap();
    assert_eq!(manifest["work"]["work/a/b/c.md"]["bytes"], 8);
}

/// What the runtime makes for itself lies where no path of a call leads.
#[test]
fn no_write_reaches_the_temporary_file_of_another() {
    let folder = Folder::project();
    let write = |path: &str| json!({"calls": [{"tool": "write", "arguments": {"path": path, "content": "keep me"}}]});
    let script = |first: &str| json!([write(first), write("work/b.md"), {"final_answer": "done"}]);
    let (_, records) = run(&scripted(&folder, script("work/a.md"), &[]), &folder.path().join("x"));
    let keys: Vec<String> = records
        .into_iter()
        .filter_map(|record| match record.event {
            Event::ToolStarted(started) => Some(started.idempotency_key),
            _ => None,
        })
        .collect();
    let first = format!("work/{}", keys[1]);
    run(&scripted(&folder, script(&first), &[]), &folder.path().join("work"));
    assert_eq!(folder.read(&first), b"keep me");
    assert_eq!(folder.read("work/b.md"), b"keep me");
    for name in ["work.tmp/x", "work.receipts", "../work.tmp/x", "work/../work.tmp/x"] {
        assert!(gatedrun::policy::path::MountPath::parse(name).is_err(), "{name}");
    }
}

#[test]
fn a_receipt_that_a_crash_cut_short_spoils_no_other() {
    let folder = Folder::project();
    let path = folder.write("work.receipts", r#"{"did":"replaced","idem"#);
    let write = |content: &str| {
        let call = json!({"tool": "write", "arguments": {"path": "work/a.md", "content": content}});
        let script = json!([{"calls": [call]}, {"final_answer": "done"}]);
        run(&scripted(&folder, script, &[]), &folder.path().join("work"));
    };
    write("one");
    write("one");
    write("two");
    let receipts = std::fs::read_to_string(path).unwrap();
    let did = |line: &str| serde_json::from_str::<Value>(line).ok().map(|line| line["did"].clone());
    let did: Vec<Option<Value>> = receipts.lines().map(did).collect();
    let said = |word: &str| Some(json!(word));
    assert_eq!(did, [None, said("replaced"), said("found"), said("replaced")], "{receipts}");
}

/// The outcome of one call in a folder that something else has prepared.
fn outcome_of(prepare: impl Fn(&Folder), call: Value) -> (TerminalReason, String) {
    let folder = Folder::project();
    let inputs = scripted(&folder, json!([{"calls": [call]}, {"final_answer": "went on"}]), &[]);
    std::fs::create_dir(folder.path().join("work")).unwrap();
    folder.write("secret.txt", "SECRET");
    prepare(&folder);
    let (recorded, records) = run(&inputs, &folder.path().join("work"));
    assert!(!String::from_utf8_lossy(&recorded.state).contains("SECRET"));
    let said = records.iter().find_map(|r| match &r.event {
        Event::GateDecided(gate) if gate.rule_id.is_some() => Some(gate.reason.clone()),
        Event::ToolFinished(finished) => {
            Some(finished.error.as_ref().map_or("ok".into(), |e| e.message.clone()))
        }
        _ => None,
    });
    (recorded.summary.finished.unwrap().terminal_reason, said.unwrap())
}

#[test]
fn links_devices_and_folders_in_the_work_folder_lead_nowhere() {
    let read = || json!({"tool": "read", "arguments": {"path": "work/x"}});
    let write = || json!({"tool": "write", "arguments": {"path": "work/x", "content": "new"}});
    let link = |to: &'static str| {
        move |folder: &Folder| std::os::unix::fs::symlink(to, folder.path().join("work/x")).unwrap()
    };
    let denied = TerminalReason::PolicyDenialTerminal;
    for call in [read(), write()] {
        for to in ["../secret.txt", "/etc/passwd", "/proc/self/environ", "x", "nowhere"] {
            let (reason, why) = outcome_of(link(to), call.clone());
            assert_eq!(reason, denied, "{call} through a link to {to}: {why}");
            assert!(why.contains("symbolic link"), "{why}");
        }
        let (reason, why) = outcome_of(
            |folder| {
                std::fs::hard_link(folder.path().join("secret.txt"), folder.path().join("work/x"))
                    .unwrap()
            },
            call.clone(),
        );
        assert_eq!((reason, why.contains("hard link")), (denied, true), "{why}");
        let fifo = |folder: &Folder| {
            let path = folder.path().join("work/x");
            assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
        };
        let (reason, why) = outcome_of(fifo, call.clone());
        assert_eq!((reason, why.contains("no regular file")), (denied, true), "{why}");
        let socket = |folder: &Folder| {
            drop(std::os::unix::net::UnixListener::bind(folder.path().join("work/x")).unwrap())
        };
        let (_, why) = outcome_of(socket, call.clone());
        assert_ne!(why, "ok");
        let (reason, why) = outcome_of(
            |folder| std::fs::create_dir(folder.path().join("work/x")).unwrap(),
            call.clone(),
        );
        assert_eq!((reason, why.contains("no regular file")), (denied, true), "{why}");
    }
    let below = json!({"tool": "write", "arguments": {"path": "work/x/y", "content": "new"}});
    let (reason, why) = outcome_of(link(".."), below);
    assert_eq!(reason, denied, "{why}");
}

#[test]
fn a_link_that_stays_inside_is_no_way_either() {
    for (tool, arguments) in [
        ("read", json!({"path": "work/x/inner.md"})),
        ("write", json!({"path": "work/x/inner.md", "content": "new"})),
    ] {
        let prepare = |folder: &Folder| {
            folder.write("work/d/inner.md", "inside");
            std::os::unix::fs::symlink("d", folder.path().join("work/x")).unwrap();
        };
        let (reason, why) = outcome_of(prepare, json!({"tool": tool, "arguments": arguments}));
        assert_eq!(reason, TerminalReason::PolicyDenialTerminal, "{tool}: {why}");
        assert!(why.contains("symbolic link"), "{why}");
    }
}

#[test]
fn a_write_over_its_bound_writes_nothing() {
    let folder = Folder::project();
    let usage = json!({"input_tokens": 1, "output_tokens": 1});
    let call = json!({"tool": "write", "arguments": {"path": "work/large.md", "content": "x".repeat(262_145)}});
    let script = json!([{"calls": [call], "usage": usage}, {"final_answer": "x", "usage": usage}]);
    let inputs = scripted(&folder, script, &[]);
    let (recorded, _) = run(&inputs, &folder.path().join("work"));
    let state = String::from_utf8(recorded.state).unwrap();
    let says = "the content has 262145 bytes; sandbox.max_write_bytes is 262144";
    assert!(state.contains(says), "{says}");
    assert!(!folder.path().join("work/large.md").exists());
}

/// A run of the scripted task under strace; `None` where there is none, or where it may not trace.
fn strace(folder: &Folder, options: &[&str]) -> Option<Command> {
    if !Command::new("strace").arg("true").output().is_ok_and(|ran| ran.status.success()) {
        return None;
    }
    let mut command = Command::new("strace");
    command
        .arg("-f")
        .args(options)
        .args([env!("CARGO_BIN_EXE_gatedrun"), "run", "tasks/test/script.json"])
        .current_dir(folder.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap());
    Some(command)
}

/// What the kernel is asked, in order: the temporary file is whole and durable before it gets its
/// name, and the name is durable before the call is over.
#[test]
fn a_write_is_durable_before_it_has_its_name() {
    let folder = Folder::project();
    let script = json!([
        {"calls": [{"tool": "write", "arguments": {"path": "work/a.md", "content": "x"}}]},
        {"final_answer": "done"}
    ]);
    // The policy asks for a ledger that is on the disk before the write begins.
    scripted(&folder, script, &[("version: 1\n", "version: 1\ndurability: fsync\n")]);
    let calls = "trace=openat2,fsync,fdatasync,renameat,rename,renameat2";
    let Some(mut strace) = strace(&folder, &["-y", "-e", calls, "-o", "calls.txt"]) else {
        println!("skipped: there is no strace here, or it may not trace");
        return;
    };
    let traced = strace.output().unwrap();
    assert!(traced.status.success(), "{}", String::from_utf8_lossy(&traced.stderr));
    let calls = String::from_utf8(folder.read("calls.txt")).unwrap();
    let place = |what: &str, from: usize| {
        let found = calls[from..]
            .find(what)
            .unwrap_or_else(|| panic!("{what} is missing after {from}: {calls}"));
        from + found
    };
    let named = place("script.partial>)", place("fsync(", 0));
    let named = place("runs/test>)", place("fsync(", named));
    let recorded = place("fdatasync(", named);
    let opened = place("work.tmp>, \"idem_", recorded);
    let synced = place("fsync(", opened);
    let renamed = place("renameat(", synced);
    let mut last = place("fsync(", renamed);
    // The finished run is on the disk, whole, before it is in its place.
    for name in gatedrun::evidence::FILES {
        last = place(&format!("script.partial/{name}>)"), place("fsync(", last));
    }
    last = place("script.partial>)", place("fsync(", last));
    last = place("rename(", last);
    place("runs/test>)", place("fsync(", last));
}

/// Who is slow to lock the folder of a run gets the lock of one that has been finished in the
/// meantime, under another name, and must not take it for its own.
#[test]
fn a_lock_is_on_the_folder_that_is_there() {
    let folder = Folder::project();
    scripted(&folder, json!([{"final_answer": "done"}]), &[]);
    let delayed = ["-e", "trace=flock", "-e", "inject=flock:delay_enter=3000000"];
    let Some(mut slow) = strace(&folder, &delayed) else {
        println!("skipped: there is no strace here, or it may not trace");
        return;
    };
    slow.stdout(Stdio::null()).stderr(Stdio::piped());
    let slow = slow.spawn().unwrap();
    let since = std::time::Instant::now();
    while !folder.path().join("runs/test/script.partial").exists() {
        assert!(since.elapsed().as_secs() < 60, "the slow one has not begun");
    }
    let ran = folder.gatedrun(&["run", "tasks/test/script.json"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let slow = slow.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&slow.stderr);
    // What it had opened is the finished run by now; it begins behind that, with the same result.
    assert_eq!(slow.status.code(), Some(0), "{told}");
    let runs: Vec<_> = std::fs::read_dir(folder.path().join("runs/test")).unwrap().collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
}

#[test]
fn what_a_tool_cannot_do_is_told_and_the_run_goes_on() {
    for (prepare, path, what) in [
        (None, "work/none.md", "does not exist"),
        (None, "corpus/none.md", "does not exist"),
        (Some(vec![0xff_u8, 0xfe]), "work/x", "not UTF-8 at byte 0"),
        (Some(vec![b'x'; 300_000]), "work/x", "larger than 262144 bytes"),
    ] {
        let call = json!({"tool": "read", "arguments": {"path": path}});
        let (reason, why) = outcome_of(
            |folder| {
                if let Some(bytes) = &prepare {
                    folder.write("work/x", bytes);
                }
            },
            call,
        );
        assert_eq!(reason, TerminalReason::FinalAnswer);
        assert!(why.contains(what), "{why}");
    }
    // A sparse gigabyte is refused by its size and never read.
    let sparse = |folder: &Folder| {
        std::fs::File::create(folder.path().join("work/x")).unwrap().set_len(1 << 30).unwrap()
    };
    let (_, why) = outcome_of(sparse, json!({"tool": "read", "arguments": {"path": "work/x"}}));
    assert!(why.contains("larger than"), "{why}");
}

fn with_fault(fault: Value) -> (Vec<Event>, TerminalReason) {
    let folder = Folder::project();
    let script = json!([{"calls": [{"tool": "search", "arguments": {"query": "relay"}}]}, {"final_answer": "x"}]);
    scripted(&folder, script, &[]);
    let mut task: Value = serde_json::from_slice(&folder.read("tasks/test/script.json")).unwrap();
    task["faults"] = json!([fault]);
    folder.write("tasks/test/script.json", task.to_string());
    let inputs = folder.library().load("tasks/test/script.json", None).unwrap();
    let (recorded, records) = run(&inputs, &folder.path().join("work"));
    (
        records.into_iter().map(|r| r.event).collect(),
        recorded.summary.finished.unwrap().terminal_reason,
    )
}

fn outcomes(events: &[Event]) -> Vec<(AttemptOutcome, Option<u64>)> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::ToolAttempted(attempted) => Some((attempted.outcome, attempted.backoff_ms)),
            _ => None,
        })
        .collect()
}

fn mode(events: &[Event]) -> Option<FailureMode> {
    events.iter().find_map(|event| match event {
        Event::StepFinished(finished) => finished.failure_mode,
        _ => None,
    })
}

#[test]
fn faults_show_each_failure_mode() {
    use AttemptOutcome::*;
    let (events, reason) =
        with_fault(json!({"tool": "search", "mode": "fail_then_succeed", "failures": 2}));
    let seen: Vec<_> = outcomes(&events).into_iter().map(|(outcome, _)| outcome).collect();
    assert_eq!(seen, [TransientFailure, TransientFailure, Success]);
    assert_eq!(
        (mode(&events), reason),
        (Some(FailureMode::ToolCallFailure), TerminalReason::FinalAnswer)
    );

    let (events, reason) = with_fault(json!({"tool": "search", "mode": "always_fail"}));
    let seen = outcomes(&events);
    assert_eq!(
        seen.iter().map(|(o, _)| *o).collect::<Vec<_>>(),
        [TransientFailure, TransientFailure, TransientFailure, Exhausted]
    );
    let waits: Vec<u64> = seen.iter().filter_map(|(_, wait)| *wait).collect();
    for (wait, base) in waits.iter().zip([100, 200, 400]) {
        assert!((base..=base + base / 5).contains(wait), "{waits:?}");
    }
    assert_eq!(
        (mode(&events), reason),
        (Some(FailureMode::RetryExhaustion), TerminalReason::FailureModeTerminal)
    );

    for fault in ["unclassified", "panic"] {
        let (events, reason) = with_fault(json!({"tool": "search", "mode": fault}));
        assert_eq!(outcomes(&events), [(Failed, None)], "{fault}");
        assert_eq!(
            (mode(&events), reason),
            (Some(FailureMode::CataloguedUnhandled), TerminalReason::FailureModeTerminal)
        );
    }
}

/// A run of one call that may not be repeated, with this fault and these budgets.
fn unrepeatable(fault: Value, budget: &str) -> (Folder, String) {
    let (folder, ran) = with_faulty_write(&fault, budget);
    assert_eq!(ran.code, 4, "{fault}: {}", ran.all());
    assert!(ran.err.contains("in doubt: attempt 1 ended with "), "{}", ran.err);
    let cut = text_in(&folder, "runs/test/script.partial/state.jsonl");
    let at = cut.rfind("\"call_id\":\"").unwrap() + 11;
    let call = cut[at..at + 21].to_owned();
    (folder, call)
}

/// The same, and what the program says of it.
fn with_faulty_write(fault: &Value, budget: &str) -> (Folder, Ran) {
    let folder = Folder::lenient_project();
    folder.edit("tools/write.json", "\"idempotentHint\": true", "\"idempotentHint\": false");
    let write = json!({"tool": "write", "arguments": {"path": "work/mail.md", "content": "x"}});
    let to = format!("  max_tokens: 50000\n{budget}");
    let edits = [("  max_tokens: 50000\n", to.as_str())];
    scripted(&folder, json!([{"calls": [write]}, {"final_answer": "done"}]), &edits);
    let mut task: Value = serde_json::from_slice(&folder.read("tasks/test/script.json")).unwrap();
    task["faults"] = json!([fault]);
    folder.write("tasks/test/script.json", task.to_string());
    let ran = folder.gatedrun(&["run", "tasks/test/script.json"]);
    (folder, ran)
}

fn text_in(folder: &Folder, path: &str) -> String {
    String::from_utf8(folder.read(path)).unwrap()
}

fn settle(folder: &Folder, call: &str, outcome: &str) -> i32 {
    let settle = format!("{call}={outcome}");
    folder.gatedrun(&["resume", "runs/test/script", "--settle", &settle, "--reason", "seen"]).code
}

/// Holds that the verifier that shares no code with the program, where there is a Python to run it, says
/// this of a run.
pub fn second_verdict_is(folder: &Folder, run: &str, due: &str) {
    let run = folder.path().join(run);
    if let Some(said) = second_opinion(&run, Some(folder.path()), &[], &[]) {
        assert_eq!(said["verdict"], due, "{said}");
    }
}

/// Whoever reads the run, or makes it again, finds the same.
fn holds_up(folder: &Folder) {
    for command in ["verify", "check", "replay"] {
        let again = folder.gatedrun(&[command, "runs/test/script"]);
        assert_eq!(again.code, 0, "{command}: {}", again.all());
    }
    // Made from its task once more, it has every file that it has, those that a settled call wrote too.
    let again = folder.gatedrun(&["run", "tasks/test/script.json"]);
    assert!(again.out.contains("identical to the existing run"), "{}", again.all());
    second_verdict_is(folder, "runs/test/script", "verified");
}

/// A call that may not be repeated, after a failure that leaves its effect unknown: the attempt is
/// on record and counts, and a human says what became of it before anything is tried again.
#[test]
fn an_attempt_in_doubt_is_recorded_and_settled() {
    for (mode, is_retryable) in
        [("hang", true), ("always_fail", true), ("unclassified", false), ("panic", false)]
    {
        let (folder, call) = unrepeatable(json!({"tool": "write", "mode": mode}), "");
        let attempts = |run: &str| {
            let ledger = text_in(&folder, &format!("{run}/state.jsonl"));
            let records = ledger.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let events = records.map(|mut record| record["event"].take());
            let seen = events.filter(|event| event["kind"] == "tool_attempted");
            seen.map(|event| (event["attempt"].as_u64().unwrap(), event["outcome"].clone()))
                .collect::<Vec<_>>()
        };
        let one = (1, json!("in_doubt"));
        let partial = "runs/test/script.partial";
        assert_eq!(attempts(partial), std::slice::from_ref(&one), "{mode}");
        assert_eq!(folder.gatedrun(&["verify", partial]).code, 7, "{mode}");
        second_verdict_is(&folder, partial, "unfinished");
        let before = folder.read("runs/test/script.partial/state.jsonl");
        assert_eq!(folder.gatedrun(&["resume", "runs/test/script"]).code, 4);
        assert_eq!(folder.read("runs/test/script.partial/state.jsonl"), before, "{mode}");
        let two = (2, json!("in_doubt"));
        if is_retryable {
            // It did not take place, so it is tried again, and is in doubt again.
            assert_eq!(settle(&folder, &call, "did-not"), 4, "{mode}");
            assert_eq!(attempts(partial), [one.clone(), two.clone()], "{mode}");
            assert_eq!(settle(&folder, &call, "took-place"), 0, "{mode}");
            assert_eq!(attempts("runs/test/script"), [one, two], "{mode}");
        } else {
            // As after any other attempt that failed so, a retry cannot help.
            assert_eq!(settle(&folder, &call, "did-not"), 3, "{mode}");
            assert_eq!(attempts("runs/test/script"), [one], "{mode}");
            let report = text_in(&folder, "runs/test/script/run_report.md");
            assert!(report.contains("catalogued"), "{report}");
        }
        holds_up(&folder);
    }
}

/// A write took place although its result is unusable, or was lost: its file is a part of the run.
#[test]
fn what_a_call_has_written_is_evidence_whatever_came_back() {
    for mode in [json!("bad_output"), json!("oversized")] {
        let mut fault = json!({"tool": "write", "mode": mode});
        if mode == "oversized" {
            fault["bytes"] = json!(2_000_000);
        }
        let (folder, ran) = with_faulty_write(&fault, "");
        assert_eq!(text_in(&folder, "runs/test/script/work/mail.md"), "x", "{}", ran.all());
        holds_up(&folder);
    }
    // A person says that it took place: its file is then as the call writes it, whatever lay there.
    for lies_there in [None, Some("x"), Some("another")] {
        let (folder, call) = unrepeatable(json!({"tool": "write", "mode": "hang"}), "");
        let at = "runs/test/script.partial/work/mail.md";
        if let Some(content) = lies_there {
            folder.write(at, content);
        }
        assert_eq!(settle(&folder, &call, "took-place"), 0, "{lies_there:?}");
        assert_eq!(text_in(&folder, "runs/test/script/work/mail.md"), "x");
        holds_up(&folder);
    }
    // Or that it did not.
    let (folder, call) = unrepeatable(json!({"tool": "write", "mode": "panic"}), "");
    folder.write("runs/test/script.partial/work/mail.md", "x");
    assert_eq!(settle(&folder, &call, "did-not"), 3);
    assert!(!folder.path().join("runs/test/script/work/mail.md").exists());
    holds_up(&folder);
}

/// What an attempt in doubt used is used, whatever is said about it.
#[test]
fn an_attempt_in_doubt_counts_against_every_budget() {
    // An answer without a retry, and with one.
    let fault = json!({"tool": "write", "mode": "fail_then_succeed", "failures": 1});
    let (folder, call) = unrepeatable(fault.clone(), "");
    assert_eq!(settle(&folder, &call, "did-not"), 0);
    assert_eq!(text_in(&folder, "runs/test/script/work/mail.md"), "x");
    holds_up(&folder);
    // One attempt is all that the budget has.
    let (folder, call) = unrepeatable(fault, "  max_attempts: 1\n");
    assert_eq!(settle(&folder, &call, "did-not"), 3);
    let ledger = text_in(&folder, "runs/test/script/state.jsonl");
    assert_eq!(ledger.matches("\"kind\":\"tool_attempted\"").count(), 1, "{ledger}");
    assert!(ledger.contains("\"terminal_reason\":\"loop_budget\""), "{ledger}");
    holds_up(&folder);
    // The second attempt has the time that the first left, and there is no third.
    let hang = json!({"tool": "write", "mode": "hang"});
    let (folder, call) = unrepeatable(hang, "  max_elapsed_ms: 15000\n");
    assert_eq!(settle(&folder, &call, "did-not"), 4);
    assert_eq!(settle(&folder, &call, "did-not"), 3);
    let ledger = text_in(&folder, "runs/test/script/state.jsonl");
    let waits = ledger.split("\"waited_ms\":").skip(1);
    let waits: Vec<u64> =
        waits.map(|rest| rest.split(',').next().unwrap().parse().unwrap()).collect();
    assert!(waits.len() == 2 && waits[0] == 10_000 && waits[1] < 5_000, "{waits:?}");
    assert!(ledger.contains("\"terminal_reason\":\"loop_budget\""), "{ledger}");
    holds_up(&folder);
}

/// A run that is cut short at any point of the settlement continues from there.
#[test]
fn a_settlement_that_was_cut_short_is_continued() {
    let fault = json!({"tool": "write", "mode": "fail_then_succeed", "failures": 1});
    let (folder, call) = unrepeatable(fault, "");
    assert_eq!(settle(&folder, &call, "did-not"), 0);
    let whole = text_in(&folder, "runs/test/script/state.jsonl");
    let partial = "runs/test/script.partial/state.jsonl";
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let at = |kind: &str| lines.iter().position(|line| line.contains(kind)).unwrap();
    let settled = at("\"kind\":\"tool_reconciled\"");
    for kept in [settled, settled + 1] {
        std::fs::remove_dir_all(folder.path().join("runs/test")).unwrap();
        folder.write(partial, lines[..kept].concat());
        assert_eq!(folder.gatedrun(&["resume", "runs/test/script"]).code, 4, "{kept}");
        assert_eq!(settle(&folder, &call, "did-not"), 0, "{kept}");
        holds_up(&folder);
    }
}

/// A failure that certainly had no effect is recorded, whatever the contract promises.
#[test]
fn a_call_that_certainly_did_nothing_is_in_no_doubt() {
    let folder = Folder::project();
    folder.edit("tools/write.json", "\"idempotentHint\": true", "\"idempotentHint\": false");
    let content = "x".repeat(262_145);
    let write = json!({"tool": "write", "arguments": {"path": "work/mail.md", "content": content}});
    let usage = json!({"input_tokens": 1, "output_tokens": 1});
    let script = json!([{"calls": [write], "usage": usage}, {"final_answer": "x", "usage": usage}]);
    scripted(&folder, script, &[]);
    let ran = folder.gatedrun(&["run", "tasks/test/script.json"]);
    assert!(ran.code == 0 && ran.out.contains("too_large"), "{}", ran.all());
}

/// A run of calls of one tool, with this fault and these budgets, as a process.
fn budgeted(mode: Value, calls: usize, budget: &str) -> (Folder, Vec<Value>) {
    let folder = Folder::lenient_project();
    let read = json!({"tool": "read", "arguments": {"path": "corpus/op-01.md"}});
    let script = json!([{"calls": vec![read; calls]}, {"final_answer": "done"}]);
    let to = format!("  max_tokens: 50000\n{budget}");
    scripted(&folder, script, &[("  max_tokens: 50000\n", to.as_str())]);
    let mut task: Value = serde_json::from_slice(&folder.read("tasks/test/script.json")).unwrap();
    task["faults"] = json!([mode]);
    folder.write("tasks/test/script.json", task.to_string());
    let ran = folder.gatedrun(&["run", "tasks/test/script.json"]);
    assert!(matches!(ran.code, 0 | 3), "{}", ran.all());
    for command in ["verify", "check", "replay"] {
        let again = folder.gatedrun(&[command, "runs/test/script"]);
        assert_eq!(again.code, 0, "{command}: {}", again.all());
    }
    second_verdict_is(&folder, "runs/test/script", "verified");
    let ledger = String::from_utf8(folder.read("runs/test/script/state.jsonl")).unwrap();
    let events = ledger.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (folder, events)
}

fn of_kind<'e>(events: &'e [Value], kind: &str) -> Vec<&'e Value> {
    events.iter().map(|record| &record["event"]).filter(|event| event["kind"] == kind).collect()
}

/// No attempt begins, and no wait is waited, that the budget of time cannot hold.
#[test]
fn the_budget_of_time_holds_inside_a_call() {
    let budget = "  max_elapsed_ms: 1000\n  warn_at_percent: 80\n";
    for (mode, most) in [
        (json!({"tool": "read", "mode": "hang"}), 1),
        (json!({"tool": "read", "mode": "always_fail"}), 4),
        (json!({"tool": "read", "mode": "fail_then_succeed", "failures": 2}), 9),
    ] {
        let (_, events) = budgeted(mode.clone(), 3, budget);
        let attempts = of_kind(&events, "tool_attempted");
        assert!(attempts.len() <= most, "{mode}: {attempts:?}");
        let start = events[0]["at_ns"].as_u64().unwrap();
        for record in events.iter().filter(|r| r["event"]["kind"] == "tool_attempted") {
            let ended = (record["at_ns"].as_u64().unwrap() - start) / 1_000_000;
            let begun = ended - record["event"]["waited_ms"].as_u64().unwrap();
            assert!(begun < 1000 && ended <= 1000, "{mode}: {begun} to {ended}");
        }
        let end = of_kind(&events, "run_finished")[0];
        let decided = of_kind(&events, "gate_decided");
        let is_about_time = |gate: &&&Value| gate["details"]["limit_kind"] == "elapsed_ms";
        let about_time: Vec<_> = decided.iter().filter(is_about_time).collect();
        if end["terminal_reason"] == "loop_budget" {
            assert_eq!(about_time.last().unwrap()["decision"], "deny", "{mode}");
        }
        if mode["mode"] == "hang" {
            assert_eq!(end["terminal_reason"], "loop_budget", "{mode}");
            let words: Vec<_> = about_time.iter().map(|gate| &gate["decision"]).collect();
            assert_eq!(words, ["allow", "deny"], "a warning, then the denial");
            assert_eq!(attempts[0]["outcome"], "exhausted");
            let said = attempts[0]["error"]["message"].as_str().unwrap();
            assert!(said.contains("loop_budget.max_elapsed_ms allows no more"), "{said}");
        }
    }
}

/// Attempts count where policy says so, retries included.
#[test]
fn attempts_count_over_the_run() {
    for max in 1..=4 {
        let budget = format!("  max_attempts: {max}\n  warn_at_percent: 50\n");
        let (_, events) = budgeted(json!({"tool": "read", "mode": "always_fail"}), 2, &budget);
        assert_eq!(of_kind(&events, "tool_attempted").len(), max);
        let end = of_kind(&events, "run_finished")[0];
        // Four attempts are what the retries allow: they are used up before the budget is asked.
        let reason = if max == 4 { "failure_mode_terminal" } else { "loop_budget" };
        assert_eq!(end["terminal_reason"], reason, "{max}");
        let decided = of_kind(&events, "gate_decided");
        if max < 4 {
            let last = decided.last().unwrap();
            assert_eq!(last["details"]["limit_kind"], "attempts", "{last}");
            assert!(last["reason"].as_str().unwrap().contains("loop_budget.max_attempts"));
            let warned = decided.iter().any(|gate| gate["details"]["warn_at_percent"] == 50);
            assert!(warned, "{max}: {decided:?}");
        }
    }
    let budget = "  max_attempts: 2\n";
    let ok = json!({"tool": "search", "mode": "always_fail"});
    let (_, events) = budgeted(ok, 3, budget);
    assert_eq!(
        of_kind(&events, "tool_attempted").len(),
        2,
        "a call without an attempt left is denied"
    );
    assert_eq!(of_kind(&events, "run_finished")[0]["terminal_reason"], "loop_budget");
}

#[test]
fn waits_are_the_seeds_and_never_over_the_cap() {
    use gatedrun::policy::spec::Retry;
    use gatedrun::retry::backoff_ms;
    let limits =
        Retry { max_retries: 20, backoff_base_ms: 100, backoff_cap_ms: 2000, jitter_percent: 20 };
    let waits = |seed: u64| -> Vec<u64> {
        (1..=20).map(|attempt| backoff_ms(&limits, attempt, seed, "call_0").unwrap()).collect()
    };
    let goldens = [
        [103, 228, 477, 918, 1614, 2000],
        [109, 222, 411, 809, 1840, 2000],
        [112, 227, 444, 930, 1887, 2000],
    ];
    for (seed, golden) in goldens.iter().enumerate() {
        assert_eq!(waits(seed as u64)[..6], *golden, "seed {seed}");
    }
    assert!(waits(0).iter().all(|wait| *wait <= 2000));
    assert_eq!(backoff_ms(&limits, 21, 0, "call_0"), None);
}

#[test]
fn the_corpus_a_tool_reads_is_the_one_that_was_hashed() {
    let folder = Folder::project();
    let script = json!([{"calls": [{"tool": "read", "arguments": {"path": "corpus/op-01.md"}}]}, {"final_answer": {"$result": {"step": 1, "pointer": "/text"}}}]);
    let inputs = scripted(&folder, script, &[]);
    folder.write("data/corpus/v1/op-01.md", "changed after it was verified");
    let (recorded, _) = run(&inputs, &folder.path().join("work"));
    let answer = recorded.summary.finished.unwrap().answer.unwrap();
    assert_eq!(answer.as_bytes(), std::fs::read(root().join("data/corpus/v1/op-01.md")).unwrap());
}
