//! One folder in another's place, in one step. Whoever is killed on the way leaves names that say how
//! far it came, and the next who holds the lock finishes that: backward before the exchange, forward
//! after it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::json::Digest;

use super::super::open;
use super::super::{ATTESTATION, STATE};
use super::names::{Place, digits};
use super::{
    WriteError, check_own, if_there, io_at, is_there, parent, remove_folder_if_there, rename, sync,
};

/// Puts a run's folder in its place; what was there goes.
pub(super) fn replace(place: &Place, from: &Utf8Path, durable: bool) -> Result<(), WriteError> {
    let target = place.target();
    check_own(target)?;
    let made_durable = |path: &Utf8Path| if durable { sync(path) } else { Ok(()) };
    if !is_there(target)? {
        rename(from, target)?;
        return made_durable(parent(target));
    }
    let swap = place.swap(&digits(digest(from)?));
    rename(from, &swap)?;
    // Where it fails, the incoming folder goes back, so that the command can be given again.
    let undone = |error: WriteError| {
        let _ = rename(&swap, from);
        error
    };
    match renameat_with(CWD, swap.as_std_path(), CWD, target.as_std_path(), RenameFlags::EXCHANGE) {
        Ok(()) => {}
        // NFS, 9p, some FUSE and older ZFS, and filters of system calls (EPERM, ENOTTY): two steps
        // then, and between them the place is empty. What really may not be renamed is refused there.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM | Errno::NOTTY) => {
            let old = place.replaced(inode(target)?);
            rename(target, &old).map_err(undone)?;
            if let Err(error) = rename(&swap, target) {
                let _ = rename(&old, target);
                return Err(undone(error));
            }
            made_durable(parent(target))?;
            return clear(&old);
        }
        Err(errno) => return Err(undone(io_error(target, errno))),
    }
    made_durable(parent(target))?;
    retire(place, &swap)
}

/// Removes a run that was replaced, as [`remove`] does. One that was signed stays under its new name,
/// until somebody was told whose signatures go with it.
fn retire(place: &Place, folder: &Utf8Path) -> Result<(), WriteError> {
    let old = place.replaced(inode(folder)?);
    remove_folder_if_there(&old)?;
    rename(folder, &old)?;
    clear(&old)
}

/// Removes a folder that is to be removed, unless it holds signatures.
fn clear(old: &Utf8Path) -> Result<(), WriteError> {
    if is_signed(old)? { Ok(()) } else { remove_folder_if_there(old) }
}

/// Whether a folder holds the signatures under a run.
pub(super) fn is_signed(folder: &Utf8Path) -> Result<bool, WriteError> {
    is_there(&folder.join(ATTESTATION))
}

/// Removes a folder: first it gets a name that means nothing else, so that nobody who finds the half
/// of it takes it for a run.
pub(super) fn remove(place: &Place, folder: &Utf8Path) -> Result<(), WriteError> {
    let Some(found) = if_there(folder, fs::symlink_metadata(folder))? else { return Ok(()) };
    let old = place.replaced(found.ino());
    remove_folder_if_there(&old)?;
    rename(folder, &old)?;
    remove_folder_if_there(&old)
}

/// What became of a replacement that was interrupted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Finished {
    /// There was none.
    #[default]
    Nothing,
    /// The new run is in its place.
    Forward,
    /// The old run is in its place still, and the new one is the proposal for it.
    Backward,
}

/// Finishes what a killed process has left, and says what became of it. Only for who holds the lock.
/// What was signed stays until somebody was told.
pub(super) fn finish(place: &Place) -> Result<Finished, WriteError> {
    let mut finished = Finished::Nothing;
    let left = place.leftovers()?;
    let target = place.target();
    for (swap, incoming) in &left.swaps {
        let is_incoming = |folder: &Utf8Path| Ok(digits(digest(folder)?) == *incoming);
        if is_there(target)? && is_incoming(target)? {
            // The exchange took place, and this is what was there before.
            sync(parent(target))?;
            retire(place, swap)?;
            finished = Finished::Forward;
        } else if is_there(target)? {
            // It did not. It was a decision, and can be made again.
            remove(place, &place.proposal())?;
            rename(swap, &place.proposal())?;
            finished = Finished::Backward;
        } else if is_incoming(swap)? {
            // Without an exchange, in two steps: the first was done.
            rename(swap, target)?;
            sync(parent(target))?;
            finished = Finished::Forward;
        } else if let Some(old) = whole(&left.replaced)? {
            // The incoming one is damaged.
            rename(old, target)?;
            remove(place, &place.proposal())?;
            rename(swap, &place.proposal())?;
            finished = Finished::Backward;
        }
    }
    for old in &left.replaced {
        clear(old)?;
    }
    Ok(finished)
}

/// The first of these folders that holds a run still.
fn whole(folders: &[Utf8PathBuf]) -> Result<Option<&Utf8PathBuf>, WriteError> {
    for folder in folders {
        if is_there(&folder.join(STATE))? {
            return Ok(Some(folder));
        }
    }
    Ok(None)
}

/// SHA-256 over all files of a folder: their paths, sizes and bytes. Empty folders do not count, since
/// version control does not keep them.
pub(super) fn digest(folder: &Utf8Path) -> Result<Digest, WriteError> {
    let mut hasher = Sha256::new();
    for entry in open::walk(folder) {
        let entry = io_at(folder, entry)?;
        if entry.is_folder {
            continue;
        }
        let path = folder.join(&entry.path);
        let metadata = io_at(&path, fs::symlink_metadata(&path))?;
        hasher.update(Digest::of(entry.path.as_bytes()).as_bytes());
        hasher.update(metadata.len().to_le_bytes());
        if metadata.is_file() {
            let mut file = io_at(&path, File::open(&path))?;
            io_at(&path, io::copy(&mut file, &mut Hashing(&mut hasher)))?;
        }
    }
    Ok(Digest::from(hasher))
}

/// The digest of a folder without files.
pub(super) fn digest_of_nothing() -> Digest {
    Digest::from(Sha256::new())
}

struct Hashing<'h>(&'h mut Sha256);

impl io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn inode(path: &Utf8Path) -> Result<u64, WriteError> {
    Ok(io_at(path, fs::symlink_metadata(path))?.ino())
}

fn io_error(path: &Utf8Path, errno: Errno) -> WriteError {
    WriteError::Io { path: path.to_owned(), source: errno.into() }
}
