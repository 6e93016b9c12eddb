//! What a receiver tells of the path, in seven bytes; and how both sides come by what they need for it.
//!
//! The receiver counts and compares; the sender knows what it sent and when. So loss is the difference of two counts, right
//! even if a peer is silent for seconds, and the round trip takes no clock that both share.

use std::time::{Duration, Instant};

use crate::packet::extend;

/// How often a side tells of its path, if there is news: in step with silence descriptors ...
const EVERY: Duration = Duration::from_millis(380);
/// ... and more often while something is wrong.
const EVERY_IN_NEED: Duration = Duration::from_millis(240);

/// How long news waits for a packet to ride on: longer than it takes to the next silence descriptor, but in need.
const GRACE: Duration = Duration::from_millis(420);
const GRACE_IN_NEED: Duration = Duration::from_millis(60);

/// A standing delay from which on something is wrong.
const NOTABLE: Duration = Duration::from_millis(40);

/// The least delay is that of the last half minute to minute: clocks 200 ppm apart move by 6 to 12 ms in it.
const BASE_SPAN: Duration = Duration::from_secs(30);

/// Time over which the received rate is taken.
const RATE_SPAN: Duration = Duration::from_secs(1);

/// Packets that a sender keeps a record of: at 20 ms each, ten seconds.
const LOG: usize = 512;

const DELAY_UNIT: Duration = Duration::from_millis(4);
const JITTER_UNIT: Duration = Duration::from_millis(2);
const HOLD_UNIT: Duration = Duration::from_millis(2);
const RATE_UNIT: f64 = 250.0;

/// What a receiver says of the path to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feedback {
    /// Lower 16 bits of the highest number of a media packet that came.
    pub highest: u16,
    /// How long ago that packet came, in units of 2 ms; 255 for more than that.
    pub held: u8,
    /// Lower 8 bits of how many media packets have come.
    pub received: u8,
    /// The least delay of any packet since the last feedback, over the least in half a minute, in units of 4 ms: what
    /// stands in queues. 255 for more.
    pub queue: u8,
    /// Mean difference between one packet's delay and the next's (RFC 3550 section 6.4.1), in units of 2 ms.
    pub jitter: u8,
    /// Bits that came in the last second, with IP and UDP headers, in units of 250 bit/s.
    pub rate: u8,
}

impl Feedback {
    /// Bytes that it takes.
    pub const BYTES: usize = 7;

    /// As on the wire.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let [high, low] = self.highest.to_be_bytes();
        [high, low, self.held, self.received, self.queue, self.jitter, self.rate]
    }

    /// Any seven bytes are feedback.
    pub fn from_bytes([high, low, held, received, queue, jitter, rate]: [u8; Self::BYTES]) -> Self {
        Self { highest: u16::from_be_bytes([high, low]), held, received, queue, jitter, rate }
    }
}

fn units(time: Duration, unit: Duration) -> u8 {
    u8::try_from(time.as_nanos() / unit.as_nanos()).unwrap_or(u8::MAX)
}

/// The side that receives media, and tells of it.
#[derive(Debug)]
pub struct PathObserver {
    /// Numbers are counted in frames of this length.
    frame: Duration,
    start: Option<Instant>,
    highest: u64,
    highest_at: Instant,
    received: u64,
    /// Delays are relative to that of the first packet: seconds.
    least_before: f64,
    least: f64,
    base_until: Instant,
    /// Since the last feedback.
    least_now: f64,
    last_delay: Option<f64>,
    jitter: f64,
    /// Bits of the second at hand and of the one before.
    bits: [u64; 2],
    second: Instant,
    due: Instant,
    news: bool,
    troubled: bool,
}

impl PathObserver {
    /// An observer of packets whose numbers count frames of this length.
    pub fn new(frame: Duration, now: Instant) -> Self {
        Self {
            frame,
            start: None,
            highest: 0,
            highest_at: now,
            received: 0,
            least_before: f64::INFINITY,
            least: f64::INFINITY,
            base_until: now + BASE_SPAN,
            least_now: f64::INFINITY,
            last_delay: None,
            jitter: 0.0,
            bits: [0; 2],
            second: now,
            due: now,
            news: false,
            troubled: false,
        }
    }

