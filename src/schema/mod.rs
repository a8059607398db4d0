//! JSON Schema: compiled once, closed to what it does not know, with errors that say where and
//! what to do.
//!
//! A keyword that nobody evaluates would be a rule that nobody enforces, so a schema with a
//! keyword outside the list below is refused instead of read past (unlike the standard's default).

mod pattern;
mod violation;

use std::sync::LazyLock;

use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

use crate::json::{self, pointer_token, shown};
use crate::problem::{cut, misspelt};

use violation::{violation, wanted};

pub use pattern::translate;
pub use violation::Violation;

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
    ///
    /// A key that is missing and was misspelt is one slip: only the misspelling is reported.
    pub fn violations(&self, value: &Value) -> Vec<Violation> {
        match &*self.0 {
            Ok(schema) => schema.slips(value),
            Err(broken) => broken.clone(),
        }
    }
}

impl Schema {
    /// Everything that is wrong with a value, each slip once: a key that is missing and was misspelt
    /// is only misspelt.
    pub fn slips(&self, value: &Value) -> Vec<Violation> {
        let mut found = self.violations(value);
        let misspelt: Vec<(String, String)> = found
            .iter()
            .flat_map(|one| one.meant().map(|key| (one.pointer.clone(), key.to_owned())))
            .collect();
        found.retain(|one| {
            let is_missing = |(pointer, key): &(String, String)| {
                *pointer == one.pointer && one.missing.as_ref() == Some(key)
            };
            !misspelt.iter().any(is_missing)
        });
        found
    }

    /// Compiles the text of a schema that is embedded in the binary.
    ///
    /// # Errors
    /// As [`Schema::compile`]: a defect of the program.
    pub fn embedded(text: &str) -> Compiled {
        let schema = json::parse(text.as_bytes())
            .map_err(|error| vec![Violation::new("/".into(), error.to_string())])?;
        Self::compile(&schema)
    }

    /// Compiles a schema of draft 2020-12.
    ///
    /// # Errors
    /// What is wrong with the schema, each with its JSON pointer.
    pub fn compile(schema: &Value) -> Result<Self, Vec<Violation>> {
        let mut problems = Vec::new();
        let source = schema.clone();
        let mut schema = schema.clone();
        check_keywords(&mut schema, &mut String::new(), &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .offline()
            .build(&schema)
            .map(|validator| Self { validator, source })
            .map_err(|error| vec![uncompiled(&error)])
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

/// Why a schema is none, in the words of this program.
fn uncompiled(error: &jsonschema::ValidationError<'_>) -> Violation {
    let pointer = error.instance_path().to_string();
    let named = pointer.rsplit('/').next().unwrap_or_default();
    let found = shown(error.instance());
    let what = match error.kind() {
        ValidationErrorKind::Referencing(_) => {
            "a $ref leads to nothing in this schema; name a key of $defs, as in \"#/$defs/name\""
                .to_owned()
        }
        ValidationErrorKind::Pattern { .. }
        | ValidationErrorKind::RegexEngineFailure { .. }
        | ValidationErrorKind::BacktrackLimitExceeded { .. }
        | ValidationErrorKind::Format { .. } => {
            format!("the pattern {found} is not a regular expression, or too large; simplify it")
        }
        ValidationErrorKind::Type { .. } if !KEYWORDS.contains(&named) => {
            format!("expected a schema, which is an object, found {found}")
        }
        ValidationErrorKind::Type { kind } => {
            format!("expected {}, found {found}", wanted(kind))
        }
        _ => format!("the keyword {named:?} has a value that it cannot have (found {found})"),
    };
    Violation::new(if pointer.is_empty() { "/".to_owned() } else { pointer }, what)
}

/// That a keyword of a schema is not evaluated.
fn unsupported(pointer: &str, keyword: &str) -> Violation {
    let at = format!("{pointer}/{}", pointer_token(&cut(keyword)));
    let (what, remedy) = match misspelt(keyword, KEYWORDS) {
        Some(meant) => ("unknown", format!("rename it to {meant:?}")),
        None => (
            "unsupported",
            format!("remove it; the supported keywords are {}", KEYWORDS.join(", ")),
        ),
    };
    let what = format!("{what} schema keyword {:?}", cut(keyword));
    let mut violation = Violation::new(at, what);
    violation.remedy = remedy;
    violation
}

/// The dialect that schemas are read in.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// That a schema says it is written in another dialect.
fn other_dialect(pointer: &str, dialect: &Value) -> Option<Violation> {
    let named = dialect.as_str().map(|dialect| dialect.trim_end_matches('#'));
    (named != Some(DIALECT)).then(|| {
        let what = format!("expected {DIALECT:?}, found {}", shown(dialect));
        let remedy =
            "write the schema in that dialect, or remove $schema if it means the same there";
        Violation::new(pointer.to_owned(), what).remedied(remedy)
    })
}

/// Walks the schema's own structure, reports every keyword outside [`KEYWORDS`], and writes every
/// pattern as the engine reads it.
fn check_keywords(schema: &mut Value, pointer: &mut String, problems: &mut Vec<Violation>) {
    let Value::Object(map) = schema else { return };
    for (keyword, value) in map {
        if !KEYWORDS.contains(&keyword.as_str()) {
            problems.push(unsupported(pointer, keyword));
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
                    pointer.push_str(&pointer_token(name));
                    check_keywords(child, pointer, problems);
                    pointer.truncate(length);
                }
            }
            ("oneOf" | "anyOf" | "allOf" | "prefixItems", Value::Array(children)) => {
                for (index, child) in children.iter_mut().enumerate() {
                    let length = pointer.len();
                    pointer.push_str(&format!("/{index}"));
                    check_keywords(child, pointer, problems);
                    pointer.truncate(length);
                }
            }
            // Another draft gives some of the keywords another meaning.
            ("$schema", dialect) => problems.extend(other_dialect(pointer, dialect)),
            ("pattern", Value::String(text)) => match translate(text) {
                Ok(translated) => *text = translated,
                Err(what) => problems.push(Violation::new(
                    pointer.clone(),
                    format!("the pattern is not read as ECMA-262 has it: {what}"),
                )),
            },
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
