//! The steps of a run, one row each, as they happen or as they are read back.

use schemars::JsonSchema;
use serde::Serialize;

use crate::event::{Decision, Detail, Effect, Event, Record};
use crate::evidence::calls::{self, Did, Proposed};
use crate::evidence::text::{counted, shortened, terminal as escape};

use super::output::{Terminal, Tone};

/// One step.
#[derive(Debug, Clone, Default, JsonSchema, Serialize)]
pub struct StepRow {
    /// The step, from 1.
    pub step: u64,
    /// What the LLM said besides its calls.
    pub text: Option<String>,
    /// Its calls.
    pub calls: Vec<CallRow>,
    /// Its final answer.
    pub final_answer: Option<String>,
    /// Tokens of the step's LLM call.
    pub tokens: u64,
    /// What went wrong in it, if anything did.
    pub failure_mode: Option<&'static str>,
}

/// One call.
#[derive(Debug, Clone, Default, JsonSchema, Serialize)]
pub struct CallRow {
    /// The tool as proposed.
    pub tool: String,
    /// The arguments as proposed, in short.
    pub arguments: String,
    /// What the tool may do with its target, by its contract.
    pub effects: Vec<Effect>,
    /// The path as proposed, where policy read one.
    pub path: Option<String>,
    /// The URL as proposed, where policy read one.
    pub url: Option<String>,
    /// `allow`, or `deny:` and the rule.
    pub decision: String,
    /// Why it was denied.
    pub reason: Option<String>,
    /// What a human found out about it where it was in doubt.
    pub settled: Option<Settled>,
    /// Its attempts.
    pub attempts: u32,
    /// What it did, in words; null where it did not finish.
    pub did: Option<String>,
    /// How many bytes of content it read, fetched or wrote.
    pub content_bytes: Option<u64>,
    /// The error it ended with.
    pub error: Option<String>,
    /// Size of its result as canonical JSON.
    pub bytes: u64,
    /// Whether its result was cut.
    pub cut: bool,
    /// Where its content came from.
    pub origin: Option<String>,
}

/// What a human found out about a call that was in doubt.
#[derive(Debug, Clone, JsonSchema, Serialize)]
pub struct Settled {
    /// Whether it took place.
    pub took_place: bool,
    /// How they know, in their words.
    pub reason: String,
}

/// Collects steps, record by record.
#[derive(Debug, Default)]
pub struct Steps {
    open: StepRow,
    proposed: Proposed,
}

impl Steps {
    /// Takes the next record; the row of the step that it ends, if it ends one.
    pub fn push(&mut self, record: &Record) -> Option<StepRow> {
        self.proposed.push(record);
        match &record.event {
            Event::StepStarted(_) => {
                self.open = StepRow { step: record.step.unwrap_or(0), ..StepRow::default() };
            }
            Event::LlmReplied(replied) => {
                self.open.text = replied.text.clone();
                self.open.final_answer = replied.final_answer.clone();
                self.open.tokens = replied.usage.total();
            }
            Event::GateDecided(gate) if gate.call_id.is_some() => self.open.calls.push(CallRow {
                tool: gate.tool.clone().unwrap_or_default(),
                arguments: self.proposed.asked(gate).to_owned(),
                effects: gate.effects.clone(),
                path: calls::target(gate, Detail::TargetPath).map(str::to_owned),
                url: calls::target(gate, Detail::Url).map(str::to_owned),
                decision: gate.ruling().to_string(),
                reason: (gate.decision == Decision::Deny).then(|| gate.reason.clone()),
                ..CallRow::default()
            }),
            Event::ToolReconciled(reconciled) => {
                if let Some(call) = self.open.calls.last_mut() {
                    call.settled = Some(Settled {
                        took_place: reconciled.took_place,
                        reason: reconciled.reason.clone(),
                    });
                }
            }
            Event::ToolAttempted(attempted) => {
                if let Some(call) = self.open.calls.last_mut() {
                    call.attempts = attempted.attempt;
                }
            }
            Event::ToolFinished(finished) => {
                if let Some(call) = self.open.calls.last_mut() {
                    let Did { text, content_bytes } = calls::did(&call.effects, finished);
                    call.did = Some(text);
                    call.content_bytes = content_bytes;
                    call.bytes = finished.bytes;
                    call.cut = finished.cut;
                    call.origin = finished.origin.clone();
                    call.error = finished
                        .error
                        .as_ref()
                        .map(|error| format!("{}: {}", error.class.as_str(), error.message));
                }
            }
            Event::StepFinished(finished) => {
                self.open.failure_mode = finished.failure_mode.map(|mode| mode.as_str());
                return Some(std::mem::take(&mut self.open));
            }
            _ => {}
        }
        None
    }

    /// The step that was begun and not ended, in a run that was cut short.
    pub fn unfinished(self) -> Option<StepRow> {
        (self.open.step > 0).then_some(self.open)
    }
}

/// The line of a decision about the run itself, for a terminal: a budget that warns, or a rule that
/// ends it.
pub fn notice(record: &Record, terminal: &Terminal) -> Option<String> {
    let Event::GateDecided(gate) = &record.event else { return None };
    if gate.call_id.is_some() {
        return None;
    }
    let tone = if gate.decision == Decision::Deny { Tone::Bad } else { Tone::Strong };
    let word = terminal.paint(tone, &gate.ruling().to_string());
    Some(format!("  {word}  {}", escape(&gate.reason)))
}

/// The lines of a step, for a terminal.
pub fn lines(row: &StepRow, terminal: &Terminal) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(text) = row.text.as_deref().filter(|text| !text.is_empty()) {
        lines.push(format!("{:<10} {}", "LLM", escape(&calls::said(text))));
    }
    for call in &row.calls {
        lines.extend(call_lines(call, terminal));
    }
    if row.final_answer.is_some() {
        lines.push(terminal.paint(Tone::Strong, "final answer"));
    }
    if lines.is_empty() {
        lines.push("cut short".to_owned());
    }
    let head = format!("  step {:<3}", row.step);
    let indent = " ".repeat(head.len());
    let heads = std::iter::once(head.as_str()).chain(std::iter::repeat(indent.as_str()));
    heads.zip(lines).map(|(head, line)| format!("{head} {line}")).collect()
}

/// What was asked and decided, below it what a human settled, and the outcome.
fn call_lines(call: &CallRow, out: &Terminal) -> Vec<String> {
    let tool = escape(&shortened(&call.tool, 40));
    let tone = if call.reason.is_some() { Tone::Bad } else { Tone::Good };
    let decision = out.paint(tone, &call.decision);
    let asked = format!("{tool:<10} {decision}  {}", escape(&call.arguments));
    let attempts = || counted(call.attempts, "attempt", "attempts");
    let outcome = match (&call.reason, &call.error, &call.did) {
        (Some(reason), ..) => escape(reason),
        (None, Some(error), _) => {
            format!("{}: {}", attempts(), out.paint(Tone::Bad, &escape(error)))
        }
        (None, None, Some(did)) => format!("{}: {}", attempts(), escape(did)),
        (None, None, None) => "not finished".to_owned(),
    };
    let settled = call.settled.as_ref().map(|Settled { took_place, reason }| {
        let found = if *took_place { "it took place" } else { "it did not take place" };
        format!("{:<10} in doubt, settled by a person: {found}: {}", "", escape(reason))
    });
    let first = [asked.trim_end().to_owned()].into_iter().chain(settled);
    first.chain([format!("{:<10} {outcome}", "")]).collect()
}
