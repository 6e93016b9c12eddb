//! Sound files out, by the suffix that is asked for.

mod flac;
mod opus;
mod wav;

use std::path::Path;

pub use wav::WavWriter;

use crate::{AudioError, Format, output::Kind};

/// What is written as sound.
pub type FileKind = Kind;

/// Writes a sound file, 16-bit WAV, 16-bit FLAC, or Opus. It has its name only once it is whole.
#[derive(Debug)]
pub enum AudioWriter {
    /// WAV, also into a pipe.
    Wav(WavWriter),
    /// FLAC.
    Flac(flac::FlacWriter),
    /// Opus in Ogg, mono.
    Opus(Box<opus::OpusWriter>),
}

impl AudioWriter {
    /// Begins a file of the kind that its suffix says: `.wav`, `.flac`, `.opus` or `.ogg`; WAV without one. What may be replaced is
    /// [`output::check`](crate::output::check)'s to say, before.
    ///
    /// # Errors
    /// If sound is not written as its suffix says, it cannot be written, or Opus is asked for with more than one channel.
    pub fn create(path: &Path, format: Format) -> Result<Self, AudioError> {
        Ok(match Kind::of_sound(path)? {
            Kind::Flac => Self::Flac(flac::FlacWriter::create(path, format)?),
            Kind::Opus => Self::Opus(Box::new(opus::OpusWriter::create(path, format)?)),
            _ => Self::Wav(WavWriter::create(path, format)?),
        })
    }

    /// Rate and channels.
    pub fn format(&self) -> Format {
        match self {
            Self::Wav(writer) => writer.format(),
            Self::Flac(writer) => writer.format(),
            Self::Opus(writer) => writer.format(),
        }
    }

    /// Sample frames written.
    pub fn frames(&self) -> u64 {
        match self {
            Self::Wav(writer) => writer.frames(),
            Self::Flac(writer) => writer.frames(),
            Self::Opus(writer) => writer.frames(),
        }
    }

    /// Writes interleaved samples. What lies beyond -1 to 1 is clipped, what is no number becomes 0.
    ///
    /// # Errors
    /// If they cannot be written, or a WAV file has reached 4 GiB.
    pub fn write(&mut self, samples: &[f32]) -> Result<(), AudioError> {
        match self {
            Self::Wav(writer) => writer.write(samples),
            Self::Flac(writer) => writer.write(samples),
            Self::Opus(writer) => writer.write(samples),
        }
    }

    /// Ends the file. It appears under its name now.
    ///
    /// # Errors
    /// If the rest cannot be written.
    pub fn finish(self) -> Result<(), AudioError> {
        match self {
            Self::Wav(writer) => writer.finish(),
            Self::Flac(writer) => writer.finish(),
            Self::Opus(writer) => writer.finish(),
        }
    }
}

/// 16 bits of a sample.
fn sixteen(sample: f32) -> i16 {
    // A cast of NaN gives 0, and the clamp keeps the rest in range.
    (sample * 32768.0).round().clamp(-32768.0, 32767.0) as i16
}
