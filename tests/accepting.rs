//! What `review --accept` and `run --accept` take, what they say of it, and what a fault of the
//! machine or a kill on the way leaves.

use crate::support::Folder;
use crate::transactions::{RUN, TASK, injected, names, ok, project, proposed, task, tree};

/// A proposal that `check` lays again once this was done to it.
fn refused(spoil: impl Fn(&Folder), due: &str) {
    let folder = proposed();
    spoil(&folder);
    let before = tree(&folder);
    let ran = folder.gatedrun(&["review", "--accept"]);
    assert!(ran.code == 1 && ran.err.contains(due), "{due}: {}", ran.all());
    assert!(tree(&folder) == before, "{due}: something was changed");
}

#[test]
fn what_verify_would_not_pass_is_not_accepted() {
    let new = format!("{RUN}.new");
    let envelope = format!("{new}/attestation.intoto.json");
    refused(
        |folder| drop(folder.write(&envelope, "{}")),
        "it is malformed (attestation.intoto.json",
    );
    let folder_made = |path: &'static str| {
        let new = new.clone();
        move |folder: &Folder| {
            std::fs::create_dir_all(folder.path().join(&new).join(path)).unwrap();
        }
    };
    refused(folder_made("work/empty"), "work/empty: the run made no such folder");
    refused(folder_made("work/n/o/p"), "work/n/o: the run made no such folder");
}

#[test]
fn a_fault_of_the_machine_says_nothing_about_the_proposal() {
    let step = if crate::support::exhaustive() { 1 } else { 5 };
    for fault in
        ["openat:error=EIO", "getdents64:error=EIO", "read:error=EIO", "openat:error=EACCES"]
    {
        let mut met = 0;
        let mut folder = proposed();
        for when in (20..150).step_by(step) {
            if !names(&folder).contains(&"side.new".to_owned()) {
                folder = proposed();
            }
            let injection = format!("inject={fault}:when={when}");
            let Some((code, err)) = injected(&folder, &["review", "--accept"], &injection) else {
                return;
            };
            let is_input = fault.ends_with("EACCES") && err.contains("inputs cannot be loaded");
            let is_right = match code {
                0 => true,
                2 if is_input => err.contains("repeat the command"),
                8 => err.contains("repeat the command") || err.contains("may write to"),
                _ => false,
            };
            assert!(is_right, "{injection}: exit {code}: {err}");
            assert!(!err.contains("--reject"), "{injection}: {err}");
            met += usize::from(code != 0);
        }
        assert!(met > 0 || fault.starts_with("get"), "{fault}: no fault was met");
    }
}

/// The proposal of a run that a key has signed.
fn signed() -> Folder {
    let folder = project();
    ok(&folder.gatedrun(&["run", TASK]), 0);
    ok(&folder.gatedrun(&["keygen", "k.pem"]), 0);
    ok(&folder.gatedrun(&["sign", RUN, "--key", "k.pem"]), 0);
    task(&folder, "t/side", "four");
    ok(&folder.gatedrun(&["check", RUN]), 1);
    folder
}

/// Accepting has no key: what it cannot check is not taken.
#[test]
fn a_signed_proposal_is_not_accepted() {
    let folder = signed();
    let proposal = format!("{RUN}.new");
    ok(&folder.gatedrun(&["sign", &proposal, "--key", "k.pem"]), 0);
    let before = folder.read(&format!("{RUN}/state.jsonl"));
    for accept in [&["review", "--accept"][..], &["review", RUN, "--accept"]] {
        let refused = folder.gatedrun(accept);
        assert_eq!(refused.code, 1, "{}", refused.all());
        assert!(refused.all().contains("it is signed, and accepting checks"), "{}", refused.all());
        assert_eq!(folder.read(&format!("{RUN}/state.jsonl")), before);
    }
    std::fs::remove_file(folder.path().join(&proposal).join("attestation.intoto.json")).unwrap();
    ok(&folder.gatedrun(&["review", "--accept"]), 0);
}

