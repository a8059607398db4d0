//! `manifest.json`: what the run is a function of, how it ended, and the digests of the rest.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::{
    CorpusIdentity, Effect, EffectState, Event, GateDecided, Input, LlmIdentity, Record, Subject,
    ToolFinished, ToolStarted,
};
use crate::json::{self, Digest};
use crate::ledger::OTHER_VERSION;
use crate::line_ends::with_lf;
use crate::policy::path::{self, MountPath};

use super::summary::{Outcome, Summary};

/// The version of the projections: of what trace, report and manifest make of a ledger. A manifest
/// states that by which it was written.
pub const MANIFEST_FORMAT: u32 = 1;

/// The manifest.
#[derive(Debug, JsonSchema, Serialize)]
pub struct Manifest<'a> {
    format: u32,
    run_id: &'a str,
    task: &'a str,
    agent_version: &'a str,
    seed: u64,
    llm: &'a LlmIdentity,
    policy_version: &'a str,
    corpus: &'a CorpusIdentity,
    inputs: &'a [Input],
    outcome: Option<Outcome>,
    ledger: Ledger,
    files: BTreeMap<&'static str, FileDigest>,
    work: &'a BTreeMap<String, FileDigest>,
}

/// That a manifest is of a version of the projections that this program does not write, in words.
pub fn other_format(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Manifest {
        format: u64,
    }
    let Manifest { format } = serde_json::from_slice(bytes).ok()?;
    (format != u64::from(MANIFEST_FORMAT)).then(|| {
        format!(
            "the manifest has format {format}, and this program reads format {MANIFEST_FORMAT}; {OTHER_VERSION}"
        )
    })
}

/// Whether these bytes are the manifest of a run, of whatever format. Whether it is right is not
/// looked at.
pub fn is_of_run(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Value>(bytes).is_ok_and(|manifest| manifest.get("run_id").is_some())
}

#[derive(Debug, JsonSchema, Serialize)]
struct Ledger {
    format: u32,
    records: u64,
    head: Digest,
}

/// Digest and size of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileDigest {
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// Its size in bytes.
    pub bytes: u64,
}

/// Collects the files that a run has written to its own folder, record by record.
#[derive(Debug, Default)]
pub struct Work {
    /// Whether the call in hand may write a file.
    may_write: bool,
    /// What the call in hand writes, by its arguments.
    target: Option<(String, FileDigest)>,
    /// What the call in hand writes, where some of its lines do not end with LF: its digest, and
    /// that of the same text with LF.
    mixed: Option<(Digest, Digest)>,
    written: WorkFiles,
}

/// The files that a run has written to its own folder, by path.
#[derive(Debug, Clone, Default)]
pub struct WorkFiles {
    /// Their digests.
    pub files: BTreeMap<String, FileDigest>,
    /// Of those whose lines do not all end with LF, the digest of the text in which they do: what
    /// version control keeps of it.
    pub with_lf: BTreeMap<String, Digest>,
}

impl Work {
    /// How many files.
    #[expect(clippy::len_without_is_empty, reason = "nobody asks whether there is none")]
    pub fn len(&self) -> usize {
        self.written.files.len()
    }

    /// The files, by path.
    pub fn files(&self) -> &BTreeMap<String, FileDigest> {
        &self.written.files
    }

    /// The files, by path.
    pub fn into_files(self) -> WorkFiles {
        self.written
    }

    /// Which file the call in hand writes, and what is in it once the call has taken place; `None`
    /// where it writes none.
    pub fn target(&self) -> Option<&(String, FileDigest)> {
        self.target.as_ref()
    }

    /// Takes the next record.
    pub fn push(&mut self, record: &Record) {
        match &record.event {
            Event::GateDecided(gate) if gate.subject == Subject::Call => {
                self.may_write = may_write(gate);
            }
            Event::ToolStarted(started) => {
                self.target = self.may_write.then(|| writes(started)).flatten();
                let content = started.arguments.get("content").and_then(Value::as_str);
                let mixed = content.filter(|content| content.contains("\r\n"));
                self.mixed = mixed.map(|content| {
                    let content = content.as_bytes();
                    (Digest::of(content), Digest::of(&with_lf(content)))
                });
            }
            Event::ToolFinished(finished) => {
                if let Some((path, digest)) = self.wrote(finished) {
                    match self.mixed.filter(|(mixed, _)| *mixed == digest.sha256) {
                        Some((_, lf)) => drop(self.written.with_lf.insert(path.clone(), lf)),
                        None => drop(self.written.with_lf.remove(&path)),
                    }
                    self.written.files.insert(path, digest);
                }
            }
            _ => {}
        }
    }
}

impl Work {
    /// The file that the call in hand has replaced. Where its result does not say so, and the effect
    /// took place all the same, its arguments do.
    fn wrote(&mut self, finished: &ToolFinished) -> Option<(String, FileDigest)> {
        let target = self.target.take();
        let said = self.may_write.then(|| written(finished)).flatten();
        let said = said.and_then(|said| Some((said.path, said.digest?)));
        let is_done = finished
            .error
            .as_ref()
            .map_or(finished.ok, |error| error.class.facts().effect == EffectState::Done);
        said.or(target.filter(|_| is_done))
    }
}

/// Whether a call may write a file, by what the decision about it says of its effects.
pub fn may_write(gate: &GateDecided) -> bool {
    gate.effects.contains(&Effect::WritePath)
}

/// Which file a call that may write does write, by its arguments.
fn writes(started: &ToolStarted) -> Option<(String, FileDigest)> {
    let text = |name: &str| started.arguments.get(name)?.as_str();
    let (path, content) = (text("path")?, text("content")?);
    let path = MountPath::parse(path).ok().filter(|path| path.mount.as_str() == path::WORK)?;
    let sha256 = Digest::of(content.as_bytes());
    Some((path.to_string(), FileDigest { sha256, bytes: content.len() as u64 }))
}

/// What a call says that it has replaced.
#[derive(Debug)]
pub struct Written {
    /// The file's path.
    pub path: String,
    /// Its digest and size, where the result has them.
    pub digest: Option<FileDigest>,
}

/// The file that a call which may write has replaced, as its result names it, where that is whole.
pub fn written(finished: &ToolFinished) -> Option<Written> {
    let result = finished.result.as_ref().filter(|_| !finished.cut)?.value();
    let digest = || {
        let sha256 = serde_json::from_value(result.get("sha256")?.clone()).ok()?;
        Some(FileDigest { sha256, bytes: result.get("bytes")?.as_u64()? })
    };
    Some(Written { path: result.get("path")?.as_str()?.to_owned(), digest: digest() })
}

/// The manifest's bytes.
pub fn render(
    summary: &Summary,
    work: &Work,
    head: Digest,
    files: BTreeMap<&'static str, FileDigest>,
) -> Vec<u8> {
    let Some(started) = &summary.started else { return Vec::new() };
    let manifest = Manifest {
        format: MANIFEST_FORMAT,
        run_id: &started.run_id,
        task: &started.task,
        agent_version: &started.agent_version,
        seed: started.seed,
        llm: &started.llm,
        policy_version: &started.policy_version,
        corpus: &started.corpus,
        inputs: &started.inputs,
        outcome: summary.outcome(),
        ledger: Ledger { format: started.format, records: summary.records, head },
        files,
        work: &work.written.files,
    };
    json::pretty(&manifest)
}
