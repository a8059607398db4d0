//! The ledger, line by line, and the three files that it is projected to.

use std::io::{self, BufRead, Read};

use serde::Deserialize;

use crate::event::{Event, ExecutionPath, InputRole};
use crate::json::Digest;
use crate::ledger::{LINE_BYTES_MAX, LedgerError, Reader};
use crate::line_ends::trimmed;

use super::super::compare::{self, Comparison, Difference};
use super::super::facts::Facts;
use super::super::manifest::{self, FileDigest};
use super::super::recorder::{Recorded, Recorder};
use super::super::text::{shell_word, shortened};
use super::super::{ATTESTATION, MANIFEST, REPORT, STATE, TRACE};
use super::check::{Check, WORK_FILES_MAX};
use super::finding::{Cause, Finding, Verdict};
use super::policy::policy;

/// How much of a line is quoted.
const QUOTED_CHARS_MAX: usize = 120;

/// A ledger that can be read to its end, and what it projects to.
pub(super) struct Ledger {
    pub(super) recorded: Recorded<io::Sink, ()>,
    trace: Option<Difference>,
    last_line: u64,
    /// Whether the run has not ended, or is not in its place yet.
    pub(super) is_unfinished: bool,
    /// Whether it stops while a call is being executed, which may have changed files already.
    pub(super) is_in_call: bool,
}

/// What a manifest says of its ledger.
struct Stated {
    head: Digest,
    records: u64,
    sha256: Digest,
}

