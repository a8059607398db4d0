//! `gatedrun replay`: runs again over their own record, and other policies tried on them.

mod named;
mod recorded;
mod backtest;

use super::Stop;
use super::output::Terminal;

pub use named::Args;
pub(super) use recorded::Line;

use backtest::backtest_all;
use recorded::replay_all;

pub(super) fn main(args: &Args, terminal: &mut Terminal) -> Result<u8, Stop> {
    match &args.policy {
        None => replay_all(args, terminal),
        Some(policy) => backtest_all(args, policy, terminal),
    }
}
