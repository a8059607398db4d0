//! `run_report.md`: the run for a person. Everything that is data is escaped, and what could be of
//! any length is shown in part: nobody reads a million rows, and the ledger has them. What the ledger
//! does not hold (the task's expectations, a signature) is not here: the report names the command
//! that says it. No line ends in white space, which tools that tidy files would strip.

use std::collections::VecDeque;
use std::fmt::Write as _;

use crate::event::{
    AttemptOutcome, Effect, ErrorClass, ErrorFacts, Event, ExecutionPath, GateDecided, InputRole,
    Record, Ruling, RunStarted, ToolAttempted, ToolFinished, ToolStarted,
};
use crate::json::Digest;

use super::calls::{self, Proposed};
use super::summary::{Outcome, Summary};
use super::text::{counted, markdown, quotation, shell_word, shortened, terminal};
use super::words;

/// How many characters of a name an LLM made up a report shows.
const NAME_CHARS_MAX: usize = 80;

/// How many characters of any other text in a table a report shows.
const CELL_CHARS_MAX: usize = 500;

/// How many rows of a table a report shows: half of them from its beginning, half from its end.
pub const ROWS_MAX: usize = 1000;

/// How much of what happened in one step a report shows.
const CALLS_MAX: usize = 100;

/// Collects the rows of a report, record by record.
#[derive(Debug, Default)]
pub struct Report {
    rows: Rows,
    denials: Rows,
    calls: Vec<String>,
    /// What happened in the step and is not told.
    untold: u64,
    proposed: Proposed,
    /// The call in hand: its tool and what it asked for, and what its tool may do.
    call: String,
    effects: Vec<Effect>,
    /// Its tool alone.
    tool: String,
    tokens: u64,
}

impl Report {
    /// Takes the next record.
    pub fn push(&mut self, record: &Record) {
        self.proposed.push(record);
        match &record.event {
            Event::LlmReplied(replied) => {
                self.tokens = replied.usage.total();
                if let Some(text) = replied.text.as_deref().filter(|text| !text.is_empty()) {
                    self.happened(format!("LLM: {}", markdown(&calls::said(text))));
                }
                if replied.final_answer.is_some() {
                    self.happened("final answer".to_owned());
                }
            }
            Event::GateDecided(gate) => self.decided(gate, record.step),
            Event::ToolStarted(ToolStarted { tool, .. }) => {
                self.tool = markdown(&shortened(tool, NAME_CHARS_MAX));
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
            _ => {}
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
        let call = gate.tool.as_deref().map(|tool| {
            let tool = shortened(tool, NAME_CHARS_MAX);
            let asked = self.proposed.asked(gate);
            markdown(format!("{tool} {asked}").trim())
        });
        if let Some(call) = &call {
            self.call.clone_from(call);
            self.effects.clone_from(&gate.effects);
        }
        let ruling = gate.ruling();
        if ruling == Ruling::Allow {
            return;
        }
        if let Some(call) = &call {
            self.happened(format!("{call}: **{}**", markdown(&ruling.to_string())));
        }
        let step = step.map_or_else(|| "before a step".to_owned(), |step| step.to_string());
        let rule = gate.rule_id.map_or("", |rule| rule.as_str());
        let error = gate.error_class.map_or_else(String::new, classified);
        let details = gate
            .details
            .iter()
            .map(|(detail, value)| {
                let name = detail.as_str();
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                format!("{} = {}", markdown(name), cell(&value))
            })
            .collect::<Vec<_>>()
            .join("<br>");
        self.denials.push(format!(
            "| {step} | {} | {} | {} | {} | {details} | {} |\n",
            call.unwrap_or_default(),
            ruling.kind(),
            markdown(rule),
            cell(&gate.reason),
            markdown(&error),
        ));
    }

    fn attempted(&mut self, attempted: &ToolAttempted) {
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
        let did = cell(&calls::did(&self.effects, finished).text);
        self.happened(format!("{}: {did}", self.call));
    }

    /// The report, once the run has ended.
    pub fn render(&self, summary: &Summary, head: Digest) -> Vec<u8> {
        let mut text = String::with_capacity(4096);
        if let Some(started) = &summary.started {
            setup(started, &mut text);
        }
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
            text.push_str("| Step | Call | Decision | Rule | Reason | Details | Error |\n|---:|---|---|---|---|---|---|\n");
            self.denials.write(&mut text);
            text.push('\n');
        }
        reproduce(summary, head, &mut text);
        text.into_bytes()
    }
}

/// A row of a table with two columns. The value is Markdown already.
fn row(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "| {name} | {value} |");
}

