//! The built-in tools. Each gets typed arguments and capabilities from an allowed call; none sees the
//! ledger, a path, or anything ambient.

mod tool;
pub mod fetch;
pub mod read;
pub mod search;
pub mod summarize;
pub mod write;

use std::collections::BTreeMap;

use crate::contract::Contracts;
use crate::event::Effect;
use crate::executor::{Attempted, Executor, isolated};
use crate::host::HostFault;
use crate::policy::capability::Allowed;
use crate::problem::{Problem, Problems, cut};

pub use tool::Tool;

/// The tools that are built in, by name.
pub static TOOLS: [Tool; 5] = [fetch::TOOL, read::TOOL, search::TOOL, summarize::TOOL, write::TOOL];

/// The built-in tools that contracts name, as an executor.
#[derive(Debug)]
pub struct Builtin(BTreeMap<&'static str, &'static Tool>);

impl Builtin {
    /// Binds each contract to the built-in tool of its name. A contract must say of its tool what the
    /// tool's code does: one that claims less would take the call past the rules.
    ///
    /// # Errors
    /// Every contract that no tool implements, or that says something else.
    pub fn bind(contracts: &Contracts) -> Result<Self, Problems> {
        let (mut bound, mut problems) = (BTreeMap::new(), Vec::new());
        for contract in contracts.iter() {
            let Some(tool) = TOOLS.iter().find(|tool| tool.name == contract.name) else {
                let names: Vec<&str> = TOOLS.iter().map(|tool| tool.name).collect();
                let what = format!("no tool implements {:?}", cut(&contract.name));
                problems.push(
                    Problem::new(&contract.path, what)
                        .at("/name")
                        .remedy(format!("the tools are {}", names.join(", "))),
                );
                continue;
            };
            let says: Vec<Effect> = contract.effects.iter().map(|effect| effect.effect).collect();
            if says != tool.effects {
                let what = format!(
                    "the contract says that {:?} does {}, and its code does {}",
                    contract.name,
                    words(&says),
                    words(tool.effects)
                );
                problems.push(
                    Problem::new(&contract.path, what)
                        .at("/_meta/gatedrun~1effects")
                        .remedy("say what the code does"),
                );
                continue;
            }
            bound.insert(tool.name, tool);
        }
        Problems::check(problems, Self(bound))
    }
}

fn words(effects: &[Effect]) -> String {
    let words: Vec<&str> = effects.iter().map(|effect| effect.as_str()).collect();
    words.join(", ")
}

impl Executor for Builtin {
    fn attempt(
        &self,
        allowed: &Allowed,
        _number: u32,
        idempotency_key: &str,
    ) -> Result<Attempted, HostFault> {
        let run = || match self.0.get(allowed.tool()) {
            Some(tool) => (tool.run)(allowed, idempotency_key),
            None => Err(tool::misfit(allowed)),
        };
        Ok(Attempted::Ended(isolated(run)?))
    }
}
