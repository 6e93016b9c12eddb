//! What became of the packets.

use std::time::Duration;

/// What became of the packets of one [`Path`](crate::Path), since its start.
///
/// `sent + duplicated = delivered + lost + dropped + cut + in flight`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "proxy", derive(serde::Serialize))]
pub struct PathStats {
    /// Packets put in.
    pub sent: u64,
    /// Their bytes, without headers.
    pub sent_bytes: u64,
    /// Packets that came out, copies among them.
    pub delivered: u64,
    /// Their bytes, without headers.
    pub delivered_bytes: u64,
    /// Packets lost at random or in bursts ([`Loss`](crate::Loss)).
    pub lost: u64,
    /// Packets dropped because the bottleneck's queue was full.
    pub dropped: u64,
    /// Packets lost in outages.
    pub cut: u64,
    /// Copies made.
    pub duplicated: u64,
    /// Packets that bits were flipped in.
    pub corrupted: u64,
    /// Packets that came out after one that was sent later; copies do not count.
    pub reordered: u64,
    /// Longest time that a packet had to wait in the bottleneck's queue.
    #[cfg_attr(feature = "proxy", serde(rename = "queue_delay_max_ms", serialize_with = "milliseconds"))]
    pub queue_delay_max: Duration,
}

#[cfg(feature = "proxy")]
fn milliseconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(1000.0 * time.as_secs_f64())
}

impl PathStats {
    /// Packets that never arrive, whatever the cause.
    pub fn gone(&self) -> u64 {
        self.lost + self.dropped + self.cut
    }
}

impl std::ops::AddAssign for PathStats {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.sent_bytes += other.sent_bytes;
        self.delivered += other.delivered;
        self.delivered_bytes += other.delivered_bytes;
        self.lost += other.lost;
        self.dropped += other.dropped;
        self.cut += other.cut;
        self.duplicated += other.duplicated;
        self.corrupted += other.corrupted;
        self.reordered += other.reordered;
        self.queue_delay_max = self.queue_delay_max.max(other.queue_delay_max);
    }
}
