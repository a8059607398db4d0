//! Run an LLM agent under a written policy, and keep the run as evidence that anyone can
//! recompute.
//!
//! One agent loop; every tool call decided by policy before it runs; every event in one
//! append-only ledger; every artifact computed from it. `docs/architecture.md` is the map.
//!
//! To guard a loop of your own, open a [`Project`] and propose the calls of a [`Session`]. The task says
//! `"llm": {"outside": {"provider": "...", "model": "..."}}`: another program, yours, proposes the calls.
//!
//! ```
//! # use gatedrun::{Outcome, Project};
//! # use serde_json::{Value, json};
//! # let place = tempfile::tempdir()?;
//! # let folder = place.path();
//! # std::fs::create_dir_all(folder.join("tasks"))?;
//! # std::fs::write(folder.join("tasks/guarded.json"), r#"{
//! #     "format": 1, "id": "guarded", "title": "A guarded loop", "question": "Who owns R-4?", "seed": 0,
//! #     "policy": "builtin:policy/v1.yaml", "contracts": "builtin:tools",
//! #     "corpus": "builtin:data/corpus/v1", "prompt": "builtin:data/prompt/v1.md",
//! #     "llm": {"outside": {"provider": "acme", "model": "large"}}
//! # }"#)?;
//! # struct Model(Vec<[(&'static str, Value); 1]>);
//! # impl Model {
//! #     fn reply(&mut self, _: &[Outcome]) -> Option<[(&'static str, Value); 1]> { self.0.pop() }
//! # }
//! # let mut model = Model(vec![
//! #     [("read", json!({"path": "../secrets"}))], [("read", json!({"path": "corpus/op-19.md"}))],
//! # ]);
//! # let mut heard = Vec::new();
//! let mut session = Project::open(folder)?.session("tasks/guarded.json")?;
//! while let Some(calls) = model.reply(&heard) {
//!     let step = session.propose(calls)?;
//!     heard = step.outcomes;
//!     if step.end.is_some() {
//!         break;
//!     }
//! }
//! let run = session.finish("Team Cobalt")?;
//! println!("{}: {}", run.folder, run.end.terminal_reason.as_str());
//! # assert_eq!(run.end.terminal_reason.as_str(), "policy_denial_terminal");
//! # assert!(matches!(&heard[..], [Outcome::Denied { .. }]));
//! # assert!(folder.join("runs/guarded/manifest.json").is_file());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The modules stand in the order in which data flows: each may use those above it.

pub mod problem;
pub mod host;
pub mod file;
pub mod kind;
pub mod json;
pub mod line_ends;
pub mod event;
pub mod state;
pub mod yaml;
pub mod derive;
pub mod schema;
pub mod contract;
pub mod task;
pub mod corpus;
pub mod policy;
pub mod clock;
pub mod ledger;
pub mod executor;
pub mod tools;
pub mod llm;
pub mod retry;
pub mod governor;
pub mod agent;
pub mod builtin;
pub mod inputs;
pub mod evidence;
pub mod run;
pub mod recovery;
pub mod proposal;
pub mod replay;
pub mod isolation;
pub mod place;
pub mod session;
#[cfg(feature = "edge")]
pub mod edge;
pub mod cli;

pub use event::Usage;
pub use governor::Outcome;
pub use llm::Reply;
pub use session::{Project, Session};
