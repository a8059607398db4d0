//! Runs a recorded run again over its own record: the same loop, with the recorded replies, results,
//! decisions of humans, and times, and with no network, no tool and no clock.
//!
//! Whatever the loop computes is held against the record, event by event: a reply is taken only where
//! the request has the digest that was recorded, a result only where the call is the same.
//! [`backtest`] tries another policy in the same way.

pub mod decisions;
pub mod limits;
mod judged;
pub mod backtest;
pub mod tried;

use std::io::{self, BufRead};

use camino::Utf8Path;

use crate::agent::RunError;
use crate::event::{Event, Input, InputRole, Record, RunStarted};
use crate::file::said;
use crate::host::HostFault;
use crate::inputs::Inputs;
use crate::ledger::{Answer, Divergence, LedgerError, Pair, Past, is_of_another_version};
use crate::line_ends::RUNS;
use crate::run::{Course, replies, run};

use crate::evidence::compare::{self, Comparison, Difference};
use crate::evidence::open::{Folder, Opened};
use crate::evidence::{MANIFEST, REPORT, STATE, TRACE};

/// What running a run again came to.
#[derive(Debug)]
pub enum Replay {
    /// Every byte of every artifact is the same.
    Identical,
    /// An event, or a file, differs.
    Diverged(Diverged),
    /// The record ends before the run does, or goes on after it.
    Incomplete(String),
    /// The record cannot be read.
    Unreadable(String),
    /// The machine refused to read the record, so that nothing is known of it.
    Host(HostFault),
}

/// Where a replay differs from the record, and what is the likely cause.
#[derive(Debug)]
pub struct Diverged {
    /// Where.
    pub at: Place,
    /// The likely cause, in words.
    pub cause: String,
}

