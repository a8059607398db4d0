//! Why a command stops, and what each error of the layers below is worth.

use std::convert::Infallible;
use std::fmt::Display;
use std::io;

use crate::evidence::write::WriteError;
use crate::file::said;
use crate::host::{HostFault, is_about_the_name};
use crate::isolation::Refused;
use crate::place;
use crate::problem::one_line;

use super::exit;

/// Why a command stops: what to print, and the exit code.
#[derive(Debug, Clone)]
pub struct Stop {
    /// What to print on stderr; several lines for several problems.
    pub message: String,
    /// One of [`exit`].
    pub code: u8,
}

impl Stop {
    /// One thing that is wrong with what was asked.
    pub(super) fn usage(message: impl ToString) -> Self {
        Self { message: one_line(&message.to_string()), code: exit::USAGE }
    }

    /// Invalid usage, told in lines of which each is escaped by who made it.
    pub(super) fn lines(message: String) -> Self {
        Self { message, code: exit::USAGE }
    }

    /// One thing that the machine refused.
    pub(super) fn host(message: impl ToString) -> Self {
        Self { message: one_line(&message.to_string()), code: exit::HOST }
    }

    /// That something cannot be written: invalid usage where another name would do, and otherwise
    /// the machine's refusal.
    pub(super) fn writing(path: impl Display, error: &io::Error) -> Self {
        let what = said(error);
        match error.kind() {
            _ if is_about_the_name(error) => {
                Self::usage(format!("{path}: cannot write: {what}; choose another name"))
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::host(
                format!("{path}: cannot write: {what}; choose a folder that you may write to"),
            ),
            _ => Self::host(format!(
                "{path}: cannot write: {what}; fix that, then repeat the command"
            )),
        }
    }
}

impl From<crate::problem::Problems> for Stop {
    fn from(problems: crate::problem::Problems) -> Self {
        let is_host = problems.0.iter().any(|problem| problem.is_host);
        Self { message: problems.to_string(), code: if is_host { exit::HOST } else { exit::USAGE } }
    }
}

impl From<crate::problem::Problem> for Stop {
    fn from(problem: crate::problem::Problem) -> Self {
        Self::from(crate::problem::Problems::from(problem))
    }
}

impl From<WriteError> for Stop {
    fn from(error: WriteError) -> Self {
        match &error {
            WriteError::Io { path, source } => Self::writing(path, source),
            other if other.is_of_the_host() => Self::host(error),
            _ => Self::usage(error),
        }
    }
}

/// The machine refused something, and nothing is there to be resumed.
impl From<HostFault> for Stop {
    fn from(fault: HostFault) -> Self {
        Self::host(format!("{fault}; {}", fault.remedy()))
    }
}

/// A run may not be put there.
impl From<place::Refused> for Stop {
    fn from(refused: place::Refused) -> Self {
        match refused {
            place::Refused::Place(what) => Self::usage(what),
            place::Refused::Io { path, source } => Self::writing(path, &source),
        }
    }
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Self {
        Self::host(refused)
    }
}

/// Printing stops no command: see [`Terminal`](super::output::Terminal).
impl From<Infallible> for Stop {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
