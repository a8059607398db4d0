//! The vocabulary of a run: what can happen, and the words for it. Plain data, no behaviour
//! beyond naming.
//!
//! Everything that a run leaves behind is a reading of these types. The doc comments here are the
//! source of `docs/ledger.md` and of the JSON Schemas in `docs/schema/`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::json::{Digest, JsonText};

/// The version of the ledger's format that this program writes and reads.
pub const FORMAT: u32 = 1;

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The line's number, from 0 without a gap.
    pub seq: u64,
    /// Unix time in nanoseconds. In a stub run the logical clock: 2026-01-01T00:00:00Z, and one
    /// millisecond per event, plus the waits between attempts.
    pub at_ns: u64,
    /// The step that the event belongs to, from 1; null outside a step.
    pub step: Option<u64>,
    /// What happened.
    pub event: Event,
    /// SHA-256 of the exact bytes of the line before, without its line feed; zeros in line 0.
    pub prev: Digest,
}

/// What can happen in a run.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// The run begins: what it is a function of.
    RunStarted(Box<RunStarted>),
    /// A step begins.
    StepStarted(StepStarted),
    /// The LLM is asked.
    LlmCalled(LlmCalled),
    /// The LLM has answered.
    LlmReplied(LlmReplied),
    /// The gate has decided about a call, or about whether the run may continue.
    GateDecided(Box<GateDecided>),
    /// A tool is about to run: the intent, recorded before the effect.
    ToolStarted(ToolStarted),
    /// One attempt of a tool has ended.
    ToolAttempted(ToolAttempted),
    /// A person has said what happened to a call in doubt.
    ToolReconciled(ToolReconciled),
    /// A tool call has ended, whatever its attempts did.
    ToolFinished(ToolFinished),
    /// A step ends.
    StepFinished(StepFinished),
    /// The run ends.
    RunFinished(RunFinished),
}

/// The kinds, for reading the first member of an event.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    RunStarted,
    StepStarted,
    LlmCalled,
    LlmReplied,
    GateDecided,
    ToolStarted,
    ToolAttempted,
    ToolReconciled,
    ToolFinished,
    StepFinished,
    RunFinished,
}

/// The kind comes first, so the rest is read straight into its type. What serde derives would
/// first keep every member aside, which takes a third of the time that reading a ledger takes.
impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EventVisitor)
    }
}

struct EventVisitor;

impl<'de> Visitor<'de> for EventVisitor {
    type Value = Event;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an event, its kind first")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Event, A::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum First {
            Kind,
        }
        let Some(First::Kind) = map.next_key()? else {
            return Err(A::Error::missing_field("kind"));
        };
        let kind: Kind = map.next_value()?;
        let rest = MapAccessDeserializer::new(map);
        Ok(match kind {
            Kind::RunStarted => Event::RunStarted(Deserialize::deserialize(rest)?),
            Kind::StepStarted => Event::StepStarted(Deserialize::deserialize(rest)?),
            Kind::LlmCalled => Event::LlmCalled(Deserialize::deserialize(rest)?),
            Kind::LlmReplied => Event::LlmReplied(Deserialize::deserialize(rest)?),
            Kind::GateDecided => Event::GateDecided(Deserialize::deserialize(rest)?),
            Kind::ToolStarted => Event::ToolStarted(Deserialize::deserialize(rest)?),
            Kind::ToolAttempted => Event::ToolAttempted(Deserialize::deserialize(rest)?),
            Kind::ToolReconciled => Event::ToolReconciled(Deserialize::deserialize(rest)?),
            Kind::ToolFinished => Event::ToolFinished(Deserialize::deserialize(rest)?),
            Kind::StepFinished => Event::StepFinished(Deserialize::deserialize(rest)?),
            Kind::RunFinished => Event::RunFinished(Deserialize::deserialize(rest)?),
        })
    }
}

impl Event {
    /// The kind as the ledger spells it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::RunStarted(_) => "run_started",
            Self::StepStarted(_) => "step_started",
            Self::LlmCalled(_) => "llm_called",
            Self::LlmReplied(_) => "llm_replied",
            Self::GateDecided(_) => "gate_decided",
            Self::ToolStarted(_) => "tool_started",
            Self::ToolAttempted(_) => "tool_attempted",
            Self::ToolReconciled(_) => "tool_reconciled",
            Self::ToolFinished(_) => "tool_finished",
            Self::StepFinished(_) => "step_finished",
            Self::RunFinished(_) => "run_finished",
        }
    }
}

