//! What is fuzzed, and what must hold of any input: no parser panics, what a parser accepts it accepts
//! again, and what the gate allows is what the policy's words say. `make fuzz` runs these under
//! libFuzzer, and a test in `tests/fuzzed.rs` runs a sample of mutated inputs.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use gatedrun::contract::{Contract, Contracts};
use gatedrun::corpus::Corpus;
use gatedrun::event::ProposedCall;
use gatedrun::evidence::{attest, recorder, text};
use gatedrun::json::{self, JsonText};
use gatedrun::ledger::Reader;
use gatedrun::policy::cases::{self, Judge};
use gatedrun::policy::path::{CORPUS, MountPath, WORK};
use gatedrun::policy::spec::Policy;
use gatedrun::policy::url::{self, Target};
use gatedrun::schema::Schema;
use gatedrun::task::Task;
use gatedrun::yaml;
use serde_json::{Value, json};

/// A target: its name, what must hold of an input, and inputs to begin with, as files of the project.
pub struct Fuzzed {
    pub name: &'static str,
    pub check: fn(&[u8]),
    pub seeds: &'static [&'static str],
}

pub const TARGETS: [Fuzzed; 12] = [
    Fuzzed {
        name: "json",
        check: json,
        seeds: &["tasks/canonical/v1.json", "tools/fetch.json", "tests/fuzz/seeds/number.json"],
    },
    Fuzzed { name: "yaml", check: yaml, seeds: &["policy/v1.yaml"] },
    Fuzzed { name: "policy", check: policy, seeds: &["policy/v1.yaml"] },
    Fuzzed {
        name: "task",
        check: task,
        seeds: &["tasks/canonical/v1.json", "tasks/tool_faults/hang.json"],
    },
    Fuzzed { name: "contract", check: contract, seeds: &["tools/fetch.json", "tools/search.json"] },
    Fuzzed { name: "schema", check: schema, seeds: &["tools/contract.schema.json"] },
    Fuzzed { name: "url", check: url, seeds: &["tests/fuzz/seeds/urls.txt"] },
    Fuzzed { name: "path", check: path, seeds: &["tests/fuzz/seeds/paths.txt"] },
    Fuzzed {
        name: "ledger",
        check: ledger,
        seeds: &["runs/policy_gates/pg2_sandbox_escape/state.jsonl"],
    },
    Fuzzed {
        name: "envelope",
        check: envelope,
        seeds: &[
            "tests/fuzz/seeds/envelope.json",
            "tests/fuzz/seeds/key.pub.pem",
            "data/corpus/v1/manifest.json",
        ],
    },
    Fuzzed { name: "table", check: table, seeds: &["tests/cases/policy/urls.jsonl"] },
    Fuzzed {
        name: "gate",
        check: gate,
        seeds: &[
            "tests/fuzz/seeds/gate_url.bin",
            "tests/fuzz/seeds/gate_path.bin",
            "tests/fuzz/seeds/gate_write.bin",
            "tests/fuzz/seeds/gate_json.bin",
        ],
    },
];

/// Runs the target of this name.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.unwrap_or_else(|| panic!("{name} is not a target")).check)(data);
}

struct World {
    policy: Policy,
    contracts: Contracts,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let tools = ["fetch", "read", "search", "summarize", "write"];
        let texts: [&[u8]; 5] = [
            include_bytes!("../../tools/fetch.json"),
            include_bytes!("../../tools/read.json"),
            include_bytes!("../../tools/search.json"),
            include_bytes!("../../tools/summarize.json"),
            include_bytes!("../../tools/write.json"),
        ];
        let load = |(name, text): (&str, &[u8])| Contract::load(name, text).unwrap();
        let contracts = Contracts::new(tools.into_iter().zip(texts).map(load).collect()).unwrap();
        let policy = include_bytes!("../../policy/v1.yaml");
        let policy = gatedrun::policy::load("policy/v1.yaml", policy, &contracts).unwrap();
        World { policy, contracts }
    })
}

/// What is read has one canonical form, which reads to the same and is its own.
fn json(data: &[u8]) {
    let _ = json::glance(data, "call_id");
    let Ok(value) = json::parse(data) else { return };
    assert_eq!(JsonText::of(&value).value(), value);
    // Of 1e19 the canonical form is an integer that no reader holds; where it matters it is refused.
    if json::rounded(&value).is_some() {
        return;
    }
    let canonical = json::canonical(&value);
    let again = json::parse(&canonical).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(json::canonical(&again), canonical);
    let _ = json::places(data);
}

/// What is accepted has a place, and reads the same from the start of every line that is JSON.
fn yaml(data: &[u8]) {
    match yaml::parse(data) {
        Ok(document) => assert!(document.place("").is_some()),
        Err(problems) => assert!(!problems.is_empty()),
    }
}

fn policy(data: &[u8]) {
    let loaded = gatedrun::policy::load("p.yaml", data, &world().contracts);
    if let Err(problems) = loaded {
        assert!(!problems.0.is_empty());
        assert!(problems.to_string().len() < 100_000);
    }
}

fn task(data: &[u8]) {
    if let Err(problems) = Task::load("t.json", data) {
        assert!(!problems.0.is_empty() && problems.to_string().len() < 100_000);
    }
}

fn contract(data: &[u8]) {
    let Ok(contract) = Contract::load("c.json", data) else { return };
    let _ = contract.input_violations(&json!({"path": "a", "n": 1}));
    let _ = contract.with_defaults(&json!({}));
}

fn schema(data: &[u8]) {
    let Ok(value) = json::parse(data) else { return };
    let Ok(schema) = Schema::compile(&value) else { return };
    let _ = schema.violations(&value);
}

