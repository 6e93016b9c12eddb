/// Samples up to here pass untouched, -2 dBFS.
const THRESHOLD: f32 = 0.794_328_2;
/// How long the gain stays down after a peak: half a wave of 50 Hz, so that a steady low tone does not pump.
const HOLD_S: f32 = 0.01;
/// Time in which the gain goes two thirds of the way back.
const RELEASE_S: f32 = 0.08;
/// A gain that is so little below 1 is 1: a step of less than half a bit of 16-bit sound.
const NEGLIGIBLE: f32 = 1e-5;
/// Peaks within 0.2 dB of the one before renew the hold: those of a steady tone differ by where its samples fall.
const LIKE: f32 = 1.02;

/// Keeps a mix within full scale. Without look-ahead, so without delay.
///
/// While no sample exceeds -2 dBFS, and 0.3 to 1 s after one did, samples pass bit by bit. A sample beyond it is bent
/// onto a curve that nears full scale without reaching beyond (straight up to the threshold, then a hyperbolic tangent), and the
/// gain that it took is held for 10 ms and let go over 80 ms: so only the rise to a new peak is bent, all else is scaled. Samples
/// that are no numbers become silence.
#[derive(Debug, Clone)]
pub struct Limiter {
    /// What the gain is below 1: it can become small without being rounded away.
    cut: f32,
    /// Samples for which the gain is held yet.
    held: u32,
    hold: u32,
    /// What is left of the cut after a sample.
    keep: f32,
}

impl Limiter {
    /// A limiter for mono samples at `rate` Hz.
    pub fn new(rate: u32) -> Self {
        let rate = rate.max(1) as f32;
        Self { cut: 0.0, held: 0, hold: (HOLD_S * rate) as u32, keep: (-1.0 / (RELEASE_S * rate)).exp() }
    }

    /// The next samples, in place, as many as there are. Afterwards none is beyond -1 to 1.
    pub fn process(&mut self, block: &mut [f32]) {
        for sample in block {
            if !sample.is_finite() {
                *sample = 0.0;
            }
            let size = sample.abs();
            if size > THRESHOLD {
                let wanted = bent(size) / size;
                let gain = 1.0 - self.cut;
                if wanted <= gain * LIKE {
                    self.held = self.hold;
                }
                if wanted < gain {
                    self.cut = 1.0 - wanted;
                }
            }
            if self.cut == 0.0 {
                continue;
            }
            *sample = (*sample * (1.0 - self.cut)).clamp(-1.0, 1.0);
            if self.held > 0 {
                self.held -= 1;
            } else {
                self.cut *= self.keep;
                if self.cut < NEGLIGIBLE {
                    self.cut = 0.0;
                }
            }
        }
    }
}

fn bent(size: f32) -> f32 {
    let room = 1.0 - THRESHOLD;
    THRESHOLD + room * ((size - THRESHOLD) / room).tanh()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sine(hz: f32, amplitude: f32) -> Vec<f32> {
        (0..32_000).map(|n| amplitude * (std::f32::consts::TAU * hz * n as f32 / 16_000.0).sin()).collect()
    }

    #[test]
    fn below_the_threshold_nothing_changes() {
        let sound = sine(440.0, 0.79);
        let mut limited = sound.clone();
        Limiter::new(16_000).process(&mut limited);
        assert_eq!(limited, sound);
    }

    #[test]
    fn a_tone_too_loud_comes_out_below_full_scale_and_as_a_tone() {
        for hz in [60.0, 440.0, 3000.0] {
            let mut limited = sine(hz, 2.0);
            Limiter::new(16_000).process(&mut limited);
            let settled = &limited[16_000..];
            let peak = settled.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
            assert!(peak <= 1.0 && peak > 0.9, "{hz} Hz: {peak}");
            // How much is not that tone: its best fit taken away.
            let (mut real, mut imaginary, mut power) = (0.0_f64, 0.0_f64, 0.0_f64);
            for (n, &sample) in settled.iter().enumerate() {
                let (sine, cosine) = (std::f64::consts::TAU * f64::from(hz) * n as f64 / 16_000.0).sin_cos();
                real += f64::from(sample) * cosine;
                imaginary += f64::from(sample) * sine;
                power += f64::from(sample).powi(2);
            }
            let tone = 2.0 * (real * real + imaginary * imaginary) / settled.len() as f64;
            let distortion_db = 10.0 * ((power - tone).max(1e-12) / power).log10();
            assert!(distortion_db < -40.0, "{hz} Hz: {distortion_db} dB");
        }
    }

    #[test]
    fn after_a_peak_it_lets_go_and_is_transparent_again() {
        let mut limiter = Limiter::new(16_000);
        let mut loud = sine(300.0, 4.0);
        limiter.process(&mut loud);
        let quiet = sine(300.0, 0.5);
        let mut after = quiet.clone();
        limiter.process(&mut after);
        assert!(after[0..160].iter().zip(&quiet).skip(1).all(|(a, b)| a.abs() < b.abs()), "held");
        assert_eq!(after[16_000..], quiet[16_000..], "let go within a second");
        let gains: Vec<f32> = after.iter().zip(&quiet).filter(|(_, b)| b.abs() > 0.1).map(|(a, b)| a / b).collect();
        assert!(gains.windows(2).all(|pair| pair[1] >= pair[0] - 1e-5 && pair[1] - pair[0] < 0.02), "smoothly");
    }

    proptest! {
        #[test]
        fn whatever_comes_in_stays_within_full_scale(
            sound in proptest::collection::vec(any::<f32>(), 1..400), scale in 0.1_f32..10.0,
        ) {
            let mut limiter = Limiter::new(16_000);
            let mut wild = sound.clone();
            limiter.process(&mut wild);
            prop_assert!(wild.iter().all(|sample| sample.abs() <= 1.0));
            let mut tame: Vec<f32> = sound.iter().map(|sample| scale * (sample % 1.0)).collect();
            limiter.process(&mut tame);
            prop_assert!(tame.iter().all(|sample| sample.abs() <= 1.0));
        }
    }
}
