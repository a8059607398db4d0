//! Compares two runs: the first event that differs, then step by step. Steps are aligned by what
//! they propose and not by their number, so that one step more does not make all the rest differ.

use std::io::BufRead;

use camino::Utf8Path;
use serde::Serialize;
use similar::{Algorithm, DiffTag, capture_diff_slices};

use crate::event::{Decision, Event, Record};
use crate::json;
use crate::ledger::{LedgerError, Reader};

use super::compare::differing_fields;
use super::summary::{Outcome, Summary, decision_word};
use super::{STATE, open};

/// How two runs differ.
#[derive(Debug, Serialize)]
pub struct Diff {
    /// The first event that differs; null where every event is the same.
    pub first: Option<FirstDifference>,
    /// The steps, aligned.
    pub steps: Vec<StepPair>,
    /// What else of the two differs: counts, cost, outcome, answer.
    pub outcome: Vec<Difference>,
}

/// The first event that differs.
#[derive(Debug, Serialize)]
pub struct FirstDifference {
    /// Its number.
    pub seq: u64,
    /// Its step.
    pub step: Option<u64>,
    /// Its kind in the first run, and in the second; null past a run's end.
    pub kinds: (Option<&'static str>, Option<&'static str>),
    /// The members that differ, where the kind is the same.
    pub fields: Vec<Difference>,
}

/// Something that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What it is.
    pub what: String,
    /// In the first run.
    pub a: String,
    /// In the second.
    pub b: String,
}

/// Two steps that stand for each other, or one that stands alone.
#[derive(Debug, Serialize)]
pub struct StepPair {
    /// The first run's.
    pub a: Option<StepView>,
    /// The second's.
    pub b: Option<StepView>,
    /// What differs between them; empty where they are the same, or where one stands alone.
    pub differences: Vec<Difference>,
}

/// A step, as it is compared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StepView {
    /// Its number, from 1.
    pub step: u64,
    /// Its calls.
    pub calls: Vec<CallView>,
    /// Its final answer.
    pub final_answer: Option<String>,
    /// Tokens of its LLM call.
    pub tokens: u64,
    /// What went wrong in it.
    pub failure_mode: Option<&'static str>,
}

/// A call, as it is compared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CallView {
    /// The tool as proposed.
    pub tool: String,
    /// The arguments as proposed, in canonical JSON.
    pub arguments: String,
    /// What was decided.
    pub decision: String,
    /// Why, where it was denied.
    pub reason: Option<String>,
    /// Attempts of the tool.
    pub attempts: u32,
    /// The result in JSON, or the error; null where there is neither.
    pub result: Option<String>,
}

impl Diff {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

/// Compares two runs' folders.
///
/// # Errors
/// Which of the ledgers cannot be read, and why.
pub fn diff(a: &Utf8Path, b: &Utf8Path) -> Result<Diff, String> {
    let open = |run: &Utf8Path| {
        let path = run.join(STATE);
        open::open(&path).map_err(|error| format!("{path}: it cannot be read: {error}"))
    };
    let mut first = Side::new(open(a)?);
    let mut second = Side::new(open(b)?);
    let mut found = None;
    loop {
        let next = (
            first.next().map_err(|error| format!("{a}/{STATE}: {error}"))?,
            second.next().map_err(|error| format!("{b}/{STATE}: {error}"))?,
        );
        if next.0.is_none() && next.1.is_none() {
            break;
        }
        if found.is_none() && next.0 != next.1 {
            found = Some(first_difference(&next));
        }
    }
    Ok(Diff {
        first: found,
        steps: aligned(&first.steps, &second.steps),
        outcome: outcomes(&first.summary, &second.summary),
    })
}

fn first_difference((a, b): &(Option<Record>, Option<Record>)) -> FirstDifference {
    let kind = |record: &Option<Record>| record.as_ref().map(|record| record.event.kind());
    let either = a.as_ref().or(b.as_ref());
    let fields = match (a, b) {
        (Some(a), Some(b)) if a.event.kind() == b.event.kind() => differing_fields(a, b)
            .into_iter()
            .map(|(what, a, b)| Difference { what, a, b })
            .collect(),
        _ => Vec::new(),
    };
    FirstDifference {
        seq: either.map_or(0, |record| record.seq),
        step: either.and_then(|record| record.step),
        kinds: (kind(a), kind(b)),
        fields,
    }
}

/// One of the two runs, on its way through.
struct Side<R> {
    reader: Reader<R>,
    summary: Summary,
    open: StepView,
    steps: Vec<StepView>,
}

impl<R: BufRead> Side<R> {
    fn new(ledger: R) -> Self {
        Self {
            reader: Reader::new(ledger),
            summary: Summary::default(),
            open: StepView::default(),
            steps: Vec::new(),
        }
    }

