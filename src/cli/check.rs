//! `gatedrun check`: tasks executed again, and every byte of their runs compared.

use std::collections::BTreeSet;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use crate::event::Record;
use crate::evidence::compare::{self, Comparison, Difference};
use crate::evidence::expect::Observed;
use crate::evidence::text::terminal as escape;
use crate::evidence::verify::contents;
use crate::evidence::write::{Settlement, Staging};
use crate::evidence::{FILES, MANIFEST, REPORT, STATE, TRACE, attest, open};
use crate::inputs::{Inputs, Library, Project};
use crate::isolation::confined;
use crate::json::Digest;
use crate::ledger::LINE_BYTES_MAX;
use crate::run::Course;

use super::output::{Terminal, Tone, differing};
use super::project::{self, Libraries};
use super::sign::{signing_key, write_whole};
use super::{Stop, exit, in_ci, run};

/// The arguments of `check`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gatedrun check                            every run below runs/\n  gatedrun check runs/canonical/v1          one run\n  gatedrun check my-run --task builtin:tasks/canonical/v1.json"
)]
pub struct Args {
    /// Runs, or folders that hold runs
    #[arg(value_name = "RUN or FOLDER", default_value = "runs")]
    paths: Vec<Utf8PathBuf>,
    /// The task of a run that lies outside runs/
    #[arg(long, value_name = "TASK")]
    task: Option<Utf8PathBuf>,
    /// Write a signed statement of the result (in-toto test-result) to this file
    #[arg(long, value_name = "FILE", requires = "key")]
    attest: Option<Utf8PathBuf>,
    /// The private key, in PEM, to sign it with
    #[arg(long, value_name = "FILE", requires = "attest")]
    key: Option<Utf8PathBuf>,
    /// Print the verdicts as JSON, a line a run
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Line<'a> {
    run: &'a Utf8Path,
    verdict: &'static str,
    file: Option<&'a str>,
    line: Option<u64>,
    column: Option<usize>,
    message: Option<String>,
}

/// What checking a run came to.
struct Checked {
    /// The first difference of each file that differs.
    differences: Vec<(String, Drift)>,
    /// Expectations of the task that are not met.
    unmet: Vec<String>,
}

/// How a file differs.
enum Drift {
    Unreadable(String),
    Differs(Difference),
}

pub(super) fn main(args: &Args, terminal: &mut Terminal) -> Result<u8, Stop> {
    let mut libraries = Libraries::default();
    let key = args.key.as_deref().map(signing_key).transpose()?;
    let (mut passed, mut failed) = (Vec::new(), Vec::new());
    let mut code = exit::OK;
    let mut checked = 0_u64;
    let scratch = Scratch::default();
    for path in &args.paths {
        let path = &project::finished_runs_at(path)?;
        let runs = project::find_runs(path)?;
        for run in &runs {
            let (project, task) = task_of(run, args.task.as_deref())?;
            checked += 1;
            let work = scratch.path().join(checked.to_string());
            let library = libraries.get(&project);
            let one = if library.has(&task) {
                check_one(args, run, &library, &task, &work, terminal)?
            } else {
                orphan(args, run, &task, terminal)?
            };
            let list = if one == exit::OK { &mut passed } else { &mut failed };
            list.push(run.clone());
            code = exit::worse(code, one);
        }
        for (run, task) in runless(path, &runs)? {
            let message =
                format!("no run of {task} is committed; make one with `gatedrun run {task}`");
            refuse(args, &run, "missing", message, terminal)?;
            code = exit::worse(code, exit::DRIFT);
            failed.push(run);
        }
    }
    if !args.json && checked != 1 {
        terminal.line(&format!("{checked} runs checked"))?;
    }
    if let (Some(path), Some(key)) = (&args.attest, &key) {
        write_whole(path, &attest::sign(&statement(&passed, &failed), key))?;
    }
    Ok(code)
}

