//! Every JSON Schema of the repository, held to what ajv refuses in strict mode: a keyword or format
//! that nobody knows, a keyword without its type, a required name that is not defined, no `$id`.
//! `make formats-check` asks ajv itself.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Folder, root, text};

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

/// A schema as the program prints it, compiled.
fn printed(name: &str) -> jsonschema::Validator {
    let ran = Folder::new().gatedrun(&["schema", name]);
    assert_eq!(ran.code, 0, "{name}: {}", ran.all());
    jsonschema::validator_for(&serde_json::from_str(&ran.out).unwrap()).unwrap()
}

/// Every line satisfies the schema, and the schema requires every key of the first one.
fn satisfies(name: &str, lines: &str) {
    let schema = printed(name);
    let mut first: Option<Value> = None;
    for line in lines.lines() {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{name}: {line}"));
        if let Err(error) = schema.validate(&value) {
            panic!("{name}: {error}: {line}");
        }
        first.get_or_insert(value);
    }
    let first = first.unwrap_or_else(|| panic!("{name}: nothing was printed"));
    for key in first.as_object().unwrap().keys() {
        let mut without = first.clone();
        without.as_object_mut().unwrap().remove(key);
        assert!(!schema.is_valid(&without), "{name}: {key} may be left out");
    }
}

#[test]
fn what_every_command_prints_as_json_satisfies_its_schema() {
    let folder = Folder::lenient_project();
    let json = |args: &[&str]| {
        let ran = folder.gatedrun(&[args, &["--json"]].concat());
        assert!(ran.code < 10, "{args:?}: {}", ran.all());
        ran.out
    };
    let (task, run) = ("tasks/canonical/v1.json", "runs/canonical/v1");
    satisfies("run", &json(&["run", task]));
    satisfies("keygen", &json(&["keygen", "key.pem"]));
    satisfies("sign", &json(&["sign", run, "--key", "key.pem"]));
    satisfies("verify", &json(&["verify", run, "--key", "key.pub.pem"]));
    satisfies("check", &json(&["check", run]));
    satisfies("replay", &json(&["replay", run]));
    satisfies("show", &json(&["show", run]));
    satisfies("list", &json(&["list"]));
    satisfies("regression", &json(&["regression"]));
    satisfies("diff", &json(&["diff", run, run]));
    let policy = "policy/v1.yaml";
    folder.edit(policy, "max_iterations: 10", "max_iterations: 2");
    satisfies("back-test", &json(&["replay", run, "--policy", policy]));
    satisfies("verify", &json(&["verify", run]));
    satisfies("check", &json(&["check", run]));
    satisfies("diff", &json(&["diff", run, &format!("{run}.new")]));
    satisfies("show", &json(&["show", &format!("{run}.new")]));
    satisfies("review", &json(&["review", "--reject"]));
    satisfies("policy-check", &json(&["policy", "check", policy]));
    satisfies("policy-values", &json(&["policy", "explain", policy]));
    let call = r#"{"tool": "read", "arguments": {"path": "/etc/passwd"}}"#;
    satisfies("policy-explain", &json(&["policy", "explain", policy, call]));
    folder.write("table.jsonl", r#"{"tool": "search", "arguments": {}, "decision": "allow"}"#);
    satisfies("policy-test", &json(&["policy", "test", policy, "table.jsonl"]));
    folder.edit(policy, "max_iterations: 2", "max_iterations: 0");
    satisfies("policy-check", &json(&["policy", "check", policy]));
    satisfies("corpus-build", &json(&["corpus", "build", "corpus"]));
    satisfies("corpus-check", &json(&["corpus", "check", "corpus"]));
    satisfies("error", &json(&["show", "absent"]));
}

#[test]
fn what_is_read_and_written_as_json_satisfies_its_schema() {
    for run in crate::support::committed_runs() {
        let manifest: Value =
            serde_json::from_str(&text(&format!("runs/{run}/manifest.json"))).unwrap();
        satisfies("manifest", &manifest.to_string());
    }
    let schema = printed("decision-table");
    let mut rows = 0;
    for table in root().join("tests/cases/policy").read_dir_utf8().unwrap() {
        let path = table.unwrap().into_path();
        if path.extension() != Some("jsonl") {
            continue;
        }
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let mut row: Value = serde_json::from_str(line).unwrap();
            assert!(schema.is_valid(&row), "{line}");
            row["decison"] = "allow".into();
            assert!(!schema.is_valid(&row), "a key that is not known: {row}");
            rows += 1;
        }
    }
    assert!(rows > 100, "{rows}");
    let (calls, answers) = (printed("decide-call"), printed("decide-answer"));
    let folder = Folder::project();
    for (call, is_call) in [
        (json!({"tool": "search", "arguments": {"query": "x"}}), true),
        (json!({"call_id": "c1", "tool": "read", "arguments": {"path": "/etc/passwd"}}), true),
        (json!({"tool": "search", "trace": 5}), true),
        (json!({"call_id": 5, "tool": "search"}), false),
        (json!({"tool": 5}), false),
        (json!({}), false),
        (json!([]), false),
    ] {
        assert_eq!(calls.is_valid(&call), is_call, "{call}");
        let ran =
            folder.gatedrun_stdin(&["policy", "decide", "policy/v1.yaml"], &format!("{call}\n"));
        let answer: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(answer.get("error").is_none(), is_call, "{answer}");
        if let Err(error) = answers.validate(&answer) {
            panic!("{error}: {answer}");
        }
    }
}
