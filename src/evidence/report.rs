//! `run_report.md`: the run for a person. Everything that is data is escaped, and what could be of
//! any length is told in part: nobody reads a million rows, and the ledger has them.

use std::collections::VecDeque;
use std::fmt::Write as _;

use crate::event::{
    AttemptOutcome, Decision, ErrorClass, Event, GateDecided, Record, ToolAttempted, ToolFinished,
    ToolStarted,
};

use super::summary::{Summary, decision_word};
use super::text::{counted, markdown, quotation, shortened};

/// How many letters of a name an LLM made up a report shows.
const NAME_CHARS_MAX: usize = 80;

/// How many letters of any other text in a table a report shows.
const CELL_CHARS_MAX: usize = 500;

/// How many rows of a table a report tells: half of them from its beginning, half from its end.
pub const ROWS_MAX: usize = 1000;

/// How much of what happened in one step a report tells.
const CALLS_MAX: usize = 100;

/// Collects the rows of a report, record by record.
#[derive(Debug, Default)]
pub struct Report {
    rows: Rows,
    denials: Rows,
    calls: Vec<String>,
    /// What happened in the step and is not told.
    untold: u64,
    tool: String,
    attempts: u32,
    tokens: u64,
}

impl Report {
    /// Takes the next record.
    pub fn push(&mut self, record: &Record) {
        match &record.event {
            Event::LlmReplied(replied) => {
                self.tokens = replied.usage.total();
                if replied.final_answer.is_some() {
                    self.happened("final answer".to_owned());
                }
            }
            Event::GateDecided(gate) => self.decided(gate, record.step),
            Event::ToolStarted(ToolStarted { tool, .. }) => {
                self.tool = markdown(&shortened(tool, NAME_CHARS_MAX));
                self.attempts = 0;
            }
            Event::ToolAttempted(attempted) => self.attempted(attempted),
            Event::ToolReconciled(reconciled) => self.happened(format!(
                "{}: in doubt; {}: {}",
                self.tool,
                if reconciled.took_place { "it took place" } else { "it did not take place" },
                cell(&reconciled.reason)
            )),
            Event::ToolFinished(finished) => self.tool_finished(finished),
            Event::StepFinished(finished) => {
                if self.untold > 0 {
                    self.calls.push(format!("and {} more", self.untold));
                }
                let calls = self.calls.join("<br>");
                let mode = markdown(finished.failure_mode.map_or("", |mode| mode.as_str()));
                let step = record.step.unwrap_or(0);
                self.rows.push(format!("| {step} | {calls} | {} | {mode} |\n", self.tokens));
                self.calls.clear();
                self.untold = 0;
            }
            Event::RunStarted(_)
            | Event::StepStarted(_)
            | Event::LlmCalled(_)
            | Event::RunFinished(_) => {}
        }
    }

    fn happened(&mut self, what: String) {
        if self.calls.len() < CALLS_MAX {
            self.calls.push(what);
        } else {
            self.untold += 1;
        }
    }

    fn decided(&mut self, gate: &GateDecided, step: Option<u64>) {
        let warns = gate.decision == Decision::Allow && gate.rule_id.is_some();
        if gate.decision == Decision::Allow && !warns {
            return;
        }
        let word = if warns { "warn" } else { gate.decision.as_str() };
        let tool = gate.tool.as_deref().map(|tool| markdown(&shortened(tool, NAME_CHARS_MAX)));
        if let Some(tool) = &tool {
            self.happened(format!("{tool}: **{}**", markdown(&decision_word(gate))));
        }
        let step = step.map_or_else(|| "before a step".to_owned(), |step| step.to_string());
        let rule = gate.rule_id.map_or("", |rule| rule.as_str());
        let error = gate.error_class.map_or_else(String::new, classified);
        let details = gate
            .details
            .iter()
            .map(|(detail, value)| {
                let name = detail.attribute().trim_start_matches("policy.");
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                format!("{} = {}", markdown(name), cell(&value))
            })
            .collect::<Vec<_>>()
            .join("<br>");
        self.denials.push(format!(
            "| {step} | {} | {} | {} | {} | {details} | {} |\n",
            tool.unwrap_or_default(),
            word,
            markdown(rule),
            cell(&gate.reason),
            markdown(&error),
        ));
    }

    fn attempted(&mut self, attempted: &ToolAttempted) {
        self.attempts = attempted.attempt;
        if attempted.outcome == AttemptOutcome::Success {
            return;
        }
        let class =
            attempted.error.as_ref().map_or_else(String::new, |error| classified(error.class));
        let wait =
            attempted.backoff_ms.map_or_else(String::new, |ms| format!(", next after {ms} ms"));
        self.happened(format!(
            "{}: attempt {} {} ({}){wait}",
            self.tool,
            attempted.attempt,
            markdown(attempted.outcome.as_str()),
            markdown(&class),
        ));
    }

    fn tool_finished(&mut self, finished: &ToolFinished) {
        let tool = &self.tool;
        let row = match &finished.error {
            Some(error) => format!("{tool}: failed, {}", cell(&error.message)),
            None => {
                let cut = if finished.cut { ", cut" } else { "" };
                let origin = finished
                    .origin
                    .as_deref()
                    .map_or_else(String::new, |origin| format!(" from {}", cell(origin)));
                format!("{tool}: {} bytes{cut}{origin}", finished.bytes)
            }
        };
        self.happened(row);
    }

