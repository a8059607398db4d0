//! The policy file: loaded whole or not at all.
//!
//! The embedded meta-schema says what a policy may look like; what a schema cannot say is checked
//! here. Every key is read by some rule: there is none that only looks as if it did something.

use std::collections::{BTreeSet, HashMap};

use serde::Deserialize;
use serde_json::Value;

use crate::contract::Contracts;
use crate::event::{ExecutionPath, Rule};
use crate::json::Digest;
use crate::problem::{Problem, Problems};
use crate::yaml;

use super::cases::Judge;
use super::defaults;
use super::findings::{self, Findings};

/// The meta-schema of a policy, embedded: the file beside the policy must equal it.
pub const META_SCHEMA: &str = include_str!("../../policy/v1.schema.json");

/// The name of the meta-schema's file beside a policy.
pub const META_SCHEMA_FILE: &str = "v1.schema.json";

/// A policy, checked.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The first 12 hexadecimal digits of the file's SHA-256.
    pub version: String,
    /// SHA-256 of the file's bytes.
    pub sha256: Digest,
    /// Which tools may be called.
    pub tool_registry: ToolRegistry,
    /// Which URLs may be fetched.
    pub url_allowlist: UrlAllowlist,
    /// Which mounts may be read and written.
    pub sandbox: Sandbox,
    /// Bounds of the arguments.
    pub arg_schema: ArgSchema,
    /// How often the same call may be made.
    pub cycle_detection: CycleDetection,
    /// How much a run may use.
    pub loop_budget: LoopBudget,
    /// How a failure that may pass is tried again.
    pub retry: Retry,
    /// Whether the run gets somewhere, where that is asked.
    pub progress: Option<Progress>,
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

/// What a denial does to the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDeny {
    /// The run ends.
    Terminate,
    /// The LLM receives the reason and may plan again.
    Continue,
}

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

/// Which URLs may be fetched.
#[derive(Debug, Clone)]
pub struct UrlAllowlist {
    /// By host, in the form that the URL standard gives it, then by path prefix.
    pub hosts: HashMap<String, HashMap<String, Vec<HostRule>>>,
    /// What a denial does.
    pub on_deny: OnDeny,
}

/// What may be fetched from a host.
#[derive(Debug, Clone, Deserialize)]
pub struct HostRule {
    /// The host.
    pub host: String,
    /// The schemes.
    pub schemes: Vec<String>,
    /// The ports, all of them; the scheme's own where none is listed.
    #[serde(default)]
    pub ports: Vec<u16>,
    /// What the path must begin with.
    pub path_prefix: String,
}

impl HostRule {
    /// Whether a port is listed; where there is no list, the scheme's own is.
    pub fn allows_port(&self, port: u16, default_port: u16) -> bool {
        if self.ports.is_empty() { port == default_port } else { self.ports.contains(&port) }
    }
}

/// Which mounts may be read and written.
#[derive(Debug, Clone, Deserialize)]
pub struct Sandbox {
    /// Mounts that may be read.
    pub read: BTreeSet<String>,
    /// Mounts that may be written.
    pub write: BTreeSet<String>,
    /// The largest file that is read, in bytes.
    pub max_read_bytes: u64,
    /// The largest file that is written, in bytes.
    pub max_write_bytes: u64,
    /// Names that may be written although the rule refuses them otherwise.
    pub allow_names: BTreeSet<String>,
    /// Whether the kernel must hold the process to its mounts.
    pub isolation: Isolation,
    /// What a denial does.
    pub on_deny: OnDeny,
}

/// Bounds of the arguments.
#[derive(Debug, Clone, Deserialize)]
pub struct ArgSchema {
    /// Their size as canonical JSON.
    pub max_bytes: u64,
    /// How deep they nest.
    pub max_depth: u64,
    /// What a denial does.
    pub on_deny: OnDeny,
}

/// How often the same call may be made.
#[derive(Debug, Clone, Deserialize)]
pub struct CycleDetection {
    /// This often.
    pub max_repeats: u64,
    /// What a denial does.
    pub on_deny: OnDeny,
}

/// How much a run may use. What is absent has no limit.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct LoopBudget {
    /// Steps.
    pub max_iterations: u64,
    /// Tokens of all LLM calls, in and out.
    pub max_tokens: u64,
    /// Tool calls that are allowed.
    pub max_tool_calls: Option<u64>,
    /// Attempts of tools, retries included.
    pub max_attempts: Option<u64>,
    /// Cost of all LLM calls, in millionths of a US dollar.
    pub max_cost_microusd: Option<u64>,
    /// Milliseconds from the run's first event.
    pub max_elapsed_ms: Option<u64>,
    /// The share of a limit, in percent, from which the run is warned.
    pub warn_at_percent: Option<u64>,
}

/// Whether the run gets somewhere.
#[derive(Debug, Clone, Deserialize)]
pub struct Progress {
    /// What of a step counts: its state.
    pub fields: Vec<StateField>,
    /// How often steps may reach the same state.
    pub max_repeated_states: u64,
}

/// What of a step may count as its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateField {
    /// The tools that were called.
    Tools,
    /// What was decided about them.
    Decisions,
    /// The digests of their results.
    Results,
    /// The names of their errors.
    Errors,
}

