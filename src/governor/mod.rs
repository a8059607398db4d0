//! One call on its way to the world: gate, intent, attempts, outcome, each in the ledger before
//! the next. The governor does not know who proposes the call.

mod settled;
mod outcome;
mod attempt;

use serde_json::Value;

use crate::clock::TICK_NS;
use crate::derive;
use crate::event::{
    AttemptOutcome, Effect, EffectState, ErrorClass, Event, LlmReplied, ProposedCall, Record,
    Subject, ToolAttempted, ToolError, ToolFinished, ToolReconciled, ToolStarted, Totals, Usage,
};
use crate::executor::{Attempted, Executor, Output};
use crate::host::HostFault;
use crate::json::JsonText;
use crate::ledger::{Ledger, LedgerError};
use crate::policy::call::{Denied, Standing};
use crate::policy::capability::{Allowed, Opening, Unopened};
use crate::policy::gate::{Gate, Verdict};
use crate::policy::rules::loop_budget::Warning;
use crate::policy::rules::progress::StepState;
use crate::retry;
use crate::state::{ENDS_BY_NOTHING, End, Ending};

use attempt::{Attempt, Running, Settlement, recorded_attempt, refused_by_kernel};
use outcome::{attempt_outcome, consequence, refused};

pub use outcome::{Halt, Handled, Outcome};
pub use settled::{Recovery, Settled};

/// What the record of an event takes of the logical time, in milliseconds.
const TICK_MS: u64 = TICK_NS / 1_000_000;

/// Takes calls through policy to the tools, and keeps the totals that budgets are about.
///
/// What the ledger's past holds is not done again: the gate decides again, and is held against what
/// was recorded; replies and results are taken from there.
pub struct Governor<'l> {
    gate: Gate<'static>,
    executor: Box<dyn Executor + Send>,
    seed: u64,
    ledger: Ledger<'l>,
    totals: Totals,
    ending: Ending,
    state: StepState,
    recovery: Recovery,
}

impl<'l> Governor<'l> {
    /// A governor at the start of a run.
    pub fn new(
        gate: Gate<'static>,
        executor: Box<dyn Executor + Send>,
        seed: u64,
        ledger: Ledger<'l>,
        recovery: Recovery,
    ) -> Self {
        let (totals, ending, state) = Default::default();
        Self { gate, executor, seed, ledger, totals, ending, state, recovery }
    }

    /// Records an event of the loop's own, and gives it back.
    ///
    /// # Errors
    /// The ledger's.
    pub fn record(&mut self, step: Option<u64>, event: Event) -> Result<Event, LedgerError> {
        self.totals.push(&event);
        self.ending.push(&event);
        self.ledger.push(step, event)
    }

    /// Records the end of the run, which follows from its events, and gives it back.
    ///
    /// # Errors
    /// The ledger's; that nothing so far can end a run, a defect of the caller.
    pub fn end_run(&mut self) -> Result<End, LedgerError> {
        let Some(end) = self.ending.end() else {
            return Err(self.ledger.refused(ENDS_BY_NOTHING));
        };
        self.record(None, Event::RunFinished(end.clone().finished(self.totals)))?;
        Ok(end)
    }

    /// The reply that is recorded already, if one is.
    ///
    /// # Errors
    /// The ledger's.
    pub fn recorded_reply(&mut self) -> Result<Option<LlmReplied>, LedgerError> {
        let recorded = self.ledger.recorded(false, |next, _| match &next.event {
            Event::LlmReplied(replied) => Some(replied.clone()),
            _ => None,
        })?;
        if recorded.is_none() {
            self.ledger.may_act()?;
        }
        Ok(recorded)
    }

    /// What the run has used.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Whether another step may be taken at all; if not, the run ends.
    ///
    /// # Errors
    /// The ledger's.
    pub fn may_step(&mut self) -> Result<bool, LedgerError> {
        let standing = self.standing()?;
        let decided = self.gate.decide_step(&standing);
        self.step_decided(decided)
    }

