//! What a walk over tasks or runs does not look into: one such neighbour hides no other's verdict.

use camino::Utf8Path;

use crate::file;
use crate::host::HostFault;

use super::exit;

/// What is not looked into.
#[derive(Debug)]
pub struct Refused {
    /// Its path, as far as it is text.
    pub path: String,
    /// Why, and what to do.
    pub what: String,
    /// Whether the machine refused.
    pub is_host: bool,
}

impl Refused {
    pub(super) fn new(path: String, what: impl Into<String>) -> Self {
        Self { path, what: what.into(), is_host: false }
    }

    /// What a walk could not read; `what` says what follows from that.
    pub(super) fn unread(error: &walkdir::Error, top: &Utf8Path, what: &str) -> Self {
        let (path, why) = place_and_reason(error, top);
        let is_host = error.io_error().is_some_and(HostFault::is_one);
        Self { path, what: format!("{what}: {why}"), is_host }
    }

    /// The exit code that it is worth: that of the machine's refusal, or else this one.
    pub fn code(&self, otherwise: u8) -> u8 {
        if self.is_host { exit::HOST } else { otherwise }
    }
}

/// Where a walk below `top` met an error, and which.
fn place_and_reason(error: &walkdir::Error, top: &Utf8Path) -> (String, String) {
    let place = error.path().unwrap_or(top.as_std_path()).to_string_lossy().into_owned();
    (place, error.io_error().map_or_else(|| error.to_string(), file::said))
}
