//! Faults around the production tools, so that failure modes are shown by production code.
//!
//! They are data in a task. A fault stands in for what a tool might do; it never touches what the
//! governor does about it.

use serde_json::Value;

use crate::event::{ErrorClass, ToolError};
use crate::host::HostFault;
use crate::policy::capability::Allowed;
use crate::policy::path::Failure;
use crate::task::{Fault, FaultMode};

use super::{Output, isolated};

/// How an attempt went.
#[derive(Debug)]
pub enum Attempted {
    /// It ended.
    Ended(Result<Output, ToolError>),
    /// It did not end. In a stub run this is logical time: nobody waits for it.
    Hung,
}

/// Runs an attempt, from 1, of an allowed call with the task's faults around it.
///
/// # Errors
/// What the machine refuses: no attempt that says anything about the tool.
pub fn run(
    faults: &[Fault],
    allowed: &Allowed,
    attempt: u32,
    idempotency_key: &str,
) -> Result<Attempted, HostFault> {
    let production = || super::run(allowed, idempotency_key);
    let unavailable = || {
        let message = format!("injected: attempt {attempt} got no answer");
        Err(ToolError::new(ErrorClass::ServiceUnavailable, message).into())
    };
    let fault = faults.iter().find(|fault| fault.tool == allowed.tool());
    let ended = match fault.map(|fault| fault.mode) {
        None => production(),
        Some(FaultMode::FailThenSucceed { failures }) if attempt > failures => production(),
        Some(FaultMode::FailThenSucceed { .. } | FaultMode::AlwaysFail) => unavailable(),
        Some(FaultMode::Unclassified) => Err(ToolError::new(
            ErrorClass::Unclassified,
            "injected: an error that nobody classified",
        )
        .into()),
        // Unwinding without the panic hook: the panic is intended, and not to be reported.
        Some(FaultMode::Panic) => isolated(|| std::panic::resume_unwind(Box::new("injected"))),
        Some(FaultMode::Hang) => return Ok(Attempted::Hung),
        Some(FaultMode::Oversized { bytes }) => production().map(|output| padded(output, bytes)),
        Some(FaultMode::BadOutput) => production().map(|mut output| {
            if let Some(result) = output.result.as_object_mut() {
                result.insert("injected".to_owned(), Value::Bool(true));
            }
            output
        }),
    };
    match ended {
        Ok(output) => Ok(Attempted::Ended(Ok(output))),
        Err(Failure::Tool(error)) => Ok(Attempted::Ended(Err(error))),
        Err(Failure::Host(fault)) => Err(fault),
    }
}

/// A result whose longest text is repeated until it has this many bytes.
fn padded(mut output: Output, bytes: u64) -> Output {
    if let Some(longest) = super::bound::longest(&mut output.result) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let once = longest.clone();
        while !once.is_empty() && longest.len() < bytes {
            longest.push_str(&once);
        }
    }
    output
}
