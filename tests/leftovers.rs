//! What a killed or refused command leaves beside a run and elsewhere: what is said of it, and that
//! nothing takes it for what it is not.

use std::process::{Command, Stdio};

use crate::support::Folder;
use crate::transactions::ok;

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
