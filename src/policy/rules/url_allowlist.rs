//! Which URLs may be fetched: every URL of a call is on the list. Paths are not looked at here.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

use crate::event::{Detail, Effect, Rule};
use crate::json::pointer_token;

use crate::policy::call::{Asked, Denied, OnDeny, bounded, named};
use crate::policy::listed::{self, Misspelt, host_meant};
use crate::policy::notes::Notes;
use crate::policy::section::Fallback::{List, Required, Unset, Word};
use crate::policy::section::{How, Section};
use crate::policy::told::key_of;
use crate::policy::url::{self, ParsedUrl, Refusal, Target};

/// Which URLs may be fetched.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "Listed")]
pub struct UrlAllowlist {
    /// By host, in the form that the URL standard gives it, then by path prefix.
    pub hosts: HashMap<String, HashMap<String, Vec<HostRule>>>,
    /// What a denial does.
    pub on_deny: OnDeny,
}

/// What may be fetched from a host.
#[derive(Debug, Clone, Deserialize)]
pub struct HostRule {
    /// The host.
    pub host: String,
    /// The schemes.
    pub schemes: Vec<String>,
    /// The ports, all of them; the scheme's own where none is listed.
    #[serde(default)]
    pub ports: Vec<u16>,
    /// What the path must begin with.
    pub path_prefix: String,
}

impl HostRule {
    /// Whether a port is listed; where there is no list, the scheme's own is.
    pub fn allows_port(&self, port: u16, default_port: u16) -> bool {
        if self.ports.is_empty() { port == default_port } else { self.ports.contains(&port) }
    }
}

/// The section as it is written.
#[derive(Deserialize)]
struct Listed {
    hosts: Vec<HostRule>,
    on_deny: OnDeny,
}

impl From<Listed> for UrlAllowlist {
    fn from(listed: Listed) -> Self {
        let mut hosts: HashMap<String, HashMap<String, Vec<HostRule>>> = HashMap::new();
        for rule in listed.hosts {
            let prefixes = hosts.entry(rule.host.clone()).or_default();
            prefixes.entry(rule.path_prefix.clone()).or_default().push(rule);
        }
        Self { hosts, on_deny: listed.on_deny }
    }
}

/// Every URL that the call fetches.
pub(super) fn judge(section: &UrlAllowlist, asked: &mut Asked<'_>) -> Result<(), Box<Denied>> {
    for effect in &asked.contract.effects {
        if effect.effect != Effect::FetchUrl {
            continue;
        }
        let Some(text) = named(effect, &asked.arguments) else { continue };
        asked.details.insert(Detail::Url, bounded(text).into());
        let parsed = url::parse(text).and_then(|target| {
            if let Target::Host(parsed) = &target {
                check(parsed, section)?;
            }
            Ok(target)
        });
        match parsed {
            Ok(target) => {
                match &target {
                    Target::Host(parsed) => {
                        asked.details.insert(Detail::Host, parsed.host().into());
                    }
                    // What an earlier URL of the call has left there.
                    Target::File(_) => drop(asked.details.remove(&Detail::Host)),
                }
                asked.urls.push(target);
            }
            Err(refusal) => {
                let host = refusal.host.as_deref().unwrap_or("").into();
                return Err(Box::new(asked.denied(
                    Rule::UrlAllowlist,
                    section.on_deny,
                    refusal.reason,
                    [(Detail::Host, host)],
                )));
            }
        }
    }
    Ok(())
}

/// Whether a URL is on the list.
///
/// # Errors
/// Why it is not.
fn check(url: &ParsedUrl, section: &UrlAllowlist) -> Result<(), Refusal> {
    let host = url.host();
    let refuse = |reason: String| Err(Refusal { host: Some(host.to_owned()), reason });
    let Some(prefixes) = section.hosts.get(host) else {
        return refuse(format!("host {host:?} is not on the allowlist"));
    };
    let Some(default_port) = default_port(url.scheme()) else {
        return refuse(format!("scheme {:?} is not fetched; https and http are", url.scheme()));
    };
    // A hidden slash would make this rule and whoever serves the path read it differently.
    if let Err(reason) = url.decoded_path() {
        return refuse(reason);
    }
    let port = url.port().unwrap_or(default_port);
    let path = url.normal_path();
    let mut reason = format!("path {path:?} is outside what is listed for host {host:?}");
    // A prefix ends in a slash, so only what stands before a slash of the path can be one: the
    // cost grows with the path's depth and not with the list.
    for (slash, _) in path.match_indices('/') {
        let rules = path.get(..=slash).and_then(|prefix| prefixes.get(prefix));
        for rule in rules.into_iter().flatten() {
            if !rule.schemes.iter().any(|scheme| scheme == url.scheme()) {
                reason = format!("scheme {:?} is not listed for host {host:?}", url.scheme());
            } else if !rule.allows_port(port, default_port) {
                reason = format!("port {port} is not listed for host {host:?}");
            } else {
                return Ok(());
            }
        }
    }
    refuse(reason)
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    }
}

