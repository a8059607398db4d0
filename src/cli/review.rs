//! `gatedrun review`: proposals beside committed runs, one by one.

use std::io::{BufRead, stdin};

use camino::{Utf8Path, Utf8PathBuf};
use walkdir::WalkDir;

use crate::evidence::STATE;
use crate::evidence::diff::diff;
use crate::evidence::text::counted;
use crate::evidence::write::{accept, proposal, reject};
use crate::task::PROPOSAL_ENDING;

use super::diff::print_diff;
use super::output::{Terminal, Tone};
use super::project::utf8;
use super::{Stop, exit, in_ci};

/// The arguments of `review`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gatedrun review                           asks about every proposal below runs/\n  gatedrun review runs/canonical --accept   accepts those below a folder"
)]
pub struct Args {
    /// Where to look for proposals
    #[arg(value_name = "FOLDER", default_value = "runs")]
    folder: Utf8PathBuf,
    /// Accept every proposal without asking
    #[arg(long, conflicts_with = "reject")]
    accept: bool,
    /// Reject every proposal without asking
    #[arg(long)]
    reject: bool,
}

/// What to do with a proposal.
enum Choice {
    Accept,
    Reject,
    Skip,
    Quit,
}

pub(super) fn main(args: &Args, terminal: &mut Terminal) -> Result<u8, Stop> {
    if in_ci() {
        return Err(Stop::usage(
            "nothing can be accepted or rejected in CI (CI is set); review by hand and commit it",
        ));
    }
    let proposals = find(&args.folder)?;
    let (mut accepted, mut rejected) = (0, 0);
    for target in &proposals {
        let choice = if args.accept {
            Choice::Accept
        } else if args.reject {
            Choice::Reject
        } else {
            show(target, terminal)?;
            ask(terminal)?
        };
        match choice {
            Choice::Accept => {
                accept(target)?;
                accepted += 1;
                terminal.line(&format!("{target}: {}", terminal.paint(Tone::Good, "accepted")))?;
            }
            Choice::Reject => {
                reject(target)?;
                rejected += 1;
                terminal.line(&format!("{target}: {}", terminal.paint(Tone::Bad, "rejected")))?;
            }
            Choice::Skip => terminal.line(&format!("{target}: skipped"))?,
            Choice::Quit => break,
        }
    }
    let left = proposals.len() - accepted - rejected;
    let proposed = counted(proposals.len(), "proposal", "proposals");
    terminal.line(&format!("{proposed}: {accepted} accepted, {rejected} rejected, {left} left"))?;
    Ok(if left == 0 { exit::OK } else { exit::DRIFT })
}

/// The runs for which there is a proposal, in order.
fn find(folder: &Utf8Path) -> Result<Vec<Utf8PathBuf>, Stop> {
    let mut targets = Vec::new();
    for entry in WalkDir::new(folder).sort_by_file_name() {
        let entry = entry.map_err(|error| {
            Stop::usage(format!("{folder}: it cannot be read: {error}; name a folder of runs"))
        })?;
        let path = utf8(entry.path())?;
        let Some(target) = path.as_str().strip_suffix(PROPOSAL_ENDING) else { continue };
        if entry.file_type().is_dir() && path.join(STATE).is_file() {
            targets.push(Utf8PathBuf::from(target));
        }
    }
    Ok(targets)
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
        terminal.note("accept (a), reject (r), skip (s), or leave (q)?");
        let mut line = String::new();
        if stdin().lock().read_line(&mut line)? == 0 {
            return Ok(Choice::Quit);
        }
        match line.trim() {
            "a" => return Ok(Choice::Accept),
            "r" => return Ok(Choice::Reject),
            "s" => return Ok(Choice::Skip),
            "q" => return Ok(Choice::Quit),
            _ => {}
        }
    }
}
