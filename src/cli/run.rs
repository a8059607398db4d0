//! `gatedrun run`: tasks executed, and their evidence written.

use std::collections::HashSet;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};

use camino::{Utf8Path, Utf8PathBuf};
use schemars::JsonSchema;
use serde::Serialize;

use crate::event::TerminalReason;
use crate::evidence::summary::{Outcome, Summary};
use crate::evidence::text::{counted, terminal as escape};
use crate::evidence::write::{
    Claim, Settlement, Staging, Standing, WriteError, has_replaced, is_folder, proposal,
};
use crate::evidence::{REPORT, origin};
use crate::inputs::{BUILTIN, Inputs, Library, Root};
use crate::place;
use crate::policy::path::probe;
use crate::proposal::signers;
use crate::run::Course;

use super::ci::{in_ci, refuse_in_ci};
use super::execute::{Begun, Done, execute};
use super::failed::Failed;
use super::in_order::{Work, cores, in_order};
use super::next::{self, Next};
use super::offer::Offer;
use super::output::{Terminal, Tone};
use super::project::{self, Libraries, TaskPath};
use super::{Stop, again, attributes, checked, exit, interrupt, tasks, typos};

/// The arguments of `run`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gatedrun run                              the canonical task, into runs/canonical/v1\n  gatedrun run tasks/canonical/v1.json      a task of this project\n  gatedrun run tasks/canonical/v1.json --seed 1 --out seed-1"
)]
pub struct Args {
    /// Task files, or folders of tasks. If none is named: tasks/canonical/v1.json, or the built-in copy
    /// in a folder without tasks
    #[arg(value_name = "TASK or FOLDER")]
    tasks: Vec<Utf8PathBuf>,
    /// Use this seed instead of the task's own
    #[arg(long, value_name = "N", value_parser = typos::seed, allow_negative_numbers = true)]
    seed: Option<u64>,
    /// Write the run to this folder instead of runs/ID
    #[arg(long, value_name = "FOLDER")]
    out: Option<Utf8PathBuf>,
    /// Replace an existing run instead of writing a proposal beside it (never in CI)
    #[arg(long)]
    accept: bool,
    /// Discard an interrupted run of the task and start again
    #[arg(long)]
    discard_partial: bool,
    /// Run up to N tasks in parallel; the output keeps the order of the tasks [default: one per core]
    #[arg(long, value_name = "N", value_parser = typos::jobs, allow_negative_numbers = true)]
    jobs: Option<NonZero<usize>>,
    /// Print the outcomes as JSON, one line per run
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, JsonSchema, Serialize)]
pub(super) struct Line<'a> {
    task: &'a str,
    #[schemars(with = "Option<String>")]
    run: Option<&'a Utf8Path>,
    verdict: &'static str,
    unmet: &'a [String],
    isolation: &'static str,
    outcome: Option<Outcome>,
}

pub(super) fn main(args: &Args, terminal: &mut Terminal) -> Result<u8, Stop> {
    if args.accept {
        refuse_in_ci("--accept: nothing can be accepted")?;
    }
    if let Some(out) = &args.out {
        place::check_folder(out)?;
    }
    let tasks: Vec<tasks::Named> = match args.tasks.as_slice() {
        [] => vec![Ok(tasks::default_task()?)],
        named => tasks::named(named)?,
    };
    if args.out.is_some() && tasks.len() > 1 {
        return Err(Stop::usage(
            "--out: only one task can be run at a time, or the runs would overwrite each other; name one task",
        ));
    }
    probe()?;
    let interrupt = interrupt::flag()?;
    let progress = terminal.progress();
    let total = tasks.len();
    let threads = if may_meet(&tasks) { 1 } else { args.jobs.map_or_else(cores, NonZero::get) };
    progress.item(tasks.first().map_or("", name), 1, total);
    let (mut code, mut left) = (exit::OK, 0);
    let all = All { args, tasks: &tasks, interrupt: &interrupt };
    in_order(&all, (total, threads), terminal, |number, ran, terminal| {
        progress.item(tasks.get(number + 1).map_or("", name), (number + 2).min(total), total);
        code = match ran {
            None => {
                left += 1;
                code
            }
            Some(Ok(one)) => exit::worse(code, one),
            Some(Err(stop)) if total == 1 => return Err(stop),
            // One that cannot be run hides no other.
            Some(Err(stop)) => {
                terminal.stop(&stop);
                exit::worse(code, stop.code)
            }
        };
        Ok(())
    })?;
    if left > 0 {
        let tasks = counted(left, "task was", "tasks were");
        let message = format!("interrupted: {tasks} not run; repeat the command for them");
        let stop = Stop { message, code: exit::INTERRUPTED };
        terminal.stop(&stop);
        code = exit::worse(code, stop.code);
    }
    Ok(code)
}

