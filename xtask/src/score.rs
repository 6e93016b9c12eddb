//! Sound files to samples, and one compared with another.

use std::path::Path;

use anyhow::{Context, bail};
use parlo_score::{Alignment, align, estoi, overlap, resample};

/// How much later a received signal may be.
const MAX_LAG_S: f64 = 3.0;

/// Mono sound.
#[derive(Debug, Clone)]
pub(crate) struct Sound {
    pub(crate) samples: Vec<f32>,
    pub(crate) rate: u32,
}

impl Sound {
    /// Reads a WAV or FLAC file; several channels become their mean.
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        let name = || format!("cannot read {}", file.display());
        let (interleaved, channels, rate) = if file.extension().is_some_and(|extension| extension == "flac") {
            let mut reader = claxon::FlacReader::open(file).with_context(name)?;
            let info = reader.streaminfo();
            let scale = 1.0 / (1_i64 << (info.bits_per_sample - 1)) as f32;
            let samples: Result<Vec<f32>, _> =
                reader.samples().map(|sample| sample.map(|s| s as f32 * scale)).collect();
            (samples.with_context(name)?, info.channels as usize, info.sample_rate)
        } else {
            let mut reader = hound::WavReader::open(file).with_context(name)?;
            let spec = reader.spec();
            let samples: Result<Vec<f32>, _> = match spec.sample_format {
                hound::SampleFormat::Float => reader.samples::<f32>().collect(),
                hound::SampleFormat::Int => {
                    let scale = 1.0 / (1_i64 << (spec.bits_per_sample - 1)) as f32;
                    reader.samples::<i32>().map(|sample| sample.map(|s| s as f32 * scale)).collect()
                }
            };
            (samples.with_context(name)?, usize::from(spec.channels), spec.sample_rate)
        };
        if channels == 0 || interleaved.is_empty() {
            bail!("{} holds no sound", file.display());
        }
        let samples = interleaved.chunks_exact(channels).map(|frame| frame.iter().sum::<f32>() / channels as f32);
        Ok(Self { samples: samples.collect(), rate })
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.rate)
    }

    /// The same at another rate.
    pub(crate) fn at(&self, rate: u32) -> Self {
        Self { samples: resample(&self.samples, self.rate, rate), rate }
    }
}

/// What a comparison found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Comparison {
    pub(crate) alignment: Alignment,
    pub(crate) estoi: f64,
    /// How much of the reference lies under the received signal, 0 to 1.
    pub(crate) covered: f64,
}

/// Aligns and scores `received` against `reference`, which must have the same rate.
pub(crate) fn compare(reference: &Sound, received: &Sound) -> anyhow::Result<Comparison> {
    let rate = reference.rate;
    let alignment = align(&reference.samples, &received.samples, rate, MAX_LAG_S)?;
    let (a, b) = overlap(&reference.samples, &received.samples, alignment);
    let covered = a.len() as f64 / reference.samples.len() as f64;
    Ok(Comparison { alignment, estoi: estoi(a, b, rate)?, covered })
}

pub(crate) fn run(reference: &Path, received: &Path) -> anyhow::Result<()> {
    let received = Sound::read(received)?;
    let found = compare(&Sound::read(reference)?.at(received.rate), &received)?;
    let lag_ms = 1000.0 * found.alignment.lag_samples as f64 / f64::from(received.rate);
    println!(
        "{}",
        serde_json::json!({
            "lag_ms": lag_ms, "correlation": found.alignment.correlation, "estoi": found.estoi, "covered": found.covered
        })
    );
    Ok(())
}
