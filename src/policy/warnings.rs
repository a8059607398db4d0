//! What is valid in a policy and hardly meant: keys that cannot take effect, and grants that open
//! more than their author may think.
//!
//! A warning changes nothing: the policy holds as it is written. Defaults are never warned of, only
//! what the policy states. This module knows no rule: each says what is hardly meant in its section.

use crate::contract::Contracts;
use crate::problem::{Problem, Problems};
use crate::yaml::Document;

use super::common::sections;
use super::defaults;
use super::notes::Notes;
use super::spec::Policy;

/// What a person should look at in a valid policy, in the order of its lines.
pub fn of(path: &str, policy: &Policy, document: &Document, contracts: &Contracts) -> Vec<Problem> {
    let effective = defaults::filled(&document.value);
    let mut notes = Notes::new(path, document, &effective, contracts);
    sections().for_each(|section| (section.warnings)(&mut notes));
    if policy.examples.iter().all(|examples| examples.allow.is_empty() && examples.deny.is_empty())
    {
        notes.add(
            "",
            "the policy has no examples, so nothing shows that its rules do what they are meant to",
            "add `examples:` with `allow:` and `deny:` to a rule",
        );
    }
    Problems(notes.into_problems()).in_order().into_iter().cloned().collect()
}
