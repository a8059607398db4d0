//! Policy: what the agent may do, and the gate that decides it.
//!
//! `spec` is the file, checked; `defaults` is what holds where it says nothing; `findings` and
//! `warnings` are what is wrong with it; `listed` is what a policy may list; `url` and `path` read what a call
//! names, `names` says which a run may write; `gate` asks the rules in
//! their order. What the gate lets through is a capability, and no tool accepts anything else.

pub mod spec;
pub mod defaults;
mod findings;
pub mod warnings;
pub mod url;
pub mod listed;
pub mod path;
pub mod names;
pub mod gate;
pub mod cases;
