//! Sound files in memory, made by hand, each with how many samples it holds by another way of counting than the reader's.

#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "a panic is how a test fails; not every test uses all"
)]

use std::io::Cursor;

use parlo_audio_io::{AudioReader, Faults, Format};

/// What came out of a file.
pub struct Read {
    pub format: Format,
    pub samples: Vec<f32>,
    pub faults: Faults,
}

impl Read {
    pub fn frames(&self) -> usize {
        self.samples.len() / usize::from(self.format.channels)
    }

    pub fn told(&self) -> String {
        self.faults.sentences().collect::<Vec<_>>().join("; ")
    }
}

pub fn read(bytes: &[u8]) -> Read {
    try_read(bytes).unwrap_or_else(|error| panic!("{error}"))
}

pub fn try_read(bytes: &[u8]) -> Result<Read, String> {
    let mut reader =
        AudioReader::from_stream(Cursor::new(bytes.to_vec()), "test").map_err(|error| error.to_string())?;
    let (mut buffer, mut samples) = (vec![0.0; 1024], Vec::new());
    loop {
        match reader.read(&mut buffer).map_err(|error| error.to_string())? {
            0 => return Ok(Read { format: reader.format(), samples, faults: reader.faults().clone() }),
            count => samples.extend_from_slice(&buffer[..count]),
        }
    }
}

/// A voice-like sound: a pulse through a resonance, never silent, the same for the same seed.
pub fn voice(frames: usize, seed: u32) -> Vec<f32> {
    let (mut state, mut a, mut b) = (seed | 1, 0.0_f32, 0.0_f32);
    (0..frames)
        .map(|n| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = (state >> 8) as f32 / (1 << 24) as f32 - 0.5;
            let pulse = if n % 133 == 0 { 0.8 } else { 0.0 };
            (a, b) = (1.6 * a - 0.81 * b + pulse + 0.02 * noise, a);
            (a * 0.2).clamp(-0.9, 0.9)
        })
        .collect()
}

pub fn pcm(samples: &[f32]) -> Vec<u8> {
    samples.iter().flat_map(|s| ((s * 32_767.0) as i16).to_le_bytes()).collect()
}

pub fn chunk(name: &[u8; 4], body: &[u8], size: u32) -> Vec<u8> {
    let mut bytes = name.to_vec();
    bytes.extend(size.to_le_bytes());
    bytes.extend(body);
    bytes
}

pub fn fmt(tag: u16, channels: u16, rate: u32, bits: u16) -> Vec<u8> {
    let block = channels * bits.div_ceil(8);
    let mut bytes = Vec::new();
    bytes.extend(tag.to_le_bytes());
    bytes.extend(channels.to_le_bytes());
    bytes.extend(rate.to_le_bytes());
    bytes.extend((rate * u32::from(block)).to_le_bytes());
    bytes.extend(block.to_le_bytes());
    bytes.extend(bits.to_le_bytes());
    chunk(b"fmt ", &bytes, 16)
}

/// RIFF around these parts, with this length, or the right one.
pub fn riff(magic: &[u8; 4], parts: &[Vec<u8>], size: Option<u32>) -> Vec<u8> {
    let body = parts.concat();
    let mut bytes = magic.to_vec();
    bytes.extend(size.unwrap_or(body.len() as u32 + 4).to_le_bytes());
    bytes.extend(b"WAVE");
    bytes.extend(body);
    bytes
}

/// A tag of ID3v2.3 with a picture of so many bytes, which look like MP3 frames now and then.
pub fn id3v2(picture: usize) -> Vec<u8> {
    let body: Vec<u8> = (0..picture).map(|n| [0xFF, 0xFB, 0x90, 0x64, n as u8][n % 5]).collect();
    let size = body.len() as u32;
    let mut bytes = b"ID3\x03\0\0".to_vec();
    bytes.extend([21, 14, 7, 0].map(|shift| (size >> shift & 0x7F) as u8));
    bytes.extend(body);
    bytes
}

pub fn id3v1() -> Vec<u8> {
    [b"TAG".to_vec(), vec![b'x'; 125]].concat()
}

/// An APE tag of version 2, with a header of its own or only its footer.
pub fn ape(header: bool) -> Vec<u8> {
    let item = b"\x05\0\0\0\0\0\0\0Title\0hello";
    let foot = |flags: u32| {
        let mut bytes = b"APETAGEX\xd0\x07\0\0".to_vec();
        bytes.extend((item.len() as u32 + 32).to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend([0; 8]);
        bytes
    };
    let head = if header { foot(0xA000_0000) } else { Vec::new() };
    [head, item.to_vec(), foot(if header { 0x8000_0000 } else { 0 })].concat()
}

/// Pages of Ogg, apart.
pub fn pages(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut pages, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let count = usize::from(bytes[at + 26]);
        let size: usize = bytes[at + 27..at + 27 + count].iter().map(|&part| usize::from(part)).sum();
        pages.push(bytes[at..at + 27 + count + size].to_vec());
        at += 27 + count + size;
    }
    pages
}

/// Sets a page's checksum, bit by bit (RFC 3533).
pub fn sealed(mut page: Vec<u8>) -> Vec<u8> {
    page[22..26].fill(0);
    let mut crc = 0_u32;
    for &byte in &page {
        crc ^= u32::from(byte) << 24;
        for _ in 0..8 {
            crc = if crc >> 31 == 1 { crc << 1 ^ 0x04C1_1DB7 } else { crc << 1 };
        }
    }
    page[22..26].copy_from_slice(&crc.to_le_bytes());
    page
}

pub fn granule(page: &[u8]) -> i64 {
    i64::from_le_bytes(page[6..14].try_into().unwrap())
}

/// The same stream under another number.
pub fn renumbered(bytes: &[u8], serial: u32) -> Vec<u8> {
    let set = |mut page: Vec<u8>| {
        page[14..18].copy_from_slice(&serial.to_le_bytes());
        sealed(page)
    };
    pages(bytes).into_iter().flat_map(set).collect()
}

/// Sound written by this crate's own writer, under this name.
pub fn written(name: &str, rate: u32, samples: &[f32]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let mut writer = parlo_audio_io::AudioWriter::create(&path, Format { rate, channels: 1 }).unwrap();
    samples.chunks(777).for_each(|part| writer.write(part).unwrap());
    writer.finish().unwrap();
    std::fs::read(path).unwrap()
}

/// A fixture of the daemon's: MP3 by LAME, Vorbis, Opus.
pub fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures").join(name)).unwrap()
}
