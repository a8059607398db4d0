//! Time, handed in. Read by the ledger alone, so that no other part can depend on when it ran.

/// The clock of a stub run: it moves with the events and not with the world.
#[derive(Debug, Clone)]
pub struct Clock {
    start_ns: Option<u64>,
    next_ns: u64,
}

/// 2026-01-01T00:00:00Z, where the logical clock starts.
pub const EPOCH_NS: u64 = 1_767_225_600_000_000_000;

/// How far an event moves the logical clock.
pub const TICK_NS: u64 = 1_000_000;

impl Clock {
    /// A logical clock: it starts at [`EPOCH_NS`] and moves [`TICK_NS`] an event.
    pub fn logical() -> Self {
        Self { start_ns: None, next_ns: EPOCH_NS }
    }

    /// The time of the event that happens now.
    pub fn tick(&mut self) -> u64 {
        let now = self.next_ns;
        self.start_ns.get_or_insert(now);
        self.next_ns = now.saturating_add(TICK_NS);
        now
    }

    /// Goes to the time after a recorded event.
    pub fn follow(&mut self, at_ns: u64) {
        self.start_ns.get_or_insert(at_ns);
        self.next_ns = at_ns.saturating_add(TICK_NS);
    }

    /// Milliseconds from the first event to now, or to the recorded time of what is next.
    pub fn elapsed_ms(&self, recorded_ns: Option<u64>) -> u64 {
        let now = recorded_ns.unwrap_or(self.next_ns);
        now.saturating_sub(self.start_ns.unwrap_or(now)) / 1_000_000
    }

    /// Lets time pass. Nobody sleeps.
    pub fn wait(&mut self, wait_ms: u64) {
        self.next_ns = self.next_ns.saturating_add(wait_ms.saturating_mul(1_000_000));
    }
}