impl Check<'_> {
    /// Reads the ledger, checking every line; `None` if it is not readable to its end.
    pub(super) fn ledger(&mut self) -> Option<Ledger> {
        let is_partial = self.resumed_as().is_some();
        let state: Box<dyn BufRead> = match self.open(STATE) {
            Ok(state) => state,
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_partial => {
                self.unfinished(0, None, false);
                return None;
            }
            Err(error) => {
                self.unreadable(STATE, &error);
                return None;
            }
        };
        let ended = match self.ended() {
            Ok(ended) => ended,
            Err((name, error)) => {
                self.unreadable(name, &error);
                return None;
            }
        };
        let trace: Box<dyn BufRead> = match self.open(TRACE) {
            Ok(trace) => trace,
            Err(error) if error.kind() == io::ErrorKind::NotFound && ended.is_none() => {
                Box::new(io::empty())
            }
            Err(error) => {
                self.unreadable(TRACE, &error);
                Box::new(io::empty())
            }
        };
        let trace = Comparison::new(trace);
        let mut recorder = Recorder::new(io::sink(), trace);
        let mut reader = Reader::new(state);
        let mut facts = Facts::default();
        let mut lines = 0;
        let mut is_in_call = false;
        let (mut task, mut is_outside) = (None, false);
        loop {
            let record = match reader.next_record() {
                Ok(Some(record)) => record,
                Ok(None) => break,
                Err(error) => {
                    self.wrong_line(&mut reader, &error);
                    return None;
                }
            };
            lines += 1;
            if let Some(watch) = self.asked.watch {
                (watch.0)();
            }
            match &record.event {
                Event::RunStarted(started) => {
                    is_outside = started.llm.path == ExecutionPath::Outside;
                    let inputs = started.inputs.iter();
                    let of_task = inputs.filter(|input| input.role == InputRole::Task);
                    task = of_task.map(|input| input.path.clone()).next();
                    if let Some(policy) =
                        self.asked.project.and_then(|project| policy(project, started))
                    {
                        facts.hold_to(policy.rules.loop_budget);
                    }
                }
                Event::ToolStarted(_) => is_in_call = true,
                Event::ToolFinished(_) => is_in_call = false,
                _ => {}
            }
            if let Err(what) = facts.push(&record) {
                self.add_line(Verdict::Tampered, Cause::Facts, lines, what);
                return None;
            }
            if recorder.work_files() > WORK_FILES_MAX {
                let what = format!(
                    "the run wrote more than {WORK_FILES_MAX} files, the most that are read"
                );
                self.add_line(Verdict::Malformed, Cause::Format, lines, what);
                return None;
            }
            if let Err(error) = recorder.push(&record, reader.line(), reader.head()) {
                self.unreadable(TRACE, &error);
                return None;
            }
        }
        let is_finished = reader.is_finished() && reader.torn() == 0;
        let is_unfinished = if is_finished { is_partial } else { ended.is_none() };
        if is_unfinished {
            self.unfinished(lines, task.as_deref(), is_outside);
        } else if reader.torn() > 0 {
            let what = format!("cut short: {} bytes without a line feed", reader.torn());
            self.add_line(Verdict::Malformed, Cause::Ledger, lines + 1, what);
            return None;
        } else if !is_finished {
            let says = match (self.stated(), ended) {
                (Some(stated), _) => {
                    format!("the manifest says that it has {} lines", stated.records)
                }
                (None, ended) => format!("{} is written after it", ended.unwrap_or(MANIFEST)),
            };
            let what = format!("the ledger ends here without run_finished, and {says}");
            self.add_line(Verdict::Tampered, Cause::Ledger, lines.max(1), what);
            return None;
        }
        let ended = recorder.finish().and_then(|recorded| {
            let (trace, recorded) = recorded.without_trace();
            let trace = trace.finish()?;
            Ok(Ledger { recorded, trace, last_line: lines, is_unfinished, is_in_call })
        });
        match ended {
            Ok(ledger) => Some(ledger),
            Err(error) => {
                self.unreadable(TRACE, &error);
                None
            }
        }
    }

    /// What lies in the folder and is written only when the run has ended.
    fn ended(&self) -> Result<Option<&'static str>, (&'static str, io::Error)> {
        for name in [REPORT, MANIFEST, ATTESTATION] {
            if self.folder.has(name).map_err(|error| (name, error))? {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    fn unfinished(&mut self, lines: u64, task: Option<&str>, is_outside: bool) {
        let place = match lines {
            0 => "nothing is recorded yet".to_owned(),
            1 => "the ledger is intact up to event 0".to_owned(),
            lines => format!("the ledger is intact up to event {}", lines - 1),
        };
        let next = match self.resumed_as() {
            Some(_) if is_outside => {
                "its calls come from another program, and no run of that can be resumed: move the folder away, and let the program begin again"
                    .to_owned()
            }
            Some(name) => {
                // Only of a run below runs/ the place says which task it is of.
                let real = self.folder.path().canonicalize_utf8();
                let is_placed = real.is_ok_and(|real| real.iter().any(|part| part == "runs"));
                let task = match (is_placed, task) {
                    (true, _) => String::new(),
                    (false, task) => format!(" --task {}", task.map_or("TASK".into(), shell_word)),
                };
                format!("continue it with `gatedrun resume {}{task}`", shell_word(name))
            }
            None => "it lies outside of a .partial folder, where `gatedrun resume` would find it"
                .to_owned(),
        };
        let finding = Finding::new(
            Verdict::Unfinished,
            Cause::Unfinished,
            STATE,
            format!("the run was interrupted or is still being made: {place}; {next}"),
        );
        self.find(if lines == 0 { finding } else { finding.line(lines) });
    }

    /// The line that was changed, where a line is not what the lines before it promise.
    fn wrong_line(&mut self, reader: &mut Reader<impl Read>, error: &LedgerError) {
        let (verdict, cause, line, what) = match error {
            LedgerError::Malformed { line, what } => {
                (Verdict::Malformed, Cause::Format, *line, what.clone())
            }
            LedgerError::Grammar { line, what } => {
                (Verdict::Tampered, Cause::Ledger, *line, what.clone())
            }
            LedgerError::Unlinked { line, stated, computed } => {
                return self.unlinked(reader, *line, *stated, *computed);
            }
            LedgerError::Read(error) => {
                self.unreadable(STATE, error);
                return;
            }
            other => {
                self.add(Verdict::Malformed, Cause::Unreadable, STATE, other.to_string());
                return;
            }
        };
        self.add_line(verdict, cause, line, what);
    }

    /// A link that does not fit: whether the line that holds it or the line before it was changed
    /// is found from what the line after them says.
    fn unlinked(
        &mut self,
        reader: &mut Reader<impl Read>,
        line: u64,
        stated: Digest,
        computed: Digest,
    ) {
        let own = Digest::of(reader.line());
        let following = reader.following_line().ok().flatten();
        let promised = match following {
            Some(bytes) => prev_of(&bytes),
            None => self.stated().map(|stated| stated.head),
        };
        let (line, what) = if promised == Some(own) {
            let what = format!("its SHA-256 is {computed}, and the line after it says {stated}");
            (line - 1, what)
        } else {
            let what = format!("prev is {stated}, and the line before it has SHA-256 {computed}");
            (line, what)
        };
        self.add_line(Verdict::Tampered, Cause::Ledger, line, what);
    }

    /// What the manifest says of the ledger, where it can be read.
    fn stated(&self) -> Option<Stated> {
        #[derive(Deserialize)]
        struct Manifest {
            ledger: Chain,
            files: Files,
        }
        #[derive(Deserialize)]
        struct Chain {
            head: Digest,
            records: u64,
        }
        #[derive(Deserialize)]
        struct Files {
            #[serde(rename = "state.jsonl")]
            state: FileDigest,
        }
        let bytes = self.read(MANIFEST, LINE_BYTES_MAX as u64).ok()?;
        let Manifest { ledger, files } = serde_json::from_slice(&bytes).ok()?;
        Some(Stated { head: ledger.head, records: ledger.records, sha256: files.state.sha256 })
    }

    /// The three other files, against what the ledger makes of them.
    pub(super) fn projections(&mut self, ledger: &Ledger) {
        let recorded = &ledger.recorded;
        // One changed byte of the manifest cannot change both of these; a changed last line does.
        if let Some(stated) = self.stated()
            && stated.head != recorded.head
            && stated.sha256 != recorded.ledger.sha256
        {
            let (head, records) = (stated.head, stated.records);
            let what = if records == ledger.last_line {
                format!("its SHA-256 is {}, and the manifest says {head}", recorded.head)
            } else {
                format!(
                    "the ledger has {} lines, and the manifest says that it has {records}",
                    ledger.last_line
                )
            };
            self.add_line(Verdict::Tampered, Cause::Ledger, ledger.last_line, what);
            return;
        }
        // What another version projects is not what this one does, and says nothing of the evidence.
        let stated = self.read(MANIFEST, LINE_BYTES_MAX as u64).ok();
        if let Some(what) = stated.and_then(|bytes| manifest::other_format(&bytes)) {
            self.add(Verdict::Malformed, Cause::Format, MANIFEST, what);
            return;
        }
        if let Some(difference) = &ledger.trace
            && !self.findings.iter().any(|finding| finding.file == TRACE)
        {
            self.differs(TRACE, difference);
        }
        for (name, due) in [(REPORT, &recorded.report), (MANIFEST, &recorded.manifest)] {
            // A report of an earlier version may have spaces at the ends of its lines itself.
            let (due, committed) = if self.trimming {
                (trimmed(due), self.open(name))
            } else {
                (due.clone(), self.open(name))
            };
            let compared =
                committed.and_then(|committed| compare::difference(committed, due.as_slice()));
            match compared {
                Ok(None) => {}
                Ok(Some(difference)) => self.differs(name, &difference),
                Err(error) => self.unreadable(name, &error),
            }
        }
    }

    fn differs(&mut self, file: &str, difference: &Difference) {
        let from = difference.column - 1;
        let rest = |line: &Option<Vec<u8>>| {
            let rest = line.as_deref()?.get(from..)?;
            Some(shortened(&String::from_utf8_lossy(rest), QUOTED_CHARS_MAX).into_owned())
        };
        let what = match (&difference.committed, &difference.now) {
            (None, _) => "the file ends too early",
            (_, None) => "extra content after the expected end of the file",
            _ => "does not match what the ledger produces",
        };
        let (found, expected) = (rest(&difference.committed), rest(&difference.now));
        self.find(Finding {
            line: Some(difference.line),
            byte: Some(difference.column),
            found,
            expected,
            ..Finding::new(Verdict::Tampered, Cause::Projection, file, what)
        });
    }
}

/// What a line says of the line before it.
fn prev_of(line: &[u8]) -> Option<Digest> {
    #[derive(Deserialize)]
    struct Link {
        prev: Digest,
    }
    serde_json::from_slice(line).ok().map(|link: Link| link.prev)
}
