//! The steps of a run, one row each, as they happen or as they are read back.

use serde::Serialize;

use crate::event::{Decision, Event, Record, ToolStarted};
use crate::evidence::summary::decision_word;
use crate::evidence::text::{counted, shortened, terminal as escape};

use super::output::{Terminal, Tone};

/// One step.
#[derive(Debug, Clone, Default, Serialize)]
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
#[derive(Debug, Clone, Default, Serialize)]
pub struct CallRow {
    /// The tool as proposed.
    pub tool: String,
    /// `allow`, or `deny:` and the rule.
    pub decision: String,
    /// Why it was denied.
    pub reason: Option<String>,
    /// Its attempts.
    pub attempts: u32,
    /// The error it ended with.
    pub error: Option<String>,
    /// Size of its result.
    pub bytes: u64,
    /// Whether its result was cut.
    pub cut: bool,
    /// Where its content came from.
    pub origin: Option<String>,
}

/// Collects steps, record by record.
#[derive(Debug, Default)]
pub struct Steps {
    open: StepRow,
}

impl Steps {
    /// Takes the next record; the row of the step that it ends, if it ends one.
    pub fn push(&mut self, record: &Record) -> Option<StepRow> {
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
                decision: decision_word(gate),
                reason: (gate.decision == Decision::Deny).then(|| gate.reason.clone()),
                ..CallRow::default()
            }),
            Event::ToolAttempted(attempted) => {
                if let Some(call) = self.open.calls.last_mut() {
                    call.attempts = attempted.attempt;
                }
            }
            Event::ToolFinished(finished) => {
                if let Some(call) = self.open.calls.last_mut() {
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
            Event::RunStarted(_)
            | Event::LlmCalled(_)
            | Event::GateDecided(_)
            | Event::ToolStarted(ToolStarted { .. })
            | Event::ToolReconciled(_)
            | Event::RunFinished(_) => {}
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
    let word = terminal.paint(tone, &decision_word(gate));
    Some(format!("  {word}  {}", escape(&gate.reason)))
}

/// The lines of a step, for a terminal.
pub fn lines(row: &StepRow, terminal: &Terminal) -> Vec<String> {
    let mut lines = Vec::new();
    let mut head = format!("  step {:<3}", row.step);
    for call in &row.calls {
        lines.push(format!("{head} {}", call_line(call, terminal)));
        head = " ".repeat(head.len());
    }
    if row.final_answer.is_some() {
        lines.push(format!("{head} {}", terminal.paint(Tone::Strong, "final answer")));
    }
    if lines.is_empty() {
        lines.push(format!("{head} cut short"));
    }
    lines
}

fn call_line(call: &CallRow, out: &Terminal) -> String {
    let tool = format!("{:<10}", escape(&shortened(&call.tool, 40)));
    if let Some(reason) = &call.reason {
        return format!("{tool} {}  {}", out.paint(Tone::Bad, &call.decision), escape(reason));
    }
    let attempts = match call.attempts {
        0 => "not finished".to_owned(),
        some => counted(some, "attempt", "attempts"),
    };
    let outcome = match &call.error {
        Some(error) => out.paint(Tone::Bad, &escape(error)),
        None => {
            let cut = if call.cut { ", cut" } else { "" };
            let origin = call
                .origin
                .as_deref()
                .map_or_else(String::new, |origin| format!(" from {}", escape(origin)));
            format!("{} bytes{cut}{origin}", call.bytes)
        }
    };
    format!("{tool} {}  {attempts}, {outcome}", out.paint(Tone::Good, &call.decision))
}
