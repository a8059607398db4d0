//! Checks a run without executing anything, and without trusting who made it: the ledger's chain,
//! grammar and facts; the three other files, projected again and compared byte by byte; the run's
//! own files, its place and its inputs, by their digests; the signature, where there is one.
//!
//! Whatever the bytes are, the answer is a verdict, and every finding names its cause. Nothing is
//! read before its size is bounded, and nothing is held but the lines in hand.

mod contents;
mod inputs;
mod ledger;
pub mod place;
mod rewritten;
mod signature;

use std::io::{self, BufRead, BufReader};

use camino::Utf8Path;
use ed25519_dalek::VerifyingKey;
use schemars::JsonSchema;
use serde::Serialize;

use crate::host::HostFault;
use crate::inputs::Library;
use crate::json::Digest;
use crate::line_ends::RUNS;
use crate::task::PARTIAL_ENDING;

use super::STATE;
use super::attest::Signed;
use super::open::{Folder, read_bounded};

pub use contents::contents;
pub(super) use contents::digest;
pub use inputs::policy;

use rewritten::{Rewritten, Trimmed};

/// What a run's evidence is worth. The worst that was found is the run's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything agrees, and everything was there to be checked.
    Verified,
    /// Nothing contradicts, but something could not be checked.
    Unconfirmed,
    /// The evidence is whole; the current inputs differ from those of the run.
    InputsDiffer,
    /// The ledger is intact up to where it stops, and nothing says that the run has ended.
    Unfinished,
    /// The folder is not readable as a run.
    Malformed,
    /// It can be read, and it contradicts itself.
    Tampered,
    /// The machine refused to read it, so that nothing is known of it.
    Unread,
}

impl Verdict {
    /// The word for a person.
    pub fn words(self) -> &'static str {
        match self {
            Self::InputsDiffer => "inputs differ",
            Self::Unread => "not read",
            other => other.as_str(),
        }
    }

    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Unconfirmed => "unconfirmed",
            Self::InputsDiffer => "inputs_differ",
            Self::Unfinished => "unfinished",
            Self::Malformed => "malformed",
            Self::Tampered => "tampered",
            Self::Unread => "unread",
        }
    }
}

/// Why something is a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A file of the run is missing, not a regular file, or cannot be read.
    Unreadable,
    /// A line is not a record of a format that this program reads.
    Format,
    /// A line is not what the lines before it promise: number, link, order, the ledger's end.
    Ledger,
    /// An event contradicts those before it.
    Facts,
    /// A file is not what the ledger is projected to.
    Projection,
    /// A file that the run did not write is in the folder, or one that it wrote differs.
    Contents,
    /// The run is in another run's place.
    Place,
    /// The run did not end.
    Unfinished,
    /// The ends of lines were rewritten, and nothing else.
    LineEnds,
    /// White space at the ends of lines or of the file was changed, and nothing else.
    WhiteSpace,
    /// A current input differs from that of the run.
    Input,
    /// An input is missing or unreadable.
    InputUnread,
    /// The signature's envelope is wrong, or a required signature could not be checked.
    Signature,
    /// A folder that may hold runs is not followed or cannot be read.
    Folder,
    /// The machine refused to read something: disk, descriptors, permissions.
    Host,
}

/// Something that was found, and where.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Finding {
    /// What it makes of the verdict.
    pub verdict: Verdict,
    /// Why.
    pub cause: Cause,
    /// The file, relative to the run's folder; an input by its path in the project.
    pub file: String,
    /// The line, from 1.
    pub line: Option<u64>,
    /// The byte in the line, from 1.
    pub byte: Option<usize>,
    /// What is wrong.
    pub what: String,
    /// What was found, from that byte on.
    pub found: Option<String>,
    /// What was expected, from that byte on.
    pub expected: Option<String>,
}

impl Finding {
    /// A finding about a whole file.
    pub fn new(verdict: Verdict, cause: Cause, file: &str, what: impl Into<String>) -> Self {
        let (line, byte, found, expected) = (None, None, None, None);
        let (file, what) = (file.to_owned(), what.into());
        Self { verdict, cause, file, line, byte, what, found, expected }
    }

    fn line(self, line: u64) -> Self {
        Self { line: Some(line), ..self }
    }
}

