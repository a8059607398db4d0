//! The artifacts: pure functions of the ledger's records, folded one record at a time so that a
//! long run needs no more memory than a short one.
//!
//! `text` escapes what others wrote; `words` and `calls` say in short what happened.
//! `summary` counts; `trace`, `report` and `manifest` render; `recorder` drives them all; `compare`
//! finds what differs; `align` finds who stands for whom in two runs, and `acts` how they differ in what they
//! ask and do; `expect` holds a run against its task; `facts` holds its events against each
//! other; `origin` compares a run with the current inputs. `write` is the only code here that changes a disk, and `open` the only one that reads it.
//! On top of these, what a stranger can do with a run: `attest` signs it, `verify` checks it without
//! executing anything, and `diff` compares two.

pub mod text;
pub mod words;
pub mod calls;
pub mod summary;
pub mod trace;
pub mod report;
pub mod manifest;
pub mod align;
pub mod acts;
pub mod recorder;
pub mod expect;
pub mod compare;
pub mod open;
pub mod facts;
pub mod attest;
pub mod verify;
pub mod behaviour;
pub mod origin;
pub mod write;
pub mod diff;

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
/// The signature, where somebody signed the run.
pub const ATTESTATION: &str = "attestation.intoto.json";
/// The folder of the files that the run wrote itself.
pub const WORK: &str = crate::policy::path::WORK;
