//! What a check found of a run, and how it is told: to a person, to programs, and to CI. Behaviour comes
//! first, then what is not as expected, then bytes.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use schemars::JsonSchema;
use serde::Serialize;

use crate::evidence::behaviour::Class;
use crate::evidence::compare::{self, ChangedInput, Difference};
use crate::evidence::diff::differing_files;
use crate::evidence::text::terminal as escape;
use crate::evidence::{FILES, STATE, open};
use crate::file::said;
use crate::host::HostFault;
use crate::ledger::is_of_another_version;
use crate::line_ends::RUNS;

use super::Stop;
use super::output::{Terminal, Tone, differing};
use super::report::{Detail, Place, Row, State};

/// What `--json` prints.
#[derive(Debug, JsonSchema, Serialize)]
pub(super) struct Line<'a> {
    #[schemars(with = "String")]
    pub(super) run: &'a Utf8Path,
    pub(super) verdict: &'static str,
    pub(super) file: Option<&'a str>,
    pub(super) line: Option<u64>,
    pub(super) column: Option<usize>,
    pub(super) message: Option<String>,
    pub(super) class: Option<&'static str>,
    pub(super) behaviour: &'a [String],
    pub(super) inputs: &'a [String],
    pub(super) unmet: &'a [String],
    /// A proposal that lies beside a run which needs none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub(super) proposal: Option<&'a Utf8Path>,
    /// `recorded` where another program proposed the calls, so that the replies were not made again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replies: Option<&'static str>,
}

/// What checking a run resulted in.
pub(super) struct Checked {
    /// What class of change it is.
    pub(super) class: Class,
    /// Why the behaviour of the committed run is not known, where it is not.
    pub(super) unknown: Option<String>,
    /// What it does differently, in words.
    pub(super) behaviour: Vec<String>,
    /// The inputs that differ.
    pub(super) inputs: Vec<ChangedInput>,
    /// That some of them differ in the ends of their lines alone, and what to do.
    pub(super) rewritten: Option<String>,
    /// That the run was made with another seed than its task asks for.
    pub(super) seed: Option<String>,
    /// The first difference of each file that differs.
    pub(super) differences: Vec<(String, Drift)>,
    /// Expectations of the task that are not met.
    pub(super) unmet: Vec<String>,
    /// A proposal that lies beside it, though it is identical.
    pub(super) proposal: Option<Utf8PathBuf>,
    /// Whether another program proposed its calls, so that the replies were taken as recorded.
    pub(super) is_outside: bool,
}

/// What of a run was not made again.
const AS_RECORDED: &str = "replies as recorded";

/// How a file differs.
pub(super) enum Drift {
    Unreadable(String),
    Differs(Difference),
}

impl Drift {
    /// A file that cannot be read. Where the machine refuses to read it, nothing is known of it.
    pub(super) fn of(path: &Utf8Path, error: &io::Error) -> Result<Self, Stop> {
        if HostFault::is_one(error) {
            return Err(HostFault::of(error, path.as_str(), "read").into());
        }
        Ok(Self::Unreadable(said(error)))
    }
}

impl Checked {
    pub(super) fn is_identical(&self) -> bool {
        self.class == Class::Identical && self.unmet.is_empty() && self.seed.is_none()
    }

