//! One failing system call at a time: what the machine does to a run is not what its tools said.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::{Folder, copy, exhaustive, scripted};

const TASK: &str = "tasks/test/script.json";
const RUN: &str = "runs/test/script";

/// A task that writes, writes again what is there, and reads back.
fn writing() -> Folder {
    let folder = Folder::project();
    let write = |path: &str, content: &str| json!({"calls": [{"tool": "write", "arguments": {"path": path, "content": content}}]});
    let script = json!([
        write("work/a/b/note.md", "first"),
        write("work/a/b/note.md", "first"),
        write("work/c.md", "second"),
        {"calls": [{"tool": "read", "arguments": {"path": "work/a/b/note.md"}}]},
        {"calls": [{"tool": "read", "arguments": {"path": "work/none.md"}}]},
        {"final_answer": "done"}
    ]);
    scripted(&folder, script, &[("version: 1\n", "version: 1\ndurability: fsync\n")]);
    folder
}

/// Runs the program under strace; `None`, loudly, where nothing may be traced.
fn traced(folder: &Folder, options: &[&str], args: &[&str]) -> Option<Output> {
    if !Command::new("strace").arg("true").output().is_ok_and(|ran| ran.status.success()) {
        let _ = writeln!(std::io::stderr(), "skipped: no strace here, or it may not trace");
        return None;
    }
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "strace.txt"]).args(options);
    command.arg(env!("CARGO_BIN_EXE_gatedrun")).args(args).current_dir(folder.path());
    Some(command.env_clear().env("PATH", "/usr/bin:/bin").output().unwrap())
}

/// Every file of a run, by its path.
fn tree(folder: &Folder, run: &str) -> BTreeMap<String, Vec<u8>> {
    let mut tree = BTreeMap::new();
    for entry in walkdir::WalkDir::new(folder.path().join(run)) {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            let path = entry.path().strip_prefix(folder.path().join(run)).unwrap();
            tree.insert(path.display().to_string(), std::fs::read(entry.path()).unwrap());
        }
    }
    tree
}

fn said(ran: &Output) -> String {
    String::from_utf8_lossy(&ran.stderr).into_owned()
}

/// What may fail, and how.
const FAULTS: [(&str, &[&str]); 10] = [
    ("openat2", &["ENOSPC", "EMFILE", "EACCES", "EIO", "EROFS", "ENOMEM", "EPERM", "ENOSYS"]),
    ("openat", &["EMFILE", "ENFILE", "EACCES", "ENOSPC", "EDQUOT"]),
    ("write", &["ENOSPC", "EIO", "EDQUOT", "EFBIG"]),
    ("fsync", &["EIO", "ENOSPC", "EDQUOT"]),
    ("fdatasync", &["EIO"]),
    ("renameat", &["ENOSPC", "EACCES", "EXDEV", "EIO"]),
    ("mkdirat", &["ENOSPC", "EACCES", "EMLINK"]),
    ("mkdir", &["ENOSPC", "EROFS", "EPERM"]),
    ("read", &["EIO"]),
    ("unlinkat", &["EIO", "EROFS"]),
];

