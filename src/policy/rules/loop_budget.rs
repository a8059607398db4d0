//! How much a run may use: steps, tokens, cost, calls, attempts, time.
//!
//! A limit is compared before what it counts happens. Where a large share is used, the run is warned
//! once.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::event::{Decision, Detail, Details, GateDecided, Rule, Totals, Usage};

use crate::policy::call::{Denied, OnDeny, Standing};
use crate::policy::section::Fallback::{Number, Unset};
use crate::policy::section::{How, Section};

/// How much a run may use. What is absent has no limit.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct LoopBudget {
    /// Steps.
    pub max_iterations: u64,
    /// Tokens of all LLM calls, in and out.
    pub max_tokens: u64,
    /// Tool calls that are allowed.
    pub max_tool_calls: Option<u64>,
    /// Attempts of tools, retries included.
    pub max_attempts: Option<u64>,
    /// Cost of all LLM calls, in millionths of a US dollar.
    pub max_cost_microusd: Option<u64>,
    /// Milliseconds from the run's first event.
    pub max_elapsed_ms: Option<u64>,
    /// The share of a limit, in percent, from which the run is warned.
    pub warn_at_percent: Option<u64>,
}

/// A budget of which a large share is used. Nothing stops.
#[derive(Debug, Clone, PartialEq)]
pub struct Warning {
    /// Which, in words.
    pub reason: String,
    /// How much, and the limit.
    pub details: Details,
}

/// What the rule remembers of a run.
#[derive(Debug, Default)]
pub struct Spent {
    /// The budgets that the run was warned of.
    warned: BTreeSet<&'static str>,
    /// A budget that could not hold a retry: the call ended with it, and so does the run.
    overrun: Option<Denied>,
}

/// A budget, what is used of it, and what comes next.
struct Limit {
    kind: &'static str,
    key: &'static str,
    used: u64,
    next: u64,
    max: Option<u64>,
    details: (Detail, Detail),
}

/// Before a step: iterations and time.
pub(in crate::policy) fn before_step(
    section: &LoopBudget,
    spent: &mut Spent,
    standing: &Standing,
) -> Result<Vec<Warning>, Denied> {
    spent.overrun.clone().map_or(Ok(()), Err)?;
    spent.weigh(
        section,
        &[
            Limit {
                kind: "iterations",
                key: "max_iterations",
                used: standing.totals.steps,
                next: 1,
                max: Some(section.max_iterations),
                details: (Detail::Iterations, Detail::MaxIterations),
            },
            elapsed(standing, section),
        ],
    )
}

/// Before an LLM call that uses `reserved`: tokens and cost.
pub(in crate::policy) fn before_spending(
    section: &LoopBudget,
    spent: &mut Spent,
    totals: &Totals,
    reserved: Usage,
) -> Result<Vec<Warning>, Denied> {
    spent.weigh(
        section,
        &[
            Limit {
                kind: "tokens",
                key: "max_tokens",
                used: totals.usage.total(),
                next: reserved.total(),
                max: Some(section.max_tokens),
                details: (Detail::Tokens, Detail::MaxTokens),
            },
            Limit {
                kind: "cost_microusd",
                key: "max_cost_microusd",
                used: totals.usage.cost_microusd,
                next: reserved.cost_microusd,
                max: section.max_cost_microusd,
                details: (Detail::CostMicrousd, Detail::MaxCostMicrousd),
            },
        ],
    )
}

/// What an LLM call was expected to use, where the decision is that it would exceed a budget and `used`
/// was used before it; what such a decision does not say of it is zero.
pub fn reserved(gate: &GateDecided, used: Usage) -> Option<Usage> {
    let next = |detail: Detail, used: u64| {
        let then = gate.details.get(&detail)?.as_u64()?;
        // As `exceeded` reports it.
        Some(if then == used { 1 } else { then.saturating_sub(used) })
    };
    if (gate.decision, gate.rule_id) != (Decision::Deny, Some(Rule::LoopBudget)) {
        return None;
    }
    if let Some(input_tokens) = next(Detail::Tokens, used.total()) {
        return Some(Usage { input_tokens, ..Usage::default() });
    }
    let cost_microusd = next(Detail::CostMicrousd, used.cost_microusd)?;
    Some(Usage { cost_microusd, ..Usage::default() })
}

/// Before a call: calls, attempts and time.
pub(in crate::policy) fn before_call(
    section: &LoopBudget,
    spent: &mut Spent,
    standing: &Standing,
) -> Result<Vec<Warning>, Denied> {
    spent.overrun.clone().map_or(Ok(()), Err)?;
    spent.weigh(
        section,
        &[
            Limit {
                kind: "tool_calls",
                key: "max_tool_calls",
                used: standing.totals.calls_allowed,
                next: 1,
                max: section.max_tool_calls,
                details: (Detail::ToolCalls, Detail::MaxToolCalls),
            },
            attempts(standing, section),
            elapsed(standing, section),
        ],
    )
}

/// Before a retry after a wait: attempts, and the time until it begins. Where they do not hold it, the
/// call ends, and what the run asks for next is denied.
pub(in crate::policy) fn before_retry(
    section: &LoopBudget,
    spent: &mut Spent,
    standing: &Standing,
    wait_ms: u64,
) -> bool {
    let time = Limit { next: wait_ms.saturating_add(1), ..elapsed(standing, section) };
    spent.overrun =
        [attempts(standing, section), time].iter().find_map(|limit| exceeded(limit).err());
    spent.overrun.is_none()
}

