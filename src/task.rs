//! A task: what is asked, of whom, under which inputs, and the expected outcome.
//!
//! Raw as typed, then checked: the embedded schema says what a task may look like, and what a
//! schema cannot say (which step may refer to which) is checked here. Nothing here opens a file.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use serde_json::Value;

use crate::event::{FailureMode, TerminalReason, Usage};
use crate::json::{self, Digest};
use crate::kind::Kind;
use crate::problem::{Problem, Problems, cut, nearest};
use crate::schema::{Embedded, Schema};

/// The schema of a task, embedded: the file beside the tasks is for editors.
pub const META_SCHEMA: &str = include_str!("../tasks/task.schema.json");

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
}

/// An entry of a script: the steps that it serves, and what is said in them.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The steps, from 1.
    pub steps: Range<u64>,
    /// The alternatives; the seed decides where there is more than one.
    pub turns: Vec<Turn>,
}

/// What the scripted LLM says in a step.
#[derive(Debug, Clone)]
pub struct Turn {
    /// What it says besides its calls.
    pub text: Option<Template>,
    /// The calls that it proposes.
    pub calls: Vec<ScriptedCall>,
    /// Its final answer.
    pub final_answer: Option<Template>,
    /// What the call uses; estimated where absent.
    pub usage: Option<Usage>,
}

/// A call in a script.
#[derive(Debug, Clone)]
pub struct ScriptedCall {
    /// The tool.
    pub tool: String,
    /// The arguments.
    pub arguments: Template,
    /// Whether the tool is meant to have no contract.
    pub unknown_tool: bool,
}

/// A value with places to fill in when its step comes.
#[derive(Debug, Clone, PartialEq)]
pub enum Template {
    /// As it stands.
    Literal(Value),
    /// An object with templates in it.
    Object(Vec<(String, Template)>),
    /// An array with templates in it.
    Array(Vec<Template>),
    /// `{"$result": {"step": 1, "call": 1, "pointer": "/results/0/id"}}`
    Result(Reference),
    /// `{"$concat": [...]}`: the texts of all parts in a row.
    Concat(Vec<Template>),
    /// `{"$choose": [...]}`: one of them, by the seed.
    Choose(Vec<Template>),
    /// `{"$step": {}}`: the number of the step.
    Step,
}

/// A place in an earlier result.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// The step, from 1.
    pub step: u64,
    /// The call in the step, from 1.
    #[serde(default = "first")]
    pub call: usize,
    /// JSON pointer into the call's result.
    pub pointer: String,
}

fn first() -> usize {
    1
}

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
}

/// The schema has made sure that an entry is either `choose` or a turn.
#[derive(Deserialize)]
struct RawEntry {
    choose: Option<Vec<RawTurn>>,
    #[serde(default, deserialize_with = "present")]
    text: Option<Value>,
    #[serde(default)]
    calls: Vec<RawCall>,
    #[serde(default, deserialize_with = "present")]
    final_answer: Option<Value>,
    usage: Option<Usage>,
    repeat: Option<u64>,
}

/// A value that is there, null included.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct RawTurn {
    #[serde(default, deserialize_with = "present")]
    text: Option<Value>,
    #[serde(default)]
    calls: Vec<RawCall>,
    #[serde(default, deserialize_with = "present")]
    final_answer: Option<Value>,
    usage: Option<Usage>,
    /// Refused here: how often an entry serves is not a matter of chance.
    repeat: Option<u64>,
}

#[derive(Deserialize)]
struct RawCall {
    tool: String,
    arguments: Value,
    #[serde(default)]
    unknown_tool: bool,
}

#[derive(Deserialize)]
struct RawFault {
    tool: String,
    mode: String,
    #[serde(default)]
    failures: u32,
    #[serde(default)]
    bytes: u64,
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

/// A tool has one fault: of two, one would do nothing.
fn faults_twice(path: &str, faults: &[Fault]) -> Vec<Problem> {
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

/// JSON pointer to a turn of a script.
fn entry_place(index: usize, choice: usize, choices: usize) -> String {
    if choices > 1 {
        format!("/llm/script/{index}/choose/{choice}")
    } else {
        format!("/llm/script/{index}")
    }
}

fn check_script(path: &str, raw: Vec<RawEntry>, problems: &mut Vec<Problem>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::with_capacity(raw.len());
    let mut next_step = 1;
    for (index, entry) in raw.into_iter().enumerate() {
        let steps = next_step..next_step + entry.repeat.unwrap_or(1);
        next_step = steps.end;
        let raw_turns = entry.choose.unwrap_or_else(|| {
            vec![RawTurn {
                text: entry.text,
                calls: entry.calls,
                final_answer: entry.final_answer,
                usage: entry.usage,
                repeat: None,
            }]
        });
        let choices = raw_turns.len();
        let turns = raw_turns
            .into_iter()
            .enumerate()
            .map(|(choice, turn)| {
                let place = entry_place(index, choice, choices);
                let mut scope = Scope { path, steps: steps.clone(), earlier: &entries, problems };
                scope.turn(turn, &place)
            })
            .collect();
        entries.push(Entry { steps, turns });
    }
    entries
}

/// Where a template stands: what it may refer to.
struct Scope<'a> {
    path: &'a str,
    steps: Range<u64>,
    earlier: &'a [Entry],
    problems: &'a mut Vec<Problem>,
}

impl Scope<'_> {
    fn turn(&mut self, raw: RawTurn, place: &str) -> Turn {
        let mut said = |value: Option<Value>, key: &str| {
            let place = format!("{place}/{key}");
            if value == Some(Value::Null) {
                self.problem(
                    &place,
                    &format!("{key} is null, which is not a text"),
                    "write the text, or remove the key",
                );
            }
            value.map(|value| self.template(value, &place))
        };
        let text = said(raw.text, "text");
        let final_answer = said(raw.final_answer, "final_answer");
        if raw.repeat.is_some() {
            let place = format!("{place}/repeat");
            self.problem(&place, "an alternative of \"choose\" cannot repeat", "remove \"repeat\"");
        }
        if final_answer.is_some() && self.steps.end - self.steps.start > 1 {
            self.problem(place, "a final answer cannot repeat", "remove \"repeat\"");
        }
        let calls = raw
            .calls
            .into_iter()
            .enumerate()
            .map(|(index, call)| ScriptedCall {
                tool: call.tool,
                arguments: self
                    .template(call.arguments, &format!("{place}/calls/{index}/arguments")),
                unknown_tool: call.unknown_tool,
            })
            .collect();
        Turn { text, calls, final_answer, usage: raw.usage }
    }

