//! What a command writes, and how its own output is known again.

use crate::evidence::attest::is_test_envelope;

/// How a report in JUnit XML begins, by which one is known again.
pub(super) const JUNIT_HEAD: &str =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"gatedrun\" ";

/// What is written to a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// A report as JUnit XML.
    Junit,
    /// A report as SARIF.
    Sarif,
    /// A signed statement about a check.
    Statement,
    /// A key; it replaces nothing.
    Key,
    /// A page of the manual.
    Page,
    /// A file of a corpus, whose folder was looked at.
    Corpus,
    /// The signatures under a run, in its folder.
    Signatures,
}

impl Content {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Junit => "a JUnit report",
            Self::Sarif => "a SARIF report",
            Self::Statement => "a statement about a check",
            Self::Key => "a key",
            Self::Page => "a manual page",
            Self::Corpus => "a file of a corpus",
            Self::Signatures => "the signatures under a run",
        }
    }

    /// Whether these bytes were written as this by this program. An empty file holds nothing.
    pub(super) fn is_own(self, bytes: &[u8]) -> bool {
        let has = |needle: &str| memchr::memmem::find(bytes, needle.as_bytes()).is_some();
        bytes.is_empty()
            || match self {
                Self::Junit => bytes.starts_with(JUNIT_HEAD.as_bytes()),
                Self::Sarif => {
                    serde_json::from_slice::<serde_json::Value>(bytes).is_ok_and(|log| {
                        log.pointer("/runs/0/tool/driver/name") == Some(&"gatedrun".into())
                    })
                }
                Self::Statement => is_test_envelope(bytes),
                Self::Page => has("\n.TH gatedrun"),
                Self::Key => false,
                Self::Corpus | Self::Signatures => true,
            }
    }

    /// The folder of a project that this belongs in.
    pub(super) fn home(self) -> Option<&'static str> {
        match self {
            Self::Corpus => Some("data"),
            Self::Signatures => Some("runs"),
            Self::Junit | Self::Sarif | Self::Statement | Self::Key | Self::Page => None,
        }
    }
}
