//! Finds the project that a path belongs to: tasks lie in `tasks/`, runs in `runs/`, at the same
//! relative path, and everything that a task names is relative to the folder above both.

use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use serde::Deserialize;
use walkdir::WalkDir;

use crate::builtin;
use crate::event::Input;
use crate::evidence::text::counted;
use crate::evidence::write::is_beside;
use crate::evidence::{FILES, MANIFEST, WORK, open};
use crate::inputs::{BUILTIN, Library, Project};
use crate::json::Digest;
use crate::ledger::LINE_BYTES_MAX;
use crate::task::PARTIAL_ENDING;

use super::Stop;
use super::output::Terminal;

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
    if let Some(path) = path.as_str().strip_prefix(BUILTIN) {
        return TaskPath { project: Project::Builtin, path: path.to_owned() };
    }
    let (root, rest) = split(path, "tasks").unwrap_or_else(|| {
        let root = path.parent().unwrap_or(Utf8Path::new("")).to_owned();
        (root, path.file_name().unwrap_or_default().into())
    });
    // A file of the project, whatever it is called.
    let path =
        if rest.as_str().starts_with(BUILTIN) { format!("./{rest}") } else { rest.into_string() };
    TaskPath { project: Project::Folder(root), path }
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

/// Splits a path before its last component with this name; where it has none, the path is looked at
/// from the root of the file system, so that the folder in which a command is given does not matter.
fn split(path: &Utf8Path, name: &str) -> Option<(Utf8PathBuf, Utf8PathBuf)> {
    let parts: Vec<Utf8Component<'_>> =
        path.components().filter(|part| *part != Utf8Component::CurDir).collect();
    let split_at_name = |parts: &[Utf8Component<'_>]| {
        let at = parts.iter().rposition(|part| part.as_str() == name)?;
        let (root, rest) = parts.split_at(at);
        Some((root.iter().collect::<Utf8PathBuf>(), rest.iter().collect::<Utf8PathBuf>()))
    };
    if let Some(found) = split_at_name(&parts) {
        return Some(found);
    }
    let absolute = Utf8PathBuf::from_path_buf(std::path::absolute(path).ok()?).ok()?;
    let mut parts: Vec<Utf8Component<'_>> = Vec::new();
    for part in absolute.components() {
        match part {
            Utf8Component::ParentDir => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    // Folders of that name are common: a project has both.
    split_at_name(&parts)
        .filter(|(root, _)| root.join("tasks").is_dir() && root.join("runs").is_dir())
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

/// What was found where runs were looked for.
#[derive(Debug, Default)]
pub struct Found {
    /// The runs, and what may hold runs and is not looked into, in order.
    pub items: Vec<Item>,
    /// The folders of runs that have not ended, in order.
    pub unfinished: Vec<Utf8PathBuf>,
}

/// What was found in a place where a run may be.
#[derive(Debug)]
pub enum Item {
    /// A run's folder.
    Run(Utf8PathBuf),
    /// What is not looked into: one such neighbour hides no other's verdict.
    Refused(Refused),
}

/// What is not looked into.
#[derive(Debug)]
pub struct Refused {
    /// Its path, as far as it is text.
    pub path: String,
    /// Why, and what to do.
    pub what: String,
}

impl Found {
    /// The runs alone, in order.
    pub fn runs(&self) -> Vec<Utf8PathBuf> {
        let run = |item: &Item| match item {
            Item::Run(run) => Some(run.clone()),
            Item::Refused(_) => None,
        };
        self.items.iter().filter_map(run).collect()
    }

    /// What is not looked into, in order.
    pub fn refused(&self) -> impl Iterator<Item = &Refused> {
        self.items.iter().filter_map(|item| match item {
            Item::Run(_) => None,
            Item::Refused(refused) => Some(refused),
        })
    }

    /// The unfinished runs, where there are no others: they are what was asked for.
    pub fn only_unfinished(&self) -> &[Utf8PathBuf] {
        if self.items.is_empty() { &self.unfinished } else { &[] }
    }

    /// Reports the unfinished runs beside others.
    pub fn note_unfinished(&self, terminal: &mut Terminal) {
        if self.items.is_empty() || self.unfinished.is_empty() {
            return;
        }
        let count = counted(self.unfinished.len(), "unfinished run", "unfinished runs");
        let names: Vec<&str> = self.unfinished.iter().map(|run| run.as_str()).collect();
        terminal.note(&format!("{count}: {}; see `gatedrun resume`", names.join(", ")));
    }
}

/// What to say of a run that has not ended, to who needs one that has.
pub fn unfinished(partial: &Utf8Path) -> String {
    let name = partial.as_str().trim_end_matches('/').trim_end_matches(PARTIAL_ENDING);
    format!(
        "the run was interrupted or is still being made; continue it with `gatedrun resume {name}`"
    )
}

/// The run folders at or below a path, in order.
///
/// # Errors
/// That the path does not exist, or holds no run.
pub fn find_runs(path: &Utf8Path) -> Result<Found, Stop> {
    let is_run = |folder: &Utf8Path| FILES.iter().any(|name| folder.join(name).exists());
    let is_partial = path.as_str().trim_end_matches('/').ends_with(PARTIAL_ENDING);
    if is_partial && path.is_dir() {
        return Ok(Found { unfinished: vec![path.to_owned()], ..Found::default() });
    }
    if is_run(path) {
        return Ok(Found { items: vec![Item::Run(path.to_owned())], ..Found::default() });
    }
    if !path.exists() {
        let partial =
            Utf8PathBuf::from(format!("{}{PARTIAL_ENDING}", path.as_str().trim_end_matches('/')));
        if partial.is_dir() {
            return Ok(Found { unfinished: vec![partial], ..Found::default() });
        }
        return Err(Stop::usage(format!("{path}: no such folder; name a run or a folder of runs")));
    }
    if !path.is_dir() {
        let hint = match path.parent().filter(|folder| is_run(folder)) {
            Some(run) => format!("name the run's folder, {run}"),
            None => "name a run or a folder of runs".to_owned(),
        };
        return Err(Stop::usage(format!("{path}: not a folder; {hint}")));
    }
    let mut found = Found::default();
    let mut within: Option<PathBuf> = None;
    let mut walk = WalkDir::new(path).sort_by_file_name().into_iter();
    while let Some(entry) = walk.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let place =
                    error.path().unwrap_or(path.as_std_path()).to_string_lossy().into_owned();
                let what = error.io_error().map_or_else(|| error.to_string(), ToString::to_string);
                if error.depth() == 0 {
                    return Err(Stop::usage(format!("{path}: cannot be read: {what}")));
                }
                found.refuse(
                    place,
                    format!("cannot be read, so what is in it is not known: {what}"),
                );
                continue;
            }
        };
        let is_in_run = within.as_ref().is_some_and(|run| entry.path().starts_with(run));
        let is_folder = entry.file_type().is_dir();
        let is_link = entry.path_is_symlink() && entry.depth() > 0;
        // What lies in a run is for its own verdict, but for another run.
        if is_link && !is_in_run && entry.path().metadata().map_or(true, |to| to.is_dir()) {
            let what = "a link, which is not followed: a run has to lie in its own place; name what it leads to, or put it here";
            found.refuse(entry.path().to_string_lossy().into_owned(), what);
            continue;
        }
        if !is_folder {
            continue;
        }
        let Some(folder) = Utf8Path::from_path(entry.path()) else {
            if !is_in_run {
                let what = "the name is not UTF-8, so what is in it is not looked at; rename it";
                found.refuse(entry.path().to_string_lossy().into_owned(), what);
            }
            walk.skip_current_dir();
            continue;
        };
        let name = folder.file_name().unwrap_or_default();
        // What a run wrote is in it; a folder of runs may have that name too.
        let is_work = name == WORK && folder.parent().is_some_and(is_run);
        let is_partial = name.ends_with(PARTIAL_ENDING) && entry.depth() > 0;
        if is_work || is_beside(name) && entry.depth() > 0 {
            if is_partial && !is_in_run {
                found.unfinished.push(folder.to_owned());
            }
            walk.skip_current_dir();
        } else if is_run(folder) {
            found.items.push(Item::Run(folder.to_owned()));
            if !is_in_run {
                within = Some(entry.path().to_owned());
            }
        }
    }
    if found.items.is_empty() && found.unfinished.is_empty() {
        return Err(Stop::usage(format!(
            "{path}: no run was found there; make one with `gatedrun run TASK`"
        )));
    }
    Ok(found)
}

