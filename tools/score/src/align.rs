//! How much later did it come? Found by the loudness of eight bands over time, which a codec keeps even where it changes
//! the waveform, and then by the waveform itself where that was kept.

use realfft::{RealFftPlanner, num_complex::Complex};

use crate::error::{ScoreError, check};

/// Step of the loudness curves, s.
const STEP: f64 = 0.002;
/// Window of the loudness curves, s.
const WINDOW: f64 = 0.016;
/// Edges of the bands, Hz.
const EDGES: [f64; 9] = [100.0, 250.0, 450.0, 700.0, 1000.0, 1500.0, 2200.0, 3200.0, 4500.0];
/// How far the waveform may move the lag that the loudness has found, s.
const FINE: f64 = 0.004;
/// How alike (cosine) two waveforms must be for them to tell the lag. A codec that makes a new waveform of the same sound reaches
/// 0.3 at lags that are wrong by a period of the voice; one that keeps it reaches 0.5 through noise 5 dB above the voice.
const SAME: f64 = 0.4;

/// Where one signal lies in another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alignment {
    /// Samples that the received signal is later (positive) or earlier than the reference.
    pub lag_samples: i64,
    /// How alike the loudness of both is at that lag: 1 the same, 0 nothing to do with each other.
    pub correlation: f64,
}

/// Finds out how much later `received` is than `reference`, up to `max_lag_s` seconds either way. Both mono at `rate` Hz.
///
/// # Errors
/// If a signal is shorter than 0.2 s, silent, or holds values that are no numbers.
pub fn align(reference: &[f32], received: &[f32], rate: u32, max_lag_s: f64) -> Result<Alignment, ScoreError> {
    check(reference)?;
    check(received)?;
    let seconds = reference.len().min(received.len()) as f64 / f64::from(rate);
    if seconds < 0.2 {
        return Err(ScoreError::TooShort { seconds, needed: 0.2 });
    }
    for (name, signal) in [("reference", reference), ("received signal", received)] {
        if signal.iter().all(|sample| sample.abs() < 1e-6) {
            return Err(ScoreError::Silent(name));
        }
    }
    let (a, b) = (loudness(reference, rate), loudness(received, rate));
    let longest = reference.len().max(received.len()) as f64 / f64::from(rate);
    let most = (max_lag_s.clamp(0.0, longest) / STEP).ceil() as i64;
    let (mut best, mut lag) = (f64::NEG_INFINITY, 0);
    for candidate in -most..=most {
        let found = likeness(&a, &b, candidate);
        if found > best {
            (best, lag) = (found, candidate);
        }
    }
    let hop = (STEP * f64::from(rate)).round().max(1.0);
    // Where a parabola through the best step and its neighbours is highest.
    let (before, after) = (likeness(&a, &b, lag - 1), likeness(&a, &b, lag + 1));
    let bend = 2.0 * best - before - after;
    let between = if bend.is_finite() && bend > 0.0 { (0.5 * (after - before) / bend).clamp(-0.5, 0.5) } else { 0.0 };
    let coarse = ((lag as f64 + between) * hop).round() as i64;
    let fine = (FINE * f64::from(rate)) as i64;
    let lag_samples = (coarse - fine..=coarse + fine)
        .map(|lag| (lag, sameness(reference, received, lag)))
        .max_by(|x, y| x.1.total_cmp(&y.1))
        .map_or(coarse, |(lag, same)| if same >= SAME { lag } else { coarse });
    Ok(Alignment { lag_samples, correlation: best.max(0.0) })
}

/// The parts of both signals that lie over each other at this alignment, equally long.
pub fn overlap<'a>(reference: &'a [f32], received: &'a [f32], alignment: Alignment) -> (&'a [f32], &'a [f32]) {
    let lag = usize::try_from(alignment.lag_samples.unsigned_abs()).unwrap_or(usize::MAX);
    let (a, b) = if alignment.lag_samples >= 0 {
        (reference, &received[lag.min(received.len())..])
    } else {
        (&reference[lag.min(reference.len())..], received)
    };
    let length = a.len().min(b.len());
    (&a[..length], &b[..length])
}

