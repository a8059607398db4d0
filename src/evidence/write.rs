//! The one writer of run folders: made beside their place, and renamed into it whole.
//!
//! A reader never sees half of a run, two processes never write one folder, and a committed run is
//! replaced only when its owner says so. Nothing here knows what is in the files.

use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::os::unix::fs::MetadataExt;

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};

use crate::policy::path::{RECEIPTS_SUFFIX, TEMPORARIES_SUFFIX};
use crate::policy::spec::Durability;
use crate::task::{PARTIAL_ENDING, PROPOSAL_ENDING};

use super::{ATTESTATION, FILES, MANIFEST, REPORT, STATE, TRACE, WORK, compare, open};

/// Who makes the run, in the folder where it is made.
const OWNER: &str = "owner";

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
        "{path}: another process{owner} is writing this run; wait for it, or name another folder with --out"
    )]
    Locked {
        /// The folder.
        path: Utf8PathBuf,
        /// Who it is, where that is known.
        owner: String,
    },
    /// A run was cut short there.
    #[error(
        "{partial}: a run was cut short here and is kept; carry it on with `gatedrun resume {target}`, or start over with --discard-partial"
    )]
    Partial {
        /// The folder.
        partial: Utf8PathBuf,
        /// Where the run belongs.
        target: Utf8PathBuf,
    },
    /// No run was cut short there.
    #[error("{0}: no run was cut short there, so there is nothing to carry on")]
    Nothing(Utf8PathBuf),
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
    durability: Durability,
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
        let partial = partial(target);
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
        let staging = Self::lock(target, partial)?;
        if !fresh && staging.holds_something()? {
            if !discard_partial {
                let target = target.to_owned();
                return Err(WriteError::Partial { partial: staging.partial, target });
            }
            staging.empty()?;
        }
        staging.sign_in()?;
        Ok(staging)
    }

    /// Locks the folder of a run that was cut short.
    ///
    /// # Errors
    /// That there is none, that another process is writing it, something foreign in it, or the file
    /// system's refusal.
    pub fn resume(target: &Utf8Path) -> Result<Self, WriteError> {
        let partial = partial(target);
        if !partial.is_dir() {
            return Err(WriteError::Nothing(target.to_owned()));
        }
        check_own(target)?;
        check_own(&partial)?;
        let staging = Self::lock(target, partial)?;
        staging.sign_in()?;
        // What the ledger is projected to is made again from the start.
        for name in [TRACE, REPORT, MANIFEST] {
            remove_if_there(&staging.partial.join(name))?;
        }
        Ok(staging)
    }

    fn lock(target: &Utf8Path, partial: Utf8PathBuf) -> Result<Self, WriteError> {
        let lock = io_at(&partial, File::open(&partial))?;
        let locked = flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
        // Who held the lock may have put the folder in its place since, and another may have begun.
        let held = io_at(&partial, lock.metadata())?;
        let is_held = fs::symlink_metadata(&partial)
            .is_ok_and(|place| (place.dev(), place.ino()) == (held.dev(), held.ino()));
        if !locked || !is_held {
            let owner = open::read(&partial.join(OWNER), 64).unwrap_or_default();
            let owner = String::from_utf8_lossy(&owner);
            let owner = Some(owner.trim()).filter(|owner| !owner.is_empty());
            let owner = owner.map_or_else(String::new, |owner| format!(" ({owner})"));
            return Err(WriteError::Locked { path: partial, owner });
        }
        let durability = Durability::Os;
        Ok(Self { target: target.to_owned(), partial, lock, durability })
    }

    /// Says who holds the lock, for whoever finds it locked. The lock itself is the kernel's, and
    /// goes with the process.
    fn sign_in(&self) -> Result<(), WriteError> {
        let path = self.partial.join(OWNER);
        io_at(&path, fs::write(&path, format!("process {}\n", std::process::id())))
    }

    fn holds_something(&self) -> Result<bool, WriteError> {
        for entry in open::walk(&self.partial) {
            if io_at(&self.partial, entry)?.path != OWNER {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn empty(&self) -> Result<(), WriteError> {
        for name in FILES {
            remove_if_there(&self.partial.join(name))?;
        }
        remove_if_there(&self.receipts())?;
        remove_folder_if_there(&self.temporaries())?;
        remove_folder_if_there(&self.partial.join(WORK))
    }

    /// Where the tools make what they write, before it gets its name.
    fn temporaries(&self) -> Utf8PathBuf {
        Utf8PathBuf::from(format!("{}{TEMPORARIES_SUFFIX}", self.work()))
    }

    /// What the tools say that they did, while the run is in the making.
    fn receipts(&self) -> Utf8PathBuf {
        Utf8PathBuf::from(format!("{}{RECEIPTS_SUFFIX}", self.work()))
    }

    /// The ledger of a run that was cut short, for reading; nothing where it was never begun.
    ///
    /// # Errors
    /// The file system's.
    pub fn recorded(&self) -> Result<Option<BufReader<File>>, WriteError> {
        let path = self.partial.join(STATE);
        match open::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => io_at(&path, other).map(Some),
        }
    }

    /// The ledger, for writing. Its first `recorded` bytes are there already and are kept; what
    /// follows them is what a crash has left of a line, and goes.
    ///
    /// # Errors
    /// The file system's.
    pub fn ledger(
        &mut self,
        recorded: u64,
        durability: Durability,
    ) -> Result<StateFile, WriteError> {
        self.durability = durability;
        let path = self.partial.join(STATE);
        let opened = File::options().append(true).create(true).open(&path);
        let file = io_at(&path, opened)?;
        io_at(&path, file.set_len(recorded))?;
        // The name outlives what its bytes outlive.
        self.make_durable(&self.partial)?;
        self.make_durable(parent(&self.partial))?;
        Ok(StateFile { file, recorded, durability })
    }

    /// Makes a file, or the names in a folder, outlive a loss of power, where policy asks for it.
    fn make_durable(&self, path: &Utf8Path) -> Result<(), WriteError> {
        match self.durability {
            Durability::Os => Ok(()),
            Durability::Fsync => io_at(path, File::open(path).and_then(|file| file.sync_all())),
        }
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
            let Ok(committed) = open::open(&committed) else { return Ok(Standing::Different) };
            let made = io_at(&now, open::open(&now))?;
            if io_at(&now, compare::difference(committed, made))?.is_some() {
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
        // They belong to the making, not to the run.
        remove_if_there(&self.partial.join(OWNER))?;
        remove_if_there(&self.receipts())?;
        remove_folder_if_there(&self.temporaries())?;
        let place = match settlement {
            Settlement::Discard => {
                self.remove()?;
                return Ok(None);
            }
            Settlement::Accept => self.target.clone(),
            Settlement::Propose => proposal(&self.target),
        };
        // What is renamed into its place is whole, after a loss of power too.
        for name in FILES {
            self.make_durable(&self.partial.join(name))?;
        }
        self.make_durable(&self.partial)?;
        put(&self.partial, &place)?;
        self.make_durable(parent(&place))?;
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

/// Puts a run's folder in its place; what was there goes.
fn put(from: &Utf8Path, place: &Utf8Path) -> Result<(), WriteError> {
    check_own(place)?;
    if !place.exists() {
        return io_at(place, fs::rename(from, place));
    }
    // Exchanged, so that at every moment one whole run is in its place.
    let (old, new) = (from.as_std_path(), place.as_std_path());
    let exchanged = renameat_with(CWD, old, CWD, new, RenameFlags::EXCHANGE);
    io_at(place, exchanged.map_err(io::Error::from))?;
    remove_folder_if_there(from)
}

/// Replaces a run with the proposal for it.
///
/// # Errors
/// Something foreign in either, or the file system's refusal.
pub fn accept(target: &Utf8Path) -> Result<(), WriteError> {
    let proposal = proposal(target);
    check_own(&proposal)?;
    put(&proposal, target)
}

/// Removes the proposal for a run.
///
/// # Errors
/// Something foreign in it, or the file system's refusal.
pub fn reject(target: &Utf8Path) -> Result<(), WriteError> {
    let proposal = proposal(target);
    check_own(&proposal)?;
    remove_folder_if_there(&proposal)
}

/// The folder that something lies in.
fn parent(path: &Utf8Path) -> &Utf8Path {
    path.parent().filter(|parent| !parent.as_str().is_empty()).unwrap_or(Utf8Path::new("."))
}

/// Where a proposal for a run lies.
pub fn proposal(target: &Utf8Path) -> Utf8PathBuf {
    let name = target.file_name().unwrap_or("run");
    target.with_file_name(format!("{name}{PROPOSAL_ENDING}"))
}

/// Where a run for a folder is made.
fn partial(target: &Utf8Path) -> Utf8PathBuf {
    let name = target.file_name().unwrap_or("run");
    target.with_file_name(format!("{name}{PARTIAL_ENDING}"))
}

/// Whether a run, or one in the making, has a file of this name.
fn known(name: &str) -> bool {
    let is_receipts = name.strip_prefix(WORK) == Some(RECEIPTS_SUFFIX);
    FILES.contains(&name) || name == ATTESTATION || name == OWNER || is_receipts
}

/// Whether a run, or one in the making, has a folder of this name.
fn is_folder(name: &str) -> bool {
    name.strip_prefix(WORK).is_some_and(|rest| rest.is_empty() || rest == TEMPORARIES_SUFFIX)
}

/// The ledger's file: what is recorded already is passed over, and what is new is appended.
#[derive(Debug)]
pub struct StateFile {
    file: File,
    recorded: u64,
    durability: Durability,
}

impl Write for StateFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let known = usize::try_from(self.recorded).unwrap_or(usize::MAX).min(bytes.len());
        if known > 0 {
            self.recorded -= known as u64;
            return Ok(known);
        }
        self.file.write(bytes)
    }

    /// As durable as policy asks for.
    fn flush(&mut self) -> io::Result<()> {
        match self.durability {
            Durability::Os => Ok(()),
            Durability::Fsync => self.file.sync_data(),
        }
    }
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
        let ours = (known(&name) && kind.is_file()) || (is_folder(&name) && kind.is_dir());
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
