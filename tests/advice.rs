//! What a message advises is what its reader can do: the command that it names works, and where nothing
//! helps but another input, the message says which.

use gatedrun::event::AttemptOutcome;
use gatedrun::evidence::trace::ATTRIBUTES;

use crate::support::{Folder, copy, root};
use crate::vectors::second_opinion;

const TASK: &str = "tasks/canonical/v1.json";
const RUN: &str = "runs/canonical/v1";

#[test]
fn a_run_that_its_task_does_not_expect_is_not_offered_for_review() {
    let folder = Folder::with_run();
    folder.edit(
        TASK,
        "\"terminal_reason\": \"final_answer\"",
        "\"terminal_reason\": \"no_progress\"",
    );
    let remedy = "change `expected` in tasks/canonical/v1.json";
    for args in [
        &["check", RUN][..],
        &["run", TASK],
        &["-q", "run", TASK],
        &["run", TASK, "--accept"],
        &["-q", "run", TASK, "--accept"],
        &["review", "--accept"],
    ] {
        let ran = folder.gatedrun(args);
        assert_eq!(ran.code, 1, "{args:?}: {}", ran.all());
        assert!(ran.all().contains(remedy), "{args:?}: {}", ran.all());
        assert!(!ran.all().contains("gatedrun review"), "{args:?}: {}", ran.all());
    }
    // What is committed misses them too, and nothing else differs.
    std::fs::remove_dir_all(folder.path().join("runs")).unwrap();
    assert_eq!(folder.gatedrun(&["run", TASK]).code, 1);
    let ran = folder.gatedrun(&["check", RUN]);
    assert!(ran.code == 1 && ran.all().contains(remedy), "{}", ran.all());
}

#[test]
fn what_ci_cannot_accept_is_not_offered_there() {
    let folder = Folder::with_run();
    folder.edit("policy/v1.yaml", "jitter_percent: 20", "jitter_percent: 10");
    for exists in [true, false] {
        if !exists {
            std::fs::remove_dir_all(folder.path().join("runs")).unwrap();
        }
        let ran = folder.gatedrun_with(&["run", TASK], &[("CI", "true")]);
        assert_eq!(ran.code, 1, "{}", ran.all());
        assert!(ran.out.contains("nothing is accepted in CI: repeat"), "{}", ran.all());
        let ran = folder.gatedrun_with(&["review", "--accept"], &[("CI", "true")]);
        assert_eq!(ran.code, 2, "{}", ran.all());
        let ran = folder.gatedrun(&["run", TASK]);
        assert_eq!(ran.code, i32::from(exists), "{}", ran.all());
        assert_eq!(ran.out.contains("review it with `gatedrun review`"), exists, "{}", ran.all());
    }
}

#[test]
fn a_run_of_another_seed_in_a_folder_of_ones_own_is_replaced_as_advised() {
    let folder = Folder::project();
    assert_eq!(folder.gatedrun(&["run", TASK, "--seed", "1", "--out", "mine"]).code, 0);
    let again = ["run", TASK, "--seed", "2", "--out", "mine"];
    let ran = folder.gatedrun(&again);
    assert!(ran.code == 1 && ran.out.contains("repeat the command with --accept"), "{}", ran.all());
    assert!(!ran.all().contains("gatedrun review"), "{}", ran.all());
    assert_eq!(folder.gatedrun(&["review", "mine", "--accept"]).code, 1);
    let ran = folder.gatedrun(&[&again[..], &["--accept"]].concat());
    assert!(ran.code == 0 && ran.out.contains("replaced the previous run"), "{}", ran.all());
}

#[test]
fn a_first_run_is_read_as_review_says() {
    let folder = Folder::project();
    folder.gatedrun_with(&["run", TASK], &[("CI", "true")]);
    let ran = folder.gatedrun_stdin(&["review"], "s\n");
    let command = "gatedrun show runs/canonical/v1.new";
    assert!(ran.out.contains(&format!("`{command}`")), "{}", ran.all());
    let args: Vec<&str> = command.split(' ').skip(1).collect();
    assert_eq!(folder.gatedrun(&args).code, 0);
}

#[test]
fn a_damaged_run_is_not_called_finished() {
    let folder = Folder::with_run();
    let ledger = folder.path().join(RUN).join("state.jsonl");
    let whole = std::fs::read(&ledger).unwrap();
    let cut = whole.len() / 2;
    for damage in [None, Some(&whole[..0]), Some(&whole[..cut])] {
        match damage {
            None => std::fs::remove_file(&ledger).unwrap(),
            Some(bytes) => std::fs::write(&ledger, bytes).unwrap(),
        }
        for args in [&["resume", RUN][..], &["list"]] {
            let ran = folder.gatedrun(args);
            assert_eq!(ran.code, 5, "{}", ran.all());
            assert!(!ran.all().contains("is finished"), "{}", ran.all());
            for part in ["`gatedrun verify runs/canonical/v1`", "restore the run"] {
                assert!(ran.all().contains(part), "{args:?}: {part}: {}", ran.all());
            }
        }
        let ran = folder.gatedrun(&["verify", RUN]);
        assert!(ran.out.contains("from version control"), "{}", ran.all());
        assert!(!ran.out.contains("line 0"), "{}", ran.all());
    }
    std::fs::write(&ledger, &whole).unwrap();
    let ran = folder.gatedrun(&["resume", RUN]);
    assert!(ran.code == 2 && ran.err.contains("the run is finished"), "{}", ran.all());
}

