//! A check of one run: with what it is checked, and what was found so far.

use std::io::{self, BufRead, BufReader};

use ed25519_dalek::VerifyingKey;

use crate::file::said;
use crate::host::HostFault;
use crate::inputs::Library;
use crate::task::PARTIAL_ENDING;

use super::super::STATE;
use super::super::open::{Folder, read_bounded};
use super::finding::{Cause, FINDINGS_MAX, Finding, Verdict};
use super::rewritten::{Rewritten, Trimmed};

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

/// A run that is being checked.
pub(super) struct Check<'a> {
    pub(super) folder: &'a Folder,
    pub(super) asked: &'a Asked<'a>,
    /// Whether files are read as if no ends of lines had been rewritten.
    pub(super) trimming: bool,
    /// What was rewritten of the files that were read so.
    pub(super) rewritten: Rewritten,
    pub(super) findings: Vec<Finding>,
    pub(super) untold: u64,
    pub(super) verdict: Verdict,
}

impl<'a> Check<'a> {
    pub(super) fn new(folder: &'a Folder, asked: &'a Asked<'a>, trimming: bool) -> Self {
        Self {
            folder,
            asked,
            trimming,
            rewritten: Rewritten::default(),
            findings: Vec::new(),
            untold: 0,
            verdict: Verdict::Verified,
        }
    }

    pub(super) fn add(
        &mut self,
        verdict: Verdict,
        cause: Cause,
        file: &str,
        what: impl Into<String>,
    ) {
        self.find(Finding::new(verdict, cause, file, what));
    }

    pub(super) fn add_line(
        &mut self,
        verdict: Verdict,
        cause: Cause,
        line: u64,
        what: impl Into<String>,
    ) {
        self.find(Finding::new(verdict, cause, STATE, what).line(line));
    }

    pub(super) fn find(&mut self, finding: Finding) {
        self.verdict = self.verdict.max(finding.verdict);
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.untold += 1;
        }
    }

    pub(super) fn unreadable(&mut self, file: &str, error: &io::Error) {
        let what = unread_words(error);
        let (verdict, cause) = if HostFault::is_one(error) {
            (Verdict::Unread, Cause::Host)
        } else {
            (Verdict::Malformed, Cause::Unreadable)
        };
        self.add(verdict, cause, file, what);
    }

    /// One of the run's own files.
    pub(super) fn open(&self, name: &'static str) -> io::Result<Box<dyn BufRead>> {
        let file = self.folder.open_file(name)?;
        if !self.trimming {
            return Ok(Box::new(file));
        }
        Ok(Box::new(BufReader::new(Trimmed::new(file, name, self.rewritten.clone()))))
    }

    pub(super) fn read(&self, name: &'static str, bytes_max: u64) -> io::Result<Vec<u8>> {
        read_bounded(self.open(name)?, bytes_max)
    }

    /// What `gatedrun resume` is given for this run; nothing where it does not lie as a run in the
    /// making does.
    pub(super) fn resumed_as(&self) -> Option<&str> {
        self.folder.path().as_str().trim_end_matches('/').strip_suffix(PARTIAL_ENDING)
    }
}

/// Why something of a run was not read, and what to do about a file that is missing.
pub(super) fn unread_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("{}; restore it from version control", said(error)),
        _ => format!("cannot be read: {}", said(error)),
    }
}
