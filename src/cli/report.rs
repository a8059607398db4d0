//! What CI systems read of a command over many runs: JUnit XML and SARIF, both of the same rows.
//!
//! Neither says when or how long: the same result is the same bytes.

use std::fmt::Write as _;

use camino::Utf8Path;
use serde_json::{Value, json};

use crate::event::{Rule, Ruling};
use crate::evidence::STATE;
use crate::evidence::text::xml;
use crate::json::Digest;
use crate::policy::rules::RULES;
use crate::replay::tried::{Refused, Requirement, Tested, Told, Tried};
use crate::yaml;

use super::Stop;
use super::content::{Content, JUNIT_HEAD};
use super::destination::Destination;

/// What a command found, row by row.
#[derive(Debug)]
pub struct Suite {
    /// The command, such as `check`.
    pub command: &'static str,
    /// What its results are filed under: id, in short, in full.
    pub rules: Vec<(&'static str, String, String)>,
    /// A row for each run or task.
    pub rows: Vec<Row>,
}

/// A run or task, and its verdict.
#[derive(Debug)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// The verdict, in a word.
    pub verdict: String,
    /// What that means for CI.
    pub state: State,
    /// The verdict, in a sentence.
    pub message: String,
    /// What it consists of.
    pub details: Vec<Detail>,
    /// Where it is, for an error that has no details.
    pub place: Place,
}

/// What a verdict means for CI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Passed,
    /// Not as it should be.
    Failed,
    /// Nothing is known.
    Error,
}

/// Something that was found in a row.
#[derive(Debug)]
pub struct Detail {
    /// What it is filed under.
    pub rule: &'static str,
    /// Whether it is why the row failed.
    pub is_failure: bool,
    /// What it is, in a sentence.
    pub text: String,
    /// Where it is.
    pub places: Vec<Place>,
    /// What stays the same of it when lines move.
    pub identity: String,
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, relative to where the program ran.
    pub path: String,
    /// The line, from 1, where one is meant.
    pub line: Option<u64>,
}

impl Place {
    /// A place.
    pub fn new(path: impl Into<String>, line: Option<u64>) -> Self {
        Self { path: path.into(), line }
    }
}

/// Where a suite is written, looked at before any work is done.
pub struct Outputs {
    junit: Option<Destination>,
    sarif: Option<Destination>,
}

impl Outputs {
    /// The places that the user named, none of which is one of `inputs`.
    ///
    /// # Errors
    /// Why a place cannot be written.
    pub fn of(
        junit: Option<&Utf8Path>,
        sarif: Option<&Utf8Path>,
        inputs: &[&Utf8Path],
    ) -> Result<Self, Stop> {
        let destination = |path: Option<&Utf8Path>, content| {
            path.map(|path| Destination::of(path, content)?.unlike(inputs)).transpose()
        };
        let junit = destination(junit, Content::Junit)?;
        let sarif = destination(sarif, Content::Sarif)?;
        if let (Some(junit), Some(sarif)) = (&junit, &sarif) {
            junit.apart(sarif)?;
        }
        Ok(Self { junit, sarif })
    }

    /// Refuses another output that goes to the same file as one of these.
    pub fn apart(&self, other: &Destination) -> Result<(), Stop> {
        self.junit.iter().chain(&self.sarif).try_for_each(|one| one.apart(other))
    }
}

