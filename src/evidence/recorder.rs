//! Drives the four artifacts from one stream of records. What `run` writes, what `check` compares
//! and what is projected from a committed ledger all come through here, so they cannot differ.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use sha2::{Digest as _, Sha256};

use crate::event::Record;
use crate::host::HostFault;
use crate::json::Digest;
use crate::ledger::{LedgerError, Reader};

use super::manifest::{self, FileDigest, Work, WorkFiles};
use super::report::Report;
use super::summary::Summary;
use super::trace::Trace;
use super::{REPORT, STATE, TRACE};

/// Writes the ledger and the trace as records come, and holds what the rest is made of.
#[derive(Debug)]
pub struct Recorder<S, T> {
    state: Hashing<S>,
    trace: Trace<Hashing<T>>,
    report: Report,
    summary: Summary,
    work: Work,
    head: Digest,
}

/// What is left to write when the last record is in.
#[derive(Debug)]
pub struct Recorded<S, T> {
    /// The ledger's writer.
    pub state: S,
    /// The trace's writer.
    pub trace: T,
    /// The report's bytes.
    pub report: Vec<u8>,
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
    /// The counts.
    pub summary: Summary,
    /// The files that the run wrote itself.
    pub work: WorkFiles,
    /// The ledger's digest and size.
    pub ledger: FileDigest,
    /// The ledger's head.
    pub head: Digest,
}

impl<S, T> Recorded<S, T> {
    /// The trace's writer, and the rest.
    pub fn without_trace(self) -> (T, Recorded<S, ()>) {
        let Self { state, trace, report, manifest, summary, work, ledger, head } = self;
        (trace, Recorded { state, trace: (), report, manifest, summary, work, ledger, head })
    }
}

impl<S: Write, T: Write> Recorder<S, T> {
    /// A recorder at the start of a run.
    pub fn new(state: S, trace: T) -> Self {
        Self {
            state: Hashing::new(state),
            trace: Trace::new(Hashing::new(trace)),
            report: Report::default(),
            summary: Summary::default(),
            work: Work::default(),
            head: Digest::ZERO,
        }
    }

    /// Takes a record, its line, and the line's SHA-256.
    ///
    /// # Errors
    /// The writers'.
    pub fn push(&mut self, record: &Record, line: &[u8], sha256: Digest) -> io::Result<()> {
        let written = self.state.write_all(line).and_then(|()| self.state.write_all(b"\n"));
        written.map_err(unwritten(STATE))?;
        self.head = sha256;
        self.summary.push(record);
        self.report.push(record);
        self.work.push(record);
        self.trace.push(record).map_err(unwritten(TRACE))
    }

    /// How many files the run has written itself so far.
    pub fn work_files(&self) -> usize {
        self.work.len()
    }

    /// Hands everything recorded so far to the operating system.
    ///
    /// # Errors
    /// The writer's.
    pub fn flush(&mut self) -> io::Result<()> {
        self.state.flush().map_err(unwritten(STATE))
    }

    /// Ends the run: flushes both writers and renders the rest.
    ///
    /// # Errors
    /// The writers'.
    pub fn finish(self) -> io::Result<Recorded<S, T>> {
        let (state, state_digest) = self.state.finish().map_err(unwritten(STATE))?;
        let (trace, trace_digest) = self.trace.into_inner().finish().map_err(unwritten(TRACE))?;
        let report = self.report.render(&self.summary, self.head);
        let report_digest = FileDigest { sha256: Digest::of(&report), bytes: report.len() as u64 };
        let files =
            BTreeMap::from([(STATE, state_digest), (TRACE, trace_digest), (REPORT, report_digest)]);
        let manifest = manifest::render(&self.summary, &self.work, self.head, files);
        Ok(Recorded {
            state,
            trace,
            report,
            manifest,
            summary: self.summary,
            work: self.work.into_files(),
            ledger: state_digest,
            head: self.head,
        })
    }
}

/// Says which file could not be written, where the error does not.
fn unwritten(name: &'static str) -> impl Fn(io::Error) -> io::Error {
    move |error| HostFault::of(&error, name, "written").into()
}

/// Projects a ledger: the four artifacts, from its records alone.
///
/// # Errors
/// The first line of the ledger that is wrong.
pub fn project<S: Write, T: Write>(
    ledger: impl Read,
    state: S,
    trace: T,
) -> Result<Recorded<S, T>, LedgerError> {
    let mut recorder = Recorder::new(state, trace);
    let mut reader = Reader::new(ledger);
    while let Some(record) = reader.next_record()? {
        recorder.push(&record, reader.line(), reader.head()).map_err(LedgerError::Sink)?;
    }
    recorder.finish().map_err(LedgerError::Sink)
}

/// A writer that knows the digest and size of what went through it.
#[derive(Debug)]
struct Hashing<W> {
    out: W,
    hasher: Sha256,
    bytes: u64,
}

impl<W: Write> Hashing<W> {
    fn new(out: W) -> Self {
        Self { out, hasher: Sha256::new(), bytes: 0 }
    }

    fn finish(mut self) -> io::Result<(W, FileDigest)> {
        self.out.flush()?;
        Ok((self.out, FileDigest { sha256: Digest::from(self.hasher), bytes: self.bytes }))
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
