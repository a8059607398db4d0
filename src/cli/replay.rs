//! `gatedrun replay`: runs again over their own record, and other policies tried on them.

use std::collections::HashMap;
use std::fmt::Write as _;

use camino::{Utf8Path, Utf8PathBuf};
use schemars::JsonSchema;
use serde::Serialize;

use crate::evidence::compare::differing_fields;
use crate::evidence::open::Folder;
use crate::evidence::text::{counted, shortened, terminal as escape};
use crate::evidence::verify::{Verdict, verify_unsigned};
use crate::inputs::{Inputs, Library, Project};
use crate::policy::path::probe;
use crate::problem::{Problem, Problems};
use crate::replay::backtest::{Untried, backtest};
use crate::replay::tried::{Counts, Refused, Requirement, Tested, Told, Tried, tested, unmatched};
use crate::replay::{Diverged, Place, Replay, as_record, replay_watched};

use super::again::seed_of;
use super::found;
use super::output::{Terminal, Tone, differing};
use super::project::{self, Libraries};
use super::scratch::Scratch;
use super::tasks::task_of;
use super::{Stop, exit, report};

/// The arguments of `replay`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gatedrun replay                           every run below runs/\n  gatedrun replay runs/canonical/v1\n  gatedrun replay runs --policy policy/next.yaml\n  gatedrun replay runs --policy policy/next.yaml --require deny --junit backtest.xml"
)]
pub struct Args {
    /// Runs, or folders that hold runs
    #[arg(value_name = "RUN or FOLDER", default_value = "runs")]
    paths: Vec<Utf8PathBuf>,
    /// The task of a run outside runs/
    #[arg(long, value_name = "TASK")]
    task: Option<Utf8PathBuf>,
    /// Try this policy on the runs: which decisions change, and from which step
    #[arg(long, value_name = "FILE")]
    policy: Option<Utf8PathBuf>,
    /// Stop at the first change and report everything after it as unknown
    #[arg(long, requires = "policy")]
    recorded_only: bool,
    /// What must still hold: deny, allow, warn, deny:RULE or warn:RULE (as in deny:url_allowlist), or
    /// no-change
    #[arg(long, value_name = "DECISION", requires = "policy")]
    require: Vec<String>,
    /// Write the back-test as JUnit XML, one test case per run
    #[arg(long, value_name = "FILE", requires = "policy")]
    junit: Option<Utf8PathBuf>,
    /// Write the back-test as SARIF, one result per changed decision
    #[arg(long, value_name = "FILE", requires = "policy")]
    sarif: Option<Utf8PathBuf>,
    /// Print the verdicts as JSON, one line per run
    #[arg(long)]
    json: bool,
}

pub(super) fn main(args: &Args, terminal: &mut Terminal) -> Result<u8, Stop> {
    match &args.policy {
        None => replay_all(args, terminal),
        Some(policy) => backtest_all(args, policy, terminal),
    }
}

/// Loads what runs were made with; what several share, once.
#[derive(Default)]
struct Loader {
    libraries: Libraries,
    inputs: HashMap<(String, Option<u64>), Inputs>,
}

impl Loader {
    /// Loads what a run was made with, by its task.
    fn load(
        &mut self,
        run: &Utf8Path,
        (project, path): (Project, String),
    ) -> Result<&mut Inputs, Stop> {
        // Runs of one task and seed tend to lie together; more than a few are not worth keeping.
        const KEPT_MAX: usize = 64;
        let seed = seed_of(run);
        let key = (format!("{project:?} {path}"), seed);
        if self.inputs.len() > KEPT_MAX {
            self.inputs.clear();
        }
        let inputs = match self.inputs.entry(key) {
            std::collections::hash_map::Entry::Occupied(kept) => kept.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(self.libraries.get(&project).load(&path, seed)?)
            }
        };
        match project::of_another_task(run, &inputs.task.id) {
            Some(message) => Err(Stop::usage(message)),
            None => Ok(inputs),
        }
    }
}

