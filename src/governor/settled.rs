//! What somebody said about calls whose effect nobody saw.

use std::io;

use crate::event::{AttemptOutcome, Event, ToolReconciled};
use crate::ledger::Reader;

/// How to continue from what was recorded before.
#[derive(Debug, Clone, Default)]
pub struct Recovery {
    /// What somebody says about the call that is in doubt.
    pub reconciled: Option<ToolReconciled>,
    /// Whether recorded writes are done again, for a folder that does not have them.
    pub rebuild: bool,
    /// What was settled in an earlier record of the same run: executing again cannot find it out.
    pub settled: Vec<Settled>,
}

/// What somebody said about a call in doubt, and about which of its attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The attempt, from 1.
    pub attempt: u32,
    /// Whether the attempt had ended and was on record; if not, the run was cut short before that.
    pub has_ended: bool,
    /// What was said.
    pub reconciled: ToolReconciled,
}

impl Recovery {
    /// What a ledger says was settled, as far as it can be read.
    pub fn settled_in(ledger: impl io::Read) -> Self {
        let (mut reader, mut settled) = (Reader::trusting(ledger), Vec::new());
        let (mut attempt, mut has_ended) = (1, false);
        while let Ok(Some(record)) = reader.next_record() {
            match record.event {
                Event::ToolStarted(_) => (attempt, has_ended) = (1, false),
                Event::ToolAttempted(attempted) => {
                    has_ended = attempted.outcome == AttemptOutcome::InDoubt;
                    attempt = attempted.attempt.saturating_add(u32::from(!has_ended));
                }
                Event::ToolReconciled(reconciled) => {
                    settled.push(Settled { attempt, has_ended, reconciled });
                    attempt = attempt.saturating_add(u32::from(has_ended));
                    has_ended = false;
                }
                _ => {}
            }
        }
        Self { settled, ..Self::default() }
    }

    /// Takes what was settled about an attempt of a call that `has_ended` or not.
    pub(super) fn take_settled(
        &mut self,
        call_id: &str,
        attempt: u32,
        has_ended: bool,
    ) -> Option<ToolReconciled> {
        let is_it = |one: &Settled| {
            (one.attempt, one.has_ended) == (attempt, has_ended)
                && one.reconciled.call_id == call_id
        };
        let at = self.settled.iter().position(is_it)?;
        Some(self.settled.remove(at).reconciled)
    }
}
