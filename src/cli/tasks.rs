//! The tasks that a user names for `run`: files, or folders with tasks in them.

use camino::{Utf8Path, Utf8PathBuf};

use super::Stop;
use super::exit;
use super::project::{self, TaskPath, tasks_below};

/// What one task that was named results in.
pub(super) type Named = Result<TaskPath, Stop>;

/// The tasks at these paths, in order. What cannot be read in a folder hides no task of it.
///
/// # Errors
/// A path that is not a task or a folder with tasks: nothing was done then.
pub(super) fn named(paths: &[Utf8PathBuf]) -> Result<Vec<Named>, Stop> {
    let mut tasks = Vec::new();
    for path in paths {
        match project::task_folder(path) {
            Some(folder) => tasks.extend(below(path, &folder)?),
            None => tasks.push(Ok(project::task(path)?)),
        }
    }
    Ok(tasks)
}

fn below(named: &Utf8Path, folder: &Utf8Path) -> Result<Vec<Named>, Stop> {
    let (paths, refused) = tasks_below(folder);
    if paths.is_empty() && refused.is_empty() {
        return Err(Stop::usage(format!(
            "{named}: no tasks in this folder; name a task file or a folder of tasks"
        )));
    }
    let refused = refused.into_iter().map(|refused| {
        let message = format!("{}: {}", refused.path, refused.what);
        Err(Stop { message, code: refused.code(exit::USAGE) })
    });
    let found = paths.into_iter().map(|path| project::task(&folder.join(path)));
    Ok(found.chain(refused).collect())
}
