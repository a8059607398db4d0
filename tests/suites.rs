//! Our readers against the public test suites of JSON Schema and YAML, which `make suites` fetches.
//! Both read a subset: a case may be refused if `cases/suites.json` says why. Read otherwise than the
//! suite says, or refused without being listed, is red; so is a listed refusal that no longer is one.

#![expect(clippy::print_stderr, reason = "what is skipped or counted is said")]

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use gatedrun::schema::Schema;
use gatedrun::yaml;
use serde::Deserialize;
use serde_json::Value;

use crate::support::text;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    #[expect(dead_code, reason = "for whoever reads the table")]
    note: String,
    /// By file of the suite: how many of its schemas are refused, and why.
    json_schema: BTreeMap<String, Refused>,
    /// By reason: the ids of the cases that are refused for it.
    yaml: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    schemas: usize,
    #[expect(dead_code, reason = "for whoever reads the table")]
    why: String,
}

fn listed() -> Listed {
    serde_json::from_str(&text("tests/cases/suites.json")).unwrap()
}

/// Where the suites are; none where nobody fetched them.
fn fetched() -> Option<Utf8PathBuf> {
    let folder = std::env::var("GATEDRUN_SUITES").ok().map(Utf8PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: `make suites` fetches the suites");
    }
    folder
}

fn read(path: &camino::Utf8Path) -> Value {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn the_schemas_of_the_json_schema_test_suite() {
    let Some(folder) = fetched() else { return };
    let listed = listed().json_schema;
    let (mut wrong, mut refused) = (Vec::new(), BTreeMap::<String, usize>::new());
    let (mut schemas, mut instances) = (0, 0);
    let mut files: Vec<_> =
        folder.join("json-schema").read_dir_utf8().unwrap().map(Result::unwrap).collect();
    files.sort_by_key(|entry| entry.file_name().to_owned());
    for entry in files.iter().filter(|entry| entry.file_name().ends_with(".json")) {
        let file = entry.file_name();
        for group in read(entry.path()).as_array().unwrap() {
            let Ok(schema) = Schema::compile(&group["schema"]) else {
                *refused.entry(file.to_owned()).or_default() += 1;
                continue;
            };
            schemas += 1;
            for case in group["tests"].as_array().unwrap() {
                instances += 1;
                let is_valid = schema.violations(&case["data"]).is_empty();
                if case["valid"] != is_valid {
                    wrong
                        .push(format!("{file}: {}: {}", group["description"], case["description"]));
                }
            }
        }
    }
    for file in refused.keys().chain(listed.keys()).collect::<BTreeSet<_>>() {
        let (is, due) = (
            refused.get(file).copied().unwrap_or(0),
            listed.get(file).map_or(0, |one| one.schemas),
        );
        if is != due {
            wrong.push(format!("{file}: {is} schemas are refused, {due} are listed"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    eprintln!(
        "json schema: {schemas} schemas, {instances} instances; refused: {}",
        refused.values().sum::<usize>()
    );
    assert!(schemas > 100 && instances > 500, "{schemas} schemas, {instances} instances");
}

#[test]
fn the_cases_of_the_yaml_test_suite() {
    let Some(folder) = fetched() else { return };
    let listed = listed().yaml;
    let due: BTreeMap<&str, &str> = listed
        .iter()
        .flat_map(|(why, ids)| ids.iter().map(|id| (id.as_str(), why.as_str())))
        .collect();
    let (mut wrong, mut seen) = (Vec::new(), BTreeSet::new());
    let (mut same, mut invalid) = (0, 0);
    for document in read(&folder.join("yaml.json")).as_array().unwrap() {
        let mut json_before = None;
        for (number, case) in document["cases"].as_array().unwrap().iter().enumerate() {
            let id = format!("{}/{number}", document["id"].as_str().unwrap());
            let found = yaml::parse(case["yaml"].as_str().unwrap().as_bytes());
            if case["fail"] == true {
                match found {
                    Ok(document) => {
                        wrong.push(format!("{id}: not YAML, read as {}", document.value))
                    }
                    Err(_) => invalid += 1,
                }
                continue;
            }
            // A case says what differs from the one before.
            json_before = case["json"].as_str().or(json_before);
            // A file without a document is null, and several documents are several values.
            let json = json_before.map(|json| match json.trim() {
                "" => Ok(Value::Null),
                json => serde_json::from_str::<Value>(json),
            });
            match (found, json) {
                (Ok(document), Some(Ok(json))) if document.value == json => same += 1,
                (Ok(document), json) => {
                    wrong
                        .push(format!("{id}: read as {}, the suite says {json:?}", document.value));
                }
                (Err(errors), _) if !due.contains_key(id.as_str()) => {
                    wrong.push(format!("{id}: refused, and not listed: {}", errors[0].message));
                }
                (Err(_), _) => drop(seen.insert(id)),
            }
        }
    }
    let gone = due.keys().filter(|id| !seen.contains(**id));
    wrong.extend(gone.map(|id| format!("{id}: listed, and not refused")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    eprintln!(
        "yaml: {same} read alike, {invalid} invalid ones refused, {} others refused",
        seen.len()
    );
    assert!(same > 50 && invalid > 50, "{same} read alike, {invalid} invalid");
}
