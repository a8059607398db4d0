//! Confinement by the kernel: while tools run, the thread that runs them can reach no file but
//! those of the run's own folder. A second wall behind the gate, with Landlock, where the kernel
//! offers it.
//!
//! It is a thread and not the process that is confined, since a restriction cannot be lifted and
//! the artifacts are still to be written. Its effect depends on the kernel, so it is said on
//! the terminal and never in a stub run's artifacts.

use std::sync::{Mutex, PoisonError};

use camino::Utf8Path;
use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, path_beneath_rules,
};

use crate::policy::spec::Isolation;

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
}

/// Does some work in a thread that can reach no file but those below `folder`. Where there is no
/// such thread and policy does not require one, the caller's own does the work, unconfined.
///
/// # Errors
/// [`Refused`], before anything was done, where policy requires what the machine does not offer.
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
        let status = restrict(folder);
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
fn restrict(folder: &Utf8Path) -> Status {
    let all = AccessFs::from_all(ABI::V3);
    let restricted = || -> Result<RulesetStatus, RulesetError> {
        let ruleset = Ruleset::default()
            // Without it the kernel refuses every rename from one folder to another, as a write is.
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::Refer)?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(all)?
            .create()?
            .add_rules(path_beneath_rules([folder.as_std_path()], all))?
            .restrict_self()?;
        Ok(ruleset.ruleset)
    };
    match restricted() {
        Ok(RulesetStatus::FullyEnforced) => Status::Enforced,
        Ok(RulesetStatus::PartiallyEnforced) => Status::Partial,
        Ok(RulesetStatus::NotEnforced) | Err(_) => Status::Unavailable,
    }
}
