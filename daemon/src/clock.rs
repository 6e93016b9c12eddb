//! Time, passed in: real for people, by hand for tests.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

/// Where the time comes from. File sources and sinks are paced by it.
pub trait Clock: Send + Sync {
    /// The time now. Never runs backwards.
    fn now(&self) -> Instant;

    /// Returns at `deadline`, or at once if that has passed.
    fn sleep_until(&self, deadline: Instant);
}

/// The machine's monotonic clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep_until(&self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            std::thread::sleep(left);
        }
    }
}

/// A clock that moves only when someone sleeps on it or advances it: an hour of pacing takes no time.
#[derive(Debug)]
pub struct ManualClock(Mutex<Instant>);

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn new(start: Instant) -> Self {
        Self(Mutex::new(start))
    }

    /// Moves the time forward.
    pub fn advance(&self, by: Duration) {
        *self.hand() += by;
    }

    fn hand(&self) -> std::sync::MutexGuard<'_, Instant> {
        // The hand is one value, whole after any panic.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        *self.hand()
    }

    fn sleep_until(&self, deadline: Instant) {
        let mut now = self.hand();
        *now = (*now).max(deadline);
    }
}
