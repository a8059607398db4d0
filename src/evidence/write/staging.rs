//! A run in the making: a folder of its own, until it is settled.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};

use camino::{Utf8Path, Utf8PathBuf};

use crate::host::HostFault;
use crate::policy::path::RECEIPTS_SUFFIX;
use crate::policy::spec::Durability;

use super::super::{FILES, MANIFEST, REPORT, STATE, TRACE, WORK, compare, open};
use super::claim::Claim;
use super::exchange;
use super::{
    OWNER, WORK_TEMPORARY, WriteError, check_own, io_at, is_there, parent, remove_folder_if_there,
    remove_if_there, rename, sync,
};

/// A run folder in the making, locked.
#[derive(Debug)]
pub struct Staging {
    claim: Claim,
    folder: Utf8PathBuf,
    durability: Durability,
}

/// The writer of a ledger.
pub type StateWriter = BufWriter<StateFile>;

/// The writer of a trace.
pub type TraceWriter = BufWriter<File>;

/// What a finished run is to what was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing was there.
    New,
    /// The same bytes.
    Identical,
    /// Other bytes.
    Different,
}

/// What to do with a finished run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// Put it in its place; what was there goes.
    Accept,
    /// Lay it beside its place as `NAME.new`.
    Propose,
    /// Remove it.
    Discard,
    /// Remove it, and the proposal: the run that is there is accepted already.
    Confirm,
}

impl Staging {
    /// Makes and locks the folder `NAME.partial` beside `target`.
    ///
    /// # Errors
    /// Another process writing the same run, a run that was cut short (unless `discard_partial`),
    /// something foreign in the way, or the file system's refusal.
    pub fn begin(target: &Utf8Path, discard_partial: bool) -> Result<Self, WriteError> {
        let mut claim = Claim::take(target)?;
        if !claim.is_empty()? {
            if !discard_partial {
                let (partial, target) = (claim.partial.clone(), target.to_owned());
                return Err(WriteError::Partial { partial, target });
            }
            // From the first step on there is nothing that could be taken for a run to be resumed.
            exchange::remove(&claim.place, &claim.partial)?;
            claim = Claim::take(target)?;
        }
        claim.is_tidy = false;
        Ok(Self { folder: claim.partial.clone(), claim, durability: Durability::Os })
    }

    /// Makes a folder for a proposal, beside a run that was cut short too: nobody resumes this one,
    /// so until it is whole it has the name of what is to be removed.
    ///
    /// # Errors
    /// As [`Staging::begin`].
    pub fn aside(target: &Utf8Path) -> Result<Self, WriteError> {
        let claim = Claim::take(target)?;
        let folder = claim.place.replaced(std::process::id().into());
        io_at(&folder, fs::create_dir(&folder))?;
        Ok(Self { claim, folder, durability: Durability::Os })
    }

    /// Locks the folder of a run that was cut short. Nothing in it is changed before
    /// [`Staging::reopen`].
    ///
    /// # Errors
    /// That there is none, that another process is writing it, something foreign in it, or the file
    /// system's refusal.
    pub fn resume(target: &Utf8Path) -> Result<Self, WriteError> {
        let claim = Claim::of_partial(target)?;
        Ok(Self { folder: claim.partial.clone(), claim, durability: Durability::Os })
    }

    /// Begins to write where a run was cut short: what the ledger is projected to is made again from
    /// the start, and what tools have not finished goes. `recorded` bytes of the ledger are kept.
    ///
    /// # Errors
    /// The file system's.
    pub fn reopen(&self, recorded: u64) -> Result<(), WriteError> {
        self.claim.sign_in()?;
        exchange::finish(&self.claim.place)?;
        for name in [TRACE, REPORT, MANIFEST] {
            remove_if_there(&self.folder.join(name))?;
        }
        remove_folder_if_there(&self.folder.join(WORK_TEMPORARY))?;
        if recorded == 0 {
            remove_if_there(&self.receipts())?;
        }
        Ok(())
    }

    /// Where the run belongs.
    pub fn target(&self) -> &Utf8Path {
        self.claim.place.target()
    }

    /// What the tools say that they did, while the run is in the making.
    fn receipts(&self) -> Utf8PathBuf {
        Utf8PathBuf::from(format!("{}{RECEIPTS_SUFFIX}", self.work()))
    }

