//! A call on its way through the rules, and what a rule says that denies it.
//!
//! Every rule's file uses this one, and it uses none of them.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::contract::{ArgumentEffect, Contract, Contracts};
use crate::event::{Detail, Details, ProposedCall, Rule, Totals};
use crate::json::{self, Digest};

use super::hosts::Hosts;
use super::lent::Lent;
use super::path::{MountPath, Mounts};
use super::url::{ParsedUrl, Target};

/// What a denial does to the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDeny {
    /// The run ends.
    Terminate,
    /// The LLM receives the reason and may plan again.
    Continue,
}

/// Why a call or a step may not be.
#[derive(Debug, Clone, PartialEq)]
pub struct Denied {
    /// The rule that decided.
    pub rule: Rule,
    /// Why, in words.
    pub reason: String,
    /// What was asked and what the limit is.
    pub details: Details,
    /// What the denial does to the run.
    pub on_deny: OnDeny,
}

/// How far a run has come: what budgets are weighed against.
#[derive(Debug, Clone, Copy, Default)]
pub struct Standing {
    /// What it has used.
    pub totals: Totals,
    /// Milliseconds since it began.
    pub elapsed_ms: u64,
}

/// What a run has to do with: the tools, and what a call may reach.
#[derive(Debug)]
pub struct World<'a> {
    /// The tools.
    pub contracts: Lent<'a, Contracts>,
    /// Where hosts are served from.
    pub hosts: Lent<'a, Hosts>,
    /// What may be opened.
    pub mounts: Mounts,
}

/// A call on its way through the rules.
#[derive(Debug)]
pub struct Asked<'a> {
    /// As it was proposed.
    pub call: &'a ProposedCall,
    /// The tool.
    pub contract: &'a Contract,
    /// With defaults, and with numbers in their one form.
    pub arguments: Value,
    /// The URLs that the URL rule has read, one for each effect that fetches a text.
    pub urls: Vec<Target>,
    /// What each effect will need.
    pub targets: Vec<Planned>,
    /// What the rules have said about it so far.
    pub details: Details,
}

/// What an effect will need, before anything is opened.
#[derive(Debug)]
pub enum Planned {
    /// Nothing.
    Compute,
    /// The corpus.
    Corpus,
    /// A file, to read.
    Read(MountPath),
    /// A file, to replace.
    Write(MountPath),
    /// A URL, and the file that is served there.
    Fetch(ParsedUrl, Option<MountPath>),
    /// A `file:` URL, and its file.
    File(String, MountPath),
    /// Not a string: the schema's business.
    Unreadable,
}

impl Asked<'_> {
    /// The call denied by a rule, with what is known about it and what the rule adds.
    pub fn denied<const N: usize>(
        &self,
        rule: Rule,
        on_deny: OnDeny,
        reason: String,
        added: [(Detail, Value); N],
    ) -> Denied {
        let mut details = self.details.clone();
        details.insert(Detail::Tool, self.contract.name.as_str().into());
        details.extend(added);
        Denied { rule, reason, details, on_deny }
    }

    /// The arguments as the rules read them: paths and URLs in the one form that all their spellings
    /// share. What cannot be resolved counts as it was written.
    pub fn resolved(&self) -> Cow<'_, Value> {
        let mut arguments = Cow::Borrowed(&self.arguments);
        for (effect, planned) in self.contract.effects.iter().zip(&self.targets) {
            let canonical = match planned {
                Planned::Read(path) | Planned::Write(path) => path.to_string(),
                Planned::Fetch(parsed, None) => parsed.resource(),
                // The same file, whatever URL leads to it.
                Planned::Fetch(_, Some(path)) | Planned::File(_, path) => format!("file:///{path}"),
                Planned::Compute | Planned::Corpus | Planned::Unreadable => continue,
            };
            let Some(pointer) = effect.argument.as_deref() else { continue };
            if arguments.pointer(pointer).and_then(Value::as_str) != Some(&canonical)
                && let Some(place) = arguments.to_mut().pointer_mut(pointer)
            {
                *place = Value::String(canonical);
            }
        }
        arguments
    }

    /// The arguments without those that name a path or a URL.
    pub fn without_targets(&self) -> Value {
        let Value::Object(map) = &self.arguments else { return Value::Object(Map::new()) };
        let is_target = |name: &str| {
            self.contract
                .effects
                .iter()
                .filter_map(|effect| effect.argument.as_deref())
                .any(|argument| argument.strip_prefix('/') == Some(name))
        };
        Value::Object(
            map.iter()
                .filter(|(name, _)| !is_target(name))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        )
    }
}

/// The text of the argument that an effect names, if it is a text.
pub fn named<'v>(effect: &ArgumentEffect, arguments: &'v Value) -> Option<&'v str> {
    arguments.pointer(effect.argument.as_deref()?)?.as_str()
}

/// The digest of an action: a tool and what it is called with. Two actions never share one, and one
/// action has one, however its arguments are written: they are normal ([`json::normal`]), and hold
/// no number that readers round.
pub fn action(tool: &str, arguments: &Value) -> Digest {
    let mut key = Vec::with_capacity(256);
    json::canonical_into(&Value::String(tool.to_owned()), &mut key);
    key.push(b',');
    json::canonical_into(arguments, &mut key);
    Digest::of(&key)
}

/// What an LLM wrote, short enough to be quoted in evidence.
pub fn bounded(text: &str) -> String {
    const CHARS_MAX: usize = 300;
    match text.char_indices().nth(CHARS_MAX) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}