/// What `--json` prints of a replay.
#[derive(Debug, JsonSchema, Serialize)]
pub(super) struct Line<'a> {
    #[schemars(with = "String")]
    run: &'a Utf8Path,
    verdict: &'static str,
    file: Option<&'static str>,
    seq: Option<u64>,
    step: Option<u64>,
    kind: Option<&'static str>,
    fields: Vec<Field>,
    line: Option<u64>,
    cause: Option<&'a str>,
    message: Option<String>,
}

impl<'a> Line<'a> {
    fn of(run: &'a Utf8Path, verdict: &'static str) -> Self {
        let (file, seq, step, kind, line, cause, message) =
            (None, None, None, None, None, None, None);
        Self { run, verdict, file, seq, step, kind, fields: Vec::new(), line, cause, message }
    }
}

/// A member in which the recorded event and the one that it comes to differ, in JSON.
#[derive(Debug, JsonSchema, Serialize)]
struct Field {
    pointer: String,
    recorded: String,
    now: String,
}

fn replay_all(args: &Args, terminal: &mut Terminal) -> Result<u8, Stop> {
    probe()?;
    let mut loader = Loader::default();
    let mut code = exit::OK;
    let runs = named_runs(args, terminal)?;
    let is_one = runs.len() == 1;
    let progress = terminal.progress();
    for (run, number) in runs.iter().zip(1..) {
        let (run, loaded) = match run {
            Ok(run) => {
                let task = in_place(run, args.task.as_deref());
                (run, task.and_then(|task| loader.load(run, task)))
            }
            Err((path, stop)) => (path, Err(Stop { message: stop.message.clone(), ..*stop })),
        };
        let inputs = match loaded {
            Ok(inputs) => inputs,
            // One that cannot be run again does not hide the results of the others.
            Err(Stop { message, code: failed }) => {
                if args.json {
                    let line = Line { message: Some(message), ..Line::of(run, "failed") };
                    terminal.json(&line)?;
                } else {
                    terminal.refusal(run, "failed", &message)?;
                }
                code = exit::worse(code, failed);
                continue;
            }
        };
        progress.item(run, number, runs.len());
        let mut replayed = replay_watched(run, inputs, |_| progress.event());
        if let Replay::Diverged(diverged) = &mut replayed
            && let Ok((project, _)) = task_of(run, args.task.as_deref())
            && let Some(what) = project::rewritten(run, &loader.libraries.get(&project))
        {
            diverged.cause = what;
        }
        if args.json {
            print_json(run, &replayed, terminal)?;
        } else {
            print_replay(run, &replayed, terminal)?;
        }
        // What cannot be read at all weighs more than what differs.
        code = match replayed {
            Replay::Unreadable(_) => exit::worse(code, exit::MALFORMED),
            Replay::Host(_) => exit::worse(code, exit::HOST),
            Replay::Identical => code,
            Replay::Diverged(_) | Replay::Incomplete(_) => exit::worse(code, exit::DRIFT),
        };
    }
    if !args.json && !is_one {
        terminal.line(&format!("{} replayed", counted(runs.len(), "run", "runs")))?;
    }
    Ok(code)
}

/// The task of a run, which must not lie in the place of another task's.
fn in_place(run: &Utf8Path, task: Option<&Utf8Path>) -> Result<(Project, String), Stop> {
    match project::misplaced(run).filter(|_| task.is_none()) {
        Some(message) => Err(Stop { message, code: exit::DRIFT }),
        None => task_of(run, task),
    }
}

fn word(replayed: &Replay) -> &'static str {
    match replayed {
        Replay::Identical => "identical",
        Replay::Diverged(_) => "diverged",
        Replay::Incomplete(_) => "incomplete",
        Replay::Unreadable(_) | Replay::Host(_) => "unreadable",
    }
}

fn print_json(run: &Utf8Path, replayed: &Replay, terminal: &mut Terminal) -> Result<(), Stop> {
    let mut line = Line::of(run, word(replayed));
    match replayed {
        Replay::Identical => {}
        Replay::Incomplete(what) | Replay::Unreadable(what) => line.message = Some(what.clone()),
        Replay::Host(fault) => line.message = Some(fault.to_string()),
        Replay::Diverged(Diverged { at, cause }) => {
            line.cause = Some(cause);
            match at {
                Place::Event(divergence) => {
                    line.seq = Some(divergence.recorded.seq);
                    line.step = divergence.recorded.step.or(divergence.step);
                    line.kind = Some(divergence.recorded.event.kind());
                    let fields = differing_fields(&divergence.recorded, &as_record(divergence));
                    let field = |(pointer, recorded, now)| Field { pointer, recorded, now };
                    line.fields = fields.into_iter().map(field).collect();
                }
                Place::File(name, difference) => {
                    line.file = Some(name);
                    line.line = Some(difference.line);
                }
                Place::Reply(what) => line.message = Some(what.clone()),
            }
        }
    }
    Ok(terminal.json(&line)?)
}

