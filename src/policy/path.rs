//! Paths: judged as text, then opened beneath a held directory, and in no other way.
//!
//! A path names a mount and a place in it. What leaves this module is an open file or a handle
//! that can replace one file; a path never does. On Linux every opening goes through `openat2`
//! with `RESOLVE_BENEATH`, so nothing that happens between the check and the use can lead out.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use unicode_normalization::{UnicodeNormalization, is_nfkc};

use crate::corpus::Corpus;
use crate::event::{ErrorClass, ToolError};

/// The longest path, in bytes.
pub const PATH_BYTES_MAX: usize = 1024;

/// The longest name in a path, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// A place in the filesystem that a run may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mount {
    /// The corpus: read-only, served from the verified documents.
    Corpus,
    /// The run's own folder.
    Work,
}

impl Mount {
    /// All mounts.
    pub const ALL: [Self; 2] = [Self::Corpus, Self::Work];

    /// Its name, the first part of a path.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Corpus => "corpus",
            Self::Work => "work",
        }
    }

    /// The mount with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mount| mount.as_str() == name)
    }
}

/// A path that names a mount and stays in it, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPath {
    /// The mount.
    pub mount: Mount,
    names: Vec<String>,
}

/// Why a path is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The mount that the path names, where it names one.
    pub mount: Option<Mount>,
    /// Where it would lead, relative to the mount.
    pub resolved: Option<String>,
    /// Why, in words.
    pub reason: String,
}

impl MountPath {
    /// Reads a text as a path of a mount.
    ///
    /// # Errors
    /// An absolute path, one that leaves its mount, one that names no mount or no file, and names
    /// that file systems and people read differently.
    ///
    /// ```
    /// use gatedrun::policy::path::MountPath;
    /// assert_eq!(MountPath::parse("corpus/./a/../op-07.md").unwrap().to_string(), "corpus/op-07.md");
    /// let refusal = MountPath::parse("corpus/../../etc/passwd").unwrap_err();
    /// assert_eq!(refusal.resolved.as_deref(), Some("../../etc/passwd"));
    /// ```
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let refuse = |reason: String| Err(Refusal { mount: None, resolved: None, reason });
        if text.len() > PATH_BYTES_MAX {
            return refuse(format!(
                "the path has {} bytes; the limit is {PATH_BYTES_MAX}",
                text.len()
            ));
        }
        if let Some(bad) = text.chars().find(|c| c.is_control() || *c == '\\') {
            return refuse(format!("the path holds {bad:?}"));
        }
        if text.starts_with('/') {
            return refuse("the path is absolute; name a mount, as in corpus/op-07.md".to_owned());
        }
        let mut parts = text.split('/').filter(|part| !matches!(*part, "" | "."));
        let first = parts.next().unwrap_or_default();
        let Some(mount) = Mount::named(first) else {
            let names: Vec<&str> = Mount::ALL.into_iter().map(Mount::as_str).collect();
            return refuse(format!("{first:?} is no mount; the mounts are {}", names.join(", ")));
        };
        let mut names: Vec<&str> = Vec::new();
        for part in parts {
            if part == ".." && names.last().is_some_and(|name| *name != "..") {
                names.pop();
            } else {
                names.push(part);
            }
        }
        let refuse = |reason: String| {
            Err(Refusal { mount: Some(mount), resolved: Some(names.join("/")), reason })
        };
        if names.first() == Some(&"..") {
            return refuse(format!("the path leaves its mount {}", mount.as_str()));
        }
        if let Some(long) = names.iter().find(|name| name.len() > NAME_BYTES_MAX) {
            return refuse(format!(
                "a name has {} bytes; the limit is {NAME_BYTES_MAX}",
                long.len()
            ));
        }
        if let Some(bad) =
            names.iter().find(|name| name.ends_with(['.', ' ']) || name.starts_with(' '))
        {
            return refuse(format!(
                "the name {bad:?} begins or ends in what some file systems drop"
            ));
        }
        // On some file systems, and to every eye, these are the names that they normalise to.
        if let Some(bad) = names.iter().find(|name| !is_nfkc(name)) {
            let read: String = bad.nfkc().collect();
            return refuse(format!("the name {bad:?} reads {read:?} once normalised; write it so"));
        }
        if names.is_empty() || text.ends_with('/') {
            return refuse("the path names a folder, and a file is meant".to_owned());
        }
        Ok(Self { mount, names: names.into_iter().map(str::to_owned).collect() })
    }

    /// The path relative to the mount.
    pub fn relative(&self) -> String {
        self.names.join("/")
    }
}

