//! Time, handed in. Read by the ledger alone, so that no other part can depend on when it ran.

/// The clock of a stub run: it moves with the events and not with the world.
#[derive(Debug, Clone)]
pub struct Clock {
    next_ns: u64,
}

/// 2026-01-01T00:00:00Z, where the logical clock starts.
pub const EPOCH_NS: u64 = 1_767_225_600_000_000_000;

/// How far an event moves the logical clock.
pub const TICK_NS: u64 = 1_000_000;

impl Clock {
    /// A logical clock: it starts at [`EPOCH_NS`] and moves [`TICK_NS`] an event.
    pub fn logical() -> Self {
        Self { next_ns: EPOCH_NS }
    }

    /// The time of the event that happens now.
    pub fn tick(&mut self) -> u64 {
        let now = self.next_ns;
        self.next_ns = now.saturating_add(TICK_NS);
        now
    }

    /// Milliseconds from the first event to now.
    pub fn elapsed_ms(&self) -> u64 {
        self.next_ns.saturating_sub(EPOCH_NS) / 1_000_000
    }

    /// Lets time pass. Nobody sleeps.
    pub fn wait(&mut self, wait_ms: u64) {
        self.next_ns = self.next_ns.saturating_add(wait_ms.saturating_mul(1_000_000));
    }
}