/// What is signed of a check: which runs are as their tasks make them, by their manifests.
fn statement(passed: &[Utf8PathBuf], failed: &[Utf8PathBuf]) -> Vec<u8> {
    let subject = passed.iter().chain(failed).filter_map(|run| {
        let path = run.join(MANIFEST);
        let bytes = open::read(&path, LINE_BYTES_MAX as u64).ok()?;
        Some(attest::Subject::new(path, Digest::of(&bytes)))
    });
    let names = |runs: &[Utf8PathBuf]| runs.iter().map(ToString::to_string).collect();
    let program = ("name", "gatedrun".to_owned());
    let version = ("version", env!("CARGO_PKG_VERSION").to_owned());
    let predicate = attest::TestPredicate {
        result: if failed.is_empty() { "PASSED" } else { "FAILED" },
        configuration: vec![[program, version].into()],
        passed_tests: names(passed),
        failed_tests: names(failed),
    };
    attest::test_statement(subject.collect(), predicate)
}

/// A run whose task is gone.
fn orphan(args: &Args, run: &Utf8Path, task: &str, terminal: &mut Terminal) -> Result<u8, Stop> {
    let message = format!("its task {task} does not exist; bring it back, or remove the run");
    refuse(args, run, "orphan", message, terminal)?;
    Ok(exit::DRIFT)
}

/// Reports a run without its task, a task without its run, or a task that cannot be executed.
fn refuse(
    args: &Args,
    run: &Utf8Path,
    verdict: &'static str,
    message: String,
    terminal: &mut Terminal,
) -> Result<(), Stop> {
    if args.json {
        let (file, line, column, message) = (None, None, None, Some(message));
        let line = Line { run, verdict, file, line, column, message };
        return Ok(terminal.json(&line)?);
    }
    Ok(terminal.refusal(run, verdict, &message)?)
}

pub(super) fn task_of(run: &Utf8Path, task: Option<&Utf8Path>) -> Result<(Project, String), Stop> {
    if let Some(task) = task {
        let task = project::task(task)?;
        return Ok((task.project, task.path));
    }
    let (root, id) = project::run(run).ok_or_else(|| {
        Stop::usage(format!("{run}: it does not lie below runs/; name its task with --task"))
    })?;
    Ok((Project::Folder(root), format!("tasks/{id}.json")))
}

fn check_one(
    args: &Args,
    run: &Utf8Path,
    library: &Library,
    task: &str,
    work: &Utf8Path,
    terminal: &mut Terminal,
) -> Result<u8, Stop> {
    let loaded = library.load(task, seed_of(run)).map_err(Stop::from);
    let compared = loaded.and_then(|inputs| Ok((compare_run(run, &inputs, work)?, inputs)));
    let (checked, inputs) = match compared {
        Ok(compared) => compared,
        // One that cannot be executed does not hide what the others come to.
        Err(Stop { message, code }) => {
            refuse(args, run, "failed", message, terminal)?;
            return Ok(code);
        }
    };
    let identical = checked.differences.is_empty() && checked.unmet.is_empty();
    if args.json {
        print_json(run, &checked, terminal)?;
    } else if identical {
        terminal.line(&format!("{run}: {}", terminal.paint(Tone::Good, "identical")))?;
    } else {
        terminal.line(&format!("{run}: {}", terminal.paint(Tone::Bad, "differs")))?;
        for (file, drift) in &checked.differences {
            print_drift(run, file, drift, terminal)?;
        }
        for unmet in &checked.unmet {
            terminal.line(&format!("  not as expected: {}", escape(unmet)))?;
        }
    }
    if identical {
        return Ok(exit::OK);
    }
    if !checked.differences.is_empty() && !in_ci() {
        propose(run, &inputs, terminal);
    }
    Ok(exit::DRIFT)
}

/// The seed that the run was made with, so that a run of another seed can be checked too.
pub(super) fn seed_of(run: &Utf8Path) -> Option<u64> {
    #[derive(Deserialize)]
    struct Manifest {
        seed: u64,
    }
    let bytes = open::read(&run.join(MANIFEST), LINE_BYTES_MAX as u64).ok()?;
    serde_json::from_slice(&bytes).ok().map(|manifest: Manifest| manifest.seed)
}

