//! The corpus: documents that are verified once and then served from memory, so that what a tool
//! reads is what was hashed.
//!
//! A folder with a `manifest.json` must match it byte for byte; a folder without one (anybody's
//! Markdown and text) is taken as it is. Building the synthetic corpus is `build`'s business,
//! looking through it `index`'s.

mod manifest;
mod document;
pub mod build;
pub mod index;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;
use walkdir::WalkDir;

use crate::event::CorpusIdentity;
use crate::file::{self, Unread};
use crate::json::{self, Digest};
use crate::line_ends::{Rewriting, pattern, with_crlf, with_lf};
use crate::problem::{Problem, Problems};

pub use document::Document;
pub use manifest::{MANIFEST, Manifest, ManifestDocument};

/// The largest document, in bytes.
pub const DOCUMENT_BYTES_MAX: u64 = 1024 * 1024;

/// The most documents of one corpus.
pub const DOCUMENTS_MAX: usize = 1_000_000;

/// A set of verified documents, in the order of their paths.
#[derive(Debug)]
pub struct Corpus {
    /// What the ledger says about it.
    pub identity: CorpusIdentity,
    /// SHA-256 of the manifest's bytes, where there is a manifest.
    pub manifest_sha256: Option<Digest>,
    documents: Vec<Document>,
    index: OnceLock<index::Index>,
}

impl Corpus {
    /// Reads the corpus in a folder, as [`read`] does.
    ///
    /// # Errors
    /// Every file that cannot be read, is not UTF-8, is too large, or differs from the manifest.
    pub fn load(folder: &Utf8Path, name: &str) -> Result<Self, Problems> {
        let (files, problems) = read(folder, name);
        Problems::check(problems, ())?;
        Self::from_files(name, files)
    }

    /// Makes a corpus of files in memory.
    ///
    /// # Errors
    /// As [`Corpus::load`].
    pub fn from_files(name: &str, mut files: BTreeMap<String, Vec<u8>>) -> Result<Self, Problems> {
        let manifest_bytes = files.remove(MANIFEST);
        let mut problems = Vec::new();
        if let Some(bytes) = &manifest_bytes {
            problems.extend(differences(name, bytes, &files));
        }
        let mut documents = Vec::with_capacity(files.len());
        for (path, bytes) in files {
            let sha256 = Digest::of(&bytes);
            match String::from_utf8(bytes) {
                Ok(text) => documents.push(Document::new(path, text, sha256)),
                Err(error) => {
                    let at = error.utf8_error().valid_up_to();
                    problems.push(
                        Problem::new(format!("{name}/{path}"), "it is not UTF-8")
                            .at(format!("byte {at}"))
                            .remedy("save it as UTF-8"),
                    );
                }
            }
        }
        if documents.is_empty() && problems.is_empty() {
            problems.push(
                Problem::new(name, "it holds no document")
                    .remedy("a corpus is a folder of .md and .txt files"),
            );
        }
        let identity = CorpusIdentity {
            name: name.to_owned(),
            documents: documents.len() as u64,
            sha256: digest(&documents),
        };
        let manifest_sha256 = manifest_bytes.map(|bytes| Digest::of(&bytes));
        Problems::check(
            problems,
            Self { identity, manifest_sha256, documents, index: OnceLock::new() },
        )
    }

    /// A corpus without a document, for deciding without a run.
    pub fn empty() -> Self {
        Self {
            identity: CorpusIdentity { name: String::new(), documents: 0, sha256: digest(&[]) },
            manifest_sha256: None,
            documents: Vec::new(),
            index: OnceLock::new(),
        }
    }

    /// The documents, by path.
    pub fn documents(&self) -> &[Document] {
        &self.documents
    }

    /// The document with this path, if there is one.
    pub fn get(&self, path: &str) -> Option<&Document> {
        let found =
            self.documents.binary_search_by(|document| document.path.as_str().cmp(path)).ok()?;
        self.documents.get(found)
    }

    /// The index over all documents, made when it is first asked for.
    pub fn index(&self) -> &index::Index {
        self.index.get_or_init(|| index::Index::new(&self.documents))
    }
}

