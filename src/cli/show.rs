//! `gatedrun show`: a run as a table, or as JSON. What the ledger does not hold, it takes from the
//! folder and the current project, and says so where it is not there.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::event::{ExecutionPath, InputRole, RunStarted};
use crate::evidence::expect::Observed;
use crate::evidence::summary::{Outcome, Summary};
use crate::evidence::text::{counted, shortened, terminal as escape};
use crate::evidence::verify::policy;
use crate::evidence::{ATTESTATION, STATE, open, words};
use crate::file::said;
use crate::host::HostFault;
use crate::inputs::read_file;
use crate::isolation;
use crate::json::Digest;
use crate::ledger::{LedgerError, Reader};
use crate::place::NamedRun;
use crate::problem::{Problem, Problems};
use crate::task::Task;

use super::found::{self, ENDS_EARLY, how_to_go_on, named_run};
use super::next;
use super::output::{Terminal, Tone};
use super::project::Libraries;
use super::steps::{self, StepRow, Steps};
use super::tasks::task_of;
use super::{Stop, exit};

/// The arguments of `show`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gatedrun show runs/canonical/v1 --json | jq .outcome")]
pub struct Args {
    /// The run folder
    #[arg(value_name = "RUN")]
    run: Utf8PathBuf,
    /// Print everything as one JSON object
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, JsonSchema, Serialize)]
pub(super) struct Shown<'a> {
    started: Option<&'a RunStarted>,
    steps: &'a [StepRow],
    outcome: Option<Outcome>,
    /// What the terminal reason means.
    meaning: Option<&'static str>,
    answer: Option<&'a str>,
    records: u64,
    torn_bytes: usize,
    /// SHA-256 of the ledger's last line.
    head: Digest,
    expectations: Expectations,
    /// The ids of the keys that the attestation names, unchecked; null if it is unreadable.
    signed_by: Option<&'a [String]>,
    /// How it was isolated, which a run does not record; and what its policy asks for.
    isolation: &'a str,
    /// How to resume an interrupted run.
    unfinished: Option<String>,
    /// What is wrong with the ledger after the events shown.
    error: Option<&'a str>,
}

/// Whether the run is what its task expects.
#[derive(Debug, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
enum Expectations {
    /// It is.
    Met,
    /// It is not, in these points.
    NotMet(Vec<String>),
    /// The task expects nothing in particular.
    None,
    /// It cannot be told, for this reason.
    Unknown(String),
}

/// A ledger as far as it can be read.
#[derive(Default)]
struct Read {
    summary: Summary,
    observed: Observed,
    rows: Vec<StepRow>,
    lines: Vec<String>,
    torn: usize,
    head: Option<Digest>,
    error: Option<String>,
}

/// Reads the ledger of a run; one that has ended says so in its last line.
fn read(run: &NamedRun, terminal: &Terminal) -> Result<Read, Stop> {
    let (path, is_unfinished) = (&run.folder.join(STATE), run.is_unfinished());
    let unread = |error: &io::Error| Stop::from(HostFault::of(error, path.as_str(), "read"));
    let file = open::open(path).map_err(|error| match HostFault::is_one(&error) {
        true => unread(&error),
        false => Stop {
            message: format!("{path}: {}; restore it, or name another run's folder", said(&error)),
            code: exit::MALFORMED,
        },
    })?;
    let mut reader = Reader::new(file);
    let (mut read, mut steps) = (Read::default(), Steps::default());
    loop {
        match reader.next_record() {
            Ok(Some(record)) => {
                read.summary.push(&record);
                read.observed.push(&record);
                if let Some(row) = steps.push(&record) {
                    read.lines.extend(steps::lines(&row, terminal));
                    read.rows.push(row);
                }
                read.lines.extend(steps::notice(&record, terminal));
                read.head = Some(reader.head());
            }
            Ok(None) if !is_unfinished && read.summary.finished.is_none() => {
                read.error = Some(format!("{path}: {ENDS_EARLY}"));
                break;
            }
            Ok(None) => break,
            Err(LedgerError::Read(error)) if HostFault::is_one(&error) => {
                return Err(unread(&error));
            }
            // What was read before is good, and is shown.
            Err(error) => {
                read.error = Some(format!("{path}: {error}"));
                break;
            }
        }
    }
    if let Some(row) = steps.unfinished() {
        read.lines.extend(steps::lines(&row, terminal));
        read.rows.push(row);
    }
    read.torn = reader.torn();
    Ok(read)
}

