//! `gatedrun regression`: outcome and decisions of every task now, against its committed run.

use camino::{Utf8Path, Utf8PathBuf};
use schemars::JsonSchema;
use serde::Serialize;

use crate::builtin;
use crate::evidence::behaviour::{Changes, NoRun, Shape};
use crate::evidence::open::Folder;
use crate::evidence::text::{counted, terminal as escape};
use crate::evidence::{STATE, origin};
use crate::inputs::{Library, Root};
use crate::place;
use crate::policy::path::probe;

use super::again::{broke_off, observe, shape_of};
use super::ci::{elsewhere, in_ci};
use super::found;
use super::in_order::{Work, cores, in_order};
use super::next;
use super::output::{Terminal, Tone};
use super::progress::Progress;
use super::project::{self, Libraries, is_cut_short};
use super::report::{Detail, Outputs, Place, Row as ReportRow, State, Suite};
use super::scratch::{Scratch, Workplace};
use super::tasks::find_tasks;
use super::{Stop, exit};

/// The arguments of `regression`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gatedrun regression --json | jq 'select(.verdict != \"same\")'")]
pub struct Args {
    /// The project
    #[arg(value_name = "FOLDER", default_value = ".")]
    project: Utf8PathBuf,
    /// Write the verdicts as JUnit XML, one test case per task
    #[arg(long, value_name = "FILE")]
    junit: Option<Utf8PathBuf>,
    /// Write the verdicts as SARIF, one result per change
    #[arg(long, value_name = "FILE")]
    sarif: Option<Utf8PathBuf>,
    /// Print the verdicts as JSON, one line per task
    #[arg(long)]
    json: bool,
}

/// How a task does now, compared with its committed run; what is reported first stands first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// A committed run of which the ledger is missing, cut short or changed.
    Damaged,
    /// A committed run whose task does not exist.
    Removed,
    /// A task whose committed run does not exist.
    Missing,
    /// A denial is gone.
    Loosened,
    /// The task, its policy or its committed run cannot be loaded or executed.
    Failed,
    /// Something is denied that was allowed.
    Tightened,
    /// Anything else differs.
    Other,
    /// An expectation is met that was not, none is unmet that was met, and no denial is gone.
    Improved,
    /// The same outcome, by the same decisions.
    Same,
}

impl Verdict {
    const ALL: [Self; 9] = [
        Self::Damaged,
        Self::Removed,
        Self::Missing,
        Self::Loosened,
        Self::Failed,
        Self::Tightened,
        Self::Other,
        Self::Improved,
        Self::Same,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::Removed => "removed",
            Self::Missing => "missing",
            Self::Loosened => "loosened",
            Self::Failed => "failed",
            Self::Tightened => "tightened",
            Self::Other => "other",
            Self::Improved => "improved",
            Self::Same => "same",
        }
    }

    /// What it says.
    fn meaning(self) -> &'static str {
        match self {
            Self::Damaged => "the committed ledger is missing, cut short or changed",
            Self::Removed => "a committed run whose task does not exist",
            Self::Missing => "a task whose committed run does not exist",
            Self::Loosened => "a denial is gone",
            Self::Failed => "the task, its policy or its committed run cannot be loaded",
            Self::Tightened => "a call that was allowed is denied",
            Self::Other => "another call, file, outcome, failure mode or answer",
            Self::Improved => "an expectation is newly met",
            Self::Same => "the same outcome, by the same decisions",
        }
    }

    fn is_red(self) -> bool {
        !matches!(self, Self::Same | Self::Improved)
    }
}

/// What is printed about a task.
#[derive(Debug, JsonSchema, Serialize)]
pub(super) struct Row {
    task: String,
    verdict: Verdict,
    committed: Option<String>,
    now: Option<String>,
    what: Vec<String>,
    #[serde(skip)]
    code: u8,
    /// Whether it is about a place that is not looked into, and not about a task.
    #[serde(skip)]
    is_place: bool,
}

impl Row {
    fn of(task: &str, verdict: Verdict, what: Vec<String>) -> Self {
        let code = if verdict.is_red() { exit::DRIFT } else { exit::OK };
        let (task, is_place) = (task.to_owned(), false);
        Self { task, verdict, committed: None, now: None, what, code, is_place }
    }

    /// A place that is not looked into, so that nothing is known of it.
    fn of_place(path: &str, what: String, code: u8) -> Self {
        Self { code, is_place: true, ..Self::of(path, Verdict::Failed, vec![what]) }
    }
}

