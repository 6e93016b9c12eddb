//! FLAC out (RFC 9639): fixed predictors and partitioned Rice codes, in blocks of 4096 samples: half of WAV's bytes for speech.

use std::{io::Write, path::Path};

use md5::{Digest, Md5};

use super::sixteen;
use crate::{
    AtomicFile, AudioError, Format,
    crc::{crc8, crc16},
};

const BLOCK: usize = 4096;

/// The most that a block is divided for its Rice parameters: into 2^6 parts.
const MOST_DIVIDED: u32 = 6;

/// Writes 16-bit FLAC.
pub struct FlacWriter {
    file: AtomicFile,
    format: Format,
    waiting: Vec<i16>,
    frames: u64,
    blocks: u64,
    sizes: (usize, usize),
    md5: Md5,
}

impl FlacWriter {
    pub(super) fn create(path: &Path, format: Format) -> Result<Self, AudioError> {
        let name = || path.display().to_string();
        if !(1..=8).contains(&format.channels) || !(1..=655_350).contains(&format.rate) {
            let reason = "FLAC has 1 to 8 channels and 1 to 655350 Hz".to_owned();
            return Err(AudioError::Unusable { name: name(), reason });
        }
        let file = AtomicFile::create(path).map_err(|error| AudioError::Unwritable { name: name(), error })?;
        let mut writer =
            Self { file, format, waiting: Vec::new(), frames: 0, blocks: 0, sizes: (usize::MAX, 0), md5: Md5::new() };
        let header = writer.header(None);
        writer.put(&header)?;
        Ok(writer)
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }

    pub(super) fn frames(&self) -> u64 {
        self.frames + (self.waiting.len() / usize::from(self.format.channels)) as u64
    }

    pub(super) fn write(&mut self, samples: &[f32]) -> Result<(), AudioError> {
        self.waiting.extend(samples.iter().map(|&sample| sixteen(sample)));
        let block = BLOCK * usize::from(self.format.channels);
        while self.waiting.len() >= block {
            self.block(BLOCK)?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<(), AudioError> {
        let rest = self.waiting.len() / usize::from(self.format.channels);
        if rest > 0 {
            self.block(rest)?;
        }
        let sum = std::mem::take(&mut self.md5).finalize();
        let header = self.header(Some(&sum));
        let name = self.file.path().display().to_string();
        let result = self.file.write_at_start(&header).and_then(|()| self.file.commit());
        result.map_err(|error| AudioError::Unwritable { name, error })
    }

    /// `fLaC` and STREAMINFO.
    fn header(&self, sum: Option<&[u8]>) -> Vec<u8> {
        let mut bytes = b"fLaC\x80\0\0\x22".to_vec();
        let (least, most) = if self.blocks == 0 { (0, 0) } else { self.sizes };
        bytes.extend([(BLOCK as u16).to_be_bytes(), (BLOCK as u16).to_be_bytes()].concat());
        bytes.extend(&(least as u32).to_be_bytes()[1..]);
        bytes.extend(&(most as u32).to_be_bytes()[1..]);
        let about = u64::from(self.format.rate) << 44
            | u64::from(self.format.channels - 1) << 41
            | 15 << 36
            | (self.frames & 0xF_FFFF_FFFF);
        bytes.extend(about.to_be_bytes());
        bytes.extend(sum.unwrap_or(&[0; 16]));
        bytes
    }

    /// Writes the first so many sample frames of what waits.
    fn block(&mut self, count: usize) -> Result<(), AudioError> {
        let channels = usize::from(self.format.channels);
        let samples: Vec<i16> = self.waiting.drain(..count * channels).collect();
        samples.iter().for_each(|sample| self.md5.update(sample.to_le_bytes()));
        let mut head = vec![0xFF, 0xF8, 0x70, (self.format.channels as u8 - 1) << 4 | 0x08];
        number(self.blocks, &mut head);
        head.extend((count as u16 - 1).to_be_bytes());
        head.push(crc8(&head));
        let mut bits = Bits { bytes: head, part: 0, count: 0 };
        for channel in 0..channels {
            let own: Vec<i32> = samples.iter().skip(channel).step_by(channels).map(|&sample| sample.into()).collect();
            subframe(&own, &mut bits);
        }
        let mut frame = bits.finish();
        let crc = frame.iter().fold(0, |crc, &byte| crc16(crc, byte));
        frame.extend(crc.to_be_bytes());
        self.sizes = (self.sizes.0.min(frame.len()), self.sizes.1.max(frame.len()));
        self.blocks += 1;
        self.frames += count as u64;
        self.put(&frame)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), AudioError> {
        let name = || self.file.path().display().to_string();
        let name = name();
        self.file.write_all(bytes).map_err(|error| AudioError::Unwritable { name, error })
    }
}

impl std::fmt::Debug for FlacWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlacWriter").field("format", &self.format).field("frames", &self.frames).finish_non_exhaustive()
    }
}

