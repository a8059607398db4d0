//! What is wrong with an input, where, and how to fix it.
//!
//! Every loader collects all the problems of a file before it gives up, so that a person fixes
//! them in one go. This module prints nothing and decides no exit code.

use std::fmt;

/// One mistake in one input.
#[derive(Debug, Clone, PartialEq, Eq, schemars::JsonSchema, serde::Serialize)]
pub struct Problem {
    /// The input as its user named it, for example `tasks/canonical/v1.json`.
    #[serde(serialize_with = "bounded")]
    pub file: String,
    /// The place in it: a line and column, or a JSON pointer; empty for the whole file.
    #[serde(serialize_with = "bounded")]
    pub at: String,
    /// What is wrong, as a lower-case fragment.
    #[serde(serialize_with = "bounded")]
    pub what: String,
    /// How to fix it; empty where the first sentence says it already.
    #[serde(serialize_with = "bounded")]
    pub remedy: String,
    /// Whether the machine refused, and not the input is wrong.
    #[serde(skip)]
    pub is_host: bool,
    /// Whether only the ends of lines differ from what is expected.
    #[serde(skip)]
    pub is_line_ends: bool,
}

impl Problem {
    /// A problem of the whole file.
    pub fn new(file: impl Into<String>, what: impl Into<String>) -> Self {
        let (at, remedy) = (String::new(), String::new());
        let (is_host, is_line_ends) = (false, false);
        Self { file: file.into(), at, what: what.into(), remedy, is_host, is_line_ends }
    }

    /// Says where in the file.
    #[must_use]
    pub fn at(mut self, at: impl Into<String>) -> Self {
        self.at = at.into();
        self
    }

    /// The same problem at the place that names the file: whoever wrote the name has to change it.
    #[must_use]
    pub fn named_by(self, file: impl Into<String>, at: impl Into<String>) -> Self {
        let what = format!("{}: {}", cut(&self.file), self.what);
        let named = Self { file: file.into(), at: at.into(), what, ..self };
        if named.is_host { named } else { named.or_remedy("restore it, or name another") }
    }

    /// Says that the machine refused: there is nothing to change in the input.
    #[must_use]
    pub fn of_the_host(mut self) -> Self {
        self.is_host = true;
        self
    }

    /// Says that only the ends of lines differ from what is expected.
    #[must_use]
    pub fn of_line_ends(mut self) -> Self {
        self.is_line_ends = true;
        self
    }

    /// Says how to fix it, unless that was said.
    #[must_use]
    pub fn or_remedy(self, remedy: &str) -> Self {
        if self.remedy.is_empty() { self.remedy(remedy) } else { self }
    }

    /// Says how to fix it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }
}

/// Writes a text for a program: it may need a whole path, and no text that is as long as a file.
fn bounded<S: serde::Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&limited(text, WRITTEN_CHARS_MAX))
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&named(&self.file))?;
        if !self.at.is_empty() {
            write!(f, ": {}", cut(&self.at))?;
        }
        write!(f, ": {}", limited(&self.what, WORDS_CHARS_MAX))?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", limited(&self.remedy, WORDS_CHARS_MAX))?;
        }
        Ok(())
    }
}

/// At least one [`Problem`]: the error type of every loader.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.in_order().into_iter().take(SHOWN_MAX).enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&one_line(&problem.to_string()))?;
        }
        match self.0.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl Problems {
    /// The problems in the order of their places, file by file.
    pub fn in_order(&self) -> Vec<&Problem> {
        let mut files: Vec<&str> = Vec::new();
        for problem in &self.0 {
            if !files.contains(&problem.file.as_str()) {
                files.push(&problem.file);
            }
        }
        let mut ordered: Vec<&Problem> = self.0.iter().collect();
        ordered.sort_by_cached_key(|problem| {
            let file = files.iter().position(|file| *file == problem.file);
            (file, place(&problem.at))
        });
        ordered
    }

    /// `Ok(value)` when nothing was found wrong.
    ///
    /// # Errors
    /// All of `problems`, when there is one.
    pub fn check<T>(problems: Vec<Problem>, value: T) -> Result<T, Self> {
        if problems.is_empty() { Ok(value) } else { Err(Self(problems)) }
    }
}

/// How many problems a message shows; the rest is counted.
pub const SHOWN_MAX: usize = 10;

/// How long the words of a problem may be, in characters: values in them are cut before.
const WORDS_CHARS_MAX: usize = 500;

