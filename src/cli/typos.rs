//! What a user meant who typed something else.

use std::ffi::OsString;
use std::num::NonZero;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::problem::{QUOTED_CHARS_MAX, cut, nearest_within};

/// An error about the command line, with the option that was probably meant.
pub fn explained(mut error: clap::Error, args: &[OsString], command: clap::Command) -> clap::Error {
    shorten(&mut error);
    // What clap shows names as required what it would need for the options that were given.
    error.insert(ContextKind::Usage, ContextValue::StyledStr(usage(args, command.clone())));
    if error.kind() == ErrorKind::InvalidSubcommand {
        suggest_command(&mut error, args, command);
        return error;
    }
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    // What clap suggests is near in its own measure, or `-- --ouput`, which nobody means.
    error.remove(ContextKind::Suggested);
    error.remove(ContextKind::SuggestedArg);
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let name = given.split('=').next().unwrap_or_default();
    let Some(name) = name.strip_prefix("--") else { return error };
    let known = options(args, command);
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    // An option is short, and what is typed for it is often longer: `--output` for `--out`.
    let near = |known: &str| known.len().max(name.len()) / 2;
    if known.contains(&name) {
        // It is an option of the command, given before the command.
        let place =
            format!("'--{name}' belongs after the command, as in `gatedrun verify --json runs`");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![place.into()]));
        return error;
    }
    if let Some(meant) = nearest_within(name, &known, near) {
        let meant = ContextValue::String(format!("--{meant}"));
        error.insert(ContextKind::SuggestedArg, meant);
    }
    error
}

/// Names the one command that was probably meant. In what clap measures, `schema` is nearer to `chek` than
/// `check` is.
fn suggest_command(error: &mut clap::Error, args: &[OsString], mut command: clap::Command) {
    command.build();
    error.remove(ContextKind::SuggestedSubcommand);
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidSubcommand) else {
        return;
    };
    let of = named(args, &command).pop().unwrap_or(&command);
    let known: Vec<&str> = of.get_subcommands().map(clap::Command::get_name).collect();
    if let Some(meant) = nearest_within(given, &known, |known| known.len().max(3) / 3) {
        let meant = ContextValue::String(meant.to_owned());
        error.insert(ContextKind::SuggestedSubcommand, meant);
    }
}

/// Cuts what an error quotes of the command line: an argument may be as long as a file.
fn shorten(error: &mut clap::Error) {
    let long = |text: &String| text.chars().count() > QUOTED_CHARS_MAX;
    let cut_all = |texts: &[String]| texts.iter().map(|text| cut(text).into_owned()).collect();
    let shortened: Vec<(ContextKind, ContextValue)> = error
        .context()
        .filter_map(|(kind, value)| match value {
            ContextValue::String(text) if long(text) => {
                Some((kind, ContextValue::String(cut(text).into_owned())))
            }
            ContextValue::Strings(texts) if texts.iter().any(long) => {
                Some((kind, ContextValue::Strings(cut_all(texts))))
            }
            _ => None,
        })
        .collect();
    for (kind, value) in shortened {
        error.insert(kind, value);
    }
}

/// How to print the help of the command that these arguments name.
pub fn help(args: &[OsString], mut command: clap::Command) -> String {
    command.build();
    let names = named(args, &command).into_iter().map(clap::Command::get_name);
    format!("{} --help", names.collect::<Vec<_>>().join(" "))
}

/// How the command is called that these arguments name.
fn usage(args: &[OsString], mut command: clap::Command) -> clap::builder::StyledStr {
    command.build();
    let named = named(args, &command).pop().cloned();
    named.unwrap_or(command).render_usage()
}

/// The command that these arguments name, below those that it belongs to.
fn named<'c>(args: &[OsString], command: &'c clap::Command) -> Vec<&'c clap::Command> {
    args.iter().skip(1).fold(vec![command], |mut named, arg| {
        // The help of `help` is that of the program.
        let next = named.last().and_then(|last| last.find_subcommand(arg));
        named.extend(next.filter(|next| next.get_name() != "help"));
        named
    })
}

/// The long options of the command that these arguments name.
fn options(args: &[OsString], mut command: clap::Command) -> Vec<String> {
    command.build();
    let named = named(args, &command).pop().unwrap_or(&command);
    named.get_arguments().filter_map(|arg| arg.get_long()).map(str::to_owned).collect()
}

/// Reads how many pieces of work are done at a time.
///
/// # Errors
/// What such a number is.
pub fn jobs(text: &str) -> Result<NonZero<usize>, String> {
    text.parse().map_err(|_| "give a whole number from 1".to_owned())
}

/// Reads a seed.
///
/// # Errors
/// What a seed is.
pub fn seed(text: &str) -> Result<u64, String> {
    // A task's seed is an integer of JSON, and so is what the trace says of it.
    let seed = text.parse().ok().filter(|seed| *seed <= i64::MAX.unsigned_abs());
    seed.ok_or_else(|| format!("a seed is a whole number from 0 to {}", i64::MAX))
}