fn setup(started: &RunStarted, text: &mut String) {
    let title = markdown(&started.title);
    let colon = if title.is_empty() { "" } else { ": " };
    let _ = writeln!(text, "# Run report{colon}{title}\n\n{}", quotation(&started.question));
    text.push_str("## Setup\n\n| | |\n|---|---|\n");
    row(text, "Task", &markdown(&started.task));
    row(text, "Run", &markdown(&started.run_id));
    let corpus = &started.corpus;
    let documents = counted(corpus.documents, "document", "documents");
    row(text, "Corpus", &format!("{}, {documents}", markdown(&corpus.name)));
    let llm = &started.llm;
    let which = match llm.path {
        ExecutionPath::Stub => "a stub, no model was asked",
        ExecutionPath::Outside => "asked by another program, which proposed the calls",
    };
    let model = format!("{} of {}", llm.model, llm.provider);
    row(text, "LLM", &format!("{}: {which}", markdown(&model)));
    let policy = started.inputs.iter().find(|input| input.role == InputRole::Policy);
    let path = policy.map_or_else(String::new, |policy| format!("{}, ", policy.path));
    row(text, "Policy", &markdown(&format!("{path}version {}", started.policy_version)));
    row(
        text,
        "Isolation",
        "not recorded: `sandbox.isolation` of the policy says what is required, and `gatedrun run` prints what was enforced",
    );
    row(text, "Seed", &started.seed.to_string());
    row(text, "Signature", "not in the ledger: see `gatedrun verify`");
    row(text, "Expectations", "not in the ledger: see `gatedrun check`");
    text.push('\n');
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
            let left_out = self.count - ROWS_MAX;
            let _ = writeln!(text, "| … | *{left_out} more, which the ledger has* |");
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
    let ErrorFacts { source, category, retryable, .. } = class.facts();
    let retryable = if retryable { "retryable" } else { "not retryable" };
    format!("{}: {}, {}, {retryable}", class.as_str(), source.as_str(), category.as_str())
}

fn outcome(summary: &Summary, text: &mut String) {
    let Some(outcome) = summary.outcome() else { return };
    text.push_str("## Outcome\n\n| | |\n|---|---|\n");
    row(text, "Terminal reason", &ended(&outcome));
    row(text, "Steps", &outcome.steps.to_string());
    let (allowed, denied) = (outcome.calls_allowed, outcome.calls_denied);
    row(text, "Tool calls", &format!("{allowed} allowed, {denied} denied"));
    let attempts = format!(
        "{}, of which {}; {} exhausted",
        outcome.attempts,
        counted(outcome.retries, "retry", "retries"),
        counted(outcome.exhausted, "call", "calls"),
    );
    row(text, "Attempts", &attempts);
    let modes: Vec<String> = outcome
        .failure_modes
        .iter()
        .map(|(mode, count)| format!("{} ×{count}: {}", mode.as_str(), words::failure_mode(*mode)))
        .collect();
    let modes = if modes.is_empty() { "none".to_owned() } else { modes.join("<br>") };
    row(text, "Failure modes", &modes);
    row(text, "Results cut", &summary.cut.to_string());
    let usage = outcome.usage;
    row(text, "Tokens", &format!("{} in, {} out", usage.input_tokens, usage.output_tokens));
    let path = summary.started.as_ref().map(|started| started.llm.path);
    let cost = match path {
        Some(ExecutionPath::Stub) | None => stub_cost(usage.cost_microusd),
        Some(ExecutionPath::Outside) => {
            format!("{} USD by what the other program stated", usd(usage.cost_microusd))
        }
    };
    row(text, "Cost", &cost);
    let time = "on the run's logical clock; not a measurement";
    row(text, "Duration", &format!("{} ms {time}", summary.duration_ns / 1_000_000));
    text.push_str("\n### Result\n\n");
    match summary.finished.as_ref().and_then(|finished| finished.answer.as_deref()) {
        Some(answer) => {
            let _ = writeln!(text, "{}", quotation(answer));
        }
        None => {
            let reason = outcome.terminal_reason;
            let _ = writeln!(
                text,
                "No answer: {} ({}).\n",
                words::terminal_reason(reason),
                reason.as_str()
            );
        }
    }
}

/// Why the run ended, with what that means.
fn ended(outcome: &Outcome) -> String {
    let why = match (outcome.rule_id, outcome.failure_mode) {
        (Some(rule), Some(mode)) => {
            format!(" (rule {}, failure mode {})", rule.as_str(), mode.as_str())
        }
        (Some(rule), None) => format!(" (rule {})", rule.as_str()),
        (None, Some(mode)) => format!(" (failure mode {})", mode.as_str()),
        (None, None) => String::new(),
    };
    let reason = outcome.terminal_reason;
    format!("{}{why}: {}", reason.as_str(), words::terminal_reason(reason))
}

/// What a stub's replies cost: nothing, whatever its script makes up.
fn stub_cost(microusd: u64) -> String {
    if microusd == 0 {
        return "stub: no cost".to_owned();
    }
    format!("{} USD by the stub's script; nothing was paid", usd(microusd))
}

fn usd(microusd: u64) -> String {
    format!("{}.{:06}", microusd / 1_000_000, microusd % 1_000_000)
}

fn reproduce(summary: &Summary, head: Digest, text: &mut String) {
    let Some(started) = &summary.started else { return };
    let run = format!("runs/{}", terminal(&started.task));
    let run = shell_word(&run);
    let replies = match started.llm.path {
        ExecutionPath::Stub => "",
        ExecutionPath::Outside => {
            " It takes the replies from the ledger, since nobody else has them."
        }
    };
    let _ = writeln!(
        text,
        "## How to reproduce\n\nFrom the project's root, with the run in its usual place:\n\n\
         ```\ngatedrun verify {run}\ngatedrun check {run}\n```\n\n\
         `verify` computes this report and the other artifacts from the ledger again, compares the \
         inputs, and checks a signature. `check` runs the task again in a temporary folder and \
         reports what differs, and which of the task's expectations are not met.{replies}\n\n\
         The ledger has {}; its head is {head}.\n\n\
         Inputs, by SHA-256:\n",
        counted(summary.records, "record", "records")
    );
    if started.inputs.is_empty() {
        text.push_str("- none\n");
    }
    for input in &started.inputs {
        let path = markdown(&input.path);
        let _ = writeln!(text, "- {} {path}: {}", input.role.as_str(), input.sha256);
    }
}
