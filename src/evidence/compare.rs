//! Finds the first line in which what is made now differs from what was committed, and says what
//! it means. Works on streams: nothing is held but the lines in hand.

use std::fmt;
use std::io::{self, BufRead, Read, Write};

use memchr::{memchr, memchr_iter, memrchr};
use serde_json::Value;

use crate::event::{Event, Input, InputRole, Record, RunStarted};
use crate::host::HostFault;
use crate::ledger::LINE_BYTES_MAX;
use crate::line_ends::{RUNS, Rewriting, is_line_end, trimmed};

use super::text::counted;

/// The first difference between a committed file and what is made now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The line, from 1.
    pub line: u64,
    /// The first byte of the line that differs, from 1.
    pub column: usize,
    /// The committed line; `None` past the end of the committed file.
    pub committed: Option<Vec<u8>>,
    /// The line that is made now; `None` past its end.
    pub now: Option<Vec<u8>>,
}

/// A writer that keeps nothing of what is written to it but the line in hand, and the first line
/// that differs from the committed file.
#[derive(Debug)]
pub struct Comparison<R> {
    committed: R,
    /// The line in hand, as far as both have come.
    line: Vec<u8>,
    number: u64,
    found: Option<Found>,
}

/// The first line that differs, while what is written of it still comes.
#[derive(Debug)]
struct Found {
    column: usize,
    committed: Vec<u8>,
    now: Vec<u8>,
}

impl Difference {
    /// How the committed line was rewritten, where it is otherwise the one that is made now.
    pub fn rewriting(&self) -> Option<Rewriting> {
        let line = |line: &Option<Vec<u8>>| line.clone().unwrap_or_default();
        let (found, due) = (line(&self.committed), line(&self.now));
        if is_line_end(&found, &due) && self.now.is_some() {
            return Some(Rewriting::LineEnds);
        }
        (trimmed(&found) == trimmed(&due)).then_some(Rewriting::WhiteSpace)
    }
}

impl<R: BufRead> Comparison<R> {
    /// Compares with a committed file.
    pub fn new(committed: R) -> Self {
        Self { committed, line: Vec::new(), number: 1, found: None }
    }

    /// The first difference, once everything is written.
    ///
    /// # Errors
    /// The committed file's, when reading it.
    pub fn finish(mut self) -> io::Result<Option<Difference>> {
        if self.found.is_none() && !self.committed.fill_buf()?.is_empty() {
            self.differs()?;
        }
        let line = |bytes: Vec<u8>| {
            (!bytes.is_empty()).then(|| bytes.strip_suffix(b"\n").unwrap_or(&bytes).to_vec())
        };
        Ok(self.found.map(|found| Difference {
            line: self.number,
            column: found.column,
            committed: line(found.committed),
            now: line(found.now),
        }))
    }

    /// Takes note of bytes that are the same in both.
    fn same(&mut self, bytes: &[u8]) {
        match memrchr(b'\n', bytes) {
            None => self.line.extend_from_slice(bytes),
            Some(at) => {
                self.number += memchr_iter(b'\n', bytes).count() as u64;
                self.line.clear();
                self.line.extend_from_slice(bytes.get(at + 1..).unwrap_or_default());
            }
        }
    }

    /// Takes note of the line in hand, in which the next byte differs.
    fn differs(&mut self) -> io::Result<()> {
        let now = std::mem::take(&mut self.line);
        let column = now.len() + 1;
        let mut committed = now.clone();
        let limit = LINE_BYTES_MAX as u64;
        Read::take(&mut self.committed, limit).read_until(b'\n', &mut committed)?;
        self.found = Some(Found { column, committed, now });
        Ok(())
    }
}

