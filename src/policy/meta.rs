//! The meta-schema: what a policy may look like, and the keywords of each place in it.

use std::sync::LazyLock;

use serde_json::Value;

use crate::schema::{Embedded, Schema};

/// The meta-schema of a policy, embedded: the file beside the policy must equal it.
pub const META_SCHEMA: &str = include_str!("../../policy/v1.schema.json");

/// The name of the meta-schema's file beside a policy.
pub const META_SCHEMA_FILE: &str = "v1.schema.json";

pub(super) static META: Embedded = Embedded::new(|| Schema::embedded(META_SCHEMA));

/// The meta-schema as a value, to look keywords up in.
static KEYWORDS: LazyLock<Value> =
    LazyLock::new(|| crate::json::parse(META_SCHEMA.as_bytes()).unwrap_or_default());

/// The part of the meta-schema that a value with this pointer must satisfy.
pub(super) fn keywords_at(pointer: &str) -> Option<&'static Value> {
    let mut at: &'static Value = &KEYWORDS;
    for token in pointer.split('/').skip(1) {
        let name = token.replace("~1", "/").replace("~0", "~");
        let below = at.get("properties").and_then(|properties| properties.get(&name));
        at = resolved(below.or_else(|| at.get("items"))?)?;
    }
    Some(at)
}

/// A schema, or the one that it refers to.
fn resolved(schema: &'static Value) -> Option<&'static Value> {
    match schema.get("$ref").and_then(Value::as_str) {
        Some(target) => KEYWORDS.pointer(target.strip_prefix('#')?),
        None => Some(schema),
    }
}

pub(super) fn keys_of(rules: &Value) -> Vec<&str> {
    let properties = rules.get("properties").and_then(Value::as_object);
    properties.into_iter().flatten().map(|(key, _)| key.as_str()).collect()
}

/// The sections that have this key.
pub(super) fn homes(key: &str) -> Vec<&'static str> {
    let sections = KEYWORDS.get("properties").and_then(Value::as_object);
    let has =
        |section: &Value| section.get("properties").is_some_and(|keys| keys.get(key).is_some());
    let homes = sections.into_iter().flatten().filter(|(_, section)| has(section));
    homes.map(|(name, _)| name.as_str()).collect()
}