/// A number as UTF-8 would have it, beyond what that has.
fn number(value: u64, out: &mut Vec<u8>) {
    if value < 0x80 {
        out.push(value as u8);
        return;
    }
    // Each byte more has six bits; the first one, one less for each.
    let more = (1..6_u32).find(|more| value < 1 << (6 * more + 6 - more)).unwrap_or(6);
    let begin = !(0xFF_u32 >> (more + 1)) as u8;
    out.push(begin | (value >> (6 * more)) as u8);
    (0..more).rev().for_each(|n| out.push(0x80 | (value >> (6 * n)) as u8 & 0x3F));
}

/// Bits, the highest first.
struct Bits {
    bytes: Vec<u8>,
    part: u64,
    count: u32,
}

impl Bits {
    fn put(&mut self, value: u32, bits: u32) {
        let mask = if bits == 32 { u32::MAX } else { (1 << bits) - 1 };
        self.part = self.part << bits | u64::from(value & mask);
        self.count += bits;
        while self.count >= 8 {
            self.count -= 8;
            self.bytes.push((self.part >> self.count) as u8);
        }
    }

    fn zeros(&mut self, mut count: u32) {
        while count > 0 {
            let now = count.min(24);
            self.put(0, now);
            count -= now;
        }
    }

    fn finish(mut self) -> Vec<u8> {
        if self.count > 0 {
            self.put(0, 8 - self.count);
        }
        self.bytes
    }
}

fn subframe(samples: &[i32], bits: &mut Bits) {
    if samples.iter().all(|&sample| sample == samples[0]) {
        bits.put(0, 8);
        bits.put(samples[0] as u32, 16);
        return;
    }
    // Differences of each order; the one with the least is coded.
    let mut best = (0, samples.to_vec());
    let mut rest = samples.to_vec();
    let sum = |rest: &[i32]| rest.iter().map(|value| u64::from(value.unsigned_abs())).sum::<u64>();
    for order in 1..=4.min(samples.len() - 1) {
        rest = rest.windows(2).map(|pair| pair[1] - pair[0]).collect();
        if sum(&rest) < sum(&best.1) {
            best = (order, rest.clone());
        }
    }
    let (order, rest) = best;
    let folded: Vec<u32> = rest.iter().map(|&value| (value << 1 ^ value >> 31) as u32).collect();
    let (divided, parameters, cost) = divide(&folded, samples.len(), order);
    if cost >= samples.len() as u64 * 16 {
        bits.put(1 << 1, 8);
        samples.iter().for_each(|&sample| bits.put(sample as u32, 16));
        return;
    }
    bits.put((8 + order as u32) << 1, 8);
    samples[..order].iter().for_each(|&sample| bits.put(sample as u32, 16));
    bits.put(0, 2);
    bits.put(divided, 4);
    for (part, &parameter) in parts(&folded, samples.len(), order, divided).zip(&parameters) {
        bits.put(parameter, 4);
        for &value in part {
            bits.zeros(value >> parameter);
            bits.put(1, 1);
            if parameter > 0 {
                bits.put(value, parameter);
            }
        }
    }
}

/// The parts of a block's residual: the first is shorter by the predictor's order.
fn parts(folded: &[u32], count: usize, order: usize, divided: u32) -> impl Iterator<Item = &[u32]> {
    let size = count >> divided;
    (0..1 << divided).map(move |n: usize| &folded[(n * size).saturating_sub(order)..(n + 1) * size - order])
}

/// How often to divide, the parameter of each part, and the bits that all of it takes.
fn divide(folded: &[u32], count: usize, order: usize) -> (u32, Vec<u32>, u64) {
    let possible = (0..=MOST_DIVIDED).filter(|&divided| count.is_multiple_of(1 << divided) && count >> divided > order);
    let made = possible.map(|divided| {
        let each: Vec<(u32, u64)> = parts(folded, count, order, divided).map(parameter).collect();
        let cost = each.iter().map(|(_, cost)| cost + 4).sum();
        (divided, each.iter().map(|&(parameter, _)| parameter).collect(), cost)
    });
    made.min_by_key(|&(_, _, cost)| cost).unwrap_or((0, vec![14], u64::MAX))
}

fn parameter(part: &[u32]) -> (u32, u64) {
    let cost = |parameter: u32| {
        part.iter().map(|&value| u64::from(value >> parameter)).sum::<u64>()
            + part.len() as u64 * u64::from(parameter + 1)
    };
    let mean = part.iter().map(|&value| u64::from(value)).sum::<u64>() / part.len().max(1) as u64;
    let near = mean.max(1).ilog2().min(14);
    (near.saturating_sub(1)..=(near + 1).min(14))
        .map(|parameter| (parameter, cost(parameter)))
        .min_by_key(|&(_, cost)| cost)
        .unwrap_or((0, 0))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_utf_8_has_them() {
        for value in [0, 0x7F, 0x80, 0x7FF, 0x800, 0xFFFF, 0x1_0000, 0x10_FFFF] {
            let mut out = Vec::new();
            number(value, &mut out);
            if let Some(c) = char::from_u32(value as u32) {
                assert_eq!(out, c.to_string().as_bytes(), "{value:#x}");
            }
        }
        let mut out = Vec::new();
        number(0x7FFF_FFFF, &mut out);
        assert_eq!(out, [0xFD, 0xBF, 0xBF, 0xBF, 0xBF, 0xBF]);
    }
}
