//! The run's own folder, opened once and held. Every opening goes through `openat2` with
//! `RESOLVE_BENEATH`, so nothing that happens between the check and the use can lead out.
//!
//! What lies beside the folder (`work.tmp`, `work.receipts`) is the runtime's own. No path that a
//! call can name leads there.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::event::ErrorClass;
use crate::file::make_folders;
use crate::host::HostFault;

/// What the name of a work folder's receipts ends with: a file beside it.
pub const RECEIPTS_SUFFIX: &str = ".receipts";

/// What the name of the folder for a work folder's temporary files ends with: a folder beside it.
pub const TEMPORARIES_SUFFIX: &str = ".tmp";

/// What every opening beneath a held folder refuses: the way up, links, other mounts.
const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// Asks the kernel once for the call that every opening of a run needs.
///
/// # Errors
/// That the kernel, or what confines this process, refuses it.
pub fn probe() -> Result<(), HostFault> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    match open_beneath(CWD, ".", flags, Mode::empty()) {
        Ok(_) => Ok(()),
        Err(
            errno @ (Errno::NOSYS | Errno::PERM | Errno::INVAL | Errno::ACCESS | Errno::TOOBIG),
        ) => {
            let why = io::Error::from(errno).to_string();
            let why = why.split(" (os error").next().unwrap_or_default().to_lowercase();
            Err(HostFault::refused(
                "openat2",
                "called",
                format!(
                    "{why}: this system call, which confines every file that a run opens, is refused by the kernel (Linux 5.6 or later has it) or by a seccomp filter (as old versions of Docker, Podman and systemd-nspawn install)"
                ),
                "update the kernel or the container runtime, or allow openat2 in its seccomp profile",
            ))
        }
        Err(errno) => Err(HostFault::new("the current folder", "opened", errno)),
    }
}

/// The run's own folder, and the one for its temporary files, each opened once and held.
#[derive(Debug)]
pub(super) struct WorkFolder {
    path: Utf8PathBuf,
    handle: Held,
    temporaries: Held,
}

type Held = Mutex<Option<Arc<OwnedFd>>>;

/// Why there is no file.
pub(super) enum Reach {
    /// The path leads out, or through a link, or to something that is not a regular file.
    Refused(&'static str),
    /// A fact of the folder: nothing has that name, or a file stands where a folder is meant.
    Absent(ErrorClass),
    /// The machine refused.
    Host(io::Error),
}

impl Reach {
    /// What an opening by names that a call chose came to. Nothing but these errors is a fact of the
    /// folder, the same on every machine.
    fn by_name(errno: Errno) -> Self {
        match errno {
            Errno::XDEV => Self::Refused("it leads out of the mount"),
            Errno::LOOP => Self::Refused("it leads through a symbolic link"),
            Errno::NOENT | Errno::NOTDIR => Self::Absent(ErrorClass::NotFound),
            // A socket or a device.
            Errno::ISDIR | Errno::NXIO | Errno::NODEV => Self::Absent(ErrorClass::NotPermitted),
            other => Self::Host(other.into()),
        }
    }
}

impl From<Errno> for Reach {
    fn from(errno: Errno) -> Self {
        Self::Host(errno.into())
    }
}

impl From<io::Error> for Reach {
    fn from(error: io::Error) -> Self {
        Self::Host(error)
    }
}

impl WorkFolder {
    pub(super) fn new(path: Utf8PathBuf) -> Self {
        Self { path, handle: Held::default(), temporaries: Held::default() }
    }

    /// The held handle of the folder; made together with it where `create` says so.
    fn handle(&self, create: bool) -> Result<Arc<OwnedFd>, Reach> {
        hold(&self.handle, || {
            if create {
                make_folders(&self.path)?;
            }
            open_root(&self.path).map_err(Reach::by_name)
        })
    }

    /// The held handle of the folder for temporary files, made on demand.
    fn temporaries(&self) -> Result<Arc<OwnedFd>, Reach> {
        hold(&self.temporaries, || {
            let path = Utf8PathBuf::from(format!("{}{TEMPORARIES_SUFFIX}", self.path));
            match std::fs::create_dir(&path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error)?,
                _ => Ok(open_root(&path)?),
            }
        })
    }

    /// A regular file with one name, open for reading.
    pub(super) fn open_file(&self, names: &[String]) -> Result<File, Reach> {
        let root = self.handle(false)?;
        // O_NONBLOCK: a FIFO must not hold us; a regular file does not mind.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = open_beneath(root.as_fd(), names.join("/").as_str(), flags, Mode::empty())
            .map_err(Reach::by_name)?;
        let stat = fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Reach::Refused("it is no regular file"));
        }
        if stat.st_nlink != 1 {
            return Err(Reach::Refused("the file has a second name (a hard link)"));
        }
        Ok(File::from(file))
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
        let path = format!("{}{RECEIPTS_SUFFIX}", self.path);
        let mut file =
            std::fs::OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let end = if ends_in_a_line(&mut file)? { "" } else { "\n" };
        Ok(file.write_all(format!("{end}{line}\n").as_bytes())?)
    }

    /// The folders from the root to the file, each opened beneath the one before; made where they
    /// are missing, if `create` says so.
    fn folders(&self, names: &[String], create: bool) -> Result<Vec<Arc<OwnedFd>>, Reach> {
        let mut folder = self.handle(create)?;
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

/// What is held, or what `open` opens, which is held from then on.
fn hold(held: &Held, open: impl FnOnce() -> Result<OwnedFd, Reach>) -> Result<Arc<OwnedFd>, Reach> {
    let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*held {
        return Ok(Arc::clone(handle));
    }
    let handle = Arc::new(open()?);
    *held = Some(Arc::clone(&handle));
    Ok(handle)
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

fn open_root(path: &Utf8Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(CWD, path.as_std_path(), flags, Mode::empty())
}

/// Opens beneath a folder: no link, no other mount, no way up.
fn open_beneath(
    folder: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    const ATTEMPTS: usize = 64;
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    // The kernel answers EAGAIN when a rename elsewhere made its check inconclusive.
    for _ in 1..ATTEMPTS {
        match fs::openat2(folder, path, flags, mode, RESOLVE) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    fs::openat2(folder, path, flags, mode, RESOLVE)
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
            let root = open_root(Utf8Path::from_path(root).unwrap()).unwrap();
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
