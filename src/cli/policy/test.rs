//! `gatedrun policy test`: decision tables, judged row by row.

use camino::{Utf8Path, Utf8PathBuf};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::cli::output::{Terminal, Tone};
use crate::cli::{Stop, exit};
use crate::evidence::text::terminal as escape;
use crate::policy::cases::{self, Judge};
use crate::problem::cut;

use super::loaded::{Named, load, named_file};

/// The arguments of `policy test`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    named: Named,
    /// Decision tables
    #[arg(value_name = "CASES")]
    cases: Vec<Utf8PathBuf>,
    /// Print the failures as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn test(args: &Args, terminal: &mut Terminal) -> Result<u8, Stop> {
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

/// What `test --json` prints of a row of a decision table that fails.
#[derive(Debug, JsonSchema, Serialize)]
pub(in crate::cli) struct Failed<'a> {
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
