//! Tries another policy on recorded runs: which decisions change, and from where on the rest is
//! unknown, because another decision would have led elsewhere.
//!
//! First the loop runs over the record, with the other policy at the gate and nothing executed,
//! until a decision changes. Then, where the LLM is a stub and the caller has a folder for it, it goes
//! on from there for real; otherwise what follows is said to be unknown.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use schemars::JsonSchema;
use serde::Serialize;

use crate::agent::RunError;
use crate::event::{Decision, Event, ExecutionPath, Record, Ruling};
use crate::governor::Recovery;
use crate::host::HostFault;
use crate::inputs::Inputs;
use crate::ledger::{Divergence, LedgerError, Pair, Past, Push};
use crate::policy::{call::OnDeny, spec::Policy};
use crate::run::{Course, drive, replies};

use crate::evidence::{STATE, open};

use super::decisions::{Change, Made, Until, decisions, differences};
use super::judged::Judged;
use super::limits::Limits;

/// What another policy would have done in a run.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Backtest {
    /// How much of the run is known under it.
    #[serde(rename = "verdict")]
    pub standing: Standing,
    /// The first step that differs; null where nothing changed.
    pub from_step: Option<u64>,
    /// How many decisions the record holds.
    pub decisions: u64,
    /// Those that change.
    pub changes: Vec<Change>,
    /// Whether the run was continued live after the change, with a stub LLM.
    pub continued: bool,
    /// Recorded decisions with an unknown result. Where what follows was never recorded, one entry
    /// without `was` and `now` stands for it.
    pub unknown: Vec<Change>,
    /// What there is to say besides.
    pub notes: Vec<String>,
    /// How often each decision was recorded.
    #[serde(skip)]
    pub words: BTreeMap<Ruling, u64>,
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
    /// The machine refused to read the record, or what continuing for real needs.
    #[error("{fault}; {}", .fault.remedy())]
    Host {
        /// What.
        fault: HostFault,
    },
}

impl Untried {
    /// That the record at `path` cannot be read: the machine's doing, or the record's own.
    fn unread(path: &Utf8Path, error: LedgerError) -> Self {
        match error {
            LedgerError::Read(error) if HostFault::is_one(&error) => {
                Self::Host { fault: HostFault::of(&error, path.as_str(), "read") }
            }
            error => Self::Unreadable(error.to_string()),
        }
    }
}

/// How much of a run is known under another policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// All of what was recorded: nothing changed, or nothing that was recorded follows the change,
    /// or the run ends with it.
    Exact,
    /// What follows this step is unknown from the record.
    Bounded(u64),
}

