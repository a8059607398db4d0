//! Compares two runs: the first event that differs, then step by step, then file by file. Steps are aligned by what
//! they propose and not by their number, so that one step more does not make all the rest differ.

mod side;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::event::Record;
use crate::file::said;
use crate::host::HostFault;
use crate::ledger::LedgerError;

use crate::evidence::align::{Proposed, aligned};
use crate::evidence::compare::{self, differing_fields};
use crate::evidence::open::Folder;
use crate::evidence::summary::{Outcome, Summary};
use crate::evidence::text::shortened;
use crate::evidence::{FILES, STATE, open};

pub use side::{CallView, StepView};

use side::Side;

/// How two runs differ.
#[derive(Debug, JsonSchema, Serialize)]
pub struct Diff {
    /// The first event that differs; null where every event is the same.
    pub first: Option<FirstDifference>,
    /// The steps, aligned.
    pub steps: Vec<StepPair>,
    /// How many steps of the first and of the second run are not among them: the steps
    /// that are held have a limited size.
    pub omitted: (u64, u64),
    /// What else of the two differs: counts, cost, outcome, answer.
    pub outcome: Vec<Difference>,
    /// Every file that differs, the ledger only where no event does.
    pub files: Vec<FileDifference>,
}

/// A file of one of two runs that is not the other's.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize)]
pub struct FileDifference {
    /// Its path in the run's folder.
    pub file: String,
    /// The first line that differs, from 1; null where one of the two cannot be read.
    pub line: Option<u64>,
    /// The byte in the line, from 1.
    pub byte: Option<usize>,
    /// What the first run has from there on.
    pub a: String,
    /// What the second has.
    pub b: String,
}

/// The first event that differs.
#[derive(Debug, JsonSchema, Serialize)]
pub struct FirstDifference {
    /// Its number.
    pub seq: u64,
    /// Its step.
    pub step: Option<u64>,
    /// Its kind in the first run, and in the second; null past a run's end.
    pub kinds: (Option<&'static str>, Option<&'static str>),
    /// The members that differ, where the kind is the same.
    pub fields: Vec<Difference>,
}

/// Something that differs.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Difference {
    /// What it is.
    pub what: String,
    /// In the first run.
    pub a: String,
    /// In the second.
    pub b: String,
}

/// Two steps that stand for each other, or one that stands alone.
#[derive(Debug, JsonSchema, Serialize)]
pub struct StepPair {
    /// The first run's.
    pub a: Option<StepView>,
    /// The second's.
    pub b: Option<StepView>,
    /// What differs between them; empty where they are the same, or where one stands alone.
    pub differences: Vec<Difference>,
}

impl Diff {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.first.is_none() && self.files.is_empty()
    }
}

/// How much of each run is held for comparing it step by step, in bytes.
pub const HELD_BYTES_MAX: usize = 256 * 1024 * 1024;

/// That something of a run cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {what}")]
pub struct Unread {
    /// Its path.
    pub path: Utf8PathBuf,
    /// Why.
    pub what: String,
    /// Whether the machine refused, so that nothing is known of the run.
    pub is_host: bool,
}

impl Unread {
    fn new(path: &Utf8Path, error: &io::Error) -> Self {
        let what = format!("cannot be read: {}", said(error));
        Self { path: path.to_owned(), what, is_host: HostFault::is_one(error) }
    }

    fn ledger(run: &Utf8Path, error: LedgerError) -> Self {
        match error {
            LedgerError::Read(error) => Self::new(&run.join(STATE), &error),
            error => Self { path: run.join(STATE), what: error.to_string(), is_host: false },
        }
    }
}

/// Compares two runs' folders.
///
/// # Errors
/// Which of the ledgers cannot be read, and why.
pub fn diff(a: &Utf8Path, b: &Utf8Path) -> Result<Diff, Unread> {
    diff_within(HELD_BYTES_MAX, a, b)
}

/// As [`diff`], holding so much of each run.
///
/// # Errors
/// As [`diff`].
pub fn diff_within(bytes_max: usize, a: &Utf8Path, b: &Utf8Path) -> Result<Diff, Unread> {
    // Each is read more than once, and another run may be put in its place meanwhile.
    let replaced = |run: &Utf8Path, error: io::Error| Unread {
        path: run.to_owned(),
        what: error.to_string(),
        is_host: true,
    };
    let both = || {
        let found = Folder::read_steady(b, || diff_once(bytes_max, a, b));
        found.unwrap_or_else(|error| Err(replaced(b, error)))
    };
    Folder::read_steady(a, both).unwrap_or_else(|error| Err(replaced(a, error)))
}

