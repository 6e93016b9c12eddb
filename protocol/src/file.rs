//! Token files (`.ptk`). `docs/file.md` has the byte diagrams; this module is their only implementation.
//!
//! [`streams`] writes version 2, and reads both; here is what they have in common, and what writes version 1.
//!
//! A file is a header, blocks of frames, and an end mark, each with its own checksum. It is written from front to back and can be
//! read so too, through pipes as well: nothing is ever gone back to. Reading takes bounded memory whatever the bytes are.

pub mod streams;

use parlo_tokens::{BundleId, MAX_DEPTH};

/// The first version of the format.
pub const VERSION: u8 = 1;

/// First bytes of every file. As in PNG (RFC 2083 section 3.1), they show damage done by text conversion.
pub const MAGIC: [u8; 8] = *b"\x89PTK\r\n\x1a\n";

/// The most frames in one block: 10 s.
pub const MAX_BLOCK_FRAMES: usize = 500;

/// The most bytes of payload in one block of frames: twice what 500 frames of 32 codes of 16 bits take as they are.
pub const MAX_BLOCK_BYTES: usize = 1 << 16;

/// The most bytes in a block of a kind that this version does not know.
const MAX_UNKNOWN_BYTES: usize = 1 << 20;

/// The most bytes of header fields.
const MAX_HEADER_BYTES: usize = 1 << 12;

/// Bytes of header fields before the name.
const FIXED_HEADER_BYTES: usize = 32 + 4 + 4 + 1 + 1 + 1;

const KIND_FRAMES: u8 = 1;
const KIND_END: u8 = 2;

/// Kind, count and length of a block.
const BLOCK_HEADER: usize = 1 + 2 + 4;
const CHECKSUM: usize = 4;

/// How payloads are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum Coding {
    /// Codes packed as they are.
    Plain = 0,
    /// Codes in the bits that the bundle's entropy model gives them, each block alone.
    Transformer = 1,
}

impl TryFrom<u8> for Coding {
    type Error = FileError;

    fn try_from(number: u8) -> Result<Self, FileError> {
        match number {
            0 => Ok(Self::Plain),
            1 => Ok(Self::Transformer),
            other => Err(FileError::Coding(other)),
        }
    }
}

/// What a file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The model that the tokens belong to.
    pub bundle: BundleId,
    /// Its name, for messages; up to 255 bytes.
    pub bundle_name: String,
    /// Its sample rate, Hz.
    pub sample_rate: u32,
    /// Samples that each frame stands for.
    pub frame_samples: u32,
    /// Codes in each frame, 1 to 32.
    pub depth: u8,
    /// How payloads are coded.
    pub coding: Coding,
}

/// Why bytes are no token file. The sentence says where, and what to do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// Nothing at all.
    #[error("it is empty")]
    Empty,
    /// Something else.
    #[error("it is not a Parlo token file (.ptk)")]
    NotTokens,
    /// A later format.
    #[error(
        "it has version {0} of the file format, and this program reads up to {newest}: a newer Parlo wrote it",
        newest = streams::VERSION
    )]
    Version(u8),
    /// A header that no writer makes.
    #[error("its header is damaged: {0}")]
    Header(&'static str),
    /// Tokens coded in a way of later versions.
    #[error("its tokens are coded in a way (number {0}) that this program does not know: a newer Parlo wrote it")]
    Coding(u8),
    /// Bits that changed.
    #[error("it is damaged at byte {offset}, {seconds:.1} s in: the checksum differs; what lies before is whole")]
    Checksum {
        /// Where the block begins.
        offset: u64,
        /// How much speech lies before.
        seconds: f64,
    },
    /// A block that no writer makes.
    #[error("it is damaged at byte {offset}, {seconds:.1} s in: {what}; what lies before is whole")]
    Block {
        /// Where the block begins.
        offset: u64,
        /// How much speech lies before.
        seconds: f64,
        /// What is wrong.
        what: &'static str,
    },
    /// It ends in the middle.
    #[error("it breaks off at byte {offset}, after {seconds:.1} s of speech; what lies before is whole")]
    Truncated {
        /// How many bytes there are.
        offset: u64,
        /// How much whole speech there is.
        seconds: f64,
    },
}

/// Why a part cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a block of {frames} frames and {bytes} bytes is not possible; up to {MAX_BLOCK_FRAMES} and {MAX_BLOCK_BYTES} are"
)]
pub struct BlockTooLarge {
    /// Frames.
    pub frames: usize,
    /// Bytes of payload.
    pub bytes: usize,
}

/// Makes the bytes of a file of version 1, part by part, for readers that know no other. [`streams::Writer`] makes those of today.
#[derive(Debug, Default)]
pub struct FileWriter {
    frames: u64,
}

impl FileWriter {
    /// Begins a file: appends its header to `out`. A name longer than 255 bytes is cut.
    pub fn begin(header: &Header, out: &mut Vec<u8>) -> Self {
        let name = name_bytes(header);
        append_header(VERSION, header, name, &[], (FIXED_HEADER_BYTES + name.len()) as u16, out);
        Self::default()
    }

