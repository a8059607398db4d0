//! The gate: asks the rules in their order, and turns a call into what its tool may hold.
//!
//! The first rule that denies decides. A call that every rule allows becomes an [`Allowed`],
//! which only this module can make and without which no tool runs: the check is the opening.
//! The gate performs no tool and writes no ledger.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::contract::{ArgumentEffect, Contract, Contracts};
use crate::corpus::Corpus;
use crate::event::{
    Decision, Detail, Details, Effect, ErrorClass, GateDecided, ProposedCall, Rule, Subject,
    Totals, Usage,
};
use crate::host::HostFault;
use crate::json::{self, Digest};

use super::names::{self, Written};
use super::path::{self, MountPath, Mounts, Opened, ReadCapability, WriteCapability};
use super::spec::{LoopBudget, OnDeny, Policy, StateField};
use super::url::{self, ParsedUrl, Target};

/// What the gate decides with: the inputs of a run, and how often each call was made.
#[derive(Debug)]
pub struct Gate<'a> {
    policy: &'a Policy,
    /// What its decisions name as the policy's version.
    version: String,
    contracts: &'a Contracts,
    fixtures: &'a BTreeMap<String, String>,
    mounts: Mounts,
    repeats: HashMap<Digest, u64>,
    written: Written,
    warned: BTreeSet<&'static str>,
    /// A budget that could not hold a retry: the call ended with it, and so does the run.
    overrun: Option<Denied>,
    states: HashMap<Digest, u64>,
    last_state: Option<(Digest, u64)>,
}

/// How far a run has come: what budgets are weighed against.
#[derive(Debug, Clone, Copy, Default)]
pub struct Standing {
    /// What it has used.
    pub totals: Totals,
    /// Milliseconds since it began.
    pub elapsed_ms: u64,
}

/// A budget of which a large share is used. Nothing stops.
#[derive(Debug, Clone, PartialEq)]
pub struct Warning {
    /// Which, in words.
    pub reason: String,
    /// How much, and the limit.
    pub details: Details,
}

/// The outcome of a step, one entry per call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepState {
    /// The tools.
    pub tools: Vec<String>,
    /// What was decided.
    pub decisions: Vec<Decision>,
    /// The digests of the results.
    pub results: Vec<Digest>,
    /// The classes of the errors.
    pub errors: Vec<ErrorClass>,
}

/// A budget, what is used of it, and what comes next.
struct Limit {
    kind: &'static str,
    key: &'static str,
    used: u64,
    next: u64,
    max: Option<u64>,
    details: (Detail, Detail),
}

/// The gate's answer about a call.
#[derive(Debug)]
pub enum Verdict {
    /// It may run, with this and nothing else in its hands.
    Allow(Box<Allowed>),
    /// It may not.
    Deny(Denied),
}

/// Why a call or a step may not be.
#[derive(Debug, Clone, PartialEq)]
pub struct Denied {
    /// The rule that decided.
    pub rule: Rule,
    /// Why, in words.
    pub reason: String,
    /// What was asked and what the limit is.
    pub details: Details,
    /// What the denial does to the run.
    pub on_deny: OnDeny,
}

/// Why what a call needs is not open.
#[derive(Debug, Clone, PartialEq)]
pub enum Unopened {
    /// A rule denies it.
    Denied(Box<Denied>),
    /// The machine refused.
    Host(HostFault),
}

impl From<Denied> for Unopened {
    fn from(denied: Denied) -> Self {
        Self::Denied(Box::new(denied))
    }
}

impl From<HostFault> for Unopened {
    fn from(fault: HostFault) -> Self {
        Self::Host(fault)
    }
}

/// Whether what a call needs is opened.
#[derive(Debug, Clone, PartialEq)]
pub enum Opening {
    /// Now: the check is the opening.
    Now,
    /// It was opened when this was recorded, and nothing is opened again. What the kernel refused
    /// then, with the reason and details of the denial, is a fact of that moment.
    Recorded(Option<(String, Details)>),
}

/// A call that every rule allowed, and the capabilities that it needs.
#[derive(Debug)]
pub struct Allowed {
    call_id: String,
    tool: String,
    arguments: Value,
    /// Null, and no grants, for a recorded decision: such a call runs only once [`Gate::reopen`]
    /// allows it.
    plain: Value,
    grants: Vec<Grant>,
    opened: bool,
    details: Details,
}

/// What a call may hold.
#[derive(Debug)]
pub enum Grant {
    /// Nothing but its arguments.
    Compute,
    /// The corpus, to look through.
    Corpus(Arc<Corpus>),
    /// An open file.
    Read(ReadCapability),
    /// The right to replace one file.
    Write(WriteCapability),
    /// A URL, and the way to it.
    Fetch(FetchCapability),
}

