//! Faults around the production tools, so that failure modes are shown by production code.
//!
//! They are data in a task. A fault stands in for what a tool might do; it never touches what the
//! governor does about it.

use crate::event::{ErrorClass, ToolError};
use crate::policy::gate::Allowed;
use crate::task::{Fault, FaultMode};

use super::{Output, isolated};

/// Runs an attempt, from 1, of an allowed call with the task's faults around it.
///
/// # Errors
/// The fault's, or the tool's own.
pub fn run(
    faults: &[Fault],
    allowed: &Allowed,
    attempt: u32,
    idempotency_key: &str,
) -> Result<Output, ToolError> {
    let Some(fault) = faults.iter().find(|fault| fault.tool == allowed.tool()) else {
        return super::run(allowed, idempotency_key);
    };
    let unavailable = || {
        Err(ToolError::new(
            ErrorClass::ServiceUnavailable,
            format!("injected: attempt {attempt} got no answer"),
        ))
    };
    match fault.mode {
        FaultMode::FailThenSucceed { failures } if attempt > failures => {
            super::run(allowed, idempotency_key)
        }
        FaultMode::FailThenSucceed { .. } | FaultMode::AlwaysFail => unavailable(),
        FaultMode::Unclassified => Err(ToolError::new(
            ErrorClass::Unclassified,
            "injected: an error that nobody classified",
        )),
        // Unwinding without the panic hook: the panic is meant, and nobody needs to hear of it.
        FaultMode::Panic => isolated(|| std::panic::resume_unwind(Box::new("injected"))),
    }
}
