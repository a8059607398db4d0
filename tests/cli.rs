use std::os::unix::fs::PermissionsExt;

use base64ct::{Base64, Encoding};
use serde_json::Value;

use crate::support::{COMMANDS, Folder, Ran, copy, exhaustive, file, root};

const TASK: &str = "tasks/canonical/v1.json";
const RUN: &str = "runs/canonical/v1";

/// A project with the committed canonical run in it.
#[test]
fn the_canonical_run_as_its_user_sees_it() {
    let folder = Folder::project();
    insta::assert_snapshot!("run_new", folder.gatedrun(&["run", TASK]).all());
    insta::assert_snapshot!("run_identical", folder.gatedrun(&["run", TASK]).all());
    insta::assert_snapshot!("check_identical", folder.gatedrun(&["check"]).all());
    insta::assert_snapshot!("show", folder.gatedrun(&["show", RUN]).all());
    insta::assert_snapshot!("run_json", folder.gatedrun(&["run", TASK, "--json"]).all());
    insta::assert_snapshot!("check_json", folder.gatedrun(&["check", RUN, "--json"]).all());
    for name in gatedrun::evidence::FILES {
        assert_eq!(folder.read(&format!("{RUN}/{name}")), file(&format!("{RUN}/{name}")), "{name}");
    }
    let shown: Value =
        serde_json::from_str(&folder.gatedrun(&["show", RUN, "--json"]).out).unwrap();
    assert_eq!(shown["steps"].as_array().unwrap().len(), 5);
    assert_eq!(shown["outcome"]["terminal_reason"], "final_answer");
}

