//! What to do with a proposal that was just written. Whether it can be accepted is asked of the check
//! that `review` makes, so that no command advises what another refuses.

use camino::{Utf8Path, Utf8PathBuf};

use crate::evidence::STATE;
use crate::evidence::write::proposal;
use crate::file;
use crate::inputs::{BUILTIN, Root};
use crate::place;
use crate::proposal::{self as proposals, Home, Refusal};

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
            Some(refusal) => format!("it cannot be accepted: {}", words(target, &refusal)),
        };
        Self::Unacceptable(refused)
    }
}

/// Why a proposal may not replace the run in its place, and what to do.
pub(super) fn words(target: &Utf8Path, refusal: &Refusal) -> String {
    let reject = || next::command("review", target, " --reject");
    match refusal {
        Refusal::Unmet { task, .. } => {
            format!("{refusal}; fix the cause, or change `expected` in {task}, and make it again")
        }
        Refusal::OtherInputs(_) => format!(
            "{refusal}; reject it with `{}`, and see with `{}` what the task makes now",
            reject(),
            next::check(target)
        ),
        Refusal::OtherRun(_) => format!(
            "{refusal}; reject it with `{}`; a run of another task or seed goes into a folder of its own, with `gatedrun run --out FOLDER`",
            reject()
        ),
        Refusal::Damaged(_) => {
            format!("{refusal}; reject it with `{}` and make it again", reject())
        }
        Refusal::Unfit(_) | Refusal::Inputs(_) | Refusal::Host(_) => refusal.to_string(),
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
    match home(target) {
        Err(refusal) => Some(refusal),
        Ok((project, task, id)) => {
            let library = libraries.get(&project);
            let home = Home { library: &library, task: &task, id: &id };
            proposals::check(target, &proposal(target), home).err()
        }
    }
}

/// The task whose runs a place holds: its project, its path there, and its id. Below `runs/` the place
/// says it, and elsewhere the ledgers of the two runs.
fn home(target: &Utf8Path) -> Result<(Root, String, String), Refusal> {
    let proposal = &proposal(target);
    if let Some((root, id)) = id_of(target) {
        let task = format!("tasks/{id}.json");
        let has_task = file::at(&root.join(&task))?.is_some();
        let project = match !has_task && project::is_builtin(proposal) {
            true => Root::Builtin,
            false => Root::Folder(root),
        };
        return Ok((project, task, id));
    }
    let started = |run| place::started(run).map(|started| started.task);
    let (Some(id), Some(task)) =
        (started(target).or_else(|| started(proposal)), project::made_from(proposal))
    else {
        return Err(Refusal::Damaged(format!("its ledger, {STATE}, cannot be read")));
    };
    if let Some(task) = task.strip_prefix(BUILTIN) {
        return Ok((Root::Builtin, task.to_owned(), id));
    }
    match project::with_task(target, &task)? {
        Some(root) => Ok((Root::Folder(root), task, id)),
        None => Err(Refusal::Unfit(format!(
            "its task {task} is in no project that the run or the working folder lies in, so neither its inputs nor what it should be are known; repeat the command in the task's project"
        ))),
    }
}
