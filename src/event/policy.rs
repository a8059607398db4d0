//! The words of policy: what it judges, what it decides, and by which rule.

use std::collections::BTreeMap;

use serde_json::Value;

use super::error::ErrorClass::{
    self, BudgetExhausted, InvalidArguments, PolicyDenied, RepeatedCall,
};
use super::outcome::FailureMode;
use super::outcome::TerminalReason::{self, FailureModeTerminal, PolicyDenialTerminal};

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
    pub enum Rule with RuleFacts {
        /// The tool is registered, and not denied.
        ToolRegistry => "tool_registry", ends(PolicyDenied, PolicyDenialTerminal);
        /// Every URL that the call fetches is on the allowlist.
        UrlAllowlist => "url_allowlist", ends(PolicyDenied, PolicyDenialTerminal);
        /// Every path that the call reads or writes stays in a mount that permits it.
        SandboxPath => "sandbox_path", ends(PolicyDenied, PolicyDenialTerminal);
        /// The arguments fit the tool's contract.
        ArgSchema => "arg_schema",
            ends(InvalidArguments, FailureModeTerminal).mode(FailureMode::SchemaMismatch);
        /// The same call has not been made too often.
        CycleDetection => "cycle_detection",
            ends(RepeatedCall, PolicyDenialTerminal).mode(FailureMode::CycleDetection);
        /// The run is within its budgets.
        LoopBudget => "loop_budget", ends(BudgetExhausted, TerminalReason::LoopBudget);
        /// The run makes progress: its steps do not repeat the same state too often.
        Progress => "progress", ends(ErrorClass::NoProgress, TerminalReason::NoProgress);
    }
}

/// What a denial by a rule means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleFacts {
    /// The error class of the denial.
    pub class: ErrorClass,
    /// The reason why a run ends, if the denial ends it.
    pub terminal_reason: TerminalReason,
    /// The failure mode of a run that it ends.
    pub failure_mode: Option<FailureMode>,
}

const fn ends(class: ErrorClass, terminal_reason: TerminalReason) -> RuleFacts {
    RuleFacts { class, terminal_reason, failure_mode: None }
}

impl RuleFacts {
    const fn mode(mut self, mode: FailureMode) -> Self {
        self.failure_mode = Some(mode);
        self
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

words! {
    /// A key of `details`.
    pub enum Detail under "policy." {
        /// The tool's name as proposed.
        RequestedTool => "requested_tool",
        /// How the registry answered: `denied`, `not_allowed` or `allowed`.
        RegistryMatch => "registry_match",
        /// The tool whose contract was applied.
        Tool => "tool",
        /// The URL as proposed.
        Url => "url",
        /// The host as the URL standard reads it.
        Host => "host",
        /// The path as proposed.
        TargetPath => "target_path",
        /// The path relative to its mount, after `.` and `..` are resolved.
        ResolvedPath => "resolved_path",
        /// The mount that the path may not leave.
        SandboxRoot => "sandbox_root",
        /// What the arguments' schema objects to.
        SchemaError => "schema_error",
        /// JSON pointer to the offending argument; `/` for the arguments as a whole.
        FailedPath => "failed_path",
        /// Which budget it is.
        LimitKind => "limit_kind",
        /// Iterations so far.
        Iterations => "iterations",
        /// Iterations at most.
        MaxIterations => "max_iterations",
        /// Tokens so far, and what the next call would add.
        Tokens => "tokens",
        /// Tokens at most.
        MaxTokens => "max_tokens",
        /// How often this call has been made, this time included.
        Repeats => "repeats",
        /// How often it may be made.
        MaxRepeats => "max_repeats",
        /// Tool calls so far, this one included.
        ToolCalls => "tool_calls",
        /// Tool calls at most.
        MaxToolCalls => "max_tool_calls",
        /// Cost so far, and what the next call would add, in millionths of a US dollar.
        CostMicrousd => "cost_microusd",
        /// Cost at most.
        MaxCostMicrousd => "max_cost_microusd",
        /// Milliseconds since the run began.
        ElapsedMs => "elapsed_ms",
        /// Milliseconds at most.
        MaxElapsedMs => "max_elapsed_ms",
        /// The share of a limit from which a budget warns.
        WarnAtPercent => "warn_at_percent",
        /// The first 12 hexadecimal digits of the SHA-256 of the repeated state.
        Fingerprint => "fingerprint",
        /// How many steps had this state.
        RepeatedStates => "repeated_states",
        /// How many steps may have the same state.
        MaxRepeatedStates => "max_repeated_states",
        /// What the kernel refused when the path was opened: a fact of that moment, not of the call.
        OpenRefused => "open_refused",
        /// Attempts of tools so far, and what the next would add.
        Attempts => "attempts",
        /// Attempts of tools at most.
        MaxAttempts => "max_attempts",
    }
}
