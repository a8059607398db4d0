//! What a run asked for, what was decided about it, and what was done: act by act. Two runs are
//! compared by what they ask and not by position, so that a decision is held against the decision
//! about the same call, and one call more or less changes nothing about the others.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::event::{Event, Record, Ruling};
use crate::json::{Digest, canonical};

use super::align::{Proposed, aligned};
use super::manifest::{FileDigest, Work};
use super::text::counted;

/// What was asked, in order, and the files that were written.
#[derive(Debug, Default)]
pub struct Acts {
    list: Vec<Act>,
    /// Where the calls of the step in hand begin.
    open: usize,
    step: u64,
    work: Work,
}

/// Something that was decided about, or would have been.
#[derive(Debug)]
struct Act {
    step: u64,
    about: About,
    decision: Option<Ruling>,
    /// SHA-256 of the arguments that the tool was started with: those proposed, defaults filled in.
    started: Option<Digest>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum About {
    /// Whether the run may go on, in this step.
    Run(u64),
    /// Whether this call may run.
    Call(Proposed),
}

impl Act {
    fn is_denied(&self) -> bool {
        self.decision.is_some_and(Ruling::is_denial)
    }

    fn tool(&self) -> Option<String> {
        match &self.about {
            About::Run(_) => None,
            About::Call(proposed) => Some(proposed.tool.clone()),
        }
    }
}

/// An act that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The step; of what is no longer asked, the earlier run's.
    pub step: u64,
    /// The tool; none for a decision about the run.
    pub tool: Option<String>,
    /// What changed.
    pub what: What,
    /// Whether what was denied is no longer denied.
    pub loosened: bool,
    /// Whether what was allowed is denied.
    pub tightened: bool,
}

/// What changed of an act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The decision: as it was, and as it is now.
    Decision(String, String),
    /// The arguments that are proposed in this place, to the same tool and with the same decision.
    Arguments,
    /// The arguments that the tool is started with; those proposed are the same.
    Defaults,
    /// The place: the step in which it was asked.
    Place(u64),
}

impl Changed {
    /// In words, such as `step 2 fetch: deny:url_allowlist -> allow, LOOSENED`.
    pub fn words(&self) -> String {
        let what = match &self.what {
            What::Decision(was, now) => format!("{was} -> {now}"),
            What::Arguments => "proposed with other arguments".to_owned(),
            What::Defaults => "runs with other defaults".to_owned(),
            What::Place(was) => format!("asked in another order, was step {was}"),
        };
        let about = self.tool.as_deref().unwrap_or("the run");
        let loosened = if self.loosened { ", LOOSENED" } else { "" };
        format!("step {} {about}: {what}{loosened}", self.step)
    }
}

/// An act without its like in the other run at its place among the pairs, and what is asked there.
#[derive(Clone, Copy)]
struct Alone<'a> {
    index: usize,
    act: &'a Act,
    at_place: Option<&'a Act>,
}

/// How a run ends, as far as that explains what it does not ask.
struct End {
    /// Whether a denial ended it.
    is_denied: bool,
    /// The last step that it asked something in.
    step: u64,
}

impl End {
    /// A run without an answer that was denied last was ended by that.
    fn of(acts: &Acts, has_answer: bool) -> Self {
        let decided = acts.list.iter().rev().find(|act| act.decision.is_some());
        Self {
            is_denied: !has_answer && decided.is_some_and(Act::is_denied),
            step: acts.list.last().map_or(0, |act| act.step),
        }
    }

    /// Whether a denial is not asked for again for another reason than that nothing denies it: the
    /// run ended before, or the same rule denies what is asked in its place.
    fn explains(&self, was: &Act, at_place: Option<&Act>, is_last: bool) -> bool {
        let is_over = self.is_denied && is_last;
        match (&was.about, at_place) {
            (About::Run(step), _) => is_over && self.step < *step,
            (About::Call(_), None) => is_over,
            (About::Call(_), Some(now)) => {
                now.is_denied() && (is_over || (is_call(now) && now.decision == was.decision))
            }
        }
    }
}

