//! Which event may follow which. Asked when a record is written, and again when it is read.

use std::collections::VecDeque;

use crate::event::{
    AttemptOutcome, Decision, Event, FailureMode, LlmReplied, Record, Subject, Totals,
};

use super::error::LedgerError;
use super::format::Format;

/// Which event may follow which, and that the totals in them are the sums of what came before.
#[derive(Debug, Default)]
pub struct Grammar {
    format: Format,
    state: State,
    step: u64,
    pending: VecDeque<(String, String)>,
    totals: Totals,
    at_ns: u64,
    /// Whether the last call of the step was denied.
    denied: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Start,
    BetweenSteps,
    StepOpen,
    LlmAsked,
    Deciding,
    Allowed(String),
    Running {
        call_id: String,
        attempts: u32,
        due: Due,
    },
    Stopping,
    Finished,
}

/// What a call that was started needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// An attempt. Whoever resumes a run may first have to be told what became of it.
    Attempt,
    /// What somebody says about an attempt that is in doubt.
    Word,
    /// Another attempt, or the end: the attempt in doubt did not take place.
    Either,
    /// The end.
    End,
}

impl State {
    fn expects(&self) -> &'static str {
        match self {
            Self::Start => "run_started",
            Self::BetweenSteps => "step_started, a gate_decided about the step, or run_finished",
            Self::StepOpen => "llm_called",
            Self::LlmAsked => "llm_replied",
            Self::Deciding => "the gate_decided of the next call, or step_finished",
            Self::Allowed(_) => "tool_started of the call that was allowed",
            Self::Running { due: Due::Attempt, .. } => "tool_attempted",
            Self::Running { due: Due::Word, .. } => "tool_reconciled",
            Self::Running { due: Due::Either, .. } => "tool_attempted or tool_finished",
            Self::Running { due: Due::End, .. } => "tool_finished",
            Self::Stopping => "run_finished",
            Self::Finished => "nothing: the run has ended",
        }
    }
}

impl Grammar {
    /// Whether the run has ended.
    pub fn is_finished(&self) -> bool {
        self.state == State::Finished
    }