#[test]
fn one_failing_system_call_never_becomes_what_a_tool_said() {
    let folder = writing();
    let Some(whole) = traced(&folder, &[], &["run", TASK]) else { return };
    assert!(whole.status.success(), "{}", said(&whole));
    let calls = String::from_utf8(folder.read("strace.txt")).unwrap();
    let wanted = tree(&folder, RUN);
    let mut codes: BTreeMap<i32, usize> = BTreeMap::new();
    for (call, errors) in FAULTS {
        // strace counts the calls of each thread.
        let mut made: BTreeMap<&str, usize> = BTreeMap::new();
        for line in calls.lines().filter(|line| line.contains(&format!(" {call}("))) {
            *made.entry(line.split(' ').next().unwrap()).or_default() += 1;
        }
        let made = made.into_values().max().unwrap_or(0);
        assert!(made > 0, "{call} is never called: {calls}");
        // The rarer calls at each place; of the others a sample.
        let stride = if exhaustive() { 1 } else { made.div_ceil(8) };
        for when in (1..=made).step_by(stride) {
            let error = errors[when % errors.len()];
            let failing = format!("inject={call}:error={error}:when={when}");
            for stale in [RUN.to_owned(), format!("{RUN}.partial"), format!("{RUN}.new")] {
                let _ = std::fs::remove_dir_all(folder.path().join(stale));
            }
            let ran = traced(&folder, &["-e", &failing], &["run", TASK]).unwrap();
            let code = ran.status.code().unwrap_or(-1);
            *codes.entry(code).or_default() += 1;
            let told = said(&ran);
            assert!(!matches!(code, 101 | -1), "{failing}: {code}: {told}");
            if code != 0 {
                // Where nothing was recorded yet, there is nothing to resume. What cannot be said is
                // said by the next command.
                let is_begun = || folder.path().join(format!("{RUN}.partial/state.jsonl")).exists();
                let is_unsaid = !told.contains("gatedrun") && is_begun();
                let again = if told.contains("gatedrun resume") || is_unsaid {
                    folder.gatedrun(&["resume", RUN])
                } else {
                    folder.gatedrun(&["run", TASK])
                };
                assert_eq!(again.code, 0, "{failing}: {code}: {told}\n{}", again.all());
            }
            assert!(tree(&folder, RUN) == wanted, "{failing}: {code}: other bytes: {told}");
        }
    }
    assert!(codes.get(&8).is_some_and(|faults| *faults > 10), "{codes:?}");
}

/// Where the first write of the task makes its file, and where that belongs.
fn places(folder: &Folder) -> (String, String, String) {
    assert_eq!(folder.gatedrun(&["run", TASK]).code, 0);
    let ledger = String::from_utf8(folder.read(&format!("{RUN}/state.jsonl"))).unwrap();
    let at = ledger.find("idem_").unwrap();
    let partial = format!("{}/{RUN}.partial", folder.path());
    let temporary = format!("{partial}/work.tmp/{}", &ledger[at..at + 21]);
    std::fs::remove_dir_all(folder.path().join("runs")).unwrap();
    (temporary, format!("{partial}/work.tmp"), format!("{partial}/work"))
}

/// What a run is told when the machine refuses what a tool needs: which file, why, what to do.
#[test]
fn a_host_fault_names_the_file_the_reason_and_the_remedy() {
    let note = "work/a/b/note.md: cannot be";
    let resume = "then continue with `gatedrun resume runs/test/script`";
    let folder = writing();
    let (temporary, temporaries, work) = places(&folder);
    for (fault, place, says) in [
        (
            "write:error=ENOSPC:when=1",
            &temporary,
            "written: no space left on device; free some space",
        ),
        ("fsync:error=EIO:when=1", &temporary, "written: input/output error; correct that"),
        (
            "renameat:error=EACCES:when=1",
            &temporaries,
            "written: permission denied; correct the permissions",
        ),
        (
            "openat2:error=EMFILE:when=2",
            &work,
            "opened: too many open files; allow more open files (`ulimit -n`)",
        ),
        (
            "openat2:error=EDQUOT:when=1",
            &work,
            "written: disk quota exceeded; raise the quota or free some space",
        ),
    ] {
        let _ = std::fs::remove_dir_all(folder.path().join("runs"));
        let injected = format!("inject={fault}");
        let Some(ran) = traced(&folder, &["-P", place, "-e", &injected], &["run", TASK]) else {
            return;
        };
        assert_eq!(ran.status.code(), Some(8), "{injected}: {}", said(&ran));
        let says = format!("{note} {says}, {resume}");
        assert!(said(&ran).contains(&says), "{says}: {}", said(&ran));
        let ledger =
            String::from_utf8(folder.read("runs/test/script.partial/state.jsonl")).unwrap();
        assert!(!ledger.contains("storage_failed") && !ledger.contains("\"deny\""), "{ledger}");
    }
}

/// A kernel or a container that refuses the call that confines every opening is told so at once.
#[test]
fn a_system_without_openat2_is_refused_before_anything_is_written() {
    let folder = writing();
    assert_eq!(folder.gatedrun(&["run", TASK]).code, 0);
    std::fs::rename(folder.path().join("runs/test"), folder.path().join("runs/kept")).unwrap();
    for error in ["ENOSYS", "EPERM", "EINVAL", "EACCES"] {
        let injected = format!("inject=openat2:error={error}");
        let run = ["run", TASK];
        let check = ["check", "runs/kept/script", "--task", TASK];
        for args in [&run[..], &check[..], &["regression"][..], &["resume", RUN][..]] {
            let Some(ran) = traced(&folder, &["-e", &injected], args) else { return };
            assert_eq!(ran.status.code(), Some(8), "{error} {args:?}: {}", said(&ran));
            let told = said(&ran);
            assert!(told.contains("openat2") && told.contains("seccomp"), "{told}");
        }
        assert!(!folder.path().join("runs/test").exists());
    }
}