/// Holds what is asked in another place now against itself: such pairs are taken from what is gone
/// and from what is new.
fn take_moved<'a>(gone: &mut Vec<Alone<'a>>, new: &mut Vec<Alone<'a>>, found: &mut Vec<Changed>) {
    let mut by_about: HashMap<&About, VecDeque<Alone<'a>>> = HashMap::new();
    for alone in gone.iter() {
        by_about.entry(&alone.act.about).or_default().push_back(*alone);
    }
    let mut is_moved = BTreeSet::new();
    new.retain(|Alone { act: now, .. }| {
        let was = by_about.get_mut(&now.about).and_then(VecDeque::pop_front);
        let Some(Alone { index, act: was, .. }) = was else { return true };
        is_moved.insert(index);
        let moved = || changed(now, What::Place(was.step));
        found.push(compared(was, now).unwrap_or_else(moved));
        false
    });
    gone.retain(|alone| !is_moved.contains(&alone.index));
}

impl Acts {
    /// Takes the next record.
    pub fn push(&mut self, record: &Record) {
        self.step = record.step.unwrap_or(self.step);
        self.work.push(record);
        match &record.event {
            Event::LlmReplied(replied) => {
                self.open = self.list.len();
                let step = self.step;
                self.list.extend(replied.calls.iter().map(|call| {
                    let proposed = Proposed::new(&call.tool, &canonical(&call.arguments));
                    Act { step, about: About::Call(proposed), decision: None, started: None }
                }));
            }
            Event::GateDecided(gate) => {
                let word = Some(gate.ruling());
                let is_due = |act: &&mut Act| is_call(act) && act.decision.is_none();
                if gate.call_id.is_none() {
                    let step = record.step.unwrap_or(self.step + 1);
                    let about = About::Run(step);
                    self.list.push(Act { step, about, decision: word, started: None });
                } else if let Some(act) = self.of_step().find(is_due) {
                    act.decision = word;
                }
            }
            Event::ToolStarted(started) => {
                let is_decided = |act: &&mut Act| is_call(act) && act.decision.is_some();
                if let Some(act) = self.of_step().filter(is_decided).last() {
                    act.started = Some(Digest::of(&canonical(&started.arguments)));
                }
            }
            _ => {}
        }
    }

    fn of_step(&mut self) -> impl Iterator<Item = &mut Act> {
        self.list.iter_mut().skip(self.open)
    }

