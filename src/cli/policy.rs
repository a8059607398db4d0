//! `gatedrun policy`: the policy without a run.

use std::io::{self, BufRead};

use camino::Utf8PathBuf;

use crate::contract::Contracts;
use crate::event::ProposedCall;
use crate::evidence::text::terminal as escape;
use crate::inputs::{Library, Project, read_file};
use crate::policy::cases::{self, Judge};
use crate::policy::gate::Standing;
use crate::policy::spec::Policy;
use crate::problem::Problems;

use super::output::{Terminal, Tone};
use super::{Stop, exit};

/// The subcommands of `policy`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Check a policy: everything that is wrong with it, each with its place and how to mend it
    #[command(after_help = "Example: gatedrun policy check policy/v1.yaml")]
    Check(Check),
    /// Judge decision tables with a policy; without a table, the policy's own examples
    #[command(
        after_help = "Example: gatedrun policy test policy/v1.yaml tests/cases/policy/urls.jsonl\n\nA table holds a JSON object a line, such as\n  {\"tool\": \"read\", \"arguments\": {\"path\": \"/etc/passwd\"}, \"decision\": \"deny:sandbox_path\"}"
    )]
    Test(Test),
    /// Decide about the calls of one run: a call as JSON on each line of stdin, a decision on each
    /// line of stdout
    #[command(
        after_help = "Example: echo '{\"tool\": \"fetch\", \"arguments\": {\"url\": \"https://example.com/\"}}' | gatedrun policy decide policy/v1.yaml"
    )]
    Decide(Decide),
    /// Say in words what each rule answers to a call
    #[command(
        after_help = "Example: gatedrun policy explain policy/v1.yaml '{\"tool\": \"read\", \"arguments\": {\"path\": \"/etc/passwd\"}}'"
    )]
    Explain(Explain),
}

/// A policy, and the contracts that it is about.
#[derive(Debug, clap::Args)]
pub struct Named {
    /// The policy
    #[arg(value_name = "FILE")]
    policy: Utf8PathBuf,
    /// The folder of tool contracts
    #[arg(long, value_name = "FOLDER", default_value = "builtin:tools")]
    contracts: String,
}

