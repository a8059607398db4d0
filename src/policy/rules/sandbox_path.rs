//! Which mounts may be read and written: every path of a call, those of URLs included.
//!
//! This rule is asked twice: `judge` reads the paths as text, and `open` opens them after every
//! other rule about the call, since the kernel may refuse what the text allows.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::contract::ArgumentEffect;
use crate::event::{Detail, Effect, Rule};
use crate::problem::cut;

use crate::policy::call::{Asked, Denied, OnDeny, Planned, World, bounded, named};
use crate::policy::capability::{self, Grant, Opening, Sizes, Unopened};
use crate::policy::hosts::Source;
use crate::policy::names::{self, Written};
use crate::policy::notes::Notes;
use crate::policy::path::{self, MountPath, Opened, WORK};
use crate::policy::section::Fallback::{List, Number, Word};
use crate::policy::section::{How, Section};
use crate::policy::url::{self, ParsedUrl, Target};

/// Which mounts may be read and written.
#[derive(Debug, Clone, Deserialize)]
pub struct SandboxPath {
    /// Mounts that may be read.
    pub read: BTreeSet<String>,
    /// Mounts that may be written.
    pub write: BTreeSet<String>,
    /// The largest file that is read, in bytes.
    pub max_read_bytes: u64,
    /// The largest file that is written, in bytes.
    pub max_write_bytes: u64,
    /// Names that may be written although the rule refuses them otherwise.
    pub allow_names: BTreeSet<String>,
    /// Whether the kernel must hold the process to its mounts.
    pub isolation: Isolation,
    /// What a denial does.
    pub on_deny: OnDeny,
}

/// Whether the kernel must hold the process to its mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// It must, or nothing runs.
    Required,
    /// Where it can.
    BestEffort,
    /// It need not.
    Off,
}

/// Every path as text: in a mount, and in one that permits it.
pub(super) fn judge(
    section: &SandboxPath,
    world: &World<'_>,
    written: &Written,
    asked: &mut Asked<'_>,
) -> Result<(), Box<Denied>> {
    let contract = asked.contract;
    let mut urls = std::mem::take(&mut asked.urls).into_iter();
    for effect in &contract.effects {
        let planned = match (effect.effect, named(effect, &asked.arguments)) {
            (Effect::Compute, _) => Planned::Compute,
            (Effect::SearchCorpus, _) => Planned::Corpus,
            (_, None) => Planned::Unreadable,
            (Effect::ReadPath, Some(text)) => {
                let text = text.to_owned();
                Planned::Read(path(section, world, written, asked, effect, &text)?)
            }
            (Effect::WritePath, Some(text)) => {
                let text = text.to_owned();
                Planned::Write(path(section, world, written, asked, effect, &text)?)
            }
            (Effect::FetchUrl, Some(text)) => match urls.next() {
                Some(Target::Host(parsed)) => {
                    let file = served(section, written, world, &parsed)
                        .map_err(|refusal| Box::new(denied(section, asked, effect, refusal)))?;
                    Planned::Fetch(parsed, file)
                }
                Some(Target::File(named)) => {
                    let text = text.to_owned();
                    Planned::File(text, path(section, world, written, asked, effect, &named)?)
                }
                None => Planned::Unreadable,
            },
        };
        asked.targets.push(planned);
    }
    Ok(())
}

/// Opens what the call needs. What the kernel refuses here is a denial like one before.
pub(in crate::policy) fn open(
    section: &SandboxPath,
    world: &World<'_>,
    asked: &mut Asked<'_>,
    opening: &Opening,
) -> Result<Vec<Grant>, Unopened> {
    let sizes = Sizes { read: section.max_read_bytes, write: section.max_write_bytes };
    let mut grants = Vec::with_capacity(asked.targets.len());
    let effects = &asked.contract.effects;
    for (effect, planned) in effects.iter().zip(std::mem::take(&mut asked.targets)) {
        if let Opening::Recorded(refused) = opening {
            if let Some((reason, details)) = refused {
                return Err(Unopened::from(Denied {
                    rule: Rule::SandboxPath,
                    reason: reason.clone(),
                    details: details.clone(),
                    on_deny: section.on_deny,
                }));
            }
            continue;
        }
        match capability::open(planned, &world.mounts, sizes)? {
            Opened::Open(grant) => grants.push(grant),
            Opened::Refused(refusal) => {
                let why = refusal.reason.clone();
                let mut denied = denied(section, asked, effect, refusal);
                denied.details.insert(Detail::OpenRefused, why.into());
                return Err(denied.into());
            }
        }
    }
    Ok(grants)
}

