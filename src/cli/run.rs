//! `gatedrun run`

use std::io::BufWriter;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use crate::agent::RunError;
use crate::event::{Record, TerminalReason};
use crate::evidence::expect::Observed;
use crate::evidence::summary::{Outcome, Summary};
use crate::evidence::text::terminal as escape;
use crate::evidence::write::{Settlement, Staging, Standing};
use crate::evidence::{MANIFEST, REPORT, STATE, TRACE};
use crate::inputs::Inputs;
use crate::isolation::{Status, confined};
use crate::run::Course;

use super::output::{Terminal, Tone};
use super::project::{self, Libraries, TaskPath};
use super::steps::{self, Steps};
use super::{Stop, check, exit, in_ci};

/// The arguments of `run`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gatedrun run                              the built-in task, into runs/canonical/v1\n  gatedrun run tasks/canonical/v1.json      a task of this project\n  gatedrun run tasks/canonical/v1.json --seed 1 --out seed-1"
)]
pub struct Args {
    /// Task files; the built-in canonical task if none is named
    #[arg(value_name = "TASK")]
    tasks: Vec<Utf8PathBuf>,
    /// Use this seed instead of the task's own
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Write the run to this folder instead of runs/ID
    #[arg(long, value_name = "FOLDER")]
    out: Option<Utf8PathBuf>,
    /// Replace the run that is there, instead of laying a proposal beside it (never in CI)
    #[arg(long)]
    accept: bool,
    /// Start over where an earlier run was cut short, and drop what it left
    #[arg(long)]
    discard_partial: bool,
    /// Print the outcome as JSON, a line a run
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Line<'a> {
    task: &'a str,
    run: Option<&'a Utf8Path>,
    standing: &'static str,
    unmet: &'a [String],
    isolation: &'static str,
    outcome: Option<Outcome>,
}

pub(super) fn main(args: &Args, terminal: &mut Terminal) -> Result<u8, Stop> {
    if args.accept && in_ci() {
        return Err(Stop::usage(
            "--accept: nothing can be accepted in CI (CI is set); accept it by hand and commit it",
        ));
    }
    if args.out.is_some() && args.tasks.len() > 1 {
        return Err(Stop::usage(
            "--out: it takes one task at a time, or the runs would overwrite each other",
        ));
    }
    let tasks: Vec<TaskPath> = match args.tasks.as_slice() {
        [] => vec![project::builtin_task()],
        named => named.iter().map(|path| project::task(path)).collect(),
    };
    let mut libraries = Libraries::default();
    let mut code = exit::OK;
    for task in &tasks {
        let inputs = libraries.get(&task.project).load(&task.path, args.seed)?;
        code = code.max(run_one(args, task, &inputs, terminal)?);
    }
    Ok(code)
}

fn run_one(
    args: &Args,
    task: &TaskPath,
    inputs: &Inputs,
    terminal: &mut Terminal,
) -> Result<u8, Stop> {
    let id = &inputs.task.id;
    let target = args.out.clone().unwrap_or_else(|| project::runs(&task.project).join(id));
    let staging = Staging::begin(&target, args.discard_partial)?;
    if !args.json {
        terminal.line(&format!(
            "{}  {}",
            terminal.paint(Tone::Strong, id),
            escape(&inputs.task.question)
        ))?;
    }
    let (summary, observed, status) =
        match execute(inputs, &staging, (!args.json).then_some(&mut *terminal)) {
            Ok(done) => done,
            Err(stop) => {
                staging.remove()?;
                return Err(stop);
            }
        };
    let unmet =
        inputs.task.expected.as_ref().map_or_else(Vec::new, |expected| observed.unmet(expected));
    let standing = staging.standing()?;
    // A run that nobody asked to put elsewhere is evidence-to-be, and CI cannot make evidence.
    let may_create = args.out.is_some() || !in_ci();
    let settlement = match standing {
        Standing::Identical => Settlement::Discard,
        Standing::New if may_create => Settlement::Accept,
        Standing::Different if args.accept => Settlement::Accept,
        Standing::New | Standing::Different => Settlement::Propose,
    };
    let place = staging.settle(settlement)?;
    let word = match (standing, settlement) {
        (Standing::Identical, _) => "identical",
        (Standing::New, Settlement::Accept) => "new",
        (Standing::Different, Settlement::Accept) => "accepted",
        (_, _) => "proposed",
    };
    if args.json {
        let run = place.as_deref().or(Some(&target));
        let line = Line {
            task: id,
            run,
            standing: word,
            unmet: &unmet,
            isolation: status.as_str(),
            outcome: summary.outcome(),
        };
        terminal.line(&serde_json::to_string(&line).unwrap_or_default())?;
    } else {
        print_outcome(&summary, &unmet, terminal)?;
        terminal.note(&format!("  isolation by the kernel: {}", status.as_str()));
        print_place(&target, place.as_deref(), word, terminal)?;
    }
    if word == "proposed" && standing == Standing::Different && !args.json {
        check::print_differences(&target, place.as_deref().unwrap_or(&target), terminal)?;
    }
    let ended = summary.finished.as_ref().map(|finished| finished.terminal_reason);
    Ok(if !unmet.is_empty() || word == "proposed" {
        exit::DRIFT
    } else if inputs.task.expected.is_none() && ended != Some(TerminalReason::FinalAnswer) {
        exit::ENDED
    } else {
        exit::OK
    })
}

