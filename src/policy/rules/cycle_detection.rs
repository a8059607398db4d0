//! How often the same call may be made. Every call that reaches this rule counts, also one that is
//! denied here or later, by the kernel or a budget.

use std::collections::HashMap;

use serde::Deserialize;

use crate::event::{Detail, Rule};
use crate::json::Digest;

use crate::policy::call::{Asked, Denied, OnDeny, action};
use crate::policy::section::Fallback::{Number, Word};
use crate::policy::section::{How, Section};

/// How often the same call may be made.
#[derive(Debug, Clone, Deserialize)]
pub struct CycleDetection {
    /// This often.
    pub max_repeats: u64,
    /// What a denial does.
    pub on_deny: OnDeny,
}

/// How often each call was made.
#[derive(Debug, Default)]
pub struct Repeats(HashMap<Digest, u64>);

/// Counts a call under what it would do: not the same one too often.
pub(super) fn judge(
    section: &CycleDetection,
    repeats: &mut Repeats,
    asked: &Asked<'_>,
) -> Result<(), Box<Denied>> {
    let count = repeats.0.entry(action(&asked.call.tool, &asked.resolved())).or_insert(0);
    *count += 1;
    let count = *count;
    if count <= section.max_repeats {
        return Ok(());
    }
    Err(Box::new(asked.denied(
        Rule::CycleDetection,
        section.on_deny,
        format!(
            "this call of {:?} is number {count} with the same arguments; cycle_detection.max_repeats is {}",
            asked.contract.name, section.max_repeats
        ),
        [
            (Detail::Repeats, count.into()),
            (Detail::MaxRepeats, section.max_repeats.into()),
        ],
    )))
}

/// What there is to say of the section.
pub const SECTION: Section = Section {
    keys: &[
        ("cycle_detection.max_repeats", Number(3)),
        ("cycle_detection.on_deny", Word("terminate")),
    ],
    tried: &[("cycle_detection.max_repeats", How::Decided)],
    samples: &[("cycle_detection", "max_repeats: 3")],
    ..Section::SILENT
};