/// A URL that may be fetched.
#[derive(Debug)]
pub struct FetchCapability {
    url: String,
    host: Option<String>,
    source: Option<ReadCapability>,
}

impl FetchCapability {
    /// The URL as the standard writes it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The host, where the URL has one.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// The file that a fixture host serves, or that a `file:` URL names; none where only a
    /// network would lead to the host.
    pub fn source(&self) -> Option<&ReadCapability> {
        self.source.as_ref()
    }
}

impl Allowed {
    /// The call's id.
    pub fn call_id(&self) -> &str {
        &self.call_id
    }

    /// The tool.
    pub fn tool(&self) -> &str {
        &self.tool
    }

    /// The arguments with defaults filled in, for the ledger: the tool has its own.
    pub fn take_arguments(&mut self) -> Value {
        std::mem::take(&mut self.arguments)
    }

    /// Whether it holds its capabilities: not where the decision was taken from a record.
    pub fn is_open(&self) -> bool {
        self.opened
    }

    /// The capabilities, one for each effect of the contract.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// The arguments that name no path and no URL, typed. What names one is in the grants.
    ///
    /// # Errors
    /// Arguments of another shape than the tool's code expects: a contract that is not its own.
    pub fn plain<'s, T: Deserialize<'s>>(&'s self) -> Result<T, serde_json::Error> {
        T::deserialize(&self.plain)
    }
}

/// A call on its way through the rules.
struct Case<'a> {
    call: &'a ProposedCall,
    contract: &'a Contract,
    arguments: Value,
    /// The URLs that the URL rule has read, one for each effect that fetches a text.
    urls: Vec<Target>,
    targets: Vec<Planned>,
    details: Details,
}

/// What an effect will need, before anything is opened.
#[derive(Debug)]
enum Planned {
    Compute,
    Corpus,
    Read(MountPath),
    Write(MountPath),
    /// A URL, and the file that a fixture serves there.
    Fetch(ParsedUrl, Option<MountPath>),
    File(String, MountPath),
    /// Not a string: the schema's business.
    Unreadable,
}

