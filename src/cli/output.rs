//! Where a command prints: results on stdout, everything else on stderr. Colour, and lines folded to
//! the width of the screen, only on a terminal, unless a user or the environment says otherwise.

use std::convert::Infallible;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::SyncSender;

use schemars::JsonSchema;
use serde::Serialize;
use unicode_width::UnicodeWidthChar;

use crate::evidence::text;
use crate::file::said;
use crate::problem::cut;

use super::look::{Look, is_dumb};
use super::progress::Progress;
use super::{Stop, exit};

/// How long a word of an error may be, in characters. A name that leads somewhere is hardly longer.
const WORD_CHARS_MAX: usize = 1024;

/// An error of bounded length: a user may type a name that is as long as a file. What
/// is cut is the name, so that what is wrong with it is still read.
fn bounded(message: &str) -> String {
    // A place that is an empty name is seen too.
    let mut shown = if message.starts_with(": ") { "\"\"".to_owned() } else { String::new() };
    for word in message.split_inclusive(char::is_whitespace) {
        let name = word.trim_end();
        match name.chars().nth(WORD_CHARS_MAX) {
            None => shown.push_str(word),
            Some(_) => {
                shown.push_str(&cut(name));
                shown.push_str(word.get(name.len()..).unwrap_or_default());
            }
        }
    }
    shown
}

/// The most columns that anything is laid out for.
pub const COLUMNS_MAX: usize = 1000;

/// The two streams of a command.
///
/// Who reads the results decides neither how far a command goes nor how it ends: once a line cannot
/// be printed, no further one is tried, the work goes on, and [`Terminal::finish`] reports it.
#[derive(Debug)]
pub struct Terminal {
    out: io::Stdout,
    err: io::Stderr,
    colour: bool,
    failed: Option<io::Error>,
    /// How many columns a line may have, on a terminal.
    columns: Option<usize>,
    /// The same of errors and remarks.
    err_columns: Option<usize>,
    /// Whether only results and errors are printed.
    quiet: bool,
    /// Whether errors are results too, for a program.
    json: bool,
    progress: Progress,
    /// Who prints, where another terminal does.
    told: Option<SyncSender<Told>>,
}

/// What one terminal has another one print.
#[derive(Debug)]
pub enum Told {
    /// A line of the result.
    Line(String),
    /// A line of JSON.
    Json(String),
    /// A line on stderr.
    Aside(String),
}

/// What `--json` prints of an error.
#[derive(Debug, JsonSchema, Serialize)]
pub(super) struct ErrorLine<'a> {
    error: ErrorBody<'a>,
}

#[derive(Debug, JsonSchema, Serialize)]
struct ErrorBody<'a> {
    message: &'a str,
    code: u8,
}

/// The result of printing: it never stops a command.
pub type Printed = Result<(), Infallible>;

/// Below this width lines are not folded, in columns.
const COLUMNS_MIN: usize = 20;

/// What a word is, for its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Refused, failed, different.
    Bad,
    /// A heading.
    Strong,
}

impl Terminal {
    /// The process's own streams.
    pub fn new() -> Self {
        Self::with(Look::default(), false)
    }

    /// The process's own streams, as the user wants them.
    pub fn with(look: Look, json: bool) -> Self {
        let (out, err) = (io::stdout(), io::stderr());
        let variable =
            |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        let colour = look.color.is_on(variable, out.is_terminal());
        let columns = out.is_terminal().then(|| columns_of(&out)).flatten();
        let err_columns = err.is_terminal().then(|| columns_of(&err)).flatten();
        let is_watched = err.is_terminal() && !look.quiet && !json && !is_dumb(variable);
        let progress = if is_watched { Progress::on_stderr() } else { Progress::default() };
        let quiet = look.quiet;
        let (failed, told) = (None, None);
        Self { out, err, colour, failed, columns, err_columns, quiet, json, progress, told }
    }

    /// Another terminal that looks like this one.
    #[must_use]
    pub fn like(&self) -> Self {
        Self {
            out: io::stdout(),
            err: io::stderr(),
            colour: self.colour,
            failed: None,
            columns: self.columns,
            err_columns: self.err_columns,
            quiet: self.quiet,
            json: self.json,
            progress: self.progress.clone(),
            told: None,
        }
    }

    /// Another terminal that looks like this one, and of which another prints what it is told.
    #[must_use]
    pub fn telling(&self, told: SyncSender<Told>) -> Self {
        Self { told: Some(told), ..self.like() }
    }

    /// Prints what another terminal was told.
    pub fn tell(&mut self, told: Told) {
        let Ok(()) = match told {
            Told::Line(line) => self.line(&line),
            Told::Json(line) => self.json_line(&line),
            Told::Aside(line) => {
                self.say(&line);
                Ok(())
            }
        };
    }

