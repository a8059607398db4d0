//! Names that a run may write, in the hands of version control: a real clone, a real `git status`.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::{Folder, file, scripted};

const TASK: &str = "tasks/test/script.json";
const WORK: &str = "runs/test/script/work";

/// What `work/` holds after a run that tries to write all of these; a denial ends nothing.
fn written(folder: &Folder, files: &[(String, String)], edits: &[(&str, &str)]) -> Vec<String> {
    let calls = |chunk: &[(String, String)]| -> Vec<Value> {
        let write = |(path, content): &(String, String)| json!({"tool": "write", "arguments": {"path": format!("work/{path}"), "content": content}});
        chunk.iter().map(write).collect()
    };
    let usage = json!({"input_tokens": 1, "output_tokens": 1});
    let mut script: Vec<Value> =
        files.chunks(60).map(|chunk| json!({"calls": calls(chunk), "usage": usage})).collect();
    assert!(script.len() < 9, "more steps than the policy allows");
    script.push(json!({"final_answer": "done", "usage": usage}));
    let mut all = vec![("  on_deny: terminate\n", "  on_deny: continue\n"); 4];
    all.extend(edits);
    scripted(folder, json!(script), &all);
    let ran = folder.gatedrun(&["run", TASK]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let mut there = Vec::new();
    for entry in walkdir::WalkDir::new(folder.path().join(WORK)).sort_by_file_name() {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            let path = entry.path().strip_prefix(folder.path().join(WORK)).unwrap();
            there.push(path.to_str().unwrap().to_owned());
        }
    }
    there.sort();
    there
}

fn git(at: &std::path::Path, args: &[&str]) -> Output {
    let mut git = Command::new("git");
    git.current_dir(at).args(["-c", "user.name=x", "-c", "user.email=x@x.invalid"]);
    git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    git.args(args).output().unwrap()
}

/// Whatever a hostile run may write: it survives a checkout that rewrites line ends byte by byte, and
/// a person who types `git status` in any of its folders runs nothing of it.
#[test]
fn what_a_run_may_write_does_nothing_in_a_clone() {
    let folder = Folder::lenient_project();
    let pwned = folder.path().join("pwned");
    let config = format!(
        "[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tworktree = .\n\tfsmonitor = touch '{pwned}'; false\n\tpager = touch '{pwned}'\n"
    );
    let attributes = "* text eol=crlf\n* filter=x ident\n".to_owned();
    let mut files = vec![("plain.md".to_owned(), "one\ntwo\n".to_owned())];
    for git in
        ["", ".git/", ".GIT/", "GIT~1/", "git~1/", ".g\u{200c}it/", "repo.git/", "sub/", "git/"]
    {
        for (name, content) in [
            ("HEAD", "ref: refs/heads/main\n".to_owned()),
            ("head", "ref: refs/heads/main\n".to_owned()),
            ("config", config.clone()),
            ("objects/x", "x".to_owned()),
            ("refs/x", "x".to_owned()),
            ("info/attributes", attributes.clone()),
            (".gitattributes", attributes.clone()),
            ("gitattributes", attributes.clone()),
            (".gitmodules", config.clone()),
            ("commondir", ".".to_owned()),
        ] {
            files.push((format!("{git}{name}"), content));
        }
    }
    for line in String::from_utf8(file("tests/cases/policy/names.jsonl")).unwrap().lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let path = row["arguments"]["path"].as_str().unwrap().trim_start_matches("work/");
        files.push((path.to_owned(), "one\ntwo\n".to_owned()));
    }
    let there = written(&folder, &files, &[("max_repeats: 3", "max_repeats: 1000")]);
    assert!(
        there.len() > 80 && there.len() < files.len() / 2,
        "{} of {}",
        there.len(),
        files.len()
    );
    let folded = |path: &String| path.to_lowercase();
    let distinct: std::collections::BTreeSet<String> = there.iter().map(folded).collect();
    assert_eq!(distinct.len(), there.len(), "{there:?}");

    folder.write(".gitattributes", "runs/** -text\n");
    let root = folder.path().as_std_path();
    if !git(root, &["init", "-q"]).status.success() {
        println!("skipped: there is no git here");
        return;
    }
    for args in [&["add", "runs", ".gitattributes"][..], &["commit", "-q", "-m", "x"][..]] {
        let ran = git(root, args);
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
    let clone = tempfile::tempdir().unwrap();
    let to = clone.path().join("clone");
    let from = root.to_str().unwrap();
    let cloned =
        git(clone.path(), &["clone", "-q", "-c", "core.autocrlf=true", from, to.to_str().unwrap()]);
    assert!(cloned.status.success(), "{}", String::from_utf8_lossy(&cloned.stderr));
    for path in &there {
        let path = format!("{WORK}/{path}");
        assert_eq!(std::fs::read(to.join(&path)).unwrap(), folder.read(&path), "{path}");
    }
    for entry in walkdir::WalkDir::new(to.join(WORK)) {
        let entry = entry.unwrap();
        if entry.file_type().is_dir() {
            let status = git(entry.path(), &["status", "--porcelain"]);
            let said = String::from_utf8_lossy(&status.stdout);
            assert!(
                status.status.success() && said.is_empty(),
                "{}: {said}",
                entry.path().display()
            );
            git(entry.path(), &["log", "-1"]);
        }
    }
    assert!(!pwned.exists(), "a command of the run was executed");
}

/// Two names that another file system takes for one: the second is denied, on resume as well.
#[test]
fn names_that_collide_elsewhere_are_denied() {
    let cases: Vec<Value> =
        serde_json::from_slice(&file("tests/cases/policy/collisions.json")).unwrap();
    for case in cases {
        let folder = Folder::lenient_project();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let files: Vec<(String, String)> =
            case["writes"].as_array().unwrap().iter().map(|w| (text(w), "x".to_owned())).collect();
        let there = written(&folder, &files, &[]);
        let mut wanted: Vec<String> = case["there"].as_array().unwrap().iter().map(text).collect();
        wanted.sort();
        assert_eq!(there, wanted, "{}", case["note"]);
        let check = folder.gatedrun(&["check", "runs/test/script"]);
        assert_eq!(check.code, 0, "{}", check.all());
        let replay = folder.gatedrun(&["replay", "runs/test/script"]);
        assert_eq!(replay.code, 0, "{}", replay.all());
    }
}

/// A policy widens what may be written, name by name; what would change nothing is refused.
#[test]
fn a_policy_can_allow_a_name_knowingly() {
    let folder = Folder::lenient_project();
    let files = [".gitignore", "a/.gitignore", ".gitattributes", ".Gitignore"];
    let files = files.map(|path| (path.to_owned(), "x".to_owned()));
    let edit = ("  write: [work]\n", "  write: [work]\n  allow_names: [\".gitignore\"]\n");
    assert_eq!(written(&folder, &files, &[edit]), [".gitignore", "a/.gitignore"]);
    for (name, says) in [
        ("notes.md", "it may be written without this"),
        ("*.md", "it is a pattern"),
        ("a/.gitignore", "it is a path"),
        ("..", "leaves its mount"),
        ("x.", "begins or ends"),
        ("", "is an empty text"),
    ] {
        let folder = Folder::lenient_project();
        let allow = format!("  write: [work]\n  allow_names: [{name:?}]\n");
        folder.edit("policy/v1.yaml", "  write: [work]\n", &allow);
        let ran = folder.gatedrun(&["policy", "check", "policy/v1.yaml"]);
        assert!(ran.code == 2 && ran.err.contains(says), "{name}: {}", ran.all());
    }
}
