//! Bounds of the arguments: they fit the contract, and are neither too large nor too deep.

use serde::Deserialize;
use serde_json::Value;

use crate::event::{Detail, Rule};
use crate::json;

use crate::policy::call::{Asked, Denied, OnDeny};
use crate::policy::section::Fallback::{Number, Word};
use crate::policy::section::{How, Section};

/// Bounds of the arguments.
#[derive(Debug, Clone, Deserialize)]
pub struct ArgSchema {
    /// Their size as canonical JSON.
    pub max_bytes: u64,
    /// How deep they nest.
    pub max_depth: u64,
    /// What a denial does.
    pub on_deny: OnDeny,
}

/// The arguments fit the contract and its bounds.
pub(super) fn judge(section: &ArgSchema, asked: &Asked<'_>) -> Result<(), Box<Denied>> {
    let Some((pointer, what)) = found(section, asked) else { return Ok(()) };
    Err(Box::new(asked.denied(
        Rule::ArgSchema,
        section.on_deny,
        format!("argument {pointer} of {:?}: {what}", asked.contract.name),
        [(Detail::FailedPath, pointer.into()), (Detail::SchemaError, what.into())],
    )))
}

/// The first thing that is wrong: where, and what.
fn found(section: &ArgSchema, asked: &Asked<'_>) -> Option<(String, String)> {
    let depth = depth(&asked.call.arguments);
    let bytes = json::canonical(&asked.call.arguments).len() as u64;
    if depth > section.max_depth {
        let what = format!(
            "the arguments nest {depth} deep; arg_schema_enforcement.max_depth is {}",
            section.max_depth
        );
        return Some(("/".into(), what));
    }
    if bytes > section.max_bytes {
        let what = format!(
            "the arguments have {bytes} bytes; arg_schema_enforcement.max_bytes is {}",
            section.max_bytes
        );
        return Some(("/".into(), what));
    }
    if let Some(first) = asked.contract.input_violations(&asked.arguments).into_iter().next() {
        return Some((first.pointer, first.what));
    }
    let (pointer, number) = json::rounded(&asked.arguments)?;
    Some((pointer, json::rounded_words(number)))
}

fn depth(value: &Value) -> u64 {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// What there is to say of the section.
pub const SECTION: Section = Section {
    keys: &[
        ("arg_schema_enforcement.max_bytes", Number(300_000)),
        ("arg_schema_enforcement.max_depth", Number(16)),
        ("arg_schema_enforcement.on_deny", Word("terminate")),
    ],
    tried: &[
        ("arg_schema_enforcement.max_bytes", How::Decided),
        ("arg_schema_enforcement.max_depth", How::Decided),
    ],
    samples: &[("arg_schema_enforcement", "max_bytes: 65536")],
    ..Section::SILENT
};