    /// How far the command has come, for whoever waits for it.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// How many columns a line may have: the terminal's, or 100 where there is none.
    pub fn columns(&self) -> usize {
        self.columns.unwrap_or(100).clamp(40, COLUMNS_MAX)
    }

    /// Prints a line of the result, folded where a terminal is narrower. It stays one line, and nothing
    /// but this program's colours reaches the terminal, whatever is in it.
    ///
    /// # Errors
    /// None: see [`Printed`].
    pub fn line(&mut self, text: &str) -> Printed {
        if let Some(told) = &self.told {
            // Nobody listens where printing has stopped.
            let _ = told.send(Told::Line(text.to_owned()));
            return Ok(());
        }
        let shown = shown(text, self.colour);
        self.text(&match self.columns {
            Some(columns) => folded_deeper(&shown, columns),
            None => shown,
        })
    }

    /// Prints a text of this program's own as it is.
    ///
    /// # Errors
    /// None: see [`Printed`].
    pub fn text(&mut self, text: &str) -> Printed {
        if self.failed.is_none() {
            let Self { out, progress, .. } = self;
            let written = progress.aside(|| writeln!(out, "{text}"));
            self.failed = written.err();
        }
        Ok(())
    }

    /// Prints a line that leads to the result, such as a step. Who wants the result alone does not
    /// see it.
    ///
    /// # Errors
    /// None: see [`Printed`].
    pub fn detail(&mut self, text: &str) -> Printed {
        if self.quiet { Ok(()) } else { self.line(text) }
    }

    /// Prints a value as one line of JSON, in which every character can be seen.
    ///
    /// # Errors
    /// None: see [`Printed`].
    pub fn json(&mut self, value: &impl Serialize) -> Printed {
        self.json_line(&text::json(value))
    }

    fn json_line(&mut self, line: &str) -> Printed {
        if let Some(told) = &self.told {
            // Nobody listens where printing has stopped.
            let _ = told.send(Told::Json(line.to_owned()));
        } else if self.failed.is_none() {
            self.failed = writeln!(self.out, "{line}").err();
        }
        Ok(())
    }

    /// Prints what is still held, and reports where not everything was printed; the exit code of
    /// that.
    pub fn finish(&mut self) -> u8 {
        self.progress.end();
        let failed = self.failed.take().or_else(|| self.out.flush().err());
        self.unprinted(failed)
    }

    /// Reports why not everything was printed; the exit code of that. A reader who leaves early, as
    /// `head` does, has read what it wanted.
    pub(super) fn unprinted(&mut self, error: Option<io::Error>) -> u8 {
        match error {
            None => exit::OK,
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => exit::OK,
            Some(error) => {
                self.error(&format!("stdout: {}; not everything was printed", said(&error)));
                exit::HOST
            }
        }
    }

    /// Prints why a command, or a part of it, stopped: for a person on stderr, for a program as a line
    /// of JSON among the results.
    pub fn stop(&mut self, stop: &Stop) {
        let Stop { message, code } = stop;
        let message = &bounded(message);
        if self.json {
            let Ok(()) = self.json(&ErrorLine { error: ErrorBody { message, code: *code } });
            return;
        }
        for line in message.lines() {
            self.error(line);
        }
    }

    /// Prints an error. Control characters in it are shown, not sent.
    pub fn error(&mut self, message: &str) {
        self.say(&format!("gatedrun: {}", text::terminal(message)));
    }

    /// Prints a remark.
    pub fn note(&mut self, message: &str) {
        if !self.quiet {
            self.say(&text::terminal(message));
        }
    }

    /// Asks a question.
    pub fn ask(&mut self, question: &str) {
        self.say(question);
    }

    /// Prints a line on stderr as it is, folded where a terminal is narrower.
    pub(super) fn say(&mut self, line: &str) {
        if let Some(told) = &self.told {
            // Nobody listens where printing has stopped.
            let _ = told.send(Told::Aside(line.to_owned()));
            return;
        }
        let Self { err, err_columns, progress, .. } = self;
        // There is nobody left to tell when stderr is gone.
        let _ = progress.aside(|| match err_columns {
            Some(columns) => writeln!(err, "{}", folded_deeper(line, *columns)),
            None => writeln!(err, "{line}"),
        });
    }

    /// Prints that something is not as it should be, and why: a line, and those that follow it
    /// indented.
    ///
    /// # Errors
    /// None: see [`Printed`].
    pub fn refusal(&mut self, what: impl Display, word: &str, why: &str) -> Printed {
        let word = self.paint(Tone::Bad, word);
        let mut lines = why.lines().map(text::terminal);
        let what = text::terminal(&what.to_string());
        self.line(&format!("{what}: {word}: {}", lines.next().unwrap_or_default()))?;
        lines.try_for_each(|line| self.line(&format!("  {line}")))
    }

