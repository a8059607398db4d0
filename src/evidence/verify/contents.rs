//! What lies in a run's folder: the files that the run wrote itself, and nothing that is not part of
//! a run.

use std::collections::BTreeMap;
use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use crate::host::HostFault;
use crate::json::Digest;
use crate::line_ends::{RUNS, Rewriting, with_lf};

use super::super::manifest::{FileDigest, WorkFiles};
use super::super::open::{Entry, Folder};
use super::super::{ATTESTATION, FILES, STATE, WORK};
use super::check::{Check, unread_words};
use super::finding::{Cause, Verdict};
use super::ledger::Ledger;

/// What lies in the folder of a run in the making besides: its lock, what its tools did, and what
/// they are about to put in place.
const IN_THE_MAKING: [&str; 3] = ["owner", "work.receipts", "work.tmp"];

/// The largest file in which line ends are looked at.
const REWRITTEN_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What is asked of a run's folder.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Whole,
    /// The run has not ended.
    Unfinished,
}

impl Check<'_> {
    /// The folder, against what the ledger says.
    pub(super) fn contents(&mut self, ledger: Option<&Ledger>) {
        let standing = match ledger {
            Some(ledger) if ledger.is_unfinished => Standing::Unfinished,
            None if self.verdict == Verdict::Unfinished => Standing::Unfinished,
            _ => Standing::Whole,
        };
        // A call that was being executed may have changed files of which no event speaks yet.
        let written = ledger
            .filter(|ledger| !ledger.is_unfinished || !ledger.is_in_call)
            .map(|ledger| &ledger.recorded.work);
        let mut findings = Vec::new();
        look_into(self.folder, written, standing, |path, what, cause| {
            let verdict = match cause {
                Cause::LineEnds | Cause::WhiteSpace => Verdict::Malformed,
                Cause::Host => Verdict::Unread,
                _ => Verdict::Tampered,
            };
            findings.push((verdict, cause, path.to_owned(), what.to_owned()));
        });
        for (verdict, cause, path, what) in findings {
            self.add(verdict, cause, &path, what);
        }
    }
}

/// What to do about a file that the run did not write.
pub const MOVE_OR_DELETE: &str = "; move or delete it";

/// How what lies in a run's folder differs from what its ledger says: `differs` gets each path in
/// the folder, what is wrong there, and whether the machine refused to read it. `written` are the files that the run wrote itself; without
/// it, nothing is said of those.
pub fn contents(
    folder: &Folder,
    written: Option<&WorkFiles>,
    mut differs: impl FnMut(&str, &str, bool),
) {
    look_into(folder, written, Standing::Whole, |path, what, cause| {
        differs(path, what, cause == Cause::Host);
    });
}

fn look_into(
    folder: &Folder,
    written: Option<&WorkFiles>,
    standing: Standing,
    mut differs: impl FnMut(&str, &str, Cause),
) {
    let mut missing: BTreeMap<&str, FileDigest> = written
        .into_iter()
        .flat_map(|written| &written.files)
        .map(|(path, due)| (path.as_str(), *due))
        .collect();
    let mut nested: Option<String> = None;
    for entry in folder.walk() {
        let Entry { path, is_folder } = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let (what, cause) = unread(&error, Cause::Contents);
                differs(".", &what, cause);
                continue;
            }
        };
        if nested.as_deref().is_some_and(|nested| is_below(&path, nested)) {
            continue;
        }
        let is_run = FILES.contains(&path.as_str()) || path == ATTESTATION;
        let is_in_the_making = standing == Standing::Unfinished
            && IN_THE_MAKING.iter().any(|name| path == *name || is_below(&path, name));
        match written {
            _ if is_run && !is_folder || path == WORK && is_folder || is_in_the_making => {}
            _ if !is_below(&path, WORK) => {
                let has_ledger =
                    if is_folder { folder.has(&format!("{path}/{STATE}")) } else { Ok(false) };
                if let Err(error) = &has_ledger {
                    let (what, cause) = unread(error, Cause::Contents);
                    differs(&path, &what, cause);
                } else if matches!(has_ledger, Ok(true)) {
                    let what = "another run is in this one; move one of the two to another place";
                    differs(&path, what, Cause::Contents);
                    nested = Some(path);
                } else if !is_folder || !holds_a_run(folder, &path) {
                    differs(
                        &path,
                        &format!("not a part of a run{MOVE_OR_DELETE}"),
                        Cause::Contents,
                    );
                }
            }
            _ if is_folder => {}
            None => {}
            Some(written) => match missing.remove(path.as_str()) {
                None => {
                    let what = format!("the run wrote no such file{MOVE_OR_DELETE}");
                    differs(&path, &what, Cause::Contents);
                }
                Some(due) => {
                    if let Err((what, cause)) =
                        is_written(folder, &path, due, written.with_lf.get(&path))
                    {
                        differs(&path, &what, cause);
                    }
                }
            },
        }
    }
    for path in missing.into_keys() {
        differs(path, "the run wrote this file, and it is missing", Cause::Contents);
    }
}

/// That something cannot be read: the machine's doing, or of the cause that is given.
fn unread(error: &io::Error, cause: Cause) -> (String, Cause) {
    let cause = if HostFault::is_one(error) { Cause::Host } else { cause };
    (unread_words(error), cause)
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether a run lies further below, which is then what is named.
fn holds_a_run(folder: &Folder, path: &str) -> bool {
    folder.walk().flatten().any(|entry| {
        is_below(&entry.path, path)
            && entry.path.ends_with(&format!("/{STATE}"))
            && !entry.is_folder
    })
}

/// The digest of a file; of a file that is longer than expected, no more is read than shows that.
pub(in crate::evidence) fn digest(
    folder: &Folder,
    path: &str,
    due: FileDigest,
) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    let mut file = folder.open_file(path)?.take(due.bytes.saturating_add(1));
    let mut bytes = [0; 1 << 14];
    loop {
        match file.read(&mut bytes)? {
            0 => return Ok(Digest::from(hasher)),
            read => hasher.update(bytes.get(..read).unwrap_or_default()),
        }
    }
}

/// Whether a file is the one that the run wrote, and how it differs otherwise. `lf` is the digest of
/// what the run wrote with LF at the ends of all lines, where some of its lines end otherwise.
fn is_written(
    folder: &Folder,
    path: &str,
    due: FileDigest,
    lf: Option<&Digest>,
) -> Result<(), (String, Cause)> {
    let found = digest(folder, path, due).map_err(|error| unread(&error, Cause::Unreadable))?;
    if found == due.sha256 {
        return Ok(());
    }
    // Rewritten, a file is at most twice as long.
    let bytes_max = REWRITTEN_BYTES_MAX.min(due.bytes.saturating_mul(2).saturating_add(2));
    let whole = folder.read(path, bytes_max).ok();
    let rewriting = whole.and_then(|whole| {
        let is_mixed = lf.is_some_and(|lf| Digest::of(&with_lf(&whole)) == *lf);
        if is_mixed { Some(Rewriting::LineEnds) } else { Rewriting::of(&whole, due.sha256) }
    });
    if let Some(rewriting) = rewriting {
        return Err((rewriting.words(RUNS), rewriting.into()));
    }
    Err((format!("it has SHA-256 {found}, and the run wrote {}", due.sha256), Cause::Contents))
}