    /// Whether a call has been started and has not ended.
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
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
        let state = std::mem::replace(&mut self.state, State::Finished);
        let due = state.expects();
        self.state = self.follow(state, record).map_err(|what| {
            wrong(match what {
                Some(what) => what,
                None => format!("found {}, expected {due}", record.event.kind()),
            })
        })?;
        self.totals.push(&record.event);
        Ok(())
    }

    /// The state after `record`; `Err(None)` where its kind is not due.
    fn follow(&mut self, state: State, record: &Record) -> Result<State, Option<String>> {
        let in_step = Some(self.step);
        let due_step = match (&record.event, &state) {
            (Event::RunStarted(_) | Event::RunFinished(_), _) => None,
            (Event::GateDecided(_), State::BetweenSteps) => None,
            (Event::StepStarted(_), _) => Some(self.step + 1),
            _ => in_step,
        };
        let next = match (state, &record.event) {
            (State::Start, Event::RunStarted(_)) => State::BetweenSteps,
            (State::BetweenSteps, Event::StepStarted(_)) => {
                self.step += 1;
                self.denied = false;
                State::StepOpen
            }
            (State::BetweenSteps, Event::GateDecided(gate)) if gate.subject == Subject::Step => {
                match gate.decision {
                    Decision::Allow => State::BetweenSteps,
                    Decision::Deny => State::Stopping,
                }
            }
            // A budget warns in the middle of a step.
            (State::Deciding, Event::GateDecided(gate))
                if gate.subject == Subject::Step && gate.decision == Decision::Allow =>
            {
                State::Deciding
            }
            (State::StepOpen, Event::LlmCalled(_)) => State::LlmAsked,
            (State::LlmAsked, Event::LlmReplied(reply)) => self.replied(reply)?,
            (State::Deciding, Event::GateDecided(gate)) if gate.subject == Subject::Call => {
                let due = self.pending.pop_front().ok_or(None)?;
                if gate.call_id.as_deref() != Some(&due.0) || gate.tool.as_deref() != Some(&due.1) {
                    return Err(Some(format!("the decision is not about {} {}", due.1, due.0)));
                }
                self.denied = gate.decision == Decision::Deny;
                match gate.decision {
                    Decision::Allow => State::Allowed(due.0),
                    Decision::Deny => State::Deciding,
                }
            }
            (State::Allowed(call_id), Event::ToolStarted(started)) => {
                if started.call_id != call_id {
                    return Err(Some(format!(
                        "{} starts, but {call_id} was allowed",
                        started.call_id
                    )));
                }
                State::Running { call_id, attempts: 0, due: Due::Attempt }
            }
            (
                State::Running { call_id, attempts, due: Due::Attempt | Due::Either },
                Event::ToolAttempted(attempted),
            ) if attempted.call_id == call_id => {
                if attempted.attempt != attempts + 1 {
                    return Err(Some(format!(
                        "found attempt {}, expected attempt {}",
                        attempted.attempt,
                        attempts + 1
                    )));
                }
                State::Running {
                    call_id,
                    attempts: attempted.attempt,
                    due: match attempted.outcome {
                        AttemptOutcome::TransientFailure => Due::Attempt,
                        AttemptOutcome::InDoubt => Due::Word,
                        AttemptOutcome::Success
                        | AttemptOutcome::Exhausted
                        | AttemptOutcome::Failed => Due::End,
                    },
                }
            }
            (State::Running { call_id, attempts, due }, Event::ToolReconciled(reconciled))
                if reconciled.call_id == call_id && due != Due::End =>
            {
                let due = match (due, reconciled.took_place) {
                    (Due::Word, true) => Due::End,
                    (Due::Word, false) => Due::Either,
                    // The attempt after it is what was said, or is made then.
                    _ => Due::Attempt,
                };
                State::Running { call_id, attempts, due }
            }
            (
                State::Running { call_id, due: Due::Either | Due::End, .. },
                Event::ToolFinished(finished),
            ) if finished.call_id == call_id => State::Deciding,
            (State::Deciding, Event::StepFinished(finished)) => {
                self.sum("totals", finished.totals)?;
                let failed =
                    finished.failure_mode.is_some_and(|mode| mode != FailureMode::ToolCallFailure);
                let cut_short = !self.pending.is_empty();
                self.pending.clear();
                if cut_short && !failed && !self.denied {
                    return Err(Some("the step ends before its calls were decided".to_owned()));
                }
                if cut_short { State::Stopping } else { State::BetweenSteps }
            }
            (State::BetweenSteps | State::Stopping, Event::RunFinished(finished)) => {
                self.sum("totals", finished.totals)?;
                State::Finished
            }
            _ => return Err(None),
        };
        if record.step != due_step {
            let name = |step: Option<u64>| step.map_or("null".to_owned(), |step| step.to_string());
            return Err(Some(format!(
                "step is {}, expected {}",
                name(record.step),
                name(due_step)
            )));
        }
        Ok(next)
    }

    fn replied(&mut self, reply: &LlmReplied) -> Result<State, Option<String>> {
        if reply.final_answer.is_some() != reply.calls.is_empty() {
            return Err(Some("a reply has either calls or a final answer".to_owned()));
        }
        self.pending.extend(reply.calls.iter().map(|c| (c.call_id.clone(), c.tool.clone())));
        Ok(State::Deciding)
    }

    fn sum(&self, name: &str, stated: Totals) -> Result<(), Option<String>> {
        if stated == self.totals {
            return Ok(());
        }
        Err(Some(format!(
            "{name} say {stated:?}, but the events before sum up to {:?}",
            self.totals
        )))
    }
}
