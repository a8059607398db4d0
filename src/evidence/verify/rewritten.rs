//! What git, an editor or a formatter does to every text file: other ends of lines, white space
//! taken off or added at the ends of lines, a line feed at the end. It is told from what somebody
//! did to the text, since it happens without anybody's intent.

use std::cell::RefCell;
use std::io::{self, Read};
use std::rc::Rc;

use crate::json::Digest;

use super::Cause;

/// How many bytes of white space in a row are looked at as one.
const PENDING_BYTES_MAX: usize = 1 << 16;

/// Which files were read without what was rewritten in them: file, first line, and what it was.
#[derive(Debug, Clone, Default)]
pub(super) struct Rewritten(Rc<RefCell<Vec<Change>>>);

/// A file, the first line that was rewritten, and how.
type Change = (&'static str, u64, Cause);

impl Rewritten {
    /// What was found, by file.
    pub(super) fn take(&self) -> Vec<Change> {
        let mut found = self.0.take();
        found.sort_unstable_by_key(|(name, line, _)| {
            (super::super::FILES.iter().position(|known| known == name), *line)
        });
        found
    }

    fn note(&self, name: &'static str, line: u64, cause: Cause) {
        let mut found = self.0.borrow_mut();
        match found.iter_mut().find(|(known, ..)| *known == name) {
            // White space is what is told where both were changed: it is the stronger claim.
            Some((_, _, known)) if cause == Cause::WhiteSpace => *known = cause,
            Some(_) => {}
            None => found.push((name, line, cause)),
        }
    }
}

/// A reader that leaves out white space at the ends of lines, and ends what it reads with a line
/// feed. What it leaves out is noted.
pub(super) struct Trimmed<R> {
    source: R,
    name: &'static str,
    note: Rewritten,
    line: u64,
    pending: Vec<u8>,
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
                if !self.is_at_line_start {
                    self.note.note(self.name, self.line, Cause::WhiteSpace);
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
                self.out.push(byte);
                self.line += 1;
                self.is_at_line_start = true;
            }
            _ => {
                self.out.append(&mut self.pending);
                self.out.push(byte);
                self.is_at_line_start = false;
            }
        }
    }

    fn leave_out(&mut self) {
        let is_crlf = self.pending == b"\r";
        let cause = if is_crlf { Cause::LineEnds } else { Cause::WhiteSpace };
        self.note.note(self.name, self.line, cause);
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

/// A text without white space at the ends of its lines.
pub(super) fn trimmed(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Memory does not fail to be read.
    let _ = Trimmed::new(text, "", Rewritten::default()).read_to_end(&mut bytes);
    bytes
}

/// Lines that end with CRLF, ended with LF.
pub(super) fn with_lf(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for (at, byte) in bytes.iter().enumerate() {
        if *byte != b'\r' || bytes.get(at + 1) != Some(&b'\n') {
            out.push(*byte);
        }
    }
    out
}

/// Lines that end with LF, ended with CRLF.
pub(super) fn with_crlf(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 16);
    let mut before = 0;
    for byte in bytes {
        if *byte == b'\n' && before != b'\r' {
            out.push(b'\r');
        }
        out.push(*byte);
        before = *byte;
    }
    out
}

/// Which rewriting makes a file with this digest the current file; `None` where none does.
pub(super) fn cause(bytes: &[u8], due: Digest) -> Option<Cause> {
    let is_due = |text: &[u8]| Digest::of(text) == due;
    let lf = with_lf(bytes);
    if is_due(&lf) || is_due(&with_crlf(bytes)) {
        return Some(Cause::LineEnds);
    }
    let without = lf.strip_suffix(b"\n").unwrap_or(&lf);
    let with = [lf.as_slice(), b"\n"].concat();
    let is_white = is_due(without) || is_due(&with) || is_due(&trimmed(bytes));
    is_white.then_some(Cause::WhiteSpace)
}

/// What a rewriting is, in words, and how to undo it; `pattern` is what to put into `.gitattributes`.
pub(super) fn words(cause: Cause, pattern: &str) -> String {
    match cause {
        Cause::WhiteSpace => format!(
            "only white space at line ends or at the end of the file differs: a formatter, an editor or git changed it; restore the file, and exclude {pattern} from such tools"
        ),
        _ => format!(
            "only the line ends differ (CRLF, LF): git (core.autocrlf) or an editor rewrote them; add `{pattern} -text` to .gitattributes and check out again"
        ),
    }
}
