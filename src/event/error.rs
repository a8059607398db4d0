//! The words of failure: error classes with what each means.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use ErrorCategory as C;
use ErrorSource as S;

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
        let ErrorFacts { source, category, retryable, .. } = class.facts();
        Self { class, source, category, retryable, message: message.into() }
    }
}

words! {
    /// The names of errors: a closed set. Each has one source, one category, and says
    /// whether trying again can help.
    pub enum ErrorClass with ErrorFacts {
        /// The service did not answer this time.
        ServiceUnavailable => "service_unavailable", is(S::Network, C::Unavailable).retryable().in_doubt();
        /// No result came within the time that policy allows.
        TimedOut => "timed_out", is(S::Timeout, C::Timeout).retryable().in_doubt();
        /// The effect took place, and its result was lost when the run was cut short.
        ResultLost => "result_lost", is(S::Agent, C::Unknown).done();
        /// Nothing exists under that name.
        NotFound => "not_found", is(S::Tool, C::NotFound);
        /// The name is not that of a regular file, or leads out of its mount.
        NotPermitted => "not_permitted", is(S::Tool, C::Permission);
        /// The content is larger than policy lets through.
        TooLarge => "too_large", is(S::Tool, C::TooLarge);
        /// The content is not UTF-8 text.
        NotText => "not_text", is(S::Tool, C::MalformedOutput);
        /// No route leads to that host.
        HostUnreachable => "host_unreachable", is(S::Network, C::NotFound);
        /// The file system refused. Older runs recorded this; it now stops the run and is not recorded.
        StorageFailed => "storage_failed", is(S::Tool, C::Unavailable).in_doubt();
        /// The result does not fit the tool's contract.
        OutputSchema => "output_schema", is(S::Tool, C::MalformedOutput).unforeseen().done();
        /// The tool panicked.
        Panicked => "panicked", is(S::Tool, C::Internal).unforeseen().in_doubt();
        /// An error without a class of its own.
        Unclassified => "unclassified", is(S::Tool, C::Unknown).unforeseen().in_doubt();
        /// A rule of policy forbids the call.
        PolicyDenied => "policy_denied", is(S::Guardrail, C::Permission);
        /// The LLM proposed arguments that do not fit the tool's contract.
        InvalidArguments => "invalid_arguments", is(S::Llm, C::InvalidArguments);
        /// The LLM proposed the same call too often.
        RepeatedCall => "repeated_call", is(S::Llm, C::NoProgress);
        /// The run has used up a budget.
        BudgetExhausted => "budget_exhausted", is(S::Agent, C::RateLimited);
        /// The steps of the run repeat the same state too often.
        NoProgress => "no_progress", is(S::Agent, C::NoProgress);
    }
}

/// What an error class means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorFacts {
    /// The source of the error.
    pub source: ErrorSource,
    /// What kind of trouble it is.
    pub category: ErrorCategory,
    /// Whether trying again can help.
    pub retryable: bool,
    /// Whether the tool itself is broken: nobody foresaw this, so the run stops instead of guessing.
    pub is_unforeseen: bool,
    /// What became of the effect of an attempt that ended so.
    pub effect: EffectState,
}

/// What became of an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EffectState {
    /// It certainly did not take place: nothing was reached, or the tool looked before it acted.
    NotDone,
    /// It took place: only what came back is missing or not as promised.
    Done,
    /// It may have taken place or not.
    Unknown,
}

const fn is(source: ErrorSource, category: ErrorCategory) -> ErrorFacts {
    ErrorFacts {
        source,
        category,
        retryable: false,
        is_unforeseen: false,
        effect: EffectState::NotDone,
    }
}

impl ErrorFacts {
    const fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    const fn unforeseen(mut self) -> Self {
        self.is_unforeseen = true;
        self
    }

    const fn done(mut self) -> Self {
        self.effect = EffectState::Done;
        self
    }

    const fn in_doubt(mut self) -> Self {
        self.effect = EffectState::Unknown;
        self
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
        /// The time limit.
        Timeout => "timeout",
        /// The network between here and a host.
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