impl std::fmt::Display for MountPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.mount.as_str())?;
        for name in &self.names {
            write!(f, "/{name}")?;
        }
        Ok(())
    }
}

/// The mounts of a run.
#[derive(Debug, Clone)]
pub struct Mounts {
    corpus: Arc<Corpus>,
    work: Arc<WorkFolder>,
}

/// What opening a path came to.
#[derive(Debug)]
pub enum Opened<T> {
    /// The capability.
    Open(T),
    /// The path leads where it may not: a deny of `sandbox_path`.
    Refused(Refusal),
}

impl Mounts {
    /// The mounts over a corpus and a folder of the run's own. The folder is made when something
    /// is first written to it.
    pub fn new(corpus: Arc<Corpus>, work: Utf8PathBuf) -> Self {
        Self { corpus, work: Arc::new(WorkFolder { path: work, handle: Mutex::new(None) }) }
    }

    /// The corpus.
    pub fn corpus(&self) -> &Arc<Corpus> {
        &self.corpus
    }

    /// Opens a file for reading, at most `bytes_max` long. A file that is not there opens too, as
    /// a capability whose reading fails: absence is the tool's error and no denial.
    pub fn open_read(&self, path: &MountPath, bytes_max: u64) -> Opened<ReadCapability> {
        let source = match path.mount {
            Mount::Corpus => {
                match self.corpus.documents().binary_search_by(|d| d.path.cmp(&path.relative())) {
                    Ok(index) => ReadSource::Document(Arc::clone(&self.corpus), index),
                    Err(_) => ReadSource::Failed(ErrorClass::NotFound),
                }
            }
            Mount::Work => match self.work.open_file(&path.names) {
                Ok(file) => ReadSource::File(file),
                Err(Failure::Error(class)) => ReadSource::Failed(class),
                Err(Failure::Refused(reason)) => return Opened::Refused(path.refusal(reason)),
            },
        };
        Opened::Open(ReadCapability { name: path.to_string(), source, bytes_max })
    }

    /// Opens a place for writing one file of at most `bytes_max`. Nothing is made yet.
    pub fn open_write(&self, path: &MountPath, bytes_max: u64) -> Opened<WriteCapability> {
        match self.work.open_file(&path.names) {
            Err(Failure::Refused(reason)) => Opened::Refused(path.refusal(reason)),
            Ok(_) | Err(Failure::Error(_)) => Opened::Open(WriteCapability {
                name: path.to_string(),
                work: Arc::clone(&self.work),
                names: path.names.clone(),
                bytes_max,
            }),
        }
    }
}

impl MountPath {
    fn refusal(&self, reason: &str) -> Refusal {
        Refusal {
            mount: Some(self.mount),
            resolved: Some(self.relative()),
            reason: format!("opening {self} was refused: {reason}"),
        }
    }
}

/// One open file. Reading it again reads the same file.
#[derive(Debug)]
pub struct ReadCapability {
    name: String,
    source: ReadSource,
    bytes_max: u64,
}

#[derive(Debug)]
enum ReadSource {
    Document(Arc<Corpus>, usize),
    File(File),
    Failed(ErrorClass),
}

impl ReadCapability {
    /// The mount and the path in it, for people: nothing opens it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole content.
    ///
    /// # Errors
    /// `not_found`, `not_permitted`, `too_large`, `not_text` or `storage_failed`.
    pub fn read(&self) -> Result<String, ToolError> {
        let too_large = || {
            let message = format!(
                "{} is larger than {} bytes; raise sandbox.max_read_bytes or name a smaller file",
                self.name, self.bytes_max
            );
            Err(ToolError::new(ErrorClass::TooLarge, message))
        };
        match &self.source {
            ReadSource::Document(corpus, index) => {
                let text =
                    corpus.documents().get(*index).map_or("", |document| document.text.as_str());
                if text.len() as u64 > self.bytes_max { too_large() } else { Ok(text.to_owned()) }
            }
            ReadSource::Failed(class) => {
                Err(ToolError::new(*class, format!("{} {}", self.name, why(*class))))
            }
            ReadSource::File(file) => {
                let mut bytes = Vec::new();
                let mut file = file;
                let from_start = file
                    .rewind()
                    .and_then(|()| file.take(self.bytes_max + 1).read_to_end(&mut bytes));
                if let Err(error) = from_start {
                    let message = format!("{} cannot be read: {}", self.name, error.kind());
                    return Err(ToolError::new(ErrorClass::StorageFailed, message));
                }
                if bytes.len() as u64 > self.bytes_max {
                    return too_large();
                }
                String::from_utf8(bytes).map_err(|error| {
                    let at = error.utf8_error().valid_up_to();
                    ToolError::new(
                        ErrorClass::NotText,
                        format!("{} is not UTF-8 at byte {at}", self.name),
                    )
                })
            }
        }
    }
}

