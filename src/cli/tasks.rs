//! The tasks that a user names, by their files, by folders, or by their runs; and those of a project.

use std::fs::Metadata;

use camino::{Utf8Path, Utf8PathBuf};
use walkdir::WalkDir;

use crate::builtin;
use crate::evidence::MANIFEST;
use crate::evidence::text::{shell_word, terminal as escape};
use crate::evidence::write::target_of;
use crate::file;
use crate::inputs::{BUILTIN, Root};
use crate::kind::Kind;
use crate::place::{self, is_run, run, split};
use crate::task::PARTIAL_ENDING;

use super::project::{self, TaskPath, run_above, upwards};
use super::refused::Refused;
use super::{Stop, exit};

/// What one task that was named results in.
pub(super) type Named = Result<TaskPath, Stop>;

/// The tasks at these paths, in order. What cannot be read in a folder hides no task of it.
///
/// # Errors
/// A path that is not a task or a folder with tasks: nothing was done then.
pub(super) fn named(paths: &[Utf8PathBuf]) -> Result<Vec<Named>, Stop> {
    let mut tasks = Vec::new();
    for path in paths {
        match task_folder(path) {
            Some(folder) => tasks.extend(below(path, &folder)?),
            // Where a task is run, it may be a folder of them too.
            None => tasks.push(Ok(task(path).map_err(|stop| Stop {
                message: match stop.message.strip_suffix("; name a task file") {
                    Some(what) => {
                        let without =
                            if what.ends_with(": a folder") { " without tasks" } else { "" };
                        format!("{what}{without}; name a task file or a folder of tasks")
                    }
                    None => stop.message,
                },
                ..stop
            })?)),
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
    let found = paths.into_iter().map(|path| task(&folder.join(path)));
    Ok(found.chain(refused).collect())
}

/// Reads a path that a user gave for a task.
///
/// # Errors
/// It is not a file: a run, another folder, or nothing.
pub fn task(path: &Utf8Path) -> Result<TaskPath, Stop> {
    if let Some(path) = path.as_str().strip_prefix(BUILTIN) {
        if builtin::file(path).is_none() {
            return Err(Stop::usage(format!(
                "{BUILTIN}{path}: not built into the program; the built-in task is {BUILTIN}{}",
                builtin::TASK
            )));
        }
        return Ok(TaskPath { project: Root::Builtin, path: path.to_owned() });
    }
    let path = upwards(path);
    let there = file::at(&path)?;
    let what = if there.as_ref().is_some_and(Metadata::is_file) {
        let is_json = path.extension().is_none_or(|extension| extension == "json");
        let other = (!is_json).then(|| of_another_kind(&path));
        run_above(&path)?.map(|_| "a file of a run; name a task file".to_owned()).or(other)
    } else if is_run(&path)? {
        Some(instead_of_run(&path))
    } else if there.as_ref().is_some_and(Metadata::is_dir) {
        Some("a folder; name a task file".to_owned())
    } else if there.is_some() {
        Some("not a regular file; name a task file".to_owned())
    } else if file::at(Utf8Path::new(&format!("{path}.json")))?.is_some_and(|at| at.is_file()) {
        Some(format!("no such file; did you mean {path}.json?"))
    } else {
        let what = if path.as_str().ends_with('/') { "folder" } else { "file" };
        Some(format!("no such {what}; name a task file"))
    };
    if let Some(what) = what {
        return Err(Stop::usage(format!("{path}: {what}")));
    }
    let (root, rest) = split(&path, "tasks", |_| false).unwrap_or_else(|| {
        let root = path.parent().unwrap_or(Utf8Path::new("")).to_owned();
        (root, path.file_name().unwrap_or_default().into())
    });
    // A file of the project, whatever it is called.
    let path =
        if rest.as_str().starts_with(BUILTIN) { format!("./{rest}") } else { rest.into_string() };
    Ok(TaskPath { project: Root::Folder(root), path })
}

/// What to say of a file that is not a task by its name.
fn of_another_kind(path: &Utf8Path) -> String {
    let kind = crate::inputs::read_file(path, path.as_str()).ok().and_then(|it| Kind::of(&it));
    match kind.filter(|kind| *kind != Kind::Task) {
        Some(kind) => {
            let problem = kind.instead_of(path.as_str(), Kind::Task);
            format!("{}; {}", problem.what, problem.remedy)
        }
        None => {
            "not a task: a task is a .json file; name one, for example tasks/NAME.json".to_owned()
        }
    }
}

/// What to name in place of a run where a task is meant.
fn instead_of_run(path: &Utf8Path) -> String {
    let target = target_of(path);
    let placed =
        || run(&target).map(|(root, id)| root.join(format!("tasks/{id}.json")).into_string());
    let task = task_in_manifest(path).or_else(placed);
    let task = task.as_deref().map(escape);
    let of = |prefix: &str| task.as_ref().map(|task| format!("{prefix}{task}")).unwrap_or_default();
    if path.as_str().ends_with(PARTIAL_ENDING) {
        return format!(
            "an unfinished run{}; resume it with `gatedrun resume {}`",
            of(" of the task "),
            shell_word(target.as_str())
        );
    }
    let run = |task: &String| format!(", or run its task with `gatedrun run {}`", shell_word(task));
    let makes = task.as_ref().map(run);
    format!(
        "a run, not a task; compare it again with `gatedrun check {}`{}",
        shell_word(path.as_str()),
        makes.unwrap_or_default()
    )
}

/// The task's path that a run's manifest names.
fn task_in_manifest(run: &Utf8Path) -> Option<String> {
    let bytes = crate::inputs::read_file(&run.join(MANIFEST), MANIFEST).ok()?;
    let manifest: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
    let inputs = manifest.get("inputs")?.as_array()?;
    let task = inputs.iter().find(|input| input.get("role").is_some_and(|role| role == "task"))?;
    Some(task.get("path")?.as_str()?.to_owned())
}

/// The task that runs when none is named: the project's own canonical task, or, in a folder without
/// tasks, the one in the program.
///
/// # Errors
/// The project's is not a file, or the project has other tasks only: one of those is meant.
pub fn default_task() -> Result<TaskPath, Stop> {
    let root = project::root(Utf8Path::new("."))?.unwrap_or_default();
    let own = root.join(builtin::TASK);
    if file::at(&own)?.is_some() {
        return task(&own);
    }
    let (ids, refused) = find_tasks(&root, "");
    if let Some(refused) = refused.first() {
        let message = format!("{}: {}", refused.path, refused.what);
        return Err(Stop { message, code: refused.code(exit::USAGE) });
    }
    if let Some(first) = ids.first() {
        let first = root.join("tasks").join(format!("{first}.json"));
        return Err(Stop::usage(format!(
            "{own}: no such file; name one of the project's tasks, for example {first}, or {BUILTIN}{}",
            builtin::TASK
        )));
    }
    Ok(TaskPath { project: Root::Builtin, path: builtin::TASK.to_owned() })
}

/// The folder of tasks that a user named: of a project, its `tasks`; else one that lies in a
/// project's `tasks`. Of any other folder nothing is run: whose tasks lie below is not known.
pub fn task_folder(path: &Utf8Path) -> Option<Utf8PathBuf> {
    if path.as_str().starts_with(BUILTIN) {
        return None;
    }
    let path = upwards(path);
    if !path.is_dir() || is_run(&path).unwrap_or(false) {
        return None;
    }
    let tasks = path.join("tasks");
    if tasks.is_dir() {
        return Some(tasks);
    }
    split(&path, "tasks", |_| false).map(|_| path)
}

/// The task of a run: the one that was named for it, or else the one of its place.
///
/// # Errors
/// The run lies in no place that says it, or what was named is not a task.
pub(super) fn task_of(run: &Utf8Path, task: Option<&Utf8Path>) -> Result<(Root, String), Stop> {
    if let Some(task) = task {
        let task = self::task(task)?;
        return Ok((task.project, task.path));
    }
    // A proposal is one for its task's run, and a run that was cut short is that.
    let (root, id) = place::run(&target_of(run)).ok_or_else(|| {
        let task = project::task_here(run);
        let task = task.as_deref().map_or("TASK".into(), shell_word);
        Stop::usage(format!("{run}: not below runs/; give its task with --task {task}"))
    })?;
    let task = format!("tasks/{id}.json");
    // A run of the built-in task has no task file.
    if file::at(&root.join(&task))?.is_none()
        && builtin::file(&task).is_some()
        && project::is_builtin(run)
    {
        return Ok((Root::Builtin, task));
    }
    Ok((Root::Folder(root), task))
}

/// The ids of a project's tasks at or below a place, in order, and what is not looked into.
pub fn find_tasks(root: &Utf8Path, within: &str) -> (Vec<String>, Vec<Refused>) {
    let tasks = root.join("tasks");
    let (paths, refused) = tasks_below(&tasks.join(within));
    let within = Utf8Path::new(within);
    let id = |path: &String| Some(within.join(path.strip_suffix(".json")?).into_string());
    (paths.iter().filter_map(id).collect(), refused)
}

/// The paths of the tasks in a folder, in order, and what is not looked into.
pub fn tasks_below(tasks: &Utf8Path) -> (Vec<String>, Vec<Refused>) {
    let (mut paths, mut refused) = (Vec::new(), Vec::new());
    match file::at(tasks) {
        Ok(Some(_)) => {}
        Ok(None) => return (paths, refused),
        Err(fault) => {
            let (path, what) = (tasks.to_string(), fault.to_string());
            return (paths, vec![Refused { path, what, is_host: true }]);
        }
    }
    for entry in WalkDir::new(tasks).sort_by_file_name() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                refused.push(Refused::unread(&error, tasks, "cannot be read"));
                continue;
            }
        };
        let Some(file) = Utf8Path::from_path(entry.path()) else {
            let path = entry.path().to_string_lossy().into_owned();
            let what = "the name is not UTF-8, so the file was skipped; rename it";
            refused.push(Refused::new(path, what));
            continue;
        };
        let path = file.strip_prefix(tasks).map(Utf8Path::as_str).unwrap_or_default();
        if path.ends_with(".json") && !path.ends_with(".schema.json") {
            paths.push(path.to_owned());
        }
    }
    (paths, refused)
}
