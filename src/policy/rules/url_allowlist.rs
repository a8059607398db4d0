//! Which URLs may be fetched: every URL of a call is on the list. Paths are not looked at here.

use std::collections::HashMap;

use serde::Deserialize;

use crate::event::{Detail, Effect, Rule};

use crate::policy::call::{Asked, Denied, OnDeny, bounded, named};
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
