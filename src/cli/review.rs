//! `gatedrun review`: proposals beside committed runs, one by one.

use std::io::{BufRead, Read, stdin};

use camino::{Utf8Path, Utf8PathBuf};
use walkdir::WalkDir;

use crate::evidence::STATE;
use crate::evidence::diff::diff;
use crate::evidence::text::counted;
use crate::evidence::write::{accept, proposal, reject};
use crate::file::said;
use crate::task::PROPOSAL_ENDING;

use super::diff::print_diff;
use super::output::{Terminal, Tone};
use super::project::utf8;
use super::{Stop, exit, refuse_in_ci};

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

/// How much of an answer is read.
const ANSWER_BYTES_MAX: u64 = 1024;

/// What to do with a proposal.
enum Choice {
    Accept,
    Reject,
    Skip,
    Quit,
}

pub(super) fn main(args: &Args, terminal: &mut Terminal) -> Result<u8, Stop> {
    refuse_in_ci("nothing can be accepted or rejected")?;
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
