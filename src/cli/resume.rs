//! `gatedrun resume`: a run that was cut short, resumed.

use std::io::Read;

use camino::{Utf8Path, Utf8PathBuf};

use crate::event::{ExecutionPath, ToolReconciled};
use crate::evidence::text::{counted, is_visible, terminal as escape};
use crate::evidence::write::{Claim, Finished, Staging, WorkDifference, has_leftovers};
use crate::evidence::{MANIFEST, STATE, origin};
use crate::file;
use crate::governor::Recovery;
use crate::inputs::{Inputs, Library};
use crate::ledger::{LedgerError, Past, is_of_another_version};
use crate::place;
use crate::policy::path::probe;
use crate::recovery::{Kept, Recorded, rehearse, rewrite, scan};
use crate::run::Course;
use crate::task::PARTIAL_ENDING;

use super::ci::{in_ci, refuse_in_ci};
use super::execute::{Begun, execute};
use super::failed::Failed;
use super::found::{self, named_run};
use super::next::{self, Next};
use super::output::Terminal;
use super::project::{self, Libraries, TaskPath, is_cut_short};
use super::review;
use super::run::{Wants, conclude, print_head};
use super::tasks::task_of;
use super::{Stop, exit, interrupt};

/// The arguments of `resume`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gatedrun resume runs/canonical/v1\n  gatedrun resume my-run --task tasks/canonical/v1.json\n  gatedrun resume my-run --settle call_0123456789abcdef=took-place --reason \"the ticket is there\""
)]
pub struct Args {
    /// The run folder, with or without the suffix .partial
    #[arg(value_name = "RUN")]
    run: Utf8PathBuf,
    /// The task of a run outside runs/, or of one that was made from a task outside tasks/
    #[arg(long, value_name = "TASK")]
    task: Option<Utf8PathBuf>,
    /// Whether a call in doubt took place: CALL=took-place or CALL=did-not
    #[arg(long, value_name = "CALL=OUTCOME", requires = "reason")]
    settle: Option<String>,
    /// How you know whether the call took place; the reason is recorded
    #[arg(long, value_name = "TEXT", requires = "settle")]
    reason: Option<String>,
    /// Replace an existing run instead of writing a proposal beside it (never in CI)
    #[arg(long)]
    accept: bool,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn main(args: &Args, terminal: &mut Terminal) -> Result<u8, Stop> {
    if args.accept {
        refuse_in_ci("--accept: nothing can be accepted")?;
    }
    let reconciled = args.settle.as_deref().map(|text| settled(text, args)).transpose()?;
    probe()?;
    if let Some(code) = finish_replacement(args, terminal)? {
        return Ok(code);
    }
    let named = match named_run(&args.run) {
        Ok(named) => named,
        Err(stop) => {
            let message = format!("nothing to resume: {}", stop.message);
            return Err(Stop { message, ..stop });
        }
    };
    if !named.is_unfinished() && !is_cut_short(&named.name) {
        if file::at(&named.folder.join(MANIFEST))?.is_none() {
            return Err(Stop::usage(format!(
                "{0}: an unfinished run is in a folder called NAME{PARTIAL_ENDING}, which this is not; if it is one that was renamed, rename it to {0}{PARTIAL_ENDING} and resume that",
                named.name
            )));
        }
        let name = &named.name;
        return Err(match found::summary(&named.folder).1 {
            None => Stop::usage(format!("{name}: the run is finished; there is nothing to resume")),
            Some(unread) => {
                let code = unread.code();
                let what = format!(
                    "{unread}; the folder is not that of an unfinished run, so there is nothing to resume"
                );
                let what = if is_of_another_version(&what) { unread.to_string() } else { what };
                Stop { message: format!("{name}/{STATE}: {}", found::damaged(name, what)), code }
            }
        });
    }
    let target = named.name;
    let (root, task) = task_of(&target, args.task.as_deref())?;
    let mut staging = Staging::resume(&target)?;
    let library = Libraries::default().get(&root);
    let next = {
        let own = library.load(&task, None).ok().map(|inputs| inputs.task.seed);
        let begun = place::started(staging.folder()).map(|started| started.seed);
        let seed = begun.filter(|begun| own.is_some_and(|own| own != *begun));
        let task = TaskPath { project: root.clone(), path: task.clone() };
        let id = task.path.strip_prefix("tasks/").and_then(|path| path.strip_suffix(".json"));
        Next::of(&target, &task, id.unwrap_or_default(), seed)
    };
    // All that can be refused is refused before anything is changed.
    let mut recorded = scan(past(&staging, u64::MAX)?)
        .map_err(|error| damaged(staging.folder(), &error, &next))?;
    let started = recorded.started.as_ref();
    if started.is_some_and(|started| started.llm.path == ExecutionPath::Outside) {
        return Err(Stop::usage(format!(
            "{target}: not resumed, and nothing was changed: {}; `{}` shows it",
            found::begun_again(&target),
            next::show(&target)
        )));
    }
    let seed = started.map(|started| started.seed);
    let inputs = library.load(&task, seed)?;
    if let Some(what) = project::of_another_task(staging.folder(), &inputs.task.id) {
        return Err(Stop::usage(format!("{target}: {what}")));
    }
    check_inputs(&target, &recorded, &inputs, &library, &next)?;
    if let Some(reconciled) = &reconciled {
        check_doubt(reconciled, &recorded, &inputs)?;
        recorded.work.settle(reconciled.took_place);
    }
    let failed = |error| Failed::Run(error).stop(&inputs, &target, Some(&next));
    let ledger = past(&staging, recorded.bytes)?;
    rehearse(&inputs, staging.work(), ledger, reconciled.clone()).map_err(failed)?;
    let Kept { files, in_flight, folders } = &recorded.work;
    let differs = staging.compare_work(files, in_flight.as_ref(), folders)?;
    print_head(&inputs, args.json, terminal)?;
    staging.reopen(recorded.bytes)?;
    restore(&inputs, &staging, &recorded, &differs, terminal)?;
    let interrupt = interrupt::flag()?;
    let course = Course {
        past: Past::cut_short(past(&staging, recorded.bytes)?),
        recovery: Recovery { reconciled, ..Recovery::default() },
        interrupt: Some(&interrupt),
        replies: None,
    };
    let begun = Begun { bytes: recorded.bytes, line: Some(resumed(&recorded)) };
    let progress = terminal.progress();
    progress.item(&target, 1, 1);
    let lines = (!args.json).then_some(&mut *terminal);
    let done = execute(&inputs, &mut staging, course, begun, &progress, lines)
        .map_err(|failed| failed.stop(&inputs, &target, Some(&next)))?;
    // What lies below runs/ is evidence-to-be, and CI cannot make evidence.
    let may_create = !in_ci() || place::run(&target).is_none();
    let wants =
        Wants { accept: args.accept, json: args.json, may_create, unacceptable: None, next: None };
    conclude(&inputs, &target, staging, &done, &wants, terminal)
}

/// Finishes what a killed command has left of a replacement of the run, as every command does that
/// changes it. The exit code, where nothing else is left to be resumed.
fn finish_replacement(args: &Args, terminal: &mut Terminal) -> Result<Option<u8>, Stop> {
    let target = &project::target(&args.run)?;
    // CI makes no evidence, and what is put in a run's place is some.
    if target.file_name().is_none() || in_ci() || !has_leftovers(target)? {
        return Ok(None);
    }
    let claim = Claim::take(target)?;
    review::left(target, &claim, terminal)?;
    let finished = claim.finished();
    drop(claim);
    if is_cut_short(target) {
        return Ok(None);
    }
    if args.json {
        match finished {
            Finished::Forward => review::finished(target, "accepted", terminal)?,
            Finished::Backward if !args.accept => review::finished(target, "left", terminal)?,
            Finished::Nothing | Finished::Backward => {}
        }
    }
    Ok(match finished {
        Finished::Nothing => None,
        Finished::Forward => Some(exit::OK),
        // The command that was interrupted had accepted this run.
        Finished::Backward if args.accept => {
            review::accept(target, false, &mut Libraries::default(), args.json, terminal)?;
            Some(exit::OK)
        }
        Finished::Backward => Some(exit::DRIFT),
    })
}

/// The first `bytes` of the recorded ledger.
fn past(staging: &Staging, bytes: u64) -> Result<Box<dyn Read + Send>, Stop> {
    Ok(match staging.recorded()? {
        Some(ledger) => Box::new(ledger.take(bytes)),
        None => Box::new(std::io::empty()),
    })
}

/// Refuses a run that was begun with other inputs, and names each of them.
fn check_inputs(
    target: &Utf8Path,
    recorded: &Recorded,
    inputs: &Inputs,
    library: &Library,
    next: &Next,
) -> Result<(), Stop> {
    let Some(started) = &recorded.started else { return Ok(()) };
    let now = inputs.started();
    let differences = origin::differences(started, &now);
    if differences.is_empty() {
        return Ok(());
    }
    let rewritten = origin::rewritten(started, library);
    let differences = differences.into_iter().chain(rewritten);
    let listed: String = differences.map(|what| format!("\n  {what}")).collect();
    Err(Stop {
        message: format!(
            "{target}: not resumed, and nothing was changed: the run was started with different inputs{listed}\nrestore them, or start over with `{}`",
            next.over
        ),
        code: exit::INPUTS,
    })
}

/// Makes the run's own folder what the record says of it.
fn restore(
    inputs: &Inputs,
    staging: &Staging,
    recorded: &Recorded,
    differs: &WorkDifference,
    terminal: &mut Terminal,
) -> Result<(), Stop> {
    if differs.is_empty() {
        return Ok(());
    }
    staging.remove_work(differs)?;
    let rebuilt = differs.missing.iter().chain(&differs.changed);
    let files = rebuilt.filter_map(|path| {
        let due = recorded.work.files.get(path)?;
        Some((path.clone(), *due))
    });
    let ledger = past(staging, recorded.bytes)?;
    rewrite(inputs, staging.work(), ledger, &files.collect()).map_err(|what| Stop {
        message: format!(
            "{}: what the run has written could not be rebuilt: {what}; nothing recorded is lost, resume it again once that is fixed",
            staging.folder()
        ),
        code: exit::HOST,
    })?;
    for line in differs.lines() {
        terminal.note(&format!("  {}/{}", staging.folder(), escape(&line)));
    }
    Ok(())
}

/// Where a run is resumed.
fn resumed(recorded: &Recorded) -> String {
    let torn = match recorded.torn {
        0 => String::new(),
        bytes => format!("; {bytes} bytes of an unfinished line were dropped"),
    };
    format!("  resumed after {}{torn}", counted(recorded.events, "event", "events"))
}

fn damaged(folder: &Utf8Path, error: &LedgerError, next: &Next) -> Stop {
    let what = error.to_string();
    let (remedy, code) = match is_of_another_version(&what) {
        true => (String::new(), exit::MALFORMED),
        false => {
            let over = &next.over;
            let remedy = format!(
                "; an interruption does not cause this: restore the file, or start over with `{over}`"
            );
            (remedy, exit::DRIFT)
        }
    };
    Stop { message: format!("{folder}/{STATE}: {what}{remedy}"), code }
}

/// Refuses to settle a call that is not in doubt.
fn check_doubt(
    reconciled: &ToolReconciled,
    recorded: &Recorded,
    inputs: &Inputs,
) -> Result<(), Stop> {
    let doubt = recorded.open.as_ref().filter(|(_, tool)| !inputs.contracts.may_repeat(tool));
    match doubt {
        Some((call_id, _)) if *call_id == reconciled.call_id => Ok(()),
        Some((call_id, _)) => Err(Stop::usage(format!(
            "--settle {}: this call is not in doubt; {call_id} is. Nothing was done",
            reconciled.call_id
        ))),
        None => Err(Stop::usage(format!(
            "--settle {}: no call of this run is in doubt; resume it without --settle. Nothing was done",
            reconciled.call_id
        ))),
    }
}

/// What `--settle` and `--reason` say.
fn settled(text: &str, args: &Args) -> Result<ToolReconciled, Stop> {
    let took_place = |word: &str| match word {
        "took-place" => Some(true),
        "did-not" => Some(false),
        _ => None,
    };
    let parsed = text.split_once('=').and_then(|(call, word)| Some((call, took_place(word)?)));
    let Some((call_id, took_place)) = parsed else {
        return Err(Stop::usage(format!(
            "--settle {text:?}: write CALL=took-place or CALL=did-not, with the call's id"
        )));
    };
    let reason = args.reason.clone().unwrap_or_default();
    if !is_visible(&reason) {
        return Err(Stop::usage(
            "--reason: no visible character; say how you know whether the call took place",
        ));
    }
    Ok(ToolReconciled { call_id: call_id.to_owned(), took_place, reason })
}
