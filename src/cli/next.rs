//! The commands that a message names as the next step. What each must be given is found out here, so
//! that it can be typed as it is printed.

use camino::Utf8Path;

use crate::evidence::text::shell_word;
use crate::inputs::{BUILTIN, Root};
use crate::place;
use crate::task::PARTIAL_ENDING;

use super::project::{self, TaskPath};
use super::tasks::task_of;

/// A path as a word of a command: a shell reads it as what it is, and the program as a path.
fn word(path: impl AsRef<str>) -> String {
    let path = path.as_ref();
    let path = if path.starts_with('-') { format!("./{path}") } else { path.to_owned() };
    shell_word(&path).into_owned()
}

/// How to continue a run that was cut short, or to start over.
#[derive(Debug)]
pub(super) struct Next {
    /// The command that resumes it.
    pub(super) resume: String,
    /// The command that discards it and begins again.
    pub(super) over: String,
}

impl Next {
    /// For a run of this task, which has this id.
    pub(super) fn of(target: &Utf8Path, task: &TaskPath, id: &str) -> Self {
        let typed = match &task.project {
            Root::Folder(root) => root.join(&task.path).into_string(),
            Root::Builtin => format!("{BUILTIN}{}", task.path),
        };
        let is_known = task_of(target, None)
            .is_ok_and(|(project, path)| project == task.project && path == task.path);
        let (typed, target_word) = (word(typed), word(target));
        let with_task = if is_known { String::new() } else { format!(" --task {typed}") };
        let is_at_home = project::runs(&task.project).is_ok_and(|runs| runs.join(id) == target);
        let out = if is_at_home { String::new() } else { format!(" --out {target_word}") };
        Self {
            resume: format!("gatedrun resume {target_word}{with_task}"),
            over: format!("gatedrun run {typed} --discard-partial{out}"),
        }
    }
}

/// How to resume a run of which only the place is known: its task is the one that its ledger names.
pub(super) fn resume(name: &Utf8Path) -> String {
    let folder = format!("{name}{PARTIAL_ENDING}");
    with_task("resume", name, Utf8Path::new(&folder))
}

/// How to look at a run.
pub(super) fn show(name: &Utf8Path) -> String {
    format!("gatedrun show {}", word(name))
}

/// How to execute the task of a finished run again.
pub(super) fn check(name: &Utf8Path) -> String {
    with_task("check", name, name)
}

/// How to check the evidence of a run; for one that is in no project, with the inputs of the project
/// here.
pub(super) fn verify(name: &Utf8Path) -> String {
    let base = format!("gatedrun verify {}", word(name));
    let here = project::root(Utf8Path::new(".")).ok().flatten();
    match here {
        Some(root) if place::run(name).is_none() && !project::is_builtin(name) => {
            let root = if root == "" { Utf8Path::new(".") } else { &root };
            format!("{base} --project {}", word(root))
        }
        _ => base,
    }
}

/// How to discard an unfinished run and begin again.
pub(super) fn over(partial: &Utf8Path) -> String {
    let task = match task_of(partial, None) {
        Ok((Root::Folder(root), task)) => root.join(task).into_string(),
        Ok((Root::Builtin, task)) => format!("{BUILTIN}{task}"),
        Err(_) => recorded_task(partial).unwrap_or_else(|| "TASK".to_owned()),
    };
    format!("gatedrun run {} --discard-partial", word(task))
}

/// A command about the run of this name, with the task that the ledger in `folder` names where its
/// place does not say it.
fn with_task(command: &str, name: &Utf8Path, folder: &Utf8Path) -> String {
    let base = format!("gatedrun {command} {}", word(name));
    if task_of(name, None).is_ok() {
        return base;
    }
    let task = recorded_task(folder).unwrap_or_else(|| "TASK".to_owned());
    format!("{base} --task {}", word(task))
}

/// The task that the ledger of a run names, if it is found from here.
fn recorded_task(folder: &Utf8Path) -> Option<String> {
    let task = project::made_from(folder)?;
    (task.starts_with(BUILTIN) || Utf8Path::new(&task).is_file()).then_some(task)
}

/// How to look at the proposal for a run: `review` looks below `runs` by itself.
pub(super) fn review(target: &Utf8Path) -> String {
    match target.starts_with("runs") {
        true => "gatedrun review".to_owned(),
        false => format!("gatedrun review {}", word(target)),
    }
}
