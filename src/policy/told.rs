//! The words for one value of a policy: where it is, what it is called, what it must be.
//!
//! Which of them to say is not decided here.

use serde_json::Value;

use crate::problem::{Problem, cut, nearest};
use crate::yaml::{Document, Place, YamlError};

use super::defaults::flow;
use super::meta::Meta;

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

/// What is wrong with the text of a policy, with the advice that its place gives: a word that needs
/// quotes in any YAML may be one that a policy cannot have there.
pub(super) fn unread(path: &str, meta: &Meta, error: YamlError) -> Problem {
    let YamlError { place, pointer, message, word } = error;
    let problem = |what: String| Problem::new(path, what).at(at(place, &pointer));
    let rules = meta.keywords_at(&pointer).filter(|_| !word.is_empty());
    let options = rules.map(options).unwrap_or_default();
    if options.contains(&format!("{word:?}")) {
        return problem(format!("`{word}` without quotes is a boolean to some readers"))
            .remedy(format!("write `{}: {word:?}`", last(&pointer)));
    }
    if rules.is_some_and(|rules| rules.get("type").is_some_and(|kind| kind == "integer")) {
        let what = format!("{} must be a whole number (found {})", name_of(&pointer), cut(&word));
        return problem(what).remedy("write digits alone");
    }
    if !options.is_empty() {
        let (what, remedy) = none_of(&pointer, &word, &format!("{:?}", cut(&word)), &options);
        return problem(what).remedy(remedy);
    }
    let is_pattern = word.starts_with('*');
    if is_pattern && pointer.starts_with("/url_allowlist/hosts/") && pointer.ends_with("/ports/0") {
        return problem(format!("wildcards are not supported in ports (found {:?})", cut(&word)))
            .remedy("list each port, or remove the key for the scheme's own");
    }
    if is_pattern && pointer.starts_with("/url_allowlist/hosts") {
        return problem(format!("wildcards are not supported in hosts (found {:?})", cut(&word)))
            .remedy("list each host by its name, as in `- host: api.example.com`");
    }
    if is_pattern && pointer.starts_with("/tool_registry/") && is_entry(&pointer) {
        return problem(format!("a tool is listed by its name (found {:?})", cut(&word)))
            .remedy("list each tool; patterns are not supported");
    }
    problem(message)
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
        (Some(mount), ..) => format!("write {mount}; a mount is granted whole"),
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

/// Whether a pointer leads to an entry of a list.
pub(super) fn is_entry(pointer: &str) -> bool {
    last(pointer).parse::<usize>().is_ok()
}

pub(super) fn is_host_entry(pointer: &str) -> bool {
    pointer.strip_prefix("/url_allowlist/hosts/").is_some_and(|rest| rest.parse::<usize>().is_ok())
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

/// A call that the tools of a policy allow, for an example.
pub(super) fn allowed_call(policy: &Value) -> String {
    let allowed = policy.pointer("/tool_registry/allowed").and_then(Value::as_array);
    let mut allowed = allowed.into_iter().flatten();
    match allowed.clone().any(|tool| tool == "search") {
        true => "tool: search, arguments: {query: orders}".to_owned(),
        false => {
            let tool = allowed.find_map(Value::as_str).unwrap_or("TOOL");
            format!("tool: {}, arguments: {{}}", cut(tool))
        }
    }
}
