//! The ledger: one event per line, hash-chained, and the only truth about a run.
//!
//! It is the only writer of records and the only reader of the clock. `format`, `order` and
//! `grammar` say what an event may hold, which may follow which, and what they must state of each other,
//! and are asked when a record is written and again when it is read; `reader` reads a ledger back; `past` is what is recorded already when a loop begins; `writer` adds to it.
//! The ledger does not know where its lines go: that is the sink's business.

mod error;
mod encode;
mod lines;
mod format;
mod order;
mod grammar;
mod reader;
mod past;
mod writer;

pub use encode::encode;
pub use error::{Divergence, LedgerError, OTHER_VERSION, is_of_another_version};
pub use grammar::Grammar;
pub use lines::LINE_BYTES_MAX;
pub use order::exported as order;
pub use past::{Answer, Pair, Past};
pub use reader::Reader;
pub use writer::{Ledger, Push};