/// Fsync fails after the rename: the file is there, and nobody knows whether it will be. The run
/// stops, and whoever resumes it makes it durable although it is found.
#[test]
fn a_write_whose_outcome_is_unknown_is_done_again() {
    let folder = writing();
    let (_, _, work) = places(&folder);
    assert_eq!(folder.gatedrun(&["run", TASK]).code, 0);
    let wanted = tree(&folder, RUN);
    std::fs::remove_dir_all(folder.path().join("runs")).unwrap();
    let injected = ["-P", &format!("{work}/a/b"), "-e", "inject=fsync:error=EIO:when=1"];
    let Some(ran) = traced(&folder, &injected, &["run", TASK]) else { return };
    assert_eq!(ran.status.code(), Some(8), "{}", said(&ran));
    assert_eq!(folder.read("runs/test/script.partial/work/a/b/note.md"), b"first");
    let resumed = traced(&folder, &["-y", "-e", "trace=fsync"], &["resume", RUN]).unwrap();
    assert!(resumed.status.success(), "{}", said(&resumed));
    let calls = String::from_utf8(folder.read("strace.txt")).unwrap();
    let first: Vec<&str> = calls.lines().filter(|line| line.contains("/work")).take(2).collect();
    assert!(first[0].contains("note.md>") && first[1].contains("/work/a/b>"), "{calls}");
    assert!(tree(&folder, RUN) == wanted);
}

/// `check` and `regression` execute: what the machine refuses there is no difference.
#[test]
fn a_host_fault_is_no_difference() {
    let folder = writing();
    assert_eq!(folder.gatedrun(&["run", TASK]).code, 0);
    for (call, error) in [("renameat", "ENOSPC"), ("mkdirat", "EACCES"), ("fsync", "EIO")] {
        let injected = format!("inject={call}:error={error}:when=1");
        for args in [&["check", RUN][..], &["regression"][..]] {
            let Some(ran) = traced(&folder, &["-e", &injected], args) else { return };
            let told = format!("{}{}", String::from_utf8_lossy(&ran.stdout), said(&ran));
            assert_eq!(ran.status.code(), Some(8), "{injected} {args:?}: {told}");
            assert!(!told.contains("differs") && !told.contains("worse "), "{told}");
        }
    }
}

/// No second thread (`ulimit -u`, a container's limit): the tools run unconfined, or not at all
/// where policy requires that they are confined.
#[test]
fn without_a_thread_to_confine_the_policy_decides() {
    let folder = writing();
    let injected = ["-e", "inject=clone3,clone:error=EAGAIN"];
    let Some(ran) = traced(&folder, &injected, &["run", TASK, "--json"]) else { return };
    assert!(ran.status.success(), "{}", said(&ran));
    let line: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(line["isolation"], "unavailable");
    let wanted = tree(&folder, RUN);
    std::fs::remove_dir_all(folder.path().join("runs")).unwrap();
    assert_eq!(folder.gatedrun(&["run", TASK]).code, 0);
    assert!(tree(&folder, RUN) == wanted);
    folder.edit("policy/v1.yaml", "isolation: best_effort", "isolation: required");
    std::fs::remove_dir_all(folder.path().join("runs")).unwrap();
    let ran = traced(&folder, &injected, &["run", TASK]).unwrap();
    assert_eq!(ran.status.code(), Some(8), "{}", said(&ran));
    assert!(said(&ran).contains("no thread can be started"), "{}", said(&ran));
    assert!(!folder.path().join("runs/test/script.partial/state.jsonl").exists());
}