/// The arguments of `policy check`.
#[derive(Debug, clap::Args)]
pub struct Check {
    #[command(flatten)]
    named: Named,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// The arguments of `policy test`.
#[derive(Debug, clap::Args)]
pub struct Test {
    #[command(flatten)]
    named: Named,
    /// Decision tables
    #[arg(value_name = "CASES")]
    cases: Vec<Utf8PathBuf>,
    /// Print the failures as JSON
    #[arg(long)]
    json: bool,
}

/// The arguments of `policy decide`.
#[derive(Debug, clap::Args)]
pub struct Decide {
    #[command(flatten)]
    named: Named,
}

/// The arguments of `policy explain`.
#[derive(Debug, clap::Args)]
pub struct Explain {
    #[command(flatten)]
    named: Named,
    /// The call, as JSON
    #[arg(value_name = "CALL")]
    call: String,
}

pub(super) fn main(command: &Command, terminal: &mut Terminal) -> Result<u8, Stop> {
    match command {
        Command::Check(args) => check(args, terminal),
        Command::Test(args) => test(args, terminal),
        Command::Decide(args) => decide(args, terminal),
        Command::Explain(args) => explain(args, terminal),
    }
}

/// Loads the policy, its examples checked.
fn load(named: &Named) -> Result<(Policy, std::sync::Arc<Contracts>), Problems> {
    let library = Library::new(Project::Folder(Utf8PathBuf::new()));
    let contracts = library.contracts(&named.contracts)?.0;
    let path = named.policy.as_str();
    let bytes = match path.strip_prefix("builtin:") {
        Some(_) => library.read(path)?,
        None => read_file(&named.policy, path)?,
    };
    let policy = Policy::load(path, &bytes, &contracts)?;
    Ok((policy, contracts))
}

fn check(args: &Check, terminal: &mut Terminal) -> Result<u8, Stop> {
    let problems = match load(&args.named) {
        Ok((policy, _)) => {
            let examples =
                policy.examples.iter().map(|e| e.allow.len() + e.deny.len()).sum::<usize>();
            if args.json {
                let verdict = serde_json::json!({"policy_version": policy.version, "examples": examples, "findings": []});
                terminal.line(&verdict.to_string())?;
            } else {
                terminal.line(&format!(
                    "{}: {}, version {}, {examples} examples hold",
                    args.named.policy,
                    terminal.paint(Tone::Good, "good"),
                    policy.version
                ))?;
            }
            return Ok(exit::OK);
        }
        Err(Problems(problems)) => problems,
    };
    if args.json {
        terminal.line(&serde_json::json!({"findings": problems}).to_string())?;
        return Ok(exit::USAGE);
    }
    let source = std::fs::read_to_string(&args.named.policy).unwrap_or_default();
    let mut message = String::new();
    for problem in &problems {
        message.push_str(&format!("{problem}\n"));
        for line in excerpt(&source, &problem.at) {
            message.push_str(&format!("{line}\n"));
        }
    }
    message.push_str(&format!("{} findings", problems.len()));
    Err(Stop::usage(message))
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
    vec![
        format!("  {margin} |"),
        format!("  {line} | {}", escape(text)),
        format!("  {margin} | {}^", " ".repeat(column - 1)),
    ]
}

fn test(args: &Test, terminal: &mut Terminal) -> Result<u8, Stop> {
    let (policy, contracts) = load(&args.named)?;
    let judge = Judge::new(&policy, &contracts);
    let (mut passed, mut failed) = (0_usize, 0_usize);
    // The examples have held, or the policy would not have loaded.
    passed += policy.examples.iter().map(|e| e.allow.len() + e.deny.len()).sum::<usize>();
    for path in &args.cases {
        for case in cases::read_table(path.as_str(), &read_file(path, path.as_str())?)? {
            match case.judge(&judge) {
                None => passed += 1,
                Some(what) => {
                    failed += 1;
                    let subject = case.subject();
                    let shown = serde_json::json!({"file": path, "note": case.note, "tool": subject.tool, "arguments": subject.arguments, "what": what});
                    if args.json {
                        terminal.line(&shown.to_string())?;
                    } else {
                        terminal.line(&format!(
                            "{path}: {} {} {}: {}",
                            escape(&case.note),
                            escape(subject.tool.as_deref().unwrap_or("run")),
                            escape(&subject.arguments.to_string()),
                            terminal.paint(Tone::Bad, &escape(&what))
                        ))?;
                    }
                }
            }
        }
    }
    if !args.json {
        terminal.line(&format!("{passed} passed, {failed} failed"))?;
    }
    Ok(if failed == 0 { exit::OK } else { exit::DRIFT })
}

/// A call as another program writes it.
fn read_call(text: &str, number: usize) -> Result<ProposedCall, Stop> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Call {
        #[serde(default)]
        call_id: Option<String>,
        tool: String,
        #[serde(default)]
        arguments: serde_json::Value,
    }
    let wrong = |what: String| {
        Stop::usage(format!(
            "call {number}: {what}; write {{\"tool\": \"…\", \"arguments\": {{…}}}}"
        ))
    };
    let value = crate::json::parse(text.as_bytes()).map_err(|error| wrong(error.to_string()))?;
    let call: Call = serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?;
    let call_id = call.call_id.unwrap_or_else(|| format!("call_{number}"));
    Ok(ProposedCall { call_id, tool: call.tool, arguments: call.arguments })
}

fn decide(args: &Decide, terminal: &mut Terminal) -> Result<u8, Stop> {
    const LINE_BYTES_MAX: u64 = 8 * 1024 * 1024;
    let (policy, contracts) = load(&args.named)?;
    let judge = Judge::new(&policy, &contracts);
    let mut gate = judge.gate();
    let mut standing = Standing::default();
    let mut input = io::stdin().lock();
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        let read = io::Read::take(&mut input, LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(exit::OK);
        }
        number += 1;
        let text = String::from_utf8_lossy(&line);
        let call = read_call(text.trim(), number)?;
        let (mut verdict, _) = gate.decide_call(&call, &standing);
        let decided = gate.call_event(&call, &mut verdict);
        standing.totals.calls_allowed += u64::from(decided.rule_id.is_none());
        terminal.json(&decided)?;
    }
}

fn explain(args: &Explain, terminal: &mut Terminal) -> Result<u8, Stop> {
    let (policy, contracts) = load(&args.named)?;
    let judge = Judge::new(&policy, &contracts);
    let call = read_call(&args.call, 1)?;
    let mut denied_by = None;
    for (rule, answer) in judge.gate().explain(&call) {
        let line = match answer {
            Ok(()) => {
                format!("{:<16} {}", rule.as_str(), terminal.paint(Tone::Good, "lets it pass"))
            }
            Err(denied) => {
                denied_by = Some(denied.rule);
                format!(
                    "{:<16} {}: {}",
                    rule.as_str(),
                    terminal.paint(Tone::Bad, "denies"),
                    escape(&denied.reason)
                )
            }
        };
        terminal.line(&line)?;
    }
    let conclusion = match denied_by {
        Some(rule) => format!("denied: {} is the first rule that denies, and decides; the rules after it are not asked", rule.as_str()),
        None => "allowed, unless the run has made this call too often or used up a budget (cycle_detection, loop_budget, progress)".to_owned(),
    };
    terminal.line(&format!("{conclusion}; policy version {}", policy.version))?;
    Ok(exit::OK)
}
