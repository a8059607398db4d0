//! `gatedrun replay`: runs again over their own record, and other policies tried on them.

use std::collections::HashMap;
use std::fmt::Write as _;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use crate::evidence::compare::differing_fields;
use crate::evidence::text::{counted, shortened, terminal as escape};
use crate::inputs::{Inputs, Library, Project};
use crate::replay::backtest::{Backtest, Change, Standing, Untried, backtest};
use crate::replay::{Diverged, Place, Replay, as_record, replay};

use super::check::{Scratch, seed_of, task_of};
use super::output::{Terminal, Tone, differing};
use super::project::{self, Libraries};
use super::report::{junit, sarif};
use super::sign::write_whole;
use super::{Stop, exit};

/// The arguments of `replay`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gatedrun replay runs/canonical/v1\n  gatedrun replay runs --policy policy/next.yaml\n  gatedrun replay runs --policy policy/next.yaml --require deny --junit backtest.xml"
)]
pub struct Args {
    /// Runs, or folders that hold runs
    #[arg(value_name = "RUN or FOLDER", required = true)]
    paths: Vec<Utf8PathBuf>,
    /// The task of a run that lies outside runs/
    #[arg(long, value_name = "TASK")]
    task: Option<Utf8PathBuf>,
    /// Try this policy on the runs: which decisions change, and from where on
    #[arg(long, value_name = "FILE")]
    policy: Option<Utf8PathBuf>,
    /// Execute nothing after a change either: what follows it is unknown
    #[arg(long, requires = "policy")]
    recorded_only: bool,
    /// A decision that must not be lost: deny, allow, or with its rule, as in deny:url_allowlist
    #[arg(long, value_name = "DECISION", requires = "policy")]
    require: Vec<String>,
    /// Write the back-test as JUnit XML, a test case a run
    #[arg(long, value_name = "FILE", requires = "policy")]
    junit: Option<Utf8PathBuf>,
    /// Write the back-test as SARIF, a result a changed decision
    #[arg(long, value_name = "FILE", requires = "policy")]
    sarif: Option<Utf8PathBuf>,
    /// Print the verdicts as JSON, a line a run
    #[arg(long)]
    json: bool,
}

pub(super) fn main(args: &Args, terminal: &mut Terminal) -> Result<u8, Stop> {
    let mut runs = Vec::new();
    for path in &args.paths {
        runs.extend(project::find_runs(&project::finished_runs_at(path)?)?);
    }
    match &args.policy {
        None => replay_all(args, &runs, terminal),
        Some(policy) => backtest_all(args, policy, &runs, terminal),
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
        match self.inputs.entry(key) {
            std::collections::hash_map::Entry::Occupied(kept) => Ok(kept.into_mut()),
            std::collections::hash_map::Entry::Vacant(place) => {
                Ok(place.insert(self.libraries.get(&project).load(&path, seed)?))
            }
        }
    }
}

/// What `--json` prints of a replay.
#[derive(Debug, Serialize)]
struct Line<'a> {
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
#[derive(Debug, Serialize)]
struct Field {
    pointer: String,
    recorded: String,
    now: String,
}

fn replay_all(args: &Args, runs: &[Utf8PathBuf], terminal: &mut Terminal) -> Result<u8, Stop> {
    let mut loader = Loader::default();
    let mut code = exit::OK;
    for run in runs {
        let task = task_of(run, args.task.as_deref())?;
        let inputs = match loader.load(run, task) {
            Ok(inputs) => inputs,
            // One that cannot be run again does not hide what the others come to.
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
        let replayed = replay(run, inputs);
        if args.json {
            print_json(run, &replayed, terminal)?;
        } else {
            print_replay(run, &replayed, terminal)?;
        }
        // What cannot be read at all weighs more than what differs.
        code = match replayed {
            Replay::Unreadable(_) => exit::worse(code, exit::MALFORMED),
            Replay::Identical => code,
            Replay::Diverged(_) | Replay::Incomplete(_) => exit::worse(code, exit::DRIFT),
        };
    }
    if !args.json && runs.len() != 1 {
        terminal.line(&format!("{} replayed", counted(runs.len(), "run", "runs")))?;
    }
    Ok(code)
}

fn word(replayed: &Replay) -> &'static str {
    match replayed {
        Replay::Identical => "identical",
        Replay::Diverged(_) => "diverged",
        Replay::Incomplete(_) => "incomplete",
        Replay::Unreadable(_) => "unreadable",
    }
}