/// The run begins: what it is a function of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunStarted {
    /// The version of this format. A reader that does not know it refuses.
    pub format: u32,
    /// The run's id, derived from seed and task.
    pub run_id: String,
    /// The version of the program that ran the agent.
    pub agent_version: String,
    /// The task's id, which is also its path under `tasks/` and the run's under `runs/`.
    pub task: String,
    /// What the task is about, in a line.
    pub title: String,
    /// What the agent was asked.
    pub question: String,
    /// The seed of every derived id, jitter and choice.
    pub seed: u64,
    /// Who answers as the LLM.
    pub llm: LlmIdentity,
    /// The first 12 hexadecimal digits of the policy file's SHA-256.
    pub policy_version: String,
    /// The corpus.
    pub corpus: CorpusIdentity,
    /// Every file that the run is a function of, with its SHA-256.
    pub inputs: Vec<Input>,
}

/// Who answers as the LLM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LlmIdentity {
    /// How its replies come about.
    pub path: ExecutionPath,
    /// The provider's name, as OpenTelemetry's `gen_ai.provider.name`.
    pub provider: String,
    /// The model's name.
    pub model: String,
}

/// How an LLM's replies come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionPath {
    /// A deterministic stand-in: no model is asked.
    Stub,
}

impl ExecutionPath {
    /// The word in artifacts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stub => "stub",
        }
    }
}

/// A set of documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CorpusIdentity {
    /// The folder's name in the task.
    pub name: String,
    /// How many documents it holds.
    pub documents: u64,
    /// SHA-256 over the list of path, SHA-256 and size of every document, in canonical JSON.
    pub sha256: Digest,
}

/// One input file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// What it is to the run.
    pub role: InputRole,
    /// Its path from the project's root, or `builtin:` and its path in the binary.
    pub path: String,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
}

/// What an input file is to a run.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum InputRole {
    /// The task.
    Task,
    /// The policy.
    Policy,
    /// A tool's contract.
    Contract,
    /// The system prompt.
    Prompt,
    /// The corpus's manifest.
    CorpusManifest,
}

impl InputRole {
    /// The word for it in reports and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Policy => "policy",
            Self::Contract => "contract",
            Self::Prompt => "prompt",
            Self::CorpusManifest => "corpus manifest",
        }
    }
}

/// A step begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepStarted {}

/// The LLM is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LlmCalled {
    /// SHA-256 of the whole request: every message so far, each as one line of JSON.
    pub request_sha256: Digest,
    /// How many messages the request holds.
    pub messages: u64,
    /// What the call was expected to use at most; the budget was checked against it.
    pub reserved: Usage,
}

/// What one LLM call uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Tokens of the request.
    pub input_tokens: u64,
    /// Tokens of the reply.
    pub output_tokens: u64,
    /// Cost in millionths of a US dollar; 0 where nothing is charged.
    #[serde(default)]
    pub cost_microusd: u64,
}

impl Usage {
    /// Input and output tokens together.
    pub fn total(self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// Adds what another call used. Sums saturate: a huge number must not wrap round to a small one.
    pub fn add(&mut self, other: Self) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cost_microusd = self.cost_microusd.saturating_add(other.cost_microusd);
    }
}

/// The LLM has answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LlmReplied {
    /// What it said besides its calls, its thought; null if nothing.
    pub text: Option<String>,
    /// The tool calls that it proposes, in its order.
    pub calls: Vec<ProposedCall>,
    /// Its final answer; null while it still proposes calls.
    pub final_answer: Option<String>,
    /// What the call used.
    pub usage: Usage,
}

/// A tool call that an LLM proposes. Nothing has judged it yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProposedCall {
    /// The call's id, derived from run, step and place in the step.
    pub call_id: String,
    /// The tool's name as proposed, known or not.
    pub tool: String,
    /// The arguments as proposed, of whatever shape.
    pub arguments: Value,
}

