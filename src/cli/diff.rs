//! `gatedrun diff`: two runs beside each other.

use camino::{Utf8Path, Utf8PathBuf};

use crate::evidence::diff::{CallView, Diff, Difference, FileDifference, StepPair, StepView, diff};
use crate::evidence::text::{shortened, terminal as escape};
use crate::ledger::is_of_another_version;

use super::found::named_run;
use super::next;
use super::output::{COLUMNS_MAX, Terminal, Tone, differing};
use super::{Stop, exit};

/// From this width on, two runs fit side by side.
const WIDE_COLUMNS: usize = 120;

/// The arguments of `diff`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gatedrun diff runs/canonical/v1 runs/canonical/v1.new\n  gatedrun diff before after --json | jq .outcome"
)]
pub struct Args {
    /// The first run folder
    #[arg(value_name = "A")]
    a: Utf8PathBuf,
    /// The second run folder
    #[arg(value_name = "B")]
    b: Utf8PathBuf,
    /// Print the differences as one JSON object
    #[arg(long)]
    json: bool,
    /// Columns of the output, 20 to 1000; those of the terminal if not given
    #[arg(long, value_name = "COLUMNS", value_parser = columns)]
    width: Option<u64>,
}

/// Reads a width.
fn columns(text: &str) -> Result<u64, String> {
    let width = text.parse().ok().filter(|width| (20..=COLUMNS_MAX as u64).contains(width));
    width.ok_or_else(|| format!("a whole number from 20 to {COLUMNS_MAX} is expected"))
}

pub(super) fn main(args: &Args, terminal: &mut Terminal) -> Result<u8, Stop> {
    let (a, b) = (named_run(&args.a)?.folder, named_run(&args.b)?.folder);
    let found = diff(&a, &b).map_err(|unread| {
        if unread.is_host {
            return Stop::host(unread);
        }
        let run = if unread.path.starts_with(&a) { &a } else { &b };
        let message = match is_of_another_version(&unread.what) {
            true => unread.to_string(),
            false => format!("{unread}; see `{}`", next::verify(run)),
        };
        Stop { message, code: exit::MALFORMED }
    })?;
    if args.json {
        terminal.json(&found)?;
    } else {
        let width = args.width.and_then(|width| usize::try_from(width).ok());
        let width = width.unwrap_or_else(|| terminal.columns());
        print_diff(&a, &b, &found, width, terminal)?;
    }
    Ok(if found.is_empty() { exit::OK } else { exit::DRIFT })
}

/// Prints how two runs differ.
pub(super) fn print_diff(
    a: &Utf8Path,
    b: &Utf8Path,
    diff: &Diff,
    width: usize,
    terminal: &mut Terminal,
) -> Result<(), Stop> {
    let Some(first) = &diff.first else {
        terminal.line(&format!("{a} and {b}: every event is the same"))?;
        return print_files(&diff.files, terminal);
    };
    let step = first.step.map_or_else(String::new, |step| format!(", step {step}"));
    let kinds = match first.kinds {
        (Some(a), Some(b)) if a == b => a.to_owned(),
        (a, b) => format!("{} against {}", a.unwrap_or("the end"), b.unwrap_or("the end")),
    };
    terminal.line(&format!("first difference: event {}{step}, {kinds}", first.seq))?;
    for difference in &first.fields {
        print_difference("  ", difference, terminal)?;
    }
    terminal.line(&format!("{} {}", terminal.paint(Tone::Bad, "---"), escape(a.as_str())))?;
    terminal.line(&format!("{} {}", terminal.paint(Tone::Good, "+++"), escape(b.as_str())))?;
    for pair in &diff.steps {
        if width >= WIDE_COLUMNS {
            print_wide(pair, width, terminal)?;
        } else {
            print_narrow(pair, terminal)?;
        }
    }
    let (left_a, left_b) = diff.omitted;
    if left_a.max(left_b) > 0 {
        terminal
            .line(&format!("{left_a} and {left_b} more steps: too many to compare step by step"))?;
    }
    if !diff.outcome.is_empty() {
        terminal.line("outcome")?;
        for difference in &diff.outcome {
            print_difference("  ", difference, terminal)?;
        }
    }
    print_files(&diff.files, terminal)
}

