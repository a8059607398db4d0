//! Checks a run without executing anything, and without trusting who made it: the ledger's chain,
//! grammar and facts; the three other files, projected again and compared byte by byte; the run's
//! own files and its inputs, by their digests; the signature, where there is one.
//!
//! Whatever the bytes are, the answer is a verdict. Nothing is read before its size is bounded, and
//! nothing is held but the lines in hand.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Write};

use camino::Utf8Path;
use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::event::{Event, InputRole, RunStarted};
use crate::inputs::Library;
use crate::json::Digest;
use crate::ledger::{LINE_BYTES_MAX, LedgerError, Reader};
use crate::policy::spec::LoopBudget;

use super::attest::{self, AttestError, ENVELOPE_BYTES_MAX, Signed};
use super::compare::{Comparison, Difference};
use super::facts::Facts;
use super::manifest::FileDigest;
use super::open::{self, Entry};
use super::recorder::{Recorded, Recorder};
use super::text::shortened;
use super::{ATTESTATION, FILES, MANIFEST, REPORT, STATE, TRACE, WORK};

/// What a run's evidence is worth. The worst that was found is the run's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything agrees, and everything was there to be checked.
    Verified,
    /// Nothing contradicts, but something could not be checked.
    Unconfirmed,
    /// It cannot be read as a run.
    Malformed,
    /// It can be read, and something in it is not what the rest says.
    Tampered,
}

impl Verdict {
    /// The word in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Unconfirmed => "unconfirmed",
            Self::Malformed => "malformed",
            Self::Tampered => "tampered",
        }
    }
}

/// Something that was found, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it makes of the verdict.
    pub verdict: Verdict,
    /// The file, relative to the run's folder; an input by its path in the project.
    pub file: String,
    /// The line, from 1.
    pub line: Option<u64>,
    /// The byte in the line, from 1.
    pub byte: Option<usize>,
    /// What is wrong.
    pub what: String,
    /// What stands there, from that byte on.
    pub found: Option<String>,
    /// What should stand there, from that byte on.
    pub expected: Option<String>,
}

/// Who vouches for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SignatureState {
    /// Nobody.
    None,
    /// Somebody, and no key was given to check it with.
    Unchecked,
    /// Who holds the key that was given.
    Valid,
    /// The envelope is not right.
    Invalid,
}

/// What checking a run came to.
#[derive(Debug, Clone, Serialize)]
pub struct Verification {
    /// The verdict.
    pub verdict: Verdict,
    /// What was found, the ledger's first; at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// How many more there are, which are not told.
    pub findings_untold: u64,
    /// Who vouches for it.
    pub signature: SignatureState,
    /// Every signature that it bears, unless one of them is wrong.
    pub signatures: Vec<Signed>,
    /// How many records the ledger holds; 0 where it could not be read to its end.
    pub records: u64,
    /// SHA-256 of its last line.
    pub head: Option<Digest>,
}

/// How many findings are told of a run: a folder may hold any number of files.
pub const FINDINGS_MAX: usize = 100;

/// How many files of its own a run may have written for its evidence to be read.
pub const WORK_FILES_MAX: usize = 65_536;

/// How much of a line is quoted.
const QUOTED_CHARS_MAX: usize = 120;

/// Checks a run's folder. `project` has the inputs at hand; `keys` are those whose signatures are
/// asked for.
pub fn verify<'k>(
    run: &Utf8Path,
    project: Option<&Library>,
    keys: impl IntoIterator<Item = &'k VerifyingKey>,
) -> Verification {
    let keys: Vec<VerifyingKey> = keys.into_iter().copied().collect();
    check(run, project, Some(&keys))
}

/// As [`verify`], without a look at who has signed the run: for whoever is about to.
pub fn verify_unsigned(run: &Utf8Path, project: Option<&Library>) -> Verification {
    check(run, project, None)
}

