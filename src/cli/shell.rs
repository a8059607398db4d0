//! `gatedrun completions` and `gatedrun man`: what shells and `man` need to know of the command line,
//! made from its one definition.

use std::io;

use camino::Utf8PathBuf;
use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::file::make_folders;

use super::content::Content;
use super::destination::{self, Destination};
use super::output::Terminal;
use super::{Stop, exit};

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

pub(super) fn completions(
    args: &CompletionsArgs,
    mut command: Command,
    terminal: &mut Terminal,
) -> Result<u8, Stop> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "gatedrun", &mut script);
    terminal.text(String::from_utf8_lossy(&script).trim_end())?;
    Ok(exit::OK)
}

pub(super) fn man(args: &ManArgs, command: Command, terminal: &mut Terminal) -> Result<u8, Stop> {
    let folder = &args.folder;
    destination::folder(folder, Content::Page)?;
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let pages = pages(command).map_err(|error| Stop::writing(folder, &error))?;
    make_folders(folder).map_err(|error| Stop::writing(folder, &error))?;
    let places = pages
        .iter()
        .map(|(name, page)| Ok((Destination::of(&folder.join(name), Content::Page)?, page)));
    for (place, page) in places.collect::<Result<Vec<_>, Stop>>()? {
        place.replace(page)?;
    }
    terminal.line(&format!(
        "{}: manual pages written; try `man {}/gatedrun.1`",
        args.folder, args.folder
    ))?;
    Ok(exit::OK)
}

/// The pages of a command and of all its subcommands, by their files' names.
fn pages(command: Command) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut made = Vec::new();
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()).cloned() {
        made.extend(pages(below)?);
    }
    let (page, mut bytes) = (Man::new(command), Vec::new());
    page.render(&mut bytes)?;
    made.push((page.get_filename(), bytes));
    Ok(made)
}
