//! Who proposes calls. `Llm` is the one trait of the core: what lies behind it may be a script, a
//! seeded generator, or a model far away, and the loop cannot tell.

pub mod script;
pub mod random;
pub mod recorded;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::event::{LlmReplied, Usage};
use crate::json::{self, Digest, JsonText};

/// Something that proposes calls until it has an answer.
pub trait Llm {
    /// Takes note of a message of the conversation. Messages come once and in order; what it needs
    /// later, it keeps.
    fn hear(&mut self, message: &Message<'_>);

    /// What the next call will use at most. The budget is checked against it before the call.
    ///
    /// # Errors
    /// As [`Llm::reply`], where the reply is known beforehand.
    fn reserve(&mut self, request: &Request) -> Result<Usage, LlmError>;

    /// The reply to the conversation so far.
    ///
    /// # Errors
    /// Why there is none.
    fn reply(&mut self, request: &Request) -> Result<Reply, LlmError>;
}

/// What is asked: everything said so far, in a digest.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// The step, from 1.
    pub step: u64,
    /// SHA-256 of all messages.
    pub sha256: Digest,
    /// How many messages there are.
    pub messages: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

/// What an LLM answers. It has either calls or a final answer.
///
/// ```
/// use gatedrun::Reply;
/// use serde_json::json;
///
/// let calls = Reply::from([("read", json!({"path": "corpus/op-19.md"}))]).text("I read it.");
/// assert_eq!(calls.calls.len(), 1);
/// assert_eq!(Reply::from("75 days").final_answer.as_deref(), Some("75 days"));
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reply {
    /// What it says besides its calls.
    pub text: Option<String>,
    /// Tool and arguments of each call.
    pub calls: Vec<(String, Value)>,
    /// Its final answer.
    pub final_answer: Option<String>,
    /// What the call used, where somebody has counted; else it is estimated.
    pub usage: Option<Usage>,
}

impl Reply {
    /// The same with what it says besides its calls.
    #[must_use]
    pub fn text(self, text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..self }
    }

    /// The same with what the call used: tokens, and cost in millionths of a US dollar.
    #[must_use]
    pub fn usage(self, usage: Usage) -> Self {
        Self { usage: Some(usage), ..self }
    }

    /// What the call used: as counted, or an estimate of request and reply at no cost.
    pub fn used(&self, request: &Request) -> Usage {
        self.usage.unwrap_or_else(|| Usage {
            input_tokens: estimate_tokens(request.bytes),
            output_tokens: estimate_tokens(self.bytes()),
            cost_microusd: 0,
        })
    }

    /// Its size: its texts, and each call's tool and arguments as JSON.
    fn bytes(&self) -> u64 {
        let texts = self.text.iter().chain(&self.final_answer).map(String::len).sum::<usize>();
        let size =
            |arguments: &Value| serde_json::to_string(arguments).map_or(0, |text| text.len());
        let calls = self.calls.iter().map(|(tool, arguments)| tool.len() + size(arguments));
        (texts + calls.sum::<usize>()) as u64
    }
}

/// The calls of a reply: tool and arguments of each.
impl<T: Into<String>> From<Vec<(T, Value)>> for Reply {
    fn from(calls: Vec<(T, Value)>) -> Self {
        let calls = calls.into_iter().map(|(tool, arguments)| (tool.into(), arguments));
        Self { calls: calls.collect(), ..Self::default() }
    }
}

/// The calls of a reply: tool and arguments of each.
impl<T: Into<String>, const N: usize> From<[(T, Value); N]> for Reply {
    fn from(calls: [(T, Value); N]) -> Self {
        Self::from(Vec::from(calls))
    }
}

/// A final answer.
impl From<&str> for Reply {
    fn from(answer: &str) -> Self {
        Self { final_answer: Some(answer.to_owned()), ..Self::default() }
    }
}

/// Why an LLM has no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("step {step}: {what}")]
pub struct LlmError {
    /// The step, from 1.
    pub step: u64,
    /// What is missing, and how to fix it.
    pub what: String,
}

/// One message of the conversation.
#[derive(Debug, Serialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Message<'a> {
    /// What holds for the whole run.
    System {
        /// The prompt.
        text: &'a str,
        /// The contracts of the tools that may be proposed.
        tools: Vec<&'a JsonText>,
    },
    /// The question.
    User {
        /// Its text.
        text: &'a str,
    },
    /// What the LLM said.
    Assistant {
        /// The reply as recorded.
        reply: &'a LlmReplied,
    },
    /// What became of a call.
    Tool {
        /// The call.
        call_id: &'a str,
        /// Its step, from 1.
        step: u64,
        /// Its place in the step, from 1.
        call: usize,
        /// The result as recorded.
        #[serde(skip_serializing_if = "Option::is_none")]
        result: Option<&'a JsonText>,
        /// Why there is no result: a denial or an error, in words.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
}

/// The conversation so far, in constant memory: its digest and size, never its text.
#[derive(Debug, Clone, Default)]
pub struct Conversation {
    hasher: Sha256,
    messages: u64,
    bytes: u64,
    line: Vec<u8>,
}

impl Conversation {
    /// Adds a message: a line of JSON.
    pub fn push(&mut self, message: &Message<'_>) {
        self.line.clear();
        json::append(&mut self.line, message);
        self.line.push(b'\n');
        self.hasher.update(&self.line);
        self.messages += 1;
        self.bytes += self.line.len() as u64;
    }

    /// The request that asks for the reply of a step.
    pub fn request(&self, step: u64) -> Request {
        Request {
            step,
            sha256: Digest::from(self.hasher.clone()),
            messages: self.messages,
            bytes: self.bytes,
        }
    }
}

/// Tokens of a text of this many bytes, where nobody has counted: a token for every four bytes,
/// rounded up.
pub fn estimate_tokens(bytes: u64) -> u64 {
    bytes.div_ceil(4)
}
