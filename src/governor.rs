//! One call on its way to the world: gate, intent, attempts, outcome, each in the ledger before
//! the next. The governor does not know who proposes the call.

use serde_json::Value;

use crate::derive;
use crate::event::{
    AttemptOutcome, Decision, Detail, Effect, ErrorClass, Event, FailureMode, GateDecided,
    LlmReplied, ProposedCall, Record, Rule, Subject, TerminalReason, ToolAttempted, ToolError,
    ToolFinished, ToolReconciled, ToolStarted, Totals, Usage,
};
use crate::json::{self, Digest, JsonText};
use crate::ledger::{Ledger, LedgerError};
use crate::policy::gate::{Allowed, Denied, Gate, Opening, Standing, StepState, Verdict, Warning};
use crate::policy::spec::OnDeny;
use crate::retry;
use crate::task::Fault;
use crate::tools::faults::Attempted;
use crate::tools::{self, Output};

/// Takes calls through policy to the tools, and keeps the totals that budgets are about.
///
/// What the ledger's past holds is not done again: the gate decides again, and is held against what
/// was recorded; replies and results are taken from there.
pub struct Governor<'a, 'l> {
    gate: Gate<'a>,
    faults: &'a [Fault],
    seed: u64,
    ledger: Ledger<'l>,
    totals: Totals,
    state: StepState,
    recovery: Recovery,
}

/// How what was recorded before is carried on from.
#[derive(Debug, Clone, Default)]
pub struct Recovery {
    /// What somebody says about the call that is in doubt.
    pub reconciled: Option<ToolReconciled>,
    /// Whether recorded writes are done again, for a folder that does not have them.
    pub rebuild: bool,
}

/// Why a call cannot be carried further.
#[derive(Debug, thiserror::Error)]
pub enum Halt {
    /// The ledger's.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The run was cut short while this call ran, and nothing says whether its effect took place.
    #[error(
        "call {call_id} of {tool:?} is in doubt: it was started, the run was cut short, and the tool's contract does not say that doing it again is doing it once"
    )]
    InDoubt {
        /// The call.
        call_id: String,
        /// The tool.
        tool: String,
        /// The arguments that it was started with.
        arguments: Box<Value>,
        /// The key that it was started under.
        idempotency_key: String,
    },
}

/// A call between its intent and its outcome.
struct Running<'c> {
    step: u64,
    call: &'c ProposedCall,
    allowed: Box<Allowed>,
    key: String,
}

/// What became of a call, for the proposer and for the loop.
#[derive(Debug)]
pub struct Handled {
    /// The result as recorded, if there is one.
    pub result: Option<JsonText>,
    /// Why there is none, in words that its proposer may read.
    pub error: Option<String>,
    /// The failure mode that it showed.
    pub failure_mode: Option<FailureMode>,
    /// Why the run ends with it, if it does.
    pub end: Option<End>,
}

/// Why a run ends.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// The reason.
    pub terminal_reason: TerminalReason,
    /// The rule that ended it.
    pub rule_id: Option<Rule>,
    /// The failure mode that ended it.
    pub failure_mode: Option<FailureMode>,
    /// The final answer.
    pub answer: Option<String>,
}

impl<'a, 'l> Governor<'a, 'l> {
    /// A governor at the start of a run.
    pub fn new(
        gate: Gate<'a>,
        faults: &'a [Fault],
        seed: u64,
        ledger: Ledger<'l>,
        recovery: Recovery,
    ) -> Self {
        let (totals, state) = (Totals::default(), StepState::default());
        Self { gate, faults, seed, ledger, totals, state, recovery }
    }

    /// Records an event of the loop's own, and gives it back.
    ///
    /// # Errors
    /// The ledger's.
    pub fn record(&mut self, step: Option<u64>, event: Event) -> Result<Event, LedgerError> {
        self.ledger.push(step, event)
    }

    /// The reply that is recorded already, if one is.
    ///
    /// # Errors
    /// The ledger's.
    pub fn recorded_reply(&mut self) -> Result<Option<LlmReplied>, LedgerError> {
        self.ledger.recorded(false, |next, _| match &next.event {
            Event::LlmReplied(replied) => Some(replied.clone()),
            _ => None,
        })
    }

    /// What the run has used.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Whether another step may be taken at all; if not, why the run ends.
    ///
    /// # Errors
    /// The ledger's.
    pub fn may_step(&mut self) -> Result<Option<End>, LedgerError> {
        let standing = self.standing()?;
        let decided = self.gate.decide_step(&standing);
        self.step_decided(decided)
    }

