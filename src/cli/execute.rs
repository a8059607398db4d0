//! A task executed into a staging folder, for `run`, `resume` and `check`.

use crate::event::Record;
use crate::evidence::expect::Observed;
use crate::evidence::summary::Summary;
use crate::evidence::write::Staging;
use crate::inputs::Inputs;
use crate::isolation::{Status, confined};
use crate::run::Course;

use super::failed::Failed;
use super::output::Terminal;
use super::progress::Progress;
use super::steps::{self, Steps};

/// A finished run.
pub(super) struct Done {
    pub(super) summary: Summary,
    pub(super) observed: Observed,
    pub(super) status: Status,
}

/// How much of a ledger is there when a run begins.
#[derive(Debug, Default)]
pub(super) struct Begun {
    /// Its bytes.
    pub(super) bytes: u64,
    /// What to print once the run continues from there.
    pub(super) line: Option<String>,
}

/// Runs a task into a staging folder, and prints one line per step on a terminal.
pub(super) fn execute(
    inputs: &Inputs,
    staging: &mut Staging,
    course: Course<'_>,
    begun: Begun,
    progress: &Progress,
    mut terminal: Option<&mut Terminal>,
) -> Result<Done, Failed> {
    let durability = inputs.policy.durability(inputs.task.llm.identity().path);
    let (state, trace) = staging.writers(begun.bytes, durability)?;
    if let (Some(terminal), Some(line)) = (&mut terminal, &begun.line) {
        // A run continues whether or not somebody reads along.
        let _ = terminal.detail(line);
    }
    let mut observed = Observed::default();
    let mut rows = Steps::default();
    let expects = inputs.task.expected.is_some();
    let watch = |record: &Record| {
        progress.event();
        if expects {
            observed.push(record);
        }
        let Some(terminal) = &mut terminal else { return };
        let lines = rows.push(record).map_or_else(Vec::new, |row| steps::lines(&row, terminal));
        let lines = lines.into_iter().chain(steps::notice(record, terminal));
        for line in lines {
            // A run continues whether or not somebody reads along.
            let _ = terminal.detail(&line);
        }
    };
    let (result, status) =
        confined(inputs.policy.rules.sandbox_path.isolation, staging.folder(), || {
            crate::run::run(inputs, staging.work(), course, state, trace, watch)
        })?;
    let recorded = result?;
    staging.write_rest(&recorded.report, &recorded.manifest)?;
    Ok(Done { summary: recorded.summary, observed, status })
}
