//! `gatedrun policy explain`: what each rule says to a call, or every key of a policy and its value.

use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::output::{Terminal, Tone};
use crate::cli::{Stop, decide, exit};
use crate::event::{Decision, ProposedCall};
use crate::evidence::text::terminal as escape;
use crate::policy::defaults::{self, Setting};
use crate::policy::rules::RULES;
use crate::problem::cut;

use super::loaded::{Named, Within, World, load_within, read};

/// The arguments of `policy explain`.
#[derive(Debug, clap::Args)]
pub struct Args {
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

/// Prints the policy that holds, key by key.
fn effective(args: &Args, terminal: &mut Terminal) -> Result<u8, Stop> {
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

pub(super) fn explain(args: &Args, terminal: &mut Terminal) -> Result<u8, Stop> {
    let Some(call) = &args.call else {
        if args.world.task.is_some() || !args.world.fixtures.is_empty() {
            return Err(Stop::usage(
                "--task and --fixtures say how to decide a call; add the call, or remove the option",
            ));
        }
        return effective(args, terminal);
    };
    let loaded = load_within(&args.named, &args.world)?;
    let call = decide::read_call(call.as_bytes(), 1)
        .map_err(|no_call| Stop::usage(format!("the call: {}", no_call.what)))?;
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
        Some(rule) => format!(
            "denied by {}, the first rule that denies; later rules are not checked",
            rule.as_str()
        ),
        None => {
            let rules = RULES.iter().filter(|row| row.is_about_the_run());
            let rules: Vec<&str> = rules.map(|row| row.rule.as_str()).collect();
            format!(
                "allowed, unless the run has made this call too often or used up a budget ({})",
                rules.join(", ")
            )
        }
    };
    terminal.line(&format!("{conclusion}; policy version {}", loaded.policy.version))?;
    Ok(exit::OK)
}

/// What `explain --json` prints of a call.
#[derive(Debug, JsonSchema, Serialize)]
pub(in crate::cli) struct Explained<'a> {
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
pub(in crate::cli) struct Answer {
    rule: &'static str,
    decision: &'static str,
    reason: Option<String>,
}

fn explain_json(loaded: &Within, call: &ProposedCall, terminal: &mut Terminal) -> Result<u8, Stop> {
    let judge = loaded.judge();
    let gate = judge.gate();
    let answers = gate.explain(call).into_iter().map(|(rule, answer)| match answer {
        Ok(()) => Answer { rule: rule.as_str(), decision: Decision::Allow.as_str(), reason: None },
        Err(denied) => Answer {
            rule: rule.as_str(),
            decision: Decision::Deny.as_str(),
            reason: Some(denied.reason),
        },
    });
    let rules: Vec<Answer> = answers.collect();
    let denied_by = rules.iter().find(|answer| answer.reason.is_some()).map(|one| one.rule);
    terminal.json(&Explained {
        tool: &call.tool,
        decision: if denied_by.is_some() { Decision::Deny } else { Decision::Allow }.as_str(),
        rule_id: denied_by,
        rules,
        policy_version: &loaded.policy.version,
    })?;
    Ok(exit::OK)
}
