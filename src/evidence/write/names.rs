//! The names that may lie beside a run, and what each of them means. No name means two things: what
//! was exchanged out of a run's place is never called as what is meant to go there.
//!
//! | name | means |
//! |---|---|
//! | `NAME.partial` | a run in the making or cut short; its lock is the lock of all that changes NAME |
//! | `NAME.new` | a proposal |
//! | `NAME.<16 hex>.swap` | one of two folders that are being exchanged; the digits are those of the incoming one |
//! | `NAME.<16 hex>.old` | to be removed, by whoever finds it and holds the lock |

use std::fs;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use walkdir::{DirEntry, WalkDir};

use crate::file;
use crate::json::Digest;
use crate::task::{PARTIAL_ENDING, PROPOSAL_ENDING, REPLACED_ENDING, SWAP_ENDING, reserved_ending};

use super::super::{STATE, WORK};
use super::{WriteError, io_at, is_there, parent};

/// How many hexadecimal digits stand in the name of what is exchanged or to be removed. Nobody types
/// such a name, so nothing of a user's is ever taken for the program's own.
const DIGITS: usize = 16;

/// Where a run belongs.
#[derive(Debug, Clone)]
pub(super) struct Place {
    target: Utf8PathBuf,
    name: String,
}

/// What a killed process has left beside a run.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    /// Half of an exchange: the folder, and the digits in its name.
    pub(super) swaps: Vec<(Utf8PathBuf, String)>,
    /// What is to be removed.
    pub(super) replaced: Vec<Utf8PathBuf>,
}

impl Place {
    pub(super) fn of(target: &Utf8Path) -> Result<Self, WriteError> {
        let name = target.file_name().ok_or_else(|| WriteError::Nameless(target.to_owned()))?;
        if let Some(ending) = reserved_ending(name) {
            return Err(WriteError::Reserved { path: target.to_owned(), ending });
        }
        Ok(Self { target: target.to_owned(), name: name.to_owned() })
    }

    pub(super) fn target(&self) -> &Utf8Path {
        &self.target
    }

    fn beside(&self, rest: &str) -> Utf8PathBuf {
        self.target.with_file_name(format!("{}{rest}", self.name))
    }

    pub(super) fn partial(&self) -> Utf8PathBuf {
        self.beside(PARTIAL_ENDING)
    }

    pub(super) fn proposal(&self) -> Utf8PathBuf {
        self.beside(PROPOSAL_ENDING)
    }

    pub(super) fn swap(&self, incoming: &str) -> Utf8PathBuf {
        self.beside(&format!(".{incoming}{SWAP_ENDING}"))
    }

    /// A name for something that is to be removed; `unique` tells it from others.
    pub(super) fn replaced(&self, unique: u64) -> Utf8PathBuf {
        self.beside(&format!(".{unique:016x}{REPLACED_ENDING}"))
    }

    pub(super) fn leftovers(&self) -> Result<Leftovers, WriteError> {
        let mut found = Leftovers::default();
        let folder = parent(&self.target);
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            other => io_at(folder, other)?,
        };
        for entry in entries {
            let entry = io_at(folder, entry)?;
            let name = entry.file_name();
            let Some((target, digits, ending)) = name.to_str().and_then(exchanged) else {
                continue;
            };
            if target != self.name || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let path = self.beside(&format!(".{digits}{ending}"));
            match ending == SWAP_ENDING {
                true => found.swaps.push((path, digits.to_owned())),
                false => found.replaced.push(path),
            }
        }
        found.swaps.sort();
        found.replaced.sort();
        Ok(found)
    }

    /// Refuses a run in a run: its folder would be no part of the other, and the other's no run.
    pub(super) fn check_nesting(&self) -> Result<(), WriteError> {
        let nested = |inner: &Utf8Path, outer: &Utf8Path| {
            Err(WriteError::Nested { inner: inner.to_owned(), outer: outer.to_owned() })
        };
        // What a path leads up through does not hold what it names.
        let absolute = file::absolute(&self.target);
        // As the user wrote it first, so that the error reads so.
        for path in [Some(&self.target), absolute.as_ref()].into_iter().flatten() {
            let above = path.ancestors().skip(1).take_while(|path| !path.ends_with(".."));
            let mut above = above.filter(|path| !path.as_str().is_empty());
            if let Some(outer) = above.find(|path| is_run(path)) {
                return nested(&self.target, outer);
            }
        }
        if is_run(&self.target) || !is_there(&self.target)? {
            return Ok(());
        }
        let within = WalkDir::new(&self.target).min_depth(1).sort_by_file_name();
        for entry in within.into_iter().filter_map(Result::ok) {
            let path = Utf8Path::from_path(entry.path());
            if let Some(inner) = path.filter(|path| entry.file_type().is_dir() && is_run(path)) {
                return nested(inner, &self.target);
            }
        }
        Ok(())
    }
}

/// Whether a folder holds a run: its ledger makes it one.
fn is_run(folder: &Utf8Path) -> bool {
    folder.join(STATE).is_file()
}

/// Where a proposal for a run lies.
pub fn proposal(target: &Utf8Path) -> Utf8PathBuf {
    let name = target.file_name().unwrap_or_default();
    target.with_file_name(format!("{name}{PROPOSAL_ENDING}"))
}

