//! What `check` looks at, in order: runs, tasks without one, and what cannot be executed.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};

use crate::evidence::write::{interrupted, target_of};
use crate::file;
use crate::inputs::Root;
use crate::place;

use super::found::{self, Found};
use super::output::Terminal;
use super::refused::Refused;
use super::tasks::{find_tasks, task_of};
use super::{Stop, exit};

/// What is looked at in its turn.
pub(super) enum Item {
    /// A run, and its task.
    Run(Utf8PathBuf, (Root, String)),
    /// A task without a run.
    Runless(Runless),
    /// What cannot be executed: a path, the word for it, why, and the exit code.
    Refused(Utf8PathBuf, &'static str, String, u8),
}

impl Item {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Run(path, _) | Self::Refused(path, ..) => path.as_str(),
            Self::Runless(one) => one.run.as_str(),
        }
    }
}

/// Everything that is looked at, in order.
pub(super) fn items(
    paths: &[Utf8PathBuf],
    task: Option<&Utf8Path>,
    terminal: &mut Terminal,
) -> Result<Vec<Item>, Stop> {
    let mut items = Vec::new();
    let refused = |one: &Refused| {
        let code = one.code(exit::UNCONFIRMED);
        Item::Refused(one.path.clone().into(), "refused", one.what.clone(), code)
    };
    for path in paths {
        let found = match found::find_runs(path) {
            Ok(found) => found,
            // A project of which no run is committed yet has tasks without runs.
            Err(_)
                if file::at(path)?.is_none() && !runless(path, &Found::default()).0.is_empty() =>
            {
                Found::default()
            }
            // Where several paths were named, one that cannot be read hides no other.
            Err(stop) if paths.len() > 1 => {
                items.push(Item::Refused(path.clone(), "failed", stop.message, stop.code));
                continue;
            }
            Err(stop) => return Err(stop),
        };
        items.extend(found.refused().map(refused));
        items.extend(found.only_unfinished().iter().map(|partial| {
            let what = found::unfinished(partial);
            Item::Refused(partial.clone(), "unfinished", what, exit::INTERRUPTED)
        }));
        found.note_unfinished(terminal);
        let runs = found.runs();
        for run in &runs {
            items.push(match task_of(run, task) {
                Ok(task) => Item::Run(run.clone(), task),
                Err(stop) if runs.len() > 1 || paths.len() > 1 => {
                    Item::Refused(run.clone(), "failed", stop.message, stop.code)
                }
                Err(stop) => return Err(stop),
            });
        }
        let (without, unread) = runless(path, &found);
        items.extend(unread.iter().map(refused));
        items.extend(without.into_iter().map(Item::Runless));
    }
    Ok(items)
}

/// A task without a run.
pub(super) struct Runless {
    /// Where its run would be.
    pub(super) run: Utf8PathBuf,
    /// The task, in its project.
    pub(super) task: String,
    /// The task, as a user names it.
    pub(super) path: Utf8PathBuf,
}

/// The tasks without a run, of those that have their runs at or below a path; and what is not looked
/// into among them.
fn runless(path: &Utf8Path, found: &Found) -> (Vec<Runless>, Vec<Refused>) {
    let Some((root, within)) = place::run(path) else { return (Vec::new(), Vec::new()) };
    // Where nothing else is found, the unfinished runs are reported already.
    let unfinished = found.only_unfinished().iter().map(|run| target_of(run));
    let runs = found.runs().into_iter().chain(unfinished);
    let known: BTreeSet<String> =
        runs.filter_map(|run| place::run(&run)).map(|(_, id)| id).collect();
    // What is refused is reported as that, with everything below it.
    let refused = found.refused().filter_map(|one| place::run(Utf8Path::new(&one.path)));
    let unread: Vec<String> = refused.map(|(_, id)| id).collect();
    let is_unread = |id: &str| unread.iter().any(|one| Utf8Path::new(id).starts_with(one));
    let (ids, refused) = find_tasks(&root, &within);
    let runless = |id: String| {
        let task = format!("tasks/{id}.json");
        Runless { run: root.join("runs").join(&id), path: root.join(&task), task }
    };
    // One that was being replaced is refused by its own name.
    let is_missing = |run: &Utf8Path| !matches!(interrupted(run), Ok(Some(_)));
    let ids = ids.into_iter().filter(|id| !known.contains(id) && !is_unread(id));
    (ids.map(runless).filter(|one| is_missing(&one.run)).collect(), refused)
}
