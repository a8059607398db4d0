//! Confinement by the kernel: while tools run, the thread that runs them can reach no file but
//! those of the run's own folder. A second wall behind the gate, with Landlock, where the kernel
//! offers it.
//!
//! It is a thread and not the process that is confined, since a restriction cannot be lifted and
//! the artifacts are still to be written. Its effect depends on the kernel, so it is said on
//! the terminal and never in a stub run's artifacts.

use std::error::Error;
use std::io;
use std::sync::{Mutex, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus,
};
use rustix::io::Errno;

use crate::host::HostFault;

use crate::policy::rules::sandbox_path::Isolation;

/// What confinement came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The kernel holds the tools to the run's folder.
    Enforced,
    /// It does for a part of what was asked.
    Partial,
    /// It does not offer to.
    Unavailable,
    /// Policy does not ask it to.
    Off,
}

impl Status {
    /// The word for `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforced => "enforced",
            Self::Partial => "partial",
            Self::Unavailable => "unavailable",
            Self::Off => "off",
        }
    }
}

/// The word of a policy for what it asks for.
pub fn asked(wanted: Isolation) -> &'static str {
    match wanted {
        Isolation::Required => "required",
        Isolation::BestEffort => "best_effort",
        Isolation::Off => "off",
    }
}

/// Confinement is required and cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The kernel does not offer it.
    #[error(
        "sandbox.isolation is required, and this kernel's Landlock is {}; run on a kernel that has it (Linux 5.19 or later), or ask for best_effort", .0.as_str()
    )]
    Kernel(Status),
    /// There is no thread to confine.
    #[error(
        "sandbox.isolation is required, and no thread can be started to confine the tools: {0}; allow more processes (`ulimit -u`, or the container's limit), or ask for best_effort"
    )]
    Thread(String),
    /// The machine has no room for what confines them: descriptors or memory.
    #[error("the tools cannot be confined to {folder}: {why}; {remedy}, then repeat the command")]
    Machine {
        /// The run's folder.
        folder: Utf8PathBuf,
        /// The system's words.
        why: String,
        /// What to do about it.
        remedy: &'static str,
    },
}

/// Does some work in a thread that can reach no file but those below `folder`. Where there is no
/// such thread and policy does not require one, the caller's own does the work, unconfined.
///
/// # Errors
/// [`Refused`], before anything was done, where policy requires what the machine does not offer, and
/// where it offers it and has no room for it now.
pub fn confined<T: Send>(
    wanted: Isolation,
    folder: &Utf8Path,
    work: impl FnOnce() -> T + Send,
) -> Result<(T, Status), Refused> {
    if wanted == Isolation::Off {
        return Ok((work(), Status::Off));
    }
    // Shared, so that it is still there if no thread takes it.
    let work = Mutex::new(Some(work));
    let take = || work.lock().unwrap_or_else(PoisonError::into_inner).take();
    let confined = || {
        let status = restrict(folder)?;
        if wanted == Isolation::Required && status != Status::Enforced {
            return Err(Refused::Kernel(status));
        }
        Ok(take().map(|work| (work(), status)))
    };
    let ended = std::thread::scope(|scope| {
        let name = "tools".to_owned();
        let started = std::thread::Builder::new().name(name).spawn_scoped(scope, confined);
        started.map(|thread| match thread.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    });
    let refused = match ended {
        Err(error) if wanted == Isolation::Required => Refused::Thread(error.to_string()),
        Err(_) => match take() {
            Some(work) => return Ok((work(), Status::Unavailable)),
            None => Refused::Thread("it has ended".to_owned()),
        },
        Ok(Err(refused)) => refused,
        Ok(Ok(Some(done))) => return Ok(done),
        Ok(Ok(None)) => Refused::Thread("it has ended".to_owned()),
    };
    Err(refused)
}

/// Restricts this thread for good.
///
/// That the folder cannot be opened is an error: without its rule everything would be refused, and to
/// the tools that would look like a missing permission.
fn restrict(folder: &Utf8Path) -> Result<Status, Refused> {
    let all = AccessFs::from_all(ABI::V3);
    let refused = |error: &io::Error| {
        let fault = HostFault::of(error, folder.as_str(), "opened");
        let remedy = fault.remedy();
        Refused::Machine { folder: folder.to_owned(), why: fault.why, remedy }
    };
    let beneath = match PathFd::new(folder) {
        Ok(opened) => PathBeneath::new(opened, all),
        Err(error) => {
            return Err(match system_error(&error) {
                Some(source) => refused(source),
                None => refused(&io::Error::other(error)),
            });
        }
    };
    let restricted = || -> Result<RulesetStatus, RulesetError> {
        let ruleset = Ruleset::default()
            // Without it the kernel refuses every rename from one folder to another, as a write is.
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::Refer)?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(all)?
            .create()?
            .add_rule(beneath)?
            .restrict_self()?;
        Ok(ruleset.ruleset)
    };
    match restricted() {
        Ok(RulesetStatus::FullyEnforced) => Ok(Status::Enforced),
        Ok(RulesetStatus::PartiallyEnforced) => Ok(Status::Partial),
        Ok(RulesetStatus::NotEnforced) => Ok(Status::Unavailable),
        Err(error) => match system_error(&error).filter(|source| is_scarcity(source)) {
            Some(source) => Err(refused(source)),
            None => Ok(Status::Unavailable),
        },
    }
}

/// The system's error behind another one.
fn system_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e io::Error> {
    match error.downcast_ref::<io::Error>() {
        Some(found) => Some(found),
        None => system_error(error.source()?),
    }
}

/// Whether the machine offers something, and has none left.
fn is_scarcity(error: &io::Error) -> bool {
    let scarce = [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(|errno| errno.raw_os_error());
    error.raw_os_error().is_some_and(|code| scarce.contains(&code))
}
