use std::time::{Duration, Instant};

use crate::feedback::PathNews;

/// A queue that stands as high as this, and twice the jitter, for as long as a feedback spans is the sender's doing, or its
/// concern. With the jitter, as few packets of many frames fall into that time: the least delay of two is no queue where delays
/// vary by 100 ms in any case. (Section 5.4 adapts its threshold for the same reason.)
const OVERUSE: Duration = Duration::from_millis(80);
/// Below this, and the jitter, it is empty, but for what clocks and the network's own pace leave.
const EMPTY: Duration = Duration::from_millis(30);
/// More jitter than this is not looked at: queues make some, too.
const MOST_JITTER: Duration = Duration::from_millis(100);

/// No packet is taken to need longer than this to be sent.
const MOST_SENDING: Duration = Duration::from_millis(150);

/// How much of what arrived is sent after overuse (section 4.4: beta).
const BETA: f64 = 0.85;
/// Growth in a second while nothing is in the way (section 4.4: eta).
const GROWTH: f64 = 1.08;
/// Growth ends at this many times what arrives (section 4.4), and a little more, so that pauses in speech do not count.
const HEADROOM: f64 = 1.5;

/// Bits that a round trip of the handshake carries at least, headers counted. A path that brought them in that time carries so
/// many in it; nothing else is known at first, and on a thin link the handshake itself fills the queue, which must not be
/// taken for the path's own delay.
const HANDSHAKE: f64 = 1000.0;
/// But no less than this share of the most is sent at first.
const START_LEAST: f64 = 0.25;
/// Growth in a second from there, until the first queue.
const START_GROWTH: f64 = 2.0;
/// What is sent is less after a step down, so that a queue which is the sender's doing drains. One that has not by then stands for
/// another reason: the path has become longer, or others fill it. Yielding to those helps nobody.
const PROOF: Duration = Duration::from_secs(2);
/// Shares of losses from which on a link is full in any case.
const FULL: f64 = 0.1;
/// A queue that grows by more than this, and the jitter, after a step down asks for another step.
const GROWN: Duration = Duration::from_millis(20);

/// How long the rate stays below one that was too much; twice as long after each time that it was again.
const BACKOFF_FIRST: Duration = Duration::from_secs(15);
const BACKOFF_MOST: Duration = Duration::from_secs(240);

/// The rate is never taken for less than this: two packets a second.
const LEAST: f64 = 1000.0;

/// How long the best of the received rates counts: what arrives in a pause of speech says nothing of the link.
const RECENT: Duration = Duration::from_secs(10);

/// Segment of the TCP that RFC 4828 section 3 compares with, bits.
const SEGMENT: f64 = 8.0 * 1460.0;

/// A step down that is under way, until the queue is empty.
#[derive(Debug, Clone, Copy)]
struct Step {
    at: Instant,
    /// The queue then, and the lowest since.
    queue: Duration,
    least: Duration,
    /// How things were before the first of several steps.
    estimate: f64,
    link: Option<(f64, Instant)>,
    patience: Duration,
}

/// How many bits a second the path carries, headers counted.
#[derive(Debug)]
pub struct Rate {
    /// What the sender could use at most.
    most: f64,
    /// What the user allows, if there is a limit.
    allowed: Option<f64>,
    estimate: f64,
    /// What stands in queues beyond what has been found to be nobody's queue, or not the sender's.
    queue: Duration,
    foreign: Duration,
    received: [(Option<Instant>, f64); 2],
    /// Where the link was last found to end, and until when it is not tried again.
    link: Option<(f64, Instant)>,
    patience: Duration,
    step: Option<Step>,
    starting: bool,
    last: Option<Instant>,
    round_trip: Duration,
    friendly: f64,
}

impl Rate {
    /// Begins with what the handshake's round trip shows that the path carries, and grows from there within seconds.
    pub fn new(most: f64, allowed: Option<f64>, round_trip: Duration) -> Self {
        Self {
            most,
            allowed,
            estimate: (HANDSHAKE / round_trip.as_secs_f64().max(0.001)).clamp(START_LEAST * most, most),
            queue: Duration::ZERO,
            foreign: Duration::ZERO,
            received: [(None, 0.0); 2],
            link: None,
            patience: BACKOFF_FIRST,
            step: None,
            starting: true,
            last: None,
            round_trip,
            friendly: f64::INFINITY,
        }
    }

    /// Changes what the sender can use at most, and what it is allowed; what is known of the path stays.
    pub fn set_most(&mut self, most: f64, allowed: Option<f64>) {
        (self.most, self.allowed) = (most, allowed);
        self.estimate = self.estimate.clamp(LEAST.min(most), most);
    }

