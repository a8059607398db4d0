//! Where a command writes a file that its user named: reports, attestations, keys, manual pages, a
//! corpus.
//!
//! A destination is looked at before any work is done. No command knows every file that it, or
//! another one, reads, so nothing is replaced that this program has not written as the same kind of
//! output, and nothing is put where inputs and evidence lie. A destination is written in one step: a temporary file
//! beside it, synced, renamed over it, and the folder synced, so that after a kill or a loss of power
//! the old or the new content is there. Only a regular file is ever replaced. A temporary file that a
//! kill has left is removed by the next command that writes to the same place.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{
    Access, AtFlags, CWD, FileType, FlockOperation, Gid, Mode, OFlags, Uid, accessat, fchown,
    flock, openat,
};
use rustix::io::Errno;
use tempfile::{Builder, NamedTempFile};

use crate::evidence::write::{is_beside, target_of};
use crate::evidence::{REPORT, STATE, TRACE};
use crate::file::{self, kind};
use crate::place::{real, refuse_kept};
use crate::task::reserved_ending;

use super::Stop;
use super::content::Content;

/// How the name of a temporary file ends.
const TEMPORARY_ENDING: &str = ".gatedrun-tmp";

/// How much of a name goes into that of its temporary file, which may not be too long.
const NAME_CHARS_MAX: usize = 48;

/// How often a temporary file is made again that another command has taken for a leftover.
const TRIES_MAX: usize = 16;

/// The largest file that is looked into before it is replaced, in bytes.
const REPLACED_BYTES_MAX: u64 = 1 << 30;

/// A place for a file, looked at and found fit to be written.
#[derive(Debug)]
pub(super) struct Destination {
    /// As its user named it.
    named: Utf8PathBuf,
    /// The file itself, where the name is a link to it.
    place: Utf8PathBuf,
    /// Where the temporary file lies.
    beside: Utf8PathBuf,
    /// How its name begins.
    prefix: String,
    /// What is written there.
    content: Content,
}

impl Destination {
    /// A place for a file. A link is followed to the regular file that it leads to.
    ///
    /// # Errors
    /// That something else is there, that inputs or evidence lie there, or that the folder does not
    /// exist or may not be written.
    pub(super) fn of(path: &Utf8Path, content: Content) -> Result<Self, Stop> {
        let place = match found(path)? {
            None => absent(path)?,
            Some(metadata) => {
                refuse_irregular(path, &metadata)?;
                refuse_own_stream(path, &metadata)?;
                let real = path.canonicalize_utf8();
                real.map_err(|error| Stop::writing(path, &error))?
            }
        };
        let named = path.to_owned();
        refuse_reserved(path, &named)?;
        refuse_reserved(path, &place)?;
        refuse_run(path, parent(&place))?;
        refuse_kept(path, &place, content.home()).map_err(Stop::usage)?;
        let beside = parent(&place).to_owned();
        let destination = Self { named, prefix: prefix(&place), place, beside, content };
        destination.refuse_other()?;
        destination.writable()
    }

    /// A place in the folder of a run, where nothing is a link, and where no temporary file may lie:
    /// `verify` calls a run tampered that holds a foreign file. It is made beside the run's folder.
    ///
    /// # Errors
    /// As [`Destination::of`].
    pub(super) fn in_run(run: &Utf8Path, name: &str) -> Result<Self, Stop> {
        let named = run.join(name);
        if let Ok(metadata) = named.symlink_metadata() {
            refuse_irregular(&named, &metadata)?;
        }
        let folder = run.canonicalize_utf8().map_err(|error| Stop::writing(run, &error))?;
        let prefix = prefix(&Utf8PathBuf::from(format!("{folder}.{name}")));
        let beside = parent(&folder).to_owned();
        let content = Content::Signatures;
        Self { named, place: folder.join(name), beside, prefix, content }.writable()
    }

    /// A place where nothing is yet.
    ///
    /// # Errors
    /// That something is there, or as [`Destination::of`].
    pub(super) fn fresh(path: &Utf8Path, content: Content) -> Result<Self, Stop> {
        if path.symlink_metadata().is_ok() {
            return Err(exists(path));
        }
        Self::of(path, content)
    }

