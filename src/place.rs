//! Where runs lie: which run a path names, the project and the task of a folder below `runs/`, and which
//! folders may hold a run at all.

use std::io;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};

use crate::event::{Event, ExecutionPath, RunStarted};
use crate::evidence::verify::place;
use crate::evidence::write::is_only_lock;
use crate::evidence::{FILES, MANIFEST, STATE, manifest, open};
use crate::file::{self, said};
use crate::host::HostFault;
use crate::ledger::{LINE_BYTES_MAX, Reader};
use crate::task::PARTIAL_ENDING;

/// The folders of a project that hold inputs and evidence.
const KEPT: [&str; 5] = ["data", "policy", "runs", "tasks", "tools"];

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
}

/// The run that this path is the folder or the name of.
pub fn run_at(path: &Utf8Path) -> Result<Option<NamedRun>, HostFault> {
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

/// Whether a path names the lock of a command, with nothing of a run in it.
pub fn is_lock(path: &Utf8Path) -> bool {
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
pub fn split(
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
pub(crate) fn real_path(path: &Utf8Path) -> Option<Utf8PathBuf> {
    if let Ok(real) = path.canonicalize_utf8() {
        return Some(real);
    }
    let parent = path.parent().filter(|parent| !parent.as_str().is_empty());
    let folder = parent.unwrap_or(Utf8Path::new(".")).canonicalize_utf8().ok()?;
    Some(folder.join(path.file_name()?))
}

/// A folder above the working folder, as a relative path, so that what is printed stays short.
pub(crate) fn relative(folder: &Utf8Path) -> Option<Utf8PathBuf> {
    let here = Utf8Path::new(".").canonicalize_utf8().ok()?;
    let below = here.strip_prefix(folder).ok()?;
    Some(below.components().map(|_| "..").collect())
}

/// Whether the calls of a run, finished or not, came from another program, as its ledger says.
pub fn is_outside(run: &Utf8Path) -> bool {
    started(run).is_some_and(|started| started.llm.path == ExecutionPath::Outside)
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

/// Why a run may not be put into a folder.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The path means something else, or the folder is meant for something else.
    #[error("{0}")]
    Place(String),
    /// The machine does not say what is there.
    #[error("{path}: cannot write: {}", said(.source))]
    Io {
        /// The folder.
        path: Utf8PathBuf,
        /// What it says.
        source: io::Error,
    },
}

/// Refuses a folder whose name can forge a line, and one that holds inputs.
///
/// # Errors
/// That it is one.
pub fn check_folder(path: &Utf8Path) -> Result<(), Refused> {
    if path.as_str().chars().any(char::is_control) {
        let what = "the path contains a control character; choose another name";
        return Err(Refused::Place(format!("{path:?}: {what}")));
    }
    let place = real(path).map_err(|source| Refused::Io { path: path.to_owned(), source })?;
    refuse_kept(path, &place, Some("runs")).map_err(Refused::Place)
}

/// Refuses a folder below `runs/`, for a run whose place it is not.
///
/// # Errors
/// That it is one.
pub fn check_elsewhere(path: &Utf8Path) -> Result<(), Refused> {
    if run(path).is_some_and(|(_, id)| !id.is_empty()) {
        return Err(Refused::Place(format!(
            "{path}: in runs/ each run has the name of its task; name a folder elsewhere, as in my-run"
        )));
    }
    Ok(())
}

/// Whether two paths name one place, be a folder there or not, and by whatever links.
pub fn is_one_place(a: &Utf8Path, b: &Utf8Path) -> bool {
    let real = |path: &Utf8Path| {
        let path = file::absolute(path)?;
        let there = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
        there.and_then(|(above, real)| Some(real.join(path.strip_prefix(above).ok()?)))
    };
    real(a).is_some_and(|a| Some(a) == real(b))
}

/// The real path of something; what of it is not there yet is taken as it is written.
pub fn real(path: &Utf8Path) -> io::Result<Utf8PathBuf> {
    for above in path.ancestors() {
        let above_or_here = if above.as_str().is_empty() { Utf8Path::new(".") } else { above };
        if let Some(mut place) = match above_or_here.canonicalize_utf8() {
            Ok(place) => Some(place),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        } {
            for part in path.strip_prefix(above).unwrap_or(Utf8Path::new("")).components() {
                match part {
                    Utf8Component::ParentDir => {
                        place.pop();
                    }
                    part => place.push(part.as_str()),
                }
            }
            return Ok(place);
        }
    }
    Ok(path.to_owned())
}

/// Refuses the folders of a project that hold inputs and evidence, but for its `own`, where
/// it belongs: a new file there is read as one of them.
///
/// # Errors
/// That it lies there.
pub fn refuse_kept(named: &Utf8Path, place: &Utf8Path, own: Option<&str>) -> Result<(), String> {
    let is_project = |root: &&Utf8Path| {
        let has = |name: &str| root.join(name).is_dir();
        has("tasks") || has("runs")
    };
    let Some(root) = place.ancestors().skip(1).find(is_project) else { return Ok(()) };
    let within = place.strip_prefix(root).ok().and_then(|rest| rest.components().next());
    let within = KEPT.into_iter().find(|kept| within.is_some_and(|part| part.as_str() == *kept));
    match within.filter(|kept| own != Some(kept)) {
        Some(kept) => Err(format!(
            "{named}: it is in {kept}/ of the project, which holds {}; choose a name elsewhere",
            if kept == "runs" { "nothing but runs" } else { "what runs are made from" }
        )),
        None => Ok(()),
    }
}
