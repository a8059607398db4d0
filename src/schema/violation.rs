//! What a value does that its schema forbids, in words: those of messages, and those that evidence has.

use std::borrow::Cow;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde_json::Value;

use crate::json::{SHOWN_BYTES_MAX, pointer_token, shown};
use crate::problem::{Problem, cut, misspelt, nearest, unknown_key};

/// What a value does that its schema forbids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// JSON pointer to the value, `/` for the whole.
    pub pointer: String,
    /// What is wrong, in words that stand in evidence.
    pub what: String,
    /// The keys that may not be there, where that is what is wrong.
    pub unknown: Vec<String>,
    /// The same in the words of a message, where evidence has older ones.
    told: Option<String>,
    /// The key that is missing, where that is what is wrong.
    pub(super) missing: Option<String>,
    /// The keys that may be there, where some are that may not; and whether each is.
    pub(super) known: Vec<(String, bool)>,
    /// How to fix it, where what is wrong does not say so; empty if it does.
    pub(super) remedy: String,
}

impl Violation {
    pub(super) fn new(pointer: String, what: String) -> Self {
        let (unknown, told, missing, known) = (Vec::new(), None, None, Vec::new());
        Self { pointer, what, unknown, told, missing, known, remedy: String::new() }
    }

    /// The same, with how to fix it.
    pub(super) fn remedied(self, remedy: impl Into<String>) -> Self {
        Self { remedy: remedy.into(), ..self }
    }

    /// What is wrong, in the words of a message.
    pub fn told(&self) -> &str {
        self.told.as_deref().unwrap_or(&self.what)
    }

    /// How to fix it, where what is wrong does not say so; empty if it does.
    pub fn remedy(&self) -> &str {
        &self.remedy
    }

    /// The keys that may be there and are not: a key that is there already cannot be what another one
    /// was meant to be.
    fn free(&self) -> Vec<&str> {
        let free = self.known.iter().filter(|(_, is_there)| !is_there);
        free.map(|(key, _)| key.as_str()).collect()
    }

    /// The keys that the unknown ones were probably meant to be.
    pub(super) fn meant(&self) -> impl Iterator<Item = &str> {
        let free = self.free();
        self.unknown.iter().filter_map(move |name| misspelt(name, &free))
    }

    /// What to say of each key that is not known.
    pub fn unknown_keys(&self) -> impl Iterator<Item = (&str, String)> {
        let free = self.free();
        let known: Vec<&str> = self.known.iter().map(|(key, _)| key.as_str()).collect();
        self.unknown.iter().map(move |name| (name.as_str(), unknown_key(name, &known, &free)))
    }

    /// The problems of a file that breaks its schema so: one for each unknown key, at that key.
    pub fn problems(self, path: &str) -> Vec<Problem> {
        if self.unknown.is_empty() {
            return vec![
                Problem::new(path, self.told()).at(self.pointer.as_str()).remedy(self.remedy),
            ];
        }
        let at = self.pointer.trim_end_matches('/');
        self.unknown_keys()
            .map(|(name, what)| {
                Problem::new(path, what).at(format!("{at}/{}", pointer_token(name)))
            })
            .collect()
    }
}

/// The values that an `enum` allows, in a list, and which of them was probably meant.
fn choice(options: &Value, found: &Value) -> (String, String) {
    let options = options.as_array().map_or(&[][..], Vec::as_slice);
    let names: Vec<&str> = options.iter().filter_map(Value::as_str).collect();
    let meant = found.as_str().and_then(|name| nearest(name, &names));
    let hint = meant.map_or_else(String::new, |known| format!(" (did you mean {known:?}?)"));
    let listed: Vec<String> = options.iter().map(Value::to_string).collect();
    (listed.join(", "), hint)
}

