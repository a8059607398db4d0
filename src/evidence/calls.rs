//! What a call asked for and what it did, in short, for the report and for a terminal. Texts here
//! are as they were recorded: who shows them escapes them for its own output.

use std::collections::HashMap;

use serde_json::Value;

use crate::event::{Detail, Effect, Event, GateDecided, LlmReplied, Record, ToolFinished};
use crate::json::JsonText;

use super::text::{counted, shortened};

/// How many characters of a text are shown in short.
const TEXT_CHARS_MAX: usize = 60;

/// How many characters of what the LLM said beside its calls are shown.
const SAID_CHARS_MAX: usize = 200;

/// How many bytes of arguments are shown before the rest is counted.
const ASKED_BYTES_MAX: usize = 200;

/// How many characters of an argument's name are shown.
const NAME_CHARS_MAX: usize = 40;

/// The calls that the LLM proposed last, each in short.
#[derive(Debug, Default)]
pub struct Proposed(HashMap<String, String>);

impl Proposed {
    /// Takes the next record.
    pub fn push(&mut self, record: &Record) {
        if let Event::LlmReplied(LlmReplied { calls, .. }) = &record.event {
            self.0 =
                calls.iter().map(|call| (call.call_id.clone(), asked(&call.arguments))).collect();
        }
    }

    /// The arguments of the call that was decided about, in short.
    pub fn asked(&self, gate: &GateDecided) -> &str {
        gate.call_id.as_ref().and_then(|id| self.0.get(id)).map_or("", String::as_str)
    }
}

/// Arguments in short: names, values, and the sizes of long ones.
///
/// ```
/// use gatedrun::evidence::calls::asked;
/// use serde_json::json;
/// assert_eq!(asked(&json!({"query": "pump", "top_k": 3})), r#"query "pump", top_k 3"#);
/// ```
pub fn asked(arguments: &Value) -> String {
    let Value::Object(members) = arguments else { return in_short(arguments) };
    let mut text = String::new();
    for (index, (name, value)) in members.iter().enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        if text.len() > ASKED_BYTES_MAX {
            text.push_str(&format!("and {} more", members.len() - index));
            break;
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.len() <= NAME_CHARS_MAX && !name.is_empty() && name.chars().all(is_word) {
            text.push_str(name);
        } else {
            text.push_str(&quoted(&shortened(name, NAME_CHARS_MAX)));
        }
        text.push(' ');
        text.push_str(&in_short(value));
    }
    text
}

fn in_short(value: &Value) -> String {
    match value {
        Value::String(text) => {
            let short = shortened(text, TEXT_CHARS_MAX);
            let size = if short.len() == text.len() || *short == **text {
                String::new()
            } else {
                format!(" ({} bytes)", text.len())
            };
            format!("{}{size}", quoted(&short))
        }
        other => shortened(&other.to_string(), TEXT_CHARS_MAX).into_owned(),
    }
}

/// What the LLM said beside its calls, in short.
pub fn said(text: &str) -> String {
    quoted(&shortened(text, SAID_CHARS_MAX))
}

/// A text in quotes that it cannot close.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// What a decision says of a call's target: the path or the URL as proposed.
pub fn target(gate: &GateDecided, detail: Detail) -> Option<&str> {
    gate.details.get(&detail).and_then(Value::as_str)
}

/// What an allowed call did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Did {
    /// In words.
    pub text: String,
    /// How many bytes it read, fetched or wrote: of the content, not of the result that holds it.
    pub content_bytes: Option<u64>,
}

/// What an allowed call did, by what its tool may do and by its result.
pub fn did(effects: &[Effect], finished: &ToolFinished) -> Did {
    if let Some(error) = &finished.error {
        return Did { text: format!("failed, {}", error.message), content_bytes: None };
    }
    let has = |effect: Effect| effects.contains(&effect);
    let moves = has(Effect::WritePath) || has(Effect::FetchUrl) || has(Effect::ReadPath);
    let result = finished.result.as_ref().filter(|_| moves || has(Effect::SearchCorpus));
    let result = result.map(JsonText::value);
    let member = |name: &str| result.as_ref().and_then(|result| result.get(name));
    let content_bytes = member("bytes").and_then(Value::as_u64).filter(|_| moves);
    let content = content_bytes
        .map_or_else(String::new, |bytes| format!(" {}", counted(bytes, "byte", "bytes")));
    let origin = finished.origin.as_deref();
    let from = |word: &str| origin.map_or_else(String::new, |origin| format!("{word} {origin}"));
    let returned = member("results").and_then(Value::as_array).map(Vec::len);
    let matched = member("documents_matched").and_then(Value::as_u64);
    let mut text = if has(Effect::WritePath) {
        let path = member("path").and_then(Value::as_str).or(origin);
        let path = path.map_or_else(String::new, |path| format!(" to {path}"));
        format!("wrote{content}{path}")
    } else if has(Effect::FetchUrl) {
        format!("fetched{content}{}", from(", served from"))
    } else if has(Effect::ReadPath) {
        format!("read{content}{}", from(" from"))
    } else if let (Some(returned), Some(matched)) = (returned, matched) {
        let matched = counted(matched, "matching document", "matching documents");
        format!("returned {returned} of {matched}{}", from(" from"))
    } else {
        format!("returned {}{}", counted(finished.bytes, "byte", "bytes"), from(" from"))
    };
    if finished.cut {
        let part = format!("; the LLM received part of the result of {} bytes", finished.bytes);
        text.push_str(&part);
    }
    Did { text, content_bytes }
}