    /// Whether an LLM call that uses `reserved` may be made; if not, the run ends.
    ///
    /// # Errors
    /// The ledger's.
    pub fn may_spend(&mut self, reserved: Usage) -> Result<bool, LedgerError> {
        let decided = self.gate.decide_spending(&self.totals, reserved);
        self.step_decided(decided)
    }

    fn step_decided(&mut self, decided: Result<Vec<Warning>, Denied>) -> Result<bool, LedgerError> {
        match decided {
            Ok(warnings) => {
                self.warn(None, warnings)?;
                Ok(true)
            }
            Err(denied) => {
                let event = self.gate.step_event(&denied);
                self.record(None, Event::GateDecided(Box::new(event)))?;
                Ok(false)
            }
        }
    }

    fn warn(&mut self, step: Option<u64>, warnings: Vec<Warning>) -> Result<(), LedgerError> {
        for warning in warnings {
            let event = self.gate.warning_event(warning);
            self.record(step, Event::GateDecided(Box::new(event)))?;
        }
        Ok(())
    }

    fn standing(&mut self) -> Result<Standing, LedgerError> {
        Ok(Standing { totals: self.totals, elapsed_ms: self.ledger.elapsed_ms()? })
    }

    /// Takes note of the outcome of a step, for the rule that requires progress.
    pub fn end_step(&mut self) {
        let state = std::mem::take(&mut self.state);
        self.gate.observe(&state);
    }

    /// Takes one call through the gate and, if it is allowed, to its tool.
    ///
    /// # Errors
    /// The ledger's, and a call in doubt. What the tool or the policy say is not an error here but the
    /// outcome.
    pub fn handle(&mut self, step: u64, call: &ProposedCall) -> Result<Handled, Halt> {
        let opening = self.opening(call)?;
        let standing = self.standing()?;
        let (mut verdict, warnings) = self.gate.decide(call, &standing, &opening)?;
        self.warn(Some(step), warnings)?;
        let event = self.gate.call_event(call, &mut verdict);
        self.state.tools.push(call.tool.clone());
        self.state.decisions.push(event.decision);
        self.state.errors.extend(event.error_class);
        self.record(Some(step), Event::GateDecided(Box::new(event)))?;
        match verdict {
            Verdict::Deny(denied) => Ok(refused(denied)),
            Verdict::Allow(allowed) => self.execute(step, call, allowed),
        }
    }

    /// Whether what the call needs was opened before, and what the kernel said then.
    fn opening(&mut self, call: &ProposedCall) -> Result<Opening, LedgerError> {
        let past = self.ledger.past();
        if past.next_lacks(&["\"subject\":\"step\"", "\"open_refused\":"])? {
            return Ok(Opening::Recorded(None));
        }
        let mut ahead = 0;
        // Before the decision about the call there may be warnings, about the step.
        while let Some(record) = past.peek(ahead)? {
            match &record.event {
                Event::GateDecided(gate) if gate.subject == Subject::Step => ahead += 1,
                Event::GateDecided(gate) if gate.call_id.as_ref() == Some(&call.call_id) => {
                    return Ok(Opening::Recorded(refused_by_kernel(gate)));
                }
                _ => return Ok(Opening::Recorded(None)),
            }
        }
        Ok(if past.goes_on() { Opening::Now } else { Opening::Recorded(None) })
    }