/// A URL that is accepted is read the same when it is written as the standard writes it.
fn url(data: &[u8]) {
    for line in String::from_utf8_lossy(data).lines() {
        match url::parse(line) {
            Ok(Target::Host(parsed)) => {
                let Ok(Target::Host(again)) = url::parse(parsed.as_str()) else {
                    panic!("{line:?} is accepted, and {:?} is not", parsed.as_str())
                };
                assert_eq!(
                    (again.host(), again.port(), again.resource()),
                    (parsed.host(), parsed.port(), parsed.resource())
                );
                assert!(!parsed.host().contains('@'));
                let _ = parsed.decoded_path();
            }
            Ok(Target::File(path)) => path_of(&path),
            Err(refusal) => assert!(!refusal.reason.is_empty()),
        }
    }
}

fn path(data: &[u8]) {
    String::from_utf8_lossy(data).lines().for_each(path_of);
}

/// A path that is accepted stays in its mount, and has one form.
fn path_of(text: &str) {
    let Ok(path) = MountPath::parse(text) else { return };
    let written = path.to_string();
    assert!(!text.starts_with('/') && !path.names().is_empty(), "{text:?}");
    for name in path.names() {
        assert!(!matches!(name.as_str(), "" | "." | "..") && !name.contains(['/', '\\', '\0']));
    }
    assert_eq!(MountPath::parse(&written).as_ref(), Ok(&path), "{text:?}");
}

/// A ledger is read to its end or to an error, and its projections to theirs.
fn ledger(data: &[u8]) {
    let mut records = 0_u64;
    let mut reader = Reader::new(data);
    while let Ok(Some(record)) = reader.next_record() {
        assert_eq!(record.seq, records);
        records += 1;
    }
    let mut reader = Reader::trusting(data);
    while let Ok(Some(_)) = reader.next_record() {}
    let _ = recorder::project(data, std::io::sink(), std::io::sink());
}

fn envelope(data: &[u8]) {
    let _ = attest::check(data, b"{}", &[]);
    let _ = attest::is_test_envelope(data);
    let (envelope, _) = attest::Envelope::continued(data, b"{}");
    let _ = envelope.encode();
    let text = String::from_utf8_lossy(data);
    let _ = (attest::signing_key(&text), attest::verifying_key(&text));
    let _ = Corpus::from_files("c", BTreeMap::from([("manifest.json".to_owned(), data.to_vec())]));
    for shown in [text::terminal(&text), text::markdown(&text)] {
        assert!(!shown.chars().any(|c| text::hides(c) && c != '\n'), "{shown:?}");
    }
}

fn table(data: &[u8]) {
    let Ok(cases) = cases::read_table("t.jsonl", data) else { return };
    let World { policy, contracts } = world();
    let judge = Judge::new(policy, contracts);
    for case in cases.iter().take(8) {
        let _ = case.judge(&judge);
    }
}

/// The first byte says which tool, the second how the rest becomes its arguments. What is allowed is
/// held against the words of the policy, read with other code.
fn gate(data: &[u8]) {
    let [tool, shape, rest @ ..] = data else { return };
    let text = String::from_utf8_lossy(rest).into_owned();
    let tools = ["fetch", "read", "search", "summarize", "write", "shell", "Read", "read "];
    let tool = tools[usize::from(*tool) % tools.len()];
    let arguments = match shape % 4 {
        0 => json::parse(rest).unwrap_or(Value::Null),
        1 => json!({"query": text, "top_k": 1}),
        _ => match tool {
            "fetch" => json!({"url": text}),
            "read" => json!({"path": text}),
            "write" => json!({"path": text, "content": "a"}),
            "search" => json!({"query": text}),
            _ => json!({"text": text}),
        },
    };
    let call = ProposedCall { call_id: "call_1".to_owned(), tool: tool.to_owned(), arguments };
    let World { policy, contracts } = world();
    let judge = Judge::new(policy, contracts);
    let answers = judge.gate().explain(&call);
    assert!(!answers.is_empty());
    if answers.iter().any(|(_, answer)| answer.is_err()) {
        return;
    }
    let text = |key: &str| call.arguments[key].as_str().unwrap_or_default();
    match tool {
        "fetch" => assert!(may_fetch(text("url")), "{call:?} is allowed"),
        "read" => assert!(may_name(text("path"), &[CORPUS, WORK]), "{call:?} is allowed"),
        "write" => assert!(may_name(text("path"), &[WORK]), "{call:?} is allowed"),
        "search" | "summarize" => {}
        other => panic!("{other:?} is allowed"),
    }
}

/// Whether a URL leads to the one host of the policy over the one scheme, read by hand; a `file:` URL
/// is a path.
fn may_fetch(url: &str) -> bool {
    let lower = url.to_ascii_lowercase();
    if let Some(rest) = lower.strip_prefix("file://") {
        return rest.starts_with('/');
    }
    let Some(rest) = lower.strip_prefix("https://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    matches!(authority, "fixtures.local" | "fixtures.local:443" | "fixtures.local:")
        || authority
            .strip_prefix("fixtures.local:")
            .is_some_and(|port| port.trim_start_matches('0') == "443")
}

/// Whether a path leads into one of these mounts and stays there, followed part by part.
fn may_name(path: &str, mounts: &[&str]) -> bool {
    let mut parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    let mount = parts.next().unwrap_or_default();
    let mut depth = 0_i64;
    for part in parts {
        depth += if part == ".." { -1 } else { 1 };
        if depth < 0 {
            return false;
        }
    }
    depth > 0 && !path.starts_with('/') && mounts.contains(&mount)
}
