//! The house's side of a microphone's ring: how what it gives is stretched to the house's time. Time is passed in, so that it can be
//! tested.

use std::time::Duration;

use parlo_dsp::Steer;

/// What is further off than this was no drift, but sound that was lost or came in a burst, and is not made up for: nothing waits
/// here, so to count anew costs nothing.
const ASTRAY: f64 = 0.006;

/// Sound is handed on as it comes, so there is no ring whose fill could be held. The fill of one is reckoned instead: what the
/// device has given, as stretched by the owner, less what is due by the house's clock.
#[derive(Debug)]
pub(super) struct Follow {
    rate: f64,
    steer: Steer,
    /// When nothing was due, in seconds since the stream was made; none before the first sound.
    begun: Option<f64>,
    /// Seconds of sound that were handed on since, as stretched.
    given: f64,
    /// Seconds that waited in the ring, smoothed.
    waiting: f64,
}

impl Follow {
    pub(super) fn new(rate: u32) -> Self {
        Self { rate: f64::from(rate.max(1)), steer: Steer::new(Duration::ZERO), begun: None, given: 0.0, waiting: 0.0 }
    }

    /// Forgets what was due: sound begins now.
    pub(super) fn begin(&mut self) {
        self.begun = None;
        self.steer.recentred();
    }

    /// Counts `frames` that were handed on at the time `now`, when `left` more wait and the last callback was so long ago.
    pub(super) fn gave(&mut self, now: Duration, frames: usize, left: usize, since_callback: Duration) {
        let stretch = 1.0 + self.steer.ppm() * 1e-6;
        let time = now.as_secs_f64();
        self.given += frames as f64 / self.rate * stretch;
        self.waiting += 0.01 * ((frames + left) as f64 / self.rate - self.waiting);
        // As if the device gave sample by sample: what it has gathered since its last callback counts.
        let made = self.given + (left as f64 / self.rate + since_callback.as_secs_f64()) * stretch;
        let begun = *self.begun.get_or_insert(time - made);
        self.steer.push(now, made - (time - begun));
        if self.steer.is_lost() || self.steer.fill().abs() > ASTRAY {
            // Sound was lost, or more came than time went by: the drift is what it was.
            (self.begun, self.given) = (None, 0.0);
            self.steer.recentred();
        }
    }

    pub(super) fn steer(&self) -> &Steer {
        &self.steer
    }

    /// What waits when the owner comes, on average.
    pub(super) fn average(&self) -> Duration {
        Duration::try_from_secs_f64(self.waiting).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds of stretched sound after so many seconds, from a microphone that is fast by `ppm` and calls back every `period`
    /// frames, but for one pause.
    fn listen(follow: &mut Follow, period: usize, ppm: f64, seconds: f64, pause: Option<(f64, f64)>) -> (f64, f64) {
        let (mut now, mut pause) = (0.0, pause);
        let (mut made, mut counted_from) = (0.0, 0.0);
        while now < seconds {
            now += period as f64 / 48_000.0 / (1.0 + ppm * 1e-6);
            if pause.is_some_and(|(at, _)| now > at) {
                now += pause.take().map_or(0.0, |(_, time)| time);
            }
            made += period as f64 / 48_000.0 * (1.0 + follow.steer().ppm() * 1e-6);
            // The owner looks every 2 ms.
            let late = 0.0007;
            follow.gave(Duration::from_secs_f64(now + late), period, 0, Duration::from_secs_f64(late));
            if now < seconds / 2.0 {
                (made, counted_from) = (0.0, now);
            }
        }
        (made, now - counted_from)
    }

    #[test]
    fn a_microphone_of_another_clock_keeps_the_houses_time() {
        for period in [256, 480, 1024] {
            for ppm in [-500.0, 0.0, 500.0] {
                let mut follow = Follow::new(48_000);
                let (made, passed) = listen(&mut follow, period, ppm, 600.0, None);
                assert!((made - passed).abs() < 0.002, "{period} frames, {ppm} ppm: {made} s in {passed} s");
                assert!((follow.steer().drift_ppm() + ppm).abs() < 5.0, "{}", follow.steer().drift_ppm());
            }
        }
    }

    #[test]
    fn sound_that_is_lost_is_not_made_up_for() {
        let mut follow = Follow::new(48_000);
        let (made, passed) = listen(&mut follow, 480, 100.0, 240.0, Some((180.0, 0.4)));
        assert!((passed - made - 0.4).abs() < 0.005, "{passed} s, {made} s");
        assert!((follow.steer().drift_ppm() + 100.0).abs() < 10.0, "{}", follow.steer().drift_ppm());
    }
}
