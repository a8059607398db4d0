//! For programs that guard their own agent loop: a [`Project`] is opened, a [`Session`] of one of its
//! tasks is begun, calls are proposed to it, and it is finished. What remains is a run like any other:
//! the same folder, the same four files, and every command works on it.
//!
//! Who proposes is not recorded but by what the task says of it; what the model was told is not asked,
//! and the run's question and prompt are the task's. The example is at the top of this crate.
//!
//! Values are `serde_json`'s. Its features `preserve_order` and `arbitrary_precision` must be off, also in
//! the program around this library: a ledger has its keys sorted and its numbers in one form.

mod error;
mod run;
mod project;

pub use error::Error;
pub use project::Project;
pub use run::{Run, Session, Step};