fn check(
    run: &Utf8Path,
    project: Option<&Library>,
    signed_by: Option<&[VerifyingKey]>,
) -> Verification {
    let mut check = Check { run, findings: Vec::new(), untold: 0, verdict: Verdict::Verified };
    let ledger = check.ledger(project);
    let (mut signature, mut signatures) = (SignatureState::None, Vec::new());
    if let Some(ledger) = &ledger {
        check.projections(ledger);
    }
    check.contents(ledger.as_ref().map(|ledger| &ledger.recorded.work));
    if let Some(ledger) = &ledger {
        check.inputs(ledger, project);
        if let Some(keys) = signed_by {
            (signature, signatures) = check.signature(ledger, keys);
        }
    }
    Verification {
        verdict: check.verdict,
        findings: check.findings,
        findings_untold: check.untold,
        signature,
        signatures,
        records: ledger.as_ref().map_or(0, |ledger| ledger.recorded.summary.records),
        head: ledger.map(|ledger| ledger.recorded.head),
    }
}

struct Check<'a> {
    run: &'a Utf8Path,
    findings: Vec<Finding>,
    untold: u64,
    verdict: Verdict,
}

/// A ledger that can be read to its end, and what it projects to.
struct Ledger {
    recorded: Recorded<io::Sink, ()>,
    trace: Option<Difference>,
    last_line: u64,
}