fn diff_once(bytes_max: usize, a: &Utf8Path, b: &Utf8Path) -> Result<Diff, Unread> {
    let open = |run: &Utf8Path| {
        let path = run.join(STATE);
        open::open(&path).map_err(|error| Unread::new(&path, &error))
    };
    let mut first = Side::new(open(a)?, bytes_max);
    let mut second = Side::new(open(b)?, bytes_max);
    let mut found = None;
    loop {
        let next = (
            first.next().map_err(|error| Unread::ledger(a, error))?,
            second.next().map_err(|error| Unread::ledger(b, error))?,
        );
        if next.0.is_none() && next.1.is_none() {
            break;
        }
        if found.is_none() && next.0 != next.1 {
            found = Some(first_difference(&next));
        }
    }
    let mut files = differing_files(a, b)?;
    if found.is_some() {
        files.retain(|difference| difference.file != STATE);
    }
    Ok(Diff {
        files,
        first: found,
        steps: aligned_steps(&first.steps, &second.steps),
        omitted: (first.omitted, second.omitted),
        outcome: outcomes(&first.summary, &second.summary),
    })
}

/// How much of a line is quoted, in characters.
const QUOTED_CHARS_MAX: usize = 120;

/// Every file that differs between two runs' folders: the artifacts first, then what the runs wrote
/// themselves, and whatever else lies there.
///
/// # Errors
/// Which folder cannot be read, and why.
pub fn differing_files(a: &Utf8Path, b: &Utf8Path) -> Result<Vec<FileDifference>, Unread> {
    let mut paths = BTreeSet::new();
    let opened = |run: &Utf8Path| Folder::open(run).map_err(|error| Unread::new(run, &error));
    let (a, b) = (opened(a)?, opened(b)?);
    for run in [&a, &b] {
        for entry in run.walk() {
            let entry = entry.map_err(|error| Unread::new(run.path(), &error))?;
            if !entry.is_folder {
                paths.insert(entry.path);
            }
        }
    }
    let known = FILES.iter().filter(|name| paths.contains(**name)).map(ToString::to_string);
    let others = paths.iter().filter(|path| !FILES.contains(&path.as_str())).cloned();
    known.chain(others).filter_map(|file| file_difference(&a, &b, file).transpose()).collect()
}

/// How a file differs; none where it does not.
fn file_difference(a: &Folder, b: &Folder, file: String) -> Result<Option<FileDifference>, Unread> {
    let first = a.path();
    let opened = |run: &Folder| match run.open_file(&file) {
        // A file that the machine refuses to read does not make the runs differ.
        Err(error) if HostFault::is_one(&error) => {
            Err(Unread::new(&run.path().join(&file), &error))
        }
        opened => Ok(opened),
    };
    let unread = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        _ => error.to_string(),
    };
    let (line, byte, a, b) = match (opened(a)?, opened(b)?) {
        (Ok(a), Ok(b)) => match compare::difference(a, b) {
            Ok(None) => return Ok(None),
            Err(error) if HostFault::is_one(&error) => {
                return Err(Unread::new(&first.join(&file), &error));
            }
            Ok(Some(found)) => {
                let from = found.column.saturating_sub(1);
                let rest = |line: &Option<Vec<u8>>| match line {
                    Some(line) => {
                        let rest = line.get(from..).unwrap_or_default();
                        shortened(&String::from_utf8_lossy(rest), QUOTED_CHARS_MAX).into_owned()
                    }
                    None => "nothing: the file ends here".to_owned(),
                };
                (Some(found.line), Some(found.column), rest(&found.committed), rest(&found.now))
            }
            Err(error) => (None, None, unread(error), String::new()),
        },
        (a, b) => {
            let there = |opened: io::Result<_>| opened.map_or_else(unread, |_| "a file".to_owned());
            (None, None, there(a), there(b))
        }
    };
    Ok(Some(FileDifference { file, line, byte, a, b }))
}

fn first_difference((a, b): &(Option<Record>, Option<Record>)) -> FirstDifference {
    let kind = |record: &Option<Record>| record.as_ref().map(|record| record.event.kind());
    let either = a.as_ref().or(b.as_ref());
    let fields = match (a, b) {
        (Some(a), Some(b)) if a.event.kind() == b.event.kind() => differing_fields(a, b)
            .into_iter()
            .map(|(what, a, b)| Difference { what, a, b })
            .collect(),
        _ => Vec::new(),
    };
    FirstDifference {
        seq: either.map_or(0, |record| record.seq),
        step: either.and_then(|record| record.step),
        kinds: (kind(a), kind(b)),
        fields,
    }
}

/// What a call proposes, in words.
fn proposed(call: &CallView) -> String {
    format!("{} {}", call.tool, call.arguments)
}

