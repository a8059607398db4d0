//! What a policy means where it leaves a key out: one table.
//!
//! A default is the strict value, or the one that nobody would argue about. A budget is never
//! unlimited by default. The meta-schema states the same defaults for editors; a test compares.

use serde_json::{Map, Value};

use crate::json::pointer_token;
use crate::problem::cut;
use crate::yaml::Document;

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

use Fallback::{List, Number, Required, Unset, Word};

/// Every key of a policy but the examples, and what holds without it. `[]` stands for each entry of
/// a list. The keys of `progress` are required where the section is there.
pub const DEFAULTS: &[(&str, Fallback)] = &[
    ("version", Required),
    ("tool_registry.allowed", Required),
    ("tool_registry.denied", List(&[])),
    ("tool_registry.on_deny", Word("terminate")),
    ("url_allowlist.hosts", List(&[])),
    ("url_allowlist.hosts[].host", Required),
    ("url_allowlist.hosts[].schemes", List(&["https"])),
    ("url_allowlist.hosts[].ports", Unset("the scheme's own")),
    ("url_allowlist.hosts[].path_prefix", Word("/")),
    ("url_allowlist.on_deny", Word("terminate")),
    ("sandbox.read", List(&[])),
    ("sandbox.write", List(&[])),
    ("sandbox.max_read_bytes", Number(262_144)),
    ("sandbox.max_write_bytes", Number(262_144)),
    ("sandbox.allow_names", List(&[])),
    ("sandbox.isolation", Word("best_effort")),
    ("sandbox.on_deny", Word("terminate")),
    ("arg_schema_enforcement.max_bytes", Number(300_000)),
    ("arg_schema_enforcement.max_depth", Number(16)),
    ("arg_schema_enforcement.on_deny", Word("terminate")),
    ("cycle_detection.max_repeats", Number(3)),
    ("cycle_detection.on_deny", Word("terminate")),
    ("loop_budget.max_iterations", Number(10)),
    ("loop_budget.max_tokens", Number(50_000)),
    ("loop_budget.max_tool_calls", Unset("no limit")),
    ("loop_budget.max_attempts", Unset("no limit")),
    ("loop_budget.max_cost_microusd", Unset("no limit")),
    ("loop_budget.max_elapsed_ms", Unset("no limit")),
    ("loop_budget.warn_at_percent", Unset("no warning")),
    ("progress", Unset("not checked")),
    ("progress.fields", Required),
    ("progress.max_repeated_states", Required),
    ("retry.max_retries", Number(3)),
    ("retry.backoff_base_ms", Number(100)),
    ("retry.backoff_cap_ms", Number(2000)),
    ("retry.jitter_percent", Number(20)),
    ("execution.timeout_ms", Number(10_000)),
    ("results.max_bytes", Number(65_536)),
    ("durability", Unset("os for a stub, otherwise fsync")),
];

/// What holds where this key, as [`DEFAULTS`] writes it, is left out.
pub fn of(key: &str) -> Option<Fallback> {
    DEFAULTS.iter().find(|(name, _)| *name == key).map(|(_, fallback)| *fallback)
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
    for (key, fallback) in DEFAULTS {
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
    for (key, fallback) in DEFAULTS.iter().filter(|(key, _)| !key.contains("[].")) {
        let pointer = format!("/{}", key.replace('.', "/"));
        let value = filled.pointer(&pointer);
        let (key, line) = ((*key).to_owned(), line(&pointer));
        match (value, fallback) {
            // Its keys follow.
            (Some(Value::Object(_)), _) | (None, Required) => {}
            (Some(value), _) if key == "url_allowlist.hosts" => {
                hosts(value, document, line, &mut settings);
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

/// The keys of each entry of the list of hosts.
fn hosts(value: &Value, document: &Document, line: Option<u64>, settings: &mut Vec<Setting>) {
    let entries = value.as_array().map_or(&[][..], Vec::as_slice);
    if entries.is_empty() {
        let key = "url_allowlist.hosts".to_owned();
        settings.push(Setting { key, value: flow(value), line });
    }
    for (index, entry) in entries.iter().enumerate() {
        let keys = DEFAULTS.iter().filter_map(|(key, fallback)| {
            Some((key.strip_prefix("url_allowlist.hosts[].")?, fallback))
        });
        for (key, fallback) in keys {
            let pointer = format!("/url_allowlist/hosts/{index}/{}", pointer_token(key));
            let value = match (entry.get(key), fallback) {
                (Some(value), _) => flow(value),
                (None, Unset(meaning)) => (*meaning).to_owned(),
                (None, _) => continue,
            };
            settings.push(Setting {
                key: format!("url_allowlist.hosts[{index}].{key}"),
                value,
                line: document.key_place(&pointer).map(|place| place.line),
            });
        }
    }
}

/// A value on one line, as a policy writes it.
pub fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
            let reads_as_text = || {
                let read = crate::yaml::parse(text.as_bytes());
                read.is_ok_and(|document| document.value == *value)
            };
            let plain = !text.is_empty() && text.chars().all(is_plain) && reads_as_text();
            if plain { text.clone() } else { format!("{:?}", cut(text)) }
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}
