//! Why a session cannot begin or continue.

use camino::Utf8PathBuf;

use crate::agent::RunError;
use crate::evidence::STATE;
use crate::evidence::write::WriteError;
use crate::host::HostFault;
use crate::isolation;
use crate::ledger::LedgerError;
use crate::place;
use crate::problem::Problems;
use crate::state::End;

/// Why a session cannot begin or continue: what is wrong, where, and how to fix it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not the folder of a project, or not a path that a folder can have.
    #[error("{folder}: {what}")]
    Folder {
        /// The folder that was named.
        folder: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The task or something that it names cannot be loaded.
    #[error(transparent)]
    Inputs(#[from] Problems),
    /// The calls of the task come from an LLM of its own.
    #[error(
        "{0}: /llm: the task has an LLM of its own, so no other program proposes its calls; write {{\"outside\": {{\"provider\": ..., \"model\": ...}}}} there, or make its run with `gatedrun run {0}`"
    )]
    NotOutside(String),
    /// A run may not be put into the folder.
    #[error(transparent)]
    Place(#[from] place::Refused),
    /// Something is in the folder already.
    #[error(
        "{0}: already exists, and a session replaces nothing; move it away or remove it, or name another folder"
    )]
    Exists(Utf8PathBuf),
    /// A session was dropped, or its program killed, before the run was finished.
    #[error(
        "{0}: holds a run that was not finished, and no session can resume one; look at it with `gatedrun show {0}`, then move it away or remove it"
    )]
    Unfinished(Utf8PathBuf),
    /// The folder cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The kernel does not offer the isolation that the policy requires.
    #[error(transparent)]
    Isolation(#[from] isolation::Refused),
    /// The reply does not say what it should.
    #[error("{0}")]
    Reply(&'static str),
    /// The run has ended.
    #[error(
        "the run has ended ({}), and takes no further proposal; call `finish` to put it in its place", .0.terminal_reason.as_str()
    )]
    Ended(Box<End>),
    /// An earlier error has ended the session.
    #[error("{0}: an earlier error ended this session; what was recorded until then is kept here")]
    Broken(Utf8PathBuf),
    /// The ledger cannot be written, or a call is in doubt. What was recorded is kept.
    #[error(transparent)]
    Run(RunError),
    /// The machine refused something. What was recorded is kept.
    #[error("{fault}; {}", .fault.remedy())]
    Host {
        /// What it refused.
        #[from]
        fault: HostFault,
    },
}

impl From<RunError> for Error {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Host(fault) => fault.into(),
            RunError::Ledger(LedgerError::Sink(error)) => {
                HostFault::of(&error, STATE, "written").into()
            }
            RunError::Ledger(_) | RunError::Llm(_) | RunError::InDoubt(_) => Self::Run(error),
        }
    }
}