    /// Numbers count frames of this length from now on: for the length that is known when the codec is.
    pub fn set_frame(&mut self, frame: Duration, now: Instant) {
        if frame != self.frame {
            // What was observed was measured with another ruler.
            *self = Self::new(frame, now);
        }
    }

    /// A media packet came that no other was equal to: its first frame, how many were there when it was sent (1 if it tells of
    /// silence), and its bytes with all headers.
    pub fn packet(&mut self, now: Instant, first: u64, count: u8, bytes: usize) {
        let start = *self.start.get_or_insert(now);
        self.news = true;
        self.received += 1;
        if self.received == 1 || first >= self.highest {
            self.highest = first;
            self.highest_at = now;
        }
        // Who captures frame n at n times its length sends the packet when the last is there.
        let sent = self.frame.as_secs_f64() * (first as f64 + f64::from(count));
        let delay = now.saturating_duration_since(start).as_secs_f64() - sent;
        if now >= self.base_until {
            self.least_before = self.least;
            self.least = f64::INFINITY;
            self.base_until = now + BASE_SPAN;
        }
        self.least = self.least.min(delay);
        self.least_now = self.least_now.min(delay);
        if let Some(last) = self.last_delay.replace(delay) {
            self.jitter += ((delay - last).abs() - self.jitter) / 16.0;
        }
        self.roll(now);
        self.bits[0] += 8 * bytes as u64;
    }

    /// The path is another one since the last packet: what delay it has while its queues are empty is not known yet, and what
    /// the old one had says nothing (RFC 9000 section 9.4 begins anew as well).
    pub fn moved(&mut self, now: Instant) {
        self.least = self.last_delay.unwrap_or(f64::INFINITY);
        (self.least_before, self.least_now) = (f64::INFINITY, self.least);
        self.base_until = now + BASE_SPAN;
    }

    /// What to tell, if it is time and there is news.
    pub fn feedback(&mut self, now: Instant) -> Option<Feedback> {
        if !self.is_due(now) {
            return None;
        }
        self.roll(now);
        let base = self.least.min(self.least_before);
        let queue = Duration::try_from_secs_f64(self.least_now - base).unwrap_or_default();
        self.troubled = queue >= NOTABLE;
        self.due = now + if self.troubled { EVERY_IN_NEED } else { EVERY };
        self.news = false;
        self.least_now = f64::INFINITY;
        // What of the second before lies within the last one; in the first second there is less of it.
        let share = 1.0 - now.saturating_duration_since(self.second).as_secs_f64() / RATE_SPAN.as_secs_f64();
        let bits = self.bits[0] as f64 + share.clamp(0.0, 1.0) * self.bits[1] as f64;
        let span = self.start.map_or(1.0, |start| now.saturating_duration_since(start).as_secs_f64());
        let rate = bits / span.clamp(0.25, 1.0) / RATE_UNIT;
        Some(Feedback {
            highest: self.highest as u16,
            held: units(now.saturating_duration_since(self.highest_at), HOLD_UNIT),
            received: self.received as u8,
            queue: units(queue, DELAY_UNIT),
            jitter: units(Duration::try_from_secs_f64(self.jitter).unwrap_or_default(), JITTER_UNIT),
            rate: rate.min(255.0) as u8,
        })
    }

    /// Whether there is something to tell now.
    pub fn is_due(&self, now: Instant) -> bool {
        self.news && now >= self.due
    }

    /// When there is so much to tell that it cannot wait for a media packet to ride on, if anything came since the last time.
    pub fn pressing(&self) -> Option<Instant> {
        let grace = if self.troubled { GRACE_IN_NEED } else { GRACE };
        self.news.then(|| self.due + grace)
    }

