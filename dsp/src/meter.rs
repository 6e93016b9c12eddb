/// The level that is shown for silence, dB relative to full scale.
const FLOOR_DBFS: f32 = -120.0;

/// A momentary level. 0 dBFS is a sample of 1.0; a full-scale sine has an RMS of -3 dBFS.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// Highest sample of late, -120 at least. Falls by 20 dB in 1.7 s, as IEC 60268-10 wants of a type I meter.
    pub peak_dbfs: f32,
    /// Root mean square over about the last 300 ms, -120 at least.
    pub rms_dbfs: f32,
}

/// Measures the level of a stream of mono samples.
#[derive(Debug, Clone)]
pub struct Meter {
    peak: f32,
    power: f32,
    peak_fall: f32,
    power_keep: f32,
}

impl Meter {
    /// A meter for samples at `rate` Hz.
    pub fn new(rate: u32) -> Self {
        let rate = rate.max(1) as f32;
        Self {
            peak: 0.0,
            power: 0.0,
            peak_fall: 10_f32.powf(-1.0 / (1.7 * rate)),
            power_keep: (-1.0 / (0.3 * rate)).exp(),
        }
    }

    /// Takes in more samples. They must be finite.
    pub fn push(&mut self, samples: &[f32]) {
        for &sample in samples {
            self.peak = (self.peak * self.peak_fall).max(sample.abs());
            self.power = self.power_keep * self.power + (1.0 - self.power_keep) * sample * sample;
        }
    }

    /// The level now.
    pub fn level(&self) -> Level {
        Level { peak_dbfs: decibels(self.peak * self.peak), rms_dbfs: decibels(self.power) }
    }
}

fn decibels(power: f32) -> f32 {
    (10.0 * power.log10()).max(FLOOR_DBFS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_scale_sine_reads_as_the_text_says_and_falls_as_the_standard_says() {
        let mut meter = Meter::new(48_000);
        assert_eq!(meter.level(), Level { peak_dbfs: -120.0, rms_dbfs: -120.0 });
        let sine: Vec<f32> = (0..96_000).map(|n| (n as f32 * 0.1).sin()).collect();
        meter.push(&sine);
        let level = meter.level();
        assert!(level.peak_dbfs.abs() < 0.1 && (level.rms_dbfs + 3.01).abs() < 0.1, "{level:?}");
        meter.push(&vec![0.0; 48_000 * 17 / 10]);
        assert!((meter.level().peak_dbfs + 20.0).abs() < 0.2, "{:?}", meter.level());
    }
}
