//! A project that git checked out with other ends of lines: every command says so in one plain line,
//! and the advice that is given keeps the next clone whole.

use std::process::{Command, Output};

use serde_json::json;

use crate::support::{Folder, copy, root, scripted};

const RUN: &str = "runs/canonical/v1";

fn project() -> Folder {
    let folder = Folder::project();
    copy(root().join(RUN).as_std_path(), folder.path().join(RUN).as_std_path());
    folder
}

/// Ends every line of every file below these with CRLF, as git does where `core.autocrlf` is set.
fn with_crlf(folder: &Folder, parts: &[&str]) {
    for part in parts {
        for entry in walkdir::WalkDir::new(folder.path().join(part)) {
            let entry = entry.unwrap();
            if entry.file_type().is_file() {
                let text = std::fs::read_to_string(entry.path()).unwrap();
                std::fs::write(entry.path(), text.replace('\n', "\r\n")).unwrap();
            }
        }
    }
}

fn git(at: &std::path::Path, args: &[&str]) -> Output {
    let mut git = Command::new("git");
    git.current_dir(at).args(["-c", "user.name=x", "-c", "user.email=x@x.invalid"]);
    git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    git.args(args).output().unwrap()
}

/// Holds a command to saying, in few lines, what happened, who did it, and what to do.
fn says_so(folder: &Folder, args: &[&str], code: i32) {
    let ran = folder.gatedrun(args);
    assert_eq!(ran.code, code, "{args:?}: {}", ran.all());
    let said = format!("{}{}", ran.out, ran.err);
    let is_told = |line: &&str| {
        ["only the line ends differ", "CRLF", "git (core.autocrlf)", ".gitattributes"]
            .iter()
            .all(|word| line.contains(word))
    };
    assert!(said.lines().any(|line| is_told(&line)), "{args:?}: {said}");
    for word in ["it has changed", "key order", "restore it from version control"] {
        assert!(!said.contains(word), "{args:?}: {said}");
    }
}

#[test]
fn every_command_says_it_of_a_whole_checkout() {
    let folder = project();
    with_crlf(&folder, &["runs", "policy", "tools", "tasks", "data"]);
    let commands: [(&[&str], i32); 9] = [
        (&["run"], 2),
        (&["check"], 2),
        (&["verify"], 5),
        (&["replay"], 2),
        (&["replay", "--policy", "policy/v1.yaml"], 2),
        (&["regression"], 2),
        (&["corpus", "check", "data/corpus/v1"], 1),
        (&["show", RUN], 5),
        (&["diff", RUN, RUN], 5),
    ];
    for (args, code) in commands {
        says_so(&folder, args, code);
    }
    let ran = folder.gatedrun(&["check"]);
    assert!(ran.out.contains("25 documents: only the line ends"), "{}", ran.all());
    assert!(ran.out.lines().count() <= 6, "{}", ran.all());
    // A document that was edited besides is named by itself.
    folder.edit("data/corpus/v1/op-09.md", "Team", "team");
    let ran = folder.gatedrun(&["corpus", "check", "data/corpus/v1"]);
    assert!(ran.err.contains("24 documents: only the line ends"), "{}", ran.all());
    assert!(ran.err.contains("op-09.md: it has changed"), "{}", ran.all());
}

#[test]
fn every_reader_of_a_ledger_says_it() {
    let folder = project();
    with_crlf(&folder, &["runs"]);
    let commands: [(&[&str], i32); 5] = [
        (&["show", RUN], 5),
        (&["diff", RUN, RUN], 5),
        (&["replay"], 5),
        (&["regression"], 5),
        (&["check"], 1),
    ];
    for (args, code) in commands {
        says_so(&folder, args, code);
    }
    // Of the other files too.
    for file in ["trace.json", "run_report.md", "manifest.json"] {
        let folder = project();
        let text = String::from_utf8(folder.read(&format!("{RUN}/{file}"))).unwrap();
        folder.write(&format!("{RUN}/{file}"), text.replace('\n', "\r\n"));
        says_so(&folder, &["check"], 1);
        says_so(&folder, &["replay"], 1);
    }
}

#[test]
fn an_input_that_was_rewritten_is_not_taken_for_one_that_was_edited() {
    for input in ["policy/v1.yaml", "tools/read.json", "tasks/canonical/v1.json"] {
        let folder = project();
        with_crlf(&folder, &[input]);
        says_so(&folder, &["verify"], 9);
        says_so(&folder, &["check"], 1);
        assert!(!folder.path().join(format!("{RUN}.new")).exists(), "nothing to accept");
        says_so(&folder, &["replay"], 1);
        says_so(&folder, &["run"], 1);
        let ledger = folder.read(&format!("{RUN}/state.jsonl"));
        folder.write(&format!("{RUN}.partial/state.jsonl"), &ledger[..9000]);
        let ran = folder.gatedrun(&["resume", RUN]);
        assert_eq!(ran.code, 9, "{}", ran.all());
        assert!(ran.err.contains(&format!("{input}: only the line ends differ")), "{}", ran.all());
    }
    let folder = project();
    folder
        .write("policy/v1.schema.json", gatedrun::policy::meta::META_SCHEMA.replace('\n', "\r\n"));
    says_so(&folder, &["run"], 2);
    let folder = project();
    folder.edit("policy/v1.yaml", "# ", "#  ");
    let ran = folder.gatedrun(&["run"]);
    assert!(!ran.err.contains("line ends"), "an edit is none: {}", ran.all());
}

