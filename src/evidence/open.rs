//! Opens what lies in a run's folder: bytes from a stranger, so nothing but a regular file is
//! opened, no link is followed, and nothing can make the reader wait.
//!
//! A run is replaced by another in one step, at any time. A reader of several files therefore holds
//! the [`Folder`], and opens everything beneath that handle: it never reads files of two runs.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, stat, statat};
use rustix::io::Errno;
use walkdir::WalkDir;

use crate::host::HostFault;

/// How much is read ahead, in bytes.
const BUFFER_BYTES: usize = 1 << 16;

/// Room for most files at once: two reads are enough for them.
const SMALL_BYTES: usize = 8192;

/// How often a reader begins again because another run was put in the place of the one in hand.
const REPLACED_MAX: usize = 64;

/// `O_NONBLOCK`: a FIFO must not hold us; a regular file does not mind.
const READ: OFlags =
    OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A file of a run, opened.
pub type Opened = BufReader<File>;

/// A run's folder, held: whatever is put in its place, what is opened here is in this one.
#[derive(Debug)]
pub struct Folder {
    held: OwnedFd,
    path: Utf8PathBuf,
}

impl Folder {
    /// Opens a folder, or one that a link leads to.
    ///
    /// # Errors
    /// That it is missing, not a folder, or may not be read.
    pub fn open(path: &Utf8Path) -> io::Result<Self> {
        let held = openat(CWD, path.as_std_path(), FOLDER, Mode::empty())?;
        Ok(Self { held, path: path.to_owned() })
    }

    /// Reads a folder as one run: where another run was put in its place meanwhile, and what was
    /// read is not whole, it is read again from the start.
    ///
    /// # Errors
    /// As [`Folder::open`]; that the run was replaced again and again.
    pub fn read_whole<T>(
        path: &Utf8Path,
        mut read: impl FnMut(&Self) -> T,
        is_whole: impl Fn(&T) -> bool,
    ) -> io::Result<T> {
        for again in 0..REPLACED_MAX {
            let folder = match Self::open(path) {
                Ok(folder) => folder,
                // Where two names cannot be exchanged there is nothing in the place for a moment.
                Err(error) if error.kind() == io::ErrorKind::NotFound && again > 0 => {
                    std::thread::yield_now();
                    continue;
                }
                Err(error) => return Err(error),
            };
            let found = read(&folder);
            if is_whole(&found) || folder.is_in_place()? {
                return Ok(found);
            }
        }
        Err(replaced_too_often())
    }

    /// Reads what lies at a path as one run, however it is opened: where another run was put there
    /// meanwhile, it is read again from the start. Where nothing is, there is only what `read` says.
    ///
    /// # Errors
    /// That the run was replaced again and again.
    pub fn read_steady<T>(path: &Utf8Path, mut read: impl FnMut() -> T) -> io::Result<T> {
        for _ in 0..REPLACED_MAX {
            let held = Self::open(path).ok();
            let found = read();
            // As long as it is held, no other folder gets its number.
            let is_in_place = held.map_or(Ok(true), |held| held.is_in_place())?;
            if is_in_place {
                return Ok(found);
            }
            std::thread::yield_now();
        }
        Err(replaced_too_often())
    }

    /// Opens files of one run, all of them before any is read; none where it is missing.
    ///
    /// # Errors
    /// As [`Folder::read_whole`].
    pub fn open_all<const N: usize>(
        path: &Utf8Path,
        names: [&str; N],
    ) -> io::Result<[io::Result<Opened>; N]> {
        let open = |folder: &Self| names.map(|name| folder.open_file(name));
        Self::read_whole(path, open, |files| files.iter().all(Result::is_ok))
    }

