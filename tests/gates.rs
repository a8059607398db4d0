//! What CI relies on: a gate that checked nothing, or does not know, is never green; each verdict names
//! its cause; and what is written for CI can be read by its readers.

use serde_json::{Value, json};

use crate::support::{Folder, Ran, copy, in_doubt, root};
use crate::tools::second_verdict_is;

const RUN: &str = "runs/canonical/v1";
const TASK: &str = "tasks/canonical/v1.json";
const PG1: &str = "policy_gates/pg1_off_allowlist_url";

/// A project without examples in its policy, with runs that are as their tasks make them.
fn project() -> Folder {
    let folder = Folder::lenient_project();
    let parts = ["tasks/policy_gates", "tasks/failure_modes"];
    for part in parts {
        copy(root().join(part).as_std_path(), folder.path().join(part).as_std_path());
    }
    for entry in walkdir::WalkDir::new(folder.path().join("tasks")).sort_by_file_name() {
        let path = entry.unwrap().into_path().into_os_string().into_string().unwrap();
        if path.ends_with(".json") {
            let ran = folder.gatedrun(&["run", &path, "--json"]);
            assert_eq!(ran.code, 0, "{}", ran.all());
        }
    }
    folder
}

fn policy(folder: &Folder) -> String {
    String::from_utf8(folder.read("policy/v1.yaml")).unwrap()
}

