//! What a run has used and how it ends, as folds of its events: whoever writes, reads, judges or shows a
//! run asks them.

use crate::event::{
    Decision, Event, FailureMode, Rule, RunFinished, Subject, TerminalReason, Totals,
};

impl Totals {
    /// Takes the next event.
    pub fn push(&mut self, event: &Event) {
        match event {
            Event::StepStarted(_) => self.steps += 1,
            Event::LlmReplied(replied) => self.usage.add(replied.usage),
            Event::GateDecided(gate) if gate.subject == Subject::Call => match gate.decision {
                Decision::Allow => self.calls_allowed += 1,
                Decision::Deny => self.calls_denied += 1,
            },
            Event::ToolAttempted(_) => *self = self.with_attempt(),
            Event::RunStarted(_)
            | Event::LlmCalled(_)
            | Event::GateDecided(_)
            | Event::ToolStarted(_)
            | Event::ToolReconciled(_)
            | Event::ToolFinished(_)
            | Event::StepFinished(_)
            | Event::RunFinished(_) => {}
        }
    }

    /// The same after one more attempt, which is not recorded yet.
    #[must_use]
    pub fn with_attempt(self) -> Self {
        Self { attempts: self.attempts + 1, ..self }
    }
}

/// What is wrong with a run that ends although nothing in it can end one.
pub const ENDS_BY_NOTHING: &str = "the run ends without an answer, a denial or a failure";

/// How a run ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The reason.
    pub terminal_reason: TerminalReason,
    /// The rule that ended it.
    pub rule_id: Option<Rule>,
    /// The failure mode that ended it.
    pub failure_mode: Option<FailureMode>,
    /// The final answer.
    pub answer: Option<String>,
}

impl End {
    /// The event of it, after these totals.
    pub fn finished(self, totals: Totals) -> RunFinished {
        let Self { terminal_reason, rule_id, failure_mode, answer } = self;
        RunFinished { terminal_reason, rule_id, failure_mode, answer, totals }
    }
}

/// What decides how a run ends, should it end now.
#[derive(Debug, Default)]
pub struct Ending {
    answer: Option<String>,
    /// The rule of the last denial, while no call was allowed and no step began after it.
    denied: Option<Rule>,
    /// The failure mode of the last step.
    failure_mode: Option<FailureMode>,
}

impl Ending {
    /// Takes the next event.
    pub fn push(&mut self, event: &Event) {
        match event {
            Event::StepStarted(_) => self.denied = None,
            Event::LlmReplied(replied) => self.answer.clone_from(&replied.final_answer),
            Event::GateDecided(gate) => match (gate.decision, gate.subject) {
                (Decision::Deny, _) => self.denied = gate.rule_id,
                (Decision::Allow, Subject::Call) => self.denied = None,
                // A budget warns, and decides nothing.
                (Decision::Allow, Subject::Step) => {}
            },
            Event::StepFinished(finished) => self.failure_mode = finished.failure_mode,
            Event::RunStarted(_)
            | Event::LlmCalled(_)
            | Event::ToolStarted(_)
            | Event::ToolAttempted(_)
            | Event::ToolReconciled(_)
            | Event::ToolFinished(_)
            | Event::RunFinished(_) => {}
        }
    }

    /// How the run ends if it ends now; `None` if nothing so far can end a run. An answer comes before a
    /// denial, and a denial before a failure.
    pub fn end(&self) -> Option<End> {
        let end = |terminal_reason, rule_id, failure_mode| {
            Some(End { terminal_reason, rule_id, failure_mode, answer: self.answer.clone() })
        };
        let mode = self.failure_mode.filter(|mode| *mode != FailureMode::ToolCallFailure);
        match (&self.answer, self.denied, mode) {
            (Some(_), ..) => end(TerminalReason::FinalAnswer, None, None),
            (None, Some(rule), _) => {
                let facts = rule.facts();
                end(facts.terminal_reason, Some(rule), facts.failure_mode)
            }
            (None, None, Some(mode)) => end(TerminalReason::FailureModeTerminal, None, Some(mode)),
            (None, None, None) => None,
        }
    }
}