#[test]
fn what_is_wrong_with_a_run_says_what_to_do_about_it() {
    let folder = Folder::with_run();
    let remedy = |file: &str, from: &str, to: &str, due: &str| {
        let whole = folder.read(file);
        folder.edit(file, from, to);
        let ran = folder.gatedrun(&["verify", RUN]);
        std::fs::write(folder.path().join(file), whole).unwrap();
        assert!(ran.code != 0 && ran.out.contains(due), "{file}: {}", ran.all());
    };
    let report = format!("{RUN}/run_report.md");
    remedy(&report, "final_answer", "loop_budget", "restore the run from version control");
    remedy(
        "policy/v1.yaml",
        "jitter_percent: 20",
        "jitter_percent: 10",
        "`gatedrun check runs/canonical/v1`",
    );
    folder.write(&format!("{RUN}/attestation.intoto.json"), "{}");
    let ran = folder.gatedrun(&["verify", RUN]);
    assert!(ran.out.contains("`gatedrun sign runs/canonical/v1 --key KEY`"), "{}", ran.all());
    // A run that was changed itself is not to be signed again.
    let whole = folder.read(&report);
    folder.edit(&report, "final_answer", "loop_budget");
    let ran = folder.gatedrun(&["verify", RUN]);
    assert!(!ran.out.contains("gatedrun sign") && ran.out.contains("do not rely"), "{}", ran.all());
    std::fs::write(folder.path().join(&report), whole).unwrap();
    std::fs::remove_file(folder.path().join(RUN).join("attestation.intoto.json")).unwrap();
    std::fs::create_dir_all(folder.path().join("runs/other")).unwrap();
    std::fs::rename(folder.path().join(RUN), folder.path().join("runs/other/v1")).unwrap();
    for command in ["verify", "check", "replay"] {
        let ran = folder.gatedrun(&[command, "runs/other/v1"]);
        assert!(ran.out.contains("move it back to runs/canonical/v1"), "{command}: {}", ran.all());
    }
}

#[test]
fn every_changed_input_is_named_by_its_path() {
    let folder = Folder::with_run();
    folder.edit("data/corpus/v1/manifest.json", "CC0-1.0", "CC0-1.1");
    let ran = folder.gatedrun(&["check", RUN]);
    let due = "inputs changed: data/corpus/v1/manifest.json";
    assert!(ran.code == 1 && ran.out.contains(due), "{}", ran.all());
}

#[test]
fn errors_name_what_to_write() {
    let folder = Folder::with_run();
    folder.write("notes.md", "notes");
    folder.write("list.json", "[]");
    folder.write("nine.json", "{\"format\": 9}");
    folder.write("model.json", "{\"llm\": {}}");
    folder.write("key.json", "{\"llm\": {\"frob\": 1}}");
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    let other = folder.path().join("tasks/other.json");
    let task = String::from_utf8(folder.read(TASK)).unwrap();
    let task =
        task.replace("canonical/v1\"", "other\"").replace("policy/v1.yaml", "policy/no.yaml");
    std::fs::write(other, task).unwrap();
    let task_text = String::from_utf8(folder.read(TASK)).unwrap();
    folder.write("gpt.json", "{\"llm\": \"gpt\"}");
    folder.write("empty.json", "");
    folder.write("answer.json", task_text.replace("\"answer_contains\"", "\"answer\""));
    copy(
        folder.path().join("tasks/canonical").as_std_path(),
        folder.path().join("tasks/x").as_std_path(),
    );
    let cases: [(&[&str], &str); 28] = [
        (&["run", "gpt.json"], "found \"gpt\"; write an object; its keys are"),
        (&["run", "empty.json"], "not JSON: it is empty"),
        (&["run", "answer.json"], "rename it to \"answer_contains\""),
        (&["run", "tasks/x/v1.json"], "write \"id\": \"x/v1\""),
        (&["run", "nowhere"], "no such file; name a task file or a folder of tasks"),
        (&["policy", "explain", "policy/v1.yaml", "read"], "{\"path\": \"corpus/a.txt\"}}\n"),
        (&["run", "list.json"], "expected an object, found an empty array"),
        (&["run", "nine.json"], "expected 1, found 9; write 1"),
        (&["run", "model.json"], "found none; the keys are"),
        (&["run", "key.json"], "remove it; the keys here are outside, random, script"),
        (&["run", "tasks/other.json"], "no such file; restore it, or name another"),
        (&["run", "data/corpus/v1/manifest.json"], "`gatedrun corpus check FOLDER`"),
        (&["policy", "check", "policy/v9.yaml"], "builtin:policy/v1.yaml, which is in the program"),
        (
            &["policy", "check", "policy/v1.yaml", "--contracts", "nope"],
            "with --contracts, or leave",
        ),
        (
            &["policy", "check", "policy/v1.yaml", "--contracts", "empty"],
            "a contract is a .json file",
        ),
        (&["replay", "--policy", "policy/v1.yaml", "--require", "foo"], "deny:RULE or warn:RULE"),
        (&["review", "--json"], "--accept, --accept-unchanged or --reject"),
        (
            &["check", "--task", "tasks/canonical/v1.json", "notes.md"],
            "a file; name a run's folder",
        ),
        (&["verify", "canonical/v1"], "did you mean runs/canonical/v1?"),
        (&["check", "canonical"], "did you mean runs/canonical?"),
        (&["verify", "--key", "notes.md"], "NAME.pub.pem that `gatedrun keygen` writes"),
        (&["verify", RUN, "--require-signature"], "`gatedrun sign runs/canonical/v1 --key KEY`"),
        (&["check", "--bogus"], "[RUN or FOLDER]...\nsee `gatedrun check --help`"),
        (&["check", "--attest", "x"], "[OPTIONS] [RUN or FOLDER]..."),
        (&["policy", "frob"], "see `gatedrun policy --help`"),
        (&["help", "--help"], "see `gatedrun --help`"),
        (
            &["corpus", "build", "data/corpus/v1", "--seed", "3"],
            "to replace what is there, build with",
        ),
        (&["policy", "decide", "policy/v1.yaml"], "write a call, such as"),
    ];
    for (args, due) in cases {
        let ran = match args.contains(&"decide") {
            true => folder.gatedrun_stdin(args, "foo\n"),
            false => folder.gatedrun(args),
        };
        assert!(ran.code != 0 && ran.all().contains(due), "{args:?}: {}", ran.all());
    }
}