impl Suite {
    /// Writes what was asked for.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&self, outputs: Outputs) -> Result<(), Stop> {
        if let Some(destination) = outputs.junit {
            destination.replace(self.junit().as_bytes())?;
        }
        if let Some(destination) = outputs.sarif {
            destination.replace(&self.sarif())?;
        }
        Ok(())
    }

    /// JUnit XML, as Jenkins' schema has it: one test case per row.
    pub fn junit(&self) -> String {
        let count = |state| self.rows.iter().filter(|row| row.state == state).count();
        let counts = format!(
            "tests=\"{}\" failures=\"{}\" errors=\"{}\"",
            self.rows.len(),
            count(State::Failed),
            count(State::Error)
        );
        let mut out = String::from(JUNIT_HEAD);
        let _ = writeln!(out, "{counts}>");
        let _ = writeln!(out, "  <testsuite name=\"gatedrun.{}\" {counts}>", self.command);
        for row in &self.rows {
            let _ = writeln!(
                out,
                "    <testcase name=\"{}\" classname=\"gatedrun.{}\">",
                xml(&row.name),
                self.command
            );
            let element = match row.state {
                State::Passed => None,
                State::Failed => Some("failure"),
                State::Error => Some("error"),
            };
            let lines = |only_failures: bool| -> String {
                let told = row.details.iter().filter(|one| one.is_failure || !only_failures);
                told.map(|detail| format!("{}\n", xml(&detail.text))).collect()
            };
            if let Some(element) = element {
                let (message, kind) = (xml(&row.message), xml(&row.verdict));
                let _ = writeln!(
                    out,
                    "      <{element} message=\"{message}\" type=\"{kind}\">{}</{element}>",
                    lines(true)
                );
            }
            if !row.details.is_empty() {
                let _ = writeln!(out, "      <system-out>{}</system-out>", lines(false));
            }
            out.push_str("    </testcase>\n");
        }
        out.push_str("  </testsuite>\n</testsuites>\n");
        out
    }

    /// SARIF 2.1.0: one result per detail, and one notification per row with an unknown result.
    pub fn sarif(&self) -> Vec<u8> {
        let rules: Vec<Value> = self
            .rules
            .iter()
            .map(|(id, short, full)| {
                json!({"id": id, "shortDescription": {"text": short}, "fullDescription": {"text": full}})
            })
            .collect();
        let results: Vec<Value> = self
            .rows
            .iter()
            .filter(|row| row.state != State::Error)
            .flat_map(|row| row.details.iter().map(move |detail| result(row, detail)))
            .collect();
        let notifications: Vec<Value> = self
            .rows
            .iter()
            .filter(|row| row.state == State::Error)
            .map(|row| {
                json!({
                    "level": "error",
                    "message": {"text": row.message},
                    "locations": [location(&row.place)],
                })
            })
            .collect();
        let log = json!({
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{
                "tool": {"driver": {
                    "name": "gatedrun",
                    "version": env!("CARGO_PKG_VERSION"),
                    "rules": rules,
                }},
                "invocations": [{
                    "executionSuccessful": notifications.is_empty(),
                    "toolExecutionNotifications": notifications,
                }],
                "results": results,
            }],
        });
        let mut bytes = serde_json::to_vec_pretty(&log).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

fn result(row: &Row, detail: &Detail) -> Value {
    let identity = Digest::of_value(&json!([row.name, detail.rule, detail.identity]));
    json!({
        "ruleId": detail.rule,
        "level": if detail.is_failure { "error" } else { "note" },
        "message": {"text": detail.text},
        "locations": detail.places.iter().map(location).collect::<Vec<_>>(),
        "partialFingerprints": {"gatedrun/v1": identity.to_string()},
    })
}

fn location(place: &Place) -> Value {
    let file = json!({"uri": uri(&place.path)});
    match place.line {
        Some(line) => json!({"physicalLocation": {
            "artifactLocation": file,
            "region": {"startLine": line},
        }}),
        None => json!({"physicalLocation": {"artifactLocation": file}}),
    }
}

/// A path as a URI: relative to where the program ran, where the path is.
fn uri(path: &str) -> String {
    let mut uri = if path.starts_with('/') { "file://".to_owned() } else { String::new() };
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte));
            }
            other => {
                let _ = write!(uri, "%{other:02X}");
            }
        }
    }
    uri
}

/// What a rule's decisions are filed under where no rule decided.
const ALLOW: &str = "allow";

