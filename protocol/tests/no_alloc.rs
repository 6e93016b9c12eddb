//! Once built, the jitter buffer does not touch the heap.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::{Duration, Instant};

use counting_alloc::{Counting, allocations};
use parlo_protocol::jitter::{JitterBuffer, JitterConfig};
use parlo_tokens::{ComfortNoise, Slot, TokenFrame};

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn a_minute_of_a_bad_path_passes_without_an_allocation() {
    let mut jitter = JitterBuffer::new(JitterConfig::default());
    let frame = TokenFrame::new(&[1, 2, 3]).unwrap();
    let mut now = Instant::now();
    let before = allocations();
    assert!(before > 0, "the counter counts");
    for number in 0..3000_u64 {
        now += Duration::from_millis(20);
        if number % 7 != 0 {
            // Some overtake others, some come in heaps, some twice.
            let newest = number ^ (number % 5);
            for number in newest.saturating_sub(number % 11)..=newest {
                let slot = [Slot::Frame(frame), Slot::Coarse(frame)][usize::from(number % 3 == 0)];
                jitter.insert(
                    number,
                    if number / 100 % 4 == 0 { Slot::Silence(ComfortNoise::SILENCE) } else { slot },
                    now,
                );
            }
        }
        jitter.pop(now, number % 200 < 50);
    }
    // The sender starts anew.
    for number in 0..60 {
        jitter.insert(number, Slot::Frame(frame), now);
    }
    jitter.end(Some(70));
    jitter.pop(now, false);
    assert_eq!(allocations() - before, 0);
    assert!(jitter.stats().played > 100 && jitter.stats().restarts > 0, "{:?}", jitter.stats());
}
