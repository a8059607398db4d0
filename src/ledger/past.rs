//! What a ledger already holds when a loop begins: the events of a run that was cut short, or of a
//! whole one that is run again over its own record.
//!
//! The loop asks here first. What it computes is compared with what was recorded, event by event,
//! and what it cannot compute (a reply, a result, a human's decision, the time) is taken from
//! here. Only where nothing is left may it reach for the world, and only if it may go on at all.

use std::collections::VecDeque;
use std::io::Read;

use memchr::memmem;

use crate::event::{Event, Record};
use crate::json::Digest;

use super::error::{Divergence, LedgerError};
use super::reader::Reader;

/// A recorded event: the record, its line without the line feed, and the line's SHA-256.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The record.
    pub record: Record,
    /// Its line; empty where the record is taken on trust, and so is the next.
    pub line: Vec<u8>,
    /// SHA-256 of the line.
    pub sha256: Digest,
}

/// A recorded event, and the computed one that does not equal it.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'r> {
    /// What was recorded.
    pub recorded: &'r Record,
    /// The step of what was computed.
    pub step: Option<u64>,
    /// What was computed.
    pub computed: &'r Event,
}

impl From<Pair<'_>> for Divergence {
    fn from(pair: Pair<'_>) -> Self {
        Self { recorded: pair.recorded.clone(), step: pair.step, computed: pair.computed.clone() }
    }
}

/// What to do about a [`Pair`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Stop there.
    Stop,
    /// It does not matter: continue with what was recorded.
    Same,
    /// What was computed comes on top: the recorded event is still to come.
    Added,
    /// What was recorded is no longer computed: look at the next one.
    Removed,
}

type Source<'a> = Reader<Box<dyn Read + Send + 'a>>;
type Judge<'a> = Box<dyn FnMut(Pair<'_>) -> Answer + Send + 'a>;

/// The recorded events that are still to come.
pub struct Past<'a> {
    source: Source<'a>,
    judge: Judge<'a>,
    /// How many lines may still be read.
    left: u64,
    /// Whether the source has a line in hand that nobody has looked into.
    unread: bool,
    /// The events that somebody has looked at, in order; the unread line comes after them.
    ahead: VecDeque<Recorded>,
    /// The line of the event that was taken last, where it was looked at before.
    taken: Option<(Vec<u8>, Digest)>,
    goes_on: bool,
    is_rehearsal: bool,
}

/// What became of a computed event.
#[derive(Debug)]
pub(super) enum Taken {
    /// It was recorded so, at this number and time.
    Computed {
        /// The number.
        seq: u64,
        /// The time limit.
        at_ns: u64,
    },
    /// This was recorded, and is what counts.
    Recorded(Record),
    /// It comes on top of what was recorded.
    Added,
}

impl<'a> Past<'a> {
    /// No past: everything is still to happen.
    pub fn none() -> Self {
        Self::of(Reader::new(Box::new(std::io::empty())), 0, true, |_| Answer::Stop)
    }

    /// The events of a run that was cut short, to be resumed: nothing may differ.
    pub fn cut_short(ledger: impl Read + Send + 'a) -> Self {
        Self::of(Reader::new(Box::new(ledger)), u64::MAX, true, |_| Answer::Stop)
    }

    /// As [`Past::cut_short`], to find out whether it can be resumed: where the record ends, and a
    /// call is not in doubt, the loop ends before anything happens.
    pub fn rehearsed(ledger: impl Read + Send + 'a) -> Self {
        Self { is_rehearsal: true, ..Self::cut_short(ledger) }
    }

