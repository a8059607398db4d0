//! Verdicts name their cause, as users see them: what happened around the evidence accuses nobody,
//! one bad neighbour hides no other's verdict, and a reader stays with one run.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Folder, Ran, copy, root};

const RUN: &str = "runs/canonical/v1";
const TASK: &str = "tasks/canonical/v1.json";

/// A project with committed runs.
fn project(runs: &[&str]) -> Folder {
    let folder = Folder::project();
    for id in runs {
        let at = |part: &str| format!("{part}/{id}");
        copy(root().join(at("runs")).as_std_path(), folder.path().join(at("runs")).as_std_path());
        let task = std::fs::read(root().join(format!("tasks/{id}.json"))).unwrap();
        folder.write(&format!("tasks/{id}.json"), task);
    }
    folder
}

/// What `--json` says: run, verdict and the cause that makes it.
fn verdicts(ran: &Ran) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let lines = ran.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .map(|line| {
            let findings = line["findings"].as_array().unwrap();
            let cause = findings.iter().find(|found| found["verdict"] == line["verdict"]);
            (
                text(&line["run"]),
                text(&line["verdict"]),
                text(&cause.unwrap_or(&Value::Null)["cause"]),
            )
        })
        .collect()
}

fn is(found: &[(String, String, String)], due: &[(&str, &str, &str)]) {
    let found: Vec<(&str, &str, &str)> =
        found.iter().map(|(run, verdict, cause)| (&**run, &**verdict, &**cause)).collect();
    assert_eq!(found, due);
}

/// Makes the canonical run one that was killed after so many lines.
fn kill(folder: &Folder, lines: usize) {
    let partial = folder.path().join("runs/canonical/v1.partial");
    std::fs::rename(folder.path().join(RUN), &partial).unwrap();
    for name in ["run_report.md", "manifest.json"] {
        std::fs::remove_file(partial.join(name)).unwrap();
    }
    let state = String::from_utf8(folder.read("runs/canonical/v1.partial/state.jsonl")).unwrap();
    let cut: String = state.split_inclusive('\n').take(lines).collect();
    folder.write("runs/canonical/v1.partial/state.jsonl", cut);
    folder.write("runs/canonical/v1.partial/owner", "process 1\n");
    folder.write("runs/canonical/v1.partial/work.receipts", "{}\n");
}

#[test]
fn an_edited_input_accuses_nobody() {
    let folder = project(&["canonical/v1", "on_deny/mixed"]);
    let policy = folder.read("policy/v1.yaml");
    folder.write("policy/v1.yaml", [policy.as_slice(), b"# a remark\n"].concat());
    let ran = folder.gatedrun(&["verify", "--json"]);
    assert_eq!(ran.code, 9, "{}", ran.all());
    let due = [(RUN, "inputs_differ", "input"), ("runs/on_deny/mixed", "verified", "")];
    is(&verdicts(&ran), &due);
    let ran = folder.gatedrun(&["verify"]);
    assert!(ran.code == 9 && !ran.out.contains("tampered"), "{}", ran.all());
    assert!(ran.out.contains(&format!("{RUN}: inputs differ")), "{}", ran.all());
    // The evidence itself weighs more, and what cannot be read less.
    folder.edit("runs/on_deny/mixed/run_report.md", "Outcome", "Income");
    assert_eq!(folder.gatedrun(&["verify"]).code, 1);
    std::fs::remove_file(folder.path().join("policy/v1.yaml")).unwrap();
    let ran = folder.gatedrun(&["verify", RUN, "--json"]);
    assert_eq!(ran.code, 6, "{}", ran.all());
    is(&verdicts(&ran), &[(RUN, "unconfirmed", "input_unread")]);
}