    /// What CI reads of it.
    pub(super) fn row(&self, run: &Utf8Path) -> Row {
        let place = |file: &str, line| Place::new(run.join(file), line);
        let detail = |rule, text: &str, place, identity: &str| Detail {
            rule,
            is_failure: true,
            text: text.to_owned(),
            places: vec![place],
            identity: identity.to_owned(),
        };
        let told = |rule: &'static str, list: &[String]| -> Vec<Detail> {
            list.iter().map(|text| detail(rule, text, place(STATE, Some(1)), text)).collect()
        };
        let mut details = told("seed", self.seed.as_slice());
        details.extend(told("unknown", self.unknown.as_slice()));
        details.extend(told("behaviour", &self.behaviour));
        details.extend(told("unmet", &self.unmet));
        let inputs: Vec<String> = self.inputs.iter().map(ToString::to_string).collect();
        details.extend(told("inputs_only", &inputs));
        details.extend(self.differences.iter().map(|(file, drift)| match drift {
            Drift::Unreadable(what) => detail("bytes", what, place(file, None), file),
            Drift::Differs(difference) => {
                let text =
                    format!("{file} differs from byte {} of this line on", difference.column);
                detail("bytes", &text, place(file, Some(difference.line)), file)
            }
        }));
        let is_identical = self.is_identical();
        Row {
            name: run.to_string(),
            verdict: match (is_identical, self.class) {
                (true, _) => "identical",
                (false, Class::Unknown) => "unknown",
                (false, _) => "differs",
            }
            .to_owned(),
            state: if is_identical { State::Passed } else { State::Failed },
            message: match (is_identical, self.is_outside) {
                (true, false) => "identical".to_owned(),
                (true, true) => format!("identical, {AS_RECORDED}"),
                (false, _) => self.headline(),
            },
            details,
            place: place(STATE, None),
        }
    }

    /// What differs, in a line.
    fn headline(&self) -> String {
        let mut said = match self.class {
            Class::Identical => Vec::new(),
            Class::InputsOnly => {
                let names: Vec<&str> =
                    self.inputs.iter().map(|input| input.path.as_str()).collect();
                vec![format!("behaviour unchanged, inputs changed: {}", names.join(", "))]
            }
            Class::Behaviour => vec![format!("behaviour: {}", self.behaviour.join("; "))],
            Class::Bytes => vec![self.bytes_words().to_owned()],
            Class::Unknown => vec![self.unknown_words()],
        };
        said.extend(self.rewritten.clone());
        said.splice(0..0, self.seed.clone());
        said.extend(self.unmet.iter().map(|unmet| format!("not as expected: {unmet}")));
        said.join("; ")
    }

    /// Whether another version of the program reads the committed run, which this one does not.
    pub(super) fn is_of_another_version(&self) -> bool {
        self.unknown.as_ref().is_some_and(|why| is_of_another_version(why))
    }

    fn bytes_words(&self) -> &'static str {
        let is_artifact = |(file, _): &(String, Drift)| FILES.contains(&file.as_str());
        match self.differences.iter().any(is_artifact) {
            true => "behaviour unchanged, other bytes",
            false => "behaviour unchanged, other files",
        }
    }

    fn unknown_words(&self) -> String {
        format!("behaviour unknown: {}", self.unknown.as_deref().unwrap_or("nothing to compare"))
    }
}

impl<'a> Line<'a> {
    pub(super) fn of(run: &'a Utf8Path, verdict: &'static str) -> Self {
        let (file, line, column, message, class) = (None, None, None, None, None);
        let (behaviour, inputs, unmet): (&[String], &[String], &[String]) = (&[], &[], &[]);
        let (proposal, replies) = (None, None);
        Self {
            run,
            verdict,
            file,
            line,
            column,
            message,
            class,
            behaviour,
            inputs,
            unmet,
            proposal,
            replies,
        }
    }
}

pub(super) fn print_json(
    run: &Utf8Path,
    checked: &Checked,
    terminal: &mut Terminal,
) -> Result<(), Stop> {
    let first = checked.differences.first().map(|(name, drift)| (name.as_str(), drift));
    let (line, column, message) = match first {
        Some((STATE, Drift::Differs(difference))) => {
            let explanation = compare::explain(difference).to_string();
            (Some(difference.line), Some(difference.column), Some(explanation))
        }
        Some((_, Drift::Differs(difference))) => {
            (Some(difference.line), Some(difference.column), None)
        }
        Some((_, Drift::Unreadable(what))) => (None, None, Some(what.clone())),
        None => (None, None, checked.unmet.first().cloned()),
    };
    let message = checked.unknown.clone().or(message);
    let verdict = if checked.is_identical() { "identical" } else { "differs" };
    let inputs: Vec<String> = checked.inputs.iter().map(ToString::to_string).collect();
    let line = Line {
        file: first.map(|(name, _)| name),
        line,
        column,
        message: checked.seed.clone().or(checked.rewritten.clone()).or(message),
        class: Some(checked.class.as_str()),
        behaviour: &checked.behaviour,
        inputs: &inputs,
        unmet: &checked.unmet,
        proposal: checked.proposal.as_deref(),
        replies: checked.is_outside.then_some("recorded"),
        ..Line::of(run, verdict)
    };
    Ok(terminal.json(&line)?)
}

