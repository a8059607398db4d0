//! First contact: what README names works on the run that `gatedrun run` makes, in a folder that holds
//! nothing else, and in a clone.

use serde_json::Value;

use crate::support::{Folder, copy, root, text};

const RUN: &str = "runs/canonical/v1";

/// Every `gatedrun` command in README's text, as arguments.
fn commands() -> Vec<Vec<String>> {
    let readme = text("README.md");
    let shown = readme.split('`').skip(1).step_by(2);
    let called = shown.filter_map(|code| code.strip_prefix("gatedrun "));
    let mut list: Vec<Vec<String>> =
        called.map(|args| args.split_whitespace().map(str::to_owned).collect()).collect();
    list.sort();
    list.dedup();
    list
}

/// A command as a new user completes it: with the run that was made, and a key and a policy of
/// their own.
fn completed(command: &[String]) -> Vec<String> {
    let mut args = command.to_vec();
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    let more: &[&str] = match words.as_slice() {
        ["replay"] => &[RUN],
        ["sign"] => &[RUN, "--key", "key.pem"],
        ["diff"] => &[RUN, RUN],
        ["policy", "check"] => &["next.yaml"],
        _ => &[],
    };
    args.extend(more.iter().map(|word| (*word).to_owned()));
    args
}

/// Runs all of them, and what each next step needs.
fn walk(folder: &Folder) {
    let run = |args: &[&str]| {
        let ran = folder.gatedrun(args);
        assert!(ran.code == 0, "{args:?}: exit code {}\n{}", ran.code, ran.all());
        ran
    };
    run(&["run"]);
    run(&["keygen", "key.pem"]);
    let policy = gatedrun::builtin::file("policy/v1.yaml").unwrap();
    folder.write("next.yaml", policy);
    let mut walked = 0;
    for command in commands() {
        let args = completed(&command);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        // These read stdin, need a run that was killed, or are walked with their own arguments below.
        if matches!(args.as_slice(), ["policy", ..] | ["resume"]) {
            continue;
        }
        run(&args);
        walked += 1;
    }
    assert!(walked >= 7, "{walked}");
    for args in [
        &["check"][..],
        &["verify"],
        &["verify", RUN, "--key", "key.pub.pem", "--require-signature"],
        &["replay", "runs"],
        &["replay", "runs", "--policy", "builtin:policy/v1.yaml"],
        &["replay", "runs", "--policy", "next.yaml", "--require", "no-change"],
        &["regression"],
        &["show", RUN],
        &["diff", RUN, RUN],
        &["review"],
        &["policy", "check", "next.yaml"],
        &[
            "policy",
            "explain",
            "next.yaml",
            "{\"tool\":\"read\",\"arguments\":{\"path\":\"corpus/op-19.md\"}}",
        ],
    ] {
        run(args);
    }
    // Killed half way, it is resumed.
    let ledger = folder.read(&format!("{RUN}/state.jsonl"));
    std::fs::remove_dir_all(folder.path().join(RUN)).unwrap();
    folder.write(&format!("{RUN}.partial/state.jsonl"), &ledger[..9000]);
    run(&["resume", RUN]);
    assert!(folder.read(&format!("{RUN}/state.jsonl")) == ledger);
    assert!(run(&["run"]).out.contains("identical to the existing run"));
}

#[test]
fn everything_that_readme_names_works_in_an_empty_folder() {
    let folder = Folder::new();
    walk(&folder);
    // What was taken from the program is recorded as that.
    let manifest: Value =
        serde_json::from_slice(&folder.read(&format!("{RUN}/manifest.json"))).unwrap();
    for input in manifest["inputs"].as_array().unwrap() {
        assert!(input["path"].as_str().unwrap().starts_with("builtin:"), "{input}");
    }
    let report = String::from_utf8(folder.read(&format!("{RUN}/run_report.md"))).unwrap();
    assert!(report.contains("builtin:policy/v1.yaml"));
    // A run that claims so and is not is found.
    folder.edit(
        &format!("{RUN}/manifest.json"),
        "builtin:policy/v1.yaml",
        "builtin:policy/v2.yaml",
    );
    assert_eq!(folder.gatedrun(&["verify", RUN]).code, 1);
}

#[test]
fn everything_that_readme_names_works_in_a_clone() {
    let folder = Folder::project();
    copy(
        root().join("runs/canonical").as_std_path(),
        folder.path().join("runs/canonical").as_std_path(),
    );
    let ran = folder.gatedrun(&["run"]);
    assert!(ran.out.contains("identical to the existing run"), "{}", ran.all());
    walk(&folder);
}

#[test]
fn the_run_of_the_built_in_task_is_found_from_below_and_put_there() {
    let folder = Folder::new();
    assert_eq!(folder.gatedrun(&["run"]).code, 0);
    std::fs::create_dir(folder.path().join("below")).unwrap();
    let at = |at: &str, args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_gatedrun"));
        let output = command.args(args).current_dir(folder.path().join(at)).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, said) = at("below", &["run"]);
    assert!(code == 0 && said.contains("../runs/canonical/v1: identical"), "{said}");
    assert!(!folder.path().join("below/runs").exists());
    for command in ["verify", "check", "replay"] {
        let (code, said) = at("runs/canonical", &[command, "v1"]);
        assert_eq!(code, 0, "{command}: {said}");
    }
}
