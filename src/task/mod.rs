//! A task: what is asked, of whom, under which inputs, and the expected outcome.
//!
//! Raw as typed, then checked: the embedded schema says what a task may look like, and what a
//! schema cannot say (which step may refer to which) is checked here. Nothing here opens a file.

mod fault;
mod script;

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::event::{ExecutionPath, FailureMode, LlmIdentity, TerminalReason};
use crate::json::{self, Digest};
use crate::kind::Kind;
use crate::problem::{Problem, Problems, cut, nearest};
use crate::schema::{Embedded, Schema};

use fault::{RawFault, faults_twice};
use script::{RawEntry, check_script, entry_place};

pub use fault::{Fault, FaultMode};
pub use script::{Entry, Reference, ScriptedCall, Template, Turn};

/// The schema of a task, embedded: the file beside the tasks is for editors.
pub const META_SCHEMA: &str = include_str!("../../tasks/task.schema.json");

static META: Embedded = Embedded::new(|| Schema::embedded(META_SCHEMA));

/// What the folder of a proposed run ends in. No part of a task's id does, since such folders are
/// passed over where runs are looked for.
pub const PROPOSAL_ENDING: &str = ".new";

/// What the folder of a run in the making ends in; no part of a task's id does either.
pub const PARTIAL_ENDING: &str = ".partial";

/// What a folder ends in while it is exchanged with another; no part of a task's id does either.
pub const SWAP_ENDING: &str = ".swap";

/// What a folder ends in that is to be removed; no part of a task's id does either.
pub const REPLACED_ENDING: &str = ".old";

/// The ending of a name that is the program's own, if it has one.
///
/// ```
/// use gatedrun::task::reserved_ending;
/// assert_eq!(reserved_ending("v1.partial"), Some(".partial"));
/// assert_eq!(reserved_ending("v1.newer"), None);
/// ```
pub fn reserved_ending(name: &str) -> Option<&'static str> {
    let endings = [PROPOSAL_ENDING, PARTIAL_ENDING, SWAP_ENDING, REPLACED_ENDING];
    endings.into_iter().find(|ending| name.ends_with(ending))
}

/// A task, checked.
#[derive(Debug, Clone)]
pub struct Task {
    /// Its id: the path under `tasks/` without `.json`.
    pub id: String,
    /// What it is about, in a line.
    pub title: String,
    /// What the agent is asked.
    pub question: String,
    /// The policy file.
    pub policy: String,
    /// The folder of tool contracts.
    pub contracts: String,
    /// The corpus's folder.
    pub corpus: String,
    /// The system prompt.
    pub prompt: String,
    /// Hosts served in this process, and the mount that each is served from.
    pub fixtures: BTreeMap<String, String>,
    /// The seed.
    pub seed: u64,
    /// Who answers as the LLM.
    pub llm: LlmSpec,
    /// Faults around the tools.
    pub faults: Vec<Fault>,
    /// The expected outcome, if the task states one.
    pub expected: Option<Expected>,
    /// SHA-256 of the file's bytes.
    pub sha256: Digest,
}

/// Who answers as the LLM.
#[derive(Debug, Clone)]
pub enum LlmSpec {
    /// The script below.
    Script(Vec<Entry>),
    /// Random calls from the contracts.
    Random {
        /// Calls a step at most.
        max_calls_per_step: u64,
    },
    /// Another program, which proposes the calls.
    Outside {
        /// Whom it asks.
        provider: String,
        /// For which model.
        model: String,
    },
}

impl LlmSpec {
    /// Who answers, as a run states it.
    pub fn identity(&self) -> LlmIdentity {
        let (path, provider, model) = match self {
            Self::Script(_) => (ExecutionPath::Stub, "gatedrun", "script"),
            Self::Random { .. } => (ExecutionPath::Stub, "gatedrun", "random"),
            Self::Outside { provider, model } => {
                (ExecutionPath::Outside, provider.as_str(), model.as_str())
            }
        };
        LlmIdentity { path, provider: provider.to_owned(), model: model.to_owned() }
    }

    /// Whether the calls come from another program, so that this one cannot make a run of the task.
    pub fn is_outside(&self) -> bool {
        matches!(self, Self::Outside { .. })
    }
}

/// What must come of a task.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// Why the run ends.
    pub terminal_reason: TerminalReason,
    /// The tools that ran, in order.
    pub tools: Option<Vec<String>>,
    /// Every decision in order, such as `allow` or `deny:url_allowlist`.
    pub decisions: Option<Vec<String>>,
    /// The failure modes of the steps, in order.
    pub failure_modes: Option<Vec<FailureMode>>,
    /// Texts that the answer must hold.
    #[serde(default)]
    pub answer_contains: Vec<String>,
}

#[derive(Deserialize)]
struct RawTask {
    id: String,
    title: String,
    question: String,
    policy: String,
    contracts: String,
    corpus: String,
    prompt: String,
    #[serde(default)]
    fixtures: BTreeMap<String, String>,
    seed: u64,
    llm: RawLlm,
    #[serde(default)]
    faults: Vec<RawFault>,
    expected: Option<Expected>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawLlm {
    Script(Vec<RawEntry>),
    Random { max_calls_per_step: u64 },
    Outside { provider: String, model: String },
}

impl Task {
    /// Reads a task.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its line or JSON pointer.
    pub fn load(path: &str, bytes: &[u8]) -> Result<Self, Problems> {
        Self::read(path, bytes).map_err(|problems| json::located(problems, bytes))
    }