impl<R: BufRead> Write for Comparison<R> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if let Some(found) = &mut self.found {
                if !found.now.ends_with(b"\n") {
                    let end = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
                    found.now.extend_from_slice(rest.get(..end).unwrap_or_default());
                }
                break;
            }
            let committed = self
                .committed
                .fill_buf()
                .map_err(|error| HostFault::new("a committed file", "read", error))?;
            let same = common_prefix(committed, rest);
            let (part, remaining) = rest.split_at(same);
            let ended = same < committed.len().min(rest.len()) || committed.is_empty();
            self.committed.consume(same);
            self.same(part);
            rest = remaining;
            if ended {
                self.differs()?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How many bytes two texts begin with in common.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let length = a.len().min(b.len());
    let (a, b) = (a.get(..length).unwrap_or_default(), b.get(..length).unwrap_or_default());
    if a == b { length } else { a.iter().zip(b).take_while(|(a, b)| a == b).count() }
}

/// Compares two texts in memory or on disk.
///
/// # Errors
/// Either reader's.
pub fn difference(committed: impl BufRead, mut now: impl Read) -> io::Result<Option<Difference>> {
    let mut comparison = Comparison::new(committed);
    io::copy(&mut now, &mut comparison)?;
    comparison.finish()
}

/// What a difference in the ledger means, for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The event's number and kind.
    pub event: String,
    /// The fields that differ: JSON pointer, committed value, value now.
    pub fields: Vec<(String, String, String)>,
    /// What it means, in a sentence.
    pub meaning: String,
}

/// The members in which two records differ, at most a few: JSON pointer, first and second value.
pub fn differing_fields(first: &Record, second: &Record) -> Vec<(String, String, String)> {
    let line = |record: &Record| {
        let mut line = Vec::new();
        crate::ledger::encode(record, &mut line);
        Some(line)
    };
    fields(&Difference { line: 0, column: 0, committed: line(first), now: line(second) })
}

/// Explains a difference between two ledger lines.
pub fn explain(difference: &Difference) -> Explanation {
    let parse = |line: &Option<Vec<u8>>| {
        line.as_ref().and_then(|line| serde_json::from_slice::<Record>(line).ok())
    };
    let (committed, now) = (parse(&difference.committed), parse(&difference.now));
    let seq = difference.line - 1;
    if let Some(rewriting) = difference.rewriting() {
        let event = match &now {
            Some(now) => format!("event {seq}, {}", now.event.kind()),
            None => format!("after event {}", seq.saturating_sub(1)),
        };
        return Explanation { event, fields: Vec::new(), meaning: rewriting.words(RUNS) };
    }
    match (committed, now) {
        (Some(committed), Some(now)) => {
            let fields = fields(difference);
            let meaning = meaning(&committed, &now, &fields);
            Explanation { event: format!("event {seq}, {}", now.event.kind()), fields, meaning }
        }
        (None, Some(now)) if difference.committed.is_none() => Explanation {
            event: format!("event {seq}, {}", now.event.kind()),
            fields: Vec::new(),
            meaning: "the committed ledger ends here but the run continues: the ledger was cut short, or the run has become longer".to_owned(),
        },
        (Some(committed), None) => Explanation {
            event: format!("event {seq}, {}", committed.event.kind()),
            fields: Vec::new(),
            meaning: "the run ends here and the committed ledger goes on: something was appended to it, or the run has become shorter".to_owned(),
        },
        _ => Explanation {
            event: format!("event {seq}"),
            fields: Vec::new(),
            meaning: "the committed line is not a record: the file was edited or damaged".to_owned(),
        },
    }
}

