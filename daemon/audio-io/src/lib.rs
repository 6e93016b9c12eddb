//! Sound files: WAV, FLAC, MP3 and Ogg (Opus, Vorbis, FLAC) read, WAV, FLAC and Opus written.
//!
//! ```text
//! device, file <-> sample <-> token <-> byte <-> packet <-> network
//! ^^^^^^^^^^^^^^^^^^^^^^^
//! ```
//!
//! * [`AudioReader`]: interleaved `f32` samples, nominally -1 to 1, of a file or a pipe, in the file's own [`Format`] (rate in Hz, channels).
//!   [`MonoReader`]: one channel of it, at one rate.
//! * [`Faults`]: what of a file is damaged or missing. That is no error: what is there is read, and what is known to be missing in the middle becomes
//!   silence of its length.
//! * [`AudioWriter`]: WAV or FLAC of 16 bits, or Opus, as the suffix says. [`AtomicFile`]: any file that has its name only once it is whole.
//! * [`output`]: what may be written over what.
//!
//! Files that cannot be read or written, or hold no sound, are an [`AudioError`], which names the file.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use parlo_audio_io::{AudioReader, AudioWriter, Channel, Format, MonoReader};
//!
//! let mut talk = MonoReader::new(AudioReader::open(Path::new("talk.mp3"))?, Channel::Auto)?;
//! let samples = talk.read_all()?;
//! let mut writer = AudioWriter::create(Path::new("talk.flac"), Format { rate: talk.rate(), channels: 1 })?;
//! writer.write(&samples)?;
//! writer.finish()?;
//! # Ok::<(), parlo_audio_io::AudioError>(())
//! ```

mod atomic;
mod bytes;
mod crc;
mod error;
mod faults;
mod flac;
mod mono;
mod mp3;
mod ogg;
mod opus;
pub mod output;
mod reader;
mod tags;
mod vorbis;
mod wav;
mod write;

pub use atomic::{AtomicFile, prepare, remove_temporary};
pub use error::AudioError;
pub use faults::Faults;
pub use mono::MonoReader;
pub use parlo_dsp::Channel;
pub use reader::AudioReader;
pub use write::{AudioWriter, FileKind, WavWriter};

/// How samples are laid out: interleaved 32-bit floats, nominally -1 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// Sample rate in Hz.
    pub rate: u32,
    /// Channels in each sample frame.
    pub channels: u16,
}