fn print_replay(run: &Utf8Path, replayed: &Replay, terminal: &mut Terminal) -> Result<(), Stop> {
    let tone = if matches!(replayed, Replay::Identical) { Tone::Good } else { Tone::Bad };
    let verdict = terminal.paint(tone, word(replayed));
    let (at, cause) = match replayed {
        Replay::Identical => return Ok(terminal.line(&format!("{run}: {verdict}"))?),
        Replay::Incomplete(what) | Replay::Unreadable(what) => {
            return Ok(terminal.refusal(run, word(replayed), what)?);
        }
        Replay::Host(fault) => {
            return Ok(terminal.refusal(run, word(replayed), &fault.to_string())?);
        }
        Replay::Diverged(Diverged { at, cause }) => (at, cause),
    };
    match at {
        Place::Event(divergence) => {
            let (recorded, now) = (&divergence.recorded, as_record(divergence));
            let step = recorded.step.or(now.step);
            terminal.line(&format!(
                "{run}: {verdict} at event {}{}, {}",
                recorded.seq,
                step.map_or_else(String::new, |step| format!(", step {step}")),
                recorded.event.kind()
            ))?;
            for (pointer, was, is) in differing_fields(recorded, &now) {
                terminal.line(&format!("    {}", escape(&pointer)))?;
                let (was, is) = differing(&was, &is);
                terminal.line(&format!("      recorded {was}"))?;
                terminal.line(&format!("      now      {is}"))?;
            }
        }
        Place::File(name, difference) => {
            terminal.line(&format!("{run}: {verdict} in {name}, line {}", difference.line))?;
        }
        Place::Reply(what) => terminal.line(&format!("{run}: {verdict}: {}", escape(what)))?,
    }
    Ok(terminal.line(&format!("  likely cause: {}", escape(cause)))?)
}

fn backtest_all(args: &Args, policy: &Utf8Path, terminal: &mut Terminal) -> Result<u8, Stop> {
    if !args.recorded_only {
        probe()?;
    }
    let required = args.require.iter().map(|text| Requirement::parse(text));
    let required = required.collect::<Result<Vec<_>, _>>().map_err(Stop::usage)?;
    let outputs = report::Outputs::of(args.junit.as_deref(), args.sarif.as_deref(), &[policy])?;
    let mut trial = Trial {
        args,
        policy,
        required,
        loader: Loader::default(),
        here: Library::new(Project::Folder(Utf8PathBuf::new())),
        scratch: Scratch::new()?,
        executed: 0,
        tried: Vec::new(),
    };
    let mut code = exit::OK;
    let runs = named_runs(args, terminal)?;
    let (progress, total) = (terminal.progress(), runs.len());
    for (found, number) in runs.into_iter().zip(1..) {
        progress.item(found.as_ref().unwrap_or_else(|(path, _)| path), number, total);
        let one = trial.one(found)?;
        code = exit::worse(
            code,
            match &one {
                Tried::Tested(tested) if tested.is_red() => exit::DRIFT,
                Tried::Tested(_) => exit::OK,
                Tried::Refused(refused) => refused.code,
            },
        );
        match &one {
            one if args.json => terminal.json(one)?,
            Tried::Tested(tested) => print_tested(tested, terminal)?,
            Tried::Refused(refused) => {
                terminal.refusal(&refused.run, refused.verdict, &refused.message)?;
            }
        }
        trial.tried.push(one);
    }
    let Trial { tried, required, .. } = trial;
    if !args.json {
        print_sums(policy, &tried, &required, terminal)?;
    }
    // Nothing checked is never green.
    let unmatched = unmatched(&tried, &required);
    for requirement in &unmatched {
        let message = format!("--require {}: {}", requirement.as_str(), requirement.unmatched());
        terminal.stop(&Stop { message, code: exit::DRIFT });
        code = exit::worse(code, exit::DRIFT);
    }
    let suite = report::backtest(policy, &tried, &unmatched);
    suite.write(outputs)?;
    Ok(code)
}

