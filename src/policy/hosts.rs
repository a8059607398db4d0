//! Where hosts are served from. Whoever puts a run together hands it to the gate; whether a host may be
//! asked at all is the URL rule's business.

use std::collections::BTreeMap;

/// What serves a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The mount with this name: a URL's path names a file in it, and no network is involved.
    Mount(String),
}

/// Where hosts are served from. A host that is not among them is beyond a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts(BTreeMap<String, Source>);

impl Hosts {
    /// Hosts that are each served from the mount with this name.
    ///
    /// ```
    /// use gatedrun::policy::hosts::{Hosts, Source};
    /// let hosts = Hosts::of_mounts([("docs.test", "corpus")]);
    /// assert_eq!(hosts.source("docs.test"), Some(&Source::Mount("corpus".to_owned())));
    /// assert_eq!(hosts.source("example.com"), None);
    /// ```
    pub fn of_mounts<H: Into<String>, M: Into<String>>(
        hosts: impl IntoIterator<Item = (H, M)>,
    ) -> Self {
        let served =
            hosts.into_iter().map(|(host, mount)| (host.into(), Source::Mount(mount.into())));
        Self(served.collect())
    }

    /// What serves a host; none where only a network would lead there.
    pub fn source(&self, host: &str) -> Option<&Source> {
        self.0.get(host)
    }
}
