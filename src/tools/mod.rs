//! The tools. Each gets typed arguments and capabilities from an allowed call; none sees the
//! ledger, a path, or anything ambient.

pub mod search;
pub mod fetch;
pub mod read;
pub mod write;
pub mod summarize;
pub mod bound;
pub mod faults;

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value;

use crate::contract::Contracts;
use crate::event::{Effect, ErrorClass, ToolError};
use crate::policy::capability::{Allowed, Grant};
use crate::policy::path::Failure;
use crate::problem::{Problem, Problems};

/// The tools that exist, and what the code of each one does.
const IMPLEMENTED: [(&str, Effect); 5] = [
    ("fetch", Effect::FetchUrl),
    ("read", Effect::ReadPath),
    ("search", Effect::SearchCorpus),
    ("summarize", Effect::Compute),
    ("write", Effect::WritePath),
];

/// The names of the tools, in order.
pub fn names() -> Vec<&'static str> {
    IMPLEMENTED.iter().map(|(name, _)| *name).collect()
}

/// Checks that each contract says of its tool what the tool's code does: a contract that claims
/// less would take the call past the rules.
///
/// # Errors
/// Every contract that says something else.
pub fn check_effects(contracts: &Contracts) -> Result<(), Problems> {
    let mut problems = Vec::new();
    for contract in contracts.iter() {
        let does =
            IMPLEMENTED.iter().find(|(name, _)| *name == contract.name).map(|(_, effect)| *effect);
        let says: Vec<Effect> = contract.effects.iter().map(|effect| effect.effect).collect();
        if let Some(does) = does
            && says != [does]
        {
            let says: Vec<&str> = says.into_iter().map(Effect::as_str).collect();
            problems.push(
                Problem::new(
                    &contract.path,
                    format!(
                        "the contract says that {:?} does {}, and its code does {}",
                        contract.name,
                        says.join(", "),
                        does.as_str()
                    ),
                )
                .at("/_meta/gatedrun~1effects")
                .remedy("say what the code does"),
            );
        }
    }
    Problems::check(problems, ())
}

/// The outcome of a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// The result, of the shape that the contract promises.
    pub result: Value,
    /// Where its content came from.
    pub origin: Option<String>,
}

/// Runs an allowed call once. `idempotency_key` is the same for every attempt of the call.
///
/// # Errors
/// The tool's own, or `panicked` where it panicked: a tool takes nothing else down with it. And what
/// the machine refuses, which is not the tool's answer.
pub fn run(allowed: &Allowed, idempotency_key: &str) -> Result<Output, Failure> {
    isolated(|| dispatch(allowed, idempotency_key))
}

/// Turns a panic into an error.
fn isolated(run: impl FnOnce() -> Result<Output, Failure>) -> Result<Output, Failure> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| {
        let message = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        Err(ToolError::new(ErrorClass::Panicked, format!("the tool panicked: {message}")).into())
    })
}

fn dispatch(allowed: &Allowed, key: &str) -> Result<Output, Failure> {
    match (allowed.tool(), allowed.grants()) {
        ("search", [Grant::Corpus(corpus)]) => search::run(corpus, &arguments(allowed)?),
        ("fetch", [Grant::Fetch(target)]) => fetch::run(target),
        ("read", [Grant::Read(file)]) => read::run(file),
        ("write", [Grant::Write(target)]) => write::run(target, &arguments(allowed)?, key),
        ("summarize", [Grant::Compute]) => summarize::run(&arguments(allowed)?),
        (tool, _) => Err(ToolError::new(
            ErrorClass::Unclassified,
            format!("the contract of {tool:?} grants something else than the tool needs"),
        )
        .into()),
    }
}

fn arguments<'a, T: serde::Deserialize<'a>>(allowed: &'a Allowed) -> Result<T, ToolError> {
    allowed.plain().map_err(|error| {
        ToolError::new(
            ErrorClass::Unclassified,
            format!("the contract admits what the tool does not: {error}"),
        )
    })
}

/// The result of a struct of texts and numbers, which JSON can always hold.
fn result(value: impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}
