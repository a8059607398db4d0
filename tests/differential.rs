//! The back-test against the truth: random tasks, each recorded under one random policy and executed
//! under another. Every decision is predicted as it is made, or said to be unknown; never otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use gatedrun::derive;
use gatedrun::event::{Event, Record, Ruling};
use gatedrun::inputs::{Inputs, Library};
use gatedrun::ledger::Push;
use gatedrun::policy::section::How;
use gatedrun::replay::backtest::{Backtest, Standing, backtest};
use gatedrun::replay::limits;
use gatedrun::run::{Course, drive};
use serde_json::{Value, json};

use crate::support::{Folder, exhaustive, text};

/// Random choices, from the seed alone.
struct Dice(u64, u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.1 += 1;
        let mut rng = derive::rng(self.0, &["differential", &self.1.to_string()]);
        usize::try_from(derive::below(&mut rng, limit as u64)).unwrap()
    }

    fn pick<'t, T: ?Sized>(&mut self, items: &[&'t T]) -> &'t T {
        items[self.below(items.len())]
    }
}

/// What a policy may say of each key: the first is what most say. `-` leaves the key out.
const CHOICES: &[(&str, &[&str])] = &[
    (
        "tool_registry.allowed",
        &["[search, fetch, read, write, summarize]", "[search, read, write]", "[fetch, summarize]"],
    ),
    ("tool_registry.denied", &["[]", "[fetch]", "[write]"]),
    ("tool_registry.on_deny", &["continue", "terminate"]),
    (
        "url_allowlist.hosts",
        &[
            "[{host: fixtures.local, schemes: [https]}]",
            "[{host: fixtures.local, schemes: [https]}, {host: other.example, schemes: [https, http]}]",
            "[{host: other.example, schemes: [https]}]",
            "[{host: fixtures.local, schemes: [https], path_prefix: /none/}]",
        ],
    ),
    ("url_allowlist.on_deny", &["continue", "terminate"]),
    ("sandbox.read", &["[corpus, work]", "[corpus]", "[work]", "[]"]),
    ("sandbox.write", &["[work]", "[]"]),
    ("sandbox.allow_names", &["-", "[\".gitignore\"]"]),
    ("sandbox.max_read_bytes", &["262144", "1100", "500", "1", "5000"]),
    ("sandbox.max_write_bytes", &["262144", "20", "1500", "1"]),
    ("sandbox.isolation", &["best_effort", "\"off\""]),
    ("sandbox.on_deny", &["continue", "terminate"]),
    ("arg_schema_enforcement.max_bytes", &["300000", "120", "2000"]),
    ("arg_schema_enforcement.max_depth", &["16", "1"]),
    ("arg_schema_enforcement.on_deny", &["continue", "terminate"]),
    ("cycle_detection.max_repeats", &["3", "1", "2"]),
    ("cycle_detection.on_deny", &["continue", "terminate"]),
    ("loop_budget.max_iterations", &["10", "2", "5"]),
    ("loop_budget.max_tokens", &["50000", "3000", "9000"]),
    ("loop_budget.max_tool_calls", &["-", "2", "5"]),
    ("loop_budget.max_attempts", &["-", "1", "3", "6"]),
    ("loop_budget.max_cost_microusd", &["-", "1000"]),
    ("loop_budget.max_elapsed_ms", &["-", "15", "30", "1200", "12000"]),
    ("loop_budget.warn_at_percent", &["-", "30", "80", "99"]),
    ("progress.fields", &["-", "[tools, results]", "[tools, decisions, results, errors]"]),
    ("progress.max_repeated_states", &["1", "2"]),
    ("retry.max_retries", &["3", "0", "1"]),
    ("retry.backoff_base_ms", &["100", "300"]),
    ("retry.backoff_cap_ms", &["2000", "400"]),
    ("retry.jitter_percent", &["20", "0"]),
    ("execution.timeout_ms", &["10000", "100"]),
    ("results.max_bytes", &["65536", "1024", "2000"]),
    ("durability", &["os"]),
];

type Chosen = BTreeMap<&'static str, &'static str>;

fn usual() -> Chosen {
    CHOICES.iter().map(|(key, values)| (*key, values[0])).collect()
}

