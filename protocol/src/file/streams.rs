//! Token files of version 2: one stream of whole frames, or several with a common clock and what became of each frame, as
//! recordings of calls are.
//!
//! A file is written from front to back: whatever is cut off, all whole blocks before are good. At its end is an index, which can
//! be made again from the blocks.

mod index;
mod reader;
mod run;

pub use index::{Index, Point, SPACING_MS};
pub use reader::{Block, Item, Reader, Runs};
pub use run::{Codes, Mark, Run};

use super::{
    BLOCK_HEADER, BlockTooLarge, CHECKSUM, FIXED_HEADER_BYTES, KIND_END, KIND_FRAMES, MAX_BLOCK_BYTES,
    MAX_BLOCK_FRAMES, checksum_fits,
};

/// Version of the format.
pub const VERSION: u8 = 2;

/// The most bytes of header fields.
pub const MAX_HEADER_BYTES: usize = 1 << 14;

/// The name of the stream of files that name none. Its number is 0.
pub const AUDIO: &str = "audio";

/// An index.
const KIND_INDEX: u8 = 3;

/// Whole frames of files of one stream.
const KIND_WHOLE: u8 = 4;

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
    /// When the clock of the streams began, milliseconds since 1970-01-01 UTC, if it is said.
    pub created_ms: Option<u64>,
    /// The streams. If none is named there is one, [`AUDIO`], of whole frames without gaps.
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
        if self.streams.is_empty() {
            return (name == AUDIO).then_some(0);
        }
        self.streams.iter().find(|stream| stream.name == name).map(|stream| stream.id)
    }

    /// The numbers of all streams, each once.
    fn ids(&self) -> Vec<u8> {
        let mut ids: Vec<u8> = self.streams.iter().map(|stream| stream.id).collect();
        if ids.is_empty() {
            ids.push(0);
        }
        ids.sort_unstable();
        ids.dedup();
        ids
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
    clock: Clock,
    /// Whether the file has one stream of whole frames.
    whole: bool,
    totals: Totals,
    /// Bytes of the file so far.
    place: u64,
    index: Index,
}

/// What there is in a file so far, as its end mark says it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Frames, of all streams.
    pub frames: u64,
    /// When the last frame ended, milliseconds after the created time.
    pub duration_ms: u32,
}

/// Rates, as times of frames follow from them.
#[derive(Debug, Clone, Copy, Default)]
struct Clock {
    rate: u64,
    frame_samples: u64,
}

impl Clock {
    fn of(tokens: &super::Header) -> Self {
        Self { rate: tokens.sample_rate.max(1).into(), frame_samples: tokens.frame_samples.into() }
    }

    /// How long so many frames are, milliseconds, rounded up.
    fn length_ms(self, frames: u64) -> u32 {
        let length = frames.saturating_mul(1000).saturating_mul(self.frame_samples).div_ceil(self.rate.max(1));
        u32::try_from(length).unwrap_or(u32::MAX)
    }

    /// When frame `number` of those without gaps begins, milliseconds.
    fn start_ms(self, number: u64) -> f64 {
        number as f64 * self.frame_samples as f64 * 1000.0 / self.rate.max(1) as f64
    }
}

impl Writer {
    /// Begins a file: appends its header to `out`. A bundle's name longer than 255 bytes is cut. A header without streams makes a
    /// file of one stream of whole frames, for [`whole`](Self::whole); any other one of streams, for [`block`](Self::block).
    ///
    /// # Errors
    /// If there is more to say than fits a header. `out` is then as before.
    pub fn begin(header: &Header, out: &mut Vec<u8>) -> Result<Self, HeaderTooLarge> {
        let mut more = Vec::new();
        if let Some(created_ms) = header.created_ms {
            append_field(FIELD_CREATED, &[&created_ms.to_be_bytes()], &mut more);
        }
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
        let start = out.len();
        super::append_header(VERSION, &header.tokens, name, &more, bytes as u16, out);
        Ok(Self {
            clock: Clock::of(&header.tokens),
            whole: header.streams.is_empty(),
            totals: Totals::default(),
            place: (out.len() - start) as u64,
            index: Index::new(header),
        })
    }

