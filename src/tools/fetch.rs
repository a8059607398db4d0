//! `fetch`: the text behind a URL that the gate let through.
//!
//! Fixture hosts are served from a mount in this process. No code here opens a connection: a host
//! that no fixture serves cannot be reached, and the error says so.

use serde::Serialize;

use crate::event::{Effect, ErrorClass, ToolError};
use crate::executor::Output;
use crate::policy::capability::{FetchCapability, Grant};
use crate::policy::path::Failure;

use super::tool::{Tool, misfit, result};

/// The tool.
pub const TOOL: Tool = Tool {
    name: "fetch",
    effects: &[Effect::FetchUrl],
    run: |allowed, _| match allowed.grants() {
        [Grant::Fetch(target)] => run(target),
        _ => Err(misfit(allowed)),
    },
};

#[derive(Serialize)]
struct Fetched<'a> {
    url: &'a str,
    status: u16,
    media_type: &'static str,
    bytes: usize,
    text: String,
}

/// Fetches.
///
/// # Errors
/// `host_unreachable` where no fixture serves the host, or what reading the fixture results in; what the machine
/// refuses.
pub fn run(target: &FetchCapability) -> Result<Output, Failure> {
    let Some(source) = target.source() else {
        return Err(ToolError::new(
            ErrorClass::HostUnreachable,
            format!(
                "no fixture serves host {:?}, and this build opens no network connection; name the host under \"fixtures\" in the task",
                target.host().unwrap_or_default()
            ),
        )
        .into());
    };
    let text = source.read()?;
    let media_type = if source.name().ends_with(".md") { "text/markdown" } else { "text/plain" };
    let fetched = Fetched { url: target.url(), status: 200, media_type, bytes: text.len(), text };
    Ok(Output { result: result(fetched), origin: Some(source.name().to_owned()) })
}