/// A name that the file system does not answer for is not a name that is free: a proposal is accepted,
/// or the command says that it was not.
#[test]
fn a_question_that_the_machine_refuses_is_not_answered_with_no() {
    let folder = writing();
    assert_eq!(folder.gatedrun(&["run", TASK]).code, 0);
    let old = tree(&folder, RUN);
    folder.edit(TASK, "second", "third");
    assert_eq!(folder.gatedrun(&["check", RUN]).code, 1);
    let proposal = format!("{RUN}.new");
    let new = tree(&folder, &proposal);
    assert!(old != new);
    let place = folder.path().join(RUN).parent().unwrap().to_owned();
    let kept = folder.path().join("kept");
    copy(place.as_std_path(), kept.as_std_path());
    let review = ["review", RUN, "--accept"];
    let Some(whole) = traced(&folder, &["-e", "trace=statx"], &review) else { return };
    assert!(whole.status.success(), "{}", said(&whole));
    let asked = String::from_utf8(folder.read("strace.txt")).unwrap();
    let asked = asked.lines().filter(|line| line.contains("statx(")).count();
    let mut refused = 0;
    for when in 1..=asked {
        std::fs::remove_dir_all(&place).unwrap();
        copy(kept.as_std_path(), place.as_std_path());
        let failing = format!("inject=statx:error=EIO:when={when}");
        let ran = traced(&folder, &["-e", &failing], &review).unwrap();
        let (code, told) = (ran.status.code().unwrap_or(-1), said(&ran));
        assert!(!matches!(code, 101 | -1), "{failing}: {code}: {told}");
        let now = tree(&folder, RUN);
        assert!(now == new || code != 0 && now == old, "{failing}: {code}: {told}");
        refused += usize::from(code != 0);
    }
    assert!(refused > 2, "{refused} of {asked}: the test has lost its eyes");
}

#[test]
fn what_cannot_be_read_is_no_verdict_on_the_run() {
    let folder = writing();
    let Some(made) = traced(&folder, &[], &["run", TASK]) else { return };
    assert!(made.status.success(), "{}", said(&made));
    assert_eq!(folder.gatedrun(&["keygen", "k.pem"]).code, 0);
    let commands: [&[&str]; 5] = [
        &["verify", RUN],
        &["show", RUN],
        &["diff", RUN, RUN],
        &["replay", RUN],
        &["sign", RUN, "--key", "k.pem"],
    ];
    let mut faults = 0;
    for command in commands {
        for (call, path, error) in [
            ("openat", "state.jsonl", "EMFILE"),
            ("openat", "state.jsonl", "EACCES"),
            ("openat", "manifest.json", "EIO"),
            ("openat", "c.md", "EMFILE"),
            ("openat", "v1.md", "EMFILE"),
        ] {
            let calls = traced(&folder, &["-e", "trace=openat"], command).unwrap();
            assert!(calls.status.success(), "{command:?}: {}", said(&calls));
            let calls = String::from_utf8(folder.read("strace.txt")).unwrap();
            let mut made: BTreeMap<&str, usize> = BTreeMap::new();
            let when = calls.lines().find_map(|line| {
                let made = made.entry(line.split(' ').next().unwrap()).or_default();
                *made += 1;
                line.contains(&format!("{path}\"")).then_some(*made)
            });
            let Some(when) = when else { continue };
            let failing = format!("inject={call}:error={error}:when={when}");
            let ran = traced(&folder, &["-e", &failing], command).unwrap();
            let code = ran.status.code().unwrap_or(-1);
            let told = format!("{}{}", String::from_utf8_lossy(&ran.stdout), said(&ran));
            // Read a second time it may be there.
            assert!(matches!(code, 0 | 8), "{command:?} {path} {failing}: {code}: {told}");
            faults += usize::from(code == 8);
        }
    }
    assert!(faults > 8, "{faults}");
}

