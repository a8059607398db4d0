//! The loop: ask the LLM, take what it proposes through the governor, until the run ends.

use crate::derive;
use crate::event::{
    Event, LlmCalled, LlmReplied, ProposedCall, RunStarted, StepFinished, StepStarted, Usage,
};
use crate::governor::{Governor, Halt, Handled};
use crate::host::HostFault;
use crate::ledger::LedgerError;
use crate::llm::{Conversation, Llm, LlmError, Message, Reply, Request};
use crate::state::End;

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

/// An agent: the conversation with a proposer, and the governor of its calls.
///
/// It is driven in one of two ways, by the same steps: [`Agent::run`] asks an LLM until the run ends; or
/// whoever has the replies asks [`Agent::may_step`], then [`Agent::ask`], then [`Agent::take`], and in the
/// end [`Agent::end`].
pub struct Agent<'l> {
    run_id: String,
    seed: u64,
    governor: Governor<'l>,
    conversation: Conversation,
}

/// A step that was taken: the reply, and what became of its calls.
#[derive(Debug)]
pub struct Step {
    number: u64,
    /// The reply as recorded.
    pub replied: LlmReplied,
    /// What became of its calls, in order. Where one ends the run, those after it are not decided.
    pub handled: Vec<Handled>,
    /// Whether the run ends with it.
    pub ends_run: bool,
}

impl Step {
    /// What it adds to the conversation.
    fn messages(&self) -> impl Iterator<Item = Message<'_>> {
        let calls = self.replied.calls.iter().zip(&self.handled).enumerate();
        let told = calls.map(|(index, (call, handled))| Message::Tool {
            call_id: &call.call_id,
            step: self.number,
            call: index + 1,
            result: handled.outcome.result(),
            error: handled.outcome.error(),
        });
        std::iter::once(Message::Assistant { reply: &self.replied }).chain(told)
    }
}

impl<'l> Agent<'l> {
    /// Begins a run. `opening` is what is said before the first step.
    ///
    /// # Errors
    /// See [`RunError`]; as of every other step.
    pub fn begin(
        mut governor: Governor<'l>,
        started: RunStarted,
        opening: &[Message<'_>],
    ) -> Result<Self, RunError> {
        let (run_id, seed) = (started.run_id.clone(), started.seed);
        governor.record(None, Event::RunStarted(Box::new(started)))?;
        let mut conversation = Conversation::default();
        opening.iter().for_each(|message| conversation.push(message));
        Ok(Self { run_id, seed, governor, conversation })
    }

    /// Runs to the last event. `opening` is what was said before the first step.
    ///
    /// # Errors
    /// See [`RunError`].
    pub fn run(mut self, llm: &mut dyn Llm, opening: &[Message<'_>]) -> Result<(), RunError> {
        opening.iter().for_each(|message| llm.hear(message));
        while self.may_step()? {
            let Some(request) = self.ask(|request| llm.reserve(request))? else { break };
            let reply = match self.governor.recorded_reply()? {
                Some(recorded) => unplaced(recorded),
                None => llm.reply(&request)?,
            };
            let step = self.take(&request, reply)?;
            step.messages().for_each(|message| llm.hear(&message));
            if step.ends_run {
                break;
            }
        }
        self.end().map(drop)
    }

    /// Whether another step may be taken; if not, the run ends.
    ///
    /// # Errors
    /// See [`RunError`].
    pub fn may_step(&mut self) -> Result<bool, RunError> {
        Ok(self.governor.may_step()?)
    }

    /// Begins a step: the request that is asked, where the budget allows what its reply will use at
    /// most, which `reserve` says; `None` where it does not, and the run ends.
    ///
    /// # Errors
    /// See [`RunError`].
    pub fn ask(
        &mut self,
        reserve: impl FnOnce(&Request) -> Result<Usage, LlmError>,
    ) -> Result<Option<Request>, RunError> {
        let step = self.governor.totals().steps + 1;
        let request = self.conversation.request(step);
        let reserved = reserve(&request)?;
        if !self.governor.may_spend(reserved)? {
            return Ok(None);
        }
        self.governor.record(Some(step), Event::StepStarted(StepStarted {}))?;
        let called =
            LlmCalled { request_sha256: request.sha256, messages: request.messages, reserved };
        self.governor.record(Some(step), Event::LlmCalled(called))?;
        Ok(Some(request))
    }

    /// Takes the reply to a request: its calls through the governor, to the end of the step.
    ///
    /// # Errors
    /// See [`RunError`].
    pub fn take(&mut self, request: &Request, reply: Reply) -> Result<Step, RunError> {
        let number = request.step;
        let replied = self.replied(request, reply);
        let event = self.governor.record(Some(number), Event::LlmReplied(replied))?;
        // What is recorded is what was given, or the run has stopped.
        let Event::LlmReplied(replied) = event else { return Err(not_a_reply(number)) };
        let (mut handled, mut failure_mode) = (Vec::new(), None);
        let mut ends_run = replied.final_answer.is_some();
        for call in &replied.calls {
            let one = self.governor.handle(number, call)?;
            failure_mode = one.failure_mode.or(failure_mode);
            ends_run = one.ends_run;
            handled.push(one);
            if ends_run {
                break;
            }
        }
        let step = Step { number, replied, handled, ends_run };
        step.messages().for_each(|message| self.conversation.push(&message));
        self.governor.end_step();
        let finished = StepFinished { failure_mode, totals: self.governor.totals() };
        self.governor.record(Some(number), Event::StepFinished(finished))?;
        Ok(step)
    }

    /// Ends the run; how it ends follows from its events.
    ///
    /// # Errors
    /// See [`RunError`].
    pub fn end(&mut self) -> Result<End, RunError> {
        Ok(self.governor.end_run()?)
    }

    /// A reply with an id for each call, and with what it used.
    fn replied(&self, request: &Request, reply: Reply) -> LlmReplied {
        let usage = reply.used(request);
        let calls = reply.calls.into_iter().enumerate().map(|(index, (tool, arguments))| {
            let call_id = derive::call_id(self.seed, &self.run_id, request.step, index + 1);
            ProposedCall { call_id, tool, arguments }
        });
        LlmReplied {
            text: reply.text,
            calls: calls.collect(),
            final_answer: reply.final_answer,
            usage,
        }
    }
}

/// That the ledger gave another event back than the one that it was given: a defect of this program.
fn not_a_reply(step: u64) -> RunError {
    LlmError { step, what: "the ledger holds another event than the reply".to_owned() }.into()
}

/// A recorded reply as it was given, without the ids, which are computed again.
pub fn unplaced(recorded: LlmReplied) -> Reply {
    Reply {
        text: recorded.text,
        calls: recorded.calls.into_iter().map(|call| (call.tool, call.arguments)).collect(),
        final_answer: recorded.final_answer,
        usage: Some(recorded.usage),
    }
}
