//! What is valid in a policy and hardly meant: keys that cannot take effect, and grants that open
//! more than their author may think.
//!
//! A warning changes nothing: the policy holds as it is written. Defaults are never warned of, only
//! what the policy states.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use serde_json::Value;

use crate::contract::Contracts;
use crate::event::Effect;
use crate::problem::Problem;
use crate::yaml::Document;

use super::path::{CORPUS, WORK};
use super::spec::Policy;
use super::told;

/// What a person should look at in a valid policy, in the order of its lines.
pub fn of(path: &str, policy: &Policy, document: &Document, contracts: &Contracts) -> Vec<Problem> {
    let mut warnings = Warnings { path, policy, document, found: Vec::new() };
    warnings.tools();
    warnings.effects(contracts);
    warnings.hosts();
    warnings.shadowed();
    warnings.sandbox();
    warnings.limits();
    if policy.examples.iter().all(|examples| examples.allow.is_empty() && examples.deny.is_empty())
    {
        warnings.add(
            "",
            "the policy has no examples, so nothing shows that its rules do what they are meant to",
            "add `examples:` with `allow:` and `deny:` to a rule",
        );
    }
    let problems = crate::problem::Problems(warnings.found);
    problems.in_order().into_iter().cloned().collect()
}

struct Warnings<'a> {
    path: &'a str,
    policy: &'a Policy,
    document: &'a Document,
    found: Vec<Problem>,
}