    fn execute(
        &mut self,
        step: u64,
        call: &ProposedCall,
        mut allowed: Box<Allowed>,
    ) -> Result<Handled, Halt> {
        let key = derive::idempotency_key(self.seed, allowed.call_id());
        self.record(
            Some(step),
            Event::ToolStarted(ToolStarted {
                call_id: allowed.call_id().to_owned(),
                tool: allowed.tool().to_owned(),
                arguments: allowed.take_arguments(),
                idempotency_key: key.clone(),
            }),
        )?;
        if !self.is_read_only(allowed.tool()) {
            self.ledger.make_durable()?;
        }
        let mut running = Running { step, call, allowed, key };
        let mut attempt = 1;
        loop {
            let Attempt { attempted, recorded, recorded_wait_ms } =
                self.attempt(&mut running, attempt)?;
            // A recorded attempt is dated when it ended; one that is made now has just begun.
            let mut standing = self.standing()?;
            standing.elapsed_ms = standing.elapsed_ms.saturating_sub(recorded_wait_ms);
            let timeout_ms = self.gate.timeout_ms(&standing);
            let waited_ms = if matches!(attempted, Attempted::Hung) { timeout_ms } else { 0 };
            let outcome = match attempted {
                Attempted::Ended(outcome) => outcome,
                Attempted::Hung => Err(self.timed_out(timeout_ms)),
            };
            let allowed = &running.allowed;
            let outcome = outcome.and_then(|output| match recorded {
                Some(_) => Ok(output),
                None => outcome::checked(self.gate.contracts().get(allowed.tool()), output),
            });
            let doubtful = outcome.as_ref().err().filter(|error| {
                let effect = error.class.facts().effect;
                effect == EffectState::Unknown && self.is_doubtful(allowed.tool())
            });
            if let Some(error) = doubtful.cloned() {
                match self.doubt(&mut running, attempt, waited_ms, error)? {
                    Settlement::Again => {
                        attempt += 1;
                        continue;
                    }
                    Settlement::Failed { error, is_affordable } => {
                        let finished = self.finished(&running, Err(error));
                        return Ok(self.finish(step, attempt, finished, is_affordable)?);
                    }
                }
            }
            let backoff_ms =
                outcome.as_ref().err().and_then(|error| self.backoff_ms(allowed, attempt, error));
            // The next attempt would begin after the record of this one and the wait.
            standing.totals = self.totals.with_attempt();
            standing.elapsed_ms += waited_ms + TICK_MS;
            let is_affordable =
                backoff_ms.is_none_or(|wait_ms| self.gate.decide_retry(&standing, wait_ms));
            let backoff_ms = backoff_ms.filter(|_| is_affordable);
            self.record(
                Some(step),
                Event::ToolAttempted(ToolAttempted {
                    call_id: allowed.call_id().to_owned(),
                    attempt,
                    outcome: attempt_outcome(&outcome, backoff_ms),
                    waited_ms,
                    error: outcome.as_ref().err().cloned(),
                    backoff_ms,
                }),
            )?;
            if backoff_ms.is_none() {
                let finished = recorded.unwrap_or_else(|| self.finished(&running, outcome));
                return Ok(self.finish(step, attempt, finished, is_affordable)?);
            }
            attempt += 1;
        }
    }

    /// How long to wait before the next attempt; `None` where this error or the limits of retries
    /// allow none.
    fn backoff_ms(&self, allowed: &Allowed, attempt: u32, error: &ToolError) -> Option<u64> {
        let limits = &self.gate.policy().retry;
        let wait_ms = retry::backoff_ms(limits, attempt, self.seed, allowed.call_id());
        wait_ms.filter(|_| error.retryable)
    }