fn name(task: &tasks::Named) -> &str {
    task.as_ref().map_or("", |task| &task.path)
}

/// Whether the runs of two tasks may have one place: then they come one after the other. Of a task
/// that does not lie in `tasks/` only its id says the place.
fn may_meet(tasks: &[tasks::Named]) -> bool {
    let mut seen = HashSet::new();
    let mut named = tasks.iter().flatten();
    named.any(|task| !task.path.starts_with("tasks/") || !seen.insert(&task.path))
}

/// The tasks of one command.
struct All<'a> {
    args: &'a Args,
    tasks: &'a [tasks::Named],
    interrupt: &'a AtomicBool,
}

impl Work for All<'_> {
    type Shared = Libraries;
    /// `None` where a signal has ended the command before.
    type Result = Option<Result<u8, Stop>>;

    fn shared(&self) -> Libraries {
        Libraries::default()
    }

    fn piece(
        &self,
        number: usize,
        libraries: &mut Libraries,
        terminal: &mut Terminal,
    ) -> Self::Result {
        if self.interrupt.load(Ordering::Relaxed) {
            return None;
        }
        let task = self.tasks.get(number)?;
        Some(task.clone().and_then(|task| {
            let library = libraries.get(&task.project);
            let inputs = library.load(&task.path, self.args.seed)?;
            run_one(self.args, &task, (&inputs, &library), self.interrupt, terminal)
        }))
    }
}

fn run_one(
    args: &Args,
    task: &TaskPath,
    (inputs, library): (&Inputs, &Library),
    interrupt: &AtomicBool,
    terminal: &mut Terminal,
) -> Result<u8, Stop> {
    let id = &inputs.task.id;
    if inputs.task.llm.is_outside() {
        return Err(Stop::usage(format!(
            "{}: /llm: another program proposes the calls of this task, so `gatedrun run` cannot run it; run it from that program with the library's `gatedrun::Session`, or give the task a script",
            library.typed(&task.path)
        )));
    }
    let home = project::runs(&task.project)?.join(id);
    let target = args.out.clone().unwrap_or_else(|| home.clone());
    // A task's own place is that, also where it was named.
    let is_home = place::is_one_place(&target, &home);
    let next = Next::of(&target, task, id, args.seed);
    // In the place of its own task a run replaces whatever is there.
    if args.accept && !is_home {
        refuse_other_task(id, &target)?;
    }
    if !is_home {
        let refused = place::check_elsewhere(&target);
        refused.map_err(|error| Stop::usage(format!("{error}, or leave --out out")))?;
    }
    let of_other_seed = of_other_seed(args, task, library, (&target, is_home))?;
    if let (true, Some(seed), Some(why)) = (args.accept && is_home, args.seed, &of_other_seed) {
        return Err(Stop::usage(format!("--accept with --seed {seed}: {why}")));
    }
    let of_other_version = origin::other_version(&target).map(|what| format!("{target}/{what}"));
    if let Some(what) = of_other_version.as_ref().filter(|_| args.accept) {
        return Err(Stop { message: what.clone(), code: exit::MALFORMED });
    }
    let mut staging =
        Staging::begin(&target, args.discard_partial).map_err(|error| unwritable(error, &next))?;
    print_head(inputs, args.json, terminal)?;
    if let Some(rewritten) = project::rewritten(&target, library) {
        terminal.note(&format!("  warning: {}", escape(&rewritten)));
    }
    // What a human settled in the run that is there cannot be found out by executing again.
    let recovery = again::settled_in(&target);
    let course = Course { interrupt: Some(interrupt), recovery, ..Course::fresh() };
    let done = match execute(
        inputs,
        &mut staging,
        course,
        Begun::default(),
        &terminal.progress(),
        (!args.json).then_some(&mut *terminal),
    ) {
        Ok(done) => done,
        Err(failed) => {
            // A script that does not fit its task leaves nothing that is worth keeping.
            if !failed.is_resumable() {
                staging.remove()?;
            }
            return Err(failed.stop(inputs, &target, Some(&next)));
        }
    };
    let wants = Wants {
        accept: args.accept,
        json: args.json,
        // A run that nobody asked to put elsewhere is evidence-to-be, and CI cannot make evidence.
        may_create: !is_home || !in_ci(),
        unacceptable: of_other_version.or(of_other_seed),
        next: Some(&next),
    };
    conclude(inputs, &target, staging, &done, &wants, terminal)
}

