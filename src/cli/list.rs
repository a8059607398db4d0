//! `gatedrun list`: the tasks and runs of a project in one table. It executes nothing and checks
//! nothing: what a ledger says of itself is for `gatedrun verify` to judge.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use schemars::JsonSchema;
use serde::Serialize;

use crate::builtin;
use crate::event::Ruling;
use crate::evidence::STATE;
use crate::evidence::text::terminal as escape;
use crate::evidence::write::{interrupted, proposal};
use crate::file;
use crate::inputs::read_file;
use crate::problem::Problems;
use crate::proposal::is_signed;
use crate::task::{PARTIAL_ENDING, Task};

use super::found::{self, Unread};
use super::output::{Terminal, Tone};
use super::project;
use super::refused::Refused;
use super::tasks::find_tasks;
use super::{Stop, exit};

/// The arguments of `list`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gatedrun list\n  gatedrun list --json | jq 'select(.standing != \"committed\")'"
)]
pub struct Args {
    /// The project
    #[arg(value_name = "FOLDER", default_value = ".")]
    project: Utf8PathBuf,
    /// Print the table as JSON, one line per run
    #[arg(long)]
    json: bool,
}

/// What there is of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
enum Standing {
    /// A run in its task's place.
    Committed,
    /// A run that was cut short, or is being made.
    Unfinished,
    /// A run that waits for `gatedrun review`.
    Proposal,
    /// A run whose task does not exist.
    NoTask,
    /// A run of the built-in task, which has no task file.
    BuiltIn,
    /// A task whose run does not exist.
    NoRun,
    /// Something unreadable in the place of a run or task.
    Unreadable,
}

impl Standing {
    fn words(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Unfinished => "unfinished",
            Self::Proposal => "proposal",
            Self::NoTask => "no task",
            Self::BuiltIn => "built in",
            Self::NoRun => "no run",
            Self::Unreadable => "unreadable",
        }
    }
}

/// One row.
#[derive(Debug, JsonSchema, Serialize)]
pub(super) struct Row {
    /// The run's folder; null where there is none.
    run: Option<String>,
    /// The task's file; null where there is none.
    task: Option<String>,
    standing: Standing,
    /// Why the run ended; null where it has not.
    end: Option<&'static str>,
    /// How often each decision was made.
    decisions: BTreeMap<String, u64>,
    /// Whether a signature lies with the run. Nobody checked it.
    signed: bool,
    /// How many events the ledger holds.
    events: u64,
    /// Why the ledger cannot be read completely.
    error: Option<String>,
    /// The exit code that the error is.
    #[serde(skip)]
    code: u8,
    #[serde(skip)]
    name: String,
}

impl Row {
    fn of(name: &str, standing: Standing) -> Self {
        let (run, task, end, error) = (None, None, None, None);
        let (decisions, signed, events) = (BTreeMap::new(), false, 0);
        let name = name.to_owned();
        Self { run, task, standing, end, decisions, signed, events, error, code: exit::OK, name }
    }

    fn refused(refused: &Refused) -> Self {
        let Refused { path, what, .. } = refused;
        let (run, error) = (Some(path.clone()), Some(what.clone()));
        let code = refused.code(exit::UNCONFIRMED);
        Self { run, error, code, ..Self::of(path, Standing::Unreadable) }
    }

    /// Names the row's task, and says why it cannot be loaded where that is so.
    fn read_task(&mut self, root: &Utf8Path) {
        let path = root.join("tasks").join(format!("{}.json", self.name));
        let loaded = read_file(&path, path.as_str())
            .map_err(Problems::from)
            .and_then(|bytes| Task::load(path.as_str(), &bytes));
        self.task = Some(path.into_string());
        let Err(problems) = loaded else { return };
        self.code = exit::worse(self.code, Stop::from(problems.clone()).code);
        let first = problems.in_order().first().map(ToString::to_string);
        let told = [self.error.take(), first].into_iter().flatten().collect::<Vec<_>>();
        self.error = Some(told.join("; "));
    }
}

pub(super) fn main(args: &Args, terminal: &mut Terminal) -> Result<u8, Stop> {
    project::must_be_folder(&args.project, "name a project's folder")?;
    let root = project::root(&args.project)?.ok_or_else(|| {
        Stop::usage(format!(
            "{}: not a project, which has a folder tasks/ or runs/; name a project's folder",
            args.project
        ))
    })?;
    let rows = rows(&root, terminal)?;
    if args.json {
        rows.iter().try_for_each(|row| terminal.json(row))?;
    } else {
        print(&rows, terminal)?;
    }
    Ok(rows.iter().fold(exit::OK, |worst, row| exit::worse(worst, row.code)))
}

