//! `gatedrun show`: a run as a table, or as JSON.

use camino::Utf8PathBuf;
use serde::Serialize;

use crate::event::RunStarted;
use crate::evidence::summary::{Outcome, Summary};
use crate::evidence::text::{counted, terminal as escape};
use crate::evidence::{STATE, open};
use crate::ledger::Reader;

use super::output::{Terminal, Tone};
use super::steps::{self, StepRow, Steps};
use super::{Stop, exit};

/// The arguments of `show`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gatedrun show runs/canonical/v1 --json | jq .outcome")]
pub struct Args {
    /// The run's folder
    #[arg(value_name = "RUN")]
    run: Utf8PathBuf,
    /// Print everything as one JSON object
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    started: Option<&'a RunStarted>,
    steps: &'a [StepRow],
    outcome: Option<Outcome>,
    answer: Option<&'a str>,
    records: u64,
    torn_bytes: usize,
}

pub(super) fn main(args: &Args, terminal: &mut Terminal) -> Result<u8, Stop> {
    let path = args.run.join(STATE);
    let file = open::open(&path).map_err(|error| {
        Stop::usage(format!("{path}: it cannot be read: {error}; name a run's folder"))
    })?;
    let mut reader = Reader::new(file);
    let mut lines = Vec::new();
    let (mut summary, mut collected, mut rows) = (Summary::default(), Steps::default(), Vec::new());
    loop {
        match reader.next_record() {
            Ok(Some(record)) => {
                summary.push(&record);
                if let Some(row) = collected.push(&record) {
                    lines.extend(steps::lines(&row, terminal));
                    rows.push(row);
                }
                lines.extend(steps::notice(&record, terminal));
            }
            Ok(None) => break,
            Err(error) => {
                return Err(Stop { message: format!("{path}: {error}"), code: exit::MALFORMED });
            }
        }
    }
    if let Some(row) = collected.unfinished() {
        lines.extend(steps::lines(&row, terminal));
        rows.push(row);
    }
    let answer = summary.finished.as_ref().and_then(|finished| finished.answer.as_deref());
    if args.json {
        let shown = Shown {
            started: summary.started.as_ref(),
            steps: &rows,
            outcome: summary.outcome(),
            answer,
            records: summary.records,
            torn_bytes: reader.torn(),
        };
        terminal.json(&shown)?;
        return Ok(exit::OK);
    }
    if let Some(started) = &summary.started {
        let title = terminal.paint(Tone::Strong, &started.task);
        terminal.line(&format!("{title}  {}", escape(&started.question)))?;
        terminal.line(&format!(
            "  {}, policy {}, seed {}, {} ({})",
            started.run_id,
            started.policy_version,
            started.seed,
            escape(&started.llm.model),
            started.llm.path.as_str()
        ))?;
    }
    for line in &lines {
        terminal.line(line)?;
    }
    match summary.outcome() {
        Some(outcome) => terminal.line(&format!(
            "  {}: {} allowed, {} denied; {}, {}; {}; {}",
            outcome.terminal_reason.as_str(),
            counted(outcome.calls_allowed, "call", "calls"),
            outcome.calls_denied,
            counted(outcome.attempts, "attempt", "attempts"),
            counted(outcome.retries, "retry", "retries"),
            counted(outcome.usage.total(), "token", "tokens"),
            counted(summary.records, "event", "events")
        ))?,
        None => terminal.line(&format!(
            "  cut short after {}{}",
            counted(summary.records, "event", "events"),
            if reader.torn() > 0 {
                format!(", and {} bytes of another", reader.torn())
            } else {
                String::new()
            }
        ))?,
    }
    if let Some(answer) = answer {
        terminal.line(&format!("  answer: {}", escape(answer)))?;
    }
    Ok(exit::OK)
}
