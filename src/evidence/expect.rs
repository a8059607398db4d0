//! Holds a run against what its task expects of it.

use crate::event::{Event, Record};
use crate::problem::cut;
use crate::task::Expected;

/// Collects what a task can expect something of, record by record.
#[derive(Debug, Default)]
pub struct Observed {
    terminal_reason: String,
    tools: Vec<String>,
    decisions: Vec<String>,
    failure_modes: Vec<String>,
    answer: Option<String>,
}

impl Observed {
    /// Takes the next record.
    pub fn push(&mut self, record: &Record) {
        match &record.event {
            Event::GateDecided(gate) => self.decisions.push(gate.ruling().to_string()),
            Event::ToolStarted(started) => self.tools.push(started.tool.clone()),
            Event::StepFinished(finished) => {
                self.failure_modes
                    .extend(finished.failure_mode.map(|mode| mode.as_str().to_owned()));
            }
            Event::RunFinished(finished) => {
                self.terminal_reason = finished.terminal_reason.as_str().to_owned();
                self.answer = finished.answer.clone();
            }
            _ => {}
        }
    }

    /// Why the run ended.
    pub fn terminal_reason(&self) -> &str {
        &self.terminal_reason
    }

    /// The failure modes of its steps, in order.
    pub fn failure_modes(&self) -> &[String] {
        &self.failure_modes
    }

    /// The final answer, if there is one.
    pub fn answer(&self) -> Option<&str> {
        self.answer.as_deref()
    }

    /// Every expectation that is not met, in words; empty if all are.
    pub fn unmet(&self, expected: &Expected) -> Vec<String> {
        let mut unmet = Vec::new();
        let wanted = expected.terminal_reason.as_str();
        if self.terminal_reason != wanted {
            unmet.push(format!("terminal_reason: expected {wanted}, got {}", self.terminal_reason));
        }
        let mut list = |name: &str, expected: Option<Vec<&str>>, got: &[String]| {
            if let Some(expected) = expected
                && !expected.iter().eq(got.iter())
            {
                unmet.push(format!(
                    "{name}: expected [{}], got [{}]",
                    cut(&expected.join(", ")),
                    cut(&got.join(", "))
                ));
            }
        };
        list("tools", expected.tools.as_deref().map(texts), &self.tools);
        list("decisions", expected.decisions.as_deref().map(texts), &self.decisions);
        let modes = expected
            .failure_modes
            .as_ref()
            .map(|modes| modes.iter().map(|mode| mode.as_str()).collect());
        list("failure_modes", modes, &self.failure_modes);
        for text in &expected.answer_contains {
            let answer = self.answer.as_deref().unwrap_or_default();
            if !answer.contains(text.as_str()) {
                let (text, answer) = (cut(text), cut(answer));
                unmet.push(format!("answer_contains: {text:?} is not in the answer {answer:?}"));
            }
        }
        unmet
    }
}

fn texts(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}