#[test]
fn a_policy_is_corrected_as_its_findings_say() {
    let folder = Folder::project();
    let found = |text: &str| {
        folder.write("p.yaml", text);
        folder.gatedrun(&["policy", "check", "p.yaml"]).all()
    };
    let registry = "tool_registry:\n  allowed: [search]\n";
    assert!(found(&format!("version: 01\n{registry}")).contains("write `version: 1`\n"));
    assert!(
        found(&format!("version: \"1\"\n{registry}"))
            .contains("write `version: 1`, without quotes")
    );
    let of_anchor = found("version: 1\ntool_registry:\n  allowed:   &a [search]\n");
    assert!(of_anchor.contains("line 3, column 14 "), "{of_anchor}");
    // The example that is advised is one that holds.
    let told = found(&format!("version: 1\n{registry}  examples:\n    allow:\n      - foo\n"));
    let advised = "- {tool: search, arguments: {query: orders}}";
    assert!(told.contains(advised), "{told}");
    let told = found(&format!("version: 1\n{registry}  examples:\n    allow:\n      {advised}\n"));
    assert!(told.contains("no findings") || !told.contains("finding"), "{told}");
}

#[test]
fn the_words_for_an_attempts_outcome_list_all() {
    let (_, words) = ATTRIBUTES.iter().find(|(name, _)| *name == "agent.retry.outcome").unwrap();
    for outcome in AttemptOutcome::ALL {
        assert!(words.contains(outcome.as_str()), "{words}: {}", outcome.as_str());
    }
}

#[test]
fn the_end_of_a_line_is_named() {
    let folder = Folder::with_run();
    folder.write(&format!("{RUN}/manifest.json"), "{}\n");
    let ran = folder.gatedrun(&["verify", RUN]);
    assert!(ran.out.contains("      expected  the end of the line\n"), "{}", ran.all());
}

#[test]
fn a_word_that_yaml_reads_otherwise_is_advised_in_quotes() {
    let folder = Folder::project();
    let check = |text: &str| {
        folder.write("p.yaml", format!("version: 1\ntool_registry:\n  allowed: [search]\n{text}"));
        folder.gatedrun(&["policy", "check", "p.yaml"])
    };
    for word in ["off", "Off", "OFF", "offf"] {
        let ran = check(&format!("sandbox:\n  isolation: {word}\n"));
        let advice = ran.all();
        let advised = advice.split("write `").nth(1).unwrap_or_default().split('`').next().unwrap();
        assert_eq!(advised, "isolation: \"off\"", "{word}: {advice}");
    }
    assert_eq!(check("sandbox:\n  isolation: \"off\"\n").code, 0);
    let ran = folder.gatedrun(&["policy", "explain", "p.yaml"]);
    assert!(ran.out.contains("\"off\""), "{}", ran.out);
    let ran = check("retry:\n  max_retries: yes\n");
    assert!(ran.all().contains("max_retries must be a whole number (found yes)"), "{}", ran.all());
}

#[test]
fn nothing_is_said_of_a_signature_that_was_not_checked() {
    let folder = Folder::with_run();
    for key in ["a.pem", "b.pem"] {
        assert_eq!(folder.gatedrun(&["keygen", key]).code, 0);
    }
    assert_eq!(folder.gatedrun(&["sign", RUN, "--key", "a.pem"]).code, 0);
    for args in [&["verify", RUN][..], &["verify", RUN, "--key", "b.pub.pem"]] {
        let ran = folder.gatedrun(args);
        assert!(ran.out.contains("signature not checked (names key "), "{}", ran.all());
        assert!(!ran.out.contains("signed by"), "{}", ran.all());
    }
    let ran = folder.gatedrun(&["verify", RUN, "--key", "a.pub.pem"]);
    assert!(ran.out.contains("signed by"), "{}", ran.all());
}

#[test]
fn a_folder_with_runs_is_the_project_for_run_too() {
    let folder = Folder::with_run();
    std::fs::create_dir_all(folder.path().join("inner/runs")).unwrap();
    let inner = folder.path().join("inner");
    let ran = folder.gatedrun_in("inner", &["run"]);
    assert!(ran.out.contains("runs/canonical/v1: written"), "{}", ran.all());
    assert!(inner.join(RUN).is_dir());
    for command in ["check", "verify", "replay"] {
        let ran = folder.gatedrun_in("inner", &[command]);
        assert_eq!(ran.code, 0, "{command}: {}", ran.all());
    }
}

#[test]
fn a_run_of_another_format_is_left_to_its_program() {
    let folder = Folder::with_run();
    let ledger = format!("{RUN}/state.jsonl");
    folder.edit(&ledger, "\"format\":1", "\"format\":3");
    for command in ["verify", "check"] {
        let ran = folder.gatedrun(&[command, RUN]);
        assert!(ran.code != 0 && ran.out.contains("use a version of the program"), "{}", ran.all());
        for other in ["restore", "accept", ".new"] {
            assert!(!ran.all().contains(other), "{command}: {}", ran.all());
        }
    }
    assert!(!folder.path().join(format!("{RUN}.new")).exists());
}

