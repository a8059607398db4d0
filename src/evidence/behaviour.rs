//! What class of change lies between a committed run and what its task makes now: whether the run
//! behaves differently, or only names other inputs.

use std::io;

use camino::Utf8Path;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::event::{CorpusIdentity, Detail, Event, Input, Record, RunStarted};
use crate::host::HostFault;
use crate::json::Digest;
use crate::ledger::{LedgerError, Reader};

use super::acts::{Acts, Changed};
use super::compare::ChangedInput;
use super::expect::Observed;
use super::facts::Facts;
use super::text::counted;
use super::verify::{Verdict, verify_unsigned};
use super::{FILES, STATE, compare, open};

/// What class of change lies between two runs of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Every byte is the same.
    Identical,
    /// Only inputs differ, and what follows from them alone.
    InputsOnly,
    /// What is asked, what is decided about it, what is done, the end, failure modes, or the answer
    /// differ.
    Behaviour,
    /// The behaviour is the same, and other bytes differ.
    Bytes,
    /// No behaviour can be read from the committed run: see [`NoRun`].
    Unknown,
}

impl Class {
    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identical => "identical",
            Self::InputsOnly => "inputs_only",
            Self::Behaviour => "behaviour",
            Self::Bytes => "bytes",
            Self::Unknown => "unknown",
        }
    }
}

/// Why nothing can be compared with what lies in a run's folder. Reads on after "the ledger ".
#[derive(Debug, thiserror::Error)]
pub enum NoRun {
    /// No ledger is there.
    #[error("is missing")]
    Missing,
    /// It is intact up to where it stops, and the run has not ended there.
    #[error("{}", cut_short(*.lines, *.torn))]
    CutShort {
        /// How many lines are whole.
        lines: u64,
        /// How many bytes of another line follow.
        torn: usize,
    },
    /// It is not what a run writes, and which line says so.
    #[error("cannot be read ({0})")]
    Damaged(String),
    /// The machine refused to read it, so that nothing is known of it.
    #[error("{0}")]
    Host(HostFault),
}

fn cut_short(lines: u64, torn: usize) -> String {
    match (lines, torn) {
        (0, 0) => "is empty".to_owned(),
        (lines, 0) => format!("is cut short: it ends after line {lines}, without run_finished"),
        (lines, torn) => {
            format!("is cut short: {torn} bytes of line {} are there, without its end", lines + 1)
        }
    }
}

/// What a run is, apart from which inputs it names.
#[derive(Debug, Default)]
pub struct Shape {
    /// What its task can expect something of.
    pub observed: Observed,
    /// What it asked for and did.
    acts: Acts,
    /// What it began with.
    started: Option<RunStarted>,
    /// Everything that does not follow from the inputs alone.
    rest: Sha256,
    /// What was sent to the LLM.
    requests: Sha256,
    /// How much that was.
    input_tokens: Sha256,
}

/// Takes out of an event what follows from the inputs alone: their digests, what a task, a policy or
/// a corpus says of itself, the digest of a request and its size in tokens. What the agent or a tool
/// did stays, and so does every decision. The chain does not belong to an event.
fn without_derived(event: &mut Event) {
    match event {
        Event::RunStarted(started) => {
            started.inputs.clear();
            started.title.clear();
            started.question.clear();
            started.policy_version.clear();
            started.corpus =
                CorpusIdentity { name: String::new(), documents: 0, sha256: Digest::ZERO };
        }
        Event::GateDecided(gate) => {
            gate.policy_version.clear();
            // The words of a decision about tokens name how many there are.
            if gate.details.remove(&Detail::Tokens).is_some() {
                gate.reason.clear();
            }
        }
        Event::LlmCalled(called) => {
            called.request_sha256 = Digest::ZERO;
            called.reserved.input_tokens = 0;
        }
        Event::LlmReplied(replied) => replied.usage.input_tokens = 0,
        Event::StepFinished(finished) => finished.totals.usage.input_tokens = 0,
        Event::RunFinished(finished) => finished.totals.usage.input_tokens = 0,
        Event::StepStarted(_)
        | Event::ToolStarted(_)
        | Event::ToolAttempted(_)
        | Event::ToolReconciled(_)
        | Event::ToolFinished(_) => {}
    }
}

impl Shape {
    /// Takes the next record.
    pub fn push(&mut self, record: &Record) {
        self.observed.push(record);
        self.acts.push(record);
        match &record.event {
            Event::RunStarted(started) => self.started = Some((**started).clone()),
            Event::LlmCalled(called) => self.requests.update(called.request_sha256.as_bytes()),
            Event::LlmReplied(replied) => {
                self.input_tokens.update(replied.usage.input_tokens.to_be_bytes());
            }
            _ => {}
        }
        let mut event = record.event.clone();
        without_derived(&mut event);
        let same = serde_json::to_vec(&(record.seq, record.at_ns, record.step, &event));
        self.rest.update(same.unwrap_or_default());
    }

