//! Runs replayed from their ledgers.

use camino::Utf8Path;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::output::{Terminal, Tone, differing};
use crate::cli::project;
use crate::cli::tasks::task_of;
use crate::cli::{Stop, exit};
use crate::evidence::compare::differing_fields;
use crate::evidence::text::{counted, terminal as escape};
use crate::policy::path::probe;
use crate::replay::{Diverged, Place, Replay, as_record, replay_watched};

use super::named::{Args, Loader, in_place, named_runs};

/// What `--json` prints of a replay.
#[derive(Debug, JsonSchema, Serialize)]
pub(in crate::cli) struct Line<'a> {
    #[schemars(with = "String")]
    run: &'a Utf8Path,
    verdict: &'static str,
    file: Option<&'static str>,
    seq: Option<u64>,
    step: Option<u64>,
    kind: Option<&'static str>,
    fields: Vec<Field>,
    line: Option<u64>,
    cause: Option<&'a str>,
    message: Option<String>,
}

impl<'a> Line<'a> {
    fn of(run: &'a Utf8Path, verdict: &'static str) -> Self {
        let (file, seq, step, kind, line, cause, message) =
            (None, None, None, None, None, None, None);
        Self { run, verdict, file, seq, step, kind, fields: Vec::new(), line, cause, message }
    }
}

/// A member in which the recorded event and the one that it comes to differ, in JSON.
#[derive(Debug, JsonSchema, Serialize)]
struct Field {
    pointer: String,
    recorded: String,
    now: String,
}

pub(super) fn replay_all(args: &Args, terminal: &mut Terminal) -> Result<u8, Stop> {
    probe()?;
    let mut loader = Loader::default();
    let mut code = exit::OK;
    let runs = named_runs(args, terminal)?;
    let is_one = runs.len() == 1;
    let progress = terminal.progress();
    for (run, number) in runs.iter().zip(1..) {
        let (run, loaded) = match run {
            Ok(run) => {
                let task = in_place(run, args.task.as_deref());
                (run, task.and_then(|task| loader.load(run, task)))
            }
            Err((path, stop)) => (path, Err(Stop { message: stop.message.clone(), ..*stop })),
        };
        let inputs = match loaded {
            Ok(inputs) => inputs,
            // One that cannot be run again does not hide the results of the others.
            Err(Stop { message, code: failed }) => {
                if args.json {
                    let line = Line { message: Some(message), ..Line::of(run, "failed") };
                    terminal.json(&line)?;
                } else {
                    terminal.refusal(run, "failed", &message)?;
                }
                code = exit::worse(code, failed);
                continue;
            }
        };
        progress.item(run, number, runs.len());
        let mut replayed = replay_watched(run, inputs, |_| progress.event());
        if let Replay::Diverged(diverged) = &mut replayed
            && let Ok((project, _)) = task_of(run, args.task.as_deref())
            && let Some(what) = project::rewritten(run, &loader.libraries.get(&project))
        {
            diverged.cause = what;
        }
        if args.json {
            print_json(run, &replayed, terminal)?;
        } else {
            print_replay(run, &replayed, terminal)?;
        }
        // What cannot be read at all weighs more than what differs.
        code = match replayed {
            Replay::Unreadable(_) => exit::worse(code, exit::MALFORMED),
            Replay::Host(_) => exit::worse(code, exit::HOST),
            Replay::Identical => code,
            Replay::Diverged(_) | Replay::Incomplete(_) => exit::worse(code, exit::DRIFT),
        };
    }
    if !args.json && !is_one {
        terminal.line(&format!("{} replayed", counted(runs.len(), "run", "runs")))?;
    }
    Ok(code)
}

fn word(replayed: &Replay) -> &'static str {
    match replayed {
        Replay::Identical => "identical",
        Replay::Diverged(_) => "diverged",
        Replay::Incomplete(_) => "incomplete",
        Replay::Unreadable(_) | Replay::Host(_) => "unreadable",
    }
}

fn print_json(run: &Utf8Path, replayed: &Replay, terminal: &mut Terminal) -> Result<(), Stop> {
    let mut line = Line::of(run, word(replayed));
    match replayed {
        Replay::Identical => {}
        Replay::Incomplete(what) | Replay::Unreadable(what) => line.message = Some(what.clone()),
        Replay::Host(fault) => line.message = Some(fault.to_string()),
        Replay::Diverged(Diverged { at, cause }) => {
            line.cause = Some(cause);
            match at {
                Place::Event(divergence) => {
                    line.seq = Some(divergence.recorded.seq);
                    line.step = divergence.recorded.step.or(divergence.step);
                    line.kind = Some(divergence.recorded.event.kind());
                    let fields = differing_fields(&divergence.recorded, &as_record(divergence));
                    let field = |(pointer, recorded, now)| Field { pointer, recorded, now };
                    line.fields = fields.into_iter().map(field).collect();
                }
                Place::File(name, difference) => {
                    line.file = Some(name);
                    line.line = Some(difference.line);
                }
                Place::Reply(what) => line.message = Some(what.clone()),
            }
        }
    }
    Ok(terminal.json(&line)?)
}

fn print_replay(run: &Utf8Path, replayed: &Replay, terminal: &mut Terminal) -> Result<(), Stop> {
    let tone = if matches!(replayed, Replay::Identical) { Tone::Good } else { Tone::Bad };
    let verdict = terminal.paint(tone, word(replayed));
    let name = escape(run.as_str());
    let (at, cause) = match replayed {
        Replay::Identical => return Ok(terminal.line(&format!("{name}: {verdict}"))?),
        Replay::Incomplete(what) | Replay::Unreadable(what) => {
            return Ok(terminal.refusal(run, word(replayed), what)?);
        }
        Replay::Host(fault) => {
            return Ok(terminal.refusal(run, word(replayed), &fault.to_string())?);
        }
        Replay::Diverged(Diverged { at, cause }) => (at, cause),
    };
    match at {
        Place::Event(divergence) => {
            let (recorded, now) = (&divergence.recorded, as_record(divergence));
            let step = recorded.step.or(now.step);
            terminal.line(&format!(
                "{name}: {verdict} at event {}{}, {}",
                recorded.seq,
                step.map_or_else(String::new, |step| format!(", step {step}")),
                recorded.event.kind()
            ))?;
            for (pointer, was, is) in differing_fields(recorded, &now) {
                terminal.line(&format!("    {}", escape(&pointer)))?;
                let (was, is) = differing(&was, &is);
                terminal.line(&format!("      recorded {was}"))?;
                terminal.line(&format!("      now      {is}"))?;
            }
        }
        Place::File(file, difference) => {
            terminal.line(&format!("{name}: {verdict} in {file}, line {}", difference.line))?;
        }
        Place::Reply(what) => terminal.line(&format!("{name}: {verdict}: {}", escape(what)))?,
    }
    Ok(terminal.line(&format!("  likely cause: {}", escape(cause)))?)
}
