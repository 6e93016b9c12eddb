//! Two people talk: one through the loudspeaker, one at the microphone.

use parlo_dsp::{Stages, Switches};
use parlo_score::estoi;

use super::{
    Chance, at_level, decibels, other_speech, power,
    room::{convolved, distorted, drifted, impulse_response, later},
    scaled, speech, speech_level, sum,
};

/// High-pass and echo canceller.
pub(crate) const ECHO: Switches = Switches { high_pass: true, echo: true, noise: false, gain: false };

/// Seconds that each scene lasts, and after which is measured.
pub(crate) const SECONDS: usize = 12;
const SETTLED: usize = 2;

/// Where, and with what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) seed: u64,
    pub(crate) rate: u32,
    pub(crate) t60_s: f32,
    pub(crate) device_delay_ms: usize,
    pub(crate) distorts: bool,
    pub(crate) drift_ppm: f64,
}

impl Place {
    /// An office with a linear loudspeaker.
    pub(crate) fn office(seed: u64, device_delay_ms: usize) -> Self {
        Self { seed, rate: 16_000, t60_s: 0.3, device_delay_ms, distorts: false, drift_ppm: 0.0 }
    }

    /// What the loudspeaker gets (-26 dBFS), and what comes of it at the microphone (-30 dBFS).
    pub(crate) fn far_and_echo(self) -> (Vec<f32>, Vec<f32>) {
        let far = at_level(&speech(self.rate, SECONDS), self.rate, -26.0);
        let loud = if self.distorts {
            // The loudspeaker works near its limits.
            scaled(&distorted(&scaled(&far, 18.0)), -18.0)
        } else {
            far.clone()
        };
        let echo = convolved(&loud, &impulse_response(self.seed, self.rate, self.t60_s));
        let echo = later(&drifted(&echo, self.drift_ppm), self.rate as usize * self.device_delay_ms / 1000);
        let echo = at_level(&echo, self.rate, -30.0);
        (far, echo)
    }

    /// The room's own noise, -75 dBFS.
    pub(crate) fn hush(self) -> Vec<f32> {
        Chance(self.seed ^ 77).fan(self.rate, self.rate as usize * SECONDS, -75.0)
    }

    /// By how many dB the echo is weaker after the canceller, from the third second on, while nobody speaks at the microphone;
    /// and what the meter says at the end.
    pub(crate) fn enhancement(self) -> (f64, f32) {
        let (far, echo) = self.far_and_echo();
        let mut stages = Stages::new(self.rate, ECHO).unwrap();
        let left = through(&mut stages, &far, &sum(&echo, &self.hush()));
        let settled = SETTLED * self.rate as usize;
        let reading = stages.readings().echo_return_loss_enhancement_db.unwrap();
        (decibels(power(&echo[settled..]) / power(&left[settled..])), reading)
    }

    /// Both speak from the fifth second on, equally loud at the microphone.
    pub(crate) fn double_talk(self, switches: Switches) -> DoubleTalk {
        let (far, echo) = self.far_and_echo();
        let from = 4 * self.rate as usize;
        let mut near = at_level(&other_speech(self.rate, SECONDS), self.rate, speech_level(&echo, self.rate));
        near[..from].fill(0.0);
        let noisy = sum(&near, &self.hush());
        let mixed = sum(&noisy, &echo);
        let score = |stages: &mut Stages, far: &[f32], sound: &[f32]| {
            let heard = through(stages, far, sound);
            let late = (stages.delay().as_secs_f64() * f64::from(self.rate)).round() as usize;
            let end = near.len() - late;
            estoi(&near[from..end], &heard[from + late..], self.rate).unwrap()
        };
        let silence = vec![0.0; far.len()];
        DoubleTalk {
            unprocessed: estoi(&near[from..], &mixed[from..], self.rate).unwrap(),
            processed: score(&mut Stages::new(self.rate, switches).unwrap(), &far, &mixed),
            alone: score(&mut Stages::new(self.rate, switches).unwrap(), &silence, &noisy),
        }
    }
}

/// ESTOI against the near speech as it was spoken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DoubleTalk {
    /// What the microphone heard.
    pub(crate) unprocessed: f64,
    /// What the stages made of it.
    pub(crate) processed: f64,
    /// What the stages make of the near speech if nothing is played.
    pub(crate) alone: f64,
}

/// Passes a whole sound through the stages. What does not fill a block is left out.
pub(crate) fn through(stages: &mut Stages, far: &[f32], near: &[f32]) -> Vec<f32> {
    let size = stages.block();
    let mut out = near.to_vec();
    for (far, near) in far.chunks_exact(size).zip(out.chunks_exact_mut(size)) {
        stages.far(far);
        stages.near(near);
    }
    out
}
