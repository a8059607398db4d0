//! Paths: judged as text, then opened beneath a held directory, and in no other way.
//!
//! A path names a mount and a place in it. What leaves this module is an open file or a handle
//! that can replace one file; a path never does. This file is the text of paths, `open` the
//! capabilities, `work` the held folder of a run.

mod work;
mod open;

use unicode_normalization::{UnicodeNormalization, is_nfkc};

pub use open::{Failure, Mounts, Opened, ReadCapability, WriteCapability};
pub use work::{RECEIPTS_SUFFIX, TEMPORARIES_SUFFIX, probe};

/// The longest path, in bytes.
pub const PATH_BYTES_MAX: usize = 1024;

/// The longest name in a path, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// A place in the filesystem that a run may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mount {
    /// The corpus: read-only, served from the verified documents.
    Corpus,
    /// The run's own folder.
    Work,
}

impl Mount {
    /// All mounts.
    pub const ALL: [Self; 2] = [Self::Corpus, Self::Work];

    /// Its name, the first part of a path.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Corpus => "corpus",
            Self::Work => "work",
        }
    }

    /// The mount with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mount| mount.as_str() == name)
    }
}

/// A path that names a mount and stays in it, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPath {
    /// The mount.
    pub mount: Mount,
    names: Vec<String>,
}

/// Why a path is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The mount that the path names, where it names one.
    pub mount: Option<Mount>,
    /// Where it would lead, relative to the mount.
    pub resolved: Option<String>,
    /// Why, in words.
    pub reason: String,
}

impl MountPath {
    /// Reads a text as a path of a mount.
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
        let Some(mount) = Mount::named(first) else {
            let names: Vec<&str> = Mount::ALL.into_iter().map(Mount::as_str).collect();
            return refuse(format!("{first:?} is no mount; the mounts are {}", names.join(", ")));
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
            Err(Refusal { mount: Some(mount), resolved: Some(names.join("/")), reason })
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
        Ok(Self { mount, names: names.into_iter().map(str::to_owned).collect() })
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
