//! `gatedrun check`: tasks executed again, and every byte of their runs compared.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};

use crate::evidence::behaviour::Class;
use crate::evidence::compare::ChangedInput;
use crate::evidence::diff::differing_files;
use crate::evidence::text::terminal as escape;
use crate::evidence::write::{Settlement, Staging, is_folder, proposal, target_of};
use crate::evidence::{MANIFEST, STATE, attest, open};
use crate::inputs::{Inputs, Library};
use crate::json::Digest;
use crate::ledger::LINE_BYTES_MAX;
use crate::place;
use crate::policy::path::probe;
use crate::run::Course;

use super::again::{compare_run, seed_of, settled_in};
use super::checked::{Line, print_checked, print_json};
use super::ci::{elsewhere, in_ci};
use super::content::Content;
use super::destination::Destination;
use super::execute::{Begun, execute};
use super::found;
use super::in_order::{Work, cores, in_order};
use super::items::{Item, Runless, items};
use super::next;
use super::offer::{self, Offer};
use super::output::Terminal;
use super::project::{self, Libraries, is_cut_short};
use super::report::{Detail, Outputs, Place, Row, State, Suite};
use super::scratch::{Scratch, Workplace};
use super::sign::signing_key;
use super::tasks::task_of;
use super::{Stop, exit};

/// The arguments of `check`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gatedrun check                            every run below runs/\n  gatedrun check runs/canonical/v1          one run\n  gatedrun check my-run --task builtin:tasks/canonical/v1.json"
)]
pub struct Args {
    /// Runs, or folders that hold runs
    #[arg(value_name = "RUN or FOLDER", default_value = "runs")]
    paths: Vec<Utf8PathBuf>,
    /// The task of a run outside runs/, or of one that was made from a task outside tasks/
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

/// What a check of runs collects.
struct Checks<'a> {
    args: &'a Args,
    rows: Vec<Row>,
    /// The inputs that differ: named once, however many runs name them.
    inputs: BTreeSet<ChangedInput>,
    /// How many runs only name other inputs.
    unchanged: u64,
}

impl<'a> Checks<'a> {
    fn new(args: &'a Args) -> Self {
        Self { args, rows: Vec::new(), inputs: BTreeSet::new(), unchanged: 0 }
    }
}

/// The items of one command.
struct All<'a> {
    args: &'a Args,
    items: &'a [Item],
    scratch: &'a Scratch,
}