/// The gate has decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GateDecided {
    /// What was decided about.
    pub subject: Subject,
    /// The call's id; null where the subject is a step.
    pub call_id: Option<String>,
    /// The tool's name as proposed; null where the subject is a step.
    pub tool: Option<String>,
    /// What the call would do, from the tool's contract; empty for an unknown tool or a step.
    pub effects: Vec<Effect>,
    /// The decision.
    pub decision: Decision,
    /// The rule that decided, or that warns; null for an allow, which every rule has to give.
    pub rule_id: Option<Rule>,
    /// The error's name, where it denies.
    pub error_class: Option<ErrorClass>,
    /// Why, in words.
    pub reason: String,
    /// What was asked and what the limit is.
    #[schemars(schema_with = "details_schema")]
    pub details: Details,
    /// The first 12 hexadecimal digits of the policy file's SHA-256.
    pub policy_version: String,
}

/// What a decision is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// Whether the run may take another step.
    Step,
    /// Whether a tool call may run.
    Call,
}

impl Subject {
    /// The word in artifacts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Call => "call",
        }
    }
}

/// What a call does to the world. Rules judge this, never an argument's name.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Computes from its arguments alone.
    Compute,
    /// Looks through the corpus.
    SearchCorpus,
    /// Reads the file that an argument names.
    ReadPath,
    /// Writes the file that an argument names.
    WritePath,
    /// Fetches the URL that an argument names.
    FetchUrl,
}

impl Effect {
    /// The word in artifacts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::SearchCorpus => "search_corpus",
            Self::ReadPath => "read_path",
            Self::WritePath => "write_path",
            Self::FetchUrl => "fetch_url",
        }
    }
}

/// A decision of policy.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It may run.
    Allow,
    /// It may not.
    Deny,
}

impl Decision {
    /// The word in artifacts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// The rules of policy, in the order in which they are checked. The first that denies decides.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The tool is registered, and not denied.
    ToolRegistry,
    /// Every URL that the call fetches is on the allowlist.
    UrlAllowlist,
    /// Every path that the call reads or writes stays in a mount that permits it.
    SandboxPath,
    /// The arguments fit the tool's contract.
    ArgSchema,
    /// The same call has not been made too often.
    CycleDetection,
    /// The run is within its budgets.
    LoopBudget,
    /// The run makes progress: its steps do not repeat the same state too often.
    Progress,
}

impl Rule {
    /// All rules, in order of precedence.
    pub const ALL: [Self; 7] = [
        Self::ToolRegistry,
        Self::UrlAllowlist,
        Self::SandboxPath,
        Self::ArgSchema,
        Self::CycleDetection,
        Self::LoopBudget,
        Self::Progress,
    ];

    /// How a run ends if a denial by this rule ends it.
    pub fn end(self) -> (TerminalReason, Option<FailureMode>) {
        match self {
            Self::ArgSchema => {
                (TerminalReason::FailureModeTerminal, Some(FailureMode::SchemaMismatch))
            }
            Self::CycleDetection => {
                (TerminalReason::PolicyDenialTerminal, Some(FailureMode::CycleDetection))
            }
            Self::LoopBudget => (TerminalReason::LoopBudget, None),
            Self::Progress => (TerminalReason::NoProgress, None),
            Self::ToolRegistry | Self::UrlAllowlist | Self::SandboxPath => {
                (TerminalReason::PolicyDenialTerminal, None)
            }
        }
    }

    /// The rule's id in artifacts and in tasks.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ToolRegistry => "tool_registry",
            Self::UrlAllowlist => "url_allowlist",
            Self::SandboxPath => "sandbox_path",
            Self::ArgSchema => "arg_schema",
            Self::CycleDetection => "cycle_detection",
            Self::LoopBudget => "loop_budget",
            Self::Progress => "progress",
        }
    }
}

/// What a decision was about, in values: a closed set of keys, each an attribute `policy.KEY` of
/// the trace.
pub type Details = BTreeMap<Detail, Value>;

/// An object with no other keys than these.
fn details_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let names = generator.subschema_for::<Detail>();
    schemars::json_schema!({"type": "object", "propertyNames": names, "additionalProperties": true})
}

