//! What the daemon's tests share.
#![allow(dead_code, reason = "each test binary uses a part of this")]

pub(crate) mod pulse;
pub(crate) mod simulation;
pub(crate) mod spoken;

use std::path::{Path, PathBuf};

/// The clip that ships.
pub(crate) fn clip() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/speech.flac")
}

/// A sine of half full scale.
pub(crate) fn tone(hz: f64, rate: u32, samples: usize) -> Vec<f32> {
    (0..samples).map(|n| (0.5 * (std::f64::consts::TAU * hz * n as f64 / f64::from(rate)).sin()) as f32).collect()
}

/// How much of a signal's energy is a sine of this frequency, 0 to 1.
pub(crate) fn purity(signal: &[f32], hz: f64, rate: u32) -> f64 {
    let (mut re, mut im, mut energy) = (0.0, 0.0, 0.0);
    for (n, &sample) in signal.iter().enumerate() {
        let angle = std::f64::consts::TAU * hz * n as f64 / f64::from(rate);
        re += f64::from(sample) * angle.cos();
        im += f64::from(sample) * angle.sin();
        energy += f64::from(sample) * f64::from(sample);
    }
    if energy == 0.0 { 0.0 } else { 2.0 * (re * re + im * im) / (signal.len() as f64 * energy) }
}

/// A recording as a WAV file, whole.
pub(crate) fn wav(
    recordings: &parlod::recordings::Recordings,
    name: &str,
    side: parlod::recordings::Side,
    runtime: &parlo_model::Runtime,
    bundle: &parlo_model::Bundle,
) -> Result<Vec<u8>, parlod::recordings::RecordingError> {
    let (mut source, mut bytes) = (recordings.wav(name, side, runtime, bundle)?, Vec::new());
    while (bytes.len() as u64) < source.bytes() {
        let before = bytes.len();
        source.read(&mut bytes)?;
        assert!(bytes.len() > before, "it is as long as it says");
    }
    Ok(bytes)
}
