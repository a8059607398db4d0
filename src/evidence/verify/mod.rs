//! Checks a run without executing anything, and without trusting who made it: the ledger's chain,
//! grammar and facts; the three other files, projected again and compared byte by byte; the run's
//! own files, its place and its inputs, by their digests; the signature, where there is one.
//!
//! Whatever the bytes are, the answer is a verdict, and every finding names its cause. Nothing is
//! read before its size is bounded, and nothing is held but the lines in hand.

mod finding;
mod rewritten;
mod check;
mod policy;
mod ledger;
mod contents;
mod inputs;
pub mod place;
mod signature;

use std::io;

use camino::Utf8Path;
use ed25519_dalek::VerifyingKey;
use schemars::JsonSchema;
use serde::Serialize;

use crate::host::HostFault;
use crate::inputs::Library;
use crate::json::Digest;
use crate::line_ends::RUNS;

use super::attest::Signed;
use super::open::Folder;

pub use check::{Asked, WORK_FILES_MAX, Watch};
pub(super) use contents::digest;
pub use contents::{MOVE_OR_DELETE, contents};
pub use finding::{Cause, FINDINGS_MAX, Finding, SignatureState, Verdict};
pub use policy::policy;

use check::Check;

/// The result of checking a run.
#[derive(Debug, Clone, JsonSchema, Serialize)]
pub struct Verification {
    /// The verdict.
    pub verdict: Verdict,
    /// What was found, the ledger's first; at most 100.
    pub findings: Vec<Finding>,
    /// How many more there are, which are not listed.
    pub findings_omitted: u64,
    /// Who vouches for it.
    pub signature: SignatureState,
    /// Every signature that it bears, unless one of them is wrong.
    pub signatures: Vec<Signed>,
    /// How many records the ledger holds; 0 where it could not be read to its end.
    pub records: u64,
    /// SHA-256 of its last line.
    pub head: Option<Digest>,
}

impl Verification {
    /// What the machine refused to read, where it did.
    pub fn host_fault(&self) -> Option<HostFault> {
        let found = self.findings.iter().find(|finding| finding.verdict == Verdict::Unread)?;
        let why = found.what.strip_prefix("cannot be read: ").unwrap_or(&found.what);
        Some(HostFault::refused(&found.file, "read", why.to_owned(), "correct that"))
    }

    /// A verdict about what was not read as a run.
    pub fn unread(finding: Finding) -> Self {
        Self {
            verdict: finding.verdict,
            findings: vec![finding],
            findings_omitted: 0,
            signature: SignatureState::None,
            signatures: Vec::new(),
            records: 0,
            head: None,
        }
    }
}

/// Checks a run's folder. `project` has the current inputs; `keys` are those whose signatures are
/// asked for.
pub fn verify(run: &Utf8Path, project: Option<&Library>, keys: &[VerifyingKey]) -> Verification {
    verify_as(run, &Asked { project, keys, ..Asked::default() })
}

/// As [`verify`], without a look at who has signed the run: for whoever is about to.
pub fn verify_unsigned(run: &Utf8Path, project: Option<&Library>) -> Verification {
    verify_as(run, &Asked { project, signature_ignored: true, ..Asked::default() })
}

/// Checks a run's folder, which is read as one run whatever is put in its place meanwhile.
pub fn verify_as(run: &Utf8Path, asked: &Asked<'_>) -> Verification {
    let is_whole = |found: &Verification| found.verdict == Verdict::Verified;
    match Folder::read_whole(run, |folder| verify_held(folder, asked), is_whole) {
        Ok(found) => found,
        Err(error) => {
            let (verdict, cause) = match error.kind() {
                _ if HostFault::is_one(&error) => (Verdict::Unread, Cause::Host),
                io::ErrorKind::Other => (Verdict::Unconfirmed, Cause::Unreadable),
                _ => (Verdict::Malformed, Cause::Unreadable),
            };
            let what = format!("cannot be read: {error}");
            Verification::unread(Finding::new(verdict, cause, ".", what))
        }
    }
}

/// Checks the run in a folder that is held.
fn verify_held(folder: &Folder, asked: &Asked<'_>) -> Verification {
    let exact = run(folder, asked, false);
    if exact.verdict < Verdict::Malformed || exact.verdict == Verdict::Unread {
        return exact;
    }
    // What git or an editor did to the ends of lines is told from what was done to the text: with
    // the ends of lines as they were written, the evidence holds.
    let trimmed = run(folder, asked, true);
    let is_rewritten = trimmed.findings_omitted == 0
        && trimmed.findings.iter().all(|finding| {
            finding.verdict < Verdict::Malformed
                || matches!(finding.cause, Cause::LineEnds | Cause::WhiteSpace)
        });
    if is_rewritten { trimmed } else { exact }
}

/// Checks the run in a folder that is held, once.
fn run(folder: &Folder, asked: &Asked<'_>, trimming: bool) -> Verification {
    let mut check = Check::new(folder, asked, trimming);
    let ledger = check.ledger();
    let (mut signature, mut signatures) = (SignatureState::None, Vec::new());
    if let Some(ledger) = &ledger {
        check.place(ledger);
        if !ledger.is_unfinished {
            check.projections(ledger);
        }
    }
    check.contents(ledger.as_ref());
    if let Some(ledger) = &ledger {
        check.inputs(ledger);
        if !asked.signature_ignored && !ledger.is_unfinished {
            (signature, signatures) = check.signature(ledger);
        }
    }
    for (name, line, rewriting) in check.rewritten.take() {
        let what = rewriting.words(RUNS);
        check.find(Finding::new(Verdict::Malformed, rewriting.into(), name, what).line(line));
    }
    Verification {
        verdict: check.verdict,
        findings: check.findings,
        findings_omitted: check.untold,
        signature,
        signatures,
        records: ledger.as_ref().map_or(0, |ledger| ledger.recorded.summary.records),
        head: ledger.map(|ledger| ledger.recorded.head),
    }
}
