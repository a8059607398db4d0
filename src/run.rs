//! One run, from its inputs to its artifacts. Where the artifacts go is the caller's choice, and so
//! is what is recorded of it already.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use camino::Utf8PathBuf;

use crate::agent::{Agent, RunError, unplaced};
use crate::clock::Clock;
use crate::event::{Event, Record, Subject, Totals, Usage};
use crate::evidence::STATE;
use crate::evidence::recorder::{Recorded, Recorder};
use crate::executor::faulty::Faulty;
use crate::governor::{Governor, Recovery};
use crate::inputs::{self, Inputs};
use crate::ledger::{Ledger, LedgerError, Past, Push, Reader};
use crate::llm::Message;
use crate::llm::recorded::{Replies, Said};
use crate::policy::gate::Gate;
use crate::policy::hosts::Hosts;
use crate::policy::path::Mounts;
use crate::policy::rules::loop_budget;

/// How a run begins, and how it may be stopped.
pub struct Course<'a> {
    /// What is recorded of it already.
    pub past: Past<'a>,
    /// How to continue from there.
    pub recovery: Recovery,
    /// The replies, where they came from another program, which is not asked here: see [`replies`].
    pub replies: Option<Replies<'a>>,
    /// Stops the run after the next record once this is set.
    pub interrupt: Option<&'a AtomicBool>,
}

impl<'a> Course<'a> {
    /// A course that begins with this past.
    pub fn from(past: Past<'a>) -> Self {
        Self { past, recovery: Recovery::default(), replies: None, interrupt: None }
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
pub fn run<S: Write + Send, T: Write + Send>(
    inputs: &Inputs,
    work: Utf8PathBuf,
    course: Course<'_>,
    state: S,
    trace: T,
    mut watch: impl FnMut(&Record) + Send,
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
    mut course: Course<'_>,
    sink: impl FnMut(Push<'_>) -> io::Result<()> + Send,
) -> Result<(), RunError> {
    let mut llm = inputs::llm(inputs, course.replies.take());
    let opening = opening(inputs);
    begin(inputs, work, course, sink)?.run(&mut *llm, &opening)
}

/// Begins a run, for whoever has the replies.
///
/// # Errors
/// As [`run`].
pub fn begin<'a>(
    inputs: &Inputs,
    work: Utf8PathBuf,
    course: Course<'a>,
    sink: impl FnMut(Push<'_>) -> io::Result<()> + Send + 'a,
) -> Result<Agent<'a>, RunError> {
    let mounts = Mounts::new(inputs.corpus.clone(), work);
    // Decisions bear the version that the record says, so that those of another policy differ
    // by what they decide alone. The two policies themselves differ in the first event.
    let mut past = course.past;
    let version = match past.peek(0)?.map(|record| &record.event) {
        Some(Event::RunStarted(recorded)) => recorded.policy_version.clone(),
        _ => inputs.policy.version.clone(),
    };
    let hosts = Hosts::of_mounts(&inputs.task.fixtures);
    let (policy, contracts) = (Arc::clone(&inputs.policy), Arc::clone(&inputs.contracts));
    let gate = Gate::shared(policy, contracts, hosts, mounts).labelled(version);
    let ledger = Ledger::new(Clock::logical(), past, sink).interrupted_by(course.interrupt);
    let executor = Box::new(Faulty::new(inputs.tools.clone(), inputs.task.faults.clone()));
    let governor = Governor::new(gate, executor, inputs.task.seed, ledger, course.recovery);
    Agent::begin(governor, inputs.started(), &opening(inputs))
}

/// What is said before the first step.
fn opening(inputs: &Inputs) -> [Message<'_>; 2] {
    [
        Message::System {
            text: &inputs.prompt,
            tools: inputs.contracts.iter().map(|contract| &contract.text).collect(),
        },
        Message::User { text: &inputs.task.question },
    ]
}

/// The replies that a ledger holds. What else it says, and whether it was changed, is not looked at.
pub fn replies<'a>(ledger: impl Read + Send + 'a) -> Replies<'a> {
    let (mut reader, mut totals) = (Reader::trusting(ledger), Totals::default());
    let mut reserved = Usage::default();
    Box::new(std::iter::from_fn(move || {
        loop {
            let event = match reader.next_record() {
                Ok(None) => return None,
                Ok(Some(record)) => record.event,
                Err(error) => return Some(Err(format!("{STATE}: {error}"))),
            };
            totals.push(&event);
            match event {
                Event::LlmCalled(called) => reserved = called.reserved,
                Event::LlmReplied(replied) => {
                    return Some(Ok(Said { reserved, reply: Some(unplaced(replied)) }));
                }
                Event::GateDecided(gate) if gate.subject == Subject::Step => {
                    if let Some(reserved) = loop_budget::reserved(&gate, totals.usage) {
                        return Some(Ok(Said { reserved, reply: None }));
                    }
                }
                _ => {}
            }
        }
    }))
}
