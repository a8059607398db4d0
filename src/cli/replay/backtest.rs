//! Another policy tried on runs.

use std::fmt::Write as _;

use camino::{Utf8Path, Utf8PathBuf};

use crate::cli::output::{Terminal, Tone};
use crate::cli::scratch::Scratch;
use crate::cli::tasks::task_of;
use crate::cli::{Stop, exit, report};
use crate::event::Ruling;
use crate::evidence::open::Folder;
use crate::evidence::text::{counted, shortened, terminal as escape};
use crate::evidence::verify::{Verdict, verify_unsigned};
use crate::inputs::{Library, Root};
use crate::policy::path::probe;
use crate::problem::{Problem, Problems};
use crate::replay::backtest::{Untried, backtest};
use crate::replay::tried::{Counts, Refused, Requirement, Tested, Told, Tried, tested, unmatched};

use super::super::next;
use super::named::{Args, Loader, Named, named_runs};

pub(super) fn backtest_all(
    args: &Args,
    policy: &Utf8Path,
    terminal: &mut Terminal,
) -> Result<u8, Stop> {
    if !args.recorded_only {
        probe()?;
    }
    let required = args.require.iter().map(|text| Requirement::parse(text));
    let required = required.collect::<Result<Vec<_>, _>>().map_err(Stop::usage)?;
    let outputs = report::Outputs::of(args.junit.as_deref(), args.sarif.as_deref(), &[policy])?;
    let mut trial = Trial {
        args,
        policy,
        required,
        loader: Loader::default(),
        here: Library::new(Root::Folder(Utf8PathBuf::new())),
        scratch: Scratch::new()?,
        executed: 0,
        tried: Vec::new(),
    };
    let mut code = exit::OK;
    let runs = named_runs(args, terminal)?;
    let (progress, total) = (terminal.progress(), runs.len());
    for (found, number) in runs.into_iter().zip(1..) {
        progress.item(found.as_ref().unwrap_or_else(|(path, _)| path), number, total);
        let one = trial.one(found)?;
        code = exit::worse(
            code,
            match &one {
                Tried::Tested(tested) if tested.is_red() => exit::DRIFT,
                Tried::Tested(_) => exit::OK,
                Tried::Refused(refused) => refused.code,
            },
        );
        match &one {
            one if args.json => terminal.json(one)?,
            Tried::Tested(tested) => print_tested(tested, terminal)?,
            Tried::Refused(refused) => {
                terminal.refusal(&refused.run, refused.verdict, &refused.message)?;
            }
        }
        trial.tried.push(one);
    }
    let Trial { tried, required, .. } = trial;
    if !args.json {
        print_sums(policy, &tried, &required, terminal)?;
    }
    // Nothing checked is never green.
    let unmatched = unmatched(&tried, &required);
    for requirement in &unmatched {
        let message = format!("--require {requirement}: {}", requirement.unmatched());
        terminal.stop(&Stop { message, code: exit::DRIFT });
        code = exit::worse(code, exit::DRIFT);
    }
    let suite = report::backtest(policy, &tried, &unmatched);
    suite.write(outputs)?;
    Ok(code)
}

/// A policy tried on runs, one after the other.
struct Trial<'a> {
    args: &'a Args,
    policy: &'a Utf8Path,
    required: Vec<Requirement>,
    loader: Loader,
    here: Library,
    scratch: Scratch,
    /// How many folders of it were used.
    executed: u64,
    tried: Vec<Tried>,
}

fn refused(run: &Utf8Path, verdict: &'static str, message: String, code: u8) -> Tried {
    Tried::Refused(Refused { run: run.to_owned(), verdict, message, code })
}

impl Trial<'_> {
    /// Tries the policy on a run. One on which it cannot be tried hides no other's result.
    fn one(&mut self, found: Named) -> Result<Tried, Stop> {
        match found {
            // What it is tried on is one run, whatever is put in its place meanwhile.
            Ok(run) => Folder::read_steady(&run, || self.once(run.clone()))
                .unwrap_or_else(|error| Err(Stop::host(format!("{run}: {error}")))),
            Err((path, stop)) => Ok(refused(&path, "failed", stop.message, stop.code)),
        }
    }

    fn once(&mut self, run: Utf8PathBuf) -> Result<Tried, Stop> {
        let loaded =
            task_of(&run, self.args.task.as_deref()).and_then(|task| self.loader.load(&run, task));
        let inputs = match loaded {
            Ok(inputs) => inputs,
            Err(stop) => return Ok(refused(&run, "failed", stop.message, stop.code)),
        };
        if let Some((verdict, message, code)) = unsound(&run) {
            return Ok(refused(&run, verdict, message, code));
        }
        let before = match self.here.replace_policy(inputs, self.policy.as_str()) {
            Ok(before) => before,
            // Where it could be loaded for another run, it is this run's contracts that do not fit.
            Err(problems) if tested(&self.tried).next().is_some() => {
                return Ok(refused(&run, "failed", problems.to_string(), exit::USAGE));
            }
            Err(Problems(problems)) => {
                let named = |problem: Problem| problem.or_remedy("name a policy file");
                return Err(Problems(problems.into_iter().map(named).collect()).into());
            }
        };
        self.executed += 1;
        let work = (!self.args.recorded_only).then(|| self.scratch.folder(self.executed));
        let work = work.transpose()?.map(|work| work.folder);
        let result = backtest(&run, inputs, &before, work);
        inputs.policy = before;
        Ok(match result {
            Ok(test) => Tried::Tested(Tested::new(run, test, &self.required)),
            Err(error @ Untried::OtherTask(_)) => {
                refused(&run, "failed", error.to_string(), exit::USAGE)
            }
            Err(error @ Untried::Unreadable(_)) => {
                refused(&run, "unreadable", error.to_string(), exit::MALFORMED)
            }
            Err(error @ Untried::Host { .. }) => {
                refused(&run, "failed", error.to_string(), exit::HOST)
            }
        })
    }
}

