//! What can go wrong with a ledger.

use std::io;

use crate::event::{Event, Record};
use crate::json::Digest;

/// What to do about a format that this program does not read.
pub const OTHER_VERSION: &str = "use a version of the program that reads that format";

/// Whether these words about a run say that another version of the program reads it. It is whole
/// then: nobody is told to restore or to replace it.
pub fn is_of_another_version(what: &str) -> bool {
    what.contains(OTHER_VERSION)
}

/// Why a ledger cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The sink failed.
    #[error("{0}")]
    Sink(#[source] io::Error),
    /// The reader failed.
    #[error("the ledger cannot be read: {0}")]
    Read(#[source] io::Error),
    /// A line that is not a record of this format.
    #[error("line {line}: {what}")]
    Malformed {
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// A line whose link is not the SHA-256 of the line before: one of the two was changed.
    #[error(
        "line {line}: prev is {stated}, but the line before it has SHA-256 {computed}: one of the two lines was changed"
    )]
    Unlinked {
        /// The line, from 1.
        line: u64,
        /// What it says of the line before.
        stated: Digest,
        /// What the line before is.
        computed: Digest,
    },
    /// An event that is not allowed next.
    #[error("line {line}: {what}")]
    Grammar {
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The loop computed an event that differs from the record.
    #[error("event {} is {} in the record, but the run now produces a different {}", .0.recorded.seq, .0.recorded.event.kind(), .0.computed.kind())]
    Diverged(Box<Divergence>),
    /// The record ends before the run does.
    #[error("the record ends after {0} events, but the run continues")]
    Ends(u64),
    /// Somebody asked the run to stop. Everything up to here is recorded.
    #[error("the run was interrupted; everything up to here is recorded")]
    Interrupted,
}

/// Where the loop computed an event that differs from the record.
#[derive(Debug, Clone, PartialEq)]
pub struct Divergence {
    /// What was recorded.
    pub recorded: Record,
    /// The step of what was computed.
    pub step: Option<u64>,
    /// What was computed.
    pub computed: Event,
}
