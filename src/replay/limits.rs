//! What each key of a policy can change in a recorded run, and how a back-test finds out.
//!
//! Most keys are asked again while the loop runs over the record: decisions, retries and the bound
//! of a result are computed and compared. The limits that act inside a tool are not: what a tool
//! would have returned under another limit is not recorded. [`Limits`] says of each recorded attempt
//! whether it may have gone another way.

use crate::contract::Contract;
use crate::event::{Effect, ErrorClass, ToolAttempted, ToolFinished};
use crate::policy::rules::{
    Sections, arg_schema::ArgSchema, cycle_detection::CycleDetection, loop_budget::LoopBudget,
    progress::Progress, sandbox_path::SandboxPath, tool_registry::ToolRegistry,
    url_allowlist::UrlAllowlist,
};
use crate::policy::spec::{Execution, Policy, Results, Retry};

/// How a back-test treats a key of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Every decision is made again.
    Decided,
    /// Every attempt and result is computed again; from the first that differs, the run is bounded.
    Computed,
    /// Acts inside a tool: the run is bounded from the first recorded attempt that it can change.
    Bounded,
    /// Changes no event.
    Nothing,
}

impl How {
    /// What it means, for a person.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decided => "every decision is made again",
            Self::Computed => {
                "computed again; bounded from the first attempt or result that differs"
            }
            Self::Bounded => "bounded from the first recorded attempt that it can change",
            Self::Nothing => "changes no event",
        }
    }
}

/// Every key of a policy. A test holds the list against the meta-schema, and [`Limits::of`] takes
/// the policy apart field by field, so that a new key cannot be forgotten.
pub const KEYS: &[(&str, How)] = &[
    ("version", How::Nothing),
    ("*.examples", How::Nothing),
    ("*.on_deny", How::Decided),
    ("tool_registry.allowed", How::Decided),
    ("tool_registry.denied", How::Decided),
    ("url_allowlist.hosts", How::Decided),
    ("sandbox.read", How::Decided),
    ("sandbox.write", How::Decided),
    ("sandbox.allow_names", How::Decided),
    ("sandbox.max_read_bytes", How::Bounded),
    ("sandbox.max_write_bytes", How::Bounded),
    ("sandbox.isolation", How::Nothing),
    ("arg_schema_enforcement.max_bytes", How::Decided),
    ("arg_schema_enforcement.max_depth", How::Decided),
    ("cycle_detection.max_repeats", How::Decided),
    ("loop_budget.max_iterations", How::Decided),
    ("loop_budget.max_tokens", How::Decided),
    ("loop_budget.max_tool_calls", How::Decided),
    ("loop_budget.max_attempts", How::Computed),
    ("loop_budget.max_cost_microusd", How::Decided),
    ("loop_budget.max_elapsed_ms", How::Decided),
    ("loop_budget.warn_at_percent", How::Decided),
    ("progress.fields", How::Decided),
    ("progress.max_repeated_states", How::Decided),
    ("retry.max_retries", How::Computed),
    ("retry.backoff_base_ms", How::Computed),
    ("retry.backoff_cap_ms", How::Computed),
    ("retry.jitter_percent", How::Computed),
    ("execution.timeout_ms", How::Computed),
    ("results.max_bytes", How::Computed),
    ("durability", How::Nothing),
];

/// A limit that acts inside a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit {
    key: &'static str,
    /// What the run was made under, where that is known.
    was: Option<u64>,
    now: u64,
}

/// The limits that a recorded outcome depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    read: Limit,
    write: Limit,
    results: Limit,
}

