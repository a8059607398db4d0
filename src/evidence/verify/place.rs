//! Whether a run lies in its own place: below the folder `runs` of a project, its path is its task's
//! id. A folder is a project's `runs` if `tasks` lies beside it, if the project whose inputs the run
//! is checked with has a task of that id, or if the caller says so.

use camino::{Utf8Path, Utf8PathBuf};

use crate::file;
use crate::inputs::Library;
use crate::task::{PARTIAL_ENDING, PROPOSAL_ENDING};

use super::super::STATE;
use super::check::Check;
use super::finding::{Cause, Verdict};
use super::ledger::Ledger;

impl Check<'_> {
    /// The task in the ledger, against the place where the run lies.
    pub(super) fn place(&mut self, ledger: &Ledger) {
        let Some(started) = &ledger.recorded.summary.started else { return };
        let place = match self.asked.place {
            Some(place) => Some(without_ending(place).to_owned()),
            None => task_of_place(self.folder.path(), self.asked.project),
        };
        let Some(place) = place else { return };
        if place != started.task {
            let what = words(&started.task, &place);
            self.add(Verdict::Tampered, Cause::Place, STATE, what);
        }
    }
}

/// That a run lies in another task's place.
pub fn words(task: &str, place: &str) -> String {
    format!(
        "this is the run of the task {task:?}, and it is in the place of {place:?}; move it back to runs/{task}, or remove it if that run is there"
    )
}

/// The id of the task whose run has this place, be it finished, unfinished or proposed.
pub fn without_ending(place: &str) -> &str {
    let endings = [PARTIAL_ENDING, PROPOSAL_ENDING].into_iter();
    endings.filter_map(|ending| place.strip_suffix(ending)).next().unwrap_or(place)
}

/// The id of the task whose run belongs in a folder; none where that is not below the `runs` of a
/// project.
fn task_of_place(run: &Utf8Path, project: Option<&Library>) -> Option<String> {
    let absolute = file::absolute(run)?;
    let parts: Vec<&str> = absolute.components().map(|part| part.as_str()).collect();
    let at = parts.iter().rposition(|part| *part == "runs")?;
    let (root, below) = parts.split_at(at);
    let root: Utf8PathBuf = root.iter().collect();
    let id = below.get(1..)?.join("/");
    let id = without_ending(&id);
    if id.is_empty() {
        return None;
    }
    // Other folders are called `runs` too.
    let is_place = root.join("tasks").is_dir()
        || project.is_some_and(|project| project.has(&format!("tasks/{id}.json")).unwrap_or(false));
    is_place.then(|| id.to_owned())
}