fn digest(documents: &[Document]) -> Digest {
    let entry = |document: &Document| entry(&document.path, document.sha256, document.text.len());
    Digest::of_value(&Value::Array(documents.iter().map(entry).collect()))
}

fn entry(path: &str, sha256: Digest, bytes: usize) -> Value {
    serde_json::json!({ "path": path, "sha256": sha256, "bytes": bytes })
}

/// What a run says of a corpus that has these documents.
pub fn identity(name: &str, documents: &BTreeMap<String, Vec<u8>>) -> CorpusIdentity {
    let list = documents.iter().map(|(path, bytes)| entry(path, Digest::of(bytes), bytes.len()));
    CorpusIdentity {
        name: name.to_owned(),
        documents: documents.len() as u64,
        sha256: Digest::of_value(&Value::Array(list.collect())),
    }
}

/// Where documents are those of this corpus but for the ends of their lines, which of them differ;
/// else none.
pub fn rewritten<'d>(
    documents: &'d BTreeMap<String, Vec<u8>>,
    made: &CorpusIdentity,
) -> Vec<&'d str> {
    let differing = |with: fn(&[u8]) -> Vec<u8>| {
        let with = documents.iter().map(|(path, bytes)| (path.clone(), with(bytes)));
        let with: BTreeMap<String, Vec<u8>> = with.collect();
        (identity(&made.name, &with) == *made).then(|| {
            let differs = documents.iter().filter(|(path, bytes)| with.get(*path) != Some(*bytes));
            differs.map(|(path, _)| path.as_str()).collect()
        })
    };
    differing(with_lf).or_else(|| differing(with_crlf)).unwrap_or_default()
}

/// The documents and the manifest in a folder, by path, and everything that cannot be read, in
/// order. The folder may be a link, and so may a document, wherever it leads to: what counts is the
/// bytes. In the corpus, links to folders are not followed, so that no folder is its own; hidden
/// files are passed over.
pub fn read(folder: &Utf8Path, name: &str) -> (BTreeMap<String, Vec<u8>>, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut files = BTreeMap::new();
    let walk = WalkDir::new(folder).follow_links(false).follow_root_links(true).into_iter();
    let hidden = |entry: &walkdir::DirEntry| {
        entry.depth() > 0 && entry.file_name().as_encoded_bytes().starts_with(b".")
    };
    for entry in walk.filter_entry(|entry| !hidden(entry)) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                // Without a system's answer it is a folder that lies in itself.
                problems.push(match error.io_error() {
                    Some(error) => file::unlisted(name, error),
                    None => Problem::new(name, error.to_string()),
                });
                continue;
            }
        };
        // The corpus itself may be a link: only what is in it is not followed.
        if entry.depth() == 0 {
            match entry.path().metadata() {
                Ok(there) if there.is_dir() => {}
                Ok(_) => problems.push(Problem::new(name, "not a folder")),
                Err(error) => problems.push(file::unlisted(name, &error)),
            }
            if !problems.is_empty() {
                break;
            }
        }
        if entry.depth() == 0 || entry.file_type().is_dir() {
            continue;
        }
        let lossy = entry
            .path()
            .strip_prefix(folder)
            .unwrap_or(entry.path())
            .to_string_lossy()
            .into_owned();
        let file = format!("{name}/{lossy}");
        let Ok(full) = Utf8PathBuf::from_path_buf(entry.path().to_path_buf()) else {
            problems.push(Problem::new(file, "the name is not UTF-8").remedy("rename it"));
            continue;
        };
        let path = full.strip_prefix(folder).unwrap_or(&full).as_str().replace('\\', "/");
        let document = full.extension().is_some_and(|extension| matches!(extension, "md" | "txt"));
        if entry.file_type().is_symlink() && full.is_dir() {
            problems.push(
                Problem::new(file, "a link to a folder, which is not followed")
                    .remedy("link the documents, or the whole corpus"),
            );
            continue;
        }
        if !document && path != MANIFEST {
            continue;
        }
        match read_bounded(&full) {
            Ok(bytes) => {
                files.insert(path, bytes);
            }
            Err(unread) => problems.push(unread.problem(&file)),
        }
        if files.len() > DOCUMENTS_MAX {
            problems.push(
                Problem::new(name, format!("it holds more than {DOCUMENTS_MAX} documents"))
                    .remedy("split it"),
            );
            break;
        }
    }
    // The order in which a folder is read differs between machines.
    problems.sort_by(|a, b| (&a.file, &a.what).cmp(&(&b.file, &b.what)));
    (files, problems)
}

