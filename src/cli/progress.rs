//! How far a command has come: one line on stderr, on a terminal only, once a second has passed. It
//! disappears at the end, and around everything else that is printed.
//!
//! Nothing is drawn from a thread of its own, so a machine without threads does not mind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::evidence::text::terminal as escape;

/// How long a command runs before its progress is shown.
const SILENT: Duration = Duration::from_secs(1);

/// The progress of a command, or nothing where nobody sees it. A copy is of the same line.
#[derive(Debug, Clone, Default)]
pub struct Progress(Option<Arc<Line>>);

#[derive(Debug)]
struct Line {
    bar: ProgressBar,
    is_drawn: AtomicBool,
}

impl Progress {
    /// A line on stderr, not drawn yet.
    pub fn on_stderr() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("{prefix}{human_pos} events  {wide_msg}") {
            bar.set_style(style);
        }
        Self(Some(Arc::new(Line { bar, is_drawn: AtomicBool::new(false) })))
    }

    /// Says which of so many runs is in hand, from 1.
    pub fn item(&self, name: impl AsRef<str>, number: usize, total: usize) {
        let Some(line) = &self.0 else { return };
        if total > 1 {
            line.bar.set_prefix(format!("{number} of {total}, "));
        }
        line.bar.set_message(escape(name.as_ref()));
        line.draw();
    }

    /// Counts an event.
    pub fn event(&self) {
        let Some(line) = &self.0 else { return };
        line.bar.inc(1);
        line.draw();
    }

    /// Prints something else while the line is out of the way.
    pub fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some(line) if line.is_drawn.load(Ordering::Relaxed) => line.bar.suspend(print),
            _ => print(),
        }
    }

    /// Removes the line.
    pub fn end(&self) {
        if let Some(line) = &self.0 {
            line.bar.finish_and_clear();
        }
    }
}

impl Line {
    /// Draws the line for the first time, once it is time to; from then on it draws itself.
    fn draw(&self) {
        if self.is_drawn.load(Ordering::Relaxed) || self.bar.elapsed() < SILENT {
            return;
        }
        if !self.is_drawn.swap(true, Ordering::Relaxed) {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.bar.tick();
        }
    }
}