/// The run that a path means: it may bear the ending of what lies beside the run.
///
/// ```
/// use gatedrun::evidence::write::target_of;
/// assert_eq!(target_of("runs/a.partial".into()), "runs/a");
/// assert_eq!(target_of("runs/a/".into()), "runs/a/");
/// ```
pub fn target_of(path: &Utf8Path) -> Utf8PathBuf {
    let name = path.file_name().unwrap_or_default();
    let stem = [PARTIAL_ENDING, PROPOSAL_ENDING].iter().find_map(|end| name.strip_suffix(end));
    match stem.filter(|stem| !stem.is_empty()) {
        Some(stem) => path.with_file_name(stem),
        None => path.to_owned(),
    }
}

/// Whether a folder of this name lies beside a run and is none itself: it is in the making, proposed,
/// being exchanged, or to be removed.
///
/// ```
/// use gatedrun::evidence::write::is_beside;
/// assert!(is_beside("v1.new") && is_beside("v1.partial"));
/// assert!(is_beside("v1.00000000000004d2.old") && is_beside("v1.76f0f294d8e2d705.swap"));
/// assert!(!is_beside("v1") && !is_beside("v1.old"));
/// ```
pub fn is_beside(name: &str) -> bool {
    name.ends_with(PROPOSAL_ENDING) || name.ends_with(PARTIAL_ENDING) || exchanged(name).is_some()
}

/// The run that a folder was being put in the place of; `None` for any other folder.
///
/// ```
/// use gatedrun::evidence::write::swapped;
/// assert_eq!(swapped("runs/v1.76f0f294d8e2d705.swap".into()), Some("runs/v1".into()));
/// assert_eq!(swapped("runs/v1.76f0f294d8e2d705.old".into()), None);
/// ```
pub fn swapped(path: &Utf8Path) -> Option<Utf8PathBuf> {
    let (target, _, ending) = exchanged(path.file_name()?)?;
    (ending == SWAP_ENDING).then(|| path.with_file_name(target))
}

/// Where no run is in its place since a replacement of it was interrupted there, on a file system
/// that cannot exchange two folders: the folder of the new run. Whoever takes the right to the run
/// puts it in its place.
///
/// # Errors
/// The file system's.
pub fn interrupted(target: &Utf8Path) -> Result<Option<Utf8PathBuf>, WriteError> {
    let Ok(place) = Place::of(target) else { return Ok(None) };
    if is_there(target)? {
        return Ok(None);
    }
    first_swap(&place)
}

/// One of the two folders of a replacement that was interrupted beside a run, or that goes on now.
///
/// # Errors
/// The file system's.
pub fn swap_beside(target: &Utf8Path) -> Result<Option<Utf8PathBuf>, WriteError> {
    Place::of(target).map_or(Ok(None), |place| first_swap(&place))
}

fn first_swap(place: &Place) -> Result<Option<Utf8PathBuf>, WriteError> {
    Ok(place.leftovers()?.swaps.into_iter().map(|(folder, _)| folder).next())
}

/// The parts of the name of what is exchanged or to be removed: of which run, the digits, the ending.
fn exchanged(name: &str) -> Option<(&str, &str, &'static str)> {
    let ending = [SWAP_ENDING, REPLACED_ENDING].into_iter().find(|end| name.ends_with(end))?;
    let (target, digits) = name.strip_suffix(ending)?.rsplit_once('.')?;
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let are_digits = digits.len() == DIGITS && digits.bytes().all(is_hex);
    (are_digits && !target.is_empty()).then_some((target, digits, ending))
}

/// The digits that stand for a digest in a name.
pub(super) fn digits(digest: Digest) -> String {
    digest.to_string().chars().take(DIGITS).collect()
}

/// The runs beside which something lies, below a folder: proposals, and what a killed process left.
/// What runs have written themselves is not looked at.
pub(super) fn unsettled(folder: &Utf8Path) -> Result<Vec<Utf8PathBuf>, WriteError> {
    let is_work = |entry: &DirEntry| {
        let within = entry.path().parent().and_then(Utf8Path::from_path);
        entry.file_name() == WORK && within.is_some_and(is_run)
    };
    let mut targets = Vec::new();
    let walk = WalkDir::new(folder).sort_by_file_name().into_iter();
    for entry in walk.filter_entry(|entry| !is_work(entry)) {
        let entry = entry.map_err(|error| {
            let at = error.path().and_then(Utf8Path::from_path).unwrap_or(folder).to_owned();
            let source =
                error.into_io_error().unwrap_or_else(|| io::Error::other("a loop of links"));
            WriteError::Io { path: at, source }
        })?;
        let Some(path) = Utf8Path::from_path(entry.path()) else { continue };
        // A link in the place of a proposal is none, and is not passed over in silence either.
        let is_linked = |name: &str| entry.path_is_symlink() && name.ends_with(PROPOSAL_ENDING);
        let is_looked_at = |name: &&str| entry.file_type().is_dir() || is_linked(name);
        let Some(name) = path.file_name().filter(is_looked_at) else { continue };
        let stem = match exchanged(name) {
            Some((stem, ..)) => Some(stem),
            None => [PARTIAL_ENDING, PROPOSAL_ENDING].iter().find_map(|end| name.strip_suffix(end)),
        };
        if let Some(stem) = stem.filter(|stem| !stem.is_empty()) {
            targets.push(path.with_file_name(stem));
        }
    }
    targets.sort();
    targets.dedup();
    Ok(targets)
}
