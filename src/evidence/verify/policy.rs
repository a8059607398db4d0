//! The policy that a run was made with.

use std::sync::Arc;

use camino::Utf8Path;

use crate::event::{InputRole, RunStarted};
use crate::inputs::Library;
use crate::policy::spec::Policy;

/// The policy that a run was made with, where it is available.
pub fn policy(project: &Library, started: &RunStarted) -> Option<Arc<Policy>> {
    let path = |role: InputRole| started.inputs.iter().find(|input| input.role == role);
    let policy = path(InputRole::Policy)?;
    let contract = path(InputRole::Contract)?;
    if !project.is_inside(&policy.path) || !project.is_inside(&contract.path) {
        return None;
    }
    if project.digest(&policy.path)? != policy.sha256 {
        return None;
    }
    let folder = Utf8Path::new(&contract.path).parent()?;
    let contracts = project.contracts(folder.as_str()).ok()?.contracts;
    project.policy(&policy.path, &contracts).ok()
}