fn rows(root: &Utf8Path, terminal: &mut Terminal) -> Result<Vec<Row>, Stop> {
    let (tasks, refused) = find_tasks(root, "");
    let found = found::find_all_runs(&root.join("runs"))?;
    found.note_replacements(terminal);
    let mut rows: Vec<Row> = refused.iter().chain(found.refused()).map(Row::refused).collect();
    let mut known = BTreeSet::new();
    let runs = found.runs();
    let progress = terminal.progress();
    let (number, total) = (1.., runs.len() + found.unfinished.len());
    let folders = runs.iter().chain(&found.unfinished);
    for (folder, number) in folders.zip(number) {
        progress.item(folder, number, total);
        let name = folder.strip_prefix(root.join("runs")).unwrap_or(folder).as_str();
        let id = name.strip_suffix(PARTIAL_ENDING).unwrap_or(name);
        let standing = match (tasks.iter().any(|task| task == id), id == name) {
            (_, false) => Standing::Unfinished,
            (true, true) => Standing::Committed,
            (false, true) if is_builtin(folder, id) => Standing::BuiltIn,
            (false, true) => Standing::NoTask,
        };
        known.insert(id.to_owned());
        rows.push(read(folder, Row::of(id, standing)));
    }
    let mut proposed = runs_proposed(root, &known, &tasks);
    proposed.extend(
        found
            .proposals
            .iter()
            .map(|target| target.strip_prefix(root.join("runs")).unwrap_or(target).to_string()),
    );
    for id in proposed {
        let folder = proposal(&root.join("runs").join(&id));
        rows.push(read(&folder, Row::of(&id, Standing::Proposal)));
        known.insert(id);
    }
    let is_interrupted = |id: &str| {
        let run = root.join("runs").join(id);
        matches!(interrupted(&run), Ok(Some(_)))
    };
    // Where a folder of runs was not read, a run that is not known is not one that is missing.
    let is_unknown = found.refused().any(|refused| refused.is_host);
    // Nor is one that was not looked into: it has its own row.
    let is_refused = |id: &str| {
        let run = root.join("runs").join(id);
        found.refused().any(|refused| run.starts_with(&refused.path))
    };
    let without =
        tasks.iter().filter(|id| !known.contains(*id) && !is_interrupted(id) && !is_refused(id));
    for id in without.filter(|_| !is_unknown) {
        rows.push(Row::of(id, Standing::NoRun));
    }
    for row in &mut rows {
        if tasks.contains(&row.name) {
            row.read_task(root);
        }
    }
    // A proposal follows the run that it may replace.
    rows.sort_by(|a, b| (&a.name, a.standing as u8).cmp(&(&b.name, b.standing as u8)));
    Ok(rows)
}

/// Whether a run without a task file is one of the built-in task, as `gatedrun check` reads it.
fn is_builtin(run: &Utf8Path, id: &str) -> bool {
    builtin::file(&format!("tasks/{id}.json")).is_some() && project::is_builtin(run)
}

/// The runs and tasks beside which a proposal lies.
fn runs_proposed(root: &Utf8Path, runs: &BTreeSet<String>, tasks: &[String]) -> BTreeSet<String> {
    let is_proposed = |id: &&String| proposal(&root.join("runs").join(id)).is_dir();
    runs.iter().chain(tasks).filter(is_proposed).cloned().collect()
}

/// Fills in what the ledger says.
fn read(folder: &Utf8Path, mut row: Row) -> Row {
    row.run = Some(folder.to_string());
    row.signed = is_signed(folder);
    let (summary, ends) = found::summary(folder);
    let is_unfinished = row.standing == Standing::Unfinished;
    // A run that was cut short before its first event has no ledger.
    let is_begun = !is_unfinished || !matches!(file::at(&folder.join(STATE)), Ok(None));
    match ends.filter(|_| is_begun) {
        Some(Unread::Early) if is_unfinished => {}
        Some(unread) => {
            let what = format!("{STATE}: {}", found::damaged(folder, &unread));
            (row.error, row.code) = (Some(what), unread.code());
        }
        None => {}
    }
    row.end = summary.finished.as_ref().map(|finished| finished.terminal_reason.as_str());
    row.events = summary.records;
    row.decisions = summary
        .decisions
        .iter()
        .map(|((decision, rule), count)| (Ruling::of(*decision, *rule).to_string(), *count))
        .collect();
    row
}

const HEAD: [&str; 6] = ["name", "standing", "end", "events", "signed", "decisions"];

fn print(rows: &[Row], terminal: &mut Terminal) -> Result<(), Stop> {
    let cells: Vec<[String; 6]> = rows.iter().map(cells).collect();
    let mut widths = HEAD.map(|head| head.chars().count());
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    terminal.line(&terminal.paint(Tone::Strong, &line(&HEAD.map(str::to_owned))))?;
    if rows.is_empty() {
        terminal.note("no tasks and no runs; make a run with `gatedrun run`");
    }
    for (row, cells) in rows.iter().zip(&cells) {
        terminal.line(&line(cells))?;
        if let Some(error) = &row.error {
            terminal.line(&format!("  {}", terminal.paint(Tone::Bad, &escape(error))))?;
        }
    }
    Ok(())
}

fn cells(row: &Row) -> [String; 6] {
    let has_run = row.run.is_some();
    let decisions: Vec<String> =
        row.decisions.iter().map(|(word, count)| format!("{count} {word}")).collect();
    let or_nothing = |text: String| if has_run { text } else { String::new() };
    [
        escape(&row.name),
        row.standing.words().to_owned(),
        row.end.unwrap_or_default().to_owned(),
        or_nothing(row.events.to_string()),
        or_nothing(if row.signed { "yes" } else { "no" }.to_owned()),
        decisions.join(", "),
    ]
}
