//! The current inputs, against those that the run was made with. Whatever they are, the evidence is
//! what it is: an input that differs, or that cannot be read, accuses nobody.

use crate::corpus;
use crate::event::CorpusIdentity;
use crate::inputs::{BUILTIN, Library, Root};
use crate::json::Digest;
use crate::line_ends::{Rewriting, pattern};
use crate::problem::Problem;

use super::super::STATE;
use super::check::Check;
use super::finding::{Cause, Finding, Verdict};
use super::ledger::Ledger;

impl Check<'_> {
    /// The current inputs, by their digests.
    pub(super) fn inputs(&mut self, ledger: &Ledger) {
        let Some(started) = &ledger.recorded.summary.started else { return };
        // What is built into the program needs no project.
        let is_builtin = started.corpus.name.starts_with(BUILTIN)
            && started.inputs.iter().all(|input| input.path.starts_with(BUILTIN));
        let builtin = is_builtin.then(|| Library::new(Root::Builtin));
        let Some(project) = self.asked.project.or(builtin.as_ref()) else {
            let what = "the run is not below runs/ of a project, so its inputs were not compared; name the project, as in `--project .`";
            self.add(Verdict::Unconfirmed, Cause::InputUnread, STATE, what);
            return;
        };
        for input in &started.inputs {
            self.input(project, input.role.as_str(), &input.path, input.sha256);
        }
        self.corpus(project, &started.corpus);
    }

    fn input(&mut self, project: &Library, role: &str, path: &str, made: Digest) {
        if !project.is_inside(path) {
            let what = format!("the {role} lies outside of the project and is not read");
            self.add(Verdict::Unconfirmed, Cause::InputUnread, path, what);
            return;
        }
        let found = project.digest(path);
        if found == Some(made) {
            return;
        }
        let bytes = match project.read(path) {
            Ok(bytes) => bytes,
            Err(problem) => {
                let remedy = match problem.is_host {
                    true => "",
                    false => "; restore it, or name the run's project with --project",
                };
                let what =
                    format!("the current {role} cannot be compared: {}{remedy}", problem.what);
                let (verdict, cause) = unread(&problem);
                self.add(verdict, cause, path, what);
                return;
            }
        };
        // It could not be read the first time.
        if Digest::of(&bytes) == made {
            return;
        }
        let (cause, what) = match Rewriting::of(&bytes, made) {
            Some(found) => (found.into(), format!("the {role}: {}", found.words(&pattern(path)))),
            None => (
                Cause::Input,
                format!(
                    "the {role} has SHA-256 {}, and the run was made with {made}: it was edited after the run, or is a different file",
                    Digest::of(&bytes)
                ),
            ),
        };
        self.add(Verdict::InputsDiffer, cause, path, what);
    }

    fn corpus(&mut self, project: &Library, made: &CorpusIdentity) {
        let name = &made.name;
        if !project.is_inside(name) {
            let what = "the corpus lies outside of the project and is not read";
            self.add(Verdict::Unconfirmed, Cause::InputUnread, name, what);
            return;
        }
        if project.corpus(name).is_ok_and(|found| found.identity == *made) {
            return;
        }
        let (mut files, unread) = project.corpus_files(name);
        let manifest = files.remove(corpus::MANIFEST);
        let is_whole = unread.is_empty();
        for problem in unread {
            let (verdict, cause) = self::unread(&problem);
            let finding = Finding::new(
                verdict,
                cause,
                &problem.file,
                format!("a current document cannot be compared: {}", problem.what),
            );
            self.find(finding);
        }
        // Where only the manifest differs, it is a finding of its own.
        if files.is_empty() || is_whole && corpus::identity(name, &files) == *made {
            return;
        }
        let rewritten = if is_whole { corpus::rewritten(&files, made) } else { Vec::new() };
        if !rewritten.is_empty() {
            let what = Rewriting::LineEnds.words(&pattern(&format!("{name}/{}", corpus::MANIFEST)));
            let (file, what) = match rewritten.as_slice() {
                [one] => (format!("{name}/{one}"), what),
                many => (name.clone(), format!("{} documents: {what}", many.len())),
            };
            self.add(Verdict::InputsDiffer, Cause::LineEnds, &file, what);
            return;
        }
        let differing = manifest.map(|bytes| corpus::differences(name, &bytes, &files));
        for problem in differing.iter().flatten() {
            let is_unread = self.findings.iter().any(|finding| {
                matches!(finding.cause, Cause::InputUnread | Cause::Host)
                    && finding.file == problem.file
            });
            if !is_unread {
                let cause = match problem.is_line_ends {
                    true => Cause::LineEnds,
                    false => Cause::Input,
                };
                self.add(Verdict::InputsDiffer, cause, name, problem.to_string());
            }
        }
        if is_whole && differing.is_none_or(|problems| problems.is_empty()) {
            let found = corpus::identity(name, &files);
            let what = format!(
                "the corpus has {} documents and SHA-256 {}, and the run was made with {} and {}",
                found.documents, found.sha256, made.documents, made.sha256
            );
            self.add(Verdict::InputsDiffer, Cause::Input, name, what);
        }
    }
}

/// What it makes of the verdict that an input cannot be read.
fn unread(problem: &Problem) -> (Verdict, Cause) {
    match problem.is_host {
        true => (Verdict::Unread, Cause::Host),
        false => (Verdict::Unconfirmed, Cause::InputUnread),
    }
}
