//! A decision as people read and write it: `allow`, `deny:RULE`, `warn:RULE`, or `deny` and `warn`
//! for any rule.

use std::cmp::Ordering;
use std::fmt;

use serde::{Serialize, Serializer};

use super::policy::{Decision, Rule};

/// A decision and the rule that it is by, as one word.
///
/// ```
/// use gatedrun::event::{Rule, Ruling};
/// let denied = Ruling::parse("deny:url_allowlist").unwrap();
/// assert_eq!(denied, Ruling::Deny(Some(Rule::UrlAllowlist)));
/// assert_eq!(denied.to_string(), "deny:url_allowlist");
/// assert!(Ruling::parse("deny").unwrap().covers(denied));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// Every rule allows it.
    Allow,
    /// A rule denies it. As a pattern without a rule: any does.
    Deny(Option<Rule>),
    /// A rule warns, and lets the run continue. As a pattern without a rule: any does.
    Warn(Option<Rule>),
}

/// Why a text is not a ruling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misread<'t> {
    /// There is no such decision.
    Decision,
    /// It denies, by a rule that does not exist.
    Denier(&'t str),
    /// It warns, by a rule that does not exist.
    Warner(&'t str),
}

impl Ruling {
    /// What a recorded decision says: an allow with a rule is a warning.
    pub fn of(decision: Decision, rule: Option<Rule>) -> Self {
        match (decision, rule) {
            (Decision::Deny, rule) => Self::Deny(rule),
            (Decision::Allow, Some(rule)) => Self::Warn(Some(rule)),
            (Decision::Allow, None) => Self::Allow,
        }
    }

    /// Reads one.
    ///
    /// # Errors
    /// What in it is unknown.
    pub fn parse(text: &str) -> Result<Self, Misread<'_>> {
        let named = |rule: &str| Rule::ALL.into_iter().find(|known| known.as_str() == rule);
        match text.split_once(':') {
            None if text == Self::Allow.kind() => Ok(Self::Allow),
            None if text == Self::Deny(None).kind() => Ok(Self::Deny(None)),
            None if text == Self::Warn(None).kind() => Ok(Self::Warn(None)),
            Some((kind, rule)) if kind == Self::Deny(None).kind() => {
                named(rule).map(|rule| Self::Deny(Some(rule))).ok_or(Misread::Denier(rule))
            }
            Some((kind, rule)) if kind == Self::Warn(None).kind() => {
                named(rule).map(|rule| Self::Warn(Some(rule))).ok_or(Misread::Warner(rule))
            }
            _ => Err(Misread::Decision),
        }
    }

    /// The word before the rule.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Allow => Decision::Allow.as_str(),
            Self::Deny(_) => Decision::Deny.as_str(),
            Self::Warn(_) => "warn",
        }
    }

    /// The rule, where it names one.
    pub fn rule(self) -> Option<Rule> {
        match self {
            Self::Allow => None,
            Self::Deny(rule) | Self::Warn(rule) => rule,
        }
    }

    /// Whether something is denied.
    pub fn is_denial(self) -> bool {
        matches!(self, Self::Deny(_))
    }

    /// Whether something is allowed with a warning.
    pub fn is_warning(self) -> bool {
        matches!(self, Self::Warn(_))
    }

    /// Whether another is the same, or one of those that this one stands for without a rule.
    pub fn covers(self, other: Self) -> bool {
        self == other || (self.rule().is_none() && self.kind() == other.kind())
    }
}

impl fmt::Display for Ruling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        match self.rule() {
            None => Ok(()),
            Some(rule) => write!(f, ":{}", rule.as_str()),
        }
    }
}

/// The order of the words, so that a list of them is sorted as its reader expects.
impl Ord for Ruling {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |one: Self| (one.kind(), one.rule().map(Rule::as_str));
        key(*self).cmp(&key(*other))
    }
}

impl PartialOrd for Ruling {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Serialize for Ruling {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Ruling> {
        let rules = || std::iter::once(None).chain(Rule::ALL.into_iter().map(Some));
        let denials = rules().map(Ruling::Deny);
        std::iter::once(Ruling::Allow).chain(denials).chain(rules().map(Ruling::Warn)).collect()
    }

    #[test]
    fn what_is_written_is_read_back_and_sorted_as_text() {
        let mut sorted = all();
        for one in &sorted {
            assert_eq!(Ruling::parse(&one.to_string()), Ok(*one));
        }
        sorted.sort_unstable();
        let words: Vec<String> = sorted.iter().map(ToString::to_string).collect();
        assert!(words.is_sorted(), "{words:?}");
    }

    #[test]
    fn a_word_without_a_rule_covers_those_with_one() {
        for one in all() {
            for other in all() {
                let (wanted, word) = (one.to_string(), other.to_string());
                let begins = word.strip_prefix(&wanted).is_some_and(|rest| rest.starts_with(':'));
                assert_eq!(one.covers(other), wanted == word || begins, "{wanted} {word}");
            }
        }
    }

    #[test]
    fn nothing_else_is_read() {
        for text in ["", "Allow", "allow ", "allow:", "allow:progress", "deny ", "denied", ":"] {
            assert_eq!(Ruling::parse(text), Err(Misread::Decision), "{text:?}");
        }
        assert_eq!(Ruling::parse("deny:"), Err(Misread::Denier("")));
        assert_eq!(Ruling::parse("deny:a:b"), Err(Misread::Denier("a:b")));
        assert_eq!(Ruling::parse("warn:Progress"), Err(Misread::Warner("Progress")));
    }
}
