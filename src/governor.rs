//! One call on its way to the world: gate, intent, attempts, outcome, each in the ledger before
//! the next. The governor does not know who proposes the call.

use serde_json::Value;

use crate::derive;
use crate::event::{
    AttemptOutcome, ErrorClass, Event, FailureMode, ProposedCall, Rule, TerminalReason,
    ToolAttempted, ToolError, ToolFinished, ToolStarted, Totals, Usage,
};
use crate::json::{self, Digest};
use crate::ledger::{Ledger, LedgerError};
use crate::policy::gate::{Allowed, Denied, Gate, Standing, StepState, Verdict, Warning};
use crate::policy::spec::OnDeny;
use crate::retry;
use crate::task::Fault;
use crate::tools::faults::Attempted;
use crate::tools::{self, Output};

/// Takes calls through policy to the tools, and keeps the totals that budgets are about.
pub struct Governor<'a, 'l> {
    gate: Gate<'a>,
    faults: &'a [Fault],
    seed: u64,
    ledger: Ledger<'l>,
    totals: Totals,
    state: StepState,
}

/// What became of a call, for the proposer and for the loop.
#[derive(Debug)]
pub struct Handled {
    /// The result as recorded, if there is one.
    pub result: Option<Value>,
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
    pub fn new(gate: Gate<'a>, faults: &'a [Fault], seed: u64, ledger: Ledger<'l>) -> Self {
        Self { gate, faults, seed, ledger, totals: Totals::default(), state: StepState::default() }
    }

    /// Records an event of the loop's own, and gives it back.
    ///
    /// # Errors
    /// The ledger's.
    pub fn record(&mut self, step: Option<u64>, event: Event) -> Result<Event, LedgerError> {
        self.ledger.push(step, event)
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
        let standing = self.standing();
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

    fn standing(&self) -> Standing {
        Standing { totals: self.totals, elapsed_ms: self.ledger.elapsed_ms() }
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
    /// The ledger's. What the tool or the policy say is no error here but the outcome.
    pub fn handle(&mut self, step: u64, call: &ProposedCall) -> Result<Handled, LedgerError> {
        let (mut verdict, warnings) = self.gate.decide_call(call, &self.standing());
        self.warn(Some(step), warnings)?;
        let event = self.gate.call_event(call, &mut verdict);
        self.state.tools.push(call.tool.clone());
        self.state.decisions.push(event.decision.as_str().to_owned());
        self.state.errors.extend(event.error_class.map(|class| class.as_str().to_owned()));
        self.ledger.push(Some(step), Event::GateDecided(Box::new(event)))?;
        match verdict {
            Verdict::Deny(denied) => {
                self.totals.calls_denied += 1;
                Ok(refused(&denied))
            }
            Verdict::Allow(allowed) => {
                self.totals.calls_allowed += 1;
                self.execute(step, allowed)
            }
        }
    }

    fn execute(&mut self, step: u64, mut allowed: Box<Allowed>) -> Result<Handled, LedgerError> {
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
        let contracts = self.gate.contracts();
        if contracts.get(allowed.tool()).is_none_or(|contract| !contract.read_only) {
            self.ledger.make_durable()?;
        }
        let timeout_ms = self.gate.policy().execution.timeout_ms;
        let mut attempt = 1;
        loop {
            let attempted = tools::faults::run(self.faults, &allowed, attempt, &key);
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
            let outcome = outcome.and_then(|output| self.checked(&allowed, output));
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
                return self.finish(step, &allowed, attempt, outcome);
            }
            attempt += 1;
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
            None => Ok(output),
            Some(first) => Err(ToolError::new(
                ErrorClass::OutputSchema,
                format!("the result breaks its contract at {}: {}", first.pointer, first.what),
            )),
        }
    }

    fn finish(
        &mut self,
        step: u64,
        allowed: &Allowed,
        attempts: u32,
        outcome: Result<Output, ToolError>,
    ) -> Result<Handled, LedgerError> {
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
                let whole = json::canonical(&result);
                finished.bytes = whole.len() as u64;
                finished.sha256 = Some(Digest::of(&whole));
                finished.origin = origin;
                finished.cut = whole.len() > bytes_max;
                if tools::bound::cut(&mut result, whole.len(), bytes_max) {
                    finished.ok = true;
                    finished.result = Some(result);
                } else {
                    let message = format!(
                        "the result has {} bytes and no text that could be cut; results.max_bytes is {bytes_max}",
                        whole.len()
                    );
                    finished.error = Some(ToolError::new(ErrorClass::TooLarge, message));
                }
            }
            Err(error) => finished.error = Some(error),
        }
        let mut handled = settled(&finished, attempts);
        self.state
            .results
            .extend(finished.sha256.filter(|_| finished.ok).map(|sha256| sha256.to_string()));
        self.state
            .errors
            .extend(finished.error.as_ref().map(|error| error.class.as_str().to_owned()));
        let event = self.ledger.push(Some(step), Event::ToolFinished(finished))?;
        if let Event::ToolFinished(finished) = event {
            handled.result = finished.result;
        }
        Ok(handled)
    }
}

/// Why a run ends with a deny.
fn end_of(denied: &Denied) -> End {
    let (failure_mode, terminal_reason) = match denied.rule {
        Rule::ArgSchema => (Some(FailureMode::SchemaMismatch), TerminalReason::FailureModeTerminal),
        Rule::CycleDetection => {
            (Some(FailureMode::CycleDetection), TerminalReason::PolicyDenialTerminal)
        }
        Rule::LoopBudget => (None, TerminalReason::LoopBudget),
        Rule::Progress => (None, TerminalReason::NoProgress),
        Rule::ToolRegistry | Rule::UrlAllowlist | Rule::SandboxPath => {
            (None, TerminalReason::PolicyDenialTerminal)
        }
    };
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