pub(super) fn main(args: &Args, terminal: &mut Terminal) -> Result<u8, Stop> {
    probe()?;
    let named = &args.project;
    let outputs = Outputs::of(args.junit.as_deref(), args.sarif.as_deref(), &[])?;
    project::must_be_folder(named, "name a project's folder")?;
    // A project that is not in the working folder is looked for above it, as runs and tasks are.
    let root = project::root(named)?;
    let project = root.as_ref().unwrap_or(named);
    let scratch = Scratch::new()?;
    let (mut tasks, refused) = find_tasks(project, "");
    // A run of the built-in task has no task file.
    let built = builtin_runs(project, &tasks);
    tasks.extend(built.iter().cloned());
    // Where a folder of tasks was not read, a task that is not known is not one that is gone.
    let is_unknown = refused.iter().any(|refused| refused.is_host);
    let mut rows = removed(project, (!is_unknown).then_some(tasks.as_slice()), terminal);
    rows.extend(refused.into_iter().map(|refused| {
        let code = refused.code(exit::UNCONFIRMED);
        Row::of_place(&refused.path, refused.what, code)
    }));
    let progress = terminal.progress();
    let name = |number: usize| tasks.get(number).map_or("", String::as_str);
    progress.item(name(0), 1, tasks.len());
    let all = All { project, tasks: &tasks, built: &built, scratch: &scratch, progress: &progress };
    in_order(&all, (tasks.len(), cores()), terminal, |number, row, _| {
        progress.item(name(number + 1), (number + 2).min(tasks.len()), tasks.len());
        rows.extend(row?);
        Ok(())
    })?;
    rows.sort_by_key(|row| row.verdict);
    for row in &rows {
        if args.json {
            terminal.json(row)?;
        } else if row.verdict != Verdict::Same {
            print(row, terminal)?;
        }
    }
    if !args.json && !rows.is_empty() {
        terminal.line(&sums(&rows))?;
    }
    let is_changed = |row: &Row| row.verdict.is_red() && row.now.is_some();
    if !args.json && rows.iter().any(is_changed) {
        let proposes = if in_ci() { "" } else { ", and writes a proposal" };
        terminal.note(&format!("`gatedrun check RUN` shows a run's changes in full{proposes}"));
    }
    let code = rows.iter().fold(exit::OK, |code, row| exit::worse(code, row.code));
    suite(project, &rows).write(outputs)?;
    if tasks.is_empty() && !is_unknown {
        // Nothing checked is never green.
        return Err(Stop::usage(format!(
            "{}: nothing was checked: the project has no tasks in {}/; add one, or name another project's folder",
            if project == "" { Utf8Path::new(".") } else { project },
            project.join("tasks")
        )));
    }
    Ok(code)
}

/// The tasks of one command.
struct All<'a> {
    project: &'a Utf8Path,
    tasks: &'a [String],
    /// Those that are the program's own.
    built: &'a [String],
    scratch: &'a Scratch,
    progress: &'a Progress,
}

impl Work for All<'_> {
    type Shared = Libraries;
    type Result = Result<Option<Row>, Stop>;

    fn shared(&self) -> Libraries {
        Libraries::default()
    }

    fn piece(&self, number: usize, libraries: &mut Libraries, _: &mut Terminal) -> Self::Result {
        let Some(id) = self.tasks.get(number) else { return Ok(None) };
        let work = self.scratch.folder(number)?;
        let library = libraries.get(&match self.built.contains(id) {
            true => Root::Builtin,
            false => Root::Folder(self.project.to_owned()),
        });
        // What is compared is one run, whatever is put in its place meanwhile.
        let (run, mut tries) = (self.project.join("runs").join(id), 0);
        let once = || {
            tries += 1;
            compare(self.project, &library, id, &work.part(tries), self.progress)
        };
        let compared = Folder::read_steady(&run, once)
            .unwrap_or_else(|error| Err(Stop::host(format!("{run}: {error}"))));
        Ok(Some(match compared {
            Err(stop) if stop.code == exit::INTERRUPTED => return Err(stop),
            // One that cannot be loaded does not hide the results of the others.
            Err(stop) => {
                let what = stop.message.lines().map(str::to_owned).collect();
                Row { code: stop.code, ..Row::of(id, Verdict::Failed, what) }
            }
            Ok(row) => row,
        }))
    }
}

