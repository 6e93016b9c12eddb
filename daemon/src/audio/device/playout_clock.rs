//! The house's side of a loudspeaker's ring: when a block is due, how full the ring is to be, and what is done about it. Time is
//! passed in, so that it can be tested.

use std::time::Duration;

use parlo_dsp::Steer;

/// Blocks that the owner works in: so much is taken at once, then nothing until it is due.
const BLOCK: f64 = 0.010;

/// What the ring holds beyond what blocks and callbacks need between them, for callbacks that come early and owners that come
/// late: at first, at least, at most, and how much more after the ring ran dry.
const MARGIN: f64 = 0.005;
const MIN_MARGIN: f64 = 0.002;
const MAX_MARGIN: f64 = 0.080;
const GROWTH: f64 = 0.005;

/// Callbacks should find so much more than they take, at worst. Looked at every so often; what is more is given up, slowly.
const SLACK: f64 = 0.003;
const SLACK_CHECK_SECONDS: f64 = 10.0;
const SHRINKAGE: f64 = 0.001;

/// An owner who is later than that has been away, and begins anew.
const AWAY: f64 = 0.050;

/// What is known of the ring and the device when a block comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// Sample frames in the ring.
    pub(super) waiting: usize,
    /// Since the last callback; none if there was none yet.
    pub(super) since_callback: Option<Duration>,
    /// Whether a callback found too little since this was asked.
    pub(super) dry: bool,
    /// Whether the device is past its beginning.
    pub(super) settled: bool,
}

/// When sound is taken, and how much.
#[derive(Debug)]
pub(super) struct PlayoutClock {
    rate: f64,
    steer: Steer,
    margin: f64,
    /// When the next sample is due, in seconds since the stream was made; none before the first.
    due: Option<f64>,
    /// Seconds that are still taken of the block at hand.
    open: f64,
    /// Whether the ring was brought to its fill since the device began to call back.
    centred: bool,
    /// Sample frames that are left out to bring the ring back to its fill.
    skip: usize,
    /// When the slack was looked at, and the least since.
    looked: f64,
    least: f64,
    /// When the margin grew last.
    grown: f64,
}

impl PlayoutClock {
    pub(super) fn new(rate: u32) -> Self {
        Self {
            rate: f64::from(rate.max(1)),
            steer: Steer::new(Duration::from_secs_f64(MARGIN)),
            margin: MARGIN,
            due: None,
            open: 0.0,
            centred: false,
            skip: 0,
            looked: 0.0,
            least: f64::MAX,
            grown: 0.0,
        }
    }

    /// How long the next samples must wait, at the time `now` since the stream was made.
    pub(super) fn wait(&self, now: Duration) -> Duration {
        if self.open > 0.0 {
            return Duration::ZERO;
        }
        let due = self.due.unwrap_or(0.0);
        Duration::try_from_secs_f64(due - now.as_secs_f64()).unwrap_or_default()
    }

    /// Whether the next samples begin a block, for which [`begin`](Self::begin) is to be called.
    pub(super) fn begins(&self) -> bool {
        self.open <= 0.0
    }

    /// Begins a block; gives the sample frames of silence that are to be put in front of it, if the ring has run dry.
    pub(super) fn begin(&mut self, now: Duration, seen: Seen) -> usize {
        let time = now.as_secs_f64();
        self.open = BLOCK;
        let fresh = self.due.is_none_or(|due| time - due > AWAY);
        if fresh {
            self.due = Some(time);
            self.centred = false;
        }
        let late = time - self.due.unwrap_or(time);
        let Some(since) = seen.since_callback else {
            // Nobody plays yet: a first block's worth is kept for who will, the rest nobody misses.
            self.skip = if seen.waiting as f64 > BLOCK * self.rate { usize::MAX } else { 0 };
            return 0;
        };
        // As if the device took, and the owner gave, sample by sample.
        let fill = seen.waiting as f64 / self.rate - since.as_secs_f64() + late;
        if !self.centred {
            self.centred = true;
            return self.centre(fill);
        }
        if seen.dry {
            if seen.settled && time - self.grown > 0.2 {
                self.grown = time;
                self.margin = (self.margin + GROWTH).min(MAX_MARGIN);
                self.steer.set_target(Duration::from_secs_f64(self.margin));
            }
            // Silence has been heard already: as much of it as brings the ring back.
            if fill < self.margin {
                return self.centre(fill);
            }
        }
        if self.skip > 0 {
            // On its way back: what it holds meanwhile says nothing.
            return 0;
        }
        self.steer.push(now, fill);
        if self.steer.is_lost() { self.centre(fill) } else { 0 }
    }

