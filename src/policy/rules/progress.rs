//! Whether the run gets somewhere: its steps do not reach the same state again and again.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::event::{Decision, Detail, Details, ErrorClass, Rule};
use crate::json::Digest;

use crate::policy::call::{Denied, OnDeny};
use crate::policy::section::Fallback::{Required, Unset};
use crate::policy::section::{How, Section};

/// Whether the run gets somewhere.
#[derive(Debug, Clone, Deserialize)]
pub struct Progress {
    /// What of a step counts: its state.
    pub fields: Vec<StateField>,
    /// How often steps may reach the same state.
    pub max_repeated_states: u64,
}

/// What of a step may count as its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateField {
    /// The tools that were called.
    Tools,
    /// What was decided about them.
    Decisions,
    /// The digests of their results.
    Results,
    /// The names of their errors.
    Errors,
}

/// The outcome of a step, one entry per call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepState {
    /// The tools.
    pub tools: Vec<String>,
    /// What was decided.
    pub decisions: Vec<Decision>,
    /// The digests of the results.
    pub results: Vec<Digest>,
    /// The classes of the errors.
    pub errors: Vec<ErrorClass>,
}

/// How often steps have come to each state.
#[derive(Debug, Default)]
pub struct States {
    counts: HashMap<Digest, u64>,
    last: Option<(Digest, u64)>,
}

/// Takes note of the outcome of a step.
pub(in crate::policy) fn observe(section: &Progress, states: &mut States, step: &StepState) {
    let mut chosen = Map::new();
    for field in &section.fields {
        let (name, values): (&str, Vec<String>) = match field {
            StateField::Tools => ("tools", step.tools.clone()),
            StateField::Decisions => {
                ("decisions", step.decisions.iter().map(|d| d.as_str().to_owned()).collect())
            }
            StateField::Results => {
                ("results", step.results.iter().map(Digest::to_string).collect())
            }
            StateField::Errors => {
                ("errors", step.errors.iter().map(|e| e.as_str().to_owned()).collect())
            }
        };
        chosen.insert(name.to_owned(), Value::from(values));
    }
    let fingerprint = Digest::of_value(&Value::Object(chosen));
    let count = states.counts.entry(fingerprint).or_insert(0);
    *count += 1;
    states.last = Some((fingerprint, *count));
}

/// The last step came to a state that is not too common.
pub(in crate::policy) fn judge(section: &Progress, states: &States) -> Result<(), Denied> {
    let Some((fingerprint, count)) = states.last else { return Ok(()) };
    if count <= section.max_repeated_states {
        return Ok(());
    }
    let fingerprint = fingerprint.short();
    Err(Denied {
        rule: Rule::Progress,
        reason: format!(
            "{count} steps came to the state {fingerprint}; progress.max_repeated_states is {}",
            section.max_repeated_states
        ),
        details: Details::from([
            (Detail::Fingerprint, fingerprint.into()),
            (Detail::RepeatedStates, count.into()),
            (Detail::MaxRepeatedStates, section.max_repeated_states.into()),
        ]),
        on_deny: OnDeny::Terminate,
    })
}

/// What there is to say of the section.
pub const SECTION: Section = Section {
    // The keys are required where the section is there.
    keys: &[
        ("progress", Unset("not checked")),
        ("progress.fields", Required),
        ("progress.max_repeated_states", Required),
    ],
    tried: &[("progress.fields", How::Decided), ("progress.max_repeated_states", How::Decided)],
    samples: &[
        ("progress", "fields: [tools, results]"),
        ("progress.fields", "fields: [tools, results]"),
        ("progress.max_repeated_states", "max_repeated_states: 3"),
    ],
    ..Section::SILENT
};
