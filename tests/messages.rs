//! What is said of broken inputs: in the words of this program, with a place, of bounded length, and
//! with advice that leads to an input that is taken.

use serde::Deserialize;

use crate::support::{Folder, Ran, text};

/// A broken input, and what is said of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    note: String,
    /// `policy`, `task`, `contract`, `table` or `corpus`.
    of: String,
    /// The whole text; of a policy, what follows its smallest text.
    #[serde(default)]
    text: Option<String>,
    /// What is replaced in the committed file.
    #[serde(default)]
    from: String,
    #[serde(default)]
    to: String,
    says: Vec<String>,
    /// The same input with the advice followed, which is taken.
    #[serde(default)]
    fixed: Option<String>,
}

/// Words of libraries, of the system and of the code, which say little to who writes an input.
const RAW: [&str; 38] = [
    "unknown field",
    "unknown variant",
    "missing field",
    "invalid type",
    "invalid value",
    "invalid length",
    "duplicate field",
    "expected struct",
    "expected u64",
    "expected u32",
    "expected usize",
    "expected i64",
    "a sequence",
    "a map,",
    "untagged",
    "floating point",
    "at line",
    "while scanning",
    "while parsing",
    "did not find expected",
    "mapping values",
    "block mapping",
    "flow mapping",
    "quoted scalar",
    "plain scalar",
    "block scalar",
    "simple key",
    "unexpected character",
    "EOF",
    "\"anyOf\"",
    "under any of the schemas",
    "is not valid under",
    "does not match",
    "regex parse error",
    "Compiled regex",
    "Unresolvable",
    "os error",
    "^[a-z",
];

/// The longest line of a message, in characters.
const LINE_CHARS_MAX: usize = 1400;

const SMALLEST: &str = "version: 1\ntool_registry:\n  allowed: [search, fetch]\n";

/// A project with the input of the case, and the command that reads it.
fn judged(case: &Case, whole: Option<&str>) -> Ran {
    let folder = Folder::project();
    let long = |text: &str| text.replace("LONG", &"z".repeat(3000));
    let run = ["run", "tasks/canonical/v1.json"];
    let (path, args): (&str, &[&str]) = match case.of.as_str() {
        "policy" => ("p.yaml", &["policy", "check", "p.yaml"]),
        "task" => ("tasks/canonical/v1.json", &run),
        "contract" => {
            ("tools/search.json", &["policy", "check", "policy/v1.yaml", "--contracts", "tools"])
        }
        "table" => ("t.jsonl", &["policy", "test", "p.yaml", "t.jsonl"]),
        "corpus" => ("data/corpus/v1/manifest.json", &run),
        other => panic!("{other}"),
    };
    folder.write("p.yaml", SMALLEST);
    match whole {
        Some(text) if case.of == "policy" => {
            let text =
                text.strip_prefix("WHOLE:").map_or(format!("{SMALLEST}{text}"), str::to_owned);
            folder.write(path, long(&text));
        }
        Some(text) => {
            folder.write(path, long(text));
        }
        None => folder.edit(path, &case.from, &long(&case.to)),
    }
    folder.gatedrun(args)
}

#[test]
fn broken_inputs_are_told_in_plain_words() {
    let cases: Vec<Case> = serde_json::from_str(&text("tests/cases/messages.json")).unwrap();
    assert!(cases.len() >= 60, "the table has lost cases");
    let mut failures = String::new();
    for case in &cases {
        let ran = judged(case, case.text.as_deref());
        let said = ran.all();
        let mut wrong = Vec::new();
        if ran.code != 2 {
            wrong.push(format!("exit code {}", ran.code));
        }
        wrong.extend(
            case.says
                .iter()
                .filter(|part| !said.contains(*part))
                .map(|part| format!("no {part:?}")),
        );
        wrong
            .extend(RAW.iter().filter(|raw| said.contains(*raw)).map(|raw| format!("raw {raw:?}")));
        if said.lines().any(|line| line.chars().count() > LINE_CHARS_MAX) {
            wrong.push("too long".to_owned());
        }
        if let Some(fixed) = &case.fixed {
            let ran = judged(case, Some(fixed));
            if ran.code != 0 {
                wrong.push(format!("the advice does not help: {}", ran.all()));
            }
        }
        if !wrong.is_empty() {
            failures.push_str(&format!("{}: {}\n{said}\n", case.note, wrong.join(", ")));
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn what_a_user_types_is_not_echoed_whole() {
    let folder = Folder::project();
    let long = "z".repeat(30_000);
    let option = format!("--{long}");
    let task = "tasks/canonical/v1.json";
    let policy = "policy/v1.yaml";
    for args in [
        &["run", &long][..],
        &["check", &long],
        &["verify", &long],
        &["run", task, &option],
        &["run", task, "--seed", &long],
        &[&long],
        &["schema", &long],
        &["policy", "check", &long],
        &["policy", "test", policy, &long],
        &["policy", "explain", policy, &long],
        &["policy", "decide", policy, "--fixtures", &long],
        &["policy", "check", policy, "--contracts", &long],
    ] {
        let ran = folder.gatedrun(args);
        assert!(ran.code == 2 && ran.all().len() < 3000, "{}: {}", args[0], ran.all().len());
        let ran = folder.gatedrun(&[args, &["--json"]].concat());
        assert!(ran.all().len() < 3000, "{} --json: {}", args[0], ran.all().len());
    }
    for args in [
        &["run", ""][..],
        &["policy", "check", ""],
        &["check", ""],
        &["policy", "test", policy, ""],
    ] {
        let ran = folder.gatedrun(args);
        assert!(ran.code == 2 && ran.err.contains("\"\": "), "{}", ran.all());
    }
}

#[test]
fn a_long_expectation_is_shortened_wherever_it_is_told() {
    let folder = Folder::project();
    folder.gatedrun(&["run", "tasks/canonical/v1.json"]);
    let long = "z".repeat(20_000);
    folder.edit("tasks/canonical/v1.json", "\"Team Cobalt\"", &format!("\"{long}\""));
    for args in [
        &["run", "tasks/canonical/v1.json"][..],
        &["run", "tasks/canonical/v1.json", "--json"],
        &["check", "runs/canonical/v1"],
        &["check", "runs/canonical/v1", "--json"],
    ] {
        let ran = folder.gatedrun(args);
        assert!(ran.all().contains("zzz"), "{}", ran.all());
        assert!(ran.all().len() < 6000, "{args:?}: {}", ran.all().len());
    }
}

#[test]
fn a_file_of_another_kind_is_recognised() {
    let folder = Folder::project();
    folder.write("t.jsonl", "{\"tool\": \"shell\", \"arguments\": {}, \"decision\": \"deny\"}\n");
    let (task, policy) = ("tasks/canonical/v1.json", "policy/v1.yaml");
    for (args, says) in [
        (&["policy", "check", task][..], "this is a task, not a policy"),
        (&["policy", "check", "tools/read.json"], "this is a tool contract, not a policy"),
        (&["policy", "check", "t.jsonl"], "this is a decision table, not a policy"),
        (&["policy", "test", policy, policy], "this is a policy, not a decision table"),
        (&["run", policy], "this is a policy, not a task"),
        (&["run", "tools/read.json"], "this is a tool contract, not a task"),
    ] {
        let ran = folder.gatedrun(args);
        assert!(ran.code == 2 && ran.err.contains(says), "{says}: {}", ran.all());
        assert!(ran.err.lines().count() <= 2, "{}", ran.err);
    }
}
