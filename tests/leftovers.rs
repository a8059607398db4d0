//! What a killed or refused command leaves beside a run and elsewhere: what is said of it, and that
//! nothing takes it for what it is not.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use gatedrun::evidence::diff::diff;
use gatedrun::evidence::open::Folder as Held;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::support::{Folder, Ran, copy};
use crate::transactions::{RUN, TASK, cut, names, ok, project, proposed, task};

/// Runs the program under strace with these injections and `TMPDIR`; `None` where there is no strace.
fn injected(folder: &Folder, args: &[&str], injections: &[&str]) -> Option<(i32, String)> {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null"]);
    for injection in injections {
        strace.args(["-e", &format!("inject={injection}")]);
    }
    std::fs::create_dir_all(folder.path().join("tmp")).unwrap();
    let output = strace
        .arg(env!("CARGO_BIN_EXE_gatedrun"))
        .args(args)
        .current_dir(folder.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("TMPDIR", folder.path().join("tmp"))
        .stdin(Stdio::null())
        .output();
    let Ok(output) = output else {
        assert!(std::env::var_os("CI").is_none(), "strace is needed here");
        return None;
    };
    Some((output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned()))
}

fn says(ran: &Ran, code: i32, due: &str) {
    assert!(ran.code == code && ran.err.contains(due), "{due}: {}", ran.all());
}

#[test]
fn a_resume_that_was_killed_while_it_replaced_the_run_is_repeated() {
    let no_exchange = "renameat2:error=EINVAL";
    for injections in [
        // Before the exchange, and after it.
        &["renameat2:signal=KILL:when=1"][..],
        &["rename:signal=KILL:when=2"],
        &[no_exchange, "rename:signal=KILL:when=2"],
        &[no_exchange, "rename:signal=KILL:when=3"],
    ] {
        for accept in [true, false] {
            let folder = project();
            ok(&folder.gatedrun(&["run", TASK]), 0);
            task(&folder, "t/side", "four");
            cut(&folder);
            let new = folder.read("whole/state.jsonl");
            let resume = ["resume", RUN, "--accept"];
            let Some((code, _)) = injected(&folder, &resume, injections) else { return };
            assert_ne!(code, 0, "{injections:?}");
            assert!(names(&folder).iter().any(|name| name.ends_with(".swap")), "{injections:?}");
            let is_in_place = folder.path().join(RUN).exists();
            for reader in [
                &["verify"][..],
                &["verify", RUN],
                &["list"],
                &["show", RUN],
                &["regression"],
                &["check"],
            ] {
                let ran = folder.gatedrun_with(reader, &[("CI", "true")]);
                let due = "a replacement of this run was interrupted";
                assert!(ran.all().contains(due), "{injections:?} {reader:?}: {}", ran.all());
                assert_eq!(ran.all().matches(due).count(), 1, "{reader:?}: {}", ran.all());
            }
            let repeated = if accept { &resume[..] } else { &resume[..2] };
            let ran = folder.gatedrun(repeated);
            assert!(ran.err.contains("a replacement of this run was interrupted"), "{}", ran.all());
            if accept || !is_in_place || !names(&folder).contains(&"side.new".to_owned()) {
                ok(&ran, 0);
                assert_eq!(names(&folder), ["side"], "{injections:?}");
                assert_eq!(folder.read(&format!("{RUN}/state.jsonl")), new, "{injections:?}");
            } else {
                ok(&ran, 1);
                assert_eq!(names(&folder), ["side", "side.new"], "{injections:?}");
            }
            if accept {
                ok(&folder.gatedrun(&["check", RUN]), 0);
            }
        }
    }
}

#[test]
fn a_run_does_not_differ_from_itself_while_others_are_put_in_its_place() {
    let folder = proposed();
    let path = |name: &str| folder.path().join(name);
    let (run, incoming) = (path(RUN), path("incoming"));
    let (old, new) = (path("old"), path("new"));
    copy(run.as_std_path(), old.as_std_path());
    copy(path(&format!("{RUN}.new")).as_std_path(), new.as_std_path());
    let is_over = AtomicBool::new(false);
    let mut read = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Never the same folder twice: as runs are replaced.
            for from in [&new, &old].into_iter().cycle() {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                copy(from.as_std_path(), incoming.as_std_path());
                let flags = RenameFlags::EXCHANGE;
                renameat_with(CWD, incoming.as_std_path(), CWD, run.as_std_path(), flags).unwrap();
                std::fs::remove_dir_all(&incoming).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        let found: Vec<_> = (0..300).map(|_| diff(&run, &run)).collect();
        is_over.store(true, Ordering::Relaxed);
        for found in found {
            match found {
                Ok(found) => {
                    assert!(found.is_empty(), "{found:?}");
                    read += 1;
                }
                Err(unread) => assert!(unread.is_host, "{unread}"),
            }
        }
    });
    assert!(read > 0, "the run was never read");
}

#[test]
fn what_was_read_of_two_runs_is_read_again() {
    let folder = proposed();
    let (run, new) = (folder.path().join(RUN), folder.path().join(format!("{RUN}.new")));
    let mut reads = 0;
    let swapped = Held::read_steady(&run, || {
        reads += 1;
        if reads < 3 {
            let aside = folder.path().join(format!("aside{reads}"));
            std::fs::rename(&run, aside).unwrap();
            copy(new.as_std_path(), run.as_std_path());
        }
        reads
    });
    assert_eq!(swapped.unwrap(), 3);
    // Where it never rests, that is said.
    let mut reads = 0;
    let swapped = Held::read_steady(&run, || {
        reads += 1;
        std::fs::rename(&run, folder.path().join(format!("away{reads}"))).unwrap();
        copy(new.as_std_path(), run.as_std_path());
    });
    assert!(swapped.unwrap_err().to_string().contains("while it was read"));
}

