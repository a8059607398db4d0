//! What a command writes where its user says: nothing that is read as an input, and nothing into
//! evidence.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;

use crate::support::Folder;
use crate::transactions::{RUN, TASK, injected, ok, proposed};

/// Every file below a folder, with its bytes, and every folder.
pub fn whole_tree(folder: &Folder) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in walkdir::WalkDir::new(folder.path()).min_depth(1) {
        let entry = entry.unwrap();
        let path = entry.path().strip_prefix(folder.path()).unwrap().display().to_string();
        let bytes = match entry.file_type().is_file() {
            true => std::fs::read(entry.path()).unwrap(),
            false => Vec::new(),
        };
        found.insert(path, bytes);
    }
    found
}

fn refused(folder: &Folder, args: &[&str], due: &str) {
    let before = whole_tree(folder);
    let ran = folder.gatedrun(args);
    assert!(ran.code == 2 && ran.err.contains(due), "{args:?} {due}: {}", ran.all());
    assert!(ran.out.is_empty(), "{args:?}: before any work: {}", ran.all());
    assert!(whole_tree(folder) == before, "{args:?} changed something");
}

/// Every way to name a file to be written, with the kinds of the three reports.
fn writers(output: &str) -> Vec<Vec<&str>> {
    vec![
        vec!["check", RUN, "--junit", output],
        vec!["check", RUN, "--sarif", output],
        vec!["check", RUN, "--key", "k.pem", "--attest", output],
        vec!["regression", "--junit", output],
        vec!["regression", "--sarif", output],
        vec!["replay", RUN, "--policy", "policy/v1.yaml", "--junit", output],
        vec!["replay", RUN, "--policy", "policy/v1.yaml", "--sarif", output],
    ]
}

#[test]
fn no_report_replaces_what_is_not_its_like_or_lies_among_inputs() {
    let folder = proposed();
    ok(&folder.gatedrun(&["keygen", "k.pem"]), 0);
    folder.write("notes.md", "mine");
    folder.write("policy.yaml", "version: 1\n");
    std::fs::hard_link(folder.path().join("k.pem"), folder.path().join("linked")).unwrap();
    symlink("k.pem", folder.path().join("followed")).unwrap();
    let inputs = [
        TASK,
        "tasks/canonical/v1.json",
        "policy/v1.yaml",
        "tools/read.json",
        "data/prompt/v1.md",
        "data/corpus/v1/op-01.md",
        "data/corpus/v1/manifest.json",
        "k.pem",
        "k.pub.pem",
        "linked",
        "followed",
        "notes.md",
        "policy.yaml",
        // New names where every file is an input.
        "tasks/new.json",
        "tools/new.json",
        "policy/new.yaml",
        "data/corpus/v1/new.md",
        // Evidence.
        "runs/t/side/work/new",
        "runs/t/side.new/trace.json",
        "runs/t/new.xml",
        // What lies beside a run, or could.
        "runs/t/side.partial",
        "x.partial",
        "x.new",
        "x.old",
        "x.swap",
    ];
    for output in inputs {
        assert!(
            output.contains("new")
                || output.starts_with("x.")
                || output.ends_with("partial")
                || folder.path().join(output).exists(),
            "{output}"
        );
        for args in writers(output) {
            refused(&folder, &args, "");
        }
    }
    // A report replaces one of its kind, and an empty file, and no other kind.
    let kinds = [("--junit", "a.xml"), ("--sarif", "a.sarif")];
    for (option, name) in kinds {
        folder.write(name, "");
        for _ in 0..2 {
            ok(&folder.gatedrun(&["regression", option, name]), 1);
        }
    }
    for _ in 0..2 {
        folder.gatedrun(&["check", RUN, "--key", "k.pem", "--attest", "a.json"]);
    }
    refused(
        &folder,
        &["regression", "--junit", "a.sarif"],
        "is not a JUnit report written by gatedrun",
    );
    refused(
        &folder,
        &["regression", "--sarif", "a.xml"],
        "is not a SARIF report written by gatedrun",
    );
    refused(&folder, &["regression", "--sarif", "a.json"], "is not a SARIF report");
    folder
        .write("b.xml", "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"pytest\">");
    refused(&folder, &["regression", "--junit", "b.xml"], "choose another name, or move it away");
}

