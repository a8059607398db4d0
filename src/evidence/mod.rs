//! The artifacts: pure functions of the ledger's records, folded one record at a time so that a
//! long run needs no more memory than a short one.
//!
//! `summary` counts; `trace`, `report` and `manifest` render; `recorder` drives them all; `write`
//! is the only code here that touches a disk; `compare` finds what differs; `expect` holds a run
//! against its task.

pub mod text;
pub mod summary;
pub mod trace;
pub mod report;
pub mod manifest;
pub mod recorder;
pub mod expect;
pub mod compare;
pub mod write;

/// The names of a run's files, in the order in which they are written.
pub const FILES: [&str; 4] = [STATE, TRACE, REPORT, MANIFEST];

/// The ledger.
pub const STATE: &str = "state.jsonl";
/// The trace.
pub const TRACE: &str = "trace.json";
/// The report.
pub const REPORT: &str = "run_report.md";
/// The manifest.
pub const MANIFEST: &str = "manifest.json";
