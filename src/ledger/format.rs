//! Holds a ledger to the format that its first event states.

use crate::event::{Event, FORMAT_MAX, FORMAT_MIN};

use super::error::OTHER_VERSION;

/// The format that a ledger states, once its first event was seen.
#[derive(Debug, Default)]
pub(super) struct Format(u32);

impl Format {
    /// Takes the next event.
    ///
    /// # Errors
    /// In words: a format that this program does not know, one that is not the lowest, and what the
    /// stated format cannot express.
    pub(super) fn accept(&mut self, event: &Event) -> Result<(), String> {
        if let Event::RunStarted(started) = event {
            self.0 = started.format;
            if !(FORMAT_MIN..=FORMAT_MAX).contains(&self.0) {
                return Err(format!(
                    "the ledger has format {}, and this program reads formats {FORMAT_MIN} to {FORMAT_MAX}; {OTHER_VERSION}",
                    self.0
                ));
            }
            let lowest = event.format_min();
            if self.0 > lowest {
                return Err(format!(
                    "the ledger has format {}, and format {lowest} can express it; a run states the lowest",
                    self.0
                ));
            }
        }
        match event.newest().filter(|newer| newer.since > self.0) {
            Some(newer) => Err(format!(
                "the ledger has format {}, and {} is there since format {}",
                self.0, newer.what, newer.since
            )),
            None => Ok(()),
        }
    }
}