#[test]
fn a_file_too_many_is_told_as_that() {
    let folder = Folder::with_run();
    folder.write(&format!("{RUN}/extra.txt"), "x");
    let ran = folder.gatedrun(&["verify", RUN]);
    let due = "extra.txt: not a part of a run; move or delete it";
    assert!(ran.code == 1 && ran.out.contains(due), "{}", ran.all());
    assert!(!ran.out.contains("version control"), "{}", ran.all());
    let ran = folder.gatedrun_with(&["check", RUN], &[("CI", "true")]);
    assert!(ran.out.contains("behaviour unchanged, other files"), "{}", ran.all());
}

#[test]
fn an_unfinished_run_is_not_looked_for_in_version_control() {
    let folder = Folder::with_run();
    let partial = format!("{RUN}.partial");
    std::fs::rename(folder.path().join(RUN), folder.path().join(&partial)).unwrap();
    folder.edit(&format!("{partial}/state.jsonl"), "\"seq\":3", "\"seq\":4");
    for args in [&["verify", &partial][..], &["list"]] {
        let ran = folder.gatedrun(args);
        assert!(!ran.all().contains("version control"), "{args:?}: {}", ran.all());
        let due = "`gatedrun run tasks/canonical/v1.json --discard-partial`";
        assert!(ran.all().contains(due), "{args:?}: {}", ran.all());
    }
    assert_eq!(folder.gatedrun(&["run", TASK, "--discard-partial"]).code, 0);
}

#[test]
fn a_decision_after_the_end_names_the_call_that_ended_it() {
    let folder = Folder::project();
    let calls = "{\"tool\": \"shell\", \"arguments\": {}}\n{\"tool\": \"search\", \"arguments\": {\"query\": \"x\"}}\n";
    let ran = folder.gatedrun_stdin(&["policy", "decide", "policy/v1.yaml"], calls);
    let second = ran.out.lines().nth(1).unwrap();
    assert!(second.contains("\"reason\":\"the run ended with call_1: tool "), "{second}");
}

#[test]
fn a_tasks_own_place_is_that_also_where_it_is_named() {
    let folder = Folder::with_run();
    let ledger = folder.read(&format!("{RUN}/state.jsonl"));
    std::os::unix::fs::symlink(folder.path().join("runs"), folder.path().join("link")).unwrap();
    for out in [RUN, "./runs/../runs/canonical/v1", "link/canonical/v1"] {
        let args = ["run", TASK, "--seed", "4", "--out", out];
        let ran = folder.gatedrun(&args);
        assert!(ran.code == 1 && ran.out.contains("change `seed` in"), "{}", ran.all());
        assert!(!ran.all().contains("--accept"), "{}", ran.all());
        let ran = folder.gatedrun(&[&args[..], &["--accept"]].concat());
        assert!(ran.code == 2 && ran.err.contains("change `seed` in"), "{}", ran.all());
        assert!(folder.read(&format!("{RUN}/state.jsonl")) == ledger);
    }
    // CI makes no evidence there either.
    std::fs::remove_dir_all(folder.path().join("runs/canonical")).unwrap();
    let ran = folder.gatedrun_with(&["run", TASK, "--out", RUN], &[("CI", "true")]);
    assert!(ran.code == 1 && !folder.path().join(RUN).exists(), "{}", ran.all());
}

#[test]
fn what_is_missing_or_damaged_is_told_with_what_to_do() {
    let folder = Folder::with_run();
    let ledger = format!("{RUN}/state.jsonl");
    let whole = folder.read(&ledger);
    folder.edit(&ledger, "\"seq\":4", "\"seq\":5");
    let ran = folder.gatedrun(&["replay", RUN]);
    let due = "seq is 5, expected 4; restore the run from version control";
    assert!(ran.code == 5 && ran.out.contains(due), "{}", ran.all());
    std::fs::write(folder.path().join(&ledger), whole).unwrap();
    // `check` cannot show what a run does with a corpus that contradicts its manifest.
    let corpus = folder.read("data/corpus/v1/op-01.md");
    folder.write("data/corpus/v1/op-01.md", "x");
    let ran = folder.gatedrun(&["verify", RUN]);
    assert!(ran.out.contains("restore these inputs"), "{}", ran.all());
    assert!(!ran.out.contains("gatedrun check"), "{}", ran.all());
    std::fs::write(folder.path().join("data/corpus/v1/op-01.md"), corpus).unwrap();
    // In CI no proposal is written.
    let other = Folder::lenient_project();
    copy(root().join(RUN).as_std_path(), other.path().join(RUN).as_std_path());
    other.edit("policy/v1.yaml", "max_iterations: 10", "max_iterations: 2");
    for (ci, proposes) in [("true", false), ("", true)] {
        let ran = other.gatedrun_with(&["regression"], &[("CI", ci)]);
        assert!(ran.err.contains("`gatedrun check RUN` shows"), "{}", ran.all());
        assert_eq!(ran.err.contains("writes a proposal"), proposes, "{}", ran.all());
    }
    std::fs::remove_file(folder.path().join(TASK)).unwrap();
    for (args, due) in [
        (&["replay", RUN][..], "its task tasks/canonical/v1.json does not exist; restore it"),
        (&["verify", RUN], "no such file; restore it, or name the run's project"),
        (&["regression"], "restore the task, or remove the run"),
    ] {
        let ran = folder.gatedrun(args);
        assert!(ran.code != 0 && ran.all().contains(due), "{args:?}: {}", ran.all());
    }
}

#[test]
fn no_key_is_advised_only_because_it_is_free() {
    let folder = Folder::project();
    folder.edit(TASK, "\"format\"", "\"version\": 2, \"format\"");
    let ran = folder.gatedrun(&["run", TASK]);
    assert!(ran.err.contains("remove it; the keys here are $schema, contracts, "), "{}", ran.all());
    let ran = Folder::with_run().gatedrun(&[
        "replay",
        RUN,
        "--policy",
        "policy/v1.yaml",
        "--require",
        "deny",
    ]);
    assert!(ran.code == 1 && ran.err.contains("name runs that have one"), "{}", ran.all());
}

