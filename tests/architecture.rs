//! The shape of the code, as checks: what `docs/architecture.md` calls invariants.

use std::collections::BTreeMap;

use camino::Utf8Path;

use crate::support::{root, text};

/// The modules in the order in which data flows, from `src/lib.rs`.
fn order() -> Vec<String> {
    text("src/lib.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect()
}

/// Every source file: its module, its path, its text without comments.
fn sources() -> Vec<(String, String, String)> {
    let mut sources = Vec::new();
    for entry in walkdir::WalkDir::new(root().join("src")).sort_by_file_name() {
        let entry = entry.unwrap();
        let path = Utf8Path::from_path(entry.path()).unwrap();
        if path.extension() != Some("rs") {
            continue;
        }
        let relative = path.strip_prefix(root().join("src")).unwrap();
        let module =
            relative.components().next().unwrap().as_str().trim_end_matches(".rs").to_owned();
        let code: String = std::fs::read_to_string(path)
            .unwrap()
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .flat_map(|line| [line, "\n"])
            .collect();
        sources.push((module, relative.to_string(), code));
    }
    assert!(sources.len() > 35);
    sources
}

#[test]
fn a_module_uses_only_those_above_it() {
    let order = order();
    let rank: BTreeMap<&str, usize> =
        order.iter().enumerate().map(|(rank, name)| (name.as_str(), rank)).collect();
    let mut uses = 0;
    for (module, path, code) in sources() {
        let Some(own) = rank.get(module.as_str()) else {
            assert!(
                matches!(module.as_str(), "lib" | "main"),
                "{path} is in no module of src/lib.rs"
            );
            continue;
        };
        // `use crate::{a, b}` and `crate::a::B` alike.
        for rest in code.split("crate::").skip(1) {
            let names: Vec<&str> = match rest.strip_prefix('{') {
                Some(list) => list.split('}').next().unwrap().split(',').map(str::trim).collect(),
                None => vec![rest],
            };
            for name in names {
                let used: String =
                    name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let Some(other) = rank.get(used.as_str()) else { continue };
                assert!(
                    other <= own,
                    "src/{path} uses {used}, which stands below {module} in src/lib.rs"
                );
                uses += usize::from(other < own);
            }
        }
    }
    assert!(uses > 80, "{uses} uses found: the check has lost its eyes");
}

#[test]
fn what_must_be_absent_is_absent() {
    // (what, why, where it may be)
    let absent: [(&str, &str, &[&str]); 11] = [
        ("std::env::", "only the command line reads the environment", &["cli/"]),
        (
            "CARGO_PKG_VERSION",
            "a release that changes no behaviour changes no byte of a run",
            &["cli/", "evidence/attest.rs"],
        ),
        ("println!", "only the command line prints", &[]),
        ("SystemTime", "time is handed in", &[]),
        ("Instant::now", "time is handed in; a command may wait or show progress", &["cli/"]),
        ("thread::sleep", "nothing sleeps; a command may wait for a lock", &["cli/"]),
        (
            "fixture",
            "policy is handed where hosts are served from, whoever serves them",
            &["task/", "llm/", "tools/", "inputs/", "run.rs", "cli/"],
        ),
        ("TcpStream", "only an edge opens a connection", &["edge/"]),
        ("Command::new", "only an edge starts a process", &["edge/"]),
        (
            "crate::ledger",
            "tools and LLMs never see the ledger",
            &[
                "governor/",
                "agent.rs",
                "run.rs",
                "recovery.rs",
                "proposal.rs",
                "replay/",
                "evidence/",
                "place.rs",
                "session/",
                "cli/",
            ],
        ),
        (
            "std::fs",
            "tools and rules open nothing but through policy::path",
            &["policy/path/", "file.rs", "evidence/write/", "evidence/open.rs", "cli/"],
        ),
    ];
    for (what, why, allowed) in absent {
        for (_, path, code) in sources() {
            if !allowed.iter().any(|prefix| path.starts_with(prefix)) {
                assert!(!code.contains(what), "src/{path} holds {what}: {why}");
            }
        }
    }
    // Outside policy, a tool's file holds no path and no URL type: only capabilities.
    for (_, path, code) in sources().iter().filter(|(module, ..)| module == "tools") {
        for word in ["Utf8Path", "std::path", "url::", "OpenOptions", "File"] {
            assert!(!code.contains(word), "src/{path} holds {word}");
        }
    }
    assert!(text("Cargo.toml").contains("unsafe_code = \"forbid\""));
}

/// What one rule alone says of its section is in its file, so that a rule is added there and in the table.
#[test]
fn what_is_about_every_policy_names_no_rule() {
    let generic = [
        "policy/findings.rs",
        "policy/warnings.rs",
        "policy/defaults.rs",
        "policy/notes.rs",
        "policy/section.rs",
        "policy/told.rs",
        "policy/spec.rs",
        "cli/policy/explain.rs",
    ];
    let sources = sources();
    let mut names = 0;
    for file in generic {
        let (.., code) = sources.iter().find(|(_, path, _)| path == file).unwrap();
        for row in &gatedrun::policy::rules::RULES {
            for name in [row.key, row.rule.as_str()] {
                assert!(!code.contains(name), "src/{file} names {name}");
            }
            // `on_deny` is a key of most rules.
            let keys = row.section.keys.iter().map(|(key, _)| key.rsplit('.').next().unwrap());
            for key in keys.filter(|key| *key != "on_deny") {
                for form in [format!("\"{key}\""), format!("/{key}"), format!(".{key}\"")] {
                    assert!(!code.contains(&form), "src/{file} holds {form}");
                }
                names += 1;
            }
        }
    }
    assert!(names > 100, "{names} keys looked for: the check has lost its eyes");
}

#[test]
fn every_file_says_what_it_is_for() {
    for entry in walkdir::WalkDir::new(root().join("src")) {
        let entry = entry.unwrap();
        if entry.path().extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(entry.path()).unwrap();
            assert!(source.starts_with("//! "), "{}", entry.path().display());
        }
    }
}