/// Where the machine does not say what lies at a path, no command takes it for nothing or for wrong:
/// whichever call it is, the machine is named (or another way is found), and nothing else is blamed.
#[test]
fn a_host_fault_is_never_a_wrong_input() {
    let folder = writing();
    if traced(&folder, &[], &["run", TASK]).is_none() {
        return;
    }
    // Loading the program itself is not the program's business.
    for (call, error, first, args) in [
        ("statx", "EIO", 1, &["run", TASK][..]),
        ("statx", "EACCES", 1, &["check", RUN]),
        ("openat", "EIO", 5, &["verify", "runs"]),
        ("openat", "EIO", 5, &["check", RUN]),
        ("openat", "EACCES", 5, &["run", TASK]),
        ("close", "EIO", 8, &["run", TASK]),
        ("getrandom", "EIO", 1, &["run", TASK]),
    ] {
        let made = counted(&folder, call, args);
        assert!(made > 0, "{call}: {args:?}");
        let stride = if exhaustive() { 1 } else { made.div_ceil(12) };
        for when in (first..=made).step_by(stride) {
            if args == ["run", TASK] {
                let _ = std::fs::remove_dir_all(folder.path().join("runs/test"));
            }
            let failing = format!("inject={call}:error={error}:when={when}");
            let ran = traced(&folder, &["-e", &failing], args).unwrap();
            let told = said(&ran);
            let out = String::from_utf8_lossy(&ran.stdout);
            assert!(
                matches!(ran.status.code(), Some(0 | 8)),
                "{failing} {args:?}: {:?}: {told}{out}",
                ran.status.code()
            );
        }
        let _ = std::fs::remove_dir_all(folder.path().join("runs/test"));
        assert_eq!(folder.gatedrun(&["run", TASK]).code, 0);
    }
}

/// How often the busiest thread makes a call of the system.
fn counted(folder: &Folder, call: &str, args: &[&str]) -> usize {
    if args == ["run", TASK] {
        let _ = std::fs::remove_dir_all(folder.path().join("runs/test"));
    }
    traced(folder, &[], args).unwrap();
    let calls = String::from_utf8(folder.read("strace.txt")).unwrap();
    let mut made: BTreeMap<&str, usize> = BTreeMap::new();
    for line in calls.lines().filter(|line| line.contains(&format!(" {call}("))) {
        *made.entry(line.split(' ').next().unwrap()).or_default() += 1;
    }
    made.into_values().max().unwrap_or(0)
}

/// However few descriptors there are, they are named, and never a permission.
#[test]
fn too_few_descriptors_are_called_so() {
    for files in 4..12 {
        let folder = writing();
        let mut shell = Command::new("bash");
        let program = env!("CARGO_BIN_EXE_gatedrun");
        shell.args(["-c", &format!("ulimit -n {files}; exec '{program}' run {TASK}")]);
        // Whether this is CI decides an exit code, so the surroundings are not passed on.
        shell.env_clear().env("PATH", "/usr/bin:/bin");
        let ran = shell.current_dir(folder.path()).output().unwrap();
        let told = said(&ran);
        let is_named = ran.status.success() || told.contains("oo many open files");
        assert!(is_named || told.contains("shared"), "{files}: {:?}: {told}", ran.status);
        assert!(matches!(ran.status.code(), Some(0 | 8 | 127)), "{files}: {told}");
    }
}

/// Each opening and each look of a command fails once: nothing is then said of the run, and the message
/// names the file.
#[test]
fn what_cannot_be_read_is_no_verdict_on_a_proposal_or_a_policy() {
    let folder = writing();
    let Some(made) = traced(&folder, &[], &["run", TASK]) else { return };
    assert!(made.status.success(), "{}", said(&made));
    folder.edit(TASK, "second", "third");
    assert_eq!(folder.gatedrun(&["check", RUN]).code, 1);
    let place = folder.path().join(RUN).parent().unwrap().to_owned();
    let kept = folder.path().join("kept");
    copy(place.as_std_path(), kept.as_std_path());
    let commands: [&[&str]; 4] = [
        &["review", RUN, "--accept"],
        &["replay", RUN, "--policy", "policy/v1.yaml", "--recorded-only"],
        &["run", TASK],
        &["verify", RUN],
    ];
    for command in commands {
        let mut faults = 0;
        for (call, file) in
            [("openat", "state.jsonl"), ("openat", "trace.json"), ("newfstatat", "run_report.md")]
        {
            let restore = || {
                std::fs::remove_dir_all(&place).unwrap();
                copy(kept.as_std_path(), place.as_std_path());
            };
            restore();
            traced(&folder, &["-e", &format!("trace={call}")], command).unwrap();
            let calls = String::from_utf8(folder.read("strace.txt")).unwrap();
            let mut made: BTreeMap<&str, usize> = BTreeMap::new();
            let mut whens = Vec::new();
            for line in calls.lines().filter(|line| line.contains(&format!("{call}("))) {
                let made = made.entry(line.split(' ').next().unwrap()).or_default();
                *made += 1;
                if line.contains(&format!("{file}\"")) && !line.contains("O_CREAT") {
                    whens.push(*made);
                }
            }
            for when in whens {
                restore();
                let old = tree(&folder, RUN);
                let failing = format!("inject={call}:error=EIO:when={when}");
                let ran = traced(&folder, &["-e", &failing], command).unwrap();
                let code = ran.status.code().unwrap_or(-1);
                let told = format!("{}{}", String::from_utf8_lossy(&ran.stdout), said(&ran));
                let told = format!("{command:?} {file} {failing}: {code}: {told}");
                // What is read a second time may be there then.
                assert!(matches!(code, 0 | 1 | 8), "{told}");
                if told.to_lowercase().contains("input/output error") {
                    assert_eq!(code, 8, "{told}");
                    assert!(told.contains(file), "{told}");
                }
                if code == 8 {
                    assert!(tree(&folder, RUN) == old, "{told}");
                    faults += 1;
                }
            }
        }
        assert!(faults > 0, "{command:?}");
    }
}

