//! `gatedrun resume`: a run that was cut short, carried on.

use std::io::Read;

use camino::{Utf8Path, Utf8PathBuf};

use crate::event::{Event, ToolReconciled};
use crate::evidence::text::counted;
use crate::evidence::write::Staging;
use crate::governor::Recovery;
use crate::ledger::{LedgerError, Past, Reader};
use crate::run::Course;

use super::check::task_of;
use super::output::Terminal;
use super::project::{Libraries, is_cut_short, named_run};
use super::run::{Wants, conclude, execute, print_head};
use super::{Stop, exit, in_ci, interrupt};

/// The arguments of `resume`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gatedrun resume runs/canonical/v1\n  gatedrun resume my-run --task tasks/canonical/v1.json\n  gatedrun resume my-run --settle call_0123456789abcdef=took-place --reason \"the ticket is there\""
)]
pub struct Args {
    /// The run's folder, as `run` was to write it (with or without .partial)
    #[arg(value_name = "RUN")]
    run: Utf8PathBuf,
    /// The task of a run that lies outside runs/
    #[arg(long, value_name = "TASK")]
    task: Option<Utf8PathBuf>,
    /// What became of a call in doubt: CALL=took-place or CALL=did-not
    #[arg(long, value_name = "CALL=OUTCOME", requires = "reason")]
    settle: Option<String>,
    /// How you know what became of it; it is recorded
    #[arg(long, value_name = "TEXT", requires = "settle")]
    reason: Option<String>,
    /// Replace the run that is there, instead of laying a proposal beside it (never in CI)
    #[arg(long)]
    accept: bool,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
}

/// What a cut-short ledger holds.
#[derive(Debug, Default)]
struct Recorded {
    seed: Option<u64>,
    events: u64,
    bytes: u64,
    torn: usize,
}

pub(super) fn main(args: &Args, terminal: &mut Terminal) -> Result<u8, Stop> {
    if args.accept && in_ci() {
        return Err(Stop::usage(
            "--accept: nothing can be accepted in CI (CI is set); accept it by hand and commit it",
        ));
    }
    let reconciled = args.settle.as_deref().map(|text| settled(text, args)).transpose()?;
    let named = named_run(&args.run)?;
    if !named.is_unfinished() && !is_cut_short(&named.name) {
        return Err(Stop::usage(format!(
            "{}: the run is finished; there is nothing to resume",
            named.name
        )));
    }
    let run = named.name;
    let (project, task) = task_of(&run, args.task.as_deref())?;
    let mut staging = Staging::resume(&run)?;
    let recorded = scan(&staging)?;
    let inputs = Libraries::default().get(&project).load(&task, recorded.seed)?;
    print_head(&inputs, args.json, terminal)?;
    if !args.json {
        let torn = match recorded.torn {
            0 => String::new(),
            bytes => format!("; {bytes} bytes of another are dropped"),
        };
        terminal.line(&format!(
            "  carried on after {}{torn}",
            counted(recorded.events, "event", "events")
        ))?;
    }
    let past: Box<dyn Read + Send> = match staging.recorded()? {
        Some(ledger) => Box::new(ledger.take(recorded.bytes)),
        None => Box::new(std::io::empty()),
    };
    let interrupt = interrupt::flag()?;
    let course = Course {
        past: Past::cut_short(past),
        recovery: Recovery { reconciled, rebuild: false },
        interrupt: Some(&interrupt),
    };
    let lines = (!args.json).then_some(&mut *terminal);
    let done = execute(&inputs, &mut staging, course, recorded.bytes, lines)
        .map_err(|failed| failed.stop(&inputs, &run))?;
    // What lies below runs/ is evidence-to-be, and CI cannot make evidence.
    let may_create = !in_ci() || super::project::run(&run).is_none();
    let wants = Wants { accept: args.accept, json: args.json, may_create };
    conclude(&inputs, &run, staging, &done, &wants, terminal)
}

/// Reads the whole ledger once, so that nothing is touched where a line of it is wrong.
fn scan(staging: &Staging) -> Result<Recorded, Stop> {
    let mut recorded = Recorded::default();
    let Some(ledger) = staging.recorded()? else { return Ok(recorded) };
    let mut reader = Reader::new(ledger);
    loop {
        match reader.next_record() {
            Ok(Some(record)) => {
                if let Event::RunStarted(started) = &record.event {
                    recorded.seed = Some(started.seed);
                }
                recorded.events += 1;
            }
            Ok(None) => break,
            Err(error) => return Err(damaged(staging.folder(), &error)),
        }
    }
    recorded.bytes = reader.bytes();
    recorded.torn = reader.torn();
    Ok(recorded)
}

fn damaged(folder: &Utf8Path, error: &LedgerError) -> Stop {
    Stop {
        message: format!(
            "{folder}/state.jsonl: {error}; only a last line cut short is mended, so the file was damaged otherwise: restore it, or start over with `gatedrun run --discard-partial`"
        ),
        code: exit::DRIFT,
    }
}

/// What `--settle` and `--reason` say.
fn settled(text: &str, args: &Args) -> Result<ToolReconciled, Stop> {
    let took_place = |word: &str| match word {
        "took-place" => Some(true),
        "did-not" => Some(false),
        _ => None,
    };
    let parsed = text.split_once('=').and_then(|(call, word)| Some((call, took_place(word)?)));
    let Some((call_id, took_place)) = parsed else {
        return Err(Stop::usage(format!(
            "--settle {text:?}: write CALL=took-place or CALL=did-not, with the call's id"
        )));
    };
    let reason = args.reason.clone().unwrap_or_default();
    Ok(ToolReconciled { call_id: call_id.to_owned(), took_place, reason })
}
