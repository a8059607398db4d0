//! The words for one value of a policy: where it is, what it is called, what it must be.
//!
//! Which of them to say is not decided here.

use serde_json::Value;

use crate::problem::{Problem, cut, nearest};
use crate::yaml::{Document, Place};

/// A problem at the value with this pointer, or at the nearest one around it.
pub(super) fn problem(
    path: &str,
    document: &Document,
    pointer: &str,
    what: &str,
    remedy: &str,
) -> Problem {
    // A key without a value stands where the key does.
    let is_null = document.value.pointer(pointer).is_some_and(Value::is_null);
    let key = document.key_place(pointer).filter(|_| is_null);
    let place = key.or_else(|| document.place(pointer));
    Problem::new(path, what).at(at(place, pointer)).remedy(remedy)
}

/// A place as a message names it; the whole policy has no pointer that says more.
pub(super) fn at(place: Option<Place>, pointer: &str) -> String {
    match (place, pointer) {
        (Some(place), "") => place.to_string(),
        (Some(place), pointer) => format!("{place} ({})", cut(pointer)),
        (None, pointer) => pointer.to_owned(),
    }
}

/// The words that a place takes, where it takes only some.
pub(super) fn options(rules: &Value) -> Vec<String> {
    match (rules.get("enum"), rules.get("const")) {
        (Some(Value::Array(options)), _) => options.iter().map(flow).collect(),
        (_, Some(only)) => vec![flow(only)],
        _ => Vec::new(),
    }
}

/// That a word is none of those that a place takes, and which to write.
pub(super) fn none_of(
    pointer: &str,
    text: &str,
    found: &str,
    options: &[String],
) -> (String, String) {
    let (name, key) = (name_of(pointer), last(pointer));
    let known: Vec<&str> = options.iter().map(String::as_str).collect();
    let mount = text.split('/').next().filter(|mount| *mount != text);
    let mount = mount.filter(|mount| known.contains(mount));
    // What needs quotes is meant by whoever leaves them out.
    let bare: Vec<&str> = known.iter().map(|word| word.trim_matches('"')).collect();
    let near = nearest(&text.to_ascii_lowercase(), &bare);
    let near = near.and_then(|near| known.iter().find(|word| word.trim_matches('"') == near));
    let near = near.copied();
    let write = |word: &str| match is_entry(pointer) {
        true => format!("write {word}"),
        false => format!("write `{key}: {word}`"),
    };
    let remedy = match (mount, near, known.as_slice()) {
        (Some(mount), ..) => format!("write {mount}, without what follows it"),
        (None, _, ["1"]) if text == "1" => format!("{}, without quotes", write("1")),
        (None, _, ["1"]) => write("1"),
        (None, Some(word), _) => write(word),
        (None, None, [word]) => write(word),
        (None, None, _) => "write one of them".to_owned(),
    };
    let what = match known.as_slice() {
        [only] if is_entry(pointer) => format!("{name} can only be {only} (found {found})"),
        _ => format!("{name} must be {} (found {found})", either(&known)),
    };
    (what, remedy)
}

/// Words as alternatives: `a, b or c`.
pub(super) fn either(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

pub(super) fn is_of_type(value: &Value, expected: &str) -> bool {
    match expected {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        _ => true,
    }
}

/// Whether a value may be an entry of a list whose entries are such.
pub(super) fn is_entry_of(value: &Value, rules: &Value) -> bool {
    let options = options(rules);
    let is_option = options.is_empty() || options.contains(&flow(value));
    let kind = rules.get("type").and_then(Value::as_str);
    let is_scalar = !value.is_array() && !value.is_object() && !value.is_null();
    is_scalar && is_option && kind.is_none_or(|kind| is_of_type(value, kind))
}

pub(super) fn last(pointer: &str) -> &str {
    pointer.rsplit('/').next().unwrap_or_default()
}

/// A pointer as people write keys: `sandbox.read`.
pub(super) fn dotted(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".")
}

/// A key as tables write it: `[]` stands for each entry of a list.
pub(super) fn key_of(pointer: &str) -> String {
    let mut key = String::new();
    for token in pointer.split('/').skip(1) {
        match token.parse::<usize>() {
            Ok(_) => key.push_str("[]"),
            Err(_) if key.is_empty() => key.push_str(token),
            Err(_) => {
                key.push('.');
                key.push_str(token);
            }
        }
    }
    key
}

/// Whether a pointer leads to an entry of a list.
pub(super) fn is_entry(pointer: &str) -> bool {
    last(pointer).parse::<usize>().is_ok()
}

/// What a value is called in a message.
pub(super) fn name_of(pointer: &str) -> String {
    let (around, name) = pointer.rsplit_once('/').unwrap_or_default();
    if is_entry(pointer) { format!("an entry of {}", last(around)) } else { name.to_owned() }
}

pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "keys",
    }
}

/// A value as a message shows it.
pub(super) fn found(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{:?}", cut(text)),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        _ => kind_of(value).to_owned(),
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
