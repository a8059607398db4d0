//! Time, handed in. Read by the ledger alone, so that no other part can depend on when it ran.

use crate::event::{Event, Record};

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

    /// The time of an event that happens now. An attempt is dated after the wait for its result, and
    /// what follows it after the wait for the next attempt.
    pub fn date(&mut self, event: &Event) -> u64 {
        if let Event::ToolAttempted(attempted) = event {
            self.wait(attempted.waited_ms);
        }
        let now = self.next_ns;
        self.go_on(now, event);
        now
    }

    /// Goes to the time after a recorded event.
    pub fn follow(&mut self, record: &Record) {
        self.go_on(record.at_ns, &record.event);
    }

    fn go_on(&mut self, at_ns: u64, event: &Event) {
        self.start_ns.get_or_insert(at_ns);
        self.next_ns = at_ns.saturating_add(TICK_NS);
        if let Event::ToolAttempted(attempted) = event {
            self.wait(attempted.backoff_ms.unwrap_or(0));
        }
    }

    /// Milliseconds from the first event to now, or to the recorded time of what is next.
    pub fn elapsed_ms(&self, recorded_ns: Option<u64>) -> u64 {
        let now = recorded_ns.unwrap_or(self.next_ns);
        now.saturating_sub(self.start_ns.unwrap_or(now)) / 1_000_000
    }

    /// Lets time pass. Nobody sleeps.
    fn wait(&mut self, wait_ms: u64) {
        self.next_ns = self.next_ns.saturating_add(wait_ms.saturating_mul(1_000_000));
    }
}
