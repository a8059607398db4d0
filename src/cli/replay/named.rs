//! The runs that a user named, and what they were made with.

use std::collections::HashMap;

use camino::{Utf8Path, Utf8PathBuf};

use crate::cli::again::seed_of;
use crate::cli::output::Terminal;
use crate::cli::project::{self, Libraries};
use crate::cli::tasks::task_of;
use crate::cli::{Stop, exit, found};
use crate::inputs::{Inputs, Root};

/// The arguments of `replay`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gatedrun replay                           every run below runs/\n  gatedrun replay runs/canonical/v1\n  gatedrun replay runs --policy policy/next.yaml\n  gatedrun replay runs --policy policy/next.yaml --require deny --junit backtest.xml"
)]
pub struct Args {
    /// Runs, or folders that hold runs
    #[arg(value_name = "RUN or FOLDER", default_value = "runs")]
    pub(super) paths: Vec<Utf8PathBuf>,
    /// The task of a run outside runs/, or of one that was made from a task outside tasks/
    #[arg(long, value_name = "TASK")]
    pub(super) task: Option<Utf8PathBuf>,
    /// Try this policy on the runs: which decisions change, and from which step
    #[arg(long, value_name = "FILE")]
    pub(super) policy: Option<Utf8PathBuf>,
    /// Stop at the first change and report everything after it as unknown
    #[arg(long, requires = "policy")]
    pub(super) recorded_only: bool,
    /// What must still hold: deny, allow, warn, deny:RULE or warn:RULE (as in deny:url_allowlist), or
    /// no-change
    #[arg(long, value_name = "DECISION", requires = "policy")]
    pub(super) require: Vec<String>,
    /// Write the back-test as JUnit XML, one test case per run
    #[arg(long, value_name = "FILE", requires = "policy")]
    pub(super) junit: Option<Utf8PathBuf>,
    /// Write the back-test as SARIF, one result per changed decision
    #[arg(long, value_name = "FILE", requires = "policy")]
    pub(super) sarif: Option<Utf8PathBuf>,
    /// Print the verdicts as JSON, one line per run
    #[arg(long)]
    pub(super) json: bool,
}

/// Loads what runs were made with; what several share, once.
#[derive(Default)]
pub(super) struct Loader {
    pub(super) libraries: Libraries,
    inputs: HashMap<(String, Option<u64>), Inputs>,
}

impl Loader {
    /// Loads what a run was made with, by its task.
    pub(super) fn load(
        &mut self,
        run: &Utf8Path,
        (project, path): (Root, String),
    ) -> Result<&mut Inputs, Stop> {
        // Runs of one task and seed tend to lie together; more than a few are not worth keeping.
        const KEPT_MAX: usize = 64;
        let seed = seed_of(run);
        let key = (format!("{project:?} {path}"), seed);
        if self.inputs.len() > KEPT_MAX {
            self.inputs.clear();
        }
        let inputs = match self.inputs.entry(key) {
            std::collections::hash_map::Entry::Occupied(kept) => kept.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                let library = self.libraries.get(&project);
                if !library.has(&path)? {
                    return Err(Stop::usage(format!(
                        "its task {} does not exist; restore it, or name it with --task",
                        library.typed(&path)
                    )));
                }
                place.insert(library.load(&path, seed)?)
            }
        };
        match project::of_another_task(run, &inputs.task.id) {
            Some(message) => Err(Stop::usage(message)),
            None => Ok(inputs),
        }
    }
}

/// The task of a run, which must not lie in the place of another task's.
pub(super) fn in_place(run: &Utf8Path, task: Option<&Utf8Path>) -> Result<(Root, String), Stop> {
    match project::misplaced(run).filter(|_| task.is_none()) {
        Some(message) => Err(Stop { message, code: exit::DRIFT }),
        None => task_of(run, task),
    }
}

/// A run at a path that was named, or a path that cannot be read, and why.
pub(super) type Named = Result<Utf8PathBuf, (Utf8PathBuf, Stop)>;

/// The runs at the paths that were named. Where several were, one that cannot be read hides no other.
pub(super) fn named_runs(args: &Args, terminal: &mut Terminal) -> Result<Vec<Named>, Stop> {
    let (paths, mut runs) = (&args.paths, Vec::new());
    for path in paths {
        match found::find_runs(path) {
            Ok(found) => {
                found.note_unfinished(terminal);
                let refused = |path: String, what: String, code: u8| {
                    Err((Utf8PathBuf::from(path), Stop { message: what, code }))
                };
                let partial = |path: &Utf8PathBuf| {
                    refused(path.to_string(), found::unfinished(path), exit::INTERRUPTED)
                };
                runs.extend(found.only_unfinished().iter().map(partial));
                runs.extend(found.items.into_iter().map(|item| match item {
                    found::Item::Run(run) => Ok(run),
                    found::Item::Refused(one) => {
                        let code = one.code(exit::UNCONFIRMED);
                        refused(one.path, one.what, code)
                    }
                }));
            }
            Err(stop) if paths.len() > 1 => runs.push(Err((path.clone(), stop))),
            Err(stop) => return Err(stop),
        }
    }
    if let [Ok(run)] = runs.as_slice() {
        task_of(run, args.task.as_deref())?;
    }
    Ok(runs)
}
