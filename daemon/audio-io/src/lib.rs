//! Sound files and what is written: every container one file, one policy for what is damaged.
//!
//! [`AudioReader`] reads WAV, FLAC, MP3 and Ogg (Opus, Vorbis, FLAC) as the world writes them. What is there is read; what is known to
//! be missing in the middle becomes silence of its length; whatever is wrong is in [`Faults`], for the user and the exit code.
//! [`MonoReader`] makes one channel of them at one rate. [`AudioWriter`] writes WAV, FLAC and Opus, by the suffix that is asked for.
//! [`output`] says what may be written over what.

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