impl Check<'_> {
    fn add(&mut self, verdict: Verdict, file: &str, what: impl Into<String>) {
        self.find(finding(verdict, file, what));
    }

    fn add_line(&mut self, verdict: Verdict, line: u64, what: impl Into<String>) {
        self.find(Finding { line: Some(line), ..finding(verdict, STATE, what) });
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
        self.add(Verdict::Malformed, file, format!("it cannot be read: {error}"));
    }

    /// Reads the ledger, checking every line; `None` where it cannot be read to its end.
    fn ledger(&mut self, project: Option<&Library>) -> Option<Ledger> {
        let state = match open::open(&self.run.join(STATE)) {
            Ok(state) => state,
            Err(error) => {
                self.unreadable(STATE, &error);
                return None;
            }
        };
        let trace: Box<dyn BufRead> = match open::open(&self.run.join(TRACE)) {
            Ok(trace) => Box::new(trace),
            Err(error) => {
                self.unreadable(TRACE, &error);
                Box::new(io::empty())
            }
        };
        let trace = Comparison::new(trace);
        let mut recorder = Recorder::new(io::sink(), trace);
        let mut reader = Reader::new(state);
        let mut facts = Facts::default();
        let mut lines = 0;
        loop {
            let record = match reader.next_record() {
                Ok(Some(record)) => record,
                Ok(None) => break,
                Err(error) => {
                    self.wrong_line(&mut reader, &error);
                    return None;
                }
            };
            lines += 1;
            if let Event::RunStarted(started) = &record.event
                && let Some(budget) = project.and_then(|project| budget(project, started))
            {
                facts.hold_to(budget);
            }
            if let Err(what) = facts.push(&record) {
                self.add_line(Verdict::Tampered, lines, what);
                return None;
            }
            if recorder.work_files() > WORK_FILES_MAX {
                let what = format!(
                    "the run wrote more than {WORK_FILES_MAX} files; no more are kept track of"
                );
                self.add_line(Verdict::Malformed, lines, what);
                return None;
            }
            if let Err(error) = recorder.push(&record, reader.line(), reader.head()) {
                self.unreadable(TRACE, &error);
                return None;
            }
        }
        if reader.torn() > 0 {
            let what = format!("it is cut short: {} bytes and no line feed", reader.torn());
            self.add_line(Verdict::Malformed, lines + 1, what);
            return None;
        }
        if !reader.is_finished() {
            let says = self.stated().map_or_else(String::new, |stated| {
                format!(", and the manifest says that it has {} lines", stated.records)
            });
            let what = format!("the ledger ends here without run_finished{says}");
            self.add_line(Verdict::Tampered, lines, what);
            return None;
        }
        let ended = recorder.finish().and_then(|recorded| {
            let (trace, recorded) = recorded.without_trace();
            Ok(Ledger { recorded, trace: trace.finish()?, last_line: lines })
        });
        match ended {
            Ok(ledger) => Some(ledger),
            Err(error) => {
                self.unreadable(TRACE, &error);
                None
            }
        }
    }

    /// The line that was changed, where a line is not what the lines before it promise.
    fn wrong_line(&mut self, reader: &mut Reader<impl Read>, error: &LedgerError) {
        let (verdict, line, what) = match error {
            LedgerError::Malformed { line, what } => (Verdict::Malformed, *line, what.clone()),
            LedgerError::Grammar { line, what } => (Verdict::Tampered, *line, what.clone()),
            LedgerError::Unlinked { line, stated, computed } => {
                return self.unlinked(reader, *line, *stated, *computed);
            }
            other => {
                self.add(Verdict::Malformed, STATE, other.to_string());
                return;
            }
        };
        self.add_line(verdict, line, what);
    }

    /// A link that does not fit: whether the line that holds it or the line before it was changed
    /// is told by what the line after them says.
    fn unlinked(
        &mut self,
        reader: &mut Reader<impl Read>,
        line: u64,
        stated: Digest,
        computed: Digest,
    ) {
        let own = Digest::of(reader.line());
        let following = reader.following_line().ok().flatten();
        let promised = match following {
            Some(bytes) => prev_of(&bytes),
            None => self.stated().map(|stated| stated.head),
        };
        let (line, what) = if promised == Some(own) {
            let what = format!("its SHA-256 is {computed}, and the line after it says {stated}");
            (line - 1, what)
        } else {
            let what = format!("prev is {stated}, and the line before it has SHA-256 {computed}");
            (line, what)
        };
        self.add_line(Verdict::Tampered, line, what);
    }

    /// What the manifest says of the ledger, where it can be read.
    fn stated(&self) -> Option<Stated> {
        #[derive(Deserialize)]
        struct Manifest {
            ledger: Chain,
            files: Files,
        }
        #[derive(Deserialize)]
        struct Chain {
            head: Digest,
            records: u64,
        }
        #[derive(Deserialize)]
        struct Files {
            #[serde(rename = "state.jsonl")]
            state: FileDigest,
        }
        let bytes = open::read(&self.run.join(MANIFEST), LINE_BYTES_MAX as u64).ok()?;
        let Manifest { ledger, files } = serde_json::from_slice(&bytes).ok()?;
        Some(Stated { head: ledger.head, records: ledger.records, sha256: files.state.sha256 })
    }

    /// The three other files, against what the ledger makes of them.
    fn projections(&mut self, ledger: &Ledger) {
        let recorded = &ledger.recorded;
        // One changed byte of the manifest cannot change both of these; a changed last line does.
        if let Some(stated) = self.stated()
            && stated.head != recorded.head
            && stated.sha256 != recorded.ledger.sha256
        {
            let (head, records) = (stated.head, stated.records);
            let what = if records == ledger.last_line {
                format!("its SHA-256 is {}, and the manifest says {head}", recorded.head)
            } else {
                format!(
                    "the ledger has {} lines, and the manifest says that it has {records}",
                    ledger.last_line
                )
            };
            self.add_line(Verdict::Tampered, ledger.last_line, what);
            return;
        }
        if let Some(difference) = &ledger.trace
            && !self.findings.iter().any(|finding| finding.file == TRACE)
        {
            self.differs(TRACE, difference);
        }
        for (name, due) in [(REPORT, &recorded.report), (MANIFEST, &recorded.manifest)] {
            let compared = open::open(&self.run.join(name))
                .and_then(|committed| super::compare::difference(committed, due.as_slice()));
            match compared {
                Ok(None) => {}
                Ok(Some(difference)) => self.differs(name, &difference),
                Err(error) => self.unreadable(name, &error),
            }
        }
    }

    fn differs(&mut self, file: &str, difference: &Difference) {
        let from = difference.column - 1;
        let rest = |line: &Option<Vec<u8>>| {
            let rest = line.as_deref()?.get(from..)?;
            Some(shortened(&String::from_utf8_lossy(rest), QUOTED_CHARS_MAX).into_owned())
        };
        let what = match (&difference.committed, &difference.now) {
            (None, _) => "the file ends here, and the ledger makes more of it",
            (_, None) => "the ledger makes nothing that stands here",
            _ => "the ledger makes something else of it",
        };
        let (found, expected) = (rest(&difference.committed), rest(&difference.now));
        self.find(Finding {
            line: Some(difference.line),
            byte: Some(difference.column),
            found,
            expected,
            ..finding(Verdict::Tampered, file, what)
        });
    }

    /// What lies in the folder: the files that the run wrote itself, and nothing that is no part of
    /// a run.
    fn contents(&mut self, written: Option<&BTreeMap<String, FileDigest>>) {
        contents(self.run, written, |file, what| self.add(Verdict::Tampered, file, what));
    }

    /// The inputs at hand, against what the run says that it was made with.
    fn inputs(&mut self, ledger: &Ledger, project: Option<&Library>) {
        let Some(started) = &ledger.recorded.summary.started else { return };
        let Some(project) = project else {
            let what = "no inputs are at hand: the run lies in no project; name one with --project";
            self.add(Verdict::Unconfirmed, STATE, what);
            return;
        };
        for input in &started.inputs {
            let (role, path, made) = (input.role.as_str(), &input.path, input.sha256);
            if !project.is_inside(path) {
                let what = format!("the {role} lies outside of the project, and is not looked at");
                self.add(Verdict::Unconfirmed, path, what);
                continue;
            }
            match project.digest(path) {
                None => {
                    let what = format!("the {role} is not at hand");
                    self.add(Verdict::Unconfirmed, path, what);
                }
                Some(found) if found != made => {
                    let what = format!(
                        "the {role} has SHA-256 {found}, and the run was made with {made}: it was edited since, or it is another one"
                    );
                    self.add(Verdict::Tampered, path, what);
                }
                Some(_) => {}
            }
        }
        let corpus = &started.corpus;
        if !project.is_inside(&corpus.name) {
            let what = "the corpus lies outside of the project, and is not looked at";
            self.add(Verdict::Unconfirmed, &corpus.name, what);
            return;
        }
        match project.corpus(&corpus.name) {
            Ok(found) if found.identity == *corpus => {}
            Ok(found) => {
                let what = format!(
                    "the corpus has {} documents and SHA-256 {}, and the run was made with {} and {}",
                    found.identity.documents,
                    found.identity.sha256,
                    corpus.documents,
                    corpus.sha256
                );
                self.add(Verdict::Tampered, &corpus.name, what);
            }
            Err(problems) => {
                let verdict = if project.has(&corpus.name) {
                    Verdict::Tampered
                } else {
                    Verdict::Unconfirmed
                };
                for problem in problems.0 {
                    self.add(verdict, &corpus.name, problem.to_string());
                }
            }
        }
    }

    fn signature(
        &mut self,
        ledger: &Ledger,
        keys: &[VerifyingKey],
    ) -> (SignatureState, Vec<Signed>) {
        let path = self.run.join(ATTESTATION);
        let bytes = match open::read(&path, ENVELOPE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !keys.is_empty() {
                    let what = "the run is not signed, and a signature was asked for";
                    self.add(Verdict::Unconfirmed, ATTESTATION, what);
                }
                return (SignatureState::None, Vec::new());
            }
            Err(error) => {
                self.unreadable(ATTESTATION, &error);
                return (SignatureState::Invalid, Vec::new());
            }
        };
        let recorded = &ledger.recorded;
        let statement = attest::run_statement(&recorded.summary, &recorded.manifest);
        match attest::check(&bytes, &statement, keys) {
            Ok(signed) if signed.iter().any(|one| one.verified) => (SignatureState::Valid, signed),
            Ok(signed) => {
                let what = if keys.is_empty() {
                    "it is signed, and no key was given to check the signature with; name one with --key"
                } else {
                    "no signature is that of a key that was given"
                };
                self.add(Verdict::Unconfirmed, ATTESTATION, what);
                (SignatureState::Unchecked, signed)
            }
            Err(AttestError::Malformed(what)) => {
                self.add(Verdict::Malformed, ATTESTATION, what);
                (SignatureState::Invalid, Vec::new())
            }
            Err(AttestError::Wrong(what)) => {
                self.add(Verdict::Tampered, ATTESTATION, what);
                (SignatureState::Invalid, Vec::new())
            }
        }
    }
}