fn why(class: ErrorClass) -> &'static str {
    if class == ErrorClass::NotFound {
        "does not exist"
    } else {
        "is no regular file, or may not be opened"
    }
}

/// The right to replace one file.
#[derive(Debug)]
pub struct WriteCapability {
    name: String,
    work: Arc<WorkFolder>,
    names: Vec<String>,
    bytes_max: u64,
}

impl WriteCapability {
    /// The mount and the path in it, for people: nothing opens it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Replaces the file: whole or not at all. Folders above it are made. `key` names the
    /// temporary file, so that doing it again under the same key meets its own leftovers.
    ///
    /// # Errors
    /// `too_large`, `not_permitted` or `storage_failed`.
    pub fn replace(&self, content: &[u8], key: &str) -> Result<(), ToolError> {
        if content.len() as u64 > self.bytes_max {
            let message = format!(
                "the content has {} bytes; sandbox.max_write_bytes is {}",
                content.len(),
                self.bytes_max
            );
            return Err(ToolError::new(ErrorClass::TooLarge, message));
        }
        self.work.replace(&self.names, content, key).map_err(|failure| {
            let (class, what) = match failure {
                Failure::Refused(reason) => (ErrorClass::NotPermitted, reason),
                Failure::Error(class) => (class, "the file system refused"),
            };
            ToolError::new(class, format!("{} cannot be written: {what}", self.name))
        })
    }
}

/// What the name of a work folder's receipts ends with: a file beside it.
pub const RECEIPTS_SUFFIX: &str = ".receipts";

/// The run's own folder, opened once and held.
#[derive(Debug)]
struct WorkFolder {
    path: Utf8PathBuf,
    handle: Mutex<Option<Arc<OwnedFd>>>,
}

enum Failure {
    /// The path leads out, or through a link.
    Refused(&'static str),
    /// It does not, and yet there is no file.
    Error(ErrorClass),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::XDEV => Self::Refused("it leads out of the mount"),
            Errno::LOOP => Self::Refused("it leads through a symbolic link"),
            Errno::NOENT | Errno::NOTDIR => Self::Error(ErrorClass::NotFound),
            Errno::ACCESS | Errno::PERM | Errno::ISDIR | Errno::NXIO | Errno::NODEV => {
                Self::Error(ErrorClass::NotPermitted)
            }
            _ => Self::Error(ErrorClass::StorageFailed),
        }
    }
}

impl WorkFolder {
    /// The held handle; made together with the folder where `create` says so.
    fn handle(&self, create: bool) -> Result<Arc<OwnedFd>, Failure> {
        let mut held = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = &*held {
            return Ok(Arc::clone(handle));
        }
        if create {
            std::fs::create_dir_all(&self.path)
                .map_err(|_| Failure::Error(ErrorClass::StorageFailed))?;
        }
        let handle = Arc::new(open_root(&self.path)?);
        *held = Some(Arc::clone(&handle));
        Ok(handle)
    }

