//! `gatedrun review`: proposals beside committed runs, one by one.

use std::fmt;
use std::io::{BufRead, Read, stdin};

use camino::{Utf8Path, Utf8PathBuf};
use schemars::JsonSchema;
use serde::Serialize;

use crate::evidence::behaviour::{Class, Incomparable, class};
use crate::evidence::diff::diff;
use crate::evidence::text::{counted, terminal as escape};
use crate::evidence::write::{
    Claim, Finished, WriteError, has_leftovers, is_folder, proposal, target_of,
};
use crate::file::said;
use crate::host::HostFault;
use crate::proposal::Refusal;
use crate::task::PARTIAL_ENDING;

use super::ci::refuse_in_ci;
use super::diff::print_diff;
use super::found;
use super::next;
use super::offer;
use super::output::{Terminal, Tone};
use super::project::{self, Libraries};
use super::run::name_signers;
use super::{Stop, exit};

/// The arguments of `review`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gatedrun review                           asks about every proposal below runs/\n  gatedrun review runs/canonical --accept   accepts those below a folder, after verifying each\n  gatedrun review --accept-unchanged        accepts those that behave as before and differ only in their inputs"
)]
pub struct Args {
    /// A run, or a folder in which to look for proposals
    #[arg(value_name = "RUN or FOLDER", default_value = "runs")]
    folder: Utf8PathBuf,
    /// Accept every proposal without asking
    #[arg(long, conflicts_with = "reject")]
    accept: bool,
    /// Accept every proposal whose behaviour is unchanged and of which only the inputs differ, without
    /// asking; leave the others
    #[arg(long, conflicts_with_all = ["accept", "reject"])]
    accept_unchanged: bool,
    /// Reject every proposal without asking
    #[arg(long)]
    reject: bool,
    /// Print the outcomes as JSON, one line per proposal; only with --accept,
    /// --accept-unchanged or --reject
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, JsonSchema, Serialize)]
pub(super) struct Line<'a> {
    #[schemars(with = "String")]
    run: &'a Utf8Path,
    verdict: &'static str,
    message: Option<String>,
}

/// How much of an answer is read.
const ANSWER_BYTES_MAX: u64 = 1024;

/// What a proposal changes of the committed run.
enum Change {
    /// No run is there.
    New,
    Class(Class),
    /// The two cannot be compared, and why.
    Unknown(String),
}

