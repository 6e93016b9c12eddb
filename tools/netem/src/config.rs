//! What is wrong with a path.

use std::time::Duration;

use crate::{jitter::Jitter, loss::Loss};

/// What is wrong with a path. The default is a perfect one: everything arrives at once.
///
/// It reads from text: words `name=value` in any order, between spaces or commas; what is not named stays perfect.
///
/// | word | value |
/// | --- | --- |
/// | `seed=7` | a whole number |
/// | `loss=20%` | a chance: `20%` or `0.2`; with `/3`, in runs of 3 packets on average; or `ge:ENTER:LEAVE:GOOD:BAD`, four chances |
/// | `delay=50ms` | a span: `s`, `ms`, `us`, `ns` or `min` after a number |
/// | `jitter=20ms` | a span; or `normal:20ms`, `pareto:20ms` |
/// | `jitter-reorders=yes` | `yes` or `no` |
/// | `reorder=1%`, `duplicate=1%`, `corrupt=0.1%` | chances |
/// | `outage=10s+2s` | from, and for how long; may be repeated |
/// | `rate=8kbps` | `bps`, `kbps` or `Mbps` after a number |
/// | `queue=500ms` | a span; with `rate` alone |
/// | `headers=28` | bytes; with `rate` alone |
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PathConfig {
    /// The same seed and configuration do the same to the same packets sent at the same times, in every version. Each effect
    /// has a random stream of its own: switching one on does not change what another does.
    pub seed: u64,
    /// How packets are lost, counted in the order in which they were sent.
    pub loss: Loss,
    /// How long a packet takes at least, apart from queueing.
    pub delay: Duration,
    /// How much that varies.
    pub jitter: Jitter,
    /// Whether a packet that jitter makes faster may overtake others. If not (queues, the usual cause of jitter, keep
    /// order), it waits for those before it.
    pub jitter_reorders: bool,
    /// Chance of a packet to be held back until one to three more have passed it, or for at most 250 ms.
    pub reorder: f64,
    /// Chance of a packet to arrive twice. The copy comes up to 20 ms after it, and is never corrupted.
    pub duplicate: f64,
    /// Chance of a packet to arrive with one to eight of its bits flipped.
    pub corrupt: f64,
    /// When nothing passes.
    pub outages: Vec<Outage>,
    /// The bottleneck; none if the path has no limit.
    pub rate: Option<Rate>,
}

impl PathConfig {
    /// The same configuration with another seed, number `n` of those derived from this one's; number 0 is the same. So one
    /// seed serves for both directions and for many peers.
    #[must_use]
    pub fn derive(&self, n: u64) -> Self {
        Self { seed: self.seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)), ..self.clone() }
    }
}

/// A time in which every packet sent is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// From when, counted from the start of the path.
    pub start: Duration,
    /// For how long.
    pub length: Duration,
}

/// A bottleneck: a link with a queue before it, served in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// What the link carries. 0 is taken for 1.
    pub bits_per_second: u64,
    /// The longest queue, in time: a packet that would have to wait longer than this for its first bit to be sent is
    /// dropped (drop-tail).
    pub queue: Duration,
    /// Bytes of IP and UDP headers that each packet has on the link besides its own; 28 with IPv4, 48 with IPv6.
    pub headers: usize,
}

impl Rate {
    /// A link of `bits_per_second` with a queue of 500 ms, which counts the headers of IPv4 and UDP.
    pub fn new(bits_per_second: u64) -> Self {
        Self { bits_per_second, queue: Duration::from_millis(500), headers: 28 }
    }

    /// How long the link takes to send a packet of `bytes`, rounded up to nanoseconds.
    pub fn time_to_send(&self, bytes: usize) -> Duration {
        let bits = 8 * (bytes as u128 + self.headers as u128);
        let nanoseconds = (bits * 1_000_000_000).div_ceil(u128::from(self.bits_per_second.max(1)));
        Duration::from_nanos(nanoseconds.try_into().unwrap_or(u64::MAX))
    }
}
