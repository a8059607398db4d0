//! `gatedrun`: see `gatedrun --help`, and `src/cli` for what is behind it.

use std::process::ExitCode;

fn main() -> ExitCode {
    gatedrun::cli::main()
}
