//! A document of a corpus.

use crate::json::Digest;

/// One document.
#[derive(Debug)]
pub struct Document {
    /// Its path in the corpus without the extension.
    pub id: String,
    /// Its path in the corpus.
    pub path: String,
    /// Its first heading, or its id.
    pub title: String,
    /// Its text.
    pub text: String,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
}

impl Document {
    pub(super) fn new(path: String, text: String, sha256: Digest) -> Self {
        let id = path.rsplit_once('.').map_or(path.as_str(), |(stem, _)| stem).to_owned();
        let heading = text.lines().find_map(|line| line.strip_prefix("# ")).map(str::trim);
        let title = heading.filter(|title| !title.is_empty()).unwrap_or(&id).to_owned();
        Self { id, path, title, text, sha256 }
    }
}