/// Prints what a run does differently, then what is not as expected, then the first byte that
/// differs of each file.
pub(super) fn print_checked(
    run: &Utf8Path,
    checked: &Checked,
    terminal: &mut Terminal,
) -> Result<(), Stop> {
    let run = &escape(run.as_str());
    if checked.is_identical() {
        let replies = if checked.is_outside { format!(", {AS_RECORDED}") } else { String::new() };
        let word = terminal.paint(Tone::Good, "identical");
        return Ok(terminal.line(&format!("{run}: {word}{replies}"))?);
    }
    let word = terminal.paint(Tone::Bad, "differs");
    if let Some(seed) = checked.seed.as_ref().filter(|_| checked.class != Class::Unknown) {
        return Ok(terminal.line(&format!("{run}: {word}: {seed}"))?);
    }
    if checked.class == Class::InputsOnly && checked.unmet.is_empty() {
        return Ok(terminal.line(&format!("{run}: {word}: {}", escape(&checked.headline())))?);
    }
    let what = match checked.class {
        Class::Identical => "not as expected",
        Class::InputsOnly => "behaviour unchanged, inputs changed, not as expected",
        Class::Behaviour => "behaviour",
        Class::Bytes => checked.bytes_words(),
        Class::Unknown => &checked.unknown_words(),
    };
    terminal.line(&format!("{run}: {word}: {}", escape(what)))?;
    if checked.class == Class::Unknown && !checked.is_of_another_version() {
        terminal.line(
            "  restore the run's files, or accept what its task makes now with `gatedrun review`",
        )?;
    }
    for changed in &checked.behaviour {
        terminal.line(&format!("  {}", escape(changed)))?;
    }
    for unmet in &checked.unmet {
        terminal.line(&format!("  not as expected: {}", escape(unmet)))?;
    }
    if !checked.inputs.is_empty() {
        let names: Vec<&str> = checked.inputs.iter().map(|input| input.path.as_str()).collect();
        terminal.line(&format!("  inputs changed: {}", escape(&names.join(", "))))?;
    }
    if let Some(rewritten) = &checked.rewritten {
        terminal.line(&format!("  {}", escape(rewritten)))?;
    }
    for (file, drift) in &checked.differences {
        match drift {
            // That the ledger differs is said above; the others follow from it.
            Drift::Differs(at) if !matches!(checked.class, Class::Bytes | Class::Unknown) => {
                terminal.line(&format!("  {run}/{file}, line {}, byte {}", at.line, at.column))?;
            }
            drift => print_drift(run, file, drift, terminal)?,
        }
    }
    Ok(())
}

fn print_drift(run: &str, file: &str, drift: &Drift, terminal: &mut Terminal) -> Result<(), Stop> {
    let difference = match drift {
        Drift::Unreadable(what) => {
            return Ok(terminal.line(&format!("  {run}/{file}: {}", escape(what)))?);
        }
        Drift::Differs(difference) => difference,
    };
    let place = format!("  {run}/{file}, line {}, byte {}", difference.line, difference.column);
    if file == STATE {
        let explanation = compare::explain(difference);
        terminal.line(&format!("{place}: {}", escape(&explanation.to_string())))?;
        for (pointer, committed, now) in &explanation.fields {
            terminal.line(&format!("    {}", escape(pointer)))?;
            let (committed, now) = differing(committed, now);
            terminal.line(&format!("      committed {committed}"))?;
            terminal.line(&format!("      now       {now}"))?;
        }
        return Ok(());
    }
    if let Some(rewriting) = difference.rewriting() {
        return Ok(terminal.line(&format!("{place}: {}", rewriting.words(RUNS)))?);
    }
    terminal.line(&format!("{place}:"))?;
    let line = |line: &Option<Vec<u8>>| match line {
        Some(line) => String::from_utf8_lossy(line).into_owned(),
        None => "nothing: the file ends here".to_owned(),
    };
    let (committed, now) = differing(&line(&difference.committed), &line(&difference.now));
    terminal.line(&format!("      committed {committed}"))?;
    Ok(terminal.line(&format!("      now       {now}"))?)
}

/// Prints how two run folders differ, file by file.
pub(super) fn print_differences(
    committed: &Utf8Path,
    now: &Utf8Path,
    terminal: &mut Terminal,
) -> Result<(), Stop> {
    for name in FILES {
        let made = now.join(name);
        let cannot = |error: io::Error| Stop::from(HostFault::of(&error, made.as_str(), "read"));
        let drift = match open::open(&committed.join(name)) {
            Ok(committed) => {
                let made = open::open(&made).map_err(cannot)?;
                match compare::difference(committed, made).map_err(cannot)? {
                    Some(difference) => Drift::Differs(difference),
                    None => continue,
                }
            }
            Err(error) => Drift::of(&committed.join(name), &error)?,
        };
        print_drift(&escape(committed.as_str()), name, &drift, terminal)?;
    }
    let others = match differing_files(committed, now) {
        Err(unread) if unread.is_host => return Err(Stop::host(unread)),
        others => others.unwrap_or_default(),
    };
    for other in others.into_iter().filter(|other| !FILES.contains(&other.file.as_str())) {
        let (committed, now) = differing(&other.a, &other.b);
        terminal.line(&format!("  {}:", escape(&other.file)))?;
        terminal.line(&format!("      committed {committed}"))?;
        terminal.line(&format!("      now       {now}"))?;
    }
    Ok(())
}