/// A path as text: in a mount, and in one that permits it.
fn path(
    section: &SandboxPath,
    world: &World<'_>,
    written: &Written,
    asked: &mut Asked<'_>,
    effect: &ArgumentEffect,
    text: &str,
) -> Result<MountPath, Box<Denied>> {
    let is_write = effect.effect == Effect::WritePath;
    let parsed = MountPath::parse_in(text, world.mounts.names())
        .and_then(|path| permitted(section, written, path, is_write))
        .and_then(|path| if is_write { apart(asked, path) } else { Ok(path) });
    asked.details.insert(Detail::TargetPath, bounded(text).into());
    match parsed {
        Ok(path) => {
            asked.details.insert(Detail::SandboxRoot, path.mount.as_str().into());
            asked.details.insert(Detail::ResolvedPath, path.relative().into());
            Ok(path)
        }
        Err(refusal) => Err(Box::new(denied(section, asked, effect, refusal))),
    }
}

/// The path, if policy permits its mount.
fn permitted(
    section: &SandboxPath,
    written: &Written,
    path: MountPath,
    write: bool,
) -> Result<MountPath, path::Refusal> {
    let (mounts, key) = if write { (&section.write, "write") } else { (&section.read, "read") };
    let reason = if !mounts.contains(path.mount.as_str()) {
        Some(format!("mount {:?} is not on sandbox.{key}", path.mount.as_str()))
    } else if write {
        unwritable(section, written, &path)
    } else {
        None
    };
    match reason {
        None => Ok(path),
        Some(reason) => {
            let resolved = Some(path.relative());
            Err(path::Refusal { mount: Some(path.mount), resolved, reason })
        }
    }
}

/// Why a run may not write to a path for the names in it.
fn unwritable(section: &SandboxPath, written: &Written, path: &MountPath) -> Option<String> {
    for name in path.names().iter().filter(|name| !section.allow_names.contains(*name)) {
        if let Some(why) = names::refused(name) {
            return Some(format!(
                "the name {name:?} may not be written: {why}; sandbox.allow_names can allow it"
            ));
        }
    }
    let other = written.collision(path.names())?;
    Some(format!(
        "on other file systems {path} is {}/{other}, which the run has written; use that name or a different one",
        path.mount.as_str()
    ))
}

/// The file that is served at a URL; none where only a network would lead there.
fn served(
    section: &SandboxPath,
    written: &Written,
    world: &World<'_>,
    parsed: &ParsedUrl,
) -> Result<Option<MountPath>, path::Refusal> {
    let mount = match world.hosts.source(parsed.host()) {
        None => return Ok(None),
        Some(Source::Mount(mount)) => mount,
    };
    let path = parsed.decoded_path().map_err(|reason| path::Refusal {
        mount: None,
        resolved: None,
        reason,
    })?;
    let path = MountPath::parse_in(&format!("{mount}/{path}"), world.mounts.names())?;
    // The policy says what may be read, whichever host it is served under.
    permitted(section, written, path, false).map(Some)
}

/// The path, if the call writes no other one that is the same file somewhere.
fn apart(asked: &Asked<'_>, path: MountPath) -> Result<MountPath, path::Refusal> {
    let writes = asked.targets.iter().filter_map(|planned| match planned {
        Planned::Write(path) => Some(path.names()),
        _ => None,
    });
    let mut writes = writes.peekable();
    if writes.peek().is_none() {
        return Ok(path);
    }
    let mut own = Written::default();
    writes.for_each(|names| own.push(names));
    let Some(other) = own.collision(path.names()) else { return Ok(path) };
    let reason = format!(
        "on other file systems {path} is {}/{other}, which the call writes too; use that name or a different one",
        path.mount.as_str()
    );
    let resolved = Some(path.relative());
    Err(path::Refusal { mount: Some(path.mount), resolved, reason })
}

