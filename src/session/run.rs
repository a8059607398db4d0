//! A run in the making, whose calls the caller proposes.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};

use crate::agent::{Agent, RunError};
use crate::event::Totals;
use crate::evidence::STATE;
use crate::evidence::expect::Observed;
use crate::evidence::recorder::Recorder;
use crate::evidence::write::{Settlement, Staging, Standing, StateWriter, TraceWriter, WriteError};
use crate::file;
use crate::governor::Outcome;
use crate::host::HostFault;
use crate::inputs::Inputs;
use crate::isolation::{Status, confined};
use crate::json;
use crate::ledger::Push;
use crate::llm::Reply;
use crate::place;
use crate::policy::path::probe;
use crate::run::{self, Course};
use crate::state::End;

use super::error::Error;

/// A run in the making: the caller proposes calls, policy decides about each of them, the project's tools
/// execute those that are allowed, and everything is recorded.
///
/// The run lies in `FOLDER.partial`, locked, until [`Session::finish`] puts it in its place. A session
/// that is dropped before leaves it there, as a killed `gatedrun run` does, and `gatedrun verify`, `show`
/// and `list` call it unfinished.
///
/// Two sessions can run side by side, in different folders. Time in a session is the logical clock of a
/// stub run: 1 ms per event, and the waits between attempts, for which nobody sleeps.
#[must_use = "a session that is dropped leaves an unfinished run"]
pub struct Session {
    agent: Agent<'static>,
    inputs: Inputs,
    made: Arc<Mutex<Made>>,
    staging: Staging,
    isolation: Status,
    end: Option<End>,
    is_broken: bool,
}

/// What a proposal results in.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The outcome of each call, in the order of the calls. Where the run ends early, the calls that were
    /// not reached have none.
    pub outcomes: Vec<Outcome>,
    /// How the run has ended, if it has.
    pub end: Option<End>,
}

/// A finished run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The folder that holds it.
    pub folder: Utf8PathBuf,
    /// How it ended.
    pub end: End,
    /// What it has used.
    pub totals: Totals,
    /// Expectations of the task that are not met, in words.
    pub unmet: Vec<String>,
    /// Whether the kernel held the tools to the run's own folder.
    pub isolation: Status,
}

/// A run of which the first event is recorded.
struct Begun {
    agent: Agent<'static>,
    made: Arc<Mutex<Made>>,
    end: Option<End>,
    isolation: Status,
}

/// What is made of the events as they come.
struct Made {
    recorder: Recorder<StateWriter, TraceWriter>,
    /// What the task's expectations are held against, where it has some: it grows with the run.
    observed: Option<Observed>,
}

impl Made {
    fn push(&mut self, push: Push<'_>) -> io::Result<()> {
        match push {
            Push::Record(record, line, sha256) => {
                if let Some(observed) = &mut self.observed {
                    observed.push(record);
                }
                self.recorder.push(record, line, sha256)
            }
            Push::Durable => self.recorder.flush(),
        }
    }

    /// Makes what was recorded outlive this process, and as the policy asks, the machine.
    fn flush(&mut self) -> Result<(), Error> {
        self.recorder.flush().map_err(unwritten)
    }
}

fn unwritten(error: io::Error) -> Error {
    HostFault::of(&error, STATE, "written").into()
}

impl Session {
    /// Begins a run of a task in `folder`; `home` is the task's own place.
    pub(super) fn begin(inputs: Inputs, folder: &Utf8Path, home: &Utf8Path) -> Result<Self, Error> {
        place::check_folder(folder)?;
        if !place::is_one_place(folder, home) {
            place::check_elsewhere(folder)?;
        }
        if file::at(folder)?.is_some() {
            return Err(Error::Exists(folder.to_owned()));
        }
        probe()?;
        let mut staging = Staging::begin(folder, false).map_err(|error| match error {
            WriteError::Partial { partial, .. } => Error::Unfinished(partial),
            error => Error::Write(error),
        })?;
        match Self::open(&inputs, &mut staging) {
            Ok(Begun { agent, made, end, isolation }) => {
                Ok(Self { agent, inputs, made, staging, isolation, end, is_broken: false })
            }
            Err(error) => {
                // Nothing was proposed yet, so there is nothing to keep.
                let _ = staging.remove();
                Err(error)
            }
        }
    }

    /// Records the beginning of the run.
    fn open(inputs: &Inputs, staging: &mut Staging) -> Result<Begun, Error> {
        let durability = inputs.policy.durability(inputs.task.llm.identity().path);
        let (state, trace) = staging.writers(0, durability)?;
        let observed = inputs.task.expected.as_ref().map(|_| Observed::default());
        let recorder = Recorder::new(state, trace);
        let made = Arc::new(Mutex::new(Made { recorder, observed }));
        let (events, work) = (Arc::clone(&made), staging.work());
        let begin = || -> Result<(Agent<'static>, Option<End>), RunError> {
            let sink = move |push: Push<'_>| locked(&events).push(push);
            let mut agent = run::begin(inputs, work, Course::fresh(), sink)?;
            let end = ended(&mut agent, false)?;
            Ok((agent, end))
        };
        let isolation = inputs.policy.rules.sandbox_path.isolation;
        let (begun, status) = confined(isolation, staging.folder(), begin)?;
        let (agent, end) = begun?;
        locked(&made).flush()?;
        Ok(Begun { agent, made, end, isolation: status })
    }

