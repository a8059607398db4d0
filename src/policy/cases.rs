//! Cases for a policy: a call, or what a run has used, and what must be decided about it.
//!
//! The examples in a policy, decision tables in files and the project's own tests are all read
//! and judged here, by the production gate over empty mounts.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::contract::Contracts;
use crate::corpus::Corpus;
use crate::event::{Misread, ProposedCall, Rule, Ruling, Totals, Usage};
use crate::json::{self, Misfit};
use crate::kind::Kind;
use crate::problem::{Problem, Problems, cut, nearest};

use super::call::{Denied, Standing};
use super::capability::Opening;
use super::example::incomplete;
use super::gate::{Gate, Verdict};
use super::hosts::Hosts;
use super::path::{MountNames, Mounts};
use super::rules;
use super::spec::Policy;

/// A call, or what a run has used.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// The tool.
    #[serde(default)]
    pub tool: Option<String>,
    /// Its arguments.
    #[serde(default)]
    pub arguments: Value,
    /// How often the call is made; the last one counts.
    #[serde(default)]
    pub repeat: Option<u64>,
    /// What the run has used.
    #[serde(default)]
    pub run: Option<Used>,
}

/// What a run has used.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Used {
    /// Steps.
    pub steps: u64,
    /// Tokens.
    pub tokens: u64,
    /// Tool calls that were allowed.
    pub tool_calls: u64,
    /// Attempts of tools.
    pub attempts: u64,
    /// Cost, in millionths of a US dollar.
    pub cost_microusd: u64,
    /// Milliseconds since it began.
    pub elapsed_ms: u64,
}

impl Used {
    /// What is not zero, in words.
    pub fn words(self) -> String {
        let used = [
            (self.steps, "steps"),
            (self.tokens, "tokens"),
            (self.tool_calls, "tool calls"),
            (self.attempts, "attempts"),
            (self.cost_microusd, "microusd"),
            (self.elapsed_ms, "ms"),
        ];
        let used = used.into_iter().filter(|(amount, _)| *amount > 0);
        let words: Vec<String> = used.map(|(amount, unit)| format!("{amount} {unit}")).collect();
        if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
    }
}

/// A row of a decision table.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows.
    #[serde(default)]
    pub note: String,
    /// The tool.
    #[serde(default)]
    tool: Option<String>,
    /// Its arguments.
    #[serde(default)]
    arguments: Value,
    /// How often the call is made, up to 1000 times.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000))]
    repeat: Option<u64>,
    /// What the run has used.
    #[serde(default)]
    run: Option<Used>,
    /// `allow`, `deny` for any denial, or `deny:` and the rule.
    pub decision: String,
    /// Words that the reason must hold.
    #[serde(default)]
    pub reason: String,
    /// The line in its table.
    #[serde(skip)]
    pub line: usize,
}

impl Case {
    /// What is judged.
    pub fn subject(&self) -> Subject {
        Subject {
            tool: self.tool.clone(),
            arguments: self.arguments.clone(),
            repeat: self.repeat,
            run: self.run,
        }
    }

    /// What is wrong with the decision that the policy takes; `None` if nothing is.
    pub fn judge(&self, judge: &Judge<'_>) -> Option<String> {
        let denied = judge.decide(&self.subject());
        let got = match &denied {
            None => "it is allowed".to_owned(),
            Some(denied) => {
                format!("{} denies it: {}", denied.rule.as_str(), limited(&denied.reason))
            }
        };
        let ruling =
            denied.as_ref().map_or(Ruling::Allow, |denied| Ruling::Deny(Some(denied.rule)));
        let expected = Ruling::parse(&self.decision).ok();
        if !expected.is_some_and(|expected| expected.covers(ruling)) {
            let expected = match expected {
                Some(Ruling::Deny(Some(rule))) => format!("{} to deny it", rule.as_str()),
                Some(Ruling::Deny(None)) => "it to be denied".to_owned(),
                _ => "it to be allowed".to_owned(),
            };
            return Some(format!("expected {expected}, but {got}"));
        }
        let reason = denied.map_or_else(String::new, |denied| denied.reason);
        (!reason.contains(&self.reason)).then(|| {
            format!(
                "denied as expected, but the reason does not contain {:?}: {}",
                cut(&self.reason),
                limited(&reason)
            )
        })
    }
}