/// Makes the details those of one effect, where the call has several: each has overwritten what the
/// one before it said.
fn about(asked: &mut Asked<'_>, effect: &ArgumentEffect) {
    let Some(text) = named(effect, &asked.arguments) else { return };
    if asked.contract.effects.len() < 2 {
        return;
    }
    let (details, shown) = (&mut asked.details, bounded(text));
    match effect.effect {
        Effect::ReadPath | Effect::WritePath => {
            details.insert(Detail::TargetPath, shown.into());
        }
        Effect::FetchUrl => {
            details.insert(Detail::Url, shown.into());
            details.remove(&Detail::Host);
            details.remove(&Detail::TargetPath);
            match url::parse(text) {
                Ok(Target::Host(parsed)) => details.insert(Detail::Host, parsed.host().into()),
                Ok(Target::File(path)) => details.insert(Detail::TargetPath, bounded(&path).into()),
                Err(_) => None,
            };
        }
        Effect::Compute | Effect::SearchCorpus => {}
    }
}

fn denied(
    section: &SandboxPath,
    asked: &mut Asked<'_>,
    effect: &ArgumentEffect,
    refusal: path::Refusal,
) -> Denied {
    about(asked, effect);
    let root = refusal.mount.as_ref().map_or("", path::MountName::as_str);
    let resolved = refusal.resolved.unwrap_or_default();
    asked.denied(
        Rule::SandboxPath,
        section.on_deny,
        refusal.reason,
        [(Detail::SandboxRoot, root.into()), (Detail::ResolvedPath, bounded(&resolved).into())],
    )
}

/// What there is to say of the section.
pub const SECTION: Section = Section {
    keys: &[
        ("sandbox.read", List(&[])),
        ("sandbox.write", List(&[])),
        ("sandbox.max_read_bytes", Number(262_144)),
        ("sandbox.max_write_bytes", Number(262_144)),
        ("sandbox.allow_names", List(&[])),
        ("sandbox.isolation", Word("best_effort")),
        ("sandbox.on_deny", Word("terminate")),
    ],
    tried: &[
        ("sandbox.read", How::Decided),
        ("sandbox.write", How::Decided),
        ("sandbox.allow_names", How::Decided),
        ("sandbox.max_read_bytes", How::Bounded),
        ("sandbox.max_write_bytes", How::Bounded),
        ("sandbox.isolation", How::Nothing),
    ],
    samples: &[
        ("sandbox", "read: [work]"),
        ("sandbox.allow_names", "allow_names: [\".gitignore\"]"),
    ],
    findings,
    warnings,
    ..Section::SILENT
};

/// A name that changes nothing is a mistake: a pattern, a path, or a name that may be written.
fn findings(notes: &mut Notes<'_>) {
    let names = notes.texts("/sandbox/allow_names");
    for (pointer, name) in names.filter(|(_, name)| !name.is_empty()) {
        let path = MountPath::parse(&format!("{WORK}/{name}"));
        let is_one = path.as_ref().is_ok_and(|path| path.names() == [name]);
        let (what, remedy) = match path {
            Err(refusal) => (refusal.reason, "name a file that a path can name"),
            Ok(_) if !is_one => {
                ("it is a path".to_owned(), "write one name, which holds in every folder")
            }
            Ok(_) if name.contains(['*', '?']) => {
                ("it is a pattern".to_owned(), "write out each name; patterns are not supported")
            }
            Ok(_) if names::refused(name).is_none() => {
                ("it may be written without this".to_owned(), "remove it")
            }
            Ok(_) => continue,
        };
        notes.add(&pointer, &format!("allow_names: {:?}: {what}", cut(name)), remedy);
    }
}

fn warnings(notes: &mut Notes<'_>) {
    let read: BTreeSet<&str> = notes.texts("/sandbox/read").map(|(_, mount)| mount).collect();
    for (pointer, mount) in notes.texts("/sandbox/write") {
        if !read.contains(mount) {
            let what = format!("{mount} may be written and not read");
            let remedy = format!("add {mount} to `read:`, if the agent is to read what it writes");
            notes.add(&pointer, &what, &remedy);
        }
    }
}
