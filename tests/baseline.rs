//! What committed runs are held against: a ledger that stops early is not a baseline, nothing that is
//! gone goes unsaid, and behaviour is compared by what is asked and not by position.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Folder, Ran, copy, root};

const CI: &[(&str, &str)] = &[("CI", "1")];
const RUN: &str = "runs/canonical/v1";
const PG1: &str = "policy_gates/pg1_off_allowlist_url";
const PG2: &str = "policy_gates/pg2_sandbox_escape";

/// The committed project: inputs, tasks and runs.
fn committed() -> Folder {
    let folder = Folder::new();
    for part in ["data", "policy", "tools", "tasks", "runs"] {
        copy(root().join(part).as_std_path(), folder.path().join(part).as_std_path());
    }
    folder
}

fn lines(ran: &Ran) -> Vec<Value> {
    ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ledger(folder: &Folder, id: &str, change: impl Fn(Vec<u8>) -> Vec<u8>) {
    let path = format!("runs/{id}/state.jsonl");
    let changed = change(folder.read(&path));
    folder.write(&path, changed);
}

fn head(bytes: &[u8], lines: usize) -> Vec<u8> {
    bytes.split_inclusive(|byte| *byte == b'\n').take(lines).flatten().copied().collect()
}

/// A project with the runs of these tasks, none of whose policies has examples.
fn scripted(tasks: &[(&str, Value)]) -> Folder {
    let folder = Folder::lenient_project();
    std::fs::remove_dir_all(folder.path().join("tasks")).unwrap();
    let policy = String::from_utf8(folder.read("policy/v1.yaml")).unwrap();
    let text = policy.replace("on_deny: terminate", "on_deny: continue");
    folder.write("policy/continue.yaml", text);
    for (name, script) in tasks {
        task(&folder, name, script);
        let ran = folder.gatedrun(&["run", &format!("tasks/t/{name}.json")]);
        assert_eq!(ran.code, 0, "{}", ran.all());
    }
    folder
}

fn task(folder: &Folder, name: &str, script: &Value) {
    let task = json!({
        "format": 1, "id": format!("t/{name}"), "title": "t", "question": "q",
        "policy": "policy/continue.yaml", "contracts": "tools", "corpus": "data/corpus/v1",
        "prompt": "data/prompt/v1.md", "seed": 0, "llm": {"script": script},
        "fixtures": {"fixtures.local": "corpus", "evil.test": "corpus"},
    });
    folder.write(&format!("tasks/t/{name}.json"), task.to_string());
}

fn call(tool: &str, arguments: Value) -> Value {
    json!({"calls": [{"tool": tool, "arguments": arguments}]})
}

fn fetch(host: &str) -> Value {
    call("fetch", json!({"url": format!("https://{host}/op-19.md")}))
}

fn search(query: &str) -> Value {
    call("search", json!({"query": query}))
}

fn answer() -> Value {
    json!({"final_answer": "ok"})
}

/// The verdict of `regression` about a task, with its exit code and what it says.
fn regression(folder: &Folder, id: &str) -> (i32, String, Vec<String>) {
    let ran = folder.gatedrun(&["regression", "--json"]);
    let row = lines(&ran).into_iter().find(|row| row["task"] == id).unwrap();
    let what = row["what"].as_array().unwrap().iter();
    let what = what.map(|what| what.as_str().unwrap().to_owned()).collect();
    (ran.code, row["verdict"].as_str().unwrap().to_owned(), what)
}

/// The class of what `check` finds about a run, and what it says of behaviour.
fn class(folder: &Folder, run: &str) -> (String, Vec<String>) {
    let ran = folder.gatedrun_with(&["check", run, "--json"], CI);
    let line = lines(&ran).remove(0);
    let told = line["behaviour"].as_array().unwrap().iter();
    let told = told.map(|what| what.as_str().unwrap().to_owned()).collect();
    (line["class"].as_str().unwrap().to_owned(), told)
}

#[test]
fn a_ledger_that_is_no_whole_run_is_no_baseline() {
    let folder = committed();
    let ids = crate::support::committed_runs();
    for id in &ids {
        ledger(&folder, id, |bytes| head(&bytes, 1));
    }
    let ran = folder.gatedrun(&["regression"]);
    let due = format!("{0} tasks: {0} damaged\n", ids.len());
    assert!(ran.code == 5 && ran.out.ends_with(&due), "{}", ran.all());

    let folder = committed();
    std::fs::remove_file(folder.path().join(format!("runs/{PG2}/state.jsonl"))).unwrap();
    ledger(&folder, PG1, |bytes| head(&bytes, 12));
    ledger(&folder, "canonical/v1", |mut bytes| {
        bytes.truncate(bytes.len() - 5);
        bytes
    });
    ledger(&folder, "on_deny/mixed", |_| Vec::new());
    folder.edit(
        "runs/on_deny/plan_anew/state.jsonl",
        "\"decision\":\"deny\"",
        "\"decision\":\"allow\"",
    );
    let due = [
        ("canonical/v1", "is cut short: "),
        ("on_deny/mixed", "is empty"),
        ("on_deny/plan_anew", "cannot be read (line "),
        (PG1, "is cut short: it ends after line 12, without run_finished"),
        (PG2, "is missing"),
    ];
    let ran = folder.gatedrun(&["regression", "--json", "--sarif", "r.sarif", "--junit", "r.xml"]);
    assert_eq!(ran.code, 5, "{}", ran.all());
    for (row, (id, what)) in lines(&ran).iter().zip(due) {
        assert_eq!((&row["task"], &row["verdict"]), (&json!(id), &json!("damaged")));
        let said = row["what"][0].as_str().unwrap();
        for part in [what, "restore it, or make the run again with `gatedrun run tasks/"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
    assert!(lines(&ran)[due.len()..].iter().all(|row| row["verdict"] == "same"), "{}", ran.all());
    for (file, part) in [("r.sarif", "\"ruleId\": \"damaged\""), ("r.xml", "type=\"damaged\"")] {
        let text = String::from_utf8(folder.read(file)).unwrap();
        assert_eq!(text.matches(part).count(), due.len(), "{text}");
    }
    // As damaged as before, and whatever the policy is now.
    folder.edit("policy/v1.yaml", "version: 1", "# Loosened or not.\nversion: 1");
    let args = ["check", "runs", "--json", "--sarif", "c.sarif", "--junit", "c.xml"];
    let ran = folder.gatedrun_with(&args, CI);
    for (id, what) in due {
        let rows = lines(&ran);
        let row = rows.iter().find(|row| row["run"] == format!("runs/{id}")).unwrap();
        assert_eq!(row["class"], "unknown", "{row}");
        let said = row["message"].as_str().unwrap();
        assert!(said.starts_with("the committed ledger ") && said.contains(what), "{row}");
    }
    for (file, part) in [("c.sarif", "\"ruleId\": \"unknown\""), ("c.xml", "type=\"unknown\"")] {
        let text = String::from_utf8(folder.read(file)).unwrap();
        assert_eq!(text.matches(part).count(), due.len(), "{text}");
    }
    let ran = folder.gatedrun_with(&["check", "runs"], CI);
    assert_eq!(ran.out.matches("differs: behaviour unknown: the committed ledger ").count(), 5);
    // Such a run can be replaced.
    let ran = folder.gatedrun(&["run", "tasks/on_deny/mixed.json", "--accept"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert_eq!(folder.gatedrun(&["check", "runs/on_deny/mixed"]).code, 0);
}

#[test]
fn a_run_that_is_gone_is_missing_wherever_its_folder_is_named() {
    let folder = committed();
    std::fs::remove_dir_all(folder.path().join("runs").join(PG2)).unwrap();
    let due = format!("runs/{PG2}: missing: ");
    for args in
        [&["check", "runs/policy_gates"][..], &["check", "runs/on_deny", "runs/policy_gates/"]]
    {
        let ran = folder.gatedrun_with(args, CI);
        assert!(ran.code == 1 && ran.out.contains(&due), "{args:?}: {}", ran.all());
        assert_eq!(ran.out.matches("missing").count(), 1, "{args:?}: {}", ran.all());
    }
    for named in ["runs/on_deny", "runs/policy_gates/pg5_arg_schema"] {
        let ran = folder.gatedrun_with(&["check", named], CI);
        assert_eq!(ran.code, 0, "another place: {}", ran.all());
    }
}

#[test]
fn a_decision_is_held_against_the_decision_about_the_same_call() {
    // The order is swapped and the gate is opened for the other host: by position nothing changes.
    let folder =
        scripted(&[("swap", json!([fetch("fixtures.local"), fetch("evil.test"), answer()]))]);
    assert_eq!(regression(&folder, "t/swap"), (0, "same".to_owned(), Vec::new()));
    task(&folder, "swap", &json!([fetch("evil.test"), fetch("fixtures.local"), answer()]));
    let (code, verdict, what) = regression(&folder, "t/swap");
    let moved = "asked in another order, was step";
    assert!(code == 1 && verdict == "other" && what[0].contains(moved), "{what:?}");
    folder.edit("policy/continue.yaml", "host: fixtures.local", "host: evil.test");
    let (code, verdict, what) = regression(&folder, "t/swap");
    assert_eq!((code, verdict.as_str()), (1, "loosened"), "{what:?}");
    assert_eq!(what[0], "step 1 fetch: deny:url_allowlist -> allow, LOOSENED");
    assert!(what.iter().any(|what| what.contains("allow -> deny:url_allowlist")), "{what:?}");
    let (class, told) = class(&folder, "runs/t/swap");
    assert_eq!((class.as_str(), &told), ("behaviour", &what));
}

#[test]
fn one_call_more_or_less_loosens_nothing() {
    let short = json!([fetch("evil.test"), answer()]);
    let long = json!([search("pump"), fetch("evil.test"), answer()]);
    let folder = scripted(&[("more", short.clone()), ("less", long.clone())]);
    task(&folder, "more", &long);
    task(&folder, "less", &short);
    for (id, due) in [
        ("t/more", "step 1 search: not reached -> allow"),
        ("t/less", "step 1 search: allow -> not reached"),
    ] {
        assert_eq!(regression(&folder, id), (1, "other".to_owned(), vec![due.to_owned()]));
    }
    // A denial that nothing asks for is gone.
    task(&folder, "less", &json!([search("pump"), answer()]));
    let (_, verdict, what) = regression(&folder, "t/less");
    let due = "step 2 fetch: deny:url_allowlist -> not reached, LOOSENED";
    assert_eq!((verdict.as_str(), &what[..]), ("loosened", &[due.to_owned()][..]));
    // What is denied in its place by the same rule shows the rule as well.
    task(&folder, "less", &json!([search("pump"), fetch("worse.test"), answer()]));
    let (_, verdict, what) = regression(&folder, "t/less");
    let due = "step 2 fetch: proposed with other arguments";
    assert_eq!((verdict.as_str(), &what[..]), ("other", &[due.to_owned()][..]));
    // The same calls, in other steps.
    let both = json!({"calls": [long[0]["calls"][0], long[1]["calls"][0]]});
    task(&folder, "less", &json!([both, answer()]));
    let (_, verdict, what) = regression(&folder, "t/less");
    assert!(verdict == "other" && what[0].contains("was step 2"), "{what:?}");
}

#[test]
fn a_budget_that_lets_one_step_more_through_is_loosened() {
    let searches = ["a", "b", "c", "d"].map(search);
    let folder = scripted(&[]);
    let text = String::from_utf8(folder.read("policy/continue.yaml")).unwrap();
    let at = text.lines().find(|line| line.trim().starts_with("max_iterations:")).unwrap();
    let budget = |steps: usize| {
        folder
            .write("policy/continue.yaml", text.replace(at, &format!("  max_iterations: {steps}")));
    };
    budget(2);
    task(&folder, "budget", &json!([searches[0], searches[1], searches[2], searches[3], answer()]));
    assert_eq!(folder.gatedrun(&["run", "tasks/t/budget.json"]).code, 3);
    budget(3);
    let (_, verdict, what) = regression(&folder, "t/budget");
    assert_eq!(verdict, "loosened", "{what:?}");
    assert!(what[0].starts_with("step 3 the run: deny:loop_budget -> not reached"), "{what:?}");
    // A run that is ended earlier lets nothing through that it does not come to.
    budget(1);
    let (_, verdict, what) = regression(&folder, "t/budget");
    assert!(verdict != "loosened" && verdict != "same", "{verdict}: {what:?}");
}

#[test]
fn what_is_asked_and_what_is_written_are_behaviour() {
    let write = |text: &str| {
        json!([call("write", json!({"path": "work/a.md", "content": text})), answer()])
    };
    let folder =
        scripted(&[("write", write("one")), ("search", json!([search("pump"), answer()]))]);
    task(&folder, "write", &write("two"));
    let (found, told) = class(&folder, "runs/t/write");
    assert_eq!(found, "behaviour", "{told:?}");
    assert_eq!(told[0], "step 1 write: proposed with other arguments");
    assert!(told[1].starts_with("work/a.md: written with other content (was "), "{told:?}");
    assert_eq!(regression(&folder, "t/write").1, "other");
    task(&folder, "search", &json!([search("valve"), answer()]));
    assert_eq!(class(&folder, "runs/t/search").0, "behaviour");
    // The same proposal, and the contract fills in something else.
    task(&folder, "search", &json!([search("pump"), answer()]));
    let mut contract: Value = serde_json::from_slice(&folder.read("tools/search.json")).unwrap();
    assert!(contract["inputSchema"]["properties"]["top_k"]["default"].is_u64());
    contract["inputSchema"]["properties"]["top_k"]["default"] = json!(1);
    folder.write("tools/search.json", contract.to_string());
    let (_, _, what) = regression(&folder, "t/search");
    assert_eq!(what, ["step 1 search: runs with other defaults"]);
}

#[test]
fn what_follows_from_inputs_alone_is_no_other_behaviour() {
    for file in ["data/prompt/v1.md", "tools/fetch.json", "policy/v1.yaml"] {
        let folder = committed();
        let before = folder.read(file);
        folder.write(file, [before.as_slice(), b"\n"].concat());
        if file.ends_with("json") {
            folder.edit(file, "\"description\": \"", "\"description\": \"Well: ");
        }
        let ran = folder.gatedrun(&["check", "--json"]);
        let rows = lines(&ran);
        let is_due = |row: &&Value| row["class"] == "inputs_only";
        let due = rows.len() - usize::from(file == "policy/v1.yaml") * other_policies();
        assert_eq!(rows.iter().filter(is_due).count(), due, "{file}: {}", ran.all());
        let ran = folder.gatedrun(&["review", "--accept-unchanged"]);
        assert!(ran.code == 0 && ran.out.ends_with(" 0 left\n"), "{file}: {}", ran.all());
        assert_eq!(folder.gatedrun(&["check"]).code, 0, "{file}");
    }
    // What the agent says is its own, whatever else changes.
    let says = |text: &str| {
        let mut step = search("pump");
        step["text"] = json!(text);
        json!([step, answer()])
    };
    let folder = scripted(&[("says", says("one"))]);
    folder.write("data/prompt/v1.md", "Other words.\n");
    assert_eq!(class(&folder, "runs/t/says").0, "inputs_only");
    task(&folder, "says", &says("two"));
    assert_eq!(class(&folder, "runs/t/says").0, "bytes");
    // And so is what a tool returns.
    task(&folder, "says", &says("one"));
    let mut contract: Value = serde_json::from_slice(&folder.read("tools/search.json")).unwrap();
    contract["description"] = json!("Searches.");
    folder.write("tools/search.json", contract.to_string());
    assert_eq!(class(&folder, "runs/t/says").0, "inputs_only");
}

/// How many committed runs have another policy than `policy/v1.yaml`.
fn other_policies() -> usize {
    let names = |id: &String| {
        let manifest = crate::support::text(&format!("runs/{id}/manifest.json"));
        !manifest.contains("\"policy/v1.yaml\"")
    };
    crate::support::committed_runs().iter().filter(|id| names(id)).count()
}

#[test]
fn a_name_that_is_not_text_is_never_green_and_is_named() {
    let folder = committed();
    let name = OsStr::from_bytes(b"m\xff.json");
    let tasks = folder.path().join("tasks/on_deny").into_std_path_buf();
    std::fs::copy(tasks.join("mixed.json"), tasks.join(name)).unwrap();
    for (args, code) in [
        (&["check"][..], 6),
        (&["check", "runs/on_deny"], 6),
        (&["check", "runs/canonical"], 0),
        (&["regression"], 6),
    ] {
        let ran = folder.gatedrun_with(args, CI);
        assert_eq!(ran.code, code, "{args:?}: {}", ran.all());
        let is_named = ran.out.contains("tasks/on_deny/m\u{fffd}.json");
        assert_eq!(is_named, code == 6, "{args:?}: {}", ran.all());
    }
    let count = crate::support::committed_runs().len();
    let ran = folder.gatedrun(&["regression"]);
    let sums = format!("{count} tasks: {count} same; 1 place not looked into\n");
    assert!(ran.out.ends_with(&sums), "{}", ran.all());
    // An argument of the command line.
    let said = Command::new(env!("CARGO_BIN_EXE_gatedrun"))
        .args([OsStr::new("verify"), OsStr::new(RUN), OsStr::from_bytes(b"runs/b\xff")])
        .current_dir(folder.path())
        .env_clear()
        .output()
        .unwrap();
    let text = String::from_utf8(said.stderr).unwrap();
    assert_eq!(said.status.code(), Some(2), "{text}");
    for part in ["argument 3, \"runs/b\\xFF\": not UTF-8", "rename the file, or name the folder"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_proposal_goes_by_its_name_and_an_unfinished_run_by_resume() {
    let folder = committed();
    folder.edit("policy/v1.yaml", "version: 1", "# x\nversion: 1");
    assert_eq!(folder.gatedrun(&["check", RUN]).code, 1);
    let new = format!("{RUN}.new");
    for command in ["check", "replay", "verify"] {
        let ran = folder.gatedrun(&[command, &new]);
        assert_eq!(ran.code, 0, "{command}: {}", ran.all());
    }
    folder.edit("policy/v1.yaml", "# x", "# y");
    let ran = folder.gatedrun(&["check", &new]);
    let due = format!("make the proposal again with `gatedrun check {RUN}`");
    assert!(ran.code == 1 && ran.err.contains(&due), "{}", ran.all());
    assert!(!folder.path().join(format!("{new}.new")).exists());
    assert_eq!(folder.gatedrun(&["keygen", "k.pem"]).code, 0);
    let ran = folder.gatedrun(&["sign", RUN, "--key", "k.pem"]);
    let due = format!("{RUN}: not signed: its inputs differ from the current ones; see ");
    assert!(ran.code == 1 && ran.err.contains(&due), "{}", ran.all());

    let folder = committed();
    let partial = format!("{RUN}.partial");
    folder.write(
        &format!("{partial}/state.jsonl"),
        head(&folder.read(&format!("{RUN}/state.jsonl")), 12),
    );
    std::fs::remove_dir_all(folder.path().join(RUN)).unwrap();
    let due = format!("`gatedrun resume {RUN}`");
    for (args, code) in
        [(&["check"][..], 7), (&["regression"], 1), (&["review", RUN], 7), (&["run", &partial], 2)]
    {
        let ran = folder.gatedrun_with(args, &[]);
        assert_eq!(ran.code, code, "{args:?}: {}", ran.all());
        assert!(ran.all().contains(&due) && !ran.all().contains("TASK"), "{args:?}: {}", ran.all());
        assert!(!ran.all().contains("make one with"), "{args:?}: {}", ran.all());
    }
}

#[test]
fn nothing_reviewed_is_never_green() {
    let folder = committed();
    let ran = folder.gatedrun(&["review", "policy"]);
    assert!(ran.code == 2 && ran.err.contains("no run found"), "{}", ran.all());
    assert_eq!(folder.gatedrun(&["review"]).code, 0);
    std::fs::remove_file(folder.path().join("tasks/canonical/v1.json")).unwrap();
    let count = crate::support::committed_runs().len();
    let ran = folder.gatedrun(&["regression"]);
    let sums = format!("{count} tasks: 1 removed, {} same\n", count - 1);
    assert!(ran.code == 1 && ran.out.ends_with(&sums), "{}", ran.all());
}