    /// Whether an LLM call that uses `reserved` may be made; if not, why the run ends.
    ///
    /// # Errors
    /// The ledger's.
    pub fn may_spend(&mut self, reserved: Usage) -> Result<Option<End>, LedgerError> {
        let decided = self.gate.decide_spending(&self.totals, reserved);
        self.step_decided(decided)
    }

    fn step_decided(
        &mut self,
        decided: Result<Vec<Warning>, Denied>,
    ) -> Result<Option<End>, LedgerError> {
        match decided {
            Ok(warnings) => {
                self.warn(None, warnings)?;
                Ok(None)
            }
            Err(denied) => {
                let event = self.gate.step_event(&denied);
                self.ledger.push(None, Event::GateDecided(Box::new(event)))?;
                Ok(Some(end_of(&denied)))
            }
        }
    }

    fn warn(&mut self, step: Option<u64>, warnings: Vec<Warning>) -> Result<(), LedgerError> {
        for warning in warnings {
            let event = self.gate.warning_event(warning);
            self.ledger.push(step, Event::GateDecided(Box::new(event)))?;
        }
        Ok(())
    }

    fn standing(&mut self) -> Result<Standing, LedgerError> {
        Ok(Standing { totals: self.totals, elapsed_ms: self.ledger.elapsed_ms()? })
    }

    /// Takes note of what a step came to, for the rule that asks for progress.
    pub fn end_step(&mut self) {
        let state = std::mem::take(&mut self.state);
        self.gate.observe(&state);
    }

    /// Counts a step that begins.
    pub fn count_step(&mut self) {
        self.totals.steps += 1;
    }

    /// Counts what an LLM call used.
    pub fn count_usage(&mut self, usage: Usage) {
        self.totals.usage.add(usage);
    }

