//! WAV out: whole files under their name only once they are whole, and streams that play while they are written.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::sixteen;
use crate::{AtomicFile, AudioError, Format};

/// Bytes before the samples.
const HEADER: usize = 44;

/// The most bytes of samples: RIFF counts in 32 bits, and its count includes the header after the first 8 bytes.
const MAX_DATA: u64 = u32::MAX as u64 - 36;

/// Writes 16-bit PCM WAV (RIFF/WAVE, Microsoft and IBM 1991).
pub struct WavWriter {
    out: Out,
    format: Format,
    bytes: u64,
    block: Vec<u8>,
}

enum Out {
    File(AtomicFile),
    Stream { out: Box<dyn Write + Send>, name: String },
}

impl WavWriter {
    /// Begins a file. It is written under a temporary name beside `path`, which is replaced only by
    /// [`finish`](Self::finish).
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn create(path: &Path, format: Format) -> Result<Self, AudioError> {
        let file = AtomicFile::create(path).map_err(|error| unwritable(path, error))?;
        let mut writer = Self { out: Out::File(file), format, bytes: 0, block: Vec::new() };
        writer.put(&header(format, 0))?;
        Ok(writer)
    }

    /// Begins a stream, whose length the header leaves open (the greatest number stands for that, as ffmpeg and sox have
    /// it). Every write is passed on at once.
    ///
    /// # Errors
    /// If the stream cannot be written.
    pub fn stream(out: impl Write + Send + 'static, name: &str, format: Format) -> Result<Self, AudioError> {
        let out = Out::Stream { out: Box::new(out), name: name.to_owned() };
        let mut writer = Self { out, format, bytes: 0, block: Vec::new() };
        writer.put(&header(format, u32::MAX))?;
        Ok(writer)
    }

    /// Rate and channels.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Sample frames written.
    pub fn frames(&self) -> u64 {
        self.bytes / (2 * u64::from(self.format.channels.max(1)))
    }

    /// Writes interleaved samples. What lies beyond -1 to 1 is clipped, what is no number becomes 0.
    ///
    /// # Errors
    /// If they cannot be written, or a file has reached 4 GiB.
    pub fn write(&mut self, samples: &[f32]) -> Result<(), AudioError> {
        self.block.clear();
        self.block.extend(samples.iter().flat_map(|&sample| sixteen(sample).to_le_bytes()));
        let length = self.block.len() as u64;
        if let Out::File(file) = &self.out
            && self.bytes + length > MAX_DATA
        {
            return Err(AudioError::TooLong(file.path().to_owned()));
        }
        let block = std::mem::take(&mut self.block);
        let result = self.put(&block);
        self.block = block;
        self.bytes += length;
        result
    }

    /// Ends the file or stream. A file appears under its name now.
    ///
    /// # Errors
    /// If the rest cannot be written.
    pub fn finish(self) -> Result<(), AudioError> {
        let header = header(self.format, u32::try_from(self.bytes).unwrap_or(u32::MAX));
        match self.out {
            Out::File(mut file) => {
                let path = file.path().to_owned();
                let result = file.write_at_start(&header).and_then(|()| file.commit());
                result.map_err(|error| unwritable(&path, error))
            }
            Out::Stream { mut out, name } => out.flush().map_err(|error| AudioError::Unwritable { name, error }),
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), AudioError> {
        match &mut self.out {
            Out::File(file) => file.write_all(bytes).map_err(|error| unwritable(file.path(), error)),
            Out::Stream { out, name } => out
                .write_all(bytes)
                .and_then(|()| out.flush())
                .map_err(|error| AudioError::Unwritable { name: name.clone(), error }),
        }
    }
}

impl std::fmt::Debug for WavWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WavWriter").field("format", &self.format).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

fn unwritable(path: &Path, error: io::Error) -> AudioError {
    AudioError::Unwritable { name: PathBuf::from(path).display().to_string(), error }
}

fn header(format: Format, data: u32) -> [u8; HEADER] {
    let frame = format.channels.saturating_mul(2);
    let mut header = [0; HEADER];
    let mut fields = header.chunks_exact_mut(1);
    let parts: [&[u8]; 13] = [
        b"RIFF",
        &data.saturating_add(36).to_le_bytes(),
        b"WAVE",
        b"fmt ",
        &16_u32.to_le_bytes(),
        &1_u16.to_le_bytes(),
        &format.channels.to_le_bytes(),
        &format.rate.to_le_bytes(),
        &(format.rate.saturating_mul(u32::from(frame))).to_le_bytes(),
        &frame.to_le_bytes(),
        &16_u16.to_le_bytes(),
        b"data",
        &data.to_le_bytes(),
    ];
    for (place, &byte) in fields.by_ref().zip(parts.iter().copied().flatten()) {
        place[0] = byte;
    }
    header
}