/// Runs a task into a staging folder, and prints a line a step where there is a terminal.
pub(super) fn execute(
    inputs: &Inputs,
    staging: &Staging,
    mut terminal: Option<&mut Terminal>,
) -> Result<(Summary, Observed, Status), Stop> {
    let state = BufWriter::with_capacity(1 << 16, staging.create(STATE)?);
    let trace = BufWriter::with_capacity(1 << 16, staging.create(TRACE)?);
    let mut observed = Observed::default();
    let mut rows = Steps::default();
    let expects = inputs.task.expected.is_some();
    let watch = |record: &Record| {
        if expects {
            observed.push(record);
        }
        let Some(terminal) = &mut terminal else { return };
        let lines = rows.push(record).map_or_else(Vec::new, |row| steps::lines(&row, terminal));
        let lines = lines.into_iter().chain(steps::notice(record, terminal));
        for line in lines {
            // A run goes on whether or not somebody reads along.
            let _ = terminal.line(&line);
        }
    };
    let (recorded, status) = confined(inputs.policy.sandbox.isolation, staging.folder(), || {
        crate::run::run(inputs, staging.work(), Course::fresh(), state, trace, watch)
    })
    .map_err(Stop::usage)?;
    let recorded = recorded.map_err(|error| stop(inputs, &error))?;
    staging.write(REPORT, &recorded.report)?;
    staging.write(MANIFEST, &recorded.manifest)?;
    Ok((recorded.summary, observed, status))
}

/// Why a run has no evidence.
pub(super) fn stop(inputs: &Inputs, error: &RunError) -> Stop {
    Stop::usage(format!("task {}: {error}", inputs.task.id))
}

fn print_outcome(summary: &Summary, unmet: &[String], terminal: &mut Terminal) -> Result<(), Stop> {
    let Some(outcome) = summary.outcome() else { return Ok(()) };
    let good = outcome.terminal_reason == TerminalReason::FinalAnswer;
    let tone = if good { Tone::Good } else { Tone::Bad };
    let why = outcome
        .rule_id
        .map(|rule| rule.as_str())
        .or(outcome.failure_mode.map(|mode| mode.as_str()));
    terminal.line(&format!(
        "  {}{} after {} steps: {} calls allowed, {} denied; {} attempts, {} retries; {} tokens",
        terminal.paint(tone, outcome.terminal_reason.as_str()),
        why.map_or_else(String::new, |why| format!(" ({why})")),
        outcome.steps,
        outcome.calls_allowed,
        outcome.calls_denied,
        outcome.attempts,
        outcome.retries,
        outcome.usage.total(),
    ))?;
    if let Some(answer) = summary.finished.as_ref().and_then(|finished| finished.answer.as_deref())
    {
        terminal.line(&format!("  answer: {}", escape(answer)))?;
    }
    for unmet in unmet {
        terminal.line(&format!(
            "  {} {}",
            terminal.paint(Tone::Bad, "not as expected:"),
            escape(unmet)
        ))?;
    }
    Ok(())
}

fn print_place(
    target: &Utf8Path,
    place: Option<&Utf8Path>,
    word: &str,
    terminal: &mut Terminal,
) -> Result<(), Stop> {
    let path = place.unwrap_or(target);
    let says = match word {
        "identical" => "identical to the run that is there".to_owned(),
        "new" => format!("written; read {path}/{REPORT} first"),
        "accepted" => "replaces the run that was there".to_owned(),
        _ => format!(
            "a proposal beside {target}; compare, then accept it with `gatedrun run --accept`"
        ),
    };
    Ok(terminal.line(&format!("  {path}: {says}"))?)
}
