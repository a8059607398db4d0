//! The runs at a path, be they finished, cut short or half replaced, and what to say of each.

use std::path::PathBuf;
use std::{fmt, io};

use camino::{Utf8Path, Utf8PathBuf};
use walkdir::WalkDir;

use crate::evidence::summary::Summary;
use crate::evidence::text::counted;
use crate::evidence::write::{interrupted, is_beside, proposal, swap_beside, swapped, target_of};
use crate::evidence::{STATE, WORK, open};
use crate::file::{self, said};
use crate::host::HostFault;
use crate::ledger::{LedgerError, Reader, is_of_another_version};
use crate::place::{NamedRun, is_lock, is_outside, is_run, run_at};
use crate::task::{PARTIAL_ENDING, PROPOSAL_ENDING};

use super::ci::in_ci;
use super::next;
use super::output::Terminal;
use super::project::{NOT_BEGUN, half_replaced, refuse_interrupted, run_path};
use super::refused::Refused;
use super::{Stop, exit};

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
        format!("no such folder; name a run's folder, or make a run with `{}`", next::run())
    };
    Err(Stop::usage(format!("{path}: {what}")))
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
        "{target}: a replacement of this run was interrupted, or is not finished yet, and left {swap}; repeat the command that was interrupted, or finish it with `{}`",
        next::command("review", target, "")
    )
}

/// What was found where runs were looked for.
#[derive(Debug, Default)]
pub struct Found {
    /// The runs, and what may hold runs and is not looked into, in order.
    pub items: Vec<Item>,
    /// The folders of runs that have not ended, in order.
    pub unfinished: Vec<Utf8PathBuf>,
    /// The runs for which there is a proposal, in order, be they there or not.
    pub proposals: Vec<Utf8PathBuf>,
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

    /// The unfinished runs, where nothing else was found; otherwise empty.
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
        let next = match self.unfinished.as_slice() {
            [one] if is_outside(one) => begun_again(one),
            [one] => format!("continue with `{}`", next::resume(&target_of(one))),
            _ => "continue with `gatedrun resume NAME`".to_owned(),
        };
        terminal.note(&format!("{count}: {}; {next}", names.join(", ")));
    }
}

/// What to do about an unfinished run whose calls came from another program: nobody can resume it.
pub fn begun_again(partial: &Utf8Path) -> String {
    let folder = Utf8PathBuf::from(format!("{}{PARTIAL_ENDING}", target_of(partial)));
    format!(
        "its calls come from another program, and no run of that can be resumed: move {folder} away, and let the program begin again"
    )
}

/// What to say of a run that has not ended, to who needs one that has.
pub fn unfinished(partial: &Utf8Path) -> String {
    if is_outside(partial) {
        let next = begun_again(partial);
        return format!("the run was interrupted or is still being made; {next}");
    }
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
    let found = search(path)?;
    if !found.items.is_empty() || !found.unfinished.is_empty() {
        return Ok(found);
    }
    let what = match found.proposals.as_slice() {
        [] => format!("no run found; make one with `{}`", next::run()),
        [one, ..] if in_ci() => {
            let show = next::command("show", proposal(one), "");
            format!(
                "no run found, only proposals, which are not accepted in CI; see one with `{show}`"
            )
        }
        [one] => format!("no run found, only a proposal; see it with `{}`", next::review(one)),
        _ => "no run found, only proposals; see them with `gatedrun review`".to_owned(),
    };
    Err(Stop::usage(format!("{}: {what}", run_path(path)?)))
}

/// What is at or below a path, which may be nothing.
fn search(path: &Utf8Path) -> Result<Found, Stop> {
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
        let below = Utf8Path::new("runs").join(path);
        let remedy = match file::is_folder(&below)? {
            true => format!("did you mean {below}?"),
            false => "name a run or a folder of runs".to_owned(),
        };
        return Err(Stop::usage(format!("{path}: no such folder; {remedy}")));
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
            } else if name.ends_with(PROPOSAL_ENDING) && !is_in_run && is_run(folder)? {
                found.proposals.push(target_of(folder));
            }
            walk.skip_current_dir();
        } else if is_run(folder)? {
            found.items.push(Item::Run(folder.to_owned()));
            if !is_in_run {
                within = Some(entry.path().to_owned());
            }
        }
    }
    Ok(found)
}

