//! Sound as the bytes of a WAV file, from anywhere in it.

use std::io::{Read, Seek};

use super::Sound;
use crate::error::ArchiveError;

/// Bytes of a WAV file's header.
pub const WAV_HEADER_BYTES: usize = 44;

/// The bytes of a WAV file, made as they are read: PCM of 16 bits, mono. Its length is known before anything is decoded.
#[derive(Debug)]
pub struct Wav<S> {
    sound: Sound<S>,
    at: u64,
}

impl<S: Read + Seek> Wav<S> {
    /// The file of this sound, from its start.
    pub fn new(sound: Sound<S>) -> Self {
        Self { sound, at: 0 }
    }

    /// How many bytes the file has.
    pub fn bytes(&self) -> u64 {
        WAV_HEADER_BYTES as u64 + 2 * self.sound.samples()
    }

    /// Goes on with this byte.
    pub fn seek(&mut self, byte: u64) {
        self.at = byte.min(self.bytes());
    }

    /// Appends the next bytes to `out`; none at the end.
    ///
    /// # Errors
    /// As [`Sound::read`].
    pub fn read(&mut self, out: &mut Vec<u8>) -> Result<(), ArchiveError> {
        let header = WAV_HEADER_BYTES as u64;
        let before = out.len();
        if self.at < header {
            out.extend_from_slice(&self.header()[self.at as usize..]);
        } else {
            let sample = (self.at - header) / 2;
            self.sound.seek(sample);
            out.extend(self.sound.read()?.iter().flat_map(|sample| sample.to_le_bytes()));
            // An odd byte begins in the middle of a sample.
            let half = ((self.at - header) % 2) as usize;
            out.drain(before..(before + half).min(out.len()));
        }
        self.at += (out.len() - before) as u64;
        Ok(())
    }

    fn header(&self) -> [u8; WAV_HEADER_BYTES] {
        // Both fit: a sound has no more samples.
        let (data, rate) = ((2 * self.sound.samples()) as u32, self.sound.rate());
        let mut header = [0; WAV_HEADER_BYTES];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            header[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(b"RIFF");
        put(&(data + WAV_HEADER_BYTES as u32 - 8).to_le_bytes());
        put(b"WAVEfmt ");
        put(&16_u32.to_le_bytes());
        // PCM, mono.
        put(&[1, 0, 1, 0]);
        put(&rate.to_le_bytes());
        put(&rate.saturating_mul(2).to_le_bytes());
        put(&[2, 0, 16, 0]);
        put(b"data");
        put(&data.to_le_bytes());
        header
    }
}
