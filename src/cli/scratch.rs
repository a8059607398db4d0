//! Where tasks that are executed for a comparison write: a folder of this process's own in `TMPDIR`,
//! removed at the end of the command, also where Ctrl-C or SIGTERM ends it. What cannot be removed is
//! named on stderr; the verdict is not about that, and keeps its exit code.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use camino::{Utf8Path, Utf8PathBuf};
use tempfile::{Builder, TempDir};

use crate::evidence::text::terminal as escape;
use crate::file::said;
use crate::run::Course;

use super::{Stop, exit, interrupt};

/// A folder of this process's own, made when it is first needed.
#[derive(Debug)]
pub(super) struct Scratch {
    made: OnceLock<(TempDir, Utf8PathBuf)>,
    interrupt: Arc<AtomicBool>,
}

/// A place in it for one run.
#[derive(Debug)]
pub(super) struct Workplace<'s> {
    /// The folder of this process.
    pub(super) scratch: &'s Utf8Path,
    /// That of the run, in it.
    pub(super) folder: Utf8PathBuf,
    interrupt: &'s AtomicBool,
}

impl Scratch {
    /// A folder that is not made yet. From here on a signal ends the command in order.
    pub(super) fn new() -> Result<Self, Stop> {
        Ok(Self { made: OnceLock::new(), interrupt: interrupt::flag()? })
    }

    /// The place for the run of this number.
    ///
    /// # Errors
    /// That the folder cannot be made in `TMPDIR`, or that a signal has ended the command.
    pub(super) fn folder(&self, number: impl ToString) -> Result<Workplace<'_>, Stop> {
        let scratch = match self.made.get() {
            Some((_, path)) => path,
            None => {
                // Of two threads that make one, the other's goes again.
                let made = make()?;
                &self.made.get_or_init(|| made).1
            }
        };
        let folder = scratch.join(number.to_string());
        let workplace = Workplace { scratch, folder, interrupt: &self.interrupt };
        workplace.continues()?;
        Ok(workplace)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let Some((made, path)) = self.made.take() else { return };
        let Err(error) = fs::remove_dir_all(made.keep()) else { return };
        // Nobody else names what stays, so it is named where the command was asked to be quiet too.
        // There is nobody left to tell when stderr is gone.
        let (path, why) = (escape(path.as_str()), escape(&said(&error)));
        let _ = writeln!(
            io::stderr(),
            "gatedrun: {path}: this temporary folder could not be removed and was left behind ({why}); remove it yourself"
        );
    }
}

impl<'s> Workplace<'s> {
    /// A place beside this one, for one of several executions of its run.
    pub(super) fn part(&self, number: u64) -> Self {
        let folder = Utf8PathBuf::from(format!("{}.{number}", self.folder));
        Self { scratch: self.scratch, folder, interrupt: self.interrupt }
    }

    /// A run from the beginning that a signal stops.
    pub(super) fn course(&self) -> Course<'s> {
        Course { interrupt: Some(self.interrupt), ..Course::fresh() }
    }

    /// That no signal has ended the command.
    ///
    /// # Errors
    /// That one has.
    pub(super) fn continues(&self) -> Result<(), Stop> {
        if !self.interrupt.load(Ordering::Relaxed) {
            return Ok(());
        }
        let message = "interrupted before everything was checked; repeat the command".to_owned();
        Err(Stop { message, code: exit::INTERRUPTED })
    }
}

fn make() -> Result<(TempDir, Utf8PathBuf), Stop> {
    // An empty variable counts as none, as for every other program.
    let named = std::env::var_os("TMPDIR").filter(|value| !value.is_empty());
    let base = PathBuf::from(named.unwrap_or_else(|| OsString::from("/tmp")));
    let refused = |what: &str| {
        Stop::host(format!(
            "TMPDIR ({}): {what}; set TMPDIR to a folder that exists and that you may write to",
            base.display()
        ))
    };
    let made = Builder::new().prefix("gatedrun-").tempdir_in(&base).map_err(|error| {
        let what = match error.kind() {
            io::ErrorKind::NotFound => "no such folder".to_owned(),
            _ => said(&error),
        };
        refused(&format!("cannot create a folder in it: {what}"))
    })?;
    let path = Utf8PathBuf::from_path_buf(made.path().to_owned());
    let path = path.map_err(|_| refused("its path is not UTF-8"))?;
    Ok((made, path))
}
