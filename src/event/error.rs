//! The words of failure: error classes with what each means, and the modes in which a run fails.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Rule;

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolError {
    /// The error's name.
    pub class: ErrorClass,
    /// The source of the error.
    pub source: ErrorSource,
    /// What kind of trouble it is.
    pub category: ErrorCategory,
    /// Whether trying again can help.
    pub retryable: bool,
    /// What happened, in words; holds no path outside the mounts.
    pub message: String,
}

impl ToolError {
    /// An error of this class, with the source, category and retryability that the class has.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        let (source, category, retryable) = class.classify();
        Self { class, source, category, retryable, message: message.into() }
    }
}

words! {
    /// The names of errors: a closed set, each with one source, one category and one answer to
    /// whether trying again can help.
    pub enum ErrorClass {
        /// The service did not answer this time.
        ServiceUnavailable => "service_unavailable",
        /// No result came within the time that policy allows.
        TimedOut => "timed_out",
        /// The effect took place, and its result was lost when the run was cut short.
        ResultLost => "result_lost",
        /// Nothing exists under that name.
        NotFound => "not_found",
        /// The name is not that of a regular file, or leads out of its mount.
        NotPermitted => "not_permitted",
        /// The content is larger than policy lets through.
        TooLarge => "too_large",
        /// The content is not UTF-8 text.
        NotText => "not_text",
        /// No route leads to that host.
        HostUnreachable => "host_unreachable",
        /// The file system refused. Older runs recorded this; it now stops the run and is not recorded.
        StorageFailed => "storage_failed",
        /// The result does not fit the tool's contract.
        OutputSchema => "output_schema",
        /// The tool panicked.
        Panicked => "panicked",
        /// An error without a class of its own.
        Unclassified => "unclassified",
        /// A rule of policy forbids the call.
        PolicyDenied => "policy_denied",
        /// The LLM proposed arguments that do not fit the tool's contract.
        InvalidArguments => "invalid_arguments",
        /// The LLM proposed the same call too often.
        RepeatedCall => "repeated_call",
        /// The run has used up a budget.
        BudgetExhausted => "budget_exhausted",
        /// The steps of the run repeat the same state too often.
        NoProgress => "no_progress",
    }
}

impl ErrorClass {
    /// Source, category and whether trying again can help.
    pub fn classify(self) -> (ErrorSource, ErrorCategory, bool) {
        use ErrorCategory as C;
        use ErrorSource as S;
        match self {
            Self::ServiceUnavailable => (S::Network, C::Unavailable, true),
            Self::TimedOut => (S::Timeout, C::Timeout, true),
            Self::ResultLost => (S::Agent, C::Unknown, false),
            Self::NotFound => (S::Tool, C::NotFound, false),
            Self::NotPermitted => (S::Tool, C::Permission, false),
            Self::TooLarge => (S::Tool, C::TooLarge, false),
            Self::NotText => (S::Tool, C::MalformedOutput, false),
            Self::HostUnreachable => (S::Network, C::NotFound, false),
            Self::StorageFailed => (S::Tool, C::Unavailable, false),
            Self::OutputSchema => (S::Tool, C::MalformedOutput, false),
            Self::Panicked => (S::Tool, C::Internal, false),
            Self::Unclassified => (S::Tool, C::Unknown, false),
            Self::PolicyDenied => (S::Guardrail, C::Permission, false),
            Self::InvalidArguments => (S::Llm, C::InvalidArguments, false),
            Self::RepeatedCall => (S::Llm, C::NoProgress, false),
            Self::BudgetExhausted => (S::Agent, C::RateLimited, false),
            Self::NoProgress => (S::Agent, C::NoProgress, false),
        }
    }

    /// Whether the class means that the tool itself is broken: nobody foresaw this, so the run
    /// stops instead of guessing.
    pub fn is_unforeseen(self) -> bool {
        matches!(self, Self::OutputSchema | Self::Panicked | Self::Unclassified)
    }

    /// Whether the effect of an attempt that ended so may have taken place or not. Any other class
    /// says that it certainly did, or certainly did not.
    pub fn leaves_effect_unknown(self) -> bool {
        match self {
            Self::ServiceUnavailable
            | Self::TimedOut
            | Self::ResultLost
            | Self::StorageFailed
            | Self::Panicked
            | Self::Unclassified => true,
            // Nothing was reached, or nothing was done: the tool looked before it acted.
            Self::NotFound
            | Self::NotPermitted
            | Self::TooLarge
            | Self::NotText
            | Self::HostUnreachable
            | Self::PolicyDenied
            | Self::InvalidArguments
            | Self::RepeatedCall
            | Self::BudgetExhausted
            | Self::NoProgress => false,
            // It was done: only what came back is not as promised.
            Self::OutputSchema => false,
        }
    }

    /// The error class of a denial by this rule.
    pub fn of_rule(rule: Rule) -> Self {
        match rule {
            Rule::ToolRegistry | Rule::UrlAllowlist | Rule::SandboxPath => Self::PolicyDenied,
            Rule::ArgSchema => Self::InvalidArguments,
            Rule::CycleDetection => Self::RepeatedCall,
            Rule::LoopBudget => Self::BudgetExhausted,
            Rule::Progress => Self::NoProgress,
        }
    }
}

words! {
    /// The source of an error.
    pub enum ErrorSource {
        /// The LLM.
        Llm => "llm",
        /// A tool.
        Tool => "tool",
        /// The run as a whole.
        Agent => "agent",
        /// A rule of policy.
        Guardrail => "guardrail",
        /// The time.
        Timeout => "timeout",
        /// What lies between here and a host.
        Network => "network",
    }
}

words! {
    /// What kind of trouble an error is.
    pub enum ErrorCategory {
        /// A budget is used up.
        RateLimited => "rate_limited",
        /// The arguments do not fit the contract.
        InvalidArguments => "invalid_arguments",
        /// Not available now.
        Unavailable => "unavailable",
        /// No answer in time.
        Timeout => "timeout",
        /// It does not exist.
        NotFound => "not_found",
        /// It exists, but the caller may not use it.
        Permission => "permission",
        /// Larger than a limit allows.
        TooLarge => "too_large",
        /// The output does not fit the contract or is not text.
        MalformedOutput => "malformed_output",
        /// The run repeats itself.
        NoProgress => "no_progress",
        /// A bug in a tool or in the program.
        Internal => "internal",
        /// The cause is unknown.
        Unknown => "unknown",
    }
}

words! {
    /// The ways in which a run is known to go wrong: a closed set.
    pub enum FailureMode {
        /// F1: an attempt or a call failed, in a foreseen way; the run continues.
        ToolCallFailure => "tool_call_failure",
        /// F2: a failure that may pass did not, and no attempt is left.
        RetryExhaustion => "retry_exhaustion",
        /// F3: the arguments do not fit the tool's contract.
        SchemaMismatch => "schema_mismatch",
        /// F4: the same call too often.
        CycleDetection => "cycle_detection",
        /// F5: an unclassified error, or a panic.
        CataloguedUnhandled => "catalogued_unhandled",
    }
}