/// A key of `details`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// The tool's name as proposed.
    RequestedTool,
    /// How the registry answered: `denied`, `not_allowed` or `allowed`.
    RegistryMatch,
    /// The tool whose contract was applied.
    Tool,
    /// The URL as proposed.
    Url,
    /// The host as the URL standard reads it.
    Host,
    /// The path as proposed.
    TargetPath,
    /// The path relative to its mount, after `.` and `..` are resolved.
    ResolvedPath,
    /// The mount that the path may not leave.
    SandboxRoot,
    /// What the arguments' schema objects to.
    SchemaError,
    /// JSON pointer to the offending argument.
    FailedPath,
    /// Which budget it is.
    LimitKind,
    /// Iterations so far.
    Iterations,
    /// Iterations at most.
    MaxIterations,
    /// Tokens so far, and what the next call would add.
    Tokens,
    /// Tokens at most.
    MaxTokens,
    /// How often this call has been made, this time included.
    Repeats,
    /// How often it may be made.
    MaxRepeats,
    /// Tool calls so far, this one included.
    ToolCalls,
    /// Tool calls at most.
    MaxToolCalls,
    /// Cost so far, and what the next call would add, in millionths of a US dollar.
    CostMicrousd,
    /// Cost at most.
    MaxCostMicrousd,
    /// Milliseconds since the run began.
    ElapsedMs,
    /// Milliseconds at most.
    MaxElapsedMs,
    /// The share of a limit from which a budget warns.
    WarnAtPercent,
    /// The first 12 hexadecimal digits of the SHA-256 of the repeated state.
    Fingerprint,
    /// How many steps had this state.
    RepeatedStates,
    /// How many steps may have the same state.
    MaxRepeatedStates,
    /// What the kernel refused when the path was opened: a fact of that moment, not of the call.
    OpenRefused,
    /// Attempts of tools so far, and what the next would add.
    Attempts,
    /// Attempts of tools at most.
    MaxAttempts,
}

impl Detail {
    /// The attribute's name in a trace.
    pub fn attribute(self) -> &'static str {
        match self {
            Self::RequestedTool => "policy.requested_tool",
            Self::RegistryMatch => "policy.registry_match",
            Self::Tool => "policy.tool",
            Self::Url => "policy.url",
            Self::Host => "policy.host",
            Self::TargetPath => "policy.target_path",
            Self::ResolvedPath => "policy.resolved_path",
            Self::SandboxRoot => "policy.sandbox_root",
            Self::SchemaError => "policy.schema_error",
            Self::FailedPath => "policy.failed_path",
            Self::LimitKind => "policy.limit_kind",
            Self::Iterations => "policy.iterations",
            Self::MaxIterations => "policy.max_iterations",
            Self::Tokens => "policy.tokens",
            Self::MaxTokens => "policy.max_tokens",
            Self::Repeats => "policy.repeats",
            Self::MaxRepeats => "policy.max_repeats",
            Self::ToolCalls => "policy.tool_calls",
            Self::MaxToolCalls => "policy.max_tool_calls",
            Self::CostMicrousd => "policy.cost_microusd",
            Self::MaxCostMicrousd => "policy.max_cost_microusd",
            Self::ElapsedMs => "policy.elapsed_ms",
            Self::MaxElapsedMs => "policy.max_elapsed_ms",
            Self::WarnAtPercent => "policy.warn_at_percent",
            Self::Fingerprint => "policy.fingerprint",
            Self::RepeatedStates => "policy.repeated_states",
            Self::MaxRepeatedStates => "policy.max_repeated_states",
            Self::OpenRefused => "policy.open_refused",
            Self::Attempts => "policy.attempts",
            Self::MaxAttempts => "policy.max_attempts",
        }
    }
}

/// A tool is about to run: the intent, recorded before the effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolStarted {
    /// The call that the gate allowed.
    pub call_id: String,
    /// The tool.
    pub tool: String,
    /// The arguments that fit the contract, defaults filled in.
    pub arguments: Value,
    /// The key under which doing it again is doing it once.
    pub idempotency_key: String,
}