    /// Takes one call through the gate and, if it is allowed, to its tool.
    ///
    /// # Errors
    /// The ledger's, and a call in doubt. What the tool or the policy say is no error here but the
    /// outcome.
    pub fn handle(&mut self, step: u64, call: &ProposedCall) -> Result<Handled, Halt> {
        let opening = self.opening(call)?;
        let standing = self.standing()?;
        let (mut verdict, warnings) = self.gate.decide(call, &standing, &opening);
        self.warn(Some(step), warnings)?;
        let event = self.gate.call_event(call, &mut verdict);
        self.state.tools.push(call.tool.clone());
        self.state.decisions.push(event.decision);
        self.state.errors.extend(event.error_class);
        self.ledger.push(Some(step), Event::GateDecided(Box::new(event)))?;
        match verdict {
            Verdict::Deny(denied) => {
                self.totals.calls_denied += 1;
                Ok(refused(&denied))
            }
            Verdict::Allow(allowed) => {
                self.totals.calls_allowed += 1;
                self.execute(step, call, allowed)
            }
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
        let key = derive::id("idem", self.seed, &["idempotency", allowed.call_id()]);
        self.ledger.push(
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
        let timeout_ms = self.gate.policy().execution.timeout_ms;
        let mut attempt = 1;
        loop {
            let Attempt { attempted, recorded } = self.attempt(&mut running, attempt)?;
            let waited_ms = if matches!(attempted, Attempted::Hung) { timeout_ms } else { 0 };
            let outcome = match attempted {
                Attempted::Ended(outcome) => outcome,
                Attempted::Hung => Err(ToolError::new(
                    ErrorClass::TimedOut,
                    format!(
                        "no result within {timeout_ms} ms; execution.timeout_ms allows no more"
                    ),
                )),
            };
            let allowed = &running.allowed;
            let outcome = outcome.and_then(|output| match recorded {
                Some(_) => Ok(output),
                None => self.checked(allowed, output),
            });
            let backoff_ms = match &outcome {
                Err(error) if error.retryable => retry::backoff_ms(
                    &self.gate.policy().retry,
                    attempt,
                    self.seed,
                    allowed.call_id(),
                ),
                _ => None,
            };
            self.totals.attempts += 1;
            self.ledger.push(
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
                let finished = recorded.unwrap_or_else(|| self.finished(allowed, outcome));
                return Ok(self.finish(step, attempt, finished)?);
            }
            attempt += 1;
        }
    }

    fn is_read_only(&self, tool: &str) -> bool {
        self.gate.contracts().get(tool).is_some_and(|contract| contract.read_only)
    }

    /// One attempt: as it was recorded, or for real.
    fn attempt(&mut self, running: &mut Running<'_>, attempt: u32) -> Result<Attempt, Halt> {
        while let Some(reconciled) = self.recorded_reconciliation()? {
            if let Some(settled) = self.reconcile(running, reconciled)? {
                return Ok(settled.into());
            }
        }
        // A result that is taken on trust is not held against its digest and its contract again.
        let bytes_max = self.gate.policy().results.max_bytes;
        let trusted = self.ledger.past().is_trusting().then_some(bytes_max);
        let pick = |next: &Record, then: Option<&Record>| recorded_attempt(next, then, trusted);
        if let Some(recorded) = self.ledger.recorded(true, pick)? {
            self.rebuild(running, &recorded.attempted);
            return Ok(recorded);
        }
        if self.ledger.is_carried_on() && !self.may_repeat(running.allowed.tool()) {
            let about =
                |reconciled: &ToolReconciled| reconciled.call_id == running.allowed.call_id();
            let Some(reconciled) = self.recovery.reconciled.take_if(|reconciled| about(reconciled))
            else {
                return Err(in_doubt(running));
            };
            if let Some(settled) = self.reconcile(running, reconciled)? {
                return Ok(settled.into());
            }
        }
        if !running.allowed.is_open()
            && let Err(denied) = self.gate.reopen(running.call, &mut running.allowed)
        {
            let error = ToolError::new(ErrorClass::NotPermitted, denied.reason);
            return Ok(Attempted::Ended(Err(error)).into());
        }
        Ok(tools::faults::run(self.faults, &running.allowed, attempt, &running.key).into())
    }

    /// Whether doing a call again does no harm.
    fn may_repeat(&self, tool: &str) -> bool {
        let contract = self.gate.contracts().get(tool);
        contract.is_some_and(|contract| contract.read_only || contract.idempotent)
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
        self.ledger.push(Some(running.step), Event::ToolReconciled(reconciled))?;
        if !took_place {
            self.ledger.make_durable()?;
            return Ok(None);
        }
        Ok(Some(Attempted::Ended(Err(ToolError::new(
            ErrorClass::ResultLost,
            "the effect took place, and its result was lost when the run was cut short",
        )))))
    }

    /// Does a recorded write again where its folder does not have it.
    fn rebuild(&self, running: &mut Running<'_>, recorded: &Attempted) {
        let writes = self.gate.contracts().get(running.allowed.tool()).is_some_and(|contract| {
            contract.effects.iter().any(|effect| effect.effect == Effect::WritePath)
        });
        if !self.recovery.rebuild || !writes || !matches!(recorded, Attempted::Ended(Ok(_))) {
            return;
        }
        // What does not succeed here shows in what the run reads back.
        if self.gate.reopen(running.call, &mut running.allowed).is_ok() {
            let _ = tools::run(&running.allowed, &running.key);
        }
    }

    /// A result that fits the contract, or the error that it does not.
    fn checked(&self, allowed: &Allowed, output: Output) -> Result<Output, ToolError> {
        let violations = self
            .gate
            .contracts()
            .get(allowed.tool())
            .map_or_else(Vec::new, |contract| contract.output_violations(&output.result));
        match violations.into_iter().next() {
            None => {}
            Some(first) => {
                let what =
                    format!("the result breaks its contract at {}: {}", first.pointer, first.what);
                return Err(ToolError::new(ErrorClass::OutputSchema, what));
            }
        }
        // Its digest would be that of another result too.
        if let Some((pointer, number)) = json::rounded(&output.result) {
            let what = format!("the result at {pointer}: {}", json::rounded_words(number));
            return Err(ToolError::new(ErrorClass::OutputSchema, what));
        }
        Ok(output)
    }

    /// What a call came to, with its result cut to policy's bound.
    fn finished(&self, allowed: &Allowed, outcome: Result<Output, ToolError>) -> ToolFinished {
        let bytes_max = usize::try_from(self.gate.policy().results.max_bytes).unwrap_or(usize::MAX);
        let mut finished = ToolFinished {
            call_id: allowed.call_id().to_owned(),
            ok: false,
            result: None,
            bytes: 0,
            sha256: None,
            cut: false,
            origin: None,
            error: None,
        };
        match outcome {
            Ok(Output { mut result, origin }) => {
                let whole = JsonText::of(&result);
                let canonical = whole.canonical();
                let bytes = canonical.len();
                finished.bytes = bytes as u64;
                finished.sha256 = Some(Digest::of(&canonical));
                finished.origin = origin;
                finished.cut = bytes > bytes_max;
                drop(canonical);
                if !finished.cut {
                    finished.ok = true;
                    finished.result = Some(whole);
                } else if tools::bound::cut(&mut result, bytes, bytes_max) {
                    finished.ok = true;
                    finished.result = Some(JsonText::of(&result));
                } else {
                    let message = format!(
                        "the result has {bytes} bytes and no text that could be cut; results.max_bytes is {bytes_max}"
                    );
                    finished.error = Some(ToolError::new(ErrorClass::TooLarge, message));
                }
            }
            Err(error) => finished.error = Some(error),
        }
        finished
    }

    fn finish(
        &mut self,
        step: u64,
        attempts: u32,
        finished: ToolFinished,
    ) -> Result<Handled, LedgerError> {
        let mut handled = settled(&finished, attempts);
        self.state.results.extend(finished.sha256.filter(|_| finished.ok));
        self.state.errors.extend(finished.error.as_ref().map(|error| error.class));
        let event = self.ledger.push(Some(step), Event::ToolFinished(finished))?;
        if let Event::ToolFinished(finished) = event {
            handled.result = finished.result;
        }
        Ok(handled)
    }
}

/// How an attempt went, and what was recorded of the call where that cannot be computed again.
struct Attempt {
    attempted: Attempted,
    recorded: Option<ToolFinished>,
}

impl From<Attempted> for Attempt {
    fn from(attempted: Attempted) -> Self {
        Self { attempted, recorded: None }
    }
}

/// What the kernel refused when a recorded decision was made.
fn refused_by_kernel(gate: &GateDecided) -> Option<(String, crate::event::Details)> {
    let refused =
        gate.decision == Decision::Deny && gate.details.contains_key(&Detail::OpenRefused);
    refused.then(|| (gate.reason.clone(), gate.details.clone()))
}

/// How an attempt went, from the record of it and of what followed; `None` where the record ends
/// before the result.
fn recorded_attempt(next: &Record, then: Option<&Record>, trusted: Option<u64>) -> Option<Attempt> {
    let Event::ToolAttempted(attempted) = &next.event else { return None };
    if let Some(error) = &attempted.error {
        let hung = error.class == ErrorClass::TimedOut;
        let ended = if hung { Attempted::Hung } else { Attempted::Ended(Err(error.clone())) };
        return Some(ended.into());
    }
    let Event::ToolFinished(finished) = &then?.event else { return None };
    let as_it_is = finished.cut || trusted.is_some_and(|bytes_max| finished.bytes <= bytes_max);
    let whole = finished.result.as_ref().filter(|_| !as_it_is).map(JsonText::value);
    let recorded = whole.is_none().then(|| finished.clone());
    let output = Output { result: whole.unwrap_or_default(), origin: finished.origin.clone() };
    Some(Attempt { attempted: Attempted::Ended(Ok(output)), recorded })
}

fn in_doubt(running: &Running<'_>) -> Halt {
    Halt::InDoubt {
        call_id: running.allowed.call_id().to_owned(),
        tool: running.allowed.tool().to_owned(),
        arguments: Box::new(running.call.arguments.clone()),
        idempotency_key: running.key.clone(),
    }
}

/// Why a run ends with a deny.
fn end_of(denied: &Denied) -> End {
    let (terminal_reason, failure_mode) = denied.rule.end();
    End { terminal_reason, rule_id: Some(denied.rule), failure_mode, answer: None }
}

/// What a denied call means for its proposer and for the run.
fn refused(denied: &Denied) -> Handled {
    let end = end_of(denied);
    let error = Some(format!("denied by {}: {}", denied.rule.as_str(), denied.reason));
    let failure_mode = end.failure_mode;
    let end = (denied.on_deny == OnDeny::Terminate).then_some(end);
    Handled { result: None, error, failure_mode, end }
}

fn attempt_outcome(outcome: &Result<Output, ToolError>, backoff_ms: Option<u64>) -> AttemptOutcome {
    match (outcome, backoff_ms) {
        (Ok(_), _) => AttemptOutcome::Success,
        (Err(_), Some(_)) => AttemptOutcome::TransientFailure,
        (Err(error), None) if error.retryable => AttemptOutcome::Exhausted,
        (Err(_), None) => AttemptOutcome::Failed,
    }
}

/// What an executed call means for its proposer and for the run; the result itself is added once
/// it is recorded.
fn settled(finished: &ToolFinished, attempts: u32) -> Handled {
    let Some(error) = &finished.error else {
        let failure_mode = (attempts > 1).then_some(FailureMode::ToolCallFailure);
        return Handled { result: None, error: None, failure_mode, end: None };
    };
    let failure_mode = if error.retryable {
        FailureMode::RetryExhaustion
    } else if error.class.is_unforeseen() {
        FailureMode::CataloguedUnhandled
    } else {
        FailureMode::ToolCallFailure
    };
    let end = (failure_mode != FailureMode::ToolCallFailure).then_some(End {
        terminal_reason: TerminalReason::FailureModeTerminal,
        rule_id: None,
        failure_mode: Some(failure_mode),
        answer: None,
    });
    let error = Some(format!("{}: {}", error.class.as_str(), error.message));
    Handled { result: None, error, failure_mode: Some(failure_mode), end }
}
