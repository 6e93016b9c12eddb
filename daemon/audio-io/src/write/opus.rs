//! Opus out, in Ogg (RFC 7845): mono, 48 kbps.

use std::{io::Write, path::Path};

use parlo_dsp::Intake;
use parlo_opus::{FILE_RATES, FileEncoder};

use crate::{AtomicFile, AudioError, Format, crc};

/// Bits a second: speech at any rate is transparent at that.
const BITRATE: u32 = 48_000;

/// What Ogg counts in (RFC 7845 section 4).
const RATE: u32 = 48_000;

/// Packets of a page: a second.
const PACKETS: usize = 50;

/// Writes Opus.
pub struct OpusWriter {
    file: AtomicFile,
    format: Format,
    encoder: FileEncoder,
    /// The encoder's rate, Hz.
    rate: u32,
    intake: Intake,
    /// Samples in, at the sound's rate.
    frames: u64,
    /// Samples at the encoder's rate that were encoded.
    encoded: u64,
    skip: u64,
    serial: u32,
    sequence: u32,
    /// Packets of the page at hand.
    packets: Vec<Vec<u8>>,
}

impl OpusWriter {
    pub(super) fn create(path: &Path, format: Format) -> Result<Self, AudioError> {
        let name = path.display().to_string();
        let unusable = |reason: String| AudioError::Unusable { name: name.clone(), reason };
        if format.channels != 1 {
            return Err(unusable("Opus is written with one channel".to_owned()));
        }
        let rate = if FILE_RATES.contains(&format.rate) { format.rate } else { RATE };
        let mut encoder = FileEncoder::new(rate, BITRATE).map_err(|error| unusable(error.to_string()))?;
        let delay = encoder.delay_samples().map_err(|error| unusable(error.to_string()))? as u64;
        let intake = Intake::new(format.rate, 1, rate, encoder.frame_samples());
        let intake = intake.map_err(|error| unusable(error.to_string()))?;
        let skip = delay * u64::from(RATE / rate);
        let file = AtomicFile::create(path).map_err(|error| AudioError::Unwritable { name: name.clone(), error })?;
        let serial = crc::ogg(&[&[0; 27], path.as_os_str().as_encoded_bytes()].concat());
        let mut writer = Self {
            file,
            format,
            encoder,
            rate,
            intake,
            frames: 0,
            encoded: 0,
            skip,
            serial,
            sequence: 0,
            packets: Vec::new(),
        };
        let mut head = b"OpusHead\x01\x01".to_vec();
        head.extend((skip as u16).to_le_bytes());
        head.extend(format.rate.to_le_bytes());
        head.extend([0; 3]);
        writer.page(vec![head], 0, 2)?;
        let mut tags = b"OpusTags\x05\0\0\0parlo".to_vec();
        tags.extend([0; 4]);
        writer.page(vec![tags], 0, 0)?;
        Ok(writer)
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }

    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    pub(super) fn write(&mut self, samples: &[f32]) -> Result<(), AudioError> {
        self.frames += samples.len() as u64;
        let mut frames = Vec::new();
        self.intake.push(samples, |frame| frames.extend_from_slice(frame));
        self.encode(&frames)
    }

    pub(super) fn finish(mut self) -> Result<(), AudioError> {
        let mut frames = Vec::new();
        self.intake.finish(|frame| frames.extend_from_slice(frame));
        self.encode(&frames)?;
        // All of it, and what the encoder still holds.
        let samples = (self.frames * u64::from(RATE)).div_ceil(self.format.rate.into());
        let end = self.skip + samples;
        while self.encoded * u64::from(RATE / self.rate) < end {
            let silence = vec![0.0; self.encoder.frame_samples()];
            self.encode(&silence)?;
        }
        let packets = std::mem::take(&mut self.packets);
        self.page(packets, end, 4)?;
        let name = self.file.path().display().to_string();
        self.file.commit().map_err(|error| AudioError::Unwritable { name, error })
    }

    /// Encodes whole frames.
    fn encode(&mut self, samples: &[f32]) -> Result<(), AudioError> {
        let size = self.encoder.frame_samples();
        for frame in samples.chunks_exact(size) {
            // The last page must have a packet to end with.
            if self.packets.len() == PACKETS {
                let packets = std::mem::take(&mut self.packets);
                self.page(packets, self.encoded * u64::from(RATE / self.rate), 0)?;
            }
            let name = || self.file.path().display().to_string();
            let packet = match self.encoder.encode(frame) {
                Ok(packet) => packet.to_vec(),
                Err(error) => return Err(AudioError::Unusable { name: name(), reason: error.to_string() }),
            };
            self.packets.push(packet);
            self.encoded += size as u64;
        }
        Ok(())
    }

    fn page(&mut self, packets: Vec<Vec<u8>>, granule: u64, flags: u8) -> Result<(), AudioError> {
        let mut table = Vec::new();
        for packet in &packets {
            table.extend(std::iter::repeat_n(255, packet.len() / 255));
            table.push((packet.len() % 255) as u8);
        }
        let mut page = b"OggS\0".to_vec();
        page.push(flags);
        page.extend(granule.to_le_bytes());
        page.extend(self.serial.to_le_bytes());
        page.extend(self.sequence.to_le_bytes());
        page.extend([0; 4]);
        page.push(table.len() as u8);
        page.extend(table);
        packets.iter().for_each(|packet| page.extend(packet));
        let sum = crc::ogg(&page).to_le_bytes();
        page[22..26].copy_from_slice(&sum);
        self.sequence += 1;
        let name = self.file.path().display().to_string();
        self.file.write_all(&page).map_err(|error| AudioError::Unwritable { name, error })
    }
}

impl std::fmt::Debug for OpusWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpusWriter").field("format", &self.format).field("frames", &self.frames).finish_non_exhaustive()
    }
}
