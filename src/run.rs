//! One run, from its inputs to its artifacts. Where the artifacts go is the caller's choice.

use std::io::{self, Write};

use camino::Utf8PathBuf;

use crate::agent::{Agent, RunError};
use crate::clock::Clock;
use crate::event::Record;
use crate::evidence::recorder::{Recorded, Recorder};
use crate::governor::Governor;
use crate::inputs::{self, Inputs};
use crate::ledger::{Ledger, LedgerError, Push};
use crate::llm::Message;
use crate::policy::gate::Gate;
use crate::policy::path::Mounts;

/// Runs a task. The ledger goes to `state`, the trace to `trace`, the run's own files to `work`;
/// `watch` sees each record as it is written.
///
/// # Errors
/// The LLM's or the writers'. A run that policy ends is no error.
pub fn run<S: Write, T: Write>(
    inputs: &Inputs,
    work: Utf8PathBuf,
    state: S,
    trace: T,
    mut watch: impl FnMut(&Record),
) -> Result<Recorded<S, T>, RunError> {
    let mut recorder = Recorder::new(state, trace);
    let sink = |push: Push<'_>| -> io::Result<()> {
        match push {
            Push::Record(record, line, sha256) => {
                recorder.push(record, line, sha256)?;
                watch(record);
                Ok(())
            }
            Push::Durable => recorder.flush(),
        }
    };
    let llm = inputs::llm(inputs);
    let started = inputs.started(llm.identity());
    let mounts = Mounts::new(inputs.corpus.clone(), work);
    let gate = Gate::new(&inputs.policy, &inputs.contracts, &inputs.task.fixtures, mounts);
    let ledger = Ledger::new(Clock::logical(), sink);
    let governor = Governor::new(gate, &inputs.task.faults, inputs.task.seed, ledger);
    let opening = [
        Message::System {
            text: &inputs.prompt,
            tools: inputs.contracts.iter().map(|contract| &contract.text).collect(),
        },
        Message::User { text: &inputs.task.question },
    ];
    Agent::new(&inputs.run_id(), inputs.task.seed, governor, llm).run(started, &opening)?;
    recorder.finish().map_err(|error| RunError::Ledger(LedgerError::Sink(error)))
}
