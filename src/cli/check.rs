//! `gatedrun check`: tasks executed again, and every byte of their runs compared.

use std::collections::BTreeSet;
use std::io::{self, BufRead as _};

use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;

use crate::builtin;
use crate::event::Record;
use crate::evidence::behaviour::{Changes, Class, NoRun, Shape, class, is_sound};
use crate::evidence::compare::{self, Comparison, Difference};
use crate::evidence::expect::Observed;
use crate::evidence::open::Folder;
use crate::evidence::text::terminal as escape;
use crate::evidence::verify::contents;
use crate::evidence::write::{Settlement, Staging, interrupted, is_folder, proposal, target_of};
use crate::evidence::{FILES, MANIFEST, REPORT, STATE, TRACE, attest, open};
use crate::file::{self, said};
use crate::governor::Recovery;
use crate::host::HostFault;
use crate::inputs::{Inputs, Library, Project};
use crate::isolation::confined;
use crate::json::Digest;
use crate::ledger::LINE_BYTES_MAX;
use crate::policy::path::probe;
use crate::run::Course;

use super::checked::{Checked, Drift, Line, print_checked, print_json};
use super::destination::{Content, Destination};
use super::next;
use super::output::Terminal;
use super::progress::Progress;
use super::project::{self, Found, Libraries, Refused, find_tasks, is_cut_short};
use super::report::{Detail, Outputs, Place, Row, State, Suite};
use super::scratch::{Scratch, Workplace};
use super::sign::signing_key;
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
    /// The task of a run outside runs/
    #[arg(long, value_name = "TASK")]
    task: Option<Utf8PathBuf>,
    /// Write a signed statement of the result (in-toto test-result) to this file
    #[arg(long, value_name = "FILE", requires = "key")]
    attest: Option<Utf8PathBuf>,
    /// The private key, in PEM, to sign it with
    #[arg(long, value_name = "FILE", requires = "attest")]
    key: Option<Utf8PathBuf>,
    /// Write the verdicts as JUnit XML, one test case per run
    #[arg(long, value_name = "FILE")]
    junit: Option<Utf8PathBuf>,
    /// Write the verdicts as SARIF, one result per difference
    #[arg(long, value_name = "FILE")]
    sarif: Option<Utf8PathBuf>,
    /// Print the verdicts as JSON, one line per run
    #[arg(long)]
    json: bool,
}

/// What a check of many runs collects.
struct Checks<'a> {
    args: &'a Args,
    rows: Vec<Row>,
    /// The inputs that differ: named once, however many runs name them.
    inputs: BTreeSet<String>,
    /// How many runs only name other inputs.
    unchanged: u64,
}