impl<'a> Gate<'a> {
    /// A gate at the start of a run.
    pub fn new(
        policy: &'a Policy,
        contracts: &'a Contracts,
        fixtures: &'a BTreeMap<String, String>,
        mounts: Mounts,
    ) -> Self {
        Self {
            policy,
            version: policy.version.clone(),
            contracts,
            fixtures,
            mounts,
            repeats: HashMap::new(),
            written: Written::default(),
            warned: BTreeSet::new(),
            overrun: None,
            states: HashMap::new(),
            last_state: None,
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
        let mut case = match self.tool_registry(call) {
            Ok(case) => case,
            // Not counted: a tool that the registry denies is denied by it every time.
            Err(denied) => return Ok((Verdict::Deny(denied), Vec::new())),
        };
        let textual = self
            .url_allowlist(&mut case)
            .and_then(|()| self.sandbox_path(&mut case))
            .and_then(|()| self.arg_schema(&mut case));
        let writes: Vec<MountPath> = case
            .targets
            .iter()
            .filter_map(|planned| match planned {
                Planned::Write(path) => Some(path.clone()),
                _ => None,
            })
            .collect();
        let mut warnings = Vec::new();
        let decided = textual
            .and_then(|()| {
                // A call that an earlier rule denies is denied by it every time, and not counted.
                let repeats = self.count(call, &resolved(&case));
                self.cycle_detection(&case, repeats)
            })
            .map_err(Unopened::Denied)
            .and_then(|()| self.open(&mut case, opening))
            .and_then(|grants| {
                warnings = self.decide_more_calls(standing).map_err(|mut denied| {
                    denied.details.insert(Detail::Tool, call.tool.as_str().into());
                    Unopened::Denied(Box::new(denied))
                })?;
                Ok(grants)
            });
        if decided.is_ok() {
            writes.iter().for_each(|path| self.written.push(path.names()));
        }
        let verdict = match decided {
            Ok(grants) => Verdict::Allow(Box::new(Allowed {
                call_id: call.call_id.clone(),
                tool: call.tool.clone(),
                plain: match opening {
                    Opening::Now => without_targets(case.contract, &case.arguments),
                    Opening::Recorded(_) => Value::Null,
                },
                arguments: case.arguments,
                grants,
                opened: *opening == Opening::Now,
                details: case.details,
            })),
            Err(Unopened::Denied(denied)) => Verdict::Deny(*denied),
            Err(Unopened::Host(fault)) => return Err(fault),
        };
        Ok((verdict, warnings))
    }

    /// Opens what a call needs whose decision was taken from a record: whoever resumes a run
    /// may have to do the call again. Nothing is counted.
    ///
    /// # Errors
    /// The rule that denies it now; what the machine refuses.
    pub fn reopen(&self, call: &ProposedCall, allowed: &mut Allowed) -> Result<(), Unopened> {
        let mut case =
            self.tool_registry(call).map_err(|denied| Unopened::Denied(Box::new(denied)))?;
        allowed.grants = self
            .url_allowlist(&mut case)
            .and_then(|()| self.sandbox_path(&mut case))
            .and_then(|()| self.arg_schema(&mut case))
            .map_err(Unopened::Denied)
            .and_then(|()| self.open(&mut case, &Opening::Now))?;
        allowed.plain = without_targets(case.contract, &case.arguments);
        allowed.opened = true;
        Ok(())
    }

    /// What each rule about calls says to a call, in their order; after the first deny the rest
    /// are not asked. Nothing is opened and nothing is counted.
    pub fn explain(&self, call: &ProposedCall) -> Vec<(Rule, Result<(), Denied>)> {
        let mut answers = Vec::new();
        let mut case = match self.tool_registry(call) {
            Ok(case) => case,
            Err(denied) => return vec![(Rule::ToolRegistry, Err(denied))],
        };
        answers.push((Rule::ToolRegistry, Ok(())));
        type Ask =
            for<'g, 'c, 's, 't> fn(&'g Gate<'s>, &'c mut Case<'t>) -> Result<(), Box<Denied>>;
        let rules: [(Rule, Ask); 3] = [
            (Rule::UrlAllowlist, |gate, case| gate.url_allowlist(case)),
            (Rule::SandboxPath, |gate, case| gate.sandbox_path(case)),
            (Rule::ArgSchema, |gate, case| gate.arg_schema(case)),
        ];
        for (rule, ask) in rules {
            let answer = ask(self, &mut case).map_err(|denied| *denied);
            let denied = answer.is_err();
            answers.push((rule, answer));
            if denied {
                break;
            }
        }
        answers
    }

    /// Decides whether the run may take another step, before it is taken: iterations, time, and
    /// whether it gets somewhere. What comes back are warnings.
    ///
    /// # Errors
    /// The rule that denies.
    pub fn decide_step(&mut self, standing: &Standing) -> Result<Vec<Warning>, Denied> {
        self.progress()?;
        self.overrun.clone().map_or(Ok(()), Err)?;
        let budget = self.policy.loop_budget;
        self.weigh(&[
            Limit {
                kind: "iterations",
                key: "max_iterations",
                used: standing.totals.steps,
                next: 1,
                max: Some(budget.max_iterations),
                details: (Detail::Iterations, Detail::MaxIterations),
            },
            elapsed(standing, &budget),
        ])
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
        let budget = self.policy.loop_budget;
        self.weigh(&[
            Limit {
                kind: "tokens",
                key: "max_tokens",
                used: totals.usage.total(),
                next: reserved.total(),
                max: Some(budget.max_tokens),
                details: (Detail::Tokens, Detail::MaxTokens),
            },
            Limit {
                kind: "cost_microusd",
                key: "max_cost_microusd",
                used: totals.usage.cost_microusd,
                next: reserved.cost_microusd,
                max: budget.max_cost_microusd,
                details: (Detail::CostMicrousd, Detail::MaxCostMicrousd),
            },
        ])
    }

    /// The budgets that each call of a step counts against.
    ///
    /// # Errors
    /// The budget that another call would exceed.
    pub fn decide_more_calls(&mut self, standing: &Standing) -> Result<Vec<Warning>, Denied> {
        self.overrun.clone().map_or(Ok(()), Err)?;
        let budget = self.policy.loop_budget;
        self.weigh(&[
            Limit {
                kind: "tool_calls",
                key: "max_tool_calls",
                used: standing.totals.calls_allowed,
                next: 1,
                max: budget.max_tool_calls,
                details: (Detail::ToolCalls, Detail::MaxToolCalls),
            },
            attempts(standing, &budget),
            elapsed(standing, &budget),
        ])
    }

    /// Decides whether a call that failed may be tried again after a wait: whether the budgets hold
    /// another attempt, and the time until it begins. Where they do not, the call ends, and what the
    /// run asks for next is denied.
    pub fn decide_retry(&mut self, standing: &Standing, wait_ms: u64) -> bool {
        let budget = self.policy.loop_budget;
        let time = Limit { next: wait_ms.saturating_add(1), ..elapsed(standing, &budget) };
        self.overrun =
            [attempts(standing, &budget), time].iter().find_map(|limit| exceeded(limit).err());
        self.overrun.is_none()
    }

    /// How long one attempt may take that begins now: no longer than its budget lasts.
    pub fn timeout_ms(&self, standing: &Standing) -> u64 {
        let left = self
            .policy
            .loop_budget
            .max_elapsed_ms
            .map_or(u64::MAX, |max| max.saturating_sub(standing.elapsed_ms));
        self.policy.execution.timeout_ms.min(left)
    }

    /// The warnings about budgets that a call has used up, where nothing else would give them: what
    /// comes next is denied.
    pub fn warn_late(&mut self, standing: &Standing) -> Vec<Warning> {
        let budget = self.policy.loop_budget;
        let time = elapsed(standing, &budget);
        let is_over = self.overrun.is_some()
            || time.max.is_some_and(|max| standing.elapsed_ms.saturating_add(1) >= max);
        if !is_over {
            return Vec::new();
        }
        let used = |limit: Limit| Limit { next: 0, ..limit };
        let limits = [used(attempts(standing, &budget)), used(time)];
        limits.iter().filter_map(|limit| self.warning(limit)).collect()
    }

    /// The first limit that what comes next would exceed; else a warning, once, for each limit of
    /// which a large share would be used.
    fn weigh(&mut self, limits: &[Limit]) -> Result<Vec<Warning>, Denied> {
        let mut warnings = Vec::new();
        for limit in limits {
            exceeded(limit)?;
            warnings.extend(self.warning(limit));
        }
        Ok(warnings)
    }

    /// A warning, once, where a large share of a limit would be used.
    fn warning(&mut self, limit: &Limit) -> Option<Warning> {
        let (max, percent) = (limit.max?, self.policy.loop_budget.warn_at_percent?);
        let then = limit.used.saturating_add(limit.next);
        let large = u128::from(then) * 100 >= u128::from(max) * u128::from(percent);
        if !large || !self.warned.insert(limit.kind) {
            return None;
        }
        let mut details = limit.details(then, max);
        details.insert(Detail::WarnAtPercent, percent.into());
        Some(Warning {
            reason: format!(
                "{then} of {max} {} will be used, {percent} % or more of loop_budget.{}",
                limit.kind, limit.key
            ),
            details,
        })
    }

    /// Takes note of the outcome of a step.
    pub fn observe(&mut self, state: &StepState) {
        let Some(rule) = &self.policy.progress else { return };
        let mut chosen = Map::new();
        for field in &rule.fields {
            let (name, values): (&str, Vec<String>) = match field {
                StateField::Tools => ("tools", state.tools.clone()),
                StateField::Decisions => {
                    ("decisions", state.decisions.iter().map(|d| d.as_str().to_owned()).collect())
                }
                StateField::Results => {
                    ("results", state.results.iter().map(Digest::to_string).collect())
                }
                StateField::Errors => {
                    ("errors", state.errors.iter().map(|e| e.as_str().to_owned()).collect())
                }
            };
            chosen.insert(name.to_owned(), Value::from(values));
        }
        let fingerprint = Digest::of_value(&Value::Object(chosen));
        let count = self.states.entry(fingerprint).or_insert(0);
        *count += 1;
        self.last_state = Some((fingerprint, *count));
    }

    /// Rule 7: steps do not reach the same state again and again.
    fn progress(&self) -> Result<(), Denied> {
        let (Some(rule), Some((fingerprint, count))) = (&self.policy.progress, self.last_state)
        else {
            return Ok(());
        };
        if count <= rule.max_repeated_states {
            return Ok(());
        }
        let fingerprint = fingerprint.short();
        Err(Denied {
            rule: Rule::Progress,
            reason: format!(
                "{count} steps came to the state {fingerprint}; progress.max_repeated_states is {}",
                rule.max_repeated_states
            ),
            details: Details::from([
                (Detail::Fingerprint, fingerprint.into()),
                (Detail::RepeatedStates, count.into()),
                (Detail::MaxRepeatedStates, rule.max_repeated_states.into()),
            ]),
            on_deny: OnDeny::Terminate,
        })
    }

    /// Rule 1: denied, then not allowed.
    fn tool_registry<'c>(&self, call: &'c ProposedCall) -> Result<Case<'c>, Denied>
    where
        'a: 'c,
    {
        let registry = &self.policy.tool_registry;
        let contracts: &'a Contracts = self.contracts;
        let contract = contracts.get(&call.tool);
        let tool = &call.tool;
        let (answer, reason) = if registry.denied.contains(tool) {
            ("denied", format!("tool {tool:?} is on tool_registry.denied"))
        } else if !registry.allowed.contains(tool) {
            ("not_allowed", format!("tool {tool:?} is not on tool_registry.allowed"))
        } else if let Some(contract) = contract {
            // From here on every reader sees the same numbers: schema, digest, tool and ledger.
            let arguments = json::normal(contract.with_defaults(&call.arguments));
            let details = Details::from([(Detail::RegistryMatch, "allowed".into())]);
            return Ok(Case {
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
            on_deny: registry.on_deny,
        })
    }

    /// Rule 2: every URL that the call fetches. Paths are only planned here.
    fn url_allowlist(&self, case: &mut Case<'_>) -> Result<(), Box<Denied>> {
        let allowlist = &self.policy.url_allowlist;
        for effect in &case.contract.effects {
            if effect.effect != Effect::FetchUrl {
                continue;
            }
            let Some(text) = named(effect, &case.arguments) else { continue };
            case.details.insert(Detail::Url, bounded(text).into());
            let parsed = url::parse(text).and_then(|target| {
                if let Target::Host(parsed) = &target {
                    url::check(parsed, allowlist)?;
                }
                Ok(target)
            });
            match parsed {
                Ok(target) => {
                    if let Target::Host(parsed) = &target {
                        case.details.insert(Detail::Host, parsed.host().into());
                    }
                    case.urls.push(target);
                }
                Err(refusal) => {
                    let mut details = case.details.clone();
                    details.insert(Detail::Tool, case.contract.name.as_str().into());
                    details.insert(Detail::Host, refusal.host.as_deref().unwrap_or("").into());
                    return Err(Box::new(Denied {
                        rule: Rule::UrlAllowlist,
                        reason: refusal.reason,
                        details,
                        on_deny: allowlist.on_deny,
                    }));
                }
            }
        }
        Ok(())
    }

    /// Rule 3: every path that the call reads or writes, `file:` URLs and fixtures included.
    fn sandbox_path(&self, case: &mut Case<'_>) -> Result<(), Box<Denied>> {
        let contract = case.contract;
        let mut urls = std::mem::take(&mut case.urls).into_iter();
        for effect in &contract.effects {
            let planned = match (effect.effect, named(effect, &case.arguments)) {
                (Effect::Compute, _) => Planned::Compute,
                (Effect::SearchCorpus, _) => Planned::Corpus,
                (_, None) => Planned::Unreadable,
                (Effect::ReadPath, Some(text)) => {
                    let text = text.to_owned();
                    Planned::Read(self.path(case, &text, false)?)
                }
                (Effect::WritePath, Some(text)) => {
                    let text = text.to_owned();
                    Planned::Write(self.path(case, &text, true)?)
                }
                (Effect::FetchUrl, Some(text)) => match urls.next() {
                    Some(Target::Host(parsed)) => {
                        let fixture = self.fixture(&parsed);
                        let fixture = fixture
                            .map_err(|refusal| Box::new(self.sandbox_denied(case, refusal)))?;
                        Planned::Fetch(parsed, fixture)
                    }
                    Some(Target::File(path)) => {
                        let text = text.to_owned();
                        Planned::File(text, self.path(case, &path, false)?)
                    }
                    None => Planned::Unreadable,
                },
            };
            case.targets.push(planned);
        }
        Ok(())
    }

    /// A path as text: in a mount, and in one that permits it.
    fn path(&self, case: &mut Case<'_>, text: &str, write: bool) -> Result<MountPath, Box<Denied>> {
        let parsed = MountPath::parse(text).and_then(|path| self.permitted(path, write));
        case.details.insert(Detail::TargetPath, bounded(text).into());
        match parsed {
            Ok(path) => {
                case.details.insert(Detail::SandboxRoot, path.mount.as_str().into());
                case.details.insert(Detail::ResolvedPath, path.relative().into());
                Ok(path)
            }
            Err(refusal) => Err(Box::new(self.sandbox_denied(case, refusal))),
        }
    }

    /// The path, if policy permits its mount.
    fn permitted(&self, path: MountPath, write: bool) -> Result<MountPath, path::Refusal> {
        let (mounts, key) = if write {
            (&self.policy.sandbox.write, "write")
        } else {
            (&self.policy.sandbox.read, "read")
        };
        let reason = if !mounts.contains(path.mount.as_str()) {
            Some(format!("mount {:?} is not on sandbox.{key}", path.mount.as_str()))
        } else if write {
            self.unwritable(&path)
        } else {
            None
        };
        match reason {
            None => Ok(path),
            Some(reason) => Err(path::Refusal {
                mount: Some(path.mount),
                resolved: Some(path.relative()),
                reason,
            }),
        }
    }

    /// Why a run may not write to a path for the names in it.
    fn unwritable(&self, path: &MountPath) -> Option<String> {
        let allowed = &self.policy.sandbox.allow_names;
        for name in path.names().iter().filter(|name| !allowed.contains(*name)) {
            if let Some(why) = names::refused(name) {
                return Some(format!(
                    "the name {name:?} may not be written: {why}; sandbox.allow_names can allow it"
                ));
            }
        }
        let other = self.written.collision(path.names())?;
        Some(format!(
            "on other file systems {path} is {}/{other}, which the run has written; use that name or a different one",
            path.mount.as_str()
        ))
    }

    fn sandbox_denied(&self, case: &Case<'_>, refusal: path::Refusal) -> Denied {
        let mut details = case.details.clone();
        details.insert(Detail::Tool, case.contract.name.as_str().into());
        let root = refusal.mount.map_or("", path::Mount::as_str);
        details.insert(Detail::SandboxRoot, root.into());
        let resolved = refusal.resolved.unwrap_or_default();
        details.insert(Detail::ResolvedPath, bounded(&resolved).into());
        Denied {
            rule: Rule::SandboxPath,
            reason: refusal.reason,
            details,
            on_deny: self.policy.sandbox.on_deny,
        }
    }

    /// Rule 4: the arguments fit the contract and its bounds.
    fn arg_schema(&self, case: &mut Case<'_>) -> Result<(), Box<Denied>> {
        let limits = &self.policy.arg_schema;
        let mut found: Option<(String, String)> = None;
        let depth = depth(&case.call.arguments);
        let bytes = json::canonical(&case.call.arguments).len() as u64;
        if depth > limits.max_depth {
            found = Some((
                "/".into(),
                format!(
                    "the arguments nest {depth} deep; arg_schema_enforcement.max_depth is {}",
                    limits.max_depth
                ),
            ));
        } else if bytes > limits.max_bytes {
            found = Some((
                "/".into(),
                format!(
                    "the arguments have {bytes} bytes; arg_schema_enforcement.max_bytes is {}",
                    limits.max_bytes
                ),
            ));
        } else if let Some(first) =
            case.contract.input_violations(&case.arguments).into_iter().next()
        {
            found = Some((first.pointer, first.what));
        } else if let Some((pointer, number)) = json::rounded(&case.arguments) {
            found = Some((pointer, json::rounded_words(number)));
        }
        let Some((pointer, what)) = found else { return Ok(()) };
        let mut details = case.details.clone();
        details.insert(Detail::Tool, case.contract.name.as_str().into());
        details.insert(Detail::FailedPath, pointer.clone().into());
        details.insert(Detail::SchemaError, what.clone().into());
        Err(Box::new(Denied {
            rule: Rule::ArgSchema,
            reason: format!("argument {pointer} of {:?}: {what}", case.contract.name),
            details,
            on_deny: limits.on_deny,
        }))
    }

    /// Rule 5: not the same call too often. Every call that reaches this rule counts, also one that
    /// is denied here or later, by the kernel or a budget.
    fn cycle_detection(&self, case: &Case<'_>, repeats: u64) -> Result<(), Box<Denied>> {
        let rule = &self.policy.cycle_detection;
        if repeats <= rule.max_repeats {
            return Ok(());
        }
        let mut details = case.details.clone();
        details.insert(Detail::Tool, case.contract.name.as_str().into());
        details.insert(Detail::Repeats, repeats.into());
        details.insert(Detail::MaxRepeats, rule.max_repeats.into());
        Err(Box::new(Denied {
            rule: Rule::CycleDetection,
            reason: format!(
                "this call of {:?} is number {repeats} with the same arguments; cycle_detection.max_repeats is {}",
                case.contract.name, rule.max_repeats
            ),
            details,
            on_deny: rule.on_deny,
        }))
    }

    /// Counts a call under what it would do, and says how often it has now been made.
    fn count(&mut self, call: &ProposedCall, resolved: &Value) -> u64 {
        let count = self.repeats.entry(action(&call.tool, resolved)).or_insert(0);
        *count += 1;
        *count
    }

    /// Opens what the call needs. What the kernel refuses here is a denial like one before.
    fn open(&self, case: &mut Case<'_>, opening: &Opening) -> Result<Vec<Grant>, Unopened> {
        let bytes_max = self.policy.sandbox.max_read_bytes;
        let mut grants = Vec::with_capacity(case.targets.len());
        for planned in std::mem::take(&mut case.targets) {
            if let Opening::Recorded(refused) = opening {
                if let Some((reason, details)) = refused {
                    return Err(Unopened::from(Denied {
                        rule: Rule::SandboxPath,
                        reason: reason.clone(),
                        details: details.clone(),
                        on_deny: self.policy.sandbox.on_deny,
                    }));
                }
                continue;
            }
            let opened = match planned {
                Planned::Compute | Planned::Unreadable => Opened::Open(Grant::Compute),
                Planned::Corpus => Opened::Open(Grant::Corpus(Arc::clone(self.mounts.corpus()))),
                Planned::Read(path) => map(self.mounts.open_read(&path, bytes_max)?, Grant::Read),
                Planned::Write(path) => {
                    let bytes_max = self.policy.sandbox.max_write_bytes;
                    map(self.mounts.open_write(&path, bytes_max)?, Grant::Write)
                }
                Planned::File(url, path) => {
                    map(self.mounts.open_read(&path, bytes_max)?, |source| {
                        Grant::Fetch(FetchCapability { url, host: None, source: Some(source) })
                    })
                }
                Planned::Fetch(parsed, fixture) => {
                    let fetch = |source: Option<ReadCapability>| {
                        Grant::Fetch(FetchCapability {
                            url: parsed.as_str().to_owned(),
                            host: Some(parsed.host().to_owned()),
                            source,
                        })
                    };
                    match fixture {
                        None => Opened::Open(fetch(None)),
                        Some(path) => map(self.mounts.open_read(&path, bytes_max)?, |source| {
                            fetch(Some(source))
                        }),
                    }
                }
            };
            match opened {
                Opened::Open(grant) => grants.push(grant),
                Opened::Refused(refusal) => {
                    let why = refusal.reason.clone();
                    let mut denied = self.sandbox_denied(case, refusal);
                    denied.details.insert(Detail::OpenRefused, why.into());
                    return Err(denied.into());
                }
            }
        }
        Ok(grants)
    }

    /// The file that a fixture host serves at a URL; none where only a network would lead there.
    fn fixture(&self, parsed: &ParsedUrl) -> Result<Option<MountPath>, path::Refusal> {
        let Some(mount) = self.fixtures.get(parsed.host()) else { return Ok(None) };
        let path = parsed.decoded_path().map_err(|reason| path::Refusal {
            mount: None,
            resolved: None,
            reason,
        })?;
        let path = MountPath::parse(&format!("{mount}/{path}"))?;
        // The policy says what may be read, whichever host a task serves it under.
        self.permitted(path, false).map(Some)
    }

    /// The ledger's event for a verdict about a call.
    pub fn call_event(&self, call: &ProposedCall, verdict: &mut Verdict) -> GateDecided {
        let effects = self.contracts.get(&call.tool).map_or_else(Vec::new, |contract| {
            contract.effects.iter().map(|effect| effect.effect).collect()
        });
        let (decision, rule_id, reason, details) = match verdict {
            Verdict::Allow(allowed) => (
                Decision::Allow,
                None,
                "every rule allows it".to_owned(),
                std::mem::take(&mut allowed.details),
            ),
            Verdict::Deny(denied) => {
                (Decision::Deny, Some(denied.rule), denied.reason.clone(), denied.details.clone())
            }
        };
        GateDecided {
            subject: Subject::Call,
            call_id: Some(call.call_id.clone()),
            tool: Some(call.tool.clone()),
            effects,
            decision,
            rule_id,
            error_class: rule_id.map(ErrorClass::of_rule),
            reason,
            details,
            policy_version: self.version.clone(),
        }
    }

    /// The ledger's event for a step that may not be.
    pub fn step_event(&self, denied: &Denied) -> GateDecided {
        GateDecided {
            decision: Decision::Deny,
            rule_id: Some(denied.rule),
            error_class: Some(ErrorClass::of_rule(denied.rule)),
            ..self.about_the_run(denied.reason.clone(), denied.details.clone())
        }
    }

    /// The ledger's event for a warning.
    pub fn warning_event(&self, warning: Warning) -> GateDecided {
        GateDecided {
            rule_id: Some(Rule::LoopBudget),
            ..self.about_the_run(warning.reason, warning.details)
        }
    }

    fn about_the_run(&self, reason: String, details: Details) -> GateDecided {
        GateDecided {
            subject: Subject::Step,
            call_id: None,
            tool: None,
            effects: Vec::new(),
            decision: Decision::Allow,
            rule_id: None,
            error_class: None,
            reason,
            details,
            policy_version: self.version.clone(),
        }
    }

    /// The policy.
    pub fn policy(&self) -> &'a Policy {
        self.policy
    }