fn key(call: &CallView) -> Proposed {
    Proposed::new(&call.tool, call.arguments.as_bytes())
}

/// What a step proposes.
fn proposal(step: &StepView) -> (Vec<Proposed>, bool) {
    (step.calls.iter().map(key).collect(), step.final_answer.is_some())
}

fn aligned_steps(a: &[StepView], b: &[StepView]) -> Vec<StepPair> {
    let pairs = aligned(a, b, proposal).into_iter();
    let pair = |(a, b): (Option<&StepView>, Option<&StepView>)| StepPair {
        a: a.cloned(),
        b: b.cloned(),
        differences: match (a, b) {
            (Some(a), Some(b)) => step_differences(a, b),
            _ => Vec::new(),
        },
    };
    pairs.map(pair).collect()
}

fn step_differences(a: &StepView, b: &StepView) -> Vec<Difference> {
    let mut found = Differences::default();
    let (mut number_a, mut number_b) = (0, 0);
    for (x, y) in aligned(&a.calls, &b.calls, key) {
        number_a += usize::from(x.is_some());
        number_b += usize::from(y.is_some());
        let whole = |call: &CallView| format!("{} {}", proposed(call), call.decision);
        let (x, y) = match (x, y) {
            (Some(x), Some(y)) => (x, y),
            (x, y) => {
                let number = if x.is_some() { number_a } else { number_b };
                let (x, y) = (x.map(whole), y.map(whole));
                found.option(&format!("call {number}"), x.as_deref(), y.as_deref());
                continue;
            }
        };
        let name = |what: &str| match number_a == number_b {
            true => format!("call {number_a} {what}"),
            false => format!("call {number_a} (now {number_b}) {what}"),
        };
        found.compare(&name("tool"), &x.tool, &y.tool);
        found.compare(&name("arguments"), &x.arguments, &y.arguments);
        found.compare(&name("decision"), &x.decision, &y.decision);
        found.option(&name("reason"), x.reason.as_deref(), y.reason.as_deref());
        found.compare(&name("attempts"), &x.attempts.to_string(), &y.attempts.to_string());
        found.option(&name("result"), x.result.as_deref(), y.result.as_deref());
    }
    found.option("answer", a.final_answer.as_deref(), b.final_answer.as_deref());
    found.compare("tokens", &a.tokens.to_string(), &b.tokens.to_string());
    found.option("failure mode", a.failure_mode, b.failure_mode);
    found.0
}

fn outcomes(a: &Summary, b: &Summary) -> Vec<Difference> {
    let mut found = Differences::default();
    if let (Some(a), Some(b)) = (&a.started, &b.started) {
        found.compare("task", &a.task, &b.task);
        found.compare("seed", &a.seed.to_string(), &b.seed.to_string());
        found.compare("policy version", &a.policy_version, &b.policy_version);
        found.compare("agent version", &a.agent_version, &b.agent_version);
    }
    let (x, y) = (counts(a.outcome()), counts(b.outcome()));
    let names: BTreeSet<&String> = x.keys().chain(y.keys()).collect();
    for name in names {
        found.option(name, x.get(name).map(String::as_str), y.get(name).map(String::as_str));
    }
    let answer = |summary: &Summary| summary.finished.as_ref().and_then(|end| end.answer.clone());
    found.option("answer", answer(a).as_deref(), answer(b).as_deref());
    found.compare("events", &a.records.to_string(), &b.records.to_string());
    found.0
}

/// What an outcome says, by its name; what it counts apart, each with a name of its own.
fn counts(outcome: Option<Outcome>) -> BTreeMap<String, String> {
    let mut counts = BTreeMap::new();
    let Ok(Value::Object(outcome)) = serde_json::to_value(outcome) else { return counts };
    for (key, value) in outcome.into_iter().filter(|(key, _)| key != "answer_sha256") {
        let name = key.replace('_', " ");
        match value {
            Value::Object(parts) => {
                let parts = parts.into_iter();
                let named = parts.map(|(part, value)| (part.replace('_', " "), value.to_string()));
                counts.extend(named.map(|(part, value)| (format!("{name}: {part}"), value)));
            }
            other => {
                counts.insert(name, other.to_string());
            }
        }
    }
    counts
}

#[derive(Default)]
struct Differences(Vec<Difference>);

impl Differences {
    fn compare(&mut self, what: &str, a: &str, b: &str) {
        if a != b {
            let (what, a, b) = (what.to_owned(), a.to_owned(), b.to_owned());
            self.0.push(Difference { what, a, b });
        }
    }

    fn option(&mut self, what: &str, a: Option<&str>, b: Option<&str>) {
        self.compare(what, a.unwrap_or("none"), b.unwrap_or("none"));
    }
}
