use std::{fmt, sync::Arc, time::Duration};

use realfft::{RealFftPlanner, RealToComplex, num_complex::Complex};

/// Upper ends of the bands that are looked at, Hz; the first begins at 80 Hz.
const BANDS: [f32; 16] = [
    200.0, 300.0, 400.0, 510.0, 630.0, 770.0, 920.0, 1080.0, 1270.0, 1480.0, 1720.0, 2000.0, 2500.0, 3400.0, 4800.0,
    7000.0,
];

/// Where the first band begins: hum and rumble below tell nothing.
const LOWEST_HZ: f32 = 80.0;

/// Mean square of a bin below which it is no sound, -110 dB.
const NO_SOUND: f32 = 1e-11;

/// How improbable as background a frame must be, for it to be speech; in a steady background it is about 1.
const SPEECH: f32 = 2.0;

/// The background is learned from frames less improbable than this.
const BACKGROUND: f32 = 1.6;

/// How much of the background's power is kept with each frame of it.
const KEEP: f32 = 0.95;

/// How much of the smoothed power, whose least value the background cannot be below, is kept with each frame.
const SMOOTH: f32 = 0.7;

/// The least value is taken over this many spans.
const SPANS: usize = 10;

/// Frames in one such span: 2.4 s in all.
const SPAN: u32 = 12;

/// The background is at most so many times the least value.
const MOST_OVER_LEAST: f32 = 8.0;

/// Frames that count as speech at the beginning, while nothing is known of the background.
const AT_FIRST: u32 = 20;

/// How much one band may say by itself: a tone in one is less than speech in many.
const MOST_OF_A_BAND: f32 = 60.0;

/// Hangover after a single frame of speech, which may be a click: frames.
const AFTER_ONE: u32 = 5;

/// A band of the spectrum, and what its background is like.
#[derive(Debug, Clone, Copy)]
struct Band {
    first: usize,
    last: usize,
    background: f32,
    power: Calmest,
}

/// A smoothed value, and its least of late.
#[derive(Debug, Clone, Copy)]
struct Calmest {
    smoothed: f32,
    least: [f32; SPANS],
}

impl Calmest {
    const NEW: Self = Self { smoothed: 0.0, least: [f32::MAX; SPANS] };

    /// Takes in the value of a frame; the least of the last 2.4 s.
    fn push(&mut self, value: f32, frame: u32) -> f32 {
        self.smoothed = if frame == 0 { value } else { SMOOTH * self.smoothed + (1.0 - SMOOTH) * value };
        let newest = &mut self.least[(frame / SPAN) as usize % SPANS];
        *newest = if frame.is_multiple_of(SPAN) { self.smoothed } else { newest.min(self.smoothed) };
        self.least.iter().copied().fold(f32::MAX, f32::min)
    }
}

/// Tells speech from background, frame by frame.
///
/// In each of 16 bands the background's power is learned: its mean over frames without speech, held to the least power of the
/// last 2.4 s. A frame is speech if its powers are improbable as background (the likelihood ratio of Sohn, Kim and Sung, "A
/// statistical model-based voice activity detection", 1999). It errs on the side of speech: the first 0.4 s are speech, what
/// follows speech is for a while, and so is a background that became louder, for up to 2.4 s.
///
/// A sound that begins within a frame may be found only with the next one: who must not lose a beginning keeps one frame back.
pub struct Activity {
    fft: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
    windowed: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
    scale: f32,
    bands: [Band; BANDS.len()],
    frames: u32,
    run: u32,
    hangover: u32,
    left: u32,
}

