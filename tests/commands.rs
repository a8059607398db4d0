//! The commands about evidence, as their users see them: verify, sign, replay, resume, diff, review.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};

use crate::support::{Folder, Ran, committed_runs, copy, file, in_doubt, root};

const TASK: &str = "tasks/canonical/v1.json";
const RUN: &str = "runs/canonical/v1";

/// A project with some committed runs in it.
fn with_runs() -> Folder {
    let folder = Folder::project();
    for part in [
        RUN,
        "runs/failure_modes",
        "tasks/failure_modes",
        "runs/policy_gates",
        "tasks/policy_gates",
    ] {
        copy(root().join(part).as_std_path(), folder.path().join(part).as_std_path());
    }
    folder
}

fn json_lines(ran: &Ran) -> Vec<Value> {
    ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What is signed in an envelope.
fn statement(folder: &Folder, name: &str) -> Value {
    let envelope: Value = serde_json::from_slice(&folder.read(name)).unwrap();
    let payload = Base64::decode_vec(envelope["payload"].as_str().unwrap()).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

#[test]
fn verify_says_what_was_changed_and_where() {
    let folder = with_runs();
    insta::assert_snapshot!("verify", folder.gatedrun(&["verify", RUN]).all());
    assert_eq!(folder.gatedrun(&["verify"]).code, 0);
    folder.edit(&format!("{RUN}/run_report.md"), "75 days", "57 days");
    insta::assert_snapshot!("verify_report", folder.gatedrun(&["verify", RUN]).all());
    folder.edit(&format!("{RUN}/run_report.md"), "57 days", "75 days");
    folder.edit(&format!("{RUN}/state.jsonl"), "75 days", "57 days");
    insta::assert_snapshot!("verify_ledger", folder.gatedrun(&["verify", RUN]).all());
    let lines = json_lines(&folder.gatedrun(&["verify", "--json"]));
    assert_eq!(lines.len(), 13);
    let found: Vec<&Value> = lines.iter().filter(|line| line["verdict"] != "verified").collect();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["run"], RUN);
    assert_eq!(found[0]["findings"][0]["file"], "state.jsonl");
}

#[test]
fn every_verdict_has_its_exit_code() {
    let folder = with_runs();
    assert_eq!(folder.gatedrun(&["verify", RUN]).code, 0);
    folder.edit(&format!("{RUN}/trace.json"), "chat ", "chit ");
    assert_eq!(folder.gatedrun(&["verify", RUN]).code, 1, "tampered");
    folder.write(&format!("{RUN}/state.jsonl"), "{}\n");
    assert_eq!(folder.gatedrun(&["verify", RUN]).code, 5, "malformed");
    copy(root().join(RUN).as_std_path(), folder.path().join("elsewhere").as_std_path());
    assert_eq!(folder.gatedrun(&["verify", "elsewhere"]).code, 6, "unconfirmed");
    assert_eq!(folder.gatedrun(&["verify", "elsewhere", "--project", "."]).code, 0);
    // Of several, the worst tells.
    assert_eq!(folder.gatedrun(&["verify", "elsewhere", RUN]).code, 5);
    assert_eq!(folder.gatedrun(&["verify", "nowhere"]).code, 2);
}

#[test]
fn a_run_is_signed_and_the_signature_checked() {
    let folder = with_runs();
    for name in ["a.pem", "b.pem"] {
        assert_eq!(folder.gatedrun(&["keygen", name]).code, 0);
    }
    let again = folder.gatedrun(&["keygen", "a.pem"]);
    assert_eq!(again.code, 2, "a key is never replaced: {}", again.all());
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(folder.path().join("a.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let signed = folder.gatedrun(&["sign", RUN, "--key", "a.pem"]);
    assert_eq!(signed.code, 0, "{}", signed.all());
    assert_eq!(folder.gatedrun(&["verify", RUN, "--key", "a.pub.pem"]).code, 0);
    for (more, code) in [(None, 0), (Some("--require-signature"), 6)] {
        for key in [None, Some("b.pub.pem")] {
            let mut args = vec!["verify", RUN];
            args.extend(key.into_iter().flat_map(|key| ["--key", key]).chain(more));
            assert_eq!(folder.gatedrun(&args).code, code, "{args:?}");
        }
    }
    // What is not an envelope is replaced, and that is told.
    folder.write(&format!("{RUN}/attestation.intoto.json"), "{}");
    let ran = folder.gatedrun(&["sign", RUN, "--key", "a.pem"]);
    assert!(ran.code == 0 && ran.err.contains("was not a DSSE envelope"), "{}", ran.all());
    // The same statement and key give the same bytes, and what signs is what openssl reads.
    let first = folder.read(&format!("{RUN}/attestation.intoto.json"));
    folder.gatedrun(&["sign", RUN, "--key", "a.pem"]);
    assert_eq!(folder.read(&format!("{RUN}/attestation.intoto.json")), first);
    let envelope: Value = serde_json::from_slice(&first).unwrap();
    assert_eq!(envelope["payloadType"], "application/vnd.in-toto+json");
    // Every changed byte of the envelope is found.
    for at in (0..first.len() - 1).step_by(7) {
        let mut bytes = first.clone();
        bytes[at] ^= 1;
        folder.write(&format!("{RUN}/attestation.intoto.json"), bytes);
        let ran = folder.gatedrun(&["verify", RUN, "--key", "a.pub.pem", "--json"]);
        assert_ne!(ran.code, 0, "byte {at}: {}", ran.all());
    }
    folder.write(&format!("{RUN}/attestation.intoto.json"), &first);
    // Nobody signs what does not hold together.
    folder.edit(&format!("{RUN}/run_report.md"), "75 days", "57 days");
    let refused = folder.gatedrun(&["sign", RUN, "--key", "a.pem"]);
    assert_eq!(refused.code, 1, "{}", refused.all());
    let kept = folder.read(&format!("{RUN}/attestation.intoto.json"));
    assert_eq!(kept, first, "the older signature stays");
    assert_eq!(folder.gatedrun(&["sign", RUN, "--key", "a.pub.pem"]).code, 2);
}

#[test]
fn a_check_can_be_signed() {
    let folder = with_runs();
    folder.gatedrun(&["keygen", "k.pem"]);
    let ran = folder.gatedrun(&[
        "check",
        "runs/failure_modes",
        "--attest",
        "check.json",
        "--key",
        "k.pem",
    ]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let said = statement(&folder, "check.json");
    assert_eq!(said["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(said["predicateType"], "https://in-toto.io/attestation/test-result/v0.1");
    assert_eq!(said["predicate"]["result"], "PASSED");
    assert_eq!(said["subject"].as_array().unwrap().len(), 5);
    folder.edit("runs/failure_modes/cycle_detection/trace.json", "chat ", "chit ");
    folder.gatedrun(&["check", "runs/failure_modes", "--attest", "check.json", "--key", "k.pem"]);
    let said = statement(&folder, "check.json");
    assert_eq!(said["predicate"]["result"], "FAILED");
    assert_eq!(said["predicate"]["failedTests"], json!(["runs/failure_modes/cycle_detection"]));
}

#[test]
fn replay_says_where_a_run_diverges_and_why() {
    let folder = with_runs();
    insta::assert_snapshot!("replay", folder.gatedrun(&["replay", RUN]).all());
    folder.edit("policy/v1.yaml", "max_retries: 3", "max_retries: 2");
    let mode = "runs/failure_modes/retry_exhaustion";
    insta::assert_snapshot!("replay_policy", folder.gatedrun(&["replay", mode]).all());
    let line = &json_lines(&folder.gatedrun(&["replay", mode, "--json"]))[0];
    assert_eq!(line["fields"][0]["pointer"], "/event/backoff_ms", "{line}");
    assert_eq!(
        (&line["fields"][1]["recorded"], &line["fields"][1]["now"]),
        (&json!("\"transient_failure\""), &json!("\"exhausted\""))
    );
    let ran = folder.gatedrun(&["replay", RUN]);
    assert!(ran.out.contains("no event after it differs"), "{}", ran.all());
    folder.write("policy/v1.yaml", file("policy/v1.yaml"));
    // The tools are not asked: a corpus that is not there changes nothing but what it is.
    folder.edit("data/prompt/v1.md", "e", "a");
    let ran = folder.gatedrun(&["replay", RUN]);
    assert!(ran.out.contains("llm_called") && ran.out.contains("prompt"), "{}", ran.all());
    folder.write("data/prompt/v1.md", file("data/prompt/v1.md"));
    let ledger = folder.read(&format!("{RUN}/state.jsonl"));
    let cut = ledger.iter().rposition(|byte| *byte == b'"').unwrap();
    folder.write(&format!("{RUN}/state.jsonl"), &ledger[..cut]);
    let ran = folder.gatedrun(&["replay", RUN, "--json"]);
    assert_eq!((ran.code, json_lines(&ran)[0]["verdict"].clone()), (1, json!("incomplete")));
    let line = ledger[..ledger.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
    folder.write(&format!("{RUN}/state.jsonl"), &ledger[..=line]);
    let ran = folder.gatedrun(&["replay", RUN]);
    assert!(ran.out.contains("the record ends after 37 events"), "{}", ran.all());
    folder.write(&format!("{RUN}/state.jsonl"), [ledger.as_slice(), b"{\"seq\":"].concat());
    let ran = folder.gatedrun(&["replay", RUN]);
    assert!(ran.code == 1 && ran.out.contains("left over"), "{}", ran.all());
    // A link that was changed, and nothing else.
    let text = String::from_utf8(ledger.clone()).unwrap();
    let link = text.lines().nth(5).unwrap().rsplit_once("\"prev\":\"").unwrap().1;
    folder.write(&format!("{RUN}/state.jsonl"), text.replace(&link[..8], "00000000"));
    let ran = folder.gatedrun(&["replay", RUN]);
    assert!(ran.code == 5 && ran.out.contains("state.jsonl: line 6: prev is"), "{}", ran.all());
    folder.write(&format!("{RUN}/state.jsonl"), "no ledger\n");
    assert_eq!(folder.gatedrun(&["replay", RUN]).code, 5);
}

#[test]
fn another_policy_on_recorded_runs() {
    let folder = with_runs();
    let lenient = Folder::lenient_project();
    let policy = String::from_utf8(lenient.read("policy/v1.yaml")).unwrap();
    folder.write("next.yaml", policy.replace("denied: []", "denied: [fetch]"));
    insta::assert_snapshot!(
        "backtest",
        folder.gatedrun(&["replay", RUN, "runs/policy_gates", "--policy", "next.yaml"]).all()
    );
    // A gate that is opened: the denial is lost.
    folder.write("open.yaml", policy.replace("host: fixtures.local", "host: collect.example.com"));
    let args =
        ["replay", "runs/policy_gates", "--policy", "open.yaml", "--require", "deny:url_allowlist"];
    let ran =
        folder.gatedrun(&[&args[..], &["--junit", "out.xml", "--sarif", "out.sarif"]].concat());
    assert_eq!(ran.code, 1, "{}", ran.all());
    let xml = String::from_utf8(folder.read("out.xml")).unwrap();
    assert!(xml.contains("<failure") && xml.contains("tests=\"7\""), "{xml}");
    let sarif: Value = serde_json::from_slice(&folder.read("out.sarif")).unwrap();
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let lost: Vec<&Value> = results.iter().filter(|result| result["level"] == "error").collect();
    assert!(!lost.is_empty() && lost.iter().all(|r| r["ruleId"] == "url_allowlist"), "{sarif}");
    let place = &lost[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
    assert_eq!(place, "runs/policy_gates/pg1_off_allowlist_url/state.jsonl");
    let line = &json_lines(&folder.gatedrun(&[&args[..], &["--json"]].concat()))[0];
    assert!(line["lost"].is_array() && line["verdict"] == "exact", "{line}");
    // A budget that is lifted: the denial has no counterpart, and nothing denies.
    folder.write("more.yaml", policy.replace("max_iterations: 10", "max_iterations: 11"));
    let args = ["replay", "runs/policy_gates/pg3_loop_budget", "--policy", "more.yaml"];
    let required = [&args[..], &["--require", "deny:loop_budget"]].concat();
    let ran = folder.gatedrun(&required);
    assert!(ran.code == 1 && ran.out.contains("deny:loop_budget -> allow"), "{}", ran.all());
    assert_eq!(folder.gatedrun(&args).code, 0, "nothing is required");
    // Where nothing is executed, it is lost all the same, and what follows is not told.
    let ran = folder.gatedrun(&[&required[..], &["--recorded-only"]].concat());
    assert!(ran.code == 1 && ran.out.contains("deny:loop_budget -> allow"), "{}", ran.all());
    let args = ["replay", RUN, "--policy", "lenient.yaml", "--recorded-only", "--require", "allow"];
    let lenient = policy.replace("on_deny: terminate", "on_deny: continue");
    folder.write("lenient.yaml", lenient.replace("denied: []", "denied: [fetch]"));
    let ran = folder.gatedrun(&args);
    assert!(
        ran.code == 1 && ran.out.contains("bounded@2, what follows is unknown"),
        "{}",
        ran.all()
    );
    assert!(ran.out.contains("read       allow -> unknown  (required)"), "{}", ran.all());
    // Programs receive the same, even of a folder whose name is not a URI.
    copy(folder.path().join(RUN).as_std_path(), folder.path().join("ü 1%/v1").as_std_path());
    let args = ["replay", "ü 1%/v1", "--task", TASK, "--policy", "lenient.yaml", "--recorded-only"];
    let ran = folder.gatedrun(&[&args[..], &["--sarif", "out.sarif"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.all());
    let sarif = String::from_utf8(folder.read("out.sarif")).unwrap();
    assert!(sarif.contains("step 3, read: allow -> unknown"), "{sarif}");
    assert!(sarif.contains("\"uri\": \"%C3%BC%201%25/v1/state.jsonl\""), "{sarif}");
    // What a denial means for the run is policy too: it ends, or continues, with the same decision.
    for part in ["runs/on_deny", "tasks/on_deny"] {
        copy(root().join(part).as_std_path(), folder.path().join(part).as_std_path());
    }
    let ends =
        folder.gatedrun(&["replay", "runs/on_deny", "--policy", "policy/variants/budgets.yaml"]);
    let goes_on = ["replay", "runs/policy_gates", "--policy", "policy/variants/continue.yaml"];
    let goes_on = folder.gatedrun(&[&goes_on[..], &["--recorded-only"]].concat());
    insta::assert_snapshot!("backtest_on_deny", ends.all() + &goes_on.all());
    // One that ends the run earlier is met before the other is.
    folder.write("less.yaml", policy.replace("max_iterations: 10", "max_iterations: 2"));
    let args = ["replay", "runs/policy_gates/pg3_loop_budget", "--policy", "less.yaml"];
    let ran = folder.gatedrun(&[&args[..], &["--require", "deny:loop_budget"]].concat());
    assert!(ran.code == 0 && ran.out.contains("deny:loop_budget"), "{}", ran.all());
    let ran = folder.gatedrun(&["replay", RUN, "--policy", "next.yaml", "--require", "denied"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
}

#[test]
fn no_run_is_passed_over_for_its_name() {
    let folder = Folder::project();
    for (id, runs) in [("work/v1", 1), ("other/work", 2), ("new/v1", 3)] {
        let at = folder.path().join("runs").join(id);
        copy(root().join(RUN).as_std_path(), at.as_std_path());
        let ran = folder.gatedrun(&["verify", "runs", "--json"]);
        assert_eq!(json_lines(&ran).len(), runs, "{id}: {}", ran.all());
    }
    // What lies in a run's own folder of that name is the run's.
    copy(root().join(RUN).as_std_path(), folder.path().join("runs/new/v1/work/v1").as_std_path());
    let lines = json_lines(&folder.gatedrun(&["verify", "runs", "--json"]));
    let has = |line: &Value, cause: &str| {
        line["findings"].as_array().unwrap().iter().any(|found| found["cause"] == cause)
    };
    assert!(lines.iter().all(|line| has(line, "place")), "{lines:?}");
    let tampered: Vec<_> = lines.iter().filter(|line| has(line, "contents")).collect();
    assert_eq!((lines.len(), tampered.len()), (3, 1), "{lines:?}");
    assert_eq!(tampered[0]["run"], "runs/new/v1");
}

/// A task that takes a while: so many searches.
pub fn long(folder: &Folder, steps: u64) {
    let mut task: Value = serde_json::from_slice(&folder.read(TASK)).unwrap();
    task.as_object_mut().unwrap().remove("expected");
    folder.edit("policy/v1.yaml", "max_iterations: 10", "max_iterations: 1000000");
    folder.edit("policy/v1.yaml", "max_tokens: 50000", "max_tokens: 1000000000000");
    task["id"] = "test/long".into();
    task["llm"] = json!({"script": [
        {"calls": [{"tool": "search", "arguments": {"query": {"$concat": ["relay ", {"$step": {}}]}}}], "repeat": steps},
        {"final_answer": "done"}
    ]});
    folder.write("tasks/test/long.json", task.to_string());
}

pub fn signal(child: &std::process::Child, name: &str) {
    let sent = std::process::Command::new("kill").args([name, &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
}

#[test]
fn a_signal_leaves_a_run_that_can_be_carried_on() {
    let folder = Folder::lenient_project();
    long(&folder, 20_000);
    for name in ["-INT", "-TERM"] {
        let mut child = folder.spawn(&["run", "tasks/test/long.json", "--json"]);
        let partial = folder.path().join("runs/test/long.partial");
        let since = Instant::now();
        while !partial.join("state.jsonl").exists() {
            assert!(since.elapsed() < Duration::from_secs(20));
        }
        std::thread::sleep(Duration::from_millis(50));
        // While it runs, nobody else may.
        let second = folder.gatedrun(&["run", "tasks/test/long.json"]);
        let owner = format!("process {} is writing this run", child.id());
        assert!(second.code == 2 && second.err.contains(&owner), "{}", second.all());
        let second = folder.gatedrun(&["resume", "runs/test/long"]);
        assert!(second.code == 2 && second.err.contains(&owner), "{}", second.all());
        signal(&child, name);
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(7), "{status} {:?}", status.signal());
        let recorded = std::fs::read(partial.join("state.jsonl")).unwrap();
        assert!(recorded.ends_with(b"\n"), "the last event is whole");
        let ran = folder.gatedrun(&["run", "tasks/test/long.json"]);
        assert!(ran.code == 2 && ran.err.contains("gatedrun resume"), "{}", ran.all());
        let ran = folder.gatedrun(&["resume", "runs/test/long", "--json"]);
        assert_eq!(ran.code, 0, "{}", ran.all());
        assert_eq!(folder.gatedrun(&["check", "runs/test/long"]).code, 0);
        std::fs::remove_dir_all(folder.path().join("runs/test")).unwrap();
    }
    let ran = folder.gatedrun(&["resume", "runs/test/long"]);
    assert!(ran.code == 2 && ran.err.contains("no such folder"), "{}", ran.all());
}

#[test]
fn a_second_signal_leaves_at_once() {
    let folder = Folder::lenient_project();
    long(&folder, 20_000);
    // Nobody reads what it prints, so it waits in the middle of a step once the pipe is full.
    let mut child = folder.spawn_piped(&["run", "tasks/test/long.json"]);
    let ledger = folder.path().join("runs/test/long.partial/state.jsonl");
    let size = || std::fs::metadata(&ledger).map_or(0, |metadata| metadata.len());
    let since = Instant::now();
    let mut before = 0;
    while before == 0 || size() != before {
        assert!(since.elapsed() < Duration::from_secs(30));
        before = size();
        std::thread::sleep(Duration::from_millis(300));
    }
    signal(&child, "-INT");
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none(), "the first signal waits for the event in hand");
    signal(&child, "-INT");
    assert_eq!(child.wait().unwrap().code(), Some(7));
    let ran = folder.gatedrun(&["resume", "runs/test/long", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert_eq!(folder.gatedrun(&["check", "runs/test/long"]).code, 0);
}

#[test]
fn a_call_in_doubt_waits_for_a_human() {
    for (word, took_place) in [("took-place", true), ("did-not", false)] {
        let (folder, call) = in_doubt();
        let ran = folder.gatedrun(&["resume", "runs/test/doubt"]);
        assert_eq!(ran.code, 4, "{}", ran.all());
        assert!(ran.err.contains(&format!("--settle {call}=took-place")), "{}", ran.all());
        assert!(!folder.path().join("runs/test/doubt.partial/work").exists(), "nothing was done");
        // Another call's answer settles nothing, and an answer needs a reason.
        let other = ["resume", "runs/test/doubt", "--settle", "call_x=did-not", "--reason", "r"];
        assert_eq!(folder.gatedrun(&other).code, 2);
        let settle = format!("{call}={word}");
        assert_eq!(folder.gatedrun(&["resume", "runs/test/doubt", "--settle", &settle]).code, 2);
        for unseen in
            ["", " \n", "\u{200b}", "\u{3164}", "\u{2800}", "\u{ad}", "\u{e0041} \u{fe0f}"]
        {
            let args = ["resume", "runs/test/doubt", "--settle", &settle, "--reason", unseen];
            let ran = folder.gatedrun(&args);
            assert!(ran.code == 2 && ran.err.contains("no visible"), "{unseen:?}: {}", ran.all());
        }
        let args = ["resume", "runs/test/doubt", "--settle", &settle, "--reason", "I looked"];
        let ran = folder.gatedrun(&args);
        assert_eq!(ran.code, 0, "{}", ran.all());
        let ledger = String::from_utf8(folder.read("runs/test/doubt/state.jsonl")).unwrap();
        let due = format!(
            "\"kind\":\"tool_reconciled\",\"call_id\":\"{call}\",\"took_place\":{took_place},\"reason\":\"I looked\""
        );
        assert!(ledger.contains(&due), "{ledger}");
        assert_eq!(ledger.contains("result_lost"), took_place);
        // Its file is as the record says, whatever lay there.
        assert_eq!(folder.read("runs/test/doubt/work/a.md"), b"a");
        // What a human decided is part of the record from then on, and shown.
        let shown = folder.gatedrun(&["show", "runs/test/doubt"]);
        let said =
            if took_place { "it took place: I looked" } else { "it did not take place: I looked" };
        assert!(shown.out.contains(&format!("settled by a person: {said}")), "{}", shown.all());
        let shown = folder.gatedrun(&["show", "runs/test/doubt", "--json"]);
        let due = format!("\"settled\":{{\"took_place\":{took_place},\"reason\":\"I looked\"}}");
        assert!(shown.out.contains(&due), "{}", shown.all());
        for command in ["verify", "replay"] {
            let ran = folder.gatedrun(&[command, "runs/test/doubt"]);
            assert_eq!(ran.code, 0, "{command}: {}", ran.all());
        }
    }
}

#[test]
fn a_damaged_ledger_and_changed_inputs_are_not_carried_on() {
    let (folder, _) = in_doubt();
    let partial = "runs/test/doubt.partial/state.jsonl";
    let whole = folder.read(partial);
    folder.edit(partial, "work/a.md", "work/b.md");
    let ran = folder.gatedrun(&["resume", "runs/test/doubt"]);
    assert!(ran.code == 1 && ran.err.contains("state.jsonl: line"), "{}", ran.all());
    folder.write(partial, &whole);
    folder.edit("data/prompt/v1.md", "e", "a");
    let ran = folder.gatedrun(&["resume", "runs/test/doubt"]);
    assert!(
        ran.code == 9 && ran.err.contains("data/prompt/v1.md has changed: was"),
        "{}",
        ran.all()
    );
    assert_eq!(folder.read(partial), whole, "what is recorded stays as it is");
}

#[test]
fn diff_aligns_steps_and_review_walks_proposals() {
    let folder = with_runs();
    let ran = folder.gatedrun(&["diff", RUN, RUN]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    folder.edit("policy/v1.yaml", "max_retries: 3", "max_retries: 2");
    assert_eq!(folder.gatedrun(&["check", "runs/failure_modes"]).code, 1);
    let mode = "runs/failure_modes/retry_exhaustion";
    let new = format!("{mode}.new");
    insta::assert_snapshot!("diff", folder.gatedrun(&["diff", mode, &new]).all());
    insta::assert_snapshot!(
        "diff_wide",
        folder.gatedrun(&["diff", mode, &new, "--width", "120"]).all()
    );
    let found: Value =
        serde_json::from_str(&folder.gatedrun(&["diff", mode, &new, "--json"]).out).unwrap();
    assert_eq!(found["first"]["seq"], 0);
    assert_eq!(found["steps"][0]["differences"][0]["what"], "call 1 attempts");
    let args = ["review", "--accept"];
    let ran = folder.gatedrun_with(&args, &[("CI", "true")]);
    assert_eq!(ran.code, 2, "CI accepts nothing: {}", ran.all());
    // One is accepted, one rejected, one skipped, and then the reviewer leaves.
    let ran = folder.gatedrun_stdin(&["review", "runs"], "a\nx\nr\ns\nq\n");
    assert!(ran.code == 1, "{}", ran.all());
    assert!(ran.out.ends_with("5 proposals: 1 accepted, 1 rejected, 3 left\n"), "{}", ran.all());
    assert_eq!(
        folder.gatedrun(&["check", "runs/failure_modes/catalogued_unhandled"]).code,
        0,
        "accepted"
    );
    assert!(!folder.path().join("runs/failure_modes/cycle_detection.new").exists(), "rejected");
    let ran = folder.gatedrun(&["review", "--reject"]);
    assert!(ran.code == 0 && ran.out.contains("3 rejected"), "{}", ran.all());
    assert_eq!(folder.gatedrun(&["review"]).code, 0);
}

fn search(query: &str) -> Value {
    json!({"tool": "search", "arguments": {"query": query}})
}

/// Makes a run with this script in `runs/test/NAME`.
fn scripted_as(folder: &Folder, name: &str, script: &Value) {
    let mut task: Value = serde_json::from_slice(&folder.read(TASK)).unwrap();
    task.as_object_mut().unwrap().remove("expected");
    task["id"] = format!("test/{name}").into();
    task["llm"] = json!({"script": script});
    folder.write(&format!("tasks/test/{name}.json"), task.to_string());
    let ran = folder.gatedrun(&["run", &format!("tasks/test/{name}.json"), "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
}

/// A step of one run, and the one that stands for it in another.
type Pair = (Option<u64>, Option<u64>);

/// The difference of two such runs, and which steps stand for which.
fn diff_of(folder: &Folder, a: &str, b: &str) -> (Value, Vec<Pair>) {
    let (a, b) = (format!("runs/test/{a}"), format!("runs/test/{b}"));
    let found: Value =
        serde_json::from_str(&folder.gatedrun(&["diff", &a, &b, "--json"]).out).unwrap();
    let step = |pair: &Value, side: &str| pair[side]["step"].as_u64();
    let steps = found["steps"].as_array().unwrap().iter();
    let pairs = steps.map(|pair| (step(pair, "a"), step(pair, "b"))).collect();
    (found, pairs)
}

#[test]
fn diff_finds_a_step_or_a_call_that_was_put_in() {
    let folder = Folder::project();
    let one = |query: &str| json!({"calls": [search(query)]});
    let end = json!({"final_answer": "done"});
    scripted_as(&folder, "a", &json!([one("one"), one("two"), end]));
    scripted_as(&folder, "b", &json!([one("one"), one("between"), one("two"), end]));
    let (_, pairs) = diff_of(&folder, "a", "b");
    assert_eq!(
        pairs,
        [(Some(1), Some(1)), (None, Some(2)), (Some(2), Some(3)), (Some(3), Some(4))]
    );
    scripted_as(&folder, "c", &json!([{"calls": [search("one"), search("two")]}, end]));
    let more = json!([{"calls": [search("zero"), search("one"), search("two")]}, end]);
    scripted_as(&folder, "d", &more);
    for (a, b, what, side) in [("c", "d", "call 1", "b"), ("d", "c", "call 1", "a")] {
        let (found, _) = diff_of(&folder, a, b);
        let differences = found["steps"][0]["differences"].as_array().unwrap();
        let calls: Vec<&Value> = differences
            .iter()
            .filter(|difference| difference["what"].as_str().unwrap().starts_with("call"))
            .collect();
        assert!(calls.len() == 1 && calls[0]["what"] == what, "{found:#}");
        assert!(calls[0][side].as_str().unwrap().contains("zero"), "{found:#}");
    }
}

#[test]
fn diff_shows_where_long_values_begin_to_differ() {
    let folder = Folder::project();
    let end = json!({"final_answer": "done"});
    let text = |last: &str| format!("{}é {last}", "The same. ".repeat(60));
    let call =
        |last: &str| json!({"calls": [{"tool": "summarize", "arguments": {"text": text(last)}}]});
    scripted_as(&folder, "a", &json!([call("Old."), end]));
    scripted_as(&folder, "b", &json!([call("New, and more."), end]));
    let ran = folder.gatedrun(&["diff", "runs/test/a", "runs/test/b"]);
    for (sign, last) in [('-', "Old."), ('+', "New, and more.")] {
        let due = format!("{sign} …e same. The same. The same. The same. é {last}\"}}\n");
        assert!(ran.out.contains(&due), "{due}{}", ran.all());
    }
    // What is counted separately is reported separately.
    let tokens = "outcome\n  task\n    - test/a\n    + test/b\n  usage: input tokens\n";
    assert!(ran.out.contains(tokens), "{}", ran.all());
}

#[test]
fn diff_holds_no_more_than_it_may() {
    use gatedrun::evidence::diff::diff_within;
    let folder = Folder::project();
    let one = |query: &str| json!({"calls": [search(query)]});
    let end = json!({"final_answer": "done"});
    scripted_as(&folder, "a", &json!([one("one"), one("two"), one("three"), end]));
    scripted_as(&folder, "b", &json!([one("one"), one("other"), end]));
    let runs = ["a", "b"].map(|name| folder.path().join("runs/test").join(name));
    let diff = |bytes_max| diff_within(bytes_max, &runs[0], &runs[1]).unwrap();
    let whole = diff(1 << 20);
    assert_eq!((whole.omitted, whole.steps.len()), ((0, 0), 4));
    // What is left out is a run's end, and what else is reported of it stays.
    let mut last = usize::MAX;
    for bytes_max in (0..20_000).rev().step_by(100) {
        let part = diff(bytes_max);
        let held = |steps: usize, omitted: u64| steps as u64 - omitted;
        let kept = held(4, part.omitted.0).max(held(3, part.omitted.1));
        assert_eq!(part.steps.len() as u64, kept, "{bytes_max}: {part:#?}");
        assert!(part.steps.len() <= last);
        assert_eq!(part.outcome, whole.outcome);
        assert_eq!(part.first.unwrap().seq, 0);
        last = part.steps.len();
    }
    assert_eq!(last, 0);
}

/// Two long runs that have nothing in common but their ends: no aligning goes on for ever.
#[test]
fn diff_of_long_runs_ends() {
    let folder = Folder::lenient_project();
    folder.edit("policy/v1.yaml", "max_iterations: 10", "max_iterations: 1000000");
    folder.edit("policy/v1.yaml", "max_tokens: 50000", "max_tokens: 1000000000000");
    let count = if crate::support::exhaustive() { 60_000 } else { 300 };
    let end = json!({"final_answer": "done"});
    let begin = json!({"calls": [search("begin")]});
    let steps = |word: &str| {
        let query = json!({"$concat": [word, {"$step": {}}]});
        json!({"calls": [{"tool": "search", "arguments": {"query": query, "top_k": 1}}], "repeat": count})
    };
    scripted_as(&folder, "a", &json!([begin, steps("relay "), end]));
    scripted_as(&folder, "b", &json!([begin, steps("team "), end]));
    let since = Instant::now();
    let (_, pairs) = diff_of(&folder, "a", "b");
    assert!(since.elapsed() < Duration::from_secs(60));
    let due: Vec<_> = (1..=count + 2).map(|step| (Some(step), Some(step))).collect();
    assert!(pairs == due, "{} pairs", pairs.len());
    // One that was put in before the same ones moves them, and no more.
    let put_in = json!({"calls": [search("put in")]});
    scripted_as(
        &folder,
        "c",
        &json!([begin, put_in, {"calls": [search("same")], "repeat": 3}, end]),
    );
    scripted_as(&folder, "d", &json!([begin, {"calls": [search("same")], "repeat": 3}, end]));
    let (_, pairs) = diff_of(&folder, "d", "c");
    assert_eq!(pairs[..3], [(Some(1), Some(1)), (None, Some(2)), (Some(2), Some(3))]);
}

#[test]
fn a_file_that_no_run_made_is_drift() {
    let folder = with_runs();
    folder.write(&format!("{RUN}/notes.md"), "x");
    let ran = folder.gatedrun(&["check", RUN]);
    let due = format!("{RUN}/notes.md: not a part of a run");
    assert!(ran.code == 1 && ran.out.contains(&due), "{}", ran.all());
}

#[test]
fn a_run_without_its_task_is_an_orphan() {
    let folder = with_runs();
    std::fs::remove_file(folder.path().join("tasks/failure_modes/cycle_detection.json")).unwrap();
    let ran = folder.gatedrun(&["check", "runs/failure_modes"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(
        ran.out.contains("cycle_detection: orphan") && ran.out.contains("5 runs checked"),
        "{}",
        ran.all()
    );
}

#[test]
fn a_run_that_cannot_be_tried_does_not_hide_what_the_others_come_to() {
    let folder = with_runs();
    let unloadable = "runs/failure_modes/retry_exhaustion";
    folder.write("tasks/failure_modes/retry_exhaustion.json", "{");
    let unreadable = "runs/failure_modes/cycle_detection";
    folder.edit(&format!("{unreadable}/state.jsonl"), "\"seq\":2,", "\"seq\":two,");
    let all = ["runs/failure_modes"];
    let verdicts = |ran: &Ran, word: &str| -> Vec<String> {
        json_lines(ran).iter().map(|line| line[word].as_str().unwrap().to_owned()).collect()
    };

    let ran = folder.gatedrun(&["check", all[0], "--json"]);
    let due = ["identical", "differs", "failed", "identical", "identical"];
    assert_eq!((ran.code, verdicts(&ran, "verdict")), (2, due.map(str::to_owned).to_vec()));
    insta::assert_snapshot!("check_failed", folder.gatedrun(&["check", unloadable]).all());
    folder.gatedrun(&["keygen", "k.pem"]);
    folder.gatedrun(&["check", all[0], "--attest", "check.json", "--key", "k.pem"]);
    let said = statement(&folder, "check.json");
    assert_eq!(said["predicate"]["failedTests"], json!([unreadable, unloadable]), "{said}");

    let ran = folder.gatedrun(&["replay", all[0], "--json"]);
    let due = ["identical", "unreadable", "failed", "identical", "identical"];
    assert_eq!((ran.code, verdicts(&ran, "verdict")), (5, due.map(str::to_owned).to_vec()));

    let args = ["replay", all[0], "--policy", "policy/v1.yaml", "--require", "deny"];
    let ran = folder.gatedrun(&[&args[..], &["--json"]].concat());
    let due = ["exact", "unreadable", "failed", "exact", "exact"];
    assert_eq!((ran.code, verdicts(&ran, "verdict")), (5, due.map(str::to_owned).to_vec()));
    let reports = ["--junit", "out.xml", "--sarif", "out.sarif"];
    insta::assert_snapshot!(
        "backtest_refused",
        folder.gatedrun(&[&args[..], &reports].concat()).all()
    );
    let xml = String::from_utf8(folder.read("out.xml")).unwrap();
    assert!(xml.contains("tests=\"5\"") && xml.contains("errors=\"2\""), "{xml}");
    assert!(xml.contains("<error message=\"tasks/failure_modes/retry_exhaustion.json"), "{xml}");
    let sarif: Value = serde_json::from_slice(&folder.read("out.sarif")).unwrap();
    let invocation = &sarif["runs"][0]["invocations"][0];
    assert_eq!(invocation["executionSuccessful"], false, "{sarif}");
    let told = &invocation["toolExecutionNotifications"];
    assert_eq!(told.as_array().map(Vec::len), Some(2), "{sarif}");
    let place = &told[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
    assert_eq!(place, &format!("{unreadable}/state.jsonl"));
    folder.write(
        "tasks/failure_modes/retry_exhaustion.json",
        file("tasks/failure_modes/retry_exhaustion.json"),
    );
    let ran = folder.gatedrun(&["replay", unloadable, "--policy", "policy/v1.yaml"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    // Neither a run that lies where no task is known, nor a policy that cannot be loaded, is a verdict.
    copy(folder.path().join(RUN).as_std_path(), folder.path().join("away").as_std_path());
    let ran = folder.gatedrun(&["replay", "away"]);
    assert!(ran.code == 2 && ran.err.contains("--task") && ran.out.is_empty(), "{}", ran.all());
    folder.write("policy/none.yaml", "{");
    let ran = folder.gatedrun(&["replay", all[0], "--policy", "policy/none.yaml", "--json"]);
    assert!(ran.code == 2 && !ran.out.contains("failed"), "{}", ran.all());
}

#[test]
fn tasks_run_side_by_side_are_printed_one_after_the_other() {
    let (one, two) = (Folder::project(), Folder::project());
    let mut printed = Vec::new();
    for (folder, jobs) in [(&one, "1"), (&two, "3")] {
        copy(root().join("tasks").as_std_path(), folder.path().join("tasks").as_std_path());
        folder.write("tasks/budgets/broken.json", "{");
        let first = folder.gatedrun(&["run", "tasks", "--jobs", jobs]);
        let second = folder.gatedrun(&["run", "tasks", "--jobs", jobs, "--json"]);
        assert_eq!((first.code, second.code), (2, 2), "{}", first.all());
        printed.push((first.out, first.err, second.out, second.err));
        let verified = folder.gatedrun(&["verify"]);
        assert!(verified.code == 0 && verified.out.contains("24 runs: 24 verified"));
    }
    assert_eq!(printed[0], printed[1]);
    assert!(printed[0].1.contains("broken.json: line 1"), "{}", printed[0].1);
    for id in committed_runs() {
        let ledger = format!("runs/{id}/state.jsonl");
        assert_eq!(one.read(&ledger), two.read(&ledger));
    }
    // What is said before its turn may be more than waits.
    let one = Folder::lenient_project();
    long(&one, 2_000);
    let ran = one.gatedrun(&["run", TASK, "tasks/test/long.json", "--jobs", "2"]);
    let steps = ran.out.lines().filter(|line| line.starts_with("  step ")).count();
    assert_eq!(steps, 5 + 2_001, "{}", ran.err);
    let starts =
        |line: &&str| line.starts_with("canonical/v1  ") || line.starts_with("test/long  ");
    let heads: Vec<&str> = ran.out.lines().filter(starts).collect();
    assert!(heads[0].starts_with("canonical") && heads[1].starts_with("test"), "{heads:?}");
    // Of one place the runs come one after the other.
    one.write("mine.json", one.read(TASK));
    for other in [TASK, "builtin:tasks/canonical/v1.json", "./tasks/canonical/v1.json", "mine.json"]
    {
        let ran = one.gatedrun(&["run", TASK, other, "--jobs", "2"]);
        assert!(!ran.err.contains("is writing this run"), "{other}: {}", ran.all());
    }
    let ran = one.gatedrun(&["run", TASK, "--jobs", "0"]);
    assert!(ran.code == 2 && ran.err.contains("a whole number from 1"), "{}", ran.all());
}

#[test]
fn a_signal_ends_all_runs_that_are_under_way_and_begins_no_other() {
    let folder = Folder::lenient_project();
    long(&folder, 20_000);
    let task = String::from_utf8(folder.read("tasks/test/long.json")).unwrap();
    for number in 2..=4 {
        let id = format!("test/long{number}");
        folder.write(&format!("tasks/{id}.json"), task.replace("test/long", &id));
    }
    let child = folder.spawn_piped(&["run", "tasks/test", "--jobs", "2", "--json"]);
    let begun =
        |id: &str| folder.path().join(format!("runs/test/{id}.partial/state.jsonl")).exists();
    let since = Instant::now();
    while !(begun("long") && begun("long2")) {
        assert!(since.elapsed() < Duration::from_secs(20));
    }
    std::thread::sleep(Duration::from_millis(50));
    signal(&child, "-INT");
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(7));
    let said = String::from_utf8(ended.stdout).unwrap();
    for id in ["long", "long2"] {
        assert!(said.contains(&format!("gatedrun resume runs/test/{id}`")), "{said}");
        let ran = folder.gatedrun(&["resume", &format!("runs/test/{id}"), "-q"]);
        assert_eq!(ran.code, 0, "{}", ran.all());
    }
    assert!(!begun("long3") && !begun("long4"), "{said}");
    assert!(said.contains("2 tasks were not run"), "{said}");
}
