//! Tries another policy on recorded runs: which decisions change, and from where on the rest is
//! unknown, because another decision would have led elsewhere.
//!
//! First the loop runs over the record, with the other policy at the gate and nothing executed,
//! until a decision changes. Then, where the LLM is a stub and the caller has a folder for it, it goes
//! on from there for real; otherwise what follows is said to be unknown.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use crate::agent::RunError;
use crate::event::{Decision, Detail, Event, ExecutionPath, GateDecided, Record, Subject};
use crate::governor::Recovery;
use crate::host::HostFault;
use crate::inputs::Inputs;
use crate::ledger::{Answer, Divergence, LedgerError, Pair, Past, Push, Reader};
use crate::policy::spec::{OnDeny, Policy};
use crate::run::{Course, drive};

use crate::evidence::summary::decision_word;
use crate::evidence::{STATE, open};

/// What another policy would have done in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Backtest {
    /// How much of the run is known under it.
    pub standing: Standing,
    /// The first step whose course is another; null where nothing changed.
    pub from_step: Option<u64>,
    /// How many decisions the record holds.
    pub decisions: u64,
    /// Those that change.
    pub changes: Vec<Change>,
    /// Whether the run was gone on with for real from the change on, its LLM being a stub.
    pub continued: bool,
    /// Recorded decisions of which nothing is known.
    pub unknown: Vec<Change>,
    /// What there is to say besides.
    pub notes: Vec<String>,
}

/// Why a policy cannot be tried on a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untried {
    /// The record cannot be read.
    #[error("{STATE}: {0}; `gatedrun verify` says what is wrong with the run")]
    Unreadable(String),
    /// The task asks for something else than the run was made with.
    #[error("the task has changed: {0}")]
    OtherTask(String),
    /// The machine refused what going on for real needs.
    #[error("{fault}; {}", .fault.remedy())]
    Host {
        /// What.
        fault: HostFault,
    },
}

/// How much of a run is known under another policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// All of what was recorded: nothing changed, or nothing that was recorded follows the change,
    /// or the run ends with it.
    Exact,
    /// What follows this step is unknown from the record.
    Bounded(u64),
}

/// A decision that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
    pub was: Option<String>,
    /// What is decided now; null where nothing is, or nobody knows.
    pub now: Option<String>,
    /// Why, in the words of the rule that decides now.
    pub reason: Option<String>,
}

/// A decision as it is compared: what it is about, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Made {
    seq: u64,
    step: u64,
    call_id: Option<String>,
    tool: Option<String>,
    word: String,
    reason: String,
    /// Whether it is a deny about the run and not about a call.
    ends_the_run: bool,
}

/// What a decision is about: the call, or the step and the limit.
type About = (Option<String>, u64, Option<String>);