/// The run of one task does not go where another's is.
#[test]
fn a_run_of_another_task_is_not_accepted() {
    let folder = project();
    ok(&folder.gatedrun(&["run", TASK]), 0);
    ok(&folder.gatedrun(&["run", "tasks/canonical/v1.json"]), 0);
    let before = folder.read(&format!("{RUN}/state.jsonl"));
    let refused = folder.gatedrun(&["run", "tasks/canonical/v1.json", "--out", RUN, "--accept"]);
    assert_eq!(refused.code, 2, "{}", refused.all());
    assert!(refused.err.contains("holds a run of the task \"t/side\""), "{}", refused.err);
    assert_eq!(folder.read(&format!("{RUN}/state.jsonl")), before);
}

/// The committed run has the seed of its task, or the one that it had.
#[test]
fn a_run_of_another_seed_is_not_accepted() {
    let folder = project();
    ok(&folder.gatedrun(&["run", TASK]), 0);
    let before = folder.read(&format!("{RUN}/state.jsonl"));
    let refused = folder.gatedrun(&["run", TASK, "--accept", "--seed", "3"]);
    assert_eq!(refused.code, 2, "{}", refused.all());
    assert!(refused.err.contains("has seed 0"), "{}", refused.err);
    assert_eq!(folder.read(&format!("{RUN}/state.jsonl")), before);
    assert_eq!(names(&folder), ["side"]);
    ok(&folder.gatedrun(&["run", TASK, "--accept", "--seed", "0"]), 0);
}

#[test]
fn a_signature_does_not_go_unsaid_where_the_accept_is_killed() {
    let calls = ["rename", "renameat2", "unlinkat", "rmdir", "write"];
    for accept in
        [&["review", "--accept"][..], &["review", RUN, "--accept"], &["run", TASK, "--accept"]]
    {
        for call in calls {
            let mut kills = 0;
            for when in 1..40 {
                let folder = signed();
                let injection = format!("inject={call}:signal=KILL:when={when}");
                let Some((code, err)) = injected(&folder, accept, &injection) else { return };
                if code == 0 {
                    break;
                }
                // What was written before the kill counts: somebody has read it.
                let mut again = folder.gatedrun(accept);
                if accept[0] == "run" && again.err.contains("`gatedrun resume ") {
                    // The kill came before the run had ended.
                    again = folder.gatedrun(&["resume", RUN, "--accept"]);
                }
                let is_named = err.contains("the signature by key ")
                    || again.err.contains("the signature by key ");
                assert!(is_named, "{accept:?} {injection}: {err} {}", again.all());
                assert_eq!(again.code, 0, "{accept:?} {injection}: {}", again.all());
                assert_eq!(names(&folder), ["side"], "{accept:?} {injection}");
                kills += 1;
                if !crate::support::exhaustive() && kills > 4 {
                    break;
                }
            }
        }
    }
}

