//! The stub LLM: says what its task's script says, with earlier results filled in.
//!
//! It keeps only the results that the script refers to, so a long run does not grow it.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::{Llm, LlmError, Message, Reply, Request};
use crate::derive;
use crate::event::Usage;
use crate::json::pointer_token;
use crate::problem::cut;
use crate::task::{Entry, Reference, Template, Turn};

/// A scripted LLM.
#[derive(Debug)]
pub struct ScriptLlm<'a> {
    task: &'a str,
    seed: u64,
    entries: &'a [Entry],
    wanted: HashSet<(u64, usize)>,
    kept: HashMap<(u64, usize), Value>,
    ready: Option<(u64, Reply)>,
}

impl<'a> ScriptLlm<'a> {
    /// An LLM at the start of its script. `task` is named in errors.
    pub fn new(task: &'a str, seed: u64, entries: &'a [Entry]) -> Self {
        let mut wanted = HashSet::new();
        for turn in entries.iter().flat_map(|entry| &entry.turns) {
            let arguments = turn.calls.iter().map(|call| &call.arguments);
            for template in turn.text.iter().chain(&turn.final_answer).chain(arguments) {
                collect_references(template, &mut wanted);
            }
        }
        Self { task, seed, entries, wanted, kept: HashMap::new(), ready: None }
    }

    fn prepare(&mut self, request: &Request) -> Result<Usage, LlmError> {
        if let Some((step, reply)) = &self.ready
            && *step == request.step
        {
            return Ok(reply.used(request));
        }
        let reply = self.compose(request)?;
        let usage = reply.used(request);
        self.ready = Some((request.step, reply));
        Ok(usage)
    }

    fn compose(&self, request: &Request) -> Result<Reply, LlmError> {
        let step = request.step;
        let index = self.entries.partition_point(|entry| entry.steps.end <= step);
        let Some(entry) = self.entries.get(index) else {
            let last = self.entries.last().map_or(0, |entry| entry.steps.end - 1);
            return Err(LlmError {
                step,
                what: format!(
                    "the script of task {:?} ends after step {last} without a final answer; add an entry, or end it with \"final_answer\"",
                    self.task
                ),
            });
        };
        let turn = self.pick(&entry.turns, step, &["turn"]);
        let turn = turn.ok_or_else(|| LlmError { step, what: "the entry is empty".to_owned() })?;
        self.fill_turn(turn, step)
    }

    fn fill_turn(&self, turn: &Turn, step: u64) -> Result<Reply, LlmError> {
        let text = |template: &Option<Template>, place: &str| -> Result<Option<String>, LlmError> {
            template
                .as_ref()
                .map(|template| self.fill(template, step, place).map(into_text))
                .transpose()
        };
        let calls = turn.calls.iter().enumerate().map(|(index, call)| {
            let place = format!("call {}", index + 1);
            Ok((call.tool.clone(), self.fill(&call.arguments, step, &place)?))
        });
        Ok(Reply {
            text: text(&turn.text, "text")?,
            calls: calls.collect::<Result<_, LlmError>>()?,
            final_answer: text(&turn.final_answer, "final_answer")?,
            usage: turn.usage,
        })
    }

    fn fill(&self, template: &Template, step: u64, place: &str) -> Result<Value, LlmError> {
        match template {
            Template::Literal(value) => Ok(value.clone()),
            Template::Step => Ok(step.into()),
            Template::Result(reference) => self.look_up(reference, step, place),
            Template::Array(items) => items
                .iter()
                .map(|item| self.fill(item, step, place))
                .collect::<Result<_, _>>()
                .map(Value::Array),
            Template::Object(members) => members
                .iter()
                .map(|(key, member)| Ok((key.clone(), self.fill(member, step, place)?)))
                .collect::<Result<_, _>>()
                .map(Value::Object),
            Template::Concat(parts) => {
                let mut text = String::new();
                for part in parts {
                    text.push_str(&into_text(self.fill(part, step, place)?));
                }
                Ok(Value::String(text))
            }
            Template::Choose(alternatives) => {
                match self.pick(alternatives, step, &["value", place]) {
                    Some(chosen) => self.fill(chosen, step, place),
                    None => Ok(Value::Null),
                }
            }
        }
    }

    /// One of several, by the seed and the place.
    fn pick<'t, T>(&self, items: &'t [T], step: u64, place: &[&str]) -> Option<&'t T> {
        if items.len() < 2 {
            return items.first();
        }
        let step = step.to_string();
        let parts: Vec<&str> =
            ["choose", self.task, &step].into_iter().chain(place.iter().copied()).collect();
        let chosen = derive::below(&mut derive::rng(self.seed, &parts), items.len() as u64);
        items.get(usize::try_from(chosen).unwrap_or(0))
    }

    fn look_up(&self, reference: &Reference, step: u64, place: &str) -> Result<Value, LlmError> {
        let Reference { step: from, call, pointer } = reference;
        let target = match pointer.as_str() {
            "" => "the result".to_owned(),
            pointer => format!("{:?} in the result", cut(pointer)),
        };
        let missing = |why: &str| LlmError {
            step,
            what: format!(
                "{place} of task {:?} refers to {target} of step {from}, call {call}: {why}",
                self.task
            ),
        };
        let result = self.kept.get(&(*from, *call)).ok_or_else(|| {
            missing("that call has no result; it was denied, failed, was not made, or its result was lost")
        })?;
        result.pointer(pointer).cloned().ok_or_else(|| {
            let keys: Vec<String> = result
                .as_object()
                .into_iter()
                .flatten()
                .map(|(key, _)| format!("/{}", pointer_token(key)))
                .collect();
            missing(&format!("nothing is there; the result holds {}", cut(&keys.join(", "))))
        })
    }
}

impl Llm for ScriptLlm<'_> {
    fn hear(&mut self, message: &Message<'_>) {
        if let Message::Tool { step, call, result: Some(result), .. } = message
            && self.wanted.contains(&(*step, *call))
        {
            self.kept.insert((*step, *call), result.value());
        }
    }

    fn reserve(&mut self, request: &Request) -> Result<Usage, LlmError> {
        self.prepare(request)
    }

    fn reply(&mut self, request: &Request) -> Result<Reply, LlmError> {
        self.prepare(request)?;
        match self.ready.take() {
            Some((_, reply)) => Ok(reply),
            None => self.compose(request),
        }
    }
}

fn collect_references(template: &Template, wanted: &mut HashSet<(u64, usize)>) {
    match template {
        Template::Literal(_) | Template::Step => {}
        Template::Result(reference) => {
            wanted.insert((reference.step, reference.call));
        }
        Template::Array(items) | Template::Concat(items) | Template::Choose(items) => {
            for item in items {
                collect_references(item, wanted);
            }
        }
        Template::Object(members) => {
            for (_, member) in members {
                collect_references(member, wanted);
            }
        }
    }
}

/// A text as it is, anything else as JSON.
fn into_text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}
