//! A record as a line.

use serde::Serialize;

use crate::event::{Event, Record};
use crate::json;

/// Appends a record's line, without its line feed.
pub fn encode(record: &Record, line: &mut Vec<u8>) {
    write_unlinked(record.seq, record.at_ns, record.step, &record.event, line);
    line.extend_from_slice(LINK);
    line.extend_from_slice(&record.prev.hex());
    line.extend_from_slice(b"\"}");
}

/// What stands before the SHA-256 of the line before.
pub(super) const LINK: &[u8] = b",\"prev\":\"";

/// Appends a record's line up to its link to the line before.
pub(super) fn write_unlinked(
    seq: u64,
    at_ns: u64,
    step: Option<u64>,
    event: &Event,
    line: &mut Vec<u8>,
) {
    #[derive(Serialize)]
    struct Unlinked<'e> {
        seq: u64,
        at_ns: u64,
        step: Option<u64>,
        event: &'e Event,
    }
    json::append(line, &Unlinked { seq, at_ns, step, event });
    line.pop();
}