/// A policy tried on runs, one after the other.
struct Trial<'a> {
    args: &'a Args,
    policy: &'a Utf8Path,
    required: Vec<Requirement>,
    loader: Loader,
    here: Library,
    scratch: Scratch,
    /// How many folders of it were used.
    executed: u64,
    tried: Vec<Tried>,
}

fn refused(run: &Utf8Path, verdict: &'static str, message: String, code: u8) -> Tried {
    Tried::Refused(Refused { run: run.to_owned(), verdict, message, code })
}

impl Trial<'_> {
    /// Tries the policy on a run. One on which it cannot be tried hides no other's result.
    fn one(&mut self, found: Named) -> Result<Tried, Stop> {
        match found {
            // What it is tried on is one run, whatever is put in its place meanwhile.
            Ok(run) => Folder::read_steady(&run, || self.once(run.clone()))
                .unwrap_or_else(|error| Err(Stop::host(format!("{run}: {error}")))),
            Err((path, stop)) => Ok(refused(&path, "failed", stop.message, stop.code)),
        }
    }

    fn once(&mut self, run: Utf8PathBuf) -> Result<Tried, Stop> {
        let loaded =
            task_of(&run, self.args.task.as_deref()).and_then(|task| self.loader.load(&run, task));
        let inputs = match loaded {
            Ok(inputs) => inputs,
            Err(stop) => return Ok(refused(&run, "failed", stop.message, stop.code)),
        };
        if let Some((verdict, message, code)) = unsound(&run) {
            return Ok(refused(&run, verdict, message, code));
        }
        let before = match self.here.replace_policy(inputs, self.policy.as_str()) {
            Ok(before) => before,
            // Where it could be loaded for another run, it is this run's contracts that do not fit.
            Err(problems) if tested(&self.tried).next().is_some() => {
                return Ok(refused(&run, "failed", problems.to_string(), exit::USAGE));
            }
            Err(Problems(problems)) => {
                let named = |problem: Problem| problem.or_remedy("name a policy file");
                return Err(Problems(problems.into_iter().map(named).collect()).into());
            }
        };
        self.executed += 1;
        let work = (!self.args.recorded_only).then(|| self.scratch.folder(self.executed));
        let work = work.transpose()?.map(|work| work.folder);
        let result = backtest(&run, inputs, &before, work);
        inputs.policy = before;
        Ok(match result {
            Ok(test) => Tried::Tested(Tested::new(run, test, &self.required)),
            Err(error @ Untried::OtherTask(_)) => {
                refused(&run, "failed", error.to_string(), exit::USAGE)
            }
            Err(error @ Untried::Unreadable(_)) => {
                refused(&run, "unreadable", error.to_string(), exit::MALFORMED)
            }
            Err(error @ Untried::Host { .. }) => {
                refused(&run, "failed", error.to_string(), exit::HOST)
            }
        })
    }
}

/// What is wrong with a run's evidence, if it is: then nothing is blamed on a policy.
fn unsound(run: &Utf8Path) -> Option<(&'static str, String, u8)> {
    let found = verify_unsigned(run, None);
    let (word, code) = match found.verdict {
        // Without a project no input is available, and none is required.
        Verdict::Verified | Verdict::Unconfirmed | Verdict::InputsDiffer => return None,
        Verdict::Malformed => ("unreadable", exit::MALFORMED),
        Verdict::Unread => ("unreadable", exit::HOST),
        other => (other.as_str(), exit::DRIFT),
    };
    let first = found.findings.iter().find(|finding| finding.verdict == found.verdict);
    let what = first.map_or_else(String::new, |finding| {
        let line = finding.line.map_or_else(String::new, |line| format!(", line {line}"));
        format!("{}{line}: {}; ", finding.file, finding.what)
    });
    Some((word, format!("{what}see `gatedrun verify {run}`"), code))
}