/// The policy with some keys changed.
fn changed(from: &Chosen, keys: usize, dice: &mut Dice) -> Chosen {
    let mut chosen = from.clone();
    for _ in 0..keys {
        let (key, values) = CHOICES[dice.below(CHOICES.len())];
        chosen.insert(key, dice.pick(values));
    }
    chosen
}

fn written(chosen: &Chosen) -> String {
    let mut sections: BTreeMap<&str, String> = BTreeMap::new();
    for (key, value) in chosen {
        let (section, key) = key.split_once('.').unwrap_or((key, ""));
        if *value == "-" || (section == "progress" && chosen["progress.fields"] == "-") {
            continue;
        }
        let line =
            if key.is_empty() { format!(" {value}\n") } else { format!("\n  {key}: {value}") };
        sections.entry(section).or_default().push_str(&line);
    }
    let sections: String =
        sections.iter().map(|(name, lines)| format!("{name}:{}\n", lines.trim_end())).collect();
    format!("version: 1\n{sections}")
}

fn call(dice: &mut Dice, step: u64) -> Value {
    let document = format!("op-{:02}.md", 1 + dice.below(8));
    let name = dice.pick(&["n0.md", "n1.md", "n2.md", "N1.md", ".gitignore", "HEAD"]);
    match dice.below(16) {
        0 | 1 => {
            json!({"tool": "search", "arguments": {"query": dice.pick(&["relay", "inspection interval"])}})
        }
        2 | 3 => json!({"tool": "read", "arguments": {"path": format!("corpus/{document}")}}),
        4 => {
            json!({"tool": "read", "arguments": {"path": dice.pick(&["/etc/passwd", "corpus/none.md", "home/x"])}})
        }
        5..=7 => {
            let content = "note. ".repeat([1, 3, 30, 200, 400][dice.below(5)]);
            json!({"tool": "write", "arguments": {"path": format!("work/{name}"), "content": content}})
        }
        8 => json!({"tool": "read", "arguments": {"path": format!("work/{name}")}}),
        9 | 10 => {
            json!({"tool": "fetch", "arguments": {"url": format!("https://fixtures.local/{document}")}})
        }
        11 => {
            json!({"tool": "fetch", "arguments": {"url": dice.pick(&["https://other.example/x", "http://other.example/", "file:///corpus/op-01.md"])}})
        }
        12 => json!({"tool": "summarize", "arguments": {"text": "One sentence. Another one."}}),
        13 if step > 1 => {
            // What an earlier step read is written: the run depends on what a tool returned.
            let reference = json!({"$result": {"step": step - 1, "call": 1, "pointer": "/text"}});
            json!({"tool": "write", "arguments": {"path": format!("work/{name}"), "content": reference}})
        }
        13 | 14 => json!({"tool": "shell", "unknown_tool": true, "arguments": {}}),
        _ => json!({"tool": "write", "arguments": {"path": "corpus/op-01.md", "content": "x"}}),
    }
}

fn task(dice: &mut Dice, policy: &str) -> Value {
    let mut task: Value = serde_json::from_str(&text("tasks/canonical/v1.json")).unwrap();
    task.as_object_mut().unwrap().remove("expected");
    task["id"] = "test/pair".into();
    task["policy"] = policy.into();
    task["seed"] = (dice.below(1000) as u64).into();
    let steps = 1 + dice.below(5) as u64;
    let mut script: Vec<Value> = (1..=steps)
        .map(|step| {
            let calls: Vec<Value> = (0..=dice.below(3)).map(|_| call(dice, step)).collect();
            json!({"calls": calls})
        })
        .collect();
    script.push(json!({"final_answer": "done"}));
    task["llm"] = json!({"script": script});
    if dice.below(8) == 0 {
        task["llm"] = json!({"random": {"max_calls_per_step": 3}});
    }
    let tool = dice.pick(&["read", "fetch", "write", "search", "summarize"]);
    let fault = match dice.below(9) {
        0 => json!([{"tool": tool, "mode": "fail_then_succeed", "failures": 1 + dice.below(3)}]),
        1 => json!([{"tool": tool, "mode": "always_fail"}]),
        2 => json!([{"tool": tool, "mode": "hang"}]),
        3 => json!([{"tool": tool, "mode": "oversized", "bytes": 3000}]),
        4 => json!([{"tool": tool, "mode": "bad_output"}]),
        _ => json!([]),
    };
    task["faults"] = fault;
    task
}

