//! The inputs of one run, and the first event that they make.

use std::sync::Arc;

use crate::agent;
use crate::contract::Contracts;
use crate::corpus::Corpus;
use crate::derive;
use crate::event::{Event, FORMAT_MIN, Input, RunStarted};
use crate::llm::Llm;
use crate::llm::random::{RandomLlm, World};
use crate::llm::recorded::{RecordedLlm, Replies};
use crate::llm::script::ScriptLlm;
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

    /// The first event of a run. Its format is the lowest that can express it.
    pub fn started(&self) -> RunStarted {
        let mut started = RunStarted {
            format: FORMAT_MIN,
            run_id: self.run_id(),
            agent_version: agent::VERSION.to_owned(),
            task: self.task.id.clone(),
            title: self.task.title.clone(),
            question: self.task.question.clone(),
            seed: self.task.seed,
            llm: self.task.llm.identity(),
            policy_version: self.policy.version.clone(),
            corpus: self.corpus.identity.clone(),
            inputs: self.list.clone(),
        };
        started.format = Event::RunStarted(Box::new(started.clone())).format_min();
        started
    }
}

/// Makes the LLM that a task names; `replies` are those of another program, where it names one.
pub fn llm<'a>(inputs: &'a Inputs, replies: Option<Replies<'a>>) -> Box<dyn Llm + 'a> {
    let task = &inputs.task;
    match &task.llm {
        LlmSpec::Script(entries) => Box::new(ScriptLlm::new(&task.id, task.seed, entries)),
        LlmSpec::Random { max_calls_per_step } => {
            let documents = inputs.corpus.documents().iter();
            let world = World {
                contracts: &inputs.contracts,
                documents: documents.map(|document| document.path.clone()).collect(),
                hosts: task.fixtures.keys().cloned().collect(),
            };
            Box::new(RandomLlm::new(task.seed, *max_calls_per_step, world))
        }
        LlmSpec::Outside { .. } => {
            Box::new(RecordedLlm::new(replies.unwrap_or_else(|| Box::new(std::iter::empty()))))
        }
    }
}