fn print_json(run: &Utf8Path, replayed: &Replay, terminal: &mut Terminal) -> Result<(), Stop> {
    let mut line = Line::of(run, word(replayed));
    match replayed {
        Replay::Identical => {}
        Replay::Incomplete(what) | Replay::Unreadable(what) => line.message = Some(what.clone()),
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

/// What trying a policy on a run came to.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Tried {
    /// Its decisions were made again.
    Tested(Tested),
    /// Nothing is known of it.
    Refused(Refused),
}

/// A run on which no policy can be tried.
#[derive(Debug, Serialize)]
pub struct Refused {
    /// The run.
    pub run: Utf8PathBuf,
    /// `failed` where what it was made with cannot be loaded, `unreadable` where its record cannot.
    pub standing: &'static str,
    /// Why.
    pub message: String,
    #[serde(skip)]
    code: u8,
}

/// What a back-test found in a run.
#[derive(Debug, Serialize)]
pub struct Tested {
    /// The run.
    pub run: Utf8PathBuf,
    /// What the policy would have done.
    #[serde(flatten)]
    pub test: Backtest,
    /// Decisions that were required and are lost, or of which nothing is known.
    pub lost: Vec<Change>,
    #[serde(skip)]
    required: Vec<String>,
}

/// A decision that changes or may, as it is told.
pub struct Told<'t> {
    /// The decision.
    pub change: &'t Change,
    /// What is decided now, or what there is to say instead.
    pub now: &'t str,
    /// Whether it was required and is lost.
    pub is_lost: bool,
}

impl Tested {
    fn new(run: Utf8PathBuf, test: Backtest, required: &[String]) -> Self {
        let required = required.to_vec();
        let mut one = Self { run, test, lost: Vec::new(), required };
        one.lost = one.told().filter(|told| told.is_lost).map(|told| told.change.clone()).collect();
        one
    }

    /// The decisions that change, and those of which nothing is known.
    pub fn told(&self) -> impl Iterator<Item = Told<'_>> {
        let changes = self.test.changes.iter().map(|change| (change, false));
        let unknown = self.test.unknown.iter().map(|change| (change, true));
        changes.chain(unknown).map(|(change, unknown)| {
            let otherwise = match change.was.as_deref() {
                _ if unknown => "unknown",
                // It stops nothing, so nothing says that it was not reached.
                Some(was) if was.starts_with("warn") => "not given",
                _ => "not reached",
            };
            let now = change.now.as_deref().unwrap_or(otherwise);
            Told { change, now, is_lost: is_lost(change, unknown, &self.required) }
        })
    }
}

fn backtest_all(
    args: &Args,
    policy: &Utf8Path,
    runs: &[Utf8PathBuf],
    terminal: &mut Terminal,
) -> Result<u8, Stop> {
    for required in &args.require {
        check_decision(required)?;
    }
    let mut loader = Loader::default();
    let here = Library::new(Project::Folder(Utf8PathBuf::new()));
    let scratch = Scratch::default();
    let mut tried = Vec::new();
    let mut code = exit::OK;
    for run in runs {
        let work = || scratch.path().join(tried.len().to_string());
        let work = (!args.recorded_only).then(work);
        let refused = |standing, message, code| {
            Tried::Refused(Refused { run: run.clone(), standing, message, code })
        };
        let task = task_of(run, args.task.as_deref())?;
        let one = match loader.load(run, task) {
            Ok(inputs) => {
                let before = inputs.replace_policy(&here, policy.as_str())?;
                let result = backtest(run, inputs, &before, work);
                inputs.policy = before;
                match result {
                    Ok(test) => Tried::Tested(Tested::new(run.clone(), test, &args.require)),
                    Err(untried) => {
                        let (standing, code) = match &untried {
                            Untried::OtherTask(_) => ("failed", exit::USAGE),
                            Untried::Unreadable(_) => ("unreadable", exit::MALFORMED),
                        };
                        refused(standing, untried.to_string(), code)
                    }
                }
            }
            // One on which it cannot be tried does not hide what the others come to.
            Err(Stop { message, code }) => refused("failed", message, code),
        };
        code = exit::worse(
            code,
            match &one {
                Tried::Tested(tested) if tested.lost.is_empty() => exit::OK,
                Tried::Tested(_) => exit::DRIFT,
                Tried::Refused(refused) => refused.code,
            },
        );
        match &one {
            one if args.json => terminal.json(one)?,
            Tried::Tested(tested) => print_tested(tested, terminal)?,
            Tried::Refused(refused) => {
                terminal.refusal(run, refused.standing, &refused.message)?;
            }
        }
        tried.push(one);
    }
    if !args.json {
        print_sums(args, policy, &tried, terminal)?;
    }
    if let Some(path) = &args.junit {
        write_whole(path, &junit(&tried).map_err(Stop::usage)?)?;
    }
    if let Some(path) = &args.sarif {
        write_whole(path, &sarif(&tried))?;
    }
    Ok(code)
}