/// A back-test: one row per run, failed where something required is lost.
pub fn backtest(policy: &Utf8Path, tried: &[Tried], unmatched: &[&Requirement]) -> Suite {
    let mut rules = vec![(
        ALLOW,
        "decisions that no rule made".to_owned(),
        "Decisions about calls that every rule allowed.".to_owned(),
    )];
    rules.extend(Rule::ALL.map(Rule::as_str).map(|id| {
        (
            id,
            format!("decisions of {id}"),
            format!("Recorded decisions of the rule {id} that change."),
        )
    }));
    let sections = Sections::of(policy);
    let mut rows: Vec<Row> = tried
        .iter()
        .map(|one| match one {
            Tried::Tested(tested) => tested_row(tested, &sections),
            Tried::Refused(refused) => refused_row(refused),
        })
        .collect();
    rows.extend(unmatched.iter().map(|requirement| {
        let word = requirement.to_string();
        let text = requirement.unmatched();
        let place = sections.place("");
        Row {
            name: format!("--require {word}"),
            verdict: "unmatched".to_owned(),
            state: State::Failed,
            message: text.clone(),
            details: vec![Detail {
                rule: ALLOW,
                is_failure: true,
                text,
                places: vec![place.clone()],
                identity: word,
            }],
            place,
        }
    }));
    Suite { command: "replay", rules, rows }
}

fn tested_row(one: &Tested, sections: &Sections) -> Row {
    let ledger = one.run.join(STATE).into_string();
    let details = one.told().map(|told| {
        let change = told.change;
        // The rule that decides now, or that decided before.
        let rule = change.now.into_iter().chain(change.was).find_map(Ruling::rule);
        let rule = rule.map(Rule::as_str);
        // A decision that was not made then has no line.
        let line = change.seq.map_or(1, |seq| seq + 1);
        let about = change.call_id.clone().unwrap_or_else(|| format!("step {}", change.step));
        Detail {
            rule: rule.unwrap_or(ALLOW),
            is_failure: told.is_lost,
            text: sentence(&told),
            places: vec![
                Place::new(ledger.clone(), Some(line)),
                sections.place(rule.unwrap_or_default()),
            ],
            identity: format!("{about} {:?} {}", change.was.map(|was| was.to_string()), told.now),
        }
    });
    let mut details: Vec<Detail> = details.collect();
    if one.is_red() && details.is_empty() {
        details.push(Detail {
            rule: ALLOW,
            is_failure: true,
            text: one.test.notes.join("; "),
            places: vec![Place::new(ledger.clone(), Some(1)), sections.place("")],
            identity: "course".to_owned(),
        });
    }
    Row {
        name: one.run.to_string(),
        verdict: if one.is_red() { "decision_lost" } else { "kept" }.to_owned(),
        state: if one.is_red() { State::Failed } else { State::Passed },
        message: format!(
            "{}; required and lost: {}; {}",
            one.standing(),
            one.lost.len(),
            one.counts
        ),
        details,
        place: Place::new(ledger, None),
    }
}

fn refused_row(refused: &Refused) -> Row {
    Row {
        name: refused.run.to_string(),
        verdict: refused.verdict.to_owned(),
        state: State::Error,
        message: refused.message.clone(),
        details: Vec::new(),
        place: Place::new(refused.run.join(STATE), None),
    }
}

fn sentence(told: &Told<'_>) -> String {
    let change = told.change;
    let mut text = format!(
        "step {}, {}: {} -> {}",
        change.step,
        change.tool.as_deref().unwrap_or("the run"),
        change.was.map_or_else(|| "not decided".to_owned(), |was| was.to_string()),
        told.now,
    );
    if told.is_loosened {
        text.push_str(", LOOSENED");
    }
    let reason = change.reason.as_ref().filter(|_| !told.is_loosened);
    if let Some(reason) = reason.or(change.recorded_reason.as_ref().filter(|_| told.is_loosened)) {
        let _ = write!(text, ": {reason}");
    }
    text
}

/// Where the sections of a policy are in its file.
struct Sections {
    path: String,
    document: Option<yaml::Document>,
}

impl Sections {
    fn of(path: &Utf8Path) -> Self {
        let read = crate::inputs::read_file(path, path.as_str());
        let document = read.ok().and_then(|bytes| yaml::parse(&bytes).ok());
        Self { path: path.to_string(), document }
    }

    /// The section of a rule, or the first line.
    fn place(&self, rule: &str) -> Place {
        let row = RULES.iter().find(|row| row.rule.as_str() == rule);
        let section = row.map_or(rule, |row| row.key);
        let found =
            self.document.as_ref().and_then(|document| document.place(&format!("/{section}")));
        Place::new(self.path.clone(), Some(found.map_or(1, |place| place.line)))
    }
}
