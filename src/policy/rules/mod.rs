//! The rules, one file each, and the table of them, which is the only order there is.
//!
//! A rule's file holds its section of the policy, what it remembers of a run, its judgement, and what
//! there is to say of the section: its keys and defaults, what is wrong with it, what is hardly meant.
//! A judgement is a function of that section, of what is remembered, and of the call. It knows no
//! other rule and no gate.

pub mod tool_registry;
pub mod url_allowlist;
pub mod sandbox_path;
pub mod arg_schema;
pub mod cycle_detection;
pub mod loop_budget;
pub mod progress;

use serde::Deserialize;

use crate::event::Rule;

use super::call::{Asked, Denied, OnDeny, World};
use super::names::Written;
use super::section::Section;

use arg_schema::ArgSchema;
use cycle_detection::{CycleDetection, Repeats};
use loop_budget::{LoopBudget, Spent};
use progress::{Progress, States};
use sandbox_path::SandboxPath;
use tool_registry::ToolRegistry;
use url_allowlist::UrlAllowlist;

/// The sections of a policy that rules read, each under its key.
#[derive(Debug, Clone, Deserialize)]
pub struct Sections {
    /// Which tools may be called.
    pub tool_registry: ToolRegistry,
    /// Which URLs may be fetched.
    pub url_allowlist: UrlAllowlist,
    /// Which mounts may be read and written.
    #[serde(rename = "sandbox")]
    pub sandbox_path: SandboxPath,
    /// Bounds of the arguments.
    #[serde(rename = "arg_schema_enforcement")]
    pub arg_schema: ArgSchema,
    /// How often the same call may be made.
    pub cycle_detection: CycleDetection,
    /// How much a run may use.
    pub loop_budget: LoopBudget,
    /// Whether the run gets somewhere, where that is asked.
    pub progress: Option<Progress>,
}

/// What the rules remember of a run.
#[derive(Debug, Default)]
pub struct State {
    /// What it has written.
    pub written: Written,
    /// How often it made each call.
    pub repeats: Repeats,
    /// Which budgets it was warned of.
    pub spent: Spent,
    /// Which states its steps came to.
    pub states: States,
}

/// A rule's place in the policy, and what it is asked.
#[derive(Debug)]
pub struct Row {
    /// The rule; its id in artifacts is its file's name.
    pub rule: Rule,
    /// The key of its section of the policy.
    pub key: &'static str,
    /// What there is to say of the section.
    pub section: &'static Section,
    /// What a denial does to the run.
    pub on_deny: fn(&Sections) -> OnDeny,
    /// When it is asked, and what.
    pub asks: &'static [Ask],
}

/// What a rule says to a call that it lets pass, or denies.
pub type Answer = Result<(), Box<Denied>>;

/// When a rule is asked. About a call: from the first of these to the last but one, and in each the
/// rules in the order of the table. Before a step: the last, then the budgets.
#[derive(Debug, Clone, Copy)]
pub enum Ask {
    /// Whether there is such a tool. Who answers makes the call definite for all that follow.
    Tool,
    /// About the call as it is written. Nothing is opened and nothing is counted.
    Text(fn(&Sections, &World<'_>, &State, &mut Asked<'_>) -> Answer),
    /// About the call among those before it. What an earlier rule denies does not come this far.
    Count(fn(&Sections, &mut State, &Asked<'_>) -> Answer),
    /// While what the call needs is opened.
    Open,
    /// About what the run has used; before steps and LLM calls too.
    Budget,
    /// About the steps before this one.
    Step,
}

/// Every rule, in order of precedence.
pub const RULES: [Row; 7] = [
    Row {
        rule: Rule::ToolRegistry,
        key: "tool_registry",
        section: &tool_registry::SECTION,
        on_deny: |sections| sections.tool_registry.on_deny,
        asks: &[Ask::Tool],
    },
    Row {
        rule: Rule::UrlAllowlist,
        key: "url_allowlist",
        section: &url_allowlist::SECTION,
        on_deny: |sections| sections.url_allowlist.on_deny,
        asks: &[Ask::Text(|sections, _, _, asked| {
            url_allowlist::judge(&sections.url_allowlist, asked)
        })],
    },
    Row {
        rule: Rule::SandboxPath,
        key: "sandbox",
        section: &sandbox_path::SECTION,
        on_deny: |sections| sections.sandbox_path.on_deny,
        asks: &[
            Ask::Text(|sections, world, state, asked| {
                sandbox_path::judge(&sections.sandbox_path, world, &state.written, asked)
            }),
            Ask::Open,
        ],
    },
    Row {
        rule: Rule::ArgSchema,
        key: "arg_schema_enforcement",
        section: &arg_schema::SECTION,
        on_deny: |sections| sections.arg_schema.on_deny,
        asks: &[Ask::Text(|sections, _, _, asked| arg_schema::judge(&sections.arg_schema, asked))],
    },
    Row {
        rule: Rule::CycleDetection,
        key: "cycle_detection",
        section: &cycle_detection::SECTION,
        on_deny: |sections| sections.cycle_detection.on_deny,
        asks: &[Ask::Count(|sections, state, asked| {
            cycle_detection::judge(&sections.cycle_detection, &mut state.repeats, asked)
        })],
    },
    Row {
        rule: Rule::LoopBudget,
        key: "loop_budget",
        section: &loop_budget::SECTION,
        on_deny: |_| OnDeny::Terminate,
        asks: &[Ask::Budget],
    },
    Row {
        rule: Rule::Progress,
        key: "progress",
        section: &progress::SECTION,
        on_deny: |_| OnDeny::Terminate,
        asks: &[Ask::Step],
    },
];

/// The row of a rule.
pub fn row(rule: Rule) -> Option<&'static Row> {
    const TABLE: &[Row] = &RULES;
    TABLE.iter().find(|row| row.rule == rule)
}

impl Row {
    /// Whether the rule judges what a run has done, so that one call alone cannot show its answer.
    pub fn is_about_the_run(&self) -> bool {
        self.asks.iter().all(|ask| matches!(ask, Ask::Count(_) | Ask::Budget | Ask::Step))
    }
}
