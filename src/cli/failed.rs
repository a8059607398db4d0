//! Why a run did not come to its end, and how its user continues.

use camino::Utf8Path;

use crate::agent::RunError;
use crate::evidence::STATE;
use crate::evidence::compare::differing_fields;
use crate::evidence::write::WriteError;
use crate::governor::Halt;
use crate::host::HostFault;
use crate::inputs::Inputs;
use crate::isolation::Refused;
use crate::ledger::LedgerError;
use crate::replay::as_record;

use super::next::Next;
use super::project;
use super::{Stop, exit};

/// Why a run did not come to its end.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) enum Failed {
    /// It ran into this.
    Run(#[from] RunError),
    /// Its files could not be written.
    Write(#[from] WriteError),
    /// The kernel does not offer what policy asks for. Nothing was done.
    Refused(#[from] Refused),
}

impl Failed {
    /// Whether what is recorded can be resumed.
    pub(super) fn is_resumable(&self) -> bool {
        match self {
            // An event that may not be recorded would come again, however often it is resumed.
            Self::Run(RunError::Ledger(LedgerError::Grammar { .. })) => false,
            Self::Run(RunError::Ledger(_) | RunError::InDoubt(_) | RunError::Host(_))
            | Self::Write(_) => true,
            Self::Run(RunError::Llm(_)) | Self::Refused(_) => false,
        }
    }

    /// What to tell, with how to resume the run; `None` where nothing of it is kept.
    pub(super) fn stop(self, inputs: &Inputs, target: &Utf8Path, next: Option<&Next>) -> Stop {
        let resume = match next {
            // Where nothing was recorded, nothing can be resumed.
            Some(next) if project::is_cut_short(target) => {
                format!("continue with `{}`", next.resume)
            }
            _ => "repeat the command".to_owned(),
        };
        let error = match self {
            Self::Refused(refused) => return refused.into(),
            Self::Write(WriteError::Io { path, source }) => {
                RunError::Host(HostFault::new(path, "written", source))
            }
            Self::Write(error) => {
                let Stop { message, code } = Stop::from(error);
                return Stop { message: format!("{message}; fix that, then {resume}"), code };
            }
            Self::Run(error) => error,
        };
        if let Some(fault) = fault(&error) {
            let message = format!("{fault}; {}, then {resume}", fault.remedy());
            return Stop { message, code: exit::HOST };
        }
        let Some(next) = next else { return stop(inputs, &error) };
        match &error {
            RunError::Ledger(LedgerError::Interrupted) => {
                Stop { message: format!("{target}: {error}; {resume}"), code: exit::INTERRUPTED }
            }
            RunError::Ledger(LedgerError::Diverged(divergence)) => {
                let fields = differing_fields(&divergence.recorded, &as_record(divergence));
                let fields: String = fields
                    .iter()
                    .map(|(pointer, was, is)| format!("\n  {pointer}: recorded {was}, now {is}"))
                    .collect();
                Stop {
                    message: format!(
                        "{target}: {error}; restore the inputs, or start over with `{}`{fields}",
                        next.over
                    ),
                    code: exit::DRIFT,
                }
            }
            RunError::InDoubt(Halt::InDoubt { call_id, arguments, idempotency_key, .. }) => Stop {
                message: format!(
                    "{target}: {error}\narguments {arguments}, idempotency key {idempotency_key}\nfind out whether it took place, then resume the run with\n  {resume} --settle {call_id}=took-place --reason \"how you know\"\n  {resume} --settle {call_id}=did-not --reason \"how you know\"",
                    resume = next.resume
                ),
                code: exit::WAITS,
            },
            // However often it is resumed, the script has no reply.
            RunError::Llm(_) if project::is_cut_short(target) => {
                let Stop { message, code } = stop(inputs, &error);
                Stop { message: format!("{message}; start over with `{}`", next.over), code }
            }
            RunError::Ledger(_) | RunError::Llm(_) | RunError::InDoubt(_) | RunError::Host(_) => {
                stop(inputs, &error)
            }
        }
    }
}

/// Why a run has no evidence, where nothing of it is kept.
pub(super) fn stop(inputs: &Inputs, error: &RunError) -> Stop {
    let id = &inputs.task.id;
    if let Some(fault) = fault(error) {
        let message = format!("task {id}: {fault}; {}", fault.remedy());
        return Stop { message, code: exit::HOST };
    }
    let code = if matches!(error, RunError::InDoubt(_)) { exit::WAITS } else { exit::USAGE };
    let next = match error {
        RunError::InDoubt(_) => {
            "; make its run with `gatedrun run`, which says how to settle the call"
        }
        RunError::Ledger(_) | RunError::Llm(_) | RunError::Host(_) => "",
    };
    Stop { message: format!("task {id}: {error}{next}"), code }
}

/// The machine's refusal behind an error, if that is what it is.
fn fault(error: &RunError) -> Option<HostFault> {
    match error {
        RunError::Host(fault) => Some(fault.clone()),
        RunError::Ledger(LedgerError::Sink(error)) => Some(HostFault::of(error, STATE, "written")),
        RunError::Ledger(LedgerError::Read(error)) => Some(HostFault::of(error, STATE, "read")),
        RunError::Ledger(_) | RunError::Llm(_) | RunError::InDoubt(_) => None,
    }
}