/// What `run` advises is all that a clone needs, for a project at the root of a work tree or below.
#[test]
fn the_advice_keeps_a_clone_whole() {
    for below in ["", "sub/dir/"] {
        let folder = Folder::new();
        let at = |part: &str| folder.path().join(format!("{below}{part}"));
        for part in ["policy", "tools", "tasks/canonical", "data"] {
            copy(root().join(part).as_std_path(), at(part).as_std_path());
        }
        let task = crate::support::file("tasks/on_deny/mixed.json");
        folder.write(&format!("{below}tasks/on_deny/mixed.json"), task);
        let work_tree = folder.path().as_std_path();
        if !matches!(git(work_tree, &["init", "-q"]), ran if ran.status.success()) {
            println!("skipped: there is no git here");
            return;
        }
        let run = |at: &camino::Utf8Path, args: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_gatedrun"));
            let output = command.current_dir(at).env_clear().args(args).output().unwrap();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (output.status.code(), format!("{}{}", text(&output.stdout), text(&output.stderr)))
        };
        let (code, said) = run(&at(""), &["run", "tasks/canonical/v1.json"]);
        assert_eq!(code, Some(0), "{said}");
        let warning = said.lines().find(|line| line.contains("warning: git may rewrite")).unwrap();
        let quoted = warning.split('`').skip(1).step_by(2);
        let lines: Vec<&str> = quoted.filter(|quoted| quoted.ends_with(" -text")).collect();
        let of_runs = format!("{below}runs/** -text");
        assert!(lines.contains(&of_runs.as_str()) && lines.len() == 5, "{warning}");
        folder.write(
            ".gitattributes",
            lines.iter().map(|line| format!("{line}\n")).collect::<String>(),
        );
        let (_, said) = run(&at(""), &["run", "tasks/on_deny/mixed.json"]);
        assert!(!said.contains("warning: git"), "{said}");
        for args in [&["add", "-A"][..], &["commit", "-q", "-m", "x"]] {
            assert!(git(work_tree, args).status.success());
        }
        let other = Folder::new();
        let to = other.path().join("clone");
        let args = ["clone", "-q", "-c", "core.autocrlf=true", folder.path().as_str(), to.as_str()];
        assert!(git(work_tree, &args).status.success());
        for command in ["verify", "check", "replay"] {
            let (code, said) = run(&to.join(below), &[command]);
            assert_eq!(code, Some(0), "{command}: {said}");
        }
    }
}

/// The ledger holds what was written, so that it is told whatever ends its lines had.
#[test]
fn a_file_of_mixed_line_ends_is_told_from_an_edited_one() {
    let folder = Folder::project();
    let usage = json!({"input_tokens": 1, "output_tokens": 1});
    let write = |path: &str, content: &str| json!({"calls": [{"tool": "write", "arguments": {"path": path, "content": content}}], "usage": usage});
    let script = json!([
        write("work/mixed.md", "a\r\nb\n"),
        write("work/again.md", "a\r\nb\n"),
        write("work/again.md", "a\nb\n"),
        {"final_answer": "done", "usage": usage}
    ]);
    drop(scripted(&folder, script, &[]));
    assert_eq!(folder.gatedrun(&["run", "tasks/test/script.json"]).code, 0);
    let run = "runs/test/script";
    assert_eq!(folder.gatedrun(&["verify", run]).code, 0);
    let second = |due: &str| {
        let folder = folder.path();
        let verdict = crate::vectors::second_opinion(&folder.join(run), Some(folder), &[], &[]);
        if let Some(verdict) = verdict {
            assert_eq!(verdict["verdict"], due, "{verdict}");
        }
    };
    for kept in ["a\nb\n", "a\r\nb\r\n"] {
        folder.write(&format!("{run}/work/mixed.md"), kept);
        says_so(&folder, &["verify", run], 5);
        second("malformed");
        let ran = folder.gatedrun(&["check", run]);
        assert!(ran.out.contains("only the line ends differ"), "{}", ran.all());
        std::fs::remove_dir_all(folder.path().join("runs/test/script.new")).unwrap();
    }
    folder.write(&format!("{run}/work/mixed.md"), "a\nB\n");
    assert_eq!(folder.gatedrun(&["verify", run]).code, 1);
    second("tampered");
    folder.write(&format!("{run}/work/mixed.md"), "a\r\nb\n");
    // What was overwritten is not expected there.
    folder.write(&format!("{run}/work/again.md"), "a\r\nb\n\n");
    assert_eq!(folder.gatedrun(&["verify", run]).code, 5);
    folder.write(&format!("{run}/work/again.md"), "a\nb\nc\n");
    assert_eq!(folder.gatedrun(&["verify", run]).code, 1);
}

#[test]
fn one_document_that_was_rewritten_is_the_one_that_is_named() {
    let folder = project();
    with_crlf(&folder, &["data/corpus/v1/op-22.md"]);
    for args in [["verify", RUN], ["check", RUN]] {
        let ran = folder.gatedrun(&args);
        assert!(ran.all().contains("data/corpus/v1/op-22.md: only the line ends"), "{}", ran.all());
        assert!(!ran.all().contains("documents:"), "{}", ran.all());
    }
}

#[test]
fn what_a_formatter_adds_at_the_end_is_called_white_space() {
    for (file, from) in [("state.jsonl", ""), ("run_report.md", ""), ("trace.json", "")] {
        let folder = project();
        let path = format!("{RUN}/{file}");
        let added = [folder.read(&path).as_slice(), from.as_bytes(), b"\n\n"].concat();
        folder.write(&path, added);
        for (command, code) in [("verify", 5), ("check", 1), ("replay", 1)] {
            let ran = folder.gatedrun(&[command, RUN]);
            let said = format!("{}{}", ran.out, ran.err);
            assert_eq!(ran.code, code, "{file} {command}: {}", ran.all());
            assert!(said.contains("only white space at line ends"), "{file} {command}: {said}");
            assert!(!said.contains("behaviour has changed"), "{file} {command}: {said}");
        }
    }
}
