//! What can be found of a run, and what it makes of the verdict.

use schemars::JsonSchema;
use serde::Serialize;

/// What a run's evidence is worth. The worst that was found is the run's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything agrees, and everything was there to be checked.
    Verified,
    /// Nothing contradicts, but something could not be checked.
    Unconfirmed,
    /// The evidence is whole; the current inputs differ from those of the run.
    InputsDiffer,
    /// The ledger is intact up to where it stops, and nothing says that the run has ended.
    Unfinished,
    /// The folder is not readable as a run.
    Malformed,
    /// It can be read, and it contradicts itself.
    Tampered,
    /// The machine refused to read it, so that nothing is known of it.
    Unread,
}

impl Verdict {
    /// The word for a person.
    pub fn words(self) -> &'static str {
        match self {
            Self::InputsDiffer => "inputs differ",
            Self::Unread => "not read",
            other => other.as_str(),
        }
    }

    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Unconfirmed => "unconfirmed",
            Self::InputsDiffer => "inputs_differ",
            Self::Unfinished => "unfinished",
            Self::Malformed => "malformed",
            Self::Tampered => "tampered",
            Self::Unread => "unread",
        }
    }
}

/// Why something is a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A file of the run is missing, not a regular file, or cannot be read.
    Unreadable,
    /// A line is not a record of a format that this program reads.
    Format,
    /// A line is not what the lines before it promise: number, link, order, the ledger's end.
    Ledger,
    /// An event contradicts those before it.
    Facts,
    /// A file is not what the ledger is projected to.
    Projection,
    /// A file that the run did not write is in the folder, or one that it wrote differs.
    Contents,
    /// The run is in another run's place.
    Place,
    /// The run did not end.
    Unfinished,
    /// The ends of lines were rewritten, and nothing else.
    LineEnds,
    /// White space at the ends of lines or of the file was changed, and nothing else.
    WhiteSpace,
    /// A current input differs from that of the run.
    Input,
    /// An input is missing or unreadable.
    InputUnread,
    /// The signature's envelope is wrong, or a required signature could not be checked.
    Signature,
    /// A folder that may hold runs is not followed or cannot be read.
    Folder,
    /// The machine refused to read something: disk, descriptors, permissions.
    Host,
}

/// Something that was found, and where.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Finding {
    /// What it makes of the verdict.
    pub verdict: Verdict,
    /// Why.
    pub cause: Cause,
    /// The file, relative to the run's folder; an input by its path in the project.
    pub file: String,
    /// The line, from 1.
    pub line: Option<u64>,
    /// The byte in the line, from 1.
    pub byte: Option<usize>,
    /// What is wrong.
    pub what: String,
    /// What was found, from that byte on.
    pub found: Option<String>,
    /// What was expected, from that byte on.
    pub expected: Option<String>,
}

impl Finding {
    /// A finding about a whole file.
    pub fn new(verdict: Verdict, cause: Cause, file: &str, what: impl Into<String>) -> Self {
        let (line, byte, found, expected) = (None, None, None, None);
        let (file, what) = (file.to_owned(), what.into());
        Self { verdict, cause, file, line, byte, what, found, expected }
    }

    pub(super) fn line(self, line: u64) -> Self {
        Self { line: Some(line), ..self }
    }
}

/// Who vouches for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SignatureState {
    /// Nobody.
    None,
    /// Somebody, and no key was given to check it with.
    Unchecked,
    /// Somebody, with another key than those that were given.
    OtherKey,
    /// Who holds one of the keys that were given.
    Valid,
    /// The envelope is not right.
    Invalid,
}

/// How many findings are listed of a run: a folder may hold any number of files.
pub const FINDINGS_MAX: usize = 100;
