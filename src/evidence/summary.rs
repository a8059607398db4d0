//! The counts of a run. Report, manifest, terminal and expectations take every number from here.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::event::{
    AttemptOutcome, Decision, Event, FailureMode, GateDecided, Record, Rule, RunFinished,
    RunStarted, TerminalReason, Totals, Usage,
};
use crate::json::Digest;

/// What happened in a run, in numbers and names.
#[derive(Debug, Default, Clone)]
pub struct Summary {
    /// What the run is a function of; there once it has begun.
    pub started: Option<RunStarted>,
    /// How it ended; there once it has.
    pub finished: Option<RunFinished>,
    /// Steps, calls, attempts and tokens.
    pub totals: Totals,
    /// Attempts after the first of a call.
    pub retries: u64,
    /// Calls that used up their attempts.
    pub exhausted: u64,
    /// Results that were cut.
    pub cut: u64,
    /// How often each failure mode occurred.
    pub failure_modes: BTreeMap<FailureMode, u64>,
    /// How often each decision was made, about calls and about the run.
    pub decisions: BTreeMap<(Decision, Option<Rule>), u64>,
    /// How many records the ledger holds.
    pub records: u64,
    /// Time from the first record to the last, in nanoseconds.
    pub duration_ns: u64,
    first_ns: u64,
}

/// The outcome of a run, as the manifest and `show --json` state it.
#[derive(Debug, Clone, JsonSchema, Serialize)]
pub struct Outcome {
    /// Why the run ended.
    pub terminal_reason: TerminalReason,
    /// The rule that ended it, if one did.
    pub rule_id: Option<Rule>,
    /// The failure mode that ended it, if one did.
    pub failure_mode: Option<FailureMode>,
    /// SHA-256 of the answer, if there is one.
    pub answer_sha256: Option<Digest>,
    /// Steps taken.
    pub steps: u64,
    /// Tool calls that the gate allowed.
    pub calls_allowed: u64,
    /// Tool calls that the gate denied.
    pub calls_denied: u64,
    /// Attempts of tools.
    pub attempts: u64,
    /// Attempts after the first of a call.
    pub retries: u64,
    /// Calls that used up their attempts.
    pub exhausted: u64,
    /// How often each failure mode occurred.
    pub failure_modes: BTreeMap<FailureMode, u64>,
    /// Tokens of all LLM calls.
    pub usage: Usage,
}

impl Summary {
    /// Takes the next record.
    pub fn push(&mut self, record: &Record) {
        if self.records == 0 {
            self.first_ns = record.at_ns;
        }
        self.records += 1;
        self.duration_ns = record.at_ns.saturating_sub(self.first_ns);
        self.totals.push(&record.event);
        match &record.event {
            Event::RunStarted(started) => self.started = Some((**started).clone()),
            Event::GateDecided(gate) => self.decided(gate),
            Event::ToolAttempted(attempted) => {
                self.retries += u64::from(attempted.attempt > 1);
                self.exhausted += u64::from(attempted.outcome == AttemptOutcome::Exhausted);
            }
            Event::ToolFinished(finished) => self.cut += u64::from(finished.cut),
            Event::StepFinished(finished) => {
                if let Some(mode) = finished.failure_mode {
                    *self.failure_modes.entry(mode).or_insert(0) += 1;
                }
            }
            Event::RunFinished(finished) => self.finished = Some(finished.clone()),
            _ => {}
        }
    }

    fn decided(&mut self, gate: &GateDecided) {
        *self.decisions.entry((gate.decision, gate.rule_id)).or_insert(0) += 1;
    }

    /// The outcome, once the run has ended.
    pub fn outcome(&self) -> Option<Outcome> {
        let finished = self.finished.as_ref()?;
        Some(Outcome {
            terminal_reason: finished.terminal_reason,
            rule_id: finished.rule_id,
            failure_mode: finished.failure_mode,
            answer_sha256: finished.answer.as_ref().map(|answer| Digest::of(answer.as_bytes())),
            steps: self.totals.steps,
            calls_allowed: self.totals.calls_allowed,
            calls_denied: self.totals.calls_denied,
            attempts: self.totals.attempts,
            retries: self.retries,
            exhausted: self.exhausted,
            failure_modes: self.failure_modes.clone(),
            usage: self.totals.usage,
        })
    }
}
