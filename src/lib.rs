//! Run an LLM agent under a written policy, and keep the run as evidence that anyone can
//! recompute.
//!
//! One agent loop; every tool call decided by policy before it runs; every event in one
//! append-only ledger; every artifact computed from it. `docs/architecture.md` is the map.
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
#[cfg(feature = "edge")]
pub mod edge;
pub mod cli;
