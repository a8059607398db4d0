//! `gatedrun regression`: outcome and decisions of every task now, against its committed run.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use crate::evidence::expect::Observed;
use crate::evidence::{STATE, open};
use crate::inputs::{Inputs, Project};
use crate::ledger::Reader;

use super::check::{Scratch, find_tasks};
use super::output::{Terminal, Tone};
use super::project::Libraries;
use super::{Stop, exit, run};

/// The arguments of `regression`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gatedrun regression --json | jq 'select(.verdict != \"same\")'")]
pub struct Args {
    /// The project
    #[arg(value_name = "FOLDER", default_value = ".")]
    project: Utf8PathBuf,
    /// Print a JSON object a task
    #[arg(long)]
    json: bool,
}

/// How a task does now, compared with its committed run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// The same outcome, by the same decisions.
    Same,
    /// An expectation is met that was not.
    Improved,
    /// Anything else: another outcome, another decision, an expectation that is no longer met.
    Worse,
    /// No run is committed.
    New,
}

/// What is printed about a task.
#[derive(Debug, Serialize)]
struct Row {
    task: String,
    verdict: Verdict,
    committed: Option<String>,
    now: String,
    what: Vec<String>,
}

pub(super) fn main(args: &Args, terminal: &mut Terminal) -> Result<u8, Stop> {
    let mut libraries = Libraries::default();
    let library = libraries.get(&Project::Folder(args.project.clone()));
    let mut rows = Vec::new();
    let scratch = Scratch::default();
    for id in find_tasks(&args.project)? {
        let inputs = library.load(&format!("tasks/{id}.json"), None)?;
        let work = scratch.path().join(rows.len().to_string());
        rows.push(compare(&args.project, &inputs, work)?);
    }
    let changed = rows.iter().filter(|row| row.verdict != Verdict::Same).count();
    let worse = rows.iter().filter(|row| row.verdict == Verdict::Worse).count();
    for row in &rows {
        if args.json {
            terminal.json(row)?;
        } else if row.verdict != Verdict::Same {
            let (word, tone) = match row.verdict {
                Verdict::Same => ("same", Tone::Strong),
                Verdict::Improved => ("improved", Tone::Good),
                Verdict::Worse => ("worse", Tone::Bad),
                Verdict::New => ("new", Tone::Strong),
            };
            let word = terminal.paint(tone, &format!("{word:<9}"));
            terminal.line(&format!(
                "{word} {:<60} {} -> {}",
                row.task,
                row.committed.as_deref().unwrap_or("none"),
                row.now
            ))?;
            for what in &row.what {
                terminal.line(&format!("          {}", crate::evidence::text::terminal(what)))?;
            }
        }
    }
    if !args.json {
        terminal.line(&format!(
            "{} tasks: {} the same, {worse} worse, {changed} changed in all",
            rows.len(),
            rows.len() - changed
        ))?;
    }
    Ok(if worse == 0 { exit::OK } else { exit::DRIFT })
}

fn compare(project: &Utf8Path, inputs: &Inputs, work: Utf8PathBuf) -> Result<Row, Stop> {
    let id = &inputs.task.id;
    let mut now = Observed::default();
    crate::run::run(inputs, work, crate::run::Course::fresh(), io::sink(), io::sink(), |record| {
        now.push(record)
    })
    .map_err(|error| run::stop(inputs, &error))?;
    let unmet = |observed: &Observed| {
        inputs.task.expected.as_ref().map_or(0, |expected| observed.unmet(expected).len())
    };
    let committed = committed(&project.join("runs").join(id).join(STATE))?;
    let row = |verdict, committed: Option<&Observed>, what| Row {
        task: id.clone(),
        verdict,
        committed: committed.map(|observed| observed.terminal_reason().to_owned()),
        now: now.terminal_reason().to_owned(),
        what,
    };
    let Some(committed) = committed else { return Ok(row(Verdict::New, None, Vec::new())) };
    let what = now.changes_from(&committed);
    let verdict = if what.is_empty() && unmet(&now) == unmet(&committed) {
        Verdict::Same
    } else if unmet(&now) < unmet(&committed) {
        Verdict::Improved
    } else {
        Verdict::Worse
    };
    Ok(row(verdict, Some(&committed), what))
}

/// What a committed ledger shows; `None` if there is none.
fn committed(path: &Utf8Path) -> Result<Option<Observed>, Stop> {
    let mut reader = match open::open(path) {
        Ok(file) => Reader::new(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(Stop { message: format!("{path}: {error}"), code: exit::MALFORMED });
        }
    };
    let mut observed = Observed::default();
    loop {
        match reader.next_record() {
            Ok(Some(record)) => observed.push(&record),
            Ok(None) => return Ok(Some(observed)),
            Err(error) => {
                return Err(Stop { message: format!("{path}: {error}"), code: exit::MALFORMED });
            }
        }
    }
}
