//! What class of change lies between a committed run and what its task makes now: whether the run
//! behaves differently, or only names other inputs.

use std::io;

use camino::Utf8Path;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::event::{Event, Input, Record};
use crate::host::HostFault;
use crate::json::Digest;
use crate::ledger::{LedgerError, Reader};

use super::expect::Observed;
use super::verify::{Verdict, verify_unsigned};
use super::{FILES, STATE, compare, open};

/// What class of change lies between two runs of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Every byte is the same.
    Identical,
    /// Only digests of inputs differ, and what follows from them.
    InputsOnly,
    /// Decisions, the end, failure modes, tools, or the answer differ.
    Behaviour,
    /// The behaviour is the same, and other bytes differ.
    Bytes,
}

impl Class {
    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identical => "identical",
            Self::InputsOnly => "inputs_only",
            Self::Behaviour => "behaviour",
            Self::Bytes => "bytes",
        }
    }
}

/// What a run is, apart from which inputs it names.
#[derive(Debug, Default)]
pub struct Shape {
    /// What the run did.
    pub observed: Observed,
    /// The inputs that it names.
    pub inputs: Vec<Input>,
    /// The seed that it was made with.
    pub seed: Option<u64>,
    rest: Sha256,
}

impl Shape {
    /// Takes the next record.
    pub fn push(&mut self, record: &Record) {
        self.observed.push(record);
        let mut event = record.event.clone();
        match &mut event {
            Event::RunStarted(started) => {
                self.inputs = std::mem::take(&mut started.inputs);
                self.seed = Some(started.seed);
                started.policy_version.clear();
            }
            Event::GateDecided(gate) => gate.policy_version.clear(),
            Event::LlmCalled(called) => called.request_sha256 = Digest::ZERO,
            _ => {}
        }
        // What follows from the inputs' digests is left out, and so is the chain.
        let same = serde_json::to_vec(&(record.seq, record.at_ns, record.step, &event));
        self.rest.update(same.unwrap_or_default());
    }

    /// The shape of a recorded run; nothing where there is no ledger.
    ///
    /// # Errors
    /// The first line that cannot be read.
    pub fn of_run(run: &Utf8Path) -> Result<Option<Self>, LedgerError> {
        let mut reader = match open::open(&run.join(STATE)) {
            Ok(file) => Reader::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LedgerError::Read(error)),
        };
        let mut shape = Self::default();
        while let Some(record) = reader.next_record()? {
            shape.push(&record);
        }
        Ok(Some(shape))
    }

    /// The class of what differs from an earlier run, given that some byte does.
    pub fn class_from(&self, before: &Self) -> Class {
        if !self.observed.changes_from(&before.observed).is_empty() {
            Class::Behaviour
        } else if self.rest.clone().finalize() == before.rest.clone().finalize()
            && self.inputs != before.inputs
        {
            Class::InputsOnly
        } else {
            Class::Bytes
        }
    }

    /// The inputs that differ from an earlier run's, each with both digests.
    pub fn changed_inputs(&self, before: &Self) -> Vec<String> {
        compare::changed_inputs(&before.inputs, &self.inputs)
    }
}

/// Whether a run's files are what its ledger projects to; of others, only the bytes can be compared.
///
/// # Errors
/// The machine's: of what it does not read nothing is known.
pub fn is_sound(run: &Utf8Path) -> Result<bool, HostFault> {
    let found = verify_unsigned(run, None);
    match found.host_fault() {
        Some(fault) => Err(fault),
        None => Ok(matches!(found.verdict, Verdict::Verified | Verdict::Unconfirmed)),
    }
}

/// Why two runs cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum Incomparable {
    /// One of them cannot be read as a run.
    #[error("{0}")]
    Run(String),
    /// The machine refused to read one of them.
    #[error(transparent)]
    Host(#[from] HostFault),
}

/// The class of what differs between a committed run and the proposal for it.
///
/// # Errors
/// That one of them cannot be read, or holds no ledger.
pub fn class(committed: &Utf8Path, proposal: &Utf8Path) -> Result<Class, Incomparable> {
    let same = |name: &&str| -> io::Result<bool> {
        let (a, b) = (open::open(&committed.join(name))?, open::open(&proposal.join(name))?);
        Ok(compare::difference(a, b)?.is_none())
    };
    let same = |name: &&str| match same(name) {
        Err(error) if HostFault::is_one(&error) => Err(HostFault::of(&error, name, "read")),
        other => Ok(other.unwrap_or(false)),
    };
    let shape = |run: &Utf8Path| {
        let shape = Shape::of_run(run).map_err(|error| match error {
            LedgerError::Read(error) if HostFault::is_one(&error) => {
                HostFault::of(&error, run.join(STATE).as_str(), "read").into()
            }
            error => Incomparable::Run(format!("{run}/{STATE}: {error}")),
        })?;
        shape.ok_or_else(|| Incomparable::Run(format!("{run}: no run is there")))
    };
    let (was, is) = (shape(committed)?, shape(proposal)?);
    let are_same = FILES.iter().map(same).collect::<Result<Vec<bool>, HostFault>>()?;
    if !are_same.contains(&false) {
        return Ok(Class::Identical);
    }
    let class = is.class_from(&was);
    let is_digests_alone =
        class != Class::InputsOnly || (is_sound(committed)? && is_sound(proposal)?);
    Ok(if is_digests_alone { class } else { Class::Bytes })
}
