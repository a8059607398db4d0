//! The ledger: one event a line, hash-chained, and the only truth about a run.
//!
//! It is the only writer of records and the only reader of the clock. [`Grammar`] says which event
//! may follow which, and is asked when a record is written and again when it is read. The ledger
//! does not know where its lines go: that is the sink's business.

use std::io::{self, BufRead};

use crate::clock::Clock;
use crate::event::{
    AttemptOutcome, Decision, Event, FORMAT, FailureMode, LlmReplied, Record, Subject, Totals,
};
use crate::json::Digest;

/// The longest line that a reader accepts, in bytes.
pub const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What the ledger hands to its sink.
#[derive(Debug)]
pub enum Push<'a> {
    /// A record, its line without the line feed, and the line's SHA-256.
    Record(&'a Record, &'a [u8], Digest),
    /// What was pushed so far must outlive this process before the call returns.
    Durable,
}

/// Why a ledger cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The sink failed.
    #[error("the ledger cannot be written: {0}")]
    Sink(#[source] io::Error),
    /// The reader failed.
    #[error("the ledger cannot be read: {0}")]
    Read(#[source] io::Error),
    /// An event that may not stand there.
    #[error("line {line}: {what}")]
    Grammar {
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
}

/// Writes records: numbers them, dates them, chains them.
pub struct Ledger<'a> {
    clock: Clock,
    seq: u64,
    prev: Digest,
    grammar: Grammar,
    line: Vec<u8>,
    sink: Box<dyn FnMut(Push<'_>) -> io::Result<()> + 'a>,
}

impl<'a> Ledger<'a> {
    /// An empty ledger. `sink` gets every line as it is written.
    pub fn new(clock: Clock, sink: impl FnMut(Push<'_>) -> io::Result<()> + 'a) -> Self {
        Self {
            clock,
            seq: 0,
            prev: Digest::ZERO,
            grammar: Grammar::default(),
            line: Vec::new(),
            sink: Box::new(sink),
        }
    }

    /// Appends an event, and gives it back.
    ///
    /// # Errors
    /// The sink's, or [`LedgerError::Grammar`] for an event that may not follow: a defect of the
    /// caller, refused before it is written.
    pub fn push(&mut self, step: Option<u64>, event: Event) -> Result<Event, LedgerError> {
        if let Event::ToolAttempted(attempted) = &event {
            self.clock.wait(attempted.waited_ms);
        }
        let record =
            Record { seq: self.seq, at_ns: self.clock.tick(), step, event, prev: self.prev };
        self.grammar.accept(&record)?;
        if let Event::ToolAttempted(attempted) = &record.event {
            self.clock.wait(attempted.backoff_ms.unwrap_or(0));
        }
        self.line.clear();
        encode(&record, &mut self.line);
        self.prev = Digest::of(&self.line);
        self.seq += 1;
        (self.sink)(Push::Record(&record, &self.line, self.prev)).map_err(LedgerError::Sink)?;
        Ok(record.event)
    }

    /// Milliseconds from the first event to the one that would be next.
    pub fn elapsed_ms(&self) -> u64 {
        self.clock.elapsed_ms()
    }

    /// Makes everything pushed so far outlive this process: asked for before an effect.
    ///
    /// # Errors
    /// The sink's.
    pub fn make_durable(&mut self) -> Result<(), LedgerError> {
        (self.sink)(Push::Durable).map_err(LedgerError::Sink)
    }
}

/// Appends a record's line, without its line feed.
pub fn encode(record: &Record, line: &mut Vec<u8>) {
    // A `Vec` never fails to be written, and a record holds no map with keys that are no strings.
    let _ = serde_json::to_writer(line, record);
}

/// Reads a ledger line by line, in memory bounded by its longest line.
///
/// Every line is checked: its encoding, number, chain and place in the grammar. A last line
/// without a line feed is what a crash leaves; it is no record, and [`Reader::torn`] tells its
/// size.
pub struct Reader<R> {
    source: R,
    line: Vec<u8>,
    again: Vec<u8>,
    number: u64,
    prev: Digest,
    grammar: Grammar,
    torn: usize,
    bytes: u64,
}

impl<R: BufRead> Reader<R> {
    /// A reader at the start of a ledger.
    pub fn new(source: R) -> Self {
        Self {
            source,
            line: Vec::new(),
            again: Vec::new(),
            number: 0,
            prev: Digest::ZERO,
            grammar: Grammar::default(),
            torn: 0,
            bytes: 0,
        }
    }

    /// The next record, or `None` at the end.
    ///
    /// # Errors
    /// The first line that is not what the lines before it promise, with its number.
    pub fn next_record(&mut self) -> Result<Option<Record>, LedgerError> {
        self.line.clear();
        let limit = LINE_BYTES_MAX as u64 + 1;
        let read = io::Read::take(&mut self.source, limit)
            .read_until(b'\n', &mut self.line)
            .map_err(LedgerError::Read)?;
        if read == 0 {
            return Ok(None);
        }
        if self.line.pop_if(|last| *last == b'\n').is_none() {
            if read > LINE_BYTES_MAX {
                return Err(self.wrong(format!("it is longer than {LINE_BYTES_MAX} bytes")));
            }
            self.torn = read;
            return Ok(None);
        }
        let record: Record = serde_json::from_slice(&self.line)
            .map_err(|error| self.wrong(format!("it is no record: {error}")))?;
        self.again.clear();
        encode(&record, &mut self.again);
        if self.again != self.line {
            let column = self.again.iter().zip(&self.line).take_while(|(a, b)| a == b).count() + 1;
            return Err(self.wrong(format!(
                "column {column}: it is not written as the ledger writes (key order, spaces or numbers)"
            )));
        }
        if record.seq != self.number {
            let want = self.number;
            return Err(self.wrong(format!("seq is {}, where {want} follows", record.seq)));
        }
        if record.prev != self.prev {
            let want = self.prev;
            return Err(self.wrong(format!(
                "prev is {}, but the line before it has SHA-256 {want}: one of the two lines was changed",
                record.prev
            )));
        }
        self.grammar.accept(&record)?;
        self.prev = Digest::of(&self.line);
        self.number += 1;
        self.bytes += read as u64;
        Ok(Some(record))
    }

    /// The line last read, without its line feed.
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    /// SHA-256 of the last whole line: the ledger's head.
    pub fn head(&self) -> Digest {
        self.prev
    }

    /// Bytes of whole lines read so far, line feeds included.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Size of the cut-short last line in bytes, once the end is reached; 0 if there is none.
    pub fn torn(&self) -> usize {
        self.torn
    }

    /// Whether the run has ended: its last record is `run_finished`.
    pub fn is_finished(&self) -> bool {
        self.grammar.state == State::Finished
    }

    fn wrong(&self, what: String) -> LedgerError {
        LedgerError::Grammar { line: self.number + 1, what }
    }
}

/// Which event may follow which, and that the totals in them are the sums of what came before.
#[derive(Debug, Default)]
pub struct Grammar {
    state: State,
    step: u64,
    pending: std::collections::VecDeque<(String, String)>,
    totals: Totals,
    at_ns: u64,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Start,
    BetweenSteps,
    StepOpen,
    LlmAsked,
    Deciding,
    Allowed(String),
    Running {
        call_id: String,
        attempts: u32,
        settled: bool,
    },
    Stopping,
    Finished,
}

impl State {
    fn expects(&self) -> &'static str {
        match self {
            Self::Start => "run_started",
            Self::BetweenSteps => "step_started, a gate_decided about the step, or run_finished",
            Self::StepOpen => "llm_called",
            Self::LlmAsked => "llm_replied",
            Self::Deciding => "the gate_decided of the next call, or step_finished",
            Self::Allowed(_) => "tool_started of the call that was allowed",
            Self::Running { settled: false, .. } => "tool_attempted",
            Self::Running { settled: true, .. } => "tool_finished",
            Self::Stopping => "run_finished",
            Self::Finished => "nothing: the run has ended",
        }
    }
}

impl Grammar {
    /// Takes the next record, or says why it may not stand there.
    ///
    /// # Errors
    /// [`LedgerError::Grammar`], with the line.
    pub fn accept(&mut self, record: &Record) -> Result<(), LedgerError> {
        let wrong = |what: String| LedgerError::Grammar { line: record.seq + 1, what };
        if record.seq > 0 && record.at_ns <= self.at_ns {
            return Err(wrong(format!("at_ns {} is not after {}", record.at_ns, self.at_ns)));
        }
        self.at_ns = record.at_ns;
        let state = std::mem::replace(&mut self.state, State::Finished);
        self.state = self.follow(&state, record).map_err(|what| {
            wrong(match what {
                Some(what) => what,
                None => format!("{} stands where {} is due", record.event.kind(), state.expects()),
            })
        })?;
        Ok(())
    }

    /// The state after `record`; `Err(None)` where its kind is not due.
    fn follow(&mut self, state: &State, record: &Record) -> Result<State, Option<String>> {
        let in_step = Some(self.step);
        let due_step = match (&record.event, state) {
            (Event::RunStarted(_) | Event::RunFinished(_), _) => None,
            (Event::GateDecided(_), State::BetweenSteps) => None,
            (Event::StepStarted(_), _) => Some(self.step + 1),
            _ => in_step,
        };
        let next = match (state, &record.event) {
            (State::Start, Event::RunStarted(started)) => {
                if started.format != FORMAT {
                    return Err(Some(format!(
                        "the ledger has format {}, and this program reads format {FORMAT}; use the \
                         program version {} that wrote it",
                        started.format, started.agent_version
                    )));
                }
                State::BetweenSteps
            }
            (State::BetweenSteps, Event::StepStarted(_)) => {
                self.step += 1;
                self.totals.steps += 1;
                State::StepOpen
            }
            (State::BetweenSteps, Event::GateDecided(gate)) if gate.subject == Subject::Step => {
                match gate.decision {
                    Decision::Allow => State::BetweenSteps,
                    Decision::Deny => State::Stopping,
                }
            }
            // A budget warns in the middle of a step.
            (State::Deciding, Event::GateDecided(gate))
                if gate.subject == Subject::Step && gate.decision == Decision::Allow =>
            {
                State::Deciding
            }
            (State::StepOpen, Event::LlmCalled(_)) => State::LlmAsked,
            (State::LlmAsked, Event::LlmReplied(reply)) => self.replied(reply)?,
            (State::Deciding, Event::GateDecided(gate)) if gate.subject == Subject::Call => {
                let due = self.pending.pop_front().ok_or(None)?;
                if gate.call_id.as_deref() != Some(&due.0) || gate.tool.as_deref() != Some(&due.1) {
                    return Err(Some(format!("the decision is not about {} {}", due.1, due.0)));
                }
                match gate.decision {
                    Decision::Allow => {
                        self.totals.calls_allowed += 1;
                        State::Allowed(due.0)
                    }
                    Decision::Deny => {
                        self.totals.calls_denied += 1;
                        State::Deciding
                    }
                }
            }
            (State::Allowed(call_id), Event::ToolStarted(started)) => {
                if started.call_id != *call_id {
                    return Err(Some(format!(
                        "{} starts, but {call_id} was allowed",
                        started.call_id
                    )));
                }
                State::Running { call_id: call_id.clone(), attempts: 0, settled: false }
            }
            (
                State::Running { call_id, attempts, settled: false },
                Event::ToolAttempted(attempted),
            ) if attempted.call_id == *call_id => {
                if attempted.attempt != attempts + 1 {
                    return Err(Some(format!(
                        "attempt {} stands where attempt {} is due",
                        attempted.attempt,
                        attempts + 1
                    )));
                }
                self.totals.attempts += 1;
                State::Running {
                    call_id: call_id.clone(),
                    attempts: attempted.attempt,
                    settled: attempted.outcome != AttemptOutcome::TransientFailure,
                }
            }
            (State::Running { call_id, settled: true, .. }, Event::ToolFinished(finished))
                if finished.call_id == *call_id =>
            {
                State::Deciding
            }
            (State::Deciding, Event::StepFinished(finished)) => {
                self.sum("totals", finished.totals)?;
                let failed =
                    finished.failure_mode.is_some_and(|mode| mode != FailureMode::ToolCallFailure);
                let cut_short = !self.pending.is_empty();
                self.pending.clear();
                if cut_short && !failed && self.totals.calls_denied == 0 {
                    return Err(Some("the step ends before its calls were decided".to_owned()));
                }
                if cut_short { State::Stopping } else { State::BetweenSteps }
            }
            (State::BetweenSteps | State::Stopping, Event::RunFinished(finished)) => {
                self.sum("totals", finished.totals)?;
                State::Finished
            }
            _ => return Err(None),
        };
        if record.step != due_step {
            let name = |step: Option<u64>| step.map_or("null".to_owned(), |step| step.to_string());
            return Err(Some(format!(
                "step is {}, where {} is due",
                name(record.step),
                name(due_step)
            )));
        }
        Ok(next)
    }

    fn replied(&mut self, reply: &LlmReplied) -> Result<State, Option<String>> {
        if reply.final_answer.is_some() != reply.calls.is_empty() {
            return Err(Some("a reply has either calls or a final answer".to_owned()));
        }
        self.totals.usage.add(reply.usage);
        self.pending.extend(reply.calls.iter().map(|c| (c.call_id.clone(), c.tool.clone())));
        Ok(State::Deciding)
    }

    fn sum(&self, name: &str, stated: Totals) -> Result<(), Option<String>> {
        if stated == self.totals {
            return Ok(());
        }
        Err(Some(format!(
            "{name} say {stated:?}, but the events before sum up to {:?}",
            self.totals
        )))
    }
}
