//! Ctrl-C and SIGTERM: the first asks the run to stop after the next record, the second leaves at
//! once. Either way what is recorded can be resumed.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_shutdown};

use super::{Stop, exit};

/// A flag that the first signal sets.
pub fn flag() -> Result<Arc<AtomicBool>, Stop> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag unset, and only sets it.
        register_conditional_shutdown(signal, i32::from(exit::INTERRUPTED), Arc::clone(&flag))
            .and_then(|_| register(signal, Arc::clone(&flag)))
            .map_err(|error| Stop::host(format!("cannot install the signal handlers: {error}")))?;
    }
    Ok(flag)
}
