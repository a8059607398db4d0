//! What a user may call a run or a task, in every command and from every folder of the project.

use std::process::Command;

use gatedrun::evidence::STATE;

use super::support::{Folder, Ran, copy};

/// A project with a finished run and one that was cut short.
fn project() -> Folder {
    let folder = Folder::project();
    for name in ["canonical/v1", "canonical/cut.partial"] {
        let place = folder.path().join("runs").join(name);
        copy(super::support::root().join("runs/canonical/v1").as_std_path(), place.as_std_path());
    }
    let ledger = folder.read(&format!("runs/canonical/cut.partial/{STATE}"));
    folder.write(&format!("runs/canonical/cut.partial/{STATE}"), &ledger[..5000]);
    for name in ["trace.json", "run_report.md", "manifest.json"] {
        std::fs::remove_file(folder.path().join("runs/canonical/cut.partial").join(name)).unwrap();
    }
    folder.write("tasks/canonical/cut.json", folder.read("tasks/canonical/v1.json"));
    folder
}

/// The program in a folder below the project's.
fn within(folder: &Folder, below: &str, args: &[&str]) -> (i32, String) {
    let ran = Command::new(env!("CARGO_BIN_EXE_gatedrun"))
        .args(args)
        .current_dir(folder.path().join(below))
        .env_clear()
        .output()
        .unwrap();
    let all = [ran.stdout, ran.stderr].concat();
    (ran.status.code().unwrap(), String::from_utf8(all).unwrap())
}

fn says(ran: &Ran, code: i32, part: &str) {
    let all = ran.all();
    assert!(all.contains(part), "{part:?} is not in {all}");
    assert_eq!(ran.code, code, "{all}");
}

#[test]
fn a_run_that_was_cut_short_goes_by_both_of_its_names() {
    let folder = project();
    let goes_on = "gatedrun resume runs/canonical/cut`";
    for name in ["runs/canonical/cut", "runs/canonical/cut.partial", "runs/canonical/cut.partial/"]
    {
        says(&folder.gatedrun(&["show", name]), 0, goes_on);
        says(&folder.gatedrun(&["show", name]), 0, "cut short after 8 events");
        says(&folder.gatedrun(&["check", name]), 7, goes_on);
        says(&folder.gatedrun(&["replay", name]), 7, goes_on);
        folder.gatedrun(&["keygen", "k.pem"]);
        says(&folder.gatedrun(&["sign", name, "--key", "k.pem"]), 7, goes_on);
        says(&folder.gatedrun(&["diff", name, "runs/canonical/v1"]), 1, "call");
    }
    for name in ["runs/canonical/v1", "runs/canonical/v1/"] {
        says(&folder.gatedrun(&["resume", name]), 2, "the run is finished");
    }
    says(&folder.gatedrun(&["show", "runs/canonical/v1.partial"]), 2, "the run is finished");
}

#[test]
fn resume_takes_the_name_that_completion_gives() {
    let folder = project();
    std::fs::remove_dir_all(folder.path().join("runs/canonical/v1")).unwrap();
    let place = |name: &str| folder.path().join("runs/canonical").join(name);
    std::fs::rename(place("cut.partial"), place("v1.partial")).unwrap();
    says(
        &folder.gatedrun(&["resume", "runs/canonical/v1.partial/"]),
        0,
        "runs/canonical/v1: written",
    );
    says(&folder.gatedrun(&["verify", "runs/canonical/v1"]), 0, "verified");
}

#[test]
fn a_file_of_a_run_is_answered_with_the_run() {
    let folder = project();
    for file in ["state.jsonl", "manifest.json"] {
        let file = format!("runs/canonical/v1/{file}");
        let commands =
            [vec!["show"], vec!["verify"], vec!["check"], vec!["replay"], vec!["resume"]];
        for mut command in commands {
            command.push(&file);
            says(&folder.gatedrun(&command), 2, "name the folder: runs/canonical/v1");
        }
        says(&folder.gatedrun(&["run", &file]), 2, "a file of a run");
    }
    let run = folder.gatedrun(&["run", "runs/canonical/v1"]);
    says(&run, 2, "run its task with `gatedrun run tasks/canonical/v1.json`");
    says(&folder.gatedrun(&["run", "/tmp"]), 2, "/tmp: a folder without tasks");
    says(&folder.gatedrun(&["run", "/nope/x.json"]), 2, "/nope/x.json: no such file");
}

