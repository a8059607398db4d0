//! Finds the project that a path belongs to: tasks lie in `tasks/`, runs in `runs/`, at the same
//! relative path, and everything that a task names is relative to the folder above both.

use std::collections::HashMap;
use std::rc::Rc;

use camino::{Utf8Path, Utf8PathBuf};

use crate::event::InputRole;
use crate::evidence::origin;
use crate::evidence::text::shell_word;
use crate::evidence::verify::place as placed;
use crate::evidence::write::{WriteError, interrupted, target_of};
use crate::file;
use crate::host::{HostFault, is_about_the_name};
use crate::inputs::{BUILTIN, Library, Root};
use crate::place::{self, is_lock, is_run, started};
use crate::task::{PARTIAL_ENDING, PROPOSAL_ENDING};

use super::{Stop, exit};

/// A task that a user named.
#[derive(Debug, Clone)]
pub struct TaskPath {
    /// The project that it belongs to.
    pub project: Root,
    /// Its path in the project.
    pub path: String,
}

/// The run that a path means, as [`named_run`] reads it, be it there or not.
///
/// # Errors
/// That the path is that of a file.
pub fn target(path: &Utf8Path) -> Result<Utf8PathBuf, Stop> {
    Ok(target_of(&run_path(path)?))
}

/// Refuses a run whose replacement was interrupted where two folders cannot be exchanged, so that
/// nothing is in its place.
///
/// # Errors
/// That it is one, and how to finish it.
pub fn refuse_interrupted(run: &Utf8Path) -> Result<(), Stop> {
    let target = target_of(run);
    if target.file_name().is_none() || is_run(run)? {
        return Ok(());
    }
    let interrupted = match interrupted(&target) {
        // No file can have this name, so nothing was replaced under it.
        Err(WriteError::Io { source, .. }) if is_about_the_name(&source) => None,
        interrupted => interrupted?,
    };
    match interrupted {
        Some(swap) => {
            let message = format!("{target}: {}", half_replaced(&target, &swap));
            Err(Stop { message, code: exit::INTERRUPTED })
        }
        None => Ok(()),
    }
}

/// What to say of a run whose replacement was interrupted.
pub(super) fn half_replaced(target: &Utf8Path, swap: &Utf8Path) -> String {
    format!(
        "a replacement of this run was interrupted, and the new run is in {swap}; repeat the command that was interrupted, or finish it with `gatedrun review {}`",
        shell_word(target.as_str())
    )
}

/// A path that a user gave for a run or a folder of runs, without the slash that completion leaves.
pub(super) fn run_path(path: &Utf8Path) -> Result<Utf8PathBuf, Stop> {
    let trimmed = path.as_str().trim_end_matches('/');
    let mut path = upwards(if trimmed.is_empty() { path } else { Utf8Path::new(trimmed) });
    // A run needs a name, beside which others can lie: of `.` it is the working folder's.
    if path.file_name().is_none()
        && is_run(&path)?
        && let Some(name) = path.canonicalize_utf8().ok().as_deref().and_then(Utf8Path::file_name)
    {
        let above = if path == "." { "..".into() } else { path.join("..") };
        path = above.join(name);
    }
    if file::at(&path)?.is_some_and(|there| there.is_file()) {
        let what = match run_above(&path)? {
            Some(run) if run.as_str().is_empty() => {
                "a file of the run in this folder; name the folder: .".to_owned()
            }
            Some(run) => format!("a file of a run; name the folder: {run}"),
            None => "a file; name a run's folder".to_owned(),
        };
        return Err(Stop::usage(format!("{path}: {what}")));
    }
    Ok(path)
}

/// Whether a run of this name was cut short, be there a finished one beside it or not.
pub fn is_cut_short(name: &Utf8Path) -> bool {
    let partial = Utf8PathBuf::from(format!("{name}{PARTIAL_ENDING}"));
    partial.is_dir() && !is_lock(&partial)
}

/// What to say of a folder that is nothing but a lock.
pub(super) const NOT_BEGUN: &str = "no run was begun here; the folder is the lock of a command that works or was interrupted, and the next command that changes the run removes it";

/// The folder above a file that holds a run.
pub(super) fn run_above(file: &Utf8Path) -> Result<Option<&Utf8Path>, HostFault> {
    // What a path leads up through does not hold what it names.
    for folder in file.ancestors().skip(1).take_while(|folder| !folder.ends_with("..")) {
        if is_run(folder)? {
            return Ok(Some(folder));
        }
    }
    Ok(None)
}

/// A path as the project that the working folder lies in reads it: `runs` and `tasks` that are not
/// here are looked for in the folders above, as Git and cargo look for theirs.
pub fn upwards(path: &Utf8Path) -> Utf8PathBuf {
    let first = path.components().next().map(|part| part.as_str().to_owned());
    let is_projects = first.is_some_and(|first| first == "runs" || first == "tasks");
    // A run that was cut short, or one that is only proposed, goes by its name as well.
    let beside = [PARTIAL_ENDING, PROPOSAL_ENDING]
        .map(|ending| Utf8PathBuf::from(format!("{path}{ending}")));
    let there = |folder: &Utf8Path| {
        let [partial, proposal] = &beside;
        [path, partial.as_ref(), proposal.as_ref()].map(|path| file::at(&folder.join(path)))
    };
    // Where the machine does not say what is here, whoever reads the path meets its answer. A folder
    // above may be none of the user's.
    let may_be_here = !there(Utf8Path::new("")).iter().all(|there| matches!(there, Ok(None)));
    let is_there =
        |folder: &Utf8Path| there(folder).iter().any(|there| matches!(there, Ok(Some(_))));
    if !is_projects || may_be_here {
        return path.to_owned();
    }
    let depth = std::env::current_dir().map_or(0, |folder| folder.components().count());
    let mut above = Utf8PathBuf::new();
    for _ in 1..depth {
        above.push("..");
        if is_there(&above) {
            return above.join(path);
        }
    }
    path.to_owned()
}