/// Runs this script under a policy that continues after denials.
fn scripted(folder: &Folder, name: &str, script: Value) {
    let text = policy(folder).replace("on_deny: terminate", "on_deny: continue");
    folder.write("policy/lenient.yaml", text);
    let mut task: Value = serde_json::from_slice(&folder.read(TASK)).unwrap();
    task.as_object_mut().unwrap().remove("expected");
    task["id"] = format!("test/{name}").into();
    task["policy"] = "policy/lenient.yaml".into();
    task["llm"] = json!({"script": script});
    folder.write(&format!("tasks/test/{name}.json"), task.to_string());
    let ran = folder.gatedrun(&["run", &format!("tasks/test/{name}.json"), "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
}

fn lines(ran: &Ran) -> Vec<Value> {
    ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_limit_inside_a_tool_bounds_what_is_known() {
    let folder = Folder::lenient_project();
    let read = json!({"calls": [{"tool": "read", "arguments": {"path": "corpus/op-07.md"}}]});
    let bad = json!({"calls": [{"tool": "read", "arguments": {"path": "/etc/passwd"}}]});
    let write = json!({"calls": [{"tool": "write", "arguments": {"path": "work/a.md", "content": "a".repeat(2000)}}]});
    scripted(&folder, "reads", json!([read, bad, {"final_answer": "ok"}]));
    scripted(&folder, "writes", json!([write, {"final_answer": "ok"}]));
    let reference = json!({"$result": {"step": 1, "call": 1, "pointer": "/text"}});
    let uses = json!({"calls": [{"tool": "summarize", "arguments": {"text": reference}}]});
    scripted(&folder, "uses", json!([read, uses, bad, {"final_answer": "ok"}]));
    let text = String::from_utf8(folder.read("policy/lenient.yaml")).unwrap();
    folder.write("read.yaml", text.replace("max_read_bytes: 262144", "max_read_bytes: 500"));
    folder.write("write.yaml", text.replace("max_write_bytes: 262144", "max_write_bytes: 1024"));
    folder.write("large.yaml", text.replace("max_read_bytes: 262144", "max_read_bytes: 262000"));
    for (name, policy, due) in [
        ("reads", "read.yaml", "bounded@1"),
        ("writes", "write.yaml", "bounded@1"),
        ("reads", "write.yaml", "exact"),
        ("reads", "large.yaml", "exact"),
    ] {
        let ran = folder.gatedrun(&["replay", &format!("runs/test/{name}"), "--policy", policy]);
        assert!(ran.code == 0 && ran.out.contains(due), "{name} {policy}: {}", ran.all());
    }
    // The result and more bytes of the arguments both change: the denial is reached for real.
    let both = text.replace("max_read_bytes: 262144", "max_read_bytes: 500");
    folder.write("both.yaml", both.replace("max_bytes: 65536", "max_bytes: 1024"));
    let args = ["replay", "runs/test/reads", "--policy", "both.yaml", "--require", "deny"];
    let ran = folder.gatedrun(&args);
    assert!(ran.code == 0 && ran.out.contains("bounded@1, continued"), "{}", ran.all());
    // Where the continued run stops, nobody knows what follows, and that is not "not reached".
    let args = ["replay", "runs/test/uses", "--policy", "read.yaml", "--require", "deny"];
    let ran = folder.gatedrun(&args);
    assert!(ran.code == 1 && ran.out.contains("deny:sandbox_path -> unknown"), "{}", ran.all());
    assert!(!ran.out.contains("not reached"), "{}", ran.all());
    let line = &lines(&folder.gatedrun(&[&args[..], &["--json"]].concat()))[0];
    assert_eq!((&line["continued"], line["lost"].as_array().unwrap().len()), (&json!(false), 1));
}

#[test]
fn what_is_required_and_matches_nothing_is_red() {
    let folder = project();
    let text = policy(&folder);
    folder.write("same.yaml", format!("# other bytes\n{text}"));
    folder.write("open.yaml", text.replace("host: fixtures.local", "host: collect.example.com"));
    let args = ["replay", RUN, "--policy", "same.yaml", "--require"];
    let ran = folder.gatedrun(&[&args[..], &["deny:url_allowlist", "--junit", "r.xml"]].concat());
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(ran.err.contains("no recorded decision matches deny:url_allowlist"), "{}", ran.all());
    assert!(String::from_utf8(folder.read("r.xml")).unwrap().contains("failures=\"1\""));
    for required in ["no-change", "allow"] {
        let ran = folder.gatedrun(&[&args[..], &[required]].concat());
        assert_eq!(ran.code, 0, "{required}: {}", ran.all());
    }
    let pg1 = format!("runs/{PG1}");
    let ran = folder.gatedrun(&["replay", &pg1, "--policy", "open.yaml"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    for part in ["LOOSENED", "recorded: ", "deny -> allow: 1, allow -> deny: 0"] {
        assert!(ran.out.contains(part), "{part}: {}", ran.all());
    }
    let ran = folder.gatedrun(&["replay", &pg1, "--policy", "open.yaml", "--require", "no-change"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
}

#[test]
fn nothing_is_blamed_on_a_policy_where_the_evidence_is_not_sound() {
    let folder = project();
    folder.edit(&format!("{RUN}/state.jsonl"), "\"decision\":\"allow\"", "\"decision\":\"deny\"");
    copy(
        folder.path().join("runs/failure_modes/cycle_detection").as_std_path(),
        folder.path().join("away").as_std_path(),
    );
    let args = ["replay", "away", "runs", "none", "--policy", "policy/v1.yaml", "--junit", "r.xml"];
    let ran = folder.gatedrun(&args);
    assert_ne!(ran.code, 0, "{}", ran.all());
    assert!(ran.out.contains("canonical/v1: tampered: state.jsonl, line"), "{}", ran.all());
    assert!(ran.out.contains("away: failed") && ran.out.contains("none: failed"), "{}", ran.all());
    let xml = String::from_utf8(folder.read("r.xml")).unwrap();
    assert!(xml.contains("errors=\"3\"") && xml.contains(PG1), "{xml}");
    let ran = folder.gatedrun(&["replay", RUN, "--policy", "policy/v1.yaml"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
}

#[test]
fn junit_is_xml_whatever_a_model_proposes() {
    let folder = Folder::lenient_project();
    let fetch = json!({"calls": [{"tool": "fetch", "arguments": {"url": "https://fixtures.local/op-07.md"}}]});
    let name = "sh\u{fffe}\u{ffff}\u{1b}[31m\u{1}]]><&\"";
    let odd = json!({"calls": [{"tool": name, "unknown_tool": true, "arguments": {}}]});
    scripted(&folder, "odd", json!([fetch, odd, {"final_answer": "done"}]));
    let text = policy(&folder);
    folder.write("next.yaml", text.replace("host: fixtures.local", "host: other.local"));
    let args = ["replay", "runs/test/odd", "--policy", "next.yaml", "--require", "deny"];
    for required in [&["--require", "allow"][..], &[]] {
        let reports = ["--junit", "r.xml", "--sarif", "r.sarif"];
        folder.gatedrun(&[&args[..], required, &reports].concat());
        let xml = String::from_utf8(folder.read("r.xml")).unwrap();
        let document = roxmltree::Document::parse(&xml).unwrap_or_else(|e| panic!("{e}: {xml}"));
        assert!(
            xml.contains("sh&lt;U+FFFE&gt;&lt;U+FFFF&gt;&lt;U+001B&gt;[31m&lt;U+0001&gt;"),
            "{xml}"
        );
        let suites = document.root_element();
        assert!(suites.has_tag_name("testsuites") && suites.attribute("skipped").is_none());
        let case = document.descendants().find(|node| node.has_tag_name("testcase")).unwrap();
        assert_eq!(case.attribute("classname"), Some("gatedrun.replay"));
        assert_eq!(case.attribute("name"), Some("runs/test/odd"));
    }
    let sarif: Value = serde_json::from_slice(&folder.read("r.sarif")).unwrap();
    let result = &sarif["runs"][0]["results"][0];
    assert!(result["partialFingerprints"]["gatedrun/v1"].is_string(), "{sarif}");
    let places: Vec<&Value> = result["locations"].as_array().unwrap().iter().collect();
    let uri = |place: &Value| place["physicalLocation"]["artifactLocation"]["uri"].clone();
    assert_eq!(uri(places[0]), "runs/test/odd/state.jsonl");
    assert_eq!(uri(places[1]), "next.yaml");
    let line = places[1]["physicalLocation"]["region"]["startLine"].as_u64().unwrap();
    let near: Vec<&str> = text.lines().skip(usize::try_from(line).unwrap() - 2).take(2).collect();
    assert!(near.iter().any(|line| line.starts_with("url_allowlist")), "{near:?}");
}

#[test]
fn check_says_what_behaviour_changed_before_it_says_bytes() {
    let folder = project();
    let before = folder.gatedrun_with(&["check", "runs"], &[("CI", "true")]);
    assert_eq!(before.code, 0, "{}", before.all());
    let text = policy(&folder);
    // A comment: every run names another policy, and none behaves differently.
    folder.write("policy/v1.yaml", format!("# a comment\n{text}"));
    let ran = folder.gatedrun_with(&["check", "runs", "--junit", "c.xml"], &[("CI", "true")]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    let due = "differs: behaviour unchanged, inputs changed: policy/v1.yaml";
    let told = ran.out.lines().filter(|line| line.ends_with(due)).count();
    assert_eq!(told, before.out.matches(": identical").count(), "{}", ran.all());
    assert_eq!(ran.out.matches("input changed: policy policy/v1.yaml (was").count(), 1);
    assert_eq!(ran.out.lines().count(), told + 3, "a line per run: {}", ran.all());
    let xml = String::from_utf8(folder.read("c.xml")).unwrap();
    assert!(roxmltree::Document::parse(&xml).is_ok() && xml.contains("gatedrun.check"), "{xml}");
    let ran = folder.gatedrun_with(&["check", RUN, "--json"], &[("CI", "true")]);
    assert_eq!(lines(&ran)[0]["class"], "inputs_only");
    // A gate that is opened: the decision first.
    folder
        .write("policy/v1.yaml", text.replace("host: fixtures.local", "host: collect.example.com"));
    let pg1 = format!("runs/{PG1}");
    let ran = folder.gatedrun(&["check", &pg1]);
    let second = ran.out.lines().nth(1).unwrap();
    assert!(second.contains("deny:url_allowlist -> allow, LOOSENED"), "{}", ran.all());
    assert!(ran.out.contains("not as expected: "), "{}", ran.all());
    use gatedrun::evidence::behaviour::{Class, class};
    let class = |name: &str| {
        let run = folder.path().join(name);
        class(&run, &gatedrun::evidence::write::proposal(&run)).unwrap()
    };
    assert_eq!(class(&pg1), Class::Behaviour);
    folder.write("policy/v1.yaml", format!("# a comment\n{text}"));
    folder.gatedrun(&["check", RUN]);
    assert_eq!(class(RUN), Class::InputsOnly);
    // A file that does not follow from its ledger is not explained by another input.
    folder.edit(&format!("{RUN}/run_report.md"), "75 days", "57 days");
    assert_eq!(class(RUN), Class::Bytes);
    let ran = folder.gatedrun_with(&["check", RUN, "--json"], &[("CI", "true")]);
    assert_eq!(lines(&ran)[0]["class"], "bytes");
}

#[test]
fn a_task_that_cannot_be_loaded_is_not_missing_its_run() {
    let folder = project();
    folder.write("tasks/test/broken.json", "{");
    let ran = folder.gatedrun(&["check", "runs"]);
    assert!(ran.code == 2 && ran.out.contains("runs/test/broken: failed: "), "{}", ran.all());
    let ran = folder.gatedrun(&["regression", "--json"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    let rows = lines(&ran);
    assert_eq!((&rows[0]["task"], &rows[0]["verdict"]), (&json!("test/broken"), &json!("failed")));
    assert!(
        rows.len() > 5 && rows[1..].iter().all(|row| row["verdict"] == "same"),
        "{}",
        ran.all()
    );
}

#[test]
fn regression_tells_loosened_tightened_removed_and_missing_apart() {
    let folder = project();
    let ran = folder.gatedrun(&["regression"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let verdict = |folder: &Folder, task: &str| {
        let ran = folder.gatedrun(&["regression", "--json"]);
        let rows = lines(&ran);
        let row = rows.iter().find(|row| row["task"] == task).unwrap();
        (ran.code, row["verdict"].as_str().unwrap().to_owned())
    };
    let text = policy(&folder);
    let is = |code: i32, word: &str| (code, word.to_owned());
    folder
        .write("policy/v1.yaml", text.replace("host: fixtures.local", "host: collect.example.com"));
    assert_eq!(verdict(&folder, PG1), is(1, "loosened"));
    folder.write("policy/v1.yaml", text.replace("denied: []", "denied: [summarize]"));
    assert_eq!(verdict(&folder, "canonical/v1"), is(1, "tightened"));
    folder.write("policy/v1.yaml", text);
    std::fs::remove_file(folder.path().join("tasks").join(format!("{PG1}.json"))).unwrap();
    assert_eq!(verdict(&folder, PG1), is(1, "removed"));
    std::fs::remove_dir_all(folder.path().join(RUN)).unwrap();
    assert_eq!(verdict(&folder, "canonical/v1"), is(1, "missing"));
    let ran = folder.gatedrun(&["regression", "--junit", "r.xml", "--sarif", "r.sarif"]);
    assert!(ran.out.starts_with("removed"), "what was removed comes first: {}", ran.all());
    let xml = String::from_utf8(folder.read("r.xml")).unwrap();
    assert!(roxmltree::Document::parse(&xml).is_ok() && xml.contains("failures=\"2\""), "{xml}");
    assert!(folder.path().join("r.sarif").exists());
    // Nothing to check is not a success.
    for args in [&["regression", "nowhere"][..], &["regression", "data"]] {
        let ran = folder.gatedrun(args);
        assert!(ran.code == 2 && ran.err.contains(args[1]), "{}", ran.all());
    }
}

#[test]
fn what_a_human_settled_is_taken_from_the_record() {
    for word in ["took-place", "did-not"] {
        let (folder, call) = in_doubt();
        let partial = folder.read("runs/test/doubt.partial/state.jsonl");
        let settle = |call: &str, reason: &str| {
            let settle = format!("{call}={word}");
            folder.gatedrun(&["resume", "runs/test/doubt", "--settle", &settle, "--reason", reason])
        };
        for (call, reason) in [(call.as_str(), " "), (call.as_str(), ""), ("call_x", "seen")] {
            assert_eq!(settle(call, reason).code, 2, "{call} {reason:?}");
            assert_eq!(folder.read("runs/test/doubt.partial/state.jsonl"), partial);
        }
        let ran = settle(&call, "seen");
        assert_eq!(ran.code, 0, "{}", ran.all());
        let ran = folder.gatedrun(&["check", "runs/test/doubt"]);
        assert!(ran.code == 0 && ran.out.contains("identical"), "{word}: {}", ran.all());
        assert!(!folder.gatedrun(&["regression"]).out.contains("test/doubt"));
        // For other reasons there is a proposal, which keeps the word; so does a run that is accepted.
        folder.write("policy/v1.yaml", format!("# x\n{}", policy(&folder)));
        assert_eq!(folder.gatedrun(&["check", "runs/test/doubt"]).code, 1);
        let kept = |path: &str| {
            let ledger = String::from_utf8(folder.read(&format!("{path}/state.jsonl"))).unwrap();
            ledger.contains("\"kind\":\"tool_reconciled\"") && ledger.contains("seen")
        };
        assert!(kept("runs/test/doubt.new"), "{word}");
        let ran = folder.gatedrun(&["run", "tasks/test/doubt.json", "--accept"]);
        assert!(ran.code == 0 && kept("runs/test/doubt"), "{word}: {}", ran.all());
    }
    // A run that was cut short where no call is in doubt has nothing to settle.
    let folder = Folder::project();
    let ledger = std::fs::read(root().join(RUN).join("state.jsonl")).unwrap();
    folder.write(&format!("{RUN}.partial/state.jsonl"), &ledger[..9000]);
    let args = ["resume", RUN, "--settle", "call_x=did-not", "--reason", "seen"];
    let ran = folder.gatedrun(&args);
    assert!(ran.code == 2 && ran.err.contains("in doubt"), "{}", ran.all());
    assert_eq!(folder.read(&format!("{RUN}.partial/state.jsonl")), ledger[..9000]);
}

#[test]
fn a_run_of_another_seed_is_not_the_task_s_run() {
    let folder = Folder::project();
    assert_eq!(folder.gatedrun(&["run", TASK, "--seed", "3", "--accept"]).code, 0);
    let ran = folder.gatedrun(&["check", RUN]);
    let due = "made with seed 3, the task says 0: run it with `gatedrun run tasks/canonical/v1.json --accept`";
    assert!(ran.code == 1 && ran.out.contains(due), "{}", ran.all());
    assert_eq!(folder.gatedrun(&["regression"]).code, 1);
    assert_eq!(folder.gatedrun(&["check", RUN, "--task", TASK]).code, 0, "its own seed");
}

#[test]
fn a_denial_for_another_reason_is_a_change_that_is_told() {
    let folder = Folder::lenient_project();
    let id = "policy_gates/pg3_loop_budget";
    folder.write(&format!("tasks/{id}.json"), crate::support::file(&format!("tasks/{id}.json")));
    assert_eq!(folder.gatedrun(&["run", &format!("tasks/{id}.json")]).code, 0);
    let text = policy(&folder)
        .replace("max_iterations: 10", "max_iterations: 20")
        .replace("max_tokens: 50000", "max_tokens: 21500");
    folder.write("policy/tokens.yaml", text);
    let args = ["replay", "runs", "--policy", "policy/tokens.yaml", "--require", "no-change"];
    let ran = folder.gatedrun(&[&args[..], &["--junit", "j.xml"]].concat());
    assert_eq!(ran.code, 1, "{}", ran.all());
    let told = "step 11: deny:loop_budget for another reason: was ";
    assert!(ran.out.contains(told), "{}", ran.all());
    let junit = String::from_utf8(folder.read("j.xml")).unwrap();
    assert!(junit.contains(&format!(">{told}")), "{junit}");
}

#[test]
fn no_change_of_runs_that_cannot_be_tested_is_red_and_says_so() {
    let folder = project();
    folder.edit(&format!("{RUN}/state.jsonl"), "\"seq\":5,", "\"seq\":6,");
    let ran =
        folder.gatedrun(&["replay", RUN, "--policy", "policy/v1.yaml", "--require", "no-change"]);
    assert_ne!(ran.code, 0, "{}", ran.all());
    assert!(ran.err.contains("--require no-change: no run could be tested"), "{}", ran.all());
}

/// A denial that a run continued after is not what ends it: neither when the next call of the step fails
/// for good, nor when a later step does.
#[test]
fn a_denial_that_a_run_continued_after_does_not_end_it() {
    let folder = Folder::project();
    copy(
        root().join("tasks/on_deny").as_std_path(),
        folder.path().join("tasks/on_deny").as_std_path(),
    );
    let mut task: Value = serde_json::from_slice(&folder.read("tasks/on_deny/mixed.json")).unwrap();
    task.as_object_mut().unwrap().remove("expected");
    for (name, tool) in [("same", "read"), ("later", "write")] {
        task["id"] = format!("test/{name}").into();
        task["faults"] = json!([{"tool": tool, "mode": "always_fail"}]);
        folder.write(&format!("tasks/test/{name}.json"), task.to_string());
        let ran = folder.gatedrun(&["run", &format!("tasks/test/{name}.json")]);
        assert_eq!(ran.code, 3, "{}", ran.all());
        let run = format!("runs/test/{name}");
        let ledger = String::from_utf8(folder.read(&format!("{run}/state.jsonl"))).unwrap();
        assert!(ledger.contains("\"decision\":\"deny\",\"rule_id\":\"url_allowlist\""));
        let end: Value = serde_json::from_str(ledger.lines().last().unwrap()).unwrap();
        let due = json!(["failure_mode_terminal", null, "retry_exhaustion"]);
        let event = &end["event"];
        assert_eq!(json!([event["terminal_reason"], event["rule_id"], event["failure_mode"]]), due);
        assert_eq!(folder.gatedrun(&["verify", &run]).code, 0);
        second_verdict_is(&folder, &run, "verified");
    }
}
