//! What an allowed call may touch: an open file, the right to replace one, a URL and the way to it.
//!
//! No tool runs without an [`Allowed`], and only the policy can make one.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::corpus::Corpus;
use crate::event::Details;
use crate::host::HostFault;

use super::call::{Asked, Denied, Planned};
use super::path::{MountPath, Mounts, Opened, ReadCapability, WriteCapability};

/// Why what a call needs is not open.
#[derive(Debug, Clone, PartialEq)]
pub enum Unopened {
    /// A rule denies it.
    Denied(Box<Denied>),
    /// The machine refused.
    Host(HostFault),
}

impl From<Denied> for Unopened {
    fn from(denied: Denied) -> Self {
        Self::Denied(Box::new(denied))
    }
}

impl From<Box<Denied>> for Unopened {
    fn from(denied: Box<Denied>) -> Self {
        Self::Denied(denied)
    }
}

impl From<HostFault> for Unopened {
    fn from(fault: HostFault) -> Self {
        Self::Host(fault)
    }
}

/// Whether what a call needs is opened.
#[derive(Debug, Clone, PartialEq)]
pub enum Opening {
    /// Now: the check is the opening.
    Now,
    /// It was opened when this was recorded, and nothing is opened again. What the kernel refused
    /// then, with the reason and details of the denial, is a fact of that moment.
    Recorded(Option<(String, Details)>),
}

/// A call that every rule allowed, and the capabilities that it needs.
#[derive(Debug)]
pub struct Allowed {
    call_id: String,
    tool: String,
    arguments: Value,
    /// Null, and no grants, for a recorded decision: such a call runs only once the gate
    /// allows it.
    plain: Value,
    grants: Vec<Grant>,
    opened: bool,
    details: Details,
}

/// What a call may hold.
#[derive(Debug)]
pub enum Grant {
    /// Nothing but its arguments.
    Compute,
    /// The corpus, to look through.
    Corpus(Arc<Corpus>),
    /// An open file.
    Read(ReadCapability),
    /// The right to replace one file.
    Write(WriteCapability),
    /// A URL, and the way to it.
    Fetch(FetchCapability),
}

/// A URL that may be fetched.
#[derive(Debug)]
pub struct FetchCapability {
    url: String,
    host: Option<String>,
    source: Option<ReadCapability>,
}

impl FetchCapability {
    /// The URL as the standard writes it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The host, where the URL has one.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// The file that the host serves from a mount, or that a `file:` URL names; none where only a
    /// network would lead to the host.
    pub fn source(&self) -> Option<&ReadCapability> {
        self.source.as_ref()
    }
}

impl Allowed {
    /// A call that every rule allowed, with what it needs.
    pub(super) fn new(asked: Asked<'_>, grants: Vec<Grant>, opening: &Opening) -> Self {
        Self {
            call_id: asked.call.call_id.clone(),
            tool: asked.call.tool.clone(),
            plain: match opening {
                Opening::Now => asked.without_targets(),
                Opening::Recorded(_) => Value::Null,
            },
            arguments: asked.arguments,
            grants,
            opened: *opening == Opening::Now,
            details: asked.details,
        }
    }

    /// Gives a call whose decision was taken from a record what it needs.
    pub(super) fn give(&mut self, asked: &Asked<'_>, grants: Vec<Grant>) {
        self.grants = grants;
        self.plain = asked.without_targets();
        self.opened = true;
    }

    /// What the rules said about it, for the ledger.
    pub(super) fn take_details(&mut self) -> Details {
        std::mem::take(&mut self.details)
    }

    /// The call's id.
    pub fn call_id(&self) -> &str {
        &self.call_id
    }

    /// The tool.
    pub fn tool(&self) -> &str {
        &self.tool
    }

    /// The arguments with defaults filled in, for the ledger: the tool has its own.
    pub fn take_arguments(&mut self) -> Value {
        std::mem::take(&mut self.arguments)
    }

    /// Whether it holds its capabilities: not where the decision was taken from a record.
    pub fn is_open(&self) -> bool {
        self.opened
    }

    /// The capabilities, one for each effect of the contract.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// The arguments that name no path and no URL, typed. What names one is in the grants.
    ///
    /// # Errors
    /// Arguments of another shape than the tool's code expects: a contract that is not its own.
    pub fn plain<'s, T: Deserialize<'s>>(&'s self) -> Result<T, serde_json::Error> {
        T::deserialize(&self.plain)
    }
}

/// The largest files that are opened, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// To read.
    pub read: u64,
    /// To replace.
    pub write: u64,
}

/// Opens what one effect needs.
///
/// # Errors
/// What the machine refuses: that does not decide the call.
pub(super) fn open(
    planned: Planned,
    mounts: &Mounts,
    sizes: Sizes,
) -> Result<Opened<Grant>, HostFault> {
    let read = |path: &MountPath| mounts.open_read(path, sizes.read);
    Ok(match planned {
        Planned::Compute | Planned::Unreadable => Opened::Open(Grant::Compute),
        Planned::Corpus => Opened::Open(Grant::Corpus(Arc::clone(mounts.corpus()))),
        Planned::Read(path) => map(read(&path)?, Grant::Read),
        Planned::Write(path) => map(mounts.open_write(&path, sizes.write)?, Grant::Write),
        Planned::File(url, path) => map(read(&path)?, |source| {
            Grant::Fetch(FetchCapability { url, host: None, source: Some(source) })
        }),
        Planned::Fetch(parsed, file) => {
            let fetch = |source: Option<ReadCapability>| {
                Grant::Fetch(FetchCapability {
                    url: parsed.as_str().to_owned(),
                    host: Some(parsed.host().to_owned()),
                    source,
                })
            };
            match file {
                None => Opened::Open(fetch(None)),
                Some(path) => map(read(&path)?, |source| fetch(Some(source))),
            }
        }
    })
}

fn map<T>(opened: Opened<T>, grant: impl FnOnce(T) -> Grant) -> Opened<Grant> {
    match opened {
        Opened::Open(capability) => Opened::Open(grant(capability)),
        Opened::Refused(refusal) => Opened::Refused(refusal),
    }
}
