//! The one writer of run folders: made beside their place, and put into it whole.
//!
//! A reader never sees half of a run, two processes never change one run, and a committed run is
//! replaced only when its owner says so. `names` says what may lie beside a run, `claim` is the
//! lock, `exchange` replaces one folder with another in one step and finishes what a killed process
//! left of that, `staging` is a run in the making, and `work` holds what that has written itself
//! against its record. Nothing else here knows what is in the files.

mod names;
mod exchange;
mod claim;
mod staging;
mod work;

use std::fs::{self, File, Metadata};
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use rustix::io::Errno;

use crate::file::said;
use crate::host::is_about_the_name;
use crate::policy::path::RECEIPTS_SUFFIX;

use super::{ATTESTATION, FILES, WORK};

pub use claim::{Claim, has_leftovers, has_replaced, is_only_lock};
pub use exchange::Finished;
pub use names::{interrupted, is_beside, proposal, swap_beside, swapped, target_of};
pub use staging::{Settlement, Staging, Standing, StateFile, StateWriter, TraceWriter};
pub use work::WorkDifference;

/// Who makes the run, in the folder where it is made.
const OWNER: &str = "owner";

/// Where the `write` tool's unfinished files lie, beside the folder that they are for.
const WORK_TEMPORARY: &str = "work.tmp";

/// Why a run folder cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// What could not be written.
        path: Utf8PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file system has no locks.
    #[error(
        "{path}: this file system has no locks (flock: {}), so two processes could change one run; put the runs on a file system that has locks (NFS needs its lock service)",
        said(.source)
    )]
    NoLocks {
        /// The folder.
        path: Utf8PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another process writes the same run.
    #[error("{path}: {who} is writing this run; wait for it")]
    Locked {
        /// The folder.
        path: Utf8PathBuf,
        /// Who it is, where that is known.
        who: String,
    },
    /// A run was cut short there.
    #[error("{partial}: an interrupted run is kept here")]
    Partial {
        /// The folder.
        partial: Utf8PathBuf,
        /// Where the run belongs.
        target: Utf8PathBuf,
    },
    /// No run was cut short there.
    #[error("{target}: no run was cut short there, so there is nothing to resume{hint}")]
    Nothing {
        /// Where the run belongs.
        target: Utf8PathBuf,
        /// What is there instead.
        hint: String,
    },
    /// There is no proposal.
    #[error("{0}: there is no proposal")]
    NoProposal(Utf8PathBuf),
    /// There is something in the way that no run has written.
    #[error("{path}: contains {name:?}, which is not part of a run; move it away")]
    Foreign {
        /// The folder.
        path: Utf8PathBuf,
        /// What is in it.
        name: String,
    },
    /// A link, or another kind of file, under a name that a run has.
    #[error(
        "{path}/{name}: a link, or another kind of file than a run has under this name; move it away"
    )]
    Misfit {
        /// The folder.
        path: Utf8PathBuf,
        /// What is in it.
        name: String,
    },
    /// A link where a run's folder is expected.
    #[error(
        "{0}: a symbolic link, and a run's folder may not be one; name the folder that it leads to, or put that folder in its place"
    )]
    Link(Utf8PathBuf),
    /// Something else where a run's folder is expected.
    #[error("{0}: not a folder; name a folder for the run, or a path where nothing is yet")]
    NotFolder(Utf8PathBuf),
    /// A path that names no folder of its own.
    #[error(
        "{0:?}: the path does not name a folder for a run; write one that ends in a name, as in my-run"
    )]
    Nameless(Utf8PathBuf),
    /// A name that means something else.
    #[error("{path}: names that end in {ending:?} are reserved; choose another name")]
    Reserved {
        /// The folder.
        path: Utf8PathBuf,
        /// What its name ends with.
        ending: &'static str,
    },
    /// One of two runs would lie in the other.
    #[error(
        "{inner} is in {outer}: of the two only one can be a run's folder; name another folder"
    )]
    Nested {
        /// The one that would be inside.
        inner: Utf8PathBuf,
        /// The one around it.
        outer: Utf8PathBuf,
    },
}

