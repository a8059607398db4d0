//! One run, from its inputs to its artifacts. Where the artifacts go is the caller's choice, and so
//! is what is recorded of it already.

use std::io::{self, Write};
use std::sync::atomic::AtomicBool;

use camino::Utf8PathBuf;

use crate::agent::{Agent, RunError};
use crate::clock::Clock;
use crate::event::{Event, Record};
use crate::evidence::recorder::{Recorded, Recorder};
use crate::executor::faulty::Faulty;
use crate::governor::{Governor, Recovery};
use crate::inputs::{self, Inputs};
use crate::ledger::{Ledger, LedgerError, Past, Push};
use crate::llm::Message;
use crate::policy::gate::Gate;
use crate::policy::hosts::Hosts;
use crate::policy::path::Mounts;

/// How a run begins, and how it may be stopped.
#[derive(Debug)]
pub struct Course<'a> {
    /// What is recorded of it already.
    pub past: Past<'a>,
    /// How to continue from there.
    pub recovery: Recovery,
    /// Stops the run after the next record once this is set.
    pub interrupt: Option<&'a AtomicBool>,
}

impl<'a> Course<'a> {
    /// A course that begins with this past.
    pub fn from(past: Past<'a>) -> Self {
        Self { past, recovery: Recovery::default(), interrupt: None }
    }

    /// A course from the beginning.
    pub fn fresh() -> Self {
        Self::from(Past::none())
    }
}

/// Runs a task. The ledger goes to `state`, the trace to `trace`, the run's own files to `work`;
/// `watch` sees each record as it is written, or as it is taken from the past.
///
/// # Errors
/// The LLM's or the writers', and where the past says something else. A run that policy ends is no
/// error.
pub fn run<S: Write, T: Write>(
    inputs: &Inputs,
    work: Utf8PathBuf,
    course: Course<'_>,
    state: S,
    trace: T,
    mut watch: impl FnMut(&Record),
) -> Result<Recorded<S, T>, RunError> {
    let mut recorder = Recorder::new(state, trace);
    drive(inputs, work, course, |push| match push {
        Push::Record(record, line, sha256) => {
            recorder.push(record, line, sha256)?;
            watch(record);
            Ok(())
        }
        Push::Durable => recorder.flush(),
    })?;
    recorder.finish().map_err(|error| RunError::Ledger(LedgerError::Sink(error)))
}

/// Runs a task, and hands every record to `sink`.
///
/// # Errors
/// As [`run`].
pub fn drive(
    inputs: &Inputs,
    work: Utf8PathBuf,
    course: Course<'_>,
    sink: impl FnMut(Push<'_>) -> io::Result<()>,
) -> Result<(), RunError> {
    let llm = inputs::llm(inputs);
    let started = inputs.started(llm.identity());
    let mounts = Mounts::new(inputs.corpus.clone(), work);
    // Decisions bear the version that the record says, so that those of another policy differ
    // by what they decide alone. The two policies themselves differ in the first event.
    let mut past = course.past;
    let version = match past.peek(0)?.map(|record| &record.event) {
        Some(Event::RunStarted(recorded)) => recorded.policy_version.clone(),
        _ => inputs.policy.version.clone(),
    };
    let hosts = Hosts::of_mounts(&inputs.task.fixtures);
    let gate = Gate::new(&inputs.policy, &inputs.contracts, &hosts, mounts).labelled(version);
    let ledger = Ledger::new(Clock::logical(), past, sink).interrupted_by(course.interrupt);
    let seed = inputs.task.seed;
    let executor = Faulty::new(&*inputs.tools, &inputs.task.faults);
    let governor = Governor::new(gate, &executor, seed, ledger, course.recovery);
    let opening = [
        Message::System {
            text: &inputs.prompt,
            tools: inputs.contracts.iter().map(|contract| &contract.text).collect(),
        },
        Message::User { text: &inputs.task.question },
    ];
    Agent::new(&inputs.run_id(), seed, governor, llm).run(started, &opening)
}