/// One attempt of a tool has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolAttempted {
    /// The call.
    pub call_id: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// Milliseconds spent waiting for a result that did not arrive; 0 if one arrived.
    pub waited_ms: u64,
    /// The error, if there was one.
    pub error: Option<ToolError>,
    /// Milliseconds until the next attempt; null if there is none.
    pub backoff_ms: Option<u64>,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// The tool returned a result.
    Success,
    /// It failed in a way that may pass, and will be tried again.
    TransientFailure,
    /// It failed in a way that may pass, and no attempt is left.
    Exhausted,
    /// It failed in a way that a retry cannot fix.
    Failed,
    /// It failed in a way that leaves its effect unknown, and the call must not be repeated: a
    /// `tool_reconciled` follows.
    InDoubt,
}

impl AttemptOutcome {
    /// The word in artifacts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::TransientFailure => "transient_failure",
            Self::Exhausted => "exhausted",
            Self::Failed => "failed",
            Self::InDoubt => "in_doubt",
        }
    }
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolError {
    /// The error's name.
    pub class: ErrorClass,
    /// The source of the error.
    pub source: ErrorSource,
    /// What kind of trouble it is.
    pub category: ErrorCategory,
    /// Whether trying again can help.
    pub retryable: bool,
    /// What happened, in words; holds no path outside the mounts.
    pub message: String,
}

impl ToolError {
    /// An error of this class, with the source, category and retryability that the class has.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        let (source, category, retryable) = class.classify();
        Self { class, source, category, retryable, message: message.into() }
    }
}

/// The names of errors: a closed set, each with one source, one category and one answer to
/// whether trying again can help.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The service did not answer this time.
    ServiceUnavailable,
    /// No result came within the time that policy allows.
    TimedOut,
    /// The effect took place, and its result was lost when the run was cut short.
    ResultLost,
    /// Nothing exists under that name.
    NotFound,
    /// The name is not that of a regular file, or leads out of its mount.
    NotPermitted,
    /// The content is larger than policy lets through.
    TooLarge,
    /// The content is not UTF-8 text.
    NotText,
    /// No route leads to that host.
    HostUnreachable,
    /// The file system refused. Older runs recorded this; it now stops the run and is not recorded.
    StorageFailed,
    /// The result does not fit the tool's contract.
    OutputSchema,
    /// The tool panicked.
    Panicked,
    /// An error without a class of its own.
    Unclassified,
    /// A rule of policy forbids the call.
    PolicyDenied,
    /// The LLM proposed arguments that do not fit the tool's contract.
    InvalidArguments,
    /// The LLM proposed the same call too often.
    RepeatedCall,
    /// The run has used up a budget.
    BudgetExhausted,
    /// The steps of the run repeat the same state too often.
    NoProgress,
}

impl ErrorClass {
    /// All classes.
    pub const ALL: [Self; 17] = [
        Self::ServiceUnavailable,
        Self::TimedOut,
        Self::ResultLost,
        Self::NotFound,
        Self::NotPermitted,
        Self::TooLarge,
        Self::NotText,
        Self::HostUnreachable,
        Self::StorageFailed,
        Self::OutputSchema,
        Self::Panicked,
        Self::Unclassified,
        Self::PolicyDenied,
        Self::InvalidArguments,
        Self::RepeatedCall,
        Self::BudgetExhausted,
        Self::NoProgress,
    ];

