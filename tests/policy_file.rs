use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use gatedrun::contract::Contracts;
use gatedrun::policy;
use gatedrun::policy::defaults::{self, filled, settings};
use gatedrun::policy::meta::META_SCHEMA;
use gatedrun::policy::section::Fallback;
use gatedrun::policy::warnings;
use serde_json::Value;

use crate::support::{Folder, file, text};

fn contracts() -> Contracts {
    let names: Vec<&str> = gatedrun::tools::TOOLS.iter().map(|tool| tool.name).collect();
    let load = |name: &&str| {
        let path = format!("tools/{name}.json");
        gatedrun::contract::Contract::load(&path, &file(&path)).unwrap()
    };
    Contracts::new(names.iter().map(load).collect()).unwrap()
}

/// The rows of a table.
fn rows(path: &str) -> Vec<Value> {
    text(path).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What is said, against what a row wants: as many sentences, in that order, each with its words.
fn compare(row: &Value, key: &str, said: &[String], failures: &mut String) {
    let wanted: Vec<&str> = row[key].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let holds = row["holds"].as_str().unwrap_or_default();
    let is_met = wanted.len() == said.len()
        && said.iter().zip(&wanted).all(|(said, part)| said.contains(part) && said.contains(holds));
    if !is_met {
        let note = row["note"].as_str().unwrap();
        let _ = writeln!(failures, "{note}: wanted {wanted:#?} {holds}, got {said:#?}");
    }
}

/// Each slip is told once, at its own place, in the words of a policy.
#[test]
fn a_policy_or_a_table_that_is_not_there_is_told_what_to_name() {
    let folder = Folder::project();
    for (args, remedy) in [
        (&["check", "nope"][..], "name a policy file"),
        (&["explain", "nope"], "name a policy file"),
        (&["decide", "nope"], "name a policy file"),
        (&["test", "nope"], "name a policy file"),
        (&["test", "policy/v1.yaml", "nope"], "name a file with a decision table"),
    ] {
        let args: Vec<&str> = ["policy"].iter().chain(args).copied().collect();
        let ran = folder.gatedrun(&args);
        assert_eq!(ran.code, 2, "{}", ran.all());
        assert!(ran.err.contains(&format!("nope: no such file; {remedy}")), "{}", ran.err);
    }
}

/// A line of a contract is not shown as one of the policy.
#[test]
fn an_excerpt_is_of_the_file_that_the_finding_names() {
    let folder = Folder::project();
    folder.edit("tools/read.json", "\"title\"", "\"titel\"");
    let path = folder.path().join("policy/v1.yaml");
    let ran = folder.gatedrun(&["policy", "check", path.as_str(), "--contracts", "tools"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(ran.err.contains("tools/read.json: line "), "{}", ran.err);
    assert!(!ran.err.contains(" | "), "{}", ran.err);
}

#[test]
fn findings_say_what_to_write() {
    let contracts = contracts();
    let mut failures = String::new();
    let rows = rows("tests/cases/policy_findings.jsonl");
    assert!(rows.len() >= 35, "the table has lost cases");
    for row in rows {
        let problems =
            policy::load("p.yaml", row["policy"].as_str().unwrap().as_bytes(), &contracts)
                .err()
                .map_or_else(Vec::new, |problems| {
                    problems.in_order().into_iter().map(ToString::to_string).collect()
                });
        compare(&row, "findings", &problems, &mut failures);
        for said in &problems {
            assert!(said.starts_with("p.yaml: line ") && said.contains("; "), "{said}");
            for word in ["non-unique", "was expected", "is not valid under", "null", "object", "^["]
            {
                assert!(!said.contains(word), "{said}");
            }
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

/// Whatever the meta-schema refuses is refused, whether or not there are words for it.
#[test]
fn what_the_meta_schema_refuses_is_never_loaded() {
    let contracts = contracts();
    let good: Value = gatedrun::yaml::parse(&file("policy/v1.yaml")).unwrap().value;
    let mut pointers = Vec::new();
    walk(&good, "", &mut pointers);
    let schema = gatedrun::schema::Schema::embedded(META_SCHEMA).unwrap();
    let (mut refused, mut taken) = (0, 0);
    for pointer in &pointers {
        for other in
            ["null", "true", "-1", "\"x\"", "[]", "[5]", "{}", "{\"x\": 1}", "[[]]", "1e30"]
        {
            let mut policy = good.clone();
            *policy.pointer_mut(pointer).unwrap() = serde_json::from_str(other).unwrap();
            let loaded = policy::load("p.yaml", policy.to_string().as_bytes(), &contracts);
            if schema.violations(&policy).is_empty() {
                taken += 1;
            } else {
                let problems = loaded.unwrap_err();
                let mut told = BTreeSet::new();
                for problem in problems.in_order() {
                    assert!(told.insert(problem.to_string()), "{pointer} {other}: {problem}");
                }
                refused += 1;
            }
        }
    }
    assert!(refused > 300 && taken > 20, "{refused} {taken}");
}

fn walk(value: &Value, pointer: &str, pointers: &mut Vec<String>) {
    pointers.push(pointer.to_owned());
    match value {
        Value::Object(map) => {
            for (key, below) in map {
                walk(below, &format!("{pointer}/{key}"), pointers);
            }
        }
        Value::Array(items) => {
            for (index, below) in items.iter().enumerate() {
                walk(below, &format!("{pointer}/{index}"), pointers);
            }
        }
        _ => {}
    }
}

#[test]
fn warnings_say_what_is_hardly_meant() {
    let contracts = contracts();
    let mut failures = String::new();
    let rows = rows("tests/cases/policy_warnings.jsonl");
    assert!(rows.len() >= 55, "the table has lost cases");
    for row in rows {
        let source = row["policy"].as_str().unwrap();
        let (policy, document) = policy::read("p.yaml", source.as_bytes(), &contracts).unwrap();
        let said: Vec<String> = warnings::of("p.yaml", &policy, &document, &contracts)
            .iter()
            .map(ToString::to_string)
            .collect();
        compare(&row, "warnings", &said, &mut failures);
    }
    assert!(failures.is_empty(), "{failures}");
    let (policy, document) =
        policy::read("policy/v1.yaml", &file("policy/v1.yaml"), &contracts).unwrap();
    assert_eq!(warnings::of("policy/v1.yaml", &policy, &document, &contracts), []);
}

/// A key of the meta-schema: its default, and whether it must be there.
fn keys(schema: &Value, prefix: &str, root: &Value, keys: &mut BTreeMap<String, (Value, bool)>) {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        if name == "examples" {
            continue;
        }
        let target = below["$ref"].as_str().map(|target| root.pointer(&target[1..]).unwrap());
        let below = target.unwrap_or(below);
        let key = format!("{prefix}{name}");
        if below["properties"].is_object() {
            self::keys(below, &format!("{key}."), root, keys);
        } else {
            self::keys(&below["items"], &format!("{key}[]."), root, keys);
        }
        keys.insert(key, (below["default"].clone(), required.contains(&name.as_str())));
    }
}

#[test]
fn the_meta_schema_states_the_defaults_of_the_code() {
    let schema: Value = serde_json::from_str(META_SCHEMA).unwrap();
    let mut stated = BTreeMap::new();
    keys(&schema, "", &schema, &mut stated);
    for (key, fallback) in defaults::keys() {
        let (default, required) =
            stated.remove(*key).unwrap_or_else(|| panic!("{key} is not a key"));
        assert_eq!(default, fallback.value().unwrap_or_default(), "{key}");
        assert_eq!(required, *fallback == Fallback::Required, "{key}");
    }
    // What is left are sections whose keys all have a line of their own.
    for (key, (default, required)) in stated {
        assert!(default.is_null() && required == (key == "tool_registry"), "{key}");
        assert!(defaults::keys().any(|(name, _)| name.starts_with(&format!("{key}."))), "{key}");
    }
}

/// A policy that states everything is what it was; `policy/v1.yaml` states the defaults.
#[test]
fn defaults_change_nothing_that_is_stated() {
    let contracts = contracts();
    let full = gatedrun::yaml::parse(&file("policy/v1.yaml")).unwrap().value;
    for (key, fallback) in defaults::keys().filter(|(key, _)| !key.contains("[]")) {
        let pointer = format!("/{}", key.replace('.', "/"));
        let stated = full.pointer(&pointer);
        if let (Some(stated), Fallback::Number(_) | Fallback::Word(_)) = (stated, fallback) {
            assert_eq!(Some(stated.clone()), fallback.value(), "{key}");
        }
    }
    let all = filled(&full);
    assert_eq!(filled(&all), all);
    let smallest = "version: 1\ntool_registry:\n  allowed: [search]\n";
    let (policy, document) = policy::read("p", smallest.as_bytes(), &contracts).unwrap();
    assert!(
        policy.rules.url_allowlist.hosts.is_empty() && policy.rules.sandbox_path.read.is_empty()
    );
    assert!(policy.rules.sandbox_path.write.is_empty());
    assert_eq!(
        (policy.rules.loop_budget.max_iterations, policy.rules.loop_budget.max_tokens),
        (10, 50_000)
    );
    // Written out, it is the same policy.
    let written = filled(&document.value);
    let (same, _) = policy::read("p", written.to_string().as_bytes(), &contracts).unwrap();
    let without = |policy: &policy::spec::Policy| {
        let mut policy = policy.clone();
        (policy.version, policy.sha256) = (String::new(), gatedrun::json::Digest::of(b""));
        format!("{policy:?}")
    };
    assert_eq!(without(&policy), without(&same));
    let lines: Vec<_> = settings(&document).into_iter().filter(|s| s.line.is_some()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((lines[1].key.as_str(), lines[1].line), ("tool_registry.allowed", Some(3)));
}

#[test]
fn warnings_are_printed_and_can_be_denied() {
    let folder = Folder::new();
    let smallest = "version: 1\ntool_registry:\n  allowed: [search, read]\n  denied: [read]\nurl_allowlist:\n  hosts:\n    - host: a.example.com\n      ports: [8443]\n";
    folder.write("p.yaml", smallest);
    let ran = folder.gatedrun(&["policy", "check", "p.yaml"]);
    insta::assert_snapshot!("policy_warnings", ran.all());
    assert_eq!(ran.code, 0);
    let denied = folder.gatedrun(&["policy", "check", "p.yaml", "--deny-warnings"]);
    assert_eq!((denied.code, denied.out), (1, ran.out));
    let ran = folder.gatedrun(&["policy", "check", "p.yaml", "--json", "--deny-warnings"]);
    let verdict: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, verdict["warnings"].as_array().unwrap().len()), (1, 2));
    assert_eq!(verdict["findings"], Value::Array(Vec::new()));
    let args = ["policy", "check", "builtin:policy/v1.yaml", "--deny-warnings"];
    assert_eq!(folder.gatedrun(&args).code, 0);
    insta::assert_snapshot!(
        "policy_explain_values",
        folder.gatedrun(&["policy", "explain", "p.yaml"]).all()
    );
    let ran = folder.gatedrun(&["policy", "explain", "p.yaml", "--json"]);
    let first: Value = serde_json::from_str(ran.out.lines().next().unwrap()).unwrap();
    assert_eq!(first, serde_json::json!({"key": "version", "value": "1", "line": 1}));
}

/// A failure names its line and what was expected in words; a note where there is one.
#[test]
fn a_decision_table_fails_in_words() {
    let folder = Folder::new();
    folder.write("t.jsonl", text("tests/cases/policy_table.jsonl"));
    let ran = folder.gatedrun(&["policy", "test", "builtin:policy/v1.yaml", "t.jsonl"]);
    assert_eq!(ran.code, 1);
    insta::assert_snapshot!("policy_test_words", ran.all());
}
