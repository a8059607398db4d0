//! The meta-schema: what a policy may look like, and the keywords of each place in it.

use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};

use crate::schema::{Schema, Violation};

use super::path::{MountName, MountNames};

/// The meta-schema of a policy, embedded: the file beside the policy must equal it. It names the
/// mounts that every run has.
pub const META_SCHEMA: &str = include_str!("../../policy/v1.schema.json");

/// The name of the meta-schema's file beside a policy.
pub const META_SCHEMA_FILE: &str = "v1.schema.json";

/// The meta-schema as a value.
static FILE: LazyLock<Value> =
    LazyLock::new(|| crate::json::parse(META_SCHEMA.as_bytes()).unwrap_or_default());

static BUILT_IN: LazyLock<Arc<Meta>> = LazyLock::new(|| Arc::new(Meta::new(FILE.clone())));

/// The meta-schema for the mounts that there are, compiled, and as a value to look keywords up in.
#[derive(Debug)]
pub(super) struct Meta {
    keywords: Value,
    compiled: Result<Schema, Vec<Violation>>,
}

impl Meta {
    /// The meta-schema for these mounts.
    pub(super) fn of(mounts: &MountNames) -> Arc<Self> {
        if mounts == MountNames::built_in() {
            return Arc::clone(&BUILT_IN);
        }
        Arc::new(Self::new(with_mounts(FILE.clone(), mounts)))
    }

    fn new(keywords: Value) -> Self {
        Self { compiled: Schema::compile(&keywords), keywords }
    }

    /// Everything that is wrong with a policy. A meta-schema that is none would find everything wrong,
    /// and no policy would be accepted.
    pub(super) fn violations(&self, policy: &Value) -> Vec<Violation> {
        match &self.compiled {
            Ok(schema) => schema.slips(policy),
            Err(broken) => broken.clone(),
        }
    }

    /// The part of the meta-schema that a value with this pointer must satisfy.
    pub(super) fn keywords_at(&self, pointer: &str) -> Option<&Value> {
        let mut at = &self.keywords;
        for token in pointer.split('/').skip(1) {
            let name = token.replace("~1", "/").replace("~0", "~");
            let below = at.get("properties").and_then(|properties| properties.get(&name));
            at = self.resolved(below.or_else(|| at.get("items"))?)?;
        }
        Some(at)
    }

    /// A schema, or the one that it refers to.
    fn resolved<'s>(&'s self, schema: &'s Value) -> Option<&'s Value> {
        match schema.get("$ref").and_then(Value::as_str) {
            Some(target) => self.keywords.pointer(target.strip_prefix('#')?),
            None => Some(schema),
        }
    }
}

pub(super) fn keys_of(rules: &Value) -> Vec<&str> {
    let properties = rules.get("properties").and_then(Value::as_object);
    properties.into_iter().flatten().map(|(key, _)| key.as_str()).collect()
}

/// The sections that have this key.
pub(super) fn homes(key: &str) -> Vec<&'static str> {
    let sections = FILE.get("properties").and_then(Value::as_object);
    let has =
        |section: &Value| section.get("properties").is_some_and(|keys| keys.get(key).is_some());
    let homes = sections.into_iter().flatten().filter(|(_, section)| has(section));
    homes.map(|(name, _)| name.as_str()).collect()
}

/// The meta-schema, in which `sandbox` lists these mounts.
fn with_mounts(mut schema: Value, mounts: &MountNames) -> Value {
    let words = |names: Vec<&MountName>| match names.as_slice() {
        [only] => json!({"const": only.as_str()}),
        names => json!({"enum": names.iter().map(|name| name.as_str()).collect::<Vec<_>>()}),
    };
    for (key, names) in
        [("read", mounts.iter().collect()), ("write", mounts.writable().collect::<Vec<_>>())]
    {
        let place = schema.pointer_mut(&format!("/properties/sandbox/properties/{key}/items"));
        place.into_iter().for_each(|items| *items = words(names.clone()));
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file is for editors, and the table is what paths are read with.
    #[test]
    fn the_file_lists_the_mounts_of_the_table() {
        assert_eq!(with_mounts(FILE.clone(), MountNames::built_in()), *FILE);
    }
}
