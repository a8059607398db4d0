//! What a ledger already holds when a loop begins: the events of a run that was cut short, or of a
//! whole one that is run again over its own record.
//!
//! The loop asks here first. What it computes is compared with what was recorded, event by event,
//! and what it cannot compute (a reply, a result, a human's decision, the time) is taken from
//! here. Only where nothing is left may it reach for the world, and only if it may go on at all.

use std::collections::VecDeque;
use std::io::Read;

use crate::event::{Event, Record};
use crate::json::Digest;

use super::LedgerError;
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

/// Where the loop came to something else than was recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Divergence {
    /// What was recorded.
    pub recorded: Record,
    /// The step of what was computed.
    pub step: Option<u64>,
    /// What was computed.
    pub computed: Event,
}

/// What to do about a [`Divergence`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Stop there.
    Stop,
    /// It does not matter: go on with what was recorded.
    Same,
    /// What was computed comes on top: the recorded event is still to come.
    Added,
    /// What was recorded is not computed any more: look at the next one.
    Removed,
}

type Source<'a> = Box<dyn FnMut() -> Result<Option<Recorded>, LedgerError> + Send + 'a>;
type Judge<'a> = Box<dyn FnMut(&Divergence) -> Answer + Send + 'a>;

/// The recorded events that are still to come.
pub struct Past<'a> {
    source: Source<'a>,
    judge: Judge<'a>,
    ahead: VecDeque<Recorded>,
    dry: bool,
    goes_on: bool,
    trusting: bool,
}

impl<'a> Past<'a> {
    /// No past: everything is still to happen.
    pub fn none() -> Self {
        Self {
            source: Box::new(|| Ok(None)),
            judge: Box::new(|_| Answer::Stop),
            ahead: VecDeque::new(),
            dry: true,
            goes_on: true,
            trusting: false,
        }
    }

    /// The events of a run that was cut short, to be carried on: nothing may differ.
    pub fn cut_short(ledger: impl Read + Send + 'a) -> Self {
        Self { source: source(ledger), dry: false, ..Self::none() }
    }

    /// The events of a run that is only looked at: where they end, the loop ends. `judge` says
    /// what may differ.
    pub fn whole(
        ledger: impl Read + Send + 'a,
        judge: impl FnMut(&Divergence) -> Answer + Send + 'a,
    ) -> Self {
        Self {
            source: source(ledger),
            judge: Box::new(judge),
            ahead: VecDeque::new(),
            dry: false,
            goes_on: false,
            trusting: false,
        }
    }

    /// As [`Past::whole`], with what the lines say of each other and of results taken on trust.
    pub fn trusted(
        ledger: impl Read + Send + 'a,
        judge: impl FnMut(&Divergence) -> Answer + Send + 'a,
    ) -> Self {
        let source = read(Reader::trusting(ledger));
        Self { source, trusting: true, ..Self::whole(std::io::empty(), judge) }
    }

    /// Whether results are taken as they were recorded.
    pub fn is_trusting(&self) -> bool {
        self.trusting
    }

    /// The first `records` events of a run, to be gone on from as if nothing had followed.
    pub fn first(
        records: u64,
        ledger: impl Read + Send + 'a,
        judge: impl FnMut(&Divergence) -> Answer + Send + 'a,
    ) -> Self {
        let mut all = source(ledger);
        let mut left = records;
        let some = move || match left.checked_sub(1) {
            Some(less) => {
                left = less;
                all()
            }
            None => Ok(None),
        };
        Self { source: Box::new(some), goes_on: true, ..Self::whole(std::io::empty(), judge) }
    }

    /// Whether the loop may reach for the world where the record ends.
    pub fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// The recorded event that is `ahead` places away, from 0.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn peek(&mut self, ahead: usize) -> Result<Option<&Record>, LedgerError> {
        while !self.dry && self.ahead.len() <= ahead {
            match (self.source)()? {
                Some(recorded) => self.ahead.push_back(recorded),
                None => self.dry = true,
            }
        }
        Ok(self.ahead.get(ahead).map(|recorded| &recorded.record))
    }

    /// The next recorded event, and the one after it.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn next_two(&mut self) -> Result<(Option<&Record>, Option<&Record>), LedgerError> {
        self.peek(1)?;
        let record = |at: usize| self.ahead.get(at).map(|recorded| &recorded.record);
        Ok((record(0), record(1)))
    }

    /// Takes the recorded event that is the computed one; `None` where the computed one comes on
    /// top of what was recorded.
    ///
    /// # Errors
    /// [`LedgerError::Diverged`] where it is another, and a line that is wrong.
    pub(super) fn take(
        &mut self,
        step: Option<u64>,
        computed: &Event,
    ) -> Result<Option<Recorded>, LedgerError> {
        loop {
            self.peek(0)?;
            let Some(recorded) = self.ahead.pop_front() else { return Ok(None) };
            if recorded.record.step == step && recorded.record.event == *computed {
                return Ok(Some(recorded));
            }
            let divergence =
                Divergence { recorded: recorded.record.clone(), step, computed: computed.clone() };
            match (self.judge)(&divergence) {
                Answer::Stop => return Err(LedgerError::Diverged(Box::new(divergence))),
                Answer::Same => return Ok(Some(recorded)),
                Answer::Added => {
                    self.ahead.push_front(recorded);
                    return Ok(None);
                }
                Answer::Removed => {}
            }
        }
    }
}

fn source<'a>(ledger: impl Read + Send + 'a) -> Source<'a> {
    read(Reader::new(ledger))
}

fn read<'a>(mut reader: Reader<impl Read + Send + 'a>) -> Source<'a> {
    Box::new(move || {
        let record = reader.next_record()?;
        Ok(record.map(|record| Recorded {
            record,
            line: if reader.is_trusting() { Vec::new() } else { reader.line().to_vec() },
            sha256: reader.head(),
        }))
    })
}

impl std::fmt::Debug for Past<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Past")
            .field("ahead", &self.ahead)
            .field("dry", &self.dry)
            .field("goes_on", &self.goes_on)
            .finish_non_exhaustive()
    }
}
