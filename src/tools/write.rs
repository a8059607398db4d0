//! `write`: replaces a file of the run's own folder, whole or not at all.

use serde::{Deserialize, Serialize};

use crate::event::Effect;
use crate::executor::Output;
use crate::json::Digest;
use crate::policy::capability::Grant;
use crate::policy::path::{Failure, WriteCapability};

use super::tool::{Tool, arguments, misfit, result};

/// The tool.
pub const TOOL: Tool = Tool {
    name: "write",
    effects: &[Effect::WritePath],
    run: |allowed, key| match allowed.grants() {
        [Grant::Write(target)] => run(target, &arguments(allowed)?, key),
        _ => Err(misfit(allowed)),
    },
};

/// The arguments, without the path: that is the capability.
#[derive(Debug, Deserialize)]
pub struct Args<'a> {
    /// The whole content.
    pub content: &'a str,
}

#[derive(Serialize)]
struct Written<'a> {
    path: &'a str,
    bytes: usize,
    sha256: Digest,
}

/// Writes. The same content under the same key is the same file, however often.
///
/// # Errors
/// `too_large`, `not_permitted` or `not_found`; what the machine refuses.
pub fn run(target: &WriteCapability, args: &Args<'_>, key: &str) -> Result<Output, Failure> {
    target.replace(args.content.as_bytes(), key)?;
    let written = Written {
        path: target.name(),
        bytes: args.content.len(),
        sha256: Digest::of(args.content.as_bytes()),
    };
    Ok(Output { result: result(written), origin: Some(target.name().to_owned()) })
}