#[test]
fn a_folders_name_forges_no_line() {
    let folder = Folder::with_run();
    let place = "runs/x\nruns/canonical/v1: identical";
    for name in [place, "runs/\u{1b}[31mRED", "runs/\u{1b}[2Kcleared"] {
        copy(root().join(RUN).as_std_path(), folder.path().join(name).as_std_path());
    }
    let policy = ["replay", "--policy", "policy/v1.yaml", "runs"];
    for args in [&["check"][..], &["replay"], &["verify"], &["regression"], &["list"], &policy] {
        let ran = folder.gatedrun(&[args, &["--color", "always"]].concat());
        assert!(
            !ran.out.contains("\u{1b}[31mRED") && !ran.out.contains("\u{1b}[2K"),
            "{}",
            ran.all()
        );
        let forged = |line: &str| line.starts_with("runs/canonical/v1: identical:");
        assert!(!ran.out.lines().any(forged), "{args:?}: {}", ran.all());
        assert!(ran.out.contains("x␊runs/canonical/v1: identical"), "{args:?}: {}", ran.all());
    }
    // Nobody needs to think of it where a line is printed.
    let ran = folder.gatedrun(&["diff", RUN, place]);
    assert!(ran.out.contains("x␊runs/canonical/v1: identical: every event"), "{}", ran.all());
}

#[test]
fn a_key_of_another_rule_is_not_moved_where_it_loosens_that() {
    let folder = Folder::new();
    for section in ["loop_budget", "progress"] {
        let policy = format!(
            "version: 1\ntool_registry:\n  allowed: [search]\n{section}:\n  on_deny: continue\n"
        );
        folder.write("p.yaml", &policy);
        let ran = folder.gatedrun(&["policy", "check", "p.yaml"]);
        assert!(ran.err.contains("remove it; this rule always ends a run"), "{}", ran.all());
        assert!(!ran.err.contains("move it below"), "{}", ran.all());
    }
}

#[test]
fn out_takes_no_other_place_below_runs() {
    let folder = Folder::with_run();
    let ran = folder.gatedrun(&["run", TASK, "--out", ""]);
    assert!(ran.err.contains("as in my-run"), "{}", ran.all());
    let ran = folder.gatedrun(&["run", TASK, "--out", "runs/mine"]);
    assert!(ran.code == 2 && ran.err.contains("name a folder elsewhere"), "{}", ran.all());
    assert!(!folder.path().join("runs/mine").exists());
    assert_eq!(folder.gatedrun(&["run", TASK, "--out", "my-run"]).code, 0);
}

#[test]
fn a_run_of_a_task_elsewhere_is_told_which_task() {
    let folder = Folder::project();
    let task = String::from_utf8(folder.read(TASK)).unwrap().replace("canonical/v1", "own");
    folder.write("own.json", &task);
    assert_eq!(folder.gatedrun(&["run", "own.json"]).code, 0);
    let ran = folder.gatedrun(&["check", "runs/own"]);
    let due = "the run was made from own.json: name that with --task, or move it to tasks/own.json";
    assert!(ran.code == 1 && ran.out.contains(due), "{}", ran.all());
    assert_eq!(folder.gatedrun(&["check", "runs/own", "--task", "own.json"]).code, 0);
}

#[test]
fn another_seed_is_advised_only_what_can_be_done() {
    // A built-in task cannot be edited.
    let empty = Folder::new();
    assert_eq!(empty.gatedrun(&["run"]).code, 0);
    let ran = empty.gatedrun(&["run", "--seed", "9"]);
    assert!(!ran.all().contains("change `seed`"), "{}", ran.all());
    assert!(ran.all().contains("name another folder with --out"), "{}", ran.all());
    // In CI nothing is accepted, and where no run is there is nothing to accept.
    let folder = Folder::project();
    folder.gatedrun(&["run", TASK, "--seed", "4", "--out", "o1"]);
    let ran = folder.gatedrun_with(&["run", TASK, "--seed", "5", "--out", "o1"], &[("CI", "1")]);
    assert!(!ran.all().contains("--accept"), "{}", ran.all());
    let ran = folder.gatedrun_with(&["run", TASK], &[("CI", "1")]);
    let due = "repeat the command on your machine and commit the run";
    assert!(ran.all().contains(due) && !ran.all().contains("`gatedrun review"), "{}", ran.all());
}

#[test]
fn another_kind_of_file_under_a_name_of_a_run_is_told_as_that() {
    let folder = Folder::with_run();
    let trace = folder.path().join(RUN).join("trace.json");
    std::fs::remove_file(&trace).unwrap();
    std::os::unix::fs::symlink("report", &trace).unwrap();
    let ran = folder.gatedrun(&["check", RUN]);
    assert!(!ran.all().contains("not part of a run"), "{}", ran.all());
    assert!(ran.err.contains("a link, or another kind of file"), "{}", ran.all());
    std::fs::remove_file(&trace).unwrap();
    let ran = folder.gatedrun(&["check", RUN]);
    assert!(ran.err.contains("what it is now; "), "{}", ran.all());
}

#[test]
fn a_command_that_is_advised_is_quoted_for_a_shell() {
    let folder = Folder::with_run();
    for (name, word) in [("runs/a $(touch x)", "'runs/a $(touch x)'"), ("-x", "./-x")] {
        copy(root().join(RUN).as_std_path(), folder.path().join(name).as_std_path());
        let ran = folder.gatedrun(&["show", "--", name]);
        assert!(ran.out.contains(&format!("`gatedrun verify {word}")), "{}", ran.all());
    }
}