    /// A word in its colour, where there is colour.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => GOOD,
            Tone::Bad => BAD,
            Tone::Strong => STRONG,
        };
        format!("{code}{text}{PLAIN}")
    }
}

const GOOD: &str = "\x1b[32m";
const BAD: &str = "\x1b[31m";
const STRONG: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// A line as it is sent: characters that cannot be seen are shown, except for the codes of this
/// program's colours where there is colour.
fn shown(text: &str, colour: bool) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\x1b').filter(|_| colour) {
        let (before, from) = rest.split_at(at);
        shown.push_str(&text::terminal(before));
        let code = [GOOD, BAD, STRONG, PLAIN].into_iter().find(|code| from.starts_with(code));
        let (sent, after) = from.split_at(code.map_or(1, str::len));
        shown.push_str(&code.map_or_else(|| text::terminal(sent), str::to_owned));
        rest = after;
    }
    shown + &text::terminal(rest)
}

/// How many columns a terminal has, where it has enough to fold lines to.
fn columns_of(stream: impl std::os::fd::AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns >= COLUMNS_MIN)
}

/// How much deeper than a line the rest of it stands.
const REST_INDENT: usize = 2;

/// A line folded to so many columns: after a space where there is one, the rest indented a little
/// deeper than the line. A colour takes no column.
fn folded_deeper(text: &str, columns: usize) -> String {
    let lead = text.len() - text.trim_start_matches(' ').len();
    folded(text, columns, lead + REST_INDENT)
}

/// A line folded to so many columns, the rest indented so far.
pub(super) fn folded(text: &str, columns: usize, indent: usize) -> String {
    let indent = " ".repeat(indent.min(columns / 2));
    let mut folded = String::with_capacity(text.len());
    let (mut line, mut width, mut space) = (String::new(), 0, None);
    let mut in_colour = false;
    for character in text.chars() {
        in_colour |= character == '\x1b';
        let columns_of = if in_colour { 0 } else { character.width().unwrap_or(0) };
        in_colour &= character != 'm';
        if width + columns_of > columns {
            // The space where the line ends is not printed.
            let word = space.take().and_then(|at| line.get(at..));
            let word = word.map(|word| word.strip_prefix(' ').unwrap_or(word).to_owned());
            // A word that does not fit the indented line either is broken where the line ends.
            let fits = |word: &String| indent.len() + shown_width(word) + columns_of <= columns;
            let rest = word.filter(fits).unwrap_or_default();
            line.truncate(line.len() - rest.len());
            folded.push_str(line.trim_end_matches(' '));
            folded.push('\n');
            line = format!("{indent}{rest}");
            width = shown_width(&line);
        }
        if character == ' ' && !line.trim_start_matches(' ').is_empty() {
            space = Some(line.len());
        }
        line.push(character);
        width += columns_of;
    }
    folded.push_str(&line);
    folded
}

/// How many columns a text takes, colours left out.
fn shown_width(text: &str) -> usize {
    let mut in_colour = false;
    let columns = text.chars().map(|character| {
        in_colour |= character == '\x1b';
        let columns = if in_colour { 0 } else { character.width().unwrap_or(0) };
        in_colour &= character != 'm';
        columns
    });
    columns.sum()
}

/// How many characters of a value are printed.
const VALUE_CHARS_MAX: usize = 200;

/// How many of them stand before the first difference.
const LEAD_CHARS: usize = 40;

/// Two values that differ, for one line each: whole, or from shortly before the difference on.
pub fn differing(a: &str, b: &str) -> (String, String) {
    let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    let is_long = |text: &str| text.chars().nth(VALUE_CHARS_MAX).is_some();
    let from = if is_long(a) || is_long(b) { same.saturating_sub(LEAD_CHARS) } else { 0 };
    let part = |whole: &str| {
        let at = whole.char_indices().nth(from).map_or(whole.len(), |(at, _)| at);
        let rest = text::shortened(whole.get(at..).unwrap_or_default(), VALUE_CHARS_MAX);
        format!("{}{}", if from > 0 { "…" } else { "" }, text::terminal(&rest))
    };
    (part(a), part(b))
}

impl Default for Terminal {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_and_sends_no_codes_but_its_own() {
        let hostile = "a\nb\r\u{1b}[2K\u{1b}[31mc\u{1b}[0m\u{202e}";
        let plain = "a␊b<U+000D><U+001B>[2K<U+001B>[31mc<U+001B>[0m<U+202E>";
        assert_eq!(shown(hostile, false), plain);
        let coloured = "a␊b<U+000D><U+001B>[2K\u{1b}[31mc\u{1b}[0m<U+202E>";
        assert_eq!(shown(hostile, true), coloured);
    }
}