    /// Takes notice of the least that callbacks left in the ring, sample frames.
    pub(super) fn left(&mut self, now: Duration, slack: u64) {
        let time = now.as_secs_f64();
        self.least = self.least.min(slack as f64 / self.rate);
        if time - self.looked < SLACK_CHECK_SECONDS {
            return;
        }
        let more = (self.least - SLACK).min(SHRINKAGE);
        if more > 0.0 && time - self.grown > SLACK_CHECK_SECONDS {
            self.margin = (self.margin - more).max(MIN_MARGIN);
            self.steer.set_target(Duration::from_secs_f64(self.margin));
        }
        (self.looked, self.least) = (time, f64::MAX);
    }

    /// Counts `frames` that were given; how many of them, from the start, are to be left out.
    pub(super) fn take(&mut self, frames: usize) -> usize {
        // The owner gives so many more or fewer in a second of the house as it was told to.
        let time = frames as f64 / self.rate / (1.0 + self.steer.ppm() * 1e-6);
        self.open -= time;
        // Less than a tenth of a millisecond is the resampler's rest, not a part of the block.
        if self.open < 1e-4 {
            self.open = 0.0;
        }
        if let Some(due) = &mut self.due {
            *due += time;
        }
        let skipped = self.skip.min(frames);
        self.skip -= skipped;
        skipped
    }

    pub(super) fn steer(&self) -> &Steer {
        &self.steer
    }

    /// What the ring holds beyond what blocks and callbacks need between them.
    pub(super) fn held(&self) -> Duration {
        Duration::try_from_secs_f64(self.steer.fill()).unwrap_or_default()
    }

    /// How much the ring holds on average: the margin, and half of what blocks and callbacks move at once.
    pub(super) fn average(&self, period: u64) -> Duration {
        let average = self.steer.fill() + (BLOCK + period as f64 / self.rate) / 2.0;
        Duration::try_from_secs_f64(average).unwrap_or_default()
    }