fn read_bounded(path: &Utf8Path) -> Result<Vec<u8>, Unread> {
    let is_manifest = path.file_name() == Some(MANIFEST);
    let bytes_max = if is_manifest { 64 * DOCUMENT_BYTES_MAX } else { DOCUMENT_BYTES_MAX };
    file::read(path, bytes_max)
}

/// How documents differ from what the bytes of a manifest say of them.
pub fn differences(name: &str, manifest: &[u8], files: &BTreeMap<String, Vec<u8>>) -> Vec<Problem> {
    let (file, bytes) = (&format!("{name}/{MANIFEST}"), manifest);
    let unread = |problem: Problem| {
        let problem = problem.remedy("restore it from version control");
        json::located(problem.into(), bytes).0
    };
    let value = match json::parse(bytes) {
        Ok(value) => value,
        Err(error) => {
            let at = format!("line {}, column {}", error.line, error.column);
            return unread(Problem::new(file, error.message).at(at));
        }
    };
    let manifest: Manifest = match json::typed(value) {
        Ok(manifest) => manifest,
        Err(misfit) => return unread(Problem::new(file, &misfit.what).at(misfit.at())),
    };
    let (amend, list) = match manifest.generator.as_str() {
        build::GENERATOR => {
            (format!("discard the edit with `{}`", build::again(name, manifest.seed)), "")
        }
        _ => ("correct manifest.json".to_owned(), ", or list it in manifest.json"),
    };
    let (mut problems, mut rewritten) = (Vec::new(), Vec::new());
    let mut listed = BTreeMap::new();
    for entry in &manifest.documents {
        if listed.insert(entry.path.as_str(), entry).is_some() {
            problems.push(
                Problem::new(file, format!("{} is listed twice", entry.path))
                    .remedy("keep one of the two"),
            );
        }
    }
    for (path, entry) in &listed {
        let document = format!("{name}/{path}");
        match files.get(*path) {
            None => problems.push(
                Problem::new(document, "the manifest lists it, but it is not there")
                    .remedy(format!("restore it from version control, or {amend}")),
            ),
            Some(bytes)
                if Digest::of(bytes) == entry.sha256 && bytes.len() as u64 == entry.bytes => {}
            Some(bytes) if Rewriting::of(bytes, entry.sha256) == Some(Rewriting::LineEnds) => {
                rewritten.push(document);
            }
            Some(bytes) => {
                let what = format!(
                    "it has changed: the manifest says {} bytes, SHA-256 {}; the file has {} bytes, SHA-256 {}",
                    entry.bytes,
                    entry.sha256,
                    bytes.len(),
                    Digest::of(bytes)
                );
                let remedy = format!("restore it from version control, or {amend}");
                problems.push(Problem::new(document, what).remedy(remedy));
            }
        }
    }
    // One line for all of them: git rewrites every text of a project.
    if let Some(first) = rewritten.first() {
        let (file, count) = match rewritten.len() {
            1 => (first.as_str(), String::new()),
            count => (name, format!("{count} documents: ")),
        };
        let what = format!("{count}{}", Rewriting::LineEnds.what());
        let remedy = Rewriting::LineEnds.remedy(&pattern(&format!("{name}/{MANIFEST}")));
        problems.push(Problem::new(file, what).remedy(remedy).of_line_ends());
    }
    for path in files.keys().filter(|path| !listed.contains_key(path.as_str())) {
        problems.push(
            Problem::new(
                format!("{name}/{path}"),
                "it is there, but the manifest does not list it",
            )
            .remedy(format!("remove it{list}")),
        );
    }
    problems
}
