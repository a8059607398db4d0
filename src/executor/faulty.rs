//! Faults around another executor, so that failure modes are shown by production code.
//!
//! They are data in a task. A fault stands in for what a tool might do; it never touches what the
//! governor does about it.

use std::sync::Arc;

use serde_json::Value;

use crate::event::{ErrorClass, ToolError};
use crate::host::HostFault;
use crate::policy::capability::Allowed;
use crate::task::{Fault, FaultMode};

use super::{Attempted, Executor, Output, bound, isolated};

/// Another executor, with a task's faults around it.
pub struct Faulty {
    inner: Arc<dyn Executor + Send + Sync>,
    faults: Vec<Fault>,
}

impl Faulty {
    /// An executor with these faults around it.
    pub fn new(inner: Arc<dyn Executor + Send + Sync>, faults: Vec<Fault>) -> Self {
        Self { inner, faults }
    }
}

impl Executor for Faulty {
    fn attempt(
        &self,
        allowed: &Allowed,
        number: u32,
        idempotency_key: &str,
    ) -> Result<Attempted, HostFault> {
        let real = || self.inner.attempt(allowed, number, idempotency_key);
        let changed = |change: &dyn Fn(&mut Output)| {
            let mut attempted = real()?;
            if let Attempted::Ended(Ok(output)) = &mut attempted {
                change(output);
            }
            Ok(attempted)
        };
        let failed = |class: ErrorClass, message: &str| {
            Ok(Attempted::Ended(Err(ToolError::new(class, message))))
        };
        let fault = self.faults.iter().find(|fault| fault.tool == allowed.tool());
        match fault.map(|fault| fault.mode) {
            None => real(),
            Some(FaultMode::FailThenSucceed { failures }) if number > failures => real(),
            Some(FaultMode::FailThenSucceed { .. } | FaultMode::AlwaysFail) => {
                let message = format!("injected: attempt {number} got no answer");
                failed(ErrorClass::ServiceUnavailable, &message)
            }
            Some(FaultMode::Unclassified) => {
                failed(ErrorClass::Unclassified, "injected: an error that nobody classified")
            }
            // Unwinding without the panic hook: the panic is intended, and not to be reported.
            Some(FaultMode::Panic) => {
                let panicked = isolated(|| std::panic::resume_unwind(Box::new("injected")))?;
                Ok(Attempted::Ended(panicked))
            }
            Some(FaultMode::Hang) => Ok(Attempted::Hung),
            Some(FaultMode::Oversized { bytes }) => changed(&|output| pad(output, bytes)),
            Some(FaultMode::BadOutput) => changed(&|output| {
                if let Some(result) = output.result.as_object_mut() {
                    result.insert("injected".to_owned(), Value::Bool(true));
                }
            }),
        }
    }

    fn redo(&self, allowed: &Allowed, idempotency_key: &str) -> Result<Attempted, HostFault> {
        self.inner.redo(allowed, idempotency_key)
    }
}

/// Repeats the longest text of a result until it has this many bytes.
fn pad(output: &mut Output, bytes: u64) {
    if let Some(longest) = bound::longest(&mut output.result) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let once = longest.clone();
        while !once.is_empty() && longest.len() < bytes {
            longest.push_str(&once);
        }
    }
}