/// Prints the files that differ, each with its first difference.
fn print_files(files: &[FileDifference], terminal: &mut Terminal) -> Result<(), Stop> {
    if !files.is_empty() {
        terminal.line("files")?;
    }
    for FileDifference { file, line, byte, a, b } in files {
        let place = match (line, byte) {
            (Some(line), Some(byte)) => format!(", line {line}, byte {byte}"),
            _ => String::new(),
        };
        let what = format!("{file}{place}");
        let difference = Difference { what, a: a.clone(), b: b.clone() };
        print_difference("  ", &difference, terminal)?;
    }
    Ok(())
}

fn print_difference(
    indent: &str,
    difference: &Difference,
    terminal: &mut Terminal,
) -> Result<(), Stop> {
    let (a, b) = differing(&difference.a, &difference.b);
    terminal.line(&format!("{indent}{}", escape(&difference.what)))?;
    let old = terminal.paint(Tone::Bad, &format!("- {a}"));
    terminal.line(&format!("{indent}  {old}"))?;
    let new = terminal.paint(Tone::Good, &format!("+ {b}"));
    Ok(terminal.line(&format!("{indent}  {new}"))?)
}

fn print_narrow(pair: &StepPair, terminal: &mut Terminal) -> Result<(), Stop> {
    match (&pair.a, &pair.b) {
        (Some(a), Some(b)) if pair.differences.is_empty() => {
            for line in lines(a, Some(b)) {
                terminal.line(&format!("  {line}"))?;
            }
        }
        (Some(a), Some(b)) => {
            let number = numbers(a, Some(b));
            terminal.line(&format!("  {number} {}", terminal.paint(Tone::Strong, "differs")))?;
            for difference in &pair.differences {
                print_difference("      ", difference, terminal)?;
            }
        }
        (Some(a), None) => {
            for line in lines(a, None) {
                terminal.line(&terminal.paint(Tone::Bad, &format!("- {line}")))?;
            }
        }
        (None, Some(b)) => {
            for line in lines(b, None) {
                terminal.line(&terminal.paint(Tone::Good, &format!("+ {line}")))?;
            }
        }
        (None, None) => {}
    }
    Ok(())
}

/// Both runs in a row, the first on the left.
fn print_wide(pair: &StepPair, width: usize, terminal: &mut Terminal) -> Result<(), Stop> {
    let half = width.saturating_sub(3) / 2;
    let side =
        |step: &Option<StepView>| step.as_ref().map_or_else(Vec::new, |step| lines(step, None));
    let (left, right) = (side(&pair.a), side(&pair.b));
    for index in 0..left.len().max(right.len()) {
        let cell = |lines: &[String]| {
            let text =
                shortened(lines.get(index).map_or("", String::as_str), half.saturating_sub(1));
            let blank = half.saturating_sub(text.chars().count());
            format!("{text}{}", " ".repeat(blank))
        };
        let (l, r) = (cell(&left), cell(&right));
        let same = pair.differences.is_empty() && left.get(index) == right.get(index);
        let (l, mark, r) = if same {
            (l, ' ', r)
        } else {
            (terminal.paint(Tone::Bad, &l), '|', terminal.paint(Tone::Good, &r))
        };
        terminal.line(format!("{l} {mark} {r}").trim_end())?;
    }
    // A cell shows the beginning of a value only.
    for difference in &pair.differences {
        print_difference("    ", difference, terminal)?;
    }
    Ok(())
}

fn numbers(a: &StepView, b: Option<&StepView>) -> String {
    match b {
        Some(b) if b.step != a.step => format!("step {} (now {})", a.step, b.step),
        _ => format!("step {}", a.step),
    }
}

fn lines(step: &StepView, other: Option<&StepView>) -> Vec<String> {
    let head = numbers(step, other);
    let mut lines: Vec<String> = step
        .calls
        .iter()
        .enumerate()
        .map(|(index, call)| {
            let head = if index == 0 { head.clone() } else { " ".repeat(head.chars().count()) };
            format!("{head} {}", call_line(call))
        })
        .collect();
    if let Some(answer) = &step.final_answer {
        lines.push(format!("{head} final answer: {}", escape(&shortened(answer, 80))));
    }
    lines
}

fn call_line(call: &CallView) -> String {
    let outcome = match (&call.reason, &call.result) {
        (Some(reason), _) => format!(": {}", escape(&shortened(reason, 60))),
        (None, Some(result)) => format!(" -> {}", escape(&shortened(result, 40))),
        (None, None) => String::new(),
    };
    format!(
        "{} {} {}{outcome}",
        escape(&shortened(&call.tool, 40)),
        escape(&shortened(&call.arguments, 60)),
        call.decision
    )
}
