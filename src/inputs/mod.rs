//! Everything that a run is a function of, loaded and checked before it begins.
//!
//! A [`Library`] loads from one project folder or from the binary, and keeps what several tasks
//! share. Nothing falls back: what is named is loaded, or nothing runs.

mod read;
mod given;
mod library;

pub use given::{Inputs, llm};
pub use library::{BUILTIN, Library, Loaded, Root};
pub use read::{FILE_BYTES_MAX, read_file};