/// Tries the policy of `inputs` on the run in `folder`. What is continued with real tool calls writes
/// to `work`; without it nothing is executed. `before` is the policy that the run was made with, where
/// it is available. Whether the record holds together is for [`crate::evidence::verify`] to say.
///
/// # Errors
/// Why it cannot be tried.
pub fn backtest(
    folder: &Utf8Path,
    inputs: &Inputs,
    before: &Policy,
    work: Option<Utf8PathBuf>,
) -> Result<Backtest, Untried> {
    let ledger = folder.join(STATE);
    let unread = |error| Untried::unread(&ledger, error);
    let state = || open::open(&ledger).map_err(|error| unread(LedgerError::Read(error)));
    let mut seen = Seen::default();
    let (end, mut judged) =
        over_the_record(&ledger, [state()?, state()?], inputs, before, &mut seen);
    let recorded = decisions(state()?, 0).map_err(unread)?;
    // Under other inputs than the policy's the LLM or a tool would say something else.
    let is_same_world = judged.notes.is_empty();
    let mut test = Backtest {
        standing: Standing::Exact,
        from_step: None,
        decisions: recorded.len() as u64,
        changes: judged.warnings.iter().map(|(_, change)| change.clone()).collect(),
        continued: false,
        unknown: Vec::new(),
        notes: std::mem::take(&mut judged.notes),
        words: BTreeMap::new(),
    };
    for made in &recorded {
        *test.words.entry(made.word).or_default() += 1;
    }
    let (at, divergence) = match end {
        Pass::Same => {
            test.from_step = test.changes.first().map(|change| change.step);
            return Ok(test);
        }
        Pass::Untried(untried) => return Err(untried),
        Pass::Limited(key) => {
            let step = seen.step;
            test.notes.push(format!("step {step}: the result depends on {key}, which differs"));
            (seen.intent, None)
        }
        Pass::Diverged(divergence) => {
            // The call that led there is made again, since what its tool returned is not recorded whole.
            let of_a_call = matches!(
                divergence.recorded.event,
                Event::ToolAttempted(_) | Event::ToolFinished(_)
            );
            (if of_a_call { seen.intent } else { divergence.recorded.seq }, Some(divergence))
        }
        Pass::BrokeOff(error) => {
            let step = seen.step.max(1);
            test.notes.push(format!("step {step}: the record could not be followed: {error}"));
            test.standing = Standing::Bounded(step);
            test.from_step = test.changes.iter().map(|change| change.step).chain([step]).min();
            let open = recorded.iter().filter(|made| made.seq > seen.seq);
            test.unknown.extend(open.map(|made| made.change_to(None)));
            test.name_what_follows(step);
            return Ok(test);
        }
    };
    let recorded: Vec<Made> = recorded.into_iter().filter(|made| made.seq >= at).collect();
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
    if let Some(divergence) = &divergence {
        if let Some(note) = other_limit(divergence) {
            test.notes.push(format!("step {step}: {note}"));
        } else if let Some(note) = other_course(divergence, ends) {
            test.notes.push(format!("step {step}: {note}"));
        } else if !is_decision {
            let what = divergence.computed.kind();
            test.notes.push(format!(
                "step {step}: {what} differs, so the LLM would receive different input"
            ));
        }
    }
    let mut follows = step;
    let (changes, unknown) = match work
        .filter(|_| is_same_world && seen.path == Some(ExecutionPath::Stub))
    {
        _ if ends => differences(&recorded, now.as_slice(), Until { begun: 0, is_end: true }),
        Some(work) => {
            let (mut made, mut begun) = (Vec::new(), 0);
            match continued(folder, inputs, work, at, &mut made, &mut begun) {
                Ok(()) => test.continued = true,
                Err(RunError::Host(fault)) => return Err(Untried::Host { fault }),
                Err(RunError::Ledger(LedgerError::Read(error))) if HostFault::is_one(&error) => {
                    return Err(unread(LedgerError::Read(error)));
                }
                Err(error) => {
                    test.standing = Standing::Bounded(step);
                    test.notes.push(format!(
                        "step {step}: continuing stopped, so what follows is unknown: {error}"
                    ));
                    follows = begun.max(step);
                    // The first decision is known from the record, whatever the rest.
                    if made.is_empty() {
                        made.extend(now);
                    }
                }
            }
            // A warning that comes just before the change is given again by what continues there.
            let again = |at_event: u64, change: &Change| {
                at_event >= at && made.iter().any(|made| made.is(change))
            };
            test.changes = std::mem::take(&mut judged.warnings)
                .into_iter()
                .filter(|(at_event, change)| !again(*at_event, change))
                .map(|(_, change)| change)
                .collect();
            differences(&recorded, &made, Until { begun, is_end: test.continued })
        }
        None => {
            let begins =
                |divergence: &Divergence| matches!(divergence.computed, Event::StepStarted(_));
            let begun = if divergence.as_deref().is_some_and(begins) { step } else { 0 };
            differences(&recorded, now.as_slice(), Until { begun, is_end: false })
        }
    };
    test.changes.extend(changes);
    test.unknown.extend(unknown);
    if !test.continued && test.standing != Standing::Exact {
        test.name_what_follows(follows);
    }
    Ok(test)
}

impl Backtest {
    /// Where the record holds nothing of what is unknown, says that something is.
    fn name_what_follows(&mut self, step: u64) {
        if self.unknown.is_empty() {
            self.unknown.push(Change {
                seq: None,
                step,
                call_id: None,
                tool: None,
                was: None,
                now: None,
                reason: Some("what follows was not recorded".to_owned()),
                recorded_reason: None,
            });
        }
    }
}

