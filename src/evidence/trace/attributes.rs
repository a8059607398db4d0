//! The attributes of a span: which there are, and how they are written.

use serde_json::Value;
use url::{Origin, Url};

use crate::event::{Detail, ErrorClass, ErrorFacts, ToolError};
use crate::json::{self, Digest};

use super::super::text::shortened;

/// How many characters of a text a span has: a name that somebody made up must not be able to swell
/// every span that repeats it.
pub const TEXT_CHARS_MAX: usize = 1024;

/// Every attribute that a span can carry, and what it says. The names under `policy.` that are
/// not listed are those of [`crate::event::Detail`].
pub const ATTRIBUTES: &[(&str, &str)] = &[
    ("agent.failure_mode", "the failure mode of the step or run"),
    ("agent.llm.execution_path", "`stub`: no model was asked; `outside`: another program asked"),
    ("agent.llm.request_sha256", "SHA-256 of the whole request"),
    ("agent.policy.decision", "`allow` or `deny`"),
    ("agent.policy.rule_id", "the rule that denied"),
    ("agent.policy.subject", "`call` or `step`"),
    ("agent.reconciled.took_place", "whether its effect took place"),
    ("agent.retry.attempt", "the attempt, from 1"),
    ("agent.retry.backoff_ms", "milliseconds until the next attempt"),
    ("agent.retry.outcome", "`success`, `transient_failure`, `exhausted`, `failed` or `in_doubt`"),
    ("agent.run_id", "the run"),
    ("agent.step_index", "the step, from 1"),
    ("agent.task", "the task's id"),
    ("agent.terminal_reason", "why the run ended"),
    ("agent.tool.error_category", "the category of the error"),
    ("agent.tool.error_class", "the error's name"),
    ("agent.tool.error_retryable", "whether trying again can help"),
    ("agent.tool.error_source", "the source of the error"),
    ("agent.tool.result_bytes", "size of the whole result as canonical JSON"),
    ("agent.tool.result_cut", "true where the LLM got less than the whole result"),
    ("agent.tool.result_sha256", "SHA-256 of the whole result as canonical JSON"),
    ("agent.tool_name", "the tool as proposed"),
    ("error.type", "the error's name, or the rule or failure mode that ended the run"),
    ("gen_ai.agent.id", "the task's id"),
    ("gen_ai.agent.name", "`gatedrun`"),
    ("gen_ai.agent.version", "the version of the agent"),
    ("gen_ai.conversation.id", "the run"),
    ("gen_ai.operation.name", "`invoke_agent`, `chat` or `execute_tool`"),
    ("gen_ai.provider.name", "who provides the model"),
    ("gen_ai.request.model", "the model"),
    ("gen_ai.request.seed", "the run's seed"),
    ("gen_ai.response.finish_reasons", "`stop` for a final answer, `tool_calls` for calls"),
    ("gen_ai.response.model", "the model that answered"),
    ("gen_ai.tool.call.id", "the call"),
    ("gen_ai.tool.name", "the tool"),
    ("gen_ai.tool.type", "`function`"),
    ("gen_ai.usage.input_tokens", "tokens of the request"),
    ("gen_ai.usage.output_tokens", "tokens of the reply"),
    ("openinference.span.kind", "`AGENT`, `CHAIN`, `LLM`, `TOOL` or `GUARDRAIL`"),
    ("policy.version", "the first 12 hexadecimal digits of the policy file's SHA-256"),
];

/// Writes the attributes of a span.
pub(super) struct Attributes<'a> {
    out: &'a mut Vec<u8>,
    any: bool,
}

