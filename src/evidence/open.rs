//! Opens what lies in a run's folder: bytes from a stranger, so nothing but a regular file is
//! opened, no link is followed, and nothing can make the reader wait.

use std::fs::File;
use std::io::{self, BufReader, Read};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};

/// How much is read ahead, in bytes.
const BUFFER_BYTES: usize = 1 << 16;

/// Opens a file of a run for reading.
///
/// # Errors
/// That it is missing, no regular file, or may not be read.
pub fn open(path: &Utf8Path) -> io::Result<BufReader<File>> {
    // O_NONBLOCK: a FIFO must not hold us; a regular file does not mind.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = openat(CWD, path.as_std_path(), flags, Mode::empty());
    let file = opened.map_err(|errno| match errno {
        rustix::io::Errno::LOOP => io::Error::other("it is a link, and no part of a run is one"),
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

/// The entries of a folder, in order of their names: path, and whether it is a folder itself.
///
/// # Errors
/// That it cannot be read, or that a name is not UTF-8.
pub fn entries(folder: &Utf8Path) -> io::Result<Vec<(Utf8PathBuf, bool)>> {
    let mut entries = Vec::new();
    for entry in folder.read_dir_utf8()? {
        let entry = entry?;
        entries.push((entry.path().to_owned(), entry.file_type()?.is_dir()));
    }
    entries.sort();
    Ok(entries)
}