    /// The word in artifacts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ServiceUnavailable => "service_unavailable",
            Self::TimedOut => "timed_out",
            Self::ResultLost => "result_lost",
            Self::NotFound => "not_found",
            Self::NotPermitted => "not_permitted",
            Self::TooLarge => "too_large",
            Self::NotText => "not_text",
            Self::HostUnreachable => "host_unreachable",
            Self::StorageFailed => "storage_failed",
            Self::OutputSchema => "output_schema",
            Self::Panicked => "panicked",
            Self::Unclassified => "unclassified",
            Self::PolicyDenied => "policy_denied",
            Self::InvalidArguments => "invalid_arguments",
            Self::RepeatedCall => "repeated_call",
            Self::BudgetExhausted => "budget_exhausted",
            Self::NoProgress => "no_progress",
        }
    }

    /// Source, category and whether trying again can help.
    pub fn classify(self) -> (ErrorSource, ErrorCategory, bool) {
        use ErrorCategory as C;
        use ErrorSource as S;
        match self {
            Self::ServiceUnavailable => (S::Network, C::Unavailable, true),
            Self::TimedOut => (S::Timeout, C::Timeout, true),
            Self::ResultLost => (S::Agent, C::Unknown, false),
            Self::NotFound => (S::Tool, C::NotFound, false),
            Self::NotPermitted => (S::Tool, C::Permission, false),
            Self::TooLarge => (S::Tool, C::TooLarge, false),
            Self::NotText => (S::Tool, C::MalformedOutput, false),
            Self::HostUnreachable => (S::Network, C::NotFound, false),
            Self::StorageFailed => (S::Tool, C::Unavailable, false),
            Self::OutputSchema => (S::Tool, C::MalformedOutput, false),
            Self::Panicked => (S::Tool, C::Internal, false),
            Self::Unclassified => (S::Tool, C::Unknown, false),
            Self::PolicyDenied => (S::Guardrail, C::Permission, false),
            Self::InvalidArguments => (S::Llm, C::InvalidArguments, false),
            Self::RepeatedCall => (S::Llm, C::NoProgress, false),
            Self::BudgetExhausted => (S::Agent, C::RateLimited, false),
            Self::NoProgress => (S::Agent, C::NoProgress, false),
        }
    }

    /// Whether the class means that the tool itself is broken: nobody foresaw this, so the run
    /// stops instead of guessing.
    pub fn is_unforeseen(self) -> bool {
        matches!(self, Self::OutputSchema | Self::Panicked | Self::Unclassified)
    }

    /// Whether the effect of an attempt that ended so may have taken place or not. Any other class
    /// says that it certainly did, or certainly did not.
    pub fn leaves_effect_unknown(self) -> bool {
        match self {
            Self::ServiceUnavailable
            | Self::TimedOut
            | Self::ResultLost
            | Self::StorageFailed
            | Self::Panicked
            | Self::Unclassified => true,
            // Nothing was reached, or nothing was done: the tool looked before it acted.
            Self::NotFound
            | Self::NotPermitted
            | Self::TooLarge
            | Self::NotText
            | Self::HostUnreachable
            | Self::PolicyDenied
            | Self::InvalidArguments
            | Self::RepeatedCall
            | Self::BudgetExhausted
            | Self::NoProgress => false,
            // It was done: only what came back is not as promised.
            Self::OutputSchema => false,
        }
    }

    /// The error class of a denial by this rule.
    pub fn of_rule(rule: Rule) -> Self {
        match rule {
            Rule::ToolRegistry | Rule::UrlAllowlist | Rule::SandboxPath => Self::PolicyDenied,
            Rule::ArgSchema => Self::InvalidArguments,
            Rule::CycleDetection => Self::RepeatedCall,
            Rule::LoopBudget => Self::BudgetExhausted,
            Rule::Progress => Self::NoProgress,
        }
    }
}

/// The source of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorSource {
    /// The LLM.
    Llm,
    /// A tool.
    Tool,
    /// The run as a whole.
    Agent,
    /// A rule of policy.
    Guardrail,
    /// The time.
    Timeout,
    /// What lies between here and a host.
    Network,
}

impl ErrorSource {
    /// The word in artifacts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Llm => "llm",
            Self::Tool => "tool",
            Self::Agent => "agent",
            Self::Guardrail => "guardrail",
            Self::Timeout => "timeout",
            Self::Network => "network",
        }
    }
}

/// What kind of trouble an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCategory {
    /// A budget is used up.
    RateLimited,
    /// The arguments do not fit the contract.
    InvalidArguments,
    /// Not available now.
    Unavailable,
    /// No answer in time.
    Timeout,
    /// It does not exist.
    NotFound,
    /// It exists, but the caller may not use it.
    Permission,
    /// Larger than a limit allows.
    TooLarge,
    /// The output does not fit the contract or is not text.
    MalformedOutput,
    /// The run repeats itself.
    NoProgress,
    /// A bug in a tool or in the program.
    Internal,
    /// The cause is unknown.
    Unknown,
}