pub(super) fn violation(error: &jsonschema::ValidationError<'_>, schema: &Value) -> Violation {
    let path = error.instance_path().to_string();
    let pointer = if path.is_empty() { "/".to_owned() } else { path };
    let unknown = match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => unexpected.clone(),
        _ => Vec::new(),
    };
    let missing = match error.kind() {
        ValidationErrorKind::Required { property } => property.as_str().map(str::to_owned),
        _ => None,
    };
    let known = if unknown.is_empty() { Vec::new() } else { known_keys(error, schema) };
    // A key that is there already cannot be what another one was meant to be.
    let is_there = |key: &str| error.instance().get(key).is_some();
    let free: Vec<&str> = known.iter().copied().filter(|key| !is_there(key)).collect();
    let told = match error.kind() {
        ValidationErrorKind::Type { kind } => {
            Some(format!("expected {}, found {}", wanted(kind), shown(error.instance())))
        }
        ValidationErrorKind::Enum { options } => {
            let (listed, hint) = choice(options, error.instance());
            Some(format!("expected one of {listed}, found {}{hint}", shown(error.instance())))
        }
        ValidationErrorKind::AdditionalProperties { .. } => match unknown.as_slice() {
            [name] => misspelt(name, &free).map(|meant| unknown_key(name, &[meant], &[meant])),
            _ => None,
        },
        ValidationErrorKind::Required { .. } => missing.as_deref().and_then(|key| {
            let path = error.schema_path().as_str();
            let parent = keyword(schema, path.rsplit_once('/')?.0)?;
            let options = parent.get("properties")?.get(key)?.get("enum")?.as_array()?;
            let listed: Vec<String> = options.iter().map(Value::to_string).collect();
            Some(format!("{key} is missing; add it, with one of {}", listed.join(", ")))
        }),
        ValidationErrorKind::PropertyNames { error } => {
            let key = shown(error.instance());
            let expected = expected(error, schema);
            Some(match expected {
                Some(expected) => format!("expected each key to be {expected}, found {key}"),
                None => format!("the key {key} may not be there; rename it"),
            })
        }
        // In evidence it is "it may not be there".
        ValidationErrorKind::FalseSchema => Some("not allowed here; remove it".to_owned()),
        // These have words of this program in evidence too.
        ValidationErrorKind::Constant { .. }
        | ValidationErrorKind::OneOfNotValid { .. }
        | ValidationErrorKind::OneOfMultipleValid { .. } => None,
        _ => Some(match expected(error, schema) {
            Some(expected) => format!("expected {expected}, found {}", size(error)),
            None => format!("not allowed here (found {})", shown(error.instance())),
        }),
    };
    let remedy = match error.kind() {
        ValidationErrorKind::MinProperties { .. } => match known_keys(error, schema).as_slice() {
            [] => String::new(),
            keys => format!("the keys are {}", keys.join(", ")),
        },
        ValidationErrorKind::Constant { expected_value } => format!("write {expected_value}"),
        ValidationErrorKind::Type { .. } => match known_keys(error, schema).as_slice() {
            [] => String::new(),
            keys if keys.len() > LISTED_MAX => String::new(),
            keys => format!("write an object; its keys are {}", keys.join(", ")),
        },
        _ => String::new(),
    };
    let known = known.into_iter().map(|key| (key.to_owned(), is_there(key))).collect();
    Violation { pointer, what: describe(error, schema), unknown, told, missing, known, remedy }
}

/// What is expected where a bound or a pattern is broken, in words: the library's own words name
/// keywords and show patterns, which say little to whoever writes the value.
fn expected(error: &jsonschema::ValidationError<'_>, schema: &Value) -> Option<String> {
    use ValidationErrorKind as Kind;
    let count = |count: u64, of: &str| match (count, of) {
        (1, "entries") => "1 entry".to_owned(),
        (1, _) => format!("1 {}", of.trim_end_matches('s')),
        _ => format!("{count} {of}"),
    };
    Some(match error.kind() {
        Kind::Minimum { limit } => format!("at least {limit}"),
        Kind::Maximum { limit } => format!("at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("more than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("less than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("a multiple of {multiple_of}"),
        Kind::MinLength { limit } => format!("at least {}", count(*limit, "characters")),
        Kind::MaxLength { limit } => format!("at most {}", count(*limit, "characters")),
        Kind::MinItems { limit } => format!("at least {}", count(*limit, "entries")),
        Kind::MaxItems { limit } => format!("at most {}", count(*limit, "entries")),
        Kind::MinProperties { limit } => format!("at least {}", count(*limit, "keys")),
        Kind::MaxProperties { limit } => format!("at most {}", count(*limit, "keys")),
        Kind::UniqueItems => "entries that differ".to_owned(),
        Kind::Pattern { .. } => described(error, schema)
            .unwrap_or_else(|| "a text of the form that its schema states".to_owned()),
        _ => return described(error, schema),
    })
}

/// What was found, by what is counted where that is too few or too many.
fn size(error: &jsonschema::ValidationError<'_>) -> String {
    use ValidationErrorKind as Kind;
    match (error.kind(), error.instance().as_ref()) {
        (Kind::MaxLength { .. }, Value::String(text)) => text.chars().count().to_string(),
        (Kind::MinItems { .. } | Kind::MaxItems { .. }, Value::Array(items)) => {
            items.len().to_string()
        }
        (Kind::MinProperties { .. } | Kind::MaxProperties { .. }, Value::Object(map)) => {
            match map.len() {
                0 => "none".to_owned(),
                _ => map.keys().take(LISTED_MAX).map(|key| cut(key)).collect::<Vec<_>>().join(", "),
            }
        }
        (_, found) => shown(found),
    }
}

/// What the schema says in words of the value that breaks it.
fn described(error: &jsonschema::ValidationError<'_>, schema: &Value) -> Option<String> {
    let path = error.schema_path().as_str();
    let (parent, _) = path.rsplit_once('/')?;
    let words = keyword(schema, parent)?.get("description")?.as_str()?;
    let mut chars = words.trim_end_matches('.').chars();
    let first = chars.next()?.to_lowercase();
    Some(cut(&first.chain(chars).collect::<String>()).into_owned())
}

/// The words for an error. A value is shown by its type, not its content, where it may be long.
fn describe(error: &jsonschema::ValidationError<'_>, schema: &Value) -> String {
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            format!("{} is missing; add it", property)
        }
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let known = known_keys(error, schema);
            let names: Vec<String> = unexpected
                .iter()
                .take(LISTED_MAX)
                .map(|name| match nearest(name, &known) {
                    Some(known) => format!("{name:?} (did you mean {known:?}?)"),
                    None => format!("{:?}", cut(name)),
                })
                .collect();
            let more = match unexpected.len().saturating_sub(LISTED_MAX) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("unknown key {}{more}; remove it", names.join(", "))
        }
        ValidationErrorKind::Type { kind } => {
            let wanted: Cow<'_, str> = match kind {
                TypeKind::Single(kind) => Cow::Owned(kind.to_string()),
                TypeKind::Multiple(kinds) => {
                    let names: Vec<String> = kinds.iter().map(|kind| kind.to_string()).collect();
                    Cow::Owned(names.join(" or "))
                }
            };
            format!("{} where {wanted} is expected", type_name(error.instance()))
        }
        ValidationErrorKind::Enum { options } => {
            let (listed, hint) = choice(options, error.instance());
            format!("{}{hint} is not one of {}", shown(error.instance()), cut(&listed))
        }
        ValidationErrorKind::Constant { expected_value } => {
            format!("expected {}, found {}", shown(expected_value), shown(error.instance()))
        }
        ValidationErrorKind::Pattern { .. } => {
            // The pattern as its author wrote it; the engine has a translation.
            let pattern = keyword(schema, error.schema_path().as_str()).and_then(Value::as_str);
            let pattern = pattern.unwrap_or_default();
            format!("{} does not match the pattern {}", shown(error.instance()), cut(pattern))
        }
        ValidationErrorKind::OneOfNotValid { .. }
        | ValidationErrorKind::OneOfMultipleValid { .. } => match either_key(error, schema) {
            Some(keys) => format!("exactly one of the keys {keys} is expected"),
            None => "it fits none, or more than one, of the forms that the schema lists".to_owned(),
        },
        ValidationErrorKind::FalseSchema => "it may not be there; remove it".to_owned(),
        // Evidence has these words, without the pattern; `told` names it.
        ValidationErrorKind::PropertyNames { error } => {
            format!("the key {}", describe(error, &Value::Null))
        }
        _ if is_short(error.instance()) => cut(&error.to_string()).into_owned(),
        _ => {
            let noun = match error.instance().as_ref() {
                Value::Array(_) => "the list",
                Value::Object(_) => "the object",
                Value::String(_) => "the text",
                _ => "the value",
            };
            cut(&error.masked_with(noun).to_string()).into_owned()
        }
    }
}