/// What is wrong with a run's evidence, if it is: then nothing is blamed on a policy.
fn unsound(run: &Utf8Path) -> Option<(&'static str, String, u8)> {
    let found = verify_unsigned(run, None);
    let (word, code) = match found.verdict {
        // Without a project no input is available, and none is required.
        Verdict::Verified | Verdict::Unconfirmed | Verdict::InputsDiffer => return None,
        Verdict::Malformed => ("unreadable", exit::MALFORMED),
        Verdict::Unread => ("unreadable", exit::HOST),
        other => (other.as_str(), exit::DRIFT),
    };
    let first = found.findings.iter().find(|finding| finding.verdict == found.verdict);
    let what = first.map_or_else(String::new, |finding| {
        let line = finding.line.map_or_else(String::new, |line| format!(", line {line}"));
        format!("{}{line}: {}; ", finding.file, finding.what)
    });
    Some((word, format!("{what}see `{}`", next::verify(run)), code))
}

fn print_sums(
    policy: &Utf8Path,
    tried: &[Tried],
    required: &[Requirement],
    terminal: &mut Terminal,
) -> Result<(), Stop> {
    let runs = tested(tried).count();
    let mut counts = Counts::default();
    let (mut decisions, mut touched, mut lost) = (0, 0, 0);
    for one in tested(tried) {
        counts += one.counts;
        decisions += one.test.decisions;
        touched += usize::from(one.test.from_step.is_some());
        lost += one.lost.len();
    }
    let mut sums = format!(
        "{}, {} under {policy}; runs that differ: {touched}; {counts}",
        counted(runs, "run", "runs"),
        counted(decisions, "decision", "decisions"),
    );
    if !required.is_empty() {
        let _ = write!(sums, "; required and lost: {lost}");
    }
    if runs < tried.len() {
        let _ = write!(sums, "; runs that could not be tested: {}", tried.len() - runs);
    }
    Ok(terminal.line(&sums)?)
}

fn print_tested(tested: &Tested, terminal: &mut Terminal) -> Result<(), Stop> {
    let test = &tested.test;
    let changes = match test.changes.len() {
        0 if tested.test.from_step.is_some() => "no decision changes".to_owned(),
        0 => "nothing changes".to_owned(),
        some => counted(some, "decision changes", "decisions change"),
    };
    let tone = if tested.is_red() { Tone::Bad } else { Tone::Strong };
    let standing = tested.standing();
    terminal.line(&format!(
        "{}: {}, {standing}",
        escape(tested.run.as_str()),
        terminal.paint(tone, &changes)
    ))?;
    for Told { change, now, is_lost, is_loosened } in tested.told() {
        let what = change.tool.as_deref().unwrap_or("the run");
        let was = change.was.map_or_else(|| "not decided".to_owned(), |was| was.to_string());
        let loosened = if is_loosened { "  LOOSENED" } else { "" };
        let lost = if is_lost { "  (required)" } else { "" };
        let tone = if is_loosened || is_lost { Tone::Bad } else { Tone::Strong };
        terminal.line(&format!(
            "  step {:<3} {:<10} {was} -> {}{loosened}{lost}",
            change.step,
            escape(&shortened(what, 40)),
            terminal.paint(tone, &now)
        ))?;
        let is_denial = |one: Option<Ruling>| one.is_some_and(Ruling::is_denial);
        let was_denied = is_denial(change.was) && !is_denial(change.now);
        if let Some(reason) = change.recorded_reason.as_deref().filter(|_| was_denied) {
            terminal.line(&format!("           recorded: {}", escape(reason)))?;
        }
        if let Some(reason) = change.reason.as_deref().filter(|_| change.now != Some(Ruling::Allow))
        {
            terminal.line(&format!("           {}", escape(reason)))?;
        }
    }
    for note in &test.notes {
        terminal.line(&format!("  {}", escape(note)))?;
    }
    Ok(())
}
