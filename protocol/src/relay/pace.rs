//! How fast things may go on.

use std::time::{Duration, Instant};

/// A token bucket, as one moment: when it will be full again. Each use moves that moment on by what the use costs; it may lie
/// as far ahead as the bucket is deep.
#[derive(Debug, Clone, Copy)]
pub(super) struct TokenBucket(Instant);

impl TokenBucket {
    /// A full bucket.
    pub(super) fn new(now: Instant) -> Self {
        Self(now)
    }

    /// Takes `cost` out of a bucket of `depth`, if that much is in it.
    pub(super) fn take(&mut self, now: Instant, cost: Duration, depth: Duration) -> bool {
        let full_in = self.0.saturating_duration_since(now).saturating_add(cost);
        let next = now.checked_add(full_in).filter(|_| full_in <= depth);
        self.0 = next.unwrap_or(self.0);
        next.is_some()
    }
}
