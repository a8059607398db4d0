//! `gatedrun corpus`

use std::collections::BTreeMap;
use std::fs;

use camino::{Utf8Path, Utf8PathBuf};
use schemars::JsonSchema;
use serde::Serialize;

use crate::corpus::{Corpus, MANIFEST, Manifest, build};
use crate::event::CorpusIdentity;
use crate::file;
use crate::inputs::FILE_BYTES_MAX;
use crate::json::Digest;

use super::destination::Destination;
use super::output::{Terminal, Tone};
use super::{Stop, exit, typos};

/// The subcommands of `corpus`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Write the synthetic corpus
    #[command(after_help = "Example: gatedrun corpus build data/corpus/v1")]
    Build(Build),
    /// Check every byte of a corpus against its manifest, and against its generator where it has one
    #[command(after_help = "Example: gatedrun corpus check data/corpus/v1")]
    Check(Check),
}

/// The arguments of `corpus build`.
#[derive(Debug, clap::Args)]
pub struct Build {
    /// Where to write it
    #[arg(value_name = "FOLDER")]
    folder: Utf8PathBuf,
    /// The generator's seed
    #[arg(long, value_name = "N", default_value_t = build::SEED, value_parser = typos::seed, allow_negative_numbers = true)]
    seed: u64,
    /// Replace files that differ
    #[arg(long)]
    force: bool,
    /// Print what was written as JSON
    #[arg(long)]
    json: bool,
}

/// The arguments of `corpus check`.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// The corpus
    #[arg(value_name = "FOLDER")]
    folder: Utf8PathBuf,
    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn main(command: &Command, terminal: &mut Terminal) -> Result<u8, Stop> {
    match command {
        Command::Build(args) => build(args, terminal),
        Command::Check(args) => check(args, terminal),
    }
}

fn build(args: &Build, terminal: &mut Terminal) -> Result<u8, Stop> {
    let files = build::files(args.seed);
    let changed: BTreeMap<&String, &Vec<u8>> = files
        .iter()
        .filter(|(name, bytes)| at_hand(&args.folder.join(name)).as_ref() != Some(*bytes))
        .collect();
    let replaced: Vec<&str> = changed
        .keys()
        .filter(|name| args.folder.join(name).exists())
        .map(|name| name.as_str())
        .collect();
    if !replaced.is_empty() && !args.force {
        return Err(Stop::usage(format!(
            "{}: {} would be replaced; look at them, then build with --force",
            args.folder,
            replaced.join(", ")
        )));
    }
    fs::create_dir_all(&args.folder).map_err(|error| Stop::writing(&args.folder, &error))?;
    for (name, bytes) in &changed {
        Destination::of(&args.folder.join(name))?.replace(bytes)?;
    }
    if args.json {
        let written: Vec<&str> = changed.keys().map(|name| name.as_str()).collect();
        let (folder, seed, files) = (&args.folder, args.seed, files.len());
        terminal.json(&Built { folder, seed, files, written })?;
        return Ok(exit::OK);
    }
    terminal.line(&format!(
        "{}: {} files, {} of them written",
        args.folder,
        files.len(),
        changed.len()
    ))?;
    Ok(exit::OK)
}

/// The content of a file of the corpus; nothing if the file is unreadable.
fn at_hand(path: &Utf8Path) -> Option<Vec<u8>> {
    file::read(path, FILE_BYTES_MAX).ok()
}

/// What `build --json` prints.
#[derive(Debug, JsonSchema, Serialize)]
pub(super) struct Built<'a> {
    #[schemars(with = "String")]
    folder: &'a Utf8Path,
    seed: u64,
    /// How many files the corpus has.
    files: usize,
    /// Those that were not there with these bytes.
    written: Vec<&'a str>,
}

/// What `check --json` prints.
#[derive(Debug, JsonSchema, Serialize)]
pub(super) struct Checked<'a> {
    corpus: &'a CorpusIdentity,
    /// The digest of the manifest; null if the corpus has none.
    manifest_sha256: Option<Digest>,
    /// Whether the documents are those that the generator writes.
    regenerated: bool,
}

fn check(args: &Check, terminal: &mut Terminal) -> Result<u8, Stop> {
    let corpus = Corpus::load(&args.folder, args.folder.as_str())
        .map_err(|problems| Stop { message: problems.to_string(), code: exit::DRIFT })?;
    let regenerated = compare_with_generator(&args.folder)?;
    if args.json {
        let (manifest_sha256, corpus) = (corpus.manifest_sha256, &corpus.identity);
        terminal.json(&Checked { corpus, manifest_sha256, regenerated })?;
    } else {
        let against = match (corpus.manifest_sha256, regenerated) {
            (None, _) => "no manifest to check against",
            (Some(_), false) => "every byte matches its manifest",
            (Some(_), true) => "every byte matches its manifest and its generator",
        };
        terminal.line(&format!(
            "{}: {} documents, {}",
            args.folder,
            corpus.identity.documents,
            terminal.paint(Tone::Good, against)
        ))?;
    }
    Ok(exit::OK)
}

/// Whether the corpus is this program's own, made again and found the same.
fn compare_with_generator(folder: &Utf8Path) -> Result<bool, Stop> {
    let Some(bytes) = at_hand(&folder.join(MANIFEST)) else { return Ok(false) };
    let Ok(manifest) = serde_json::from_slice::<Manifest>(&bytes) else { return Ok(false) };
    if manifest.generator != "gatedrun corpus build" {
        return Ok(false);
    }
    for (name, made) in build::files(manifest.seed) {
        let path = folder.join(&name);
        let found = at_hand(&path).unwrap_or_default();
        if found != made {
            let message = format!(
                "{path}: has SHA-256 {}, but the generator writes {} for seed {}; build it again with `gatedrun corpus build`",
                Digest::of(&found),
                Digest::of(&made),
                manifest.seed
            );
            return Err(Stop { message, code: exit::DRIFT });
        }
    }
    Ok(true)
}
