//! `gatedrun verify`: evidence checked in parallel, a verdict a run.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use camino::{Utf8Path, Utf8PathBuf};
use ed25519_dalek::VerifyingKey;
use serde::Serialize;

use crate::evidence::attest;
use crate::evidence::text::{counted, terminal as escape};
use crate::evidence::verify::{Finding, SignatureState, Verdict, Verification, verify};
use crate::inputs::{Library, Project};

use super::output::{Terminal, Tone};
use super::project;
use super::{Stop, exit};

/// What verifying does not show, whatever its verdict.
const NOT_PROVED: &str = "What this does not prove: that everything that happened was recorded, that a tool told the truth, or that who made or signed a run is honest.";

/// The arguments of `verify`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gatedrun verify                                 every run below runs/\n  gatedrun verify runs/canonical/v1 --key pub.pem  one run, and who signed it\n  gatedrun verify --json | jq 'select(.verdict != \"verified\")'"
)]
pub struct Args {
    /// Runs, or folders that hold runs
    #[arg(value_name = "RUN or FOLDER", default_value = "runs")]
    paths: Vec<Utf8PathBuf>,
    /// The public key, in PEM, whose signature the runs must bear
    #[arg(long, value_name = "FILE")]
    key: Option<Utf8PathBuf>,
    /// The project whose inputs the runs were made with, for runs that lie outside runs/
    #[arg(long, value_name = "FOLDER")]
    project: Option<Utf8PathBuf>,
    /// Print the verdicts as JSON, a line a run
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Line<'a> {
    run: &'a Utf8Path,
    #[serde(flatten)]
    verification: &'a Verification,
}

pub(super) fn main(args: &Args, terminal: &mut Terminal) -> Result<u8, Stop> {
    let key = args.key.as_deref().map(public_key).transpose()?;
    let mut runs = Vec::new();
    for path in &args.paths {
        runs.extend(project::find_runs(&project::runs_at(path)?)?);
    }
    let mut counts: BTreeMap<Verdict, u64> = BTreeMap::new();
    let mut print = |run: &Utf8Path, verification: &Verification| -> Result<(), Stop> {
        *counts.entry(verification.verdict).or_insert(0) += 1;
        if args.json {
            let line = Line { run, verification };
            return Ok(terminal.json(&line)?);
        }
        print_one(run, verification, terminal)
    };
    in_parallel(&runs, args.project.as_deref(), key.as_ref(), &mut print)?;
    let worst = counts.keys().max().copied().unwrap_or(Verdict::Verified);
    if !args.json {
        if runs.len() != 1 {
            let counted =
                counts.iter().map(|(verdict, count)| format!("{count} {}", verdict.as_str()));
            let counted: Vec<String> = counted.collect();
            terminal.line(&format!("{} runs: {}", runs.len(), counted.join(", ")))?;
        }
        terminal.note(NOT_PROVED);
    }
    Ok(code(worst))
}

/// The exit code that a verdict is.
pub(super) fn code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Verified => exit::OK,
        Verdict::Tampered => exit::DRIFT,
        Verdict::Malformed => exit::MALFORMED,
        Verdict::Unconfirmed => exit::UNCONFIRMED,
    }
}

fn public_key(path: &Utf8Path) -> Result<VerifyingKey, Stop> {
    let pem = project::read_text(path)?;
    attest::verifying_key(&pem).map_err(|what| Stop::usage(format!("{path}: {what}")))
}

/// Verifies on every core, and hands the verdicts on in the order of the runs. What waits for its
/// turn is bounded by what the cores can be ahead of each other.
fn in_parallel(
    runs: &[Utf8PathBuf],
    project: Option<&Utf8Path>,
    key: Option<&VerifyingKey>,
    print: &mut impl FnMut(&Utf8Path, &Verification) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(2 * cores);
        for _ in 0..cores.min(runs.len()) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                let mut libraries = HashMap::new();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(run) = runs.get(index) else { return };
                    let root = project.map(Utf8Path::to_owned);
                    let root = root.or_else(|| project::run(run).map(|(root, _)| root));
                    let library = root.map(|root| {
                        &*libraries
                            .entry(root.clone())
                            .or_insert_with(|| Library::new(Project::Folder(root)))
                    });
                    // Nobody listens any more when the reader of our output is gone.
                    if sender.send((index, verify(run, library, key))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut waiting = BTreeMap::new();
        let mut due = 0;
        for (index, verification) in receiver {
            waiting.insert(index, verification);
            while let Some(verification) = waiting.remove(&due) {
                if let Some(run) = runs.get(due) {
                    print(run, &verification)?;
                }
                due += 1;
            }
        }
        Ok(())
    })
}

fn print_one(
    run: &Utf8Path,
    verification: &Verification,
    terminal: &mut Terminal,
) -> Result<(), Stop> {
    let tone = match verification.verdict {
        Verdict::Verified => Tone::Good,
        Verdict::Unconfirmed => Tone::Strong,
        Verdict::Malformed | Verdict::Tampered => Tone::Bad,
    };
    let signed = match verification.signature {
        SignatureState::None if verification.records == 0 => "",
        SignatureState::None => ", not signed",
        SignatureState::Unchecked => ", signed, and the signature not checked",
        SignatureState::Valid => ", signed",
        SignatureState::Invalid => "",
    };
    let events = match verification.records {
        // It could not be read to its end.
        0 => String::new(),
        records => format!(", {}", counted(records, "event", "events")),
    };
    let verdict = terminal.paint(tone, verification.verdict.as_str());
    terminal.line(&format!("{run}: {verdict}{signed}{events}"))?;
    for finding in &verification.findings {
        print_finding(finding, terminal)?;
    }
    if verification.findings_untold > 0 {
        terminal.line(&format!("  and {} more", verification.findings_untold))?;
    }
    Ok(())
}

fn print_finding(finding: &Finding, terminal: &mut Terminal) -> Result<(), Stop> {
    let place = match (finding.line, finding.byte) {
        (Some(line), Some(byte)) => format!(", line {line}, byte {byte}"),
        (Some(line), None) => format!(", line {line}"),
        _ => String::new(),
    };
    terminal.line(&format!("  {}{place}: {}", escape(&finding.file), escape(&finding.what)))?;
    if finding.found.is_some() || finding.expected.is_some() {
        let text = |text: &Option<String>| escape(text.as_deref().unwrap_or("nothing"));
        terminal.line(&format!("      stands there  {}", text(&finding.found)))?;
        terminal.line(&format!("      is due        {}", text(&finding.expected)))?;
    }
    Ok(())
}