#[test]
fn the_built_in_task_runs_in_an_empty_folder() {
    let folder = Folder::new();
    let ran = folder.gatedrun(&["run"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    // The same run as the project's, but for where its inputs are.
    let committed = Folder::project();
    let to = committed.path().join(RUN);
    copy(root().join(RUN).as_std_path(), to.as_std_path());
    let own = folder.path().join(RUN);
    let ran = folder.gatedrun(&["diff", to.as_str(), own.as_str(), "--json"]);
    let found: Value = serde_json::from_str(&ran.out).unwrap();
    assert!(ran.out.contains("builtin:policy/v1.yaml"), "{}", ran.all());
    let answer = |folder: &Folder| -> Value {
        let shown = folder.gatedrun(&["show", RUN, "--json"]).out;
        serde_json::from_str::<Value>(&shown).unwrap()["outcome"].clone()
    };
    assert_eq!(answer(&folder), answer(&committed), "{found}");
    let ran = folder.gatedrun(&["check", RUN, "--task", "builtin:tasks/canonical/v1.json"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
}

#[test]
fn what_is_built_in_is_what_is_committed() {
    for (path, bytes) in gatedrun::builtin::FILES {
        assert!(*bytes == file(path), "{path}");
    }
    let tools = std::fs::read_dir(root().join("tools")).unwrap().count();
    let built = gatedrun::builtin::folder("tools").len();
    assert_eq!(tools, built + 1, "every contract is built in, and the meta-schema apart");
}

#[test]
fn any_changed_byte_of_any_file_is_found_and_named() {
    let folder = Folder::with_run();
    for name in gatedrun::evidence::FILES {
        let path = format!("{RUN}/{name}");
        let good = folder.read(&path);
        // Bytes spread over the file, the first and the last among them.
        let places = (0..8).map(|part| part * (good.len() - 1) / 7);
        for at in places {
            let mut bad = good.clone();
            bad[at] ^= 1;
            folder.write(&path, &bad);
            let ran = folder.gatedrun_with(&["check", RUN], &[("CI", "true")]);
            assert_eq!(ran.code, 1, "byte {at} of {name}: {}", ran.all());
            let line = 1 + good[..at].iter().filter(|byte| **byte == b'\n').count();
            let begin =
                good[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
            let place = format!("{name}, line {line}, byte {}", at - begin + 1);
            assert!(ran.out.contains(&place), "{place}: {}", ran.all());
            assert_eq!(ran.out.matches(", line ").count(), 1, "only {name} differs: {}", ran.all());
        }
        folder.write(&path, &good);
    }
    for name in gatedrun::evidence::FILES {
        let path = format!("{RUN}/{name}");
        let good = folder.read(&path);
        for bad in [good[..good.len() / 2].to_vec(), [good.as_slice(), b"x"].concat(), Vec::new()] {
            folder.write(&path, bad);
            let ran = folder.gatedrun_with(&["check", RUN], &[("CI", "true")]);
            assert_eq!(ran.code, 1, "{name}: {}", ran.all());
            assert!(ran.out.contains(&format!("{name}, line ")), "{}", ran.all());
        }
        std::fs::remove_file(folder.path().join(&path)).unwrap();
        let ran = folder.gatedrun_with(&["check", RUN], &[("CI", "true")]);
        assert_eq!(ran.code, 1, "{}", ran.all());
        assert!(ran.out.contains(&format!("{name}: no such file")), "{}", ran.all());
        folder.write(&path, good);
    }
    assert_eq!(folder.gatedrun(&["check", RUN]).code, 0);
}

#[test]
fn a_changed_input_is_named() {
    for (path, from, to, says) in [
        ("policy/v1.yaml", "# What the agent", "# What an agent", "policy policy/v1.yaml (was"),
        (
            "policy/v1.yaml",
            "backoff_base_ms: 100",
            "backoff_base_ms: 101",
            "policy policy/v1.yaml (was",
        ),
        ("tools/read.json", "Reads a UTF-8", "Reads any UTF-8", "contract tools/read.json (was"),
        (TASK, "\"seed\": 0", "\"seed\": 1", "task tasks/canonical/v1.json (was"),
        (TASK, "Find one fact", "Find a fact", "task tasks/canonical/v1.json (was"),
        ("data/prompt/v1.md", "one paragraph", "a paragraph", "prompt data/prompt/v1.md (was"),
        ("data/corpus/v1/op-19.md", "Team", "team", "data/corpus/v1/op-19.md: it has changed"),
        ("data/corpus/v1/op-02.md", ".", "!", "data/corpus/v1/op-02.md: it has changed"),
        (
            "data/corpus/v1/manifest.json",
            "synthetic",
            "real",
            "corpus manifest data/corpus/v1/manifest.json (was",
        ),
    ] {
        let folder = Folder::with_run();
        folder.edit(path, from, to);
        let ran = folder.gatedrun_with(&["check", RUN], &[("CI", "true")]);
        assert_ne!(ran.code, 0, "{path}");
        assert!(format!("{}{}", ran.out, ran.err).contains(says), "{says}: {}", ran.all());
    }
}

#[test]
fn drift_is_shown_proposed_and_accepted_by_a_person_only() {
    let folder = Folder::with_run();
    folder.edit(TASK, "\"max_sentences\": 2", "\"max_sentences\": 3");
    insta::assert_snapshot!("check_drift", folder.gatedrun(&["check", RUN]).all());
    assert!(folder.path().join("runs/canonical/v1.new/state.jsonl").exists());
    assert_eq!(
        folder.read(&format!("{RUN}/state.jsonl")),
        file(&format!("{RUN}/state.jsonl")),
        "the committed run stays"
    );
    let ran = folder.gatedrun(&["run", TASK]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(ran.out.contains("a proposal beside"), "{}", ran.all());
    let ran = folder.gatedrun_with(&["run", TASK, "--accept"], &[("CI", "true")]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(ran.err.contains("nothing can be accepted in CI"), "{}", ran.all());
    let ran = folder.gatedrun(&["run", TASK, "--accept"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert!(!folder.path().join("runs/canonical/v1.new").exists(), "the proposal is settled");
    assert_eq!(folder.gatedrun(&["check"]).code, 0);
}

#[test]
fn in_ci_a_new_run_is_only_proposed() {
    let folder = Folder::project();
    let ran = folder.gatedrun_with(&["run", TASK], &[("CI", "true")]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(!folder.path().join(RUN).exists());
    assert!(folder.path().join("runs/canonical/v1.new").exists());
}

#[test]
fn an_unmet_expectation_is_told() {
    let folder = Folder::with_run();
    folder.edit(TASK, "\"75 days\"", "\"76 days\"");
    folder.edit(TASK, "[\"search\", \"fetch\", \"read\", \"summarize\"]", "[\"search\", \"read\"]");
    let ran = folder.gatedrun(&["run", TASK, "--out", "elsewhere"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(
        ran.out.contains(
            "not as expected: tools: expected [search, read], got [search, fetch, read, summarize]"
        ),
        "{}",
        ran.all()
    );
    assert!(
        ran.out.contains("not as expected: answer_contains: \"76 days\" is not in the answer"),
        "{}",
        ran.all()
    );
    let ran = folder.gatedrun_with(&["check", RUN], &[("CI", "true")]);
    assert!(ran.out.contains("not as expected: "), "{}", ran.all());
}

#[test]
fn seeds_give_different_runs_that_check() {
    let folder = Folder::project();
    for seed in ["0", "1", "2", "3"] {
        let ran = folder.gatedrun(&["run", TASK, "--seed", seed, "--out", &format!("seed-{seed}")]);
        assert_eq!(ran.code, 0, "{}", ran.all());
        let ran = folder.gatedrun(&["check", &format!("seed-{seed}"), "--task", TASK]);
        assert_eq!(ran.code, 0, "{}", ran.all());
    }
    let query = |seed: u32| {
        let state = String::from_utf8(folder.read(&format!("seed-{seed}/state.jsonl"))).unwrap();
        let at = state.find("\"query\"").unwrap();
        state[at..at + 40].to_owned()
    };
    assert!((1..4).any(|seed| query(seed) != query(0)), "the seed decides the query");
}

#[test]
fn what_lies_in_the_way_is_not_overwritten() {
    let folder = Folder::project();
    folder.write("mine/notes.txt", "mine");
    let ran = folder.gatedrun(&["run", TASK, "--out", "mine"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(
        ran.err.contains("contains \"notes.txt\", which is not part of a run"),
        "{}",
        ran.all()
    );
    assert_eq!(folder.read("mine/notes.txt"), b"mine");
    folder.write("a-file", "mine");
    assert_eq!(folder.gatedrun(&["run", TASK, "--out", "a-file"]).code, 2);
    std::os::unix::fs::symlink("/tmp", folder.path().join("a-link")).unwrap();
    assert_eq!(folder.gatedrun(&["run", TASK, "--out", "a-link"]).code, 2);
    // A link where a run's file should be is foreign too.
    std::fs::create_dir(folder.path().join("linked")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("linked/state.jsonl")).unwrap();
    assert_eq!(folder.gatedrun(&["run", TASK, "--out", "linked"]).code, 2);
    // A run that was cut short is kept until its owner says otherwise.
    folder.write("cut.partial/state.jsonl", "{\"seq\":0");
    let ran = folder.gatedrun(&["run", TASK, "--out", "cut"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(ran.err.contains("--discard-partial"), "{}", ran.all());
    assert_eq!(folder.gatedrun(&["run", TASK, "--out", "cut", "--discard-partial"]).code, 0);
}

#[test]
fn two_processes_do_not_write_one_run() {
    use rustix::fs::{FlockOperation, flock};
    let folder = Folder::project();
    std::fs::create_dir(folder.path().join("held.partial")).unwrap();
    let held = std::fs::File::open(folder.path().join("held.partial")).unwrap();
    flock(&held, FlockOperation::LockExclusive).unwrap();
    let ran = folder.gatedrun(&["run", TASK, "--out", "held"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(ran.err.contains("another process is writing this run"), "{}", ran.all());
}

#[test]
fn a_folder_that_cannot_be_written_is_told() {
    let folder = Folder::project();
    folder.write("file", "");
    let ran = folder.gatedrun(&["run", TASK, "--out", "file/below"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    // A full disk: a device that takes nothing.
    let ran = folder.gatedrun(&["run", TASK, "--out", "/dev/full/x"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    let ran = folder.gatedrun(&["corpus", "build", "/proc/nowhere"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(ran.err.contains("/proc/nowhere: cannot write"), "{}", ran.all());
}

#[test]
fn the_bytes_depend_on_nothing_around_them() {
    let folder = Folder::project();
    let good: Vec<_> = gatedrun::evidence::FILES.map(|name| file(&format!("{RUN}/{name}"))).into();
    let environments: [&[(&str, &str)]; 4] = [
        &[],
        &[("TZ", "Pacific/Chatham"), ("LC_ALL", "tr_TR.UTF-8"), ("LANG", "tr_TR.UTF-8")],
        &[("HOME", "/nonexistent"), ("USER", "somebody"), ("HOSTNAME", "elsewhere")],
        &[("TMPDIR", "/nonexistent"), ("RUST_BACKTRACE", "full"), ("NO_COLOR", "1")],
    ];
    for (number, environment) in environments.into_iter().enumerate() {
        let out = format!("run {number}");
        let ran = folder.gatedrun_with(&["run", TASK, "--out", &out], environment);
        assert_eq!(ran.code, 0, "{}", ran.all());
        for (name, bytes) in gatedrun::evidence::FILES.into_iter().zip(&good) {
            assert!(folder.read(&format!("{out}/{name}")) == *bytes, "{name} in {environment:?}");
        }
    }
    // From another folder, over an absolute path, with another umask and mode.
    let elsewhere = Folder::new();
    std::fs::set_permissions(
        folder.path().join("policy/v1.yaml"),
        std::fs::Permissions::from_mode(0o400),
    )
    .unwrap();
    let task = folder.path().join(TASK);
    let ran = elsewhere.gatedrun(&["run", task.as_str(), "--out", "here"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    for (name, bytes) in gatedrun::evidence::FILES.into_iter().zip(&good) {
        assert!(elsewhere.read(&format!("here/{name}")) == *bytes, "{name}");
    }
}

#[test]
fn checking_reads_and_leaves_no_trace() {
    let folder = Folder::with_run();
    let before: Vec<_> = walkdir::WalkDir::new(folder.path())
        .sort_by_file_name()
        .into_iter()
        .map(|e| e.unwrap().into_path())
        .collect();
    assert_eq!(folder.gatedrun(&["check"]).code, 0);
    let after: Vec<_> = walkdir::WalkDir::new(folder.path())
        .sort_by_file_name()
        .into_iter()
        .map(|e| e.unwrap().into_path())
        .collect();
    assert_eq!(before, after);
}

#[test]
fn tasks_without_runs_and_runs_without_tasks_are_told() {
    let folder = Folder::with_run();
    let task = String::from_utf8(folder.read(TASK)).unwrap();
    folder.write("tasks/other/x.json", task.replace("canonical/v1", "other/x"));
    let ran = folder.gatedrun(&["check"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    let told = "runs/other/x: missing: no run of tasks/other/x.json is committed";
    assert!(ran.out.contains(told), "{}", ran.all());
    // Told to programs too, and a check that is signed has not passed.
    let verdicts = |ran: &Ran| -> Vec<Value> {
        let line = |line: &str| serde_json::from_str::<Value>(line).unwrap()["verdict"].clone();
        ran.out.lines().map(line).collect()
    };
    folder.gatedrun(&["keygen", "k.pem"]);
    let ran = folder.gatedrun(&["check", "--json", "--attest", "check.json", "--key", "k.pem"]);
    assert_eq!((ran.code, verdicts(&ran)), (1, vec!["identical".into(), "missing".into()]));
    let envelope: Value = serde_json::from_slice(&folder.read("check.json")).unwrap();
    let payload = Base64::decode_vec(envelope["payload"].as_str().unwrap()).unwrap();
    let said: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(said["predicate"]["failedTests"], serde_json::json!(["runs/other/x"]));
    std::fs::remove_dir_all(folder.path().join("tasks/other")).unwrap();
    copy(folder.path().join(RUN).as_std_path(), folder.path().join("runs/lost/v1").as_std_path());
    let ran = folder.gatedrun_with(&["check"], &[("CI", "true")]);
    assert_ne!(ran.code, 0, "{}", ran.all());
    assert!(ran.out.contains("its task tasks/lost/v1.json does not exist"), "{}", ran.all());
    let ran = folder.gatedrun_with(&["check", "--json"], &[("CI", "true")]);
    assert_eq!(verdicts(&ran), ["identical", "orphan"], "{}", ran.all());
}

#[test]
fn usage_errors_help_and_version() {
    let folder = Folder::new();
    for (args, code) in [
        (&["--help"][..], 0),
        (&["--version"], 0),
        (&[], 2),
        (&["rum"], 2),
        (&["run", "--sede", "1"], 2),
        (&["check", "nowhere"], 2),
        (&["show", "nowhere"], 2),
        (&["diff", "nowhere", "nowhere-else"], 2),
        (&["run", "a", "b", "--out", "c"], 2),
        (&["run", "--seed", "-1"], 2),
        (&["corpus"], 2),
    ] {
        let ran = folder.gatedrun(args);
        assert_eq!(ran.code, code, "{args:?}: {}", ran.all());
        assert_eq!(ran.out.is_empty(), code != 0, "{args:?}: {}", ran.all());
    }
    for command in COMMANDS {
        let mut args: Vec<&str> = command.split(' ').collect();
        args.push("--help");
        let help = folder.gatedrun(&args).out;
        assert!(help.contains("Example"), "{command} has no example: {help}");
    }
}

#[test]
fn a_run_that_ends_otherwise_says_so_in_its_exit_code() {
    let folder = Folder::lenient_project();
    folder.edit("policy/v1.yaml", "host: fixtures.local", "host: other.local");
    let ran = folder.gatedrun(&["run", TASK, "--out", "a"]);
    assert_eq!(ran.code, 1, "expected block: {}", ran.all());
    let mut task: Value = serde_json::from_slice(&folder.read(TASK)).unwrap();
    task.as_object_mut().unwrap().remove("expected");
    folder.write(TASK, task.to_string());
    let ran = folder.gatedrun(&["run", TASK, "--out", "b"]);
    assert_eq!(ran.code, 3, "{}", ran.all());
    insta::assert_snapshot!("run_denied", ran.all());
}

#[test]
fn show_reads_a_run_that_was_cut_short_and_refuses_a_damaged_one() {
    let folder = Folder::with_run();
    let path = format!("{RUN}/state.jsonl");
    let good = folder.read(&path);
    folder.write(&path, &good[..good.len() / 2]);
    let ran = folder.gatedrun(&["show", RUN]);
    assert_eq!(ran.code, 5, "{}", ran.all());
    assert!(ran.out.contains("step 1 "), "what was recorded is shown: {}", ran.all());
    assert!(ran.err.contains("the ledger ends before the run does"), "{}", ran.all());
    folder.write(&path, "");
    let ran = folder.gatedrun(&["show", RUN]);
    assert!(ran.code == 5 && ran.err.contains("before the run does"), "{}", ran.all());
    folder.write(&path, [b"{}\n".as_slice(), &good].concat());
    let ran = folder.gatedrun(&["show", RUN]);
    assert_eq!(ran.code, 5, "{}", ran.all());
    assert!(ran.err.contains("state.jsonl: line 1: not a record"), "{}", ran.all());
}

#[test]
fn the_corpus_command_builds_checks_and_never_replaces_unasked() {
    let folder = Folder::new();
    assert_eq!(folder.gatedrun(&["corpus", "build", "c"]).code, 0);
    assert_eq!(folder.read("c/manifest.json"), file("data/corpus/v1/manifest.json"));
    insta::assert_snapshot!("corpus_check", folder.gatedrun(&["corpus", "check", "c"]).all());
    folder.edit("c/op-01.md", "Team", "team");
    let ran = folder.gatedrun(&["corpus", "check", "c"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    let ran = folder.gatedrun(&["corpus", "build", "c"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(ran.err.contains("op-01.md would be replaced"), "{}", ran.all());
    assert_eq!(folder.gatedrun(&["corpus", "build", "c", "--force"]).code, 0);
    // Document and manifest changed together: only the generator can tell.
    folder.edit("c/op-02.md", "Team", "team");
    let sha = gatedrun::json::Digest::of(&folder.read("c/op-02.md")).to_string();
    let manifest = String::from_utf8(folder.read("c/manifest.json")).unwrap();
    let old = gatedrun::json::Digest::of(&file("data/corpus/v1/op-02.md")).to_string();
    folder.write("c/manifest.json", manifest.replace(&old, &sha));
    let ran = folder.gatedrun(&["corpus", "check", "c"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(ran.err.contains("the generator writes"), "{}", ran.all());
}

#[test]
fn memory_stays_small_however_long_the_run() {
    let folder = Folder::lenient_project();
    let mut task: Value = serde_json::from_slice(&folder.read(TASK)).unwrap();
    task.as_object_mut().unwrap().remove("expected");
    folder.edit("policy/v1.yaml", "max_iterations: 10", "max_iterations: 1000000");
    folder.edit("policy/v1.yaml", "max_tokens: 50000", "max_tokens: 1000000000000000");
    const KIB: u64 = 1024;
    // The long one leaves a ledger of more than a gigabyte.
    let (many, ledger_min) =
        if exhaustive() { (270_000, 1_000_000_000) } else { (5_000, 15_000_000) };
    // What a run keeps is the table of its calls, for cycle detection: some hundred bytes a call.
    let table_kib = many * 160 / KIB;
    let peaks = [500, many].map(|steps| {
        task["id"] = format!("long/{steps}").into();
        task["llm"] = serde_json::json!({"script": [
            {"calls": [{"tool": "search", "arguments": {"query": {"$concat": ["relay ", {"$step": {}}]}}}], "repeat": steps},
            {"final_answer": "done"}
        ]});
        folder.write(&format!("tasks/long/{steps}.json"), task.to_string());
        let run = format!("runs/long/{steps}");
        let mut peaks = vec![folder.peak_kib(&["run", &format!("tasks/long/{steps}.json"), "--json"])];
        for command in ["verify", "replay", "check"] {
            peaks.push(folder.peak_kib(&[command, &run, "--json"]));
        }
        peaks
    });
    let ledger = folder.path().join(format!("runs/long/{many}/state.jsonl"));
    let ledger = std::fs::metadata(ledger).unwrap().len();
    assert!(ledger > ledger_min, "{ledger}");
    for (index, command) in ["run", "verify", "replay", "check"].into_iter().enumerate() {
        let (short, long) = (peaks[0][index], peaks[1][index]);
        let kept_kib = if command == "verify" { 0 } else { table_kib };
        let bound = short + 4 * KIB + kept_kib;
        assert!(long > KIB && long <= bound, "{command}: {short} KiB, then {long} KiB");
    }
}

#[test]
fn the_policy_commands() {
    let folder = Folder::project();
    insta::assert_snapshot!(
        "policy_check",
        folder.gatedrun(&["policy", "check", "policy/v1.yaml"]).all()
    );
    folder.edit("policy/v1.yaml", "max_iterations: 10", "max_iteration: 10");
    folder.edit("policy/v1.yaml", "max_retries: 3", "max_retries: many");
    folder.edit("policy/v1.yaml", "[search, fetch", "[serch, fetch");
    insta::assert_snapshot!(
        "policy_check_findings",
        folder.gatedrun(&["policy", "check", "policy/v1.yaml"]).all()
    );
    let explained =
        |call: &str| folder.gatedrun(&["policy", "explain", "builtin:policy/v1.yaml", call]).all();
    insta::assert_snapshot!(
        "policy_explain_deny",
        explained(r#"{"tool": "fetch", "arguments": {"url": "file:///etc/passwd"}}"#)
    );
    insta::assert_snapshot!(
        "policy_explain_allow",
        explained(r#"{"tool": "read", "arguments": {"path": "corpus/a.md"}}"#)
    );
    folder.write("cases.jsonl", concat!(
        r#"{"tool": "read", "arguments": {"path": "/etc/passwd"}, "decision": "deny:sandbox_path"}"#, "\n",
        r#"{"note": "wrong", "tool": "read", "arguments": {"path": "/etc/passwd"}, "decision": "allow"}"#, "\n",
    ));
    insta::assert_snapshot!(
        "policy_test",
        folder.gatedrun(&["policy", "test", "builtin:policy/v1.yaml", "cases.jsonl"]).all()
    );
    folder.write("cases.jsonl", "{\"tool\": 5}\nnot json\n");
    let ran = folder.gatedrun(&["policy", "test", "builtin:policy/v1.yaml", "cases.jsonl"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(
        ran.err.contains("cases.jsonl: line 1, column 10 (/tool): ")
            && ran.err.contains("cases.jsonl: line 2, column 2: "),
        "{}",
        ran.all()
    );
}

#[test]
fn policy_decide_answers_line_by_line_and_counts_one_run() {
    let folder = Folder::new();
    let call = r#"{"tool": "search", "arguments": {"query": "x"}}"#;
    let input =
        format!("{call}\n{call}\n{call}\n{call}\n{{\"tool\": \"shell\", \"call_id\": \"mine\"}}\n");
    let ran = folder.gatedrun_stdin(&["policy", "decide", "builtin:policy/v1.yaml"], &input);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let decided: Vec<Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let words: Vec<_> =
        decided.iter().map(|d| (d["decision"].as_str().unwrap(), d["rule_id"].as_str())).collect();
    assert_eq!(
        words,
        [
            ("allow", None),
            ("allow", None),
            ("allow", None),
            ("deny", Some("cycle_detection")),
            // The denial before ended the run.
            ("deny", Some("cycle_detection")),
        ]
    );
    assert_eq!(decided[4]["call_id"], "mine");
}

#[test]
fn policy_decide_denies_with_the_callers_id_what_it_cannot_read() {
    let folder = Folder::new();
    let decide = ["policy", "decide", "builtin:policy/v1.yaml"];
    for number in ["99999999999999999999", "-9223372036854775809", "18446744073709551616"] {
        let line = format!(
            "{{\"call_id\":\"c\",\"tool\":\"search\",\"arguments\":{{\"query\":\"x\",\"top_k\":{number}}}}}\n"
        );
        let ran = folder.gatedrun_stdin(&decide, &line);
        let answer: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(
            (ran.code, &answer["decision"], &answer["call_id"]),
            (2, &"deny".into(), &"c".into())
        );
        assert!(answer["error"].as_str().unwrap().contains(number), "{answer}");
    }
}

#[test]
fn regression_tells_what_changed_and_fails_on_what_is_worse() {
    let folder = Folder::with_run();
    let ran = folder.gatedrun(&["regression"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "1 task: 1 same\n"));
    folder.write(
        "tasks/other/x.json",
        String::from_utf8(folder.read(TASK)).unwrap().replace("canonical/v1", "other/x"),
    );
    folder.edit(
        "policy/v1.yaml",
        "[search, fetch, read, write, summarize]",
        "[search, fetch, read, write]",
    );
    let ran = folder.gatedrun(&["regression"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    insta::assert_snapshot!("regression", ran.all());
    // An expectation that was not met and now is.
    let folder = Folder::with_run();
    folder.edit(TASK, "\"max_sentences\": 2", "\"max_sentences\": 3");
    folder.edit(TASK, "\"75 days\"", "\"75 days\", \"service restored\"");
    let ran = folder.gatedrun(&["regression", "--json"]);
    let row: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, row["verdict"].as_str()), (0, Some("improved")), "{}", ran.all());
}

#[test]
fn isolation_is_said_and_holds() {
    use gatedrun::isolation::{Status, confined};
    use gatedrun::policy::rules::sandbox_path::Isolation;
    let folder = Folder::new();
    let outside = folder.write("outside/secret.txt", "secret");
    let inside = folder.path().join("inside");
    std::fs::create_dir(&inside).unwrap();
    let attempt = || {
        let read = std::fs::read(&outside).is_ok();
        let written = std::fs::write(inside.join("x"), "x").is_ok();
        let escaped = std::fs::write(folder.path().join("outside/y"), "y").is_ok();
        (read, written, escaped)
    };
    let (off, status) = confined(Isolation::Off, &inside, attempt).unwrap();
    assert_eq!((off, status), ((true, true, true), Status::Off));
    let (held, status) = confined(Isolation::BestEffort, &inside, attempt).unwrap();
    match status {
        Status::Enforced => {
            assert_eq!(held, (false, true, false));
            assert!(confined(Isolation::Required, &inside, || ()).is_ok());
        }
        other => {
            println!("skipped: this kernel's Landlock is {}", other.as_str());
            assert!(
                confined(Isolation::Required, &inside, || ()).is_err(),
                "required is a refusal to start"
            );
        }
    }
    assert!(std::fs::read(&outside).is_ok(), "only the thread was confined");
    let project = Folder::project();
    let ran = project.gatedrun(&["run", TASK, "--json"]);
    let line: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(line["isolation"], status.as_str());
}

#[test]
fn a_file_that_the_run_wrote_is_checked_too() {
    let folder = Folder::project();
    for part in ["tasks/on_deny", "runs/on_deny/mixed"] {
        copy(root().join(part).as_std_path(), folder.path().join(part).as_std_path());
    }
    let run = "runs/on_deny/mixed";
    let check = || folder.gatedrun_with(&["check", run], &[("CI", "true")]);
    assert_eq!(check().code, 0, "{}", check().all());
    let path = format!("{run}/work/notes/op-19.md");
    let good = folder.read(&path);
    folder.write(&path, "changed");
    assert!(
        check().code == 1 && check().out.contains("work/notes/op-19.md: it has SHA-256"),
        "{}",
        check().all()
    );
    std::fs::remove_file(folder.path().join(&path)).unwrap();
    assert!(
        check().code == 1
            && check()
                .out
                .contains("work/notes/op-19.md: the run wrote this file, and it is missing"),
        "{}",
        check().all()
    );
    folder.write(&path, good);
    folder.write(&format!("{run}/work/more.txt"), "more");
    assert!(
        check().code == 1 && check().out.contains("work/more.txt: the run wrote no such file"),
        "{}",
        check().all()
    );
}
