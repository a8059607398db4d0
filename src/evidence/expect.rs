//! Holds a run against what its task expects of it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::event::{Event, Record};
use crate::task::Expected;

use super::summary::decision_word;

/// Collects what a task can expect something of, record by record.
#[derive(Debug, Default)]
pub struct Observed {
    terminal_reason: String,
    tools: Vec<String>,
    decisions: Vec<String>,
    /// What each decision is about.
    abouts: Vec<About>,
    failure_modes: Vec<String>,
    answer: Option<String>,
    step: u64,
    calls: u64,
}

/// What a decision is about: the step, the call in it (0 for the run), and which of several.
type Key = (u64, u64, u64);

/// What a decision is about, and whose.
#[derive(Debug)]
struct About {
    key: Key,
    tool: Option<String>,
}

/// A decision that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// The step.
    pub step: u64,
    /// The tool; null for a decision about the run.
    pub tool: Option<String>,
    /// What was decided; null where nothing was.
    pub was: Option<String>,
    /// What is decided; null where nothing is.
    pub now: Option<String>,
    /// Whether what was denied is no longer denied.
    pub loosened: bool,
    /// Whether what was allowed is denied.
    pub tightened: bool,
}

/// What differs between two runs of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// The decisions, those that are loosened first.
    pub decisions: Vec<Changed>,
    /// Everything else, in words: the end, failure modes, tools, the answer.
    pub others: Vec<String>,
}

/// How many decisions are reported of a run.
const CHANGED_MAX: usize = 10;

impl Changes {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.decisions.is_empty() && self.others.is_empty()
    }

    /// Whether a denial is gone.
    pub fn is_loosened(&self) -> bool {
        self.decisions.iter().any(|changed| changed.loosened)
    }

    /// Whether something is denied that was allowed.
    pub fn is_tightened(&self) -> bool {
        self.decisions.iter().any(|changed| changed.tightened)
    }

    /// In words: the decisions first, and not more of them than a person reads.
    pub fn words(&self) -> Vec<String> {
        let told = self.decisions.iter().take(CHANGED_MAX).map(|changed| {
            format!(
                "step {} {}: {} -> {}{}",
                changed.step,
                changed.tool.as_deref().unwrap_or("the run"),
                changed.was.as_deref().unwrap_or("not decided"),
                changed.now.as_deref().unwrap_or("not decided"),
                if changed.loosened { ", LOOSENED" } else { "" }
            )
        });
        let left_out = self.decisions.len().saturating_sub(CHANGED_MAX);
        let rest = (left_out > 0).then(|| format!("and {left_out} more decisions"));
        told.chain(rest).chain(self.others.iter().cloned()).collect()
    }
}

impl Observed {
    /// Takes the next record.
    pub fn push(&mut self, record: &Record) {
        if let Some(step) = record.step.filter(|step| *step != self.step) {
            (self.step, self.calls) = (step, 0);
        }
        match &record.event {
            Event::GateDecided(gate) => {
                self.calls += u64::from(gate.call_id.is_some());
                let call = if gate.call_id.is_some() { self.calls } else { 0 };
                let step = record.step.unwrap_or(self.step + 1);
                let of_step = self.abouts.iter().rev().take_while(|about| about.key.0 == step);
                let again = of_step.filter(|about| about.key.1 == call).count() as u64;
                self.abouts.push(About { key: (step, call, again), tool: gate.tool.clone() });
                self.decisions.push(decision_word(gate));
            }
            Event::ToolStarted(started) => self.tools.push(started.tool.clone()),
            Event::StepFinished(finished) => {
                self.failure_modes
                    .extend(finished.failure_mode.map(|mode| mode.as_str().to_owned()));
            }
            Event::RunFinished(finished) => {
                self.terminal_reason = finished.terminal_reason.as_str().to_owned();
                self.answer = finished.answer.clone();
            }
            Event::RunStarted(_)
            | Event::StepStarted(_)
            | Event::LlmCalled(_)
            | Event::LlmReplied(_)
            | Event::ToolAttempted(_)
            | Event::ToolReconciled(_)
            | Event::ToolFinished(_) => {}
        }
    }

    /// Why the run ended.
    pub fn terminal_reason(&self) -> &str {
        &self.terminal_reason
    }

    /// What of decisions, outcome, failure modes, tools and answer is not as it was.
    pub fn changes_from(&self, before: &Self) -> Changes {
        let mut others = Vec::new();
        if self.terminal_reason != before.terminal_reason {
            others.push(format!("ends {}, was {}", self.terminal_reason, before.terminal_reason));
        }
        for (name, was, is) in [
            ("failure mode", &before.failure_modes, &self.failure_modes),
            ("tool", &before.tools, &self.tools),
        ] {
            if let Some(at) = (0..was.len().max(is.len())).find(|at| was.get(*at) != is.get(*at)) {
                let word = |list: &[String]| list.get(at).map_or("none", String::as_str).to_owned();
                others.push(format!("{name} {}: was {}, is {}", at + 1, word(was), word(is)));
            }
        }
        if self.answer != before.answer {
            others.push("the answer differs".to_owned());
        }
        Changes { decisions: self.changed_from(before), others }
    }

    fn changed_from(&self, before: &Self) -> Vec<Changed> {
        let is_deny = |word: &Option<String>| word.as_ref().is_some_and(|w| w.starts_with("deny"));
        // What a run that ends with a denial does not come to is not let through.
        let ends_earlier = |key: Key| {
            let last = self.abouts.last().map(|about| about.key);
            let last_word = self.decisions.last().cloned();
            is_deny(&last_word) && last.is_some_and(|last| last < key)
        };
        let mut now: BTreeMap<Key, (&About, &String)> = self.decided().collect();
        let mut found = Vec::new();
        for (key, (about, was)) in before.decided() {
            let is = now.remove(&key);
            let (was, is_word) = (Some(was.clone()), is.map(|(_, word)| word.clone()));
            if was == is_word {
                continue;
            }
            let is_gone = is_word.is_none() && !ends_earlier(key);
            let is_allowed = is_word.as_deref() == Some("allow");
            found.push(Changed {
                step: key.0,
                tool: is.and_then(|(about, _)| about.tool.clone()).or_else(|| about.tool.clone()),
                loosened: is_deny(&was) && (is_allowed || is_gone),
                tightened: was.as_deref() == Some("allow") && is_deny(&is_word),
                was,
                now: is_word,
            });
        }
        found.extend(now.into_iter().map(|(key, (about, word))| Changed {
            step: key.0,
            tool: about.tool.clone(),
            was: None,
            now: Some(word.clone()),
            loosened: false,
            tightened: false,
        }));
        found.sort_by_key(|changed| (!changed.loosened, changed.step));
        found
    }

    fn decided(&self) -> impl Iterator<Item = (Key, (&About, &String))> {
        let decided = self.abouts.iter().zip(&self.decisions);
        decided.map(|(about, word)| (about.key, (about, word)))
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
                    expected.join(", "),
                    got.join(", ")
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
                unmet.push(format!("answer_contains: {text:?} is not in the answer {answer:?}"));
            }
        }
        unmet
    }
}

fn texts(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}