    fn template(&mut self, value: Value, place: &str) -> Template {
        let map = match value {
            Value::Array(items) => {
                return fold(Template::Array(self.templates(items, place)));
            }
            Value::Object(map) => map,
            literal => return Template::Literal(literal),
        };
        let operator = map.keys().find(|key| key.starts_with('$')).cloned();
        let Some(operator) = operator else {
            let members = map
                .into_iter()
                .map(|(key, value)| {
                    let template = self.template(value, &format!("{place}/{key}"));
                    (key, template)
                })
                .collect();
            return fold(Template::Object(members));
        };
        if map.len() > 1 {
            self.problem(
                place,
                &format!("{} stands beside other keys", cut(&operator)),
                "give it an object of its own",
            );
        }
        let operand =
            map.into_iter().find(|(key, _)| *key == operator).map_or(Value::Null, |(_, v)| v);
        let place = format!("{place}/{operator}");
        match (operator.as_str(), operand) {
            ("$concat", Value::Array(items)) if !items.is_empty() => {
                Template::Concat(self.templates(items, &place))
            }
            ("$choose", Value::Array(items)) if items.len() > 1 => {
                Template::Choose(self.templates(items, &place))
            }
            ("$concat" | "$choose", _) => {
                let least = if operator == "$concat" { "one part" } else { "two alternatives" };
                let what = format!("{operator} needs a list of at least {least}");
                self.problem(&place, &what, "list them");
                Template::Literal(Value::Null)
            }
            ("$step", _) => Template::Step,
            ("$result", operand) => match json::typed::<Reference>(operand) {
                Ok(reference) => {
                    self.check_reference(&reference, &place);
                    Template::Result(reference)
                }
                Err(misfit) => {
                    self.problem(
                        &format!("{place}{}", misfit.pointer),
                        &misfit.what,
                        "write {\"step\": 1, \"call\": 1, \"pointer\": \"/...\"}",
                    );
                    Template::Literal(Value::Null)
                }
            },
            (unknown, _) => {
                self.problem(
                    &place,
                    &format!("unknown operator {:?}", cut(unknown)),
                    "there are $result, $concat, $choose and $step",
                );
                Template::Literal(Value::Null)
            }
        }
    }

    fn templates(&mut self, items: Vec<Value>, place: &str) -> Vec<Template> {
        items
            .into_iter()
            .enumerate()
            .map(|(index, item)| self.template(item, &format!("{place}/{index}")))
            .collect()
    }

    fn check_reference(&mut self, reference: &Reference, place: &str) {
        let pointer = &reference.pointer;
        let shown = cut(pointer);
        let of = format!("of the reference to step {}", reference.step);
        let at = format!("{place}/pointer");
        if !pointer.is_empty() && !pointer.starts_with('/') {
            let what = format!("the pointer {of} is not a JSON pointer (found {shown:?})");
            self.problem(&at, &what, "begin it with /");
        }
        if pointer.split('~').skip(1).any(|after| !after.starts_with(['0', '1'])) {
            let what = format!(
                "the pointer {of} is not a JSON pointer: ~ stands for nothing (found {shown:?})"
            );
            self.problem(&at, &what, "write ~0 for ~, and ~1 for / in a key");
        }
        let Some(entry) = self.earlier.iter().find(|entry| entry.steps.contains(&reference.step))
        else {
            let what =
                format!("step {} does not come before step {}", reference.step, self.steps.start);
            self.problem(place, &what, "refer to an earlier step, counted from 1");
            return;
        };
        let calls = entry.turns.iter().map(|turn| turn.calls.len()).max().unwrap_or(0);
        if reference.call == 0 || reference.call > calls {
            let noun = if calls == 1 { "call" } else { "calls" };
            let what = format!(
                "step {} has {calls} {noun}, and no call {}",
                reference.step, reference.call
            );
            self.problem(place, &what, "calls are counted from 1");
        }
    }

    fn problem(&mut self, place: &str, what: &str, remedy: &str) {
        self.problems.push(Problem::new(self.path, what).at(place).remedy(remedy));
    }
}

/// A composite without places to fill in is a literal.
fn fold(template: Template) -> Template {
    let literal = |template: &Template| match template {
        Template::Literal(value) => Some(value.clone()),
        _ => None,
    };
    let folded = match &template {
        Template::Array(items) => {
            items.iter().map(literal).collect::<Option<Vec<_>>>().map(Value::Array)
        }
        Template::Object(members) => members
            .iter()
            .map(|(key, member)| Some((key.clone(), literal(member)?)))
            .collect::<Option<serde_json::Map<_, _>>>()
            .map(Value::Object),
        _ => None,
    };
    folded.map_or(template, Template::Literal)
}
