//! Finds the project that a path belongs to: tasks lie in `tasks/`, runs in `runs/`, at the same
//! relative path, and everything that a task names is relative to the folder above both.

use std::collections::HashMap;
use std::fs::Metadata;
use std::path::PathBuf;
use std::rc::Rc;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use walkdir::WalkDir;

use crate::builtin;
use crate::event::{Event, InputRole, RunStarted};
use crate::evidence::text::{counted, terminal as escape};
use crate::evidence::verify::place;
use crate::evidence::write::{
    interrupted, is_beside, is_only_lock, swap_beside, swapped, target_of,
};
use crate::evidence::{FILES, MANIFEST, STATE, WORK, manifest, open, origin};
use crate::file;
use crate::host::HostFault;
use crate::inputs::{BUILTIN, Library, Project};
use crate::kind::Kind;
use crate::ledger::{LINE_BYTES_MAX, Reader};
use crate::task::{PARTIAL_ENDING, PROPOSAL_ENDING};

use super::next;
use super::output::Terminal;
use super::{Stop, exit};

/// A task that a user named.
#[derive(Debug, Clone)]
pub struct TaskPath {
    /// The project that it belongs to.
    pub project: Project,
    /// Its path in the project.
    pub path: String,
}

/// Reads a path that a user gave for a task.
///
/// # Errors
/// It is not a file: a run, another folder, or nothing.
pub fn task(path: &Utf8Path) -> Result<TaskPath, Stop> {
    if let Some(path) = path.as_str().strip_prefix(BUILTIN) {
        return Ok(TaskPath { project: Project::Builtin, path: path.to_owned() });
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
        Some("a folder without tasks/; name a task file or a folder of tasks".to_owned())
    } else if there.is_some() {
        Some("not a regular file; name a task file".to_owned())
    } else if file::at(Utf8Path::new(&format!("{path}.json")))?.is_some_and(|at| at.is_file()) {
        Some(format!("no such file; did you mean {path}.json?"))
    } else {
        let what = if path.as_str().ends_with('/') { "folder" } else { "file" };
        Some(format!("no such {what}; name a task file, or for `gatedrun run` a folder of tasks"))
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
    Ok(TaskPath { project: Project::Folder(root), path })
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
            "an unfinished run{}; resume it with `gatedrun resume {target}`",
            of(" of the task ")
        );
    }
    let makes = task.as_ref().map(|task| format!(", or run its task with `gatedrun run {task}`"));
    format!(
        "a run, not a task; compare it again with `gatedrun check {path}`{}",
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

/// A run that a user named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedRun {
    /// The folder that holds it.
    pub folder: Utf8PathBuf,
    /// Its name, which the folder has once the run is finished.
    pub name: Utf8PathBuf,
}

impl NamedRun {
    /// Whether the run was cut short.
    pub fn is_unfinished(&self) -> bool {
        self.folder != self.name
    }

    /// How to resume an interrupted run.
    pub fn how_to_go_on(&self) -> String {
        format!("the run is unfinished; resume it with `{}`", next::resume(&self.name))
    }

    /// The folder of a run that must be finished.
    ///
    /// # Errors
    /// It is not.
    pub fn finished(self) -> Result<Utf8PathBuf, Stop> {
        if self.is_unfinished() {
            let message = format!("{}: {}", self.name, self.how_to_go_on());
            return Err(Stop { message, code: exit::INTERRUPTED });
        }
        Ok(self.folder)
    }
}

/// The run that a user named: by its folder, or, where it was cut short, by its name with or
/// without `.partial`.
///
/// # Errors
/// No run at the path; the message suggests what was probably meant.
pub fn named_run(path: &Utf8Path) -> Result<NamedRun, Stop> {
    let path = run_path(path)?;
    refuse_interrupted(&path)?;
    if let Some(run) = run_at(&path)? {
        return Ok(run);
    }
    let what = if is_lock(&path) {
        NOT_BEGUN.to_owned()
    } else if let Some(name) = path.as_str().strip_suffix(PARTIAL_ENDING)
        && is_run(Utf8Path::new(name))?
    {
        format!("no such folder; the run is finished: {name}")
    } else if file::is_folder(&path)? {
        "not a run's folder; name one, such as runs/canonical/v1".to_owned()
    } else if is_run(&Utf8Path::new("runs").join(&path))? {
        format!("no such folder; did you mean runs/{path}?")
    } else {
        "no such folder; name a run's folder, or make a run with `gatedrun run TASK`".to_owned()
    };
    Err(Stop::usage(format!("{path}: {what}")))
}

