//! The policy file, parsed whole or not at all.
//!
//! The embedded meta-schema says what a policy may look like; what a schema cannot say, `findings`
//! does. Every key is read by some rule: there is none that only looks as if it did something.

use serde::Deserialize;
use serde_json::Value;

use crate::contract::Contracts;
use crate::event::{ExecutionPath, Rule};
use crate::json::{self, Digest, Misfit};
use crate::kind::Kind;
use crate::problem::Problems;
use crate::yaml;

use super::call::OnDeny;
use super::defaults;
use super::findings;
use super::meta::Meta;
use super::path::MountNames;
use super::rules::{self, RULES, Sections};
use super::told;

/// A policy, checked.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The first 12 hexadecimal digits of the file's SHA-256.
    pub version: String,
    /// SHA-256 of the file's bytes.
    pub sha256: Digest,
    /// What the rules read of it.
    pub rules: Sections,
    /// How a failure that may pass is tried again.
    pub retry: Retry,
    /// How long a tool may take.
    pub execution: Execution,
    /// How much of a result is kept.
    pub results: Results,
    /// How durable the ledger is before an effect, where the policy says so.
    pub durability: Option<Durability>,
    /// What each rule must say to these.
    pub examples: Vec<Examples>,
}

/// How durable the ledger is before a tool with side effects starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// On the disk: it outlives a loss of power.
    Fsync,
    /// With the operating system: it outlives this process.
    Os,
}

/// Cases that a rule carries with it: checked whenever the policy is loaded.
#[derive(Debug, Clone)]
pub struct Examples {
    /// The rule.
    pub rule: Rule,
    /// Where they stand in the file.
    pub pointer: String,
    /// What it must let pass.
    pub allow: Vec<Value>,
    /// What it must deny.
    pub deny: Vec<Value>,
}

/// How long a tool may take.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Execution {
    /// One attempt.
    pub timeout_ms: u64,
}

/// How a failure that may pass is tried again.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Retry {
    /// Attempts after the first.
    pub max_retries: u32,
    /// The wait before the first retry.
    pub backoff_base_ms: u64,
    /// The longest wait.
    pub backoff_cap_ms: u64,
    /// How much longer a wait may be, by the seed.
    pub jitter_percent: u64,
}

/// How much of a result is kept.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Results {
    /// Its size as canonical JSON.
    pub max_bytes: u64,
}

#[derive(Deserialize)]
struct RawPolicy {
    retry: Retry,
    execution: Execution,
    results: Results,
    durability: Option<Durability>,
}

impl Policy {
    /// How durable the ledger is before an effect, for an LLM of this kind.
    pub fn durability(&self, path: ExecutionPath) -> Durability {
        self.durability.unwrap_or(match path {
            // It can be run again at no cost.
            ExecutionPath::Stub => Durability::Os,
            // What another program was told cannot be had again.
            ExecutionPath::Outside => Durability::Fsync,
        })
    }

    /// What a denial by a rule does to the run.
    pub fn on_deny(&self, rule: Rule) -> OnDeny {
        rules::row(rule).map_or(OnDeny::Terminate, |row| (row.on_deny)(&self.rules))
    }
}

/// Reads a policy about the tools that have a contract and about these mounts, with the document that
/// states it. Its examples are not checked.
pub(super) fn parse(
    path: &str,
    bytes: &[u8],
    contracts: &Contracts,
    mounts: &MountNames,
) -> Result<(Policy, yaml::Document), Problems> {
    let meta = Meta::of(mounts);
    if let Some(kind) = Kind::of(bytes).filter(|kind| *kind != Kind::Policy) {
        return Err(kind.instead_of(path, Kind::Policy).into());
    }
    let document = yaml::parse(bytes).map_err(|errors| {
        Problems(errors.into_iter().map(|error| findings::unread(path, &meta, error)).collect())
    })?;
    let effective = defaults::filled(&document.value);
    Problems::check(findings::of(path, &document, &effective, &meta, contracts), ())?;
    let wrong = |misfit: Misfit| told::problem(path, &document, &misfit.pointer, &misfit.what, "");
    let rules: Sections = json::typed(effective.clone()).map_err(wrong)?;
    let raw: RawPolicy = json::typed(effective).map_err(wrong)?;
    let sha256 = Digest::of(bytes);
    let policy = Policy {
        version: sha256.short(),
        sha256,
        rules,
        retry: raw.retry,
        execution: raw.execution,
        results: raw.results,
        durability: raw.durability,
        examples: examples(&document.value),
    };
    Ok((policy, document))
}

fn examples(document: &Value) -> Vec<Examples> {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    RULES
        .iter()
        .filter_map(|row| {
            let examples = document.get(row.key)?.get("examples")?;
            Some(Examples {
                rule: row.rule,
                pointer: format!("/{}/examples", row.key),
                allow: list(examples.get("allow")),
                deny: list(examples.get("deny")),
            })
        })
        .collect()
}
