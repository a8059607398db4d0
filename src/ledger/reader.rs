//! Reads a ledger back: every line is checked before anything in it is believed.

use std::io::{self, Read};

use memchr::memchr;

use crate::event::{Event, Record, ToolFinished};
use crate::json::{Digest, JsonError};
use crate::line_ends::{RUNS, Rewriting, is_line_end};

use super::encode::{LINK, encode, write_unlinked};
use super::error::LedgerError;
use super::format::Format;
use super::grammar::Grammar;
use super::lines::{LINE_BYTES_MAX, Lines, Next};

/// Reads a ledger line by line, in memory bounded by its longest line.
///
/// Every line is checked: its encoding, number, chain and place in the grammar. A last line
/// without a line feed is what a crash leaves; it is not a record, and [`Reader::torn`] has its
/// size.
pub struct Reader<R> {
    lines: Lines<R>,
    again: Vec<u8>,
    number: u64,
    prev: Digest,
    format: Format,
    grammar: Grammar,
    torn: usize,
    bytes: u64,
    trusting: bool,
}

impl<R: Read> Reader<R> {
    /// A reader that takes the lines' links and the way they are written on trust, and looks at
    /// what they say alone: for questions that are not whether the ledger was changed.
    pub fn trusting(source: R) -> Self {
        Self { trusting: true, ..Self::new(source) }
    }

    /// A reader at the start of a ledger.
    pub fn new(source: R) -> Self {
        Self {
            lines: Lines::new(source),
            again: Vec::new(),
            number: 0,
            prev: Digest::ZERO,
            format: Format::default(),
            grammar: Grammar::default(),
            torn: 0,
            bytes: 0,
            trusting: false,
        }
    }

    /// The next record, or `None` at the end.
    ///
    /// # Errors
    /// The first line that is not what the lines before it promise, with its number.
    pub fn next_record(&mut self) -> Result<Option<Record>, LedgerError> {
        if self.advance()? { self.record().map(Some) } else { Ok(None) }
    }

    /// Goes to the next line, without a look into it; false at the end.
    pub(super) fn advance(&mut self) -> Result<bool, LedgerError> {
        match self.lines.advance().map_err(LedgerError::Read)? {
            Next::Line => Ok(true),
            Next::End => Ok(false),
            Next::Torn => {
                self.torn = self.lines.line().len();
                Ok(false)
            }
            Next::TooLong => {
                Err(self.malformed(format!("it is longer than {LINE_BYTES_MAX} bytes")))
            }
        }
    }

    /// The record that the line in hand is.
    pub(super) fn record(&mut self) -> Result<Record, LedgerError> {
        let text = std::str::from_utf8(self.lines.line())
            .map_err(|error| self.malformed(format!("not a record: {error}")))?;
        let mut record: Record =
            serde_json::from_str(text).map_err(|error| self.no_record(error))?;
        if !self.trusting {
            self.is_as_written(&mut record)?;
        }
        self.format.accept(&record.event).map_err(|what| self.malformed(what))?;
        self.pass(&record)?;
        Ok(record)
    }

    /// Whether the line in hand is the one that the ledger writes for this event: the record's number
    /// and time then. Nothing is made of a line to say so.
    pub(super) fn says(&mut self, step: Option<u64>, event: &Event) -> Option<(u64, u64)> {
        let at_ns = self.at_ns()?;
        self.again.clear();
        write_unlinked(self.number, at_ns, step, event, &mut self.again);
        let link = self.lines.line().strip_prefix(self.again.as_slice())?.strip_prefix(LINK)?;
        let link = link.strip_suffix(b"\"}")?;
        let is_linked = self.trusting || link == self.prev.hex();
        is_linked.then_some((self.number, at_ns))
    }

    /// When the event in the line in hand happened.
    pub(super) fn at_ns(&self) -> Option<u64> {
        let line = self.lines.line().strip_prefix(b"{\"seq\":")?;
        let comma = memchr(b',', line)?;
        let rest = line.get(comma..)?.strip_prefix(b",\"at_ns\":")?;
        let digits = rest.get(..memchr(b',', rest)?)?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// Takes the line in hand for this record's.
    pub(super) fn pass(&mut self, record: &Record) -> Result<(), LedgerError> {
        if !self.trusting {
            self.grammar.accept(record)?;
            self.prev = Digest::of(self.lines.line());
        }
        self.number += 1;
        self.bytes += self.lines.line().len() as u64 + 1;
        Ok(())
    }

    /// Whether the lines are taken on trust.
    pub fn is_trusting(&self) -> bool {
        self.trusting
    }

    /// The line last read, without its line feed.
    pub fn line(&self) -> &[u8] {
        self.lines.line()
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
        self.grammar.is_finished()
    }

    /// The bytes of the line after the one that was just refused, where it is no longer than a line
    /// may be: it shows which of two lines was changed.
    ///
    /// # Errors
    /// The source's.
    pub fn following_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let next = self.lines.advance()?;
        Ok((next == Next::Line).then(|| self.lines.line().to_vec()))
    }

    /// Checks the line's encoding, number and link.
    fn is_as_written(&mut self, record: &mut Record) -> Result<(), LedgerError> {
        if let Event::ToolFinished(ToolFinished { result: Some(result), .. }) = &mut record.event {
            let due = result.check();
            let due = due.map_err(|error| self.no_record(error))?;
            if let Some(due) = due {
                *result = due;
            }
        }
        self.again.clear();
        encode(record, &mut self.again);
        let line = self.lines.line();
        if self.again != line {
            if is_line_end(line, &self.again) {
                return Err(self.wrong(Rewriting::LineEnds.words(RUNS)));
            }
            let column = self.again.iter().zip(line).take_while(|(a, b)| a == b).count() + 1;
            return Err(self.wrong(format!(
                "column {column}: it is not written as the ledger writes (key order, spaces or numbers)"
            )));
        }
        if record.seq != self.number {
            let want = self.number;
            return Err(self.wrong(format!("seq is {}, expected {want}", record.seq)));
        }
        if record.prev != self.prev {
            let (stated, computed) = (record.prev, self.prev);
            return Err(LedgerError::Unlinked { line: self.number + 1, stated, computed });
        }
        Ok(())
    }

    fn no_record(&self, error: impl Into<JsonError>) -> LedgerError {
        let JsonError { column, message, .. } = error.into();
        self.malformed(format!("not a record: column {column}: {message}"))
    }

    fn malformed(&self, what: String) -> LedgerError {
        LedgerError::Malformed { line: self.number + 1, what }
    }

    fn wrong(&self, what: String) -> LedgerError {
        LedgerError::Grammar { line: self.number + 1, what }
    }
}