impl Found {
    fn refuse(&mut self, path: String, what: impl Into<String>) {
        self.items.push(Item::Refused(Refused::new(path, what)));
    }
}

/// As [`find_runs`] of a whole project, which may have none.
///
/// # Errors
/// That the folder cannot be read.
pub fn find_all_runs(runs: &Utf8Path) -> Result<Found, Stop> {
    if file::at(runs)?.is_none() {
        return Ok(Found::default());
    }
    match search(runs) {
        Err(stop) if stop.code == exit::USAGE && file::is_folder(runs)? => Ok(Found::default()),
        found => found,
    }
}

/// What to say of a ledger that should be whole and has no end.
pub(super) const ENDS_EARLY: &str = "the ledger ends before the run does: it was cut short";

/// Why the ledger of a run is not read to its end.
#[derive(Debug)]
pub(super) enum Unread {
    /// The machine refuses to read it.
    Host(String),
    /// It is not there, or no ledger.
    Malformed(String),
    /// It has no end.
    Early,
}

impl Unread {
    fn of(error: &io::Error) -> Self {
        match HostFault::is_one(error) {
            true => Self::Host(said(error)),
            false => Self::Malformed(said(error)),
        }
    }

    /// The exit code for it.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Host(_) => exit::HOST,
            Self::Malformed(_) | Self::Early => exit::MALFORMED,
        }
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host(what) | Self::Malformed(what) => what,
            Self::Early => ENDS_EARLY,
        })
    }
}

/// What the ledger of the run in a folder says, as far as it can be read, and why not to its end.
pub(super) fn summary(folder: &Utf8Path) -> (Summary, Option<Unread>) {
    let mut summary = Summary::default();
    let mut reader = match open::open(&folder.join(STATE)) {
        Ok(file) => Reader::new(file),
        Err(error) => return (summary, Some(Unread::of(&error))),
    };
    let unread = loop {
        match reader.next_record() {
            Ok(Some(record)) => summary.push(&record),
            Ok(None) => break summary.finished.is_none().then_some(Unread::Early),
            Err(LedgerError::Read(error)) => break Some(Unread::of(&error)),
            Err(error) => break Some(Unread::Malformed(error.to_string())),
        }
    };
    (summary, unread)
}

/// What is wrong with the ledger of a run, and what to do about it.
pub(super) fn damaged(run: &Utf8Path, what: impl fmt::Display) -> String {
    let what = what.to_string();
    match is_of_another_version(&what) {
        true => what,
        false => format!("{what}; {}", restored(run)),
    }
}

/// What to do about a run whose ledger is damaged.
pub(super) fn restored(run: &Utf8Path) -> String {
    match run.as_str().ends_with(PARTIAL_ENDING) {
        true => format!("restore it from a backup, or start over with `{}`", next::over(run)),
        false => format!("see `{}`, and restore the run from version control", next::verify(run)),
    }
}

/// How to continue a run that was cut short.
pub fn how_to_go_on(run: &NamedRun) -> String {
    match is_outside(&run.folder) {
        true => format!("the run is unfinished; {}", begun_again(&run.folder)),
        false => format!("the run is unfinished; resume it with `{}`", next::resume(&run.name)),
    }
}

/// The folder of a run that must be finished.
///
/// # Errors
/// It is not.
pub fn finished(run: NamedRun) -> Result<Utf8PathBuf, Stop> {
    if run.is_unfinished() {
        let message = format!("{}: {}", run.name, how_to_go_on(&run));
        return Err(Stop { message, code: exit::INTERRUPTED });
    }
    Ok(run.folder)
}
