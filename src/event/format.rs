//! The versions of the ledger's format: what is newer than the first one, and since which number.
//!
//! A run states the lowest number that can express it. The number stands in the first event, which is
//! never written again, so the first event decides it: whatever needs a higher number is announced there.

use super::{Event, ExecutionPath};

/// Something that an event can hold and that readers of earlier formats do not know: a kind, a field or
/// a word.
#[derive(Debug)]
pub struct Newer {
    /// The first format that has it.
    pub since: u32,
    /// What it is, as docs and errors call it.
    pub what: &'static str,
    /// Whether an event holds it.
    pub is_in: fn(&Event) -> bool,
}

/// Everything that is newer than format 1: one row per kind, field or word. There is no other place that
/// says which format has what.
pub const NEWER: [Newer; 1] = [Newer {
    since: 2,
    what: "the word `outside` in `llm.path`",
    is_in: |event| matches!(event, Event::RunStarted(started) if started.llm.path == ExecutionPath::Outside),
}];

/// The first format.
pub const FORMAT_MIN: u32 = 1;

/// The newest format that this program writes and reads.
pub const FORMAT_MAX: u32 = newest();

const fn newest() -> u32 {
    let (mut newest, mut row) = (FORMAT_MIN, NEWER.as_slice());
    while let [first, rest @ ..] = row {
        if first.since > newest {
            newest = first.since;
        }
        row = rest;
    }
    newest
}

impl Event {
    /// The newest thing that it holds; `None` where format 1 can express it.
    pub fn newest(&self) -> Option<&'static Newer> {
        const ROWS: &[Newer] = &NEWER;
        ROWS.iter().filter(|newer| (newer.is_in)(self)).max_by_key(|newer| newer.since)
    }

    /// The lowest format that can express it.
    pub fn format_min(&self) -> u32 {
        self.newest().map_or(FORMAT_MIN, |newer| newer.since)
    }
}
