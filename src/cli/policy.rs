//! `gatedrun policy`: the policy without a run.

use std::collections::BTreeMap;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::contract::Contracts;
use crate::corpus::Corpus;
use crate::event::ProposedCall;
use crate::evidence::text::{counted, terminal as escape};
use crate::inputs::{Library, Project, read_file};
use crate::policy::cases::{self, Judge};
use crate::policy::defaults::{self, Setting};
use crate::policy::path::Mount;
use crate::policy::spec::Policy;
use crate::policy::warnings;
use crate::problem::{Problem, Problems, SHOWN_MAX, cut};
use crate::yaml::Document;

use super::output::{Terminal, Tone};
use super::project::Libraries;
use super::{Stop, decide, exit, tasks};

/// The subcommands of `policy`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Check a policy: report every error with its place and how to fix it
    #[command(after_help = "Example: gatedrun policy check policy/v1.yaml")]
    Check(Check),
    /// Test a policy against decision tables, or against its own examples if no table is named
    #[command(
        after_help = "Example: gatedrun policy test policy/v1.yaml tests/cases/policy/urls.jsonl\n\nA table has one JSON object per line, such as\n  {\"tool\": \"read\", \"arguments\": {\"path\": \"/etc/passwd\"}, \"decision\": \"deny:sandbox_path\"}"
    )]
    Test(Test),
    /// Decide the calls of one run: one JSON call per line of stdin, one decision per line of stdout
    ///
    /// Every line gets exactly one answer, in order. A line that is not a call is answered with
    /// "decision": "deny" and "error", and the exit code at the end is 2. "run_ends" says whether the
    /// run has ended; from then on every call is denied for the same reason.
    #[command(
        after_help = "Example: echo '{\"tool\": \"fetch\", \"arguments\": {\"url\": \"https://example.com/\"}}' | gatedrun policy decide policy/v1.yaml"
    )]
    Decide(Decide),
    /// Explain what each rule decides about a call; without a call, print every key of the policy and
    /// its value, stated or default
    #[command(
        after_help = "Examples: gatedrun policy explain policy/v1.yaml\n          gatedrun policy explain policy/v1.yaml '{\"tool\": \"read\", \"arguments\": {\"path\": \"/etc/passwd\"}}'"
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

/// The world of a run: what serves the hosts.
#[derive(Debug, clap::Args)]
pub struct World {
    /// Decide as in a run of this task: its fixtures, contracts and corpus
    #[arg(long, value_name = "FILE", conflicts_with_all = ["contracts", "fixtures"])]
    task: Option<Utf8PathBuf>,
    /// Serve a host from a mount, as in fixtures.local=corpus; may be repeated
    #[arg(long, value_name = "HOST=MOUNT")]
    fixtures: Vec<String>,
}

/// The arguments of `policy check`.
#[derive(Debug, clap::Args)]
pub struct Check {
    #[command(flatten)]
    named: Named,
    /// Print the findings and warnings as JSON
    #[arg(long)]
    json: bool,
    /// Exit with 1 if there are warnings
    #[arg(long)]
    deny_warnings: bool,
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
    #[command(flatten)]
    world: World,
    /// Print errors as JSON too; the decisions always are
    #[arg(long)]
    json: bool,
}

/// The arguments of `policy explain`.
#[derive(Debug, clap::Args)]
pub struct Explain {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    world: World,
    /// The call, as JSON
    #[arg(value_name = "CALL")]
    call: Option<String>,
    /// Print the answer of each rule as JSON; without a call, one line per key
    #[arg(long)]
    json: bool,
}

pub(super) fn main(command: &Command, terminal: &mut Terminal) -> Result<u8, Stop> {
    match command {
        Command::Check(args) => check(args, terminal),
        Command::Test(args) => test(args, terminal),
        Command::Decide(args) => {
            let loaded = load_within(&args.named, &args.world)?;
            decide::serve(&loaded.judge(), std::io::stdin().lock(), terminal)
        }
        Command::Explain(args) => explain(args, terminal),
    }
}

/// Loads the policy, its examples checked.
fn load(named: &Named) -> Result<(Policy, Arc<Contracts>), Problems> {
    read(named).map(|(policy, _, contracts)| (policy, contracts))
}

/// Reads a file that a user named; `remedy` says what to name.
fn named_file(path: &Utf8Path, remedy: &str) -> Result<Vec<u8>, Problem> {
    read_file(path, path.as_str()).map_err(|problem| problem.or_remedy(remedy))
}

/// Loads the policy, with the document that states it.
fn read(named: &Named) -> Result<(Policy, Document, Arc<Contracts>), Problems> {
    let library = Library::new(Project::Folder(Utf8PathBuf::new()));
    let contracts = library.contracts(&named.contracts)?.contracts;
    let path = named.policy.as_str();
    let bytes = match path.strip_prefix("builtin:") {
        Some(_) => library.read(path)?,
        None => named_file(&named.policy, "name a policy file, such as policy/v1.yaml")?,
    };
    let (policy, document) = crate::policy::read(path, &bytes, &contracts)?;
    Ok((policy, document, contracts))
}

