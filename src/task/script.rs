//! The script of a task: what the stub LLM says in each step, with places to fill in when it comes.

use std::ops::Range;

use serde::Deserialize;
use serde_json::Value;

use crate::event::Usage;
use crate::json;
use crate::problem::{Problem, cut};

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

/// The schema has made sure that an entry is either `choose` or a turn.
#[derive(Deserialize)]
pub(super) struct RawEntry {
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

/// JSON pointer to a turn of a script.
pub(super) fn entry_place(index: usize, choice: usize, choices: usize) -> String {
    if choices > 1 {
        format!("/llm/script/{index}/choose/{choice}")
    } else {
        format!("/llm/script/{index}")
    }
}

pub(super) fn check_script(
    path: &str,
    raw: Vec<RawEntry>,
    problems: &mut Vec<Problem>,
) -> Vec<Entry> {
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