impl WriteError {
    /// Whether the place is what stands in the way, so that the run can be made in another.
    pub fn is_of_the_place(&self) -> bool {
        match self {
            Self::Io { .. }
            | Self::NoLocks { .. }
            | Self::Locked { .. }
            | Self::Foreign { .. }
            | Self::Misfit { .. } => true,
            Self::Partial { .. }
            | Self::Nothing { .. }
            | Self::NoProposal(_)
            | Self::Link(_)
            | Self::NotFolder(_)
            | Self::Nameless(_)
            | Self::Reserved { .. }
            | Self::Nested { .. } => false,
        }
    }

    /// Whether the machine refused, and not the program: what was asked for was right.
    pub fn is_of_the_host(&self) -> bool {
        match self {
            Self::NoLocks { .. } => true,
            Self::Io { source, .. } => !is_about_the_name(source),
            Self::Locked { .. }
            | Self::Partial { .. }
            | Self::Nothing { .. }
            | Self::NoProposal(_)
            | Self::Foreign { .. }
            | Self::Misfit { .. }
            | Self::Link(_)
            | Self::NotFolder(_)
            | Self::Nameless(_)
            | Self::Reserved { .. }
            | Self::Nested { .. } => false,
        }
    }
}

/// Whether a run, or one in the making, has a file of this name.
fn known_file(name: &str) -> bool {
    let is_receipts = name.strip_prefix(WORK) == Some(RECEIPTS_SUFFIX);
    FILES.contains(&name) || name == ATTESTATION || name == OWNER || is_receipts
}

/// Whether a run, or one in the making, has a folder of this name.
fn known_folder(name: &str) -> bool {
    name == WORK || name == WORK_TEMPORARY
}

/// Refuses a folder that holds anything that no run has written, and a link in its place.
fn check_own(path: &Utf8Path) -> Result<(), WriteError> {
    let Some(metadata) = if_there(path, fs::symlink_metadata(path))? else { return Ok(()) };
    if metadata.is_symlink() {
        return Err(WriteError::Link(path.to_owned()));
    }
    if !metadata.is_dir() {
        return Err(WriteError::NotFolder(path.to_owned()));
    }
    for entry in io_at(path, fs::read_dir(path))? {
        let entry = io_at(path, entry)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = io_at(path, entry.file_type())?;
        let ours = (known_file(&name) && kind.is_file()) || (known_folder(&name) && kind.is_dir());
        if ours {
            continue;
        }
        let path = path.to_owned();
        return Err(match known_file(&name) || known_folder(&name) {
            true => WriteError::Misfit { path, name },
            false => WriteError::Foreign { path, name },
        });
    }
    Ok(())
}

/// Whether there is anything of this name, a dangling link included.
fn is_there(path: &Utf8Path) -> Result<bool, WriteError> {
    Ok(if_there(path, fs::symlink_metadata(path))?.is_some())
}

/// Whether there is a folder of this name, or a link to one.
///
/// # Errors
/// The file system's: a name that it does not answer for is not a name that is free.
pub fn is_folder(path: &Utf8Path) -> Result<bool, WriteError> {
    Ok(if_there(path, fs::metadata(path))?.is_some_and(|metadata| metadata.is_dir()))
}

/// What the file system says of a name; `None` where it has no such name.
fn if_there(
    path: &Utf8Path,
    metadata: io::Result<Metadata>,
) -> Result<Option<Metadata>, WriteError> {
    match metadata {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        other => io_at(path, other).map(Some),
    }
}

/// The folder that something lies in.
fn parent(path: &Utf8Path) -> &Utf8Path {
    path.parent().filter(|parent| !parent.as_str().is_empty()).unwrap_or(Utf8Path::new("."))
}

/// Makes a file, or the names in a folder, outlive a loss of power. A file system that cannot do
/// that for folders says so with EINVAL, and there is nothing more to do.
fn sync(path: &Utf8Path) -> Result<(), WriteError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    match synced {
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(()),
        other => io_at(path, other),
    }
}

fn rename(from: &Utf8Path, to: &Utf8Path) -> Result<(), WriteError> {
    io_at(to, fs::rename(from, to))
}

fn remove_if_there(path: &Utf8Path) -> Result<(), WriteError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => io_at(path, Err(error)),
        _ => Ok(()),
    }
}

fn remove_folder_if_there(path: &Utf8Path) -> Result<(), WriteError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => io_at(path, Err(error)),
        _ => Ok(()),
    }
}

fn io_at<T>(path: &Utf8Path, result: io::Result<T>) -> Result<T, WriteError> {
    result.map_err(|source| WriteError::Io { path: path.to_owned(), source })
}