/// How long a tool may take.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Execution {
    /// One attempt.
    pub timeout_ms: u64,
}

/// Whether the kernel must hold the process to its mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// It must, or nothing runs.
    Required,
    /// Where it can.
    BestEffort,
    /// It need not.
    Off,
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
    tool_registry: ToolRegistry,
    url_allowlist: RawUrlAllowlist,
    sandbox: Sandbox,
    arg_schema_enforcement: ArgSchema,
    cycle_detection: CycleDetection,
    loop_budget: LoopBudget,
    progress: Option<Progress>,
    retry: Retry,
    execution: Execution,
    results: Results,
    durability: Option<Durability>,
}

#[derive(Deserialize)]
struct RawUrlAllowlist {
    hosts: Vec<HostRule>,
    on_deny: OnDeny,
}

impl Policy {
    /// How durable the ledger is before an effect, for an LLM of this kind.
    pub fn durability(&self, path: ExecutionPath) -> Durability {
        self.durability.unwrap_or(match path {
            // It can be run again at no cost.
            ExecutionPath::Stub => Durability::Os,
        })
    }

    /// What a denial by a rule does to the run.
    pub fn on_deny(&self, rule: Rule) -> OnDeny {
        match rule {
            Rule::ToolRegistry => self.tool_registry.on_deny,
            Rule::UrlAllowlist => self.url_allowlist.on_deny,
            Rule::SandboxPath => self.sandbox.on_deny,
            Rule::ArgSchema => self.arg_schema.on_deny,
            Rule::CycleDetection => self.cycle_detection.on_deny,
            Rule::LoopBudget | Rule::Progress => OnDeny::Terminate,
        }
    }

    /// Reads a policy about the tools that have a contract, and checks its examples.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its line and column.
    pub fn load(path: &str, bytes: &[u8], contracts: &Contracts) -> Result<Self, Problems> {
        Self::read(path, bytes, contracts).map(|(policy, _)| policy)
    }

    /// As [`Policy::load`], with the document that states the policy.
    ///
    /// # Errors
    /// As [`Policy::load`].
    pub fn read(
        path: &str,
        bytes: &[u8],
        contracts: &Contracts,
    ) -> Result<(Self, yaml::Document), Problems> {
        let document = yaml::parse(bytes).map_err(|errors| {
            let problem = |error: yaml::YamlError| {
                let mut at = error.place.map_or_else(String::new, |place| place.to_string());
                if !error.pointer.is_empty() {
                    at.push_str(&format!(" ({})", error.pointer));
                }
                Problem::new(path, error.message).at(at)
            };
            Problems(errors.into_iter().map(problem).collect())
        })?;
        let effective = defaults::filled(&document.value);
        Problems::check(Findings::of(path, &document, &effective, &contracts.names()), ())?;
        let raw: RawPolicy = serde_json::from_value(effective)
            .map_err(|error| Problem::new(path, error.to_string()))?;
        let mut hosts: HashMap<String, HashMap<String, Vec<HostRule>>> = HashMap::new();
        for rule in raw.url_allowlist.hosts {
            let prefixes = hosts.entry(rule.host.clone()).or_default();
            prefixes.entry(rule.path_prefix.clone()).or_default().push(rule);
        }
        let mut problems = Vec::new();
        let sha256 = Digest::of(bytes);
        let policy = Self {
            version: sha256.short(),
            sha256,
            tool_registry: raw.tool_registry,
            url_allowlist: UrlAllowlist { hosts, on_deny: raw.url_allowlist.on_deny },
            sandbox: raw.sandbox,
            arg_schema: raw.arg_schema_enforcement,
            cycle_detection: raw.cycle_detection,
            loop_budget: raw.loop_budget,
            progress: raw.progress,
            retry: raw.retry,
            execution: raw.execution,
            results: raw.results,
            durability: raw.durability,
            examples: examples(&document.value),
        };
        if problems.is_empty() {
            for (rule, pointer, what) in Judge::new(&policy, contracts).contradicted() {
                let remedy = format!("change the example or the rule {}", rule.as_str());
                problems.push(findings::problem(path, &document, &pointer, &what, &remedy));
            }
        }
        Problems::check(problems, (policy, document))
    }
}

/// The key under which a rule stands in the file.
pub fn key_of(rule: Rule) -> &'static str {
    match rule {
        Rule::ToolRegistry => "tool_registry",
        Rule::UrlAllowlist => "url_allowlist",
        Rule::SandboxPath => "sandbox",
        Rule::ArgSchema => "arg_schema_enforcement",
        Rule::CycleDetection => "cycle_detection",
        Rule::LoopBudget => "loop_budget",
        Rule::Progress => "progress",
    }
}

fn examples(document: &Value) -> Vec<Examples> {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    Rule::ALL
        .into_iter()
        .filter_map(|rule| {
            let examples = document.get(key_of(rule))?.get("examples")?;
            Some(Examples {
                rule,
                pointer: format!("/{}/examples", key_of(rule)),
                allow: list(examples.get("allow")),
                deny: list(examples.get("deny")),
            })
        })
        .collect()
}
