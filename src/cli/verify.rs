//! `gatedrun verify`: evidence checked in parallel, one verdict per run.

use std::collections::{BTreeMap, HashMap};

use camino::{Utf8Path, Utf8PathBuf};
use ed25519_dalek::VerifyingKey;
use schemars::JsonSchema;
use serde::Serialize;

use crate::evidence::ATTESTATION;
use crate::evidence::attest;
use crate::evidence::text::{counted, shortened, terminal as escape};
use crate::evidence::verify::{
    Asked, Cause, Finding, MOVE_OR_DELETE, SignatureState, Verdict, Verification, Watch, verify_as,
};
use crate::file;
use crate::inputs::{Library, Root};
use crate::ledger::is_of_another_version;
use crate::place;
use crate::task::PARTIAL_ENDING;

use super::found::{self, Item};
use super::in_order::{Work, cores, in_order};
use super::next;
use super::output::{Terminal, Tone};
use super::project;
use super::tasks::task_of;
use super::{Stop, exit};

/// What verifying does not show, whatever its verdict.
const NOT_PROVED: &str = "Not proved: that everything was recorded, that tools reported the truth, or that the author or signer of a run is honest.";

/// The arguments of `verify`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gatedrun verify                                       every run below runs/\n  gatedrun verify runs/canonical/v1 --key key.pub.pem   one run, and who signed it\n  gatedrun verify --json | jq 'select(.verdict != \"verified\")'"
)]
pub struct Args {
    /// Runs, or folders that hold runs
    #[arg(value_name = "RUN or FOLDER", default_value = "runs")]
    paths: Vec<Utf8PathBuf>,
    /// A public key, in PEM, with which to check signatures; may be repeated
    #[arg(long, value_name = "FILE")]
    key: Vec<Utf8PathBuf>,
    /// Report a run as unconfirmed unless a --key verifies one of its signatures
    #[arg(long)]
    require_signature: bool,
    /// The project whose inputs the runs were made with, for runs outside runs/
    #[arg(long, value_name = "FOLDER")]
    project: Option<Utf8PathBuf>,
    /// Print the verdicts as JSON, one line per run
    #[arg(long)]
    json: bool,
}

/// What was found in a place that a user named.
struct Named {
    item: Item,
    /// The place of a run in the project, where the user says of which project it is.
    place: Option<String>,
}

/// What `--json` prints.
#[derive(Debug, JsonSchema, Serialize)]
pub(super) struct Line<'a> {
    run: &'a str,
    #[serde(flatten)]
    verification: &'a Verification,
}

pub(super) fn main(args: &Args, terminal: &mut Terminal) -> Result<u8, Stop> {
    let keys = args.key.iter().map(|path| public_key(path)).collect::<Result<Vec<_>, _>>()?;
    if let Some(folder) = &args.project {
        project::must_be_folder(folder, "name a project's folder")?;
    }
    let mut items = Vec::new();
    for path in &args.paths {
        let found = found::find_runs(path)?;
        found.note_unfinished(terminal);
        // Where there is nothing else, they are what was asked for.
        let unfinished = found.only_unfinished().iter().cloned().map(Item::Run);
        let all = unfinished.collect::<Vec<_>>().into_iter().chain(found.items);
        items.extend(all.map(|item| Named { place: place(args, path, &item), item }));
    }
    let mut counts: BTreeMap<Verdict, u64> = BTreeMap::new();
    let progress = terminal.progress();
    // Until the first verdict there is the first run to wait for.
    progress.item(items.first().map_or("", name), 1, items.len());
    let count = || progress.event();
    let all = All { args, items: &items, keys: &keys, watch: Watch(&count) };
    in_order(&all, (items.len(), cores()), terminal, |index, verification, terminal| {
        let (Some(item), Some(verification)) = (items.get(index), verification) else {
            return Ok(());
        };
        *counts.entry(verification.verdict).or_insert(0) += 1;
        progress.item(
            items.get(index + 1).map_or("", name),
            (index + 2).min(items.len()),
            items.len(),
        );
        let (run, verification) = (name(item), &verification);
        if args.json {
            return Ok(terminal.json(&Line { run, verification })?);
        }
        print_one(run, verification, terminal)
    })?;
    if !args.json {
        if items.len() != 1 {
            let counted =
                counts.iter().map(|(verdict, count)| format!("{count} {}", verdict.words()));
            let counted: Vec<String> = counted.collect();
            terminal.line(&format!("{} runs: {}", items.len(), counted.join(", ")))?;
        }
        terminal.note(NOT_PROVED);
    }
    Ok(counts.keys().copied().map(code).fold(exit::OK, exit::worse))
}