    fn read(path: &str, bytes: &[u8]) -> Result<Self, Problems> {
        let value = json::parse(bytes).map_err(|error| match Kind::of(bytes) {
            Some(kind) if kind != Kind::Task => kind.instead_of(path, Kind::Task),
            _ => Problem::new(path, error.message.clone())
                .at(format!("line {}, column {}", error.line, error.column)),
        })?;
        let violations = META.violations(&value);
        if !violations.is_empty() {
            if let Some(kind) = Kind::of(bytes).filter(|kind| *kind != Kind::Task) {
                return Err(kind.instead_of(path, Kind::Task).into());
            }
            return Err(Problems(
                violations.into_iter().flat_map(|violation| violation.problems(path)).collect(),
            ));
        }
        // An integer is one however it is written, and one that readers round is refused where an
        // LLM would say it.
        let value = json::normal(value);
        let said = value.get("llm").and_then(|llm| Some((json::rounded(llm)?, "/llm")));
        let whole = || {
            let mut rest = value.clone();
            rest.as_object_mut()?.remove("llm");
            json::rounded(&rest).filter(|(_, number)| number.is_f64()).map(|(pointer, number)| {
                Problem::new(path, too_large(number, i64::MAX.unsigned_abs())).at(pointer)
            })
        };
        if let Some(((pointer, number), above)) = said {
            // A place in a result is counted, and is never a text.
            let is_count = pointer.contains("/$result/");
            let what = match is_count {
                true => too_large(number, json::INTEGER_MAX),
                false => json::rounded_words(number),
            };
            return Err(Problem::new(path, what).at(format!("{above}{pointer}")).into());
        } else if let Some(problem) = whole() {
            return Err(problem.into());
        }
        let raw: RawTask = json::typed(value)
            .map_err(|misfit| Problem::new(path, &misfit.what).at(misfit.at()))?;
        let mut problems = Vec::new();
        let llm = match raw.llm {
            RawLlm::Random { max_calls_per_step } => LlmSpec::Random { max_calls_per_step },
            RawLlm::Outside { provider, model } => LlmSpec::Outside { provider, model },
            RawLlm::Script(entries) => LlmSpec::Script(check_script(path, entries, &mut problems)),
        };
        let faults: Vec<Fault> = raw.faults.into_iter().map(Fault::from).collect();
        problems.extend(faults_twice(path, &faults));
        let task = Self {
            id: raw.id,
            title: raw.title,
            question: raw.question,
            policy: raw.policy,
            contracts: raw.contracts,
            corpus: raw.corpus,
            prompt: raw.prompt,
            fixtures: raw.fixtures,
            seed: raw.seed,
            llm,
            faults,
            expected: raw.expected,
            sha256: Digest::of(bytes),
        };
        Problems::check(problems, task)
    }

    /// Checks the tools that the task names against those that there are.
    ///
    /// # Errors
    /// Every unknown name, with its place.
    pub fn check_tools(&self, path: &str, tools: &[&str]) -> Result<(), Problems> {
        let unknown = |name: &str, at: String| {
            let name = &*cut(name);
            let hint = nearest(name, tools)
                .map_or_else(String::new, |known| format!("did you mean {known:?}? "));
            Problem::new(path, format!("unknown tool {name:?}"))
                .at(at)
                .remedy(format!("{hint}the contracts describe {}", tools.join(", ")))
        };
        let mut problems = Vec::new();
        for (index, fault) in self.faults.iter().enumerate() {
            if !tools.contains(&fault.tool.as_str()) {
                problems.push(unknown(&fault.tool, format!("/faults/{index}/tool")));
            }
        }
        for (name, place) in self.scripted_tools() {
            if !tools.contains(&name) {
                let mut problem = unknown(name, place);
                problem.remedy.push_str(
                    "; where the call is meant to be refused, add \"unknown_tool\": true",
                );
                problems.push(problem);
            }
        }
        let expected = self.expected.iter().filter_map(|expected| expected.tools.as_ref());
        for (index, name) in expected.flatten().enumerate() {
            if !tools.contains(&name.as_str()) {
                problems.push(unknown(name, format!("/expected/tools/{index}")));
            }
        }
        Problems::check(problems, ())
    }

    /// The tools that a script names as known, each with its place.
    fn scripted_tools(&self) -> Vec<(&str, String)> {
        let LlmSpec::Script(entries) = &self.llm else { return Vec::new() };
        let mut named = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            for (choice, turn) in entry.turns.iter().enumerate() {
                let place = entry_place(index, choice, entry.turns.len());
                for (call, scripted) in turn.calls.iter().enumerate() {
                    if !scripted.unknown_tool {
                        named.push((scripted.tool.as_str(), format!("{place}/calls/{call}/tool")));
                    }
                }
            }
        }
        named
    }
}

/// What to say of a number that no integer of a task can be.
fn too_large(number: &serde_json::Number, max: u64) -> String {
    format!("expected a whole number in plain digits, at most {max}, found {number}")
}
