//! `gatedrun sign` and `gatedrun keygen`: names under runs, and the keys for them.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use ed25519_dalek::SigningKey;
use schemars::JsonSchema;
use serde::Serialize;

use crate::evidence::attest::{self, ENVELOPE_BYTES_MAX, Envelope, KEY_BYTES_MAX};
use crate::evidence::recorder::project;
use crate::evidence::text::shell_word;
use crate::evidence::text::terminal as escape;
use crate::evidence::verify::{Verdict, verify_unsigned};
use crate::evidence::write::{Claim, WriteError, target_of};
use crate::evidence::{ATTESTATION, STATE, open};
use crate::file::{self, said};
use crate::host::HostFault;
use crate::inputs::{Library, Root};
use crate::ledger::LedgerError;
use crate::place::run;

use super::content::Content;
use super::destination::{Destination, create_both};
use super::found::{finished, named_run};
use super::next;
use super::output::Terminal;
use super::{Stop, exit};

/// How long another process that changes the run is waited for.
const WAITED: Duration = Duration::from_secs(5);

/// How long between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// The arguments of `sign`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: gatedrun sign runs/canonical/v1 --key key.pem\n\nA second key adds its signature to the existing ones."
)]
pub struct SignArgs {
    /// The run folders
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<Utf8PathBuf>,
    /// The private key, in PEM; make one with `gatedrun keygen key.pem`
    #[arg(long, value_name = "FILE")]
    key: Utf8PathBuf,
    /// Print the signatures as JSON, one line per run
    #[arg(long)]
    json: bool,
}

/// What `sign --json` prints.
#[derive(Debug, JsonSchema, Serialize)]
pub(super) struct Signed<'a> {
    #[schemars(with = "String")]
    run: &'a Utf8Path,
    verdict: &'static str,
    #[schemars(with = "String")]
    envelope: &'a Utf8Path,
    /// The key that signed it now.
    keyid: &'a str,
    /// The other keys whose signatures it keeps.
    others: Vec<&'a str>,
}

/// What `keygen --json` prints.
#[derive(Debug, JsonSchema, Serialize)]
pub(super) struct Keys<'a> {
    #[schemars(with = "String")]
    private: &'a Utf8Path,
    #[schemars(with = "String")]
    public: &'a Utf8Path,
    keyid: String,
}

/// The arguments of `keygen`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gatedrun keygen key.pem      writes key.pem and key.pub.pem")]
pub struct KeygenArgs {
    /// The file for the private key; the public key is written beside it, as NAME.pub.pem
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
        let signed = named_run(folder).and_then(finished);
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
    let claim = claim(folder);
    // Nobody should sign what does not hold together. Where that is refused, the signatures that
    // are there stay.
    let library = run(folder).map(|(root, _)| Library::new(Root::Folder(root)));
    let found = verify_unsigned(folder, library.as_ref());
    if found.verdict == Verdict::Unread {
        let what = found.findings.iter().find(|finding| finding.verdict == Verdict::Unread);
        let what = what.map_or_else(String::new, |what| format!(" {}: {}", what.file, what.what));
        return Err(Stop::host(format!("{folder}: not signed, since it cannot be checked:{what}")));
    }
    if found.verdict > Verdict::Unconfirmed {
        let what = match found.verdict {
            Verdict::InputsDiffer => "its inputs differ from the current ones",
            other => &format!("it is {}", other.words()),
        };
        return Err(Stop {
            message: format!("{folder}: not signed: {what}; see `{}`", next::verify(folder)),
            code: exit::DRIFT,
        });
    }
    let state = folder.join(STATE);
    let ledger = open::open(&state)
        .map_err(|error| Stop::host(format!("{state}: cannot be read: {}", said(&error))))?;
    let recorded = project(ledger, io::sink(), io::sink()).map_err(|error| match error {
        LedgerError::Read(error) | LedgerError::Sink(error) if HostFault::is_one(&error) => {
            HostFault::of(&error, state.as_str(), "read").into()
        }
        error => Stop::usage(format!("{state}: {error}")),
    })?;
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
    // Without the right to change the run nothing is written.
    let _claim = claim?;
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
    terminal.line(&format!("{path}: signed with key {id}"))?;
    for other in envelope.key_ids().filter(|other| *other != id) {
        terminal.line(&format!("{path}: kept the signature by key {}", escape(other)))?;
    }
    Ok(())
}

/// The right to change a run, from before it is read until it is signed: no other signer's signature
/// is lost, and no other run is put in its place. A process that holds it is waited for a little.
fn claim(folder: &Utf8Path) -> Result<Claim, Stop> {
    let real = folder.canonicalize_utf8().map_err(|error| Stop::writing(folder, &error))?;
    let target = target_of(&real);
    let until = Instant::now() + WAITED;
    loop {
        match Claim::take(&target) {
            Err(WriteError::Locked { .. }) if Instant::now() < until => thread::sleep(PAUSE),
            other => return Ok(other?),
        }
    }
}

/// Reads a private key from a file, and warns of one that others can read.
pub(super) fn signing_key(path: &Utf8Path, terminal: &mut Terminal) -> Result<SigningKey, Stop> {
    let unread = |unread: file::Unread| {
        let problem = unread.problem(path.as_str());
        Stop::from(problem.or_remedy("name a private key; make one with `gatedrun keygen key.pem`"))
    };
    let file = file::open(path).map_err(unread)?;
    let pem = file::read_open(&file, KEY_BYTES_MAX).map_err(unread)?;
    let key = String::from_utf8(pem)
        .map_err(|_| "not UTF-8".to_owned())
        .and_then(|pem| attest::signing_key(&pem))
        .map_err(|what| {
            Stop::usage(format!("{path}: {what}; make one with `gatedrun keygen key.pem`"))
        })?;
    let mode = file.metadata().map_or(0, |metadata| metadata.permissions().mode()) & 0o777;
    if mode & 0o077 != 0 {
        terminal.note(&format!(
            "warning: {path}: other users can access this private key (mode {mode:04o}); run `chmod 600 {}`",
            shell_word(path.as_str())
        ));
    }
    Ok(key)
}

/// Writes the public key of a private one that lies alone, as a killed keygen leaves it.
fn complete(path: &Utf8Path, beside: &Utf8Path, terminal: &mut Terminal) -> Result<u8, Stop> {
    let key = signing_key(path, terminal).map_err(|stop| match stop.code {
        exit::USAGE => Stop::usage(format!(
            "{path}: already exists, and keygen replaces no file; choose another name"
        )),
        _ => stop,
    })?;
    let public = attest::public_pem(&key).map_err(Stop::usage)?;
    Destination::fresh(beside, Content::Key)?.create(public.as_bytes(), 0o644)?;
    terminal.note(&format!("{path}: already exists and was kept; only its public key was missing"));
    terminal.line(&format!("{beside}: the public key, for `gatedrun verify --key`"))?;
    Ok(exit::OK)
}

pub(super) fn keygen(args: &KeygenArgs, terminal: &mut Terminal) -> Result<u8, Stop> {
    let path = &args.private;
    let stem = path.as_str().strip_suffix(".pem").unwrap_or(path.as_str());
    let beside = Utf8PathBuf::from(format!("{stem}.pub.pem"));
    if path.exists() && beside.symlink_metadata().is_err() {
        return complete(path, &beside, terminal);
    }
    let private = Destination::fresh(path, Content::Key)?;
    let public = Destination::fresh(&beside, Content::Key)?;
    let mut seed = [0_u8; 32];
    getrandom::fill(&mut seed)
        .map_err(|error| Stop::host(format!("the system returned no random bytes: {error}")))?;
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