impl Change {
    fn of(target: &Utf8Path) -> Result<Self, Stop> {
        if !is_folder(target)? {
            return Ok(Self::New);
        }
        match class(target, &proposal(target)) {
            Ok(class) => Ok(Self::Class(class)),
            Err(Incomparable::Run(why)) => Ok(Self::Unknown(why)),
            Err(Incomparable::Host(fault)) => Err(unread(target, &fault)),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("first run of the task"),
            Self::Class(Class::Identical) => f.write_str("every artifact is identical"),
            Self::Class(Class::InputsOnly) => f.write_str("behaviour unchanged, inputs changed"),
            Self::Class(Class::Behaviour) => f.write_str("the behaviour differs"),
            Self::Class(Class::Bytes) => f.write_str("behaviour unchanged, other bytes"),
            Self::Class(Class::Unknown) => f.write_str("behaviour unknown"),
            Self::Unknown(why) => write!(f, "cannot be compared: {}", escape(why)),
        }
    }
}

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
    if args.json && !args.accept && !args.accept_unchanged && !args.reject {
        return Err(Stop::usage(
            "--json: a program cannot answer the questions; add --accept, --accept-unchanged or --reject",
        ));
    }
    let proposals = find(&args.folder, terminal)?;
    let mut libraries = Libraries::default();
    let (mut accepted, mut rejected) = (0, 0);
    let mut code = exit::OK;
    for target in &proposals {
        let choice = if args.accept || args.accept_unchanged {
            Choice::Accept
        } else if args.reject {
            Choice::Reject
        } else {
            // A link is not followed to show what it leads to; accepting it says so.
            match proposal(target).is_symlink() {
                true => Choice::Accept,
                false => {
                    show(target, terminal)?;
                    ask(terminal)?
                }
            }
        };
        let done = match choice {
            Choice::Accept => {
                accept(target, args.accept_unchanged, &mut libraries, args.json, terminal)
            }
            Choice::Reject => reject(target, args.json, terminal).map(|()| true),
            Choice::Skip => {
                terminal.line(&format!("{target}: skipped"))?;
                continue;
            }
            Choice::Quit => break,
        };
        match (done, choice) {
            (Ok(true), Choice::Accept) => accepted += 1,
            (Ok(true), _) => rejected += 1,
            (Ok(false), _) => {}
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
    if proposals.is_empty() && !args.json {
        let what = "no proposal; `gatedrun check` and `gatedrun run` write one where a run differs";
        terminal.line(&format!("{}: {what}", args.folder))?;
        return Ok(code);
    }
    let left = proposals.len() - accepted - rejected;
    let proposed = counted(proposals.len(), "proposal", "proposals");
    if !args.json {
        terminal
            .line(&format!("{proposed}: {accepted} accepted, {rejected} rejected, {left} left"))?;
    }
    Ok(if left == 0 { code } else { exit::worse(code, exit::DRIFT) })
}

/// Replaces a run with its proposal, if that may replace it, and says whether it did. The class is
/// determined under the lock, so that what is accepted is what was looked at.
pub(super) fn accept(
    target: &Utf8Path,
    only_unchanged: bool,
    libraries: &mut Libraries,
    json: bool,
    terminal: &mut Terminal,
) -> Result<bool, Stop> {
    let claim = Claim::take(target)?;
    left(target, &claim, terminal)?;
    claim.check_proposal()?;
    let change = Change::of(target)?;
    if only_unchanged && !matches!(change, Change::Class(Class::InputsOnly)) {
        settled(target, Tone::Strong, "left", Some(change.to_string()), json, terminal)?;
        return Ok(false);
    }
    if let Some(refusal) = offer::refusal(target, libraries) {
        return Err(refused(target, refusal));
    }
    claim.accept()?;
    settled(target, Tone::Good, "accepted", Some(change.to_string()), json, terminal)?;
    name_signers(target, &claim, terminal)?;
    Ok(true)
}

/// That a proposal does not replace the run in its place.
fn refused(target: &Utf8Path, refusal: Refusal) -> Stop {
    let proposal = proposal(target);
    match refusal {
        Refusal::Inputs(problems) => {
            let what = format!("{proposal}: not accepted: the current inputs");
            let Stop { message, code } = Stop::from(problems);
            let message =
                format!("{what} cannot be loaded: {message}; fix that, then repeat the command");
            Stop { message, code }
        }
        Refusal::Host(fault) => unread(target, &fault),
        refusal => {
            let message = format!("{proposal}: not accepted: {}", offer::words(target, &refusal));
            Stop { message, code: exit::DRIFT }
        }
    }
}

/// That the machine refused to read a proposal or what it replaces: nothing is known of either.
fn unread(target: &Utf8Path, fault: &HostFault) -> Stop {
    Stop::host(format!(
        "{}: not accepted: {fault}; {}, then repeat the command",
        proposal(target),
        fault.remedy()
    ))
}

fn reject(target: &Utf8Path, json: bool, terminal: &mut Terminal) -> Result<(), Stop> {
    Claim::take(target)?.reject()?;
    settled(target, Tone::Bad, "rejected", None, json, terminal)
}

/// What has become of a run whose replacement was finished or undone, for programs.
pub(super) fn finished(
    target: &Utf8Path,
    verdict: &'static str,
    terminal: &mut Terminal,
) -> Result<(), Stop> {
    settled(target, Tone::Good, verdict, None, true, terminal)
}

/// Prints what became of a proposal.
fn settled(
    target: &Utf8Path,
    tone: Tone,
    verdict: &'static str,
    message: Option<String>,
    json: bool,
    terminal: &mut Terminal,
) -> Result<(), Stop> {
    if json {
        return Ok(terminal.json(&Line { run: target, verdict, message })?);
    }
    let verdict = terminal.paint(tone, verdict);
    let message = message.map_or_else(String::new, |message| format!(": {message}"));
    Ok(terminal.line(&format!("{target}: {verdict}{message}"))?)
}

/// The runs for which there is a proposal, in order. What killed commands have left is finished.
fn find(folder: &Utf8Path, terminal: &mut Terminal) -> Result<Vec<Utf8PathBuf>, Stop> {
    let folder = &project::upwards(folder);
    let target = target_of(folder);
    let is_proposed =
        || Ok::<_, Stop>(proposal(&target).is_symlink() || is_folder(&proposal(&target))?);
    // What a killed command has left of a replacement or a rejection of this run.
    let is_left = target.file_name().is_some() && has_leftovers(&target)?;
    if target != *folder || is_proposed()? || is_left {
        // A run, or its proposal, was named.
        let claim = Claim::take(&target);
        if let Ok(claim) = &claim {
            left(&target, claim, terminal)?;
        }
        return match (is_proposed()?, claim) {
            (true, Ok(_)) => Ok(vec![target]),
            (true, Err(error)) => Err(error.into()),
            (false, Ok(_)) if is_left => Ok(Vec::new()),
            (false, Err(error)) if is_left => Err(error.into()),
            (false, _) if folder.as_str().ends_with(PARTIAL_ENDING) => Err(Stop::usage(format!(
                "{folder}: an unfinished run has no proposal; name the run, {target}"
            ))),
            (false, _) => Err(WriteError::NoProposal(proposal(&target)).into()),
        };
    }
    if !is_folder(folder)? {
        if project::is_cut_short(folder) {
            let message = format!("{folder}: {}", found::unfinished(folder));
            return Err(Stop { message, code: exit::INTERRUPTED });
        }
        project::must_be_folder(folder, "name a run or a folder of runs")?;
    }
    let proposals = Claim::finish_below(folder, |target, claim| left(target, claim, terminal))?;
    if proposals.is_empty() {
        // Where no run is, nothing was looked at, and that is never green.
        found::find_runs(folder)?;
    }
    Ok(proposals)
}

/// Says what a killed command has left of a replacement that is finished now.
pub(super) fn left(target: &Utf8Path, claim: &Claim, terminal: &mut Terminal) -> Result<(), Stop> {
    match claim.finished() {
        Finished::Nothing => {}
        Finished::Forward => terminal.note(&format!(
            "  {target}: a replacement of this run was interrupted, and is finished now"
        )),
        Finished::Backward => terminal.note(&format!(
            "  {target}: a replacement of this run was interrupted before it took place; the new run is the proposal {}",
            proposal(target)
        )),
    }
    name_signers(target, claim, terminal)
}

fn show(target: &Utf8Path, terminal: &mut Terminal) -> Result<(), Stop> {
    let (proposal, change) = (proposal(target), Change::of(target)?);
    terminal.line(&format!("{}: {change}", terminal.paint(Tone::Strong, target.as_str())))?;
    if matches!(change, Change::New) {
        let show = next::command("show", &proposal, "");
        return Ok(terminal.line(&format!("  read it with `{show}`"))?);
    }
    let width = terminal.columns();
    match diff(target, &proposal) {
        Ok(found) => print_diff(target, &proposal, &found, width, terminal),
        Err(what) => Ok(terminal.line(&format!("  {what}"))?),
    }
}

fn ask(terminal: &mut Terminal) -> Result<Choice, Stop> {
    loop {
        terminal.ask("accept (a), reject (r), skip (s), or quit (q)?");
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