impl<'a> Attributes<'a> {
    /// The attributes of a span whose list begins here.
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, any: false }
    }

    pub(super) fn key(&mut self, key: &str) {
        if self.any {
            self.out.push(b',');
        }
        self.any = true;
        self.out.extend_from_slice(b"{\"key\":\"");
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\",\"value\":{");
    }

    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        self.out.extend_from_slice(b"\"stringValue\":");
        string(self.out, value);
        self.out.extend_from_slice(b"}}");
    }

    pub(super) fn digest(&mut self, key: &str, value: &Digest) {
        self.key(key);
        self.out.extend_from_slice(b"\"stringValue\":");
        self.out.push(b'"');
        self.out.extend_from_slice(&value.hex());
        self.out.extend_from_slice(b"\"}}");
    }

    pub(super) fn int(&mut self, key: &str, value: u64) {
        self.key(key);
        self.out.extend_from_slice(b"\"intValue\":\"");
        number(self.out, value);
        self.out.extend_from_slice(b"\"}}");
    }

    pub(super) fn flag(&mut self, key: &str, value: bool) {
        self.key(key);
        self.out.extend_from_slice(if value {
            b"\"boolValue\":true}}"
        } else {
            b"\"boolValue\":false}}"
        });
    }

    pub(super) fn value(&mut self, key: &str, value: &Value) {
        match value {
            Value::String(text) => self.text(key, text),
            Value::Number(number) if number.as_u64().is_some() => {
                self.int(key, number.as_u64().unwrap_or(0))
            }
            Value::Bool(flag) => self.flag(key, *flag),
            Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                self.text(key, &value.to_string());
            }
        }
    }

    pub(super) fn texts(&mut self, key: &str, values: &[&str]) {
        self.key(key);
        self.out.extend_from_slice(b"\"arrayValue\":{\"values\":[");
        for (index, value) in values.iter().enumerate() {
            self.out.extend_from_slice(if index > 0 {
                b",{\"stringValue\":"
            } else {
                b"{\"stringValue\":"
            });
            string(self.out, value);
            self.out.push(b'}');
        }
        self.out.extend_from_slice(b"]}}}");
    }

    /// OTLP's integers are signed: a larger seed is not written.
    pub(super) fn seed(&mut self, seed: u64) {
        if i64::try_from(seed).is_ok() {
            self.int("gen_ai.request.seed", seed);
        }
    }

    /// A detail of a decision, unless it is content.
    pub(super) fn detail(&mut self, detail: Detail, value: &Value) {
        match detail {
            // It may quote the argument that the schema refuses.
            Detail::SchemaError => {}
            // Path and query are the agent's to fill.
            Detail::Url => {
                let origin = value.as_str().and_then(|url| Url::parse(url).ok());
                if let Some(origin) = origin.map(|url| url.origin()).filter(Origin::is_tuple) {
                    self.text(detail.attribute(), &origin.ascii_serialization());
                }
            }
            Detail::RequestedTool
            | Detail::RegistryMatch
            | Detail::Tool
            | Detail::Host
            | Detail::TargetPath
            | Detail::ResolvedPath
            | Detail::SandboxRoot
            | Detail::FailedPath
            | Detail::LimitKind
            | Detail::Iterations
            | Detail::MaxIterations
            | Detail::Tokens
            | Detail::MaxTokens
            | Detail::Repeats
            | Detail::MaxRepeats
            | Detail::ToolCalls
            | Detail::Attempts
            | Detail::MaxAttempts
            | Detail::MaxToolCalls
            | Detail::CostMicrousd
            | Detail::MaxCostMicrousd
            | Detail::ElapsedMs
            | Detail::MaxElapsedMs
            | Detail::WarnAtPercent
            | Detail::Fingerprint
            | Detail::RepeatedStates
            | Detail::MaxRepeatedStates
            | Detail::OpenRefused => self.value(detail.attribute(), value),
        }
    }

    pub(super) fn class(&mut self, class: ErrorClass) {
        let ErrorFacts { source, category, retryable, .. } = class.facts();
        self.text("error.type", class.as_str());
        self.text("agent.tool.error_class", class.as_str());
        self.text("agent.tool.error_source", source.as_str());
        self.text("agent.tool.error_category", category.as_str());
        self.flag("agent.tool.error_retryable", retryable);
    }

    pub(super) fn error(&mut self, error: Option<&ToolError>) {
        if let Some(error) = error {
            self.class(error.class);
        }
    }
}

/// A number's digits: most of what a span holds besides names, so no formatter is asked.
pub(super) fn number(out: &mut Vec<u8>, value: u64) {
    json::append(out, &value);
}

/// A text in JSON, cut where it is too long.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    let text = shortened(text, TEXT_CHARS_MAX);
    json::append(out, &text);
}