/// What a command only shows or judges is unknown if it is unreadable: never absent, never changed.
#[test]
fn what_cannot_be_read_is_unknown_to_every_reader() {
    let folder = writing();
    let Some(made) = traced(&folder, &[], &["run", TASK]) else { return };
    assert!(made.status.success(), "{}", said(&made));
    assert_eq!(folder.gatedrun(&["keygen", "k.pem"]).code, 0);
    assert_eq!(folder.gatedrun(&["sign", RUN, "--key", "k.pem"]).code, 0);
    let envelope = "runs/test/script/attestation.intoto.json";
    let ledger = "runs/test/script/state.jsonl";
    // The command, the file or folder, the call that fails, and what may not be said then.
    let rows: [(&[&str], &str, &str, &str); 9] = [
        (&["corpus", "check", "data/corpus/v1"], "data/corpus/v1/op-07.md", "read", "SHA-256"),
        (&["regression"], "tasks", "getdents64", "removed"),
        (&["show", RUN], envelope, "read", "signature: none"),
        (&["show", RUN], "policy/v1.yaml", "read", "signature: not known"),
        (&["show", RUN], TASK, "read", "signature: not known"),
        (&["policy", "check", "policy/v1.yaml"], "policy/v1.yaml", "read", "finding"),
        (&["list"], ledger, "read", "not a record"),
        (&["list"], "runs", "getdents64", "no run"),
        (&["verify", RUN], ledger, "read", "tampered"),
    ];
    for (command, at, call, unsaid) in rows {
        let at = folder.path().join(at).into_string();
        // The first reads may be of another file under the same path filter: each is tried.
        for when in ["1+", "2+"] {
            let failing = format!("inject={call}:error=EIO:when={when}");
            let ran = traced(&folder, &["-P", &at, "-e", &failing], command).unwrap();
            let all = format!("{}{}", String::from_utf8_lossy(&ran.stdout), said(&ran));
            let calls = String::from_utf8(folder.read("strace.txt")).unwrap();
            let is_met = calls.contains("INJECTED");
            assert!(is_met || when != "1+", "{command:?} {at}: no fault was met");
            if is_met {
                assert_eq!(ran.status.code(), Some(8), "{command:?} {at} {when}: {all}");
                assert!(!all.contains(unsaid), "{command:?} {at} {when}: {all}");
                assert!(!all.contains("os error"), "{command:?} {at} {when}: {all}");
            }
        }
    }
    // The folder that is held cannot be looked at: nobody has replaced it.
    let ran =
        traced(&folder, &["-e", "inject=fstat:error=EROFS:when=9+"], &["verify", RUN]).unwrap();
    assert_eq!(ran.status.code(), Some(8), "{}", said(&ran));
}

/// A proposal that cannot be written is the machine's doing, and the verdict is printed all the same.
#[test]
fn a_proposal_that_cannot_be_written_is_a_fault_of_the_machine() {
    let folder = writing();
    let Some(made) = traced(&folder, &[], &["run", TASK]) else { return };
    assert!(made.status.success(), "{}", said(&made));
    folder.edit(TASK, "second", "third");
    let failing = ["-e", "inject=unlink:error=EACCES:when=1+"];
    let ran = traced(&folder, &failing, &["check", RUN]).unwrap();
    assert_eq!(ran.status.code(), Some(8), "{}", said(&ran));
    assert!(said(&ran).contains("no proposal was written"), "{}", said(&ran));
}
