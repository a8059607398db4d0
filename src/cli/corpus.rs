//! `gatedrun corpus`

use std::collections::BTreeMap;
use std::fs;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use schemars::JsonSchema;
use serde::Serialize;

use crate::corpus::{Corpus, MANIFEST, Manifest, build};
use crate::event::CorpusIdentity;
use crate::evidence::text::counted;
use crate::file::{self, make_folders};
use crate::inputs::FILE_BYTES_MAX;
use crate::json::Digest;

use super::content::Content;
use super::destination::{self, Destination, is_temporary};
use super::output::{Terminal, Tone};
use super::{Stop, exit, project, typos};

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
    destination::folder(&args.folder, Content::Corpus)?;
    refuse_other(&args.folder, &files)?;
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
            "{}: {} would be replaced; to replace what is there, build with --force",
            args.folder,
            replaced.join(", ")
        )));
    }
    make_folders(&args.folder).map_err(|error| Stop::writing(&args.folder, &error))?;
    let places = changed.iter().map(|(name, bytes)| {
        Ok((Destination::of(&args.folder.join(name), Content::Corpus)?, *bytes))
    });
    for (place, bytes) in places.collect::<Result<Vec<_>, Stop>>()? {
        place.replace(bytes)?;
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

/// Refuses a folder that is not a corpus of this program: what is in it is somebody's.
fn refuse_other(folder: &Utf8Path, files: &BTreeMap<String, Vec<u8>>) -> Result<(), Stop> {
    let refused = |name: &str| {
        Stop::usage(format!(
            "{folder}: contains {name:?}, which is not a part of a corpus that `gatedrun corpus build` made; name a new folder"
        ))
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Stop::writing(folder, &error)),
    };
    if folder.join(MANIFEST).exists() {
        return if is_built(folder) { Ok(()) } else { Err(refused(MANIFEST)) };
    }
    for entry in entries {
        let name = entry.map_err(|error| Stop::writing(folder, &error))?.file_name();
        let name = name.to_string_lossy();
        let is_own = |file: &String| Utf8Path::new(file).iter().next() == Some(&*name);
        if !is_temporary(&name) && !files.keys().any(is_own) {
            return Err(refused(&name));
        }
    }
    Ok(())
}

/// Whether a folder's manifest is that of a corpus which this program has built, whatever else was
/// changed in it.
fn is_built(folder: &Utf8Path) -> bool {
    let bytes = at_hand(&folder.join(MANIFEST)).unwrap_or_default();
    let manifest: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    manifest.get("generator").is_some_and(|generator| generator == build::GENERATOR)
}

/// The content of a file of the corpus; nothing if the file is unreadable.
fn at_hand(path: &Utf8Path) -> Option<Vec<u8>> {
    file::read(path, FILE_BYTES_MAX).ok()
}

/// The same, where the machine can say it.
fn held(path: &Utf8Path) -> Result<Option<Vec<u8>>, Stop> {
    match file::read(path, FILE_BYTES_MAX).map_err(|unread| unread.problem(path.as_str())) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(problem) if problem.is_host => Err(problem.into()),
        Err(_) => Ok(None),
    }
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
    project::must_be_folder(&args.folder, "name a corpus's folder")?;
    let corpus = Corpus::load(&args.folder, args.folder.as_str()).map_err(|problems| {
        match Stop::from(problems) {
            Stop { message, code: exit::USAGE } => Stop { message, code: exit::DRIFT },
            host => host,
        }
    })?;
    let regenerated = compare_with_generator(&args.folder)?;
    let code = if corpus.manifest_sha256.is_some() { exit::OK } else { exit::UNCONFIRMED };
    if args.json {
        let (manifest_sha256, corpus) = (corpus.manifest_sha256, &corpus.identity);
        terminal.json(&Checked { corpus, manifest_sha256, regenerated })?;
    } else {
        let (tone, against) = match (corpus.manifest_sha256, regenerated) {
            (None, _) => (
                Tone::Bad,
                "nothing checked: the corpus has no manifest.json; each run records a digest over its documents, which `gatedrun check` compares",
            ),
            (Some(_), false) => (Tone::Good, "every byte matches its manifest"),
            (Some(_), true) => (Tone::Good, "every byte matches its manifest and its generator"),
        };
        terminal.line(&format!(
            "{}: {}, {}",
            args.folder,
            counted(corpus.identity.documents, "document", "documents"),
            terminal.paint(tone, against)
        ))?;
    }
    Ok(code)
}

/// Whether the corpus is this program's own, made again and found the same.
fn compare_with_generator(folder: &Utf8Path) -> Result<bool, Stop> {
    let Some(bytes) = held(&folder.join(MANIFEST))? else { return Ok(false) };
    let Ok(manifest) = serde_json::from_slice::<Manifest>(&bytes) else { return Ok(false) };
    if manifest.generator != build::GENERATOR {
        return Ok(false);
    }
    for (name, made) in build::files(manifest.seed) {
        let path = folder.join(&name);
        let found = held(&path)?.unwrap_or_default();
        if found != made {
            let message = format!(
                "{path}: has SHA-256 {}, but the generator writes {} for seed {}; build it again with `{}`",
                Digest::of(&found),
                Digest::of(&made),
                manifest.seed,
                build::again(folder.as_str(), manifest.seed)
            );
            return Err(Stop { message, code: exit::DRIFT });
        }
    }
    Ok(true)
}
