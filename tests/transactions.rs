//! A run folder is changed in one step, by one writer, and never by who reads or refuses. The kill at
//! every syscall is `make faults`; here are the states that a kill leaves, and what follows from them.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Folder, Ran, copy, in_doubt};

pub const TASK: &str = "tasks/t/side.json";
pub const RUN: &str = "runs/t/side";

/// A project with a task that writes three times, reads between, and ends.
pub fn project() -> Folder {
    let folder = Folder::lenient_project();
    task(&folder, "t/side", "three");
    folder
}

pub fn task(folder: &Folder, id: &str, last: &str) {
    let write = |path: &str, text: &str| json!({"tool": "write", "arguments": {"path": path, "content": text}});
    let mut task: Value = serde_json::from_slice(&folder.read("tasks/canonical/v1.json")).unwrap();
    task["id"] = id.into();
    task["llm"] = json!({"script": [
        {"calls": [write("work/a.md", "one"), write("work/n/b.md", "two")]},
        {"calls": [{"tool": "read", "arguments": {"path": "work/n/b.md"}}, write("work/a.md", last)]},
        {"final_answer": "done"}
    ]});
    task["expected"] = json!({"terminal_reason": "final_answer", "answer_contains": ["done"]});
    folder.write(&format!("tasks/{id}.json"), task.to_string());
}

/// Everything below `runs/`: bytes, inode and time of each file, and the folders.
pub fn tree(folder: &Folder) -> BTreeMap<String, (Vec<u8>, u64, i64)> {
    let mut found = BTreeMap::new();
    for entry in walkdir::WalkDir::new(folder.path().join("runs")) {
        let entry = entry.unwrap();
        let path = entry.path().display().to_string();
        let stat = entry.path().symlink_metadata().unwrap();
        let bytes = if stat.is_file() { std::fs::read(entry.path()).unwrap() } else { Vec::new() };
        let (inode, time) = if stat.is_file() { (stat.ino(), stat.mtime_nsec()) } else { (0, 0) };
        found.insert(path, (bytes, inode, time));
    }
    found
}