/// Refuses to put a run in the place of another task's.
fn refuse_other_task(id: &str, target: &Utf8Path) -> Result<(), Stop> {
    match place::started(target) {
        Some(there) if there.task != id => Err(Stop::usage(format!(
            "--accept: {target} holds a run of the task {:?}, and this is one of {id:?}; name another folder with --out",
            there.task
        ))),
        _ => Ok(()),
    }
}

/// Why a run of another seed cannot be put in the place of the committed run: `check` would make that
/// of the task's seed.
fn of_other_seed(
    args: &Args,
    task: &TaskPath,
    library: &Library,
    (target, is_home): (&Utf8Path, bool),
) -> Result<Option<String>, Stop> {
    let (Some(asked), Some(there)) = (args.seed, again::seed_of(target)) else { return Ok(None) };
    let own = library.load(&task.path, None)?.task.seed;
    if asked == there || (asked == own && is_home) {
        return Ok(None);
    }
    let is_builtin = task.path.starts_with(BUILTIN) || *library.root() == Root::Builtin;
    let other = "name another folder with --out";
    Ok(Some(match is_home {
        true if is_builtin => {
            format!("the run in {target} has seed {there}, and the task has seed {own}; {other}")
        }
        true => format!(
            "the run in {target} has seed {there}, and the task has seed {own}; change `seed` in {}, or {other}",
            task.path
        ),
        // Nothing is accepted there.
        false if in_ci() => format!("the run in {target} has seed {there}; {other}"),
        false => format!(
            "the run in {target} has seed {there}; repeat the command with --accept, or {other}"
        ),
    }))
}

/// Why a run cannot be begun; where the place stands in the way, that it can be elsewhere.
fn unwritable(error: WriteError, next: &Next) -> Stop {
    if let WriteError::Partial { partial, .. } = &error {
        let Next { resume, over } = next;
        if place::is_outside(partial) {
            return Stop::usage(format!(
                "{error}, whose calls came from another program; start over with `{over}`"
            ));
        }
        return Stop::usage(format!(
            "{error}; resume it with `{resume}`, or start over with `{over}`"
        ));
    }
    let is_of_the_place = error.is_of_the_place();
    let Stop { mut message, code } = Stop::from(error);
    if is_of_the_place {
        message.push_str(", or name another folder with --out");
    }
    Stop { message, code }
}

/// Prints what is run.
pub(super) fn print_head(inputs: &Inputs, json: bool, terminal: &mut Terminal) -> Result<(), Stop> {
    if json {
        return Ok(());
    }
    let id = terminal.paint(Tone::Strong, &inputs.task.id);
    Ok(terminal.detail(&format!("{id}  {}", escape(&inputs.task.question)))?)
}

/// What the user of a run asked for.
pub(super) struct Wants<'a> {
    pub(super) accept: bool,
    pub(super) json: bool,
    pub(super) may_create: bool,
    /// Why the run could not be accepted as a proposal.
    pub(super) unacceptable: Option<String>,
    /// How to continue where it cannot be put there.
    pub(super) next: Option<&'a Next>,
}