#[test]
fn commands_find_the_project_from_any_folder_of_it() {
    let folder = project();
    std::fs::remove_dir_all(folder.path().join("runs/canonical/cut.partial")).unwrap();
    std::fs::remove_file(folder.path().join("tasks/canonical/cut.json")).unwrap();
    for (below, args, printed) in [
        ("runs/canonical", &["verify", "v1"][..], "v1: verified"),
        ("runs/canonical", &["check", "v1"], "v1: identical"),
        ("runs/canonical/v1", &["check", "."], "../v1: identical"),
        ("runs/canonical/v1", &["verify", "."], "../v1: verified"),
        ("runs/canonical", &["verify", "."], "v1: verified"),
        ("runs", &["verify", "canonical"], "canonical/v1: verified"),
        ("tasks/canonical", &["verify"], "../../runs/canonical/v1: verified"),
        ("data", &["check", "runs/canonical/v1"], "../runs/canonical/v1: identical"),
        ("data", &["replay", "../runs/canonical/v1"], "identical"),
        ("tasks/canonical", &["run", "v1.json"], "../../runs/canonical/v1: identical"),
        ("tasks", &["run", "tasks/canonical/v1.json"], "../runs/canonical/v1: identical"),
        ("runs/canonical", &["show", "v1"], "expectations: met"),
        ("data/corpus", &["regression"], "1 task: 1 same"),
        ("tasks/canonical", &["regression"], "1 task: 1 same"),
        ("runs/canonical/v1", &["regression"], "1 task: 1 same"),
        ("data", &["replay"], "../runs/canonical/v1: identical"),
        ("tools", &["review"], "runs: no proposal"),
    ] {
        let (code, all) = within(&folder, below, args);
        assert!(code == 0 && all.contains(printed), "{args:?} in {below}: {code}\n{all}");
    }
}

#[test]
fn a_damaged_ledger_is_shown_up_to_the_damage() {
    let folder = project();
    folder.edit("runs/canonical/v1/state.jsonl", "\"seq\":16,", "\"seq\":17,");
    let shown = folder.gatedrun(&["show", "runs/canonical/v1"]);
    says(&shown, 5, "fetched 1113 bytes");
    says(&shown, 5, "line 17");
    let json = folder.gatedrun(&["show", "runs/canonical/v1", "--json"]).all();
    assert!(json.contains("\"error\":\"runs/canonical/v1/state.jsonl: line 17"), "{json}");
}

#[test]
fn show_says_what_is_known_beside_the_ledger() {
    let folder = project();
    let run = "runs/canonical/v1";
    says(&folder.gatedrun(&["show", run]), 0, "signature: none");
    folder.gatedrun(&["keygen", "k.pem"]);
    folder.gatedrun(&["sign", run, "--key", "k.pem"]);
    says(&folder.gatedrun(&["show", run]), 0, "signature: by key ");
    folder.edit("tasks/canonical/v1.json", "75 days", "75  days");
    says(&folder.gatedrun(&["show", run]), 0, "differs from the task of this run");
}

/// A task above the folder of a run, in which the command is given, is not a file of that run.
#[test]
fn a_task_is_run_from_within_a_run() {
    let folder = Folder::project();
    assert_eq!(folder.gatedrun(&["run", "tasks/canonical/v1.json"]).code, 0);
    for args in [&["run"][..], &["run", "tasks/canonical/v1.json"]] {
        let (code, all) = within(&folder, "runs/canonical/v1", args);
        assert!(code == 0 && all.contains("identical"), "{args:?}: {code}: {all}");
    }
    let (code, all) = within(&folder, "runs/canonical", &["run", "v1/manifest.json"]);
    assert!(code == 2 && all.contains("a file of a run"), "{all}");
}