#[test]
fn the_top_level_holds_what_it_should() {
    let expected = [
        ".ci",
        ".git",
        ".gitattributes",
        ".gitignore",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "Makefile",
        "README.md",
        "benches",
        "clippy.toml",
        "data",
        "deny.toml",
        "docs",
        "failure_modes.md",
        "policy",
        "runs",
        "rustfmt.toml",
        "scripts",
        "src",
        "target",
        "tasks",
        "tests",
        "tools",
    ];
    for entry in std::fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(expected.contains(&name.as_str()), "{name} has no place at the top level");
    }
}

#[test]
fn no_committed_file_names_a_machine_or_the_making_of_it() {
    let mut files = 0;
    for entry in walkdir::WalkDir::new(root())
        .into_iter()
        .filter_entry(|entry| !matches!(entry.file_name().to_str(), Some("target" | ".git")))
    {
        let entry = entry.unwrap();
        let path =
            Utf8Path::from_path(entry.path()).unwrap().strip_prefix(root()).unwrap().to_owned();
        let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
        files += 1;
        // This file names them to look for them, and a table of attacks holds attacks.
        if path == "tests/architecture.rs"
            || path == "Cargo.lock"
            || path.starts_with("tests/cases")
        {
            continue;
        }
        // Where this very checkout lies is a path of a machine, unless it is too short to tell.
        let here = root();
        let own = (here.components().count() > 2).then_some(here.as_str());
        let words = ["/root/", "/home/", "/Users/", "subagent", "TODO", "FIXME", "XXX"];
        for word in words.into_iter().chain(own) {
            assert!(!text.contains(word), "{path} holds {word}");
        }
    }
    assert!(files > 100);
}

#[test]
fn a_file_can_be_read_in_one_go() {
    const LINES_MAX: usize = 500;
    for (_, path, _) in sources() {
        let lines = text(&format!("src/{path}")).lines().count();
        assert!(lines <= LINES_MAX, "src/{path} has {lines} lines; split it");
    }
}
