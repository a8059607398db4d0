//! The gate: asks the rules in their order, and turns a call into what its tool may hold.
//!
//! The first rule that denies decides. A call that every rule allows becomes an [`Allowed`], without
//! which no tool runs: the check is the opening. The gate performs no tool and writes no ledger.

use std::sync::Arc;

use crate::contract::Contracts;
use crate::event::{Detail, ProposedCall, Rule, Totals, Usage};
use crate::host::HostFault;

use super::call::{Asked, Denied, Planned, Standing, World};
use super::capability::{Allowed, Grant, Opening, Unopened};
use super::hosts::Hosts;
use super::lent::Lent;
use super::path::{MountPath, Mounts};
use super::rules::loop_budget::{self, Warning};
use super::rules::progress::{self, StepState};
use super::rules::{Ask, RULES, State, sandbox_path, tool_registry};
use super::spec::Policy;

/// What the gate decides with: the inputs of a run, and what the rules remember of it.
#[derive(Debug)]
pub struct Gate<'a> {
    policy: Lent<'a, Policy>,
    /// What its decisions name as the policy's version.
    version: String,
    world: World<'a>,
    state: State,
}

/// The gate's answer about a call.
#[derive(Debug)]
pub enum Verdict {
    /// It may run, with this and nothing else in its hands.
    Allow(Box<Allowed>),
    /// It may not.
    Deny(Denied),
}

impl<'a> Gate<'a> {
    /// A gate at the start of a run.
    pub fn new(
        policy: &'a Policy,
        contracts: &'a Contracts,
        hosts: &'a Hosts,
        mounts: Mounts,
    ) -> Self {
        Self {
            version: policy.version.clone(),
            policy: Lent::Borrowed(policy),
            world: World {
                contracts: Lent::Borrowed(contracts),
                hosts: Lent::Borrowed(hosts),
                mounts,
            },
            state: State::default(),
        }
    }

    /// As [`Gate::new`], of what the gate shares with its caller, and outlives.
    pub fn shared(
        policy: Arc<Policy>,
        contracts: Arc<Contracts>,
        hosts: Hosts,
        mounts: Mounts,
    ) -> Self {
        Self {
            version: policy.version.clone(),
            policy: Lent::Shared(policy),
            world: World {
                contracts: Lent::Shared(contracts),
                hosts: Lent::Shared(Arc::new(hosts)),
                mounts,
            },
            state: State::default(),
        }
    }

    /// The same gate, whose decisions name this version.
    #[must_use]
    pub fn labelled(mut self, version: String) -> Self {
        self.version = version;
        self
    }

    /// Decides about a call, now. Whatever it is made of, the answer is to allow or to deny, with a
    /// rule. `standing` is how far the run has come; what comes back besides are warnings.
    ///
    /// # Errors
    /// What the machine refuses when a path is opened: that does not decide the call.
    pub fn decide_call(
        &mut self,
        call: &ProposedCall,
        standing: &Standing,
    ) -> Result<(Verdict, Vec<Warning>), HostFault> {
        self.decide(call, standing, &Opening::Now)
    }

    /// As [`Gate::decide_call`], for a call that may have been decided before.
    ///
    /// # Errors
    /// As [`Gate::decide_call`].
    pub fn decide(
        &mut self,
        call: &ProposedCall,
        standing: &Standing,
        opening: &Opening,
    ) -> Result<(Verdict, Vec<Warning>), HostFault> {
        // The call is looked at while what is remembered of others changes.
        let (policy, contracts) = (self.policy.clone(), self.world.contracts.clone());
        let registry = &policy.rules.tool_registry;
        let mut asked = match tool_registry::judge(registry, &contracts, call) {
            Ok(asked) => asked,
            // Not counted: a tool that the registry denies is denied by it every time.
            Err(denied) => return Ok((Verdict::Deny(denied), Vec::new())),
        };
        let decided = self.ask(&mut asked, standing, opening);
        match decided {
            Ok((grants, warnings)) => {
                let allowed = Allowed::new(asked, grants, opening);
                Ok((Verdict::Allow(Box::new(allowed)), warnings))
            }
            Err(Unopened::Denied(denied)) => Ok((Verdict::Deny(*denied), Vec::new())),
            Err(Unopened::Host(fault)) => Err(fault),
        }
    }

    /// Every rule but the first, about a call that it made definite.
    fn ask(
        &mut self,
        asked: &mut Asked<'_>,
        standing: &Standing,
        opening: &Opening,
    ) -> Result<(Vec<Grant>, Vec<Warning>), Unopened> {
        self.ask_text(asked, |_| {})?;
        let writes: Vec<MountPath> = asked
            .targets
            .iter()
            .filter_map(|planned| match planned {
                Planned::Write(path) => Some(path.clone()),
                _ => None,
            })
            .collect();
        for ask in RULES.iter().flat_map(|row| row.asks) {
            if let Ask::Count(judge) = ask {
                judge(&self.policy.rules, &mut self.state, asked)?;
            }
        }
        let grants =
            sandbox_path::open(&self.policy.rules.sandbox_path, &self.world, asked, opening)?;
        let warnings = self.decide_more_calls(standing).map_err(|mut denied| {
            denied.details.insert(Detail::Tool, asked.call.tool.as_str().into());
            denied
        })?;
        writes.iter().for_each(|path| self.state.written.push(path.names()));
        Ok((grants, warnings))
    }