    /// Refuses a place that is one of the files which the command reads.
    pub(super) fn unlike(self, inputs: &[&Utf8Path]) -> Result<Self, Stop> {
        let identity = |path: &Utf8Path| path.metadata().ok().map(|own| (own.dev(), own.ino()));
        let own = identity(&self.place);
        match inputs.iter().find(|input| own.is_some() && identity(input) == own) {
            Some(input) => Err(Stop::usage(format!(
                "{}: the command reads this file as {input}; choose another name to write to",
                self.named
            ))),
            None => Ok(self),
        }
    }

    /// Refuses a file that was not written as the same kind of output: somebody may read it as an
    /// input.
    fn refuse_other(&self) -> Result<(), Stop> {
        if matches!(self.content, Content::Corpus | Content::Signatures) || !self.place.exists() {
            return Ok(());
        }
        let read = file::read(&self.place, REPLACED_BYTES_MAX);
        let bytes = read.map_err(|unread| Stop::from(unread.problem(self.named.as_str())))?;
        if self.content.is_own(&bytes) {
            return Ok(());
        }
        Err(Stop::usage(format!(
            "{}: exists, is not {} written by gatedrun, and is not replaced; choose another name, or move it away",
            self.named,
            self.content.words()
        )))
    }

    /// Refuses two outputs in one place, of which the second would replace the first.
    pub(super) fn apart(&self, other: &Self) -> Result<(), Stop> {
        if self.place != other.place {
            return Ok(());
        }
        let message = format!("{}: two outputs cannot go to one file; name two", self.named);
        Err(Stop::usage(message))
    }

    fn writable(self) -> Result<Self, Stop> {
        for folder in [&self.beside, parent(&self.place)] {
            let access = Access::WRITE_OK | Access::EXEC_OK;
            accessat(CWD, folder.as_std_path(), access, AtFlags::empty())
                .map_err(|errno| Stop::writing(folder, &errno.into()))?;
        }
        Ok(self)
    }

    /// Writes the file, in place of what is there.
    ///
    /// # Errors
    /// The file system's refusal; what was there is there still.
    pub(super) fn replace(&self, bytes: &[u8]) -> Result<(), Stop> {
        let old = self.place.symlink_metadata().ok();
        if let Some(old) = &old {
            refuse_irregular(&self.named, old)?;
            self.refuse_other()?;
        }
        let written = self.stage(bytes, 0o666, old.as_ref()).and_then(|staged| {
            staged.persist(&self.place).map_err(|refused| refused.error)?;
            self.sync()
        });
        written.map_err(|error| Stop::writing(&self.named, &error))
    }

    /// Writes the file where nothing is yet.
    ///
    /// # Errors
    /// That something is there by now, or the file system's refusal.
    pub(super) fn create(&self, bytes: &[u8], mode: u32) -> Result<(), Stop> {
        let written = self.stage(bytes, mode, None).and_then(|staged| {
            persist_new(staged, &self.place)?;
            self.sync()
        });
        written.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists(&self.named),
            _ => Stop::writing(&self.named, &error),
        })
    }

    /// A temporary file with this content, and with the owner and permissions of what it replaces.
    fn stage(&self, bytes: &[u8], mode: u32, old: Option<&Metadata>) -> io::Result<NamedTempFile> {
        self.sweep();
        let mut staged = self.temporary(mode)?;
        staged.write_all(bytes)?;
        if let Some(old) = old {
            // Only root may give a file away; what anyone else replaces becomes theirs.
            let (uid, gid) = (Uid::from_raw(old.uid()), Gid::from_raw(old.gid()));
            let _ = fchown(staged.as_file(), Some(uid), Some(gid));
            staged.as_file().set_permissions(Permissions::from_mode(old.mode() & 0o777))?;
        }
        staged.as_file().sync_all()?;
        Ok(staged)
    }

    /// A temporary file, locked for as long as it is in use, which distinguishes it from a leftover.
    fn temporary(&self, mode: u32) -> io::Result<NamedTempFile> {
        for _ in 0..TRIES_MAX {
            let staged = Builder::new()
                .prefix(&self.prefix)
                .suffix(TEMPORARY_ENDING)
                .permissions(Permissions::from_mode(mode))
                .tempfile_in(&self.beside)?;
            let locked = flock(staged.as_file(), FlockOperation::NonBlockingLockExclusive);
            // Another command may be taking it for a leftover, or have done so. Where there are no
            // locks, nothing is taken for one.
            if locked != Err(Errno::WOULDBLOCK) && staged.as_file().metadata()?.nlink() > 0 {
                return Ok(staged);
            }
        }
        Err(io::Error::other("its temporary file is removed again and again"))
    }

    /// Removes what earlier commands left here when they were killed.
    fn sweep(&self) {
        let Ok(entries) = self.beside.read_dir_utf8() else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if !(name.starts_with(&self.prefix) && name.ends_with(TEMPORARY_ENDING)) {
                continue;
            }
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let Ok(file) = openat(CWD, entry.path().as_std_path(), flags, Mode::empty()) else {
                continue;
            };
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                // What cannot be removed is in nobody's way.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Makes the new name outlive a loss of power.
    fn sync(&self) -> io::Result<()> {
        match File::open(parent(&self.place)).and_then(|folder| folder.sync_all()) {
            // Some file systems have nothing to sync in a folder.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            other => other,
        }
    }
}

