//! The commands that a message names as the next step. What each must be given is found out here, so
//! that it can be typed as it is printed.

use camino::Utf8Path;

use crate::evidence::text::shell_word;
use crate::evidence::write::target_of;
use crate::inputs::{BUILTIN, Library, Root};
use crate::place;
use crate::task::PARTIAL_ENDING;

use super::project::{self, TaskPath};
use super::tasks::{find_tasks, task, task_of};

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
    /// For a run of this task, which has this id, begun with this seed where it is not the task's.
    pub(super) fn of(target: &Utf8Path, task: &TaskPath, id: &str, seed: Option<u64>) -> Self {
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
        let seed = seed.map_or_else(String::new, |seed| format!(" --seed {seed}"));
        Self {
            resume: format!("gatedrun resume {target_word}{with_task}"),
            over: format!("gatedrun run {typed} --discard-partial{seed}{out}"),
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

/// Whether the task of a run is found from here, so that it can be executed again.
pub(super) fn has_task(run: &Utf8Path) -> bool {
    match task_of(run, None) {
        Ok((project, task)) => Library::new(project).has(&task).unwrap_or(true),
        Err(_) => project::task_here(run).is_some(),
    }
}

/// How to make a run: of a task, or, in a folder without tasks, of the built-in one.
pub(super) fn run() -> &'static str {
    let root = project::root(Utf8Path::new(".")).ok().flatten().unwrap_or_default();
    match find_tasks(&root, "").0.is_empty() {
        true => "gatedrun run",
        false => "gatedrun run TASK",
    }
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
    let target = target_of(partial);
    let of_place = task_of(partial, None).map(|(project, path)| TaskPath { project, path });
    let task = of_place.ok().or_else(|| task(Utf8Path::new(&project::task_here(partial)?)).ok());
    let Some(task) = task else {
        return format!("gatedrun run TASK --discard-partial --out {}", word(target));
    };
    let own = Library::new(task.project.clone()).load(&task.path, None).ok();
    let own = own.map(|inputs| (inputs.task.id, inputs.task.seed));
    let begun = place::started(partial).map(|started| (started.task, started.seed));
    let seed = begun.as_ref().filter(|begun| own.as_ref().is_some_and(|own| own.1 != begun.1));
    let id = begun.iter().chain(&own).map(|(id, _)| id.as_str()).next();
    Next::of(&target, &task, id.unwrap_or_default(), seed.map(|begun| begun.1)).over
}

/// A command about the run of this name, with the task that the ledger in `folder` names where its
/// place does not say it.
fn with_task(command: &str, name: &Utf8Path, folder: &Utf8Path) -> String {
    let base = format!("gatedrun {command} {}", word(name));
    if task_of(name, None).is_ok() {
        return base;
    }
    let task = project::task_here(folder).unwrap_or_else(|| "TASK".to_owned());
    format!("{base} --task {}", word(task))
}

/// A command about a path, and what follows that.
pub(super) fn command(name: &str, path: impl AsRef<str>, rest: &str) -> String {
    format!("gatedrun {name} {}{rest}", word(path))
}

/// How to look at the proposal for a run: `review` looks below `runs` by itself.
pub(super) fn review(target: &Utf8Path) -> String {
    match target.starts_with("runs") {
        true => "gatedrun review".to_owned(),
        false => format!("gatedrun review {}", word(target)),
    }
}
