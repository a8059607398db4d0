//! What the whole program costs, as a process: the figures of `docs/performance.md`.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::panic,
    reason = "a benchmark prints, and one that cannot set up has nothing to measure"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

const BIN: &str = env!("CARGO_BIN_EXE_gatedrun");

fn main() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    prepare(&root, folder.path());
    println!("{:<52} {:>12}", "figure", "median");
    let start = |args: &[&str], runs: usize, at: &Path| median_ms(args, runs, at);
    row("start (gatedrun --version)", start(&["--version"], 200, &root), "ms");
    row("check of the canonical run", start(&["check", "runs/canonical/v1"], 200, &root), "ms");
    row("check of all committed runs", start(&["check", "runs"], 50, &root), "ms");
    let peak = peak_kib(&["check", "runs/canonical/v1"], &root);
    row("peak memory of that check", peak as f64 / 1024.0, "MiB");
    let mut times = Vec::new();
    for steps in [20, 200, 1_000, 10_000, 100_000] {
        let task = task(folder.path(), steps);
        let runs = (40_000 / steps).clamp(1, 60);
        let ms = fresh_ms(&task, runs, folder.path());
        times.push((steps, ms));
        row(&format!("run of {steps} steps, a step"), ms * 1000.0 / steps as f64, "µs");
    }
    let slope = |a: usize, b: usize| {
        let (steps, ms) = (times[b].0 - times[a].0, times[b].1 - times[a].1);
        ms * 1000.0 / steps as f64
    };
    row("slope between 20 and 200 steps", slope(0, 1), "µs a step");
    let ratio = (times[3].1 / 10_000.0) / (times[2].1 / 1_000.0);
    row("a step of 10,000 against one of 1,000", ratio, "times");
    let exponent = (times[4].1 / times[1].1).ln() / (100_000.0_f64 / 200.0).ln();
    row("exponent of cost from 200 to 100,000 steps", exponent, "");
    let task = task(folder.path(), 100_000);
    clean(folder.path());
    row(
        "peak memory of 100,000 steps",
        peak_kib(&["run", &task, "--json"], folder.path()) as f64 / 1024.0,
        "MiB",
    );
    evidence(&root, folder.path());
    side_by_side(folder.path());
}

/// Many small runs in one command, one at a time and two at a time, in turns.
fn side_by_side(folder: &Path) {
    const RUNS: usize = 1_000;
    let text = std::fs::read_to_string(folder.join(task(folder, 10))).unwrap();
    std::fs::create_dir_all(folder.join("tasks/small")).unwrap();
    for index in 0..RUNS {
        let id = format!("small/{index}");
        let path = folder.join(format!("tasks/{id}.json"));
        std::fs::write(path, text.replace("\"steps/10\"", &format!("\"{id}\""))).unwrap();
    }
    let (mut one, mut two) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        for (jobs, times) in [("1", &mut one), ("2", &mut two)] {
            clean(folder);
            times.push(timed(|| run(&["run", "tasks/small", "--jobs", jobs, "-q"], folder)));
        }
    }
    let (one, two) = (median(one), median(two));
    row("1,000 runs of ten steps, one at a time", one, "ms");
    row("the same, two at a time, against that", two / one, "times as long");
}

