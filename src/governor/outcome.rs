//! What becomes of a call: the result as it is recorded, and what it means for the proposer and the run.

use serde_json::Value;

use crate::contract::Contract;
use crate::event::{AttemptOutcome, ErrorClass, FailureMode, Rule, ToolError, ToolFinished};
use crate::executor::{Output, bound};
use crate::host::HostFault;
use crate::json::{self, Digest, JsonText};
use crate::ledger::LedgerError;
use crate::policy::call::{Denied, OnDeny};

/// What became of a call, for the proposer and for the loop.
#[derive(Debug)]
pub struct Handled {
    /// What its proposer gets.
    pub outcome: Outcome,
    /// The failure mode that it showed.
    pub failure_mode: Option<FailureMode>,
    /// Whether the run ends with it.
    pub ends_run: bool,
}

/// What the proposer of a call gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The call was allowed, and its tool returned this, as it is recorded.
    Returned(JsonText),
    /// Policy denied the call, and nothing was executed.
    Denied {
        /// The rule that denied it.
        rule: Rule,
        /// Why, in words.
        reason: String,
    },
    /// The call was allowed, and its tool failed.
    Failed(ToolError),
}

impl Outcome {
    /// The result, if there is one.
    pub fn result(&self) -> Option<&JsonText> {
        match self {
            Self::Returned(result) => Some(result),
            Self::Denied { .. } | Self::Failed(_) => None,
        }
    }

    /// Why there is no result, in words that the proposer may read.
    pub fn error(&self) -> Option<String> {
        match self {
            Self::Returned(_) => None,
            Self::Denied { rule, reason } => Some(format!("denied by {}: {reason}", rule.as_str())),
            Self::Failed(error) => Some(format!("{}: {}", error.class.as_str(), error.message)),
        }
    }
}

/// A result that fits the contract, or the error that it does not.
pub(super) fn checked(contract: Option<&Contract>, output: Output) -> Result<Output, ToolError> {
    let violations =
        contract.map_or_else(Vec::new, |contract| contract.output_violations(&output.result));
    match violations.into_iter().next() {
        None => {}
        Some(first) => {
            let what =
                format!("the result breaks its contract at {}: {}", first.pointer, first.what);
            return Err(ToolError::new(ErrorClass::OutputSchema, what));
        }
    }
    // Its digest would be that of another result too.
    if let Some((pointer, number)) = json::rounded(&output.result) {
        let what = format!("the result at {pointer}: {}", json::rounded_words(number));
        return Err(ToolError::new(ErrorClass::OutputSchema, what));
    }
    Ok(output)
}

/// The outcome of a call, with its result cut to the policy's limit.
pub(super) fn finished(
    call_id: &str,
    outcome: Result<Output, ToolError>,
    bytes_max: u64,
) -> ToolFinished {
    let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    let mut finished = ToolFinished {
        call_id: call_id.to_owned(),
        ok: false,
        result: None,
        bytes: 0,
        sha256: None,
        cut: false,
        origin: None,
        error: None,
    };
    match outcome {
        Ok(Output { mut result, origin }) => {
            let whole = JsonText::of(&result);
            let canonical = whole.canonical();
            let bytes = canonical.len();
            finished.bytes = bytes as u64;
            finished.sha256 = Some(Digest::of(&canonical));
            finished.origin = origin;
            finished.cut = bytes > bytes_max;
            drop(canonical);
            if !finished.cut {
                finished.ok = true;
                finished.result = Some(whole);
            } else if bound::cut(&mut result, bytes, bytes_max) {
                finished.ok = true;
                finished.result = Some(JsonText::of(&result));
            } else {
                let message = format!(
                    "the result has {bytes} bytes and no text that could be cut; results.max_bytes is {bytes_max}"
                );
                finished.error = Some(ToolError::new(ErrorClass::TooLarge, message));
            }
        }
        Err(error) => finished.error = Some(error),
    }
    finished
}

/// What a denied call means for its proposer and for the run.
pub(super) fn refused(denied: Denied) -> Handled {
    let Denied { rule, reason, on_deny, .. } = denied;
    let outcome = Outcome::Denied { rule, reason };
    let ends_run = on_deny == OnDeny::Terminate;
    Handled { outcome, failure_mode: rule.facts().failure_mode, ends_run }
}

pub(super) fn attempt_outcome(
    outcome: &Result<Output, ToolError>,
    backoff_ms: Option<u64>,
) -> AttemptOutcome {
    match (outcome, backoff_ms) {
        (Ok(_), _) => AttemptOutcome::Success,
        (Err(_), Some(_)) => AttemptOutcome::TransientFailure,
        (Err(error), None) if error.retryable => AttemptOutcome::Exhausted,
        (Err(_), None) => AttemptOutcome::Failed,
    }
}

/// What an executed call means for the run: its failure mode, and whether the run ends.
///
/// A failure that may pass ends the run where no attempt is left. Where a budget has no room for
/// another one, that budget ends it, at what the run asks for next.
pub(super) fn consequence(
    finished: &ToolFinished,
    attempts: u32,
    is_affordable: bool,
) -> (Option<FailureMode>, bool) {
    let Some(error) = &finished.error else {
        return ((attempts > 1).then_some(FailureMode::ToolCallFailure), false);
    };
    let failure_mode = if error.retryable && is_affordable {
        FailureMode::RetryExhaustion
    } else if error.class.facts().is_unforeseen {
        FailureMode::CataloguedUnhandled
    } else {
        FailureMode::ToolCallFailure
    };
    (Some(failure_mode), failure_mode != FailureMode::ToolCallFailure)
}

/// Why a call cannot be carried further.
#[derive(Debug, thiserror::Error)]
pub enum Halt {
    /// The ledger's.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The machine refused what the call needs. Nothing of that is recorded.
    #[error(transparent)]
    Host(#[from] HostFault),
    /// Nothing says whether the effect of this call took place, and it may not be done again.
    #[error(
        "call {call_id} of {tool:?} is in doubt: {cause}, so its effect may have taken place, and the tool's contract (neither read-only nor idempotent) does not allow repeating it"
    )]
    InDoubt {
        /// Why nobody knows.
        cause: String,
        /// The call.
        call_id: String,
        /// The tool.
        tool: String,
        /// The arguments that it was started with.
        arguments: Box<Value>,
        /// The key that it was started under.
        idempotency_key: String,
    },
}
