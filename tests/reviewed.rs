//! `review`: what class of change a proposal is, and a whole class accepted at once.

use crate::support::{Folder, Ran};

const TASK: &str = r#"{"format": 1, "id": "t/ID", "title": "t", "question": "q", "policy": "policy/POLICY.yaml",
  "contracts": "tools", "corpus": "data/corpus/v1", "prompt": "data/prompt/v1.md", "seed": 0,
  "llm": {"script": [{"calls": [{"tool": "TOOL", "arguments": {"query": "pump"}}]}, {"final_answer": "ok"}]}}"#;

/// A project with three runs: two whose inputs change, of which one also behaves differently, and one
/// that behaves differently and names no other input of its own.
fn drifted() -> Folder {
    let folder = Folder::lenient_project();
    let policy = folder.read("policy/v1.yaml");
    folder.write("policy/strict.yaml", policy);
    for (id, policy) in [("a", "v1"), ("b", "v1"), ("c", "strict")] {
        let task = TASK.replace("ID", id).replace("POLICY", policy).replace("TOOL", "search");
        let task = folder.write(&format!("tasks/t/{id}.json"), task);
        assert_eq!(folder.gatedrun(&["run", task.as_str()]).code, 0);
    }
    folder.edit("policy/v1.yaml", "version: 1", "# Reviewed.\nversion: 1");
    folder.edit("policy/strict.yaml", "denied: []", "denied: [search]");
    folder.edit("policy/strict.yaml", "[search, fetch,", "[fetch,");
    assert_eq!(folder.gatedrun(&["check", "runs/t"]).code, 1);
    folder
}

fn ends(ran: &Ran, code: i32, end: &str) {
    assert!(ran.code == code && ran.out.ends_with(end), "{}", ran.all());
}

#[test]
fn what_behaves_as_before_is_accepted_at_once_and_nothing_else() {
    let folder = drifted();
    let before = folder.read("runs/t/c/state.jsonl");
    // What is not what its ledger says has changed in more than its inputs.
    folder.edit("runs/t/b.new/run_report.md", "ok", "ko");
    let ran = folder.gatedrun(&["review", "--accept-unchanged"]);
    ends(&ran, 1, "3 proposals: 1 accepted, 0 rejected, 2 left\n");
    for line in [
        "runs/t/a: accepted: behaviour unchanged, inputs changed\n",
        "runs/t/b: left: behaviour unchanged, other bytes\n",
        "runs/t/c: left: the behaviour differs\n",
    ] {
        assert!(ran.out.contains(line), "{line}{}", ran.all());
    }
    assert_eq!(folder.gatedrun(&["check", "runs/t/a"]).code, 0);
    assert_eq!(folder.read("runs/t/c/state.jsonl"), before);
    assert!(folder.path().join("runs/t/c.new").is_dir());
    let both = folder.gatedrun(&["review", "--accept", "--accept-unchanged"]);
    assert_eq!(both.code, 2, "{}", both.all());
}

#[test]
fn a_review_says_first_what_class_of_change_it_is() {
    let folder = drifted();
    let ran = folder.gatedrun_stdin(&["review"], "s\ns\ns\n");
    assert!(
        ran.out.starts_with("runs/t/a: behaviour unchanged, inputs changed\n"),
        "{}",
        ran.all()
    );
    assert!(ran.out.contains("\nruns/t/c: the behaviour differs\n"), "{}", ran.all());
    ends(&ran, 1, "3 proposals: 0 accepted, 0 rejected, 3 left\n");
}
