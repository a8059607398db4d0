//! `gatedrun policy check`: every finding and warning of a policy, with the line that it is about.

use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::output::{Terminal, Tone};
use crate::cli::{Stop, exit};
use crate::evidence::text::{counted, terminal as escape};
use crate::inputs::read_file;
use crate::policy::spec::Policy;
use crate::policy::warnings;
use crate::problem::{Problem, SHOWN_MAX, one_line};

use super::loaded::{Named, read};

/// The arguments of `policy check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    named: Named,
    /// Print the findings and warnings as JSON
    #[arg(long)]
    json: bool,
    /// Exit with 1 if there are warnings
    #[arg(long)]
    deny_warnings: bool,
}

pub(super) fn check(args: &Args, terminal: &mut Terminal) -> Result<u8, Stop> {
    let problems = match read(&args.named) {
        Ok((policy, document, contracts)) => {
            let file = args.named.policy.as_str();
            let warnings = warnings::of(file, &policy, &document, &contracts);
            good(args, &policy, &warnings, terminal)?;
            let is_denied = args.deny_warnings && !warnings.is_empty();
            return Ok(if is_denied { exit::DRIFT } else { exit::OK });
        }
        // What the machine did not read has no findings.
        Err(problems) if problems.0.iter().any(|problem| problem.is_host) => {
            return Err(problems.into());
        }
        Err(problems) => problems,
    };
    let all = problems.0.len();
    if args.json {
        const LISTED_MAX: usize = 100;
        let listed: Vec<_> = problems.in_order().into_iter().take(LISTED_MAX).collect();
        let omitted = all.saturating_sub(LISTED_MAX);
        let (policy_version, examples) = (None, None);
        let warnings = &[];
        terminal.json(&Checked {
            policy_version,
            examples,
            findings: listed,
            findings_omitted: omitted,
            warnings,
        })?;
        return Ok(exit::USAGE);
    }
    let source = source(&args.named);
    let mut message = String::new();
    for problem in problems.in_order().into_iter().take(SHOWN_MAX) {
        message.push_str(&format!("{}\n", one_line(&problem.to_string())));
        // A contract has findings too, and lines of its own.
        let is_of_policy = problem.file == args.named.policy.as_str();
        for line in excerpt(&source, &problem.at).iter().filter(|_| is_of_policy) {
            message.push_str(&format!("{line}\n"));
        }
    }
    if let more @ 1.. = all.saturating_sub(SHOWN_MAX) {
        message.push_str(&format!("and {more} more\n"));
    }
    message.push_str(&counted(all as u64, "finding", "findings"));
    Err(Stop::lines(message))
}

/// The text of the policy, for excerpts.
fn source(named: &Named) -> String {
    let source = read_file(&named.policy, named.policy.as_str()).unwrap_or_default();
    String::from_utf8_lossy(&source).into_owned()
}

/// Prints what is said of a policy that can be loaded.
fn good(
    args: &Args,
    policy: &Policy,
    warnings: &[Problem],
    terminal: &mut Terminal,
) -> Result<(), Stop> {
    let examples: usize = policy.examples.iter().map(|e| e.allow.len() + e.deny.len()).sum();
    if args.json {
        return Ok(terminal.json(&Checked {
            policy_version: Some(&policy.version),
            examples: Some(examples),
            findings: Vec::new(),
            findings_omitted: 0,
            warnings,
        })?);
    }
    let source = if warnings.is_empty() { String::new() } else { source(&args.named) };
    for warning in warnings {
        terminal.line(&format!("{}: {warning}", terminal.paint(Tone::Strong, "warning")))?;
        for line in excerpt(&source, &warning.at) {
            terminal.line(&line)?;
        }
    }
    let held = match examples {
        1 => "1 example holds".to_owned(),
        _ => format!("{examples} examples hold"),
    };
    let warned = match warnings.len() {
        0 => String::new(),
        count => format!(", {}", counted(count as u64, "warning", "warnings")),
    };
    Ok(terminal.line(&format!(
        "{}: {}, version {}, {held}{warned}",
        args.named.policy,
        terminal.paint(Tone::Good, "valid"),
        policy.version,
    ))?)
}

/// The line that a place names, with a mark under its column.
fn excerpt(source: &str, at: &str) -> Vec<String> {
    let number = |word: &str| -> Option<usize> {
        let rest = at.split(word).nth(1)?.trim_start();
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    let Some(line) = number("line") else { return Vec::new() };
    let Some(text) = source.lines().nth(line.saturating_sub(1)) else { return Vec::new() };
    let column = number("column").unwrap_or(1).max(1);
    let margin = " ".repeat(line.to_string().len());
    // Of a long line, what stands around the column.
    let skipped = column.saturating_sub(EXCERPT_CHARS_MAX / 2).min(column - 1);
    let shown: String = text.chars().skip(skipped).take(EXCERPT_CHARS_MAX).collect();
    vec![
        format!("  {margin} |"),
        format!("  {line} | {}", escape(&shown)),
        format!("  {margin} | {}^", " ".repeat(column - 1 - skipped)),
    ]
}

/// How much of a line an excerpt shows, in characters.
const EXCERPT_CHARS_MAX: usize = 160;

/// What `check --json` prints.
#[derive(Debug, JsonSchema, Serialize)]
pub(in crate::cli) struct Checked<'a> {
    /// The version of the policy; null if it cannot be loaded.
    policy_version: Option<&'a str>,
    /// How many examples hold; null if the policy cannot be loaded.
    examples: Option<usize>,
    /// What must be fixed before the policy can be loaded.
    findings: Vec<&'a Problem>,
    /// How many more findings there are.
    findings_omitted: usize,
    /// What is valid but probably not intended.
    warnings: &'a [Problem],
}