pub(super) fn main(args: &Args, terminal: &mut Terminal) -> Result<u8, Stop> {
    probe()?;
    let mut libraries = Libraries::default();
    let key = args.key.as_deref().map(|path| signing_key(path, terminal)).transpose()?;
    let attest = match (&args.attest, &args.key) {
        (Some(path), Some(key)) => Some(Destination::of(path, Content::Statement)?.unlike(&[key])?),
        _ => None,
    };
    let used: Vec<&Utf8Path> = args.key.as_deref().into_iter().collect();
    let outputs = Outputs::of(args.junit.as_deref(), args.sarif.as_deref(), &used)?;
    if let Some(attest) = &attest {
        outputs.apart(attest)?;
    }
    let (mut passed, mut failed) = (Vec::new(), Vec::new());
    let mut code = exit::OK;
    let mut checked = 0_u64;
    let scratch = Scratch::new()?;
    let progress = terminal.progress();
    let (inputs, rows) = (BTreeSet::new(), Vec::new());
    let mut checks = Checks { args, rows, inputs, unchanged: 0 };
    for path in &args.paths {
        let found = match project::find_runs(path) {
            Ok(found) => found,
            // Where several paths were named, one that cannot be read hides no other.
            Err(stop) if args.paths.len() > 1 => {
                checks.refuse(path, "failed", &stop.message, terminal)?;
                code = exit::worse(code, stop.code);
                continue;
            }
            Err(stop) => return Err(stop),
        };
        for refused in found.refused() {
            checks.refuse(Utf8Path::new(&refused.path), "refused", &refused.what, terminal)?;
            code = exit::worse(code, refused.code(exit::UNCONFIRMED));
        }
        for partial in found.only_unfinished() {
            checks.refuse(partial, "unfinished", &project::unfinished(partial), terminal)?;
            code = exit::worse(code, exit::INTERRUPTED);
        }
        found.note_unfinished(terminal);
        let runs = found.runs();
        for (run, number) in runs.iter().zip(1..) {
            let (project, task) = match task_of(run, args.task.as_deref()) {
                Ok(task) => task,
                Err(stop) if runs.len() > 1 || args.paths.len() > 1 => {
                    checks.refuse(run, "failed", &stop.message, terminal)?;
                    code = exit::worse(code, stop.code);
                    continue;
                }
                Err(stop) => return Err(stop),
            };
            checked += 1;
            progress.item(run, number, runs.len());
            let work = scratch.folder(checked)?;
            let library = libraries.get(&project);
            let one = match library.has(&task) {
                Ok(true) => checks.one(run, &library, &task, &work, terminal)?,
                Ok(false) => {
                    let what =
                        format!("its task {task} does not exist; restore it, or remove the run");
                    checks.refuse(run, "orphan", &what, terminal)?;
                    exit::DRIFT
                }
                Err(fault) => {
                    let Stop { message, code } = fault.into();
                    checks.refuse(run, "failed", &message, terminal)?;
                    code
                }
            };
            let list = if one == exit::OK { &mut passed } else { &mut failed };
            list.push(run.clone());
            code = exit::worse(code, one);
        }
        let (without, refused) = runless(path, &found);
        for refused in refused {
            checks.refuse(Utf8Path::new(&refused.path), "refused", &refused.what, terminal)?;
            code = exit::worse(code, refused.code(exit::UNCONFIRMED));
        }
        for Runless { run, task, path } in without {
            let (project, _) = task_of(&run, None)?;
            // A task that cannot be loaded is reported as such: it has no run to compare.
            let (verdict, message, one) = match libraries.get(&project).load(&task, None) {
                Ok(_) if is_cut_short(&run) => {
                    ("unfinished", project::unfinished(&run), exit::INTERRUPTED)
                }
                Ok(_) => (
                    "missing",
                    format!("no run of {path} is committed; make one with `gatedrun run {path}`"),
                    exit::DRIFT,
                ),
                Err(problems) => {
                    let Stop { message, code } = problems.into();
                    ("failed", message, code)
                }
            };
            checks.refuse(&run, verdict, &message, terminal)?;
            code = exit::worse(code, one);
            failed.push(run);
        }
    }
    if !args.json {
        for input in &checks.inputs {
            terminal.line(&format!("input changed: {}", escape(input)))?;
        }
        if checks.unchanged > 1 {
            terminal.line(&format!(
                "{} runs behave as before; only input digests differ",
                checks.unchanged
            ))?;
        }
        if checked != 1 {
            terminal.line(&format!("{checked} runs checked"))?;
        }
    }
    if let (Some(destination), Some(key)) = (attest, &key) {
        destination.replace(&attest::sign(&statement(&passed, &failed), key))?;
    }
    let suite = Suite { command: "check", rules: rules(), rows: checks.rows };
    suite.write(outputs)?;
    Ok(code)
}

/// What the results of a check are filed under.
fn rules() -> Vec<(&'static str, String, String)> {
    [
        ("behaviour", "the run behaves differently", "A call, a decision, a file that is written, the end, a failure mode or the answer is not as in the committed run."),
        ("inputs_only", "inputs changed", "The run behaves as before; only input digests differ."),
        ("unknown", "behaviour unknown", "The committed ledger is missing, cut short or damaged, so nothing is known of the run's behaviour."),
        ("bytes", "bytes changed", "The run behaves as before, and a file of it has other bytes."),
        ("unmet", "expectation not met", "The run does not meet its task's expectations."),
        ("seed", "another seed", "The committed run was made with a different seed from the task's."),
        ("orphan", "run without its task", "The task of a committed run does not exist."),
        ("missing", "task without its run", "No run of a task is committed."),
    ]
    .map(|(id, short, full)| (id, short.to_owned(), full.to_owned()))
    .to_vec()
}

/// What is signed of a check: which runs are as their tasks make them, by their manifests.
fn statement(passed: &[Utf8PathBuf], failed: &[Utf8PathBuf]) -> Vec<u8> {
    let subject = passed.iter().chain(failed).filter_map(|run| {
        let path = run.join(MANIFEST);
        let bytes = open::read(&path, LINE_BYTES_MAX as u64).ok()?;
        Some(attest::Subject::new(path, Digest::of(&bytes)))
    });
    let names = |runs: &[Utf8PathBuf]| runs.iter().map(ToString::to_string).collect();
    let predicate = attest::TestPredicate {
        result: if failed.is_empty() { "PASSED" } else { "FAILED" },
        configuration: vec![attest::Resource::program()],
        passed_tests: names(passed),
        failed_tests: names(failed),
    };
    attest::test_statement(subject.collect(), predicate)
}

