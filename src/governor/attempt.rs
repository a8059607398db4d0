//! A call between its intent and its outcome, and one attempt of it, made or read from the record.

use crate::event::{
    Decision, Detail, Details, ErrorClass, Event, GateDecided, ProposedCall, Record, ToolError,
    ToolFinished,
};
use crate::executor::{Attempted, Output};
use crate::json::JsonText;
use crate::policy::capability::Allowed;

use super::outcome::Halt;

/// A call between its intent and its outcome.
pub(super) struct Running<'c> {
    pub(super) step: u64,
    pub(super) call: &'c ProposedCall,
    pub(super) allowed: Box<Allowed>,
    pub(super) key: String,
}

impl Running<'_> {
    /// That nobody knows what became of it.
    pub(super) fn in_doubt(&self, cause: String) -> Halt {
        Halt::InDoubt {
            cause,
            call_id: self.allowed.call_id().to_owned(),
            tool: self.allowed.tool().to_owned(),
            arguments: Box::new(self.call.arguments.clone()),
            idempotency_key: self.key.clone(),
        }
    }
}

/// How an attempt went, and what was recorded of the call where that cannot be computed again.
pub(super) struct Attempt {
    pub(super) attempted: Attempted,
    pub(super) recorded: Option<ToolFinished>,
    /// The wait for a result that did not come, of an attempt that is on record.
    pub(super) recorded_wait_ms: u64,
}

impl Attempt {
    pub(super) fn of(attempted: Attempted) -> Self {
        Self { attempted, recorded: None, recorded_wait_ms: 0 }
    }
}

/// How a call continues after an attempt that was in doubt is settled.
pub(super) enum Settlement {
    /// It did not take place, and is tried again.
    Again,
    /// It ends with this error.
    Failed {
        /// The error.
        error: ToolError,
        /// Whether a budget would have allowed another attempt.
        is_affordable: bool,
    },
}

/// What the kernel refused when a recorded decision was made.
pub(super) fn refused_by_kernel(gate: &GateDecided) -> Option<(String, Details)> {
    let refused =
        gate.decision == Decision::Deny && gate.details.contains_key(&Detail::OpenRefused);
    refused.then(|| (gate.reason.clone(), gate.details.clone()))
}

/// How an attempt went, from the record of it and of what followed; `None` where the record ends
/// before the result.
pub(super) fn recorded_attempt(
    next: &Record,
    then: Option<&Record>,
    trusted: Option<u64>,
) -> Option<Attempt> {
    let Event::ToolAttempted(attempted) = &next.event else { return None };
    if let Some(error) = &attempted.error {
        let hung = error.class == ErrorClass::TimedOut;
        let ended = if hung { Attempted::Hung } else { Attempted::Ended(Err(error.clone())) };
        let recorded_wait_ms = attempted.waited_ms;
        return Some(Attempt { recorded_wait_ms, ..Attempt::of(ended) });
    }
    let Event::ToolFinished(finished) = &then?.event else { return None };
    let as_it_is = finished.cut || trusted.is_some_and(|bytes_max| finished.bytes <= bytes_max);
    let whole = finished.result.as_ref().filter(|_| !as_it_is).map(JsonText::value);
    let recorded = whole.is_none().then(|| finished.clone());
    let output = Output { result: whole.unwrap_or_default(), origin: finished.origin.clone() };
    Some(Attempt { recorded, ..Attempt::of(Attempted::Ended(Ok(output))) })
}