/// The exit code that a verdict is.
pub(super) fn code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Verified => exit::OK,
        Verdict::Tampered => exit::DRIFT,
        Verdict::Malformed => exit::MALFORMED,
        Verdict::Unconfirmed => exit::UNCONFIRMED,
        Verdict::InputsDiffer => exit::INPUTS,
        Verdict::Unfinished => exit::INTERRUPTED,
        Verdict::Unread => exit::HOST,
    }
}

fn public_key(path: &Utf8Path) -> Result<VerifyingKey, Stop> {
    let pem = file::read(path, attest::KEY_BYTES_MAX)
        .map_err(|unread| unread.problem(path.as_str()).or_remedy("name a public key, in PEM"))?;
    String::from_utf8(pem)
        .map_err(|_| "not UTF-8".to_owned())
        .and_then(|pem| attest::verifying_key(&pem))
        .map_err(|what| Stop::usage(format!("{path}: {what}")))
}

/// The runs of one command.
struct All<'a> {
    args: &'a Args,
    items: &'a [Named],
    keys: &'a [VerifyingKey],
    watch: Watch<'a>,
}

impl<'a> Work for All<'a> {
    type Shared = Verifier<'a>;
    type Result = Option<Verification>;

    fn shared(&self) -> Verifier<'a> {
        let Self { args, keys, watch, .. } = *self;
        Verifier { args, keys, watch, libraries: HashMap::new() }
    }

    fn piece(&self, number: usize, verifier: &mut Verifier<'a>, _: &mut Terminal) -> Self::Result {
        self.items.get(number).map(|item| verifier.verify(item))
    }
}

/// The place of a run in the project that a user named: its path below a folder `runs` that is the
/// folder named, or lies in it.
fn place(args: &Args, named: &Utf8Path, item: &Item) -> Option<String> {
    let Item::Run(run) = item else { return None };
    args.project.as_ref()?;
    let named = project::upwards(named);
    let below: Vec<&str> = run.strip_prefix(&named).ok()?.iter().collect();
    let real = named.canonicalize_utf8().unwrap_or(named);
    let at = match below.iter().rposition(|part| *part == "runs") {
        Some(at) => at + 1,
        None if real.file_name() == Some("runs") => 0,
        None => return None,
    };
    let place = below.get(at..)?.join("/");
    (!place.is_empty()).then_some(place)
}

fn name(named: &Named) -> &str {
    match &named.item {
        Item::Run(run) => run.as_str(),
        Item::Refused(refused) => &refused.path,
    }
}

/// Verifies run after run; what they share is loaded once.
struct Verifier<'a> {
    args: &'a Args,
    keys: &'a [VerifyingKey],
    watch: Watch<'a>,
    libraries: HashMap<Utf8PathBuf, Library>,
}

impl Verifier<'_> {
    /// Verifies a run with the inputs of the project that it lies in.
    fn verify(&mut self, named: &Named) -> Verification {
        let run = match &named.item {
            Item::Run(run) => run,
            Item::Refused(refused) => {
                let (verdict, cause) = match refused.is_host {
                    true => (Verdict::Unread, Cause::Host),
                    false => (Verdict::Unconfirmed, Cause::Folder),
                };
                return Verification::unread(Finding::new(verdict, cause, ".", &refused.what));
            }
        };
        let root = self.args.project.clone().or_else(|| place::run(run).map(|(root, _)| root));
        let library = root.map(|root| {
            &*self.libraries.entry(root.clone()).or_insert_with(|| Library::new(Root::Folder(root)))
        });
        let (keys, signature_required) = (self.keys, self.args.require_signature);
        let watch = Some(self.watch);
        let place = named.place.as_deref();
        let asked =
            Asked { project: library, place, keys, signature_required, watch, ..Asked::default() };
        verify_as(run, &asked)
    }
}

