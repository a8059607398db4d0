//! Confinement by the kernel: while tools run, the thread that runs them can reach no file but
//! those of the run's own folder. A second wall behind the gate, with Landlock, where the kernel
//! offers it.
//!
//! It is a thread and not the process that is confined, since a restriction cannot be lifted and
//! the artifacts are still to be written. What it comes to depends on the kernel, so it is said on
//! the terminal and never in a stub run's artifacts.

use std::sync::Mutex;

use camino::Utf8Path;
use landlock::{
    ABI, Access, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
    path_beneath_rules,
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

/// Confinement is required and cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("sandbox.isolation is required, and this kernel's Landlock is {}; run on a kernel that has it, or ask for best_effort", .0.as_str())]
pub struct Refused(pub Status);

/// Does some work in a thread that can reach no file but those below `folder`.
///
/// # Errors
/// [`Refused`], before anything was done, where policy requires what the kernel does not offer.
pub fn confined<T: Send>(
    wanted: Isolation,
    folder: &Utf8Path,
    work: impl FnOnce() -> T + Send,
) -> Result<(T, Status), Refused> {
    if wanted == Isolation::Off {
        return Ok((work(), Status::Off));
    }
    // Held where it can be taken back from a thread that never came to be.
    let held = Mutex::new(Some(work));
    let take = || held.lock().ok().and_then(|mut held| held.take());
    let confined = || {
        let status = restrict(folder);
        if wanted == Isolation::Required && status != Status::Enforced {
            return Err(Refused(status));
        }
        Ok((take().map(|work| work()), status))
    };
    let done = std::thread::scope(|scope| {
        match std::thread::Builder::new().spawn_scoped(scope, confined).map(|thread| thread.join())
        {
            Ok(Ok(done)) => done,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            // The machine has no thread left for us, and this one must stay unconfined.
            Err(_) if wanted == Isolation::Required => Err(Refused(Status::Unavailable)),
            Err(_) => Ok((take().map(|work| work()), Status::Unavailable)),
        }
    });
    match done? {
        (Some(done), status) => Ok((done, status)),
        // It is taken once, by whoever does it.
        (None, status) => Err(Refused(status)),
    }
}

/// Restricts this thread for good.
fn restrict(folder: &Utf8Path) -> Status {
    let all = AccessFs::from_all(ABI::V3);
    let restricted = || -> Result<RulesetStatus, RulesetError> {
        let ruleset = Ruleset::default()
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