pub(super) fn task_of(run: &Utf8Path, task: Option<&Utf8Path>) -> Result<(Project, String), Stop> {
    if let Some(task) = task {
        let task = project::task(task)?;
        return Ok((task.project, task.path));
    }
    // A proposal is one for its task's run, and a run that was cut short is that.
    let (root, id) = project::run(&target_of(run)).ok_or_else(|| {
        Stop::usage(format!("{run}: not below runs/; give its task with --task TASK"))
    })?;
    let task = format!("tasks/{id}.json");
    // A run of the built-in task has no task file.
    if file::at(&root.join(&task))?.is_none()
        && builtin::file(&task).is_some()
        && project::is_builtin(run)
    {
        return Ok((Project::Builtin, task));
    }
    Ok((Project::Folder(root), task))
}

impl Checks<'_> {
    /// Reports a run without its task, a task without its run, or one that cannot be executed.
    fn refuse(
        &mut self,
        run: &Utf8Path,
        verdict: &'static str,
        message: &str,
        terminal: &mut Terminal,
    ) -> Result<(), Stop> {
        let place = Place::new(run.join(STATE), None);
        let is_error = matches!(verdict, "failed" | "refused" | "unfinished");
        let detail = Detail {
            rule: verdict,
            is_failure: true,
            text: message.to_owned(),
            places: vec![place.clone()],
            identity: String::new(),
        };
        self.rows.push(Row {
            name: run.to_string(),
            verdict: verdict.to_owned(),
            state: if is_error { State::Error } else { State::Failed },
            message: message.to_owned(),
            details: if is_error { Vec::new() } else { vec![detail] },
            place,
        });
        if self.args.json {
            let message = Some(message.to_owned());
            let line = Line { message, ..Line::of(run, verdict) };
            return Ok(terminal.json(&line)?);
        }
        Ok(terminal.refusal(run, verdict, message)?)
    }

    fn one(
        &mut self,
        run: &Utf8Path,
        library: &Library,
        task: &str,
        work: &Workplace<'_>,
        terminal: &mut Terminal,
    ) -> Result<u8, Stop> {
        // In its task's place a run is what the task says, the seed included.
        let is_placed = self.args.task.is_none();
        if let Some(message) = project::misplaced(run).filter(|_| is_placed) {
            self.refuse(run, "failed", &message, terminal)?;
            return Ok(exit::DRIFT);
        }
        let recorded = seed_of(run);
        let loaded = library.load(task, recorded.filter(|_| !is_placed)).map_err(Stop::from);
        let compared = loaded.and_then(|inputs| {
            if let Some(message) = project::of_another_task(run, &inputs.task.id) {
                return Err(Stop::usage(message));
            }
            let mut checked = compare_run(run, &inputs, work, &terminal.progress())?;
            if !checked.inputs.is_empty() {
                checked.rewritten = project::rewritten(run, library);
            }
            let proposal = proposal(run);
            if checked.is_identical() && is_folder(&proposal)? {
                checked.proposal = Some(proposal);
            }
            if let Some(seed) = recorded.filter(|seed| *seed != inputs.task.seed) {
                checked.seed = Some(format!(
                    "made with seed {seed}, the task says {}: run it with `gatedrun run {} --accept`",
                    inputs.task.seed,
                    task_path(run, task)
                ));
            }
            Ok((checked, inputs))
        });
        let (checked, inputs) = match compared {
            Ok(compared) => compared,
            Err(stop) if stop.code == exit::INTERRUPTED => return Err(stop),
            // One that cannot be executed does not hide the results of the others.
            Err(Stop { message, code }) => {
                self.refuse(run, "failed", &message, terminal)?;
                return Ok(code);
            }
        };
        self.rows.push(checked.row(run));
        if self.args.json {
            print_json(run, &checked, terminal)?;
        } else {
            print_checked(run, &checked, terminal)?;
        }
        if checked.is_identical() {
            if let Some(proposal) = &checked.proposal {
                let what = match class(run, proposal) {
                    Ok(Class::Identical) => "a proposal that is this run, byte for byte",
                    _ => "a proposal that is not what the task makes now",
                };
                // It is not this command's to remove: somebody may want to look at it.
                terminal.note(&format!(
                    "  {proposal}: {what}; remove it with `gatedrun review {run} --reject`"
                ));
            }
            return Ok(exit::OK);
        }
        self.unchanged += u64::from(checked.class == Class::InputsOnly);
        self.inputs.extend(checked.inputs);
        let target = target_of(run);
        if target != run {
            terminal.note(&format!("  make the proposal again with `gatedrun check {target}`"));
        // What only a checkout did is not for anyone to accept.
        } else if !checked.differences.is_empty() && checked.rewritten.is_none() && !in_ci() {
            return Ok(exit::worse(exit::DRIFT, propose(run, &inputs, terminal)));
        }
        Ok(exit::DRIFT)
    }
}