/// How long may pass until the budget of time is used up.
pub(in crate::policy) fn time_left_ms(section: &LoopBudget, standing: &Standing) -> u64 {
    section.max_elapsed_ms.map_or(u64::MAX, |max| max.saturating_sub(standing.elapsed_ms))
}

/// The warnings about budgets that a call has used up, where nothing else would give them: what
/// comes next is denied.
pub(in crate::policy) fn warn_late(
    section: &LoopBudget,
    spent: &mut Spent,
    standing: &Standing,
) -> Vec<Warning> {
    let time = elapsed(standing, section);
    let is_over = spent.overrun.is_some()
        || time.max.is_some_and(|max| standing.elapsed_ms.saturating_add(1) >= max);
    if !is_over {
        return Vec::new();
    }
    let used = |limit: Limit| Limit { next: 0, ..limit };
    let limits = [used(attempts(standing, section)), used(time)];
    limits.iter().filter_map(|limit| spent.warning(section, limit)).collect()
}

impl Spent {
    /// The first limit that what comes next would exceed; else a warning, once, for each limit of
    /// which a large share would be used.
    fn weigh(&mut self, section: &LoopBudget, limits: &[Limit]) -> Result<Vec<Warning>, Denied> {
        let mut warnings = Vec::new();
        for limit in limits {
            exceeded(limit)?;
            warnings.extend(self.warning(section, limit));
        }
        Ok(warnings)
    }

    /// A warning, once, where a large share of a limit would be used.
    fn warning(&mut self, section: &LoopBudget, limit: &Limit) -> Option<Warning> {
        let (max, percent) = (limit.max?, section.warn_at_percent?);
        let then = limit.used.saturating_add(limit.next);
        let large = u128::from(then) * 100 >= u128::from(max) * u128::from(percent);
        if !large || !self.warned.insert(limit.kind) {
            return None;
        }
        let mut details = limit.details(then, max);
        details.insert(Detail::WarnAtPercent, percent.into());
        Some(Warning {
            reason: format!(
                "{then} of {max} {} will be used, {percent} % or more of loop_budget.{}",
                limit.kind, limit.key
            ),
            details,
        })
    }
}

impl Limit {
    fn details(&self, told: u64, max: u64) -> Details {
        Details::from([
            (Detail::LimitKind, self.kind.into()),
            (self.details.0, told.into()),
            (self.details.1, max.into()),
        ])
    }
}

/// Whether what comes next would exceed a limit.
fn exceeded(limit: &Limit) -> Result<(), Denied> {
    let Some(max) = limit.max else { return Ok(()) };
    let then = limit.used.saturating_add(limit.next);
    if then <= max {
        return Ok(());
    }
    Err(Denied {
        rule: Rule::LoopBudget,
        reason: format!(
            "{} of {max} {} are used and the next needs {}; loop_budget.{} allows no more",
            limit.used, limit.kind, limit.next, limit.key
        ),
        // Steps and calls are reported as counted; what is spent, with what would be added.
        details: limit.details(if limit.next == 1 { limit.used } else { then }, max),
        on_deny: OnDeny::Terminate,
    })
}

/// The budget of attempts, which counts before a call and before a retry.
fn attempts(standing: &Standing, section: &LoopBudget) -> Limit {
    Limit {
        kind: "attempts",
        key: "max_attempts",
        used: standing.totals.attempts,
        next: 1,
        max: section.max_attempts,
        details: (Detail::Attempts, Detail::MaxAttempts),
    }
}

/// The budget of time, which counts before a step, before a call and before a retry.
fn elapsed(standing: &Standing, section: &LoopBudget) -> Limit {
    Limit {
        kind: "elapsed_ms",
        key: "max_elapsed_ms",
        used: standing.elapsed_ms,
        next: 1,
        max: section.max_elapsed_ms,
        details: (Detail::ElapsedMs, Detail::MaxElapsedMs),
    }
}

/// What there is to say of the section.
pub const SECTION: Section = Section {
    keys: &[
        ("loop_budget.max_iterations", Number(10)),
        ("loop_budget.max_tokens", Number(50_000)),
        ("loop_budget.max_tool_calls", Unset("no limit")),
        ("loop_budget.max_attempts", Unset("no limit")),
        ("loop_budget.max_cost_microusd", Unset("no limit")),
        ("loop_budget.max_elapsed_ms", Unset("no limit")),
        ("loop_budget.warn_at_percent", Unset("no warning")),
    ],
    tried: &[
        ("loop_budget.max_iterations", How::Decided),
        ("loop_budget.max_tokens", How::Decided),
        ("loop_budget.max_tool_calls", How::Decided),
        ("loop_budget.max_attempts", How::Computed),
        ("loop_budget.max_cost_microusd", How::Decided),
        ("loop_budget.max_elapsed_ms", How::Decided),
        ("loop_budget.warn_at_percent", How::Decided),
    ],
    samples: &[
        ("loop_budget", "max_iterations: 10"),
        ("loop_budget.warn_at_percent", "warn_at_percent: 80"),
    ],
    ..Section::SILENT
};
