//! Names that a run may give to what it writes.
//!
//! What an agent writes is committed, checked out and looked at by others. A name is refused where
//! version control, shells, editors, coding agents or other file systems act on it or cannot hold
//! it. A policy widens this knowingly, name by name, with `sandbox.allow_names`.

use std::collections::BTreeMap;

use unicode_normalization::UnicodeNormalization;

/// Characters that nobody sees or that mean something else elsewhere, as ranges of code points with
/// the kind of each: the default ignorable ones and the bidirectional controls among them (Unicode
/// 16), private use, non-characters.
const UNSEEN: &str = include_str!("names.txt");

/// Names that a program acts on unasked, as patterns below the reason of each group.
const ACTED_ON: &str = include_str!("acted_on.txt");

/// What a name may not begin with, and why.
const BEGINNINGS: [(char, &str); 6] = [
    ('.', "version control, shells and editors act on hidden files"),
    ('-', "shells read it as something other than a name"),
    ('~', "shells read it as something other than a name"),
    ('=', "shells read it as something other than a name"),
    ('+', "pagers and editors run it as a command"),
    ('@', "programs read their options from such a file"),
];

/// Files and folders of NTFS and of Windows itself, without an extension, in lower case.
const SYSTEM: [&str; 24] = [
    "$mftmirr",
    "$logfile",
    "$volume",
    "$attrdef",
    "$bitmap",
    "$boot",
    "$badclus",
    "$secure",
    "$upcase",
    "$extend",
    "$quota",
    "$objid",
    "$reparse",
    "$usnjrnl",
    "$rmmetadata",
    "$repair",
    "$deleted",
    "$txf",
    "$txflog",
    "$tops",
    "$recycle",
    "$windows",
    "$winreagent",
    "$sysreset",
];

/// Names of devices on Windows, without an extension, in lower case.
const DEVICES: [&str; 8] = ["con", "prn", "aux", "nul", "clock$", "conin$", "conout$", "$mft"];

/// Why a name may not be written; `None` if it may.
///
/// ```
/// use gatedrun::policy::names::refused;
/// assert_eq!(refused("note.md"), None);
/// assert!(refused(".gitattributes").is_some());
/// assert!(refused("CON.txt").is_some());
/// ```
pub fn refused(name: &str) -> Option<String> {
    let beginning = BEGINNINGS.iter().find(|(first, _)| name.starts_with(*first));
    if let Some((first, why)) = beginning {
        return Some(format!("it begins with {first:?}: {why}"));
    }
    if let Some(bad) = name.chars().find(|c| "<>:\"|?*\\".contains(*c)) {
        return Some(format!("it holds {bad:?}, which other file systems cannot hold"));
    }
    if let Some((bad, kind)) = name.chars().find_map(|c| Some((c, unseen(c)?))) {
        return Some(format!("it holds U+{:04X}, {kind}", u32::from(bad)));
    }
    if name.starts_with(char::is_whitespace) || name.ends_with(char::is_whitespace) {
        return Some("it begins or ends with white space".to_owned());
    }
    if name.ends_with('.') {
        return Some("it ends with '.', which other file systems drop".to_owned());
    }
    let lower = folded(name);
    let stem = lower.split('.').next().unwrap_or_default().trim_end();
    if is_device(stem) {
        return Some("it is the name of a device on Windows".to_owned());
    }
    if is_short_alias(stem) {
        return Some("it is a short alias (8.3) for another name on Windows".to_owned());
    }
    if SYSTEM.contains(&stem) {
        return Some("it is a name of NTFS or of Windows itself".to_owned());
    }
    acted_on(&lower).map(str::to_owned)
}

/// Why a program acts on a name, in lower case.
fn acted_on(name: &str) -> Option<&'static str> {
    let mut reason = None;
    for line in ACTED_ON.lines().filter(|line| !line.starts_with('#')) {
        if let Some(why) = line.strip_prefix("= ") {
            reason = Some(why);
        } else if fits(line, name) {
            return reason;
        }
    }
    None
}

/// Whether a name fits a pattern, in which `*` stands for one or more characters.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after))
            .is_some_and(|between| !between.is_empty()),
    }
}

/// COM0 to COM9 and LPT0 to LPT9 are devices too, with their digits raised as well.
fn is_device(stem: &str) -> bool {
    let numbered = ["com", "lpt"].iter().filter_map(|port| stem.strip_prefix(port)).any(|rest| {
        let mut digits = rest.chars();
        digits.next().is_some_and(|c| c.is_ascii_digit() || "¹²³".contains(c))
            && digits.next().is_none()
    });
    numbered || DEVICES.contains(&stem)
}

/// Such as `GIT~1`, under which Windows opens `.git`.
fn is_short_alias(stem: &str) -> bool {
    stem.rsplit_once('~').is_some_and(|(_, number)| {
        !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
    })
}

/// What kind of character nobody sees; `None` for the others.
fn unseen(c: char) -> Option<&'static str> {
    // Most names are plain.
    if c.is_ascii() {
        return None;
    }
    if c.is_whitespace() {
        return Some("white space other than the space");
    }
    let code = u32::from(c);
    if code & 0xfffe == 0xfffe {
        return Some("no character");
    }
    UNSEEN.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let (range, kind) = line.split_once(' ')?;
        let (first, last) = range.split_once("..").unwrap_or((range, range));
        let hex = |text| u32::from_str_radix(text, 16).ok();
        (hex(first)?..=hex(last)?).contains(&code).then_some(kind)
    })
}

/// A name as file systems compare it that know neither case nor normalisation. What this takes for
/// one name may be two somewhere, and never the other way round.
///
/// Lower case, upper case and lower case again is what Unicode's full case folding takes for the same,
/// and a little more: to upper case alone, U+1E9E stays apart from the two letters that U+00DF becomes.
fn folded(name: &str) -> String {
    let lower = name.nfkc().flat_map(char::to_lowercase);
    let upper: String = lower.flat_map(char::to_uppercase).collect();
    let lower: String = upper.chars().flat_map(char::to_lowercase).collect();
    lower.nfkc().collect()
}

/// The names that a run has written so far: a fold of the writes that were allowed.
#[derive(Debug, Default)]
pub struct Written(BTreeMap<String, String>);

impl Written {
    /// The path that a run has written, or a folder on the way to it, with which one of these names
    /// would be the same on another file system.
    pub fn collision(&self, names: &[String]) -> Option<&str> {
        prefixes(names).find_map(|(folded, path)| {
            self.0.get(&folded).filter(|written| **written != path).map(String::as_str)
        })
    }

    /// Takes note of a write that is allowed.
    pub fn push(&mut self, names: &[String]) {
        for (folded, path) in prefixes(names) {
            self.0.entry(folded).or_insert(path);
        }
    }
}

/// Every folder on the way and the path itself, folded and as they are.
fn prefixes(names: &[String]) -> impl Iterator<Item = (String, String)> {
    names.iter().scan((String::new(), String::new()), |(lower, path), name| {
        if !path.is_empty() {
            lower.push('/');
            path.push('/');
        }
        lower.push_str(&folded(name));
        path.push_str(name);
        Some((lower.clone(), path.clone()))
    })
}
