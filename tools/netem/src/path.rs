//! One direction of a path.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use crate::{config::PathConfig, dice::Dice, loss::LossProcess, stats::PathStats};

/// A packet that is held back goes on after so long, even if no other has passed it.
const HOLD_MAX: Duration = Duration::from_millis(250);

/// The most packets that pass one that is held back.
const PASSES_MAX: u64 = 3;

/// A copy comes at most so much after its original.
const COPY_LATE_MAX: Duration = Duration::from_millis(20);

/// The most bits that are flipped in one packet.
const FLIPS_MAX: u64 = 8;

/// Longer than anything lasts: keeps sums of times from overflowing.
const AGE: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A network path, one way, without I/O: [`send`](Self::send) puts packets in, and [`receive`](Self::receive) takes them out
/// when [`poll_timeout`](Self::poll_timeout) says that one is due.
#[derive(Debug)]
pub struct Path {
    config: PathConfig,
    start: Instant,
    loss: LossProcess,
    jitter: Dice,
    reorder: Dice,
    duplicate: Dice,
    corrupt: Dice,
    /// When the bottleneck will have sent all that waits for it.
    free_at: Instant,
    /// When the last packet arrives of those that keep their order.
    ordered_until: Instant,
    flights: BinaryHeap<Reverse<Flight>>,
    held: Vec<Held>,
    /// Copies and their originals, in the order in which they were put in.
    flown: u64,
    /// Number, among the packets sent, of the newest that came out.
    newest_out: u64,
    stats: PathStats,
    /// Buffers to be used again.
    spare: Vec<Vec<u8>>,
}

/// A packet on its way. The order is that of arrival: by time, and then by number.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    due: Instant,
    number: u64,
    /// Its number among the packets sent, from 1; 0 if it is a copy.
    packet: u64,
    bytes: Vec<u8>,
}

/// A packet that waits for others to pass it.
#[derive(Debug)]
struct Held {
    passes: u64,
    flight: Flight,
}

impl Path {
    /// A path that exists from `start` on.
    pub fn new(config: PathConfig, start: Instant) -> Self {
        // The streams' numbers are part of what a seed means: never change them.
        let dice = |stream| Dice::new(config.seed, stream);
        Self {
            start,
            loss: LossProcess::new(config.loss, dice(0)),
            jitter: dice(1),
            reorder: dice(2),
            duplicate: dice(3),
            corrupt: dice(4),
            free_at: start,
            ordered_until: start,
            flights: BinaryHeap::new(),
            held: Vec::new(),
            flown: 0,
            newest_out: 0,
            stats: PathStats::default(),
            spare: Vec::new(),
            config,
        }
    }

    /// Puts a packet in at `now`, which must not be before that of earlier calls.
    pub fn send(&mut self, now: Instant, bytes: &[u8]) {
        self.stats.sent += 1;
        self.stats.sent_bytes += bytes.len() as u64;
        let packet = self.stats.sent;

        // Every stream moves on by as much at each packet, whatever becomes of it.
        let is_lost = self.loss.next();
        let jitter = self.config.jitter.next(&mut self.jitter);
        let passes = self.reorder.happens(self.config.reorder);
        let passes = (self.reorder.below(PASSES_MAX) + 1) * u64::from(passes);
        let is_doubled = self.duplicate.happens(self.config.duplicate);
        let copy_late = COPY_LATE_MAX.mul_f64(self.duplicate.unit());
        let is_corrupted = self.corrupt.happens(self.config.corrupt);
        let corruption = self.corrupt.bits();

        if self.is_out(now) {
            self.stats.cut += 1;
            return;
        }
        let Some(sent_at) = self.through_bottleneck(now, bytes.len()) else {
            self.stats.dropped += 1;
            return;
        };
        if is_lost {
            self.stats.lost += 1;
            return;
        }

        let mut due = later(sent_at, self.config.delay);
        due = if jitter >= 0.0 {
            later(due, Duration::from_nanos(jitter as u64))
        } else {
            let earlier = Duration::from_nanos(-jitter as u64);
            due.checked_sub(earlier).map_or(sent_at, |due| due.max(sent_at))
        };
        if !self.config.jitter_reorders {
            due = due.max(self.ordered_until);
        }

        if is_doubled {
            self.stats.duplicated += 1;
        }
        let copy = is_doubled.then(|| self.flight(later(due, copy_late), 0, bytes));
        let mut flight = self.flight(due, packet, bytes);
        if is_corrupted && !bytes.is_empty() {
            self.stats.corrupted += 1;
            flip(&mut flight.bytes, corruption);
        }
        if passes > 0 {
            flight.due = later(due, HOLD_MAX);
            self.held.push(Held { passes, flight });
        } else {
            self.ordered_until = self.ordered_until.max(due);
            self.flights.push(Reverse(flight));
            self.let_go(due);
        }
        self.flights.extend(copy.map(Reverse));
    }

