/// The gains that can be set, dB.
const RANGE_DB: std::ops::RangeInclusive<f32> = -120.0..=40.0;

/// Makes a stream of mono samples louder or fainter, without a click: every change is a straight ramp of 10 ms. At exactly 0 dB
/// samples pass bit by bit.
#[derive(Debug, Clone)]
pub struct Gain {
    /// Samples in 10 ms.
    ramp: u32,
    /// What it is set to, as a factor.
    set: f32,
    muted: bool,
    /// Factor of the last sample.
    now: f32,
    step: f32,
    /// Samples until the ramp is done.
    left: u32,
}

impl Gain {
    /// 0 dB, for samples at `rate` Hz.
    pub fn new(rate: u32) -> Self {
        Self { ramp: (rate / 100).max(1), set: 1.0, muted: false, now: 1.0, step: 0.0, left: 0 }
    }

    /// Sets the gain in dB: -120 to 40, beyond which the nearest of both is taken. What is no number changes nothing.
    pub fn set_db(&mut self, db: f32) {
        if db.is_nan() {
            return;
        }
        let db = db.clamp(*RANGE_DB.start(), *RANGE_DB.end());
        self.set = if db == 0.0 { 1.0 } else { 10_f32.powf(db / 20.0) };
        self.head_for_target();
    }

    /// Silence, until it is taken back; the gain that was set is kept.
    pub fn mute(&mut self, muted: bool) {
        self.muted = muted;
        self.head_for_target();
    }

    fn target(&self) -> f32 {
        if self.muted { 0.0 } else { self.set }
    }

    fn head_for_target(&mut self) {
        self.left = if self.now == self.target() { 0 } else { self.ramp };
        self.step = (self.target() - self.now) / self.ramp as f32;
    }

    /// The next samples, in place, as many as there are.
    pub fn process(&mut self, block: &mut [f32]) {
        let (ramp, rest) = block.split_at_mut((self.left as usize).min(block.len()));
        for sample in ramp {
            self.left -= 1;
            self.now = if self.left == 0 { self.target() } else { self.now + self.step };
            *sample *= self.now;
        }
        if self.now == 0.0 {
            rest.fill(0.0);
        } else if self.now != 1.0 {
            for sample in rest {
                *sample *= self.now;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ramps_in_ten_milliseconds_and_passes_everything_untouched_at_zero() {
        let mut gain = Gain::new(16_000);
        let sound: Vec<f32> = (0..400).map(|n| (n as f32 * 0.3).sin()).collect();
        let mut block = sound.clone();
        gain.process(&mut block);
        assert_eq!(block, sound);

        gain.set_db(-20.0);
        let mut block = vec![1.0; 400];
        gain.process(&mut block);
        assert!(block.windows(2).all(|pair| (pair[0] - pair[1]).abs() < 1.01 * 0.9 / 160.0), "no step");
        assert!(block[158] > 0.1001 && block[159..].iter().all(|&sample| (sample - 0.1).abs() < 1e-6));

        gain.mute(true);
        gain.set_db(0.0);
        let mut block = vec![1.0; 400];
        gain.process(&mut block);
        assert!(block[159..].iter().all(|&sample| sample == 0.0), "what is set while muted does not sound");
        gain.mute(false);
        let mut block = vec![1.0; 160];
        gain.process(&mut block);
        let mut block = sound.clone();
        gain.process(&mut block);
        assert_eq!(block, sound, "and exactly one again");
    }

    #[test]
    fn blocks_of_any_size_make_the_same_and_nonsense_changes_nothing() {
        let run = |size: usize| {
            let mut gain = Gain::new(16_000);
            gain.set_db(12.0);
            gain.set_db(f32::NAN);
            let mut sound = vec![0.5; 480];
            sound.chunks_mut(size).for_each(|part| gain.process(part));
            sound
        };
        assert_eq!(run(480), run(7));
        assert!((run(480)[479] - 0.5 * 10_f32.powf(0.6)).abs() < 1e-5);
        let mut gain = Gain::new(16_000);
        gain.set_db(f32::INFINITY);
        let mut block = [1.0; 200];
        gain.process(&mut block);
        assert!((block[199] - 100.0).abs() < 1e-3, "{}", block[199]);
    }
}
