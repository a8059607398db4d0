//! Opens and reads the files that a user names: one reader for all of them, so that a FIFO, a
//! device or a file of any size is refused at once and not waited for or read into memory.
//!
//! A link is followed, as users expect; what it leads to is looked at on the opened handle, so that
//! nothing can change between the look and the reading. What lies in a run's folder is read by
//! `evidence::open`, which follows no link.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read};

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

use crate::host::{HostFault, in_words, is_about_the_name};
use crate::problem::Problem;

/// Why a file was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Unread {
    /// What is wrong, as a lower-case fragment.
    pub what: String,
    /// How to fix it; empty where the first sentence says it already.
    pub remedy: &'static str,
    /// Whether the machine refused, and not the file itself is wrong.
    pub is_host: bool,
}

impl Unread {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: "", is_host: false }
    }

    fn io(error: &io::Error) -> Self {
        let is_host = !is_about_the_name(error);
        let remedy = if is_host { "repeat the command once it can be read" } else { "" };
        Self { what: said(error), remedy, is_host }
    }

    /// The same as a problem of the input that its user calls `name`.
    pub fn problem(self, name: &str) -> Problem {
        let problem = Problem::new(name, self.what).remedy(self.remedy);
        if self.is_host { problem.of_the_host() } else { problem }
    }
}

/// Opens a regular file for reading.
///
/// # Errors
/// [`Unread`]: there is none, it may not be read, or it is a folder, a FIFO, a socket or a device.
pub fn open(path: &Utf8Path) -> Result<File, Unread> {
    // `NONBLOCK`: opening a FIFO must not wait for its writer. A regular file does not mind.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match openat(CWD, path.as_std_path(), flags, Mode::empty()) {
        Ok(file) => File::from(file),
        // That is how a socket, and a device without a driver, answer.
        Err(Errno::NXIO | Errno::NODEV) => return Err(irregular("a socket or a device")),
        Err(errno) => return Err(Unread::io(&errno.into())),
    };
    let stat = fstat(&file).map_err(|errno| Unread::io(&errno.into()))?;
    match kind(FileType::from_raw_mode(stat.st_mode)) {
        None => Ok(file),
        Some(kind) => Err(irregular(kind)),
    }
}

/// What lies at a path, links followed; `None` where nothing does.
///
/// # Errors
/// That the machine does not say: a name that it does not answer for is not a name that is free.
pub fn at(path: &Utf8Path) -> Result<Option<Metadata>, HostFault> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if is_about_the_name(&error) => Ok(None),
        Err(error) => Err(HostFault::of(&error, path.as_str(), "read")),
    }
}

/// Whether a folder lies at a path.
///
/// # Errors
/// As [`at`].
pub fn is_folder(path: &Utf8Path) -> Result<bool, HostFault> {
    Ok(at(path)?.is_some_and(|metadata| metadata.is_dir()))
}

/// Makes a folder, and those above it that are missing.
///
/// # Errors
/// The system's. Of a name that is taken and of which the machine does not say by what, its refusal:
/// the standard library says that the name is taken.
pub fn make_folders(path: &Utf8Path) -> io::Result<()> {
    match std::fs::create_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            if std::fs::metadata(path)?.is_dir() { Ok(()) } else { Err(error) }
        }
        other => other,
    }
}

fn irregular(kind: &str) -> Unread {
    let what = format!("not a regular file (found {kind})");
    Unread { remedy: "name a file", ..Unread::new(what) }
}

/// What something is that is not a regular file, in words.
pub fn kind(file_type: FileType) -> Option<&'static str> {
    match file_type {
        FileType::RegularFile => None,
        FileType::Directory => Some("a folder"),
        FileType::Fifo => Some("a FIFO or a pipe"),
        FileType::Socket => Some("a socket"),
        FileType::Symlink => Some("a link"),
        FileType::CharacterDevice | FileType::BlockDevice => Some("a device"),
        FileType::Unknown => Some("something unknown"),
    }
}

/// Reads a regular file of at most `bytes_max` bytes. A larger one is refused before it is read.
///
/// # Errors
/// As [`open`], and that it is larger.
pub fn read(path: &Utf8Path, bytes_max: u64) -> Result<Vec<u8>, Unread> {
    read_open(&open(path)?, bytes_max)
}

/// Reads a file that is open; as [`read`].
///
/// # Errors
/// That the file is unreadable, or larger.
pub fn read_open(file: &File, bytes_max: u64) -> Result<Vec<u8>, Unread> {
    let larger = || Unread::new(format!("larger than {bytes_max} bytes"));
    let failed = |error: io::Error| Unread::io(&error);
    let stated = file.metadata().map_err(failed)?.len();
    if stated > bytes_max {
        return Err(larger());
    }
    // Room for all of it and for the look past its end, so that two reads are enough.
    let mut bytes = Vec::with_capacity(usize::try_from(stated).unwrap_or(0) + 1);
    // Bounded again: it may grow while it is read, and some files do not state their size.
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > bytes_max { Err(larger()) } else { Ok(bytes) }
}

/// A path from the root on, without `.` and `..`; links are not followed. None where the working
/// folder is unknown, or is not UTF-8.
pub fn absolute(path: &Utf8Path) -> Option<Utf8PathBuf> {
    let absolute = Utf8PathBuf::from_path_buf(std::path::absolute(path).ok()?).ok()?;
    let mut folded = Utf8PathBuf::new();
    for part in absolute.components() {
        match part {
            Utf8Component::ParentDir => drop(folded.pop()),
            part => folded.push(part),
        }
    }
    Some(folded)
}

/// What the system says, in plain words where there are some.
pub fn said(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "no such file".to_owned(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        ErrorKind::NotADirectory => "a part of its path is not a folder".to_owned(),
        ErrorKind::IsADirectory => "not a regular file (found a folder)".to_owned(),
        ErrorKind::StorageFull => "no space left on the device".to_owned(),
        ErrorKind::ReadOnlyFilesystem => "the file system is read-only".to_owned(),
        _ => in_words(error),
    }
}

/// That the folder which its user calls `name` cannot be listed.
pub fn unlisted(name: &str, error: &io::Error) -> Problem {
    let what = match error.kind() {
        ErrorKind::NotFound => "no such folder".to_owned(),
        ErrorKind::NotADirectory => "not a folder".to_owned(),
        _ => said(error),
    };
    let problem = Problem::new(name, what);
    if is_about_the_name(error) {
        problem
    } else {
        problem.of_the_host().remedy("repeat the command once it can be read")
    }
}
