//! What each key of a policy can change in a recorded run, and how a back-test finds out.
//!
//! Most keys are asked again while the loop runs over the record: decisions, retries and the bound
//! of a result are computed and compared. The limits that act inside a tool are not: what a tool
//! would have returned under another limit is not recorded. [`Limits`] says of each recorded attempt
//! whether it may have gone another way.

use crate::contract::Contract;
use crate::event::{Effect, ErrorClass, ToolAttempted, ToolFinished};
use crate::policy::common::sections;
use crate::policy::section::How;
use crate::policy::spec::Policy;

/// Every key of a policy, and how a back-test treats it. A test holds the list against the
/// meta-schema.
pub fn keys() -> impl Iterator<Item = &'static (&'static str, How)> {
    sections().flat_map(|section| section.tried)
}

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
        let limit =
            |key, value: fn(&Policy) -> u64| Limit { key, was: was.map(value), now: value(now) };
        Self {
            read: limit("sandbox.max_read_bytes", |p| p.rules.sandbox_path.max_read_bytes),
            write: limit("sandbox.max_write_bytes", |p| p.rules.sandbox_path.max_write_bytes),
            // Computed again, but for a result that was cut already.
            results: limit("results.max_bytes", |p| p.results.max_bytes),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Contracts;

    /// A rule may say that a key acts inside a tool; what it can change there is weighed here.
    #[test]
    fn every_key_that_acts_inside_a_tool_is_weighed() {
        let smallest = b"version: 1\ntool_registry:\n  allowed: []\n";
        let policy = crate::policy::load("p", smallest, &Contracts::default()).unwrap();
        let limits = Limits::of(None, &policy);
        let bounded = keys().filter(|(_, how)| *how == How::Bounded).map(|(key, _)| *key);
        assert_eq!(bounded.collect::<Vec<_>>(), [limits.read.key, limits.write.key]);
    }
}
