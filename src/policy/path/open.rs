//! What a path becomes once it is allowed: an open file, or the right to replace one.

use std::fs::File;
use std::io::{Read, Seek};
use std::sync::Arc;

use crate::corpus::Corpus;
use crate::event::{ErrorClass, ToolError};
use crate::host::HostFault;

use super::Refusal;
use super::folder::Reach;
use super::work::WorkFolder;

/// Room for most files at once: two reads are enough for them.
const SMALL_BYTES: usize = 8192;

/// What opening a path came to.
#[derive(Debug)]
pub enum Opened<T> {
    /// The capability.
    Open(T),
    /// The path leads where it may not: a denial by `sandbox_path`.
    Refused(Refusal),
}

/// Why a tool has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// What the tool found: a fact of the recorded world, the same on every machine.
    Tool(ToolError),
    /// What the machine refused. It stops the run, and is not the tool's answer.
    Host(HostFault),
}

impl From<ToolError> for Failure {
    fn from(error: ToolError) -> Self {
        Self::Tool(error)
    }
}

impl From<HostFault> for Failure {
    fn from(fault: HostFault) -> Self {
        Self::Host(fault)
    }
}

/// One open file. Reading it again reads the same file.
#[derive(Debug)]
pub struct ReadCapability {
    pub(super) name: String,
    pub(super) source: ReadSource,
    pub(super) bytes_max: u64,
}

/// What is read.
#[derive(Debug)]
pub(super) enum ReadSource {
    Document(Arc<Corpus>, usize),
    File(File),
    Failed(ErrorClass),
}

impl ReadCapability {
    /// The mount and the path in it, for people: nothing opens it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole content.
    ///
    /// # Errors
    /// `not_found`, `not_permitted`, `too_large` or `not_text`; what the machine refuses.
    pub fn read(&self) -> Result<String, Failure> {
        let too_large = || {
            let message = format!(
                "{} is larger than {} bytes; raise sandbox.max_read_bytes or name a smaller file",
                self.name, self.bytes_max
            );
            Err(ToolError::new(ErrorClass::TooLarge, message).into())
        };
        match &self.source {
            ReadSource::Document(corpus, index) => {
                let text =
                    corpus.documents().get(*index).map_or("", |document| document.text.as_str());
                if text.len() as u64 > self.bytes_max { too_large() } else { Ok(text.to_owned()) }
            }
            ReadSource::Failed(class) => {
                Err(ToolError::new(*class, format!("{} {}", self.name, why(*class))).into())
            }
            ReadSource::File(file) => {
                let mut bytes = Vec::with_capacity(SMALL_BYTES);
                let mut file = file;
                let from_start = file
                    .rewind()
                    .and_then(|()| file.take(self.bytes_max + 1).read_to_end(&mut bytes));
                from_start.map_err(|error| HostFault::new(&self.name, "read", error))?;
                if bytes.len() as u64 > self.bytes_max {
                    return too_large();
                }
                String::from_utf8(bytes).map_err(|error| {
                    let at = error.utf8_error().valid_up_to();
                    ToolError::new(
                        ErrorClass::NotText,
                        format!("{} is not UTF-8 at byte {at}", self.name),
                    )
                    .into()
                })
            }
        }
    }
}

fn why(class: ErrorClass) -> &'static str {
    if class == ErrorClass::NotFound {
        "does not exist"
    } else {
        "is no regular file, or may not be opened"
    }
}

/// The right to replace one file.
#[derive(Debug)]
pub struct WriteCapability {
    pub(super) name: String,
    pub(super) work: Arc<WorkFolder>,
    pub(super) names: Vec<String>,
    pub(super) bytes_max: u64,
}

impl WriteCapability {
    /// The mount and the path in it, for people: nothing opens it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Replaces the file: whole or not at all. Folders above it are made. `key` names the
    /// temporary file, so that doing it again under the same key meets its own leftovers.
    ///
    /// # Errors
    /// `too_large`, `not_permitted` or `not_found`; what the machine refuses.
    pub fn replace(&self, content: &[u8], key: &str) -> Result<(), Failure> {
        if content.len() as u64 > self.bytes_max {
            let message = format!(
                "the content has {} bytes; sandbox.max_write_bytes is {}",
                content.len(),
                self.bytes_max
            );
            return Err(ToolError::new(ErrorClass::TooLarge, message).into());
        }
        self.work.replace(&self.names, content, key).map_err(|reach| {
            let (class, what) = match reach {
                Reach::Refused(reason) => (ErrorClass::NotPermitted, reason),
                Reach::Absent(class) => (class, "a name on its way stands for a file"),
                Reach::Host(error) => {
                    return HostFault::new(&self.name, "written", error).into();
                }
            };
            ToolError::new(class, format!("{} cannot be written: {what}", self.name)).into()
        })
    }
}