    /// The ledger of a run that was cut short, for reading; nothing where it was never begun.
    ///
    /// # Errors
    /// The file system's.
    pub fn recorded(&self) -> Result<Option<BufReader<File>>, WriteError> {
        let path = self.folder.join(STATE);
        match open::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => io_at(&path, other).map(Some),
        }
    }

    /// The two files that are written while the run is made, the ledger and the trace; as
    /// [`Staging::ledger`].
    ///
    /// # Errors
    /// The file system's.
    pub fn writers(
        &mut self,
        recorded: u64,
        durability: Durability,
    ) -> Result<(StateWriter, TraceWriter), WriteError> {
        const BYTES: usize = 1 << 16;
        let state = BufWriter::with_capacity(BYTES, self.ledger(recorded, durability)?);
        let trace = BufWriter::with_capacity(BYTES, self.create(TRACE)?);
        Ok((state, trace))
    }

    /// Writes the two files of a run that has ended, the report and the manifest.
    ///
    /// # Errors
    /// The file system's.
    pub fn write_rest(&self, report: &[u8], manifest: &[u8]) -> Result<(), WriteError> {
        self.write(REPORT, report)?;
        self.write(MANIFEST, manifest)
    }

    /// The ledger, for writing. Its first `recorded` bytes are there already and are kept; what
    /// follows them is what a crash has left of a line, and goes.
    ///
    /// # Errors
    /// The file system's.
    pub fn ledger(
        &mut self,
        recorded: u64,
        durability: Durability,
    ) -> Result<StateFile, WriteError> {
        self.durability = durability;
        let path = self.folder.join(STATE);
        let opened = File::options().append(true).create(true).open(&path);
        let file = io_at(&path, opened)?;
        io_at(&path, file.set_len(recorded))?;
        // The name outlives what its bytes outlive.
        self.make_durable(&self.folder)?;
        self.make_durable(parent(&self.folder))?;
        Ok(StateFile { file, recorded, durability })
    }

    /// Makes a file, or the names in a folder, outlive a loss of power, where policy asks for it.
    fn make_durable(&self, path: &Utf8Path) -> Result<(), WriteError> {
        match self.durability {
            Durability::Os => Ok(()),
            Durability::Fsync => sync(path),
        }
    }

    /// A new file in the folder.
    ///
    /// # Errors
    /// The file system's.
    pub fn create(&self, name: &str) -> Result<File, WriteError> {
        let path = self.folder.join(name);
        io_at(&path, File::create_new(&path))
    }

    /// Writes a whole file.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), WriteError> {
        let path = self.folder.join(name);
        io_at(&path, fs::write(&path, bytes))
    }

    /// The folder itself.
    pub fn folder(&self) -> &Utf8Path {
        &self.folder
    }

    /// Where the run's own files go.
    pub fn work(&self) -> Utf8PathBuf {
        self.folder.join(WORK)
    }

    /// How the finished run compares with what is in its place, file by file.
    ///
    /// # Errors
    /// The file system's.
    pub fn standing(&self) -> Result<Standing, WriteError> {
        let target = self.target();
        if !is_there(target)? {
            return Ok(Standing::New);
        }
        for name in FILES {
            let committed = target.join(name);
            let now = self.folder.join(name);
            let committed = match open::open(&committed) {
                Err(error) if HostFault::is_one(&error) => return io_at(&committed, Err(error)),
                Err(_) => return Ok(Standing::Different),
                Ok(opened) => opened,
            };
            let made = io_at(&now, open::open(&now))?;
            if io_at(&now, compare::difference(committed, made))?.is_some() {
                return Ok(Standing::Different);
            }
        }
        let own = |run: &Utf8Path| {
            let work = run.join(WORK);
            if is_there(&work)? { exchange::digest(&work).map(Some) } else { Ok(None) }
        };
        let none = exchange::digest_of_nothing();
        let is_same = own(target)?.unwrap_or(none) == own(&self.folder)?.unwrap_or(none);
        Ok(if is_same { Standing::Identical } else { Standing::Different })
    }

    /// Settles the finished run; where it lies then, if it was not removed.
    ///
    /// # Errors
    /// The file system's.
    pub fn settle(self, settlement: Settlement) -> Result<Option<Utf8PathBuf>, WriteError> {
        if let Settlement::Discard | Settlement::Confirm = settlement {
            if settlement == Settlement::Confirm {
                let proposal = self.claim.place.proposal();
                check_own(&proposal)?;
                exchange::remove(&self.claim.place, &proposal)?;
            }
            self.remove()?;
            return Ok(None);
        }
        // They belong to the making, not to the run.
        remove_if_there(&self.folder.join(OWNER))?;
        remove_if_there(&self.receipts())?;
        remove_folder_if_there(&self.folder.join(WORK_TEMPORARY))?;
        // What is renamed into its place is whole, after a loss of power too.
        for name in FILES {
            self.make_durable(&self.folder.join(name))?;
        }
        self.make_durable(&self.folder)?;
        let place = &self.claim.place;
        let proposal = place.proposal();
        check_own(&proposal)?;
        if settlement == Settlement::Propose {
            exchange::remove(place, &proposal)?;
            rename(&self.folder, &proposal)?;
            self.make_durable(parent(&proposal))?;
            return Ok(Some(proposal));
        }
        exchange::replace(place, &self.folder, self.durability == Durability::Fsync)?;
        exchange::remove(place, &proposal)?;
        Ok(Some(place.target().to_owned()))
    }

    /// Removes the folder: the run is not wanted.
    ///
    /// # Errors
    /// The file system's.
    pub fn remove(self) -> Result<(), WriteError> {
        exchange::remove(&self.claim.place, &self.folder)
    }
}

/// The ledger's file: what is recorded already is passed over, and what is new is appended.
#[derive(Debug)]
pub struct StateFile {
    file: File,
    recorded: u64,
    durability: Durability,
}

impl Write for StateFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let known = usize::try_from(self.recorded).unwrap_or(usize::MAX).min(bytes.len());
        if known > 0 {
            self.recorded -= known as u64;
            return Ok(known);
        }
        self.file.write(bytes)
    }

    /// As durable as policy asks for.
    fn flush(&mut self) -> io::Result<()> {
        match self.durability {
            Durability::Os => Ok(()),
            Durability::Fsync => self.file.sync_data(),
        }
    }
}
