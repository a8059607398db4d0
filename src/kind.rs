//! What kind of input a file is, for whoever names one where another kind is expected.

use crate::problem::Problem;

/// What a file is meant to be, by the keys that only such a file has: said to whoever names it where
/// another kind is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A policy.
    Policy,
    /// A task.
    Task,
    /// A tool contract.
    Contract,
    /// A decision table.
    Table,
    /// The manifest of a corpus.
    CorpusManifest,
}

impl Kind {
    /// The kind of a file, where its keys show it.
    ///
    /// ```
    /// use gatedrun::kind::Kind;
    /// assert_eq!(Kind::of(b"version: 1\ntool_registry:\n  allowed: []\n"), Some(Kind::Policy));
    /// assert_eq!(Kind::of(b"{\"question\": \"?\", \"llm\": {}}"), Some(Kind::Task));
    /// assert_eq!(Kind::of(b"{}"), None);
    /// ```
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let has = |key: &str| memchr::memmem::find(bytes, key.as_bytes()).is_some();
        let mut lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
        let is_object = bytes.trim_ascii_start().starts_with(b"{");
        match is_object {
            true if has("\"llm\"") && has("\"question\"") => Some(Self::Task),
            true if has("\"inputSchema\"") => Some(Self::Contract),
            true if has("\"decision\"") && has("\"tool\"") => Some(Self::Table),
            true if has("\"documents\"") && has("\"sha256\"") => Some(Self::CorpusManifest),
            true => None,
            false => lines.any(|line| line == b"tool_registry:").then_some(Self::Policy),
        }
    }

    /// Its name with an article.
    pub fn name(self) -> &'static str {
        match self {
            Self::Policy => "a policy",
            Self::Task => "a task",
            Self::Contract => "a tool contract",
            Self::Table => "a decision table",
            Self::CorpusManifest => "the manifest of a corpus",
        }
    }

    /// That the file is of this kind where another one is expected.
    pub fn instead_of(self, file: &str, expected: Self) -> Problem {
        let remedy = match (expected, self) {
            (Self::Policy, Self::Task) => {
                "name a policy; the task names its own under \"policy\"".to_owned()
            }
            (Self::Policy, Self::Table) => {
                format!(
                    "name a policy; to test one by this table, use `gatedrun policy test POLICY {file}`"
                )
            }
            (Self::Task, Self::Policy) => {
                format!("name a task; to check the policy, use `gatedrun policy check {file}`")
            }
            (Self::Task, Self::CorpusManifest) => {
                "name a task; to check the corpus, use `gatedrun corpus check FOLDER`".to_owned()
            }
            _ => format!("name {}", expected.name()),
        };
        let what = format!("this is {}, not {}", self.name(), expected.name());
        Problem::new(file, what).remedy(remedy)
    }
}
