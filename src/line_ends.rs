//! What git, an editor or a formatter does to every text file: other ends of lines, white space
//! taken off or added at the ends of lines, a line feed or empty lines at the end. It is told from
//! what somebody did to the text, since it happens without anybody's intent.
//!
//! Every reader that finds other bytes than it expects asks here, and says it in these words.

use crate::json::Digest;

/// What was rewritten, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewriting {
    /// The ends of lines.
    LineEnds,
    /// White space at the ends of lines or of the file.
    WhiteSpace,
}

impl Rewriting {
    /// Which rewriting makes the text with this digest these bytes; none where none does.
    ///
    /// ```
    /// use gatedrun::json::Digest;
    /// use gatedrun::line_ends::Rewriting;
    /// let made = Digest::of(b"a\nb\n");
    /// assert_eq!(Rewriting::of(b"a\r\nb\r\n", made), Some(Rewriting::LineEnds));
    /// assert_eq!(Rewriting::of(b"a \nb", made), Some(Rewriting::WhiteSpace));
    /// assert_eq!(Rewriting::of(b"a\nB\n", made), None);
    /// ```
    pub fn of(bytes: &[u8], made: Digest) -> Option<Self> {
        let is_made = |text: &[u8]| Digest::of(text) == made;
        let lf = with_lf(bytes);
        if is_made(&lf) || is_made(&with_crlf(bytes)) {
            return Some(Self::LineEnds);
        }
        let without = lf.strip_suffix(b"\n").unwrap_or(&lf);
        let with = [lf.as_slice(), b"\n"].concat();
        let is_white = is_made(without) || is_made(&with) || is_made(&trimmed(bytes));
        is_white.then_some(Self::WhiteSpace)
    }

    /// What was found, in words.
    pub fn what(self) -> &'static str {
        match self {
            Self::LineEnds => {
                "only the line ends differ (CRLF, LF): git (core.autocrlf) or an editor rewrote them"
            }
            Self::WhiteSpace => {
                "only white space at line ends or at the end of the file differs: a formatter, an editor or git changed it"
            }
        }
    }

    /// How to undo it; `pattern` is what to put into `.gitattributes`.
    pub fn remedy(self, pattern: &str) -> String {
        match self {
            Self::LineEnds => {
                format!("make sure that .gitattributes has `{pattern} -text`, and check out again")
            }
            Self::WhiteSpace => {
                format!("restore the file, and exclude {pattern} from such tools")
            }
        }
    }

    /// Both, as one line.
    pub fn words(self, pattern: &str) -> String {
        format!("{}; {}", self.what(), self.remedy(pattern))
    }
}

/// What protects the files of a run.
pub const RUNS: &str = "runs/**";

/// What protects a file of a project, and those that lie beside it: its folder at the project's root.
///
/// ```
/// use gatedrun::line_ends::pattern;
/// assert_eq!(pattern("data/corpus/v1/op-01.md"), "data/**");
/// assert_eq!(pattern("policy.yaml"), "policy.yaml");
/// assert_eq!(pattern("../policy/v1.yaml"), "*");
/// assert_eq!(pattern("my runs/v1/state.jsonl"), "my?runs/**");
/// ```
pub fn pattern(path: &str) -> String {
    // A blank would end the pattern.
    match path.replace(char::is_whitespace, "?").split_once('/') {
        None => path.replace(char::is_whitespace, "?"),
        Some(("" | "." | "..", _)) => "*".to_owned(),
        Some((folder, _)) => format!("{folder}/**"),
    }
}

/// Whether a line, without its line feed, is the expected one but for how it ends.
pub fn is_line_end(found: &[u8], expected: &[u8]) -> bool {
    found.strip_suffix(b"\r") == Some(expected)
}

/// Lines that end with CRLF, ended with LF.
pub fn with_lf(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for (at, byte) in bytes.iter().enumerate() {
        if *byte != b'\r' || bytes.get(at + 1) != Some(&b'\n') {
            out.push(*byte);
        }
    }
    out
}

/// Lines that end with LF, ended with CRLF.
pub fn with_crlf(bytes: &[u8]) -> Vec<u8> {
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

/// A text without white space at the ends of its lines, the last of which ends too and is not empty.
///
/// ```
/// use gatedrun::line_ends::trimmed;
/// assert_eq!(trimmed(b"a \n\n\tb\n\n"), b"a\n\n\tb\n");
/// assert_eq!(trimmed(b"a"), b"a\n");
/// assert_eq!(trimmed(b"\n \n"), b"");
/// ```
pub fn trimmed(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 1);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let white = line.iter().rev().take_while(|byte| b" \t\r\n".contains(byte)).count();
        let kept = line.get(..line.len() - white).unwrap_or_default();
        out.extend_from_slice(kept);
        if !kept.is_empty() || line.ends_with(b"\n") {
            out.push(b'\n');
        }
    }
    let empty = out.iter().rev().take_while(|byte| **byte == b'\n').count();
    let ends = usize::from(out.len() > empty);
    out.truncate(out.len() - empty + ends);
    out
}