#[test]
fn a_run_is_resumed_with_its_own_task_only() {
    let folder = Folder::with_run();
    let cut = folder.path().join("runs/canonical/v1.partial");
    std::fs::create_dir(&cut).unwrap();
    let ledger = String::from_utf8(folder.read(&format!("{RUN}/state.jsonl"))).unwrap();
    let lines: Vec<&str> = ledger.lines().take(20).collect();
    std::fs::write(cut.join("state.jsonl"), lines.join("\n") + "\n").unwrap();
    let task = String::from_utf8(folder.read(TASK)).unwrap().replace("canonical/v1", "other");
    folder.write("other.json", &task);
    let ran = folder.gatedrun(&["resume", RUN, "--task", "other.json"]);
    assert!(ran.code == 2 && ran.err.contains("name its own task with --task"), "{}", ran.all());
    assert!(!ran.err.contains("--discard-partial"), "{}", ran.all());
    // One that is damaged is verified by its own name.
    let edited = lines.join("\n").replace("\"seq\":9", "\"seq\":8");
    std::fs::write(cut.join("state.jsonl"), edited + "\n").unwrap();
    let ran = folder.gatedrun(&["show", "runs/canonical/v1.partial"]);
    assert!(ran.out.contains("next: `gatedrun verify runs/canonical/v1.partial`"), "{}", ran.all());
    // What is not a signature signs nothing.
    folder.write(&format!("{RUN}/attestation.intoto.json"), "");
    let ran = folder.gatedrun(&["list", "--json"]);
    assert!(!ran.out.contains("\"signed\":true"), "{}", ran.all());
}

/// A run in a folder of one's own is held to its task as well.
#[test]
fn a_proposal_in_a_folder_of_ones_own_is_held_to_its_task() {
    let folder = Folder::with_run();
    assert_eq!(folder.gatedrun(&["run", TASK, "--out", "my-run"]).code, 0);
    let reason = "\"terminal_reason\": \"final_answer\"";
    folder.edit(TASK, reason, "\"terminal_reason\": \"no_progress\"");
    assert_eq!(folder.gatedrun(&["run", TASK, "--out", "my-run"]).code, 1);
    for args in [&["review", "my-run", "--accept"][..], &["review", "../my-run", "--accept"]] {
        let below = if args[1] == "my-run" { "" } else { "data" };
        let ran = folder.gatedrun_in(below, args);
        assert_eq!(ran.code, 1, "{}", ran.all());
        assert!(ran.err.contains("does not meet its task's expectations"), "{}", ran.all());
    }
    // One of other inputs is not accepted either.
    folder.edit(TASK, "\"terminal_reason\": \"no_progress\"", reason);
    folder.edit("policy/v1.yaml", "jitter_percent: 20", "jitter_percent: 10");
    let ran = folder.gatedrun(&["review", "my-run", "--accept"]);
    assert!(ran.code == 1 && ran.err.contains("made from other inputs"), "{}", ran.all());
    assert!(ran.err.contains("`gatedrun check my-run --task"), "{}", ran.all());
    // Where its task is not known, nothing is known of what it should be.
    let elsewhere = Folder::new();
    for name in ["my-run", "my-run.new"] {
        let (from, to) = (folder.path().join(name), elsewhere.path().join(name));
        copy(from.as_std_path(), to.as_std_path());
    }
    let ran = elsewhere.gatedrun(&["review", "my-run", "--accept"]);
    assert!(ran.code == 1 && ran.err.contains("repeat the command in"), "{}", ran.all());
    let moved = elsewhere.path().join("my-run");
    let ran = folder.gatedrun(&["review", moved.as_str(), "--accept"]);
    assert!(ran.code == 1 && ran.err.contains("made from other inputs"), "{}", ran.all());
    // And one that is as its task makes it is.
    assert_eq!(folder.gatedrun(&["review", "my-run", "--reject"]).code, 0);
    assert_eq!(folder.gatedrun(&["run", TASK, "--out", "my-run"]).code, 1);
    let ran = folder.gatedrun(&["review", "my-run", "--accept"]);
    assert!(ran.code == 0 && ran.out.contains("accepted"), "{}", ran.all());
    assert_eq!(folder.gatedrun(&["check", "my-run", "--task", TASK]).code, 0);
}

/// What another version of the program wrote is whole: nobody is told to restore or to replace it, and
/// no command replaces it.
#[test]
fn no_command_replaces_a_run_of_another_version() {
    let ledger = |run: &str| format!("{run}/state.jsonl");
    for newer in ["ledger", "manifest"] {
        let folder = Folder::with_run();
        match newer {
            "ledger" => folder.edit(&ledger(RUN), "\"format\":1", "\"format\":9"),
            _ => folder.edit(&format!("{RUN}/manifest.json"), "\"format\": 1", "\"format\": 9"),
        }
        let before = folder.read(&ledger(RUN));
        folder.edit("policy/v1.yaml", "jitter_percent: 20", "jitter_percent: 10");
        for args in [
            &["check", RUN][..],
            &["regression"],
            &["list"],
            &["run", TASK, "--accept"],
            &["run", TASK],
            &["review", "--accept"],
            &["verify", RUN],
        ] {
            let ran = folder.gatedrun(args);
            if newer == "ledger" || !matches!(args[0], "list" | "verify") {
                assert!(ran.code != 0, "{newer} {args:?}: {}", ran.all());
                assert!(
                    ran.all().contains("use a version of the program"),
                    "{args:?}: {}",
                    ran.all()
                );
                for advice in ["restore", "accept it", "review it", "make the run again"] {
                    assert!(!ran.all().contains(advice), "{newer} {args:?}: {}", ran.all());
                }
            }
            assert_eq!(folder.read(&ledger(RUN)), before, "{newer} {args:?}: {}", ran.all());
        }
        // One that was cut short.
        let runs = folder.path().join("runs/canonical");
        std::fs::rename(runs.join("v1"), runs.join("v1.partial")).unwrap();
        let ran = folder.gatedrun(&["resume", RUN]);
        if newer == "ledger" {
            assert!(ran.code != 0 && ran.err.contains("use a version"), "{}", ran.all());
            assert!(!ran.all().contains("start over"), "{}", ran.all());
        }
    }
}