    /// The events of a run that is only looked at: where they end, the loop ends. `judge` says
    /// what may differ.
    pub fn whole(
        ledger: impl Read + Send + 'a,
        judge: impl FnMut(Pair<'_>) -> Answer + Send + 'a,
    ) -> Self {
        Self::of(Reader::new(Box::new(ledger)), u64::MAX, false, judge)
    }

    /// As [`Past::whole`], with what the lines say of each other and of results taken on trust.
    pub fn trusted(
        ledger: impl Read + Send + 'a,
        judge: impl FnMut(Pair<'_>) -> Answer + Send + 'a,
    ) -> Self {
        Self::of(Reader::trusting(Box::new(ledger)), u64::MAX, false, judge)
    }

    /// The first `records` events of a run, to be continued as if nothing had followed.
    pub fn first(
        records: u64,
        ledger: impl Read + Send + 'a,
        judge: impl FnMut(Pair<'_>) -> Answer + Send + 'a,
    ) -> Self {
        Self::of(Reader::new(Box::new(ledger)), records, true, judge)
    }

    fn of(
        source: Source<'a>,
        left: u64,
        goes_on: bool,
        judge: impl FnMut(Pair<'_>) -> Answer + Send + 'a,
    ) -> Self {
        Self {
            source,
            judge: Box::new(judge),
            left,
            unread: false,
            ahead: VecDeque::new(),
            taken: None,
            goes_on,
            is_rehearsal: false,
        }
    }

    /// Whether results are taken as they were recorded.
    pub fn is_trusting(&self) -> bool {
        self.source.is_trusting()
    }

    /// Whether the loop may reach for the world where the record ends.
    pub fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// Whether nothing may happen where the record ends, though the loop gets as far.
    pub(super) fn is_rehearsal(&self) -> bool {
        self.is_rehearsal
    }

    /// Whether there is a further recorded event.
    ///
    /// # Errors
    /// The file system's, and a line that is too long.
    pub fn is_more(&mut self) -> Result<bool, LedgerError> {
        Ok(!self.ahead.is_empty() || self.advance()?)
    }

    /// Goes to the next line, where none is in hand.
    fn advance(&mut self) -> Result<bool, LedgerError> {
        if !self.unread && self.left > 0 {
            self.unread = self.source.advance()?;
            self.left -= 1;
            if !self.unread {
                self.left = 0;
            }
        }
        Ok(self.unread)
    }

    /// The recorded event that is `ahead` places away, from 0.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn peek(&mut self, ahead: usize) -> Result<Option<&Record>, LedgerError> {
        while self.ahead.len() <= ahead && self.advance()? {
            let record = self.source.record()?;
            self.unread = false;
            let line = if self.is_trusting() { Vec::new() } else { self.source.line().to_vec() };
            self.ahead.push_back(Recorded { record, line, sha256: self.source.head() });
        }
        Ok(self.ahead.get(ahead).map(|recorded| &recorded.record))
    }

    /// The next recorded event and, where `two` are wanted, the one after it.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn next(&mut self, two: bool) -> Result<(Option<&Record>, Option<&Record>), LedgerError> {
        self.peek(usize::from(two))?;
        let record = |at: usize| self.ahead.get(at).map(|recorded| &recorded.record);
        Ok((record(0), record(1).filter(|_| two)))
    }

    /// When the next recorded event happened.
    ///
    /// # Errors
    /// Where the line does not say so, that it is wrong.
    pub fn next_at_ns(&mut self) -> Result<Option<u64>, LedgerError> {
        if self.ahead.is_empty()
            && self.advance()?
            && let Some(at_ns) = self.source.at_ns()
        {
            return Ok(Some(at_ns));
        }
        Ok(self.peek(0)?.map(|record| record.at_ns))
    }

    /// Whether the text of the next recorded event, which nobody has looked into, holds none of these:
    /// a way not to look into it.
    ///
    /// # Errors
    /// The file system's, and a line that is too long.
    pub fn next_lacks(&mut self, texts: &[&str]) -> Result<bool, LedgerError> {
        let unread = self.ahead.is_empty() && self.advance()?;
        let line = self.source.line();
        Ok(unread && texts.iter().all(|text| memmem::find(line, text.as_bytes()).is_none()))
    }

    /// Takes the recorded event that is the computed one. What is the same in its line is not read.
    ///
    /// # Errors
    /// [`LedgerError::Diverged`] where it differs, and a line that is wrong.
    pub(super) fn take(
        &mut self,
        step: Option<u64>,
        computed: &Event,
    ) -> Result<Taken, LedgerError> {
        if self.ahead.is_empty()
            && self.advance()?
            && let Some((seq, at_ns)) = self.source.says(step, computed)
        {
            return Ok(Taken::Computed { seq, at_ns });
        }
        loop {
            self.peek(0)?;
            let Some(recorded) = self.ahead.pop_front() else { return Ok(Taken::Added) };
            if recorded.record.step == step && recorded.record.event == *computed {
                return Ok(self.took(recorded));
            }
            let pair = Pair { recorded: &recorded.record, step, computed };
            match (self.judge)(pair) {
                Answer::Stop => return Err(LedgerError::Diverged(Box::new(pair.into()))),
                Answer::Same => return Ok(self.took(recorded)),
                Answer::Added => {
                    self.ahead.push_front(recorded);
                    return Ok(Taken::Added);
                }
                Answer::Removed => {}
            }
        }
    }

    fn took(&mut self, recorded: Recorded) -> Taken {
        self.taken = Some((recorded.line, recorded.sha256));
        Taken::Recorded(recorded.record)
    }

    /// The line in hand, of which nothing was read, is this record's.
    pub(super) fn pass(&mut self, record: &Record) -> Result<(), LedgerError> {
        self.source.pass(record)?;
        (self.unread, self.taken) = (false, None);
        Ok(())
    }

    /// The line of the event that was taken last, and its SHA-256.
    pub(super) fn line(&self) -> (&[u8], Digest) {
        match &self.taken {
            Some((line, sha256)) => (line, *sha256),
            None => (self.source.line(), self.source.head()),
        }
    }
}

impl std::fmt::Debug for Past<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Past")
            .field("ahead", &self.ahead)
            .field("left", &self.left)
            .field("goes_on", &self.goes_on)
            .finish_non_exhaustive()
    }
}
