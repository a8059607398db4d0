//! What the names of ends and failures mean, in one line each, for the report and for a terminal.

use crate::event::{FailureMode, TerminalReason};

/// What a terminal reason means.
pub fn terminal_reason(reason: TerminalReason) -> &'static str {
    match reason {
        TerminalReason::FinalAnswer => "the LLM gave its final answer",
        TerminalReason::LoopBudget => "a budget of the policy was used up",
        TerminalReason::PolicyDenialTerminal => {
            "the policy denied a call, and a denial by that rule ends the run"
        }
        TerminalReason::FailureModeTerminal => "a failure occurred that ends the run",
        TerminalReason::NoProgress => {
            "steps repeated without progress, more often than the policy allows"
        }
    }
}

/// What a failure mode means.
pub fn failure_mode(mode: FailureMode) -> &'static str {
    match mode {
        FailureMode::ToolCallFailure => {
            "an attempt of a tool failed in a foreseen way; the call was tried again, or the LLM \
             received the error"
        }
        FailureMode::RetryExhaustion => "a transient failure persisted through the last attempt",
        FailureMode::SchemaMismatch => "the arguments do not match the tool's contract",
        FailureMode::CycleDetection => "the same call was proposed too often",
        FailureMode::CataloguedUnhandled => {
            "an unforeseen error: one without a class, a result that breaks the tool's contract, \
             or a panic"
        }
    }
}
