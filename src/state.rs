//! What a run has used, as a fold of its events: whoever writes, reads, judges or shows a run asks it.

use crate::event::{Decision, Event, Subject, Totals};

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
