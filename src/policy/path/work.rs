//! The run's own folder: a held folder whose files can be replaced, each whole or not at all.
//!
//! What lies beside the folder (`work.tmp`, `work.receipts`) is the runtime's own. No path that a
//! call can name leads there.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use camino::Utf8PathBuf;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::event::ErrorClass;

use super::folder::{Folder, Reach, open_beneath, open_root};

/// What the name of a work folder's receipts ends with: a file beside it.
pub const RECEIPTS_SUFFIX: &str = ".receipts";

/// What the name of the folder for a work folder's temporary files ends with: a folder beside it.
pub const TEMPORARIES_SUFFIX: &str = ".tmp";

/// The run's own folder, and the one for its temporary files, each opened once and held.
#[derive(Debug)]
pub(super) struct WorkFolder {
    folder: Folder,
    temporaries: Folder,
}

impl WorkFolder {
    pub(super) fn new(path: Utf8PathBuf) -> Self {
        let temporaries = Utf8PathBuf::from(format!("{path}{TEMPORARIES_SUFFIX}"));
        Self { folder: Folder::new(path), temporaries: Folder::new(temporaries) }
    }

    /// The held handle of the folder for temporary files, made on demand.
    fn temporaries(&self) -> Result<Arc<OwnedFd>, Reach> {
        self.temporaries.hold(|path| match std::fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error)?,
            _ => Ok(open_root(path)?),
        })
    }

    /// A regular file with one name, open for reading.
    pub(super) fn open_file(&self, names: &[String]) -> Result<File, Reach> {
        self.folder.open_file(names)
    }

    /// Replaces a file, once: a write that was cut short after it took place is not done again under
    /// its key, since the file already holds what it would write. That it is found does not mean
    /// that it is durable, so what was cut short before that is made durable now.
    pub(super) fn replace(&self, names: &[String], content: &[u8], key: &str) -> Result<(), Reach> {
        let did = match self.open_file(names) {
            Ok(file) if holds(&file, content)? => {
                file.sync_all()?;
                for folder in self.folders(names, false)?.iter().rev() {
                    fs::fsync(folder)?;
                }
                "found"
            }
            Err(host @ Reach::Host(_)) => return Err(host),
            Ok(_) | Err(_) => {
                self.commit(names, content, key)?;
                "replaced"
            }
        };
        self.receipt(names, content, key, did)
    }

    /// Adds a line to the receipts beside the folder: what was done under which key. They say how
    /// often a write took place, to whoever asks, and belong to no artifact. What a crash left of a
    /// line stays a line of its own.
    fn receipt(&self, names: &[String], content: &[u8], key: &str, did: &str) -> Result<(), Reach> {
        let line = serde_json::json!({
            "idempotency_key": key,
            "path": names.join("/"),
            "sha256": crate::json::Digest::of(content),
            "did": did,
        });
        let path = format!("{}{RECEIPTS_SUFFIX}", self.folder.path());
        let mut file =
            std::fs::OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let end = if ends_in_a_line(&mut file)? { "" } else { "\n" };
        Ok(file.write_all(format!("{end}{line}\n").as_bytes())?)
    }

    /// The folders from the root to the file, each opened beneath the one before; made where they
    /// are missing, if `create` says so.
    fn folders(&self, names: &[String], create: bool) -> Result<Vec<Arc<OwnedFd>>, Reach> {
        let mut folder = self.folder.handle(create)?;
        let mut folders = vec![Arc::clone(&folder)];
        for name in names.split_last().map_or(names, |(_, above)| above) {
            if create {
                match fs::mkdirat(&folder, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let below = open_beneath(folder.as_fd(), name, flags, Mode::empty());
            folder = Arc::new(below.map_err(Reach::by_name)?);
            folders.push(Arc::clone(&folder));
        }
        Ok(folders)
    }

    /// Writes a temporary file, makes it durable, renames it into place, and makes its name durable.
    fn commit(&self, names: &[String], content: &[u8], key: &str) -> Result<(), Reach> {
        let Some(name) = names.last() else {
            return Err(Reach::Absent(ErrorClass::NotPermitted));
        };
        let folders = self.folders(names, true)?;
        let Some(folder) = folders.last() else {
            return Err(Reach::Absent(ErrorClass::NotPermitted));
        };
        match fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => {
                return Err(Reach::Refused("something that is no regular file has its name"));
            }
            Ok(_) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        let temporaries = self.temporaries()?;
        match fs::unlinkat(&temporaries, key, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let file = open_beneath(temporaries.as_fd(), key, flags, Mode::from_raw_mode(0o644))?;
        let mut file = File::from(file);
        file.write_all(content)?;
        file.sync_all()?;
        fs::renameat(&temporaries, key, folder, name)?;
        // From the file up, so that no name is durable before what it stands for.
        for folder in folders.iter().rev() {
            fs::fsync(folder)?;
        }
        Ok(())
    }
}

/// Whether a file holds exactly these bytes.
fn holds(file: &File, content: &[u8]) -> io::Result<bool> {
    let mut bytes = Vec::with_capacity(content.len() + 1);
    file.take(content.len() as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes == content)
}

/// Whether a file is empty, or its last line is whole.
fn ends_in_a_line(file: &mut File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}