/// Writes two new files, both or none: whole before either has its name.
///
/// # Errors
/// That one is there by now, or the file system's refusal.
pub(super) fn create_both(files: [(&Destination, &[u8], u32); 2]) -> Result<(), Stop> {
    let [(first, first_bytes, first_mode), (second, second_bytes, second_mode)] = files;
    let failed = |place: &Destination, error: &io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(&place.named),
        _ => Stop::writing(&place.named, error),
    };
    let stage = |place: &Destination, bytes, mode| {
        place.stage(bytes, mode, None).map_err(|error| failed(place, &error))
    };
    let staged = stage(first, first_bytes, first_mode)?;
    let other = stage(second, second_bytes, second_mode)?;
    persist_new(staged, &first.place).map_err(|error| failed(first, &error))?;
    if let Err(error) = persist_new(other, &second.place) {
        // Half of the two is of no use to anybody.
        let _ = fs::remove_file(&first.place);
        return Err(failed(second, &error));
    }
    first.sync().map_err(|error| {
        // Nobody was told of them yet, and a repeated command must not find them in its way.
        for place in [first, second] {
            let _ = fs::remove_file(&place.place);
        }
        failed(first, &error)
    })
}

/// Gives a temporary file its name where nothing has it.
fn persist_new(staged: NamedTempFile, place: &Utf8Path) -> io::Result<()> {
    let Err(refused) = staged.persist_noclobber(place) else { return Ok(()) };
    match Errno::from_io_error(&refused.error) {
        // A filter of system calls refuses `renameat2`; a second name does the same.
        Some(Errno::PERM | Errno::NOTTY) => fs::hard_link(refused.file.path(), place),
        _ => Err(refused.error),
    }
}

/// Looks at a folder that files are to be written to; it need not be there yet.
///
/// # Errors
/// That it is not a folder, that its name is reserved, or that inputs or evidence lie there.
pub(super) fn folder(path: &Utf8Path, content: Content) -> Result<(), Stop> {
    if found(path)?.is_some_and(|metadata| !metadata.is_dir()) {
        return Err(Stop::usage(format!("{path}: not a folder; name one")));
    }
    let place = real(path).map_err(|error| Stop::writing(path, &error))?;
    refuse_reserved(path, path)?;
    refuse_reserved(path, &place)?;
    refuse_run(path, &place)?;
    refuse_kept(path, &place, content.home()).map_err(Stop::usage)
}

/// Refuses a name that lies beside a run and means something there.
fn refuse_reserved(named: &Utf8Path, place: &Utf8Path) -> Result<(), Stop> {
    match reserved_ending(place.file_name().unwrap_or_default()) {
        Some(ending) => Err(Stop::usage(format!(
            "{named}: names that end in {ending:?} are reserved; choose another name"
        ))),
        None => Ok(()),
    }
}