/// How many tasks have which verdict, those of which only the run is left included; and how many
/// places are not known.
fn sums(rows: &[Row]) -> String {
    let tasks: Vec<&Row> = rows.iter().filter(|row| !row.is_place).collect();
    let counts = Verdict::ALL.map(|verdict| {
        let count = tasks.iter().filter(|row| row.verdict == verdict).count();
        (count > 0).then(|| format!("{count} {}", verdict.as_str()))
    });
    let counts: Vec<String> = counts.into_iter().flatten().collect();
    let mut sums = counted(tasks.len(), "task", "tasks");
    if !counts.is_empty() {
        sums.push_str(&format!(": {}", counts.join(", ")));
    }
    match rows.len() - tasks.len() {
        0 => sums,
        places => format!("{sums}; {} not looked into", counted(places, "place", "places")),
    }
}

/// The ids of the committed runs that were made from a built-in task, and have no task file.
fn builtin_runs(folder: &Utf8Path, tasks: &[String]) -> Vec<String> {
    let found = found::find_runs(&folder.join("runs")).map(|found| found.runs());
    let runs = found.unwrap_or_default().into_iter().filter(|run| project::is_builtin(run));
    let ids = runs.filter_map(|run| place::run(&run)).map(|(_, id)| id);
    let has_task = |id: &String| builtin::file(&format!("tasks/{id}.json")).is_some();
    ids.filter(|id| !tasks.contains(id) && has_task(id)).collect()
}

/// The committed runs whose tasks do not exist.
fn removed(folder: &Utf8Path, tasks: Option<&[String]>, terminal: &mut Terminal) -> Vec<Row> {
    let runs = folder.join("runs");
    let found = match found::find_all_runs(&runs) {
        Ok(found) => {
            found.note_replacements(terminal);
            found
        }
        // Which runs are without a task is not known then: not a success.
        Err(stop) => {
            return vec![Row::of_place("runs", stop.message, stop.code)];
        }
    };
    let refused = found.refused().map(|refused| {
        let code = refused.code(exit::UNCONFIRMED);
        Row::of_place(&refused.path, refused.what.clone(), code)
    });
    let runs = found.runs();
    let ids = runs.iter().filter_map(|run| place::run(run)).map(|(_, id)| id);
    let is_gone = |id: &String| tasks.is_some_and(|tasks| !tasks.contains(id));
    let gone = ids.filter(is_gone).map(|id| {
        let what = format!("runs/{id} is committed, and tasks/{id}.json does not exist; restore the task, or remove the run");
        let committed = Shape::of_run(&folder.join("runs").join(&id)).ok();
        Row {
            committed: committed.map(|shape| shape.observed.terminal_reason().to_owned()),
            ..Row::of(&id, Verdict::Removed, vec![what])
        }
    });
    refused.chain(gone).collect()
}

fn compare(
    project: &Utf8Path,
    library: &Library,
    id: &str,
    work: &Workplace<'_>,
    progress: &Progress,
) -> Result<Row, Stop> {
    let inputs = library.load(&format!("tasks/{id}.json"), None)?;
    let run = project.join("runs").join(id);
    if let Some(message) = project::misplaced(&run) {
        return Err(Stop { message, code: exit::DRIFT });
    }
    project::refuse_interrupted(&run)?;
    if let Some(what) = origin::other_version(&run) {
        return Err(Stop { message: format!("{run}/{what}"), code: exit::MALFORMED });
    }
    let committed = match Shape::of_run(&run) {
        Ok(committed) => committed,
        Err(NoRun::Missing) if !place::is_run(&run)? => {
            let is_outside = inputs.task.llm.is_outside();
            let now = match is_outside {
                true => None,
                false => Some(shape_of(&run, &inputs, work, progress)?),
            };
            let what = if is_cut_short(&run) {
                found::unfinished(&run)
            } else if is_outside {
                "no run is committed; the program that proposes its calls makes one".to_owned()
            } else {
                let task = project.join("tasks").join(format!("{id}.json"));
                format!("no run is committed; make one with `{}`", next::command("run", task, ""))
            };
            let now = now.map(|now| now.observed.terminal_reason().to_owned());
            return Ok(Row { now, ..Row::of(id, Verdict::Missing, vec![what]) });
        }
        Err(NoRun::Host(fault)) => return Err(fault.into()),
        Err(no_run) => {
            let what = format!(
                "{}: the committed ledger {no_run}; restore it, or make the run again {}with `{}`",
                run.join(STATE),
                elsewhere(),
                next::command("run", project.join(format!("tasks/{id}.json")), " --accept")
            );
            let row = Row::of(id, Verdict::Damaged, vec![what]);
            return Ok(Row { code: exit::MALFORMED, ..row });
        }
    };
    let (now, ended) = observe(&run, &inputs, work, progress)?;
    if let Err(stop) = ended {
        return Ok(broken_off(id, now.changes_before_break_off(&committed), stop));
    }
    let ended = now.observed.terminal_reason().to_owned();
    let unmet = |shape: &Shape| {
        let expected = inputs.task.expected.as_ref();
        expected.map_or_else(Vec::new, |expected| shape.observed.unmet(expected))
    };
    let changes = now.changes_from(&committed);
    let (before, after) = (unmet(&committed), unmet(&now));
    let seed = committed.seed().filter(|seed| *seed != inputs.task.seed);
    let verdict = if changes.is_loosened() {
        Verdict::Loosened
    } else if after.len() < before.len() && after.iter().all(|unmet| before.contains(unmet)) {
        Verdict::Improved
    } else if changes.is_tightened() {
        Verdict::Tightened
    } else if changes.is_empty() && after == before && seed.is_none() {
        Verdict::Same
    } else {
        Verdict::Other
    };
    let mut what = changes.words();
    what.extend(
        seed.map(|seed| format!("made with seed {seed}, the task says {}", inputs.task.seed)),
    );
    what.extend(after.iter().map(|unmet| format!("not as expected: {unmet}")));
    Ok(Row {
        committed: Some(committed.observed.terminal_reason().to_owned()),
        now: Some(ended),
        ..Row::of(id, verdict, what)
    })
}