/// The types that are expected, in words.
pub(super) fn wanted(kind: &TypeKind) -> String {
    let article = |name: String| match name.as_str() {
        "null" => name,
        "integer" | "object" | "array" => format!("an {name}"),
        _ => format!("a {name}"),
    };
    match kind {
        TypeKind::Single(kind) => article(kind.to_string()),
        TypeKind::Multiple(kinds) => {
            let names: Vec<String> = kinds.iter().map(|kind| article(kind.to_string())).collect();
            names.join(" or ")
        }
    }
}

/// How many names a message lists.
const LISTED_MAX: usize = 10;

/// Whether a value may stand in a message before its reason.
fn is_short(value: &Value) -> bool {
    match value {
        Value::String(text) => text.len() <= SHOWN_BYTES_MAX,
        Value::Array(_) | Value::Object(_) => false,
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

/// The keys of a `oneOf` whose alternatives each ask for one key.
fn either_key(error: &jsonschema::ValidationError<'_>, schema: &Value) -> Option<String> {
    let alternatives = keyword(schema, error.schema_path().as_str())?.as_array()?;
    let keys: Option<Vec<String>> = alternatives
        .iter()
        .map(|alternative| match alternative.get("required")?.as_array()?.as_slice() {
            [key] => Some(key.to_string()),
            _ => None,
        })
        .collect();
    Some(keys?.join(", "))
}

/// The keys that the object of an `additionalProperties` error may have.
fn known_keys<'s>(error: &jsonschema::ValidationError<'_>, schema: &'s Value) -> Vec<&'s str> {
    let path = error.schema_path().as_str();
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let properties = keyword(schema, &format!("{parent}/properties")).and_then(Value::as_object);
    properties.into_iter().flatten().map(|(name, _)| name.as_str()).collect()
}

/// What stands in a schema at the path of an error, which leads through references.
fn keyword<'s>(schema: &'s Value, path: &str) -> Option<&'s Value> {
    path.split('/').skip(1).try_fold(schema, |at, token| {
        let below = match at {
            Value::Array(items) => items.get(token.parse::<usize>().ok()?)?,
            _ => at.get(token.replace("~1", "/").replace("~0", "~"))?,
        };
        match below.as_str().filter(|_| token == "$ref") {
            Some(target) => schema.pointer(target.strip_prefix('#')?),
            None => Some(below),
        }
    })
}

/// The JSON type's name of a value.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
