//! Whether a run lies in its own place: below the `runs/` of a project, its path is its task's id.

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};

use crate::task::{PARTIAL_ENDING, PROPOSAL_ENDING};

use super::super::STATE;
use super::ledger::Ledger;
use super::{Cause, Check, Verdict};

impl Check<'_> {
    /// The task in the ledger, against the place where the run lies.
    pub(super) fn place(&mut self, ledger: &Ledger) {
        let Some(started) = &ledger.recorded.summary.started else { return };
        let Some(place) = task_of_place(self.folder.path()) else { return };
        if place != started.task {
            let what = format!(
                "this is the run of the task {:?}, and it lies in the place of {place:?}",
                started.task
            );
            self.add(Verdict::Tampered, Cause::Place, STATE, what);
        }
    }
}

/// The id of the task whose run belongs in a folder; none where that is not below the `runs/` of a
/// project, which is a folder with `tasks/` in it.
fn task_of_place(run: &Utf8Path) -> Option<String> {
    let absolute = std::path::absolute(run).ok()?;
    let absolute = Utf8PathBuf::from_path_buf(absolute).ok()?;
    let mut parts: Vec<&str> = Vec::new();
    for part in absolute.components() {
        match part {
            Utf8Component::ParentDir => drop(parts.pop()),
            part => parts.push(part.as_str()),
        }
    }
    let at = parts.iter().rposition(|part| *part == "runs")?;
    let (root, below) = parts.split_at(at);
    let root: Utf8PathBuf = root.iter().collect();
    if !root.join("tasks").is_dir() {
        return None;
    }
    let id = below.get(1..)?.join("/");
    let id = [PARTIAL_ENDING, PROPOSAL_ENDING]
        .into_iter()
        .find_map(|ending| id.strip_suffix(ending))
        .unwrap_or(&id);
    (!id.is_empty()).then(|| id.to_owned())
}