/// A policy, and the world that it decides in.
struct Within {
    policy: Policy,
    contracts: Arc<Contracts>,
    fixtures: BTreeMap<String, String>,
    corpus: Option<Arc<Corpus>>,
}

impl Within {
    fn judge(&self) -> Judge<'_> {
        Judge::new(&self.policy, &self.contracts).within(self.fixtures.clone(), self.corpus.clone())
    }
}

/// Loads the policy and the world of a run.
fn load_within(named: &Named, world: &World) -> Result<Within, Stop> {
    if let Some(task) = &world.task {
        let task = tasks::task(task)?;
        let inputs = Libraries::default().get(&task.project).load(&task.path, None)?;
        let path = named.policy.as_str();
        let bytes = match path.strip_prefix("builtin:") {
            Some(_) => Library::new(Project::Folder(Utf8PathBuf::new())).read(path)?,
            None => named_file(&named.policy, "name a policy file, such as policy/v1.yaml")?,
        };
        let policy = crate::policy::load(path, &bytes, &inputs.contracts)?;
        return Ok(Within {
            policy,
            contracts: inputs.contracts,
            fixtures: inputs.task.fixtures,
            corpus: Some(inputs.corpus),
        });
    }
    let (policy, contracts) = load(named)?;
    let mut fixtures = BTreeMap::new();
    for text in &world.fixtures {
        let mounts: Vec<&str> = Mount::ALL.into_iter().map(Mount::as_str).collect();
        let (host, mount) = text.split_once('=').unwrap_or_default();
        if host.is_empty() || !mounts.contains(&mount) {
            let what = match text.contains('=') && !host.is_empty() {
                true => format!("{:?} is not a mount; ", cut(mount)),
                false => String::new(),
            };
            return Err(Stop::usage(format!(
                "--fixtures {:?}: {what}write HOST=MOUNT; the mounts are {}",
                cut(text),
                mounts.join(", ")
            )));
        }
        if let Err((what, fix)) = crate::policy::listed::check_host(host) {
            return Err(Stop::usage(format!("--fixtures {:?}: {what}; {fix}", cut(text))));
        }
        if fixtures.insert(host.to_owned(), mount.to_owned()).is_some() {
            return Err(Stop::usage(format!(
                "--fixtures {:?}: {} is given twice; name one mount for it",
                cut(text),
                cut(host)
            )));
        }
    }
    Ok(Within { policy, contracts, fixtures, corpus: None })
}

fn check(args: &Check, terminal: &mut Terminal) -> Result<u8, Stop> {
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
        message.push_str(&format!("{problem}\n"));
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
    Err(Stop::usage(message))
}

/// The text of the policy, for excerpts.
fn source(named: &Named) -> String {
    let source = read_file(&named.policy, named.policy.as_str()).unwrap_or_default();
    String::from_utf8_lossy(&source).into_owned()
}

