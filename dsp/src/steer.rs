use std::time::Duration;

/// Most that is ever asked for. A tone that moves by it moves by 1.7 cents; the smallest step that people tell apart is about
/// 0.2 % or 3.5 cents, for pure tones of 1 kHz under the best conditions (Wier, Jesteadt & Green, JASA 61, 1977), and 5 cents
/// (2890 ppm) are what is usually taken for music. Sound cards are off by a tenth of it.
const MAX_PPM: f64 = 1_000.0;

/// The most that the part that follows from the fill alone may be (more than any drift: it always wins), and the drift that is
/// believed.
const MAX_PULL: f64 = 700.0;
const MAX_DRIFT: f64 = 800.0;

/// A ring that is further from its target says nothing about the clocks: it started there, or its target was moved.
const UNLEARNED: f64 = 0.004;

/// The most that the answer moves by from one call to the next, and in 10 ms: a fiftieth of what could be heard.
const SLEW: f64 = 20.0;
const SLEW_TIME: f64 = 0.010;

/// How fast it corrects, in radians per second: fast at the start, while the drift is not known, then slow, so that the jitter of
/// callbacks does not reach the pitch. At 0.08, a drift that began at once at 500 ppm would move the fill by
/// 500e-6 / (e x 0.08) s = 2.3 ms.
const FAST: f64 = 0.25;
const SLOW: f64 = 0.08;

/// Over this time it goes from fast to slow.
const LEARNING: f64 = 2.0;

/// The fill is smoothed over this part of the loop's own time, so little that the loop stays damped.
const SMOOTHING: f64 = 0.1;

/// A fill that is further from its target is no drift but an accident: it moves nothing.
const ACCIDENT: f64 = 0.012;

/// So long it must last until the owner is told that the ring must be centred anew: a late callback is over by then.
const RECENTRE_AFTER_SECONDS: f64 = 0.25;

/// Holds a ring at its target fill by the ratio of the resampler that feeds it: two clocks never agree, and sound must neither be
/// dropped nor repeated for that.
///
/// The fill is to be told as it would be if both sides moved samples one by one: samples in the ring, less what the device would
/// have taken since its last callback, less what was put in ahead of time. (Counted plainly, it would show the beat of blocks
/// against callbacks, which takes 20 s at 500 ppm, and cannot be told from drift.)
///
/// A proportional and integral controller behind a low-pass of the first order, critically damped; its integral is the drift.
/// Held by this crate's tests, over an hour of simulated time each: with callbacks of 5.33, 10 and 21.3 ms, with up to 5 ms of
/// jitter, and drifts of -500, 0, 500 ppm and wandering ones, the fill, averaged over a second, stays within 5 ms of its target from
/// 30 s after the start on.
#[derive(Debug, Clone)]
pub struct Steer {
    target: f64,
    /// Smoothed, seconds.
    fill: Option<f64>,
    /// Time of the last call, and time since the start, seconds.
    last: Option<f64>,
    age: f64,
    /// How long the fill has been beyond all drift.
    away: f64,
    drift: f64,
    ppm: f64,
}

impl Steer {
    /// For a ring that is to hold `target`.
    pub fn new(target: Duration) -> Self {
        Self { target: target.as_secs_f64(), fill: None, last: None, age: 0.0, away: 0.0, drift: 0.0, ppm: 0.0 }
    }

    /// Another target. It is gone to slowly.
    pub fn set_target(&mut self, target: Duration) {
        self.target = target.as_secs_f64();
    }

    /// What the ring is to hold.
    pub fn target(&self) -> Duration {
        Duration::from_secs_f64(self.target)
    }

    /// Takes the fill in seconds (negative if the ring owes) at the time `now`, counted from any fixed start; gives the parts per
    /// million for [`Resampler::set_ratio_ppm`](crate::Resampler::set_ratio_ppm) of the resampler whose output fills the ring.
    ///
    /// At most 1000 either way, and at most 20 from the last answer.
    pub fn push(&mut self, now: Duration, fill: f64) -> f64 {
        let now = now.as_secs_f64();
        let passed = (now - self.last.unwrap_or(now)).clamp(0.0, 1.0);
        self.last = Some(now);
        if !fill.is_finite() {
            return self.ppm;
        }
        if (fill - self.target).abs() > ACCIDENT {
            self.away += passed;
            return self.ppm;
        }
        self.away = 0.0;
        self.age += passed;
        let speed = (LEARNING / self.age.max(1e-3)).clamp(SLOW, FAST);
        let smoothed = self.fill.get_or_insert(fill);
        *smoothed += (fill - *smoothed) * (1.0 - (-passed * speed / SMOOTHING).exp());
        let error = self.target - *smoothed;
        // As the loop slows down, a unit of time is worth less in it: critically damped, the gains are 2w and w squared.
        if error.abs() < UNLEARNED {
            self.drift = (self.drift + speed * speed * error * 1e6 * passed).clamp(-MAX_DRIFT, MAX_DRIFT);
        }
        let pull = (2.0 * speed * error * 1e6).clamp(-MAX_PULL, MAX_PULL);
        let wanted = (self.drift + pull).clamp(-MAX_PPM, MAX_PPM);
        let most = SLEW * (passed / SLEW_TIME).min(1.0);
        self.ppm += (wanted - self.ppm).clamp(-most, most);
        self.ppm
    }

    /// Whether the fill has been so far from its target for so long that the owner must centre the ring: drop what is too much or
    /// fill up what is too little, and call [`recentred`](Self::recentred).
    pub fn is_lost(&self) -> bool {
        self.away >= RECENTRE_AFTER_SECONDS
    }

    /// Says that the ring was brought to its target, after an underrun or overrun. The drift that was learned stays.
    pub fn recentred(&mut self) {
        self.fill = None;
        self.away = 0.0;
    }

    /// Says that another device took over: everything learned is forgotten, the ratio goes on from where it is.
    pub fn forget(&mut self) {
        *self = Self { ppm: self.ppm, ..Self::new(self.target()) };
    }

    /// The last answer.
    pub fn ppm(&self) -> f64 {
        self.ppm
    }

    /// How much faster (positive) the device that empties the ring runs than what fills it, as learned so far, in parts per
    /// million; for a ring that a device fills, how much slower.
    pub fn drift_ppm(&self) -> f64 {
        self.drift
    }

    /// The smoothed fill, in seconds; the target before there is any.
    pub fn fill(&self) -> f64 {
        self.fill.unwrap_or(self.target)
    }
}
