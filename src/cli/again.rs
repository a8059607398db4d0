//! A run's task executed again, to be compared with the committed run: byte by byte, or by what it does.

use std::io::{self, BufRead as _};

use camino::Utf8Path;
use serde::Deserialize;

use crate::event::Record;
use crate::evidence::behaviour::{Changes, Class, NoRun, Shape, is_sound};
use crate::evidence::compare::{self, Comparison, Difference};
use crate::evidence::expect::Observed;
use crate::evidence::open::Folder;
use crate::evidence::verify::contents;
use crate::evidence::{FILES, MANIFEST, REPORT, STATE, TRACE, open, origin};
use crate::file::said;
use crate::governor::Recovery;
use crate::host::HostFault;
use crate::inputs::Inputs;
use crate::isolation::confined;
use crate::ledger::LINE_BYTES_MAX;
use crate::run::{Course, replies};

use super::Stop;
use super::checked::{Checked, Drift};
use super::failed::stop;
use super::progress::Progress;
use super::scratch::Workplace;

/// The seed that the run was made with, so that a run of another seed can be checked too.
pub(super) fn seed_of(run: &Utf8Path) -> Option<u64> {
    #[derive(Deserialize)]
    struct Manifest {
        seed: u64,
    }
    let bytes = open::read(&run.join(MANIFEST), LINE_BYTES_MAX as u64).ok()?;
    serde_json::from_slice(&bytes).ok().map(|manifest: Manifest| manifest.seed)
}

/// Executes the task again and compares it with the committed run, which is read as one run
/// whatever is put in its place meanwhile.
pub(super) fn compare_run(
    run: &Utf8Path,
    inputs: &Inputs,
    work: &Workplace<'_>,
    progress: &Progress,
) -> Result<Checked, Stop> {
    let mut again = 0_u64;
    let compare = |committed: &Folder| {
        again += 1;
        compare_held(committed, inputs, &work.part(again), progress)
    };
    let is_whole = |checked: &Result<Checked, Stop>| {
        checked.as_ref().is_ok_and(|checked| checked.differences.is_empty())
    };
    Folder::read_whole(run, compare, is_whole).map_err(|error| match HostFault::is_one(&error) {
        true => HostFault::of(&error, run.as_str(), "read").into(),
        false => Stop::usage(format!("{run}: cannot be read: {}", said(&error))),
    })?
}

/// Executes the task again, comparing as it goes. Nothing is kept and nothing is written but what
/// the task itself writes, and that goes to `work`, in a folder of this process's own.
fn compare_held(
    committed: &Folder,
    inputs: &Inputs,
    work: &Workplace<'_>,
    progress: &Progress,
) -> Result<Checked, Stop> {
    let mut differences: Vec<(String, Drift)> = Vec::new();
    let mut comparison = |name: &str| match committed.open_file(name) {
        Ok(committed) => {
            Ok::<_, Stop>(Comparison::new(Box::new(committed) as Box<dyn io::BufRead + Send>))
        }
        Err(error) => {
            differences.push((name.to_owned(), Drift::of(&committed.path().join(name), &error)?));
            Ok(Comparison::new(Box::new(io::empty()) as Box<dyn io::BufRead + Send>))
        }
    };
    let (state, trace) = (comparison(STATE)?, comparison(TRACE)?);
    let mut observed = Observed::default();
    // What is observed grows with the run; it is kept only where somebody asks for it.
    let expects = inputs.task.expected.is_some();
    let watch = |record: &Record| {
        progress.event();
        if expects {
            observed.push(record);
        }
    };
    let course = course(committed.path(), work);
    let (recorded, _) = confined(inputs.policy.rules.sandbox_path.isolation, work.scratch, || {
        crate::run::run(inputs, work.folder.clone(), course, state, trace, watch)
    })?;
    work.continues()?;
    let recorded = match recorded {
        Ok(recorded) => recorded,
        Err(error) => {
            let stop = stop(inputs, &error);
            let Ok(was) = Shape::of_run(committed.path()) else { return Err(stop) };
            let (is, _) = observe(committed.path(), inputs, &work.part(0), progress)?;
            return Err(broke_off(&is.changes_before_break_off(&was), stop));
        }
    };
    let mut compared = |name: &str, result: io::Result<Option<Difference>>| {
        if differences.iter().any(|(known, _)| known == name) {
            return Ok(());
        }
        let drift = match result {
            Ok(None) => return Ok(()),
            Ok(Some(difference)) => Drift::Differs(difference),
            Err(error) => Drift::of(&committed.path().join(name), &error)?,
        };
        differences.push((name.to_owned(), drift));
        Ok::<(), Stop>(())
    };
    compared(STATE, recorded.state.finish())?;
    compared(TRACE, recorded.trace.finish())?;
    for (name, bytes) in [(REPORT, &recorded.report), (MANIFEST, &recorded.manifest)] {
        let result = committed
            .open_file(name)
            .and_then(|committed| compare::difference(committed, bytes.as_slice()));
        compared(name, result)?;
    }
    differences.sort_by_key(|(name, _)| FILES.iter().position(|file| file == name));
    let mut unread = None;
    contents(committed, Some(&recorded.work), |path, what, is_host| {
        // Of what the machine refuses to read nothing is known.
        if is_host {
            unread.get_or_insert_with(|| format!("{}: {what}", committed.path().join(path)));
        }
        differences.push((path.to_owned(), Drift::Unreadable(what.to_owned())));
    });
    if let Some(unread) = unread {
        return Err(Stop::host(unread));
    }
    let unmet =
        inputs.task.expected.as_ref().map_or_else(Vec::new, |expected| observed.unmet(expected));
    let mut checked = Checked {
        class: Class::Identical,
        unknown: None,
        behaviour: Vec::new(),
        inputs: Vec::new(),
        rewritten: None,
        seed: None,
        differences,
        unmet,
        proposal: None,
        is_outside: inputs.task.llm.is_outside(),
    };
    if !checked.differences.is_empty() {
        classify(committed.path(), inputs, &work.part(0), progress, &mut checked)?;
    }
    Ok(checked)
}

