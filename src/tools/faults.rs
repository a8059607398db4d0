//! Faults around the production tools, so that failure modes are shown by production code.
//!
//! They are data in a task. A fault stands in for what a tool might do; it never touches what the
//! governor does about it.

use serde_json::Value;

use crate::event::{ErrorClass, ToolError};
use crate::policy::gate::Allowed;
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
pub fn run(faults: &[Fault], allowed: &Allowed, attempt: u32, idempotency_key: &str) -> Attempted {
    let production = || super::run(allowed, idempotency_key);
    let Some(fault) = faults.iter().find(|fault| fault.tool == allowed.tool()) else {
        return Attempted::Ended(production());
    };
    let unavailable = || {
        let message = format!("injected: attempt {attempt} got no answer");
        Err(ToolError::new(ErrorClass::ServiceUnavailable, message))
    };
    Attempted::Ended(match fault.mode {
        FaultMode::FailThenSucceed { failures } if attempt > failures => production(),
        FaultMode::FailThenSucceed { .. } | FaultMode::AlwaysFail => unavailable(),
        FaultMode::Unclassified => Err(ToolError::new(
            ErrorClass::Unclassified,
            "injected: an error that nobody classified",
        )),
        // Unwinding without the panic hook: the panic is meant, and nobody needs to hear of it.
        FaultMode::Panic => isolated(|| std::panic::resume_unwind(Box::new("injected"))),
        FaultMode::Hang => return Attempted::Hung,
        FaultMode::Oversized { bytes } => production().map(|output| padded(output, bytes)),
        FaultMode::BadOutput => production().map(|mut output| {
            if let Some(result) = output.result.as_object_mut() {
                result.insert("injected".to_owned(), Value::Bool(true));
            }
            output
        }),
    })
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
