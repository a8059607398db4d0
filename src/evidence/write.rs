//! The one writer of run folders: made beside their place, and renamed into it whole.
//!
//! A reader never sees half of a run, two processes never write one folder, and a committed run is
//! replaced only when its owner says so. Nothing here knows what is in the files.

use std::fs::{self, File};
use std::io::{self, BufReader};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};

use super::{ATTESTATION, FILES, WORK, compare};

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
    /// Another process writes the same run.
    #[error(
        "{0}: another process is writing this run; wait for it, or name another folder with --out"
    )]
    Locked(Utf8PathBuf),
    /// A run was cut short there.
    #[error(
        "{0}: a run was cut short here and is kept; look at it, then start over with --discard-partial"
    )]
    Partial(Utf8PathBuf),
    /// There is something in the way that no run has written.
    #[error(
        "{path}: it holds {name:?}, which is no part of a run; move it away, or name another folder with --out"
    )]
    Foreign {
        /// The folder.
        path: Utf8PathBuf,
        /// What is in it.
        name: String,
    },
}

/// A run folder in the making: `NAME.partial`, locked.
#[derive(Debug)]
pub struct Staging {
    target: Utf8PathBuf,
    partial: Utf8PathBuf,
    lock: File,
}

/// What a finished run is to what was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing was there.
    New,
    /// The same bytes.
    Identical,
    /// Other bytes.
    Different,
}

/// What to do with a finished run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// Put it in its place; what was there goes.
    Accept,
    /// Lay it beside its place as `NAME.new`.
    Propose,
    /// Remove it.
    Discard,
}

impl Staging {
    /// Makes and locks the folder beside `target`.
    ///
    /// # Errors
    /// Another process writing the same run, a run that was cut short (unless `discard_partial`),
    /// something foreign in the way, or the file system's refusal.
    pub fn begin(target: &Utf8Path, discard_partial: bool) -> Result<Self, WriteError> {
        let name = target.file_name().unwrap_or("run");
        let partial = target.with_file_name(format!("{name}.partial"));
        check_own(target)?;
        if let Some(parent) = partial.parent() {
            io_at(parent, fs::create_dir_all(parent))?;
        }
        let fresh = match fs::create_dir(&partial) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(source) => return Err(WriteError::Io { path: partial, source }),
        };
        if !fresh {
            check_own(&partial)?;
        }
        let lock = io_at(&partial, File::open(&partial))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(WriteError::Locked(partial));
        }
        let staging = Self { target: target.to_owned(), partial, lock };
        if !fresh && staging.holds_something()? {
            if !discard_partial {
                return Err(WriteError::Partial(staging.partial));
            }
            staging.empty()?;
        }
        Ok(staging)
    }

    fn holds_something(&self) -> Result<bool, WriteError> {
        Ok(io_at(&self.partial, fs::read_dir(&self.partial))?.next().is_some())
    }

    fn empty(&self) -> Result<(), WriteError> {
        for name in FILES {
            remove_if_there(&self.partial.join(name))?;
        }
        remove_folder_if_there(&self.partial.join(WORK))
    }

    /// A new file in the folder.
    ///
    /// # Errors
    /// The file system's.
    pub fn create(&self, name: &str) -> Result<File, WriteError> {
        let path = self.partial.join(name);
        io_at(&path, File::create_new(&path))
    }

    /// Writes a whole file.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), WriteError> {
        let path = self.partial.join(name);
        io_at(&path, fs::write(&path, bytes))
    }

    /// The folder itself.
    pub fn folder(&self) -> &Utf8Path {
        &self.partial
    }

    /// Where the run's own files go.
    pub fn work(&self) -> Utf8PathBuf {
        self.partial.join(WORK)
    }

    /// How the finished run compares with what is in its place, file by file.
    ///
    /// # Errors
    /// The file system's.
    pub fn standing(&self) -> Result<Standing, WriteError> {
        if !self.target.exists() {
            return Ok(Standing::New);
        }
        for name in FILES {
            let committed = self.target.join(name);
            let now = self.partial.join(name);
            let Ok(committed) = File::open(&committed) else { return Ok(Standing::Different) };
            let bytes = io_at(&now, fs::read(&now))?;
            let difference = compare::difference(BufReader::new(committed), &bytes);
            if io_at(&now, difference)?.is_some() {
                return Ok(Standing::Different);
            }
        }
        Ok(Standing::Identical)
    }

    /// Settles the finished run; where it lies then, if it was not removed.
    ///
    /// # Errors
    /// The file system's.
    pub fn settle(self, settlement: Settlement) -> Result<Option<Utf8PathBuf>, WriteError> {
        let place = match settlement {
            Settlement::Discard => {
                self.remove()?;
                return Ok(None);
            }
            Settlement::Accept => self.target.clone(),
            Settlement::Propose => proposal(&self.target),
        };
        check_own(&place)?;
        if place.exists() {
            // Exchanged, so that at every moment one whole run is in its place.
            let exchanged = renameat_with(
                CWD,
                self.partial.as_std_path(),
                CWD,
                place.as_std_path(),
                RenameFlags::EXCHANGE,
            );
            io_at(&place, exchanged.map_err(io::Error::from))?;
            remove_folder_if_there(&self.partial)?;
        } else {
            io_at(&place, fs::rename(&self.partial, &place))?;
        }
        if settlement == Settlement::Accept {
            remove_folder_if_there(&proposal(&self.target))?;
        }
        drop(self.lock);
        Ok(Some(place))
    }

    /// Removes the folder: the run is not wanted.
    ///
    /// # Errors
    /// The file system's.
    pub fn remove(self) -> Result<(), WriteError> {
        remove_folder_if_there(&self.partial)
    }
}

/// Where a proposal for a run lies.
pub fn proposal(target: &Utf8Path) -> Utf8PathBuf {
    let name = target.file_name().unwrap_or("run");
    target.with_file_name(format!("{name}.new"))
}

/// Refuses a folder that holds anything that no run has written, and a link in its place.
fn check_own(path: &Utf8Path) -> Result<(), WriteError> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    let foreign = |name: &str| WriteError::Foreign { path: path.to_owned(), name: name.to_owned() };
    if !metadata.is_dir() {
        return Err(foreign(path.file_name().unwrap_or_default()));
    }
    for entry in io_at(path, fs::read_dir(path))? {
        let entry = io_at(path, entry)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = io_at(path, entry.file_type())?;
        let ours =
            ((FILES.contains(&name.as_str()) || name == ATTESTATION) && kind.is_file())
                || (name == WORK && kind.is_dir());
        if !ours {
            return Err(foreign(&name));
        }
    }
    Ok(())
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