#[test]
fn run_accept_killed_and_given_again_leaves_no_proposal() {
    for when in 1..8 {
        let folder = proposed();
        let injection = format!("inject=rename:signal=KILL:when={when}");
        let args = ["run", TASK, "--accept"];
        let Some((code, _)) = injected(&folder, &args, &injection) else { return };
        // It may have been killed before the run was whole.
        if names(&folder).contains(&"side.partial".to_owned()) && code != 0 {
            folder.gatedrun(&["run", TASK, "--accept", "--discard-partial"]);
        } else {
            ok(&folder.gatedrun(&args), 0);
        }
        assert_eq!(names(&folder), ["side"], "{injection}");
        ok(&folder.gatedrun(&["check", RUN]), 0);
    }
    // A plain run leaves it, and `check` says what it is.
    let folder = proposed();
    let proposal = format!("{RUN}.new");
    let kept = folder.path().join("kept");
    crate::support::copy(folder.path().join(&proposal).as_std_path(), kept.as_std_path());
    ok(&folder.gatedrun(&["review", "--accept"]), 0);
    std::fs::rename(&kept, folder.path().join(&proposal)).unwrap();
    ok(&folder.gatedrun(&["run", TASK]), 0);
    let ran = folder.gatedrun(&["check", RUN]);
    assert!(
        ran.code == 0 && ran.err.contains("a proposal that is this run, byte for byte"),
        "{}",
        ran.all()
    );
    let ran = folder.gatedrun(&["check", RUN, "--json"]);
    assert!(ran.code == 0 && ran.out.contains("\"proposal\":\"runs/t/side.new\""), "{}", ran.all());
    let ran = folder.gatedrun(&["run", TASK, "--accept"]);
    assert!(ran.code == 0 && ran.err.contains("runs/t/side.new: removed"), "{}", ran.all());
    assert_eq!(names(&folder), ["side"]);
    let ran = folder.gatedrun(&["check", RUN, "--json"]);
    assert!(ran.code == 0 && !ran.out.contains("proposal"), "{}", ran.all());
}

