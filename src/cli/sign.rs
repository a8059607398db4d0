//! `gatedrun sign` and `gatedrun keygen`: names under runs, and the keys for them.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

use camino::{Utf8Path, Utf8PathBuf};
use ed25519_dalek::SigningKey;

use crate::evidence::recorder::project;
use crate::evidence::verify::{Verdict, verify_unsigned};
use crate::evidence::{ATTESTATION, STATE, attest, open};
use crate::inputs::{Library, Project};

use super::output::Terminal;
use super::project::{named_run, read_text, run};
use super::{Stop, exit};

/// The arguments of `sign`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gatedrun sign runs/canonical/v1 --key key.pem")]
pub struct SignArgs {
    /// The runs' folders
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<Utf8PathBuf>,
    /// The private key, in PEM; make one with `gatedrun keygen`
    #[arg(long, value_name = "FILE")]
    key: Utf8PathBuf,
}

/// The arguments of `keygen`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gatedrun keygen key.pem      writes key.pem and key.pub.pem")]
pub struct KeygenArgs {
    /// Where the private key goes; the public key goes beside it, as NAME.pub.pem
    #[arg(value_name = "FILE")]
    private: Utf8PathBuf,
}

pub(super) fn sign(args: &SignArgs, terminal: &mut Terminal) -> Result<u8, Stop> {
    let key = signing_key(&args.key)?;
    for folder in &args.runs {
        let folder = &named_run(folder)?.finished()?;
        let path = folder.join(ATTESTATION);
        // Nobody should put a name under what does not hold together. What is signed already is
        // signed anew; where that is refused, the older signature stays.
        let library = run(folder).map(|(root, _)| Library::new(Project::Folder(root)));
        let found = verify_unsigned(folder, library.as_ref());
        if matches!(found.verdict, Verdict::Tampered | Verdict::Malformed) {
            return Err(Stop {
                message: format!(
                    "{folder}: it is {} and was not signed; see `gatedrun verify {folder}`",
                    found.verdict.as_str()
                ),
                code: exit::DRIFT,
            });
        }
        let recorded = project(open::open(&folder.join(STATE))?, io::sink(), io::sink())
            .map_err(|error| Stop::usage(format!("{folder}/{STATE}: {error}")))?;
        let statement = attest::run_statement(&recorded.summary, &recorded.manifest);
        write_whole(&path, &attest::sign(&statement, &key))?;
        let id = attest::key_id(&key.verifying_key());
        terminal.line(&format!("{path}: signed with the key {id}"))?;
    }
    Ok(exit::OK)
}

/// Reads a private key from a file.
pub(super) fn signing_key(path: &Utf8Path) -> Result<SigningKey, Stop> {
    attest::signing_key(&read_text(path)?)
        .map_err(|what| Stop::usage(format!("{path}: {what}; make one with `gatedrun keygen`")))
}

/// Writes a file beside its place, and renames it into it.
pub(super) fn write_whole(path: &Utf8Path, bytes: &[u8]) -> Result<(), Stop> {
    let name = path.file_name().unwrap_or_default();
    let beside = path.with_file_name(format!(".{name}.tmp"));
    let written = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    written.map_err(|error| Stop::usage(format!("{path}: it cannot be written: {error}")))
}

pub(super) fn keygen(args: &KeygenArgs, terminal: &mut Terminal) -> Result<u8, Stop> {
    let mut seed = [0_u8; 32];
    getrandom::fill(&mut seed)
        .map_err(|error| Stop::usage(format!("the system gave no random bytes: {error}")))?;
    let pair = attest::generate(&seed).map_err(Stop::usage)?;
    let stem = args.private.as_str().strip_suffix(".pem").unwrap_or(args.private.as_str());
    let beside = Utf8PathBuf::from(format!("{stem}.pub.pem"));
    create_new(&args.private, &pair.private, 0o600)?;
    create_new(&beside, &pair.public, 0o644)?;
    terminal.line(&format!("{}: the private key; keep it, and never commit it", args.private))?;
    terminal.line(&format!("{beside}: the public key, for `gatedrun verify --key`"))?;
    Ok(exit::OK)
}

/// Writes a key where nothing is: a key that was there is never lost.
fn create_new(path: &Utf8Path, pem: &str, mode: u32) -> Result<(), Stop> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| file.write_all(pem.as_bytes()));
    written.map_err(|error| Stop::usage(format!("{path}: it cannot be written: {error}")))
}
