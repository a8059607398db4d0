//! What executes an allowed call: all that the governor knows of tools.
//!
//! An executor receives a call that every rule allowed, with what it may hold, and makes one attempt.
//! It decides nothing, repeats nothing, and never sees the ledger.

pub mod bound;
pub mod faulty;

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value;

use crate::event::{ErrorClass, ToolError};
use crate::host::HostFault;
use crate::policy::capability::Allowed;
use crate::policy::path::Failure;

/// The outcome of a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// The result, of the shape that the contract promises.
    pub result: Value,
    /// Where its content came from.
    pub origin: Option<String>,
}

/// How an attempt went.
#[derive(Debug)]
pub enum Attempted {
    /// It ended.
    Ended(Result<Output, ToolError>),
    /// It did not end. In a stub run this is logical time: nobody waits for it.
    Hung,
}

/// What makes the attempts of allowed calls.
pub trait Executor {
    /// Makes an attempt, from 1, of an allowed call. `idempotency_key` is the same for every attempt of
    /// the call.
    ///
    /// # Errors
    /// What the machine refuses: no attempt that says anything about the tool.
    fn attempt(
        &self,
        allowed: &Allowed,
        number: u32,
        idempotency_key: &str,
    ) -> Result<Attempted, HostFault>;

    /// Does the effect of a call again that is recorded as done, in a folder that does not have it.
    /// What happened to the attempts of that call is on record, and is not made up again.
    ///
    /// # Errors
    /// As [`Executor::attempt`].
    fn redo(&self, allowed: &Allowed, idempotency_key: &str) -> Result<Attempted, HostFault> {
        self.attempt(allowed, 1, idempotency_key)
    }
}

/// Runs a tool's code. Its panic is an error, and what the machine refuses is not its answer.
///
/// # Errors
/// What the machine refuses.
pub fn isolated(
    run: impl FnOnce() -> Result<Output, Failure>,
) -> Result<Result<Output, ToolError>, HostFault> {
    let ended = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| {
        let message = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        Err(ToolError::new(ErrorClass::Panicked, format!("the tool panicked: {message}")).into())
    });
    match ended {
        Ok(output) => Ok(Ok(output)),
        Err(Failure::Tool(error)) => Ok(Err(error)),
        Err(Failure::Host(fault)) => Err(fault),
    }
}