/// Tries the policy of `inputs` on the run in `folder`. What is gone on with for real writes to
/// `work`; without it nothing is executed. `before` is the policy that the run was made with, where
/// it is at hand.
///
/// # Errors
/// Why it cannot be tried.
pub fn backtest(
    folder: &Utf8Path,
    inputs: &Inputs,
    before: &Policy,
    work: Option<Utf8PathBuf>,
) -> Result<Backtest, Untried> {
    let (judged, at_step) = (Mutex::new(Judged::default()), AtomicU64::new(0));
    let unreadable = |error: &dyn ToString| Untried::Unreadable(error.to_string());
    let state = || open::open(&folder.join(STATE)).map_err(|error| unreadable(&error));
    let mut seen = Seen::default();
    let bound = |policy: &Policy| policy.results.max_bytes;
    let same_bound = bound(before) == bound(&inputs.policy);
    let course = Course::from(Past::trusted(state()?, |pair: Pair<'_>| {
        let mut judged = judged.lock().unwrap_or_else(PoisonError::into_inner);
        judged.judge(pair, at_step.load(Ordering::Relaxed))
    }));
    // A past runs no tool, so nothing is written here.
    let nowhere = Utf8PathBuf::new();
    let result = drive(inputs, nowhere, course, |push| {
        if let Push::Record(record, ..) = push {
            if let Some(step) = record.step {
                at_step.store(step, Ordering::Relaxed);
            }
            seen.push(record);
            // What was cut cannot be cut otherwise: the rest of it is not recorded.
            if let Event::ToolFinished(finished) = &record.event
                && finished.cut
                && !(same_bound && seen.policy_version == before.version)
            {
                return Err(io::Error::other("cut"));
            }
        }
        Ok(())
    });
    let mut judged = judged.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut test = Backtest {
        standing: Standing::Exact,
        from_step: None,
        decisions: seen.decisions,
        changes: std::mem::take(&mut judged.warnings),
        continued: false,
        unknown: Vec::new(),
        notes: std::mem::take(&mut judged.notes),
    };
    let (at, divergence) = match result {
        Ok(()) => {
            test.from_step = test.changes.first().map(|change| change.step);
            return Ok(test);
        }
        Err(RunError::Ledger(LedgerError::Diverged(divergence))) => {
            (divergence.recorded.seq, Some(divergence))
        }
        Err(RunError::Ledger(LedgerError::Sink(_))) => (seen.seq, None),
        Err(RunError::Ledger(LedgerError::Ends(records))) => {
            test.notes.push(format!("the record ends after {records} events, and the run goes on"));
            return Ok(test);
        }
        Err(RunError::Llm(error)) => return Err(Untried::OtherTask(error.to_string())),
        Err(error) => return Err(unreadable(&error)),
    };
    let recorded = decisions(state()?, at).map_err(|error| unreadable(&error))?;
    test.decisions += recorded.len() as u64;
    let of = |divergence: &Divergence| divergence.step.or(divergence.recorded.step);
    let step = match &divergence {
        Some(divergence) => of(divergence).unwrap_or(seen.step + 1),
        None => seen.step,
    };
    test.from_step = test.changes.iter().map(|change| change.step).chain([step]).min();
    let was = recorded.first().filter(|made| made.seq == at);
    let now = divergence.as_ref().and_then(|divergence| Made::instead(divergence, step));
    let is_decision = was.is_some() || now.is_some();
    let ends = divergence.as_ref().is_some_and(|divergence| ends_the_run(divergence, inputs));
    let is_last = recorded.iter().all(|made| made.seq == at);
    if !(ends || is_decision && is_last) {
        test.standing = Standing::Bounded(step);
    }
    if let Some(note) = divergence.as_ref().and_then(|divergence| other_course(divergence, ends)) {
        test.notes.push(format!("step {step}: {note}"));
    } else if !is_decision {
        let what = divergence.as_ref().map_or("a result that was cut", |d| d.computed.kind());
        test.notes.push(format!("step {step}: {what} is another, so the LLM hears something else"));
    }
    match work.filter(|_| seen.path == Some(ExecutionPath::Stub)) {
        _ if ends => test.changes.extend(differences(&recorded, now.as_slice(), 0)),
        Some(work) => go_on(folder, inputs, work, at, &recorded, &mut test)?,
        None => {
            let (first, rest) = recorded.split_at(usize::from(was.is_some()));
            test.changes.extend(differences(first, now.as_slice(), step));
            test.unknown.extend(rest.iter().map(|made| made.change_to(None)));
        }
    }
    Ok(test)
}