#[test]
fn what_was_named_wrongly_is_told_as_that() {
    let folder = Folder::with_run();
    for (args, due) in [
        (
            &["check", RUN, "--task", "builtin:typo"][..],
            "the built-in task is builtin:tasks/canonical/v1.json",
        ),
        (&["run", "builtin:typo"], "the built-in task is builtin:tasks/canonical/v1.json"),
        (&["check", RUN, "--task", "tasks"], "tasks: a folder; name a task file"),
        (&["run", "data"], "data: a folder without tasks; name a task file or a folder of tasks"),
        (&["run", "a\nb"], "a\\nb: no such file"),
        (&["verify", "a\ngatedrun: b"], "a\\ngatedrun: b: no such folder"),
        (&["policy", "check", "a\nb"], "a\\nb"),
    ] {
        let ran = folder.gatedrun(args);
        assert_eq!(ran.code, 2, "{args:?}: {}", ran.all());
        assert!(ran.all().contains(due), "{args:?}: {}", ran.all());
        assert!(!ran.all().contains("remove the run"), "{args:?}: {}", ran.all());
    }
    // What a task names that is missing is told at once.
    folder.edit(TASK, "policy/v1.yaml", "policy/none.yaml");
    folder.edit(TASK, "\"tools\"", "\"no-tools\"");
    let ran = folder.gatedrun(&["run", TASK]);
    for missing in ["policy/none.yaml: no such file", "no-tools: no such"] {
        assert!(ran.err.contains(missing), "{missing}: {}", ran.all());
    }
}

/// Each of these says what is there, and a command about it that can be given.
#[test]
fn what_is_missing_beside_a_run_is_told_with_what_works() {
    let folder = Folder::with_run();
    // A link in the place of a run is not looked into, and hides no task.
    let runs = folder.path().join("runs/canonical");
    std::fs::rename(runs.join("v1"), folder.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("../../elsewhere", runs.join("v1")).unwrap();
    let ran = folder.gatedrun(&["list"]);
    assert!(ran.out.contains("a link") && !ran.out.contains("no run"), "{}", ran.all());
    std::fs::remove_file(runs.join("v1")).unwrap();
    std::fs::rename(folder.path().join("elsewhere"), runs.join("v1")).unwrap();
    // A damaged run in a comparison.
    copy(runs.join("v1").as_std_path(), folder.path().join("runs/canonical/v1 copy").as_std_path());
    folder.edit("runs/canonical/v1 copy/state.jsonl", "\"seq\":3", "\"seq\":4");
    let ran = folder.gatedrun(&["diff", RUN, "runs/canonical/v1 copy"]);
    assert!(ran.code == 5, "{}", ran.all());
    assert!(ran.err.contains("see `gatedrun verify 'runs/canonical/v1 copy'`"), "{}", ran.all());
    std::fs::remove_dir_all(folder.path().join("runs/canonical/v1 copy")).unwrap();
    // `check` runs no task that is gone.
    let shown = folder.gatedrun(&["show", RUN]).out;
    assert!(shown.contains("`gatedrun check runs/canonical/v1` runs the task again"), "{shown}");
    let task = folder.read(TASK);
    std::fs::remove_file(folder.path().join(TASK)).unwrap();
    let shown = folder.gatedrun(&["show", RUN]).out;
    assert!(shown.contains("checks the evidence") && !shown.contains("again"), "{shown}");
    // A project of which no run is committed yet.
    folder.write(TASK, task);
    std::fs::remove_dir_all(folder.path().join("runs")).unwrap();
    let ran = folder.gatedrun(&["check"]);
    let due = "runs/canonical/v1: missing: no run of tasks/canonical/v1.json is committed";
    assert!(ran.code == 1 && ran.out.contains(due), "{}", ran.all());
}

/// What discards a run names that run, by its folder and with its seed.
#[test]
fn starting_over_begins_the_same_run() {
    let folder = Folder::with_run();
    let cut = |run: &str| {
        let partial = folder.path().join(format!("{run}.partial"));
        std::fs::rename(folder.path().join(run), &partial).unwrap();
        for name in ["manifest.json", "run_report.md", "trace.json"] {
            std::fs::remove_file(partial.join(name)).unwrap();
        }
        let ledger = folder.read(&format!("{run}.partial/state.jsonl"));
        let lines: Vec<&[u8]> = ledger.split_inclusive(|byte| *byte == b'\n').collect();
        folder.write(&format!("{run}.partial/state.jsonl"), lines[..5].concat());
    };
    let follow = |ran: &crate::support::Ran| {
        let all = ran.all();
        let advised =
            all.split("start over with `gatedrun ").nth(1).unwrap_or_else(|| panic!("{all}"));
        let advised = advised.split('`').next().unwrap().replace("'a run of mine'", "A_RUN");
        let args: Vec<String> =
            advised.split(' ').map(|word| word.replace("A_RUN", "a run of mine")).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let ran = folder.gatedrun(&args);
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.all());
    };
    let seed = |run: &str| {
        let manifest: serde_json::Value =
            serde_json::from_slice(&folder.read(&format!("{run}/manifest.json"))).unwrap();
        manifest["seed"].as_u64().unwrap()
    };
    let before = folder.read(&format!("{RUN}/state.jsonl"));
    for out in ["seed-5", "a run of mine"] {
        let run = ["run", TASK, "--seed", "5", "--out", out];
        assert_eq!(folder.gatedrun(&run).code, 0);
        cut(out);
        follow(&folder.gatedrun(&run));
        assert_eq!(seed(out), 5);
        // A damaged one.
        cut(out);
        folder.edit(&format!("{out}.partial/state.jsonl"), "\"seq\":3", "\"seq\":7");
        follow(&folder.gatedrun(&["verify", &format!("{out}.partial")]));
        assert_eq!(seed(out), 5);
        cut(out);
        folder.edit(&format!("{out}.partial/state.jsonl"), "\"seq\":3", "\"seq\":7");
        follow(&folder.gatedrun(&["resume", out, "--task", TASK]));
        assert_eq!(seed(out), 5);
    }
    assert_eq!(folder.read(&format!("{RUN}/state.jsonl")), before);
}