/// A project in which an accept was killed between the two steps that replace an exchange.
fn in_the_gap() -> Option<Folder> {
    let folder = proposed();
    let output = std::process::Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=renameat2:error=EINVAL"])
        .args(["-e", "inject=rename:signal=KILL:when=3", env!("CARGO_BIN_EXE_gatedrun")])
        .args(["review", "--accept"])
        .current_dir(folder.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .output();
    output.is_ok().then_some(folder)
}

#[test]
fn readers_say_that_a_replacement_was_interrupted() {
    let Some(folder) = in_the_gap() else { return };
    let before = tree(&folder);
    let found = names(&folder);
    let swap = found.iter().find(|name| name.ends_with(".swap")).expect("the gap").clone();
    assert!(!found.contains(&"side".to_owned()), "{found:?}");
    for (args, due) in [
        (&["verify", RUN][..], 7),
        (&["verify", "runs"], 6),
        (&["check", RUN], 7),
        (&["check", "runs"], 6),
        (&["show", RUN], 7),
        (&["diff", RUN, RUN], 7),
        (&["replay", RUN], 7),
        (&["sign", RUN, "--key", "k.pem"], 7),
        (&["regression"], 7),
        (&["list"], 6),
    ] {
        if args[0] == "sign" {
            ok(&folder.gatedrun(&["keygen", "k.pem"]), 0);
        }
        let ran = folder.gatedrun(args);
        let all = ran.all();
        assert!(all.contains("a replacement of this run was interrupted"), "{args:?}: {all}");
        assert!(
            all.contains(&swap) && all.contains("`gatedrun review runs/t/side`"),
            "{args:?}: {all}"
        );
        assert!(!all.contains("gatedrun resume") && !all.contains("no run is"), "{args:?}: {all}");
        if args[0] != "check" || args[1] != "runs" {
            assert!(ran.code == due || ran.code == 1, "{args:?}: {all}");
        }
        assert_ne!(ran.code, 0, "{args:?}: {all}");
        assert!(tree(&folder) == before, "{args:?} changed something");
    }
    let ran = folder.gatedrun(&["review", RUN, "--accept"]);
    assert!(ran.code == 0 && ran.err.contains("is finished now"), "{}", ran.all());
    assert_eq!(names(&folder), ["side"]);
    ok(&folder.gatedrun(&["check", RUN]), 0);
    // Repeating the command that was killed does it too.
    for again in [&["review", "--accept"][..], &["run", TASK, "--accept"], &["resume", RUN]] {
        let Some(folder) = in_the_gap() else { return };
        ok(&folder.gatedrun(again), 0);
        assert_eq!(names(&folder), ["side"], "{again:?}");
        ok(&folder.gatedrun(&["check", RUN]), 0);
    }
}

#[test]
fn a_filter_of_system_calls_that_refuses_the_exchange_is_served() {
    for errno in ["EPERM", "ENOTTY", "EINVAL", "ENOSYS"] {
        let injection = format!("inject=renameat2:error={errno}");
        for args in [&["run", TASK, "--accept"][..], &["review", "--accept"], &["keygen", "k.pem"]]
        {
            let folder = proposed();
            let Some((code, err)) = injected(&folder, args, &injection) else { return };
            assert_eq!(code, 0, "{errno} {args:?}: {err}");
            if args[0] == "keygen" {
                assert!(folder.read("k.pem").len() > 100 && folder.read("k.pub.pem").len() > 100);
            } else {
                assert_eq!(names(&folder), ["side"], "{errno} {args:?}");
                ok(&folder.gatedrun(&["check", RUN]), 0);
            }
        }
    }
    let folder = proposed();
    task(&folder, "t/side", "five");
    assert_eq!(folder.gatedrun(&["review", "--accept"]).code, 1);
}

/// The first command in backticks after these words, as arguments.
fn advised(text: &str, words: &str) -> Vec<String> {
    let (_, rest) = text.split_once(words).unwrap_or_else(|| panic!("no {words:?} in {text}"));
    let command = rest.split('`').nth(1).unwrap();
    command.split(' ').skip(1).map(str::to_owned).collect()
}

#[test]
fn the_next_step_that_is_printed_works_as_it_is_printed() {
    let again = |folder: &Folder, args: &[String]| {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        folder.gatedrun(&args)
    };
    for out in [None, Some("mine"), Some("below/mine")] {
        let folder = project();
        let mut args = vec!["run", TASK];
        args.extend(out.iter().flat_map(|out| ["--out", *out]));
        let run = out.unwrap_or(RUN);
        let fault = "inject=renameat:error=ENOSPC:when=2";
        let Some((code, err)) = injected(&folder, &args, fault) else { return };
        assert_eq!(code, 8, "{err}");
        let resume = advised(&err, "continue with");
        let kept = folder.path().join(format!("{run}.partial"));
        let copied = folder.path().join("kept");
        crate::support::copy(kept.as_std_path(), copied.as_std_path());
        let restore = || {
            let _ = std::fs::remove_dir_all(folder.path().join(run));
            let _ = std::fs::remove_dir_all(&kept);
            crate::support::copy(copied.as_std_path(), kept.as_std_path());
        };
        ok(&again(&folder, &resume), 0);
        // What readers and a second run say of it.
        restore();
        let ran = folder.gatedrun(&args);
        assert_eq!(ran.code, 2, "{}", ran.all());
        ok(&again(&folder, &advised(&ran.err, "resume it with")), 0);
        restore();
        ok(&again(&folder, &advised(&ran.err, "start over with")), 0);
        for reader in [&["show", run][..], &["check", run], &["replay", run]] {
            restore();
            let ran = folder.gatedrun(reader);
            let all = ran.all();
            let words = if reader[0] == "show" { "resume it with" } else { "continue it with" };
            ok(&again(&folder, &advised(&all, words)), 0);
        }
        restore();
        let ran = folder.gatedrun(&["verify", &format!("{run}.partial")]);
        ok(&again(&folder, &advised(&ran.out, "continue it with")), 0);
        // Other inputs: start over.
        restore();
        task(&folder, "t/side", "four");
        let ran = again(&folder, &resume);
        assert_eq!(ran.code, 9, "{}", ran.all());
        ok(&again(&folder, &advised(&ran.err, "start over with")), 0);
        // A proposal is accepted by the command that is named.
        task(&folder, "t/side", "five");
        let ran = folder.gatedrun(&args);
        assert_eq!(ran.code, 1, "{}", ran.all());
        let mut review = advised(&ran.out, "review it with");
        review.push("--accept".to_owned());
        ok(&again(&folder, &review), 0);
        assert!(!folder.path().join(format!("{run}.new")).exists());
    }
}