#[test]
fn a_killed_run_is_unfinished_and_says_how_to_continue() {
    let folder = project(&["canonical/v1", "on_deny/mixed"]);
    kill(&folder, 16);
    let partial = "runs/canonical/v1.partial";
    // Asked for, by either name, with every command that needs a run.
    for (command, code) in [("verify", 7), ("check", 7), ("replay", 7)] {
        for name in [partial, "runs/canonical/v1.partial/", RUN, "runs/canonical"] {
            let ran = folder.gatedrun(&[command, name]);
            assert_eq!(ran.code, code, "{command} {name}: {}", ran.all());
            let next = format!("`gatedrun resume {RUN}`");
            assert!(ran.all().contains(&next), "{command} {name}: {}", ran.all());
            assert!(!ran.all().contains("tampered"), "{command} {name}: {}", ran.all());
        }
    }
    let ran = folder.gatedrun(&["verify", partial, "--json"]);
    is(&verdicts(&ran), &[(partial, "unfinished", "unfinished")]);
    assert!(ran.out.contains("intact up to event 15"), "{}", ran.all());
    // Beside others it is named, and weighs nothing.
    for command in ["verify", "check", "replay"] {
        let ran = folder.gatedrun(&[command, "runs/on_deny", "runs"]);
        assert!(ran.err.contains("1 unfinished run: runs/canonical/v1.partial"), "{}", ran.all());
        assert!(command == "check" || ran.code == 0, "{command}: {}", ran.all());
    }
    // What was changed in it is found.
    folder.edit(&format!("{partial}/state.jsonl"), "\"input_tokens\":1", "\"input_tokens\":2");
    assert_eq!(folder.gatedrun(&["verify", partial]).code, 1);
}