/// A proposal where no run is yet is found by whoever looks for runs.
#[test]
fn a_proposal_alone_is_found() {
    let folder = Folder::new();
    assert_eq!(folder.gatedrun_with(&["run"], &[("CI", "true")]).code, 1);
    let ran = folder.gatedrun(&["list"]);
    assert!(ran.out.contains("canonical/v1  proposal"), "{}", ran.all());
    for command in ["check", "verify", "replay"] {
        let ran = folder.gatedrun(&[command]);
        assert!(
            ran.err.contains("only a proposal; see it with `gatedrun review`"),
            "{}",
            ran.all()
        );
    }
    assert_eq!(folder.gatedrun(&["review", "--accept"]).code, 0);
    let ran = folder.gatedrun(&["list"]);
    assert!(ran.out.contains("canonical/v1  built in"), "{}", ran.all());
    let ran = Folder::new().gatedrun(&["verify", "."]);
    assert!(ran.err.contains("make one with `gatedrun run`"), "{}", ran.all());
    // Its folder is a project: what holds evidence takes no other file.
    for args in [&["keygen", "runs/k.pem"][..], &["check", "--junit", "runs/x.xml"]] {
        let ran = folder.gatedrun(args);
        assert!(
            ran.code == 2 && ran.err.contains("it is in runs/ of the project"),
            "{}",
            ran.all()
        );
    }
}

#[test]
fn small_advice_is_given_in_full() {
    let folder = Folder::with_run();
    let pasted = |ran: crate::support::Ran, due: &str| {
        assert!(ran.code != 0 && ran.all().contains(due), "{due}: {}", ran.all());
    };
    pasted(folder.gatedrun(&["sign", RUN, "--key", "none.pem"]), "`gatedrun keygen key.pem`");
    pasted(folder.gatedrun(&["run", "policy/v1.yaml"]), "`gatedrun policy check policy/v1.yaml`");
    pasted(folder.gatedrun(&["chek"]), "'check'");
    pasted(folder.gatedrun(&["help", "verfy"]), "'verify'");
    pasted(
        folder.gatedrun(&["verify", RUN, "--require-signature"]),
        "`gatedrun sign runs/canonical/v1 --key KEY`",
    );
    assert_eq!(folder.gatedrun(&["run", TASK, "--out", "my-run"]).code, 0);
    pasted(
        folder.gatedrun(&["check", "my-run"]),
        "give its task with --task tasks/canonical/v1.json",
    );
    // A key that others may read, below a folder with a blank.
    std::fs::create_dir(folder.path().join("my keys")).unwrap();
    assert_eq!(folder.gatedrun(&["keygen", "my keys/k.pem"]).code, 0);
    let key = folder.path().join("my keys/k.pem");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let ran = folder.gatedrun(&["sign", RUN, "--key", "my keys/k.pem"]);
    assert!(ran.err.contains("run `chmod 600 'my keys/k.pem'`"), "{}", ran.all());
    // A run of another seed is not replaced by one that is proposed.
    assert_eq!(folder.gatedrun(&["run", TASK, "--seed", "3"]).code, 1);
    pasted(
        folder.gatedrun(&["review", "--accept"]),
        "reject it with `gatedrun review runs/canonical/v1 --reject`",
    );
    std::fs::remove_dir_all(folder.path().join("runs")).unwrap();
    assert_eq!(folder.gatedrun(&["run", TASK, "--seed", "3"]).code, 0);
    let ran = folder.gatedrun_with(&["check", RUN], &[("CI", "true")]);
    pasted(ran, "run it on your machine with `gatedrun run tasks/canonical/v1.json --accept`");
}

/// The verifier that shares no code with the program names the finding that its verdict is about, and does
/// not blame the evidence for its arguments.
#[test]
fn the_second_verifier_names_the_finding_of_its_verdict() {
    let folder = Folder::with_run();
    folder.write(&format!("{RUN}/attestation.intoto.json"), "{}");
    let run = folder.path().join(RUN);
    if let Some(said) = second_opinion(&run, None, &[], &[]) {
        assert_eq!(said["verdict"], "malformed", "{said}");
        assert_eq!(said["file"], "attestation.intoto.json", "{said}");
        let script = root().join("scripts/verify_evidence.py");
        for key in ["none.pem", TASK] {
            let key = folder.path().join(key);
            let ran = std::process::Command::new("python3")
                .args([script.as_str(), run.as_str(), "--key", key.as_str()])
                .output()
                .unwrap();
            assert_eq!(ran.status.code(), Some(2), "{ran:?}");
            assert!(String::from_utf8_lossy(&ran.stderr).contains("not a public key"), "{ran:?}");
        }
    }
}