pub(super) fn main(args: &Args, terminal: &mut Terminal) -> Result<u8, Stop> {
    let run = named_run(&args.run)?;
    found::note_replacement(&run.name, terminal);
    // The ledger and the signatures are those of one run.
    let read_once = || {
        let read = read(&run, terminal)?;
        let mut unread = Vec::new();
        let expectations = expectations(&run, &read, &mut unread);
        let signed_by = signed_by(&run.folder, &mut unread);
        let isolation = isolated(&run, &read, &mut unread);
        Ok::<_, Stop>((read, expectations, signed_by, isolation, unread))
    };
    let (read, expectations, signed_by, isolation, unread) =
        open::Folder::read_steady(&run.folder, read_once)
            .map_err(|error| Stop::host(format!("{}: {error}", run.folder)))??;
    if args.json {
        let finished = read.summary.finished.as_ref();
        terminal.json(&Shown {
            started: read.summary.started.as_ref(),
            steps: &read.rows,
            outcome: read.summary.outcome(),
            meaning: finished.map(|finished| words::terminal_reason(finished.terminal_reason)),
            answer: finished.and_then(|finished| finished.answer.as_deref()),
            records: read.summary.records,
            torn_bytes: read.torn,
            head: read.head.unwrap_or(Digest::ZERO),
            expectations,
            signed_by: signed_by.as_deref(),
            isolation: &isolation,
            unfinished: run.is_unfinished().then(|| how_to_go_on(&run)),
            error: read.error.as_deref(),
        })?;
    } else {
        print_course(&read, terminal)?;
        print_standing(&run, &read, (&expectations, &isolation), signed_by.as_deref(), terminal)?;
    }
    match read.error {
        Some(message) => Err(Stop { message, code: exit::MALFORMED }),
        None if unread.is_empty() => Ok(exit::OK),
        None => Err(Problems(unread).into()),
    }
}

/// What happened in the run.
fn print_course(read: &Read, terminal: &mut Terminal) -> Result<(), Stop> {
    let summary = &read.summary;
    if let Some(started) = &summary.started {
        let title = terminal.paint(Tone::Strong, &escape(&started.task));
        terminal.line(&format!("{title}  {}", escape(&started.question)))?;
        let policy = started.inputs.iter().find(|input| input.role == InputRole::Policy);
        let policy = policy.map_or("policy", |policy| policy.path.as_str());
        terminal.line(&format!(
            "  {}, {} version {}, seed {}, {} ({})",
            escape(&started.run_id),
            escape(policy),
            escape(&started.policy_version),
            started.seed,
            escape(&started.llm.model),
            started.llm.path.as_str()
        ))?;
    }
    for line in &read.lines {
        terminal.line(line)?;
    }
    match summary.outcome() {
        Some(outcome) => {
            let reason = outcome.terminal_reason;
            terminal.line(&format!(
                "  {}: {}; {} allowed, {} denied; {}, {}; {}; {}",
                reason.as_str(),
                words::terminal_reason(reason),
                counted(outcome.calls_allowed, "call", "calls"),
                outcome.calls_denied,
                counted(outcome.attempts, "attempt", "attempts"),
                counted(outcome.retries, "retry", "retries"),
                counted(outcome.usage.total(), "token", "tokens"),
                counted(summary.records, "event", "events")
            ))?;
            for (mode, count) in &outcome.failure_modes {
                let meaning = words::failure_mode(*mode);
                terminal.line(&format!("  {} ×{count}: {meaning}", mode.as_str()))?;
            }
        }
        None if read.error.is_some() => terminal.line(&format!(
            "  the ledger cannot be read after {}",
            counted(summary.records, "event", "events")
        ))?,
        None => terminal.line(&format!(
            "  cut short after {}{}",
            counted(summary.records, "event", "events"),
            if read.torn > 0 {
                format!(", and {} bytes of another", read.torn)
            } else {
                String::new()
            }
        ))?,
    }
    if let Some(answer) = summary.finished.as_ref().and_then(|finished| finished.answer.as_deref())
    {
        terminal.line(&format!("  answer: {}", escape(answer)))?;
    }
    Ok(())
}

