//! `gatedrun schema`: the JSON Schema of everything that the program reads and writes as JSON.
//!
//! One table. What is not written by hand is derived from the type that is read or printed, so that a
//! schema cannot say something else than the program does.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::event::{GateDecided, Record};
use crate::evidence::diff::Diff;
use crate::evidence::manifest::Manifest;
use crate::policy::cases::Case;
use crate::policy::defaults::Setting;
use crate::replay::tried::Tried;

use super::output::{ErrorLine, Terminal};
use super::{
    Stop, checked, corpus, exit, list, policy, regression, replay, review, run, show, sign, verify,
};

/// The arguments of `schema`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gatedrun schema manifest")]
pub struct Args {
    /// The name of the schema; without it, the names are listed
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// A line that `policy decide` reads.
#[derive(JsonSchema)]
#[schemars(rename = "Call")]
#[expect(
    dead_code,
    reason = "it describes what is read, key by key, so that the caller's keys are kept"
)]
struct Call {
    /// The caller's own id; without it, the number of the line is used.
    #[serde(default)]
    call_id: Option<String>,
    /// The tool.
    tool: String,
    /// The arguments of the call.
    #[serde(default)]
    arguments: Value,
}

/// A line that `policy decide` answers.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes what is written")]
enum Answer {
    /// The decision on a call.
    Decided {
        #[serde(flatten)]
        decided: GateDecided,
        /// Whether the run has ended by now, so that every later call is denied.
        run_ends: bool,
    },
    /// A line that is not a call, or that the machine refuses to decide.
    Refused(Refused),
}

/// The answer to a line that is not a call.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it describes what is written")]
struct Refused {
    /// The caller's id, if it can be read.
    call_id: Value,
    /// The number of the line.
    line: u64,
    decision: Deny,
    /// Why.
    error: String,
    /// Whether the run has ended by now, so that every later call is denied.
    run_ends: bool,
}

/// A denial.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "it describes what is written")]
enum Deny {
    Deny,
}

/// Where a schema comes from.
enum Source {
    /// A file of the repository.
    File(&'static str),
    /// A type.
    Type(fn(Side) -> Value),
}

/// Whether a schema describes what the program reads or what it writes: keys that may be left out are
/// always written.
#[derive(Clone, Copy)]
enum Side {
    Read,
    Write,
}

/// Every schema: its name, which side it describes, and what it is of.
const ALL: &[(&str, Side, Source)] = &[
    ("policy", Side::Read, Source::File(include_str!("../../policy/v1.schema.json"))),
    ("task", Side::Read, Source::File(include_str!("../../tasks/task.schema.json"))),
    ("contract", Side::Read, Source::File(include_str!("../../tools/contract.schema.json"))),
    ("decision-table", Side::Read, Source::Type(of::<Case>)),
    ("record", Side::Write, Source::Type(of::<Record>)),
    ("manifest", Side::Write, Source::Type(of::<Manifest<'_>>)),
    ("decide-call", Side::Read, Source::Type(of::<Call>)),
    ("decide-answer", Side::Write, Source::Type(of::<Answer>)),
    ("run", Side::Write, Source::Type(of::<run::Line<'_>>)),
    ("check", Side::Write, Source::Type(of::<checked::Line<'_>>)),
    ("verify", Side::Write, Source::Type(of::<verify::Line<'_>>)),
    ("sign", Side::Write, Source::Type(of::<sign::Signed<'_>>)),
    ("keygen", Side::Write, Source::Type(of::<sign::Keys<'_>>)),
    ("replay", Side::Write, Source::Type(of::<replay::Line<'_>>)),
    ("back-test", Side::Write, Source::Type(of::<Tried>)),
    ("diff", Side::Write, Source::Type(of::<Diff>)),
    ("review", Side::Write, Source::Type(of::<review::Line<'_>>)),
    ("regression", Side::Write, Source::Type(of::<regression::Row>)),
    ("list", Side::Write, Source::Type(of::<list::Row>)),
    ("show", Side::Write, Source::Type(of::<show::Shown<'_>>)),
    ("policy-check", Side::Write, Source::Type(of::<policy::Checked<'_>>)),
    ("policy-test", Side::Write, Source::Type(of::<policy::Failed<'_>>)),
    ("policy-explain", Side::Write, Source::Type(of::<policy::Explained<'_>>)),
    ("policy-values", Side::Write, Source::Type(of::<Setting>)),
    ("corpus-build", Side::Write, Source::Type(of::<corpus::Built<'_>>)),
    ("corpus-check", Side::Write, Source::Type(of::<corpus::Checked<'_>>)),
    ("error", Side::Write, Source::Type(of::<ErrorLine<'_>>)),
];

/// The schema of a type.
fn of<T: JsonSchema>(side: Side) -> Value {
    let settings = SchemaSettings::draft2020_12();
    let settings = match side {
        Side::Read => settings.for_deserialize(),
        Side::Write => settings.for_serialize(),
    };
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    without_widths(&mut schema);
    schema
}

/// `uint64` and the like are formats of Rust, which a strict validator does not know; a maximum says
/// the same to all.
fn without_widths(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            let maximum = match members.get("format").and_then(Value::as_str) {
                Some("uint64" | "uint") => Some(u64::MAX),
                Some("uint32") => Some(u64::from(u32::MAX)),
                Some("uint8") => Some(u64::from(u8::MAX)),
                _ => None,
            };
            if let Some(maximum) = maximum {
                members.remove("format");
                members.insert("maximum".to_owned(), maximum.into());
            }
            members.values_mut().for_each(without_widths);
        }
        Value::Array(items) => items.iter_mut().for_each(without_widths),
        _ => {}
    }
}

pub(super) fn main(args: &Args, terminal: &mut Terminal) -> Result<u8, Stop> {
    let Some(name) = &args.name else {
        for (name, ..) in ALL {
            terminal.line(name)?;
        }
        return Ok(exit::OK);
    };
    let Some((name, side, source)) = ALL.iter().find(|(known, ..)| known == name) else {
        let known: Vec<&str> = ALL.iter().map(|(name, ..)| *name).collect();
        let near = crate::problem::nearest(name, &known);
        let near = near.map_or_else(String::new, |near| format!(" (did you mean {near:?}?)"));
        return Err(Stop::usage(format!(
            "there is no schema {name:?}{near}; `gatedrun schema` lists them"
        )));
    };
    let text = match source {
        Source::File(text) => text.trim_end().to_owned(),
        Source::Type(schema) => {
            let mut schema = schema(*side);
            // The name under which it can be referred to, wherever its file lies.
            if let Some(members) = schema.as_object_mut() {
                members.insert("$id".to_owned(), format!("urn:gatedrun:schema:{name}").into());
            }
            serde_json::to_string_pretty(&schema).unwrap_or_default()
        }
    };
    terminal.text(&text)?;
    Ok(exit::OK)
}
