//! The command line: the only code that prints, and the only code that reads the environment.

mod run;
mod check;
mod verify;
mod sign;
mod replay;
mod report;
mod resume;
mod interrupt;
mod diff;
mod review;
mod show;
mod corpus;
mod decide;
mod policy;
mod regression;
mod project;
mod steps;
pub mod output;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use output::Terminal;

/// Exit codes. They are part of the contract with scripts.
pub mod exit {
    /// As expected.
    pub const OK: u8 = 0;
    /// Drift, a failed check, evidence that was tampered with, or an unmet expectation.
    pub const DRIFT: u8 = 1;
    /// Invalid input or usage. Nothing was done.
    pub const USAGE: u8 = 2;
    /// The run ended without a final answer, and its task has no `expected` section.
    pub const ENDED: u8 = 3;
    /// It waits for a human.
    pub const WAITS: u8 = 4;
    /// The evidence cannot be read as a run.
    pub const MALFORMED: u8 = 5;
    /// Nothing contradicts the evidence, but not everything could be checked.
    pub const UNCONFIRMED: u8 = 6;
    /// The run is unfinished: it was interrupted or killed, and can be resumed.
    pub const INTERRUPTED: u8 = 7;
    /// The machine refused something that the program needs. What was recorded is kept.
    pub const HOST: u8 = 8;
    /// The evidence is whole, and the inputs at hand are not those that it was made with.
    pub const INPUTS: u8 = 9;
    /// A defect of the program.
    pub const INTERNAL: u8 = 101;

    /// Every code and its meaning.
    pub const ALL: [(u8, &str); 11] = [
        (OK, "as expected"),
        (DRIFT, "drift, a failed check, evidence that was tampered with, or an unmet expectation"),
        (USAGE, "invalid input or usage; nothing was done"),
        (ENDED, "the run ended without a final answer, and its task has no `expected` section"),
        (WAITS, "waiting for a human: a call is in doubt"),
        (MALFORMED, "the evidence cannot be read as a run"),
        (UNCONFIRMED, "nothing contradicts the evidence, but not everything could be checked"),
        (INTERRUPTED, "the run is unfinished; continue it with `gatedrun resume`"),
        (
            HOST,
            "the machine refused something the program needs (disk, descriptors, permissions, kernel); what was recorded is kept",
        ),
        (INPUTS, "the evidence is whole, but the inputs at hand differ from those of the run"),
        (INTERNAL, "a defect of the program: please report it"),
    ];

    /// From the code that says least to the one that says most: what a command over many runs ends
    /// with.
    const BY_WEIGHT: [u8; 11] = [
        OK,
        ENDED,
        UNCONFIRMED,
        INPUTS,
        INTERRUPTED,
        WAITS,
        DRIFT,
        USAGE,
        MALFORMED,
        HOST,
        INTERNAL,
    ];

    /// The weightier of two codes, for a command that handles several runs.
    ///
    /// ```
    /// use gatedrun::cli::exit;
    /// assert_eq!(exit::worse(exit::DRIFT, exit::INPUTS), exit::DRIFT);
    /// assert_eq!(exit::worse(exit::OK, exit::UNCONFIRMED), exit::UNCONFIRMED);
    /// ```
    pub fn worse(a: u8, b: u8) -> u8 {
        let weight = |code| BY_WEIGHT.iter().position(|known| *known == code);
        if weight(a) >= weight(b) { a } else { b }
    }
}

/// Run an LLM agent under a written policy, and keep the run as evidence that anyone can recompute.
#[derive(Debug, Parser)]
#[command(name = "gatedrun", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Example: gatedrun run tasks/canonical/v1.json")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run tasks, print a line a step, and write each run's evidence
    Run(run::Args),
    /// Execute again and compare every byte of every artifact
    Check(check::Args),
    /// Check evidence without executing anything: chain, grammar, projections, inputs, signature
    Verify(verify::Args),
    /// Sign runs: an in-toto statement in a DSSE envelope beside the manifest
    Sign(sign::SignArgs),
    /// Make a pair of Ed25519 keys
    Keygen(sign::KeygenArgs),
    /// Run again over the record, executing nothing; or try another policy on recorded runs
    Replay(replay::Args),
    /// Carry on a run that was cut short
    Resume(resume::Args),
    /// Compare two runs: the first difference, then step by step
    Diff(diff::Args),
    /// Walk the proposals beside committed runs: accept, reject, or skip each
    Review(review::Args),
    /// Compare outcome and decisions of every task with its committed run
    Regression(regression::Args),
    /// Show a run: its steps as a table, or as JSON
    Show(show::Args),
    /// The policy without a run: check it, test it, decide with it, explain it
    #[command(subcommand)]
    Policy(policy::Command),
    /// Build or check a corpus
    #[command(subcommand)]
    Corpus(corpus::Command),
}

/// Why a command stops: what to print, and the exit code.
#[derive(Debug)]
pub struct Stop {
    /// What to print on stderr; several lines for several problems.
    pub message: String,
    /// One of [`exit`].
    pub code: u8,
}

impl Stop {
    fn usage(message: impl ToString) -> Self {
        Self { message: message.to_string(), code: exit::USAGE }
    }
}

impl From<crate::problem::Problems> for Stop {
    fn from(problems: crate::problem::Problems) -> Self {
        Self::usage(problems)
    }
}

impl From<crate::problem::Problem> for Stop {
    fn from(problem: crate::problem::Problem) -> Self {
        Self::usage(problem)
    }
}

impl From<crate::evidence::write::WriteError> for Stop {
    fn from(error: crate::evidence::write::WriteError) -> Self {
        Self::usage(error)
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        // Nobody reads on: that is how `gatedrun show | head` ends.
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self { message: String::new(), code: exit::OK };
        }
        Self::usage(error)
    }
}

/// Parses the command line, runs the command, and says how it went.
pub fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        let mut terminal = Terminal::new();
        terminal.error(&format!(
            "internal error: {panic}; this is a defect of gatedrun, please report it"
        ));
    }));
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; clap knows which stream is whose.
            let code = if error.use_stderr() { exit::USAGE } else { exit::OK };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let mut terminal = Terminal::new();
    let result = match cli.command {
        Command::Run(args) => run::main(&args, &mut terminal),
        Command::Check(args) => check::main(&args, &mut terminal),
        Command::Verify(args) => verify::main(&args, &mut terminal),
        Command::Sign(args) => sign::sign(&args, &mut terminal),
        Command::Keygen(args) => sign::keygen(&args, &mut terminal),
        Command::Replay(args) => replay::main(&args, &mut terminal),
        Command::Resume(args) => resume::main(&args, &mut terminal),
        Command::Diff(args) => diff::main(&args, &mut terminal),
        Command::Review(args) => review::main(&args, &mut terminal),
        Command::Regression(args) => regression::main(&args, &mut terminal),
        Command::Show(args) => show::main(&args, &mut terminal),
        Command::Policy(command) => policy::main(&command, &mut terminal),
        Command::Corpus(command) => corpus::main(&command, &mut terminal),
    };
    let code = result.unwrap_or_else(|stop| {
        for line in stop.message.lines() {
            terminal.error(line);
        }
        stop.code
    });
    ExitCode::from(code)
}

/// Whether this is CI, where nothing can be accepted.
fn in_ci() -> bool {
    std::env::var_os("CI")
        .is_some_and(|value| !value.is_empty() && value != "false" && value != "0")
}