/// How long each text of a problem may be where a program reads it, in characters.
const WRITTEN_CHARS_MAX: usize = 1024;

/// What orders places: line and column, then the parts of a JSON pointer.
fn place(at: &str) -> (u64, u64, Vec<(u64, &str)>) {
    let number = |word: &str| -> u64 {
        let digits = at.split_once(word).map_or("", |(_, rest)| rest);
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        digits.get(..end).unwrap_or_default().parse().unwrap_or(0)
    };
    if at.starts_with('/') {
        let parts = at.split('/').map(|part| (part.parse().unwrap_or(u64::MAX), part));
        return (0, 0, parts.collect());
    }
    (number("line "), number("column "), Vec::new())
}

/// The name of a file as a message shows it; an empty one is seen too.
pub fn named(file: &str) -> std::borrow::Cow<'_, str> {
    if file.is_empty() { "\"\"".into() } else { cut(file) }
}

/// A message that is one line, whatever the names in it are: a line feed in a name begins none.
///
/// ```
/// assert_eq!(gatedrun::problem::one_line("a\nb: no such file"), "a\\nb: no such file");
/// ```
pub fn one_line(message: &str) -> String {
    message.replace('\n', "\\n")
}

/// How long a quoted value may be in a message, in characters.
pub const QUOTED_CHARS_MAX: usize = 200;

/// A text short enough to be quoted in a message.
///
/// ```
/// assert_eq!(gatedrun::problem::cut("short"), "short");
/// assert_eq!(gatedrun::problem::cut(&"x".repeat(1000)).chars().count(), 201);
/// ```
pub fn cut(text: &str) -> std::borrow::Cow<'_, str> {
    limited(text, QUOTED_CHARS_MAX)
}

/// A text of at most so many characters; what is cut off leaves a `…`.
pub fn limited(text: &str, chars_max: usize) -> std::borrow::Cow<'_, str> {
    match text.char_indices().nth(chars_max) {
        None => text.into(),
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()).into(),
    }
}

/// The name in `known` that is nearest to `name`, where one is near enough to be meant.
///
/// ```
/// assert_eq!(gatedrun::problem::nearest("serch", &["search", "fetch"]), Some("search"));
/// assert_eq!(gatedrun::problem::nearest("delete", &["search", "fetch"]), None);
/// ```
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    nearest_within(name, known, |candidate| candidate.chars().count().max(3) / 3)
}

/// As [`nearest`], with the most edits that a candidate may be away.
pub fn nearest_within<'a>(
    name: &str,
    known: &[&'a str],
    edits_max: impl Fn(&str) -> usize,
) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (distance(name, candidate), *candidate))
        .filter(|(edits, candidate)| *edits <= edits_max(candidate))
        .min()
        .map(|(_, candidate)| candidate)
}

/// The key that another one was probably meant to be. Letters that changed places are two edits, which
/// a word of four may have.
pub fn misspelt<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let begins = |key: &&&str| key.strip_prefix(name).is_some_and(|rest| rest.starts_with('_'));
    let mut longer = known.iter().filter(begins);
    // The first word of one key alone is that key.
    if let (Some(key), None) = (longer.next(), longer.next()) {
        return Some(key);
    }
    nearest_within(&cut(name), known, |candidate| match candidate.chars().count() {
        0..=3 => 1,
        4..=8 => 2,
        length => length / 3,
    })
}

/// What to say of a key that is not among the known ones. It is taken for a misspelling of one of the
/// `free` ones: one that is there already cannot be what was meant.
///
/// ```
/// use gatedrun::problem::unknown_key;
/// assert_eq!(unknown_key("tolo", &["tool"], &["tool"]), "unknown key \"tolo\"; rename it to \"tool\"");
/// assert_eq!(unknown_key("zzz", &["tool"], &["tool"]), "unknown key \"zzz\"; remove it; the keys here are tool");
/// assert_eq!(unknown_key("zzz", &[], &[]), "unknown key \"zzz\"; remove it");
/// ```
pub fn unknown_key(name: &str, known: &[&str], free: &[&str]) -> String {
    let (meant, name) = (misspelt(name, free), cut(name));
    let remedy = match (meant, known) {
        (Some(meant), _) => format!("rename it to {meant:?}"),
        (None, []) => "remove it".to_owned(),
        (None, known) => format!("remove it; the keys here are {}", known.join(", ")),
    };
    format!("unknown key {name:?}; {remedy}")
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
