//! That an event may be next: `order` says which may follow which, and here is what they must state of each
//! other. Asked when a record is written, and again when it is read.

use std::collections::VecDeque;

use crate::event::{Decision, Event, FailureMode, LlmReplied, Record, Subject, Totals};

use super::error::LedgerError;
use super::format::Format;
use super::order::{Place, Word};

/// Which event may follow which, and that what they state fits what came before.
#[derive(Debug)]
pub struct Grammar {
    format: Format,
    place: Place,
    step: u64,
    /// The calls of the step that are not decided yet: their ids and tools.
    pending: VecDeque<(String, String)>,
    /// The call that is allowed, and how many attempts of it are recorded.
    call_id: String,
    attempts: u32,
    totals: Totals,
    at_ns: u64,
    /// Whether the last call of the step was denied.
    denied: bool,
}

impl Default for Grammar {
    fn default() -> Self {
        Self {
            format: Format::default(),
            place: Place::Start,
            step: 0,
            pending: VecDeque::new(),
            call_id: String::new(),
            attempts: 0,
            totals: Totals::default(),
            at_ns: 0,
            denied: false,
        }
    }
}

impl Grammar {
    /// Whether the run has ended.
    pub fn is_finished(&self) -> bool {
        self.place == Place::Finished
    }

    /// Whether a call has been started and has not ended.
    pub fn is_running(&self) -> bool {
        matches!(self.place, Place::Running | Place::Doubt | Place::Free | Place::Settled)
    }

    /// Takes the next record, or says why it is not allowed next.
    ///
    /// # Errors
    /// [`LedgerError::Grammar`], with the line.
    pub fn accept(&mut self, record: &Record) -> Result<(), LedgerError> {
        let wrong = |what: String| LedgerError::Grammar { line: record.seq + 1, what };
        if record.seq > 0 && record.at_ns <= self.at_ns {
            return Err(wrong(format!("at_ns {} is not after {}", record.at_ns, self.at_ns)));
        }
        self.at_ns = record.at_ns;
        // A reader has said so more kindly; a writer writes no other.
        self.format.accept(&record.event).map_err(wrong)?;
        let (due, is_cut) = (self.place.expects(), !self.pending.is_empty());
        let word = Word::of(&record.event, is_cut);
        let Some(next) = self.place.after(word) else {
            return Err(wrong(format!("found {}, expected {due}", record.event.kind())));
        };
        self.check_step(record).map_err(wrong)?;
        self.check(&record.event).map_err(wrong)?;
        self.place = next;
        self.totals.push(&record.event);
        Ok(())
    }

    /// That a record names the step that it belongs to.
    fn check_step(&mut self, record: &Record) -> Result<(), String> {
        let due = match (&record.event, self.place) {
            (Event::RunStarted(_) | Event::RunFinished(_), _) => None,
            (Event::GateDecided(_), Place::Between) => None,
            (Event::StepStarted(_), _) => {
                self.step += 1;
                Some(self.step)
            }
            _ => Some(self.step),
        };
        if record.step == due {
            return Ok(());
        }
        let name = |step: Option<u64>| step.map_or("null".to_owned(), |step| step.to_string());
        Err(format!("step is {}, expected {}", name(record.step), name(due)))
    }

    /// That what an event states fits what came before.
    fn check(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::RunStarted(_) | Event::LlmCalled(_) => {}
            Event::StepStarted(_) => self.denied = false,
            Event::LlmReplied(reply) => self.replied(reply)?,
            Event::GateDecided(gate) if gate.subject == Subject::Step => {}
            Event::GateDecided(gate) => {
                let Some((call_id, tool)) = self.pending.pop_front() else {
                    return Err("every call of the step is decided already".to_owned());
                };
                if gate.call_id.as_deref() != Some(&call_id) || gate.tool.as_deref() != Some(&tool)
                {
                    return Err(format!("the decision is not about {tool} {call_id}"));
                }
                self.denied = gate.decision == Decision::Deny;
                (self.call_id, self.attempts) = (call_id, 0);
            }
            Event::ToolStarted(started) => {
                if started.call_id != self.call_id {
                    return Err(format!(
                        "{} starts, but {} was allowed",
                        started.call_id, self.call_id
                    ));
                }
            }
            Event::ToolAttempted(attempted) => {
                self.check_call(&attempted.call_id)?;
                let due = self.attempts + 1;
                if attempted.attempt != due {
                    let found = attempted.attempt;
                    return Err(format!("found attempt {found}, expected attempt {due}"));
                }
                self.attempts = due;
            }
            Event::ToolReconciled(reconciled) => self.check_call(&reconciled.call_id)?,
            Event::ToolFinished(finished) => self.check_call(&finished.call_id)?,
            Event::StepFinished(finished) => {
                self.sum("totals", finished.totals)?;
                let failed =
                    finished.failure_mode.is_some_and(|mode| mode != FailureMode::ToolCallFailure);
                let is_cut = !self.pending.is_empty();
                self.pending.clear();
                if is_cut && !failed && !self.denied {
                    return Err("the step ends before its calls were decided".to_owned());
                }
            }
            Event::RunFinished(finished) => self.sum("totals", finished.totals)?,
        }
        Ok(())
    }

    /// That an event is about the call that was started.
    fn check_call(&self, call_id: &str) -> Result<(), String> {
        match call_id == self.call_id {
            true => Ok(()),
            false => Err(format!("it is about {call_id}, but {} was started", self.call_id)),
        }
    }

    fn replied(&mut self, reply: &LlmReplied) -> Result<(), String> {
        if reply.final_answer.is_some() != reply.calls.is_empty() {
            return Err("a reply has either calls or a final answer".to_owned());
        }
        self.pending.extend(reply.calls.iter().map(|c| (c.call_id.clone(), c.tool.clone())));
        Ok(())
    }

    fn sum(&self, name: &str, stated: Totals) -> Result<(), String> {
        if stated == self.totals {
            return Ok(());
        }
        let json = |totals: &Totals| serde_json::to_string(totals).unwrap_or_default();
        let (stated, summed) = (json(&stated), json(&self.totals));
        Err(format!("{name} say {stated}, but the events before sum up to {summed}"))
    }
}