/// How the pass over the record ended.
enum Pass {
    /// Nothing else would have happened.
    Same,
    /// Something else is computed.
    Diverged(Box<Divergence>),
    /// An outcome depends on this key, and what it would have been is not recorded.
    Limited(&'static str),
    /// It cannot be tried.
    Untried(Untried),
    /// The record could not be followed; nothing is known of what comes later.
    BrokeOff(String),
}

/// Runs the loop over the record, with the other policy at the gate and nothing executed.
fn over_the_record(
    path: &Utf8Path,
    [state, said]: [impl io::Read + Send; 2],
    inputs: &Inputs,
    before: &Policy,
    seen: &mut Seen,
) -> (Pass, Judged) {
    let judged = Mutex::new(Judged::under(&inputs.policy));
    let at_step = AtomicU64::new(0);
    let past = Past::trusted(state, |pair: Pair<'_>| {
        let mut judged = judged.lock().unwrap_or_else(PoisonError::into_inner);
        judged.judge(pair, at_step.load(Ordering::Relaxed))
    });
    let course = Course { replies: Some(replies(said)), ..Course::from(past) };
    let mut limits = Limits::of(None, &inputs.policy);
    let mut limited = None;
    // A past runs no tool, so nothing is written here.
    let nowhere = Utf8PathBuf::new();
    let result = drive(inputs, nowhere, course, |push| {
        let Push::Record(record, ..) = push else { return Ok(()) };
        if let Some(step) = record.step {
            at_step.store(step, Ordering::Relaxed);
        }
        seen.push(record);
        let contract = seen.tool.as_deref().and_then(|tool| inputs.contracts.get(tool));
        limited = match &record.event {
            Event::RunStarted(started) => {
                let is_known = started.policy_version == before.version;
                limits = Limits::of(is_known.then_some(before), &inputs.policy);
                None
            }
            Event::ToolAttempted(attempted) => limits.of_attempt(contract, attempted),
            Event::ToolFinished(finished) => limits.of_result(contract, finished),
            _ => None,
        };
        match limited {
            Some(key) => Err(io::Error::other(key)),
            None => Ok(()),
        }
    });
    let judged = judged.into_inner().unwrap_or_else(PoisonError::into_inner);
    let pass = match (result, limited) {
        (Ok(()), _) => Pass::Same,
        (Err(RunError::Ledger(LedgerError::Diverged(divergence))), _) => Pass::Diverged(divergence),
        (Err(_), Some(key)) => Pass::Limited(key),
        // A task that is as it was has no reply only where the policy lets the run get further.
        (Err(RunError::Llm(error)), None) if judged.is_other_task => {
            Pass::Untried(Untried::OtherTask(error.to_string()))
        }
        (
            Err(RunError::Ledger(error @ (LedgerError::Read(_) | LedgerError::Malformed { .. }))),
            None,
        ) => Pass::Untried(Untried::unread(path, error)),
        (Err(error), None) => Pass::BrokeOff(error.to_string()),
    };
    (pass, judged)
}

/// Continues with real tool calls from the event at which the course differs. `now` gets the decisions
/// from there on, and `begun` the last step that the run begins, however far it comes.
fn continued(
    folder: &Utf8Path,
    inputs: &Inputs,
    work: Utf8PathBuf,
    at: u64,
    now: &mut Vec<Made>,
    begun: &mut u64,
) -> Result<(), RunError> {
    let state = || open::open(&folder.join(STATE)).map_err(LedgerError::Read);
    let mut judged = Judged::under(&inputs.policy);
    let course = Course {
        recovery: Recovery { rebuild: true, ..Recovery::settled_in(state()?) },
        ..Course::from(Past::first(at, state()?, move |pair| judged.judge(pair, 0)))
    };
    let mut step = 0;
    drive(inputs, work, course, |push| {
        if let Push::Record(record, ..) = push {
            step = record.step.unwrap_or(step);
            *begun = (*begun).max(step);
            if record.seq >= at {
                now.extend(Made::of(record, step + 1));
            }
        }
        Ok::<(), io::Error>(())
    })
}

/// Whether the run ends with what is now: by a denial, or because a recorded denial ends it.
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

/// What a decision says that is the same decision of the same rule for another reason.
fn other_limit(divergence: &Divergence) -> Option<String> {
    let (Event::GateDecided(was), Event::GateDecided(now)) =
        (&divergence.recorded.event, &divergence.computed)
    else {
        return None;
    };
    let is_same = was.ruling() == now.ruling() && was.call_id == now.call_id;
    is_same.then(|| {
        format!("{} for another reason: was {:?}, is {:?}", now.ruling(), was.reason, now.reason)
    })
}

/// How the run takes another course where no decision is made again.
fn other_course(divergence: &Divergence, ends: bool) -> Option<&'static str> {
    match (&divergence.recorded.event, &divergence.computed) {
        (_, Event::GateDecided(_)) => None,
        (Event::RunFinished(_), _) => Some("the run continues where it ended before"),
        _ if ends => Some("the run ends, where it went on before"),
        _ => None,
    }
}

/// What the pass over the record sees.
#[derive(Debug, Default)]
struct Seen {
    seq: u64,
    step: u64,
    path: Option<ExecutionPath>,
    /// The tool that was started last.
    tool: Option<String>,
    /// The event of its intent. A call is made again from there on, so that it is a call like any
    /// other and not one in doubt.
    intent: u64,
}

impl Seen {
    fn push(&mut self, record: &Record) {
        self.seq = record.seq;
        self.step = record.step.unwrap_or(self.step);
        match &record.event {
            Event::RunStarted(started) => self.path = Some(started.llm.path),
            Event::ToolStarted(started) => {
                self.tool = Some(started.tool.clone());
                self.intent = record.seq;
            }
            _ => {}
        }
    }
}