    /// Appends a block of `count` frames, whose payload the model's coder made, to `out`.
    ///
    /// # Errors
    /// If there are too many frames or bytes for one block.
    pub fn block(&mut self, count: usize, payload: &[u8], out: &mut Vec<u8>) -> Result<(), BlockTooLarge> {
        if count == 0 || count > MAX_BLOCK_FRAMES || payload.len() > MAX_BLOCK_BYTES {
            return Err(BlockTooLarge { frames: count, bytes: payload.len() });
        }
        self.frames += count as u64;
        append_block(KIND_FRAMES, count as u16, payload, out);
        Ok(())
    }

    /// Ends the file: appends its end mark to `out`. `samples` is the length of the original at the bundle's rate.
    pub fn end(self, samples: u64, out: &mut Vec<u8>) {
        let mut totals = [0; 16];
        totals[..8].copy_from_slice(&self.frames.to_be_bytes());
        totals[8..].copy_from_slice(&samples.to_be_bytes());
        append_block(KIND_END, 0, &totals, out);
    }
}

/// The bundle's name, as much of it as fits.
fn name_bytes(header: &Header) -> &[u8] {
    let mut cut = header.bundle_name.len().min(255);
    while !header.bundle_name.is_char_boundary(cut) {
        cut -= 1;
    }
    &header.bundle_name.as_bytes()[..cut]
}

/// Appends a header of `length` bytes of fields: those that all versions have, and `more`.
fn append_header(version: u8, header: &Header, name: &[u8], more: &[u8], length: u16, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.push(version);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(header.bundle.as_bytes());
    out.extend_from_slice(&header.sample_rate.to_be_bytes());
    out.extend_from_slice(&header.frame_samples.to_be_bytes());
    out.extend_from_slice(&[header.depth, header.coding as u8, name.len() as u8]);
    out.extend_from_slice(name);
    out.extend_from_slice(more);
    let checksum = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&checksum.to_be_bytes());
}

/// A header's version, its fields, and the length of all of it.
type Fields<'a> = (u8, &'a [u8], usize);

/// What a file begins with, once all of it is there.
fn header_of(bytes: &[u8]) -> Result<Option<Fields<'_>>, FileError> {
    let known = bytes.len().min(MAGIC.len());
    if bytes[..known] != MAGIC[..known] {
        return Err(FileError::NotTokens);
    }
    let Some(&[version, a, b]) = bytes.get(MAGIC.len()..MAGIC.len() + 3).and_then(<[u8]>::first_chunk) else {
        return Ok(None);
    };
    let most = match version {
        VERSION => MAX_HEADER_BYTES,
        streams::VERSION => streams::MAX_HEADER_BYTES,
        other => return Err(FileError::Version(other)),
    };
    let length = usize::from(u16::from_be_bytes([a, b]));
    if !(FIXED_HEADER_BYTES..=most).contains(&length) {
        return Err(FileError::Header("its length is not possible"));
    }
    let start = MAGIC.len() + 3;
    let whole = start + length + CHECKSUM;
    if bytes.len() < whole {
        return Ok(None);
    }
    if !checksum_fits(&bytes[..whole]) {
        return Err(FileError::Header("the checksum differs"));
    }
    Ok(Some((version, &bytes[start..start + length], whole)))
}

/// Why a file without an end mark is not whole: `bytes` are what was not used, after `before` others.
fn not_whole(bytes: &[u8], before: u64, seconds: f64) -> FileError {
    let there = before + bytes.len() as u64;
    if there == 0 {
        return FileError::Empty;
    }
    if there < MAGIC.len() as u64 && !MAGIC.starts_with(bytes) {
        return FileError::NotTokens;
    }
    FileError::Truncated { offset: there, seconds }
}

fn append_block(kind: u8, count: u16, payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.push(kind);
    out.extend_from_slice(&count.to_be_bytes());
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    out.extend_from_slice(payload);
    let checksum = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&checksum.to_be_bytes());
}

/// Whether the last four bytes are the CRC32C of those before.
fn checksum_fits(bytes: &[u8]) -> bool {
    bytes
        .split_last_chunk::<CHECKSUM>()
        .is_some_and(|(content, sum)| crc32c::crc32c(content) == u32::from_be_bytes(*sum))
}

/// Reads the fields that all versions have; gives what follows them too.
fn parse_fields(fields: &[u8]) -> Result<(Header, &[u8]), FileError> {
    let short = || FileError::Header("its fields are cut short");
    let (bundle, rest) = fields.split_first_chunk::<32>().ok_or_else(short)?;
    let (rate, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    let (samples, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    let (&[depth, coding, name], rest) = rest.split_first_chunk::<3>().ok_or_else(short)?;
    let (name, rest) = rest.split_at_checked(usize::from(name)).ok_or_else(short)?;
    let (sample_rate, frame_samples) = (u32::from_be_bytes(*rate), u32::from_be_bytes(*samples));
    if !(4_000..=192_000).contains(&sample_rate) || frame_samples == 0 || frame_samples > sample_rate {
        return Err(FileError::Header("its sample rate or frame length is not possible"));
    }
    if !(1..=MAX_DEPTH).contains(&usize::from(depth)) {
        return Err(FileError::Header("its depth is not possible"));
    }
    let coding = Coding::try_from(coding)?;
    let bundle_name = str::from_utf8(name).map_err(|_| FileError::Header("its model's name is no text"))?.to_owned();
    let bundle = BundleId::from_bytes(*bundle);
    Ok((Header { bundle, bundle_name, sample_rate, frame_samples, depth, coding }, rest))
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
