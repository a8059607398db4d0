//! Finds the project that a path belongs to: tasks lie in `tasks/`, runs in `runs/`, at the same
//! relative path, and everything that a task names is relative to the folder above both.

use std::collections::HashMap;
use std::rc::Rc;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};

use crate::builtin;
use crate::inputs::{Library, Project};

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
