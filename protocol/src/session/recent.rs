//! Initiations that were answered, so that none is answered twice.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

/// The first half of SHA-256. Who would have two initiations with one digest would have to make both, and gains one answer less.
type Short = [u8; 16];

/// Digests of the initiations that sessions came of, for as long as their cookies could be valid. What is older is refused
/// for its cookie. Its memory does not grow.
#[derive(Debug)]
pub(super) struct Recent {
    taken: VecDeque<(Instant, Short)>,
    keeps: Duration,
}

fn digest(datagram: &[u8]) -> Short {
    let mut short = [0; 16];
    short.copy_from_slice(&Sha256::digest(datagram)[..16]);
    short
}

impl Recent {
    /// Keeps each for so long, and so many at most: as many as can come in that time.
    pub(super) fn new(keeps: Duration, most: usize) -> Self {
        Self { taken: VecDeque::with_capacity(most), keeps }
    }

    /// Whether it was taken within that time.
    pub(super) fn has(&mut self, now: Instant, datagram: &[u8]) -> bool {
        while self.taken.front().is_some_and(|(when, _)| now.saturating_duration_since(*when) > self.keeps) {
            self.taken.pop_front();
        }
        let short = digest(datagram);
        self.taken.iter().any(|(_, taken)| *taken == short)
    }

    /// It is taken.
    pub(super) fn take(&mut self, now: Instant, datagram: &[u8]) {
        if self.taken.len() == self.taken.capacity() {
            self.taken.pop_front();
        }
        self.taken.push_back((now, digest(datagram)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_known_for_its_time_and_the_memory_stays() {
        let start = Instant::now();
        let mut recent = Recent::new(Duration::from_secs(20), 700);
        let room = recent.taken.capacity();
        for n in 0..3000_u32 {
            let now = start + Duration::from_millis(100 * u64::from(n));
            assert!(!recent.has(now, &n.to_be_bytes()));
            recent.take(now, &n.to_be_bytes());
            // 200 in 20 s.
            assert!(recent.has(now, &n.saturating_sub(200).to_be_bytes()));
            assert!(n < 201 || !recent.has(now, &(n - 201).to_be_bytes()));
        }
        for n in 0..3000_u32 {
            recent.take(start + Duration::from_secs(300), &n.to_le_bytes());
        }
        assert_eq!(recent.taken.capacity(), room);
    }
}
