//! What the daemon's tests share.
#![allow(dead_code, reason = "each test binary uses a part of this")]

pub(crate) mod pulse;
pub(crate) mod simulation;
pub(crate) mod spoken;

use std::path::{Path, PathBuf};

use hound::{SampleFormat, WavSpec, WavWriter};
use parlod::audio::AudioReader;

/// The clip that ships.
pub(crate) fn clip() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/speech.flac")
}

/// A sound file's samples, mono, and their rate.
pub(crate) fn read(path: &Path) -> (Vec<f32>, u32) {
    let mut reader = AudioReader::open(path).unwrap();
    let (mut buffer, mut samples) = (vec![0.0; 4096], Vec::new());
    while let count @ 1.. = reader.read(&mut buffer).unwrap() {
        samples.extend_from_slice(&buffer[..count]);
    }
    (samples, reader.format().rate)
}

/// Writes the clip so many times over as a WAV file, for what must not end before a busy machine has come so far.
pub(crate) fn long_clip(times: usize, file: &Path) {
    let (samples, sample_rate) = read(&clip());
    let format = WavSpec { channels: 1, sample_rate, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let mut writer = WavWriter::create(file, format).unwrap();
    for sample in std::iter::repeat_n(&samples, times).flatten() {
        writer.write_sample((sample * 32_767.0) as i16).unwrap();
    }
    writer.finalize().unwrap();
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
