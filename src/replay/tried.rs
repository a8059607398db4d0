//! What trying a policy on runs results in: a verdict per run, what was required of it, and the sums.

use std::fmt;
use std::ops::AddAssign;

use camino::Utf8PathBuf;
use schemars::JsonSchema;
use serde::Serialize;

use crate::event::{Rule, Ruling};

use super::backtest::{Backtest, Standing};
use super::decisions::{Change, Direction};

/// What trying a policy on a run results in.
#[derive(Debug, JsonSchema, Serialize)]
#[serde(untagged)]
pub enum Tried {
    /// Its decisions were made again.
    Tested(Tested),
    /// Nothing is known of it.
    Refused(Refused),
}

/// A run on which no policy can be tried.
#[derive(Debug, JsonSchema, Serialize)]
pub struct Refused {
    /// The run, or the path that was named.
    #[schemars(with = "String")]
    pub run: Utf8PathBuf,
    /// `failed` where what it was made with cannot be loaded; else the word of `verify`, or
    /// `unreadable`.
    pub verdict: &'static str,
    /// Why.
    pub message: String,
    /// The exit code that it is worth.
    #[serde(skip)]
    pub code: u8,
}

/// What a back-test found in a run.
#[derive(Debug, JsonSchema, Serialize)]
pub struct Tested {
    /// The run.
    #[schemars(with = "String")]
    pub run: Utf8PathBuf,
    /// What the policy would have done.
    #[serde(flatten)]
    pub test: Backtest,
    /// Decisions that were required and are lost, or have an unknown result.
    pub lost: Vec<Change>,
    /// How many decisions change, and which way.
    pub counts: Counts,
    /// Whether no change at all was required, and there is one that is not a decision.
    #[serde(skip)]
    is_another: bool,
    #[serde(skip)]
    required: Vec<Requirement>,
}

/// How many decisions change, and which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Counts {
    /// What was denied is allowed.
    pub deny_to_allow: u64,
    /// What was allowed is denied.
    pub allow_to_deny: u64,
    /// Any other change.
    pub other: u64,
    /// Decisions with an unknown result.
    pub unknown: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.deny_to_allow += other.deny_to_allow;
        self.allow_to_deny += other.allow_to_deny;
        self.other += other.other;
        self.unknown += other.unknown;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { deny_to_allow, allow_to_deny, other, unknown } = self;
        write!(
            f,
            "deny -> allow: {deny_to_allow}, allow -> deny: {allow_to_deny}, other: {other}, unknown: {unknown}"
        )
    }
}

/// What may not be lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// Nothing may change.
    NoChange,
    /// This decision: `deny`, `allow`, or with its rule.
    Decision(Ruling),
}

/// The word for that nothing may change.
const NO_CHANGE: &str = "no-change";

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoChange => f.write_str(NO_CHANGE),
            Self::Decision(ruling) => ruling.fmt(f),
        }
    }
}

impl Requirement {
    /// Reads what `--require` names.
    ///
    /// # Errors
    /// That it names nothing, with what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == NO_CHANGE {
            return Ok(Self::NoChange);
        }
        Ruling::parse(text).map(Self::Decision).map_err(|_| {
            format!(
                "--require {text:?}: not a decision; write no-change, allow, deny, warn, or deny:RULE or warn:RULE with one of {}",
                Rule::ALL.map(Rule::as_str).join(", ")
            )
        })
    }

    /// That nothing was checked of it, in words.
    pub fn unmatched(&self) -> String {
        match self {
            Self::NoChange => "no run could be tested, so nothing was checked".to_owned(),
            Self::Decision(word) => {
                format!(
                    "no recorded decision matches {word}, so nothing was checked; name runs that have one (`gatedrun list` shows them), or require something else"
                )
            }
        }
    }

    /// Whether a decision is one of those.
    pub fn matches(&self, ruling: Ruling) -> bool {
        match self {
            Self::NoChange => true,
            Self::Decision(required) => required.covers(ruling),
        }
    }

    /// Whether a change loses what is required. A call that is no longer reached is not let
    /// through; one with an unknown result may be.
    fn is_lost(&self, change: &Change, is_unknown: bool) -> bool {
        let Self::Decision(required) = self else { return true };
        let Some(was) = change.was.filter(|was| self.matches(*was)) else { return false };
        match change.now {
            Some(now) => !self.matches(now),
            None => is_unknown || *required == Ruling::Allow || was.is_warning(),
        }
    }
}

