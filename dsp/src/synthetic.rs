//! Sounds for the tests, and a look at their spectra.

use std::f32::consts::TAU;

/// White noise of unit power, from a linear congruential generator.
pub(crate) struct Hiss(pub(crate) u64);

impl Iterator for Hiss {
    type Item = f32;

    fn next(&mut self) -> Option<f32> {
        let mut sum = 0.0;
        for _ in 0..3 {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            sum += (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0;
        }
        Some(sum)
    }
}

/// A resonance at `hz` of so many Hz of width.
#[derive(Clone, Copy)]
struct Resonance {
    a: f32,
    b: f32,
    past: [f32; 2],
}

impl Resonance {
    fn new(rate: u32, hz: f32, width: f32) -> Self {
        let radius = (-std::f32::consts::PI * width / rate as f32).exp();
        Self { a: 2.0 * radius * (TAU * hz / rate as f32).cos(), b: -radius * radius, past: [0.0; 2] }
    }

    fn next(&mut self, sample: f32) -> f32 {
        let out = sample + self.a * self.past[0] + self.b * self.past[1];
        self.past = [out, self.past[0]];
        out
    }
}

/// Something like speech: syllables of a voice that glides between 90 and 250 Hz through formants, with hisses between and
/// short pauses.
pub(crate) fn voice(rate: u32, seconds: usize) -> Vec<f32> {
    let mut hiss = Hiss(9);
    let (mut phase, mut out) = (0.0_f32, Vec::new());
    let vowels = [[700.0, 1200.0, 2500.0], [300.0, 2200.0, 2900.0], [350.0, 800.0, 2300.0]];
    let mut syllable = 0;
    while out.len() < rate as usize * seconds {
        let mut formants = vowels[syllable % 3].map(|hz| Resonance::new(rate, hz, 80.0));
        let length = rate as usize / 4;
        for n in 0..length {
            let at = n as f32 / length as f32;
            let hz = 170.0 + 80.0 * (TAU * (0.3 * at + 0.37 * syllable as f32)).sin();
            phase += hz / rate as f32;
            let mut source = 0.003 * hiss.next().unwrap_or(0.0);
            if phase >= 1.0 {
                phase -= 1.0;
                source += 1.0;
            }
            let shape = (at * 8.0).min((1.0 - at) * 8.0).min(1.0);
            out.push(0.04 * shape * formants.iter_mut().map(|formant| formant.next(source)).sum::<f32>());
        }
        let mut fricative = Resonance::new(rate, 4500.0, 1500.0);
        out.extend((0..rate as usize / 12).map(|_| 0.02 * fricative.next(hiss.next().unwrap_or(0.0))));
        out.extend((0..rate as usize / 20).map(|_| 1e-4 * hiss.next().unwrap_or(0.0)));
        syllable += 1;
    }
    out.truncate(rate as usize * seconds);
    let peak = out.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
    out.iter().map(|sample| 0.5 * sample / peak).collect()
}

/// Levels in third octaves from 125 Hz to 6.3 kHz, decibels relative to a mean square of 1. Bins of 512 samples are shared
/// out among the bands.
pub(crate) fn band_levels(sound: &[f32], rate: u32) -> Vec<f32> {
    const SIZE: usize = 512;
    let window: Vec<f32> = (0..SIZE).map(|n| 0.5 - 0.5 * (TAU * (n as f32 + 0.5) / SIZE as f32).cos()).collect();
    let turns: Vec<(f32, f32)> = (0..SIZE).map(|n| (TAU * n as f32 / SIZE as f32).sin_cos()).collect();
    let mut spectrum = vec![0.0_f32; SIZE / 2];
    let mut count = 0;
    for part in sound.windows(SIZE).step_by(SIZE / 2) {
        for (bin, power) in spectrum.iter_mut().enumerate() {
            let (mut real, mut imaginary) = (0.0, 0.0);
            for (n, (sample, weight)) in part.iter().zip(&window).enumerate() {
                let (sine, cosine) = turns[bin * n % SIZE];
                real += sample * weight * cosine;
                imaginary += sample * weight * sine;
            }
            *power += real * real + imaginary * imaginary;
        }
        count += 1;
    }
    let scale = 2.0 / (SIZE as f32 * SIZE as f32 * 0.375 * count as f32);
    let width = rate as f32 / SIZE as f32;
    (0..18)
        .map(|band| {
            let centre = 125.0 * 2_f32.powf(band as f32 / 3.0);
            let (low, high) = (centre * 2_f32.powf(-1.0 / 6.0), centre * 2_f32.powf(1.0 / 6.0));
            let power: f32 = spectrum
                .iter()
                .enumerate()
                .map(|(bin, power)| {
                    let (from, to) = ((bin as f32 - 0.5) * width, (bin as f32 + 0.5) * width);
                    power * ((to.min(high) - from.max(low)) / width).max(0.0)
                })
                .sum();
            10.0 * (power * scale).max(1e-20).log10()
        })
        .collect()
}
