//! What each command may change, as docs/evidence.md has it in a table: every file of a project with
//! committed, damaged, unfinished, proposed and signed runs, before and after each command.

use std::collections::BTreeSet;

use crate::outputs::whole_tree;
use crate::support::{COMMANDS, Folder, copy, text};
use crate::transactions::{ok, project, task};

/// A project with a run of every standing.
fn world() -> Folder {
    let folder = project();
    ok(&folder.gatedrun(&["keygen", "k.pem"]), 0);
    ok(&folder.gatedrun(&["keygen", "l.pem"]), 0);
    for id in ["t/side", "t/whole", "t/bad", "t/cut", "t/fresh"] {
        task(&folder, id, "three");
        if id != "t/fresh" {
            ok(&folder.gatedrun(&["run", &format!("tasks/{id}.json")]), 0);
        }
    }
    ok(&folder.gatedrun(&["sign", "runs/t/whole", "--key", "k.pem"]), 0);
    folder.edit("runs/t/bad/run_report.md", "done", "dome");
    let path = |name: &str| folder.path().join("runs/t").join(name);
    std::fs::rename(path("cut"), path("cut.partial")).unwrap();
    let state = String::from_utf8(folder.read("runs/t/cut.partial/state.jsonl")).unwrap();
    let half: String = state.split_inclusive('\n').take(state.lines().count() / 2).collect();
    folder.write("runs/t/cut.partial/state.jsonl", half);
    for name in ["trace.json", "run_report.md", "manifest.json"] {
        std::fs::remove_file(path("cut.partial").join(name)).unwrap();
    }
    task(&folder, "t/side", "four");
    ok(&folder.gatedrun(&["check", "runs/t/side"]), 1);
    folder
}

/// A row of the table: the command as it is written there; the command line; what it changes.
type Case = (&'static str, &'static [&'static str], &'static [&'static str]);

const REPORTS: [&str; 2] = ["r.xml", "r.sarif"];

const CASES: [Case; 38] = [
    ("run", &["run", "tasks/t/fresh.json"], &["runs/t/fresh"]),
    ("run", &["run", "tasks/t/bad.json"], &["runs/t/bad.new"]),
    ("run", &["run", "tasks/t/whole.json"], &[]),
    ("run", &["run", "tasks/t/cut.json"], &[]),
    ("run", &["run", "tasks/t/side.json", "--out", "mine"], &["mine"]),
    (
        "run --accept",
        &["run", "tasks/t/side.json", "--accept"],
        &["runs/t/side", "runs/t/side.new"],
    ),
    ("run --accept", &["run", "tasks/t/bad.json", "--accept"], &["runs/t/bad"]),
    ("run --accept", &["run", "tasks/t/whole.json", "--accept"], &[]),
    ("run --accept", &["run", "tasks/t/cut.json", "--accept"], &[]),
    (
        "run --discard-partial",
        &["run", "tasks/t/cut.json", "--discard-partial"],
        &["runs/t/cut", "runs/t/cut.partial"],
    ),
    ("resume", &["resume", "runs/t/cut"], &["runs/t/cut", "runs/t/cut.partial"]),
    ("resume", &["resume", "runs/t/whole"], &[]),
    ("check", &["check", "runs"], &["runs/t/bad.new", "runs/t/side.new"]),
    ("check", &["check", "runs/t/whole", "--junit", "r.xml", "--sarif", "r.sarif"], &REPORTS),
    ("check", &["check", "runs/t/whole", "--attest", "a.json", "--key", "k.pem"], &["a.json"]),
    ("review", &["review", "--accept"], &["runs/t/side", "runs/t/side.new"]),
    ("review", &["review", "--reject"], &["runs/t/side.new"]),
    ("review", &["review", "--accept-unchanged"], &[]),
    ("review", &["review", "runs/t/whole", "--accept"], &[]),
    (
        "sign",
        &["sign", "runs/t/side", "runs/t/bad", "runs/t/cut", "runs/t/whole", "--key", "l.pem"],
        &["runs/t/whole/attestation.intoto.json"],
    ),
    ("keygen", &["keygen", "new.pem"], &["new.pem", "new.pub.pem"]),
    ("keygen", &["keygen", "k.pem"], &[]),
    ("replay", &["replay", "runs"], &[]),
    (
        "replay",
        &["replay", "runs", "--policy", "policy/v1.yaml", "--junit", "r.xml", "--sarif", "r.sarif"],
        &REPORTS,
    ),
    ("regression", &["regression", "--junit", "r.xml", "--sarif", "r.sarif"], &REPORTS),
    ("corpus build", &["corpus", "build", "corpus"], &["corpus"]),
    ("corpus build", &["corpus", "build", "runs/t/whole", "--force"], &[]),
    ("man", &["man", "pages"], &["pages"]),
    ("man", &["man", "runs/t/whole/work"], &[]),
    ("verify", &["verify", "runs", "--key", "k.pub.pem"], &[]),
    ("diff", &["diff", "runs/t/side", "runs/t/side.new"], &[]),
    ("list", &["list"], &[]),
    ("show", &["show", "runs/t/cut"], &[]),
    ("policy", &["policy", "test", "policy/v1.yaml"], &[]),
    ("policy", &["policy", "check", "policy/v1.yaml"], &[]),
    ("corpus check", &["corpus", "check", "data/corpus/v1"], &[]),
    ("completions", &["completions", "bash"], &[]),
    ("schema", &["schema", "manifest"], &[]),
];

/// The commands that the table has rows for.
fn documented() -> BTreeSet<String> {
    let page = text("docs/evidence.md");
    let (_, table) = page.split_once("| command | may change | never changes |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let named = rows.flat_map(|row| {
        let first = row.split('|').nth(1).unwrap();
        first.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()
    });
    named.collect()
}

#[test]
fn each_command_changes_what_the_table_says_and_nothing_else() {
    let rows = documented();
    let cases: BTreeSet<String> = CASES.iter().map(|(row, ..)| (*row).to_owned()).collect();
    assert_eq!(rows, cases, "the table, and what is tried of it");
    for command in COMMANDS {
        let is_row = |row: &String| row == command || command.starts_with(&format!("{row} "));
        assert!(rows.iter().any(is_row), "{command} is in no row");
    }
    let world = world();
    let before = whole_tree(&world);
    for (row, args, changes) in CASES {
        let folder = Folder::new();
        copy(world.path().as_std_path(), folder.path().as_std_path());
        for part in ["k.pem", "l.pem"] {
            use std::os::unix::fs::PermissionsExt;
            let private = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(folder.path().join(part), private).unwrap();
        }
        let ran = folder.gatedrun(args);
        let after = whole_tree(&folder);
        let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let mut changed = BTreeSet::new();
        for path in paths.into_iter().filter(|path| before.get(*path) != after.get(*path)) {
            let of = |top: &&&str| path == **top || path.starts_with(&format!("{top}/"));
            let top = changes.iter().find(of);
            assert!(top.is_some(), "{row}: {args:?} changed {path}: {}", ran.all());
            changed.extend(top);
        }
        let due: BTreeSet<&&str> = changes.iter().collect();
        // A proposal that is laid again has the same bytes.
        let is_same = |path: &&&&str| ***path == "runs/t/side.new" && args[0] == "check";
        let missing: Vec<_> = due.difference(&changed).filter(|path| !is_same(path)).collect();
        assert!(missing.is_empty(), "{row}: {args:?} left {missing:?}: {}", ran.all());
    }
}