/// Who vouches for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SignatureState {
    /// Nobody.
    None,
    /// Somebody, and no key was given to check it with.
    Unchecked,
    /// Somebody, with another key than those that were given.
    OtherKey,
    /// Who holds one of the keys that were given.
    Valid,
    /// The envelope is not right.
    Invalid,
}

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

/// How many findings are listed of a run: a folder may hold any number of files.
pub const FINDINGS_MAX: usize = 100;

/// How many files of its own a run may have written for its evidence to be read.
pub const WORK_FILES_MAX: usize = 65_536;

/// With what a run is checked.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked<'a> {
    /// The current inputs.
    pub project: Option<&'a Library>,
    /// The place of the run in that project, where the caller knows it.
    pub place: Option<&'a str>,
    /// Whose signatures are required.
    pub keys: &'a [VerifyingKey],
    /// Whether a run without a signature that was checked is unconfirmed.
    pub signature_required: bool,
    /// Whether nobody asks who has signed the run: for who is about to.
    pub signature_ignored: bool,
    /// Who receives every event that was read.
    pub watch: Option<Watch<'a>>,
}

/// Called for every event that is read.
#[derive(Clone, Copy)]
pub struct Watch<'a>(pub &'a (dyn Fn() + Sync));

impl std::fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
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
    let exact = Check::run(folder, asked, false);
    if exact.verdict < Verdict::Malformed || exact.verdict == Verdict::Unread {
        return exact;
    }
    // What git or an editor did to the ends of lines is told from what was done to the text: with
    // the ends of lines as they were written, the evidence holds.
    let trimmed = Check::run(folder, asked, true);
    let is_rewritten = trimmed.findings_omitted == 0
        && trimmed.findings.iter().all(|finding| {
            finding.verdict < Verdict::Malformed
                || matches!(finding.cause, Cause::LineEnds | Cause::WhiteSpace)
        });
    if is_rewritten { trimmed } else { exact }
}

struct Check<'a> {
    folder: &'a Folder,
    asked: &'a Asked<'a>,
    /// Whether files are read as if no ends of lines had been rewritten.
    trimming: bool,
    /// What was rewritten of the files that were read so.
    rewritten: Rewritten,
    findings: Vec<Finding>,
    untold: u64,
    verdict: Verdict,
}

impl<'a> Check<'a> {
    fn run(folder: &'a Folder, asked: &'a Asked<'a>, trimming: bool) -> Verification {
        let mut check = Self {
            folder,
            asked,
            trimming,
            rewritten: Rewritten::default(),
            findings: Vec::new(),
            untold: 0,
            verdict: Verdict::Verified,
        };
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

    fn add(&mut self, verdict: Verdict, cause: Cause, file: &str, what: impl Into<String>) {
        self.find(Finding::new(verdict, cause, file, what));
    }

    fn add_line(&mut self, verdict: Verdict, cause: Cause, line: u64, what: impl Into<String>) {
        self.find(Finding::new(verdict, cause, STATE, what).line(line));
    }

    fn find(&mut self, finding: Finding) {
        self.verdict = self.verdict.max(finding.verdict);
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.untold += 1;
        }
    }

    fn unreadable(&mut self, file: &str, error: &io::Error) {
        let what = contents::unread_words(error);
        let (verdict, cause) = if HostFault::is_one(error) {
            (Verdict::Unread, Cause::Host)
        } else {
            (Verdict::Malformed, Cause::Unreadable)
        };
        self.add(verdict, cause, file, what);
    }

    /// One of the run's own files.
    fn open(&self, name: &'static str) -> io::Result<Box<dyn BufRead>> {
        let file = self.folder.open_file(name)?;
        if !self.trimming {
            return Ok(Box::new(file));
        }
        Ok(Box::new(BufReader::new(Trimmed::new(file, name, self.rewritten.clone()))))
    }

    fn read(&self, name: &'static str, bytes_max: u64) -> io::Result<Vec<u8>> {
        read_bounded(self.open(name)?, bytes_max)
    }

    /// What `gatedrun resume` is given for this run; nothing where it does not lie as a run in the
    /// making does.
    fn resumed_as(&self) -> Option<&str> {
        self.folder.path().as_str().trim_end_matches('/').strip_suffix(PARTIAL_ENDING)
    }
}