fn print_sums(
    args: &Args,
    policy: &Utf8Path,
    tried: &[Tried],
    terminal: &mut Terminal,
) -> Result<(), Stop> {
    let tested: Vec<&Tested> = tested(tried).collect();
    let changed: usize = tested.iter().map(|one| one.test.changes.len()).sum();
    let decisions: u64 = tested.iter().map(|one| one.test.decisions).sum();
    let touched = tested.iter().filter(|one| one.test.from_step.is_some()).count();
    let lost: usize = tested.iter().map(|one| one.lost.len()).sum();
    let mut sums = format!(
        "runs: {}, decisions: {decisions}, under {policy}: {changed} changed; runs that are not as before: {touched}",
        tested.len(),
    );
    if !args.require.is_empty() {
        let _ = write!(sums, "; {lost} that are required are lost");
    }
    if tested.len() < tried.len() {
        let _ = write!(sums, "; runs of which nothing is known: {}", tried.len() - tested.len());
    }
    Ok(terminal.line(&sums)?)
}

/// The runs whose decisions were made again.
pub fn tested(tried: &[Tried]) -> impl Iterator<Item = &Tested> {
    tried.iter().filter_map(|one| match one {
        Tried::Tested(tested) => Some(tested),
        Tried::Refused(_) => None,
    })
}

/// A decision as `--require` names it.
fn check_decision(text: &str) -> Result<(), Stop> {
    let (decision, rule) = text.split_once(':').map_or((text, None), |(d, rule)| (d, Some(rule)));
    let rules = crate::event::Rule::ALL.map(crate::event::Rule::as_str);
    let known = match (decision, rule) {
        ("allow", None) | ("deny", None) => true,
        ("deny" | "warn", Some(rule)) => rules.contains(&rule),
        _ => false,
    };
    if known {
        return Ok(());
    }
    Err(Stop::usage(format!(
        "--require {text:?}: it names no decision; write allow, deny, or deny:RULE with one of {}",
        rules.join(", ")
    )))
}

/// Whether a required decision is not made any more. A call that is not reached any more is not let
/// through; one of which nothing is known may be.
fn is_lost(change: &Change, unknown: bool, required: &[String]) -> bool {
    let matches = |word: &str, required: &str| {
        word == required || word.strip_prefix(required).is_some_and(|rest| rest.starts_with(':'))
    };
    let Some(was) = change.was.as_deref() else { return false };
    required.iter().any(|required| {
        matches(was, required)
            && match change.now.as_deref() {
                Some(now) => !matches(now, required),
                None => unknown || required == "allow",
            }
    })
}

fn print_tested(tested: &Tested, terminal: &mut Terminal) -> Result<(), Stop> {
    let test = &tested.test;
    let standing = match test.standing {
        Standing::Exact => "exact".to_owned(),
        Standing::Bounded(step) if test.continued => {
            format!("bounded@{step}, gone on with for real, the LLM being a stub")
        }
        Standing::Bounded(step) => format!("bounded@{step}, what follows is unknown"),
    };
    let changes = match test.changes.len() {
        0 => "nothing changes".to_owned(),
        some => counted(some, "decision changes", "decisions change"),
    };
    let tone = if tested.lost.is_empty() { Tone::Strong } else { Tone::Bad };
    terminal.line(&format!("{}: {}, {standing}", tested.run, terminal.paint(tone, &changes)))?;
    for Told { change, now, is_lost } in tested.told() {
        let what = change.tool.as_deref().unwrap_or("the run");
        let was = change.was.as_deref().unwrap_or("not decided");
        let lost = if is_lost { "  (required)" } else { "" };
        terminal.line(&format!(
            "  step {:<3} {:<10} {was} -> {}{lost}",
            change.step,
            escape(&shortened(what, 40)),
            terminal.paint(if now.starts_with("deny") { Tone::Bad } else { Tone::Good }, now)
        ))?;
        if let Some(reason) = change.reason.as_deref().filter(|_| now != "allow") {
            terminal.line(&format!("           {}", escape(reason)))?;
        }
    }
    for note in &test.notes {
        terminal.line(&format!("  {}", escape(note)))?;
    }
    Ok(())
}