/// Prints what is said of a policy that can be loaded.
fn good(
    args: &Check,
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

fn test(args: &Test, terminal: &mut Terminal) -> Result<u8, Stop> {
    let (policy, contracts) = load(&args.named)?;
    let judge = Judge::new(&policy, &contracts);
    let (mut passed, mut failed) = (0_usize, 0_usize);
    // The examples have held, or the policy would not have loaded.
    passed += policy.examples.iter().map(|e| e.allow.len() + e.deny.len()).sum::<usize>();
    if passed == 0 && args.cases.is_empty() {
        return Err(Stop::usage(format!(
            "{}: nothing was tested; name a decision table, or add examples to the policy",
            args.named.policy
        )));
    }
    for path in &args.cases {
        let table = cases::read_table(
            path.as_str(),
            &named_file(path, "name a file with a decision table")?,
        )?;
        if table.is_empty() {
            return Err(Stop::usage(format!(
                "{path}: nothing was tested; the table has no cases; add one per line"
            )));
        }
        for case in table {
            match case.judge(&judge) {
                None => passed += 1,
                Some(what) => {
                    failed += 1;
                    let subject = case.subject();
                    if args.json {
                        terminal.json(&Failed {
                            file: path,
                            line: case.line,
                            note: &case.note,
                            tool: subject.tool.as_deref(),
                            arguments: &subject.arguments,
                            what: &what,
                        })?;
                    } else if failed <= FAILURES_SHOWN_MAX {
                        let note = match case.note.as_str() {
                            "" => String::new(),
                            note => format!("{}: ", escape(&cut(note))),
                        };
                        let judged = match (&subject.tool, &subject.run) {
                            (Some(tool), _) => {
                                format!(
                                    "{} {}",
                                    escape(&cut(tool)),
                                    escape(&cut(&subject.arguments.to_string()))
                                )
                            }
                            (None, used) => {
                                format!("a run that used {}", used.unwrap_or_default().words())
                            }
                        };
                        let what = terminal.paint(Tone::Bad, &escape(&what));
                        terminal.line(&format!("{path}:{}: {note}{judged}: {what}", case.line))?;
                    }
                }
            }
        }
    }
    if !args.json {
        if let more @ 1.. = failed.saturating_sub(FAILURES_SHOWN_MAX) {
            terminal.line(&format!("and {more} more failed; --json prints all of them"))?;
        }
        terminal.line(&format!("{passed} passed, {failed} failed"))?;
    }
    Ok(if failed == 0 { exit::OK } else { exit::DRIFT })
}

/// How many rows that fail are shown.
const FAILURES_SHOWN_MAX: usize = 50;

/// Prints the policy that holds, key by key.
fn effective(args: &Explain, terminal: &mut Terminal) -> Result<u8, Stop> {
    let (policy, document, _) = read(&args.named)?;
    let settings = defaults::settings(&document);
    let width = |of: fn(&Setting) -> &str| {
        let widths = settings.iter().map(|setting| of(setting).chars().count());
        widths.filter(|width| *width <= COLUMN_CHARS_MAX).max().unwrap_or(0)
    };
    let (keys, values) = (width(|setting| &setting.key), width(|setting| &setting.value));
    for setting in &settings {
        if args.json {
            terminal.json(setting)?;
            continue;
        }
        let origin = match setting.line {
            Some(line) => format!("line {line}"),
            None => "default".to_owned(),
        };
        terminal.line(&format!(
            "{:keys$}  {:values$}  {origin}",
            setting.key,
            escape(&cut(&setting.value))
        ))?;
    }
    if !args.json {
        terminal.line(&format!("policy version {}", policy.version))?;
    }
    Ok(exit::OK)
}

/// The width from which a value no longer widens its column, in characters.
const COLUMN_CHARS_MAX: usize = 48;

fn explain(args: &Explain, terminal: &mut Terminal) -> Result<u8, Stop> {
    let Some(call) = &args.call else {
        if args.world.task.is_some() || !args.world.fixtures.is_empty() {
            return Err(Stop::usage(
                "--task and --fixtures say how to decide a call; add the call, or remove the option",
            ));
        }
        return effective(args, terminal);
    };
    let loaded = load_within(&args.named, &args.world)?;
    let call = decide::read_call(call.as_bytes(), 1).map_err(|no_call| {
        Stop::usage(format!(
            "the call: {}; write {{\"tool\": \"…\", \"arguments\": {{…}}}}",
            no_call.what
        ))
    })?;
    if args.json {
        return explain_json(&loaded, &call, terminal);
    }
    let mut denied_by = None;
    for (rule, answer) in loaded.judge().gate().explain(&call) {
        let line = match answer {
            Ok(()) => {
                format!("{:<16} {}", rule.as_str(), terminal.paint(Tone::Good, "passes"))
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
        Some(rule) => format!("denied by {}, the first rule that denies; later rules are not checked", rule.as_str()),
        None => "allowed, unless the run has made this call too often or used up a budget (cycle_detection, loop_budget, progress)".to_owned(),
    };
    terminal.line(&format!("{conclusion}; policy version {}", loaded.policy.version))?;
    Ok(exit::OK)
}

/// What `check --json` prints.
#[derive(Debug, JsonSchema, Serialize)]
pub(super) struct Checked<'a> {
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

/// What `test --json` prints of a row of a decision table that fails.
#[derive(Debug, JsonSchema, Serialize)]
pub(super) struct Failed<'a> {
    /// The decision table.
    #[schemars(with = "String")]
    file: &'a Utf8Path,
    /// The line of the row.
    line: usize,
    /// The row's own note.
    note: &'a str,
    /// The tool; null for a row about what a run has used.
    tool: Option<&'a str>,
    /// The arguments of the call.
    arguments: &'a Value,
    /// What was expected and what was decided.
    what: &'a str,
}

/// What `explain --json` prints of a call.
#[derive(Debug, JsonSchema, Serialize)]
pub(super) struct Explained<'a> {
    tool: &'a str,
    /// `allow` or `deny`.
    decision: &'static str,
    /// The first rule that denies.
    rule_id: Option<&'static str>,
    /// Every rule, in the order in which they are checked.
    rules: Vec<Answer>,
    policy_version: &'a str,
}

/// What `explain --json` prints of a rule.
#[derive(Debug, JsonSchema, Serialize)]
pub(super) struct Answer {
    rule: &'static str,
    decision: &'static str,
    reason: Option<String>,
}

fn explain_json(loaded: &Within, call: &ProposedCall, terminal: &mut Terminal) -> Result<u8, Stop> {
    let judge = loaded.judge();
    let gate = judge.gate();
    let answers = gate.explain(call).into_iter().map(|(rule, answer)| match answer {
        Ok(()) => Answer { rule: rule.as_str(), decision: "allow", reason: None },
        Err(denied) => {
            Answer { rule: rule.as_str(), decision: "deny", reason: Some(denied.reason) }
        }
    });
    let rules: Vec<Answer> = answers.collect();
    let denied_by = rules.iter().find(|answer| answer.decision == "deny").map(|one| one.rule);
    terminal.json(&Explained {
        tool: &call.tool,
        decision: if denied_by.is_some() { "deny" } else { "allow" },
        rule_id: denied_by,
        rules,
        policy_version: &loaded.policy.version,
    })?;
    Ok(exit::OK)
}
