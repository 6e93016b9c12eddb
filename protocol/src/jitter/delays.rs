use std::time::{Duration, Instant};

use super::{JitterConfig, histogram::Histogram, window::LeastOf};
use crate::packet::MAX_FRAMES;

/// How much is kept with each new frame of what is known about late ones: after two seconds a third. (WebRTC forgets 0.983
/// with each packet, and has packets of 20 to 60 ms.)
const KEEP_LATE: f32 = 0.99;

/// The same of what is known about lost ones, for which more must be seen: after two and a half seconds a third.
const KEEP_LOST: f32 = 0.992;

/// The share of packets whose frames may come too late.
const MAY_BE_LATE: f32 = 0.03;

/// The share of packets for whose frames, or copies of them, play-out does not wait.
const MAY_BE_LOST: f32 = 0.05;

/// Weight of the delay to begin with, in frames: it is out of the account after four to five seconds.
const START_WEIGHT: f32 = 25.0;

/// What is added to the delay with which frames would just have been there: play-out has a sink's jitter of its own.
const MARGIN: i64 = 5_000;

/// Packets that come within this time, microseconds, were held up by one and the same event: the worst of them counts.
const EVENT: i64 = 10_000;

/// Frames whose lateness counts as what the path is like just now: about half a second of them.
const LATEST: usize = 24;

/// The fastest of this many spans of time is what delays are compared with.
const SPANS: usize = 8;

/// One such span, microseconds.
const SPAN: i64 = 250_000;

/// What packets that came together tell.
#[derive(Debug, Clone, Copy)]
struct Arrivals {
    since: i64,
    /// When the last packet came, and how many frames it had.
    last: (i64, i32),
    /// Frames in the largest of the packets.
    frames: i32,
    real: Option<i64>,
    any: Option<i64>,
}

/// Learns how late frames come.
///
/// A frame's *offset* at some time is that time less the frame's own on the sender's clock, in microseconds since the first
/// arrival. Offsets of arrivals and of play-out compare directly: a frame was in time if it arrived with no greater an
/// offset than it was due with.
#[derive(Debug)]
pub(super) struct Delays {
    frame: i64,
    start: i64,
    bounds: (i64, i64),
    /// Time and number of the first frame.
    origin: Option<(Instant, u64)>,
    fastest: [i64; SPANS],
    /// Number of the newest span.
    span: i64,
    base: i64,
    event: Option<Arrivals>,
    /// Of frames as they were sent.
    real: Histogram,
    /// Of the first that came of each frame, copies included.
    any: Histogram,
    /// Offsets of the last frames to come, copies included, negated.
    latest: LeastOf<LATEST>,
    need: i64,
}

impl Delays {
    pub(super) fn new(config: &JitterConfig) -> Self {
        let least = micros(config.least);
        Self {
            frame: micros(config.frame),
            start: micros(config.start),
            bounds: (least, micros(config.most).max(least)),
            origin: None,
            fastest: [i64::MAX; SPANS],
            span: 0,
            base: 0,
            event: None,
            real: Histogram::new(),
            any: Histogram::new(),
            latest: LeastOf::EMPTY,
            need: micros(config.start),
        }
    }

    /// Forgets everything, for a stream with other numbers or another clock.
    pub(super) fn reset(&mut self) {
        self.origin = None;
        self.fastest = [i64::MAX; SPANS];
        self.span = 0;
        self.base = 0;
        self.event = None;
        self.real.clear();
        self.any.clear();
        self.latest = LeastOf::EMPTY;
        self.need = self.start;
    }

    /// The offset of frame `number` now. 0 before anything came.
    pub(super) fn offset(&self, number: u64, now: Instant) -> i64 {
        let Some((start, first)) = self.origin else { return 0 };
        let elapsed = match now.checked_duration_since(start) {
            Some(elapsed) => micros(elapsed),
            None => -micros(start.saturating_duration_since(now)),
        };
        // Sequence numbers that wrap differ by as much as they should.
        elapsed.saturating_sub((number.wrapping_sub(first) as i64).saturating_mul(self.frame))
    }

    /// Evidence arrived. `real`: the first that is no copy; `any`: the first at all. Neither: it only tells how fast the path
    /// is.
    pub(super) fn arrived(&mut self, number: u64, real: bool, any: bool, now: Instant) {
        if self.origin.is_none() {
            self.origin = Some((now, number));
            // The worst of the first packet's frames is not known yet; this stands for it.
            self.real.add(self.start - MARGIN - 1, 1.0, START_WEIGHT);
        }
        self.settle(now);
        let offset = self.offset(number, now);
        self.note_fastest(offset, now);
        if !(real || any) {
            return;
        }
        self.latest.push(offset.saturating_neg());
        let since = self.elapsed(now);
        let event = self.event.get_or_insert(Arrivals { since, last: (since, 0), frames: 0, real: None, any: None });
        event.last = (since, if event.last.0 == since { event.last.1 + 1 } else { 1 });
        event.frames = event.frames.max(event.last.1);
        let worst = |seen: &mut Option<i64>| *seen = Some(seen.map_or(offset, |seen| seen.max(offset)));
        if real {
            worst(&mut event.real);
        }
        if any {
            worst(&mut event.any);
        }
    }

    /// Takes into account what came some time ago. To be called now and then.
    pub(super) fn settle(&mut self, now: Instant) {
        let elapsed = self.elapsed(now);
        let Some(event) = self.event.take_if(|event| elapsed >= event.since + EVENT) else { return };
        let frames = event.frames.min(i32::from(MAX_FRAMES));
        for (histogram, offset, keep) in
            [(&mut self.real, event.real, KEEP_LATE), (&mut self.any, event.any, KEEP_LOST)]
        {
            if let Some(offset) = offset {
                let kept = keep.powi(frames);
                histogram.add(offset, kept, (1.0 - kept) / (1.0 - keep));
            }
        }
        self.update();
    }

    /// The offset with which frames should be played.
    pub(super) fn need(&self) -> i64 {
        self.need
    }

    /// The worst offset of the frames that came last; `None` before enough have come.
    pub(super) fn latest(&self) -> Option<i64> {
        self.latest.full_least().map(i64::saturating_neg)
    }

    /// How long after the fastest ones a frame with this offset is.
    pub(super) fn delay(&self, offset: i64) -> Duration {
        Duration::from_micros(offset.saturating_sub(self.base).max(0).unsigned_abs())
    }

    fn elapsed(&self, now: Instant) -> i64 {
        self.origin.map_or(0, |(start, _)| micros(now.saturating_duration_since(start)))
    }

    fn note_fastest(&mut self, offset: i64, now: Instant) {
        let span = self.elapsed(now) / SPAN;
        for passed in (self.span + 1).max(span - SPANS as i64 + 1)..=span {
            self.fastest[passed as usize % SPANS] = i64::MAX;
        }
        self.span = self.span.max(span);
        let newest = &mut self.fastest[self.span as usize % SPANS];
        *newest = (*newest).min(offset);
        let base = self.fastest.iter().copied().min().unwrap_or(offset);
        if base != self.base {
            self.base = base;
            self.real.follow(base);
            self.any.follow(base);
            self.update();
        }
    }

    fn update(&mut self) {
        let (least, most) = self.bounds;
        let real = self.real.exceeded_by(MAY_BE_LATE).unwrap_or(i64::MIN);
        let any = self.any.exceeded_by(MAY_BE_LOST).unwrap_or(i64::MIN);
        let need = real.max(any).saturating_add(MARGIN);
        self.need = need.clamp(self.base.saturating_add(least), self.base.saturating_add(most));
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
