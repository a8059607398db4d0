//! The names of mounts: one table, which everybody asks who reads, checks or shows one.

use std::sync::{Arc, LazyLock};

/// The mount of the corpus: read-only, served from the verified documents.
pub const CORPUS: &str = "corpus";

/// The mount of the run's own folder, the only one that can be written.
pub const WORK: &str = "work";

/// The longest name of a mount, in characters.
const NAME_CHARS_MAX: usize = 64;

/// The name of a mount, which is the first part of a path. Copying it allocates nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MountName(Arc<str>);

impl MountName {
    /// A name that paths and policies can hold as it is.
    ///
    /// # Errors
    /// What is wrong with it, with what to write.
    ///
    /// ```
    /// use gatedrun::policy::path::MountName;
    /// assert_eq!(MountName::new("library").unwrap().as_str(), "library");
    /// assert!(MountName::new("my/library").is_err());
    /// ```
    pub fn new(name: &str) -> Result<Self, String> {
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
        let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
        if begins && name.len() <= NAME_CHARS_MAX && name.chars().all(is_name) {
            return Ok(Self(name.into()));
        }
        Err(format!(
            "{:?} is not a name for a mount; write 1 to {NAME_CHARS_MAX} characters from a-z, 0-9, - and _, the first a letter",
            crate::problem::cut(name)
        ))
    }

    /// As a text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A mount in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    name: MountName,
    is_writable: bool,
}

/// Which mounts there are: what a path may begin with, and what a policy may list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountNames(Arc<[Row]>);

static BUILT_IN: LazyLock<MountNames> = LazyLock::new(|| {
    let row = |name: &str, is_writable| Row { name: MountName(name.into()), is_writable };
    MountNames([row(CORPUS, false), row(WORK, true)].into())
});

impl MountNames {
    /// The two that every run has: the corpus and the run's own folder.
    pub fn built_in() -> &'static Self {
        &BUILT_IN
    }

    /// These, and one more that is read-only.
    ///
    /// # Errors
    /// That the name is taken.
    pub fn and(&self, name: &MountName) -> Result<Self, String> {
        if self.get(name.as_str()).is_some() {
            return Err(format!("there is a mount {:?} already", name.as_str()));
        }
        let one = Row { name: name.clone(), is_writable: false };
        Ok(Self(self.0.iter().cloned().chain([one]).collect()))
    }

    /// The name as the table has it, if it is there.
    pub fn get(&self, name: &str) -> Option<&MountName> {
        self.iter().find(|one| one.as_str() == name)
    }

    /// Every name, the two built-in ones first.
    pub fn iter(&self) -> impl Iterator<Item = &MountName> {
        self.0.iter().map(|row| &row.name)
    }

    /// The names of the mounts that can be written.
    pub fn writable(&self) -> impl Iterator<Item = &MountName> {
        self.0.iter().filter(|row| row.is_writable).map(|row| &row.name)
    }

    /// Every name, as a message lists them.
    pub fn listed(&self) -> String {
        self.iter().map(MountName::as_str).collect::<Vec<_>>().join(", ")
    }
}