/// The run that a path means, as [`named_run`] reads it, be it there or not.
///
/// # Errors
/// That the path is that of a file.
pub fn target(path: &Utf8Path) -> Result<Utf8PathBuf, Stop> {
    Ok(target_of(&run_path(path)?))
}

/// Says that a replacement of a run was interrupted, where the run is in its place: it is read as it
/// is there.
pub fn note_replacement(target: &Utf8Path, terminal: &mut Terminal) {
    if target.symlink_metadata().is_ok()
        && let Ok(Some(swap)) = swap_beside(target)
    {
        terminal.note(&left_behind(target, &swap));
    }
}

/// What to say of a run beside which a replacement has left something.
fn left_behind(target: &Utf8Path, swap: &Utf8Path) -> String {
    format!(
        "{target}: a replacement of this run was interrupted, or is not finished yet, and left {swap}; repeat the command that was interrupted, or finish it with `gatedrun review {target}`"
    )
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
    match interrupted(&target)? {
        Some(swap) => {
            let message = format!("{target}: {}", half_replaced(&target, &swap));
            Err(Stop { message, code: exit::INTERRUPTED })
        }
        None => Ok(()),
    }
}

/// What to say of a run whose replacement was interrupted.
fn half_replaced(target: &Utf8Path, swap: &Utf8Path) -> String {
    format!(
        "a replacement of this run was interrupted, and the new run is in {swap}; repeat the command that was interrupted, or finish it with `gatedrun review {target}`"
    )
}

/// The run that this path is the folder or the name of.
fn run_at(path: &Utf8Path) -> Result<Option<NamedRun>, HostFault> {
    let with = Utf8PathBuf::from(format!("{path}{PARTIAL_ENDING}"));
    let is_folder = file::is_folder(path)?;
    let without = path.as_str().strip_suffix(PARTIAL_ENDING).filter(|_| is_folder);
    let named = |folder: &Utf8Path, name: &Utf8Path| {
        Some(NamedRun { folder: folder.to_owned(), name: name.to_owned() })
    };
    Ok(match without {
        Some(_) if is_lock(path) => None,
        Some(name) => named(path, Utf8Path::new(name)),
        None if is_run(path)? => named(path, path),
        // A folder of runs may have the name of a run that was cut short.
        None if !is_folder && file::is_folder(&with)? && !is_lock(&with) => named(&with, path),
        None => None,
    })
}

