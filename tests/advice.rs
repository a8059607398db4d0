//! What a message advises is what its reader can do: the command that it names works, and where nothing
//! helps but another input, the message says which.

use gatedrun::event::AttemptOutcome;
use gatedrun::evidence::trace::ATTRIBUTES;

use crate::support::{Folder, copy, root};

const TASK: &str = "tasks/canonical/v1.json";
const RUN: &str = "runs/canonical/v1";

fn with_run() -> Folder {
    let folder = Folder::project();
    copy(root().join(RUN).as_std_path(), folder.path().join(RUN).as_std_path());
    folder
}

#[test]
fn a_run_that_its_task_does_not_expect_is_not_offered_for_review() {
    let folder = with_run();
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
    let folder = with_run();
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
    let folder = with_run();
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
    let folder = with_run();
    let remedy = |file: &str, from: &str, to: &str, due: &str| {
        let whole = folder.read(file);
        folder.edit(file, from, to);
        let ran = folder.gatedrun(&["verify", RUN]);
        std::fs::write(folder.path().join(file), whole).unwrap();
        assert!(ran.code != 0 && ran.out.contains(due), "{file}: {}", ran.all());
    };
    let report = format!("{RUN}/run_report.md");
    remedy(&report, "final_answer", "loop_budget", "restore the run's folder from version control");
    remedy(
        "policy/v1.yaml",
        "jitter_percent: 20",
        "jitter_percent: 10",
        "`gatedrun check runs/canonical/v1`",
    );
    folder.write(&format!("{RUN}/attestation.intoto.json"), "{}");
    let ran = folder.gatedrun(&["verify", RUN]);
    assert!(ran.out.contains("`gatedrun sign runs/canonical/v1 --key KEY`"), "{}", ran.all());
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
    let folder = with_run();
    folder.edit("data/corpus/v1/manifest.json", "CC0-1.0", "CC0-1.1");
    let ran = folder.gatedrun(&["check", RUN]);
    let due = "inputs changed: data/corpus/v1/manifest.json";
    assert!(ran.code == 1 && ran.out.contains(due), "{}", ran.all());
}

#[test]
fn errors_name_what_to_write() {
    let folder = with_run();
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
    let cases: [(&[&str], &str); 22] = [
        (&["run", "list.json"], "expected an object, found an empty array"),
        (&["run", "nine.json"], "expected 1, found 9; write 1"),
        (&["run", "model.json"], "found none; the keys are"),
        (&["run", "key.json"], "remove it, or write one of \"random\""),
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
        (&["verify", RUN, "--require-signature"], "`gatedrun sign RUN --key KEY`"),
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
    let folder = with_run();
    folder.write(&format!("{RUN}/manifest.json"), "{}\n");
    let ran = folder.gatedrun(&["verify", RUN]);
    assert!(ran.out.contains("      expected  the end of the line\n"), "{}", ran.all());
}
