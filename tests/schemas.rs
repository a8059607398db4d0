//! Every JSON Schema of the repository, held to what ajv refuses in strict mode: a keyword or format
//! that nobody knows, a keyword without its type, a required name that is not defined, no `$id`.
//! `make formats-check` asks ajv itself.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{root, text};

/// Keywords that say something of every type.
const GENERAL: [&str; 19] = [
    "$schema",
    "$id",
    "$ref",
    "$defs",
    "title",
    "description",
    "type",
    "enum",
    "const",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "default",
    "format",
    "examples",
];

/// Keywords that say something of one type.
const TYPED: [(&str, &[&str]); 4] = [
    ("string", &["pattern", "minLength", "maxLength"]),
    ("array", &["items", "prefixItems", "minItems", "maxItems", "uniqueItems"]),
    (
        "object",
        &[
            "properties",
            "required",
            "additionalProperties",
            "propertyNames",
            "minProperties",
            "maxProperties",
        ],
    ),
    ("number", &["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]),
];

/// Keywords whose value is a schema, a list of schemas, or schemas by name.
const ONE: [&str; 7] =
    ["items", "additionalProperties", "propertyNames", "not", "if", "then", "else"];
const LIST: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
const NAMED: [&str; 2] = ["properties", "$defs"];

/// What a strict reader would refuse; `types` are those that a schema around it names.
fn refused(schema: &Value, types: &BTreeSet<String>, at: &str, found: &mut Vec<String>) {
    let Some(members) = schema.as_object() else {
        if !schema.is_boolean() {
            found.push(format!("{at}: not a schema"));
        }
        return;
    };
    let own: BTreeSet<String> = match &schema["type"] {
        Value::String(name) => BTreeSet::from([name.clone()]),
        Value::Array(names) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => types.clone(),
    };
    for keyword in members.keys().filter(|keyword| !GENERAL.contains(&keyword.as_str())) {
        match TYPED.iter().find(|(_, keywords)| keywords.contains(&keyword.as_str())) {
            None => found.push(format!("{at}: unknown keyword {keyword}")),
            Some((kind, _)) => {
                let is_number = *kind == "number" && own.contains("integer");
                if !own.contains(*kind) && !is_number {
                    found.push(format!("{at}: {keyword} without the type {kind}"));
                }
            }
        }
    }
    if let Some(format) = members.get("format") {
        found.push(format!("{at}: unknown format {format}"));
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        if schema["properties"].get(name.as_str().unwrap()).is_none() {
            found.push(format!("{at}: {name} is required and not defined"));
        }
    }
    for (keyword, value) in members {
        let at = format!("{at}/{keyword}");
        // What is in an array, a member or a definition has its own type; the rest is about this one.
        let is_same =
            ["if", "then", "else", "not", "allOf", "anyOf", "oneOf"].contains(&keyword.as_str());
        // The name of a property is text, whether a schema says so or not.
        let types = match keyword.as_str() {
            _ if is_same => own.clone(),
            "propertyNames" => BTreeSet::from(["string".to_owned()]),
            _ => BTreeSet::new(),
        };
        if ONE.contains(&keyword.as_str()) {
            refused(value, &types, &at, found);
        } else if LIST.contains(&keyword.as_str()) {
            for (index, item) in value.as_array().unwrap().iter().enumerate() {
                refused(item, &types, &format!("{at}/{index}"), found);
            }
        } else if NAMED.contains(&keyword.as_str()) {
            for (name, item) in value.as_object().unwrap() {
                refused(item, &types, &format!("{at}/{name}"), found);
            }
        }
    }
}

fn all(schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    refused(schema, &BTreeSet::new(), "", &mut found);
    found
}

#[test]
fn every_schema_is_one_that_a_strict_reader_takes() {
    let mut paths: Vec<String> =
        ["policy/v1.schema.json", "tasks/task.schema.json", "tools/contract.schema.json"]
            .map(str::to_owned)
            .to_vec();
    for entry in root().join("docs/schema").read_dir_utf8().unwrap() {
        paths.push(format!("docs/schema/{}", entry.unwrap().file_name()));
    }
    assert!(paths.len() >= 15, "{paths:?}");
    let mut ids = BTreeSet::new();
    for path in &paths {
        let schema: Value = serde_json::from_str(&text(path)).unwrap();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema", "{path}");
        let id = schema["$id"].as_str().unwrap_or_else(|| panic!("{path} has no $id"));
        assert!(ids.insert(id.to_owned()), "{path}: {id} is used twice");
        assert_eq!(all(&schema), Vec::<String>::new(), "{path}");
        jsonschema::meta::validate(&schema).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}

#[test]
fn what_a_strict_reader_refuses_is_found() {
    for (schema, what) in [
        (json!({"type": "integer", "format": "uint64"}), "unknown format"),
        (json!({"type": "object", "colour": 1}), "unknown keyword"),
        (json!({"items": true}), "without the type"),
        (json!({"type": "object", "required": ["a"]}), "not defined"),
        (json!({"type": "object", "properties": {"a": {"minimum": 1}}}), "without the type"),
        (json!({"type": "object", "if": {"required": ["a"]}}), "not defined"),
        (json!({"$defs": {"a": {"type": "string", "minimum": 1}}}), "without the type"),
    ] {
        assert!(
            all(&schema).iter().any(|found| found.contains(what)),
            "{schema}: {:?}",
            all(&schema)
        );
    }
}