const HOSTS: &str = "/url_allowlist/hosts";

/// What there is to say of the section.
pub const SECTION: Section = Section {
    keys: &[
        ("url_allowlist.hosts", List(&[])),
        ("url_allowlist.hosts[].host", Required),
        ("url_allowlist.hosts[].schemes", List(&["https"])),
        ("url_allowlist.hosts[].ports", Unset("the scheme's own")),
        ("url_allowlist.hosts[].path_prefix", Word("/")),
        ("url_allowlist.on_deny", Word("terminate")),
    ],
    tried: &[("url_allowlist.hosts", How::Decided)],
    samples: &[
        ("url_allowlist", "hosts: []"),
        ("url_allowlist.hosts[]", "host: api.example.com"),
        ("url_allowlist.hosts[].host", "host: api.example.com"),
        ("url_allowlist.hosts[].schemes", "schemes: [https]"),
        ("url_allowlist.hosts[].ports", "ports: [8443]"),
    ],
    instead,
    pattern,
    findings,
    warnings,
};

fn instead(pointer: &str, found: &Value) -> Option<String> {
    let entry = || format!("write `- host: {}`", host_meant(found.as_str().unwrap_or_default()));
    match key_of(pointer).as_str() {
        "url_allowlist.hosts" if found.is_string() => {
            Some(format!("{} on a line of its own below it", entry()))
        }
        "url_allowlist.hosts[]" => Some(entry()),
        "url_allowlist.hosts[].host" if found.is_array() || found.is_object() => {
            Some("write one host, and an entry for each other".to_owned())
        }
        _ => None,
    }
}

fn pattern(pointer: &str, shown: &str) -> Option<(String, String)> {
    let (key, remedy) = match pointer.strip_prefix(HOSTS)? {
        below if below.ends_with("/ports/0") => {
            ("ports", "list each port, or remove the key for the scheme's own")
        }
        _ => ("hosts", "list each host by its name, as in `- host: api.example.com`"),
    };
    let what = format!("wildcards are not supported in {key} (found {shown:?})");
    Some((what, remedy.to_owned()))
}

fn findings(notes: &mut Notes<'_>) {
    type Check = fn(&str) -> Result<(), Misspelt>;
    let checks: [(&str, Check); 2] =
        [("host", listed::check_host), ("path_prefix", listed::check_prefix)];
    for (pointer, entry) in notes.entries(HOSTS) {
        for (key, check) in checks {
            // An empty host is too short for the meta-schema, which says so.
            let is_said = |text: &&str| key == "host" && text.is_empty();
            let text = entry.get(key).and_then(Value::as_str).filter(|text| !is_said(text));
            if let Some(Err((what, fix))) = text.map(check) {
                notes.add(&format!("{pointer}/{key}"), &what, &fix);
            }
        }
        host_as_key(notes, &pointer, entry);
    }
}

/// An entry that has a host for its key, as in `- api.example.com: 443`.
fn host_as_key(notes: &mut Notes<'_>, pointer: &str, entry: &Value) {
    let is_named = |key: &str| key.contains('.') && listed::check_host(key).is_ok();
    let mut keys = entry.as_object().into_iter().flatten();
    let Some((host, value)) = keys.find(|(key, _)| is_named(key)) else { return };
    if entry.get("host").is_some() {
        return;
    }
    let write = match value.as_u64() {
        Some(port) => format!("write `- {{host: {host}, ports: [{port}]}}`"),
        None => format!("write `- host: {host}`"),
    };
    let what =
        format!("an entry of hosts names its host under the key host (found {host:?} as a key)");
    notes.settle(&format!("{pointer}/{}", pointer_token(host)));
    notes.add(pointer, &what, &write);
}

fn warnings(notes: &mut Notes<'_>) {
    for (pointer, entry) in notes.entries(HOSTS) {
        let reach = entry.get("host").and_then(Value::as_str).and_then(reach);
        if let Some(reach) = reach {
            let (what, remedy) = reach.words();
            notes.add(&format!("{pointer}/host"), what, remedy);
        }
        for (pointer, scheme) in notes.texts(&format!("{pointer}/schemes")) {
            if scheme == "http" && reach != Some(Reach::Machine) {
                notes.add(
                    &pointer,
                    "http is not encrypted: whoever is on the way can read and change what is fetched",
                    "write `schemes: [https]`",
                );
            }
        }
    }
    shadowed(notes);
}

