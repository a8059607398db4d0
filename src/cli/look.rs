//! How a command prints, whatever it does: the options that every command takes.

use clap::ValueEnum;

/// The options of every command.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Look {
    /// Colour: auto (only on a terminal), always, or never
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        value_enum,
        default_value_t,
        hide_possible_values = true
    )]
    pub color: Colour,
    /// Print results and errors only: no steps, notes or progress
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// When there is colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless the environment says otherwise.
    #[default]
    Auto,
    /// In a file or a pipe too.
    Always,
    /// Nowhere.
    Never,
}

impl Colour {
    /// Whether results are coloured. The option has the last word, then `NO_COLOR`, then the
    /// variables that force colour, then `CLICOLOR=0` and `TERM=dumb`.
    pub fn is_on(self, variable: impl Fn(&str) -> Option<String>, is_terminal: bool) -> bool {
        let value = |name: &str| variable(name).filter(|value| !value.is_empty());
        let forces = |name: &str| {
            value(name).is_some_and(|value| !matches!(value.as_str(), "0" | "false" | "no"))
        };
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto if value("NO_COLOR").is_some() => false,
            Self::Auto if forces("CLICOLOR_FORCE") || forces("FORCE_COLOR") => true,
            Self::Auto => {
                is_terminal
                    && value("CLICOLOR").as_deref() != Some("0")
                    && value("FORCE_COLOR").is_none()
                    && !is_dumb(variable)
            }
        }
    }
}

/// Whether the terminal can only print lines.
pub fn is_dumb(variable: impl Fn(&str) -> Option<String>) -> bool {
    variable("TERM").is_some_and(|term| term == "dumb")
}
