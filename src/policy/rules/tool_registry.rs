//! Which tools may be called: denied, then not allowed. A call that passes is made definite here, so
//! no other rule is asked before this one.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::contract::Contracts;
use crate::event::{Detail, Details, ProposedCall, Rule};
use crate::json;

use crate::policy::call::{Asked, Denied, OnDeny, bounded};

/// Which tools may be called.
#[derive(Debug, Clone, Deserialize)]
pub struct ToolRegistry {
    /// These, if not denied.
    pub allowed: BTreeSet<String>,
    /// Never these.
    pub denied: BTreeSet<String>,
    /// What a denial does.
    pub on_deny: OnDeny,
}

/// The call of a tool that may be called.
pub(in crate::policy) fn judge<'c>(
    section: &ToolRegistry,
    contracts: &'c Contracts,
    call: &'c ProposedCall,
) -> Result<Asked<'c>, Denied> {
    let tool = &call.tool;
    let (answer, reason) = if section.denied.contains(tool) {
        ("denied", format!("tool {tool:?} is on tool_registry.denied"))
    } else if !section.allowed.contains(tool) {
        ("not_allowed", format!("tool {tool:?} is not on tool_registry.allowed"))
    } else if let Some(contract) = contracts.get(tool) {
        // From here on every reader sees the same numbers: schema, digest, tool and ledger.
        let arguments = json::normal(contract.with_defaults(&call.arguments));
        let details = Details::from([(Detail::RegistryMatch, "allowed".into())]);
        return Ok(Asked {
            call,
            contract,
            arguments,
            urls: Vec::new(),
            targets: Vec::new(),
            details,
        });
    } else {
        ("not_allowed", format!("tool {tool:?} has no contract"))
    };
    Err(Denied {
        rule: Rule::ToolRegistry,
        reason,
        details: Details::from([
            (Detail::RequestedTool, bounded(tool).into()),
            (Detail::RegistryMatch, answer.into()),
        ]),
        on_deny: section.on_deny,
    })
}
