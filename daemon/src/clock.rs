//! Time, passed in: real for people, by hand for tests.

use std::{
    sync::Mutex,
    time::{Duration, Instant, SystemTime},
};

/// Reads of the two clocks that lie further apart are read again.
const READS_APART: Duration = Duration::from_millis(1);

/// Now, by the calendar and by the monotonic clock: what converts times of the one into times of the other.
///
/// A thread can be stopped between two reads, for tens of milliseconds on a busy machine, and whatever is converted with them would be
/// as much wrong for good. So the calendar is read between two reads of the monotonic clock until these are at most a millisecond
/// apart, eight times at most; the closest of them counts.
pub fn wall_and_monotonic() -> (SystemTime, Instant) {
    nearest_reads(&mut SystemTime::now, &mut Instant::now)
}

fn nearest_reads(
    wall: &mut dyn FnMut() -> SystemTime,
    monotonic: &mut dyn FnMut() -> Instant,
) -> (SystemTime, Instant) {
    let mut read = || {
        let before = monotonic();
        let at = wall();
        let apart = monotonic().saturating_duration_since(before);
        (apart, at, before + apart / 2)
    };
    let mut best = read();
    for _ in 1..8 {
        if best.0 <= READS_APART {
            break;
        }
        let again = read();
        if again.0 < best.0 {
            best = again;
        }
    }
    (best.1, best.2)
}

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
