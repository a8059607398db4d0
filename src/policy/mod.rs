//! Policy: what the agent may do, and the gate that decides it.
//!
//! `rules` holds one file per rule and the table of them. Above it stands what rules are written in:
//! `path` (the mounts, and reading and opening what a call names in them), `meta` (what a policy may
//! look like), `told` (the words for one value), `notes` and `section` (what a rule says of its section
//! of the policy), `url`, `listed` and `names` (reading what else a call names), `hosts` (where a host
//! is served from), `example` (what a case has to name), `call` (a call on its way) and `capability`
//! (what it may hold in the end). Below it, `common` is what no rule owns; `defaults` is what holds where
//! a policy says nothing; `spec` is the file, parsed; `findings` and `warnings` are what is wrong with
//! it; `gate` asks the rules, `record` is what the ledger says of its answers, and `cases` are examples
//! and decision tables. What the gate lets through is a capability, and no tool accepts anything else.

pub mod path;
pub mod meta;
pub mod told;
pub mod notes;
pub mod section;
pub mod url;
pub mod hosts;
pub mod lent;
pub mod listed;
mod example;
pub mod names;
pub mod call;
pub mod capability;
pub mod rules;
pub mod common;
pub mod defaults;
mod findings;
pub mod spec;
pub mod warnings;
pub mod gate;
mod record;
pub mod cases;

use crate::contract::Contracts;
use crate::problem::Problems;
use crate::yaml;

use cases::Judge;
use path::{MountNames, Mounts};
use spec::Policy;

/// Reads a policy about the tools that have a contract, and judges its examples by it.
///
/// # Errors
/// Everything that is wrong with it, each with its line and column.
pub fn load(path: &str, bytes: &[u8], contracts: &Contracts) -> Result<Policy, Problems> {
    read(path, bytes, contracts).map(|(policy, _)| policy)
}

/// As [`load`], with the document that states the policy.
///
/// # Errors
/// As [`load`].
pub fn read(
    path: &str,
    bytes: &[u8],
    contracts: &Contracts,
) -> Result<(Policy, yaml::Document), Problems> {
    read_over(path, bytes, contracts, MountNames::built_in())
}

/// As [`read`], of a policy that may list these mounts.
///
/// # Errors
/// As [`load`].
pub fn read_over(
    path: &str,
    bytes: &[u8],
    contracts: &Contracts,
    mounts: &MountNames,
) -> Result<(Policy, yaml::Document), Problems> {
    let (policy, document) = spec::parse(path, bytes, contracts, mounts)?;
    let judge = Judge::over(&policy, contracts, Mounts::empty(mounts));
    let contradicted = judge.contradicted().into_iter();
    let problems = contradicted
        .map(|found| told::problem(path, &document, &found.pointer, &found.what, &found.fix));
    let problems = problems.collect();
    Problems::check(problems, (policy, document))
}
