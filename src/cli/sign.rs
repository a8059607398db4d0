//! `gatedrun sign` and `gatedrun keygen`: names under runs, and the keys for them.

use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;

use camino::{Utf8Path, Utf8PathBuf};
use ed25519_dalek::SigningKey;
use serde::Serialize;

use rustix::fs::{FlockOperation, flock};

use crate::evidence::attest::{self, ENVELOPE_BYTES_MAX, Envelope, KEY_BYTES_MAX};
use crate::evidence::recorder::project;
use crate::evidence::text::terminal as escape;
use crate::evidence::verify::{Verdict, verify_unsigned};
use crate::evidence::{ATTESTATION, STATE, open};
use crate::file::{self, said};
use crate::inputs::{Library, Project};

use super::destination::{Destination, create_both};
use super::output::Terminal;
use super::project::{named_run, run};
use super::{Stop, exit};

/// The arguments of `sign`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: gatedrun sign runs/canonical/v1 --key key.pem\n\nA second key adds its signature to those that are there."
)]
pub struct SignArgs {
    /// The runs' folders
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<Utf8PathBuf>,
    /// The private key, in PEM; make one with `gatedrun keygen`
    #[arg(long, value_name = "FILE")]
    key: Utf8PathBuf,
    /// Print the signatures as JSON, one line per run
    #[arg(long)]
    json: bool,
}

/// What `sign --json` prints.
#[derive(Debug, Serialize)]
struct Signed<'a> {
    run: &'a Utf8Path,
    verdict: &'static str,
    envelope: &'a Utf8Path,
    /// The key that signed it now.
    keyid: &'a str,
    /// The other keys whose signatures it keeps.
    others: Vec<&'a str>,
}

/// What `keygen --json` prints.
#[derive(Debug, Serialize)]
struct Keys<'a> {
    private: &'a Utf8Path,
    public: &'a Utf8Path,
    keyid: String,
}

/// The arguments of `keygen`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gatedrun keygen key.pem      writes key.pem and key.pub.pem")]
pub struct KeygenArgs {
    /// Where the private key goes; the public key goes beside it, as NAME.pub.pem
    #[arg(value_name = "FILE")]
    private: Utf8PathBuf,
    /// Print the files and the key's id as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn sign(args: &SignArgs, terminal: &mut Terminal) -> Result<u8, Stop> {
    let key = signing_key(&args.key, terminal)?;
    let mut code = exit::OK;
    for folder in &args.runs {
        // A run that cannot be signed leaves the others their signatures.
        let signed = named_run(folder).and_then(|named| named.finished());
        match signed.and_then(|folder| sign_one(&folder, &key, args.json, terminal)) {
            Ok(()) => {}
            Err(stop) => {
                terminal.stop(&stop);
                code = exit::worse(code, stop.code);
            }
        }
    }
    Ok(code)
}

fn sign_one(
    folder: &Utf8Path,
    key: &SigningKey,
    json: bool,
    terminal: &mut Terminal,
) -> Result<(), Stop> {
    let destination = Destination::in_run(folder, ATTESTATION)?;
    let _lock = lock(folder)?;
    // Nobody should sign what does not hold together. Where that is refused, the signatures that
    // are there stay.
    let library = run(folder).map(|(root, _)| Library::new(Project::Folder(root)));
    let found = verify_unsigned(folder, library.as_ref());
    if found.verdict > Verdict::Unconfirmed {
        return Err(Stop {
            message: format!(
                "{folder}: it is {} and was not signed; see `gatedrun verify {folder}`",
                found.verdict.words()
            ),
            code: exit::DRIFT,
        });
    }
    let state = folder.join(STATE);
    let ledger = open::open(&state)
        .map_err(|error| Stop::host(format!("{state}: cannot be read: {}", said(&error))))?;
    let recorded = project(ledger, io::sink(), io::sink())
        .map_err(|error| Stop::usage(format!("{state}: {error}")))?;
    let statement = attest::run_statement(&recorded.summary, &recorded.manifest);
    let path = folder.join(ATTESTATION);
    let (envelope, dropped) = match open::read(&path, ENVELOPE_BYTES_MAX) {
        Ok(bytes) => Envelope::continued(&bytes, &statement),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            (Envelope::unsigned(&statement), Vec::new())
        }
        Err(error) => {
            return Err(Stop::host(format!("{path}: cannot be read: {}", said(&error))));
        }
    };
    let (envelope, replaced) = envelope.signed(key);
    let bytes = envelope.encode().map_err(|what| Stop::usage(format!("{path}: {what}")))?;
    destination.replace(&bytes)?;
    for dropped in dropped.iter().chain(&replaced) {
        terminal.note(&format!("{path}: {dropped}"));
    }
    let id = attest::key_id(&key.verifying_key());
    if json {
        let others = envelope.key_ids().filter(|other| *other != id).collect();
        let (run, envelope, keyid) = (folder, path.as_path(), id.as_str());
        terminal.json(&Signed { run, verdict: "signed", envelope, keyid, others })?;
        return Ok(());
    }
    terminal.line(&format!("{path}: signed with the key {id}"))?;
    for other in envelope.key_ids().filter(|other| *other != id) {
        terminal.line(&format!("{path}: keeps the signature of the key {}", escape(other)))?;
    }
    Ok(())
}