/// Level in dB of each band, step by step, floored 60 dB under the loudest.
fn loudness(signal: &[f32], rate: u32) -> Vec<[f64; EDGES.len() - 1]> {
    let hop = (STEP * f64::from(rate)).round().max(1.0) as usize;
    let window = (WINDOW * f64::from(rate)) as usize;
    let size = window.next_power_of_two().max(16);
    let transform = RealFftPlanner::<f64>::new().plan_fft_forward(size);
    let mut spectrum: Vec<Complex<f64>> = transform.make_output_vec();
    let bin = |hz: f64| ((hz * size as f64 / f64::from(rate)).round() as usize).min(size / 2);
    let mut curves: Vec<[f64; EDGES.len() - 1]> = (0..signal.len().saturating_sub(window))
        .step_by(hop)
        .map(|start| {
            let mut frame = vec![0.0; size];
            for (n, (place, &sample)) in frame.iter_mut().zip(&signal[start..start + window]).enumerate() {
                let weight = 0.5 - 0.5 * (std::f64::consts::TAU * (n as f64 + 0.5) / window as f64).cos();
                *place = f64::from(sample) * weight;
            }
            // Lengths are the transform's own, so it cannot refuse them.
            let _ = transform.process(&mut frame, &mut spectrum);
            std::array::from_fn(|band| {
                let (low, high) = (bin(EDGES[band]), bin(EDGES[band + 1]).max(bin(EDGES[band]) + 1));
                let power: f64 = spectrum[low..high.min(spectrum.len())].iter().map(Complex::norm_sqr).sum();
                10.0 * (power + 1e-20).log10()
            })
        })
        .collect();
    let loudest = curves.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
    for level in curves.iter_mut().flatten() {
        *level = level.max(loudest - 60.0);
    }
    curves
}

/// Mean correlation of the bands where the curves overlap. Lags that leave less than half of the shorter one are no choice: by
/// chance, a few steps are always alike.
fn likeness(a: &[[f64; EDGES.len() - 1]], b: &[[f64; EDGES.len() - 1]], lag: i64) -> f64 {
    let whole = a.len().min(b.len()).max(1);
    let start_a = usize::try_from((-lag).max(0)).unwrap_or(usize::MAX);
    let start_b = usize::try_from(lag.max(0)).unwrap_or(usize::MAX);
    let (Some(a), Some(b)) = (a.get(start_a..), b.get(start_b..)) else { return f64::NEG_INFINITY };
    let length = a.len().min(b.len());
    if length * 2 < whole {
        return f64::NEG_INFINITY;
    }
    let n = length as f64;
    let mut total = 0.0;
    for band in 0..EDGES.len() - 1 {
        let (mut sa, mut sb, mut saa, mut sbb, mut sab) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (x, y) in a[..length].iter().zip(&b[..length]) {
            let (x, y) = (x[band], y[band]);
            sa += x;
            sb += y;
            saa += x * x;
            sbb += y * y;
            sab += x * y;
        }
        let (va, vb) = (saa - sa * sa / n, sbb - sb * sb / n);
        if va > 0.0 && vb > 0.0 {
            total += (sab - sa * sb / n) / (va * vb).sqrt();
        }
    }
    total / (EDGES.len() - 1) as f64
}

/// Cosine between the waveforms where they overlap at this lag.
fn sameness(reference: &[f32], received: &[f32], lag: i64) -> f64 {
    let (a, b) = overlap(reference, received, Alignment { lag_samples: lag, correlation: 0.0 });
    let (mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0);
    for (&a, &b) in a.iter().zip(b) {
        let (a, b) = (f64::from(a), f64::from(b));
        aa += a * a;
        bb += b * b;
        ab += a * b;
    }
    let norm = (aa * bb).sqrt();
    if norm > 0.0 { ab / norm } else { 0.0 }
}