/// A run at a path that was named, or a path that cannot be read, and why.
type Named = Result<Utf8PathBuf, (Utf8PathBuf, Stop)>;

/// The runs at the paths that were named. Where several were, one that cannot be read hides no other.
fn named_runs(args: &Args, terminal: &mut Terminal) -> Result<Vec<Named>, Stop> {
    let (paths, mut runs) = (&args.paths, Vec::new());
    for path in paths {
        match found::find_runs(path) {
            Ok(found) => {
                found.note_unfinished(terminal);
                let refused = |path: String, what: String, code: u8| {
                    Err((Utf8PathBuf::from(path), Stop { message: what, code }))
                };
                let partial = |path: &Utf8PathBuf| {
                    refused(path.to_string(), found::unfinished(path), exit::INTERRUPTED)
                };
                runs.extend(found.only_unfinished().iter().map(partial));
                runs.extend(found.items.into_iter().map(|item| match item {
                    found::Item::Run(run) => Ok(run),
                    found::Item::Refused(one) => {
                        let code = one.code(exit::UNCONFIRMED);
                        refused(one.path, one.what, code)
                    }
                }));
            }
            Err(stop) if paths.len() > 1 => runs.push(Err((path.clone(), stop))),
            Err(stop) => return Err(stop),
        }
    }
    if let [Ok(run)] = runs.as_slice() {
        task_of(run, args.task.as_deref())?;
    }
    Ok(runs)
}

fn print_sums(
    policy: &Utf8Path,
    tried: &[Tried],
    required: &[Requirement],
    terminal: &mut Terminal,
) -> Result<(), Stop> {
    let runs = tested(tried).count();
    let mut counts = Counts::default();
    let (mut decisions, mut touched, mut lost) = (0, 0, 0);
    for one in tested(tried) {
        counts += one.counts;
        decisions += one.test.decisions;
        touched += usize::from(one.test.from_step.is_some());
        lost += one.lost.len();
    }
    let mut sums = format!(
        "{}, {} under {policy}; runs that differ: {touched}; {counts}",
        counted(runs, "run", "runs"),
        counted(decisions, "decision", "decisions"),
    );
    if !required.is_empty() {
        let _ = write!(sums, "; required and lost: {lost}");
    }
    if runs < tried.len() {
        let _ = write!(sums, "; runs that could not be tested: {}", tried.len() - runs);
    }
    Ok(terminal.line(&sums)?)
}

fn print_tested(tested: &Tested, terminal: &mut Terminal) -> Result<(), Stop> {
    let test = &tested.test;
    let changes = match test.changes.len() {
        0 if tested.test.from_step.is_some() => "no decision changes".to_owned(),
        0 => "nothing changes".to_owned(),
        some => counted(some, "decision changes", "decisions change"),
    };
    let tone = if tested.is_red() { Tone::Bad } else { Tone::Strong };
    let standing = tested.standing();
    terminal.line(&format!("{}: {}, {standing}", tested.run, terminal.paint(tone, &changes)))?;
    for Told { change, now, is_lost, is_loosened } in tested.told() {
        let what = change.tool.as_deref().unwrap_or("the run");
        let was = change.was.as_deref().unwrap_or("not decided");
        let loosened = if is_loosened { "  LOOSENED" } else { "" };
        let lost = if is_lost { "  (required)" } else { "" };
        let tone = if is_loosened || is_lost { Tone::Bad } else { Tone::Strong };
        terminal.line(&format!(
            "  step {:<3} {:<10} {was} -> {}{loosened}{lost}",
            change.step,
            escape(&shortened(what, 40)),
            terminal.paint(tone, now)
        ))?;
        let was_denied = was.starts_with("deny") && !now.starts_with("deny");
        if let Some(reason) = change.recorded_reason.as_deref().filter(|_| was_denied) {
            terminal.line(&format!("           recorded: {}", escape(reason)))?;
        }
        if let Some(reason) = change.reason.as_deref().filter(|_| now != "allow") {
            terminal.line(&format!("           {}", escape(reason)))?;
        }
    }
    for note in &test.notes {
        terminal.line(&format!("  {}", escape(note)))?;
    }
    Ok(())
}
