//! The folder that sessions begin in.

use std::path::Path;

use camino::{Utf8Path, Utf8PathBuf};

use crate::file;
use crate::inputs::{Library, Root};

use super::error::Error;
use super::run::Session;

/// A project: a folder with `tasks/` and what its tasks name, such as `policy/`, `tools/` and `data/`. Its
/// runs go to `runs/`.
///
/// Inputs are loaded once, by the first session that needs them. Edits on disk are seen by a project that
/// is opened again.
#[derive(Debug)]
pub struct Project {
    root: Utf8PathBuf,
    library: Library,
}

impl Project {
    /// Opens a project's folder. Nothing is read yet but whether it is one.
    ///
    /// # Errors
    /// [`Error::Folder`]: no such folder, or one without `tasks/`. [`Error::Host`].
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, Error> {
        let folder = folder.as_ref();
        let wrong = |what| {
            let folder = folder.display().to_string();
            Err(Error::Folder { folder, what })
        };
        let Some(root) = Utf8Path::from_path(folder) else {
            return wrong("the path is not UTF-8; rename the folder");
        };
        if !file::is_folder(root)? {
            return wrong("no such folder; name the folder of a project");
        }
        if !file::is_folder(&root.join("tasks"))? {
            return wrong("a folder without tasks/; name the folder of a project");
        }
        Ok(Self { root: root.to_owned(), library: Library::new(Root::Folder(root.to_owned())) })
    }

    /// Begins a run of a task, in the task's own place: the run of `tasks/a/b.json` goes to `runs/a/b`.
    /// `task` is the path of the task's file in the project.
    ///
    /// # Errors
    /// See [`Error`]. Nothing is left behind.
    pub fn session(&self, task: &str) -> Result<Session, Error> {
        self.begin(task, None)
    }

    /// As [`Project::session`], in a folder of the caller's choice, which does not exist yet: not below
    /// `runs/`, and not where the project keeps its inputs.
    ///
    /// # Errors
    /// See [`Error`]. Nothing is left behind.
    pub fn session_in(&self, task: &str, folder: impl AsRef<Path>) -> Result<Session, Error> {
        self.begin(task, Some(folder.as_ref()))
    }

    fn begin(&self, task: &str, folder: Option<&Path>) -> Result<Session, Error> {
        let inputs = self.library.load(task, None)?;
        if !inputs.task.llm.is_outside() {
            return Err(Error::NotOutside(self.library.typed(task)));
        }
        let home = self.root.join("runs").join(&inputs.task.id);
        let folder = match folder.map(Utf8Path::from_path) {
            None => home.clone(),
            Some(Some(folder)) => folder.to_owned(),
            Some(None) => {
                let folder = folder.unwrap_or(Path::new("")).display().to_string();
                let what = "the path is not UTF-8; choose another name";
                return Err(Error::Folder { folder, what });
            }
        };
        Session::begin(inputs, &folder, &home)
    }
}