/// What the commands about evidence cost, each beside what it is measured against, in turns.
fn evidence(root: &Path, folder: &Path) {
    const LONG: &str = "runs/steps/10000";
    let task = task(folder, 10_000);
    clean(folder);
    run(&["run", &task, "--json"], folder);
    let bytes: Vec<u8> = gatedrun::evidence::FILES
        .iter()
        .flat_map(|name| std::fs::read(folder.join(LONG).join(name)).unwrap())
        .collect();
    // Another policy, which decides the same.
    let policy = std::fs::read_to_string(folder.join("policy/v1.yaml")).unwrap();
    std::fs::write(folder.join("policy/next.yaml"), format!("# Another.\n{policy}")).unwrap();
    let (mut made, mut verified, mut hashed) = (Vec::new(), Vec::new(), Vec::new());
    let (mut least, mut replayed, mut tried) = (Vec::new(), Vec::new(), Vec::new());
    let ledger = std::fs::read(folder.join(LONG).join("state.jsonl")).unwrap();
    let results = results(&ledger);
    for _ in 0..9 {
        hashed.push(timed(|| hash(&bytes)));
        least.push(timed(|| {
            hash(&bytes);
            ledger.split(|byte| *byte == b'\n').for_each(hash);
            results.iter().for_each(|result| hash(result));
        }));
        verified.push(timed(|| run(&["verify", LONG], folder)));
        replayed.push(timed(|| run(&["replay", LONG], folder)));
        tried.push(timed(|| run(&["replay", LONG, "--policy", "policy/next.yaml"], folder)));
        made.push(timed(|| run(&["run", &task, "--out", "again", "--json"], folder)));
        std::fs::remove_dir_all(folder.join("again")).unwrap();
    }
    let megabytes = bytes.len() as f64 / 1e6;
    let (hashed, verified, made) = (median(hashed), median(verified), median(made));
    row("SHA-256 over the files of 10,000 steps", megabytes / hashed * 1e3, "MB/s");
    row("verify of them, one core", megabytes / verified * 1e3, "MB/s");
    row("verify against SHA-256 over the same bytes", hashed / verified, "times as fast");
    let least = hashed / median(least);
    row("the hashing in it alone, against the same", least, "times as fast");
    row("replay of 10,000 steps against making them", made / median(replayed), "times as fast");
    row("back-test, one call per step, 4 KB per decision", 1e7 / median(tried), "decisions/s");
    let peak = peak_kib(&["verify", LONG], folder) as f64 / 1024.0;
    row("peak memory of that verify", peak, "MiB");
    // Many small calls a step, as agents that look things up make them.
    let dense = dense(folder);
    run(&["run", &dense, "--json"], folder);
    let ms = median_ms(&["replay", "runs/steps/dense", "--policy", "policy/next.yaml"], 9, folder);
    row("back-test, 8 calls a step, 1 KB a decision", DENSE_CALLS as f64 / ms * 1e3, "decisions/s");
    clean(folder);
    for part in ["tools", "policy", "data/corpus/v1", "data/prompt", "tasks/canonical"] {
        let _ = std::fs::remove_dir_all(folder.join("many").join(part));
        copy(&root.join(part), &folder.join("many").join(part));
    }
    const RUNS: usize = 10_000;
    for index in 0..RUNS {
        let to = folder.join(format!("many/runs/{:02}/{index}", index % 100));
        copy(&root.join("runs/canonical/v1"), &to);
    }
    let many = folder.join("many");
    let ms = median_ms(&["verify", "runs", "--json"], 3, &many);
    row("verify of 10,000 canonical runs, two cores", RUNS as f64 / ms * 1e3, "runs/s");
    let policy = std::fs::read_to_string(many.join("policy/v1.yaml")).unwrap();
    std::fs::write(many.join("policy/next.yaml"), format!("# Another.\n{policy}")).unwrap();
    let task = "tasks/canonical/v1.json";
    let args = ["replay", "runs", "--task", task, "--policy", "policy/next.yaml", "--json"];
    let ms = median_ms(&args, 3, &many);
    row("back-test of 10,000 canonical runs, one core", RUNS as f64 / ms * 1e3, "runs/s");
}

fn hash(bytes: &[u8]) {
    std::hint::black_box(gatedrun::json::Digest::of(bytes));
}

/// The results in a ledger, as they are hashed.
fn results(ledger: &[u8]) -> Vec<Vec<u8>> {
    let mut reader = gatedrun::ledger::Reader::new(ledger);
    let records = std::iter::from_fn(|| reader.next_record().unwrap());
    let result = |record: gatedrun::event::Record| match record.event {
        gatedrun::event::Event::ToolFinished(finished) => finished.result,
        _ => None,
    };
    records.filter_map(result).map(|result| result.canonical().into_owned()).collect()
}

const DENSE_CALLS: usize = 20_000;

