//! The right to change a run and what lies beside it: one process at a time, by a lock that the
//! kernel takes back when the process ends. The lock is on the folder `NAME.partial`, which is made
//! for it where no run is in the making.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;

use crate::file::make_folders;

use super::super::open;
use super::exchange::Finished;
use super::names::{Place, unsettled};
use super::{
    OWNER, WriteError, check_own, exchange, if_there, io_at, is_there, parent,
    remove_folder_if_there, remove_if_there, sync,
};

/// How often a lock is tried for whose folder was moved away meanwhile.
const ATTEMPTS: usize = 16;

/// The right to change a run. Whoever gets it finishes first what a killed process has left.
#[derive(Debug)]
pub struct Claim {
    pub(super) place: Place,
    /// The lock's folder.
    pub(super) partial: Utf8PathBuf,
    lock: File,
    /// Whether the lock's folder is removed at the end if there is nothing in it.
    pub(super) is_tidy: bool,
    /// What became of an interrupted replacement.
    finished: Finished,
}

impl Claim {
    /// Locks a run, which need not be there yet.
    ///
    /// # Errors
    /// Another process that writes the run, something foreign in its place, a file system without
    /// locks, or its refusal.
    pub fn take(target: &Utf8Path) -> Result<Self, WriteError> {
        let place = Place::of(target)?;
        place.check_nesting()?;
        check_own(target)?;
        let folder = parent(target);
        io_at(folder, make_folders(folder))?;
        let partial = place.partial();
        for _ in 0..ATTEMPTS {
            let is_made = match fs::create_dir(&partial) {
                Ok(()) => true,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
                Err(error) => return Err(WriteError::Io { path: partial, source: error }),
            };
            match check_own(&partial) {
                Err(error) if is_there(&partial)? => return Err(error),
                _ => {}
            }
            let locked = Self::lock(&place, &partial, true).inspect_err(|error| {
                // Who has the lock removes the folder; without a lock, who made it does.
                if is_made && !matches!(error, WriteError::Locked { .. }) {
                    let _ = fs::remove_dir(&partial);
                }
            })?;
            if let Some(mut claim) = locked {
                if claim.is_empty()? {
                    claim.sign_in()?;
                }
                claim.finished = exchange::finish(&claim.place)?;
                return Ok(claim);
            }
        }
        Err(locked(&partial))
    }

    /// Locks a run of which a part is there; nothing is changed.
    pub(super) fn of_partial(target: &Utf8Path) -> Result<Self, WriteError> {
        let place = Place::of(target)?;
        let partial = place.partial();
        if is_there(&partial)? {
            check_own(target)?;
            check_own(&partial)?;
            if let Some(claim) = Self::lock(&place, &partial, false)? {
                return Ok(claim);
            }
        }
        // A killed process may have left the run under another name.
        let left = place.leftovers()?;
        if !left.swaps.is_empty() || !left.replaced.is_empty() {
            drop(Self::take(target)?);
        }
        let hint = if is_there(&place.proposal())? {
            format!("; {} is a proposal, see `gatedrun review`", place.proposal())
        } else if is_there(target)? {
            ": the run is complete".to_owned()
        } else {
            String::new()
        };
        Err(WriteError::Nothing { target: target.to_owned(), hint })
    }