/// A path that a user gave for a run or a folder of runs, without the slash that completion leaves.
fn run_path(path: &Utf8Path) -> Result<Utf8PathBuf, Stop> {
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
const NOT_BEGUN: &str = "no run was begun here; the folder is the lock of a command that works or was interrupted, and the next command that changes the run removes it";

/// Whether a path names the lock of a command, with nothing of a run in it.
fn is_lock(path: &Utf8Path) -> bool {
    path.as_str().ends_with(PARTIAL_ENDING) && is_only_lock(path).unwrap_or(false)
}

/// Whether a folder holds a run's files. Other programs write a `manifest.json` too, so that one
/// which is alone is looked into.
pub fn is_run(folder: &Utf8Path) -> Result<bool, HostFault> {
    for name in FILES.into_iter().filter(|name| *name != MANIFEST) {
        if file::at(&folder.join(name))?.is_some() {
            return Ok(true);
        }
    }
    let path = folder.join(MANIFEST);
    if !file::at(&path)?.is_some_and(|there| there.is_file()) {
        return Ok(false);
    }
    match open::read(&path, LINE_BYTES_MAX as u64) {
        Ok(bytes) => Ok(manifest::is_of_run(&bytes)),
        Err(error) if HostFault::is_one(&error) => {
            Err(HostFault::of(&error, path.as_str(), "read"))
        }
        Err(_) => Ok(false),
    }
}

/// The folder above a file that holds a run.
fn run_above(file: &Utf8Path) -> Result<Option<&Utf8Path>, HostFault> {
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

/// The task that runs when none is named: the project's own canonical task, or, where there is none,
/// the one in the program.
///
/// # Errors
/// The project's is not a file.
pub fn default_task() -> Result<TaskPath, Stop> {
    let own = upwards(Utf8Path::new(builtin::TASK));
    if file::at(&own)?.is_some() {
        return task(&own);
    }
    Ok(TaskPath { project: Project::Builtin, path: builtin::TASK.to_owned() })
}

/// The project's folder and the run's id, of a run's folder below `runs/`.
pub fn run(path: &Utf8Path) -> Option<(Utf8PathBuf, String)> {
    let is_place = |rest: &Utf8Path| {
        let id = rest.strip_prefix("runs").ok().map(|id| place::without_ending(id.as_str()));
        started(path).is_some_and(|started| id == Some(started.task.as_str()))
    };
    let (root, rest) = split(path, "runs", is_place)?;
    let id = rest.strip_prefix("runs").ok()?;
    Some((root, id.as_str().to_owned()))
}

/// Splits a path before its last component with this name: the path as it is written, or, where
/// that does not say it, the real path. Folders of that name are common: the one above it is a
/// project if it has tasks, or if what follows `is_place`.
fn split(
    path: &Utf8Path,
    name: &str,
    is_place: impl Fn(&Utf8Path) -> bool,
) -> Option<(Utf8PathBuf, Utf8PathBuf)> {
    let written = split_at(path, name);
    let climbs = |(_, rest): &(Utf8PathBuf, Utf8PathBuf)| {
        rest.components().any(|part| part == Utf8Component::ParentDir)
    };
    if written.as_ref().is_some_and(|split| !climbs(split)) {
        return written;
    }
    let real = real_path(path)?;
    let is_project =
        |(root, rest): &(Utf8PathBuf, Utf8PathBuf)| root.join("tasks").is_dir() || is_place(rest);
    let (root, rest) = split_at(&real, name).filter(is_project)?;
    Some((relative(&root).unwrap_or(root), rest))
}

fn split_at(path: &Utf8Path, name: &str) -> Option<(Utf8PathBuf, Utf8PathBuf)> {
    let parts: Vec<Utf8Component<'_>> =
        path.components().filter(|part| *part != Utf8Component::CurDir).collect();
    let at = parts.iter().rposition(|part| part.as_str() == name)?;
    let (root, rest) = parts.split_at(at);
    Some((root.iter().collect(), rest.iter().collect()))
}

/// The real path; of what is not there yet, by the folder that it will be in.
fn real_path(path: &Utf8Path) -> Option<Utf8PathBuf> {
    if let Ok(real) = path.canonicalize_utf8() {
        return Some(real);
    }
    let parent = path.parent().filter(|parent| !parent.as_str().is_empty());
    let folder = parent.unwrap_or(Utf8Path::new(".")).canonicalize_utf8().ok()?;
    Some(folder.join(path.file_name()?))
}

/// A folder above the working folder, as a relative path, so that what is printed stays short.
fn relative(folder: &Utf8Path) -> Option<Utf8PathBuf> {
    let here = Utf8Path::new(".").canonicalize_utf8().ok()?;
    let below = here.strip_prefix(folder).ok()?;
    Some(below.components().map(|_| "..").collect())
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
///
/// # Errors
/// As [`root`].
pub fn runs(project: &Project) -> Result<Utf8PathBuf, HostFault> {
    Ok(match project {
        Project::Folder(root) => root.join("runs"),
        // As every other command finds it.
        Project::Builtin => root(Utf8Path::new("."))?.unwrap_or_default().join("runs"),
    })
}

/// What was found where runs were looked for.
#[derive(Debug, Default)]
pub struct Found {
    /// The runs, and what may hold runs and is not looked into, in order.
    pub items: Vec<Item>,
    /// The folders of runs that have not ended, in order.
    pub unfinished: Vec<Utf8PathBuf>,
    /// What to say of runs that are in their places, and beside which a replacement was interrupted.
    replaced: Vec<String>,
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
    /// Whether the machine refused.
    pub is_host: bool,
}

impl Refused {
    fn new(path: String, what: impl Into<String>) -> Self {
        Self { path, what: what.into(), is_host: false }
    }

    /// What a walk could not read; `what` says what follows from that.
    fn unread(error: &walkdir::Error, top: &Utf8Path, what: &str) -> Self {
        let (path, why) = place_and_reason(error, top);
        let is_host = error.io_error().is_some_and(HostFault::is_one);
        Self { path, what: format!("{what}: {why}"), is_host }
    }

    /// The exit code that it is worth: that of the machine's refusal, or else this one.
    pub fn code(&self, otherwise: u8) -> u8 {
        if self.is_host { exit::HOST } else { otherwise }
    }
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

    /// The unfinished runs, if there are no finished ones; else none.
    pub fn only_unfinished(&self) -> &[Utf8PathBuf] {
        if self.items.is_empty() { &self.unfinished } else { &[] }
    }

    /// Says for which runs a replacement was interrupted that are in their places.
    pub fn note_replacements(&self, terminal: &mut Terminal) {
        self.replaced.iter().for_each(|what| terminal.note(what));
    }

    /// Reports the unfinished runs and the interrupted replacements beside others.
    pub fn note_unfinished(&self, terminal: &mut Terminal) {
        self.note_replacements(terminal);
        if self.items.is_empty() || self.unfinished.is_empty() {
            return;
        }
        let count = counted(self.unfinished.len(), "unfinished run", "unfinished runs");
        let names: Vec<&str> = self.unfinished.iter().map(|run| run.as_str()).collect();
        terminal
            .note(&format!("{count}: {}; continue with `gatedrun resume NAME`", names.join(", ")));
    }
}

/// What to say of a run that has not ended, to who needs one that has.
pub fn unfinished(partial: &Utf8Path) -> String {
    let name = partial.as_str().trim_end_matches('/').trim_end_matches(PARTIAL_ENDING);
    format!(
        "the run was interrupted or is still being made; continue it with `{}`",
        next::resume(Utf8Path::new(name))
    )
}

/// The run folders at or below a path, in order.
///
/// # Errors
/// That the path does not exist, or holds no run.
pub fn find_runs(path: &Utf8Path) -> Result<Found, Stop> {
    let path = &run_path(path)?;
    refuse_interrupted(path)?;
    if let Some(run) = run_at(path)? {
        let swap = swap_beside(&run.name).ok().flatten().filter(|_| !run.is_unfinished());
        let replaced = swap.map(|swap| left_behind(&run.name, &swap)).into_iter().collect();
        return Ok(if run.is_unfinished() {
            Found { unfinished: vec![run.folder], ..Found::default() }
        } else {
            Found { items: vec![Item::Run(run.folder)], replaced, ..Found::default() }
        });
    }
    if file::at(path)?.is_none() {
        return Err(Stop::usage(format!("{path}: no such folder; name a run or a folder of runs")));
    }
    if is_lock(path) {
        return Err(Stop::usage(format!("{path}: {NOT_BEGUN}")));
    }
    let mut found = Found::default();
    let mut within: Option<PathBuf> = None;
    let mut walk = WalkDir::new(path).sort_by_file_name().into_iter();
    while let Some(entry) = walk.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                if error.depth() == 0 {
                    let refused = Refused::unread(&error, path, "cannot be read");
                    let message = format!("{path}: {}", refused.what);
                    return Err(Stop { message, code: refused.code(exit::USAGE) });
                }
                let what = "cannot be read, so its contents are unknown";
                found.items.push(Item::Refused(Refused::unread(&error, path, what)));
                continue;
            }
        };
        let is_in_run = within.as_ref().is_some_and(|run| entry.path().starts_with(run));
        let is_folder = entry.file_type().is_dir();
        let is_link = entry.path_is_symlink() && entry.depth() > 0;
        // What lies in a run is for its own verdict, but for another run.
        if is_link && !is_in_run && entry.path().metadata().map_or(true, |to| to.is_dir()) {
            let what = "a link, which is not followed; name its target, or replace the link with the run itself";
            found.refuse(entry.path().to_string_lossy().into_owned(), what);
            continue;
        }
        if !is_folder {
            continue;
        }
        let Some(folder) = Utf8Path::from_path(entry.path()) else {
            if !is_in_run {
                let what = "the name is not UTF-8, so the folder was skipped; rename it";
                found.refuse(entry.path().to_string_lossy().into_owned(), what);
            }
            walk.skip_current_dir();
            continue;
        };
        let name = folder.file_name().unwrap_or_default();
        // What a run wrote is in it; a folder of runs may have that name too.
        let is_work = name == WORK && folder.parent().map_or(Ok(false), is_run)?;
        let is_partial = name.ends_with(PARTIAL_ENDING) && entry.depth() > 0;
        if is_work || is_beside(name) && entry.depth() > 0 {
            let place = if is_partial { Some(target_of(folder)) } else { swapped(folder) };
            let half = place.filter(|_| !is_in_run).and_then(|target| {
                let swap = interrupted(&target).ok().flatten()?;
                Some((target, swap))
            });
            let is_whole = is_partial && is_run(folder)?;
            if let Some((target, swap)) = half.filter(|_| !is_whole) {
                if swap == *folder {
                    let what = half_replaced(&target, &swap);
                    found.refuse(target.into_string(), what);
                }
            } else if let Some(target) = swapped(folder).filter(|_| !is_in_run) {
                found.replaced.push(left_behind(&target, folder));
            } else if is_partial && !is_in_run && !is_lock(folder) {
                found.unfinished.push(folder.to_owned());
            }
            walk.skip_current_dir();
        } else if is_run(folder)? {
            found.items.push(Item::Run(folder.to_owned()));
            if !is_in_run {
                within = Some(entry.path().to_owned());
            }
        }
    }
    if found.items.is_empty() && found.unfinished.is_empty() {
        return Err(Stop::usage(format!(
            "{path}: no run found; make one with `gatedrun run TASK`"
        )));
    }
    Ok(found)
}