/// A task that cannot be executed to its end: a denial that is gone before that weighs more.
fn broken_off(id: &str, changes: Changes, stop: Stop) -> Row {
    let verdict = if changes.is_loosened() { Verdict::Loosened } else { Verdict::Failed };
    let code = match verdict {
        Verdict::Loosened => exit::worse(exit::DRIFT, stop.code),
        _ => stop.code,
    };
    let what = broke_off(&changes, stop).message.lines().map(str::to_owned).collect();
    Row { code, ..Row::of(id, verdict, what) }
}

fn print(row: &Row, terminal: &mut Terminal) -> Result<(), Stop> {
    let tone = match row.verdict {
        Verdict::Same | Verdict::Improved => Tone::Good,
        _ => Tone::Bad,
    };
    let word = terminal.paint(tone, &format!("{:<9}", row.verdict.as_str()));
    let none = "none";
    let course = match (row.committed.as_deref(), row.now.as_deref()) {
        (None, None) => String::new(),
        (was, now) => format!(" {} -> {}", was.unwrap_or(none), now.unwrap_or(none)),
    };
    let width = if course.is_empty() { 0 } else { 60 };
    terminal.line(&format!("{word} {:<width$}{course}", escape(&row.task)))?;
    for what in &row.what {
        terminal.line(&format!("          {}", escape(what)))?;
    }
    Ok(())
}

fn suite(project: &Utf8Path, rows: &[Row]) -> Suite {
    let rules = Verdict::ALL.map(|verdict| {
        let meaning = verdict.meaning().to_owned();
        (verdict.as_str(), meaning.clone(), format!("Compared with the committed run: {meaning}."))
    });
    let rows = rows.iter().map(|row| {
        let is_gone = matches!(row.verdict, Verdict::Removed | Verdict::Damaged);
        let place = if is_gone {
            Place::new(project.join("runs").join(&row.task).join(STATE), Some(1))
        } else {
            Place::new(project.join("tasks").join(format!("{}.json", row.task)), Some(1))
        };
        let details = row.what.iter().map(|text| Detail {
            rule: row.verdict.as_str(),
            is_failure: row.verdict.is_red(),
            text: text.clone(),
            places: vec![place.clone()],
            identity: text.clone(),
        });
        let details: Vec<Detail> = details.collect();
        let state = match row.verdict {
            Verdict::Failed => State::Error,
            verdict if verdict.is_red() => State::Failed,
            _ => State::Passed,
        };
        let said = match row.what.is_empty() {
            true => row.verdict.meaning().to_owned(),
            false => format!("{}: {}", row.verdict.meaning(), row.what.join("; ")),
        };
        ReportRow {
            name: row.task.clone(),
            verdict: row.verdict.as_str().to_owned(),
            state,
            message: said,
            details,
            place,
        }
    });
    Suite { command: "regression", rules: rules.to_vec(), rows: rows.collect() }
}
