//! Paths: judged as text, then opened beneath a held directory, and in no other way.
//!
//! A path names a mount and a place in it. What leaves this module is an open file or a handle
//! that can replace one file; a path never does. This file is the text of paths, `named` the names
//! of mounts, `folder` a held folder and what is opened beneath it, `work` the one that a run
//! writes, `open` the capabilities, `mounts` what serves each mount.

mod named;
mod folder;
mod work;
mod open;
mod mounts;

use unicode_normalization::{UnicodeNormalization, is_nfkc};

pub use folder::probe;
pub use mounts::{Mount, Mounts};
pub use named::{CORPUS, MountName, MountNames, WORK};
pub use open::{Failure, Opened, ReadCapability, WriteCapability};
pub use work::{RECEIPTS_SUFFIX, TEMPORARIES_SUFFIX};

/// The longest path, in bytes.
pub const PATH_BYTES_MAX: usize = 1024;

/// The longest name in a path, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// A path that names a mount and stays in it, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPath {
    /// The mount.
    pub mount: MountName,
    names: Vec<String>,
}

/// Why a path is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The mount that the path names, where it names one.
    pub mount: Option<MountName>,
    /// Where it would lead, relative to the mount.
    pub resolved: Option<String>,
    /// Why, in words.
    pub reason: String,
}

impl MountPath {
    /// Reads a text as a path of one of the two mounts that every run has.
    ///
    /// # Errors
    /// An absolute path, one that leaves its mount, one that names no mount or no file, and names
    /// that file systems and people read differently.
    ///
    /// ```
    /// use gatedrun::policy::path::MountPath;
    /// assert_eq!(MountPath::parse("corpus/./a/../op-07.md").unwrap().to_string(), "corpus/op-07.md");
    /// let refusal = MountPath::parse("corpus/../../etc/passwd").unwrap_err();
    /// assert_eq!(refusal.resolved.as_deref(), Some("../../etc/passwd"));
    /// ```
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        Self::parse_in(text, MountNames::built_in())
    }

    /// Reads a text as a path of one of these mounts.
    ///
    /// # Errors
    /// As [`MountPath::parse`].
    pub fn parse_in(text: &str, mounts: &MountNames) -> Result<Self, Refusal> {
        let refuse = |reason: String| Err(Refusal { mount: None, resolved: None, reason });
        if text.len() > PATH_BYTES_MAX {
            return refuse(format!(
                "the path has {} bytes; the limit is {PATH_BYTES_MAX}",
                text.len()
            ));
        }
        if let Some(bad) = text.chars().find(|c| c.is_control() || *c == '\\') {
            return refuse(format!("the path holds {bad:?}"));
        }
        if text.starts_with('/') {
            return refuse("the path is absolute; name a mount, as in corpus/op-07.md".to_owned());
        }
        let mut parts = text.split('/').filter(|part| !matches!(*part, "" | "."));
        let first = parts.next().unwrap_or_default();
        let Some(mount) = mounts.get(first) else {
            return refuse(format!("{first:?} is no mount; the mounts are {}", mounts.listed()));
        };
        let mut names: Vec<&str> = Vec::new();
        for part in parts {
            if part == ".." && names.last().is_some_and(|name| *name != "..") {
                names.pop();
            } else {
                names.push(part);
            }
        }
        let refuse = |reason: String| {
            Err(Refusal { mount: Some(mount.clone()), resolved: Some(names.join("/")), reason })
        };
        if names.first() == Some(&"..") {
            return refuse(format!("the path leaves its mount {}", mount.as_str()));
        }
        if let Some(long) = names.iter().find(|name| name.len() > NAME_BYTES_MAX) {
            return refuse(format!(
                "a name has {} bytes; the limit is {NAME_BYTES_MAX}",
                long.len()
            ));
        }
        if let Some(bad) =
            names.iter().find(|name| name.ends_with(['.', ' ']) || name.starts_with(' '))
        {
            return refuse(format!(
                "the name {bad:?} begins or ends in what some file systems drop"
            ));
        }
        // On some file systems, and to every eye, these are the names that they normalise to.
        if let Some(bad) = names.iter().find(|name| !is_nfkc(name)) {
            let read: String = bad.nfkc().collect();
            return refuse(format!("the name {bad:?} reads {read:?} once normalised; write it so"));
        }
        if names.is_empty() || text.ends_with('/') {
            return refuse("the path names a folder, and a file is meant".to_owned());
        }
        Ok(Self { mount: mount.clone(), names: names.into_iter().map(str::to_owned).collect() })
    }

    /// The names on the way, the file's own last.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The path relative to the mount.
    pub fn relative(&self) -> String {
        self.names.join("/")
    }
}

impl std::fmt::Display for MountPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.mount.as_str())?;
        for name in &self.names {
            write!(f, "/{name}")?;
        }
        Ok(())
    }
}
