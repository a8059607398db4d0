//! `gatedrun completions` and `gatedrun man`: what shells and `man` need to know of the command line,
//! made from its one definition.

use camino::Utf8PathBuf;
use clap::CommandFactory;
use clap_complete::Shell;

use super::output::Terminal;
use super::{Cli, Stop, exit};

/// The arguments of `completions`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gatedrun completions bash > ~/.local/share/bash-completion/completions/gatedrun\n  gatedrun completions zsh > ~/.zfunc/_gatedrun"
)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// The arguments of `man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: gatedrun man ~/.local/share/man/man1")]
pub struct ManArgs {
    /// The folder for the pages; it is created if it does not exist
    #[arg(value_name = "FOLDER")]
    folder: Utf8PathBuf,
}

pub(super) fn completions(args: &CompletionsArgs, terminal: &mut Terminal) -> Result<u8, Stop> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "gatedrun", &mut script);
    terminal.line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(exit::OK)
}

pub(super) fn man(args: &ManArgs, terminal: &mut Terminal) -> Result<u8, Stop> {
    let made = std::fs::create_dir_all(&args.folder);
    made.and_then(|()| clap_mangen::generate_to(Cli::command(), &args.folder))
        .map_err(|error| Stop::writing(&args.folder, &error))?;
    terminal.line(&format!(
        "{}: manual pages written; try `man {}/gatedrun.1`",
        args.folder, args.folder
    ))?;
    Ok(exit::OK)
}