/// Entries without which the same URLs would be allowed. Of two equal ones, the later.
fn shadowed(notes: &mut Notes<'_>) {
    let entries = entries(notes.effective);
    let mut holders: HashMap<(&str, &str, &str, u16), BTreeSet<usize>> = HashMap::new();
    for (index, entry) in entries.iter().enumerate() {
        for (scheme, port) in &entry.ways {
            let key = (entry.host.as_str(), entry.prefix.as_str(), scheme.as_str(), *port);
            holders.entry(key).or_default().insert(index);
        }
    }
    let mut found = Vec::new();
    for (index, entry) in entries.iter().enumerate().rev() {
        let mut by = BTreeSet::new();
        let is_covered = entry.ways.iter().all(|(scheme, port)| {
            let other = around(&entry.prefix).find_map(|prefix| {
                let key = (entry.host.as_str(), prefix, scheme.as_str(), *port);
                holders.get(&key)?.iter().find(|other| **other != index).copied()
            });
            by.extend(other);
            other.is_some()
        });
        if !is_covered {
            continue;
        }
        for (scheme, port) in &entry.ways {
            let key = (entry.host.as_str(), entry.prefix.as_str(), scheme.as_str(), *port);
            if let Some(indices) = holders.get_mut(&key) {
                indices.remove(&index);
            }
        }
        found.push((index, by));
    }
    for (index, by) in found {
        let line = |index: &usize| {
            let place = notes.document.place(&format!("{HOSTS}/{index}"))?;
            Some(place.line)
        };
        let lines: Vec<String> = by.iter().filter_map(line).map(|line| line.to_string()).collect();
        let noun = if lines.len() == 1 { "line" } else { "lines" };
        let what = format!(
            "this entry changes nothing: what it allows is already allowed by {noun} {}",
            lines.join(", ")
        );
        let remedy = "remove it, or the wider entry if that is not meant";
        notes.add(&format!("{HOSTS}/{index}"), &what, remedy);
    }
}

/// An entry of the list of hosts, in full.
struct Entry {
    host: String,
    prefix: String,
    /// Scheme and port.
    ways: Vec<(String, u16)>,
}

/// The list, in full.
fn entries(effective: &Value) -> Vec<Entry> {
    let hosts = effective.pointer(HOSTS).and_then(Value::as_array);
    let text = |value: &Value, key: &str| {
        value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let listed = |entry: &Value| {
        let list = |key: &str| entry.get(key).and_then(Value::as_array);
        let ports: Vec<u16> = list("ports")
            .into_iter()
            .flatten()
            .filter_map(|port| port.as_u64().and_then(|port| u16::try_from(port).ok()))
            .collect();
        let mut ways = Vec::new();
        for scheme in list("schemes").into_iter().flatten().filter_map(Value::as_str) {
            let own = if scheme == "http" { 80 } else { 443 };
            let ports = if ports.is_empty() { vec![own] } else { ports.clone() };
            ways.extend(ports.into_iter().map(|port| (scheme.to_owned(), port)));
        }
        Entry { host: text(entry, "host"), prefix: text(entry, "path_prefix"), ways }
    };
    hosts.into_iter().flatten().map(listed).collect()
}

/// A path prefix and those around it, from the widest.
fn around(prefix: &str) -> impl Iterator<Item = &str> {
    prefix.match_indices('/').filter_map(|(at, _)| prefix.get(..=at))
}

/// Who reaches a host that is not one of the public network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Machine,
    Cloud,
    Network,
}

impl Reach {
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Machine => (
                "this host is the machine itself: the agent reaches services that listen for local programs alone",
                "remove it, or limit it with `ports:` and `path_prefix:` to what is meant",
            ),
            Self::Cloud => {
                ("this host serves a cloud machine's metadata, credentials among it", "remove it")
            }
            Self::Network => (
                "this host is in a private network, where services often trust whoever reaches them",
                "remove it, or limit it with `ports:` and `path_prefix:` to what is meant",
            ),
        }
    }
}

/// Who reaches a host; none where everyone may.
fn reach(host: &str) -> Option<Reach> {
    if host == "localhost" || host.ends_with(".localhost") {
        return Some(Reach::Machine);
    }
    if matches!(host, "metadata" | "metadata.google.internal" | "metadata.goog" | "instance-data") {
        return Some(Reach::Cloud);
    }
    let address: IpAddr = host.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            match (a, b) {
                (127 | 0, _) => Some(Reach::Machine),
                (169, 254) => Some(Reach::Cloud),
                (100, 64..=127) if v4.octets() == [100, 100, 100, 200] => Some(Reach::Cloud),
                (10, _) | (172, 16..=31) | (192, 168) | (100, 64..=127) => Some(Reach::Network),
                _ => None,
            }
        }
        IpAddr::V6(v6) => {
            let [first, ..] = v6.segments();
            match first {
                _ if v6.is_loopback() || v6.is_unspecified() => Some(Reach::Machine),
                0xfd00 if v6.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] => {
                    Some(Reach::Cloud)
                }
                0xfe80..=0xfebf | 0xfc00..=0xfdff => Some(Reach::Network),
                _ => None,
            }
        }
    }
}