/// Executes the task again, comparing as it goes. Nothing is kept and nothing is written but what
/// the task itself writes, and that goes to `work`, in a folder of this process's own.
fn compare_run(run: &Utf8Path, inputs: &Inputs, work: &Utf8Path) -> Result<Checked, Stop> {
    let mut differences: Vec<(String, Drift)> = Vec::new();
    let mut comparison = |name: &str| match open::open(&run.join(name)) {
        Ok(committed) => Comparison::new(Box::new(committed) as Box<dyn io::BufRead + Send>),
        Err(error) => {
            differences.push((name.to_owned(), Drift::Unreadable(error.to_string())));
            Comparison::new(Box::new(io::empty()) as Box<dyn io::BufRead + Send>)
        }
    };
    let (state, trace) = (comparison(STATE), comparison(TRACE));
    let mut observed = Observed::default();
    // What is observed grows with the run; it is kept only where somebody asks for it.
    let expects = inputs.task.expected.is_some();
    let watch = |record: &Record| {
        if expects {
            observed.push(record);
        }
    };
    let scratch = work.parent().unwrap_or(work);
    let (recorded, _) = confined(inputs.policy.sandbox.isolation, scratch, || {
        crate::run::run(inputs, work.to_owned(), Course::fresh(), state, trace, watch)
    })
    .map_err(Stop::usage)?;
    let recorded = recorded.map_err(|error| run::stop(inputs, &error))?;
    let mut compared = |name: &str, result: io::Result<Option<Difference>>| {
        if differences.iter().any(|(known, _)| known == name) {
            return;
        }
        match result {
            Ok(None) => {}
            Ok(Some(difference)) => differences.push((name.to_owned(), Drift::Differs(difference))),
            Err(error) => differences.push((name.to_owned(), Drift::Unreadable(error.to_string()))),
        }
    };
    compared(STATE, recorded.state.finish());
    compared(TRACE, recorded.trace.finish());
    for (name, bytes) in [(REPORT, &recorded.report), (MANIFEST, &recorded.manifest)] {
        let result = open::open(&run.join(name))
            .and_then(|committed| compare::difference(committed, bytes.as_slice()));
        compared(name, result);
    }
    differences.sort_by_key(|(name, _)| FILES.iter().position(|file| file == name));
    contents(run, Some(&recorded.work), |path, what| {
        differences.push((path.to_owned(), Drift::Unreadable(what.to_owned())));
    });
    let unmet =
        inputs.task.expected.as_ref().map_or_else(Vec::new, |expected| observed.unmet(expected));
    Ok(Checked { differences, unmet })
}

/// A folder of this process's own, removed at the end. Where it cannot be made, what the task
/// writes has nowhere to go, and the comparison shows it.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    folder: std::cell::OnceCell<Utf8PathBuf>,
}