/// Goes on for real from the event at which the course is another.
fn go_on(
    folder: &Utf8Path,
    inputs: &Inputs,
    work: Utf8PathBuf,
    at: u64,
    recorded: &[Made],
    test: &mut Backtest,
) -> Result<(), Untried> {
    let state =
        open::open(&folder.join(STATE)).map_err(|error| Untried::Unreadable(error.to_string()))?;
    let mut judged = Judged::default();
    let course = Course {
        recovery: Recovery { rebuild: true, reconciled: None },
        ..Course::from(Past::first(at, state, move |pair| judged.judge(pair, 0)))
    };
    let (mut now, mut step) = (Vec::new(), 0);
    // The last step that the run begins.
    let mut begun = 0;
    let result = drive(inputs, work, course, |push| {
        if let Push::Record(record, ..) = push {
            step = record.step.unwrap_or(step);
            begun = begun.max(step);
            if record.seq >= at {
                now.extend(Made::of(record, step + 1));
            }
        }
        Ok::<(), io::Error>(())
    });
    match result {
        Ok(()) => test.continued = true,
        Err(RunError::Host(fault)) => return Err(Untried::Host { fault }),
        Err(error) => test.notes.push(format!("going on for real ended early: {error}")),
    }
    test.changes.extend(differences(recorded, &now, begun));
    Ok(())
}

/// Whether the run ends with what is now: by a deny, or since a deny that was recorded ends it.
fn ends_the_run(divergence: &Divergence, inputs: &Inputs) -> bool {
    match &divergence.computed {
        Event::GateDecided(now) => {
            let on_deny = now.rule_id.map(|rule| inputs.policy.on_deny(rule));
            now.decision == Decision::Deny && on_deny == Some(OnDeny::Terminate)
        }
        // A step that leaves out calls is the last one.
        Event::StepFinished(_) => matches!(divergence.recorded.event, Event::GateDecided(_)),
        Event::RunFinished(_) => true,
        _ => false,
    }
}

/// How the run takes another course where no decision is made anew.
fn other_course(divergence: &Divergence, ends: bool) -> Option<&'static str> {
    match (&divergence.recorded.event, &divergence.computed) {
        (_, Event::GateDecided(_)) => None,
        (Event::RunFinished(_), _) => Some("the run goes on, where it ended before"),
        _ if ends => Some("the run ends, where it went on before"),
        _ => None,
    }
}

