//! Tool contracts: load, check, hash.
//!
//! A contract is data in the shape of MCP's `Tool`. One text serves the LLM's function list, the
//! `arg_schema` rule, the hash in the manifest and the reader. What a tool *does* to the world
//! is declared under `_meta`, so that policy never has to guess it from an argument's name.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::event::Effect;
use crate::json::{self, Digest, JsonText};
use crate::problem::{Problem, Problems, cut};
use crate::schema::{Embedded, Schema, Violation};

/// The meta-schema of a contract, embedded: the file beside the contracts is for editors.
pub const META_SCHEMA: &str = include_str!("../tools/contract.schema.json");

static META: Embedded = Embedded::new(|| Schema::embedded(META_SCHEMA));

/// One tool's contract, checked.
#[derive(Debug)]
pub struct Contract {
    /// The tool's name.
    pub name: String,
    /// The contract's path as the user named it.
    pub path: String,
    /// SHA-256 of the file's bytes.
    pub sha256: Digest,
    /// What a call does, and to which argument.
    pub effects: Vec<ArgumentEffect>,
    /// Whether doing a call twice is doing it once.
    pub idempotent: bool,
    /// Whether a call changes nothing.
    pub read_only: bool,
    /// The whole contract, as the LLM's function list shows it.
    pub text: JsonText,
    /// The schema of each argument.
    pub properties: Map<String, Value>,
    defaults: Map<String, Value>,
    input: Schema,
    output: Schema,
}

/// One thing that a call does.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArgumentEffect {
    /// What it does.
    pub effect: Effect,
    /// JSON pointer to the argument that names the path or URL.
    pub argument: Option<String>,
}

impl Contract {
    /// Reads a contract.
    ///
    /// # Errors
    /// Everything that is wrong with it: no JSON, not the shape of a contract, or a schema in it
    /// that is none.
    pub fn load(path: &str, bytes: &[u8]) -> Result<Self, Problems> {
        Self::read(path, bytes).map_err(|problems| json::located(problems, bytes))
    }

    fn read(path: &str, bytes: &[u8]) -> Result<Self, Problems> {
        let text = json::parse(bytes).map_err(|error| {
            Problem::new(path, error.message.clone())
                .at(format!("line {}, column {}", error.line, error.column))
        })?;
        let mut problems = check_shape(path, &text);
        if !text.is_object() {
            return Err(Problems(problems));
        }
        let mut compile = |key: &str| match Schema::compile(text.get(key).unwrap_or(&Value::Null)) {
            Ok(schema) => Some(schema),
            Err(violations) => {
                problems.extend(violations.into_iter().map(|violation| {
                    let remedy = match violation.remedy() {
                        "" => "a contract's schemas are JSON Schema 2020-12",
                        remedy => remedy,
                    };
                    Problem::new(path, violation.told())
                        .at(format!("/{key}{}", violation.pointer.trim_end_matches('/')))
                        .remedy(remedy)
                }));
                None
            }
        };
        let (input, output) = (compile("inputSchema"), compile("outputSchema"));
        let pointer = |pointer: &str| text.pointer(pointer).cloned().unwrap_or_default();
        let effects: Vec<ArgumentEffect> =
            json::typed(pointer("/_meta/gatedrun~1effects")).unwrap_or_default();
        let properties = match pointer("/inputSchema/properties") {
            Value::Object(properties) => properties,
            _ => Map::new(),
        };
        for argument in effects.iter().filter_map(|effect| effect.argument.as_deref()) {
            if !properties.contains_key(argument.trim_start_matches('/')) {
                problems.push(
                    Problem::new(path, format!("the effect names the argument {:?}, which is not a property of inputSchema", cut(argument)))
                        .at("/_meta/gatedrun~1effects")
                        .remedy("name one of the properties"),
                );
            }
        }
        let (Some(input), Some(output), true) = (input, output, problems.is_empty()) else {
            return Err(Problems(problems));
        };
        let defaults = properties
            .iter()
            .filter_map(|(name, schema)| Some((name.clone(), schema.get("default")?.clone())))
            .collect();
        let flag =
            |name: &str| text.pointer(&format!("/annotations/{name}")) == Some(&Value::Bool(true));
        Ok(Self {
            name: text.get("name").and_then(Value::as_str).unwrap_or_default().to_owned(),
            path: path.to_owned(),
            sha256: Digest::of(bytes),
            effects,
            idempotent: flag("idempotentHint"),
            read_only: flag("readOnlyHint"),
            defaults,
            properties,
            input,
            output,
            text: JsonText::of(&text),
        })
    }

    /// Whether a call of the tool may have this effect.
    pub fn has(&self, effect: Effect) -> bool {
        self.effects.iter().any(|of_argument| of_argument.effect == effect)
    }

    /// What the arguments do that the contract forbids; empty if nothing.
    pub fn input_violations(&self, arguments: &Value) -> Vec<Violation> {
        self.input.violations(arguments)
    }

    /// What the result does that the contract forbids; empty if nothing.
    pub fn output_violations(&self, result: &Value) -> Vec<Violation> {
        self.output.violations(result)
    }

    /// The arguments with the contract's defaults filled in: a default left out and a default
    /// written are the same call.
    pub fn with_defaults(&self, arguments: &Value) -> Value {
        let mut filled = arguments.clone();
        if let Value::Object(map) = &mut filled {
            for (name, value) in &self.defaults {
                if !map.contains_key(name) {
                    map.insert(name.clone(), value.clone());
                }
            }
        }
        filled
    }
}

fn check_shape(path: &str, text: &Value) -> Vec<Problem> {
    let violations = META.violations(text);
    violations.into_iter().flat_map(|violation| violation.problems(path)).collect()
}

/// The contracts of a run, by tool name.
#[derive(Debug, Default)]
pub struct Contracts(BTreeMap<String, Contract>);

impl Contracts {
    /// Collects contracts; every name once.
    ///
    /// # Errors
    /// All names that occur twice.
    pub fn new(contracts: Vec<Contract>) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let mut map: BTreeMap<String, Contract> = BTreeMap::new();
        for contract in contracts {
            if let Some(first) = map.get(&contract.name) {
                let what = format!(
                    "{:?} has a contract already, {}",
                    cut(&contract.name),
                    cut(&first.path)
                );
                problems.push(
                    Problem::new(&contract.path, what).at("/name").remedy("keep one of the two"),
                );
            } else {
                map.insert(contract.name.clone(), contract);
            }
        }
        Problems::check(problems, Self(map))
    }

    /// Whether making a call of a tool again does no harm: it only reads, or however often it is made
    /// the effect happens once. A tool without a contract may not.
    pub fn may_repeat(&self, tool: &str) -> bool {
        self.get(tool).is_some_and(|contract| contract.read_only || contract.idempotent)
    }

    /// The contract of a tool, if there is one.
    pub fn get(&self, tool: &str) -> Option<&Contract> {
        self.0.get(tool)
    }

    /// All contracts, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Contract> {
        self.0.values()
    }

    /// All names, in order.
    pub fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}