    /// Records an attempt that is in doubt, and then what somebody says about it.
    ///
    /// The attempt counts, whatever is said: what it used is used. If it did not take place, the rules
    /// of retries and the budgets decide, as about any other attempt that failed. The next one does
    /// not wait: looking took longer.
    fn doubt(
        &mut self,
        running: &mut Running<'_>,
        attempt: u32,
        waited_ms: u64,
        error: ToolError,
    ) -> Result<Settlement, Halt> {
        let call_id = running.allowed.call_id();
        let attempted = ToolAttempted {
            call_id: call_id.to_owned(),
            attempt,
            outcome: AttemptOutcome::InDoubt,
            waited_ms,
            error: Some(error.clone()),
            backoff_ms: None,
        };
        self.record(Some(running.step), Event::ToolAttempted(attempted))?;
        let mut said = self.recorded_reconciliation()?;
        let mut is_elsewhere = said.is_some() && self.recovery.rebuild;
        if said.is_none() {
            said = self.recovery.take_settled(call_id, attempt, true);
            is_elsewhere = said.is_some();
        }
        let said = said.or_else(|| {
            self.recovery.reconciled.take_if(|reconciled| reconciled.call_id == call_id)
        });
        let Some(said) = said else {
            self.ledger.make_durable()?;
            let class = error.class.as_str();
            let cause = format!("attempt {attempt} ended with {class}: {}", error.message);
            return Err(running.in_doubt(cause));
        };
        let mut standing = self.standing()?;
        // The next attempt would begin after the record of what was said.
        standing.elapsed_ms += TICK_MS;
        if self.reconcile(running, said)?.is_some() {
            if is_elsewhere {
                self.redo(running)?;
            }
            let message = "the effect took place, and its result did not arrive";
            let error = ToolError::new(ErrorClass::ResultLost, message);
            return Ok(Settlement::Failed { error, is_affordable: true });
        }
        if self.backoff_ms(&running.allowed, attempt, &error).is_none() {
            return Ok(Settlement::Failed { error, is_affordable: true });
        }
        Ok(match self.gate.decide_retry(&standing, 0) {
            true => Settlement::Again,
            false => Settlement::Failed { error, is_affordable: false },
        })
    }

    fn is_read_only(&self, tool: &str) -> bool {
        self.gate.contracts().get(tool).is_some_and(|contract| contract.read_only)
    }

    /// That no result came within the time that an attempt may take.
    fn timed_out(&self, timeout_ms: u64) -> ToolError {
        let key = if timeout_ms == self.gate.policy().execution.timeout_ms {
            "execution.timeout_ms"
        } else {
            "loop_budget.max_elapsed_ms"
        };
        ToolError::new(
            ErrorClass::TimedOut,
            format!("no result within {timeout_ms} ms; {key} allows no more"),
        )
    }

    /// One attempt: as it was recorded, or for real.
    fn attempt(&mut self, running: &mut Running<'_>, attempt: u32) -> Result<Attempt, Halt> {
        while let Some(reconciled) = self.recorded_reconciliation()? {
            if let Some(settled) = self.reconcile(running, reconciled)? {
                if self.recovery.rebuild {
                    self.redo(running)?;
                }
                return Ok(Attempt::of(settled));
            }
        }
        // A result that is taken on trust is not held against its digest and its contract again.
        let bytes_max = self.gate.policy().results.max_bytes;
        let trusted = self.ledger.past().is_trusting().then_some(bytes_max);
        let pick = |next: &Record, then: Option<&Record>| recorded_attempt(next, then, trusted);
        if let Some(recorded) = self.ledger.recorded(true, pick)? {
            if self.recovery.rebuild && matches!(recorded.attempted, Attempted::Ended(Ok(_))) {
                self.redo(running)?;
            }
            return Ok(recorded);
        }
        while let Some(settled) =
            self.recovery.take_settled(running.allowed.call_id(), attempt, false)
        {
            if let Some(settled) = self.reconcile(running, settled)? {
                self.redo(running)?;
                return Ok(Attempt::of(settled));
            }
        }
        if self.ledger.is_carried_on() && self.is_doubtful(running.allowed.tool()) {
            let about =
                |reconciled: &ToolReconciled| reconciled.call_id == running.allowed.call_id();
            let Some(reconciled) = self.recovery.reconciled.take_if(|reconciled| about(reconciled))
            else {
                let cause = "it was started, and its outcome is not recorded".to_owned();
                return Err(running.in_doubt(cause));
            };
            if let Some(settled) = self.reconcile(running, reconciled)? {
                return Ok(Attempt::of(settled));
            }
        }
        self.ledger.may_act()?;
        if !running.allowed.is_open() {
            match self.gate.reopen(running.call, &mut running.allowed) {
                Ok(()) => {}
                Err(Unopened::Host(fault)) => return Err(fault.into()),
                Err(Unopened::Denied(denied)) => {
                    let error = ToolError::new(ErrorClass::NotPermitted, denied.reason);
                    return Ok(Attempt::of(Attempted::Ended(Err(error))));
                }
            }
        }
        let attempted = self.executor.attempt(&running.allowed, attempt, &running.key)?;
        Ok(Attempt::of(attempted))
    }

