//! What a built-in tool is: its name, what its code does, and the code.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::{Effect, ErrorClass, ToolError};
use crate::executor::Output;
use crate::policy::capability::Allowed;
use crate::policy::path::Failure;

/// A built-in tool.
#[derive(Debug)]
pub struct Tool {
    /// Its name.
    pub name: &'static str,
    /// What its code does, in the order in which it expects the grants.
    pub effects: &'static [Effect],
    /// Its code: one attempt of an allowed call, under an idempotency key. The call holds one grant
    /// for each effect, in the same order.
    pub(super) run: fn(&Allowed, &str) -> Result<Output, Failure>,
}

/// The arguments of a call, without those that name a path or a URL.
///
/// # Errors
/// That the contract admits what the code does not.
pub(super) fn arguments<'a, T: Deserialize<'a>>(allowed: &'a Allowed) -> Result<T, ToolError> {
    allowed.plain().map_err(|error| {
        ToolError::new(
            ErrorClass::Unclassified,
            format!("the contract admits what the tool does not: {error}"),
        )
    })
}

/// That a call holds something else than its tool needs.
pub(super) fn misfit(allowed: &Allowed) -> Failure {
    ToolError::new(
        ErrorClass::Unclassified,
        format!("the contract of {:?} grants something else than the tool needs", allowed.tool()),
    )
    .into()
}

/// The result of a struct of texts and numbers, which JSON can always hold.
pub(super) fn result(value: impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}