impl Warnings<'_> {
    fn add(&mut self, pointer: &str, what: &str, remedy: &str) {
        self.found.push(told::problem(self.path, self.document, pointer, what, remedy));
    }

    /// Whether the policy states the value with this pointer.
    fn states(&self, pointer: &str) -> bool {
        self.document.value.pointer(pointer).is_some()
    }

    /// The texts of a list that the policy states, each with its pointer.
    fn listed(&self, pointer: &str) -> Vec<(String, String)> {
        let items = self.document.value.pointer(pointer).and_then(Value::as_array);
        let items = items.into_iter().flatten().enumerate();
        items
            .filter_map(|(index, item)| {
                Some((format!("{pointer}/{index}"), item.as_str()?.to_owned()))
            })
            .collect()
    }

    fn tools(&mut self) {
        let registry = &self.policy.rules.tool_registry;
        if registry.allowed.is_empty() {
            let remedy = "list the tools that the agent needs, such as `allowed: [search, read]`";
            self.add("/tool_registry/allowed", "no tool may be called", remedy);
        }
        for (pointer, tool) in self.listed("/tool_registry/denied") {
            if registry.allowed.contains(&tool) {
                let what = format!("{tool} is both allowed and denied, and denied wins");
                self.add(&pointer, &what, "remove it from one of the two lists");
            }
        }
    }

    /// A tool whose every call the rest of the policy denies.
    fn effects(&mut self, contracts: &Contracts) {
        let (sandbox, registry) =
            (&self.policy.rules.sandbox_path, &self.policy.rules.tool_registry);
        let (reads, writes) = (!sandbox.read.is_empty(), !sandbox.write.is_empty());
        let fetches = !self.policy.rules.url_allowlist.hosts.is_empty();
        for (pointer, tool) in self.listed("/tool_registry/allowed") {
            let Some(contract) = contracts.get(&tool).filter(|_| !registry.denied.contains(&tool))
            else {
                continue;
            };
            let missing = contract.effects.iter().find_map(|effect| match effect.effect {
                Effect::ReadPath if !reads => Some((
                    "every call is denied: no mount may be read",
                    format!("add `read: [{CORPUS}]` or the like to `sandbox:`"),
                )),
                Effect::WritePath if !writes => Some((
                    "every call is denied: no mount may be written",
                    format!("add `write: [{WORK}]` to `sandbox:`"),
                )),
                Effect::FetchUrl if !fetches && !reads => Some((
                    "every call is denied: no host is listed",
                    "list hosts under `url_allowlist:`".to_owned(),
                )),
                Effect::FetchUrl if !fetches => Some((
                    "it can fetch file: URLs alone: no host is listed",
                    "list hosts under `url_allowlist:`".to_owned(),
                )),
                _ => None,
            });
            if let Some((what, remedy)) = missing {
                let remedy = format!("{remedy}, or remove {tool} from the list");
                self.add(&pointer, &format!("{tool} is allowed, but {what}"), &remedy);
            }
        }
    }

    fn hosts(&mut self) {
        let entries = self.document.value.pointer("/url_allowlist/hosts").and_then(Value::as_array);
        for (index, entry) in entries.into_iter().flatten().enumerate() {
            let pointer = format!("/url_allowlist/hosts/{index}");
            let reach = entry.get("host").and_then(Value::as_str).and_then(reach);
            if let Some(reach) = reach {
                let (what, remedy) = reach.words();
                self.add(&format!("{pointer}/host"), what, remedy);
            }
            for (pointer, scheme) in self.listed(&format!("{pointer}/schemes")) {
                if scheme == "http" && reach != Some(Reach::Machine) {
                    self.add(
                        &pointer,
                        "http is not encrypted: whoever is on the way can read and change what is fetched",
                        "write `schemes: [https]`",
                    );
                }
            }
        }
    }

    /// Entries without which the same URLs would be allowed. Of two equal ones, the later.
    fn shadowed(&mut self) {
        let entries: Vec<Listed> = self.entries();
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
                self.document
                    .place(&format!("/url_allowlist/hosts/{index}"))
                    .map(|place| place.line)
            };
            let lines: Vec<String> =
                by.iter().filter_map(line).map(|line| line.to_string()).collect();
            let noun = if lines.len() == 1 { "line" } else { "lines" };
            let what = format!(
                "this entry changes nothing: what it allows is already allowed by {noun} {}",
                lines.join(", ")
            );
            let remedy = "remove it, or the wider entry if that is not meant";
            self.add(&format!("/url_allowlist/hosts/{index}"), &what, remedy);
        }
    }

    fn entries(&self) -> Vec<Listed> {
        let filled = super::defaults::filled(&self.document.value);
        let hosts = filled.pointer("/url_allowlist/hosts").and_then(Value::as_array);
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
            Listed { host: text(entry, "host"), prefix: text(entry, "path_prefix"), ways }
        };
        hosts.into_iter().flatten().map(listed).collect()
    }

    fn sandbox(&mut self) {
        for (pointer, mount) in self.listed("/sandbox/write") {
            if !self.policy.rules.sandbox_path.read.contains(&mount) {
                let what = format!("{mount} may be written and not read");
                let remedy =
                    format!("add {mount} to `read:`, if the agent is to read what it writes");
                self.add(&pointer, &what, &remedy);
            }
        }
    }

    /// Limits that another limit, or nothing, always comes before.
    fn limits(&mut self) {
        let policy = self.policy;
        let (budget, sandbox, retry) =
            (policy.rules.loop_budget, &policy.rules.sandbox_path, policy.retry);
        let (read, kept) = (sandbox.max_read_bytes, policy.results.max_bytes);
        // The defaults stand in this relation too: whoever leaves both alone need not be told.
        let own = |pointer: &str, value: u64| {
            let default = super::defaults::of(pointer).and_then(super::defaults::Fallback::value);
            default != Some(value.into())
        };
        if read > kept
            && !sandbox.read.is_empty()
            && (own("sandbox.max_read_bytes", read) || own("results.max_bytes", kept))
        {
            let at = if own("sandbox.max_read_bytes", read) {
                "/sandbox/max_read_bytes"
            } else {
                "/results/max_bytes"
            };
            self.add(
                at,
                &format!("files of up to max_read_bytes {read} bytes may be read, and a result is cut to results.max_bytes {kept}"),
                &format!("raise results.max_bytes, or lower max_read_bytes to {kept}"),
            );
        }
        let (write, arguments) = (sandbox.max_write_bytes, policy.rules.arg_schema.max_bytes);
        if write >= arguments
            && (self.states("/sandbox/max_write_bytes")
                || self.states("/arg_schema_enforcement/max_bytes"))
        {
            let at = if self.states("/sandbox/max_write_bytes") {
                "/sandbox/max_write_bytes"
            } else {
                "/arg_schema_enforcement/max_bytes"
            };
            self.add(
                at,
                &format!("max_write_bytes {write} cannot take effect: what is written is an argument, and arguments have at most arg_schema_enforcement.max_bytes {arguments} bytes"),
                "raise arg_schema_enforcement.max_bytes, or lower max_write_bytes",
            );
        }
        if let Some(attempts) = budget.max_attempts
            && attempts <= u64::from(retry.max_retries)
        {
            let one = u64::from(retry.max_retries) + 1;
            self.add(
                "/loop_budget/max_attempts",
                &format!("no call can reach retry.max_retries {}: one call may take {one} attempts, and the whole run has {attempts}", retry.max_retries),
                &format!("raise max_attempts to {one} or more, or lower retry.max_retries"),
            );
        }
        let repeats = policy.rules.cycle_detection.max_repeats;
        if let Some(calls) = budget.max_tool_calls.filter(|calls| repeats > *calls) {
            let at = if self.states("/cycle_detection/max_repeats") {
                "/cycle_detection/max_repeats"
            } else {
                "/loop_budget/max_tool_calls"
            };
            self.add(
                at,
                &format!("max_repeats {repeats} cannot take effect: a run has at most loop_budget.max_tool_calls {calls} calls"),
                &format!("lower max_repeats to {calls} or less"),
            );
        }
        let timeout = policy.execution.timeout_ms;
        if let Some(elapsed) = budget.max_elapsed_ms.filter(|elapsed| timeout > *elapsed)
            && self.states("/execution/timeout_ms")
        {
            self.add(
                "/execution/timeout_ms",
                &format!("timeout_ms {timeout} cannot take effect: the run ends after loop_budget.max_elapsed_ms {elapsed}"),
                &format!("lower timeout_ms below {elapsed}, or raise max_elapsed_ms"),
            );
        }
        if let Some(progress) = &policy.rules.progress
            && progress.max_repeated_states >= budget.max_iterations
        {
            let (states, steps) = (progress.max_repeated_states, budget.max_iterations);
            self.add(
                "/progress/max_repeated_states",
                &format!("max_repeated_states {states} cannot take effect: a run has at most loop_budget.max_iterations {steps} steps"),
                &format!("lower max_repeated_states below {steps}"),
            );
        }
    }
}

/// An entry of the list of hosts, in full.
struct Listed {
    host: String,
    prefix: String,
    /// Scheme and port.
    ways: Vec<(String, u16)>,
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
