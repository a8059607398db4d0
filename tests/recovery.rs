//! A run is a function of its ledger: run again over a whole one, or carried on from any part of
//! one, it comes to the same bytes.

use camino::Utf8Path;
use gatedrun::agent::RunError;
use gatedrun::evidence::recorder::Recorded;
use gatedrun::inputs::{Inputs, Library, Project};
use gatedrun::ledger::{Answer, Past};
use gatedrun::run::{Course, run};

use crate::support::{Folder, committed_runs, file, root};

fn drive(
    inputs: &Inputs,
    work: &Utf8Path,
    past: Past<'_>,
) -> Result<Recorded<Vec<u8>, Vec<u8>>, RunError> {
    run(inputs, work.to_owned(), Course::from(past), Vec::new(), Vec::new(), |_| {})
}

#[test]
fn every_committed_run_replays_without_a_tool() {
    let library = Library::new(Project::Folder(root()));
    let folder = Folder::new();
    for id in committed_runs() {
        let inputs = library.load(&format!("tasks/{id}.json"), None).unwrap();
        let state = file(&format!("runs/{id}/state.jsonl"));
        let past = Past::whole(state.as_slice(), |_| Answer::Stop);
        let replayed = drive(&inputs, &folder.path().join("work"), past).unwrap();
        assert_eq!(replayed.state, state, "{id}");
        assert_eq!(replayed.trace, file(&format!("runs/{id}/trace.json")), "{id}");
        assert_eq!(replayed.report, file(&format!("runs/{id}/run_report.md")), "{id}");
        assert_eq!(replayed.manifest, file(&format!("runs/{id}/manifest.json")), "{id}");
        assert!(!folder.path().join("work").exists(), "{id}: something was written");
    }
}

#[test]
fn a_run_is_carried_on_from_every_line() {
    let library = Library::new(Project::Folder(root()));
    for id in committed_runs() {
        let inputs = library.load(&format!("tasks/{id}.json"), None).unwrap();
        let state = file(&format!("runs/{id}/state.jsonl"));
        let ends = state.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
        for cut in std::iter::once(0).chain(ends) {
            let folder = Folder::new();
            let work = folder.path().join("work");
            // What the tools had written by then is there, and what they were writing is not.
            let rebuilt = Course {
                recovery: gatedrun::governor::Recovery { rebuild: true, reconciled: None },
                ..Course::from(Past::cut_short(&state[..cut]))
            };
            let carried = run(&inputs, work, rebuilt, Vec::new(), Vec::new(), |_| {}).unwrap();
            assert_eq!(carried.state, state, "{id} at byte {cut}");
            assert_eq!(carried.manifest, file(&format!("runs/{id}/manifest.json")), "{id} at byte {cut}");
        }
    }
}
