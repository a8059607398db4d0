//! A seeded stub that proposes random calls: good ones, malformed ones, forbidden ones, repeated
//! ones, several a step. It never answers, so policy has to end the run. For simulation.

use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

use super::{Llm, LlmError, Message, Reply, Request};
use crate::contract::{Contract, Contracts};
use crate::derive;
use crate::event::{Effect, Usage};
use crate::policy::path::{CORPUS, WORK};

/// What a random LLM knows of the world: names that exist.
#[derive(Debug, Clone)]
pub struct World<'a> {
    /// The contracts to propose calls of.
    pub contracts: &'a Contracts,
    /// Paths of documents in the corpus.
    pub documents: Vec<String>,
    /// Hosts that answer.
    pub hosts: Vec<String>,
}

/// An LLM that proposes random calls.
#[derive(Debug)]
pub struct RandomLlm<'a> {
    seed: u64,
    max_calls_per_step: u64,
    world: World<'a>,
}

impl<'a> RandomLlm<'a> {
    /// An LLM whose proposals are a function of the seed and the step.
    pub fn new(seed: u64, max_calls_per_step: u64, world: World<'a>) -> Self {
        Self { seed, max_calls_per_step, world }
    }

    fn compose(&self, request: &Request) -> Reply {
        let mut rng = derive::rng(self.seed, &["random-llm", &request.step.to_string()]);
        let count = 1 + derive::below(&mut rng, self.max_calls_per_step);
        (0..count).map(|_| self.call(&mut rng)).collect::<Vec<_>>().into()
    }

    fn call(&self, rng: &mut ChaCha8Rng) -> (String, Value) {
        let contracts: Vec<&Contract> = self.world.contracts.iter().collect();
        let Some(contract) = pick(rng, &contracts) else {
            return ("search".to_owned(), Value::Null);
        };
        let name = contract.name.clone();
        // Out of 20: most calls are good, so that runs get somewhere before policy ends them.
        match derive::below(rng, 20) {
            0 => (
                pick(rng, &["shell", "Search", "read ", "", "delete_all"])
                    .copied()
                    .unwrap_or("shell")
                    .to_owned(),
                json!({}),
            ),
            1 => (name, self.malformed(contract, rng)),
            2 => (name, self.forbidden(contract, rng)),
            // The same call again and again, whatever the seed of the step.
            3 | 4 => ("search".to_owned(), json!({"query": "inspection"})),
            _ => (name, self.good(contract, rng)),
        }
    }

    /// Arguments that fit the contract and stay where policy allows.
    fn good(&self, contract: &Contract, rng: &mut ChaCha8Rng) -> Value {
        let mut arguments = Map::new();
        for (name, schema) in &contract.properties {
            let effect = contract.effects.iter().find(|effect| {
                effect.argument.as_deref().and_then(|a| a.strip_prefix('/')) == Some(name)
            });
            let value = match effect.map(|effect| effect.effect) {
                Some(Effect::ReadPath) => json!(format!("{CORPUS}/{}", self.document(rng))),
                Some(Effect::WritePath) => {
                    json!(format!("{WORK}/notes-{}.md", derive::below(rng, 4)))
                }
                Some(Effect::FetchUrl) => {
                    let host = pick(rng, &self.world.hosts).cloned().unwrap_or_default();
                    json!(format!("https://{host}/{}", self.document(rng)))
                }
                Some(Effect::Compute | Effect::SearchCorpus) | None
                    if schema.get("type") == Some(&json!("integer")) =>
                {
                    json!(1 + derive::below(rng, 8))
                }
                Some(Effect::Compute | Effect::SearchCorpus) | None => {
                    json!(format!(
                        "{} no. {}.",
                        pick(rng, &["interval", "Team Basalt", "outcome"]).copied().unwrap_or("x"),
                        derive::below(rng, 1000)
                    ))
                }
            };
            arguments.insert(name.clone(), value);
        }
        Value::Object(arguments)
    }

    fn malformed(&self, contract: &Contract, rng: &mut ChaCha8Rng) -> Value {
        let good = self.good(contract, rng);
        let mut changed = good.as_object().cloned().unwrap_or_default();
        let first = changed.keys().next().cloned().unwrap_or_default();
        match derive::below(rng, 5) {
            0 => return json!([good]),
            1 => return Value::Null,
            2 => {
                changed.insert("extra".to_owned(), json!("../../etc/passwd"));
            }
            3 => {
                changed.insert(first, json!({"nested": ["https://evil.invalid/"]}));
            }
            _ => {
                changed.remove(&first);
            }
        }
        Value::Object(changed)
    }

    /// Arguments that policy has to refuse, if a path or a URL is among them.
    fn forbidden(&self, contract: &Contract, rng: &mut ChaCha8Rng) -> Value {
        let mut arguments = self.good(contract, rng);
        for effect in &contract.effects {
            let texts: &[&str] = match effect.effect {
                Effect::ReadPath | Effect::WritePath => &[
                    "/etc/passwd",
                    "corpus/../../etc/passwd",
                    "work/../../x",
                    "../x",
                    "home/x",
                    "corpus/op-01.md/..",
                ],
                Effect::FetchUrl => &[
                    "https://evil.invalid/",
                    "https://fixtures.local@evil.invalid/",
                    "file:///etc/passwd",
                    "https://fixtures.local./op-01.md",
                    "http://127.1/",
                    "not a url",
                ],
                Effect::Compute | Effect::SearchCorpus => continue,
            };
            let text = pick(rng, texts).copied().unwrap_or_default();
            if let Some(place) =
                effect.argument.as_deref().and_then(|pointer| arguments.pointer_mut(pointer))
            {
                *place = json!(text);
            }
        }
        arguments
    }

    fn document(&self, rng: &mut ChaCha8Rng) -> String {
        pick(rng, &self.world.documents).cloned().unwrap_or_default()
    }
}

impl Llm for RandomLlm<'_> {
    fn hear(&mut self, _: &Message<'_>) {}

    fn reserve(&mut self, request: &Request) -> Result<Usage, LlmError> {
        Ok(self.compose(request).used(request))
    }

    fn reply(&mut self, request: &Request) -> Result<Reply, LlmError> {
        Ok(self.compose(request))
    }
}

fn pick<'t, T>(rng: &mut ChaCha8Rng, items: &'t [T]) -> Option<&'t T> {
    items.get(usize::try_from(derive::below(rng, items.len() as u64)).unwrap_or(0))
}