/// A task of eight small calls a step.
fn dense(folder: &Path) -> String {
    let mut task: Value =
        serde_json::from_slice(&std::fs::read(folder.join("canonical.json")).unwrap()).unwrap();
    task.as_object_mut().unwrap().remove("expected");
    task["id"] = "steps/dense".into();
    let calls: Vec<Value> = (0..8)
        .map(|call| {
            let text = json!({"$concat": ["Step ", {"$step": {}}, format!(", call {call}.")]});
            json!({"tool": "summarize", "arguments": {"text": text}})
        })
        .collect();
    task["llm"] = json!({"script": [
        {"calls": calls, "repeat": DENSE_CALLS / 8},
        {"final_answer": "done"}
    ]});
    std::fs::write(folder.join("tasks/steps/dense.json"), task.to_string()).unwrap();
    "tasks/steps/dense.json".to_owned()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

fn row(name: &str, value: f64, unit: &str) {
    println!("{name:<52} {value:>12.2} {unit}");
}

/// A project with a policy that lets a run go on.
fn prepare(root: &Path, folder: &Path) {
    for part in ["tools", "data/corpus/v1", "data/prompt"] {
        std::fs::create_dir_all(folder.join(part)).unwrap();
        for entry in std::fs::read_dir(root.join(part)).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), folder.join(part).join(entry.file_name())).unwrap();
        }
    }
    let policy = std::fs::read_to_string(root.join("policy/variants/continue.yaml")).unwrap();
    let policy = policy
        .replace("max_iterations: 10", "max_iterations: 1000000")
        .replace("max_tokens: 50000", "max_tokens: 1000000000000000");
    std::fs::create_dir(folder.join("policy")).unwrap();
    std::fs::write(folder.join("policy/v1.yaml"), policy).unwrap();
    std::fs::create_dir_all(folder.join("tasks/steps")).unwrap();
    std::fs::copy(root.join("tasks/canonical/v1.json"), folder.join("canonical.json")).unwrap();
}

/// A task of this many steps, each a search over the corpus.
fn task(folder: &Path, steps: usize) -> String {
    let mut task: Value =
        serde_json::from_slice(&std::fs::read(folder.join("canonical.json")).unwrap()).unwrap();
    task.as_object_mut().unwrap().remove("expected");
    task["id"] = format!("steps/{steps}").into();
    let query = json!({"$concat": ["inspection interval ", {"$step": {}}]});
    task["llm"] = json!({"script": [
        {"calls": [{"tool": "search", "arguments": {"query": query}}], "repeat": steps - 1},
        {"final_answer": "done"}
    ]});
    let path = format!("tasks/steps/{steps}.json");
    std::fs::write(folder.join(&path), task.to_string()).unwrap();
    path
}

fn clean(folder: &Path) {
    let _ = std::fs::remove_dir_all(folder.join("runs"));
}

fn run(args: &[&str], at: &Path) {
    let ran = Command::new(BIN).args(args).current_dir(at).stdout(Stdio::null()).output().unwrap();
    assert!(ran.status.success(), "{args:?}: {}", String::from_utf8_lossy(&ran.stderr));
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

fn median_ms(args: &[&str], runs: usize, at: &Path) -> f64 {
    median((0..runs).map(|_| timed(|| run(args, at))).collect())
}

/// As [`median_ms`], each run into an empty folder.
fn fresh_ms(task: &str, runs: usize, at: &Path) -> f64 {
    median(
        (0..runs)
            .map(|_| {
                clean(at);
                timed(|| run(&["run", task, "--json"], at))
            })
            .collect(),
    )
}

fn timed(work: impl FnOnce()) -> f64 {
    let begin = Instant::now();
    work();
    begin.elapsed().as_secs_f64() * 1000.0
}

/// The most memory that a process held, as the kernel says.
fn peak_kib(args: &[&str], at: &Path) -> u64 {
    let mut command = Command::new(BIN);
    command.args(args).current_dir(at).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        if let Ok(text) = std::fs::read_to_string(&status)
            && let Some(line) = text.lines().find(|line| line.starts_with("VmHWM:"))
        {
            peak = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(peak);
        }
        match child.try_wait().unwrap() {
            Some(ended) if ended.success() => return peak,
            Some(ended) => panic!("{args:?}: {ended}"),
            None => {}
        }
    }
}
