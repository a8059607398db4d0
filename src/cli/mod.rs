//! The command line: the only code that prints, and the only code that reads the environment.

pub mod exit;
mod stop;
mod content;
mod destination;
mod report;
pub mod look;
pub mod progress;
pub mod output;
mod checked;
mod interrupt;
mod project;
mod attributes;
mod steps;
mod ci;
mod refused;
mod tasks;
mod next;
mod offer;
mod scratch;
mod failed;
mod execute;
mod again;
mod typos;
mod in_order;
mod run;
mod found;
mod sign;
mod items;
mod check;
mod verify;
mod replay;
mod diff;
mod review;
mod resume;
mod show;
mod corpus;
mod decide;
mod policy;
mod regression;
mod list;
mod schema;
mod shell;

use std::ffi::OsString;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, resume_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{CommandFactory, Parser, Subcommand};

use crate::host::HostFault;

use look::Look;
use output::Terminal;

pub use stop::Stop;

/// The end of the help: an example, and every code.
fn exit_codes() -> String {
    let mut help = "Example: gatedrun run        the built-in task, or tasks/canonical/v1.json of a project\n\nExit codes:".to_owned();
    for (code, says) in exit::ALL {
        let line = format!("  {code:>3}  {says}");
        help.push_str(&format!("\n{}", output::folded(&line, 98, 7)));
    }
    help
}

/// Run an LLM agent under a written policy, and keep the run as evidence that anyone can recompute.
#[derive(Debug, Parser)]
#[command(name = "gatedrun", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = exit_codes())]
pub struct Cli {
    #[command(flatten)]
    look: Look,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run tasks, print each step, and write the evidence of each run
    Run(run::Args),
    /// Execute the tasks of runs again and compare every byte of every artifact
    Check(check::Args),
    /// Check evidence without executing anything: chain, grammar, projections, inputs, signature
    Verify(verify::Args),
    /// Sign runs: an in-toto statement in a DSSE envelope beside the manifest
    Sign(sign::SignArgs),
    /// Make an Ed25519 key pair
    Keygen(sign::KeygenArgs),
    /// Replay runs from their ledgers without executing tools, or try another policy on them
    Replay(replay::Args),
    /// Resume an interrupted run
    Resume(resume::Args),
    /// Compare two runs: show the first difference, then each step
    Diff(diff::Args),
    /// Go through the proposals beside committed runs: accept, reject, or skip each
    Review(review::Args),
    /// Compare the outcome and decisions of every task with its committed run
    Regression(regression::Args),
    /// List the tasks and runs of a project: what is committed, unfinished, proposed or missing
    List(list::Args),
    /// Show a run: its steps as a table, or as JSON
    Show(show::Args),
    /// Check, test or explain a policy, or decide calls with it, without a run
    #[command(subcommand)]
    Policy(policy::Command),
    /// Build or check a corpus
    #[command(subcommand)]
    Corpus(corpus::Command),
    /// Print the JSON Schema of a file or of a command's --json output
    Schema(schema::Args),
    /// Print a completion script for a shell
    Completions(shell::CompletionsArgs),
    /// Write manual pages, one file per command
    Man(shell::ManArgs),
}

/// Parses the command line, runs the command, and says how it went.
pub fn main() -> ExitCode {
    std::panic::set_hook(Box::new(report_panic));
    let args: Vec<OsString> = std::env::args_os().collect();
    // Every command with data to print has the flag, and the flag is looked up before anything is parsed.
    let json = args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--json");
    if let Some(stop) = unreadable(&args) {
        let mut terminal = Terminal::with(Look::default(), json);
        terminal.stop(&stop);
        return ExitCode::from(exit::worse(stop.code, terminal.finish()));
    }
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return unparsed(error, &args, json),
    };
    match catch_unwind(AssertUnwindSafe(|| command(cli, json))) {
        Ok(code) => ExitCode::from(code),
        // The hook has said so.
        Err(_) if REFUSED.load(Ordering::Relaxed) => ExitCode::from(exit::HOST),
        Err(panic) => resume_unwind(panic),
    }
}

/// Whether what a thread panicked about is the machine's doing.
static REFUSED: AtomicBool = AtomicBool::new(false);

/// Says why a thread panics: a bug, or what the standard library does where a system call that it
/// relies on fails.
fn report_panic(panic: &PanicHookInfo<'_>) {
    let fault = panic.payload_as_str().and_then(HostFault::of_panic);
    let message = match &fault {
        Some(fault) => format!("{fault}; {}, then repeat the command", fault.remedy()),
        None => format!("internal error: {panic}; this is a bug in gatedrun, please report it"),
    };
    REFUSED.store(fault.is_some(), Ordering::Relaxed);
    Terminal::new().error(&message);
}

/// Runs the command; its exit code.
fn command(cli: Cli, json: bool) -> u8 {
    let mut terminal = Terminal::with(cli.look, json);
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
        Command::List(args) => list::main(&args, &mut terminal),
        Command::Show(args) => show::main(&args, &mut terminal),
        Command::Policy(command) => policy::main(&command, &mut terminal),
        Command::Corpus(command) => corpus::main(&command, &mut terminal),
        Command::Schema(args) => schema::main(&args, &mut terminal),
        Command::Completions(args) => shell::completions(&args, Cli::command(), &mut terminal),
        Command::Man(args) => shell::man(&args, Cli::command(), &mut terminal),
    };
    let verdict = result.unwrap_or_else(|stop| {
        terminal.stop(&stop);
        stop.code
    });
    exit::worse(verdict, terminal.finish())
}

/// Which arguments are not text, where there are such; clap does not say which.
fn unreadable(args: &[OsString]) -> Option<Stop> {
    let unread = args.iter().enumerate().skip(1).filter(|(_, arg)| arg.to_str().is_none());
    let unread: Vec<String> =
        unread.map(|(number, arg)| format!("argument {number}, {arg:?}: not UTF-8")).collect();
    (!unread.is_empty()).then(|| {
        let what = "nothing was done; rename the file, or name the folder it is in: the others in it then get their verdicts";
        Stop::lines(format!("{}; {what}", unread.join("\n")))
    })
}

/// Prints why the command line cannot be read, or the help that was asked for.
fn unparsed(error: clap::Error, args: &[OsString], json: bool) -> ExitCode {
    let mut terminal = Terminal::with(Look::default(), json);
    // Help and version are not errors; clap knows which stream is whose.
    if !error.use_stderr() {
        let printed = error.print().and_then(|()| io::stdout().flush());
        return ExitCode::from(terminal.unprinted(printed.err()));
    }
    let help = typos::help(args, Cli::command());
    let told = typos::explained(error, args, Cli::command()).render().to_string();
    let Some(message) = told.strip_prefix("error: ") else {
        // Without a command, the help is what is wanted.
        told.lines().for_each(|line| terminal.say(line));
        return ExitCode::from(exit::worse(exit::USAGE, terminal.finish()));
    };
    let message = message.trim_end();
    let message = message.split("\n\nFor more information").next().unwrap_or(message);
    let message = &format!("{message}\nsee `{help}`");
    if json {
        terminal.stop(&Stop::lines(message.clone()));
    } else {
        let mut lines = message.lines();
        lines.next().into_iter().for_each(|line| terminal.error(line));
        lines.for_each(|line| terminal.say(&crate::evidence::text::terminal(line)));
    }
    ExitCode::from(exit::worse(exit::USAGE, terminal.finish()))
}