/// What is known of the run beside what happened in it, and how to go on.
fn print_standing(
    run: &NamedRun,
    read: &Read,
    (expectations, isolation): (&Expectations, &str),
    signed_by: Option<&[String]>,
    terminal: &mut Terminal,
) -> Result<(), Stop> {
    match expectations {
        Expectations::Met => terminal.line("  expectations: met")?,
        Expectations::None => terminal.line("  expectations: the task has none")?,
        Expectations::Unknown(why) => {
            terminal.line(&format!("  expectations: not known: {}", escape(why)))?;
        }
        Expectations::NotMet(unmet) => {
            let word = terminal.paint(Tone::Bad, "not met");
            terminal.line(&format!("  expectations: {word}"))?;
            for unmet in unmet {
                terminal.line(&format!("    {}", escape(unmet)))?;
            }
        }
    }
    match read.summary.started.as_ref().map(|started| started.llm.path) {
        Some(ExecutionPath::Stub | ExecutionPath::Outside) => terminal.line(&format!(
            "  time: {} ms on the run's logical clock, not a measurement",
            read.summary.duration_ns / 1_000_000
        ))?,
        None => {}
    }
    terminal.line(&format!("  isolation: {isolation}"))?;
    if let Some(head) = read.head {
        terminal.line(&format!("  ledger head: {head}"))?;
    }
    match signed_by {
        None => terminal.line("  signature: not known")?,
        Some([]) => terminal.line("  signature: none")?,
        Some(_) => {}
    }
    for key in signed_by.unwrap_or_default() {
        terminal.line(&format!("  signature: by key {}, not checked here", escape(key)))?;
    }
    let name = &run.name;
    if read.error.is_some() {
        // Another run may be whole in the place that this one is for.
        let name = if run.is_unfinished() { &run.folder } else { name };
        return Ok(terminal.line(&format!("  next: `{}`", next::verify(name)))?);
    }
    if run.is_unfinished() {
        return Ok(terminal.line(&format!("  {}", how_to_go_on(run)))?);
    }
    let (verify, check) = (next::verify(name), next::check(name));
    let check = match next::has_task(name) {
        true => format!(", `{check}` runs the task again"),
        false => String::new(),
    };
    Ok(terminal.line(&format!("  next: `{verify}` checks the evidence{check}"))?)
}

/// Whether the run is what its task expects, where the current task is the one that it was made
/// with.
/// `unread` gets what the machine did not read.
fn expectations(run: &NamedRun, read: &Read, unread: &mut Vec<Problem>) -> Expectations {
    let unknown = |why: &str| Expectations::Unknown(why.to_owned());
    if read.error.is_some() {
        return unknown("the ledger cannot be read");
    }
    let Some(started) = &read.summary.started else { return unknown("the run has not begun") };
    if read.summary.finished.is_none() {
        return unknown("the run has not ended");
    }
    let Some(input) = started.inputs.iter().find(|input| input.role == InputRole::Task) else {
        return unknown("the ledger names no task");
    };
    let Ok((project, _)) = task_of(&run.name, None) else {
        return unknown("the run is not below runs/ of a project");
    };
    let bytes = match Libraries::default().get(&project).read(&input.path) {
        Ok(bytes) => bytes,
        Err(problem) => {
            unread.extend(Some(problem).filter(|problem| problem.is_host));
            return Expectations::Unknown(format!("{} is not available", input.path));
        }
    };
    if Digest::of(&bytes) != input.sha256 {
        let path = &input.path;
        return Expectations::Unknown(format!("{path} differs from the task of this run"));
    }
    match Task::load(&input.path, &bytes) {
        Err(_) => Expectations::Unknown(format!("{} cannot be loaded", input.path)),
        Ok(Task { expected: None, .. }) => Expectations::None,
        Ok(Task { expected: Some(expected), .. }) => {
            let unmet = read.observed.unmet(&expected);
            if unmet.is_empty() { Expectations::Met } else { Expectations::NotMet(unmet) }
        }
    }
}

/// What is known of how the tools were isolated. The ledger does not say it, since it depends on the
/// machine; the policy says what was asked for, where it is the one that the run was made with.
fn isolated(run: &NamedRun, read: &Read, unread: &mut Vec<Problem>) -> String {
    let asked = read.summary.started.as_ref().and_then(|started| {
        let (project, _) = task_of(&run.name, None).ok()?;
        let library = Libraries::default().get(&project);
        let named = started.inputs.iter().find(|input| input.role == InputRole::Policy)?;
        if let Err(problem) = library.read(&named.path) {
            unread.extend(Some(problem).filter(|problem| problem.is_host));
            return None;
        }
        let policy = policy(&library, started)?;
        Some(isolation::asked(policy.rules.sandbox_path.isolation))
    });
    match asked {
        Some(asked) => format!("not recorded in the ledger; the policy asks for {asked}"),
        None => "not recorded in the ledger; the policy of the run is not available".to_owned(),
    }
}

/// How many signatures are named.
const SIGNATURES_MAX: usize = 16;

/// The ids of the keys that the run's attestation names, unchecked.
fn signed_by(run: &Utf8Path, unread: &mut Vec<Problem>) -> Option<Vec<String>> {
    let path = run.join(ATTESTATION);
    let bytes = match read_file(&path, path.as_str()) {
        Ok(bytes) => bytes,
        Err(problem) if problem.is_host => {
            unread.push(problem);
            return None;
        }
        Err(_) => return Some(Vec::new()),
    };
    let envelope: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let signatures = envelope.get("signatures").and_then(Value::as_array);
    let ids = signatures.into_iter().flatten().filter_map(|signature| {
        Some(shortened(signature.get("keyid")?.as_str()?, 128).into_owned())
    });
    Some(ids.take(SIGNATURES_MAX).collect())
}
