//! Extended short-time objective intelligibility: J. Jensen and C. H. Taal, "An Algorithm for Predicting the Intelligibility
//! of Speech Masked by Modulated Noise Maskers", IEEE/ACM TASLP 24(11), 2016. Agrees with the Python package pystoi 0.4.1 to
//! 1e-6; `tests/estoi.rs` has the figures.

use realfft::RealFftPlanner;

use crate::{
    error::{ScoreError, check},
    resample::resample_f64,
};

const RATE: u32 = 10_000;
const FRAME: usize = 256;
const HOP: usize = FRAME / 2;
const FFT: usize = 512;
const BANDS: usize = 15;
const LOWEST_HZ: f64 = 150.0;
/// Frames in a segment: 384 ms.
const SEGMENT: usize = 30;
/// Frames that are so much fainter than the loudest do not count.
const RANGE_DB: f64 = 40.0;

/// How well `received` can be understood by those who would understand `reference`: 0 (nothing) to 1 (all of it). Both mono, at
/// `rate` Hz, aligned, and of one length.
///
/// # Errors
/// If the signals differ in length, hold no speech or less than half a second, or values that are no numbers.
pub fn estoi(reference: &[f32], received: &[f32], rate: u32) -> Result<f64, ScoreError> {
    if reference.len() != received.len() {
        return Err(ScoreError::Lengths(reference.len(), received.len()));
    }
    check(reference)?;
    check(received)?;
    let wide = |signal: &[f32]| -> Vec<f64> { signal.iter().map(|&sample| f64::from(sample)).collect() };
    let clean = resample_f64(&wide(reference), rate, RATE);
    let heard = resample_f64(&wide(received), rate, RATE);
    let (clean, heard) = without_silence(&clean, &heard)?;
    let (clean, heard) = (bands(&clean), bands(&heard));
    if clean.len() < SEGMENT {
        let seconds = (clean.len() * HOP) as f64 / f64::from(RATE);
        return Err(ScoreError::TooShort { seconds, needed: (SEGMENT * HOP) as f64 / f64::from(RATE) });
    }
    let segments = clean.len() - SEGMENT + 1;
    let total: f64 = (0..segments)
        .map(|start| {
            let a = normalised(&clean[start..start + SEGMENT]);
            let b = normalised(&heard[start..start + SEGMENT]);
            a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| a * b).sum::<f64>() / SEGMENT as f64
        })
        .sum();
    Ok(total / segments as f64)
}

/// A Hann window without its zeros, as MATLAB's `hanning`.
fn window() -> Vec<f64> {
    (1..=FRAME).map(|n| 0.5 - 0.5 * (std::f64::consts::TAU * n as f64 / (FRAME + 1) as f64).cos()).collect()
}

/// Starts of the frames of a signal. (The last whole frame is left out, as in the authors' code.)
fn starts(length: usize) -> impl Iterator<Item = usize> {
    (0..length.saturating_sub(FRAME)).step_by(HOP)
}

/// Leaves out of both signals the frames where the first is silent, and joins the rest by overlap-add.
fn without_silence(clean: &[f64], heard: &[f64]) -> Result<(Vec<f64>, Vec<f64>), ScoreError> {
    let window = window();
    let level = |start: usize| {
        let energy: f64 = clean[start..start + FRAME].iter().zip(&window).map(|(s, w)| (s * w).powi(2)).sum();
        20.0 * (energy.sqrt() + f64::EPSILON).log10()
    };
    let levels: Vec<f64> = starts(clean.len()).map(level).collect();
    let loudest = levels.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let seconds = clean.len() as f64 / f64::from(RATE);
    let needed = (SEGMENT * HOP) as f64 / f64::from(RATE);
    if seconds < needed {
        return Err(ScoreError::TooShort { seconds, needed });
    }
    if loudest <= 20.0 * (1e-9_f64).log10() {
        return Err(ScoreError::Silent("reference"));
    }
    let kept: Vec<usize> =
        starts(clean.len()).zip(&levels).filter(|(_, level)| **level > loudest - RANGE_DB).map(|(s, _)| s).collect();
    let join = |signal: &[f64]| {
        let mut joined = vec![0.0; (kept.len().saturating_sub(1)) * HOP + FRAME];
        for (place, &start) in kept.iter().enumerate() {
            for ((sum, sample), weight) in joined[place * HOP..].iter_mut().zip(&signal[start..]).zip(&window) {
                *sum += sample * weight;
            }
        }
        joined
    };
    Ok((join(clean), join(heard)))
}

/// Magnitudes in one-third octave bands, frame by frame.
fn bands(signal: &[f64]) -> Vec<[f64; BANDS]> {
    let edges: Vec<(usize, usize)> = (0..BANDS)
        .map(|band| {
            let bin = |third: f64| {
                let hz = LOWEST_HZ * 2_f64.powf(third / 6.0);
                // The nearest bin; of two equally near the lower one.
                let nearest = hz * FFT as f64 / f64::from(RATE);
                (nearest - 0.5).ceil() as usize
            };
            (bin(2.0 * band as f64 - 1.0), bin(2.0 * band as f64 + 1.0))
        })
        .collect();
    let window = window();
    let transform = RealFftPlanner::<f64>::new().plan_fft_forward(FFT);
    let mut spectrum = transform.make_output_vec();
    starts(signal.len())
        .map(|start| {
            let mut frame = vec![0.0; FFT];
            for ((place, sample), weight) in frame.iter_mut().zip(&signal[start..start + FRAME]).zip(&window) {
                *place = sample * weight;
            }
            // Lengths are the transform's own, so it cannot refuse them.
            let _ = transform.process(&mut frame, &mut spectrum);
            std::array::from_fn(|band| {
                let (low, high) = edges[band];
                spectrum[low..high].iter().map(|bin| bin.norm_sqr()).sum::<f64>().sqrt()
            })
        })
        .collect()
}

/// Each band over time, and then each frame over the bands, brought to mean 0 and length 1.
fn normalised(segment: &[[f64; BANDS]]) -> Vec<[f64; BANDS]> {
    let mut segment = segment.to_vec();
    let scale = |sum_of_squares: f64| if sum_of_squares > 0.0 { 1.0 / sum_of_squares.sqrt() } else { 0.0 };
    for band in 0..BANDS {
        let mean = segment.iter().map(|frame| frame[band]).sum::<f64>() / segment.len() as f64;
        let gain = scale(segment.iter().map(|frame| (frame[band] - mean).powi(2)).sum());
        for frame in &mut segment {
            frame[band] = (frame[band] - mean) * gain;
        }
    }
    for frame in &mut segment {
        let mean = frame.iter().sum::<f64>() / BANDS as f64;
        let gain = scale(frame.iter().map(|value| (value - mean).powi(2)).sum());
        for value in frame {
            *value = (*value - mean) * gain;
        }
    }
    segment
}
