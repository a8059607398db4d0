//! Policy: what the agent may do, and the gate that decides it.
//!
//! `spec` is the file, checked; `listed` is what a policy may list;
//! `url` and `path` read what a call names; `gate` asks the rules in
//! their order. What the gate lets through is a capability, and no tool accepts anything else.

pub mod spec;
pub mod url;
pub mod listed;
pub mod path;
pub mod gate;
pub mod cases;
