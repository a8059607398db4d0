//! The vocabulary of a run: what can happen, and the words for it. Plain data, no behaviour
//! beyond naming.
//!
//! Everything that a run leaves behind is a reading of these types. The doc comments here are the
//! source of `docs/ledger.md` and of the JSON Schemas in `docs/schema/`.

#[macro_use]
mod table;
mod error;
mod format;
mod outcome;
mod policy;
mod ruling;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::json::{Digest, JsonText};

pub use self::error::{EffectState, ErrorCategory, ErrorClass, ErrorFacts, ErrorSource, ToolError};
pub use self::outcome::{FailureMode, TerminalReason};
pub use self::policy::{Decision, Detail, Details, Effect, Rule, RuleFacts, Subject};
pub use self::ruling::{Misread, Ruling};
pub use format::{FORMAT_MAX, FORMAT_MIN, NEWER, Newer};

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The line's number, from 0 without a gap.
    pub seq: u64,
    /// Unix time in nanoseconds, of the logical clock: 2026-01-01T00:00:00Z, and one
    /// millisecond per event, plus the waits between attempts.
    pub at_ns: u64,
    /// The step that the event belongs to, from 1; null outside a step.
    pub step: Option<u64>,
    /// What happened.
    pub event: Event,
    /// SHA-256 of the exact bytes of the line before, without its line feed; zeros in line 0.
    pub prev: Digest,
}

events! {
    /// What can happen in a run.
    pub enum Event {
        /// The run begins: what it is a function of.
        "run_started" => RunStarted(Box<RunStarted>),
        /// A step begins.
        "step_started" => StepStarted(StepStarted),
        /// The LLM is asked.
        "llm_called" => LlmCalled(LlmCalled),
        /// The LLM has answered.
        "llm_replied" => LlmReplied(LlmReplied),
        /// The gate has decided about a call, or about whether the run may continue.
        "gate_decided" => GateDecided(Box<GateDecided>),
        /// A tool is about to run: the intent, recorded before the effect.
        "tool_started" => ToolStarted(ToolStarted),
        /// One attempt of a tool has ended.
        "tool_attempted" => ToolAttempted(ToolAttempted),
        /// A person has said what happened to a call in doubt.
        "tool_reconciled" => ToolReconciled(ToolReconciled),
        /// A tool call has ended, whatever its attempts did.
        "tool_finished" => ToolFinished(ToolFinished),
        /// A step ends.
        "step_finished" => StepFinished(StepFinished),
        /// The run ends.
        "run_finished" => RunFinished(RunFinished),
    }
}

/// The run begins: what it is a function of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunStarted {
    /// The version of the ledger's format: the lowest that can express the run. A reader that does not
    /// know it refuses.
    pub format: u32,
    /// The run's id, derived from seed and task.
    pub run_id: String,
    /// The version of the agent: it changes only where the behaviour of a run may change.
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
    /// Where its replies come from.
    pub path: ExecutionPath,
    /// The provider's name, as OpenTelemetry's `gen_ai.provider.name`.
    pub provider: String,
    /// The model's name.
    pub model: String,
}

words! {
    /// Where an LLM's replies come from.
    pub enum ExecutionPath {
        /// A deterministic stand-in: no model is asked.
        Stub => "stub",
        /// Another program, which proposes the calls: what it asked, and of whom, is for it to say.
        Outside => "outside",
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
    /// The rule that decided, or that warns; null for an allow, to which every rule must agree.
    pub rule_id: Option<Rule>,
    /// The error's name, where it denies.
    pub error_class: Option<ErrorClass>,
    /// Why, in words.
    pub reason: String,
    /// What was asked and what the limit is.
    #[schemars(schema_with = "policy::details_schema")]
    pub details: Details,
    /// The first 12 hexadecimal digits of the policy file's SHA-256.
    pub policy_version: String,
}

impl GateDecided {
    /// The decision and its rule as one word.
    pub fn ruling(&self) -> Ruling {
        Ruling::of(self.decision, self.rule_id)
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
    /// The idempotency key: a repeat under the same key has no further effect.
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

words! {
    /// How an attempt ended.
    pub enum AttemptOutcome {
        /// The tool returned a result.
        Success => "success",
        /// It failed in a way that may pass, and will be tried again.
        TransientFailure => "transient_failure",
        /// It failed in a way that may pass, and no attempt is left.
        Exhausted => "exhausted",
        /// It failed in a way that a retry cannot fix.
        Failed => "failed",
        /// It failed in a way that leaves its effect unknown, and the call must not be repeated: a
        /// `tool_reconciled` follows.
        InDoubt => "in_doubt",
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
    /// The result, cut to the policy's limit; null if there is none.
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
