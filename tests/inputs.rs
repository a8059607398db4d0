//! Each case damages one input of a good project; the error must name the file, the place and the
//! way out, and nothing may have been written.

use serde_json::Value;

use crate::support::{Folder, text};

#[test]
fn damaged_inputs_are_refused_with_what_where_and_how() {
    let cases: Vec<Value> = serde_json::from_str(&text("tests/cases/damaged_inputs.json")).unwrap();
    assert!(cases.len() >= 40);
    let mut failures = String::new();
    for case in cases {
        let folder = Folder::project();
        let path = case["file"].as_str().unwrap();
        if let Some(content) = case["content"].as_str() {
            folder.write(path, content);
        } else if let Some(from) = case["from"].as_str() {
            folder.edit(path, from, case["to"].as_str().unwrap());
        } else {
            std::fs::remove_file(folder.path().join(path)).unwrap();
        }
        let ran = folder.gatedrun(&["run", "tasks/canonical/v1.json"]);
        let mut wrong: Vec<String> = Vec::new();
        if ran.code != 2 || (!ran.out.is_empty() && case["starts"] != true) {
            wrong.push("it was not refused".to_owned());
        }
        for part in case["says"].as_array().unwrap() {
            let part = part.as_str().unwrap();
            if !ran.err.contains(part) {
                wrong.push(format!("it does not say {part:?}"));
            }
        }
        if ran.err.contains("panicked") || ran.err.contains("internal error") {
            wrong.push("it panicked".to_owned());
        }
        if folder
            .path()
            .join("runs/canonical")
            .read_dir()
            .is_ok_and(|mut left| left.next().is_some())
        {
            wrong.push("something was written".to_owned());
        }
        if !wrong.is_empty() {
            failures.push_str(&format!("{}: {}\n{}\n", case["note"], wrong.join(", "), ran.all()));
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn several_mistakes_in_one_file_are_told_together() {
    let folder = Folder::project();
    folder.edit("tasks/canonical/v1.json", "\"title\"", "\"titel\"");
    folder.edit("tasks/canonical/v1.json", "\"seed\": 0", "\"seed\": -1");
    folder.edit("tasks/canonical/v1.json", "\"final_answer\",\n", "\"finished\",\n");
    let ran = folder.gatedrun(&["run", "tasks/canonical/v1.json"]);
    for part in ["\"titel\"", "rename it to \"title\"", "/seed", "/expected/terminal_reason"] {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
    // Mistakes in several files, too.
    let folder = Folder::project();
    folder.edit("policy/v1.yaml", "max_iterations: 10", "max_iterations: 0");
    folder.edit("policy/v1.yaml", "max_retries: 3", "max_retries: many");
    folder.edit("data/corpus/v1/op-01.md", "Team", "team");
    let ran = folder.gatedrun(&["run", "tasks/canonical/v1.json"]);
    for part in [
        "policy/v1.yaml: line",
        "/loop_budget/max_iterations",
        "/retry/max_retries",
        "op-01.md: it has changed",
    ] {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
}

#[test]
fn contracts_may_not_claim_less_than_the_code_does() {
    let folder = Folder::project();
    folder.edit(
        "tools/read.json",
        "{\"effect\": \"read_path\", \"argument\": \"/path\"}",
        "{\"effect\": \"compute\"}",
    );
    let ran = folder.gatedrun(&["run", "tasks/canonical/v1.json"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.err
            .contains("the contract says that \"read\" does compute, and its code does read_path"),
        "{}",
        ran.err
    );
}

#[test]
fn a_folder_a_fifo_or_no_utf8_in_place_of_a_file_is_refused() {
    for make in [0, 1, 2] {
        let folder = Folder::project();
        let path = folder.path().join("policy/v1.yaml");
        std::fs::remove_file(&path).unwrap();
        match make {
            0 => std::fs::create_dir(&path).unwrap(),
            1 => {
                assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success())
            }
            _ => std::fs::write(&path, b"version: 1\n# \xff\n").unwrap(),
        }
        let ran = folder.gatedrun(&["run", "tasks/canonical/v1.json"]);
        assert_eq!(ran.code, 2, "{}", ran.all());
        assert!(ran.err.contains("policy/v1.yaml: "), "{}", ran.err);
    }
}

#[test]
fn a_corpus_and_the_runs_are_apart() {
    let folder = Folder::project();
    folder.write("runs/notes/a.md", "# A\n");
    std::os::unix::fs::symlink("runs/notes", folder.path().join("link")).unwrap();
    let task = String::from_utf8(folder.read("tasks/canonical/v1.json")).unwrap();
    for corpus in ["runs", "runs/notes", ".", "./runs/notes", "link"] {
        folder.write("tasks/canonical/v1.json", task.replace("data/corpus/v1", corpus));
        let problems = folder.library().load("tasks/canonical/v1.json", None).unwrap_err();
        let said = problems.to_string();
        assert!(said.contains("is runs/, or contains it, or is in it"), "{corpus}: {said}");
        assert!(said.contains("(/corpus)"), "{corpus}: {said}");
    }
}
