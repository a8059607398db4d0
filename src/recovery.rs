//! Before a run that was cut short is resumed: that its record leads to where it ends, and that the
//! files which the run has written itself are those that the record speaks of.
//!
//! What lies outside of the ledger is bound to it here: a file that differs is made again from the
//! record, one that the record does not know goes, and one that is as it should be stays untouched.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use camino::{Utf8Path, Utf8PathBuf};

use crate::agent::RunError;
use crate::event::{AttemptOutcome, Event, RunStarted, ToolReconciled, ToolStarted};
use crate::evidence::manifest::{FileDigest, Work};
use crate::governor::Recovery;
use crate::inputs::Inputs;
use crate::ledger::{LedgerError, Past, Reader};
use crate::policy::path::{Failure, MountPath, Mounts, Opened};
use crate::run::{Course, drive};

/// What a cut-short ledger holds.
#[derive(Debug, Default)]
pub struct Recorded {
    /// Its first event; `None` where it has none.
    pub started: Option<RunStarted>,
    /// How many events.
    pub events: u64,
    /// How many bytes they take.
    pub bytes: u64,
    /// How many bytes follow them: a line that was cut short.
    pub torn: usize,
    /// What the run's own folder should hold.
    pub work: Kept,
    /// The call that was being made when the run was cut short, and its tool.
    pub open: Option<(String, String)>,
}

/// What a run's own folder should hold, by its record. Paths are relative to the run's folder.
#[derive(Debug, Default)]
pub struct Kept {
    /// The files that the run has written.
    pub files: BTreeMap<String, FileDigest>,
    /// The file of a call that was in flight, as it is once the call has taken place: it may be there
    /// so, or as before.
    pub in_flight: Option<(String, FileDigest)>,
    /// The folders that calls have made, or may have.
    pub folders: BTreeSet<String>,
}

/// Reads the whole ledger once.
///
/// # Errors
/// The first line that is wrong, apart from a last one that was cut short.
pub fn scan(ledger: impl Read) -> Result<Recorded, LedgerError> {
    let mut recorded = Recorded::default();
    let mut reader = Reader::new(ledger);
    let mut work = Work::default();
    let mut running: Option<(String, String, FileDigest)> = None;
    // The file of a call of which a person has said that it took place.
    let mut settled = None;
    while let Some(record) = reader.next_record()? {
        work.push(&record);
        recorded.events += 1;
        recorded.open = opened(&record.event, recorded.open);
        match &record.event {
            Event::RunStarted(started) => recorded.started = Some((**started).clone()),
            Event::ToolStarted(started) => {
                running = work.target().cloned().map(|(path, digest)| {
                    let within = Utf8Path::new(&path).ancestors().skip(1);
                    recorded.work.folders.extend(within.map(Utf8Path::to_string));
                    (started.call_id.clone(), path, digest)
                });
            }
            Event::ToolReconciled(reconciled) if reconciled.took_place => {
                settled = running.take_if(|(call, ..)| *call == reconciled.call_id);
            }
            Event::ToolFinished(_) => (running, settled) = (None, None),
            _ => {}
        }
    }
    recorded.bytes = reader.bytes();
    recorded.torn = reader.torn();
    recorded.work.files = work.into_files().files;
    recorded.work.files.extend(settled.map(|(_, path, digest)| (path, digest)));
    recorded.work.in_flight = running.map(|(_, path, digest)| (path, digest));
    Ok(recorded)
}

impl Kept {
    /// Takes note of what a person says about the call in flight: its file is as after the call, or as
    /// before it.
    pub fn settle(&mut self, took_place: bool) {
        self.files.extend(self.in_flight.take().filter(|_| took_place));
    }
}

/// The call that is open after an event, if `open` was before it.
fn opened(event: &Event, open: Option<(String, String)>) -> Option<(String, String)> {
    match event {
        Event::ToolStarted(started) => Some((started.call_id.clone(), started.tool.clone())),
        // A failure that is final needs nothing more; a result that is not recorded does.
        Event::ToolAttempted(attempted) => open.filter(|_| match attempted.outcome {
            AttemptOutcome::Success
            | AttemptOutcome::TransientFailure
            | AttemptOutcome::InDoubt => true,
            AttemptOutcome::Exhausted | AttemptOutcome::Failed => false,
        }),
        Event::ToolReconciled(reconciled) => open.filter(|_| !reconciled.took_place),
        Event::ToolFinished(_) => None,
        _ => open,
    }
}

/// Runs the loop over the record, to its end and not a step further: nothing is executed and nothing
/// is written.
///
/// # Errors
/// Where the loop computes an event that differs from the record, and a call that is in doubt.
pub fn rehearse(
    inputs: &Inputs,
    work: Utf8PathBuf,
    ledger: impl Read + Send,
    reconciled: Option<ToolReconciled>,
) -> Result<(), RunError> {
    let course = Course {
        recovery: Recovery { reconciled, ..Recovery::default() },
        ..Course::from(Past::rehearsed(ledger))
    };
    match drive(inputs, work, course, |_| Ok(())) {
        Err(RunError::Ledger(LedgerError::Ends(_))) => Ok(()),
        other => other,
    }
}

/// Does the recorded writes of these files again.
///
/// # Errors
/// Which file could not be written, and why.
pub fn rewrite(
    inputs: &Inputs,
    work: Utf8PathBuf,
    ledger: impl Read,
    files: &BTreeMap<String, FileDigest>,
) -> Result<(), String> {
    let mut last: BTreeMap<String, ToolStarted> = BTreeMap::new();
    let mut written = Work::default();
    let mut reader = Reader::new(ledger);
    while let Some(record) = reader.next_record().map_err(|error| error.to_string())? {
        written.push(&record);
        let Event::ToolStarted(call) = record.event else { continue };
        if let Some((path, made)) = written.target()
            && files.get(path) == Some(made)
        {
            last.insert(path.clone(), call);
        }
    }
    let mounts = Mounts::new(inputs.corpus.clone(), work);
    for (path, due) in files {
        let call = last.get(path);
        let content = call.and_then(|call| call.arguments.get("content")?.as_str());
        let place = MountPath::parse(path).ok();
        let (Some(call), Some(content), Some(place)) = (call, content, place) else {
            return Err(format!("{path}: the record does not hold what was written"));
        };
        match mounts.open_write(&place, due.bytes).map_err(|fault| fault.to_string())? {
            Opened::Open(target) => target
                .replace(content.as_bytes(), &call.idempotency_key)
                .map_err(|failure| match failure {
                    Failure::Tool(error) => error.message,
                    Failure::Host(fault) => fault.to_string(),
                })?,
            Opened::Refused(refusal) => return Err(refusal.reason),
        }
    }
    Ok(())
}
