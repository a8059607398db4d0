//! Whether a proposal may replace the run that it lies beside: it holds together, it is a run of this
//! place, it was made from the current inputs, and it is what its task expects.

use std::collections::BTreeSet;
use std::io;

use camino::Utf8Path;
use serde::Deserialize;

use crate::derive;
use crate::event::{Event, RunStarted};
use crate::evidence::attest::ENVELOPE_BYTES_MAX;
use crate::evidence::expect::Observed;
use crate::evidence::verify::{Verdict, verify};
use crate::evidence::{ATTESTATION, STATE, WORK, open, origin};
use crate::file;
use crate::host::HostFault;
use crate::inputs::Library;
use crate::ledger::{LedgerError, Reader};
use crate::problem::Problems;
use crate::recovery::scan;

/// The task whose runs a place holds.
#[derive(Debug, Clone, Copy)]
pub struct Home<'l> {
    /// Where its inputs are.
    pub library: &'l Library,
    /// Its path there.
    pub task: &'l str,
    /// Its id.
    pub id: &'l str,
}

/// Why a proposal does not replace the run in its place.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It may not: what is wrong with it.
    #[error("{0}")]
    Unfit(String),
    /// It is not a run of this place: why.
    #[error("{0}")]
    OtherRun(String),
    /// It does not hold together: how.
    #[error("{0}")]
    Damaged(String),
    /// It was not made from the current inputs: what differs.
    #[error("it was made from other inputs: {}", .0.join("; "))]
    OtherInputs(Vec<String>),
    /// It is not what its task expects.
    #[error("it does not meet its task's expectations: {}", unmet.join("; "))]
    Unmet {
        /// The task, as a user names it.
        task: String,
        /// What is not met.
        unmet: Vec<String>,
    },
    /// The current inputs cannot be loaded, so whether it was made from them is not known.
    #[error("the current inputs cannot be loaded: {0}")]
    Inputs(Problems),
    /// The machine refused to read something, so nothing is known of it.
    #[error(transparent)]
    Host(#[from] HostFault),
}

/// Checks that a proposal may replace the run in its place.
///
/// # Errors
/// Why it may not, or why that cannot be found out.
pub fn check(target: &Utf8Path, proposal: &Utf8Path, home: Home<'_>) -> Result<(), Refusal> {
    let unfit = |what: String| Err(Refusal::Unfit(what));
    if let Some(what) = origin::other_version(target) {
        return unfit(format!("the run there is not replaced: {what}"));
    }
    let (started, observed) = read(proposal)?;
    let committed = match read(target) {
        Ok((started, _)) => Some(started),
        Err(Refusal::Host(fault)) => return Err(fault.into()),
        // What is there is no run, and nothing is compared with it.
        Err(_) => None,
    };
    if let Some(what) = other_run(&started, committed.as_ref(), home) {
        return Err(Refusal::OtherRun(what));
    }
    let Home { library, task, .. } = home;
    let loaded = library.load(task, Some(started.seed)).map_err(Refusal::Inputs)?;
    let now = loaded.started();
    let differences = origin::differences(&started, &now);
    if !differences.is_empty() {
        return Err(Refusal::OtherInputs(differences));
    }
    let unmet = loaded.task.expected.as_ref().map(|expected| observed.unmet(expected));
    if let Some(unmet) = unmet.filter(|unmet| !unmet.is_empty()) {
        return Err(Refusal::Unmet { task: library.typed(task), unmet });
    }
    let found = verify(proposal, Some(library), &[]);
    if let Some(fault) = found.host_fault() {
        return Err(fault.into());
    }
    if matches!(found.verdict, Verdict::Verified | Verdict::Unconfirmed) {
        // It would become that of the committed run, and there is no key to check it with.
        if file::at(&proposal.join(ATTESTATION))?.is_some() {
            return unfit(format!(
                "it is signed, and accepting checks no signature; delete {ATTESTATION} in it, accept it, then sign the run"
            ));
        }
        return match empty_folder(proposal)? {
            None => Ok(()),
            Some(path) => Err(Refusal::Damaged(format!(
                "it is tampered ({path}: the run made no such folder)"
            ))),
        };
    }
    let first = found.findings.iter().find(|finding| finding.verdict == found.verdict);
    let first = first.map_or_else(String::new, |first| {
        let line = first.line.map_or_else(String::new, |line| format!(", line {line}"));
        format!(" ({}{line}: {})", first.file, first.what)
    });
    Err(Refusal::Damaged(format!("it is {}{first}", found.verdict.words())))
}