impl ErrorCategory {
    /// The word in artifacts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RateLimited => "rate_limited",
            Self::InvalidArguments => "invalid_arguments",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::NotFound => "not_found",
            Self::Permission => "permission",
            Self::TooLarge => "too_large",
            Self::MalformedOutput => "malformed_output",
            Self::NoProgress => "no_progress",
            Self::Internal => "internal",
            Self::Unknown => "unknown",
        }
    }
}

/// A person has said what happened to an interrupted call: its intent is recorded, its outcome
/// is not, and doing it again would do it twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolReconciled {
    /// The call.
    pub call_id: String,
    /// Whether its effect took place. If not, an attempt that was interrupted is made now; after one
    /// that ended `in_doubt`, retries and budgets decide.
    pub took_place: bool,
    /// How they know, in their words.
    pub reason: String,
}

/// A tool call has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolFinished {
    /// The call.
    pub call_id: String,
    /// Whether there is a result.
    pub ok: bool,
    /// The result, cut to policy's bound; null if there is none.
    pub result: Option<JsonText>,
    /// Size in bytes of the whole result as canonical JSON; 0 if there is none.
    pub bytes: u64,
    /// SHA-256 of the whole result as canonical JSON; null if there is none.
    pub sha256: Option<Digest>,
    /// Whether the result above was cut.
    pub cut: bool,
    /// Where the content came from, such as `corpus/op-07.md`; null if from the arguments alone.
    pub origin: Option<String>,
    /// The last attempt's error, if there is no result.
    pub error: Option<ToolError>,
}

/// A step ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepFinished {
    /// What went wrong in it, if anything did.
    pub failure_mode: Option<FailureMode>,
    /// What the run has used so far.
    pub totals: Totals,
}

/// What a run has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Steps taken.
    pub steps: u64,
    /// Tool calls that the gate allowed.
    pub calls_allowed: u64,
    /// Tool calls that the gate denied.
    pub calls_denied: u64,
    /// Attempts of tools.
    pub attempts: u64,
    /// Tokens of all LLM calls.
    pub usage: Usage,
}

/// The ways in which a run is known to go wrong: a closed set.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum FailureMode {
    /// F1: an attempt or a call failed, in a foreseen way; the run continues.
    ToolCallFailure,
    /// F2: a failure that may pass did not, and no attempt is left.
    RetryExhaustion,
    /// F3: the arguments do not fit the tool's contract.
    SchemaMismatch,
    /// F4: the same call too often.
    CycleDetection,
    /// F5: an unclassified error, or a panic.
    CataloguedUnhandled,
}

impl FailureMode {
    /// All modes, F1 to F5.
    pub const ALL: [Self; 5] = [
        Self::ToolCallFailure,
        Self::RetryExhaustion,
        Self::SchemaMismatch,
        Self::CycleDetection,
        Self::CataloguedUnhandled,
    ];

    /// The word in artifacts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ToolCallFailure => "tool_call_failure",
            Self::RetryExhaustion => "retry_exhaustion",
            Self::SchemaMismatch => "schema_mismatch",
            Self::CycleDetection => "cycle_detection",
            Self::CataloguedUnhandled => "catalogued_unhandled",
        }
    }
}

/// The run ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunFinished {
    /// Why it ends.
    pub terminal_reason: TerminalReason,
    /// The rule that ended it, if one did.
    pub rule_id: Option<Rule>,
    /// The failure mode that ended it, if one did.
    pub failure_mode: Option<FailureMode>,
    /// The final answer, if there is one.
    pub answer: Option<String>,
    /// What the run has used.
    pub totals: Totals,
}

/// Why a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TerminalReason {
    /// The LLM gave its answer.
    FinalAnswer,
    /// A budget was used up.
    LoopBudget,
    /// A rule denied, and says that the run then ends.
    PolicyDenialTerminal,
    /// A failure mode that ends a run.
    FailureModeTerminal,
    /// The steps of the run repeated the same state too often.
    NoProgress,
}

impl TerminalReason {
    /// The word in artifacts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FinalAnswer => "final_answer",
            Self::LoopBudget => "loop_budget",
            Self::PolicyDenialTerminal => "policy_denial_terminal",
            Self::FailureModeTerminal => "failure_mode_terminal",
            Self::NoProgress => "no_progress",
        }
    }
}
