//! Faults of the host: the machine refused something that a run needs (disk, descriptors,
//! permissions, kernel). They say nothing about the run, so they stop it and are never recorded.

use std::fmt;
use std::io;

use rustix::io::Errno;

/// The machine refused something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFault {
    /// What it is about: a path relative to the run, or a facility of the kernel.
    pub about: String,
    /// What could not be done with it, such as "written".
    pub what: &'static str,
    /// The system's own words.
    pub why: String,
    remedy: &'static str,
}

impl HostFault {
    /// A refusal by the system.
    ///
    /// ```
    /// use gatedrun::host::HostFault;
    /// let full = std::io::Error::from_raw_os_error(28);
    /// let fault = HostFault::new("work/note.md", "written", full);
    /// assert_eq!(fault.to_string(), "work/note.md: cannot be written: no space left on device");
    /// assert_eq!(fault.remedy(), "free some space");
    /// ```
    pub fn new(about: impl Into<String>, what: &'static str, error: impl Into<io::Error>) -> Self {
        use io::ErrorKind as K;
        let error = error.into();
        let remedy = match error.kind() {
            K::StorageFull => "free some space",
            K::QuotaExceeded => "raise the quota or free some space",
            K::ReadOnlyFilesystem => "make the file system writable",
            K::PermissionDenied => "correct the permissions",
            K::OutOfMemory => "free some memory",
            K::Unsupported => "run on a kernel and file system that support it",
            // EMFILE and ENFILE have no kind of their own.
            _ if matches!(error.raw_os_error(), Some(23 | 24)) => {
                "allow more open files (`ulimit -n`)"
            }
            _ => "correct that",
        };
        Self { about: about.into(), what, why: in_words(&error), remedy }
    }

    /// A refusal with its own words and remedy.
    pub fn refused(about: &str, what: &'static str, why: String, remedy: &'static str) -> Self {
        Self { about: about.to_owned(), what, why, remedy }
    }

    /// What to do about it, as a fragment.
    pub fn remedy(&self) -> &'static str {
        self.remedy
    }

    /// Whether an error is the machine's doing, and not a fact about a path, such as that nothing is
    /// there.
    pub fn is_one(error: &io::Error) -> bool {
        let carried = error.get_ref().is_some_and(|inner| inner.is::<Self>());
        let is_system = error.raw_os_error().is_some();
        let is_pipe = error.kind() == io::ErrorKind::BrokenPipe;
        carried || is_system && !is_pipe && !is_about_the_name(error)
    }

    /// What a panic says of the machine, where the standard library panics on what a system call
    /// returns: on a folder that cannot be closed, and where there are no random bytes to begin a hash
    /// table with (so does ahash). Nothing else gets at these errors, so they are known by their words.
    ///
    /// ```
    /// use gatedrun::host::HostFault;
    /// let words = "unexpected error during closedir: Os { code: 5, kind: Uncategorized }";
    /// let fault = HostFault::of_panic(words).unwrap();
    /// assert!(fault.to_string().starts_with("a folder: cannot be closed: "));
    /// assert_eq!(HostFault::of_panic("index out of bounds"), None);
    /// ```
    pub fn of_panic(message: &str) -> Option<Self> {
        const KNOWN: [(&str, &str, &str); 4] = [
            ("unexpected error during closedir", "a folder", "closed"),
            ("unexpected getrandom error", "random bytes", "read"),
            ("failed to generate random data", "random bytes", "read"),
            ("getrandom::fill() failed", "random bytes", "read"),
        ];
        let (_, about, what) = KNOWN.into_iter().find(|(words, ..)| message.starts_with(words))?;
        let number = ["code: ", "os_error: "].iter().find_map(|name| message.split(name).nth(1));
        let code = number.and_then(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            rest.get(..end)?.parse().ok()
        });
        let error = code.map_or_else(|| io::Error::other(message), io::Error::from_raw_os_error);
        Some(Self::new(about, what, error))
    }

    /// The fault that an error of a reader or writer carries; for any other error, one about
    /// `about`.
    pub fn of(error: &io::Error, about: &str, what: &'static str) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Self>()) {
            Some(fault) => fault.clone(),
            None => match error.raw_os_error() {
                Some(code) => Self::new(about, what, io::Error::from_raw_os_error(code)),
                None => Self { why: in_words(error), ..Self::new(about, what, error.kind()) },
            },
        }
    }
}

/// Whether the system's answer is about the name that was given, so that another name is the
/// remedy, and not about the state of the machine. That permission is denied is about the machine: it
/// says what this user may do there, and nothing about what lies there.
///
/// The one place that decides it, whatever is read or written.
pub fn is_about_the_name(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(
        error.kind(),
        K::NotFound
            | K::NotADirectory
            | K::IsADirectory
            | K::AlreadyExists
            | K::DirectoryNotEmpty
            | K::InvalidInput
            | K::InvalidFilename
    ) || error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}

impl fmt::Display for HostFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: cannot be {}: {}", self.about, self.what, self.why)
    }
}

impl std::error::Error for HostFault {}

impl From<HostFault> for io::Error {
    fn from(fault: HostFault) -> Self {
        Self::other(fault)
    }
}

/// The system's words as they read on after a colon, without the number.
pub fn in_words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => "the system gives no reason".to_owned(),
    }
}
