//! Whether a proposal may replace the run that it lies beside: it holds together, it is a run of this
//! place, it was made from the current inputs, and it is what its task expects.

use std::io;

use camino::Utf8Path;
use serde::Deserialize;

use crate::derive;
use crate::event::{Event, RunStarted};
use crate::evidence::attest::ENVELOPE_BYTES_MAX;
use crate::evidence::expect::Observed;
use crate::evidence::verify::{Verdict, verify_unsigned};
use crate::evidence::{ATTESTATION, STATE, open, origin};
use crate::host::HostFault;
use crate::inputs::{self, Library};
use crate::ledger::{LedgerError, Reader};

/// Where the inputs of the runs of a place are, and the id of its task; `None` for a run that lies in
/// no project.
pub type Home<'l> = Option<(&'l Library, &'l str)>;

/// Why a proposal may not replace the run in its place; `None` where it may.
///
/// # Errors
/// What the machine refuses to read, so that nothing is known of the proposal.
pub fn objection(
    target: &Utf8Path,
    proposal: &Utf8Path,
    home: Home<'_>,
) -> Result<Option<String>, HostFault> {
    let (started, observed) = match read(proposal)? {
        Ok(read) => read,
        Err(what) => return Ok(Some(what)),
    };
    let committed = read(target)?.ok().map(|(started, _)| started);
    if let Some(what) = other_run(&started, committed.as_ref(), home) {
        return Ok(Some(what));
    }
    if let Some((library, id)) = home {
        let loaded = match library.load(&format!("tasks/{id}.json"), Some(started.seed)) {
            Ok(loaded) => loaded,
            Err(problems) => {
                return Ok(Some(format!("its current inputs cannot be loaded: {problems}")));
            }
        };
        let now = loaded.started(inputs::llm(&loaded).identity());
        let differences = origin::differences(&started, &now);
        if !differences.is_empty() {
            return Ok(Some(format!(
                "it was made from other inputs: {}; make it again with `gatedrun check {target}`, or reject it with `gatedrun review {target} --reject`",
                differences.join("; ")
            )));
        }
        let unmet = loaded.task.expected.as_ref().map(|expected| observed.unmet(expected));
        if let Some(unmet) = unmet.filter(|unmet| !unmet.is_empty()) {
            return Ok(Some(format!(
                "it is not as its task expects: {}; fix what makes it so, or change `expected` in tasks/{id}.json and make it again",
                unmet.join("; ")
            )));
        }
    }
    let found = verify_unsigned(proposal, home.map(|(library, _)| library));
    if matches!(found.verdict, Verdict::Verified | Verdict::Unconfirmed) {
        return Ok(None);
    }
    if let Some(unread) = found.findings.iter().find(|finding| finding.verdict == Verdict::Unread) {
        let why = unread.what.strip_prefix("cannot be read: ").unwrap_or(&unread.what).to_owned();
        let about = proposal.join(&unread.file);
        return Err(HostFault::refused(about.as_str(), "read", why, "correct that"));
    }
    let first = found.findings.iter().find(|finding| finding.verdict == found.verdict);
    let first = first.map_or_else(String::new, |first| {
        let line = first.line.map_or_else(String::new, |line| format!(", line {line}"));
        format!(" ({}{line}: {})", first.file, first.what)
    });
    Ok(Some(format!(
        "it is {}{first}; reject it with `gatedrun review {target} --reject` and make it again",
        found.verdict.as_str()
    )))
}

/// Why a run is none of its place: its task differs, or its seed is neither the task's nor that of
/// the run that is there.
fn other_run(
    started: &RunStarted,
    committed: Option<&RunStarted>,
    home: Home<'_>,
) -> Option<String> {
    let task = home.map(|(_, id)| id).or(committed.map(|committed| committed.task.as_str()))?;
    if started.task != task {
        return Some(format!(
            "it is a run of the task {:?}, and the place is that of {task:?}",
            started.task
        ));
    }
    let known = committed.map(|committed| committed.run_id.clone());
    let planned = home.and_then(|(library, id)| {
        let inputs = library.load(&format!("tasks/{id}.json"), None).ok()?;
        Some(inputs.run_id())
    });
    let is_derived = started.run_id == derive::id("run", started.seed, &["run", &started.task]);
    let is_known = known.iter().chain(&planned).any(|run_id| *run_id == started.run_id);
    if is_derived && (is_known || (known.is_none() && planned.is_none())) {
        return None;
    }
    Some(format!(
        "its run id {} (seed {}) is neither that of the task nor that of the run there",
        started.run_id, started.seed
    ))
}

/// The first event of a run, and what a task can expect something of; or why it is none.
type Read = Result<(RunStarted, Observed), String>;

/// Reads a run's ledger.
///
/// # Errors
/// That the machine refuses to.
fn read(run: &Utf8Path) -> Result<Read, HostFault> {
    let path = run.join(STATE);
    let wrong = |what: String| Ok(Err(format!("{STATE}: {what}")));
    let ledger = match open::open(&path) {
        Ok(ledger) => ledger,
        Err(error) if HostFault::is_one(&error) => {
            return Err(HostFault::of(&error, path.as_str(), "read"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return wrong("not found, so this is not a run".to_owned());
        }
        Err(error) => return wrong(error.to_string()),
    };
    let mut reader = Reader::new(ledger);
    let mut observed = Observed::default();
    let mut started = None;
    loop {
        let record = match reader.next_record() {
            Ok(Some(record)) => record,
            Ok(None) => break,
            Err(LedgerError::Read(error)) if HostFault::is_one(&error) => {
                return Err(HostFault::of(&error, path.as_str(), "read"));
            }
            Err(error) => return wrong(error.to_string()),
        };
        observed.push(&record);
        if let Event::RunStarted(event) = record.event {
            started = Some(*event);
        }
    }
    if !reader.is_finished() || reader.torn() > 0 {
        return wrong("the run is unfinished: it has no run_finished".to_owned());
    }
    match started {
        Some(started) => Ok(Ok((started, observed))),
        None => wrong("it is empty".to_owned()),
    }
}

/// The keys whose signatures a run bears, as its envelope names them.
pub fn signers(run: &Utf8Path) -> Vec<String> {
    #[derive(Deserialize)]
    struct Envelope {
        signatures: Vec<Signature>,
    }
    #[derive(Deserialize)]
    struct Signature {
        keyid: String,
    }
    let read = open::read(&run.join(ATTESTATION), ENVELOPE_BYTES_MAX);
    if read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Vec::new();
    }
    // One that cannot be read is lost all the same where the run is replaced.
    match read.ok().and_then(|bytes| serde_json::from_slice::<Envelope>(&bytes).ok()) {
        Some(envelope) => envelope.signatures.into_iter().map(|one| one.keyid).collect(),
        None => vec!["unknown".to_owned()],
    }
}