impl Limits {
    /// The limits under `now`, and those that the run was made under, where that policy is available.
    pub fn of(was: Option<&Policy>, now: &Policy) -> Self {
        // Each field is named: whoever adds one decides here, and in `KEYS`, how it is tried.
        let Policy {
            // They name the policy; no event but the first depends on them.
            version: _,
            sha256: _,
            // Checked when the policy is loaded.
            examples: _,
            // Asked again at every decision.
            rules:
                Sections {
                    tool_registry: ToolRegistry { allowed: _, denied: _, on_deny: _ },
                    url_allowlist: UrlAllowlist { hosts: _, on_deny: _ },
                    arg_schema: ArgSchema { max_bytes: _, max_depth: _, on_deny: _ },
                    cycle_detection: CycleDetection { max_repeats: _, on_deny: _ },
                    loop_budget:
                        LoopBudget {
                            max_iterations: _,
                            max_tokens: _,
                            max_tool_calls: _,
                            max_attempts: _,
                            max_cost_microusd: _,
                            max_elapsed_ms: _,
                            warn_at_percent: _,
                        },
                    progress,
                    sandbox_path:
                        SandboxPath {
                            read: _,
                            write: _,
                            allow_names: _,
                            on_deny: _,
                            // What tools do inside is not recorded.
                            max_read_bytes: read,
                            max_write_bytes: write,
                            // How the process is confined is not an event.
                            isolation: _,
                        },
                },
            // Computed again for every attempt.
            retry:
                Retry { max_retries: _, backoff_base_ms: _, backoff_cap_ms: _, jitter_percent: _ },
            execution: Execution { timeout_ms: _ },
            // Computed again, but for a result that was cut already.
            results: Results { max_bytes: results },
            // How the ledger is kept is not an event.
            durability: _,
        } = now;
        if let Some(Progress { fields: _, max_repeated_states: _ }) = progress {
            // Asked again before every step.
        }
        let limit = |key, now: &u64, was: fn(&Policy) -> u64, before: Option<&Policy>| Limit {
            key,
            was: before.map(was),
            now: *now,
        };
        Self {
            read: limit(
                "sandbox.max_read_bytes",
                read,
                |p| p.rules.sandbox_path.max_read_bytes,
                was,
            ),
            write: limit(
                "sandbox.max_write_bytes",
                write,
                |p| p.rules.sandbox_path.max_write_bytes,
                was,
            ),
            results: limit("results.max_bytes", results, |p| p.results.max_bytes, was),
        }
    }

    /// The key under which a failed attempt may have gone another way.
    pub fn of_attempt(
        &self,
        contract: Option<&Contract>,
        attempted: &ToolAttempted,
    ) -> Option<&'static str> {
        let class = attempted.error.as_ref()?.class;
        self.inside(contract)
            .find(|(effect, limit)| {
                limit.was != Some(limit.now) && is_after_the_limit(*effect, class)
            })
            .map(|(_, limit)| limit.key)
    }

    /// The key under which a result may be another.
    pub fn of_result(
        &self,
        contract: Option<&Contract>,
        finished: &ToolFinished,
    ) -> Option<&'static str> {
        // The rest of what was cut is not recorded, so it cannot be cut at another place.
        if finished.cut && self.results.was != Some(self.results.now) {
            return Some(self.results.key);
        }
        if !finished.ok && !finished.cut {
            return None;
        }
        self.inside(contract)
            .find(|(_, limit)| {
                // What was within a limit is within a larger one.
                limit.was.is_none_or(|was| limit.now < was) && size(finished) > limit.now
            })
            .map(|(_, limit)| limit.key)
    }

    /// The limits inside a tool.
    fn inside<'s>(
        &'s self,
        contract: Option<&'s Contract>,
    ) -> impl Iterator<Item = (Effect, &'s Limit)> {
        let effects = contract.into_iter().flat_map(|contract| &contract.effects);
        effects.filter_map(|effect| {
            let limit = match effect.effect {
                Effect::ReadPath | Effect::FetchUrl => &self.read,
                Effect::WritePath => &self.write,
                Effect::Compute | Effect::SearchCorpus => return None,
            };
            Some((effect.effect, limit))
        })
    }
}

/// Whether an error shows only once the size was compared with the limit, or is about the limit.
fn is_after_the_limit(effect: Effect, class: ErrorClass) -> bool {
    match class {
        // Before the tool opens anything, or in its place.
        ErrorClass::ServiceUnavailable
        | ErrorClass::TimedOut
        | ErrorClass::ResultLost
        | ErrorClass::HostUnreachable
        | ErrorClass::Panicked
        | ErrorClass::Unclassified => false,
        ErrorClass::NotFound => effect == Effect::WritePath,
        ErrorClass::NotPermitted
        | ErrorClass::TooLarge
        | ErrorClass::NotText
        | ErrorClass::StorageFailed
        | ErrorClass::OutputSchema
        | ErrorClass::PolicyDenied
        | ErrorClass::InvalidArguments
        | ErrorClass::RepeatedCall
        | ErrorClass::BudgetExhausted
        | ErrorClass::NoProgress => true,
    }
}

/// How many bytes were read or written: as the result says or, where it does not, at most.
fn size(finished: &ToolFinished) -> u64 {
    let value = finished.result.as_ref().map(crate::json::JsonText::value);
    let told =
        value.as_ref().and_then(|value| value.get("bytes")).and_then(serde_json::Value::as_u64);
    told.unwrap_or(finished.bytes)
}
