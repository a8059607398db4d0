use serde_json::json;

use crate::support::{Folder, run, scripted};

fn load_error(script: serde_json::Value) -> String {
    let folder = Folder::project();
    let mut task: serde_json::Value =
        serde_json::from_slice(&folder.read("tasks/canonical/v1.json")).unwrap();
    task["id"] = "test/script".into();
    task["llm"] = json!({"script": script});
    folder.write("tasks/test/script.json", task.to_string());
    folder.library().load("tasks/test/script.json", None).unwrap_err().to_string()
}

fn run_error(script: serde_json::Value) -> String {
    let folder = Folder::project();
    let inputs = scripted(&folder, script, &[]);
    let work = folder.path().join("work");
    gatedrun::run::run(
        &inputs,
        work,
        gatedrun::run::Course::fresh(),
        Vec::new(),
        Vec::new(),
        |_| {},
    )
    .unwrap_err()
    .to_string()
}

#[test]
fn references_to_nothing_are_found_when_the_task_loads() {
    let search = json!({"calls": [{"tool": "search", "arguments": {"query": "x"}}]});
    for (reference, what) in [
        (json!({"step": 2, "pointer": "/x"}), "step 2 does not come before step 2"),
        (json!({"step": 9, "pointer": "/x"}), "step 9 does not come before step 2"),
        (json!({"step": 0, "pointer": "/x"}), "step 0 does not come before step 2"),
        (json!({"step": 1, "call": 2, "pointer": "/x"}), "step 1 has 1 call, and no call 2"),
        (json!({"step": 1, "pointer": "x"}), "is not a JSON pointer (found \"x\")"),
        (json!({"step": 1, "pointer": "/a~2"}), "~ stands for nothing"),
        (json!({"step": 1}), "\"pointer\" is missing; add it"),
        (json!({"step": 1, "pointer": "/x", "extra": 1}), "unknown key \"extra\"; remove it"),
    ] {
        let error = load_error(json!([search, {"final_answer": {"$result": reference}}]));
        assert!(error.contains("/llm/script/1/final_answer/$result"), "{error}");
        assert!(error.contains(what), "{error}");
    }
    let error = load_error(json!([{"final_answer": {"$reslut": 1}}]));
    assert!(error.contains("unknown operator \"$reslut\""), "{error}");
    let error = load_error(json!([{"final_answer": {"$concat": ["a"], "b": 1}}]));
    assert!(error.contains("stands beside other keys"), "{error}");
}

#[test]
fn what_could_only_fail_in_a_run_is_refused_when_the_task_loads() {
    let search = json!({"calls": [{"tool": "search", "arguments": {"query": "x"}}]});
    let big: serde_json::Value = serde_json::from_str("9007199254740993").unwrap();
    for (entry, place, what) in [
        (
            json!({"final_answer": null}),
            "/llm/script/1/final_answer",
            "is null, which is not a text",
        ),
        (
            json!({"calls": [{"tool": "search", "arguments": {}}], "text": null}),
            "/llm/script/1/text",
            "is null, which is not a text",
        ),
        (
            json!({"choose": [{"final_answer": "x"}, {"final_answer": null}]}),
            "/llm/script/1/choose/1/final_answer",
            "is null, which is not a text",
        ),
        (
            json!({"choose": [{"final_answer": "x"}, {"calls": [{"tool": "search", "arguments": {}}], "repeat": 2}]}),
            "/llm/script/1/choose/1/repeat",
            "cannot repeat",
        ),
        (
            json!({"calls": [{"tool": "search", "arguments": {"query": "x", "top_k": big}}]}),
            "/llm/script/1/calls/0/arguments/top_k",
            "9007199254740993 is beyond ±9007199254740991",
        ),
        (
            json!({"calls": [{"tool": "search", "arguments": {"a": [1e17]}}]}),
            "/llm/script/1/calls/0/arguments/a/0",
            "is beyond",
        ),
        (
            json!({"final_answer": "x", "usage": {"input_tokens": 1e300, "output_tokens": 1}}),
            "/llm/script/1/usage/input_tokens",
            "",
        ),
    ] {
        let error = load_error(json!([search, entry]));
        assert!(error.contains(place) && error.contains(what), "{place} {what}: {error}");
    }
    // An integer is one, however it is written.
    let folder = Folder::project();
    let script = json!([
        {"calls": [{"tool": "search", "arguments": {"query": "relay", "top_k": 1.0}}], "repeat": 2.0},
        {"calls": [{"tool": "read", "arguments": {"path": {"$result": {"step": 1.0, "call": 1e0, "pointer": "/results/0/id"}}}}], "usage": {"input_tokens": 5.0, "output_tokens": 1}},
        {"final_answer": "done"}
    ]);
    scripted(&folder, script, &[]);
}

#[test]
fn a_pointer_to_nothing_names_task_step_and_pointer() {
    let error = run_error(json!([
        {"calls": [{"tool": "search", "arguments": {"query": "relay"}}]},
        {"calls": [{"tool": "read", "arguments": {"path": {"$result": {"step": 1, "pointer": "/results/99/path"}}}}]},
        {"final_answer": "x"}
    ]));
    for part in ["step 2", "task \"test/script\"", "\"/results/99/path\"", "step 1, call 1"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn running_out_of_script_is_an_error_and_no_answer() {
    let error =
        run_error(json!([{"calls": [{"tool": "search", "arguments": {"query": "relay"}}]}]));
    assert!(
        error.contains("step 2: the script of task \"test/script\" ends after step 1"),
        "{error}"
    );
}

#[test]
fn the_seed_decides_between_alternatives_and_only_it() {
    let folder = Folder::project();
    let alternatives: Vec<String> = (0..8).map(|n| format!("query {n}")).collect();
    let script = json!([
        {"choose": [
            {"calls": [{"tool": "search", "arguments": {"query": {"$choose": alternatives}}}]},
            {"calls": [{"tool": "read", "arguments": {"path": "corpus/op-01.md"}}]}
        ]},
        {"final_answer": {"$concat": ["step ", {"$step": {}}]}}
    ]);
    scripted(&folder, script, &[]);
    let library = folder.library();
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..24 {
        let inputs = library.load("tasks/test/script.json", Some(seed)).unwrap();
        let first = run(&inputs, &folder.path().join("work")).0;
        let again = run(&inputs, &folder.path().join("work")).0;
        assert_eq!(first.state, again.state);
        assert_eq!(first.trace, again.trace);
        let state = String::from_utf8(first.state).unwrap();
        let call = state.lines().find(|line| line.contains("llm_replied")).unwrap();
        let from = call.find("\"tool\"").unwrap();
        seen.insert(call[from..call.find("final_answer").unwrap()].to_owned());
        assert!(state.contains("\"answer\":\"step 2\""));
    }
    assert!(seen.len() > 4, "{seen:?}");
}

#[test]
fn declared_tokens_are_used_and_others_estimated() {
    let folder = Folder::project();
    let script = json!([
        {"calls": [{"tool": "search", "arguments": {"query": "x"}}], "usage": {"input_tokens": 7, "output_tokens": 5}},
        {"final_answer": "12345678"}
    ]);
    let inputs = scripted(&folder, script, &[]);
    let summary = run(&inputs, &folder.path().join("work")).0.summary;
    // The answer has eight bytes: two tokens.
    assert_eq!(summary.totals.usage.output_tokens, 5 + 2);
    assert!(summary.totals.usage.input_tokens > 100);
}