    /// Whether a call must not be made again by anyone who does not know what became of it. This is
    /// the one place that decides it, within a run and after one was cut short.
    fn is_doubtful(&self, tool: &str) -> bool {
        !self.gate.contracts().may_repeat(tool)
    }

    fn recorded_reconciliation(&mut self) -> Result<Option<ToolReconciled>, LedgerError> {
        let next = self.ledger.past().peek(0)?;
        Ok(next.and_then(|record| match &record.event {
            Event::ToolReconciled(reconciled) => Some(reconciled.clone()),
            _ => None,
        }))
    }

    /// Records what somebody says about a call in doubt; how the attempt ended, if it took place.
    fn reconcile(
        &mut self,
        running: &Running<'_>,
        reconciled: ToolReconciled,
    ) -> Result<Option<Attempted>, LedgerError> {
        let took_place = reconciled.took_place;
        self.record(Some(running.step), Event::ToolReconciled(reconciled))?;
        if !took_place {
            self.ledger.make_durable()?;
            return Ok(None);
        }
        Ok(Some(Attempted::Ended(Err(ToolError::new(
            ErrorClass::ResultLost,
            "the effect took place, and its result was lost when the run was cut short",
        )))))
    }

    /// Does a write again that took place in another folder than this run's: what it wrote is part
    /// of the run.
    fn redo(&self, running: &mut Running<'_>) -> Result<(), HostFault> {
        let contract = self.gate.contracts().get(running.allowed.tool());
        if !contract.is_some_and(|contract| contract.has(Effect::WritePath)) {
            return Ok(());
        }
        // What a rule or the tool refuses here shows in what the run reads back.
        match self.gate.reopen(running.call, &mut running.allowed) {
            Err(Unopened::Denied(_)) => Ok(()),
            Err(Unopened::Host(fault)) => Err(fault),
            Ok(()) => self.executor.redo(&running.allowed, &running.key).map(drop),
        }
    }

    fn finished(&self, running: &Running<'_>, outcome: Result<Output, ToolError>) -> ToolFinished {
        let bytes_max = self.gate.policy().results.max_bytes;
        outcome::finished(running.allowed.call_id(), outcome, bytes_max)
    }

    fn finish(
        &mut self,
        step: u64,
        attempts: u32,
        finished: ToolFinished,
        is_affordable: bool,
    ) -> Result<Handled, LedgerError> {
        let (failure_mode, ends_run) = consequence(&finished, attempts, is_affordable);
        let error = finished.error.clone();
        self.state.results.extend(finished.sha256.filter(|_| finished.ok));
        self.state.errors.extend(finished.error.as_ref().map(|error| error.class));
        let result = match self.record(Some(step), Event::ToolFinished(finished))? {
            Event::ToolFinished(finished) => finished.result,
            _ => None,
        };
        let result = || result.unwrap_or_else(|| JsonText::of(&Value::Null));
        let standing = self.standing()?;
        let warnings = self.gate.warn_late(&standing);
        self.warn(Some(step), warnings)?;
        let outcome = error.map_or_else(|| Outcome::Returned(result()), Outcome::Failed);
        Ok(Handled { outcome, failure_mode, ends_run })
    }
}