    /// Takes the news of the path; `loss` is the share of packets lost lately, `excess` how many bits more a packet has than the
    /// shortest: on a thin link these take time to be sent, which is no queue.
    pub fn take(&mut self, news: &PathNews, loss: f64, excess: f64) {
        let now = news.at;
        let passed = self.last.map_or(0.5, |last| now.saturating_duration_since(last).as_secs_f64()).min(1.0);
        self.last = Some(now);
        if let Some(round_trip) = news.round_trip {
            // As RFC 6298 section 2.3 smooths it.
            self.round_trip = self.round_trip.mul_f64(0.875) + round_trip.mul_f64(0.125);
        }
        self.friendly = friendly(loss, self.round_trip.as_secs_f64());
        let received = self.arrived(now, news.rate);
        let jitter = news.jitter.min(MOST_JITTER);
        self.foreign = self.foreign.min(news.queue);
        self.queue = news.queue - self.foreign;
        self.look_back(now, jitter, loss);
        let sending = self.link.map_or(0.0, |(link, _)| excess / link);
        let sending = Duration::from_secs_f64(sending).min(MOST_SENDING);
        if self.queue >= OVERUSE + 2 * jitter + sending {
            if self.step.is_none_or(|step| self.queue > step.queue + jitter + GROWN) {
                self.step_down(now, received, news.rate);
            }
        } else if self.queue <= EMPTY + jitter + sending {
            self.step = None;
            let headroom = if self.starting { START_GROWTH } else { HEADROOM };
            let ceiling = (headroom * received).max(self.estimate);
            let growth = if self.starting { START_GROWTH } else { GROWTH };
            let grown = (self.estimate * growth.powf(passed)).min(ceiling);
            let bound = match self.link {
                Some((link, until)) if now < until => BETA * link,
                // Tried again: if it is not the end any more, it is forgotten.
                Some((link, _)) if grown < 1.2 * link => f64::INFINITY,
                Some(_) => {
                    self.link = None;
                    self.patience = BACKOFF_FIRST;
                    f64::INFINITY
                }
                None => f64::INFINITY,
            };
            self.estimate = grown.min(bound.max(self.estimate)).min(self.most);
        }
        self.estimate = self.estimate.clamp(LEAST.min(self.most), self.most);
    }

    /// The queue is the sender's doing: the link carries just what arrives.
    fn step_down(&mut self, now: Instant, received: f64, rate: f64) {
        let (estimate, link, patience) = match self.step {
            Some(step) => (step.estimate, step.link, step.patience),
            None => (self.estimate, self.link, self.patience),
        };
        let held_before = self.link.is_some_and(|(_, until)| now < until + self.patience);
        if held_before && self.step.is_none() {
            self.patience = (2 * self.patience).min(BACKOFF_MOST);
        }
        // What arrived at best of late the link has carried; if the queue grows on after a step, it carries what arrives now.
        let end = if self.step.is_some() { rate } else { received };
        let end = end.min(self.estimate).max(LEAST);
        self.link = Some((end, now + self.patience));
        self.estimate = BETA * end;
        self.starting = false;
        self.step = Some(Step { at: now, queue: self.queue, least: self.queue, estimate, link, patience });
    }

    /// Undoes a step down that the queue has not answered to.
    fn look_back(&mut self, now: Instant, jitter: Duration, loss: f64) {
        let Some(step) = &mut self.step else { return };
        step.least = step.least.min(self.queue);
        let stands = step.least + jitter >= step.queue.mul_f64(0.8);
        if now.saturating_duration_since(step.at) >= PROOF && stands && loss < FULL {
            (self.estimate, self.link, self.patience) = (step.estimate, step.link, step.patience);
            self.foreign += step.least;
            self.queue -= step.least;
            self.step = None;
        }
    }

    /// Whether the link's end was found, or the user has set one.
    pub fn is_thin(&self) -> bool {
        self.link.is_some() || self.allowed.is_some()
    }

    /// Bits per second that should be sent now.
    pub fn target(&self) -> f64 {
        // What stands in the queue has to leave it within about a second.
        let drain = if self.step.is_some() { 1.0 - self.queue.as_secs_f64().min(0.5) } else { 1.0 };
        let target = (drain * self.estimate).min(self.friendly);
        self.allowed.map_or(target, |allowed| target.min(allowed))
    }

    /// The best rate received lately.
    fn arrived(&mut self, now: Instant, rate: f64) -> f64 {
        let [newer, older] = &mut self.received;
        if newer.0.is_none_or(|since| now.saturating_duration_since(since) >= RECENT / 2) {
            *older = *newer;
            *newer = (Some(now), rate);
        }
        newer.1 = newer.1.max(rate);
        newer.1.max(older.1)
    }
}

/// What a TCP of full segments would get at this loss and round trip (RFC 5348 section 3.1), which RFC 4828 grants to flows of
/// small packets if they count their headers, as this one does. Loss on radio links has nothing to do with queues, and a
/// voice that yields to it gains nothing; where loss means congestion, this is what keeps the peace.
fn friendly(loss: f64, round_trip: f64) -> f64 {
    if loss <= 0.0 {
        return f64::INFINITY;
    }
    let timeout = 4.0 * round_trip;
    let root = (2.0 * loss / 3.0).sqrt();
    let waits = timeout * 3.0 * (3.0 * loss / 8.0).sqrt() * loss * (1.0 + 32.0 * loss * loss);
    SEGMENT / (round_trip * root + waits)
}