fn meaning(committed: &Record, now: &Record, fields: &[(String, String, String)]) -> String {
    if let (Event::RunStarted(committed), Event::RunStarted(now)) = (&committed.event, &now.event) {
        let changed = changed_inputs(committed, now);
        if !changed.is_empty() {
            let changed: Vec<String> = changed.iter().map(ToString::to_string).collect();
            return format!("an input has changed: {}", changed.join("; "));
        }
        if committed.agent_version != now.agent_version {
            return "the committed run was made by another version of the program".to_owned();
        }
        if committed.seed != now.seed {
            return format!("the committed run has seed {}, this one {}", committed.seed, now.seed);
        }
    }
    if fields.is_empty() {
        return "the values are the same, written otherwise (spaces, key order or numbers): the committed file was edited".to_owned();
    }
    if committed.event.kind() != now.event.kind() {
        return "the run diverges here: the program's behaviour has changed, or the file was edited".to_owned();
    }
    if fields.iter().all(|(pointer, _, _)| pointer == "/prev") {
        return "only the link to the line before differs: the committed file was edited here"
            .to_owned();
    }
    "the content of this event differs: the program's behaviour has changed, or the file was edited"
        .to_owned()
}

/// An input that differs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangedInput {
    /// Its path in the project; of a corpus without a manifest, its folder.
    pub path: String,
    role: &'static str,
    how: String,
}

impl fmt::Display for ChangedInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.role, self.path, self.how)
    }
}

/// The inputs that differ, each with both digests.
pub fn changed_inputs(committed: &RunStarted, now: &RunStarted) -> Vec<ChangedInput> {
    let mut changed = changed_files(&committed.inputs, &now.inputs);
    let (was, is) = (&committed.corpus, &now.corpus);
    // The manifest of a corpus, where there is one, says which documents it has.
    let has_manifest = |started: &RunStarted| {
        started.inputs.iter().any(|input| input.role == InputRole::CorpusManifest)
    };
    if was != is && !(has_manifest(committed) && has_manifest(now)) {
        let documents = |count| counted(count, "document", "documents");
        let how = format!(
            "(was {} with {}, is {} with {})",
            was.sha256.short(),
            documents(was.documents),
            is.sha256.short(),
            documents(is.documents)
        );
        changed.push(ChangedInput { path: is.name.clone(), role: "corpus", how });
    }
    changed
}

/// The files that differ, of those that are listed one by one.
fn changed_files(committed: &[Input], now: &[Input]) -> Vec<ChangedInput> {
    let mut changed = Vec::new();
    let mut add = |input: &Input, how: String| {
        changed.push(ChangedInput { path: input.path.clone(), role: input.role.as_str(), how });
    };
    for input in now {
        match committed.iter().find(|other| (other.role, &other.path) == (input.role, &input.path))
        {
            None => add(input, "is new".to_owned()),
            Some(other) if other.sha256 != input.sha256 => {
                add(input, format!("(was {}, is {})", other.sha256.short(), input.sha256.short()))
            }
            Some(_) => {}
        }
    }
    for input in committed {
        if !now.iter().any(|other| (other.role, &other.path) == (input.role, &input.path)) {
            add(input, "is gone".to_owned());
        }
    }
    changed
}

/// The members that differ between two lines, at most a few.
fn fields(difference: &Difference) -> Vec<(String, String, String)> {
    const FIELDS_MAX: usize = 8;
    let value = |line: &Option<Vec<u8>>| {
        line.as_ref()
            .and_then(|line| serde_json::from_slice::<Value>(line).ok())
            .unwrap_or_default()
    };
    let mut found = Vec::new();
    walk("", &value(&difference.committed), &value(&difference.now), &mut found);
    // The chain differs wherever anything before it does; it is told only when it is alone.
    if found.len() > 1 {
        found.retain(|(pointer, _, _)| pointer != "/prev");
    }
    found.truncate(FIELDS_MAX);
    found
}

fn walk(pointer: &str, committed: &Value, now: &Value, found: &mut Vec<(String, String, String)>) {
    match (committed, now) {
        _ if committed == now => {}
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let (a, b) =
                    (a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null));
                walk(&format!("{pointer}/{key}"), a, b, found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                walk(&format!("{pointer}/{index}"), a, b, found);
            }
        }
        _ => found.push((pointer.to_owned(), committed.to_string(), now.to_string())),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.event, self.meaning)
    }
}
