//! `gatedrun review`: proposals beside committed runs, one by one.

use std::io::{BufRead, Read, stdin};

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use crate::evidence::diff::diff;
use crate::evidence::text::counted;
use crate::evidence::write::{Claim, WriteError, proposal, target_of};
use crate::file::said;
use crate::inputs::Project;
use crate::proposal::{objection, signers};

use super::diff::print_diff;
use super::output::{Terminal, Tone};
use super::project::{self, Libraries};
use super::run::print_signers;
use super::{Stop, exit, refuse_in_ci};

/// The arguments of `review`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gatedrun review                           asks about every proposal below runs/\n  gatedrun review runs/canonical --accept   accepts those below a folder, each after it was verified"
)]
pub struct Args {
    /// A run, or a folder in which to look for proposals
    #[arg(value_name = "RUN or FOLDER", default_value = "runs")]
    folder: Utf8PathBuf,
    /// Accept every proposal without asking
    #[arg(long, conflicts_with = "reject")]
    accept: bool,
    /// Reject every proposal without asking
    #[arg(long)]
    reject: bool,
    /// Print the outcomes as JSON, one line per proposal; only with --accept or --reject
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Line<'a> {
    run: &'a Utf8Path,
    verdict: &'static str,
    message: Option<String>,
}

/// How much of an answer is read.
const ANSWER_BYTES_MAX: u64 = 1024;

/// What to do with a proposal.
#[derive(Clone, Copy)]
enum Choice {
    Accept,
    Reject,
    Skip,
    Quit,
}

pub(super) fn main(args: &Args, terminal: &mut Terminal) -> Result<u8, Stop> {
    refuse_in_ci("nothing can be accepted or rejected")?;
    if args.json && !args.accept && !args.reject {
        return Err(Stop::usage(
            "--json: a program cannot answer the questions; add --accept or --reject",
        ));
    }
    let proposals = find(&args.folder)?;
    let mut libraries = Libraries::default();
    let (mut accepted, mut rejected) = (0, 0);
    let mut code = exit::OK;
    for target in &proposals {
        let choice = if args.accept {
            Choice::Accept
        } else if args.reject {
            Choice::Reject
        } else {
            show(target, terminal)?;
            ask(terminal)?
        };
        let done = match choice {
            Choice::Accept => accept(target, &mut libraries, args.json, terminal),
            Choice::Reject => reject(target, args.json, terminal),
            Choice::Skip => {
                terminal.line(&format!("{target}: skipped"))?;
                continue;
            }
            Choice::Quit => break,
        };
        match (done, choice) {
            (Ok(()), Choice::Accept) => accepted += 1,
            (Ok(()), _) => rejected += 1,
            // One that is refused does not stop the others.
            (Err(stop), _) => {
                code = exit::worse(code, stop.code);
                if args.json {
                    let message = Some(stop.message);
                    terminal.json(&Line { run: target, verdict: "refused", message })?;
                } else {
                    terminal.stop(&stop);
                }
            }
        }
    }
    let left = proposals.len() - accepted - rejected;
    let proposed = counted(proposals.len(), "proposal", "proposals");
    if !args.json {
        terminal
            .line(&format!("{proposed}: {accepted} accepted, {rejected} rejected, {left} left"))?;
    }
    Ok(if left == 0 { code } else { exit::worse(code, exit::DRIFT) })
}

/// Replaces a run with its proposal, if that may replace it.
fn accept(
    target: &Utf8Path,
    libraries: &mut Libraries,
    json: bool,
    terminal: &mut Terminal,
) -> Result<(), Stop> {
    let claim = Claim::take(target)?;
    let home = project::run(target).filter(|(_, id)| !id.is_empty()).map(|(root, id)| {
        let library = libraries.get(&Project::Folder(root));
        let task = format!("tasks/{id}.json");
        // The built-in task runs where there is no project.
        let builtin = libraries.get(&Project::Builtin);
        let is_builtin = !library.has(&task) && builtin.has(&task);
        (if is_builtin { builtin } else { library }, id)
    });
    let at_home = home.as_ref().map(|(library, id)| (&**library, id.as_str()));
    if let Some(what) = objection(target, &proposal(target), at_home) {
        let message = format!("{}: not accepted: {what}", proposal(target));
        return Err(Stop { message, code: exit::DRIFT });
    }
    let signers = signers(target);
    claim.accept()?;
    settled(target, Tone::Good, "accepted", json, terminal)?;
    if at_home.is_none() {
        terminal
            .note(&format!("  {target}: it lies in no project, so its inputs were not compared"));
    }
    print_signers(target, &signers, terminal);
    Ok(())
}

fn reject(target: &Utf8Path, json: bool, terminal: &mut Terminal) -> Result<(), Stop> {
    Claim::take(target)?.reject()?;
    settled(target, Tone::Bad, "rejected", json, terminal)
}

/// Prints what became of a proposal.
fn settled(
    target: &Utf8Path,
    tone: Tone,
    verdict: &'static str,
    json: bool,
    terminal: &mut Terminal,
) -> Result<(), Stop> {
    if json {
        return Ok(terminal.json(&Line { run: target, verdict, message: None })?);
    }
    Ok(terminal.line(&format!("{target}: {}", terminal.paint(tone, verdict)))?)
}

/// The runs for which there is a proposal, in order. What killed commands have left is finished.
fn find(folder: &Utf8Path) -> Result<Vec<Utf8PathBuf>, Stop> {
    let target = target_of(folder);
    if target != folder || proposal(&target).is_dir() {
        // A run, or its proposal, was named.
        let left = Claim::take(&target).map(drop);
        return match left {
            Err(error) if proposal(&target).is_dir() => Err(error.into()),
            _ if proposal(&target).is_dir() => Ok(vec![target]),
            _ => Err(WriteError::NoProposal(proposal(&target)).into()),
        };
    }
    if !folder.is_dir() {
        return Err(Stop::usage(format!(
            "{folder}: no such folder; name a run or a folder of runs"
        )));
    }
    Ok(Claim::finish_below(folder)?)
}

fn show(target: &Utf8Path, terminal: &mut Terminal) -> Result<(), Stop> {
    let proposal = proposal(target);
    terminal.line(&terminal.paint(Tone::Strong, target.as_str()))?;
    if !target.exists() {
        return Ok(terminal.line("  no run is there yet; `gatedrun show` shows the proposal")?);
    }
    let width = terminal.columns();
    match diff(target, &proposal) {
        Ok(found) => print_diff(target, &proposal, &found, width, terminal),
        Err(what) => Ok(terminal.line(&format!("  {what}"))?),
    }
}

fn ask(terminal: &mut Terminal) -> Result<Choice, Stop> {
    loop {
        terminal.ask("accept (a), reject (r), skip (s), or leave (q)?");
        let mut line = Vec::new();
        let read = stdin().lock().take(ANSWER_BYTES_MAX).read_until(b'\n', &mut line);
        if read.map_err(|error| Stop::host(format!("stdin: {}", said(&error))))? == 0 {
            return Ok(Choice::Quit);
        }
        match String::from_utf8_lossy(&line).trim() {
            "a" => return Ok(Choice::Accept),
            "r" => return Ok(Choice::Reject),
            "s" => return Ok(Choice::Skip),
            "q" => return Ok(Choice::Quit),
            _ => {}
        }
    }
}
