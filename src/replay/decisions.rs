//! The decisions of a run, as they are compared between two policies.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use schemars::JsonSchema;
use serde::Serialize;

use crate::event::{Decision, Event, Record, Ruling, Subject};
use crate::ledger::{Divergence, LedgerError, Reader};

/// A decision that changes.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Change {
    /// The recorded event; null for a decision that was not made then.
    pub seq: Option<u64>,
    /// The step; of a decision before a step, the step that it was about.
    pub step: u64,
    /// The call; null for a decision about the run.
    pub call_id: Option<String>,
    /// The tool.
    pub tool: Option<String>,
    /// What was decided; null where nothing was.
    #[schemars(with = "Option<String>")]
    pub was: Option<Ruling>,
    /// What is decided now; null where nothing is, or nobody knows.
    #[schemars(with = "Option<String>")]
    pub now: Option<Ruling>,
    /// Why, in the words of the rule that decides now.
    pub reason: Option<String>,
    /// Why it was decided as it was.
    pub recorded_reason: Option<String>,
}

/// Which way a decision changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// What was denied is allowed.
    Loosened,
    /// What was allowed is denied.
    Tightened,
    /// Anything else.
    Other,
}

/// Which way a decision changes from one word to another.
pub fn direction(was: Option<Ruling>, now: Option<Ruling>) -> Direction {
    let is_deny = |word: Option<Ruling>| word.is_some_and(Ruling::is_denial);
    let is_allow = |word: Option<Ruling>| word == Some(Ruling::Allow);
    if is_deny(was) && is_allow(now) {
        Direction::Loosened
    } else if is_allow(was) && is_deny(now) {
        Direction::Tightened
    } else {
        Direction::Other
    }
}

impl Change {
    /// Which way it changes.
    pub fn direction(&self) -> Direction {
        direction(self.was, self.now)
    }
}

/// A decision as it is compared: what it is about, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) seq: u64,
    step: u64,
    call_id: Option<String>,
    tool: Option<String>,
    pub(super) word: Ruling,
    reason: String,
    /// Whether it is a denial about the run and not about a call.
    ends_the_run: bool,
}

/// What a decision is about: the call, or the step and the limit.
type About = (Option<String>, u64, Option<Ruling>);

impl Made {
    pub(super) fn of(record: &Record, next_step: u64) -> Option<Self> {
        let Event::GateDecided(gate) = &record.event else { return None };
        Some(Self {
            seq: record.seq,
            step: record.step.unwrap_or(next_step),
            call_id: gate.call_id.clone(),
            tool: gate.tool.clone(),
            word: gate.ruling(),
            reason: gate.reason.clone(),
            ends_the_run: gate.subject == Subject::Step && gate.decision == Decision::Deny,
        })
    }

    /// What is decided instead of what was recorded, if a decision is.
    pub(super) fn instead(divergence: &Divergence, step: u64) -> Option<Self> {
        let event = divergence.computed.clone();
        let step = Some(step);
        Self::of(&Record { step, event, ..divergence.recorded.clone() }, 0)
    }

    /// A call is the same call wherever its decision stands; a decision about the run is the same
    /// where it says the same of the same step.
    fn about(&self) -> About {
        match &self.call_id {
            Some(call_id) => (Some(call_id.clone()), 0, None),
            None => (None, self.step, Some(self.word)),
        }
    }

    /// Whether a change says that this decision is made now, and was not before.
    pub(super) fn is(&self, change: &Change) -> bool {
        change.was.is_none()
            && (self.step, self.call_id.as_ref()) == (change.step, change.call_id.as_ref())
            && Some(self.word) == change.now
            && Some(&self.reason) == change.reason.as_ref()
    }

    pub(super) fn change_to(&self, now: Option<&Self>) -> Change {
        Change {
            seq: Some(self.seq),
            step: self.step,
            call_id: self.call_id.clone(),
            tool: self.tool.clone(),
            was: Some(self.word),
            now: now.map(|now| now.word),
            reason: now.map(|now| now.reason.clone()),
            recorded_reason: Some(self.reason.clone()),
        }
    }
}

/// The decisions of a record from an event on.
pub(super) fn decisions(state: impl io::Read, from: u64) -> Result<Vec<Made>, LedgerError> {
    let mut reader = Reader::trusting(state);
    let (mut made, mut step) = (Vec::new(), 0);
    while let Some(record) = reader.next_record()? {
        step = record.step.unwrap_or(step);
        if record.seq >= from {
            made.extend(Made::of(&record, step + 1));
        }
    }
    Ok(made)
}

/// How far the decisions of now are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Until {
    /// The last step that the run has begun.
    pub(super) begun: u64,
    /// Whether the run ended: then what was not decided was not reached. Otherwise it is unknown.
    pub(super) is_end: bool,
}

/// What differs between two lists of decisions, each held against the one about the same thing: the
/// changes, and the recorded decisions with an unknown result. A rule that ended a run before a
/// step lets it continue where that step has begun.
pub(super) fn differences(was: &[Made], now: &[Made], until: Until) -> (Vec<Change>, Vec<Change>) {
    let mut by_subject: BTreeMap<About, Vec<&Made>> = BTreeMap::new();
    for made in now {
        by_subject.entry(made.about()).or_default().push(made);
    }
    let (mut changes, mut unknown) = (Vec::new(), Vec::new());
    let mut matched = BTreeSet::new();
    for made in was {
        let found = by_subject.get_mut(&made.about()).filter(|found| !found.is_empty());
        let found = found.map(|found| found.remove(0));
        // It ended the run before a step, and that step has begun.
        let is_lifted = made.ends_the_run && made.step <= until.begun;
        match found {
            Some(found) => {
                matched.insert((found.seq, found.about()));
                if found.word != made.word {
                    changes.push(made.change_to(Some(found)));
                }
            }
            None if is_lifted => {
                changes.push(Change { now: Some(Ruling::Allow), ..made.change_to(None) });
            }
            None if until.is_end => changes.push(made.change_to(None)),
            None => unknown.push(made.change_to(None)),
        }
    }
    for made in now.iter().filter(|made| !matched.contains(&(made.seq, made.about()))) {
        changes.push(Change {
            seq: None,
            step: made.step,
            call_id: made.call_id.clone(),
            tool: made.tool.clone(),
            was: None,
            now: Some(made.word),
            reason: Some(made.reason.clone()),
            recorded_reason: None,
        });
    }
    (changes, unknown)
}
