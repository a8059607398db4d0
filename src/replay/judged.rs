//! What may differ between two runs of a task under two policies without another course being taken.

use crate::event::{Decision, Detail, Event, GateDecided, InputRole, Subject};
use crate::ledger::{Answer, Pair};
use crate::policy::spec::Policy;

use super::decisions::Change;

/// Says what may differ under another policy without another course being taken.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// The warnings that come or go, each with the recorded event at which it does.
    pub(super) warnings: Vec<(u64, Change)>,
    pub(super) notes: Vec<String>,
    /// Whether time is limited: then a warning more or less, being an event, moves every later one.
    pub(super) timed: bool,
    /// Whether the task was edited since.
    pub(super) is_other_task: bool,
}

impl Judged {
    pub(super) fn under(policy: &Policy) -> Self {
        let timed = policy.rules.loop_budget.max_elapsed_ms.is_some();
        Self { timed, ..Self::default() }
    }

    /// `at_step` is the step of the events before.
    pub(super) fn judge(&mut self, pair: Pair<'_>, at_step: u64) -> Answer {
        let warning = |event: &Event| match event {
            Event::GateDecided(gate)
                if gate.subject == Subject::Step && gate.decision == Decision::Allow =>
            {
                Some((**gate).clone())
            }
            _ => None,
        };
        let step = pair.recorded.step.unwrap_or(at_step + 1);
        match (&pair.recorded.event, pair.computed) {
            (Event::RunStarted(recorded), Event::RunStarted(computed)) => {
                for input in &computed.inputs {
                    let other = recorded
                        .inputs
                        .iter()
                        .find(|other| other.role == input.role && other.path == input.path);
                    if input.role != InputRole::Policy && other != Some(input) {
                        self.is_other_task |= input.role == InputRole::Task;
                        self.notes.push(format!(
                            "the {} {} has changed since",
                            input.role.as_str(),
                            input.path
                        ));
                    }
                }
                Answer::Same
            }
            (Event::GateDecided(recorded), Event::GateDecided(computed))
                if is_same_decision(recorded, computed) =>
            {
                Answer::Same
            }
            _ if self.timed => Answer::Stop,
            (recorded, computed) => match (warning(recorded), warning(computed)) {
                (Some(was), _) => {
                    self.warn(pair.recorded.seq, step, Some(&was), None);
                    Answer::Removed
                }
                (None, Some(now)) => {
                    self.warn(pair.recorded.seq, step, None, Some(&now));
                    Answer::Added
                }
                (None, None) => Answer::Stop,
            },
        }
    }

    fn warn(
        &mut self,
        at_event: u64,
        step: u64,
        was: Option<&GateDecided>,
        now: Option<&GateDecided>,
    ) {
        let change = Change {
            seq: was.map(|_| at_event),
            step,
            call_id: None,
            tool: None,
            was: was.map(GateDecided::ruling),
            now: now.map(GateDecided::ruling),
            reason: now.map(|now| now.reason.clone()),
            recorded_reason: was.map(|was| was.reason.clone()),
        };
        self.warnings.push((at_event, change));
    }
}

/// Whether two decisions are one: about the same, and with the same answer of the same rule.
fn is_same_decision(a: &GateDecided, b: &GateDecided) -> bool {
    let limit = |gate: &GateDecided| gate.details.get(&Detail::LimitKind).cloned();
    (a.subject, &a.call_id, a.decision, a.rule_id, limit(a))
        == (b.subject, &b.call_id, b.decision, b.rule_id, limit(b))
}
