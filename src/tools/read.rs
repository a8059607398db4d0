//! `read`: the text of a file that the gate has opened.

use serde::Serialize;

use crate::event::Effect;
use crate::executor::Output;
use crate::policy::capability::Grant;
use crate::policy::path::{Failure, ReadCapability};

use super::tool::{Tool, misfit, result};

/// The tool.
pub const TOOL: Tool = Tool {
    name: "read",
    effects: &[Effect::ReadPath],
    run: |allowed, _| match allowed.grants() {
        [Grant::Read(file)] => run(file),
        _ => Err(misfit(allowed)),
    },
};

#[derive(Serialize)]
struct Content<'a> {
    path: &'a str,
    bytes: usize,
    text: String,
}

/// Reads.
///
/// # Errors
/// `not_found`, `not_permitted`, `too_large` or `not_text`; what the machine refuses.
pub fn run(file: &ReadCapability) -> Result<Output, Failure> {
    let text = file.read()?;
    let content = Content { path: file.name(), bytes: text.len(), text };
    Ok(Output { result: result(content), origin: Some(file.name().to_owned()) })
}