    /// The shape of a recorded run: of one that passes the chain, the grammar and the facts, and has
    /// ended. What stops before that would be taken for a run that does less.
    ///
    /// # Errors
    /// See [`NoRun`].
    pub fn of_run(run: &Utf8Path) -> Result<Self, NoRun> {
        let path = run.join(STATE);
        let unread = |error: &io::Error| match error.kind() {
            io::ErrorKind::NotFound => NoRun::Missing,
            _ if HostFault::is_one(error) => {
                NoRun::Host(HostFault::of(error, path.as_str(), "read"))
            }
            _ => NoRun::Damaged(error.to_string()),
        };
        let mut reader = Reader::new(open::open(&path).map_err(|error| unread(&error))?);
        let (mut shape, mut facts, mut lines) = (Self::default(), Facts::default(), 0);
        loop {
            let record = match reader.next_record() {
                Ok(Some(record)) => record,
                Ok(None) => break,
                Err(LedgerError::Read(error)) => return Err(unread(&error)),
                Err(error) => return Err(NoRun::Damaged(error.to_string())),
            };
            lines += 1;
            let fits = facts.push(&record);
            fits.map_err(|what| NoRun::Damaged(format!("line {lines}: {what}")))?;
            shape.push(&record);
        }
        if !reader.is_finished() || reader.torn() > 0 {
            return Err(NoRun::CutShort { lines, torn: reader.torn() });
        }
        Ok(shape)
    }

    /// The class of what differs from an earlier run, given that some byte does.
    pub fn class_from(&self, before: &Self) -> Class {
        let is_same = |a: &Sha256, b: &Sha256| a.clone().finalize() == b.clone().finalize();
        // The same request is as many tokens as it was; otherwise the LLM counts differently.
        let is_counted = is_same(&self.input_tokens, &before.input_tokens)
            || !is_same(&self.requests, &before.requests);
        if !self.changes_from(before).is_empty() {
            Class::Behaviour
        } else if is_same(&self.rest, &before.rest)
            && is_counted
            && self.inputs() != before.inputs()
        {
            Class::InputsOnly
        } else {
            Class::Bytes
        }
    }

    /// What of its behaviour is not as in an earlier run: what is asked, what is decided about it,
    /// what is done, how it ends.
    pub fn changes_from(&self, before: &Self) -> Changes {
        let (is, was) = (&self.observed, &before.observed);
        let mut others = self.acts.files_from(&before.acts);
        if is.terminal_reason() != was.terminal_reason() {
            others.push(format!("ends {}, was {}", is.terminal_reason(), was.terminal_reason()));
        }
        let (modes, earlier) = (is.failure_modes(), was.failure_modes());
        let mut places = 0..earlier.len().max(modes.len());
        if let Some(at) = places.find(|at| earlier.get(*at) != modes.get(*at)) {
            let word = |list: &[String]| list.get(at).map_or("none", String::as_str).to_owned();
            others.push(format!(
                "failure mode {}: was {}, is {}",
                at + 1,
                word(earlier),
                word(modes)
            ));
        }
        if is.answer() != was.answer() {
            others.push("the answer differs".to_owned());
        }
        let acts = self.acts.changed_from(&before.acts, is.answer().is_some());
        Changes { acts, others }
    }

    /// What of its behaviour, before it broke off, is not as in an earlier run.
    pub fn changes_before_break_off(&self, before: &Self) -> Changes {
        Changes { acts: self.acts.decided_otherwise(&before.acts), others: Vec::new() }
    }

    /// The inputs that differ from an earlier run's, each with both digests.
    pub fn changed_inputs(&self, before: &Self) -> Vec<ChangedInput> {
        let both = before.started.as_ref().zip(self.started.as_ref());
        both.map_or_else(Vec::new, |(was, is)| compare::changed_inputs(was, is))
    }

    /// The seed that it was made with.
    pub fn seed(&self) -> Option<u64> {
        self.started.as_ref().map(|started| started.seed)
    }

    fn inputs(&self) -> Option<(&[Input], &CorpusIdentity)> {
        self.started.as_ref().map(|started| (started.inputs.as_slice(), &started.corpus))
    }
}

/// What differs between the behaviour of two runs of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// What is asked, decided or done otherwise, what is loosened first.
    pub acts: Vec<Changed>,
    /// Everything else, in words: files, the end, failure modes, the answer.
    pub others: Vec<String>,
}

/// How many acts are reported of a run.
const ACTS_MAX: usize = 10;

impl Changes {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.acts.is_empty() && self.others.is_empty()
    }

    /// Whether a denial is gone.
    pub fn is_loosened(&self) -> bool {
        self.acts.iter().any(|changed| changed.loosened)
    }

    /// Whether something is denied that was allowed.
    pub fn is_tightened(&self) -> bool {
        self.acts.iter().any(|changed| changed.tightened)
    }

    /// In words: the acts first, and not more of them than a person reads.
    pub fn words(&self) -> Vec<String> {
        let told = self.acts.iter().take(ACTS_MAX).map(Changed::words);
        let left_out = self.acts.len().saturating_sub(ACTS_MAX);
        let rest = (left_out > 0)
            .then(|| format!("and {}", counted(left_out, "more change", "more changes")));
        told.chain(rest).chain(self.others.iter().cloned()).collect()
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
        // What the inputs are today says nothing of the files.
        None => Ok(found.verdict <= Verdict::InputsDiffer),
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
/// That one of them is not a run that can be compared: see [`NoRun`].
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
        Shape::of_run(run).map_err(|error| match error {
            NoRun::Host(fault) => Incomparable::Host(fault),
            error => Incomparable::Run(format!("{run}/{STATE}: the ledger {error}")),
        })
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