/// Holds a run against other signers, so that no signature is lost between reading and writing.
fn lock(folder: &Utf8Path) -> Result<File, Stop> {
    let held = File::open(folder).map_err(|error| Stop::writing(folder, &error))?;
    // Where the file system has no locks, two signers at once are for their users to avoid.
    let _ = flock(&held, FlockOperation::LockExclusive);
    Ok(held)
}

/// Reads a private key from a file, and warns of one that others can read.
pub(super) fn signing_key(path: &Utf8Path, terminal: &mut Terminal) -> Result<SigningKey, Stop> {
    let unread = |unread: file::Unread| Stop::from(unread.problem(path.as_str()));
    let file = file::open(path).map_err(unread)?;
    let pem = file::read_open(&file, KEY_BYTES_MAX).map_err(unread)?;
    let key = String::from_utf8(pem)
        .map_err(|_| "not UTF-8".to_owned())
        .and_then(|pem| attest::signing_key(&pem))
        .map_err(|what| Stop::usage(format!("{path}: {what}; make one with `gatedrun keygen`")))?;
    let mode = file.metadata().map_or(0, |metadata| metadata.permissions().mode()) & 0o777;
    if mode & 0o077 != 0 {
        terminal.note(&format!(
            "warning: {path}: other users can access this private key (mode {mode:04o}); run `chmod 600 {path}`"
        ));
    }
    Ok(key)
}

pub(super) fn keygen(args: &KeygenArgs, terminal: &mut Terminal) -> Result<u8, Stop> {
    let path = &args.private;
    let stem = path.as_str().strip_suffix(".pem").unwrap_or(path.as_str());
    let beside = Utf8PathBuf::from(format!("{stem}.pub.pem"));
    if path.exists() && beside.symlink_metadata().is_err() {
        return Err(Stop::usage(format!(
            "{path}: exists already, and {beside} does not; choose another name, or, if a keygen was killed here, remove {path} and repeat the command"
        )));
    }
    let private = Destination::fresh(path)?;
    let public = Destination::fresh(&beside)?;
    let mut seed = [0_u8; 32];
    getrandom::fill(&mut seed)
        .map_err(|error| Stop::host(format!("the system gave no random bytes: {error}")))?;
    let pair = attest::generate(&seed).map_err(Stop::usage)?;
    create_both([
        (&private, pair.private.as_bytes(), 0o600),
        (&public, pair.public.as_bytes(), 0o644),
    ])?;
    if args.json {
        let key = attest::signing_key(&pair.private).map_err(Stop::usage)?;
        let keyid = attest::key_id(&key.verifying_key());
        terminal.json(&Keys { private: path, public: &beside, keyid })?;
        return Ok(exit::OK);
    }
    terminal.line(&format!("{path}: the private key; keep it, and never commit it"))?;
    terminal.line(&format!("{beside}: the public key, for `gatedrun verify --key`"))?;
    Ok(exit::OK)
}