/// A decision that changes or may, as it is reported.
#[derive(Debug, Clone)]
pub struct Told<'t> {
    /// The decision.
    pub change: &'t Change,
    /// What is decided now, or what there is to say instead.
    pub now: String,
    /// Whether it was required and is lost.
    pub is_lost: bool,
    /// Whether what was denied is allowed.
    pub is_loosened: bool,
}

impl Tested {
    /// Holds a back-test against what is required.
    pub fn new(run: Utf8PathBuf, test: Backtest, required: &[Requirement]) -> Self {
        let mut counts = Counts { unknown: test.unknown.len() as u64, ..Counts::default() };
        for change in &test.changes {
            match change.direction() {
                Direction::Loosened => counts.deny_to_allow += 1,
                Direction::Tightened => counts.allow_to_deny += 1,
                Direction::Other => counts.other += 1,
            }
        }
        let is_another = required.contains(&Requirement::NoChange)
            && (test.from_step.is_some() || test.standing != Standing::Exact);
        let required = required.to_vec();
        let mut one = Self { run, test, lost: Vec::new(), counts, is_another, required };
        one.lost = one.told().filter(|told| told.is_lost).map(|told| told.change.clone()).collect();
        one
    }

    /// Whether something that was required is lost.
    pub fn is_red(&self) -> bool {
        self.is_another || !self.lost.is_empty()
    }

    /// The decisions that change, and those with an unknown result.
    pub fn told(&self) -> impl Iterator<Item = Told<'_>> {
        let changes = self.test.changes.iter().map(|change| (change, false));
        let unknown = self.test.unknown.iter().map(|change| (change, true));
        changes.chain(unknown).map(|(change, is_unknown)| {
            let otherwise = match change.was {
                _ if is_unknown => "unknown",
                // It stops nothing, so nothing says that it was not reached.
                Some(was) if was.is_warning() => "not given",
                _ => "not reached",
            };
            Told {
                change,
                now: change.now.map_or_else(|| otherwise.to_owned(), |now| now.to_string()),
                is_lost: self.required.iter().any(|one| one.is_lost(change, is_unknown)),
                is_loosened: change.direction() == Direction::Loosened,
            }
        })
    }

    /// How much of the run is known, in words.
    pub fn standing(&self) -> String {
        let continued = if self.test.continued { ", continued with real tool calls" } else { "" };
        match self.test.standing {
            Standing::Exact => format!("exact{continued}"),
            Standing::Bounded(step) if self.test.continued => format!("bounded@{step}{continued}"),
            Standing::Bounded(step) => format!("bounded@{step}, what follows is unknown"),
        }
    }
}

/// The runs whose decisions were made again.
pub fn tested(tried: &[Tried]) -> impl Iterator<Item = &Tested> {
    tried.iter().filter_map(|one| match one {
        Tried::Tested(tested) => Some(tested),
        Tried::Refused(_) => None,
    })
}

/// What was required and matches no recorded decision: nothing was checked of it.
pub fn unmatched<'r>(tried: &[Tried], required: &'r [Requirement]) -> Vec<&'r Requirement> {
    let is_recorded = |requirement: &&Requirement| {
        if **requirement == Requirement::NoChange {
            return tested(tried).next().is_some();
        }
        let mut words = tested(tried).flat_map(|one| one.test.words.keys());
        words.any(|word| requirement.matches(*word))
    };
    required.iter().filter(|requirement| !is_recorded(requirement)).collect()
}
