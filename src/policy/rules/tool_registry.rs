//! Which tools may be called: denied, then not allowed. A call that passes is made definite here, so
//! no other rule is asked before this one.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::contract::Contracts;
use crate::event::{Detail, Details, ProposedCall, Rule};
use crate::json;
use crate::problem::{cut, nearest};

use crate::policy::call::{Asked, Denied, OnDeny, bounded};
use crate::policy::notes::Notes;
use crate::policy::section::Fallback::{List, Required, Word};
use crate::policy::section::{How, Section};
use crate::policy::told::is_entry;

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

/// What there is to say of the section.
pub const SECTION: Section = Section {
    keys: &[
        ("tool_registry.allowed", Required),
        ("tool_registry.denied", List(&[])),
        ("tool_registry.on_deny", Word("terminate")),
    ],
    tried: &[("tool_registry.allowed", How::Decided), ("tool_registry.denied", How::Decided)],
    samples: &[("tool_registry", "allowed: [TOOL]"), ("tool_registry.allowed", "allowed: [TOOL]")],
    pattern,
    findings,
    warnings,
    ..Section::SILENT
};

fn pattern(pointer: &str, shown: &str) -> Option<(String, String)> {
    (pointer.starts_with("/tool_registry/") && is_entry(pointer)).then(|| {
        let what = format!("a tool is listed by its name (found {shown:?})");
        (what, "list each tool; patterns are not supported".to_owned())
    })
}

/// A tool is one that has a contract.
fn findings(notes: &mut Notes<'_>) {
    let tools = notes.contracts.names();
    for list in ["/tool_registry/allowed", "/tool_registry/denied"] {
        for (pointer, name) in notes.texts(list).filter(|(_, name)| !tools.contains(name)) {
            let name = cut(name);
            let all = tools.join(", ");
            let (what, remedy) = match nearest(&name, &tools) {
                _ if name.contains(['*', '?']) => (
                    format!("{name:?} is a pattern, and a tool is listed by its name"),
                    format!("list each tool; the contracts describe {all}"),
                ),
                Some(known) => (format!("unknown tool {name:?}"), format!("rename it to {known}")),
                None => (format!("unknown tool {name:?}"), format!("the contracts describe {all}")),
            };
            notes.add_first(&pointer, &what, &remedy);
        }
    }
}

fn warnings(notes: &mut Notes<'_>) {
    let allowed: BTreeSet<&str> =
        notes.texts("/tool_registry/allowed").map(|(_, tool)| tool).collect();
    if allowed.is_empty() {
        let remedy = "list the tools that the agent needs, such as `allowed: [search, read]`";
        notes.add("/tool_registry/allowed", "no tool may be called", remedy);
    }
    for (pointer, tool) in notes.texts("/tool_registry/denied") {
        if allowed.contains(tool) {
            let what = format!("{tool} is both allowed and denied, and denied wins");
            notes.add(&pointer, &what, "remove it from one of the two lists");
        }
    }
}