    /// What is not as it was in an earlier run: what is loosened first, then in order. A run without
    /// an answer that ends denied was ended by that: what it does not come to is not let through.
    pub fn changed_from(&self, before: &Self, has_answer: bool) -> Vec<Changed> {
        let end = End::of(self, has_answer);
        let pairs = aligned(&before.list, &self.list, |act| act.about.clone());
        let last_now = pairs.iter().rposition(|(_, now)| now.is_some()).unwrap_or(0);
        let (mut found, mut gone, mut new) = (Vec::new(), Vec::new(), Vec::new());
        let mut is_divided = false;
        for (index, pair) in pairs.iter().enumerate() {
            match *pair {
                (Some(was), Some(now)) if was.about == now.about => {
                    is_divided |= was.step != now.step;
                    found.extend(compared(was, now));
                }
                (was, now) => {
                    gone.extend(was.map(|was| Alone { index, act: was, at_place: now }));
                    new.extend(now.map(|now| Alone { index, act: now, at_place: was }));
                }
            }
        }
        take_moved(&mut gone, &mut new, &mut found);
        let places =
            |list: &[Alone<'_>]| list.iter().map(|one| one.index).collect::<BTreeSet<usize>>();
        let (places_gone, places_new) = (places(&gone), places(&new));
        for Alone { index, act: was, at_place } in gone {
            // What stands in its place is told once, of both.
            let now = at_place.filter(|_| places_new.contains(&index));
            if let Some(now) = now.filter(|now| is_reworded(was, now)) {
                found.push(changed(now, What::Arguments));
                continue;
            }
            let what = What::Decision(word(was), NOT_ASKED.to_owned());
            let loosened = was.is_denied() && !end.explains(was, at_place, index >= last_now);
            found.push(Changed { loosened, ..changed(was, what) });
        }
        for Alone { index, act: now, at_place } in new {
            let was = at_place.filter(|_| places_gone.contains(&index));
            if !was.is_some_and(|was| is_reworded(was, now)) {
                found.push(changed(now, What::Decision(NOT_ASKED.to_owned(), word(now))));
            }
        }
        if found.is_empty() && is_divided {
            let moved = pairs.iter().filter_map(|(was, now)| Some(((*was)?, (*now)?)));
            let first = moved.into_iter().find(|(was, now)| was.step != now.step);
            found.extend(first.map(|(was, now)| changed(now, What::Place(was.step))));
        }
        found.sort_by_key(|changed| (!changed.loosened, changed.step));
        found
    }

    /// The decisions that are not as they were in an earlier run, of those made in both: what a run
    /// that broke off does not come to says nothing.
    pub fn decided_otherwise(&self, before: &Self) -> Vec<Changed> {
        let pairs = aligned(&before.list, &self.list, |act| act.about.clone());
        let both = pairs.iter().filter_map(|(was, now)| Some(((*was)?, (*now)?)));
        let is_decided = |(was, now): &(&Act, &Act)| {
            was.about == now.about && was.decision.is_some() && now.decision.is_some()
        };
        let changed = both.filter(is_decided).filter_map(|(was, now)| compared(was, now));
        let mut found: Vec<Changed> =
            changed.filter(|one| matches!(one.what, What::Decision(..))).collect();
        found.sort_by_key(|changed| (!changed.loosened, changed.step));
        found
    }

    /// The files that were written otherwise than in an earlier run, in words.
    pub fn files_from(&self, before: &Self) -> Vec<String> {
        let (was, now): (&BTreeMap<String, FileDigest>, _) =
            (before.work.files(), self.work.files());
        let gone = was.keys().filter(|path| !now.contains_key(*path));
        let gone = gone.map(|path| format!("{path}: no longer written"));
        let written = now.iter().filter_map(|(path, digest)| match was.get(path) {
            None => Some(format!("{path}: written, was not")),
            Some(earlier) if earlier != digest => Some(format!(
                "{path}: written with other content (was {}, is {})",
                earlier.sha256.short(),
                digest.sha256.short()
            )),
            Some(_) => None,
        });
        let mut all: Vec<String> = gone.chain(written).collect();
        let left_out = all.len().saturating_sub(FILES_MAX);
        all.truncate(FILES_MAX);
        all.extend(
            (left_out > 0).then(|| format!("and {}", counted(left_out, "more file", "more files"))),
        );
        all
    }
}

/// How many files are reported of a run.
const FILES_MAX: usize = 10;

const NOT_ASKED: &str = "not reached";

fn word(act: &Act) -> String {
    act.decision.map_or_else(|| "not decided".to_owned(), |decision| decision.to_string())
}

fn changed(act: &Act, what: What) -> Changed {
    Changed { step: act.step, tool: act.tool(), what, loosened: false, tightened: false }
}

fn is_call(act: &Act) -> bool {
    matches!(act.about, About::Call(_))
}

/// Whether only the arguments differ between what was asked in a place and what is.
fn is_reworded(was: &Act, now: &Act) -> bool {
    is_call(was) && is_call(now) && was.tool() == now.tool() && was.decision == now.decision
}

/// What differs between two acts that ask the same.
fn compared(was: &Act, now: &Act) -> Option<Changed> {
    if was.decision != now.decision {
        let what = What::Decision(word(was), word(now));
        let loosened = was.is_denied() && now.decision.is_some() && !now.is_denied();
        let tightened = was.decision == Some(Ruling::Allow) && now.is_denied();
        return Some(Changed { loosened, tightened, ..changed(now, what) });
    }
    (was.started != now.started).then(|| changed(now, What::Defaults))
}