/// Reads a decision table: a JSON object a line.
///
/// # Errors
/// Every line that is not a case.
pub fn read_table(path: &str, bytes: &[u8]) -> Result<Vec<Case>, Problems> {
    if let Some(kind) = Kind::of(bytes).filter(|kind| *kind != Kind::Table) {
        return Err(kind.instead_of(path, Kind::Table).into());
    }
    let mut cases = Vec::new();
    let mut problems = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match read_case(line) {
            Ok(case) => cases.push(Case { line: index + 1, ..case }),
            Err(Wrong { column, pointer, what, fix }) => {
                let pointer = match pointer.as_str() {
                    "" => String::new(),
                    pointer => format!(" ({pointer})"),
                };
                let at = format!("line {}, column {column}{pointer}", index + 1);
                problems.push(Problem::new(path, what).at(at).remedy(fix));
            }
        }
    }
    Problems::check(problems, cases)
}

/// What is wrong with a line of a decision table.
struct Wrong {
    column: u64,
    pointer: String,
    what: String,
    fix: String,
}

/// What a case is, for whoever wrote something else.
const CASE: &str = "a case is a JSON object with tool, arguments and decision";

fn read_case(line: &[u8]) -> Result<Case, Wrong> {
    let value = json::parse(line).map_err(|error| Wrong {
        column: error.column as u64,
        pointer: String::new(),
        what: error.message,
        fix: CASE.to_owned(),
    })?;
    let wrong = |pointer: &str, what: String, fix: String| {
        let places = json::places(line);
        let place = places.get(pointer).or_else(|| {
            let (above, _) = pointer.rsplit_once('/')?;
            places.get(above)
        });
        Wrong { column: place.map_or(1, |place| place.1), pointer: pointer.to_owned(), what, fix }
    };
    let incomplete = incomplete(&value);
    let case: Case = json::typed(whole_numbers(value)).map_err(|Misfit { pointer, what }| {
        let fix = if pointer.is_empty() { CASE } else { "" };
        wrong(&pointer, what, fix.to_owned())
    })?;
    if let Some((what, fix)) = incomplete {
        return Err(wrong("", format!("the case {what}"), fix));
    }
    let expected = decision(&case.decision).map_err(|(what, fix)| wrong("/decision", what, fix))?;
    if expected == Ruling::Allow && !case.reason.is_empty() {
        let what = "a call that is allowed has no reason".to_owned();
        return Err(wrong("/reason", what, "remove reason, or write deny".to_owned()));
    }
    Ok(case)
}

/// A reason that is short enough for a message: what a call names may be long.
fn limited(reason: &str) -> std::borrow::Cow<'_, str> {
    crate::problem::limited(reason, 2 * crate::problem::QUOTED_CHARS_MAX)
}

/// A case whose numbers are integers where they are whole; the arguments stay as they are written,
/// since the gate judges them.
fn whole_numbers(mut case: Value) -> Value {
    let arguments = case.as_object_mut().and_then(|case| case.remove("arguments"));
    case = json::normal(case);
    if let (Some(case), Some(arguments)) = (case.as_object_mut(), arguments) {
        case.insert("arguments".to_owned(), arguments);
    }
    case
}

/// The decision that a table asks for; none of its cases can be warned of.
fn decision(text: &str) -> Result<Ruling, (String, String)> {
    let rule = match Ruling::parse(text) {
        Ok(ruling) if !ruling.is_warning() => return Ok(ruling),
        Err(Misread::Denier(rule)) => cut(rule),
        Ok(_) | Err(Misread::Decision | Misread::Warner(_)) => {
            let what = format!("unknown decision {:?}", cut(text));
            return Err((what, "write allow, deny, or deny: and a rule".to_owned()));
        }
    };
    let rules: Vec<&str> = Rule::ALL.into_iter().map(Rule::as_str).collect();
    let hint = nearest(&rule, &rules)
        .map_or_else(String::new, |known| format!("did you mean {known:?}? "));
    Err((format!("unknown rule {rule:?}"), format!("{hint}the rules are {}", rules.join(", "))))
}

/// Decides about cases.
#[derive(Debug)]
pub struct Judge<'a> {
    policy: &'a Policy,
    contracts: &'a Contracts,
    hosts: Hosts,
    mounts: Mounts,
}

impl<'a> Judge<'a> {
    /// A judge over empty mounts: nothing is there to be opened.
    pub fn new(policy: &'a Policy, contracts: &'a Contracts) -> Self {
        Self::over(policy, contracts, Mounts::empty(MountNames::built_in()))
    }

