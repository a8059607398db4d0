//! What a policy means where it leaves a key out, as its sections say.
//!
//! A default is the strict value, or the one that nobody would argue about. A budget is never
//! unlimited by default. The meta-schema states the same defaults for editors; a test compares.

use serde_json::{Map, Value};

use crate::yaml::Document;

use super::common::sections;
use super::section::Fallback::{self, Required, Unset};
use super::told::flow;

/// Every key of a policy but the examples, and what holds without it, in the order in which they are
/// shown.
pub fn keys() -> impl Iterator<Item = &'static (&'static str, Fallback)> {
    sections().flat_map(|section| section.keys)
}

/// What holds where this key, as [`keys`] writes it, is left out.
pub fn of(key: &str) -> Option<Fallback> {
    keys().find(|(name, _)| *name == key).map(|(_, fallback)| *fallback)
}

/// A policy with the default of each key that it leaves out. What is not shaped like a policy stays
/// as it is.
///
/// ```
/// let policy = serde_json::json!({"sandbox": {"read": ["work"]}});
/// let filled = gatedrun::policy::defaults::filled(&policy);
/// assert_eq!(filled["sandbox"]["read"], serde_json::json!(["work"]));
/// assert_eq!(filled["sandbox"]["max_read_bytes"], 262144);
/// assert_eq!(filled["loop_budget"]["max_iterations"], 10);
/// assert_eq!(filled["loop_budget"].get("max_tool_calls"), None);
/// ```
pub fn filled(policy: &Value) -> Value {
    let mut policy = policy.clone();
    for (key, fallback) in keys() {
        let Some(value) = fallback.value() else { continue };
        let (list, key) = match key.split_once("[].") {
            Some((list, key)) => (Some(list), key),
            None => (None, *key),
        };
        match list {
            Some(list) => {
                let pointer = format!("/{}", list.replace('.', "/"));
                let entries = policy.pointer_mut(&pointer).and_then(Value::as_array_mut);
                entries.into_iter().flatten().for_each(|entry| fill(entry, key, &value));
            }
            None => fill(&mut policy, key, &value),
        }
    }
    policy
}

/// Sets a dotted key, where it is absent and something can be set.
fn fill(at: &mut Value, key: &str, value: &Value) {
    let Some(map) = at.as_object_mut() else { return };
    match key.split_once('.') {
        Some((section, key)) => {
            let section = map.entry(section).or_insert_with(|| Value::Object(Map::new()));
            fill(section, key, value);
        }
        None => {
            map.entry(key).or_insert_with(|| value.clone());
        }
    }
}

/// A key of a policy and the value that holds.
#[derive(Debug, Clone, PartialEq, Eq, schemars::JsonSchema, serde::Serialize)]
pub struct Setting {
    /// The key, as in `sandbox.read` or `url_allowlist.hosts[0].schemes`.
    pub key: String,
    /// The value as a policy would write it, or what it means that nothing is set.
    pub value: String,
    /// The line on which the policy states it; none for a default.
    pub line: Option<u64>,
}

/// Every key of a valid policy, with the value that holds: stated, or by default.
pub fn settings(document: &Document) -> Vec<Setting> {
    let filled = filled(&document.value);
    let line = |pointer: &str| document.key_place(pointer).map(|place| place.line);
    let mut settings = Vec::new();
    for (key, fallback) in keys().filter(|(key, _)| !key.contains("[].")) {
        let pointer = format!("/{}", key.replace('.', "/"));
        let value = filled.pointer(&pointer);
        let (key, line) = ((*key).to_owned(), line(&pointer));
        match (value, fallback) {
            // Its keys follow.
            (Some(Value::Object(_)), _) | (None, Required) => {}
            (Some(Value::Array(entries)), _)
                if !entries.is_empty() && below(&key).next().is_some() =>
            {
                entries_of(&key, entries, document, &mut settings);
            }
            (Some(value), _) => settings.push(Setting { key, value: flow(value), line }),
            (None, Unset(meaning)) => {
                settings.push(Setting { key, value: (*meaning).to_owned(), line: None });
            }
            (None, _) => {}
        }
    }
    settings
}

/// The keys of each entry of this list.
fn below(list: &str) -> impl Iterator<Item = (&'static str, Fallback)> {
    keys().filter_map(move |(key, fallback)| {
        let key = key.strip_prefix(list)?.strip_prefix("[].")?;
        Some((key, *fallback))
    })
}

fn entries_of(list: &str, entries: &[Value], document: &Document, settings: &mut Vec<Setting>) {
    for (index, entry) in entries.iter().enumerate() {
        for (key, fallback) in below(list) {
            let pointer = format!("/{}/{index}/{key}", list.replace('.', "/"));
            let value = match (entry.get(key), fallback) {
                (Some(value), _) => flow(value),
                (None, Unset(meaning)) => meaning.to_owned(),
                (None, _) => continue,
            };
            settings.push(Setting {
                key: format!("{list}[{index}].{key}"),
                value,
                line: document.key_place(&pointer).map(|place| place.line),
            });
        }
    }
}
