//! One of the two runs that are compared, step by step.

use std::io::Read;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::event::{Decision, Event, Record};
use crate::evidence::summary::Summary;
use crate::json;
use crate::ledger::{LedgerError, Reader};

/// A step, as it is compared.
#[derive(Debug, Clone, Default, PartialEq, Eq, JsonSchema, Serialize)]
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
#[derive(Debug, Clone, Default, PartialEq, Eq, JsonSchema, Serialize)]
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

/// One of the two runs, on its way through.
pub(super) struct Side<R> {
    pub(super) reader: Reader<R>,
    pub(super) summary: Summary,
    open: StepView,
    pub(super) steps: Vec<StepView>,
    /// How many bytes more may be held.
    room: usize,
    pub(super) omitted: u64,
}

impl<R: Read> Side<R> {
    pub(super) fn new(ledger: R, room: usize) -> Self {
        Self {
            reader: Reader::new(ledger),
            summary: Summary::default(),
            open: StepView::default(),
            steps: Vec::new(),
            room,
            omitted: 0,
        }
    }

    pub(super) fn next(&mut self) -> Result<Option<Record>, LedgerError> {
        let Some(record) = self.reader.next_record()? else {
            if self.open.step > 0 {
                self.steps.push(std::mem::take(&mut self.open));
            }
            return Ok(None);
        };
        self.summary.push(&record);
        let begins = matches!(record.event, Event::StepStarted(_));
        match self.room.checked_sub(self.reader.line().len()) {
            _ if self.omitted > 0 => self.omitted += u64::from(begins),
            None if begins || self.open.step > 0 => {
                self.open = StepView::default();
                self.omitted = 1;
            }
            None => {}
            Some(room) => {
                self.room = room;
                self.collect(&record);
            }
        }
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
                    call.decision = gate.ruling().to_string();
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
                let result = finished.result.as_ref().map(|result| result.as_str().to_owned());
                let result = result.or(error);
                if let Some(call) = self.running() {
                    call.result = result;
                }
            }
            Event::StepFinished(finished) => {
                self.open.failure_mode = finished.failure_mode.map(|mode| mode.as_str());
                self.steps.push(std::mem::take(&mut self.open));
            }
            _ => {}
        }
    }

    fn undecided(&mut self) -> Option<&mut CallView> {
        self.open.calls.iter_mut().find(|call| call.decision == "not decided")
    }

    fn running(&mut self) -> Option<&mut CallView> {
        self.open.calls.iter_mut().rfind(|call| call.decision == Decision::Allow.as_str())
    }
}

fn text(value: &Value) -> String {
    String::from_utf8_lossy(&json::canonical(value)).into_owned()
}
