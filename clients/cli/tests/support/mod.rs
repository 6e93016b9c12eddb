//! What several of these tests make their sounds with.

use std::path::Path;

/// Writes a WAV file of 16 bits at 16 kHz; with several channels, samples take turns.
pub(crate) fn wav(path: &Path, channels: u16, samples: impl IntoIterator<Item = i16>) {
    let sample_format = hound::SampleFormat::Int;
    let spec = hound::WavSpec { channels, sample_rate: 16_000, bits_per_sample: 16, sample_format };
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    samples.into_iter().for_each(|sample| writer.write_sample(sample).unwrap());
    writer.finalize().unwrap();
}