/// Executes a task: its records, and whether it came to an end.
fn execute(folder: &Folder, inputs: &Inputs) -> (Vec<u8>, Vec<Record>, bool) {
    let work = folder.path().join("work");
    let _ = std::fs::remove_dir_all(&work);
    let (mut lines, mut records) = (Vec::new(), Vec::new());
    let result = drive(inputs, work, Course::fresh(), |push| {
        if let Push::Record(record, line, _) = push {
            lines.extend_from_slice(line);
            lines.push(b'\n');
            records.push(record.clone());
        }
        Ok(())
    });
    (lines, records, result.is_ok())
}

/// The key, or with a number where it is in use.
fn unused(about: String, is_used: impl Fn(&str) -> bool) -> String {
    let numbered = |again: usize| match again {
        1 => about.clone(),
        _ => format!("{about} #{again}"),
    };
    (1..).map(numbered).find(|key| !is_used(key)).unwrap()
}

type Decisions = BTreeMap<String, (u64, String)>;

/// The decisions of a run by what they are about, each with its step.
fn decisions(records: &[Record]) -> Decisions {
    let (mut decisions, mut step) = (Decisions::new(), 0);
    for record in records {
        step = record.step.unwrap_or(step);
        let Event::GateDecided(gate) = &record.event else { continue };
        let (word, at) = (gate.ruling().to_string(), record.step.unwrap_or(step + 1));
        let about = gate.call_id.clone().unwrap_or_else(|| format!("step {at} {word}"));
        let key = unused(about, |key| decisions.contains_key(key));
        decisions.insert(key, (at, word));
    }
    decisions
}

/// What the LLM and a reader of the run see, without what only names the policy.
fn course(records: &[Record]) -> Vec<Value> {
    let seen = records
        .iter()
        .filter(|record| !matches!(record.event, Event::RunStarted(_) | Event::GateDecided(_)));
    seen.map(|record| json!([record.step, record.event])).collect()
}

/// Compares a prediction with what took place.
fn judge(test: &Backtest, before: &[Record], after: &[Record], ended: bool) -> Result<(), String> {
    let (was, is) = (decisions(before), decisions(after));
    let begun = after.iter().filter_map(|record| record.step).max().unwrap_or(0);
    let about = |change: &gatedrun::replay::decisions::Change| {
        let word = change.was.or(change.now).unwrap();
        change.call_id.clone().unwrap_or_else(|| format!("step {} {word}", change.step))
    };
    let text = |word: Option<Ruling>| word.map(|word| word.to_string());
    // What was never recorded has no name.
    let unknown = test.unknown.iter().filter(|change| change.was.is_some());
    let unknown: BTreeSet<String> = unknown.map(about).collect();
    let is_known = test.unknown.is_empty() || test.continued;
    if !is_known && test.standing == Standing::Exact {
        return Err("something is unknown, and all is known".to_owned());
    }
    if is_known && !test.continued && test.standing != Standing::Exact {
        return Err("not all is known, and nothing is unknown".to_owned());
    }
    let mut changes = BTreeMap::new();
    for change in &test.changes {
        let key = unused(about(change), |key| changes.contains_key(key));
        changes.insert(key, change);
    }
    for (key, (step, word)) in &was {
        let told = changes.get(key).map(|change| text(change.now));
        let real = is.get(key).map(|(_, word)| word.clone());
        let lifted = word.starts_with("deny") && key.starts_with("step ") && *step <= begun;
        let real = real.or_else(|| lifted.then(|| "allow".to_owned()));
        match told {
            _ if unknown.contains(key) => {}
            // Where the real run has no end, what it did not come to may not be called not reached.
            Some(None) if !ended && real.is_none() => return Err(format!("{key} was not reached")),
            Some(now) if now == real => {}
            None if real.as_ref() == Some(word) => {}
            told => return Err(format!("{key}: told {told:?}, was {word}, is {real:?}")),
        }
    }
    let is_whole = test.continued || test.from_step.is_none();
    for (key, (_, word)) in is.iter().filter(|(key, _)| !was.contains_key(*key)) {
        let told = changes.get(key).and_then(|change| text(change.now));
        if is_whole && told.as_ref() != Some(word) {
            return Err(format!("{key}: {word} is new, and told {told:?}"));
        }
    }
    for (key, change) in changes.iter().filter(|(_, change)| change.was.is_none()) {
        if is.get(key).map(|(_, word)| word.clone()) != text(change.now) {
            return Err(format!("{change:?} is not new"));
        }
    }
    let same = test.from_step.is_none() && test.standing == Standing::Exact;
    if same && course(before) != course(after) {
        return Err("nothing changes, and another course is taken".to_owned());
    }
    Ok(())
}

