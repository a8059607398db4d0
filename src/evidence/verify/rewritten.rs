//! The files of a run as they were before git, an editor or a formatter rewrote the ends of their
//! lines (see [`line_ends`](crate::line_ends)), read as a stream.

use std::cell::RefCell;
use std::io::{self, Read};
use std::rc::Rc;

use crate::line_ends::Rewriting;

use super::finding::Cause;

/// How many bytes of white space in a row are looked at as one.
const PENDING_BYTES_MAX: usize = 1 << 16;

/// Which files were read without what was rewritten in them: file, first line, and what it was.
#[derive(Debug, Clone, Default)]
pub(super) struct Rewritten(Rc<RefCell<Vec<Change>>>);

/// A file, the first line that was rewritten, and how.
type Change = (&'static str, u64, Rewriting);

impl Rewritten {
    /// What was found, by file.
    pub(super) fn take(&self) -> Vec<Change> {
        let mut found = self.0.take();
        found.sort_unstable_by_key(|(name, line, _)| {
            (super::super::FILES.iter().position(|known| known == name), *line)
        });
        found
    }

    fn note(&self, name: &'static str, line: u64, rewriting: Rewriting) {
        let mut found = self.0.borrow_mut();
        match found.iter_mut().find(|(known, ..)| *known == name) {
            // White space is what is told where both were changed: it is the stronger claim.
            Some((_, _, known)) if rewriting == Rewriting::WhiteSpace => *known = rewriting,
            Some(_) => {}
            None => found.push((name, line, rewriting)),
        }
    }
}

/// A reader that leaves out white space at the ends of lines and empty lines at the end, and ends
/// what it reads with a line feed. What it leaves out is noted.
pub(super) struct Trimmed<R> {
    source: R,
    name: &'static str,
    note: Rewritten,
    line: u64,
    pending: Vec<u8>,
    /// How many empty lines were read that may be the last ones.
    empty: usize,
    out: Vec<u8>,
    given: usize,
    is_at_line_start: bool,
    has_ended: bool,
}

impl<R: Read> Trimmed<R> {
    pub(super) fn new(source: R, name: &'static str, note: Rewritten) -> Self {
        let (pending, out) = (Vec::new(), Vec::new());
        Self {
            source,
            name,
            note,
            line: 1,
            pending,
            empty: 0,
            out,
            given: 0,
            is_at_line_start: true,
            has_ended: false,
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut bytes = [0; 1 << 14];
        self.out.clear();
        self.given = 0;
        while self.out.is_empty() && !self.has_ended {
            let read = self.source.read(&mut bytes)?;
            if read == 0 {
                self.has_ended = true;
                if !self.pending.is_empty() {
                    self.leave_out();
                }
                if self.empty > 0 {
                    let first = self.line - self.empty as u64;
                    self.note.note(self.name, first, Rewriting::WhiteSpace);
                }
                if !self.is_at_line_start {
                    self.note.note(self.name, self.line, Rewriting::WhiteSpace);
                    self.out.push(b'\n');
                }
            }
            for byte in bytes.iter().take(read) {
                self.push(*byte);
            }
        }
        Ok(())
    }

    fn push(&mut self, byte: u8) {
        match byte {
            b' ' | b'\t' | b'\r' if self.pending.len() < PENDING_BYTES_MAX => {
                self.pending.push(byte);
            }
            b'\n' => {
                if !self.pending.is_empty() {
                    self.leave_out();
                }
                self.line += 1;
                if self.is_at_line_start && self.empty < PENDING_BYTES_MAX {
                    self.empty += 1;
                } else {
                    self.give_empty();
                    self.out.push(byte);
                }
                self.is_at_line_start = true;
            }
            _ => {
                self.give_empty();
                self.out.append(&mut self.pending);
                self.out.push(byte);
                self.is_at_line_start = false;
            }
        }
    }

    fn give_empty(&mut self) {
        self.out.extend(std::iter::repeat_n(b'\n', std::mem::take(&mut self.empty)));
    }

    fn leave_out(&mut self) {
        let is_crlf = self.pending == b"\r";
        let rewriting = if is_crlf { Rewriting::LineEnds } else { Rewriting::WhiteSpace };
        self.note.note(self.name, self.line, rewriting);
        self.pending.clear();
    }
}

impl<R: Read> Read for Trimmed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.out.len() {
            self.fill()?;
        }
        let rest = self.out.get(self.given..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(rest) {
            *to = *from;
        }
        self.given += count;
        Ok(count)
    }
}

impl From<Rewriting> for Cause {
    fn from(rewriting: Rewriting) -> Self {
        match rewriting {
            Rewriting::LineEnds => Self::LineEnds,
            Rewriting::WhiteSpace => Self::WhiteSpace,
        }
    }
}
