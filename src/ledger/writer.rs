//! The only writer of records.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::clock::Clock;
use crate::event::{Event, Record};
use crate::json::Digest;

use super::encode::encode;
use super::error::LedgerError;
use super::grammar::Grammar;
use super::lines::LINE_BYTES_MAX;
use super::past::{Past, Taken};

/// What the ledger hands to its sink.
#[derive(Debug)]
pub enum Push<'a> {
    /// A record, its line without the line feed, and the line's SHA-256.
    Record(&'a Record, &'a [u8], Digest),
    /// What was pushed so far must outlive this process before the call returns.
    Durable,
}

/// Writes records: numbers them, dates them, chains them. What is recorded already is taken from
/// the past.
pub struct Ledger<'a> {
    clock: Clock,
    seq: u64,
    prev: Digest,
    grammar: Grammar,
    line: Vec<u8>,
    past: Past<'a>,
    written: u64,
    interrupt: Option<&'a AtomicBool>,
    sink: Box<dyn FnMut(Push<'_>) -> io::Result<()> + Send + 'a>,
}

impl<'a> Ledger<'a> {
    /// A ledger with a past. `sink` gets every line, those of the past included.
    pub fn new(
        clock: Clock,
        past: Past<'a>,
        sink: impl FnMut(Push<'_>) -> io::Result<()> + Send + 'a,
    ) -> Self {
        Self {
            clock,
            seq: 0,
            prev: Digest::ZERO,
            grammar: Grammar::default(),
            line: Vec::new(),
            past,
            written: 0,
            interrupt: None,
            sink: Box::new(sink),
        }
    }

    /// Stops the run after the next record once this is set, or after the call in hand.
    #[must_use]
    pub fn interrupted_by(mut self, flag: Option<&'a AtomicBool>) -> Self {
        self.interrupt = flag;
        self
    }

    /// Appends an event, and gives it back; where it is recorded already, takes that.
    ///
    /// # Errors
    /// The sink's; [`LedgerError::Grammar`] for an event that may not follow, a defect of the
    /// caller, refused before it is written; and that the record says something else or ends.
    pub fn push(&mut self, step: Option<u64>, event: Event) -> Result<Event, LedgerError> {
        if self.past.is_more()? {
            return self.repeat(step, event);
        }
        self.may_act()?;
        let at_ns = self.clock.date(&event);
        let record = Record { seq: self.seq, at_ns, step, event, prev: self.prev };
        self.grammar.accept(&record)?;
        self.line.clear();
        encode(&record, &mut self.line);
        // A line that no reader would take is not written.
        if self.line.len() > LINE_BYTES_MAX {
            let what = format!(
                "the event has {} bytes; a line of the ledger has at most {LINE_BYTES_MAX}",
                self.line.len()
            );
            return Err(LedgerError::Grammar { line: record.seq + 1, what });
        }
        self.prev = Digest::of(&self.line);
        self.seq += 1;
        self.written += 1;
        (self.sink)(Push::Record(&record, &self.line, self.prev)).map_err(LedgerError::Sink)?;
        // Between an intent and its outcome nobody stops: the call would be in doubt for nothing.
        // And what has ended needs no stopping.
        let may_stop = !self.grammar.is_running() && !self.grammar.is_finished();
        if may_stop && self.interrupt.is_some_and(|flag| flag.load(Ordering::Relaxed)) {
            self.make_durable()?;
            return Err(LedgerError::Interrupted);
        }
        Ok(record.event)
    }

    /// Takes the recorded event that this is.
    fn repeat(&mut self, step: Option<u64>, event: Event) -> Result<Event, LedgerError> {
        let record = match self.past.take(step, &event)? {
            Taken::Added => return Ok(event),
            Taken::Recorded(record) => record,
            Taken::Computed { seq, at_ns } => {
                let record = Record { seq, at_ns, step, event, prev: self.prev };
                self.past.pass(&record)?;
                record
            }
        };
        self.grammar.accept(&record)?;
        self.clock.follow(&record);
        let (line, sha256) = self.past.line();
        self.prev = sha256;
        self.seq = record.seq + 1;
        (self.sink)(Push::Record(&record, line, sha256)).map_err(LedgerError::Sink)?;
        Ok(record.event)
    }

    /// What was recorded of something that cannot be computed; `None` where it is still to happen.
    /// `pick` gets the next recorded event and, where it asks for `two`, the one after it.
    ///
    /// # Errors
    /// That the record ends, or says that something else happened.
    pub fn recorded<T>(
        &mut self,
        two: bool,
        pick: impl FnOnce(&Record, Option<&Record>) -> Option<T>,
    ) -> Result<Option<T>, LedgerError> {
        let (Some(next), then) = self.past.next(two)? else {
            self.may_go_on()?;
            return Ok(None);
        };
        if let Some(picked) = pick(next, then) {
            return Ok(Some(picked));
        }
        if self.past.goes_on() && self.past.peek(1)?.is_none() {
            return Ok(None);
        }
        Err(LedgerError::Grammar {
            line: self.seq + 1,
            what: "the record says that something else happened next".to_owned(),
        })
    }

    /// The error of an event that may not be next; `what` says why.
    pub fn refused(&self, what: &str) -> LedgerError {
        LedgerError::Grammar { line: self.seq + 1, what: what.to_owned() }
    }

    /// The recorded events that are still to come.
    pub fn past(&mut self) -> &mut Past<'a> {
        &mut self.past
    }

    /// Whether the next event is the first one after a past: what was being done when the run was
    /// cut short may have happened or not.
    pub fn is_carried_on(&mut self) -> bool {
        self.written == 0 && self.seq > 0 && self.past.goes_on()
    }

    /// Whether what is not recorded may happen now.
    ///
    /// # Errors
    /// That the record ends, and with it the loop.
    pub fn may_act(&self) -> Result<(), LedgerError> {
        if self.past.is_rehearsal() { Err(LedgerError::Ends(self.seq)) } else { self.may_go_on() }
    }

    fn may_go_on(&self) -> Result<(), LedgerError> {
        if self.past.goes_on() { Ok(()) } else { Err(LedgerError::Ends(self.seq)) }
    }

    /// Milliseconds from the first event to the one that is next.
    ///
    /// # Errors
    /// A line of the past that is wrong.
    pub fn elapsed_ms(&mut self) -> Result<u64, LedgerError> {
        let recorded = self.past.next_at_ns()?;
        Ok(self.clock.elapsed_ms(recorded))
    }

    /// Makes everything pushed so far outlive this process: asked for before an effect.
    ///
    /// # Errors
    /// The sink's.
    pub fn make_durable(&mut self) -> Result<(), LedgerError> {
        (self.sink)(Push::Durable).map_err(LedgerError::Sink)
    }
}