    /// The contracts.
    pub fn contracts(&self) -> &'a Contracts {
        self.contracts
    }
}

impl Limit {
    fn details(&self, told: u64, max: u64) -> Details {
        Details::from([
            (Detail::LimitKind, self.kind.into()),
            (self.details.0, told.into()),
            (self.details.1, max.into()),
        ])
    }
}

/// Whether what comes next would exceed a limit.
fn exceeded(limit: &Limit) -> Result<(), Denied> {
    let Some(max) = limit.max else { return Ok(()) };
    let then = limit.used.saturating_add(limit.next);
    if then <= max {
        return Ok(());
    }
    Err(Denied {
        rule: Rule::LoopBudget,
        reason: format!(
            "{} of {max} {} are used and the next needs {}; loop_budget.{} allows no more",
            limit.used, limit.kind, limit.next, limit.key
        ),
        // Steps and calls are reported as counted; what is spent, with what would be added.
        details: limit.details(if limit.next == 1 { limit.used } else { then }, max),
        on_deny: OnDeny::Terminate,
    })
}

/// The budget of attempts, which counts before a call and before a retry.
fn attempts(standing: &Standing, budget: &LoopBudget) -> Limit {
    Limit {
        kind: "attempts",
        key: "max_attempts",
        used: standing.totals.attempts,
        next: 1,
        max: budget.max_attempts,
        details: (Detail::Attempts, Detail::MaxAttempts),
    }
}