#[test]
fn a_run_in_another_place_is_not_verified() {
    let folder = project(&["on_deny/plan_anew", "on_deny/mixed"]);
    let mixed = folder.path().join("runs/on_deny/mixed");
    std::fs::remove_dir_all(&mixed).unwrap();
    copy(folder.path().join("runs/on_deny/plan_anew").as_std_path(), mixed.as_std_path());
    let ran = folder.gatedrun(&["verify", "--json"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    let due =
        [("runs/on_deny/mixed", "tampered", "place"), ("runs/on_deny/plan_anew", "verified", "")];
    is(&verdicts(&ran), &due);
    // From wherever, by whatever name.
    let absolute = mixed.as_str();
    for name in ["runs/on_deny/mixed", "./runs/on_deny/../on_deny/mixed/", absolute] {
        assert_eq!(folder.gatedrun(&["verify", name]).code, 1, "{name}");
    }
    // What was written elsewhere has no place of its own.
    for place in ["elsewhere", "other/runs/x"] {
        copy(mixed.as_std_path(), folder.path().join(place).as_std_path());
        let ran = folder.gatedrun(&["verify", place, "--project", "."]);
        assert_eq!(ran.code, 0, "{place}: {}", ran.all());
    }
}

#[test]
fn one_bad_neighbour_hides_no_others_verdict() {
    let folder = project(&["canonical/v1", "on_deny/mixed"]);
    let runs = folder.path().join("runs");
    std::fs::rename(runs.join("on_deny/mixed"), folder.path().join("moved")).unwrap();
    symlink("../../moved", runs.join("on_deny/mixed")).unwrap();
    symlink("nowhere", runs.join("on_deny/gone")).unwrap();
    let name = OsStr::from_bytes(b"b\xff");
    copy(root().join(RUN).as_std_path(), &runs.as_std_path().join("on_deny").join(name));
    let ran = folder.gatedrun(&["verify", "--json"]);
    assert_eq!(ran.code, 6, "{}", ran.all());
    let due = [
        (RUN, "verified", ""),
        ("runs/on_deny/b\u{fffd}", "unconfirmed", "folder"),
        ("runs/on_deny/gone", "unconfirmed", "folder"),
        ("runs/on_deny/mixed", "unconfirmed", "folder"),
    ];
    is(&verdicts(&ran), &due);
    for command in ["check", "replay"] {
        let ran =
            folder.gatedrun_with(&[command, "runs/canonical", "runs/on_deny"], &[("CI", "1")]);
        assert_eq!(ran.code, 6, "{command}: {}", ran.all());
        assert!(ran.out.contains(&format!("{RUN}: identical")), "{command}: {}", ran.all());
        for name in ["runs/on_deny/b\u{fffd}", "runs/on_deny/gone", "runs/on_deny/mixed"] {
            assert!(ran.all().contains(name), "{command} {name}: {}", ran.all());
        }
    }
    // A task's name that is not UTF-8 hides no task.
    let task = folder.path().join("tasks").as_std_path().join(OsStr::from_bytes(b"b\xff.json"));
    std::fs::write(task, "{}").unwrap();
    let ran = folder.gatedrun(&["regression"]);
    assert!(
        ran.out.contains("not UTF-8")
            && ran.out.contains("\n2 tasks: 2 same; 4 places not looked into\n"),
        "{}",
        ran.all()
    );
}

#[test]
fn a_run_inside_another_is_named_in_both() {
    let folder = project(&["canonical/v1"]);
    for inner in ["runs/canonical/v1/b", "runs/canonical/v1/deep/down"] {
        copy(root().join(RUN).as_std_path(), folder.path().join(inner).as_std_path());
    }
    let ran = folder.gatedrun(&["verify"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    for part in ["  b: another run is in this one", "  deep/down: another run is in this one"] {
        assert!(ran.out.contains(part), "{part}: {}", ran.all());
    }
    assert!(!ran.out.contains("b/manifest.json"), "{}", ran.all());
    for run in ["runs/canonical/v1/b: ", "runs/canonical/v1/deep/down: "] {
        assert!(ran.out.lines().any(|line| line.starts_with(run)), "{run}: {}", ran.all());
    }
}

#[test]
fn documents_may_be_links() {
    let folder = project(&["canonical/v1"]);
    let corpus = folder.path().join("data/corpus/v1");
    std::fs::rename(&corpus, folder.path().join("store")).unwrap();
    std::fs::create_dir(&corpus).unwrap();
    for entry in std::fs::read_dir(folder.path().join("store")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        symlink(format!("../../../store/{name}"), corpus.join(name)).unwrap();
    }
    for command in ["verify", "check", "replay"] {
        assert_eq!(folder.gatedrun(&[command, RUN]).code, 0, "{command}");
    }
    // What cannot be read is unconfirmed, in the order of names; what reads otherwise differs.
    for name in ["op-13.md", "op-02.md", "op-21.md"] {
        std::fs::remove_file(folder.path().join("store").join(name)).unwrap();
    }
    let ran = folder.gatedrun(&["verify", RUN]);
    assert_eq!(ran.code, 6, "{}", ran.all());
    let named: Vec<&str> = ran.out.lines().filter_map(|line| line.split("op-").nth(1)).collect();
    assert_eq!(named.len(), 3, "{}", ran.all());
    assert!(named.is_sorted(), "{}", ran.all());
    folder.edit("store/op-07.md", "e", "a");
    let ran = folder.gatedrun(&["verify", RUN]);
    assert!(ran.code == 9 && ran.out.contains("op-07.md"), "{}", ran.all());
}

#[test]
fn what_git_does_to_line_ends_is_said_in_its_words() {
    let folder = project(&["on_deny/mixed"]);
    let run = "runs/on_deny/mixed";
    let mut files = vec!["policy/v1.yaml".to_owned(), "data/prompt/v1.md".to_owned()];
    for part in ["runs", "data/corpus", "tools", "tasks"] {
        for entry in walkdir::WalkDir::new(folder.path().join(part)) {
            let entry = entry.unwrap();
            if entry.file_type().is_file() {
                let path = entry.path().strip_prefix(folder.path()).unwrap();
                files.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    for file in files {
        let text = String::from_utf8(folder.read(&file)).unwrap();
        folder.write(&file, text.replace('\n', "\r\n"));
    }
    let ran = folder.gatedrun(&["verify", run]);
    assert_eq!(ran.code, 5, "{}", ran.all());
    for word in
        ["CRLF", "git (core.autocrlf)", ".gitattributes", "state.jsonl, line 1", "25 documents"]
    {
        assert!(ran.out.contains(word), "{word}: {}", ran.all());
    }
    assert!(!ran.out.contains("tampered"), "{}", ran.all());
    is(&verdicts(&folder.gatedrun(&["verify", run, "--json"])), &[(run, "malformed", "line_ends")]);
    // A letter that was changed besides is what counts.
    folder.edit(&format!("{run}/run_report.md"), "Outcome", "Income");
    assert_eq!(folder.gatedrun(&["verify", run]).code, 1);
}

#[test]
fn a_run_in_a_work_tree_warns_once_where_git_may_rewrite_it() {
    let inputs = "policy/** -text\ntools/** -text\ntasks/** -text\ndata/** -text\n";
    let runs = "runs/** -text\n";
    let cases: [(&[&str], bool); 16] = [
        (&[], true),
        (&["* text=auto\n", inputs], true),
        (&["*.md -text\n", inputs], true),
        (&["* text=auto\nruns/*  -text\n", inputs], true),
        (&[runs, "*.jsonl text\n", inputs], true),
        (&["# ", runs, inputs], true),
        (&[runs], true),
        (&[runs, inputs, "policy/*.yaml text\n"], true),
        (&[runs, inputs, "data/corpus/** text\n"], true),
        (&[runs, inputs], false),
        (&["/runs/** binary\n", inputs], false),
        (&["* text=auto eol=lf\n"], false),
        (&["* -text\n"], false),
        (&["* binary\n"], false),
        (&["**/runs/** -text\n", inputs], false),
        (&["* text=auto\n", runs, inputs], false),
    ];
    for (attributes, warns) in cases {
        let attributes = &attributes.concat();
        let folder = project(&["on_deny/mixed"]);
        std::fs::remove_dir_all(folder.path().join("runs")).unwrap();
        let run = || folder.gatedrun(&["run", TASK, "tasks/on_deny/mixed.json"]);
        if attributes.is_empty() {
            let ran = run();
            assert!(!ran.err.contains("warning"), "no work tree: {}", ran.all());
            std::fs::remove_dir_all(folder.path().join("runs")).unwrap();
        }
        folder.write(".git/HEAD", "ref: refs/heads/main\n");
        folder.write(".gitattributes", attributes);
        let ran = run();
        assert_eq!(ran.code, 0, "{}", ran.all());
        let warned = ran.err.matches("warning: git may rewrite the line ends").count();
        assert_eq!(warned, usize::from(warns), "{attributes:?}: {}", ran.all());
    }
}

#[test]
fn a_signature_under_one_run_is_no_fault_of_another() {
    let folder = project(&["canonical/v1", "on_deny/mixed"]);
    assert_eq!(folder.gatedrun(&["keygen", "a.pem"]).code, 0);
    assert_eq!(folder.gatedrun(&["sign", RUN, "--key", "a.pem"]).code, 0);
    let ran = folder.gatedrun(&["verify"]);
    assert!(ran.code == 0 && ran.out.contains("give its public key with --key"), "{}", ran.all());
    let ran = folder.gatedrun(&["verify", "--key", "a.pub.pem"]);
    assert!(ran.code == 0 && ran.out.contains("mixed: verified, not signed"), "{}", ran.all());
    let ran = folder.gatedrun(&["verify", "--key", "a.pub.pem", "--require-signature", "--json"]);
    assert_eq!(ran.code, 6, "{}", ran.all());
    let due = [(RUN, "verified", ""), ("runs/on_deny/mixed", "unconfirmed", "signature")];
    is(&verdicts(&ran), &due);
    // The statement is compared with the ledger whether or not there is a key.
    let envelope = folder.read(&format!("{RUN}/attestation.intoto.json"));
    folder.write("runs/on_deny/mixed/attestation.intoto.json", envelope);
    assert_eq!(folder.gatedrun(&["verify", "runs/on_deny/mixed"]).code, 1);
}

#[test]
fn a_task_names_nothing_outside_of_its_project() {
    let folder = project(&["canonical/v1"]);
    let outside = Folder::project();
    let task: Value = serde_json::from_slice(&folder.read(TASK)).unwrap();
    for (key, inner) in [
        ("policy", "policy/v1.yaml"),
        ("contracts", "tools"),
        ("corpus", "data/corpus/v1"),
        ("prompt", "data/prompt/v1.md"),
    ] {
        let absolute = outside.path().join(inner).into_string();
        let above = format!("../{}/{inner}", outside.path().file_name().unwrap());
        let around = format!("policy/../../{}/{inner}", outside.path().file_name().unwrap());
        for path in
            [absolute, above, around, format!("policy/../{inner}"), format!("builtin:../{inner}")]
        {
            let mut task = task.clone();
            task["id"] = "test/outside".into();
            task[key] = json!(path);
            folder.write("tasks/test/outside.json", task.to_string());
            let ran = folder.gatedrun(&["run", "tasks/test/outside.json"]);
            assert_eq!(ran.code, 2, "{path}: {}", ran.all());
            assert!(ran.err.contains(&format!("(/{key}): ")), "{path}: {}", ran.all());
            assert!(!folder.path().join("runs/test").exists(), "{path}");
        }
    }
}

#[test]
fn a_file_that_is_called_as_what_is_built_in_is_not_taken_for_it() {
    let folder = project(&["canonical/v1"]);
    let policy = String::from_utf8(folder.read("policy/v1.yaml")).unwrap();
    folder.write("builtin:policy/v1.yaml", format!("{policy}# another\n"));
    let mut task: Value = serde_json::from_slice(&folder.read(TASK)).unwrap();
    task["id"] = "test/builtin".into();
    for path in
        ["./builtin:policy/v1.yaml", "././builtin:policy/v1.yaml", ".//builtin:policy/v1.yaml"]
    {
        task["policy"] = json!(path);
        folder.write("tasks/test/builtin.json", task.to_string());
        assert_eq!(folder.gatedrun(&["run", "tasks/test/builtin.json"]).code, 0, "{path}");
        let manifest = String::from_utf8(folder.read("runs/test/builtin/manifest.json")).unwrap();
        assert!(manifest.contains("\"./builtin:policy/v1.yaml\""), "{path}: {manifest}");
        let ran = folder.gatedrun(&["verify", "runs/test/builtin"]);
        assert_eq!(ran.code, 0, "{path}: {}", ran.all());
        assert_eq!(folder.gatedrun(&["check", "runs/test/builtin"]).code, 0, "{path}");
        std::fs::remove_dir_all(folder.path().join("runs/test")).unwrap();
    }
}

#[test]
fn the_run_of_an_empty_folder_is_known_again() {
    let folder = Folder::new();
    assert_eq!(folder.gatedrun(&["run"]).code, 0);
    for command in ["verify", "check", "replay"] {
        let ran = folder.gatedrun(&[command, "runs"]);
        assert_eq!(ran.code, 0, "{command}: {}", ran.all());
    }
}

#[test]
fn the_folder_in_which_a_command_is_given_does_not_matter() {
    let folder = project(&["canonical/v1"]);
    let within = |place: &str, args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_gatedrun"))
            .args(args)
            .current_dir(folder.path().join(place))
            .env_clear()
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (place, name) in [("runs", "canonical"), ("runs/canonical", "v1"), (RUN, ".")] {
        for command in ["verify", "check", "replay"] {
            let (code, said) = within(place, &[command, name]);
            assert_eq!(code, Some(0), "{place}: {command} {name}: {said}");
        }
    }
    let (code, said) = within("tasks/canonical", &["run", "v1.json"]);
    assert_eq!(code, Some(0), "{said}");
    // A file of a run is not the run, and what is not there is said so.
    let ran = folder.gatedrun(&["verify", "runs/canonical/v1/state.jsonl"]);
    assert!(
        ran.code == 2 && ran.err.contains("name the folder: runs/canonical/v1"),
        "{}",
        ran.all()
    );
    let ran = folder.gatedrun(&["verify", "nowhere"]);
    assert!(ran.code == 2 && ran.err.contains("no such folder"), "{}", ran.all());
}

#[test]
fn a_reader_beside_an_acceptance_stays_with_one_run() {
    let folder = project(&["canonical/v1"]);
    let mut task: Value = serde_json::from_slice(&folder.read(TASK)).unwrap();
    task["id"] = "test/raced".into();
    folder.write("tasks/test/raced.json", task.to_string());
    assert_eq!(folder.gatedrun(&["run", "tasks/test/raced.json"]).code, 0);
    // Two runs that take turns in one place.
    let place = folder.path().join("runs/test/raced");
    let other = folder.path().join("other");
    assert_eq!(
        folder.gatedrun(&["run", "tasks/test/raced.json", "--seed", "1", "--out", "other"]).code,
        0
    );
    let first = folder.path().join("first");
    copy(place.as_std_path(), first.as_std_path());
    let accepts = if crate::support::exhaustive() { 3_000 } else { 300 };
    let is_done = std::sync::atomic::AtomicBool::new(false);
    let library = folder.library();
    let mut verified = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 0..accepts {
                // As the program accepts: written beside, exchanged, and the old one removed.
                let from = if turn % 2 == 0 { &other } else { &first };
                let beside = folder.path().join("runs/test/raced.partial");
                copy(from.as_std_path(), beside.as_std_path());
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                let at = rustix::fs::CWD;
                rustix::fs::renameat_with(at, beside.as_std_path(), at, place.as_std_path(), flags)
                    .unwrap();
                std::fs::remove_dir_all(&beside).unwrap();
            }
            is_done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
            let found = gatedrun::evidence::verify::verify(&place, Some(&library), &[]);
            let verdict = found.verdict.as_str();
            assert_eq!(verdict, "verified", "after {verified}: {:?}", found.findings);
            verified += 1;
        }
    });
    assert!(verified > 5, "{verified} readings show too little");
}

/// CI verifies the runs of somebody's branch with inputs that it trusts.
#[test]
fn a_run_in_anothers_place_is_found_in_a_foreign_tree_too() {
    let folder = Folder::project();
    let task = "tasks/on_deny";
    copy(root().join(task).as_std_path(), folder.path().join(task).as_std_path());
    let put = |run: &str, at: &str| {
        copy(root().join("runs").join(run).as_std_path(), folder.path().join(at).as_std_path());
    };
    put("on_deny/plan_anew", "foreign/runs/on_deny/mixed");
    let verify = |named: &str| folder.gatedrun(&["verify", "--project", ".", named]);
    for named in ["foreign/runs", "foreign/runs/", "foreign", "foreign/runs/on_deny/mixed"] {
        let ran = verify(named);
        assert_eq!(ran.code, 1, "{named}: {}", ran.all());
        assert!(ran.out.contains("it is in the place of \"on_deny/mixed\""), "{}", ran.all());
    }
    symlink("foreign/runs", folder.path().join("link")).unwrap();
    assert_eq!(verify("link").code, 1);
    // Also where no task of the project has that place.
    std::fs::rename(
        folder.path().join("foreign/runs/on_deny/mixed"),
        folder.path().join("foreign/runs/other"),
    )
    .unwrap();
    assert_eq!(verify("foreign/runs").code, 1);
    // Runs that lie as they like, in a folder of another name or below one that is called so.
    put("on_deny/plan_anew", "kept/seed-1");
    put("on_deny/plan_anew", "runs of/runs/kept/seed-1");
    for named in ["kept", "kept/seed-1", "runs of/runs/kept", "runs of/runs/kept/seed-1"] {
        let ran = verify(named);
        assert_eq!(ran.code, 0, "{named}: {}", ran.all());
    }
    // In its own place everything is well.
    std::fs::remove_dir_all(folder.path().join("foreign")).unwrap();
    put("on_deny/mixed", "foreign/runs/on_deny/mixed");
    put("on_deny/plan_anew", "foreign/runs/on_deny/plan_anew");
    assert_eq!(verify("foreign").code, 0);
}

/// Whatever a comparison of the two would say, the first word is that the run belongs to a different task.
#[test]
fn a_run_in_anothers_place_is_not_compared() {
    let folder = project(&["on_deny/mixed", "on_deny/plan_anew"]);
    let at = |run: &str| folder.path().join("runs/on_deny").join(run);
    std::fs::remove_dir_all(at("mixed")).unwrap();
    std::fs::rename(at("plan_anew"), at("mixed")).unwrap();
    for args in [&["check", "runs/on_deny/mixed"][..], &["regression"], &["replay"], &["verify"]] {
        let ran = folder.gatedrun(args);
        assert_eq!(ran.code, 1, "{args:?}: {}", ran.all());
        let said = "this is the run of the task \"on_deny/plan_anew\"";
        assert!(ran.out.contains(said) && !ran.out.contains("loosened"), "{args:?}: {}", ran.all());
    }
    assert!(!at("mixed.new").exists());
}

#[test]
fn a_path_where_nothing_is_ends_every_command_alike() {
    let folder = project(&["canonical/v1"]);
    let call = "{\"tool\": \"read\", \"arguments\": {\"path\": \"a\"}}";
    let policy = "policy/v1.yaml";
    folder.gatedrun(&["keygen", "k.pem"]);
    let commands: [&[&str]; 30] = [
        &["run", "nope"],
        &["run", "nope/"],
        &["check", "nope"],
        &["check", RUN, "--task", "nope"],
        &["check", RUN, "--attest", "a", "--key", "nope"],
        &["verify", "nope"],
        &["verify", RUN, "--project", "nope"],
        &["verify", RUN, "--project", policy],
        &["verify", RUN, "--key", "nope"],
        &["sign", "nope", "--key", "k.pem"],
        &["sign", RUN, "--key", "nope"],
        &["replay", "nope"],
        &["replay", RUN, "--task", "nope"],
        &["replay", RUN, "--policy", "nope"],
        &["resume", "nope"],
        &["diff", "nope", RUN],
        &["diff", RUN, "nope"],
        &["review", "nope"],
        &["regression", "nope"],
        &["list", "nope"],
        &["show", "nope"],
        &["policy", "check", "nope"],
        &["policy", "check", policy, "--contracts", "nope"],
        &["policy", "test", policy, "nope"],
        &["policy", "explain", policy, "--contracts", "nope"],
        &["policy", "explain", policy, call, "--task", "nope"],
        &["policy", "decide", policy, "--contracts", "nope"],
        &["policy", "decide", policy, "--task", "nope"],
        &["corpus", "check", "nope"],
        &["corpus", "check", policy],
    ];
    for args in commands {
        let ran = folder.gatedrun(args);
        assert_eq!(ran.code, 2, "{args:?}: {}", ran.all());
        let said = format!("{}{}", ran.out, ran.err);
        let named = ["no such file", "no such folder", "not a folder"];
        assert!(named.iter().any(|named| said.contains(named)), "{args:?}: {said}");
        assert!(!said.contains("is a folder"), "{args:?}: {said}");
    }
}

/// What a machine does not give out makes no evidence wrong, whoever reads it.
#[test]
fn a_file_that_may_not_be_read_is_not_read_and_not_tampered() {
    use std::os::unix::fs::PermissionsExt;
    let id = "on_deny/mixed";
    let folder = project(&[id]);
    let run = folder.path().join("runs").join(id);
    for path in ["work/notes/op-19.md", "work/notes", "state.jsonl", "trace.json"] {
        let at = run.join(path);
        let before = std::fs::metadata(&at).unwrap().permissions();
        std::fs::set_permissions(&at, std::fs::Permissions::from_mode(0o000)).unwrap();
        let is_refused = std::fs::read_dir(&at).map(drop).or_else(|_| std::fs::read(&at).map(drop));
        let found = gatedrun::evidence::verify::verify(&run, Some(&folder.library()), &[]).verdict;
        let other = crate::vectors::second_opinion(&run, Some(folder.path()), &[], &[]);
        std::fs::set_permissions(&at, before).unwrap();
        if is_refused.is_ok() {
            println!("skipped: this user may read everything");
            return;
        }
        assert_eq!(found.as_str(), "unread", "{path}");
        if let Some(other) = other {
            assert_eq!(other["verdict"], "unread", "{path}: {other}");
        }
    }
}

#[test]
fn an_edited_document_of_a_corpus_without_a_manifest_is_a_changed_input() {
    let folder = Folder::project();
    let from = root().join("data/corpus/v1");
    copy(from.as_std_path(), folder.path().join("notes").as_std_path());
    std::fs::remove_file(folder.path().join("notes/manifest.json")).unwrap();
    let task = String::from_utf8(folder.read("tasks/canonical/v1.json")).unwrap();
    let task = task.replace("data/corpus/v1", "notes").replace("canonical/v1", "test/notes");
    folder.write("tasks/test/notes.json", task);
    assert_eq!(folder.gatedrun(&["run", "tasks/test/notes.json"]).code, 0);
    let edited = [folder.read("notes/op-22.md").as_slice(), b"More.\n"].concat();
    folder.write("notes/op-22.md", edited);
    let ran = folder.gatedrun(&["check", "runs/test/notes"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(ran.out.contains("behaviour unchanged, inputs changed: notes\n"), "{}", ran.all());
    assert!(ran.out.contains("input changed: corpus notes (was d59ef59b518e"), "{}", ran.all());
}

#[test]
fn the_cause_that_is_named_is_the_one() {
    let folder = Folder::project();
    let run = "runs/canonical/v1";
    copy(root().join(run).as_std_path(), folder.path().join(run).as_std_path());
    let ran = folder.gatedrun(&["run", "tasks/canonical/v1.json", "--seed", "3"]);
    assert!(ran.out.contains("the committed run has seed 0, this one 3"), "{}", ran.all());
    folder.edit(&format!("{run}/state.jsonl"), "\"seq\":5,", "\"seq\": 5,");
    let ran = folder.gatedrun(&["check", run]);
    assert!(ran.out.contains("the values are the same, written otherwise"), "{}", ran.all());
    assert!(!ran.out.contains("only the link"), "{}", ran.all());
}

#[test]
fn what_was_let_through_before_a_script_ran_out_is_told() {
    let folder = Folder::lenient_project();
    let id = "failure_modes/cycle_detection";
    let run = format!("runs/{id}");
    copy(root().join(&run).as_std_path(), folder.path().join(&run).as_std_path());
    let task = format!("tasks/{id}.json");
    folder.write(&task, crate::support::file(&task));
    folder.edit("policy/v1.yaml", "max_repeats: 3", "max_repeats: 30");
    let loosened = "step 4 search: deny:cycle_detection -> allow, LOOSENED";
    let ran = folder.gatedrun(&["regression"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(ran.out.contains(&format!("loosened  {id}")), "{}", ran.all());
    assert!(ran.out.contains(loosened) && ran.out.contains("ends after step 5"), "{}", ran.all());
    let ran = folder.gatedrun(&["check", &format!("runs/{id}")]);
    assert!(ran.code == 2 && ran.out.contains(loosened), "{}", ran.all());
}

#[test]
fn a_manifest_of_another_program_makes_no_run() {
    let folder = Folder::project();
    for command in ["verify", "check", "replay"] {
        let ran = folder.gatedrun(&[command, "data/corpus/v1"]);
        assert_eq!(ran.code, 2, "{command}: {}", ran.all());
        assert!(ran.err.contains("no run found"), "{command}: {}", ran.all());
    }
    // A run of which only the manifest is left is one that lost its files.
    let run = "runs/canonical/v1";
    folder.write(
        &format!("{run}/manifest.json"),
        crate::support::file(&format!("{run}/manifest.json")),
    );
    let ran = folder.gatedrun(&["verify", run]);
    assert_eq!(ran.code, 5, "{}", ran.all());
    let ran = folder.gatedrun(&["replay", run]);
    assert!(ran.code == 5 && !ran.all().contains("os error"), "{}", ran.all());
}

#[test]
fn a_run_is_held_against_its_own_task_only() {
    let folder = Folder::project();
    let run = "runs/policy_gates/pg4_forbidden_tool";
    copy(root().join(run).as_std_path(), folder.path().join("elsewhere").as_std_path());
    let task = "tasks/canonical/v1.json";
    for args in [
        ["check", "elsewhere", "--task", task].as_slice(),
        &["replay", "elsewhere", "--task", task],
        &["replay", "elsewhere", "--task", task, "--policy", "policy/v1.yaml"],
    ] {
        let ran = folder.gatedrun(args);
        assert_eq!(ran.code, 2, "{args:?}: {}", ran.all());
        assert!(ran.all().contains("a run of the task \"policy_gates/"), "{args:?}: {}", ran.all());
    }
}

#[test]
fn another_folder_is_advised_only_where_it_can_be_named() {
    let folder = Folder::project();
    let run = "runs/canonical/v1";
    copy(root().join(run).as_std_path(), folder.path().join(run).as_std_path());
    folder.edit("policy/v1.yaml", "max_iterations: 10", "max_iterations: 10 # ten");
    folder.write(&format!("{run}/mine.txt"), "mine");
    for (args, is_advised) in [(["run", "tasks/canonical/v1.json"], true), (["check", run], false)]
    {
        let ran = folder.gatedrun(&args);
        assert!(ran.all().contains("mine.txt"), "{args:?}: {}", ran.all());
        assert_eq!(ran.all().contains("--out"), is_advised, "{args:?}: {}", ran.all());
    }
}

#[test]
fn nothing_checked_of_a_corpus_is_not_a_success() {
    let folder = Folder::project();
    folder.write("notes/a.md", "# A\n");
    let ran = folder.gatedrun(&["corpus", "check", "notes"]);
    assert_eq!(ran.code, 6, "{}", ran.all());
    assert!(ran.out.contains("1 document, nothing checked"), "{}", ran.all());
}