    /// The report, once the run has ended.
    pub fn render(&self, summary: &Summary) -> Vec<u8> {
        let mut text = String::with_capacity(4096);
        self.setup(summary, &mut text);
        outcome(summary, &mut text);
        text.push_str("## Steps\n\n");
        if self.rows.is_empty() {
            text.push_str("No step was taken.\n\n");
        } else {
            text.push_str(
                "| Step | What happened | Tokens | Failure mode |\n|---:|---|---:|---|\n",
            );
            self.rows.write(&mut text);
            text.push('\n');
        }
        text.push_str("## Decisions other than a plain allow\n\n");
        if self.denials.is_empty() {
            text.push_str("None: every call was allowed.\n\n");
        } else {
            text.push_str("| Step | Tool | Decision | Rule | Reason | Details | Error |\n|---:|---|---|---|---|---|---|\n");
            self.denials.write(&mut text);
            text.push('\n');
        }
        reproduce(summary, &mut text);
        text.into_bytes()
    }

    fn setup(&self, summary: &Summary, text: &mut String) {
        let Some(started) = &summary.started else { return };
        let _ = writeln!(text, "# Run report: {}\n", markdown(&started.title));
        let _ = writeln!(text, "{}", quotation(&started.question));
        text.push_str("## Setup\n\n| | |\n|---|---|\n");
        let mut row = |name: &str, value: &str| {
            let _ = writeln!(text, "| {name} | {} |", markdown(value));
        };
        row("Task", &started.task);
        row("Run", &started.run_id);
        row("Corpus", &format!("{}, {} documents", started.corpus.name, started.corpus.documents));
        let llm = &started.llm;
        row("LLM", &format!("{}, {} of {}", llm.path.as_str(), llm.model, llm.provider));
        row("Policy version", &started.policy_version);
        row("Seed", &started.seed.to_string());
        text.push('\n');
    }
}

/// The rows of a table: the first and the last ones.
#[derive(Debug, Default)]
struct Rows {
    first: String,
    last: VecDeque<String>,
    count: usize,
}

impl Rows {
    fn push(&mut self, row: String) {
        self.count += 1;
        if self.count <= ROWS_MAX / 2 {
            self.first.push_str(&row);
            return;
        }
        if self.last.len() == ROWS_MAX / 2 {
            self.last.pop_front();
        }
        self.last.push_back(row);
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn write(&self, text: &mut String) {
        text.push_str(&self.first);
        if self.count > ROWS_MAX {
            let untold = self.count - ROWS_MAX;
            let _ = writeln!(text, "| … | *{untold} more, which the ledger has* |");
        }
        text.extend(self.last.iter().map(String::as_str));
    }
}

/// A text for a cell of a table.
fn cell(text: &str) -> String {
    markdown(&shortened(text, CELL_CHARS_MAX))
}

/// An error's name, who is at fault, and what kind of trouble it is.
fn classified(class: ErrorClass) -> String {
    let (source, category, retryable) = class.classify();
    let retryable = if retryable { "retryable" } else { "not retryable" };
    format!("{}: {}, {}, {retryable}", class.as_str(), source.as_str(), category.as_str())
}

fn outcome(summary: &Summary, text: &mut String) {
    let Some(outcome) = summary.outcome() else { return };
    text.push_str("## Outcome\n\n| | |\n|---|---|\n");
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "| {name} | {} |", markdown(&value));
    };
    let why = match (outcome.rule_id, outcome.failure_mode) {
        (Some(rule), Some(mode)) => {
            format!(" (rule {}, failure mode {})", rule.as_str(), mode.as_str())
        }
        (Some(rule), None) => format!(" (rule {})", rule.as_str()),
        (None, Some(mode)) => format!(" (failure mode {})", mode.as_str()),
        (None, None) => String::new(),
    };
    row("Terminal reason", format!("{}{why}", outcome.terminal_reason.as_str()));
    row("Steps", outcome.steps.to_string());
    row(
        "Tool calls",
        format!("{} allowed, {} denied", outcome.calls_allowed, outcome.calls_denied),
    );
    row(
        "Attempts",
        format!(
            "{}, of which {}; {} exhausted",
            outcome.attempts,
            counted(outcome.retries, "retry", "retries"),
            counted(outcome.exhausted, "call", "calls"),
        ),
    );
    let modes: Vec<String> = outcome
        .failure_modes
        .iter()
        .map(|(mode, count)| format!("{} ×{count}", mode.as_str()))
        .collect();
    row("Failure modes", if modes.is_empty() { "none".to_owned() } else { modes.join(", ") });
    row("Results cut", summary.cut.to_string());
    row(
        "Tokens",
        format!("{} in, {} out", outcome.usage.input_tokens, outcome.usage.output_tokens),
    );
    let cost = outcome.usage.cost_microusd;
    row("Cost", format!("{}.{:06} USD", cost / 1_000_000, cost % 1_000_000));
    row("Duration", format!("{} ms", summary.duration_ns / 1_000_000));
    text.push_str("\n### Result\n\n");
    match summary.finished.as_ref().and_then(|finished| finished.answer.as_deref()) {
        Some(answer) => {
            let _ = writeln!(text, "{}", quotation(answer));
        }
        None => {
            let _ = writeln!(
                text,
                "No answer: the run ended by {}.\n",
                markdown(outcome.terminal_reason.as_str())
            );
        }
    }
}

fn reproduce(summary: &Summary, text: &mut String) {
    let Some(started) = &summary.started else { return };
    let _ = writeln!(
        text,
        "## How to reproduce\n\nFrom the project's root:\n\n```\ngatedrun run tasks/{}.json --seed {}\n```\n\nInputs, by SHA-256:\n",
        started.task, started.seed
    );
    for input in &started.inputs {
        let _ =
            writeln!(text, "- {} {}: {}", input.role.as_str(), markdown(&input.path), input.sha256);
    }
}