#[test]
fn nothing_is_written_into_evidence_or_among_inputs() {
    let folder = proposed();
    folder.write("mine/notes.md", "mine");
    folder.write("other/manifest.json", "{\"run_id\": \"r\"}");
    for at in [
        "runs/t/side",
        "runs/t/side/work",
        "runs/t/side/work/deep/er",
        "runs/t/side.new",
        "runs/t/none.new",
        "runs/t/side.partial",
        "runs/t/side.partial/x",
        "runs/t/corpus",
        "runs",
        "tasks",
        "tasks/t",
        "tasks/t/corpus",
        "nowhere/../tasks/t/corpus",
        "policy",
        "tools/x",
    ] {
        for args in
            [&["corpus", "build", at][..], &["corpus", "build", at, "--force"], &["man", at]]
        {
            refused(&folder, args, "");
        }
        let key = format!("{at}/q.pem");
        if folder.path().join(at).is_dir() {
            refused(&folder, &["keygen", &key], "");
        }
    }
    for at in ["mine", "other", ".", "data", "data/prompt"] {
        refused(&folder, &["corpus", "build", at, "--force"], "which is not a part of a corpus");
    }
    for out in ["tasks/x", "tasks/t/x", "tools/x", "policy/x", "data/corpus/v1/x"] {
        refused(&folder, &["run", TASK, "--out", out], "which holds what runs are made from");
    }
    // What a person does all day.
    ok(&folder.gatedrun(&["corpus", "build", "data/corpus/v1"]), 0);
    ok(&folder.gatedrun(&["corpus", "build", "data/corpus/v2"]), 0);
    folder.write("data/corpus/v2/op-01.md", "changed");
    assert_eq!(folder.gatedrun(&["corpus", "build", "data/corpus/v2"]).code, 2);
    ok(&folder.gatedrun(&["corpus", "build", "data/corpus/v2", "--force"]), 0);
    ok(&folder.gatedrun(&["corpus", "check", "data/corpus/v2"]), 0);
    ok(&folder.gatedrun(&["corpus", "build", "new/corpus"]), 0);
    std::fs::remove_file(folder.path().join("new/corpus/manifest.json")).unwrap();
    ok(&folder.gatedrun(&["corpus", "build", "new/corpus"]), 0);
    // A project may lie below folders with such names.
    let inner = "runs.old/tasks/p";
    folder.write(&format!("{inner}/tasks/a.json"), "{}");
    folder.write(&format!("{inner}/policy/a.yaml"), "");
    ok(&folder.gatedrun(&["keygen", &format!("{inner}/k.pem")]), 0);
}

#[test]
fn manual_pages_are_written_like_every_other_file() {
    let folder = Folder::new();
    let page = |name: &str| folder.path().join("pages").join(name);
    for _ in 0..2 {
        ok(&folder.gatedrun(&["man", "pages"]), 0);
    }
    let expected = folder.read("pages/gatedrun.1");
    // Nothing but a page of ours is replaced, and all are looked at before one is written.
    folder.write("pages/gatedrun-check.1", ".TH other 1");
    std::fs::remove_file(page("gatedrun-corpus.1")).unwrap();
    refused(&folder, &["man", "pages"], "is not a manual page written by gatedrun");
    std::fs::remove_file(page("gatedrun-check.1")).unwrap();
    symlink("nowhere", page("gatedrun-check.1")).unwrap();
    refused(&folder, &["man", "pages"], "a broken link");
    std::fs::remove_file(page("gatedrun-check.1")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, page("gatedrun-check.1").as_std_path(), 0o600.into())
        .unwrap();
    let (code, told) = folder.gatedrun_in_time(&["man", "pages"]);
    assert!(code == 2 && told.contains("found a FIFO"), "{code} {told}");
    std::fs::remove_file(page("gatedrun-check.1")).unwrap();
    ok(&folder.gatedrun(&["man", "pages"]), 0);
    // Killed, it leaves whole pages.
    for when in [1, 5, 9] {
        let injection = format!("inject=rename:signal=KILL:when={when}");
        std::fs::remove_dir_all(folder.path().join("pages")).unwrap();
        if injected(&folder, &["man", "pages"], &injection).is_none() {
            return;
        }
        for entry in std::fs::read_dir(folder.path().join("pages")).unwrap() {
            let path = entry.unwrap().path();
            let is_page = path.extension().is_some_and(|end| end == "1");
            let bytes = std::fs::read(&path).unwrap();
            assert!(!is_page || bytes.windows(4).any(|word| word == b".SH "), "{path:?}");
        }
        ok(&folder.gatedrun(&["man", "pages"]), 0);
        assert!(folder.read("pages/gatedrun.1") == expected);
    }
}

/// Two outputs are two files, whatever they are, and that is said before any work is done.
#[test]
fn a_statement_and_a_report_do_not_go_to_one_file() {
    let folder = Folder::project();
    assert_eq!(folder.gatedrun(&["run", "tasks/canonical/v1.json"]).code, 0);
    assert_eq!(folder.gatedrun(&["keygen", "k.pem"]).code, 0);
    for report in ["--junit", "--sarif"] {
        let args = ["check", "--attest", "a.json", "--key", "k.pem", report, "./a.json"];
        let ran = folder.gatedrun(&args);
        assert_eq!(ran.code, 2, "{}", ran.all());
        assert!(ran.err.contains("two outputs cannot go to one file"), "{}", ran.err);
        assert!(ran.out.is_empty() && !folder.path().join("a.json").exists(), "{}", ran.out);
    }
}
