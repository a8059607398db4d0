//! What must hold between the events of a ledger beyond their order: ids and keys are what the
//! seed and the place make them, digests are those of what they stand beside, errors are of their
//! class, a stub's time is the logical clock's, no budget is exceeded, and the run ends as what came
//! before makes it end.
//!
//! The ledger's writer keeps all of this. A reader who did not see it written asks again.

use crate::clock::Clock;
use crate::derive;
use crate::event::{
    AttemptOutcome, Decision, ErrorClass, Event, ExecutionPath, GateDecided, InputRole, LlmCalled,
    LlmReplied, Record, RunFinished, RunStarted, Subject, ToolAttempted, ToolError, ToolFinished,
    ToolStarted, Totals,
};
use crate::json::Digest;
use crate::policy::path::{self, MountPath};
use crate::policy::rules::loop_budget::LoopBudget;
use crate::state::{ENDS_BY_NOTHING, End, Ending};

use super::manifest::{self, Written};

/// What is remembered between events.
#[derive(Debug, Default)]
pub struct Facts {
    seed: u64,
    run_id: String,
    policy_version: String,
    clock: Option<Clock>,
    budget: Option<LoopBudget>,
    totals: Totals,
    ending: Ending,
    /// The tool that the gate has allowed last.
    tool: Option<String>,
    /// Whether its call may write a file.
    may_write: bool,
    start_ns: u64,
    /// When the budget of time was asked last: at the first of the warnings before a record.
    asked_ns: u64,
    warned: bool,
}

/// How many inputs a run may name.
pub const INPUTS_MAX: usize = 1024;

impl Facts {
    /// Holds the run against these budgets.
    pub fn hold_to(&mut self, budget: LoopBudget) {
        self.budget = Some(budget);
    }

    /// Takes the next record, which stands where it may.
    ///
    /// # Errors
    /// What in it contradicts the rest, in words.
    pub fn push(&mut self, record: &Record) -> Result<(), String> {
        if let Event::RunStarted(started) = &record.event {
            self.started(started)?;
        }
        self.time(record)?;
        self.totals.push(&record.event);
        self.ending.push(&record.event);
        match &record.event {
            Event::StepStarted(_) => {
                let max = self.budget.map(|budget| budget.max_iterations);
                within("step", self.totals.steps, "max_iterations", max)?;
                self.in_time("step")
            }
            Event::LlmCalled(called) => self.called(called),
            Event::LlmReplied(replied) => self.replied(replied, record.step.unwrap_or(0)),
            Event::GateDecided(gate) => self.decided(gate),
            Event::ToolStarted(started) => self.tool_started(started),
            Event::ToolAttempted(attempted) => self.attempted(attempted),
            Event::ToolFinished(finished) => self.tool_finished(finished),
            Event::RunFinished(finished) => self.finished(finished),
            Event::RunStarted(_) | Event::ToolReconciled(_) | Event::StepFinished(_) => Ok(()),
        }
    }

    fn started(&mut self, started: &RunStarted) -> Result<(), String> {
        if started.inputs.len() > INPUTS_MAX {
            let named = started.inputs.len();
            return Err(format!("it names {named} inputs, and a run has at most {INPUTS_MAX}"));
        }
        self.seed = started.seed;
        self.run_id.clone_from(&started.run_id);
        self.policy_version.clone_from(&started.policy_version);
        self.clock = match started.llm.path {
            ExecutionPath::Stub | ExecutionPath::Outside => Some(Clock::logical()),
        };
        same("run_id", &started.run_id, &derive::run_id(started.seed, &started.task))?;
        let policy = started.inputs.iter().find(|input| input.role == InputRole::Policy);
        let version = policy.map(|policy| policy.sha256.short()).unwrap_or_default();
        same("policy_version", &started.policy_version, &version)
    }

    /// In a stub run nobody waits, so the time is a function of the events.
    fn time(&mut self, record: &Record) -> Result<(), String> {
        if record.seq == 0 {
            self.start_ns = record.at_ns;
        }
        if !self.warned {
            self.asked_ns = record.at_ns;
        }
        self.warned = is_warning(&record.event);
        let Some(clock) = &mut self.clock else { return Ok(()) };
        same("at_ns", &record.at_ns, &clock.date(&record.event))
    }

    /// Whether the budget of time allowed what was begun.
    fn in_time(&self, what: &str) -> Result<(), String> {
        let max = self.budget.and_then(|budget| budget.max_elapsed_ms);
        let elapsed_ms = self.asked_ns.saturating_sub(self.start_ns) / 1_000_000;
        match max {
            Some(max) if elapsed_ms >= max => Err(format!(
                "a {what} began after {elapsed_ms} ms, and loop_budget.max_elapsed_ms of the policy is {max}"
            )),
            _ => Ok(()),
        }
    }

    fn called(&self, called: &LlmCalled) -> Result<(), String> {
        let Some(budget) = &self.budget else { return Ok(()) };
        let mut then = self.totals.usage;
        then.add(called.reserved);
        within(
            "a call that uses tokens up to",
            then.total(),
            "max_tokens",
            Some(budget.max_tokens),
        )?;
        let cost = then.cost_microusd;
        within("a call that costs up to", cost, "max_cost_microusd", budget.max_cost_microusd)
    }

    fn replied(&self, replied: &LlmReplied, step: u64) -> Result<(), String> {
        for (index, call) in replied.calls.iter().enumerate() {
            let due = derive::call_id(self.seed, &self.run_id, step, index + 1);
            same("call_id", &call.call_id, &due)?;
        }
        Ok(())
    }