/// What a manifest says of its ledger.
struct Stated {
    head: Digest,
    records: u64,
    sha256: Digest,
}

fn finding(verdict: Verdict, file: &str, what: impl Into<String>) -> Finding {
    let (line, byte, found, expected) = (None, None, None, None);
    Finding { verdict, file: file.to_owned(), line, byte, what: what.into(), found, expected }
}

/// What a line says of the line before it.
fn prev_of(line: &[u8]) -> Option<Digest> {
    #[derive(Deserialize)]
    struct Link {
        prev: Digest,
    }
    serde_json::from_slice(line).ok().map(|link: Link| link.prev)
}

/// The budgets of the policy that a run was made with, where that policy is at hand.
fn budget(project: &Library, started: &RunStarted) -> Option<LoopBudget> {
    let path = |role: InputRole| started.inputs.iter().find(|input| input.role == role);
    let policy = path(InputRole::Policy)?;
    let contract = path(InputRole::Contract)?;
    if !project.is_inside(&policy.path) || !project.is_inside(&contract.path) {
        return None;
    }
    if project.digest(&policy.path)? != policy.sha256 {
        return None;
    }
    let folder = Utf8Path::new(&contract.path).parent()?;
    let (contracts, _) = project.contracts(folder.as_str()).ok()?;
    Some(project.policy(&policy.path, &contracts).ok()?.loop_budget)
}

