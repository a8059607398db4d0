//! The words of policy: what it judges, what it decides, and by which rule.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{FailureMode, TerminalReason};

words! {
    /// What a decision is about.
    pub enum Subject {
        /// Whether the run may take another step.
        Step => "step",
        /// Whether a tool call may run.
        Call => "call",
    }
}

words! {
    /// What a call does to the world. Rules judge this, never an argument's name.
    pub enum Effect {
        /// Computes from its arguments alone.
        Compute => "compute",
        /// Looks through the corpus.
        SearchCorpus => "search_corpus",
        /// Reads the file that an argument names.
        ReadPath => "read_path",
        /// Writes the file that an argument names.
        WritePath => "write_path",
        /// Fetches the URL that an argument names.
        FetchUrl => "fetch_url",
    }
}

words! {
    /// A decision of policy.
    pub enum Decision {
        /// It may run.
        Allow => "allow",
        /// It may not.
        Deny => "deny",
    }
}

words! {
    /// The rules of policy, in the order in which they are checked. The first that denies decides.
    pub enum Rule {
        /// The tool is registered, and not denied.
        ToolRegistry => "tool_registry",
        /// Every URL that the call fetches is on the allowlist.
        UrlAllowlist => "url_allowlist",
        /// Every path that the call reads or writes stays in a mount that permits it.
        SandboxPath => "sandbox_path",
        /// The arguments fit the tool's contract.
        ArgSchema => "arg_schema",
        /// The same call has not been made too often.
        CycleDetection => "cycle_detection",
        /// The run is within its budgets.
        LoopBudget => "loop_budget",
        /// The run makes progress: its steps do not repeat the same state too often.
        Progress => "progress",
    }
}

impl Rule {
    /// How a run ends if a denial by this rule ends it.
    pub fn end(self) -> (TerminalReason, Option<FailureMode>) {
        match self {
            Self::ArgSchema => {
                (TerminalReason::FailureModeTerminal, Some(FailureMode::SchemaMismatch))
            }
            Self::CycleDetection => {
                (TerminalReason::PolicyDenialTerminal, Some(FailureMode::CycleDetection))
            }
            Self::LoopBudget => (TerminalReason::LoopBudget, None),
            Self::Progress => (TerminalReason::NoProgress, None),
            Self::ToolRegistry | Self::UrlAllowlist | Self::SandboxPath => {
                (TerminalReason::PolicyDenialTerminal, None)
            }
        }
    }
}

/// What a decision was about, in values: a closed set of keys, each an attribute `policy.KEY` of
/// the trace.
pub type Details = BTreeMap<Detail, Value>;

/// An object with no other keys than these.
pub(super) fn details_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let names = generator.subschema_for::<Detail>();
    schemars::json_schema!({"type": "object", "propertyNames": names, "additionalProperties": true})
}

/// A key of `details`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// The tool's name as proposed.
    RequestedTool,
    /// How the registry answered: `denied`, `not_allowed` or `allowed`.
    RegistryMatch,
    /// The tool whose contract was applied.
    Tool,
    /// The URL as proposed.
    Url,
    /// The host as the URL standard reads it.
    Host,
    /// The path as proposed.
    TargetPath,
    /// The path relative to its mount, after `.` and `..` are resolved.
    ResolvedPath,
    /// The mount that the path may not leave.
    SandboxRoot,
    /// What the arguments' schema objects to.
    SchemaError,
    /// JSON pointer to the offending argument.
    FailedPath,
    /// Which budget it is.
    LimitKind,
    /// Iterations so far.
    Iterations,
    /// Iterations at most.
    MaxIterations,
    /// Tokens so far, and what the next call would add.
    Tokens,
    /// Tokens at most.
    MaxTokens,
    /// How often this call has been made, this time included.
    Repeats,
    /// How often it may be made.
    MaxRepeats,
    /// Tool calls so far, this one included.
    ToolCalls,
    /// Tool calls at most.
    MaxToolCalls,
    /// Cost so far, and what the next call would add, in millionths of a US dollar.
    CostMicrousd,
    /// Cost at most.
    MaxCostMicrousd,
    /// Milliseconds since the run began.
    ElapsedMs,
    /// Milliseconds at most.
    MaxElapsedMs,
    /// The share of a limit from which a budget warns.
    WarnAtPercent,
    /// The first 12 hexadecimal digits of the SHA-256 of the repeated state.
    Fingerprint,
    /// How many steps had this state.
    RepeatedStates,
    /// How many steps may have the same state.
    MaxRepeatedStates,
    /// What the kernel refused when the path was opened: a fact of that moment, not of the call.
    OpenRefused,
    /// Attempts of tools so far, and what the next would add.
    Attempts,
    /// Attempts of tools at most.
    MaxAttempts,
}

impl Detail {
    /// The attribute's name in a trace.
    pub fn attribute(self) -> &'static str {
        match self {
            Self::RequestedTool => "policy.requested_tool",
            Self::RegistryMatch => "policy.registry_match",
            Self::Tool => "policy.tool",
            Self::Url => "policy.url",
            Self::Host => "policy.host",
            Self::TargetPath => "policy.target_path",
            Self::ResolvedPath => "policy.resolved_path",
            Self::SandboxRoot => "policy.sandbox_root",
            Self::SchemaError => "policy.schema_error",
            Self::FailedPath => "policy.failed_path",
            Self::LimitKind => "policy.limit_kind",
            Self::Iterations => "policy.iterations",
            Self::MaxIterations => "policy.max_iterations",
            Self::Tokens => "policy.tokens",
            Self::MaxTokens => "policy.max_tokens",
            Self::Repeats => "policy.repeats",
            Self::MaxRepeats => "policy.max_repeats",
            Self::ToolCalls => "policy.tool_calls",
            Self::MaxToolCalls => "policy.max_tool_calls",
            Self::CostMicrousd => "policy.cost_microusd",
            Self::MaxCostMicrousd => "policy.max_cost_microusd",
            Self::ElapsedMs => "policy.elapsed_ms",
            Self::MaxElapsedMs => "policy.max_elapsed_ms",
            Self::WarnAtPercent => "policy.warn_at_percent",
            Self::Fingerprint => "policy.fingerprint",
            Self::RepeatedStates => "policy.repeated_states",
            Self::MaxRepeatedStates => "policy.max_repeated_states",
            Self::OpenRefused => "policy.open_refused",
            Self::Attempts => "policy.attempts",
            Self::MaxAttempts => "policy.max_attempts",
        }
    }
}
