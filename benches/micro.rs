//! What single parts cost, with divan: an event, a decision, a search.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot set up has nothing to measure"
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::{Arc, OnceLock};

use camino::{Utf8Path, Utf8PathBuf};
use divan::Bencher;
use gatedrun::corpus::Corpus;
use gatedrun::event::{Event, ProposedCall, Record};
use gatedrun::evidence::recorder::Recorder;
use gatedrun::inputs::{Inputs, Library, Root};
use gatedrun::json::Digest;
use gatedrun::ledger::{Reader, encode};
use gatedrun::policy;
use gatedrun::policy::call::Standing;
use gatedrun::policy::cases::Judge;
use gatedrun::policy::gate::Gate;
use gatedrun::policy::hosts::Hosts;
use gatedrun::policy::path::Mounts;
use gatedrun::tools::search;
use serde_json::{Value, json};

fn main() {
    divan::main();
}

fn root() -> Utf8PathBuf {
    Utf8PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn records() -> Vec<Record> {
    let bytes = std::fs::read(root().join("runs/canonical/v1/state.jsonl")).unwrap();
    let mut reader = Reader::new(bytes.as_slice());
    std::iter::from_fn(|| reader.next_record().unwrap()).collect()
}

/// One event of the most frequent size: encoded, hashed, and folded into all four artifacts.
#[divan::bench]
fn event_recorded(bencher: Bencher<'_, '_>) {
    let record =
        records().into_iter().find(|r| matches!(r.event, Event::ToolAttempted(_))).unwrap();
    let mut recorder = Recorder::new(std::io::sink(), std::io::sink());
    for before in records().iter().take_while(|before| before.seq < record.seq) {
        recorder.push(before, b"", Digest::ZERO).unwrap();
    }
    let mut line = Vec::new();
    bencher.bench_local(|| {
        line.clear();
        encode(&record, &mut line);
        let sha256 = Digest::of(&line);
        recorder.push(black_box(&record), &line, sha256).unwrap();
    });
}

/// One event encoded and hashed: the ledger's own share.
#[divan::bench]
fn event_encoded_and_chained(bencher: Bencher<'_, '_>) {
    let record =
        records().into_iter().find(|r| matches!(r.event, Event::ToolAttempted(_))).unwrap();
    let mut line = Vec::new();
    bencher.bench_local(|| {
        line.clear();
        encode(black_box(&record), &mut line);
        Digest::of(&line)
    });
}

fn inputs() -> &'static BTreeMap<&'static str, Value> {
    static CALLS: OnceLock<BTreeMap<&'static str, Value>> = OnceLock::new();
    CALLS.get_or_init(|| {
        BTreeMap::from([
            ("search", json!({"query": "relay cabinet", "top_k": 3})),
            ("read", json!({"path": "corpus/op-19.md"})),
            ("fetch", json!({"url": "https://fixtures.local/op-19.md"})),
            ("shell", json!({})),
            ("off_allowlist", json!({"url": "https://evil.invalid/"})),
            ("escape", json!({"path": "corpus/../../etc/passwd"})),
        ])
    })
}

/// One decision of the whole gate, by what it decides about.
#[divan::bench(args = ["search", "read", "fetch", "shell", "off_allowlist", "escape"])]
fn decision(bencher: Bencher<'_, '_>, name: &str) {
    let library = Library::new(Root::Folder(root()));
    let inputs_of_run: Inputs = library.load("tasks/canonical/v1.json", None).unwrap();
    let mounts =
        Mounts::new(Arc::clone(&inputs_of_run.corpus), Utf8Path::new("/nonexistent").to_owned());
    let hosts = Hosts::of_mounts(&inputs_of_run.task.fixtures);
    let mut gate = Gate::new(&inputs_of_run.policy, &inputs_of_run.contracts, &hosts, mounts);
    let tool = match name {
        "off_allowlist" => "fetch",
        "escape" => "read",
        other => other,
    };
    let arguments = inputs().get(name).cloned().unwrap();
    let call = ProposedCall { call_id: "call_0".into(), tool: tool.into(), arguments };
    bencher.bench_local(|| gate.decide_call(black_box(&call), &Standing::default()));
}

/// One decision about a URL, with this many hosts, or path prefixes of one host, on the list.
#[divan::bench(args = [(1, 1), (1_000, 1), (1, 1_000)])]
fn url_decision_by_size_of_the_list(bencher: Bencher<'_, '_>, (hosts, prefixes): (usize, usize)) {
    use std::fmt::Write as _;
    let mut list = String::new();
    for host in 0..hosts {
        for prefix in 0..prefixes {
            let _ = writeln!(
                list,
                "    - {{host: h{host}.example.com, schemes: [https], path_prefix: /p{prefix}/}}"
            );
        }
    }
    let policy = std::fs::read_to_string(root().join("policy/variants/continue.yaml")).unwrap();
    let policy = policy.replace("    - host: fixtures.local\n      schemes: [https]\n", &list);
    let library = Library::new(Root::Folder(root()));
    let contracts = library.contracts("tools").unwrap().contracts;
    let policy = policy::load("bench", policy.as_bytes(), &contracts).unwrap();
    let judge = Judge::new(&policy, &contracts);
    let mut gate = judge.gate();
    let url = format!("https://h{}.example.com/p{}/x", hosts - 1, prefixes - 1);
    let call = ProposedCall {
        call_id: "call_0".into(),
        tool: "fetch".into(),
        arguments: json!({"url": url}),
    };
    bencher.bench_local(|| gate.decide_call(black_box(&call), &Standing::default()));
}

/// A query over documents of 800 bytes, once they are loaded.
#[divan::bench(args = [25, 1_000, 100_000], sample_count = 20)]
fn search_documents(bencher: Bencher<'_, '_>, documents: usize) {
    let words = ["valve", "pump", "interval", "outcome", "station", "reading", "limit", "team"];
    let files = (0..documents)
        .map(|number| {
            let mut text = format!("# Document {number}\n");
            let mut n = number;
            while text.len() < 800 {
                text.push_str(words[n % words.len()]);
                text.push_str(&format!(" {n} "));
                n = n.wrapping_mul(31).wrapping_add(7) % 100_003;
            }
            (format!("d{number}.md"), text.into_bytes())
        })
        .collect();
    let corpus = Corpus::from_files("bench", files).unwrap();
    corpus.index();
    bencher.bench_local(|| {
        search::run(&corpus, &search::Args { query: black_box("interval of pump 700"), top_k: 5 })
            .unwrap()
    });
}
