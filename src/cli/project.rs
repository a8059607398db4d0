//! Finds the project that a path belongs to: tasks lie in `tasks/`, runs in `runs/`, at the same
//! relative path, and everything that a task names is relative to the folder above both.

use std::collections::HashMap;
use std::rc::Rc;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use walkdir::{DirEntry, WalkDir};

use crate::builtin;
use crate::evidence::{FILES, WORK};
use crate::inputs::{Library, Project};
use crate::task::{PARTIAL_ENDING, PROPOSAL_ENDING};

use super::Stop;

/// A task that a user named.
#[derive(Debug, Clone)]
pub struct TaskPath {
    /// The project that it belongs to.
    pub project: Project,
    /// Its path in the project.
    pub path: String,
}

/// Reads a path that a user gave for a task.
pub fn task(path: &Utf8Path) -> TaskPath {
    if let Some(path) = path.as_str().strip_prefix("builtin:") {
        return TaskPath { project: Project::Builtin, path: path.to_owned() };
    }
    let (root, rest) = split(path, "tasks").unwrap_or_else(|| {
        let root = path.parent().unwrap_or(Utf8Path::new("")).to_owned();
        (root, path.file_name().unwrap_or_default().into())
    });
    TaskPath { project: Project::Folder(root), path: rest.into_string() }
}

/// The task that runs when none is named.
pub fn builtin_task() -> TaskPath {
    TaskPath { project: Project::Builtin, path: builtin::TASK.to_owned() }
}

/// The project's folder and the run's id, of a run's folder below `runs/`.
pub fn run(path: &Utf8Path) -> Option<(Utf8PathBuf, String)> {
    let (root, rest) = split(path, "runs")?;
    let id = rest.strip_prefix("runs").ok()?;
    Some((root, id.as_str().to_owned()))
}

/// Splits a path before its last component with this name.
fn split(path: &Utf8Path, name: &str) -> Option<(Utf8PathBuf, Utf8PathBuf)> {
    let parts: Vec<Utf8Component<'_>> =
        path.components().filter(|part| *part != Utf8Component::CurDir).collect();
    let at = parts.iter().rposition(|part| part.as_str() == name)?;
    let (root, rest) = parts.split_at(at);
    Some((root.iter().collect(), rest.iter().collect()))
}

/// The libraries of a command, one a project, so that many runs load what they share once.
#[derive(Debug, Default)]
pub struct Libraries(HashMap<String, Rc<Library>>);

impl Libraries {
    /// The library of a project.
    pub fn get(&mut self, project: &Project) -> Rc<Library> {
        let key = match project {
            Project::Folder(root) => format!("folder {root}"),
            Project::Builtin => "builtin".to_owned(),
        };
        Rc::clone(self.0.entry(key).or_insert_with(|| Rc::new(Library::new(project.clone()))))
    }
}

/// Where the runs of a project lie.
pub fn runs(project: &Project) -> Utf8PathBuf {
    match project {
        Project::Folder(root) => root.join("runs"),
        Project::Builtin => Utf8PathBuf::from("runs"),
    }
}

/// The path itself, or that it is not UTF-8.
pub fn utf8(path: &std::path::Path) -> Result<Utf8PathBuf, Stop> {
    Utf8PathBuf::from_path_buf(path.to_path_buf()).map_err(|path| {
        Stop::usage(format!("{}: the path is not UTF-8; rename it", path.to_string_lossy()))
    })
}

/// The run folders at or below a path, in order.
pub fn find_runs(path: &Utf8Path) -> Result<Vec<Utf8PathBuf>, Stop> {
    let is_run = |folder: &Utf8Path| FILES.iter().any(|name| folder.join(name).exists());
    if is_run(path) {
        return Ok(vec![path.to_owned()]);
    }
    let mut runs = Vec::new();
    let walk = WalkDir::new(path).sort_by_file_name().into_iter();
    // What a run wrote is in it; a folder of runs may have that name too.
    let is_work = |entry: &DirEntry| {
        let within = entry.path().parent().and_then(Utf8Path::from_path);
        entry.file_name() == WORK && within.is_some_and(is_run)
    };
    let skipped = |entry: &DirEntry| {
        let name = entry.file_name().to_string_lossy();
        name.ends_with(PROPOSAL_ENDING) || name.ends_with(PARTIAL_ENDING) || is_work(entry)
    };
    for entry in walk.filter_entry(|entry| !skipped(entry)) {
        let entry = entry.map_err(|error| {
            let what = error.io_error().map_or_else(|| error.to_string(), ToString::to_string);
            Stop::usage(format!("{path}: it cannot be read: {what}; name a run's folder"))
        })?;
        if entry.file_type().is_dir() {
            let folder = utf8(entry.path())?;
            if is_run(&folder) {
                runs.push(folder);
            }
        }
    }
    if runs.is_empty() {
        return Err(Stop::usage(format!(
            "{path}: no run lies there; make one with `gatedrun run TASK`"
        )));
    }
    Ok(runs)
}