    /// A judge over these mounts.
    pub fn over(policy: &'a Policy, contracts: &'a Contracts, mounts: Mounts) -> Self {
        Self { policy, contracts, hosts: Hosts::default(), mounts }
    }

    /// The same judge in the world of a run: hosts are served, and the corpus is there.
    #[must_use]
    pub fn within(mut self, hosts: Hosts, corpus: Option<Arc<Corpus>>) -> Self {
        self.hosts = hosts;
        self.mounts = corpus.map_or(self.mounts, Mounts::of_no_run);
        self
    }

    /// A gate at the start of a run.
    pub fn gate(&self) -> Gate<'_> {
        Gate::new(self.policy, self.contracts, &self.hosts, self.mounts.clone())
    }

    /// Why it is denied; `None` if it is allowed.
    pub fn decide(&self, subject: &Subject) -> Option<Denied> {
        let mut gate = self.gate();
        let used = subject.run.unwrap_or_default();
        let standing = Standing {
            totals: Totals {
                steps: used.steps,
                calls_allowed: used.tool_calls,
                usage: Usage {
                    input_tokens: used.tokens,
                    output_tokens: 0,
                    cost_microusd: used.cost_microusd,
                },
                attempts: used.attempts,
                ..Totals::default()
            },
            elapsed_ms: used.elapsed_ms,
        };
        let Some(tool) = &subject.tool else {
            let step = gate.decide_step(&standing);
            let spending =
                step.and_then(|_| gate.decide_spending(&standing.totals, Usage::default()));
            return spending.and_then(|_| gate.decide_more_calls(&standing)).err();
        };
        let call = ProposedCall {
            call_id: "call_0".to_owned(),
            tool: tool.clone(),
            arguments: subject.arguments.clone(),
        };
        let mut last = None;
        for _ in 0..subject.repeat.unwrap_or(1) {
            // Nothing is opened, so nothing of the machine has a say.
            last = gate.decide(&call, &standing, &Opening::Recorded(None)).ok();
        }
        match last? {
            (Verdict::Allow(_), _) => None,
            (Verdict::Deny(denied), _) => Some(denied),
        }
    }

    /// Every example of the policy that its own rule contradicts.
    pub fn contradicted(&self) -> Vec<Contradicted> {
        let mut wrong = Vec::new();
        for examples in &self.policy.examples {
            for (list, cases) in [("allow", &examples.allow), ("deny", &examples.deny)] {
                for (index, case) in cases.iter().enumerate() {
                    let pointer = format!("{}/{list}/{index}", examples.pointer);
                    let found = self.contradiction(examples.rule, list, case);
                    wrong.extend(found.map(|(what, fix)| Contradicted { pointer, what, fix }));
                }
            }
        }
        wrong
    }

    /// What is wrong with an example of a rule, and what to do: where it can stand as it is, and else
    /// what to change.
    fn contradiction(&self, rule: Rule, list: &str, case: &Value) -> Option<(String, String)> {
        let subject = match json::typed::<Subject>(case.clone()) {
            Ok(subject) => subject,
            Err(misfit) => return Some((misfit.what, String::new())),
        };
        let denied = self.decide(&subject);
        let name = rule.as_str();
        match (list, denied) {
            ("allow", Some(denied)) if denied.rule == rule => Some((
                format!("the rule denies its own example: {}", limited(&denied.reason)),
                format!("move it to `deny:`, or change the rule {name} so that it passes"),
            )),
            ("deny", None) => Some((
                "no rule denies this example".to_owned(),
                format!("move it to `allow:`, or change the rule {name} so that it is denied"),
            )),
            ("deny", Some(denied)) if denied.rule != rule => {
                let by = denied.rule.as_str();
                let place = |rule: Rule| Rule::ALL.iter().position(|one| *one == rule);
                let what = match place(denied.rule) < place(rule) {
                    true => format!("{by} denies this example before {name} is asked"),
                    false => format!("{name} lets this example pass; {by} denies it"),
                };
                let key = rules::row(denied.rule).map_or(by, |row| row.key);
                let fix = format!(
                    "move it to the examples of `{key}:`, below `deny:`, or write a call that {name} denies"
                );
                Some((what, fix))
            }
            _ => None,
        }
    }
}

/// An example that its own rule contradicts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradicted {
    /// JSON pointer to it.
    pub pointer: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub fix: String,
}