    /// A regular file with one name, open for reading.
    fn open_file(&self, names: &[String]) -> Result<File, Failure> {
        let root = self.handle(false)?;
        // O_NONBLOCK: a FIFO must not hold us; a regular file does not mind.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = open_beneath(root.as_fd(), names.join("/").as_str(), flags, Mode::empty())?;
        let stat = fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Failure::Refused("it is no regular file"));
        }
        if stat.st_nlink != 1 {
            return Err(Failure::Refused("the file has a second name (a hard link)"));
        }
        Ok(File::from(file))
    }

    /// Replaces a file, once: a write that was cut short after it took place is not done again under
    /// its key, since the file already holds what it would write.
    fn replace(&self, names: &[String], content: &[u8], key: &str) -> Result<(), Failure> {
        let found = self.open_file(names).is_ok_and(|file| holds(file, content));
        if !found {
            self.commit(names, content, key)?;
        }
        self.receipt(names, content, key, if found { "found" } else { "replaced" });
        Ok(())
    }

    /// Adds a line to the receipts beside the folder: what was done under which key. They say how
    /// often a write took place, to whoever asks, and belong to no artifact; that one could not be
    /// written changes nothing of what was done. What a crash left of a line stays a line of its own.
    fn receipt(&self, names: &[String], content: &[u8], key: &str, did: &str) {
        let line = serde_json::json!({
            "idempotency_key": key,
            "path": names.join("/"),
            "sha256": crate::json::Digest::of(content),
            "did": did,
        });
        let path = format!("{}{RECEIPTS_SUFFIX}", self.path);
        let file = std::fs::OpenOptions::new().read(true).append(true).create(true).open(path);
        let _ = file.and_then(|mut file| {
            let end = if ends_in_a_line(&mut file)? { "" } else { "\n" };
            file.write_all(format!("{end}{line}\n").as_bytes())
        });
    }

    /// Writes a temporary file, makes it durable, and renames it into place.
    fn commit(&self, names: &[String], content: &[u8], key: &str) -> Result<(), Failure> {
        let root = self.handle(true)?;
        let Some((name, folders)) = names.split_last() else {
            return Err(Failure::Error(ErrorClass::NotPermitted));
        };
        let mut folder = root;
        for name in folders {
            match fs::mkdirat(&folder, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            folder = Arc::new(open_beneath(folder.as_fd(), name, flags, Mode::empty())?);
        }
        if let Ok(stat) = fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)
            && FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile
        {
            return Err(Failure::Refused("something that is no regular file has its name"));
        }
        let temporary = format!(".{key}.tmp");
        match fs::unlinkat(&folder, &temporary, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let file = open_beneath(folder.as_fd(), &temporary, flags, Mode::from_raw_mode(0o644))?;
        let mut file = File::from(file);
        let written = file
            .write_all(content)
            .and_then(|()| file.sync_all())
            .map_err(|_| Failure::Error(ErrorClass::StorageFailed))
            .and_then(|()| fs::renameat(&folder, &temporary, &folder, name).map_err(Failure::from))
            .and_then(|()| fs::fsync(&folder).map_err(Failure::from));
        if written.is_err() {
            // The first error is the one to tell; a leftover is removed under the same key.
            let _ = fs::unlinkat(&folder, &temporary, AtFlags::empty());
        }
        written
    }
}

/// Whether a file holds exactly these bytes.
fn holds(mut file: File, content: &[u8]) -> bool {
    let mut bytes = Vec::with_capacity(content.len() + 1);
    let limit = content.len() as u64 + 1;
    Read::take(&mut file, limit).read_to_end(&mut bytes).is_ok() && bytes == content
}

/// Whether a file is empty, or its last line is whole.
fn ends_in_a_line(file: &mut File) -> std::io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn open_root(path: &Utf8Path) -> Result<OwnedFd, Failure> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(fs::openat(CWD, path.as_std_path(), flags, Mode::empty())?)
}

/// Opens beneath a folder: no link, no other mount, no way up.
fn open_beneath(
    folder: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    const ATTEMPTS: usize = 64;
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    // The kernel answers EAGAIN when a rename elsewhere made its check inconclusive.
    for _ in 1..ATTEMPTS {
        match fs::openat2(folder, path, flags, mode, resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    fs::openat2(folder, path, flags, mode, resolve)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel itself refuses, flag by flag, whatever the check of the text has let pass.
    #[test]
    fn each_flag_of_the_opening_refuses_what_it_is_for() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("outside"), "x").unwrap();
        std::fs::create_dir(folder.path().join("mount")).unwrap();
        std::fs::write(folder.path().join("mount/inside"), "x").unwrap();
        std::os::unix::fs::symlink("inside", folder.path().join("mount/link")).unwrap();
        let open = |root: &std::path::Path, path: &str| {
            let root = open_root(Utf8Path::from_path(root).unwrap()).ok().unwrap();
            open_beneath(root.as_fd(), path, OFlags::RDONLY, Mode::empty()).map(|_| ())
        };
        let mount = folder.path().join("mount");
        assert_eq!(open(&mount, "inside"), Ok(()));
        assert_eq!(open(&mount, "../outside"), Err(Errno::XDEV), "BENEATH");
        assert_eq!(open(&mount, "/etc/passwd"), Err(Errno::XDEV), "BENEATH");
        assert_eq!(open(&mount, "link"), Err(Errno::LOOP), "NO_SYMLINKS");
        let root = std::path::Path::new("/");
        assert_eq!(open(root, "proc/version"), Err(Errno::XDEV), "NO_XDEV");
    }
}
