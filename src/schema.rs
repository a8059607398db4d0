//! JSON Schema: compiled once, closed to what it does not know, with errors that say where and
//! what to do.
//!
//! A keyword that nobody evaluates would be a rule that nobody enforces, so a schema with a
//! keyword outside the list below is refused instead of read past (unlike the standard's default).

use std::borrow::Cow;
use std::sync::LazyLock;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde_json::Value;

use crate::json;
use crate::problem::nearest;

/// The keywords that schemas of this project may use, all of them evaluated or annotations.
const KEYWORDS: &[&str] = &[
    "$schema",
    "$id",
    "$ref",
    "$defs",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minLength",
    "maxLength",
    "pattern",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "oneOf",
    "anyOf",
    "allOf",
    "not",
    "if",
    "then",
    "else",
];

/// A compiled schema.
#[derive(Debug)]
pub struct Schema {
    validator: jsonschema::Validator,
    source: Value,
}

/// What a value does that its schema forbids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// JSON pointer to the value, `/` for the whole.
    pub pointer: String,
    /// What is wrong, in words.
    pub what: String,
}

/// A schema that is embedded in the binary, compiled when it is first needed.
pub struct Embedded(LazyLock<Compiled, fn() -> Compiled>);

/// A schema, or what is wrong with it.
type Compiled = Result<Schema, Vec<Violation>>;

impl Embedded {
    /// The schema that `compile` makes, which is [`Schema::embedded`] of its text.
    pub const fn new(compile: fn() -> Compiled) -> Self {
        Self(LazyLock::new(compile))
    }

    /// Everything that is wrong with a value. An embedded schema that is none would find
    /// everything wrong, and no input would be accepted.
    pub fn violations(&self, value: &Value) -> Vec<Violation> {
        match &*self.0 {
            Ok(schema) => schema.violations(value),
            Err(broken) => broken.clone(),
        }
    }
}

impl Schema {
    /// Compiles the text of a schema that is embedded in the binary.
    ///
    /// # Errors
    /// As [`Schema::compile`]: a defect of the program.
    pub fn embedded(text: &str) -> Compiled {
        let schema = json::parse(text.as_bytes())
            .map_err(|error| vec![Violation { pointer: "/".into(), what: error.to_string() }])?;
        Self::compile(&schema)
    }

    /// Compiles a schema of draft 2020-12.
    ///
    /// # Errors
    /// What is wrong with the schema, each with its JSON pointer.
    pub fn compile(schema: &Value) -> Result<Self, Vec<Violation>> {
        let mut problems = Vec::new();
        check_keywords(schema, &mut String::new(), &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .offline()
            .build(schema)
            .map(|validator| Self { validator, source: schema.clone() })
            .map_err(|error| vec![violation(&error, &Value::Null)])
    }

    /// Everything that is wrong with a value, in a fixed order; empty if nothing is.
    pub fn violations(&self, value: &Value) -> Vec<Violation> {
        if self.validator.is_valid(value) {
            return Vec::new();
        }
        let mut found: Vec<Violation> = self
            .validator
            .iter_errors(value)
            .map(|error| violation(&error, &self.source))
            .collect();
        found.sort_by(|a, b| (&a.pointer, &a.what).cmp(&(&b.pointer, &b.what)));
        found.dedup();
        found
    }
}

fn violation(error: &jsonschema::ValidationError<'_>, schema: &Value) -> Violation {
    let path = error.instance_path().to_string();
    let pointer = if path.is_empty() { "/".to_owned() } else { path };
    Violation { pointer, what: describe(error, schema) }
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
                .map(|name| match nearest(name, &known) {
                    Some(known) => format!("{name:?} (did you mean {known:?}?)"),
                    None => format!("{name:?}"),
                })
                .collect();
            format!("unknown key {}; remove it", names.join(", "))
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
        _ => bounded(&error.to_string()),
    }
}

/// The keys that the object of an `additionalProperties` error may have.
fn known_keys<'s>(error: &jsonschema::ValidationError<'_>, schema: &'s Value) -> Vec<&'s str> {
    let path = error.schema_path().to_string();
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let properties = schema.pointer(&format!("{parent}/properties")).and_then(Value::as_object);
    properties.into_iter().flatten().map(|(name, _)| name.as_str()).collect()
}

fn bounded(text: &str) -> String {
    const CHARS_MAX: usize = 300;
    if text.chars().count() <= CHARS_MAX {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(CHARS_MAX).collect();
    cut.push('…');
    cut
}

/// The JSON type's name of a value.
pub fn type_name(value: &Value) -> &'static str {
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

/// Walks the schema's own structure and reports every keyword outside [`KEYWORDS`].
fn check_keywords(schema: &Value, pointer: &mut String, problems: &mut Vec<Violation>) {
    let Value::Object(map) = schema else { return };
    for (keyword, value) in map {
        if !KEYWORDS.contains(&keyword.as_str()) {
            let hint = nearest(keyword, KEYWORDS)
                .map_or_else(String::new, |known| format!("; did you mean {known:?}?"));
            problems.push(Violation {
                pointer: format!("{pointer}/{keyword}"),
                what: format!("unknown schema keyword {keyword:?}{hint}"),
            });
            continue;
        }
        let length = pointer.len();
        pointer.push('/');
        pointer.push_str(keyword);
        match (keyword.as_str(), value) {
            ("properties" | "$defs", Value::Object(children)) => {
                for (name, child) in children {
                    let length = pointer.len();
                    pointer.push('/');
                    pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
                    check_keywords(child, pointer, problems);
                    pointer.truncate(length);
                }
            }
            ("oneOf" | "anyOf" | "allOf" | "prefixItems", Value::Array(children)) => {
                for child in children {
                    check_keywords(child, pointer, problems);
                }
            }
            (
                "items" | "additionalProperties" | "propertyNames" | "not" | "if" | "then" | "else",
                child,
            ) => {
                check_keywords(child, pointer, problems);
            }
            _ => {}
        }
        pointer.truncate(length);
    }
}