    fn next(&mut self) -> Result<Option<Record>, LedgerError> {
        let Some(record) = self.reader.next_record()? else {
            if self.open.step > 0 {
                self.steps.push(std::mem::take(&mut self.open));
            }
            return Ok(None);
        };
        self.summary.push(&record);
        self.collect(&record);
        Ok(Some(record))
    }

    fn collect(&mut self, record: &Record) {
        match &record.event {
            Event::StepStarted(_) => {
                let step = record.step.unwrap_or(0);
                self.open = StepView { step, ..StepView::default() };
            }
            Event::LlmReplied(replied) => {
                self.open.tokens = replied.usage.total();
                self.open.final_answer.clone_from(&replied.final_answer);
                self.open.calls.extend(replied.calls.iter().map(|call| CallView {
                    tool: call.tool.clone(),
                    arguments: text(&call.arguments),
                    decision: "not decided".to_owned(),
                    ..CallView::default()
                }));
            }
            Event::GateDecided(gate) if gate.call_id.is_some() => {
                if let Some(call) = self.undecided() {
                    call.decision = decision_word(gate);
                    let denied = gate.decision == Decision::Deny;
                    call.reason = denied.then(|| gate.reason.clone());
                }
            }
            Event::ToolAttempted(attempted) => {
                if let Some(call) = self.running() {
                    call.attempts = attempted.attempt;
                }
            }
            Event::ToolFinished(finished) => {
                let error = finished.error.as_ref();
                let error =
                    error.map(|error| format!("{}: {}", error.class.as_str(), error.message));
                let result = finished.result.as_ref().map(text).or(error);
                if let Some(call) = self.running() {
                    call.result = result;
                }
            }
            Event::StepFinished(finished) => {
                self.open.failure_mode = finished.failure_mode.map(|mode| mode.as_str());
                self.steps.push(std::mem::take(&mut self.open));
            }
            Event::RunStarted(_)
            | Event::LlmCalled(_)
            | Event::GateDecided(_)
            | Event::ToolStarted(_)
            | Event::ToolReconciled(_)
            | Event::RunFinished(_) => {}
        }
    }

    fn undecided(&mut self) -> Option<&mut CallView> {
        self.open.calls.iter_mut().find(|call| call.decision == "not decided")
    }

    fn running(&mut self) -> Option<&mut CallView> {
        self.open.calls.iter_mut().rfind(|call| call.decision == "allow")
    }
}

fn text(value: &serde_json::Value) -> String {
    String::from_utf8_lossy(&json::canonical(value)).into_owned()
}

/// What a step proposes: what makes it the same step in another run.
fn proposal(step: &StepView) -> (Vec<(&str, &str)>, bool) {
    let calls = step.calls.iter().map(|call| (call.tool.as_str(), call.arguments.as_str()));
    (calls.collect(), step.final_answer.is_some())
}

fn aligned(a: &[StepView], b: &[StepView]) -> Vec<StepPair> {
    let proposals = |steps: &'_ [StepView]| -> Vec<String> {
        steps.iter().map(|step| format!("{:?}", proposal(step))).collect()
    };
    let (keys_a, keys_b) = (proposals(a), proposals(b));
    let mut pairs = Vec::new();
    for operation in capture_diff_slices(Algorithm::Myers, &keys_a, &keys_b) {
        let (tag, left, right) = operation.as_tag_tuple();
        let (left, right) = (a.get(left).unwrap_or_default(), b.get(right).unwrap_or_default());
        // Of steps that stand in the place of others, each stands for the one at its place there.
        let both = if matches!(tag, DiffTag::Equal | DiffTag::Replace) {
            left.len().min(right.len())
        } else {
            0
        };
        for (a, b) in left.iter().zip(right).take(both) {
            pairs.push(StepPair {
                differences: step_differences(a, b),
                a: Some(a.clone()),
                b: Some(b.clone()),
            });
        }
        let alone = |a: Option<&StepView>, b: Option<&StepView>| StepPair {
            a: a.cloned(),
            b: b.cloned(),
            differences: Vec::new(),
        };
        pairs.extend(left.iter().skip(both).map(|step| alone(Some(step), None)));
        pairs.extend(right.iter().skip(both).map(|step| alone(None, Some(step))));
    }
    pairs
}

