//! Everything that a run is a function of, loaded and checked before it begins.
//!
//! A [`Library`] loads from one project folder or from the binary, and keeps what several tasks
//! share. Nothing falls back: what is named is loaded, or nothing runs.

mod given;
mod library;

pub use given::{Inputs, llm};
pub use library::{BUILTIN, FILE_BYTES_MAX, Library, Loaded, Project, read_file};