impl Found {
    fn refuse(&mut self, path: String, what: impl Into<String>) {
        self.items.push(Item::Refused(Refused::new(path, what)));
    }
}

/// Whether a run, finished or not, was made from the task that is built into the program, as its
/// ledger says.
pub fn is_builtin(run: &Utf8Path) -> bool {
    started(run).is_some_and(|started| {
        let mut inputs = started.inputs.iter();
        inputs.any(|input| input.role == InputRole::Task && input.path.starts_with(BUILTIN))
    })
}

/// What a run, finished or not, began with, as its ledger says; whether the ledger was changed is
/// not looked at.
pub fn started(run: &Utf8Path) -> Option<RunStarted> {
    let ledger = open::open(&run_at(run).ok()??.folder.join(STATE)).ok()?;
    match Reader::trusting(ledger).next_record().ok().flatten()?.event {
        Event::RunStarted(started) => Some(*started),
        _ => None,
    }
}

/// That current inputs of a run differ from those that it was made with in the ends of their lines
/// alone, in one line.
pub fn rewritten(run: &Utf8Path, library: &Library) -> Option<String> {
    origin::rewritten(&started(run)?, library)
}

/// That a run lies in the place of another task's, in words.
pub fn misplaced(run: &Utf8Path) -> Option<String> {
    let (_, id) = self::run(run)?;
    let id = place::without_ending(&id);
    let started = started(run)?;
    (started.task != id).then(|| place::words(&started.task, id))
}

/// That a run is not one of the task with this id, in words.
pub fn of_another_task(run: &Utf8Path, id: &str) -> Option<String> {
    let started = started(run)?;
    (started.task != id).then(|| {
        format!(
            "a run of the task {:?}, and not of {id:?}; name its own task with --task",
            started.task
        )
    })
}

/// Where a walk below `top` met an error, and which.
fn place_and_reason(error: &walkdir::Error, top: &Utf8Path) -> (String, String) {
    let place = error.path().unwrap_or(top.as_std_path()).to_string_lossy().into_owned();
    (place, error.io_error().map_or_else(|| error.to_string(), file::said))
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

/// As [`find_runs`] of a whole project, which may have none.
///
/// # Errors
/// That the folder cannot be read.
pub fn find_all_runs(runs: &Utf8Path) -> Result<Found, Stop> {
    if file::at(runs)?.is_none() {
        return Ok(Found::default());
    }
    match find_runs(runs) {
        Err(stop) if stop.code == exit::USAGE && file::is_folder(runs)? => Ok(Found::default()),
        found => found,
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