    /// Appends a block of frames of a stream to `out`: the first frame began `time_ms` after the header's created time, and
    /// the others follow it without gaps, run by run. Blocks of a stream are to come in order of their times.
    ///
    /// # Errors
    /// If there are too many frames or bytes for one block, or none; or the header named no stream. `out` is then as before.
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
        out.extend_from_slice(&[0; BLOCK_HEADER - 1]);
        out.push(stream);
        out.extend_from_slice(&time_ms.to_be_bytes());
        let fit = runs.iter().all(|run| run.append(out));
        let bytes = out.len() - start - BLOCK_HEADER;
        if !fit || self.whole || count == 0 || count > MAX_BLOCK_FRAMES || bytes > MAX_BLOCK_BYTES {
            out.truncate(start);
            return Err(BlockTooLarge { frames: count, bytes });
        }
        out[start + 1..start + 3].copy_from_slice(&(count as u16).to_be_bytes());
        out[start + 3..start + 7].copy_from_slice(&(bytes as u32).to_be_bytes());
        let checksum = crc32c::crc32c(&out[start..]);
        out.extend_from_slice(&checksum.to_be_bytes());
        self.count(stream, count, time_ms.saturating_add(self.clock.length_ms(count as u64)), out.len() - start);
        Ok(())
    }

    /// Appends a block of `count` frames to `out`, all of the header's depth, which follow those before without a gap; the model's
    /// coder made their payload.
    ///
    /// # Errors
    /// If there are too many frames or bytes for one block, or none; or the header named streams. `out` is then as before.
    pub fn whole(&mut self, count: usize, payload: &[u8], out: &mut Vec<u8>) -> Result<(), BlockTooLarge> {
        if !self.whole || count == 0 || count > MAX_BLOCK_FRAMES || payload.len() > MAX_BLOCK_BYTES {
            return Err(BlockTooLarge { frames: count, bytes: payload.len() });
        }
        let start = out.len();
        super::append_block(KIND_WHOLE, count as u16, payload, out);
        let end_ms = self.clock.length_ms(self.totals.frames + count as u64);
        self.count(0, count, end_ms, out.len() - start);
        Ok(())
    }

    fn count(&mut self, stream: u8, count: usize, end_ms: u32, bytes: usize) {
        self.index.pass(self.place, self.totals.duration_ms, stream, count as u64);
        self.place += bytes as u64;
        self.totals.frames += count as u64;
        self.totals.duration_ms = self.totals.duration_ms.max(end_ms);
    }

    /// When the last frame so far ends, milliseconds after the created time.
    pub fn duration_ms(&self) -> u32 {
        self.totals.duration_ms
    }

    /// What there is so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Ends the file: appends an index, if the file is long enough to need one, and its end mark to `out`. Nothing may follow.
    /// `samples` is the length of the original at the bundle's rate, of files of one stream of whole frames: the last frames may
    /// be filled up beyond them.
    pub fn end(&self, samples: Option<u64>, out: &mut Vec<u8>) {
        let place = match self.index.payload() {
            Some(payload) => {
                super::append_block(KIND_INDEX, 0, &payload, out);
                self.place
            }
            None => 0,
        };
        let all = self.totals.frames.saturating_mul(self.clock.frame_samples);
        let padding = samples.map(|samples| u32::try_from(all.saturating_sub(samples)).unwrap_or(u32::MAX));
        End { totals: self.totals, index: place, padding }.append(out);
    }
}

/// What an end mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// What there is in the file.
    pub totals: Totals,
    /// Where its index is in the file; 0 if it has none.
    pub index: u64,
    /// How many samples the last frames hold beyond the original's end, if it is said.
    pub padding: Option<u32>,
}

impl End {
    /// The most bytes that an end mark of this version takes, which are the last of a file.
    pub const BYTES: usize = BLOCK_HEADER + Self::FIXED + 4 + CHECKSUM;

    /// Frames, duration, and the place of an index.
    const FIXED: usize = 8 + 4 + 8;

    /// How many bytes it takes.
    pub fn bytes(&self) -> usize {
        Self::BYTES - if self.padding.is_some() { 0 } else { 4 }
    }

    /// Appends it to `out`. For those who cannot go on with a [`Writer`]; others [`end`](Writer::end) it.
    pub fn append(&self, out: &mut Vec<u8>) {
        let mut payload = [0; Self::FIXED + 4];
        payload[..8].copy_from_slice(&self.totals.frames.to_be_bytes());
        payload[8..12].copy_from_slice(&self.totals.duration_ms.to_be_bytes());
        payload[12..20].copy_from_slice(&self.index.to_be_bytes());
        payload[20..].copy_from_slice(&self.padding.unwrap_or(0).to_be_bytes());
        let length = if self.padding.is_some() { payload.len() } else { Self::FIXED };
        super::append_block(KIND_END, 0, &payload[..length], out);
    }

    /// The end mark that a file of version 2 ends with, if it does; `tail` are its last bytes, [`BYTES`](Self::BYTES) or all of
    /// them. `None` if the file broke off, or a later version wrote its end: then all of it is to be read.
    pub fn of(tail: &[u8]) -> Option<Self> {
        [Self::FIXED + 4, Self::FIXED].into_iter().find_map(|length| {
            let whole = BLOCK_HEADER + length + CHECKSUM;
            let (head, payload) = tail.get(tail.len().checked_sub(whole)?..)?.split_first_chunk::<BLOCK_HEADER>()?;
            let expected = [KIND_END, 0, 0, 0, 0, 0, length as u8];
            (*head == expected && checksum_fits(&tail[tail.len() - whole..]))
                .then(|| Self::parse(&payload[..length]))?
        })
    }

    /// Samples of the original; more than there can be if there are fewer than the padding.
    fn samples(&self, clock: Clock) -> Option<u64> {
        let all = self.totals.frames.saturating_mul(clock.frame_samples);
        self.padding.map(|padding| all.checked_sub(padding.into()).unwrap_or(u64::MAX))
    }

    /// What its payload says. What later versions append is passed over.
    fn parse(payload: &[u8]) -> Option<Self> {
        let (frames, rest) = payload.split_first_chunk::<8>()?;
        let (duration, rest) = rest.split_first_chunk::<4>()?;
        let (index, rest) = rest.split_first_chunk::<8>()?;
        let totals = Totals { frames: u64::from_be_bytes(*frames), duration_ms: u32::from_be_bytes(*duration) };
        let padding = rest.first_chunk::<4>().map(|padding| u32::from_be_bytes(*padding));
        Some(Self { totals, index: u64::from_be_bytes(*index), padding })
    }
}

fn append_field(tag: u8, parts: &[&[u8]], out: &mut Vec<u8>) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.push(tag);
    // What is longer is refused by the length of all of them.
    out.extend_from_slice(&(length as u16).to_be_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;