impl Found {
    fn refuse(&mut self, path: String, what: impl Into<String>) {
        self.items.push(Item::Refused(Refused { path, what: what.into() }));
    }
}

/// Whether a run was made with what is built into the program: its inputs have those digests.
pub fn is_builtin(run: &Utf8Path) -> bool {
    #[derive(Deserialize)]
    struct Manifest {
        inputs: Vec<Input>,
    }
    let bytes = open::read(&run.join(MANIFEST), LINE_BYTES_MAX as u64).ok();
    let manifest = bytes.and_then(|bytes| serde_json::from_slice::<Manifest>(&bytes).ok());
    manifest.is_some_and(|manifest| {
        manifest.inputs.iter().all(|input| {
            builtin::file(&input.path).is_some_and(|bytes| Digest::of(bytes) == input.sha256)
        })
    })
}

/// The ids of a project's tasks, in order, and what is not looked into.
pub fn find_tasks(root: &Utf8Path) -> (Vec<String>, Vec<Refused>) {
    let tasks = root.join("tasks");
    let (mut ids, mut refused) = (Vec::new(), Vec::new());
    if !tasks.exists() {
        return (ids, refused);
    }
    for entry in WalkDir::new(&tasks).sort_by_file_name() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let path =
                    error.path().unwrap_or(tasks.as_std_path()).to_string_lossy().into_owned();
                let what = error.io_error().map_or_else(|| error.to_string(), ToString::to_string);
                refused.push(Refused { path, what: format!("cannot be read: {what}") });
                continue;
            }
        };
        let Some(file) = Utf8Path::from_path(entry.path()) else {
            let path = entry.path().to_string_lossy().into_owned();
            let what = "the name is not UTF-8, so no task is read from it; rename it".to_owned();
            refused.push(Refused { path, what });
            continue;
        };
        let path = file.strip_prefix(&tasks).map(Utf8Path::as_str).unwrap_or_default();
        if let Some(id) = path.strip_suffix(".json").filter(|id| !id.ends_with(".schema")) {
            ids.push(id.to_owned());
        }
    }
    (ids, refused)
}