    /// The rules about a call as it is written; `passed` receives each that lets it pass.
    fn ask_text(
        &self,
        asked: &mut Asked<'_>,
        mut passed: impl FnMut(Rule),
    ) -> Result<(), Box<Denied>> {
        for row in &RULES {
            for ask in row.asks {
                if let Ask::Text(judge) = ask {
                    judge(&self.policy.rules, &self.world, &self.state, asked)?;
                    passed(row.rule);
                }
            }
        }
        Ok(())
    }

    /// Opens what a call needs whose decision was taken from a record: whoever resumes a run
    /// may have to do the call again. Nothing is counted.
    ///
    /// # Errors
    /// The rule that denies it now; what the machine refuses.
    pub fn reopen(&self, call: &ProposedCall, allowed: &mut Allowed) -> Result<(), Unopened> {
        let mut asked = tool_registry::judge(self.registry(), &self.world.contracts, call)?;
        self.ask_text(&mut asked, |_| {})?;
        let section = &self.policy.rules.sandbox_path;
        let grants = sandbox_path::open(section, &self.world, &mut asked, &Opening::Now)?;
        allowed.give(&asked, grants);
        Ok(())
    }

    /// What each rule about calls says to a call, in their order; after the first deny the rest
    /// are not asked. Nothing is opened and nothing is counted.
    pub fn explain(&self, call: &ProposedCall) -> Vec<(Rule, Result<(), Denied>)> {
        let mut answers = Vec::new();
        let answer = tool_registry::judge(self.registry(), &self.world.contracts, call)
            .map_err(Box::new)
            .and_then(|mut asked| {
                answers.push((Rule::ToolRegistry, Ok(())));
                self.ask_text(&mut asked, |rule| answers.push((rule, Ok(()))))
            });
        if let Err(denied) = answer {
            answers.push((denied.rule, Err(*denied)));
        }
        answers
    }

    /// Decides whether the run may take another step, before it is taken: whether it gets somewhere,
    /// then iterations and time. What comes back are warnings.
    ///
    /// # Errors
    /// The rule that denies.
    pub fn decide_step(&mut self, standing: &Standing) -> Result<Vec<Warning>, Denied> {
        if let Some(section) = &self.policy.rules.progress {
            progress::judge(section, &self.state.states)?;
        }
        loop_budget::before_step(&self.policy.rules.loop_budget, &mut self.state.spent, standing)
    }

    /// Decides whether an LLM call that uses `reserved` may be made, before it is made.
    ///
    /// # Errors
    /// The budget that it would exceed.
    pub fn decide_spending(
        &mut self,
        totals: &Totals,
        reserved: Usage,
    ) -> Result<Vec<Warning>, Denied> {
        let (section, spent) = (&self.policy.rules.loop_budget, &mut self.state.spent);
        loop_budget::before_spending(section, spent, totals, reserved)
    }

    /// The budgets that each call of a step counts against.
    ///
    /// # Errors
    /// The budget that another call would exceed.
    pub fn decide_more_calls(&mut self, standing: &Standing) -> Result<Vec<Warning>, Denied> {
        loop_budget::before_call(&self.policy.rules.loop_budget, &mut self.state.spent, standing)
    }

    /// Decides whether a call that failed may be tried again after a wait: whether the budgets hold
    /// another attempt, and the time until it begins. Where they do not, the call ends, and what the
    /// run asks for next is denied.
    pub fn decide_retry(&mut self, standing: &Standing, wait_ms: u64) -> bool {
        let (section, spent) = (&self.policy.rules.loop_budget, &mut self.state.spent);
        loop_budget::before_retry(section, spent, standing, wait_ms)
    }

    /// How long one attempt may take that begins now: no longer than its budget lasts.
    pub fn timeout_ms(&self, standing: &Standing) -> u64 {
        let left = loop_budget::time_left_ms(&self.policy.rules.loop_budget, standing);
        self.policy.execution.timeout_ms.min(left)
    }

    /// The warnings about budgets that a call has used up, where nothing else would give them: what
    /// comes next is denied.
    pub fn warn_late(&mut self, standing: &Standing) -> Vec<Warning> {
        loop_budget::warn_late(&self.policy.rules.loop_budget, &mut self.state.spent, standing)
    }

    /// Takes note of the outcome of a step.
    pub fn observe(&mut self, step: &StepState) {
        if let Some(section) = &self.policy.rules.progress {
            progress::observe(section, &mut self.state.states, step);
        }
    }

    /// What its decisions name as the policy's version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The contracts.
    pub fn contracts(&self) -> &Contracts {
        &self.world.contracts
    }

    fn registry(&self) -> &tool_registry::ToolRegistry {
        &self.policy.rules.tool_registry
    }
}
