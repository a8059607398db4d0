//! The inputs of one run, and the first event that they make.

use std::sync::Arc;

use crate::agent;
use crate::contract::Contracts;
use crate::corpus::Corpus;
use crate::derive;
use crate::event::{Input, RunStarted};
use crate::policy::spec::Policy;
use crate::task::{LlmSpec, Task};
use crate::tools::Builtin;

/// The inputs of a run.
#[derive(Debug)]
pub struct Inputs {
    /// The task.
    pub task: Task,
    /// The policy.
    pub policy: Arc<Policy>,
    /// The contracts.
    pub contracts: Arc<Contracts>,
    /// What executes their tools.
    pub tools: Arc<Builtin>,
    /// The corpus.
    pub corpus: Arc<Corpus>,
    /// The system prompt.
    pub prompt: String,
    pub(super) list: Vec<Input>,
}

impl Inputs {
    /// The run's id: of the seed and the task, so that it outlives an edited input.
    pub fn run_id(&self) -> String {
        derive::run_id(self.task.seed, &self.task.id)
    }

    /// The files, by their names in evidence.
    pub fn list(&self) -> &[Input] {
        &self.list
    }

    /// The first event of a run, for this LLM.
    pub fn started(&self, llm: crate::event::LlmIdentity) -> RunStarted {
        RunStarted {
            format: crate::event::FORMAT,
            run_id: self.run_id(),
            agent_version: agent::VERSION.to_owned(),
            task: self.task.id.clone(),
            title: self.task.title.clone(),
            question: self.task.question.clone(),
            seed: self.task.seed,
            llm,
            policy_version: self.policy.version.clone(),
            corpus: self.corpus.identity.clone(),
            inputs: self.list.clone(),
        }
    }
}

/// Makes the LLM that a task names.
pub fn llm(inputs: &Inputs) -> Box<dyn crate::llm::Llm + '_> {
    let task = &inputs.task;
    match &task.llm {
        LlmSpec::Script(entries) => {
            Box::new(crate::llm::script::ScriptLlm::new(&task.id, task.seed, entries))
        }
        LlmSpec::Random { max_calls_per_step } => {
            let world = crate::llm::random::World {
                contracts: &inputs.contracts,
                documents: inputs
                    .corpus
                    .documents()
                    .iter()
                    .map(|document| document.path.clone())
                    .collect(),
                hosts: task.fixtures.keys().cloned().collect(),
            };
            Box::new(crate::llm::random::RandomLlm::new(task.seed, *max_calls_per_step, world))
        }
    }
}