impl Scratch {
    pub(super) fn path(&self) -> Utf8PathBuf {
        self.folder
            .get_or_init(|| {
                let base = std::env::temp_dir();
                let made = tempfile::Builder::new().prefix("gatedrun-").tempdir_in(base);
                let kept = made.map(tempfile::TempDir::keep).unwrap_or_default();
                Utf8PathBuf::from_path_buf(kept).unwrap_or_default()
            })
            .clone()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(folder) = self.folder.get().filter(|folder| !folder.as_str().is_empty()) {
            // Where nothing was written, nothing is there.
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// Lays what the task makes now beside the committed run.
fn propose(run: &Utf8Path, inputs: &Inputs, terminal: &mut Terminal) {
    let proposed = Staging::begin(run, true).map_err(Stop::from).and_then(|mut staging| {
        run::execute(inputs, &mut staging, Course::fresh(), 0, None)
            .map_err(|failed| failed.stop(inputs, run))?;
        Ok(staging.settle(Settlement::Propose)?)
    });
    match proposed {
        Ok(Some(place)) => terminal.note(&format!(
            "  {place}: what it is now; if that is right, accept it with `gatedrun review`"
        )),
        Ok(None) => {}
        Err(stop) => terminal.note(&format!("  no proposal was written: {}", stop.message)),
    }
}

fn print_json(run: &Utf8Path, checked: &Checked, terminal: &mut Terminal) -> Result<(), Stop> {
    let first = checked.differences.first().map(|(name, drift)| (name.as_str(), drift));
    let (line, column, message) = match first {
        Some((STATE, Drift::Differs(difference))) => {
            let explanation = compare::explain(difference).to_string();
            (Some(difference.line), Some(difference.column), Some(explanation))
        }
        Some((_, Drift::Differs(difference))) => {
            (Some(difference.line), Some(difference.column), None)
        }
        Some((_, Drift::Unreadable(what))) => (None, None, Some(what.clone())),
        None => (None, None, checked.unmet.first().cloned()),
    };
    let verdict = if first.is_none() && checked.unmet.is_empty() { "identical" } else { "differs" };
    let line = Line { run, verdict, file: first.map(|(name, _)| name), line, column, message };
    Ok(terminal.json(&line)?)
}

fn print_drift(
    run: &Utf8Path,
    file: &str,
    drift: &Drift,
    terminal: &mut Terminal,
) -> Result<(), Stop> {
    let difference = match drift {
        Drift::Unreadable(what) => {
            return Ok(terminal.line(&format!("  {run}/{file}: {}", escape(what)))?);
        }
        Drift::Differs(difference) => difference,
    };
    let place = format!("  {run}/{file}, line {}, byte {}", difference.line, difference.column);
    if file == STATE {
        let explanation = compare::explain(difference);
        terminal.line(&format!("{place}: {}", escape(&explanation.to_string())))?;
        for (pointer, committed, now) in &explanation.fields {
            terminal.line(&format!("    {}", escape(pointer)))?;
            let (committed, now) = differing(committed, now);
            terminal.line(&format!("      committed {committed}"))?;
            terminal.line(&format!("      now       {now}"))?;
        }
        return Ok(());
    }
    terminal.line(&format!("{place}:"))?;
    let line = |line: &Option<Vec<u8>>| match line {
        Some(line) => String::from_utf8_lossy(line).into_owned(),
        None => "nothing: the file ends here".to_owned(),
    };
    let (committed, now) = differing(&line(&difference.committed), &line(&difference.now));
    terminal.line(&format!("      committed {committed}"))?;
    Ok(terminal.line(&format!("      now       {now}"))?)
}

/// Prints how two run folders differ, file by file.
pub(super) fn print_differences(
    committed: &Utf8Path,
    now: &Utf8Path,
    terminal: &mut Terminal,
) -> Result<(), Stop> {
    for name in FILES {
        let made = open::open(&now.join(name))?;
        let drift = match open::open(&committed.join(name)) {
            Ok(committed) => match compare::difference(committed, made)? {
                Some(difference) => Drift::Differs(difference),
                None => continue,
            },
            Err(error) => Drift::Unreadable(error.to_string()),
        };
        print_drift(committed, name, &drift, terminal)?;
    }
    Ok(())
}

/// Where a whole `runs/` was named: the tasks without a run, each with where that would lie.
fn runless(path: &Utf8Path, runs: &[Utf8PathBuf]) -> Result<Vec<(Utf8PathBuf, Utf8PathBuf)>, Stop> {
    let Some((root, _)) = project::run(path).filter(|(_, id)| id.is_empty()) else {
        return Ok(Vec::new());
    };
    let known: BTreeSet<String> =
        runs.iter().filter_map(|run| project::run(run)).map(|(_, id)| id).collect();
    let ids = find_tasks(&root)?.into_iter().filter(|id| !known.contains(id));
    let places = |id: String| (root.join("runs").join(&id), root.join(format!("tasks/{id}.json")));
    Ok(ids.map(places).collect())
}

/// The ids of a project's tasks, in order.
pub(super) fn find_tasks(root: &Utf8Path) -> Result<Vec<String>, Stop> {
    let tasks = root.join("tasks");
    let mut ids = Vec::new();
    if !tasks.exists() {
        return Ok(ids);
    }
    for entry in WalkDir::new(&tasks).sort_by_file_name() {
        let entry = entry.map_err(|error| {
            Stop::usage(format!("{tasks}: it cannot be read: {error}; make it readable"))
        })?;
        let file = project::utf8(entry.path())?;
        let path = file.strip_prefix(&tasks).map(Utf8Path::as_str).unwrap_or_default();
        if let Some(id) = path.strip_suffix(".json").filter(|id| !id.ends_with(".schema")) {
            ids.push(id.to_owned());
        }
    }
    Ok(ids)
}
