//! `gatedrun policy`: the policy without a run.

mod loaded;
mod check;
mod test;
mod explain;

use loaded::{Named, World};

use super::output::Terminal;
use super::{Stop, decide};

pub(super) use check::Checked;
pub(super) use explain::Explained;
pub(super) use test::Failed;

/// The subcommands of `policy`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Check a policy: report every error with its place and how to fix it
    #[command(after_help = "Example: gatedrun policy check policy/v1.yaml")]
    Check(check::Args),
    /// Test a policy against its own examples and the decision tables that are named
    #[command(
        after_help = "Example: gatedrun policy test policy/v1.yaml tests/cases/policy/urls.jsonl\n\nA table has one JSON object per line, such as\n  {\"tool\": \"read\", \"arguments\": {\"path\": \"/etc/passwd\"}, \"decision\": \"deny:sandbox_path\"}"
    )]
    Test(test::Args),
    /// Decide the calls of one run: one JSON call per line of stdin, one decision per line of stdout
    ///
    /// Every line gets exactly one answer, in order. A line that is not a call is answered with
    /// "decision": "deny" and "error", and the exit code at the end is 2. "run_ends" says whether the
    /// run has ended; from then on every call is denied for the same reason.
    #[command(
        after_help = "Example: echo '{\"tool\": \"fetch\", \"arguments\": {\"url\": \"https://example.com/\"}}' | gatedrun policy decide policy/v1.yaml"
    )]
    Decide(Decide),
    /// Explain what each rule decides about a call; without a call, print every key of the policy and
    /// its value, stated or default
    #[command(
        after_help = "Examples: gatedrun policy explain policy/v1.yaml\n          gatedrun policy explain policy/v1.yaml '{\"tool\": \"read\", \"arguments\": {\"path\": \"/etc/passwd\"}}'"
    )]
    Explain(explain::Args),
}

/// The arguments of `policy decide`.
#[derive(Debug, clap::Args)]
pub struct Decide {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    world: World,
    /// Print errors as JSON too; the decisions always are
    #[arg(long)]
    json: bool,
}

pub(super) fn main(command: &Command, terminal: &mut Terminal) -> Result<u8, Stop> {
    match command {
        Command::Check(args) => check::check(args, terminal),
        Command::Test(args) => test::test(args, terminal),
        Command::Decide(args) => {
            let loaded = loaded::load_within(&args.named, &args.world)?;
            decide::serve(&loaded.judge(), std::io::stdin().lock(), terminal)
        }
        Command::Explain(args) => explain::explain(args, terminal),
    }
}
