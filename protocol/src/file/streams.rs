//! Token files, version 2: several streams with a common clock, and what became of each frame. Recordings of calls are so.
//!
//! As in version 1, a file is written from front to back: whatever is cut off, all whole blocks before are good.

mod reader;
mod run;

pub use reader::{Block, END_BYTES, Item, Reader, Runs, end_of};
pub use run::{Codes, Mark, Run};

use super::{BlockTooLarge, FIXED_HEADER_BYTES, KIND_END, KIND_FRAMES, MAX_BLOCK_BYTES, MAX_BLOCK_FRAMES};

/// Version of the format.
pub const VERSION: u8 = 2;

/// The most bytes of header fields.
pub const MAX_HEADER_BYTES: usize = 1 << 14;

/// Stream and time of a block of frames.
const BLOCK_FIELDS: usize = 1 + 4;

const FIELD_CREATED: u8 = 1;
const FIELD_STREAM: u8 = 2;
const FIELD_METADATA: u8 = 3;

/// What a file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What is said in version 1 too. The depth is the most codes that any frame has.
    pub tokens: super::Header,
    /// When the clock of the streams began, milliseconds since 1970-01-01 UTC.
    pub created_ms: u64,
    /// The streams.
    pub streams: Vec<Stream>,
    /// Whatever else there is to say: keys of up to 255 bytes, and values.
    pub metadata: Vec<(String, String)>,
}

/// One of the streams of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Its number, by which blocks name it.
    pub id: u8,
    /// What it is. In calls: "said" and "heard".
    pub name: String,
}

impl Header {
    /// The value of this key, if there is one; of several the first.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.iter().find(|(found, _)| found == key).map(|(_, value)| value.as_str())
    }

    /// The number of the stream of this name, if there is one.
    pub fn stream(&self, name: &str) -> Option<u8> {
        self.streams.iter().find(|stream| stream.name == name).map(|stream| stream.id)
    }
}

/// A header that says more than fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a header of {bytes} bytes of fields, or a key of more than 255 bytes, is not possible; {MAX_HEADER_BYTES} are"
)]
pub struct HeaderTooLarge {
    /// Bytes of its fields.
    pub bytes: usize,
}

/// Makes the bytes of a file, part by part. Takes the same little memory however long the file becomes.
#[derive(Debug)]
pub struct Writer {
    rate: u64,
    frame_samples: u64,
    frames: u64,
    duration_ms: u32,
}

impl Writer {
    /// Begins a file: appends its header to `out`. A bundle's name longer than 255 bytes is cut.
    ///
    /// # Errors
    /// If there is more to say than fits a header. `out` is then as before.
    pub fn begin(header: &Header, out: &mut Vec<u8>) -> Result<Self, HeaderTooLarge> {
        let mut more = Vec::new();
        append_field(FIELD_CREATED, &[&header.created_ms.to_be_bytes()], &mut more);
        for stream in &header.streams {
            append_field(FIELD_STREAM, &[&[stream.id], stream.name.as_bytes()], &mut more);
        }
        let mut keys_fit = true;
        for (key, value) in &header.metadata {
            keys_fit &= key.len() <= 255;
            append_field(FIELD_METADATA, &[&[key.len() as u8], key.as_bytes(), value.as_bytes()], &mut more);
        }
        let name = super::name_bytes(&header.tokens);
        let bytes = FIXED_HEADER_BYTES + name.len() + more.len();
        if !keys_fit || bytes > MAX_HEADER_BYTES {
            return Err(HeaderTooLarge { bytes });
        }
        super::append_header(VERSION, &header.tokens, name, &more, bytes as u16, out);
        Ok(Self {
            rate: header.tokens.sample_rate.max(1).into(),
            frame_samples: header.tokens.frame_samples.into(),
            frames: 0,
            duration_ms: 0,
        })
    }

    /// Appends a block of frames of a stream to `out`: the first frame began `time_ms` after the header's created time, and
    /// the others follow it without gaps, run by run.
    ///
    /// # Errors
    /// If there are too many frames or bytes for one block, or none. `out` is then as before.
    pub fn block(
        &mut self,
        stream: u8,
        time_ms: u32,
        runs: &[Run<'_>],
        out: &mut Vec<u8>,
    ) -> Result<(), BlockTooLarge> {
        let count = runs.iter().map(|run| run.count).sum();
        let start = out.len();
        // The header's place, and its fields after.
        out.push(KIND_FRAMES);
        out.extend_from_slice(&[0; super::BLOCK_HEADER - 1]);
        out.push(stream);
        out.extend_from_slice(&time_ms.to_be_bytes());
        let fit = runs.iter().all(|run| run.append(out));
        let bytes = out.len() - start - super::BLOCK_HEADER;
        if !fit || count == 0 || count > MAX_BLOCK_FRAMES || bytes > MAX_BLOCK_BYTES {
            out.truncate(start);
            return Err(BlockTooLarge { frames: count, bytes });
        }
        out[start + 1..start + 3].copy_from_slice(&(count as u16).to_be_bytes());
        out[start + 3..start + 7].copy_from_slice(&(bytes as u32).to_be_bytes());
        let checksum = crc32c::crc32c(&out[start..]);
        out.extend_from_slice(&checksum.to_be_bytes());
        self.frames += count as u64;
        let end = end_ms(time_ms, count, self.frame_samples, self.rate);
        self.duration_ms = self.duration_ms.max(end);
        Ok(())
    }

    /// When the last frame so far ends, milliseconds after the created time.
    pub fn duration_ms(&self) -> u32 {
        self.duration_ms
    }

    /// Ends the file: appends its end mark to `out`. Nothing may follow.
    pub fn end(&self, out: &mut Vec<u8>) {
        let mut payload = [0; END_PAYLOAD];
        payload[..8].copy_from_slice(&self.frames.to_be_bytes());
        payload[8..12].copy_from_slice(&self.duration_ms.to_be_bytes());
        // The last eight bytes are the place of an index; there is none.
        super::append_block(KIND_END, 0, &payload, out);
    }
}

/// Frames, duration, and the place of an index.
const END_PAYLOAD: usize = 8 + 4 + 8;

fn append_field(tag: u8, parts: &[&[u8]], out: &mut Vec<u8>) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.push(tag);
    // What is longer is refused by the length of all of them.
    out.extend_from_slice(&(length as u16).to_be_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// When a block's last frame ends, milliseconds.
fn end_ms(time_ms: u32, count: usize, frame_samples: u64, rate: u64) -> u32 {
    let length = (count as u64).saturating_mul(1000).saturating_mul(frame_samples).div_ceil(rate.max(1));
    time_ms.saturating_add(u32::try_from(length).unwrap_or(u32::MAX))
}

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;
