//! Replies that were recorded, given again: for a run whose calls came from another program, which nobody
//! can ask here.

use super::{Llm, LlmError, Message, Reply, Request};
use crate::event::Usage;

/// A recorded reply, with what its call was expected to use.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// What the call was expected to use at most.
    pub reserved: Usage,
    /// The reply; `None` where the budget did not allow the call.
    pub reply: Option<Reply>,
}

/// The recorded replies of a run, one per request, in order; an error, in words, where they cannot be read.
pub type Replies<'a> = Box<dyn Iterator<Item = Result<Said, String>> + Send + 'a>;

/// An LLM that gives recorded replies.
pub struct RecordedLlm<'a> {
    replies: Replies<'a>,
    /// How many of them were read.
    read: u64,
    ready: Option<Said>,
}

const MISSING: &str =
    "the calls come from another program (llm.outside), and no reply to this request is recorded";

fn missing(step: u64) -> LlmError {
    LlmError { step, what: MISSING.to_owned() }
}

impl<'a> RecordedLlm<'a> {
    /// An LLM before the first of these replies.
    pub fn new(replies: Replies<'a>) -> Self {
        Self { replies, read: 0, ready: None }
    }

    fn said(&mut self, step: u64) -> Result<&Said, LlmError> {
        while self.read < step {
            self.read += 1;
            let said = self.replies.next().unwrap_or_else(|| Err(MISSING.to_owned()));
            self.ready = Some(said.map_err(|what| LlmError { step, what })?);
        }
        self.ready.as_ref().ok_or_else(|| missing(step))
    }
}

impl Llm for RecordedLlm<'_> {
    fn hear(&mut self, _: &Message<'_>) {}

    fn reserve(&mut self, request: &Request) -> Result<Usage, LlmError> {
        Ok(self.said(request.step)?.reserved)
    }

    fn reply(&mut self, request: &Request) -> Result<Reply, LlmError> {
        self.said(request.step)?.reply.clone().ok_or_else(|| missing(request.step))
    }
}