    /// Where it was found.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// Whether it is still what lies at its path.
    ///
    /// # Errors
    /// That the machine does not say.
    pub fn is_in_place(&self) -> io::Result<bool> {
        let id = |stat: Stat| (stat.st_dev, stat.st_ino);
        let held = fstat(&self.held)?;
        match stat(self.path.as_std_path()).map_err(io::Error::from) {
            Ok(place) => Ok(id(held) == id(place)),
            Err(error) if HostFault::is_one(&error) => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Opens a file in it for reading, by a path that may come from a stranger: neither the path nor
    /// a link on its way leads out of the folder.
    ///
    /// # Errors
    /// That it is missing, not a regular file, or may not be read.
    pub fn open_file(&self, path: &str) -> io::Result<Opened> {
        let path = Utf8Path::new(path);
        let name = path.file_name().ok_or_else(leads_out)?;
        match self.inner(path.parent().unwrap_or(Utf8Path::new("")))? {
            Some(folder) => regular(openat(&folder, name, READ, Mode::empty())),
            None => regular(openat(&self.held, name, READ, Mode::empty())),
        }
    }

    /// Whether something has this name in it, whatever it is.
    ///
    /// # Errors
    /// That the machine does not say.
    pub fn has(&self, name: &str) -> io::Result<bool> {
        match statat(&self.held, name, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from) {
            Ok(_) => Ok(true),
            Err(error) if HostFault::is_one(&error) => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Reads a file in it of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// As [`Folder::open_file`], and that it is larger.
    pub fn read(&self, path: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
        read_bounded(self.open_file(path)?, bytes_max)
    }

    /// Everything in it and in the folders below, in the order of names, no link followed. What
    /// cannot be read is an error in its place, and the rest follows.
    pub fn walk(&self) -> Walk<'_> {
        let mut walk = Walk { folder: self, levels: Vec::new(), error: None };
        walk.enter(String::new());
        walk
    }

    /// A folder below; none where that is this one.
    fn inner(&self, path: &Utf8Path) -> io::Result<Option<OwnedFd>> {
        let mut held: Option<OwnedFd> = None;
        for part in path.components() {
            let Utf8Component::Normal(name) = part else { return Err(leads_out()) };
            let within = held.as_ref().map_or(self.held.as_fd(), AsFd::as_fd);
            let opened = openat(within, name, FOLDER | OFlags::NOFOLLOW, Mode::empty());
            held = Some(opened.map_err(not_opened)?);
        }
        Ok(held)
    }

    /// The names in a folder below, in order, with what they are.
    fn names(&self, path: &str) -> io::Result<Vec<(OsString, bool)>> {
        let inner = self.inner(Utf8Path::new(path))?;
        let folder = inner.as_ref().map_or(self.held.as_fd(), AsFd::as_fd);
        let mut names = Vec::new();
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let is_folder = match entry.file_type() {
                // Some file systems do not say.
                FileType::Unknown => statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
                    .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir()),
                known => known.is_dir(),
            };
            names.push((OsString::from_vec(name.to_bytes().to_vec()), is_folder));
        }
        names.sort();
        Ok(names)
    }
}

/// What lies in a run's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path in the folder.
    pub path: String,
    /// Whether it is a folder itself; a link to one is not.
    pub is_folder: bool,
}

/// What is left to walk of a folder. No handle is kept for a level, so that none is too deep.
#[derive(Debug)]
pub struct Walk<'f> {
    folder: &'f Folder,
    levels: Vec<(String, std::vec::IntoIter<(OsString, bool)>)>,
    error: Option<io::Error>,
}

impl Walk<'_> {
    fn enter(&mut self, path: String) {
        match self.folder.names(&path) {
            Ok(names) => self.levels.push((path, names.into_iter())),
            Err(error) => self.error = Some(error),
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(error) = self.error.take() {
                return Some(Err(error));
            }
            let (within, names) = self.levels.last_mut()?;
            let Some((name, is_folder)) = names.next() else {
                self.levels.pop();
                continue;
            };
            let Some(name) = name.to_str() else {
                let name = name.to_string_lossy();
                return Some(Err(io::Error::other(format!("the name {name:?} is not UTF-8"))));
            };
            let path = if within.is_empty() { name.to_owned() } else { format!("{within}/{name}") };
            if is_folder {
                self.enter(path.clone());
            }
            return Some(Ok(Entry { path, is_folder }));
        }
    }
}

/// Opens a file of a run for reading: for who reads no other file of it.
///
/// # Errors
/// That it is missing, not a regular file, or may not be read.
pub fn open(path: &Utf8Path) -> io::Result<Opened> {
    regular(openat(CWD, path.as_std_path(), READ, Mode::empty()))
}

fn replaced_too_often() -> io::Error {
    io::Error::other(format!(
        "another run was put in this place {REPLACED_MAX} times while it was read; read it when nothing writes it"
    ))
}

fn regular(opened: Result<OwnedFd, Errno>) -> io::Result<Opened> {
    let file = opened.map_err(not_opened)?;
    if !FileType::from_raw_mode(fstat(&file)?.st_mode).is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    Ok(BufReader::with_capacity(BUFFER_BYTES, File::from(file)))
}

fn not_opened(errno: Errno) -> io::Error {
    match errno {
        Errno::LOOP => io::Error::other("a symbolic link, and no part of a run may be one"),
        other => other.into(),
    }
}

fn leads_out() -> io::Error {
    io::Error::other("the path leads out of the run's folder")
}

/// Reads a file of at most `bytes_max` bytes.
///
/// # Errors
/// As [`open`], and that it is larger.
pub fn read(path: &Utf8Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    read_bounded(open(path)?, bytes_max)
}

/// Reads what has at most `bytes_max` bytes.
pub(super) fn read_bounded(source: impl Read, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(SMALL_BYTES);
    source.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::other(format!("larger than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// Everything below a run's folder, in the order of names, no link followed.
///
/// # Errors
/// A folder that cannot be read, and a name that is not UTF-8.
pub fn walk(folder: &Utf8Path) -> impl Iterator<Item = io::Result<Entry>> {
    let walk = WalkDir::new(folder).min_depth(1).sort_by_file_name().into_iter();
    walk.map(move |entry| {
        let entry = entry?;
        let path = Utf8Path::from_path(entry.path())
            .and_then(|path| path.strip_prefix(folder).ok())
            .ok_or_else(|| io::Error::other("a name in it is not UTF-8"))?;
        Ok(Entry { path: path.to_string(), is_folder: entry.file_type().is_dir() })
    })
}