/// The decisions of a record from an event on.
fn decisions(state: impl io::Read, from: u64) -> Result<Vec<Made>, LedgerError> {
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

/// What differs between two lists of decisions, each held against the one about the same thing. A
/// rule that ended a run before a step lets it go on where that step has `begun`.
fn differences(was: &[Made], now: &[Made], begun: u64) -> Vec<Change> {
    let mut by_subject: BTreeMap<About, Vec<&Made>> = BTreeMap::new();
    for made in now {
        by_subject.entry(made.about()).or_default().push(made);
    }
    let mut changes = Vec::new();
    let mut matched = HashSet::new();
    for made in was {
        let found = by_subject.get_mut(&made.about()).filter(|found| !found.is_empty());
        let found = found.map(|found| found.remove(0));
        match found {
            Some(found) => {
                matched.insert((found.seq, found.about()));
                if found.word != made.word {
                    changes.push(made.change_to(Some(found)));
                }
            }
            None => {
                let lifted = made.ends_the_run && made.step <= begun;
                let change = made.change_to(None);
                let allow = lifted.then(|| Decision::Allow.as_str().to_owned());
                changes.push(Change { now: allow, ..change });
            }
        }
    }
    for made in now.iter().filter(|made| !matched.contains(&(made.seq, made.about()))) {
        changes.push(Change {
            seq: None,
            step: made.step,
            call_id: made.call_id.clone(),
            tool: made.tool.clone(),
            was: None,
            now: Some(made.word.clone()),
            reason: Some(made.reason.clone()),
        });
    }
    changes
}

impl Made {
    fn of(record: &Record, next_step: u64) -> Option<Self> {
        let Event::GateDecided(gate) = &record.event else { return None };
        Some(Self {
            seq: record.seq,
            step: record.step.unwrap_or(next_step),
            call_id: gate.call_id.clone(),
            tool: gate.tool.clone(),
            word: decision_word(gate),
            reason: gate.reason.clone(),
            ends_the_run: gate.subject == Subject::Step && gate.decision == Decision::Deny,
        })
    }

    /// What is decided instead of what was recorded, if a decision is.
    fn instead(divergence: &Divergence, step: u64) -> Option<Self> {
        let event = divergence.computed.clone();
        let step = Some(step);
        Self::of(&Record { step, event, ..divergence.recorded.clone() }, 0)
    }

    /// A call is the same call wherever its decision stands; a decision about the run is the same
    /// where it says the same of the same step.
    fn about(&self) -> About {
        match &self.call_id {
            Some(call_id) => (Some(call_id.clone()), 0, None),
            None => (None, self.step, Some(self.word.clone())),
        }
    }

    fn change_to(&self, now: Option<&Self>) -> Change {
        Change {
            seq: Some(self.seq),
            step: self.step,
            call_id: self.call_id.clone(),
            tool: self.tool.clone(),
            was: Some(self.word.clone()),
            now: now.map(|now| now.word.clone()),
            reason: now.map(|now| now.reason.clone()),
        }
    }
}

/// What the pass over the record sees.
#[derive(Debug, Default)]
struct Seen {
    decisions: u64,
    seq: u64,
    step: u64,
    path: Option<ExecutionPath>,
    policy_version: String,
}

impl Seen {
    fn push(&mut self, record: &Record) {
        self.seq = record.seq;
        self.step = record.step.unwrap_or(self.step);
        match &record.event {
            Event::RunStarted(started) => {
                self.path = Some(started.llm.path);
                self.policy_version.clone_from(&started.policy_version);
            }
            Event::GateDecided(_) => self.decisions += 1,
            _ => {}
        }
    }
}

/// Says what may differ under another policy without another course being taken.
#[derive(Debug, Default)]
struct Judged {
    warnings: Vec<Change>,
    notes: Vec<String>,
}

impl Judged {
    /// `at_step` is the step of the events before.
    fn judge(&mut self, pair: Pair<'_>, at_step: u64) -> Answer {
        let warning = |event: &Event| match event {
            Event::GateDecided(gate)
                if gate.subject == Subject::Step && gate.decision == Decision::Allow =>
            {
                Some((**gate).clone())
            }
            _ => None,
        };
        let step = pair.recorded.step.unwrap_or(at_step + 1);
        match (&pair.recorded.event, pair.computed) {
            (Event::RunStarted(recorded), Event::RunStarted(computed)) => {
                for input in &computed.inputs {
                    let other = recorded
                        .inputs
                        .iter()
                        .find(|other| other.role == input.role && other.path == input.path);
                    if input.role != crate::event::InputRole::Policy && other != Some(input) {
                        self.notes.push(format!(
                            "the {} {} has changed since",
                            input.role.as_str(),
                            input.path
                        ));
                    }
                }
                Answer::Same
            }
            (Event::GateDecided(recorded), Event::GateDecided(computed))
                if is_same_decision(recorded, computed) =>
            {
                Answer::Same
            }
            (recorded, computed) => match (warning(recorded), warning(computed)) {
                (Some(was), _) => {
                    self.warn(Some(pair.recorded.seq), step, Some(&was), None);
                    Answer::Removed
                }
                (None, Some(now)) => {
                    self.warn(None, step, None, Some(&now));
                    Answer::Added
                }
                (None, None) => Answer::Stop,
            },
        }
    }

    fn warn(
        &mut self,
        seq: Option<u64>,
        step: u64,
        was: Option<&GateDecided>,
        now: Option<&GateDecided>,
    ) {
        self.warnings.push(Change {
            seq,
            step,
            call_id: None,
            tool: None,
            was: was.map(decision_word),
            now: now.map(decision_word),
            reason: now.map(|now| now.reason.clone()),
        });
    }
}

/// Whether two decisions are one: about the same, and with the same answer of the same rule.
fn is_same_decision(a: &GateDecided, b: &GateDecided) -> bool {
    let limit = |gate: &GateDecided| gate.details.get(&Detail::LimitKind).cloned();
    (a.subject, &a.call_id, a.decision, a.rule_id, limit(a))
        == (b.subject, &b.call_id, b.decision, b.rule_id, limit(b))
}