impl<'a> Work for All<'a> {
    type Shared = Libraries;
    /// What was found, and the exit code for it.
    type Result = Result<(Checks<'a>, u8), Stop>;

    fn shared(&self) -> Libraries {
        Libraries::default()
    }

    fn piece(
        &self,
        number: usize,
        libraries: &mut Libraries,
        terminal: &mut Terminal,
    ) -> Self::Result {
        let mut checks = Checks::new(self.args);
        let code = match self.items.get(number) {
            None => exit::OK,
            Some(Item::Refused(path, verdict, what, code)) => {
                checks.refuse(path, verdict, what, terminal)?;
                *code
            }
            Some(Item::Runless(one)) => checks.runless(one, libraries, terminal)?,
            Some(Item::Run(run, (project, task))) => {
                let work = self.scratch.folder(number)?;
                let library = libraries.get(project);
                checks.run(run, &library, task, &work, terminal)?
            }
        };
        Ok((checks, code))
    }
}

pub(super) fn main(args: &Args, terminal: &mut Terminal) -> Result<u8, Stop> {
    probe()?;
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
    let scratch = Scratch::new()?;
    let items = items(&args.paths, args.task.as_deref(), terminal)?;
    let (mut passed, mut failed) = (Vec::new(), Vec::new());
    let (mut code, mut checked) = (exit::OK, 0_u64);
    let mut checks = Checks::new(args);
    let progress = terminal.progress();
    progress.item(items.first().map_or("", Item::name), 1, items.len());
    let all = All { args, items: &items, scratch: &scratch };
    in_order(&all, (items.len(), cores()), terminal, |number, found, _| {
        let next = items.get(number + 1).map_or("", Item::name);
        progress.item(next, (number + 2).min(items.len()), items.len());
        let (found, one) = found?;
        checks.rows.extend(found.rows);
        checks.inputs.extend(found.inputs);
        checks.unchanged += found.unchanged;
        code = exit::worse(code, one);
        match items.get(number) {
            Some(Item::Run(run, _)) => {
                checked += 1;
                let list = if one == exit::OK { &mut passed } else { &mut failed };
                list.push(run.clone());
            }
            Some(Item::Runless(one)) => failed.push(one.run.clone()),
            Some(Item::Refused(..)) | None => {}
        }
        Ok(())
    })?;
    if !args.json {
        for input in &checks.inputs {
            terminal.line(&format!("input changed: {}", escape(&input.to_string())))?;
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

    /// A task without a run. One that cannot be loaded is reported as such: it has no run to compare.
    fn runless(
        &mut self,
        one: &Runless,
        libraries: &mut Libraries,
        terminal: &mut Terminal,
    ) -> Result<u8, Stop> {
        let Runless { run, task, path } = one;
        let (project, _) = task_of(run, None)?;
        let (verdict, message, code) = match libraries.get(&project).load(task, None) {
            Ok(_) if is_cut_short(run) => ("unfinished", found::unfinished(run), exit::INTERRUPTED),
            Ok(inputs) => {
                let remedy = match inputs.task.llm.is_outside() {
                    true => "the program that proposes its calls makes one".to_owned(),
                    false => format!("make one with `{}`", next::command("run", path, "")),
                };
                ("missing", format!("no run of {path} is committed; {remedy}"), exit::DRIFT)
            }
            Err(problems) => {
                let Stop { message, code } = problems.into();
                ("failed", message, code)
            }
        };
        self.refuse(run, verdict, &message, terminal)?;
        Ok(code)
    }

    /// A run whose task may not be there.
    fn run(
        &mut self,
        run: &Utf8Path,
        library: &Library,
        task: &str,
        work: &Workplace<'_>,
        terminal: &mut Terminal,
    ) -> Result<u8, Stop> {
        match library.has(task) {
            Ok(true) => self.one(run, library, task, work, terminal),
            Ok(false) => {
                let elsewhere = project::made_from(run).filter(|made| made != task);
                let elsewhere = elsewhere.filter(|made| library.has(made).unwrap_or(false));
                let remedy = project::misplaced(run).unwrap_or_else(|| match elsewhere {
                    Some(made) => {
                        let made = library.typed(&made);
                        format!("the run was made from {made}: name that with --task, or move it to {task}")
                    }
                    None => "restore it, or remove the run".to_owned(),
                });
                let what = format!("its task {task} does not exist; {remedy}");
                self.refuse(run, "orphan", &what, terminal)?;
                Ok(exit::DRIFT)
            }
            Err(fault) => {
                let Stop { message, code } = fault.into();
                self.refuse(run, "failed", &message, terminal)?;
                Ok(code)
            }
        }
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
                    "made with seed {seed}, the task says {}: run it {}with `{}`",
                    inputs.task.seed,
                    elsewhere(),
                    next::command("run", task_path(run, task), " --accept")
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
                let what = match differing_files(run, proposal) {
                    Ok(files) if files.is_empty() => "a proposal that is this run, byte for byte",
                    _ => "a proposal that is not what the task makes now",
                };
                // It is not this command's to remove: somebody may want to look at it.
                terminal.note(&format!(
                    "  {proposal}: {what}; remove it {}with `{}`",
                    elsewhere(),
                    next::command("review", run, " --reject")
                ));
            }
            return Ok(exit::OK);
        }
        let is_offered = !checked.differences.is_empty()
            && checked.rewritten.is_none()
            && !checked.is_of_another_version();
        self.unchanged += u64::from(checked.class == Class::InputsOnly);
        self.inputs.extend(checked.inputs);
        let target = target_of(run);
        if target != run {
            let again = next::check(&target);
            terminal.note(&format!("  make the proposal again with `{again}`"));
        } else if checked.differences.is_empty() && !checked.unmet.is_empty() {
            terminal.note(&format!("  {run}: {}", offer::meet(&library.typed(task))));
        } else if is_offered && checked.is_outside {
            terminal.note(&format!(
                "  {run}: its calls came from another program; if the change is right, let that program make the run again"
            ));
        // What only a checkout did is not for anyone to accept, nor what was not compared.
        } else if is_offered && in_ci() {
            terminal.note(&format!(
                "  in CI no proposal is written: repeat `{}` on your machine, and accept what is right",
                next::check(run)
            ));
        } else if is_offered {
            return Ok(exit::worse(exit::DRIFT, propose(run, &inputs, terminal)));
        }
        Ok(exit::DRIFT)
    }
}

/// The task's path as a user writes it.
fn task_path(run: &Utf8Path, task: &str) -> Utf8PathBuf {
    place::run(run).map_or_else(|| Utf8PathBuf::from(task), |(root, _)| root.join(task))
}

/// Lays what the task makes now beside the committed run; the exit code where that cannot be done.
fn propose(run: &Utf8Path, inputs: &Inputs, terminal: &mut Terminal) -> u8 {
    let proposed = Staging::aside(run).map_err(Stop::from).and_then(|mut staging| {
        let course = Course { recovery: settled_in(run), ..Course::fresh() };
        let progress = terminal.progress();
        match execute(inputs, &mut staging, course, Begun::default(), &progress, None) {
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
        Ok(Some(place)) => {
            let next = match Offer::of(run) {
                Offer::Acceptable(command) => {
                    format!("if that is right, accept it with `{command}`")
                }
                Offer::Unacceptable(why) => why,
            };
            terminal.note(&format!("  {place}: what it is now; {next}"));
        }
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
