//! The manifest of a corpus.

use serde::{Deserialize, Serialize};

use crate::json::Digest;

/// The name of the manifest in a corpus's folder.
pub const MANIFEST: &str = "manifest.json";

/// A corpus's manifest.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The corpus's name and version.
    pub corpus: String,
    /// The licence's SPDX id.
    pub licence: String,
    /// What made the documents.
    pub generator: String,
    /// The generator's seed.
    pub seed: u64,
    /// The documents, by path.
    pub documents: Vec<ManifestDocument>,
}

/// A document in a manifest.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestDocument {
    /// Its id.
    pub id: String,
    /// Its path in the corpus.
    pub path: String,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// Its size in bytes.
    pub bytes: u64,
    /// Whether it carries an instruction addressed to an agent, planted to test for injection.
    pub planted_instruction: bool,
}