    /// The earliest moment at which something is due; `None` if nothing is on its way.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let held = self.held.iter().map(|held| held.flight.due);
        held.chain(self.flights.peek().map(|Reverse(flight)| flight.due)).min()
    }

    /// Takes out the next packet that is due at `now`, into `into`, which is emptied first. False if none is.
    pub fn receive(&mut self, now: Instant, into: &mut Vec<u8>) -> bool {
        into.clear();
        // Those that nothing passed for long go on.
        while let Some(at) = self.held.iter().position(|held| held.flight.due <= now) {
            let held = self.held.remove(at);
            self.flights.push(Reverse(held.flight));
        }
        if self.flights.peek().is_none_or(|Reverse(flight)| flight.due > now) {
            return false;
        }
        let Some(Reverse(flight)) = self.flights.pop() else { return false };
        into.extend_from_slice(&flight.bytes);
        self.stats.delivered += 1;
        self.stats.delivered_bytes += flight.bytes.len() as u64;
        if flight.packet > 0 {
            self.stats.reordered += u64::from(flight.packet < self.newest_out);
            self.newest_out = self.newest_out.max(flight.packet);
        }
        self.spare.push(flight.bytes);
        true
    }

    /// What became of the packets so far.
    pub fn stats(&self) -> &PathStats {
        &self.stats
    }

    /// How long a packet sent at `now` would wait for the bottleneck.
    pub fn queue_delay(&self, now: Instant) -> Duration {
        self.free_at.saturating_duration_since(now)
    }

    /// Packets on their way, copies among them.
    pub fn in_flight(&self) -> usize {
        self.flights.len() + self.held.len()
    }

    fn is_out(&self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.start);
        let covers = |start: Duration, length| elapsed.checked_sub(start).is_some_and(|into| into < length);
        self.config.outages.iter().any(|outage| covers(outage.start, outage.length))
    }

    /// When the bottleneck has sent the packet; `None` if its queue is full.
    fn through_bottleneck(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        let Some(rate) = &self.config.rate else { return Some(now) };
        let wait = self.queue_delay(now);
        if wait > rate.queue {
            return None;
        }
        self.stats.queue_delay_max = self.stats.queue_delay_max.max(wait);
        self.free_at = later(later(now, wait), rate.time_to_send(bytes));
        Some(self.free_at)
    }

    fn flight(&mut self, due: Instant, packet: u64, bytes: &[u8]) -> Flight {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(bytes);
        self.flown += 1;
        Flight { due, number: self.flown, packet, bytes: buffer }
    }

    /// Counts a packet that arrives at `due` as having passed those that are held back, and lets go those that have been
    /// passed often enough: they arrive right behind it.
    fn let_go(&mut self, due: Instant) {
        let mut at = 0;
        while let Some(held) = self.held.get_mut(at) {
            held.passes -= 1;
            if held.passes > 0 {
                at += 1;
                continue;
            }
            let mut flight = self.held.remove(at).flight;
            flight.due = flight.due.min(due);
            self.flown += 1;
            flight.number = self.flown;
            self.flights.push(Reverse(flight));
        }
    }
}

fn later(time: Instant, span: Duration) -> Instant {
    time.checked_add(span.min(AGE)).unwrap_or(time)
}

/// Flips one to [`FLIPS_MAX`] different bits, or all if there are fewer, as `dice` says.
fn flip(bytes: &mut [u8], dice: u64) {
    let mut dice = Dice::new(dice, 0);
    let bits = 8 * bytes.len() as u64;
    let flips = dice.below(FLIPS_MAX) + 1;
    let first = dice.below(bits);
    let mut flipped = [bits; FLIPS_MAX as usize];
    flipped[0] = first;
    for n in 1..flips.min(bits) as usize {
        let mut bit = dice.below(bits);
        while flipped[..n].contains(&bit) {
            bit = (bit + 1) % bits;
        }
        flipped[n] = bit;
    }
    for &bit in flipped.iter().filter(|&&bit| bit < bits) {
        bytes[(bit / 8) as usize] ^= 0x80 >> (bit % 8);
    }
}

#[cfg(test)]
#[path = "path_tests.rs"]
mod tests;