/// A folder in the run's own that no call has made. `verify` passes over empty ones, since version
/// control does not keep them, and what becomes the committed run has none.
fn empty_folder(proposal: &Utf8Path) -> Result<Option<String>, Refusal> {
    let state = proposal.join(STATE);
    let unread = |error: io::Error| Refusal::from(HostFault::of(&error, state.as_str(), "read"));
    let ledger = open::open(&state).map_err(unread)?;
    let made = scan(ledger).map_err(|error| refused(&state, error))?.work;
    let mut known: BTreeSet<&str> = made.folders.iter().map(String::as_str).collect();
    let files = made.files.keys();
    known.extend(files.flat_map(|path| Utf8Path::new(path).ancestors().map(Utf8Path::as_str)));
    let held = open::Folder::open(proposal).map_err(unread)?;
    for entry in held.walk() {
        let entry = entry.map_err(unread)?;
        if entry.is_folder && entry.path != WORK && !known.contains(entry.path.as_str()) {
            return Ok(Some(entry.path));
        }
    }
    Ok(None)
}

/// That a ledger cannot be read: the machine's doing, or its own.
fn refused(path: &Utf8Path, error: LedgerError) -> Refusal {
    match error {
        LedgerError::Read(error) if HostFault::is_one(&error) => {
            HostFault::of(&error, path.as_str(), "read").into()
        }
        error => Refusal::Unfit(format!("{STATE}: {error}")),
    }
}

/// Why a run is none of its place: its task differs, or its seed is neither the task's nor that of
/// the run that is there.
fn other_run(
    started: &RunStarted,
    committed: Option<&RunStarted>,
    home: Home<'_>,
) -> Option<String> {
    let task = home.id;
    if started.task != task {
        return Some(format!(
            "it is a run of the task {:?}, and the place is that of {task:?}",
            started.task
        ));
    }
    let known = committed.map(|committed| committed.run_id.clone());
    let planned = home.library.load(home.task, None).ok().map(|inputs| inputs.run_id());
    let is_derived = started.run_id == derive::run_id(started.seed, &started.task);
    let is_known = known.iter().chain(&planned).any(|run_id| *run_id == started.run_id);
    if is_derived && (is_known || (known.is_none() && planned.is_none())) {
        return None;
    }
    Some(format!(
        "it was made with another task or seed: its run id {} (seed {}) is neither that of the task nor that of the run there",
        started.run_id, started.seed
    ))
}

/// The first event of a run, and what a task can expect something of.
fn read(run: &Utf8Path) -> Result<(RunStarted, Observed), Refusal> {
    let wrong = |what: &str| Refusal::Unfit(format!("{STATE}: {what}"));
    let path = run.join(STATE);
    let ledger = open::open(&path).map_err(|error| match error.kind() {
        _ if HostFault::is_one(&error) => HostFault::of(&error, path.as_str(), "read").into(),
        io::ErrorKind::NotFound => wrong("not found, so this is not a run"),
        _ => wrong(&error.to_string()),
    })?;
    let mut reader = Reader::new(ledger);
    let mut observed = Observed::default();
    let mut started = None;
    while let Some(record) = reader.next_record().map_err(|error| refused(&path, error))? {
        observed.push(&record);
        if let Event::RunStarted(event) = record.event {
            started = Some(*event);
        }
    }
    if !reader.is_finished() || reader.torn() > 0 {
        return Err(wrong("the run is unfinished: it has no run_finished"));
    }
    started.map(|started| (started, observed)).ok_or_else(|| wrong("it is empty"))
}

/// Whether a run bears an envelope that names a key. Nothing is checked.
pub fn is_signed(run: &Utf8Path) -> bool {
    keys(run).is_ok_and(|keys| keys.is_some_and(|keys| !keys.is_empty()))
}

/// The keys whose signatures a run bears, as its envelope names them.
///
/// # Errors
/// The machine's: a signature that it does not read is there all the same.
pub fn signers(run: &Utf8Path) -> Result<Vec<String>, HostFault> {
    // What is not an envelope is lost all the same where the run is replaced.
    Ok(keys(run)?.unwrap_or_else(|| vec!["unknown".to_owned()]))
}

/// The keys that a run's envelope names; `None` where the file is not an envelope.
fn keys(run: &Utf8Path) -> Result<Option<Vec<String>>, HostFault> {
    #[derive(Deserialize)]
    struct Envelope {
        signatures: Vec<Signature>,
    }
    #[derive(Deserialize)]
    struct Signature {
        keyid: String,
    }
    let path = run.join(ATTESTATION);
    let bytes = match open::read(&path, ENVELOPE_BYTES_MAX) {
        Ok(bytes) => Some(bytes),
        Err(error) if HostFault::is_one(&error) => {
            return Err(HostFault::of(&error, path.as_str(), "read"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(Vec::new())),
        Err(_) => None,
    };
    let envelope = bytes.and_then(|bytes| serde_json::from_slice::<Envelope>(&bytes).ok());
    Ok(envelope.map(|envelope| envelope.signatures.into_iter().map(|one| one.keyid).collect()))
}