    fn roll(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.second);
        if passed >= 2 * RATE_SPAN {
            (self.bits, self.second) = ([0; 2], now);
        } else if passed >= RATE_SPAN {
            self.bits = [0, self.bits[0]];
            self.second += RATE_SPAN;
        }
    }
}

/// A media packet that was sent.
#[derive(Debug, Clone, Copy)]
struct Sent {
    number: u64,
    at: Instant,
    /// How many were sent up to it.
    ordinal: u64,
}

/// How the path was since the feedback before, as its sender comes to know it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PathNews {
    /// When this is known.
    pub at: Instant,
    /// Media packets sent between the packets that the two feedbacks name, and how many of them did not come. Packets that
    /// are late count as lost here, and later as many others do not: in the long run the sum is right.
    pub sent: u64,
    /// See [`sent`](Self::sent).
    pub lost: u64,
    /// Round trip of the named packet and this feedback, if that packet was not held for too long.
    pub round_trip: Option<Duration>,
    /// What stands in queues.
    pub queue: Duration,
    /// Jitter.
    pub jitter: Duration,
    /// Bits per second that arrived, headers counted.
    pub rate: f64,
}

/// The side that sends media, and is told.
#[derive(Debug)]
pub struct SentLog {
    sent: Vec<Sent>,
    next: usize,
    ordinal: u64,
    /// The packet that the last feedback named: how many were sent up to it; and how many had been received.
    told: Option<(u64, u64, u64)>,
    /// Packets that were told of as lost and came after all, in place of which as many others are not told of.
    found: u64,
}

impl Default for SentLog {
    fn default() -> Self {
        Self { sent: Vec::with_capacity(LOG), next: 0, ordinal: 0, told: None, found: 0 }
    }
}

impl SentLog {
    /// A media packet was sent; numbers grow.
    pub fn packet(&mut self, now: Instant, number: u64) {
        self.ordinal += 1;
        let sent = Sent { number, at: now, ordinal: self.ordinal };
        if self.sent.len() < LOG {
            self.sent.push(sent);
        } else {
            self.sent[self.next] = sent;
        }
        self.next = (self.next + 1) % LOG;
    }

    /// What feedback means. `None` if it is older than the one before, or names a packet that was not sent, or so long ago
    /// that there is no record of it.
    pub fn take(&mut self, now: Instant, feedback: &Feedback) -> Option<PathNews> {
        let last = self.sent.get(self.next.checked_sub(1).unwrap_or(self.sent.len().checked_sub(1)?))?;
        let number = extend(feedback.highest, last.number);
        let named = *self.sent.iter().find(|sent| sent.number == number)?;
        let (number_before, ordinal_before, received_before) = self.told.unwrap_or((0, 0, 0));
        if self.told.is_some() && number < number_before {
            return None;
        }
        let sent = named.ordinal - ordinal_before;
        // Of the count there are the lower eight bits. Far more are lost between two feedbacks, in an outage, than come late.
        let expected = received_before + sent;
        let behind = (expected as u8).wrapping_sub(feedback.received);
        let received = if behind < 224 {
            expected.saturating_sub(u64::from(behind))
        } else {
            expected + u64::from(behind.wrapping_neg())
        };
        self.told = Some((number, named.ordinal, received));
        let missing = expected.saturating_sub(received);
        let lost = missing.saturating_sub(self.found).min(sent);
        self.found = (self.found + received.saturating_sub(expected)).saturating_sub(missing);
        let held = Duration::from_millis(2) * u32::from(feedback.held);
        Some(PathNews {
            at: now,
            sent,
            lost,
            round_trip: (feedback.held < u8::MAX)
                .then(|| now.saturating_duration_since(named.at).checked_sub(held))
                .flatten(),
            queue: DELAY_UNIT * u32::from(feedback.queue),
            jitter: JITTER_UNIT * u32::from(feedback.jitter),
            rate: RATE_UNIT * f64::from(feedback.rate),
        })
    }
}

#[cfg(test)]
#[path = "feedback_tests.rs"]
mod tests;