/// Finds out what class of change it is. The task is executed once more: what a run does is not held
/// while it is compared, since most runs are identical and some are long.
fn classify(
    run: &Utf8Path,
    inputs: &Inputs,
    work: &Workplace<'_>,
    progress: &Progress,
    checked: &mut Checked,
) -> Result<(), Stop> {
    if let Some(what) = origin::other_version(run) {
        checked.class = Class::Unknown;
        checked.unknown = Some(what);
        return Ok(());
    }
    let was = match Shape::of_run(run) {
        Ok(was) => was,
        Err(NoRun::Host(fault)) => return Err(fault.into()),
        // That nothing can be compared is not that nothing has changed.
        Err(no_run) => {
            checked.class = Class::Unknown;
            checked.unknown = Some(format!("the committed ledger {no_run}"));
            return Ok(());
        }
    };
    let is = shape_of(run, inputs, work, progress)?;
    checked.inputs = is.changed_inputs(&was);
    checked.behaviour = is.changes_from(&was).words();
    checked.class = match is.class_from(&was) {
        // What is said of the ledger alone is said of files that follow from it.
        Class::InputsOnly if !is_sound(run)? => Class::Bytes,
        class => class,
    };
    Ok(())
}

/// Executes a task and keeps what kind of run it makes. What a human settled in the committed run is
/// taken from there.
pub(super) fn shape_of(
    run: &Utf8Path,
    inputs: &Inputs,
    work: &Workplace<'_>,
    progress: &Progress,
) -> Result<Shape, Stop> {
    let (shape, ended) = observe(run, inputs, work, progress)?;
    ended.map(|()| shape)
}

/// As [`shape_of`], also of a run that breaks off: what it is up to there, and why.
///
/// # Errors
/// That it cannot begin, or that the user interrupted it.
pub(super) fn observe(
    run: &Utf8Path,
    inputs: &Inputs,
    work: &Workplace<'_>,
    progress: &Progress,
) -> Result<(Shape, Result<(), Stop>), Stop> {
    let mut shape = Shape::default();
    let course = course(run, work);
    let (made, _) = confined(inputs.policy.rules.sandbox_path.isolation, work.scratch, || {
        let (state, trace) = (io::sink(), io::sink());
        let folder = work.folder.clone();
        crate::run::run(inputs, folder, course, state, trace, |record| {
            progress.event();
            shape.push(record);
        })
    })?;
    work.continues()?;
    Ok((shape, made.map(|_| ()).map_err(|error| stop(inputs, &error))))
}

/// Why a run broke off, after what it decided otherwise than the committed run up to there: a denial
/// that is gone is often why it gets further than its script.
pub(super) fn broke_off(changes: &Changes, stop: Stop) -> Stop {
    let decided = changes.words().into_iter();
    let lines: Vec<String> = decided.chain([stop.message]).collect();
    Stop { message: lines.join("\n"), ..stop }
}

/// A run from the beginning, with what executing again cannot find out: what a human settled in the
/// committed run, and what another program replied in it.
fn course<'w>(run: &Utf8Path, work: &Workplace<'w>) -> Course<'w> {
    let replies = open::open(&run.join(STATE)).ok().map(replies);
    Course { recovery: settled_in(run), replies, ..work.course() }
}

/// What a human settled in a committed run: executing again cannot find it out.
pub(super) fn settled_in(run: &Utf8Path) -> Recovery {
    let path = run.join(STATE);
    let holds = |needle: &[u8]| -> io::Result<bool> {
        let (mut file, mut kept) = (open::open(&path)?, Vec::new());
        loop {
            let part = file.fill_buf()?;
            if part.is_empty() {
                return Ok(false);
            }
            let length = part.len();
            kept.extend_from_slice(part);
            file.consume(length);
            if memchr::memmem::find(&kept, needle).is_some() {
                return Ok(true);
            }
            // The needle may lie across two parts.
            kept.drain(..kept.len().saturating_sub(needle.len()));
        }
    };
    // Most ledgers hold none, and are not parsed for it.
    if !holds(b"\"kind\":\"tool_reconciled\"").unwrap_or(false) {
        return Recovery::default();
    }
    open::open(&path).map_or_else(|_| Recovery::default(), Recovery::settled_in)
}