fn step_differences(a: &StepView, b: &StepView) -> Vec<Difference> {
    let mut found = Differences::default();
    for index in 0..a.calls.len().max(b.calls.len()) {
        let name = |what: &str| format!("call {} {what}", index + 1);
        let none = CallView::default();
        let (x, y) = (a.calls.get(index).unwrap_or(&none), b.calls.get(index).unwrap_or(&none));
        found.compare(&name("tool"), &x.tool, &y.tool);
        found.compare(&name("arguments"), &x.arguments, &y.arguments);
        found.compare(&name("decision"), &x.decision, &y.decision);
        found.option(&name("reason"), x.reason.as_deref(), y.reason.as_deref());
        found.compare(&name("attempts"), &x.attempts.to_string(), &y.attempts.to_string());
        found.option(&name("result"), x.result.as_deref(), y.result.as_deref());
    }
    found.option("answer", a.final_answer.as_deref(), b.final_answer.as_deref());
    found.compare("tokens", &a.tokens.to_string(), &b.tokens.to_string());
    found.option("failure mode", a.failure_mode, b.failure_mode);
    found.0
}

fn outcomes(a: &Summary, b: &Summary) -> Vec<Difference> {
    let mut found = Differences::default();
    if let (Some(a), Some(b)) = (&a.started, &b.started) {
        found.compare("task", &a.task, &b.task);
        found.compare("seed", &a.seed.to_string(), &b.seed.to_string());
        found.compare("policy version", &a.policy_version, &b.policy_version);
        found.compare("agent version", &a.agent_version, &b.agent_version);
    }
    let value = |outcome: Option<Outcome>| serde_json::to_value(outcome).unwrap_or_default();
    let (x, y) = (value(a.outcome()), value(b.outcome()));
    let empty = serde_json::Map::new();
    let (x, y) = (x.as_object().unwrap_or(&empty), y.as_object().unwrap_or(&empty));
    let mut keys: Vec<&String> = x.keys().chain(y.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys.into_iter().filter(|key| *key != "answer_sha256") {
        let word = |map: &serde_json::Map<String, serde_json::Value>| {
            map.get(key).map_or("none".to_owned(), ToString::to_string)
        };
        found.compare(&key.replace('_', " "), &word(x), &word(y));
    }
    let answer = |summary: &Summary| summary.finished.as_ref().and_then(|end| end.answer.clone());
    found.option("answer", answer(a).as_deref(), answer(b).as_deref());
    found.compare("events", &a.records.to_string(), &b.records.to_string());
    found.0
}

#[derive(Default)]
struct Differences(Vec<Difference>);

impl Differences {
    fn compare(&mut self, what: &str, a: &str, b: &str) {
        if a != b {
            let (what, a, b) = (what.to_owned(), a.to_owned(), b.to_owned());
            self.0.push(Difference { what, a, b });
        }
    }

    fn option(&mut self, what: &str, a: Option<&str>, b: Option<&str>) {
        self.compare(what, a.unwrap_or("none"), b.unwrap_or("none"));
    }
}