/// The libraries of a command, one a project, so that many runs load what they share once.
#[derive(Debug, Default)]
pub struct Libraries(HashMap<String, Rc<Library>>);

impl Libraries {
    /// The library of a project.
    pub fn get(&mut self, project: &Root) -> Rc<Library> {
        let key = match project {
            Root::Folder(root) => format!("folder {root}"),
            Root::Builtin => "builtin".to_owned(),
        };
        Rc::clone(self.0.entry(key).or_insert_with(|| Rc::new(Library::new(project.clone()))))
    }
}

/// Where the runs of a project lie.
///
/// # Errors
/// As [`root`].
pub fn runs(project: &Root) -> Result<Utf8PathBuf, HostFault> {
    Ok(match project {
        Root::Folder(root) => root.join("runs"),
        // As every other command finds it.
        Root::Builtin => root(Utf8Path::new("."))?.unwrap_or_default().join("runs"),
    })
}

/// Whether a run, finished or not, was made from the task that is built into the program, as its
/// ledger says.
pub fn is_builtin(run: &Utf8Path) -> bool {
    started(run).is_some_and(|started| {
        let mut inputs = started.inputs.iter();
        inputs.any(|input| input.role == InputRole::Task && input.path.starts_with(BUILTIN))
    })
}

/// That current inputs of a run differ from those that it was made with in the ends of their lines
/// alone, in one line.
pub fn rewritten(run: &Utf8Path, library: &Library) -> Option<String> {
    origin::rewritten(&started(run)?, library)
}

/// That a run lies in the place of another task's, in words.
pub fn misplaced(run: &Utf8Path) -> Option<String> {
    let (_, id) = place::run(run)?;
    let id = placed::without_ending(&id);
    let started = started(run)?;
    (started.task != id).then(|| placed::words(&started.task, id))
}

/// The path of the task that a run was made from, as it is recorded.
pub fn made_from(run: &Utf8Path) -> Option<String> {
    let task = started(run)?.inputs.into_iter().find(|input| input.role == InputRole::Task)?;
    Some(task.path)
}

/// The path of the task that a run was made from, if it is found from the working folder.
pub fn task_here(run: &Utf8Path) -> Option<String> {
    let task = made_from(run)?;
    (task.starts_with(BUILTIN) || Utf8Path::new(&task).is_file()).then_some(task)
}

/// That a run is not one of the task with this id, in words.
pub fn of_another_task(run: &Utf8Path, id: &str) -> Option<String> {
    let started = started(run)?;
    (started.task != id).then(|| {
        format!(
            "a run of the task {:?}, and not of {id:?}; name its own task with --task, or leave --task out for runs in their places below runs/",
            started.task
        )
    })
}

/// The project that a folder is, or else the nearest one that it lies in.
///
/// # Errors
/// That the machine does not say whether the folder is one. A folder above may be none of the user's.
pub fn root(folder: &Utf8Path) -> Result<Option<Utf8PathBuf>, HostFault> {
    let is_root = |folder: &Utf8Path| -> Result<bool, HostFault> {
        Ok(file::is_folder(&folder.join("tasks"))? || file::is_folder(&folder.join("runs"))?)
    };
    if is_root(folder)? {
        // What is printed of the working folder's project begins with `runs`.
        return Ok(Some(if folder == "." { Utf8PathBuf::new() } else { folder.to_owned() }));
    }
    if folder != "." {
        return Ok(None);
    }
    let depth = std::env::current_dir().map_or(0, |folder| folder.components().count());
    let mut above = Utf8PathBuf::new();
    Ok((1..depth).find_map(|_| {
        above.push("..");
        is_root(&above).unwrap_or(false).then(|| above.clone())
    }))
}

/// The project with this task that a run lies in, or else the one that the working folder lies in.
///
/// # Errors
/// That the machine does not say whether a task is there.
pub fn with_task(run: &Utf8Path, task: &str) -> Result<Option<Utf8PathBuf>, HostFault> {
    let has_task = |root: &Utf8Path| Ok(file::at(&root.join(task))?.is_some_and(|at| at.is_file()));
    for above in place::real_path(run).iter().flat_map(|run| run.ancestors().skip(1)) {
        if root(above)?.is_some() && has_task(above)? {
            return Ok(Some(place::relative(above).unwrap_or_else(|| above.to_owned())));
        }
    }
    match root(Utf8Path::new("."))? {
        Some(here) if has_task(&here)? => Ok(Some(here)),
        _ => Ok(None),
    }
}

/// Refuses a path that is not a folder; `remedy` says what to name.
///
/// # Errors
/// That nothing is there, or no folder.
pub fn must_be_folder(path: &Utf8Path, remedy: &str) -> Result<(), Stop> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(Stop::usage(format!("{path}: not a folder; {remedy}"))),
        Err(error) => Err(file::unlisted(path.as_str(), &error).remedy(remedy).into()),
    }
}
