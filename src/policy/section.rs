//! What a rule says of its section of the policy, besides judging by it.
//!
//! Whoever reads, completes, checks or shows a policy asks this of every rule, and knows none.

use serde_json::Value;

use super::notes::Notes;

/// What there is to say of a section of the policy.
#[derive(Debug)]
pub struct Section {
    /// Every key but the examples, and what holds without it. `[]` stands for each entry of a list.
    pub keys: &'static [(&'static str, Fallback)],
    /// How a back-test treats each of them.
    pub tried: &'static [(&'static str, How)],
    /// Lines that are valid: for a section the first to write below it, and one for each key without
    /// a default. `TOOL` stands for a tool that has a contract.
    pub samples: &'static [(&'static str, &'static str)],
    /// What to write for a value of the wrong type at a pointer, where the rule knows it better than
    /// the type does.
    pub instead: fn(&str, &Value) -> Option<String>,
    /// What is wrong with a pattern, as a message shows it, for the value at a pointer; and what to
    /// write.
    pub pattern: fn(&str, &str) -> Option<(String, String)>,
    /// Notes what is wrong with the section that the meta-schema cannot say.
    pub findings: fn(&mut Notes<'_>),
    /// Notes what is valid there and hardly meant.
    pub warnings: fn(&mut Notes<'_>),
}

impl Section {
    /// Nothing to say.
    pub const SILENT: Self = Self {
        keys: &[],
        tried: &[],
        samples: &[],
        instead: |_, _| None,
        pattern: |_, _| None,
        findings: |_| {},
        warnings: |_| {},
    };
}

/// What holds where a key is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// Nothing: the key must be there.
    Required,
    /// Nothing is set, and this is what it means.
    Unset(&'static str),
    /// A number.
    Number(u64),
    /// A word.
    Word(&'static str),
    /// A list.
    List(&'static [&'static str]),
}

impl Fallback {
    /// The value, where there is one.
    pub fn value(self) -> Option<Value> {
        match self {
            Self::Required | Self::Unset(_) => None,
            Self::Number(number) => Some(number.into()),
            Self::Word(word) => Some(word.into()),
            Self::List(items) => Some(items.to_vec().into()),
        }
    }
}

/// How a back-test treats a key of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Every decision is made again.
    Decided,
    /// Every attempt and result is computed again; from the first that differs, the run is bounded.
    Computed,
    /// Acts inside a tool: the run is bounded from the first recorded attempt that it can change.
    Bounded,
    /// Changes no event.
    Nothing,
}

impl How {
    /// What it means, for a person.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decided => "every decision is made again",
            Self::Computed => {
                "computed again; bounded from the first attempt or result that differs"
            }
            Self::Bounded => "bounded from the first recorded attempt that it can change",
            Self::Nothing => "changes no event",
        }
    }
}
