//! Real speech, simulated rooms and measures for tests and examples of the stages.
#![allow(dead_code, clippy::unwrap_used, reason = "each binary uses a part of this; a panic is how a test fails")]

pub(crate) mod room;
pub(crate) mod scene;

use std::path::Path;

/// The clip that ships, as it is: 24 kHz.
const CLIP_RATE: u32 = 24_000;

/// The clip that ships, at `rate` Hz, over and over for so many seconds.
pub(crate) fn speech(rate: u32, seconds: usize) -> Vec<f32> {
    looped(&parlo_score::resample(&clip(), CLIP_RATE, rate), rate, seconds, 0)
}

/// Another voice: the same clip played a sixth slower, so deeper, and from its middle on.
pub(crate) fn other_speech(rate: u32, seconds: usize) -> Vec<f32> {
    let slow = parlo_score::resample(&clip(), CLIP_RATE * 5 / 6, rate);
    let middle = slow.len() / 2;
    looped(&slow, rate, seconds, middle)
}

fn clip() -> Vec<f32> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/speech.flac");
    let mut reader = claxon::FlacReader::open(file).unwrap();
    assert_eq!((reader.streaminfo().sample_rate, reader.streaminfo().channels), (CLIP_RATE, 1));
    let scale = 0.5_f32.powi(reader.streaminfo().bits_per_sample as i32 - 1);
    reader.samples().map(|sample| sample.unwrap() as f32 * scale).collect()
}

fn looped(once: &[f32], rate: u32, seconds: usize, from: usize) -> Vec<f32> {
    once.iter().cycle().skip(from).take(seconds * rate as usize).copied().collect()
}

/// Mean square.
pub(crate) fn power(signal: &[f32]) -> f64 {
    signal.iter().map(|&sample| f64::from(sample).powi(2)).sum::<f64>() / signal.len().max(1) as f64
}

pub(crate) fn decibels(ratio: f64) -> f64 {
    10.0 * ratio.max(1e-20).log10()
}

/// Level of the speech without its pauses, dBFS: blocks of 20 ms within 25 dB of the loudest count.
pub(crate) fn speech_level(signal: &[f32], rate: u32) -> f64 {
    let blocks: Vec<f64> = signal.chunks(rate as usize / 50).map(power).collect();
    let loudest = blocks.iter().copied().fold(0.0, f64::max);
    let spoken: Vec<f64> = blocks.into_iter().filter(|&power| power > loudest * 10_f64.powf(-2.5)).collect();
    decibels(spoken.iter().sum::<f64>() / spoken.len().max(1) as f64)
}

/// The same speech with that level.
pub(crate) fn at_level(signal: &[f32], rate: u32, dbfs: f64) -> Vec<f32> {
    scaled(signal, dbfs - speech_level(signal, rate))
}

pub(crate) fn scaled(signal: &[f32], db: f64) -> Vec<f32> {
    let factor = 10_f64.powf(db / 20.0) as f32;
    signal.iter().map(|sample| sample * factor).collect()
}

pub(crate) fn sum(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// Numbers from a seed: a linear congruential generator.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    /// Evenly within -1 to 1.
    pub(crate) fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub(crate) fn within(&mut self, from: f32, to: f32) -> f32 {
        from + (to - from) * (self.next() + 1.0) / 2.0
    }

    /// Noise with an RMS of `dbfs` that falls by 6 dB an octave above 500 Hz, as a fan's.
    pub(crate) fn fan(&mut self, rate: u32, samples: usize, dbfs: f64) -> Vec<f32> {
        let keep = (-std::f32::consts::TAU * 500.0 / rate as f32).exp();
        let mut last = 0.0;
        let noise: Vec<f32> = (0..samples)
            .map(|_| {
                last = keep * last + (1.0 - keep) * self.next();
                last
            })
            .collect();
        scaled(&noise, dbfs - decibels(power(&noise)))
    }
}