/// Where a replay differs from the record.
#[derive(Debug)]
pub enum Place {
    /// At an event.
    Event(Box<Divergence>),
    /// In a file that the ledger is projected to.
    File(&'static str, Difference),
    /// At a reply that there is no more.
    Reply(String),
}

/// Runs the run in `folder` again.
pub fn replay(folder: &Utf8Path, inputs: &Inputs) -> Replay {
    replay_watched(folder, inputs, |_| {})
}

/// As [`replay`]; `watch` sees each record.
pub fn replay_watched(
    folder: &Utf8Path,
    inputs: &Inputs,
    watch: impl FnMut(&Record) + Send,
) -> Replay {
    const NAMES: [&str; 6] = [STATE, STATE, STATE, TRACE, REPORT, MANIFEST];
    // All of one run, whatever is put in its place meanwhile.
    let [past, said, state, trace, report, manifest] = match Folder::open_all(folder, NAMES) {
        Ok(files) => files,
        Err(error) => return unread(folder.as_str(), &error),
    };
    let open =
        |name: &str, opened: io::Result<Opened>| -> Result<Box<dyn BufRead + Send>, Replay> {
            let opened = opened.map_err(|error| unread(name, &error))?;
            Ok(Box::new(opened))
        };
    let files =
        || Ok((open(STATE, past)?, open(STATE, said)?, open(STATE, state)?, open(TRACE, trace)?));
    let (past, said, state, trace) = match files() {
        Ok(files) => files,
        Err(unreadable) => return unreadable,
    };
    let mut beginning = None;
    let judge = |pair: Pair<'_>| {
        if matches!(pair.recorded.event, Event::RunStarted(_)) {
            beginning = Some(Divergence::from(pair));
        }
        tolerate(pair)
    };
    let course = Course { replies: Some(replies(said)), ..Course::from(Past::whole(past, judge)) };
    let (state, trace) = (Comparison::new(state), Comparison::new(trace));
    let result = run(inputs, folder.join("never"), course, state, trace, watch);
    let recorded = match result {
        Ok(recorded) => recorded,
        Err(error) => return failed(error, beginning.as_ref()),
    };
    match recorded.state.finish() {
        Ok(None) => {}
        Ok(Some(rest)) => {
            if let Some(rewriting) = rest.rewriting() {
                let cause = rewriting.words(RUNS);
                return Replay::Diverged(Diverged { at: Place::File(STATE, rest), cause });
            }
            let bytes = rest.committed.map_or(0, |line| line.len());
            return Replay::Incomplete(format!(
                "the run ends at line {}, and the record goes on: {bytes} bytes or more are left over",
                rest.line - 1
            ));
        }
        Err(error) => return unread(STATE, &error),
    }
    let compared = |file: io::Result<Opened>, due: &[u8]| compare::difference(file?, due);
    let files: [(&'static str, io::Result<Option<Difference>>); 3] = [
        (TRACE, recorded.trace.finish()),
        (REPORT, compared(report, &recorded.report)),
        (MANIFEST, compared(manifest, &recorded.manifest)),
    ];
    for (name, difference) in files {
        match difference {
            Ok(None) => {}
            Ok(Some(difference)) => {
                let cause = match difference.rewriting() {
                    Some(rewriting) => rewriting.words(RUNS),
                    None => "the program makes another file of the same ledger: its code has changed, or the file was edited".to_owned(),
                };
                return Replay::Diverged(Diverged { at: Place::File(name, difference), cause });
            }
            Err(error) => return unread(name, &error),
        }
    }
    match beginning {
        None => Replay::Identical,
        Some(beginning) => {
            let cause = cause(&beginning, Some(&beginning));
            let cause = format!("{cause}; no event after it differs");
            Replay::Diverged(Diverged { at: Place::Event(Box::new(beginning)), cause })
        }
    }
}

/// What may differ: which inputs the run begins with, so that what they change is found further on.
fn tolerate(pair: Pair<'_>) -> Answer {
    match (&pair.recorded.event, pair.computed) {
        (Event::RunStarted(recorded), Event::RunStarted(computed))
            if recorded.run_id == computed.run_id =>
        {
            Answer::Same
        }
        _ => Answer::Stop,
    }
}

fn failed(error: RunError, beginning: Option<&Divergence>) -> Replay {
    match error {
        RunError::Ledger(LedgerError::Diverged(divergence)) => {
            let cause = cause(&divergence, beginning);
            Replay::Diverged(Diverged { at: Place::Event(divergence), cause })
        }
        RunError::Ledger(LedgerError::Ends(records)) => Replay::Incomplete(format!(
            "the record ends after {records} events, but the run continues: the record was cut short"
        )),
        RunError::Ledger(LedgerError::Read(error) | LedgerError::Sink(error)) => {
            unread(STATE, &error)
        }
        RunError::Ledger(error) => damaged(format!("{STATE}: {error}")),
        RunError::Llm(error) => Replay::Diverged(Diverged {
            at: Place::Reply(error.to_string()),
            cause: "the task's script differs from the one that the run was made with".to_owned(),
        }),
        RunError::InDoubt(halt) => Replay::Incomplete(halt.to_string()),
        RunError::Host(fault) => Replay::Host(fault),
    }
}

/// That a file of the record cannot be read: the machine's doing, or the record's own.
fn unread(name: &str, error: &io::Error) -> Replay {
    if HostFault::is_one(error) {
        return Replay::Host(HostFault::of(error, name, "read"));
    }
    damaged(format!("{name}: {}", said(error)))
}

/// That the record is damaged, and what to do about it.
fn damaged(what: String) -> Replay {
    let remedy =
        if is_of_another_version(&what) { "" } else { "; restore the run from version control" };
    Replay::Unreadable(format!("{what}{remedy}"))
}

/// The likely cause of a divergence: the input that has changed and that such an event depends on.
fn cause(divergence: &Divergence, beginning: Option<&Divergence>) -> String {
    use InputRole as R;
    let roles: &[InputRole] = match &divergence.computed {
        Event::GateDecided(_) | Event::StepStarted(_) => &[R::Policy, R::Contract, R::Task],
        Event::LlmCalled(_) => &[R::Task, R::Prompt, R::Contract],
        Event::ToolStarted(_) | Event::ToolFinished(_) => &[R::Contract, R::Policy],
        Event::ToolAttempted(_) => &[R::Policy, R::Contract],
        _ => &[R::Policy, R::Contract, R::Task, R::Prompt, R::CorpusManifest],
    };
    let begun = beginning.and_then(started);
    if let Some((recorded, computed)) = begun {
        let changed = changed_inputs(recorded, computed);
        let likely: Vec<String> = roles
            .iter()
            .flat_map(|role| changed.iter().filter(move |input| input.role == *role))
            .map(|input| format!("{} {}", input.role.as_str(), input.path))
            .collect();
        if !likely.is_empty() {
            return format!("changed since: {}", likely.join(", "));
        }
        if recorded.agent_version != computed.agent_version {
            return format!(
                "the program's code: version {} made the run, and this is {}",
                recorded.agent_version, computed.agent_version
            );
        }
    }
    "the program's code has changed, or the record was edited; `gatedrun verify` tells which"
        .to_owned()
}

fn started(divergence: &Divergence) -> Option<(&RunStarted, &RunStarted)> {
    match (&divergence.recorded.event, &divergence.computed) {
        (Event::RunStarted(recorded), Event::RunStarted(computed)) => Some((recorded, computed)),
        _ => None,
    }
}

fn changed_inputs<'i>(recorded: &'i RunStarted, computed: &'i RunStarted) -> Vec<&'i Input> {
    let one_sided = |a: &'i RunStarted, b: &'i RunStarted| {
        a.inputs.iter().filter(move |input| !b.inputs.contains(input))
    };
    let mut changed: Vec<&Input> = one_sided(computed, recorded).collect();
    for gone in one_sided(recorded, computed) {
        if !changed.iter().any(|input| (input.role, &input.path) == (gone.role, &gone.path)) {
            changed.push(gone);
        }
    }
    changed
}

/// The record that a computed event would be, for printing beside the recorded one.
pub fn as_record(divergence: &Divergence) -> Record {
    Record {
        step: divergence.step,
        event: divergence.computed.clone(),
        ..divergence.recorded.clone()
    }
}