    fn centre(&mut self, fill: f64) -> usize {
        self.steer.recentred();
        let lacks = (self.margin - fill) * self.rate;
        self.skip = if lacks < 0.0 { -lacks as usize } else { 0 };
        if lacks > 0.0 { lacks as usize } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 48_000;

    /// A loudspeaker that takes `period` frames a time, fast by `ppm`, against a `PlayoutClock` whose owner follows it, for so many seconds.
    /// Underruns after the first second, and the ring's content in seconds at each callback since.
    fn play(
        pace: &mut PlayoutClock,
        period: usize,
        ppm: f64,
        seconds: f64,
        stall: Option<(f64, f64)>,
    ) -> (u32, Vec<f64>) {
        let (mut ring, mut dry, mut underruns) = (0_usize, false, 0);
        let (mut callback, mut last) = (0.003, None::<f64>);
        let (mut stall, mut owed, mut contents) = (stall, 0.0, Vec::new());
        let mut now = 0.0_f64;
        while now < seconds {
            let wait = pace.wait(Duration::from_secs_f64(now)).as_secs_f64();
            if now + wait >= callback {
                now = now.max(callback);
                dry |= ring < period;
                if ring < period && now > 1.0 {
                    underruns += 1;
                }
                contents.push(ring as f64 / f64::from(RATE));
                ring = ring.saturating_sub(period);
                pace.left(Duration::from_secs_f64(now), ring as u64);
                last = Some(now);
                callback += period as f64 / f64::from(RATE) / (1.0 + ppm * 1e-6);
                if stall.is_some_and(|(at, _)| now > at) {
                    callback += stall.take().map_or(0.0, |(_, time)| time);
                }
                continue;
            }
            now += wait + 2e-5;
            if pace.begins() {
                let seen = Seen {
                    waiting: ring,
                    since_callback: last.map(|at| Duration::from_secs_f64(now - at)),
                    dry: std::mem::take(&mut dry),
                    settled: now > 1.0,
                };
                ring += pace.begin(Duration::from_secs_f64(now), seen);
            }
            // A block of 10 ms of the house, as the steered resampler makes it.
            owed += 480.0 * (1.0 + pace.steer().ppm() * 1e-6);
            let frames = owed as usize;
            owed -= frames as f64;
            ring += frames - pace.take(frames);
        }
        (underruns, contents)
    }

    #[test]
    fn a_loudspeaker_of_another_clock_never_runs_dry() {
        for period in [256, 480, 1024] {
            for ppm in [-500.0, 0.0, 500.0] {
                let mut pace = PlayoutClock::new(RATE);
                let (underruns, contents) = play(&mut pace, period, ppm, 300.0, None);
                assert_eq!(underruns, 0, "{period} frames, {ppm} ppm");
                assert!((pace.steer().drift_ppm() - ppm).abs() < 10.0, "{period}: {}", pace.steer().drift_ppm());
                let most = contents[contents.len() / 2..].iter().copied().fold(0.0, f64::max);
                let needed = period as f64 / f64::from(RATE) + BLOCK + MARGIN;
                assert!(most < needed + 0.002, "{period} frames, {ppm} ppm: {most} s wait, {needed} s are needed");
            }
        }
    }

    #[test]
    fn a_device_that_stood_still_is_brought_back_and_its_drift_is_kept() {
        let mut pace = PlayoutClock::new(RATE);
        let (_, contents) = play(&mut pace, 480, 200.0, 120.0, Some((60.0, 0.3)));
        assert!((pace.steer().drift_ppm() - 200.0).abs() < 20.0, "{}", pace.steer().drift_ppm());
        // 0.3 s of sound too much are gone a second later.
        let late = &contents[contents.len() / 2 + 150..];
        assert!(late.iter().all(|&content| content < 0.035), "{:?}", late.iter().copied().fold(0.0, f64::max));
    }

    #[test]
    fn a_ring_that_ran_dry_holds_more_afterwards_and_slowly_less_again() {
        let mut pace = PlayoutClock::new(RATE);
        let seen = |dry| Seen { waiting: 0, since_callback: Some(Duration::ZERO), dry, settled: true };
        assert_eq!(pace.begin(Duration::from_secs(1), seen(false)), 240, "it begins with its margin");
        pace.take(480);
        assert_eq!(pace.wait(Duration::from_secs(1)), Duration::from_millis(10));
        let silence = pace.begin(Duration::from_millis(1010), seen(true));
        assert_eq!(silence, 480, "5 ms, and 5 ms more");
        pace.take(480);
        for second in 0..60 {
            pace.left(Duration::from_secs(2 + second), 480);
        }
        let target = pace.steer().target();
        assert!(target < Duration::from_millis(10) && target >= Duration::from_millis(4), "{target:?}");
    }

    #[test]
    fn an_owner_who_was_away_begins_anew_and_without_callbacks_nothing_piles_up() {
        let mut pace = PlayoutClock::new(RATE);
        let silent = |waiting| Seen { waiting, since_callback: None, dry: false, settled: false };
        let mut ring = 0;
        for block in 0..300_u32 {
            let now = block * Duration::from_millis(10);
            assert_eq!(pace.wait(now), Duration::ZERO);
            ring += pace.begin(now, silent(ring));
            ring += 480 - pace.take(480);
        }
        assert!(ring <= 2 * 480, "{ring} frames wait for nobody");
        let late = Duration::from_secs(10);
        let seen = Seen { waiting: 0, since_callback: Some(Duration::ZERO), dry: true, settled: true };
        assert_eq!(pace.begin(late, seen), 240);
        pace.take(480);
        assert_eq!(pace.wait(late), Duration::from_millis(10), "nothing is caught up");
    }
}
