//! The faults of a task: what goes wrong with a tool, for a run that shows what follows.

use serde::Deserialize;

use crate::problem::{Problem, cut};

/// A fault around a production tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The tool.
    pub tool: String,
    /// What goes wrong.
    pub mode: FaultMode,
}

/// What goes wrong with a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultMode {
    /// The first attempts of each call fail in a way that may pass.
    FailThenSucceed {
        /// How many.
        failures: u32,
    },
    /// Every attempt fails in a way that may pass.
    AlwaysFail,
    /// Every attempt fails with an error that nobody classified.
    Unclassified,
    /// The tool panics.
    Panic,
    /// No attempt ends.
    Hang,
    /// The result is blown up.
    Oversized {
        /// To at least this size, in bytes.
        bytes: u64,
    },
    /// The result has a key that its contract does not know.
    BadOutput,
}

#[derive(Deserialize)]
pub(super) struct RawFault {
    tool: String,
    mode: String,
    #[serde(default)]
    failures: u32,
    #[serde(default)]
    bytes: u64,
}

/// A tool has one fault: of two, one would do nothing.
pub(super) fn faults_twice(path: &str, faults: &[Fault]) -> Vec<Problem> {
    let twice = faults.iter().enumerate().filter(|(index, fault)| {
        faults.iter().take(*index).any(|earlier| earlier.tool == fault.tool)
    });
    twice
        .map(|(index, fault)| {
            let what = format!("{:?} has a fault already, and a tool has one", cut(&fault.tool));
            Problem::new(path, what)
                .at(format!("/faults/{index}/tool"))
                .remedy("remove one of the two")
        })
        .collect()
}

impl From<RawFault> for Fault {
    fn from(raw: RawFault) -> Self {
        let mode = match raw.mode.as_str() {
            "fail_then_succeed" => FaultMode::FailThenSucceed { failures: raw.failures },
            "always_fail" => FaultMode::AlwaysFail,
            "panic" => FaultMode::Panic,
            "hang" => FaultMode::Hang,
            "oversized" => FaultMode::Oversized { bytes: raw.bytes },
            "bad_output" => FaultMode::BadOutput,
            // The schema admits one more word.
            _ => FaultMode::Unclassified,
        };
        Self { tool: raw.tool, mode }
    }
}