/// The task's path as a user writes it.
fn task_path(run: &Utf8Path, task: &str) -> Utf8PathBuf {
    project::run(run).map_or_else(|| Utf8PathBuf::from(task), |(root, _)| root.join(task))
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

/// Executes the task again and compares it with the committed run, which is read as one run
/// whatever is put in its place meanwhile.
fn compare_run(
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
    let course = Course { recovery: settled_in(committed.path()), ..work.course() };
    let (recorded, _) = confined(inputs.policy.rules.sandbox_path.isolation, work.scratch, || {
        crate::run::run(inputs, work.folder.clone(), course, state, trace, watch)
    })?;
    work.continues()?;
    let recorded = match recorded {
        Ok(recorded) => recorded,
        Err(error) => {
            let stop = run::stop(inputs, &error);
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
    let course = Course { recovery: settled_in(run), ..work.course() };
    let (made, _) = confined(inputs.policy.rules.sandbox_path.isolation, work.scratch, || {
        let (state, trace) = (io::sink(), io::sink());
        let folder = work.folder.clone();
        crate::run::run(inputs, folder, course, state, trace, |record| {
            progress.event();
            shape.push(record);
        })
    })?;
    work.continues()?;
    Ok((shape, made.map(|_| ()).map_err(|error| run::stop(inputs, &error))))
}

/// Why a run broke off, after what it decided otherwise than the committed run up to there: a denial
/// that is gone is often why it gets further than its script.
pub(super) fn broke_off(changes: &Changes, stop: Stop) -> Stop {
    let decided = changes.words().into_iter();
    let lines: Vec<String> = decided.chain([stop.message]).collect();
    Stop { message: lines.join("\n"), ..stop }
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

/// Lays what the task makes now beside the committed run; the exit code where that cannot be done.
fn propose(run: &Utf8Path, inputs: &Inputs, terminal: &mut Terminal) -> u8 {
    let proposed = Staging::aside(run).map_err(Stop::from).and_then(|mut staging| {
        let course = Course { recovery: settled_in(run), ..Course::fresh() };
        let progress = terminal.progress();
        match run::execute(inputs, &mut staging, course, run::Begun::default(), &progress, None) {
            Ok(_) => Ok(staging.settle(Settlement::Propose)?),
            Err(failed) => {
                let stop = failed.stop(inputs, run, None);
                // What stays is removed by the next who changes this run.
                let _ = staging.remove();
                Err(stop)
            }
        }
    });
    match proposed {
        Ok(Some(place)) => terminal.note(&format!(
            "  {place}: what it is now; if that is right, accept it with `{}`",
            next::review(run)
        )),
        Ok(None) => {}
        Err(stop) => {
            terminal.note(&format!("  no proposal was written: {}", stop.message));
            // What stands in the way of a proposal does not belong to the verdict; the machine's refusal is.
            if stop.code == exit::HOST {
                return exit::HOST;
            }
        }
    }
    exit::OK
}

/// A task without a run.
struct Runless {
    /// Where its run would be.
    run: Utf8PathBuf,
    /// The task, in its project.
    task: String,
    /// The task, as a user names it.
    path: Utf8PathBuf,
}

/// The tasks without a run, of those that have their runs at or below a path; and what is not looked
/// into among them.
fn runless(path: &Utf8Path, found: &Found) -> (Vec<Runless>, Vec<Refused>) {
    let Some((root, within)) = project::run(path) else { return (Vec::new(), Vec::new()) };
    // Where nothing else is found, the unfinished runs are reported already.
    let unfinished = found.only_unfinished().iter().map(|run| target_of(run));
    let runs = found.runs().into_iter().chain(unfinished);
    let known: BTreeSet<String> =
        runs.filter_map(|run| project::run(&run)).map(|(_, id)| id).collect();
    // What is refused is reported as that, with everything below it.
    let refused = found.refused().filter_map(|one| project::run(Utf8Path::new(&one.path)));
    let unread: Vec<String> = refused.map(|(_, id)| id).collect();
    let is_unread = |id: &str| unread.iter().any(|one| Utf8Path::new(id).starts_with(one));
    let (ids, refused) = find_tasks(&root, &within);
    let runless = |id: String| {
        let task = format!("tasks/{id}.json");
        Runless { run: root.join("runs").join(&id), path: root.join(&task), task }
    };
    // One that was being replaced is refused by its own name.
    let is_missing = |run: &Utf8Path| !matches!(interrupted(run), Ok(Some(_)));
    let ids = ids.into_iter().filter(|id| !known.contains(id) && !is_unread(id));
    (ids.map(runless).filter(|one| is_missing(&one.run)).collect(), refused)
}
