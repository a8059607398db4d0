//! The policy that a user named, and the world in which it decides.

use std::collections::BTreeMap;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};

use crate::cli::project::Libraries;
use crate::cli::{Stop, tasks};
use crate::contract::Contracts;
use crate::corpus::Corpus;
use crate::inputs::{Library, Root, read_file};
use crate::policy::cases::Judge;
use crate::policy::hosts::Hosts;
use crate::policy::path::MountNames;
use crate::policy::spec::Policy;
use crate::problem::{Problem, Problems, cut};
use crate::yaml::Document;

/// A policy, and the contracts that it is about.
#[derive(Debug, clap::Args)]
pub struct Named {
    /// The policy
    #[arg(value_name = "FILE")]
    pub(super) policy: Utf8PathBuf,
    /// The folder of tool contracts
    #[arg(long, value_name = "FOLDER", default_value = "builtin:tools")]
    pub(super) contracts: String,
}

/// The world of a run: what serves the hosts.
#[derive(Debug, clap::Args)]
pub struct World {
    /// Decide as in a run of this task: its fixtures, contracts and corpus
    #[arg(long, value_name = "FILE", conflicts_with_all = ["contracts", "fixtures"])]
    pub(super) task: Option<Utf8PathBuf>,
    /// Serve a host from a mount, as in fixtures.local=corpus; may be repeated
    #[arg(long, value_name = "HOST=MOUNT")]
    pub(super) fixtures: Vec<String>,
}

/// What to name where a policy is not found.
const NAME_A_POLICY: &str = "name a policy file by its path from the working folder, or builtin:policy/v1.yaml, which is in the program";

/// Loads the policy, its examples checked.
pub(super) fn load(named: &Named) -> Result<(Policy, Arc<Contracts>), Problems> {
    read(named).map(|(policy, _, contracts)| (policy, contracts))
}

/// Reads a file that a user named; `remedy` says what to name.
pub(super) fn named_file(path: &Utf8Path, remedy: &str) -> Result<Vec<u8>, Problem> {
    read_file(path, path.as_str()).map_err(|problem| problem.or_remedy(remedy))
}

/// Loads the policy, with the document that states it.
pub(super) fn read(named: &Named) -> Result<(Policy, Document, Arc<Contracts>), Problems> {
    let library = Library::new(Root::Folder(Utf8PathBuf::new()));
    let contracts = library.contracts(&named.contracts).map_err(|problems| {
        let named = |problem: Problem| match problem.file == named.contracts {
            true => problem.or_remedy(
                "name a folder of tool contracts with --contracts, or leave it out for the built-in tools",
            ),
            false => problem,
        };
        Problems(problems.0.into_iter().map(named).collect())
    })?;
    let contracts = contracts.contracts;
    let path = named.policy.as_str();
    let bytes = match path.strip_prefix("builtin:") {
        Some(_) => library.read(path)?,
        None => named_file(&named.policy, NAME_A_POLICY)?,
    };
    let (policy, document) = crate::policy::read(path, &bytes, &contracts)?;
    Ok((policy, document, contracts))
}

/// A policy, and the world that it decides in.
pub(super) struct Within {
    pub(super) policy: Policy,
    pub(super) contracts: Arc<Contracts>,
    pub(super) hosts: Hosts,
    pub(super) corpus: Option<Arc<Corpus>>,
}

impl Within {
    pub(super) fn judge(&self) -> Judge<'_> {
        Judge::new(&self.policy, &self.contracts).within(self.hosts.clone(), self.corpus.clone())
    }
}

/// Loads the policy and the world of a run.
pub(super) fn load_within(named: &Named, world: &World) -> Result<Within, Stop> {
    if let Some(task) = &world.task {
        let task = tasks::task(task)?;
        let inputs = Libraries::default().get(&task.project).load(&task.path, None)?;
        let path = named.policy.as_str();
        let bytes = match path.strip_prefix("builtin:") {
            Some(_) => Library::new(Root::Folder(Utf8PathBuf::new())).read(path)?,
            None => named_file(&named.policy, NAME_A_POLICY)?,
        };
        let policy = crate::policy::load(path, &bytes, &inputs.contracts)?;
        return Ok(Within {
            policy,
            contracts: inputs.contracts,
            hosts: Hosts::of_mounts(inputs.task.fixtures),
            corpus: Some(inputs.corpus),
        });
    }
    let (policy, contracts) = load(named)?;
    let mut fixtures = BTreeMap::new();
    for text in &world.fixtures {
        let mounts = MountNames::built_in();
        let (host, mount) = text.split_once('=').unwrap_or_default();
        if host.is_empty() || mounts.get(mount).is_none() {
            let what = match text.contains('=') && !host.is_empty() {
                true => format!("{:?} is not a mount; ", cut(mount)),
                false => String::new(),
            };
            return Err(Stop::usage(format!(
                "--fixtures {:?}: {what}write HOST=MOUNT; the mounts are {}",
                cut(text),
                mounts.listed()
            )));
        }
        if let Err((what, fix)) = crate::policy::listed::check_host(host) {
            return Err(Stop::usage(format!("--fixtures {:?}: {what}; {fix}", cut(text))));
        }
        if fixtures.insert(host.to_owned(), mount.to_owned()).is_some() {
            return Err(Stop::usage(format!(
                "--fixtures {:?}: {} is given twice; name one mount for it",
                cut(text),
                cut(host)
            )));
        }
    }
    Ok(Within { policy, contracts, hosts: Hosts::of_mounts(fixtures), corpus: None })
}