    /// Finishes what killed processes have left below a folder, and says for which runs something
    /// lies there still. Runs that somebody is writing are left alone. `finished` is given the right to
    /// each run for which there was something to be finished.
    ///
    /// # Errors
    /// The file system's, and those of `finished`.
    pub fn finish_below<E: From<WriteError>>(
        folder: &Utf8Path,
        mut finished: impl FnMut(&Utf8Path, &Self) -> Result<(), E>,
    ) -> Result<Vec<Utf8PathBuf>, E> {
        let mut proposed = Vec::new();
        for target in unsettled(folder)? {
            let Ok(place) = Place::of(&target) else { continue };
            let left = place.leftovers()?;
            let is_litter = || is_empty(&place.partial()).unwrap_or(false);
            if !left.swaps.is_empty() || !left.replaced.is_empty() || is_litter() {
                match Self::take(&target) {
                    Ok(claim) => finished(&target, &claim)?,
                    Err(WriteError::Locked { .. }) => {}
                    // Who acts on the proposal meets the same error, and the others are not hidden.
                    Err(_) if is_there(&place.proposal())? => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if is_there(&place.proposal())? {
                proposed.push(target);
            }
        }
        Ok(proposed)
    }

    /// What taking the right to the run has made of an interrupted replacement of it.
    pub fn finished(&self) -> Finished {
        self.finished
    }

    /// The folders of signed runs that were replaced: their signatures go with them, and somebody is
    /// to be told before [`Claim::clear`].
    ///
    /// # Errors
    /// The file system's.
    pub fn replaced(&self) -> Result<Vec<Utf8PathBuf>, WriteError> {
        signed_replaced(&self.place)
    }

    /// Removes the folder of a run that was replaced.
    ///
    /// # Errors
    /// The file system's.
    pub fn clear(&self, replaced: &Utf8Path) -> Result<(), WriteError> {
        remove_folder_if_there(replaced)
    }

    /// Replaces the run with the proposal for it.
    ///
    /// # Errors
    /// Something foreign in either, or the file system's refusal.
    pub fn accept(&self) -> Result<(), WriteError> {
        let proposal = self.proposal()?;
        for entry in open::walk(&proposal) {
            let entry = io_at(&proposal, entry)?;
            sync(&proposal.join(entry.path))?;
        }
        sync(&proposal)?;
        exchange::replace(&self.place, &proposal, true)
    }

    /// Removes the proposal for the run.
    ///
    /// # Errors
    /// Something foreign in it, or the file system's refusal.
    pub fn reject(&self) -> Result<(), WriteError> {
        exchange::remove(&self.place, &self.proposal()?)
    }

    /// That the proposal for the run is there, and a folder that holds nothing but a run.
    ///
    /// # Errors
    /// That it is not.
    pub fn check_proposal(&self) -> Result<(), WriteError> {
        self.proposal().map(drop)
    }

    fn proposal(&self) -> Result<Utf8PathBuf, WriteError> {
        let proposal = self.place.proposal();
        if !is_there(&proposal)? {
            return Err(WriteError::NoProposal(proposal));
        }
        check_own(&proposal)?;
        Ok(proposal)
    }

    /// The lock; `None` where the folder was moved away meanwhile.
    fn lock(place: &Place, partial: &Utf8Path, is_tidy: bool) -> Result<Option<Self>, WriteError> {
        let Some(lock) = try_lock(partial)? else { return Ok(None) };
        let (place, partial) = (place.clone(), partial.to_owned());
        let claim = Self { place, partial, lock, is_tidy, finished: Finished::Nothing };
        if !claim.is_in_place() {
            return Ok(None);
        }
        // Who puts a folder in its place holds the lock on that folder until all is done. It goes
        // this way, so it is met at one of these.
        for (swap, _) in claim.place.leftovers()?.swaps {
            try_lock(&swap)?;
        }
        for moved in [claim.place.target(), &claim.place.proposal()] {
            try_lock(moved)?;
        }
        Ok(Some(claim))
    }

    /// Whether the folder that is locked is the one that has the lock's name.
    fn is_in_place(&self) -> bool {
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        match (self.lock.metadata(), fs::symlink_metadata(&self.partial)) {
            (Ok(held), Ok(place)) => identity(held) == identity(place),
            _ => false,
        }
    }

    /// Whether nothing of a run lies in the lock's folder.
    pub(super) fn is_empty(&self) -> Result<bool, WriteError> {
        is_empty(&self.partial)
    }

    /// Says who holds the lock, for whoever finds it locked. The lock itself is the kernel's, and
    /// goes with the process.
    pub(super) fn sign_in(&self) -> Result<(), WriteError> {
        let path = self.partial.join(OWNER);
        io_at(&path, fs::write(&path, format!("process {}\n", std::process::id())))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.is_tidy && self.is_in_place() && self.is_empty().unwrap_or(false) {
            // What stays is an empty folder, which the next who locks the run takes for what it is.
            let _ = remove_if_there(&self.partial.join(OWNER));
            let _ = fs::remove_dir(&self.partial);
        }
    }
}

/// Whether a folder holds nothing but the name of who has locked it.
fn is_empty(partial: &Utf8Path) -> Result<bool, WriteError> {
    for entry in io_at(partial, fs::read_dir(partial))? {
        if io_at(partial, entry)?.file_name() != OWNER {
            return Ok(false);
        }
    }
    Ok(true)
}

fn signed_replaced(place: &Place) -> Result<Vec<Utf8PathBuf>, WriteError> {
    let mut signed = Vec::new();
    for old in place.leftovers()?.replaced {
        if exchange::is_signed(&old)? {
            signed.push(old);
        }
    }
    Ok(signed)
}

/// Whether a folder is nothing but the lock of a command: no run was begun in it.
///
/// # Errors
/// The file system's.
pub fn is_only_lock(partial: &Utf8Path) -> Result<bool, WriteError> {
    let Some(found) = if_there(partial, fs::symlink_metadata(partial))? else { return Ok(false) };
    if !found.is_dir() {
        return Ok(false);
    }
    match is_empty(partial) {
        // It has gone meanwhile, or may not be looked into: then it is for its reader to say so.
        Err(_) => Ok(false),
        found => found,
    }
}

/// Whether a killed process has left something of a replacement or a removal beside a run.
///
/// # Errors
/// The file system's.
pub fn has_leftovers(target: &Utf8Path) -> Result<bool, WriteError> {
    let Ok(place) = Place::of(target) else { return Ok(false) };
    let left = place.leftovers()?;
    let partial = place.partial();
    let is_litter = is_there(&partial)? && is_empty(&partial)?;
    Ok(!left.swaps.is_empty() || !left.replaced.is_empty() || is_litter)
}

/// Whether the folder of a signed run that was replaced lies beside a run.
///
/// # Errors
/// The file system's.
pub fn has_replaced(target: &Utf8Path) -> Result<bool, WriteError> {
    Ok(!signed_replaced(&Place::of(target)?)?.is_empty())
}

/// Locks a folder; `None` where there is none.
fn try_lock(folder: &Utf8Path) -> Result<Option<File>, WriteError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match openat(CWD, folder.as_std_path(), flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        Err(errno) => return io_at(folder, Err(errno.into())),
    };
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(file)),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => return Err(locked(folder)),
            // The last two are NFS, which locks no folder.
            Err(
                errno @ (Errno::NOLCK
                | Errno::OPNOTSUPP
                | Errno::NOSYS
                | Errno::BADF
                | Errno::INVAL),
            ) => {
                return Err(WriteError::NoLocks { path: folder.to_owned(), source: errno.into() });
            }
            Err(errno) => return io_at(folder, Err(errno.into())),
        }
    }
}

/// That somebody else holds a lock, and who, where it says so and is still there.
fn locked(folder: &Utf8Path) -> WriteError {
    let owner = open::read(&folder.join(OWNER), 64).unwrap_or_default();
    let owner = String::from_utf8_lossy(&owner);
    let process = owner.trim().strip_prefix("process ").filter(|process| {
        process.bytes().all(|byte| byte.is_ascii_digit())
            && (!Path::new("/proc/self").exists() || Path::new("/proc").join(process).exists())
    });
    let who = process
        .map_or_else(|| "another process".to_owned(), |process| format!("process {process}"));
    WriteError::Locked { path: folder.to_owned(), who }
}
