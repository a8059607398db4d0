//! What to do with a proposal that was just written. Whether it can be accepted is asked of the check
//! that `review` makes, so that no command advises what another refuses.

use camino::{Utf8Path, Utf8PathBuf};

use crate::evidence::write::proposal;
use crate::file;
use crate::inputs::Root;
use crate::place;
use crate::proposal::{self as proposals, Refusal};

use super::ci::in_ci;
use super::next;
use super::project::{self, Libraries};

/// How the proposal for a run is accepted, or why it cannot be.
pub(super) enum Offer {
    /// This command accepts it.
    Acceptable(String),
    /// It cannot be accepted as it is, and what to do.
    Unacceptable(String),
}

impl Offer {
    /// Of the proposal that lies beside this run.
    pub(super) fn of(target: &Utf8Path) -> Self {
        let command = next::review(target);
        let refused = match refusal(target, &mut Libraries::default()) {
            Some(Refusal::Unmet { task, .. }) => format!(
                "it does not meet its task's expectations, so it cannot be accepted: {}",
                meet(&task)
            ),
            Some(Refusal::Unfit(what)) => format!("it cannot be accepted: {what}"),
            // Where something cannot be read now, `review` says so.
            None | Some(Refusal::Inputs(_) | Refusal::Host(_)) if in_ci() => {
                // Where no run is, there is nothing to replace: the run is written at once.
                let accept = match file::is_folder(target) {
                    Ok(true) | Err(_) => format!(", accept the proposal with `{command}`,"),
                    Ok(false) => String::new(),
                };
                format!(
                    "nothing is accepted in CI: repeat the command on your machine{accept} and commit the run"
                )
            }
            None | Some(Refusal::Inputs(_) | Refusal::Host(_)) => {
                return Self::Acceptable(command);
            }
        };
        Self::Unacceptable(refused)
    }
}

/// What to do about a run that its task does not expect.
pub(super) fn meet(task: &str) -> String {
    format!("fix the cause, or change `expected` in {task}, then repeat the command")
}

/// The project that a run lies in, and its id there.
pub(super) fn id_of(target: &Utf8Path) -> Option<(Utf8PathBuf, String)> {
    place::run(target).filter(|(_, id)| !id.is_empty())
}

/// Why a proposal may not replace the run in its place; `None` where it may.
pub(super) fn refusal(target: &Utf8Path, libraries: &mut Libraries) -> Option<Refusal> {
    let proposal = &proposal(target);
    let home = match id_of(target) {
        None => None,
        Some((root, id)) => {
            let library = libraries.get(&Root::Folder(root));
            let has_task = match library.has(&format!("tasks/{id}.json")) {
                Ok(has_task) => has_task,
                Err(fault) => return Some(fault.into()),
            };
            let is_builtin = !has_task && project::is_builtin(proposal);
            Some((if is_builtin { libraries.get(&Root::Builtin) } else { library }, id))
        }
    };
    let at_home = home.as_ref().map(|(library, id)| (&**library, id.as_str()));
    proposals::check(target, proposal, at_home).err()
}