fn print_one(run: &str, verification: &Verification, terminal: &mut Terminal) -> Result<(), Stop> {
    let tone = match verification.verdict {
        Verdict::Verified => Tone::Good,
        Verdict::Unconfirmed | Verdict::InputsDiffer | Verdict::Unfinished => Tone::Strong,
        Verdict::Malformed | Verdict::Tampered | Verdict::Unread => Tone::Bad,
    };
    let of = |verified: bool| {
        let signers = verification.signatures.iter().filter(|one| one.verified == verified);
        let ids: Vec<String> = signers.map(|one| shortened(&one.keyid, 80).into_owned()).collect();
        (ids.len() > 1, escape(&ids.join(", ")))
    };
    let keys = |verified: bool| match of(verified) {
        (true, ids) => format!("keys {ids}"),
        (false, id) => format!("key {id}"),
    };
    let signed = match verification.signature {
        SignatureState::None
            if verification.records == 0 || verification.verdict == Verdict::Unfinished =>
        {
            String::new()
        }
        SignatureState::None => ", not signed".to_owned(),
        SignatureState::Unchecked => format!(
            ", signature not checked (names {}; give {} with --key)",
            keys(false),
            if of(false).0 { "their public keys" } else { "its public key" }
        ),
        SignatureState::OtherKey => {
            format!(", signature not checked (names {}, not given)", keys(false))
        }
        SignatureState::Valid if of(false).1.is_empty() => format!(", signed by {}", of(true).1),
        SignatureState::Valid => {
            format!(", signed by {}; not checked: names {}, not given", of(true).1, keys(false))
        }
        SignatureState::Invalid => String::new(),
    };
    let events = match verification.records {
        // It could not be read to its end.
        0 => String::new(),
        records => format!(", {}", counted(records, "event", "events")),
    };
    let verdict = terminal.paint(tone, verification.verdict.words());
    terminal.line(&format!("{}: {verdict}{signed}{events}", escape(run)))?;
    for finding in &verification.findings {
        print_finding(finding, terminal)?;
    }
    if verification.findings_omitted > 0 {
        terminal.line(&format!("  and {} more", verification.findings_omitted))?;
    }
    if let Some(remedy) = remedy(run, verification) {
        terminal.line(&format!("  {}", escape(&remedy)))?;
    }
    Ok(())
}

/// Whether the task of a run can be executed with the current inputs.
fn loads(run: &Utf8Path) -> bool {
    let task = task_of(run, None);
    task.is_ok_and(|(project, task)| Library::new(project).load(&task, None).is_ok())
}

/// What to do about a run that is not verified, where its findings do not say it.
fn remedy(run: &str, verification: &Verification) -> Option<String> {
    let says = |causes: &[Cause]| {
        verification.findings.iter().any(|finding| {
            finding.verdict == verification.verdict && causes.contains(&finding.cause)
        })
    };
    let is_only_more = verification.findings.iter().all(|finding| {
        finding.verdict < verification.verdict || finding.what.ends_with(MOVE_OR_DELETE)
    });
    let is_whole = verification.findings.iter().any(|one| is_of_another_version(&one.what));
    let mut worst = verification.findings.iter().filter(|one| one.verdict == verification.verdict);
    let is_signature_alone = worst.all(|finding| finding.cause == Cause::Signature);
    // These name the remedy themselves.
    if says(&[Cause::LineEnds, Cause::WhiteSpace, Cause::Place]) {
        return None;
    }
    match verification.verdict {
        Verdict::Tampered | Verdict::Malformed if is_whole => None,
        Verdict::Tampered | Verdict::Malformed if run.ends_with(PARTIAL_ENDING) => {
            Some(found::restored(Utf8Path::new(run)))
        }
        Verdict::Tampered | Verdict::Malformed if is_only_more => None,
        // Of a run that is changed itself nobody is told to sign it.
        Verdict::Tampered | Verdict::Malformed if is_signature_alone => Some(format!(
            "restore {ATTESTATION} from version control, or delete it and sign the run again with `{}`",
            next::command("sign", run, " --key KEY")
        )),
        Verdict::Tampered | Verdict::Malformed => Some(
            "restore the run from version control, and delete files that it did not write; if that cannot be done, do not rely on this run".to_owned(),
        ),
        Verdict::InputsDiffer => Some(match loads(Utf8Path::new(run)) {
            true => format!(
                "restore these inputs, or see with `{}` what the run does with the current ones",
                next::check(Utf8Path::new(run))
            ),
            false => "restore these inputs; the task cannot be executed with the current ones".to_owned(),
        }),
        Verdict::Verified | Verdict::Unconfirmed | Verdict::Unfinished | Verdict::Unread => None,
    }
}

fn print_finding(finding: &Finding, terminal: &mut Terminal) -> Result<(), Stop> {
    let place = match (finding.line, finding.byte) {
        (Some(line), Some(byte)) => format!(", line {line}, byte {byte}"),
        (Some(line), None) => format!(", line {line}"),
        _ => String::new(),
    };
    terminal.line(&format!("  {}{place}: {}", escape(&finding.file), escape(&finding.what)))?;
    if finding.found.is_some() || finding.expected.is_some() {
        let text = |text: &Option<String>| match text.as_deref() {
            None => "nothing".to_owned(),
            Some("") => "the end of the line".to_owned(),
            Some(text) => escape(text),
        };
        terminal.line(&format!("      found     {}", text(&finding.found)))?;
        terminal.line(&format!("      expected  {}", text(&finding.expected)))?;
    }
    Ok(())
}