/// The budget of time, which counts before a step, before a call and before a retry.
fn elapsed(standing: &Standing, budget: &LoopBudget) -> Limit {
    Limit {
        kind: "elapsed_ms",
        key: "max_elapsed_ms",
        used: standing.elapsed_ms,
        next: 1,
        max: budget.max_elapsed_ms,
        details: (Detail::ElapsedMs, Detail::MaxElapsedMs),
    }
}

fn map<T>(opened: Opened<T>, grant: impl FnOnce(T) -> Grant) -> Opened<Grant> {
    match opened {
        Opened::Open(capability) => Opened::Open(grant(capability)),
        Opened::Refused(refusal) => Opened::Refused(refusal),
    }
}

/// The text of the argument that an effect names, if it is a text.
fn named<'v>(effect: &ArgumentEffect, arguments: &'v Value) -> Option<&'v str> {
    arguments.pointer(effect.argument.as_deref()?)?.as_str()
}

/// The arguments as the rules read them: paths and URLs in the one form that all their spellings
/// share. What cannot be resolved counts as it was written.
fn resolved<'c>(case: &'c Case<'_>) -> Cow<'c, Value> {
    let mut arguments = Cow::Borrowed(&case.arguments);
    for (effect, planned) in case.contract.effects.iter().zip(&case.targets) {
        let canonical = match planned {
            Planned::Read(path) | Planned::Write(path) => path.to_string(),
            Planned::Fetch(parsed, None) => parsed.resource(),
            // The same file, whatever URL leads to it.
            Planned::Fetch(_, Some(path)) | Planned::File(_, path) => format!("file:///{path}"),
            Planned::Compute | Planned::Corpus | Planned::Unreadable => continue,
        };
        let Some(pointer) = effect.argument.as_deref() else { continue };
        if arguments.pointer(pointer).and_then(Value::as_str) != Some(&canonical)
            && let Some(place) = arguments.to_mut().pointer_mut(pointer)
        {
            *place = Value::String(canonical);
        }
    }
    arguments
}

/// The digest of an action: a tool and what it is called with. Two actions never share one, and one
/// action has one, however its arguments are written: they are normal ([`json::normal`]), and hold
/// no number that readers round.
pub fn action(tool: &str, arguments: &Value) -> Digest {
    let mut key = Vec::with_capacity(256);
    json::canonical_into(&Value::String(tool.to_owned()), &mut key);
    key.push(b',');
    json::canonical_into(arguments, &mut key);
    Digest::of(&key)
}

/// The arguments without those that name a path or a URL.
fn without_targets(contract: &Contract, arguments: &Value) -> Value {
    let Value::Object(map) = arguments else { return Value::Object(Map::new()) };
    let is_target = |name: &str| {
        contract
            .effects
            .iter()
            .filter_map(|effect| effect.argument.as_deref())
            .any(|argument| argument.strip_prefix('/') == Some(name))
    };
    Value::Object(
        map.iter()
            .filter(|(name, _)| !is_target(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
    )
}

fn depth(value: &Value) -> u64 {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// What an LLM wrote, short enough to be quoted in evidence.
fn bounded(text: &str) -> String {
    const CHARS_MAX: usize = 300;
    match text.char_indices().nth(CHARS_MAX) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}
