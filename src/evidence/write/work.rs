//! What the run in the making has written itself, held against what its record says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use crate::host::HostFault;

use super::super::manifest::FileDigest;
use super::super::verify::digest;
use super::super::{WORK, open};
use super::staging::Staging;
use super::{WriteError, if_there, io_at, is_there, remove_folder_if_there, remove_if_there};

/// How a run's own folder differs from its record; paths are relative to the run's folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct WorkDifference {
    /// Files that are not there.
    pub missing: BTreeSet<String>,
    /// Files that hold something else.
    pub changed: BTreeSet<String>,
    /// What no call has written.
    pub strays: BTreeSet<String>,
}

impl Staging {
    /// Holds the run's own folder against its record: `wanted` are the files that should be there,
    /// `or` is the file of the call in flight, which may hold these bytes instead, and `folders` are the
    /// folders that may be there.
    ///
    /// # Errors
    /// The file system's.
    pub fn compare_work(
        &self,
        wanted: &BTreeMap<String, FileDigest>,
        or: Option<&(String, FileDigest)>,
        folders: &BTreeSet<String>,
    ) -> Result<WorkDifference, WriteError> {
        let work = self.work();
        let mut found = WorkDifference::default();
        let mut missing: BTreeSet<String> = wanted.keys().cloned().collect();
        if is_there(&work)? {
            for entry in open::walk(&work) {
                let entry = io_at(&work, entry)?;
                let path = format!("{WORK}/{}", entry.path);
                let other = or.filter(|(name, _)| *name == path).map(|(_, digest)| digest);
                let holds = |due: &FileDigest| self.holds(&path, *due);
                let holds_other = || other.map_or(Ok(false), holds);
                if entry.is_folder {
                    if wanted.contains_key(&path) {
                        found.changed.insert(path);
                    } else if !folders.contains(&path) {
                        found.strays.insert(path);
                    }
                } else if let Some(due) = wanted.get(&path) {
                    missing.remove(&path);
                    if !holds(due)? && !holds_other()? {
                        found.changed.insert(path);
                    }
                } else if !holds_other()? {
                    found.strays.insert(path);
                }
            }
        }
        found.missing = missing.difference(&found.changed).cloned().collect();
        Ok(found)
    }

    /// Removes what differs: what is to be there is made again then.
    ///
    /// # Errors
    /// The file system's.
    pub fn remove_work(&self, difference: &WorkDifference) -> Result<(), WriteError> {
        for path in difference.strays.iter().chain(&difference.changed) {
            let path = self.folder().join(path);
            match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_dir() => remove_folder_if_there(&path)?,
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(WriteError::Io { path, source: error });
                }
                _ => remove_if_there(&path)?,
            }
        }
        Ok(())
    }

    /// Whether a file of the run is a regular one with one name and these bytes.
    ///
    /// # Errors
    /// The machine's: a file that it does not read is not one that was changed.
    fn holds(&self, path: &str, due: FileDigest) -> Result<bool, WriteError> {
        let full = self.folder().join(path);
        let found = if_there(&full, fs::symlink_metadata(&full))?;
        let is_plain = |found: &fs::Metadata| {
            found.is_file() && found.nlink() == 1 && found.len() == due.bytes
        };
        if !found.as_ref().is_some_and(is_plain) {
            return Ok(false);
        }
        match open::Folder::open(self.folder()).and_then(|folder| digest(&folder, path, due)) {
            Err(error) if HostFault::is_one(&error) => io_at(&full, Err(error)),
            found => Ok(found.is_ok_and(|found| found == due.sha256)),
        }
    }
}

impl WorkDifference {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.changed.is_empty() && self.strays.is_empty()
    }

    /// What is done about it, a line each.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let line = |word: &'static str| move |path: &String| format!("{path}: {word}");
        let missing = self.missing.iter().map(line("missing; rebuilt from the ledger"));
        let changed = self.changed.iter().map(line("changed since; rebuilt from the ledger"));
        let strays = self.strays.iter().map(line("not written by the run; removed"));
        missing.chain(changed).chain(strays)
    }
}