impl Activity {
    /// A detector for frames of `frame_samples` mono samples at `rate` Hz, best of 20 ms. Its hangover is 240 ms.
    pub fn new(rate: u32, frame_samples: usize) -> Self {
        let length = frame_samples.max(2);
        let fft = RealFftPlanner::new().plan_fft_forward(length);
        let hann = |n: usize| 0.5 - 0.5 * (std::f32::consts::TAU * (n as f32 + 0.5) / length as f32).cos();
        let bin = |hz: f32| ((hz * length as f32 / rate.max(1) as f32).round() as usize).clamp(1, length / 2);
        let band = |n: usize| Band {
            first: bin(if n == 0 { LOWEST_HZ } else { BANDS[n - 1] }),
            last: bin(BANDS[n]),
            background: NO_SOUND,
            power: Calmest::NEW,
        };
        Self {
            window: (0..length).map(hann).collect(),
            windowed: fft.make_input_vec(),
            spectrum: fft.make_output_vec(),
            scratch: fft.make_scratch_vec(),
            fft,
            // A mean square of 1 is shared out among the bins; the window takes 3/8.
            scale: 2.0 / (0.375 * (length * length) as f32),
            bands: std::array::from_fn(band),
            frames: 0,
            run: 0,
            hangover: 12,
            left: 0,
        }
    }

    /// With another hangover: how long after speech the background still counts as speech. It is rounded up to frames of
    /// 20 ms.
    #[must_use]
    pub fn with_hangover(self, hangover: Duration) -> Self {
        Self { hangover: u32::try_from(hangover.as_millis().div_ceil(20)).unwrap_or(u32::MAX), ..self }
    }

    /// Takes a frame; samples must be finite. Whether it is speech, or follows speech closely. A frame of another length
    /// than was told counts as its first samples, or as if silence followed.
    pub fn push(&mut self, frame: &[f32]) -> bool {
        self.windowed.fill(0.0);
        for ((windowed, sample), weight) in self.windowed.iter_mut().zip(frame).zip(&self.window) {
            *windowed = sample * weight;
        }
        // It fails only for buffers of a wrong length, and these are its own.
        let transformed = self.fft.process_with_scratch(&mut self.windowed, &mut self.spectrum, &mut self.scratch);
        if transformed.is_err() {
            return true;
        }
        let mut powers = [0.0; BANDS.len()];
        for (power, band) in powers.iter_mut().zip(&self.bands) {
            let bins = &self.spectrum[band.first..band.last.max(band.first + 1).min(self.spectrum.len())];
            *power = bins.iter().map(Complex::norm_sqr).sum::<f32>() * self.scale / bins.len().max(1) as f32 + NO_SOUND;
        }
        for (band, power) in self.bands.iter_mut().zip(&powers) {
            let least = band.power.push(*power, self.frames);
            band.background = band.background.clamp(least, MOST_OVER_LEAST * least);
        }
        let novelty = self.novelty(&powers);
        self.frames = self.frames.saturating_add(1);
        if novelty < BACKGROUND || self.frames <= AT_FIRST / 2 {
            // At first the mean of all so far.
            let keep = KEEP.min(1.0 - 1.0 / self.frames as f32);
            for (band, power) in self.bands.iter_mut().zip(&powers) {
                band.background = keep * band.background + (1.0 - keep) * power;
            }
        }
        if novelty > SPEECH {
            self.run = self.run.saturating_add(1);
            self.left = self.left.max(if self.run > 1 { self.hangover } else { self.hangover.min(AFTER_ONE) });
            return true;
        }
        self.run = 0;
        let hanging = self.left > 0;
        self.left = self.left.saturating_sub(1);
        hanging || self.frames <= AT_FIRST
    }

    /// How little of a frame is explained by the background: the mean over the bands of the logarithm of the likelihood
    /// ratio.
    fn novelty(&self, powers: &[f32; BANDS.len()]) -> f32 {
        let of_band = |(band, power): (&Band, &f32)| {
            let ratio = (power / band.background).max(1.0);
            let bins = band.last.saturating_sub(band.first).max(1) as f32;
            (bins * (ratio - ratio.ln() - 1.0)).min(MOST_OF_A_BAND)
        };
        self.bands.iter().zip(powers).map(of_band).sum::<f32>() / BANDS.len() as f32
    }
}

impl fmt::Debug for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activity").field("bands", &self.bands).field("left", &self.left).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "activity_tests.rs"]
mod tests;
