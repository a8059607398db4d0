//! The lines of a ledger as bytes: found where they were read to, and none longer than a line may be.

use std::io::{self, Read};
use std::ops::Range;

use memchr::memchr;

/// The longest line that a reader accepts, in bytes.
pub const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How much is read at once, in bytes.
const READ_BYTES: usize = 1 << 16;

/// The lines of a source. What is held is the line in hand and what was read ahead with it.
pub(super) struct Lines<R> {
    source: R,
    /// What was read; from `next` on, what no line was made of yet.
    buffer: Vec<u8>,
    filled: usize,
    /// The line in hand, without its line feed.
    line: Range<usize>,
    /// Where the next line begins.
    next: usize,
}

/// What is next in a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// A line, line feed and all.
    Line,
    /// The last bytes, without a line feed.
    Torn,
    /// More than a line may have.
    TooLong,
    /// Nothing.
    End,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, buffer: Vec::new(), filled: 0, line: 0..0, next: 0 }
    }

    /// The line in hand, without its line feed; where none is whole, what is there of it.
    pub(super) fn line(&self) -> &[u8] {
        self.buffer.get(self.line.clone()).unwrap_or_default()
    }

    /// Goes to the next line.
    pub(super) fn advance(&mut self) -> io::Result<Next> {
        let mut begin = self.next;
        let mut seen = begin;
        loop {
            let unseen = self.buffer.get(seen..self.filled).unwrap_or_default();
            if let Some(at) = memchr(b'\n', unseen) {
                self.line = begin..seen + at;
                self.next = seen + at + 1;
                let is_short = self.line.len() <= LINE_BYTES_MAX;
                return Ok(if is_short { Next::Line } else { Next::TooLong });
            }
            seen = self.filled;
            if seen - begin > LINE_BYTES_MAX {
                return Ok(Next::TooLong);
            }
            if begin > 0 {
                self.buffer.copy_within(begin..self.filled, 0);
                self.filled -= begin;
                seen -= begin;
                begin = 0;
            }
            (self.line, self.next) = (0..self.filled, self.filled);
            if self.read_more()? == 0 {
                return Ok(if seen == 0 { Next::End } else { Next::Torn });
            }
        }
    }

    fn read_more(&mut self) -> io::Result<usize> {
        let room = self.filled + READ_BYTES;
        if self.buffer.len() < room {
            self.buffer.resize(room, 0);
        }
        loop {
            let free = self.buffer.get_mut(self.filled..room).unwrap_or_default();
            match self.source.read(free) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(read) => {
                    self.filled += read;
                    return Ok(read);
                }
            }
        }
    }
}
