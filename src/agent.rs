//! The loop: ask the LLM, take what it proposes through the governor, until the run ends.

use crate::derive;
use crate::event::{
    Event, LlmCalled, LlmReplied, ProposedCall, RunStarted, StepFinished, StepStarted,
};
use crate::governor::{Governor, Halt};
use crate::host::HostFault;
use crate::ledger::LedgerError;
use crate::llm::{Conversation, Llm, LlmError, Message, Reply};

/// The version of the agent, which a run states: of the loop, and of what it asks and records. It
/// changes where the behaviour of a run may change, and stays where a release of the program changes
/// nothing of that: such a release makes the same bytes.
pub const VERSION: &str = "0.1.0";

/// Why a run could not be carried to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The ledger could not be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The LLM has no reply.
    #[error(transparent)]
    Llm(#[from] LlmError),
    /// Nobody knows what became of a call.
    #[error(transparent)]
    InDoubt(Halt),
    /// The machine refused what the run needs. What was recorded is kept.
    #[error(transparent)]
    Host(#[from] HostFault),
}

impl From<Halt> for RunError {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Ledger(error) => Self::Ledger(error),
            Halt::Host(fault) => Self::Host(fault),
            in_doubt @ Halt::InDoubt { .. } => Self::InDoubt(in_doubt),
        }
    }
}

/// An agent: a proposer, and the governor of its calls.
pub struct Agent<'a, 'l> {
    run_id: String,
    seed: u64,
    governor: Governor<'a, 'l>,
    llm: Box<dyn Llm + 'a>,
    conversation: Conversation,
}

impl<'a, 'l> Agent<'a, 'l> {
    /// An agent at the start of a run.
    pub fn new(
        run_id: &str,
        seed: u64,
        governor: Governor<'a, 'l>,
        llm: Box<dyn Llm + 'a>,
    ) -> Self {
        let conversation = Conversation::default();
        Self { run_id: run_id.to_owned(), seed, governor, llm, conversation }
    }

    /// Runs from the first event to the last. `opening` is what is said before the first step.
    ///
    /// # Errors
    /// See [`RunError`].
    pub fn run(mut self, started: RunStarted, opening: &[Message<'_>]) -> Result<(), RunError> {
        self.governor.record(None, Event::RunStarted(Box::new(started)))?;
        for message in opening {
            self.say(message);
        }
        while self.step()? {}
        Ok(self.governor.end_run()?)
    }

    /// One step; whether the run continues after it.
    fn step(&mut self) -> Result<bool, RunError> {
        if !self.governor.may_step()? {
            return Ok(false);
        }
        let step = self.governor.totals().steps + 1;
        let request = self.conversation.request(step);
        let reserved = self.llm.reserve(&request)?;
        if !self.governor.may_spend(reserved)? {
            return Ok(false);
        }
        self.governor.record(Some(step), Event::StepStarted(StepStarted {}))?;
        let called =
            LlmCalled { request_sha256: request.sha256, messages: request.messages, reserved };
        self.governor.record(Some(step), Event::LlmCalled(called))?;
        let reply = match self.governor.recorded_reply()? {
            Some(recorded) => unplaced(recorded),
            None => self.llm.reply(&request)?,
        };
        let replied = self.replied(step, reply);
        self.say(&Message::Assistant { reply: &replied });
        let event = self.governor.record(Some(step), Event::LlmReplied(replied))?;
        let Event::LlmReplied(replied) = event else { return Ok(true) };

        let mut failure_mode = None;
        let mut ends_run = replied.final_answer.is_some();
        for (index, call) in replied.calls.iter().enumerate() {
            let handled = self.governor.handle(step, call)?;
            self.say(&Message::Tool {
                call_id: &call.call_id,
                step,
                call: index + 1,
                result: handled.result.as_ref(),
                error: handled.error.as_deref(),
            });
            failure_mode = handled.failure_mode.or(failure_mode);
            ends_run = handled.ends_run;
            if ends_run {
                break;
            }
        }
        self.governor.end_step();
        let finished = StepFinished { failure_mode, totals: self.governor.totals() };
        self.governor.record(Some(step), Event::StepFinished(finished))?;
        Ok(!ends_run)
    }

    fn say(&mut self, message: &Message<'_>) {
        self.conversation.push(message);
        self.llm.hear(message);
    }

    /// A reply with an id for each call.
    fn replied(&self, step: u64, reply: Reply) -> LlmReplied {
        let calls = reply.calls.into_iter().enumerate().map(|(index, (tool, arguments))| {
            let call_id = derive::call_id(self.seed, &self.run_id, step, index + 1);
            ProposedCall { call_id, tool, arguments }
        });
        LlmReplied {
            text: reply.text,
            calls: calls.collect(),
            final_answer: reply.final_answer,
            usage: reply.usage,
        }
    }
}

/// A recorded reply as the LLM gave it, without the ids, which are computed again.
fn unplaced(recorded: LlmReplied) -> Reply {
    Reply {
        text: recorded.text,
        calls: recorded.calls.into_iter().map(|call| (call.tool, call.arguments)).collect(),
        final_answer: recorded.final_answer,
        usage: recorded.usage,
    }
}