/// How what lies in a run's folder differs from what its ledger says: `differs` gets each path in
/// the folder, and what is wrong there. `written` are the files that the run wrote itself; without
/// it, nothing is said of those.
pub fn contents(
    run: &Utf8Path,
    written: Option<&BTreeMap<String, FileDigest>>,
    mut differs: impl FnMut(&str, &str),
) {
    let mut missing: BTreeMap<&str, FileDigest> =
        written.into_iter().flatten().map(|(path, due)| (path.as_str(), *due)).collect();
    for entry in open::walk(run) {
        let Entry { path, is_folder } = match entry {
            Ok(entry) => entry,
            Err(error) => {
                differs(".", &format!("it cannot be read: {error}"));
                return;
            }
        };
        let is_work = path.strip_prefix(WORK).is_some_and(|rest| rest.starts_with('/'));
        let is_run = FILES.contains(&path.as_str()) || path == ATTESTATION;
        match written {
            _ if is_run && !is_folder || path == WORK && is_folder => {}
            _ if !is_work => differs(&path, "it is no part of a run"),
            _ if is_folder => {}
            None => {}
            Some(_) => match missing.remove(path.as_str()) {
                None => differs(&path, "the run wrote no such file"),
                Some(due) => {
                    if let Err(what) = is_written(run, &path, due) {
                        differs(&path, &what);
                    }
                }
            },
        }
    }
    for path in missing.into_keys() {
        differs(path, "the run wrote it, and it is not there");
    }
}

/// Whether a file is the one that the run wrote; of a longer one no more is read than tells it
/// apart.
fn is_written(run: &Utf8Path, path: &str, due: FileDigest) -> Result<(), String> {
    let mut hasher = Sha256::new();
    let read = open::beneath(run, path).and_then(|file| {
        let mut file = Read::take(file, due.bytes.saturating_add(1));
        io::copy(&mut file, &mut Hashing(&mut hasher))
    });
    read.map_err(|error| format!("it cannot be read: {error}"))?;
    let found = Digest::from(hasher);
    if found == due.sha256 {
        return Ok(());
    }
    Err(format!("it has SHA-256 {found}, and the run wrote {}", due.sha256))
}

struct Hashing<'h>(&'h mut Sha256);

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
