//! A folder of the machine, opened once and held. Every opening beneath it goes through `openat2`
//! with `RESOLVE_BENEATH`, so nothing that happens between the check and the use can lead out.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{self, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::event::ErrorClass;
use crate::file::make_folders;
use crate::host::HostFault;

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

/// A folder that is opened when it is first used, and held from then on.
#[derive(Debug)]
pub(super) struct Folder {
    path: Utf8PathBuf,
    held: Mutex<Option<Arc<OwnedFd>>>,
}

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
    pub(super) fn by_name(errno: Errno) -> Self {
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

impl Folder {
    pub(super) fn new(path: Utf8PathBuf) -> Self {
        Self { path, held: Mutex::default() }
    }

    pub(super) fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// The held handle of the folder; it is made first where `create` says so.
    pub(super) fn handle(&self, create: bool) -> Result<Arc<OwnedFd>, Reach> {
        self.hold(|path| {
            if create {
                make_folders(path)?;
            }
            open_root(path).map_err(Reach::by_name)
        })
    }

    /// The handle that is held, or the one that `open` opens, which is held from then on.
    pub(super) fn hold(
        &self,
        open: impl FnOnce(&Utf8Path) -> Result<OwnedFd, Reach>,
    ) -> Result<Arc<OwnedFd>, Reach> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = &*held {
            return Ok(Arc::clone(handle));
        }
        let handle = Arc::new(open(&self.path)?);
        *held = Some(Arc::clone(&handle));
        Ok(handle)
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
}

pub(super) fn open_root(path: &Utf8Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(CWD, path.as_std_path(), flags, Mode::empty())
}

/// Opens beneath a folder: no link, no other mount, no way up.
pub(super) fn open_beneath(
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
