//! Rows of a spectrogram: bands that lie evenly on the mel scale.

use std::sync::Arc;

use realfft::{RealFftPlanner, RealToComplex, num_complex::Complex};

/// Bands in a row.
const BANDS: usize = 64;
/// The lowest, Hz.
const LOWEST: f64 = 50.0;
/// What 0 stands for, dBFS; 255 is full scale.
const FLOOR_DB: f64 = -100.0;

/// Makes rows out of sound.
pub(super) struct Spectrum {
    fft: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
    /// The last samples, as many as the window has.
    samples: Vec<f32>,
    windowed: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
    /// For each band, its bins and their weights: a triangle on the mel scale.
    bands: Vec<Vec<(usize, f32)>>,
    /// Power of a full-scale sine in one bin.
    full: f32,
}

impl Spectrum {
    /// For sound at this rate, a row for each `step` samples. The window is twice as long.
    pub(super) fn new(rate: u32, step: usize) -> Self {
        let length = (2 * step).max(256);
        let fft = RealFftPlanner::new().plan_fft_forward(length);
        let window: Vec<f32> =
            (0..length).map(|n| 0.5 - 0.5 * (std::f32::consts::TAU * (n as f32 + 0.5) / length as f32).cos()).collect();
        let sum: f32 = window.iter().sum();
        Self {
            windowed: vec![0.0; length],
            spectrum: fft.make_output_vec(),
            scratch: fft.make_scratch_vec(),
            samples: vec![0.0; length],
            bands: bands(rate, length),
            full: (sum / 2.0) * (sum / 2.0),
            window,
            fft,
        }
    }

    /// The next row, of `step` samples: each band's energy, from 0 (-100 dBFS and less) to 255 (a full-scale sine).
    pub(super) fn row(&mut self, samples: &[f32]) -> Vec<u8> {
        // The newest of them, if they are more than the window holds.
        let samples = &samples[samples.len().saturating_sub(self.samples.len())..];
        let keep = self.samples.len() - samples.len();
        self.samples.copy_within(samples.len().., 0);
        self.samples[keep..].copy_from_slice(samples);
        for ((windowed, sample), weight) in self.windowed.iter_mut().zip(&self.samples).zip(&self.window) {
            *windowed = sample * weight;
        }
        // The buffers are the plan's own.
        let _ = self.fft.process_with_scratch(&mut self.windowed, &mut self.spectrum, &mut self.scratch);
        self.bands
            .iter()
            .map(|band| {
                let power: f32 = band.iter().map(|&(bin, weight)| weight * self.spectrum[bin].norm_sqr()).sum();
                let db = 10.0 * f64::from((power / self.full).max(1e-12)).log10();
                (255.0 * (1.0 - db / FLOOR_DB)).round().clamp(0.0, 255.0) as u8
            })
            .collect()
    }
}

fn bands(rate: u32, length: usize) -> Vec<Vec<(usize, f32)>> {
    // O'Shaughnessy's formula (1987), as HTK has it.
    let mel = |hertz: f64| 2595.0 * (1.0 + hertz / 700.0).log10();
    let hertz = |mel: f64| 700.0 * (10.0_f64.powf(mel / 2595.0) - 1.0);
    let bin = f64::from(rate) / length as f64;
    let (low, high) = (mel(LOWEST), mel(f64::from(rate) / 2.0));
    let edge = |n: usize| hertz(low + (high - low) * n as f64 / (BANDS + 1) as f64);
    let last = length / 2;
    (0..BANDS)
        .map(|n| {
            let (left, centre, right) = (edge(n), edge(n + 1), edge(n + 2));
            let weights: Vec<(usize, f32)> = (0..=last)
                .filter_map(|k| {
                    let at = k as f64 * bin;
                    let weight = ((at - left) / (centre - left)).min((right - at) / (right - centre));
                    (weight > 0.0).then_some((k, weight as f32))
                })
                .collect();
            // Narrower than a bin: the nearest one.
            if weights.is_empty() { vec![(((centre / bin).round() as usize).min(last), 1.0)] } else { weights }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_shows_in_its_band_at_its_level_and_silence_is_0() {
        let mut spectrum = Spectrum::new(16_000, 320);
        assert_eq!(spectrum.row(&[0.0; 320]), vec![0; BANDS]);
        let mut loudest = 0;
        for hertz in [200.0_f32, 1000.0, 5000.0] {
            let tone = |n: usize| 0.1 * (std::f32::consts::TAU * hertz * n as f32 / 16_000.0).sin();
            let mut row = Vec::new();
            for step in 0..4 {
                let block: Vec<f32> = (0..320).map(|n| tone(320 * step + n)).collect();
                row = spectrum.row(&block);
            }
            let (band, &level) = row.iter().enumerate().max_by_key(|(_, level)| **level).unwrap();
            // -20 dBFS is 0.8 of the way; a band's triangle and the window's lobes take or give some decibels.
            assert!((190..=225).contains(&level), "{hertz} Hz: {level}");
            assert!(band > loudest, "{hertz} Hz lies higher: {band}");
            loudest = band;
        }
    }

    #[test]
    fn every_band_has_bins_at_usual_rates() {
        for (rate, step) in [(8_000, 160), (16_000, 320), (24_000, 480), (48_000, 960)] {
            assert!(bands(rate, 2 * step).iter().all(|band| !band.is_empty()));
        }
    }
}