/// One pair; what it showed, or nothing where the task cannot be run at all.
fn pair(folder: &Folder, library: &Library, seed: u64) -> Option<ControlFlow<String, Backtest>> {
    let dice = &mut Dice(seed, 0);
    let keys = dice.below(5);
    let a = changed(&usual(), keys, dice);
    let keys = 1 + dice.below(3);
    let b = changed(&a, keys, dice);
    let (a_path, b_path) = (format!("policy/a{seed}.yaml"), format!("policy/b{seed}.yaml"));
    folder.write(&a_path, written(&a));
    folder.write(&b_path, written(&b));
    folder.write("tasks/test/pair.json", task(dice, &a_path).to_string());
    let mut inputs = library.load("tasks/test/pair.json", None).ok()?;
    let (lines, before, ended) = execute(folder, &inputs);
    if !ended {
        return None;
    }
    folder.write("run/state.jsonl", lines);
    let old =
        library.replace_policy(&mut inputs, &b_path).unwrap_or_else(|error| panic!("{error}"));
    let (_, after, ended) = execute(folder, &inputs);
    let run = folder.path().join("run");
    let scratch = folder.path().join("continued");
    let mut shown = None;
    for work in [None, Some(scratch.clone())] {
        let is_live = work.is_some();
        let test = backtest(&run, &inputs, &old, work).unwrap();
        let _ = std::fs::remove_dir_all(&scratch);
        if let Err(what) = judge(&test, &before, &after, ended) {
            let differ: Vec<_> = a.iter().filter(|(key, value)| b[*key] != **value).collect();
            return Some(ControlFlow::Break(format!(
                "seed {seed}, continued {is_live}: {what}\nA has {differ:?}\nB: {b:?}\n{test:#?}\n{}",
                String::from_utf8_lossy(&folder.read("tasks/test/pair.json"))
            )));
        }
        shown = Some(ControlFlow::Continue(test));
    }
    shown
}

#[test]
fn a_prediction_is_right_or_says_that_it_does_not_know() {
    let folder = Folder::lenient_project();
    let library = folder.library();
    let pairs = if exhaustive() { 4_000 } else { 400 };
    let (mut tried, mut changed, mut bounded, mut continued, mut unknown) = (0, 0, 0, 0, 0);
    for seed in 0..pairs {
        match pair(&folder, &library, seed) {
            None => continue,
            Some(ControlFlow::Break(wrong)) => panic!("{wrong}"),
            Some(ControlFlow::Continue(test)) => {
                tried += 1;
                changed += usize::from(!test.changes.is_empty());
                bounded += usize::from(test.standing != Standing::Exact);
                continued += usize::from(test.continued);
                unknown += usize::from(!test.unknown.is_empty());
            }
        }
    }
    let shown = format!(
        "{tried} tried, {changed} changed, {bounded} bounded, {continued} continued, {unknown} unknown"
    );
    assert!(tried > 200 && changed > 60 && bounded > 40 && continued > 40, "{shown}");
}

#[test]
fn every_key_of_a_policy_is_tried_or_named_as_bounded() {
    let schema: Value = serde_json::from_str(&text("policy/v1.schema.json")).unwrap();
    let mut keys = BTreeSet::new();
    for (section, is) in schema["properties"].as_object().unwrap() {
        match is["properties"].as_object() {
            None => keys.insert(section.clone()),
            Some(inner) => {
                keys.extend(inner.keys().map(|key| match key.as_str() {
                    "on_deny" | "examples" => format!("*.{key}"),
                    _ => format!("{section}.{key}"),
                }));
                true
            }
        };
    }
    let listed: BTreeSet<String> = limits::keys().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(listed, keys);
    // What can change a run is varied above.
    let varied = |key: &str| {
        let key = key.strip_prefix('*').unwrap_or(key);
        CHOICES.iter().any(|(varied, values)| varied.ends_with(key) && values.len() > 1)
    };
    for (key, how) in limits::keys().filter(|(_, how)| *how != How::Nothing) {
        assert!(varied(key), "{key}, {how:?}");
    }
}