pub fn names(folder: &Folder) -> Vec<String> {
    let list = std::fs::read_dir(folder.path().join("runs/t")).unwrap();
    let mut names: Vec<String> =
        list.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub fn ok(ran: &Ran, code: i32) {
    assert_eq!(ran.code, code, "{}", ran.all());
}

/// A committed run, and a proposal beside it that differs.
pub fn proposed() -> Folder {
    let folder = project();
    ok(&folder.gatedrun(&["run", TASK]), 0);
    task(&folder, "t/side", "four");
    ok(&folder.gatedrun(&["check", RUN]), 1);
    assert_eq!(names(&folder), ["side", "side.new"]);
    folder
}

/// A run that was cut short after its second write.
pub fn cut(folder: &Folder) {
    ok(&folder.gatedrun(&["run", TASK, "--out", "whole"]), 0);
    let ledger = String::from_utf8(folder.read("whole/state.jsonl")).unwrap();
    let lines: Vec<&str> = ledger.split_inclusive('\n').collect();
    let second = lines.iter().rposition(|line| line.contains("step_started")).unwrap();
    let second = lines[..second].iter().rposition(|line| line.contains("step_started")).unwrap();
    let partial = format!("{RUN}.partial");
    folder.write(&format!("{partial}/state.jsonl"), lines[..=second].concat() + "{\"seq\":");
    folder.write(&format!("{partial}/work/a.md"), "one");
    folder.write(&format!("{partial}/work/n/b.md"), "two");
    folder.write(&format!("{partial}/trace.json"), "what was traced");
}

/// Runs the program under strace with this injection; `None` where there is no strace.
pub fn injected(folder: &Folder, args: &[&str], injection: &str) -> Option<(i32, String)> {
    let output = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", injection])
        .arg(env!("CARGO_BIN_EXE_gatedrun"))
        .args(args)
        .current_dir(folder.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .stdin(Stdio::null())
        .output();
    let Ok(output) = output else {
        assert!(std::env::var_os("CI").is_none(), "strace is needed here");
        return None;
    };
    Some((output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[test]
fn an_accept_that_was_killed_is_finished_and_never_undone() {
    for syscall in [
        "rename:signal=KILL:when=1",
        "renameat2:signal=KILL:when=1",
        "rename:signal=KILL:when=2",
        "unlinkat:signal=KILL:when=1",
        "unlinkat:signal=KILL:when=3",
    ] {
        let folder = proposed();
        let new = folder.read(&format!("{RUN}.new/state.jsonl"));
        let args = ["review", "--accept"];
        if injected(&folder, &args, &format!("inject={syscall}")).is_none() {
            return;
        }
        ok(&folder.gatedrun(&args), 0);
        assert!(
            folder.read(&format!("{RUN}/state.jsonl")) == new,
            "{syscall}: the old run is back"
        );
        assert_eq!(names(&folder), ["side"], "{syscall}");
        ok(&folder.gatedrun(&["check", RUN]), 0);
    }
}

#[test]
fn a_file_system_without_exchange_is_served_and_one_without_locks_is_named() {
    let folder = proposed();
    let new = folder.read(&format!("{RUN}.new/state.jsonl"));
    for errno in ["ENOLCK", "EOPNOTSUPP", "ENOSYS"] {
        let injection = format!("inject=flock:error={errno}");
        let Some((code, err)) = injected(&folder, &["review", "--accept"], &injection) else {
            return;
        };
        assert!(code == 8 && err.contains("this file system has no locks"), "{code} {err}");
        assert!(!err.contains("is writing this run"), "{err}");
    }
    let injection = "inject=renameat2:error=EINVAL";
    let (code, err) = injected(&folder, &["review", "--accept"], injection).unwrap();
    assert_eq!(code, 0, "{err}");
    assert!(folder.read(&format!("{RUN}/state.jsonl")) == new);
    assert_eq!(names(&folder), ["side"]);
}

#[test]
fn one_writes_and_the_other_is_told_who() {
    let folder = proposed();
    let partial = folder.path().join(format!("{RUN}.partial"));
    std::fs::create_dir(&partial).unwrap();
    folder.write(&format!("{RUN}.partial/owner"), format!("process {}\n", std::process::id()));
    let held = std::fs::File::open(&partial).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let before = tree(&folder);
    let who = format!("process {} is writing this run", std::process::id());
    for args in [&["review", "--accept"][..], &["review", "--reject"], &["run", TASK, "--accept"]] {
        let ran = folder.gatedrun(args);
        assert!(ran.code != 0 && ran.err.contains(&who), "{}", ran.all());
        assert!(tree(&folder) == before, "{args:?} changed something");
    }
}

#[test]
fn only_a_whole_proposal_of_this_place_from_these_inputs_is_accepted() {
    let folder = proposed();
    let proposal = format!("{RUN}.new");
    let kept = folder.path().join("kept");
    std::fs::rename(folder.path().join(&proposal), &kept).unwrap();
    let restore = || {
        let _ = std::fs::remove_dir_all(folder.path().join(&proposal));
        copy(kept.as_std_path(), folder.path().join(&proposal).as_std_path());
    };
    let refused = |due: &str| {
        let committed = tree(&folder);
        let ran = folder.gatedrun(&["review", "--accept"]);
        assert!(ran.code == 1 && ran.err.contains(due), "{due}: {}", ran.all());
        assert!(tree(&folder) == committed, "{due}: something was changed");
        // Neither does a person who is asked accept it.
        let ran = folder.gatedrun_stdin(&["review"], "a\n");
        assert!(ran.code == 1 && ran.err.contains(due), "{due}: {}", ran.all());
    };
    restore();
    folder.edit(&format!("{proposal}/run_report.md"), "done", "dome");
    refused("it is tampered (run_report.md, line");
    restore();
    folder.edit(&format!("{proposal}/work/a.md"), "four", "five");
    refused("it is tampered (work/a.md");
    restore();
    folder.edit(&format!("{proposal}/state.jsonl"), "work/n/b.md", "work/n/c.md");
    refused("state.jsonl: line");
    restore();
    let whole = folder.read(&format!("{proposal}/state.jsonl"));
    folder.write(&format!("{proposal}/state.jsonl"), &whole[..whole.len() / 2]);
    refused("the run is unfinished");
    restore();
    std::fs::remove_file(folder.path().join(format!("{proposal}/state.jsonl"))).unwrap();
    refused("this is not a run");
    restore();
    ok(&folder.gatedrun(&["run", "tasks/canonical/v1.json", "--out", "other"]), 0);
    std::fs::remove_dir_all(folder.path().join(&proposal)).unwrap();
    copy(folder.path().join("other").as_std_path(), folder.path().join(&proposal).as_std_path());
    refused("it is a run of the task \"canonical/v1\"");
    restore();
    folder.edit("policy/v1.yaml", "max_retries: 3", "max_retries: 2");
    refused("policy/v1.yaml has changed: was");
    folder.edit("policy/v1.yaml", "max_retries: 2", "max_retries: 3");
    // One that is refused does not stop the others.
    task(&folder, "u/side", "three");
    ok(&folder.gatedrun(&["run", "tasks/u/side.json"]), 0);
    task(&folder, "u/side", "four");
    ok(&folder.gatedrun(&["check", "runs/u"]), 1);
    folder.edit(&format!("{proposal}/run_report.md"), "done", "dome");
    let ran = folder.gatedrun(&["review", "--accept"]);
    assert!(
        ran.code == 1 && ran.out.contains("2 proposals: 1 accepted, 0 rejected, 1 left"),
        "{}",
        ran.all()
    );
    restore();
    ok(&folder.gatedrun(&["review", RUN, "--accept"]), 0);
    ok(&folder.gatedrun(&["check", "runs/t", "runs/u"]), 0);
}

#[test]
fn what_its_task_does_not_expect_replaces_nothing_and_a_signature_does_not_go_unsaid() {
    let folder = project();
    ok(&folder.gatedrun(&["run", TASK]), 0);
    let committed = folder.read(&format!("{RUN}/state.jsonl"));
    folder.edit(TASK, "\"final_answer\":\"done\"", "\"final_answer\":\"gone\"");
    let ran = folder.gatedrun(&["run", TASK, "--accept"]);
    assert!(ran.code == 1 && ran.out.contains("cannot be accepted"), "{}", ran.all());
    assert!(folder.read(&format!("{RUN}/state.jsonl")) == committed);
    let ran = folder.gatedrun(&["review", "--accept"]);
    assert!(
        ran.code == 1 && ran.err.contains("it does not meet its task's expectations"),
        "{}",
        ran.all()
    );
    assert!(folder.read(&format!("{RUN}/state.jsonl")) == committed);
    folder.edit(TASK, "\"final_answer\":\"gone\"", "\"final_answer\":\"done\"");
    ok(&folder.gatedrun(&["keygen", "k.pem"]), 0);
    for accept in [&["run", TASK, "--accept"][..], &["review", "--accept"]] {
        ok(&folder.gatedrun(&["sign", RUN, "--key", "k.pem"]), 0);
        let text = if accept[0] == "run" { "four" } else { "five" };
        task(&folder, "t/side", text);
        if accept[0] == "review" {
            ok(&folder.gatedrun(&["check", RUN]), 1);
        }
        let ran = folder.gatedrun(accept);
        assert!(ran.code == 0 && ran.err.contains("the signature by key "), "{}", ran.all());
    }
}

#[test]
fn check_leaves_what_was_cut_short_and_names_a_proposal_left_behind() {
    let folder = project();
    ok(&folder.gatedrun(&["run", TASK]), 0);
    cut(&folder);
    task(&folder, "t/side", "four");
    let is_partial =
        |tree: &BTreeMap<String, _>| tree.keys().filter(|path| path.contains(".partial")).count();
    let before = tree(&folder);
    ok(&folder.gatedrun(&["check", RUN]), 1);
    let after = tree(&folder);
    assert!(before.iter().all(|(path, file)| after.get(path) == Some(file)), "it was touched");
    assert_eq!(is_partial(&before), is_partial(&after));
    assert_eq!(names(&folder), ["side", "side.new", "side.partial"]);
    task(&folder, "t/side", "three");
    let ran = folder.gatedrun(&["check", RUN]);
    assert!(ran.code == 0 && ran.err.contains("runs/t/side.new: a proposal"), "{}", ran.all());
    assert!(tree(&folder) == after);
    ok(&folder.gatedrun(&["review", RUN, "--reject"]), 0);
    ok(&folder.gatedrun(&["resume", RUN]), 0);
    assert_eq!(names(&folder), ["side"]);
}

#[test]
fn a_refused_resume_changes_nothing() {
    let folder = project();
    cut(&folder);
    let refused = |folder: &Folder, code: i32, due: &str| {
        let before = tree(folder);
        let run = if folder.path().join(TASK).exists() { RUN } else { "runs/test/doubt" };
        let ran = folder.gatedrun(&["resume", run]);
        assert!(ran.code == code && ran.err.contains(due), "{due}: {}", ran.all());
        assert!(!ran.out.contains("resumed"), "{}", ran.all());
        assert!(tree(folder) == before, "{due}: something was changed");
    };
    folder.edit("policy/v1.yaml", "max_retries: 3", "max_retries: 2");
    refused(&folder, 9, "policy/v1.yaml has changed: was ");
    folder.edit("policy/v1.yaml", "max_retries: 2", "max_retries:");
    refused(&folder, 2, "policy/v1.yaml");
    folder.edit("policy/v1.yaml", "max_retries:", "max_retries: 3");
    let state = format!("{RUN}.partial/state.jsonl");
    folder.edit(&state, "work/n/b.md", "work/n/c.md");
    refused(&folder, 1, "state.jsonl: line");
    let (folder, _) = in_doubt();
    let doubt = "runs/test/doubt.partial/state.jsonl";
    let torn = [folder.read(doubt), b"{\"seq\"".to_vec()].concat();
    folder.write(doubt, torn);
    refused(&folder, 4, "is in doubt");
}

#[test]
fn a_resumed_run_has_the_files_that_its_ledger_speaks_of() {
    type Spoil = fn(&Folder);
    let spoils: [(&str, Spoil, &[&str]); 6] = [
        ("nothing", |_| {}, &[]),
        (
            "changed",
            |folder| drop(folder.write("runs/t/side.partial/work/n/b.md", "TWO")),
            &["work/n/b.md: changed since; rebuilt"],
        ),
        (
            "missing",
            |folder| {
                std::fs::remove_file(folder.path().join("runs/t/side.partial/work/n/b.md")).unwrap()
            },
            &["work/n/b.md: missing; rebuilt"],
        ),
        (
            "all missing",
            |folder| {
                std::fs::remove_dir_all(folder.path().join("runs/t/side.partial/work")).unwrap()
            },
            &["work/a.md: missing", "work/n/b.md: missing"],
        ),
        (
            "strays",
            |folder| drop(folder.write("runs/t/side.partial/work/x/y", "y")),
            &["work/x: not written by the run; removed"],
        ),
        (
            "a folder in its place",
            |folder| {
                let path = folder.path().join("runs/t/side.partial/work/n/b.md");
                std::fs::remove_file(&path).unwrap();
                std::fs::create_dir(path).unwrap();
            },
            &["work/n/b.md: changed since; rebuilt"],
        ),
    ];
    for (name, spoil, due) in spoils {
        let folder = project();
        cut(&folder);
        // Where work/a.md was not touched it is the same file afterwards, until it is written again.
        let keep = folder.path().join("runs/t/side.partial/work/n/b.md");
        let inode = std::fs::metadata(&keep).unwrap().ino();
        spoil(&folder);
        // The name that `ls` shows does too.
        let ran = folder.gatedrun(&["resume", &format!("{RUN}.partial/")]);
        ok(&ran, 0);
        assert!(ran.out.contains("resumed after"), "{name}: {}", ran.all());
        for due in due {
            assert!(ran.err.contains(due), "{name}: {}", ran.all());
        }
        if name == "nothing" {
            assert_eq!(
                std::fs::metadata(folder.path().join(RUN).join("work/n/b.md")).unwrap().ino(),
                inode
            );
            assert!(!ran.err.contains("rebuilt"), "{}", ran.all());
        }
        ok(&folder.gatedrun(&["verify", RUN]), 0);
        ok(&folder.gatedrun(&["diff", RUN, "whole"]), 0);
        assert_eq!(names(&folder), ["side"], "{name}");
    }
    // Without a ledger nothing of what lies there is the run's.
    for ledger in ["missing", "empty"] {
        let folder = project();
        cut(&folder);
        let state = folder.path().join(format!("{RUN}.partial/state.jsonl"));
        match ledger {
            "missing" => std::fs::remove_file(state).unwrap(),
            _ => std::fs::write(state, "").unwrap(),
        }
        ok(&folder.gatedrun(&["resume", RUN]), 0);
        ok(&folder.gatedrun(&["diff", RUN, "whole"]), 0);
    }
}

#[test]
fn what_was_discarded_is_not_resumed() {
    let folder = project();
    cut(&folder);
    for when in 1..4 {
        let injection = format!("inject=unlinkat:signal=KILL:when={when}");
        let args = ["run", TASK, "--discard-partial"];
        if injected(&folder, &args, &injection).is_none() {
            return;
        }
        let ran = folder.gatedrun(&["resume", RUN]);
        assert!(ran.code == 2 && ran.err.contains("no such folder"), "{when}: {}", ran.all());
        assert!(names(&folder).is_empty(), "{when}: {:?}", names(&folder));
        cut(&folder);
    }
}

#[test]
fn a_run_has_a_name_and_a_folder_of_its_own() {
    let folder = project();
    for out in [".", "..", "x/..", "/", "", "x.new", "x.partial", "x.old", "x.swap", "a\nb"] {
        let ran = folder.gatedrun(&["run", TASK, "--out", out]);
        assert!(ran.code == 2 && ran.err.lines().count() == 1, "{out:?}: {}", ran.all());
    }
    for id in ["t/x.new", "t/x.partial", "t/x.old/y", "t/x.swap"] {
        task(&folder, id, "three");
        let ran = folder.gatedrun(&["run", &format!("tasks/{id}.json")]);
        assert!(
            ran.code == 2 && ran.err.contains("(/id): a part of the id ends in"),
            "{}",
            ran.all()
        );
        std::fs::remove_file(folder.path().join(format!("tasks/{id}.json"))).unwrap();
    }
    std::fs::remove_dir_all(folder.path().join("tasks/t/x.old")).unwrap();
    // Of two ids one is a folder of the other, whichever is loaded.
    task(&folder, "t/side/b", "three");
    for (path, other) in [(TASK, "tasks/t/side/b.json"), ("tasks/t/side/b.json", TASK)] {
        let ran = folder.gatedrun(&["run", path]);
        assert!(
            ran.code == 2 && ran.err.contains(path) && ran.err.contains(other),
            "{}",
            ran.all()
        );
    }
    std::fs::remove_dir_all(folder.path().join("tasks/t/side")).unwrap();
    // No run in a run, in either order.
    ok(&folder.gatedrun(&["run", TASK, "--out", "o/a"]), 0);
    let ran = folder.gatedrun(&["run", TASK, "--out", "o/a/work/c"]);
    assert!(ran.code == 2 && ran.err.contains("o/a/work/c is in o/a:"), "{}", ran.all());
    let ran = folder.gatedrun(&["run", TASK, "--out", "o"]);
    assert!(ran.code == 2 && ran.err.contains("o/a is in o:"), "{}", ran.all());
    ok(&folder.gatedrun(&["verify", "o", "--project", "."]), 0);
}

#[test]
fn every_file_that_differs_is_shown() {
    let folder = proposed();
    let new = format!("{RUN}.new");
    let ran = folder.gatedrun(&["diff", RUN, &new]);
    for file in ["trace.json", "run_report.md", "manifest.json", "work/a.md"] {
        assert!(ran.out.contains(&format!("\n  {file}, line ")), "{file}: {}", ran.all());
    }
    copy(folder.path().join(RUN).as_std_path(), folder.path().join("same").as_std_path());
    ok(&folder.gatedrun(&["diff", RUN, "same"]), 0);
    folder.edit("same/run_report.md", "done", "dome");
    folder.write("same/work/more.md", "more");
    let ran = folder.gatedrun(&["diff", RUN, "same"]);
    assert!(ran.code == 1 && ran.out.contains("every event is the same"), "{}", ran.all());
    assert!(
        ran.out.contains("  run_report.md, line ")
            && ran.out.contains("  work/more.md\n    - no such file\n"),
        "{}",
        ran.all()
    );
    let found: Value =
        serde_json::from_str(&folder.gatedrun(&["diff", RUN, "same", "--json"]).out).unwrap();
    assert_eq!(found["files"][0]["file"], "run_report.md", "{found:#}");
    // A reviewer sees them too.
    let ran = folder.gatedrun_stdin(&["review"], "q\n");
    assert!(
        ran.out.contains("  work/a.md, line 1, byte 1\n    - three\n    + four\n"),
        "{}",
        ran.all()
    );
}