/// Refuses a run's folder, and what lies beside a run: `verify` calls a run tampered that holds a
/// foreign file.
fn refuse_run(named: &Utf8Path, folder: &Utf8Path) -> Result<(), Stop> {
    // A corpus has a manifest too, under the same name.
    let is_run =
        |folder: &Utf8Path| [STATE, TRACE, REPORT].iter().any(|name| folder.join(name).exists());
    let is_beside_run = |folder: &Utf8Path| {
        is_beside(folder.file_name().unwrap_or_default()) && is_run(&target_of(folder))
    };
    match folder.ancestors().find(|folder| is_run(folder) || is_beside_run(folder)) {
        Some(run) => Err(Stop::usage(format!(
            "{named}: it is in the folder of the run {run}, which holds only evidence; choose a name elsewhere"
        ))),
        None => Ok(()),
    }
}

fn exists(path: &Utf8Path) -> Stop {
    Stop::usage(format!(
        "{path}: already exists and was not replaced; choose another name, or move it away"
    ))
}

/// What a name leads to; `None` where nothing has it.
fn found(path: &Utf8Path) -> Result<Option<Metadata>, Stop> {
    match path.metadata() {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Stop::writing(path, &error)),
    }
}

/// The place of a file that is not there yet.
fn absent(path: &Utf8Path) -> Result<Utf8PathBuf, Stop> {
    if path.symlink_metadata().is_ok() {
        let message = format!("{path}: a broken link; remove it, or name a file");
        return Err(Stop::usage(message));
    }
    let Some(name) = path.file_name().filter(|_| path != "-" && !path.as_str().ends_with('/'))
    else {
        let message = format!("{path:?}: not the name of a file; name one to write to");
        return Err(Stop::usage(message));
    };
    match parent(path).canonicalize_utf8() {
        Ok(folder) => Ok(folder.join(name)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Stop::usage(format!(
            "{path}: the folder {} does not exist; create it first",
            parent(path)
        ))),
        Err(error) => Err(Stop::writing(path, &error)),
    }
}

/// Whether a name is that of a temporary file, which a killed command may have left.
pub(super) fn is_temporary(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(TEMPORARY_ENDING)
}

fn refuse_irregular(path: &Utf8Path, metadata: &Metadata) -> Result<(), Stop> {
    let file_type = metadata.file_type();
    let found = match file_type {
        _ if file_type.is_file() => return Ok(()),
        _ if file_type.is_char_device() || file_type.is_block_device() => FileType::CharacterDevice,
        _ if file_type.is_fifo() => FileType::Fifo,
        _ if file_type.is_socket() => FileType::Socket,
        _ if file_type.is_dir() => FileType::Directory,
        _ if file_type.is_symlink() => FileType::Symlink,
        _ => FileType::Unknown,
    };
    let remedy = match found {
        FileType::Directory | FileType::Symlink => "name a file",
        // A pipe or a terminal.
        _ => "name a file, and print it afterwards where you want it printed",
    };
    let found = kind(found).unwrap_or_default();
    Err(Stop::usage(format!("{path}: not a regular file (found {found}); {remedy}")))
}

/// Refuses the file that stdout or stderr goes to: replaced, it would lose what is printed.
fn refuse_own_stream(path: &Utf8Path, metadata: &Metadata) -> Result<(), Stop> {
    let is = |stat: Result<rustix::fs::Stat, Errno>| {
        stat.is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (metadata.dev(), metadata.ino()))
    };
    let stream = match () {
        () if is(rustix::fs::fstat(io::stdout())) => "stdout",
        () if is(rustix::fs::fstat(io::stderr())) => "stderr",
        () => return Ok(()),
    };
    Err(Stop::usage(format!("{path}: {stream} goes to this file; name another one")))
}

/// The folder that something lies in.
fn parent(path: &Utf8Path) -> &Utf8Path {
    path.parent().filter(|parent| !parent.as_str().is_empty()).unwrap_or(Utf8Path::new("."))
}

/// How the name of a temporary file for this place begins.
fn prefix(place: &Utf8Path) -> String {
    let name: String = place.file_name().unwrap_or_default().chars().take(NAME_CHARS_MAX).collect();
    format!(".{name}.")
}