/// Puts a finished run where it belongs, and says how it went.
pub(super) fn conclude(
    inputs: &Inputs,
    target: &Utf8Path,
    staging: Staging,
    done: &Done,
    wants: &Wants<'_>,
    terminal: &mut Terminal,
) -> Result<u8, Stop> {
    let id = &inputs.task.id;
    let Done { summary, observed, status } = done;
    let unmet =
        inputs.task.expected.as_ref().map_or_else(Vec::new, |expected| observed.unmet(expected));
    // The run is recorded to its end, and is not made again.
    let unsettled = |error| Failed::Write(error).stop(inputs, target, wants.next);
    let standing = staging.standing().map_err(unsettled)?;
    let settlement = match standing {
        // As where it replaces another run, what was proposed for its place is settled with it.
        Standing::Identical if wants.accept && unmet.is_empty() => Settlement::Confirm,
        Standing::Identical => Settlement::Discard,
        Standing::New if wants.may_create => Settlement::Accept,
        // What the task does not expect replaces nothing, whoever asks for it.
        Standing::Different if wants.accept && unmet.is_empty() => Settlement::Accept,
        Standing::New | Standing::Different => Settlement::Propose,
    };
    let proposal = proposal(target);
    let goes = settlement == Settlement::Confirm && is_folder(&proposal)?;
    let place = staging.settle(settlement).map_err(unsettled)?;
    if goes {
        terminal.note(&format!("  {proposal}: removed; {target} is what the task makes"));
    }
    if has_replaced(target)? {
        match Claim::take(target) {
            Ok(claim) => name_signers(target, &claim, terminal)?,
            // Whoever else changes the run says it.
            Err(WriteError::Locked { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let word = match (standing, settlement) {
        (Standing::Identical, _) => "identical",
        (Standing::New, Settlement::Accept) => "new",
        (Standing::Different, Settlement::Accept) => "accepted",
        (_, _) => "proposed",
    };
    if wants.json {
        let run = place.as_deref().or(Some(target));
        let line = Line {
            task: id,
            run,
            verdict: word,
            unmet: &unmet,
            isolation: status.as_str(),
            outcome: summary.outcome(),
        };
        terminal.json(&line)?;
    } else {
        print_outcome(summary, &unmet, terminal)?;
        terminal.note(&format!("  isolation by the kernel: {}", status.as_str()));
        print_place(target, place.as_deref(), (word, wants.unacceptable.as_deref()), terminal)?;
    }
    if word == "proposed" && standing == Standing::Different && !wants.json {
        checked::print_differences(target, place.as_deref().unwrap_or(target), terminal)?;
    }
    if let Some(place) = &place {
        attributes::warn(place, inputs, terminal);
    }
    let ended = summary.finished.as_ref().map(|finished| finished.terminal_reason);
    Ok(if !unmet.is_empty() || word == "proposed" {
        exit::DRIFT
    } else if inputs.task.expected.is_none() && ended != Some(TerminalReason::FinalAnswer) {
        exit::ENDED
    } else {
        exit::OK
    })
}

/// Says whose signatures go with the runs that were replaced, and removes those. A command that is
/// killed before it has said so leaves them to the next.
pub(super) fn name_signers(
    target: &Utf8Path,
    claim: &Claim,
    terminal: &mut Terminal,
) -> Result<(), Stop> {
    for replaced in claim.replaced()? {
        for key in signers(&replaced)? {
            terminal.note(&format!(
                "  {target}: the signature by key {} was for the replaced run and was removed; sign the new run with `{}`",
                escape(&key),
                next::command("sign", target, " --key KEY")
            ));
        }
        claim.clear(&replaced)?;
    }
    Ok(())
}

fn print_outcome(summary: &Summary, unmet: &[String], terminal: &mut Terminal) -> Result<(), Stop> {
    let Some(outcome) = summary.outcome() else { return Ok(()) };
    let good = outcome.terminal_reason == TerminalReason::FinalAnswer;
    let tone = if good { Tone::Good } else { Tone::Bad };
    let why = outcome
        .rule_id
        .map(|rule| rule.as_str())
        .or(outcome.failure_mode.map(|mode| mode.as_str()));
    terminal.line(&format!(
        "  {}{} after {}: {} allowed, {} denied; {}, {}; {}",
        terminal.paint(tone, outcome.terminal_reason.as_str()),
        why.map_or_else(String::new, |why| format!(" ({why})")),
        counted(outcome.steps, "step", "steps"),
        counted(outcome.calls_allowed, "call", "calls"),
        outcome.calls_denied,
        counted(outcome.attempts, "attempt", "attempts"),
        counted(outcome.retries, "retry", "retries"),
        counted(outcome.usage.total(), "token", "tokens"),
    ))?;
    if let Some(answer) = summary.finished.as_ref().and_then(|finished| finished.answer.as_deref())
    {
        terminal.line(&format!("  answer: {}", escape(answer)))?;
    }
    for unmet in unmet {
        terminal.line(&format!(
            "  {} {}",
            terminal.paint(Tone::Bad, "not as expected:"),
            escape(unmet)
        ))?;
    }
    Ok(())
}

fn print_place(
    target: &Utf8Path,
    place: Option<&Utf8Path>,
    (word, unacceptable): (&str, Option<&str>),
    terminal: &mut Terminal,
) -> Result<(), Stop> {
    let path = place.unwrap_or(target);
    let says = match word {
        "identical" => "identical to the existing run".to_owned(),
        "new" => format!("written; read {path}/{REPORT} first"),
        "accepted" => "replaced the previous run".to_owned(),
        _ if let Some(why) = unacceptable => {
            format!("a proposal that cannot be accepted: {why}")
        }
        _ => {
            let what = match target.exists() {
                true => format!("a proposal beside {target}"),
                false => format!("a proposal; {target} does not exist yet"),
            };
            match Offer::of(target) {
                Offer::Acceptable(command) => format!("{what}; review it with `{command}`"),
                Offer::Unacceptable(why) => format!("{what}; {why}"),
            }
        }
    };
    Ok(terminal.line(&escape(&format!("  {path}: {says}")))?)
}