/// A lock that a killed command has left.
fn lock(folder: &Folder) {
    folder.write(&format!("{RUN}.partial/owner"), "process 1\n");
}

#[test]
fn a_lock_is_no_run() {
    let folder = project();
    ok(&folder.gatedrun(&["run", TASK]), 0);
    lock(&folder);
    for reader in [&["verify"][..], &["list"], &["regression"], &["replay", "runs"]] {
        let ran = folder.gatedrun(reader);
        ok(&ran, if reader == ["regression"] { 1 } else { 0 });
        assert!(!ran.all().contains("unfinished"), "{}", ran.all());
        assert!(!ran.all().contains("resume"), "{}", ran.all());
    }
    for reader in ["verify", "show", "sign", "replay"] {
        let mut args = vec![reader, "runs/t/side.partial"];
        if reader == "sign" {
            ok(&folder.gatedrun(&["keygen", "k.pem"]), 0);
            args.extend(["--key", "k.pem"]);
        }
        says(&folder.gatedrun(&args), 2, "no run was begun here");
    }
    // It is removed, and nothing is executed.
    let ran = folder.gatedrun(&["resume", RUN]);
    says(&ran, 2, "nothing to resume");
    assert_eq!(names(&folder), ["side"]);
    // Where there is no run either, the task has none.
    std::fs::rename(folder.path().join(RUN), folder.path().join("kept")).unwrap();
    for named in [RUN, "runs/t/side.partial"] {
        lock(&folder);
        for reader in ["check", "verify"] {
            says(&folder.gatedrun(&[reader]), 2, "no run found");
        }
        let ran = folder.gatedrun(&["regression"]);
        assert!(ran.all().contains("no run is committed"), "{}", ran.all());
        says(&folder.gatedrun(&["resume", named]), 2, "nothing to resume");
        assert!(names(&folder).is_empty());
    }
    lock(&folder);
    ok(&folder.gatedrun(&["run", TASK]), 0);
    assert_eq!(names(&folder), ["side"]);
}

#[test]
fn a_command_that_gets_no_lock_leaves_none() {
    let folder = project();
    ok(&folder.gatedrun(&["run", TASK]), 0);
    ok(&folder.gatedrun(&["keygen", "k.pem"]), 0);
    for args in
        [&["sign", RUN, "--key", "k.pem"][..], &["run", TASK], &["run", TASK, "--out", "x/y"]]
    {
        for error in ["ENOLCK", "EIO"] {
            let injection = format!("flock:error={error}");
            let Some((code, err)) = injected(&folder, args, &[&injection]) else { return };
            assert_eq!(code, 8, "{args:?} {error}: {err}");
            assert_eq!(names(&folder), ["side"], "{args:?} {error}");
            assert!(!folder.path().join("x/y.partial").exists(), "{args:?} {error}");
        }
    }
}

#[test]
fn a_temporary_folder_that_stays_is_named() {
    // A task that writes nothing: what cannot be removed is the folder alone.
    let folder = Folder::project();
    let run = "runs/canonical/v1";
    ok(&folder.gatedrun(&["run", "tasks/canonical/v1.json"]), 0);
    for args in [
        &["check", run][..],
        &["regression", "-q"],
        &["replay", "--policy", "policy/variants/continue.yaml", run],
    ] {
        let Some((due, err)) = injected(&folder, args, &[]) else { return };
        assert!(!err.contains("left behind"), "{args:?}: {err}");
        let left = || std::fs::read_dir(folder.path().join("tmp")).unwrap().next();
        assert!(left().is_none(), "{args:?}");
        let (code, err) = injected(&folder, args, &["unlinkat:error=EIO"]).unwrap();
        assert_eq!(code, due, "{args:?}: {err}");
        let left = left().unwrap().unwrap().path();
        let lines: Vec<&str> = err.lines().filter(|line| line.contains("left behind")).collect();
        assert_eq!(lines.len(), 1, "{args:?}: {err}");
        assert!(lines[0].contains(left.to_str().unwrap()), "{args:?}: {err}");
        std::fs::remove_dir_all(left).unwrap();
    }
}

fn link(folder: &Folder, name: &str) {
    let (path, kept) = (folder.path().join(name), folder.path().join("kept"));
    std::fs::rename(&path, &kept).unwrap();
    symlink(&kept, &path).unwrap();
}

#[test]
fn a_link_in_the_place_of_a_run_or_a_proposal_is_called_one() {
    let folder = proposed();
    link(&folder, RUN);
    for args in
        [&["review", "--accept"][..], &["run", TASK, "--accept"], &["run", TASK, "--out", RUN]]
    {
        says(&folder.gatedrun(args), 2, "runs/t/side: a symbolic link");
    }
    says(&folder.gatedrun(&["run", TASK, "--out", "/dev/null"]), 2, "/dev/null: not a folder");
    let folder = proposed();
    let new = format!("{RUN}.new");
    link(&folder, &new);
    for args in [
        &["review"][..],
        &["review", "--accept"],
        &["review", "--reject"],
        &["review", RUN, "--accept"],
        &["review", &new],
    ] {
        says(&folder.gatedrun(args), 2, "runs/t/side.new: a symbolic link");
        assert!(Path::new(&folder.path().join(&new)).is_symlink(), "{args:?}");
    }
    // One that leads nowhere is one too.
    std::fs::remove_dir_all(folder.path().join("kept")).unwrap();
    says(&folder.gatedrun(&["review"]), 2, "runs/t/side.new: a symbolic link");
    says(&folder.gatedrun(&["review", RUN]), 2, "runs/t/side.new: a symbolic link");
}
