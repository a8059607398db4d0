//! Opens what lies in a run's folder: bytes from a stranger, so nothing but a regular file is
//! opened, no link is followed, and nothing can make the reader wait.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::OwnedFd;

use camino::Utf8Path;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use rustix::io::Errno;
use walkdir::WalkDir;

/// How much is read ahead, in bytes.
const BUFFER_BYTES: usize = 1 << 16;

/// Opens a file of a run for reading.
///
/// # Errors
/// That it is missing, no regular file, or may not be read.
pub fn open(path: &Utf8Path) -> io::Result<BufReader<File>> {
    let flags = READ | OFlags::NOFOLLOW;
    regular(openat(CWD, path.as_std_path(), flags, Mode::empty()))
}

/// Opens a file below a run's folder for reading, by a path that comes from a stranger: neither the
/// path nor a link on its way leads out of the folder.
///
/// # Errors
/// As [`open`].
pub fn beneath(folder: &Utf8Path, path: &str) -> io::Result<BufReader<File>> {
    let held = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = openat(CWD, folder.as_std_path(), held, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    regular(openat2(&folder, path, READ, Mode::empty(), resolve))
}

/// `O_NONBLOCK`: a FIFO must not hold us; a regular file does not mind.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

fn regular(opened: Result<OwnedFd, Errno>) -> io::Result<BufReader<File>> {
    let file = opened.map_err(|errno| match errno {
        Errno::LOOP => io::Error::other("it is a link, and no part of a run is one"),
        Errno::XDEV => io::Error::other("the path leads out of the run's folder"),
        other => other.into(),
    })?;
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok(BufReader::with_capacity(BUFFER_BYTES, File::from(file)))
}

/// Reads a file of at most `bytes_max` bytes.
///
/// # Errors
/// As [`open`], and that it is larger.
pub fn read(path: &Utf8Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::other(format!("it is larger than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// What lies in a run's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path in the folder.
    pub path: String,
    /// Whether it is a folder itself; a link to one is not.
    pub is_folder: bool,
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