    fn decided(&mut self, gate: &GateDecided) -> Result<(), String> {
        same("policy_version", &gate.policy_version, &self.policy_version)?;
        let denies = gate.decision == Decision::Deny;
        let class = gate.rule_id.filter(|_| denies).map(|rule| rule.facts().class);
        if gate.error_class != class {
            let word = |class: Option<ErrorClass>| class.map_or("null", ErrorClass::as_str);
            return Err(expected("error_class", word(gate.error_class), word(class)));
        }
        let about_a_call = gate.subject == Subject::Call;
        if (gate.call_id.is_some(), gate.tool.is_some()) != (about_a_call, about_a_call) {
            return Err(
                "a decision names call and tool if and only if it is about a call".to_owned()
            );
        }
        if !about_a_call || denies {
            return match gate.rule_id {
                Some(_) => Ok(()),
                None => Err("a denial or a warning names no rule".to_owned()),
            };
        }
        if gate.rule_id.is_some() {
            return Err("an allowed call names a rule, and every rule allows it".to_owned());
        }
        self.tool.clone_from(&gate.tool);
        self.may_write = manifest::may_write(gate);
        let max = self.budget.and_then(|budget| budget.max_tool_calls);
        within("allowed call", self.totals.calls_allowed, "max_tool_calls", max)?;
        self.in_time("call")
    }

    /// The budget of time is asked before a retry too, but a ledger is not held to that: versions
    /// before let a call that had begun use up its attempts, and format and version are the same.
    /// Running such a run again shows the difference.
    fn attempted(&mut self, attempted: &ToolAttempted) -> Result<(), String> {
        attempt(attempted)?;
        let max = self.budget.and_then(|budget| budget.max_attempts);
        within("attempt", self.totals.attempts, "max_attempts", max)
    }

    fn tool_started(&self, started: &ToolStarted) -> Result<(), String> {
        same("tool", &started.tool, &self.tool.clone().unwrap_or_default())?;
        let key = derive::idempotency_key(self.seed, &started.call_id);
        same("idempotency_key", &started.idempotency_key, &key)
    }

    fn finished(&self, finished: &RunFinished) -> Result<(), String> {
        let Some(due) = self.ending.end() else { return Err(ENDS_BY_NOTHING.to_owned()) };
        let stated = End {
            terminal_reason: finished.terminal_reason,
            rule_id: finished.rule_id,
            failure_mode: finished.failure_mode,
            answer: finished.answer.clone(),
        };
        if stated == due {
            return Ok(());
        }
        Err(format!(
            "the run did not end so: by what came before it ends by {}, with {} answer",
            due.terminal_reason.as_str(),
            if due.answer.is_some() { "the last reply's" } else { "no" }
        ))
    }

    fn tool_finished(&self, finished: &ToolFinished) -> Result<(), String> {
        if finished.ok != finished.result.is_some() || finished.ok == finished.error.is_some() {
            return Err("there is either a result or an error, and ok says which".to_owned());
        }
        if let (Some(result), false) = (&finished.result, finished.cut) {
            let whole = result.canonical();
            same("bytes", &finished.bytes, &(whole.len() as u64))?;
            let stated = finished.sha256.unwrap_or(Digest::ZERO);
            same("sha256", &stated, &Digest::of(&whole))?;
        }
        let written = self.may_write.then(|| manifest::written(finished)).flatten();
        if let Some(Written { path, .. }) = written {
            let read =
                MountPath::parse(&path).ok().filter(|path| path.mount.as_str() == path::WORK);
            same("path", &path, &read.map(|path| path.to_string()).unwrap_or_default())?;
        }
        finished.error.as_ref().map_or(Ok(()), classified)
    }
}

fn attempt(attempted: &ToolAttempted) -> Result<(), String> {
    let succeeded = attempted.outcome == AttemptOutcome::Success;
    if succeeded == attempted.error.is_some() {
        return Err("an attempt has an error if and only if it did not succeed".to_owned());
    }
    if (attempted.outcome == AttemptOutcome::TransientFailure) != attempted.backoff_ms.is_some() {
        return Err("there is a wait if and only if another attempt follows".to_owned());
    }
    attempted.error.as_ref().map_or(Ok(()), classified)
}

/// Whether a budget warns: a decision about the run that lets it go on.
fn is_warning(event: &Event) -> bool {
    matches!(event, Event::GateDecided(gate)
        if gate.subject == Subject::Step && gate.decision == Decision::Allow)
}

fn classified(error: &ToolError) -> Result<(), String> {
    let facts = error.class.facts();
    let due = (facts.source, facts.category, facts.retryable);
    if (error.source, error.category, error.retryable) == due {
        return Ok(());
    }
    Err(format!(
        "source, category or retryable are not those of the class {}",
        error.class.as_str()
    ))
}

fn same<T: PartialEq + std::fmt::Display>(name: &str, stated: &T, due: &T) -> Result<(), String> {
    if stated == due { Ok(()) } else { Err(expected(name, stated, due)) }
}

fn expected(name: &str, stated: impl std::fmt::Display, due: impl std::fmt::Display) -> String {
    format!("{name} is {stated}, expected {due}")
}

fn within(what: &str, used: u64, key: &str, max: Option<u64>) -> Result<(), String> {
    match max {
        Some(max) if used > max => {
            Err(format!("{what} {used} went ahead, and loop_budget.{key} of the policy is {max}"))
        }
        _ => Ok(()),
    }
}
