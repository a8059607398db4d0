//! What is wrong with an input, where, and how to mend it.
//!
//! Every loader collects all the problems of a file before it gives up, so that a person mends
//! them in one go. This module prints nothing and decides no exit code.

use std::fmt;

/// One mistake in one input.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The input as its user named it, for example `tasks/canonical/v1.json`.
    pub file: String,
    /// The place in it: a line and column, or a JSON pointer; empty for the whole file.
    pub at: String,
    /// What is wrong, as a lower-case fragment.
    pub what: String,
    /// How to mend it; empty where the first sentence says it already.
    pub mend: String,
    /// Whether the machine refused, and not the input is wrong.
    #[serde(skip)]
    pub is_host: bool,
}

impl Problem {
    /// A problem of the whole file.
    pub fn new(file: impl Into<String>, what: impl Into<String>) -> Self {
        let (at, mend) = (String::new(), String::new());
        Self { file: file.into(), at, what: what.into(), mend, is_host: false }
    }

    /// Says where in the file.
    #[must_use]
    pub fn at(mut self, at: impl Into<String>) -> Self {
        self.at = at.into();
        self
    }

    /// Says that the machine refused: there is nothing to change in the input.
    #[must_use]
    pub fn of_the_host(mut self) -> Self {
        self.is_host = true;
        self
    }

    /// Says how to mend it.
    #[must_use]
    pub fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend = mend.into();
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if !self.at.is_empty() {
            write!(f, ": {}", self.at)?;
        }
        write!(f, ": {}", self.what)?;
        if !self.mend.is_empty() {
            write!(f, "; {}", self.mend)?;
        }
        Ok(())
    }
}

/// At least one [`Problem`]: the error type of every loader.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl Problems {
    /// `Ok(value)` when nothing was found wrong.
    ///
    /// # Errors
    /// All of `problems`, when there is one.
    pub fn check<T>(problems: Vec<Problem>, value: T) -> Result<T, Self> {
        if problems.is_empty() { Ok(value) } else { Err(Self(problems)) }
    }
}

/// The name in `known` that is nearest to `name`, where one is near enough to be meant.
///
/// ```
/// assert_eq!(gatedrun::problem::nearest("serch", &["search", "fetch"]), Some("search"));
/// assert_eq!(gatedrun::problem::nearest("delete", &["search", "fetch"]), None);
/// ```
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (distance(name, candidate), *candidate))
        .filter(|(edits, candidate)| *edits <= candidate.chars().count().max(3) / 3)
        .min()
        .map(|(_, candidate)| candidate)
}

/// The number of single-character edits between two names (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cb, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let above = *cell;
            left = (diagonal + usize::from(ca != *cb)).min(above + 1).min(left + 1);
            diagonal = above;
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}