    /// Proposes calls: what a model replied. Each is decided, executed if it is allowed, and recorded,
    /// before this returns; what is returned is on the disk, as the policy's `durability` says.
    ///
    /// A budget counts what the reply used, as the caller states it with [`Reply::usage`], or else as
    /// estimated: a token for every four bytes of the conversation and of the reply, at no cost. A reply
    /// that goes beyond a budget ends the run, and none of its calls is executed.
    ///
    /// # Errors
    /// [`Error::Reply`] for a reply without calls, or with an answer. [`Error::Ended`]. Other errors end
    /// the session; what was recorded is kept.
    pub fn propose(&mut self, reply: impl Into<Reply>) -> Result<Step, Error> {
        let reply = reply.into();
        if reply.calls.is_empty() || reply.final_answer.is_some() {
            return Err(Error::Reply("a proposal has calls, and no answer: give that to `finish`"));
        }
        self.take(reply)
    }

    /// How the run has ended, if it has.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// The folder in which the run is made: `FOLDER.partial`.
    pub fn partial(&self) -> &Utf8Path {
        self.staging.folder()
    }

    /// Ends the run with an answer, and puts it in its place: ledger, trace, report and manifest. Where
    /// policy or a failure has ended the run already, the answer does not count and is not recorded:
    /// [`Run::end`] says which it was.
    ///
    /// # Errors
    /// [`Error::Reply`] for an answer with calls, or without text. In every case of an error, what was
    /// recorded is kept, in `FOLDER.partial`.
    pub fn finish(mut self, answer: impl Into<Reply>) -> Result<Run, Error> {
        if self.end.is_none() {
            let reply = answer.into();
            if !reply.calls.is_empty() || reply.final_answer.is_none() {
                return Err(Error::Reply("an answer has a text, and no calls: propose those"));
            }
            self.take(reply)?;
        }
        let Self { agent, inputs, made, staging, isolation, end, is_broken } = self;
        let broken = || Error::Broken(staging.folder().to_owned());
        // The agent hands its events to what is taken apart here.
        drop(agent);
        let made = Arc::into_inner(made).and_then(|made| made.into_inner().ok());
        let (Some(Made { recorder, observed }), Some(end), false) = (made, end, is_broken) else {
            return Err(broken());
        };
        let recorded = recorder.finish().map_err(unwritten)?;
        staging.write_rest(&recorded.report, &recorded.manifest)?;
        let expected = inputs.task.expected.as_ref().zip(observed);
        let unmet = expected.map_or_else(Vec::new, |(expected, seen)| seen.unmet(expected));
        let settlement = match staging.standing()? {
            Standing::New => Settlement::Accept,
            // Somebody has put it there meanwhile, and a session replaces nothing.
            Standing::Identical | Standing::Different => Settlement::Propose,
        };
        let target = staging.target().to_owned();
        let folder = staging.settle(settlement)?.unwrap_or(target);
        Ok(Run { folder, end, totals: recorded.summary.totals, unmet, isolation })
    }

    /// Takes a reply as a step of the run.
    fn take(&mut self, reply: Reply) -> Result<Step, Error> {
        if self.is_broken {
            return Err(Error::Broken(self.staging.folder().to_owned()));
        }
        if let Some(end) = &self.end {
            return Err(Error::Ended(Box::new(end.clone())));
        }
        // Until the step has ended well.
        self.is_broken = true;
        let calls = reply.calls.into_iter();
        let calls = calls.map(|(tool, arguments)| (tool, json::normal(arguments))).collect();
        let reply = Reply { calls, ..reply };
        let agent = &mut self.agent;
        let step = || -> Result<Step, RunError> {
            let Some(request) = agent.ask(|request| Ok(reply.used(request)))? else {
                return Ok(Step { outcomes: Vec::new(), end: Some(agent.end()?) });
            };
            let taken = agent.take(&request, reply)?;
            let end = ended(agent, taken.ends_run)?;
            let outcomes = taken.handled.into_iter().map(|handled| handled.outcome).collect();
            Ok(Step { outcomes, end })
        };
        let isolation = self.inputs.policy.rules.sandbox_path.isolation;
        let (taken, status) = confined(isolation, self.staging.folder(), step)?;
        let step = taken?;
        locked(&self.made).flush()?;
        self.isolation = status;
        self.end.clone_from(&step.end);
        self.is_broken = false;
        Ok(step)
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("partial", &self.staging.folder())
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// Ends the run where it ends, and says how: whoever proposes learns at once that no further step is
/// allowed.
fn ended(agent: &mut Agent<'_>, ends_run: bool) -> Result<Option<End>, RunError> {
    match ends_run || !agent.may_step()? {
        true => agent.end().map(Some),
        false => Ok(None),
    }
}

fn locked(made: &Mutex<Made>) -> MutexGuard<'_, Made> {
    made.lock().unwrap_or_else(PoisonError::into_inner)
}
