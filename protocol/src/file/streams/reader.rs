//! Reading both versions, piece by piece.

use super::{
    BLOCK_FIELDS, Clock, Codes, End, FIELD_CREATED, FIELD_METADATA, FIELD_STREAM, Header, KIND_END, KIND_FRAMES,
    KIND_WHOLE, MAX_BLOCK_BYTES, MAX_BLOCK_FRAMES, Mark, Run, Stream, Totals,
};
use crate::file::{
    self, BLOCK_HEADER, CHECKSUM, FileError, MAX_UNKNOWN_BYTES, VERSION as FIRST_VERSION, checksum_fits, header_of,
    not_whole, parse_fields,
};

/// A kind that there is not.
const UNKNOWN: u8 = 0xFF;

/// One part of a file.
#[derive(Debug, Clone, PartialEq)]
pub enum Item<'a> {
    /// The first.
    Header(Header),
    /// Frames of one of the streams.
    Block(Block<'a>),
    /// The last.
    End {
        /// When the last frame ended, milliseconds after the created time.
        duration_ms: u32,
        /// Samples of the original at the bundle's rate, if it is said: the last frames may be filled up beyond them.
        samples: Option<u64>,
        /// Where the file's index is; 0 if it has none.
        index: u64,
    },
}

/// Frames of one stream, one after another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Block<'a> {
    /// Which stream.
    pub stream: u8,
    /// Where it begins in the file.
    pub place: u64,
    /// When all that lies before it in the file had ended, milliseconds after the created time.
    pub before_ms: u32,
    /// When the first frame began, milliseconds after the created time, rounded down.
    pub time_ms: u32,
    /// The same as exactly as it is known: not always whole milliseconds where frames are counted.
    pub start_ms: f64,
    /// How many frames there are, 1 to 500: as many as the runs hold.
    pub count: usize,
    /// When the last frame ended, milliseconds after the created time, rounded up.
    pub end_ms: u32,
    content: Content<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Content<'a> {
    Runs(&'a [u8]),
    Whole(Run<'a>),
}

impl<'a> Block<'a> {
    /// The frames, run by run.
    pub fn runs(&self) -> Runs<'a> {
        Runs(self.content)
    }

    /// The payload of all of its frames, if it is one of whole frames of the header's depth, without gaps.
    pub fn whole(&self) -> Option<&'a [u8]> {
        match self.content {
            Content::Whole(run) => run.codes.map(|codes| codes.payload),
            Content::Runs(_) => None,
        }
    }
}

/// The runs of a block.
#[derive(Debug, Clone)]
pub struct Runs<'a>(Content<'a>);

impl<'a> Iterator for Runs<'a> {
    type Item = Run<'a>;

    fn next(&mut self) -> Option<Run<'a>> {
        match self.0 {
            Content::Whole(run) => {
                self.0 = Content::Runs(&[]);
                Some(run)
            }
            Content::Runs(bytes) => {
                let (run, rest) = Run::split(bytes)?;
                self.0 = Content::Runs(rest);
                Some(run)
            }
        }
    }
}

/// Takes a file's bytes as they come, and gives its parts as they are whole.
#[derive(Debug, Default)]
pub struct Reader {
    bytes: Vec<u8>,
    /// How many of `bytes` were given out.
    used: usize,
    /// Bytes of the file before `bytes`.
    before: u64,
    version: u8,
    /// What all versions say, once it is known.
    tokens: Option<file::Header>,
    clock: Clock,
    /// Which streams there are, by their numbers.
    named: [u64; 4],
    /// Whether it has one stream of whole frames.
    whole: bool,
    totals: Totals,
    /// Whether the beginning was not read: then nobody knows whether the end mark counts right.
    resumed: bool,
    ended: bool,
}

impl Reader {
    /// A reader at the start of a file.
    pub fn new() -> Self {
        Self::default()
    }

    /// A reader in the middle of a file with this version and header: what is pushed first is the byte at `place`, where a block
    /// begins, and before it are `frames` frames of the file's only stream (of files with several it does not matter).
    pub fn resume(version: u8, header: &Header, place: u64, frames: u64) -> Self {
        let mut reader = Self { version, before: place, resumed: true, ..Self::default() };
        reader.know(header);
        if reader.whole {
            reader.totals = Totals { frames, duration_ms: reader.clock.length_ms(frames) };
        }
        reader
    }

    /// Version of the file's format, 1 or 2; 0 before the header is known.
    pub fn version(&self) -> u8 {
        self.version
    }

    /// Takes more bytes. Call [`next_item`](Self::next_item) until it gives nothing before pushing more, so that no more is
    /// held than a block and what was pushed last.
    pub fn push(&mut self, bytes: &[u8]) {
        self.before += self.used as u64;
        self.bytes.drain(..self.used);
        self.used = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// How many bytes of the file were whole parts so far.
    pub fn whole_bytes(&self) -> u64 {
        self.before + self.used as u64
    }

    /// When the last frame so far ended, milliseconds after the created time.
    pub fn duration_ms(&self) -> u32 {
        self.totals.duration_ms
    }

    /// The next part, if it is whole already. Blocks of kinds and streams that are not known are passed over.
    ///
    /// # Errors
    /// If the bytes are no token file, or damaged. What was given before is good; nothing more will come.
    pub fn next_item(&mut self) -> Result<Option<Item<'_>>, FileError> {
        let Some(tokens) = &self.tokens else {
            return Ok(self.next_header()?.map(Item::Header));
        };
        let depth = tokens.depth;
        loop {
            let rest = &self.bytes[self.used..];
            if self.ended {
                return if rest.is_empty() { Ok(None) } else { Err(self.block("bytes follow the end mark")) };
            }
            let Some(head) = rest.first_chunk::<BLOCK_HEADER>() else { return Ok(None) };
            let [kind, count @ .., a, b, c, d] = *head;
            // Blocks of version 1 are what later became a kind of its own.
            let kind = match (self.version, kind) {
                (FIRST_VERSION, KIND_FRAMES) => KIND_WHOLE,
                (FIRST_VERSION, KIND_WHOLE) => UNKNOWN,
                _ => kind,
            };
            let (count, length) = (usize::from(u16::from_be_bytes(count)), u32::from_be_bytes([a, b, c, d]) as usize);
            let known = [KIND_FRAMES, KIND_END, KIND_WHOLE].contains(&kind);
            if length > if known { MAX_BLOCK_BYTES } else { MAX_UNKNOWN_BYTES } {
                return Err(self.block("a block claims to be larger than any is"));
            }
            let size = BLOCK_HEADER + length + CHECKSUM;
            if rest.len() < size {
                return Ok(None);
            }
            if !checksum_fits(&rest[..size]) {
                return Err(FileError::Checksum { offset: self.whole_bytes(), seconds: self.seconds() });
            }
            let (place, before_ms) = (self.whole_bytes(), self.totals.duration_ms);
            let payload = self.used + BLOCK_HEADER..self.used + BLOCK_HEADER + length;
            match kind {
                KIND_FRAMES => {
                    let Some((stream, time_ms)) = fields(&self.bytes[payload.clone()]) else {
                        return Err(self.block("a block is too short"));
                    };
                    let runs = payload.start + BLOCK_FIELDS..payload.end;
                    if !(1..=MAX_BLOCK_FRAMES).contains(&count) || !hold(&self.bytes[runs.clone()], count, depth) {
                        return Err(self.block("a block does not hold the frames that it says"));
                    }
                    let end_ms = time_ms.saturating_add(self.clock.length_ms(count as u64));
                    self.pass(count, end_ms, size);
                    if !self.whole && self.named[usize::from(stream / 64)] >> (stream % 64) & 1 == 1 {
                        let content = Content::Runs(&self.bytes[runs]);
                        let start_ms = time_ms.into();
                        return Ok(Some(Item::Block(Block {
                            stream,
                            place,
                            before_ms,
                            time_ms,
                            start_ms,
                            count,
                            end_ms,
                            content,
                        })));
                    }
                }
                KIND_WHOLE => {
                    if !self.whole {
                        return Err(self.block("a block without a time is in a file of several streams"));
                    }
                    if !(1..=MAX_BLOCK_FRAMES).contains(&count) {
                        return Err(self.block("a block has no frames, or more than any has"));
                    }
                    let start_ms = self.clock.start_ms(self.totals.frames);
                    let end_ms = self.clock.length_ms(self.totals.frames.saturating_add(count as u64));
                    self.pass(count, end_ms, size);
                    let codes = Some(Codes { depth, payload: &self.bytes[payload] });
                    let content = Content::Whole(Run { mark: Mark::Real, count, codes, noise: None });
                    let time_ms = start_ms as u32;
                    return Ok(Some(Item::Block(Block {
                        stream: 0,
                        place,
                        before_ms,
                        time_ms,
                        start_ms,
                        count,
                        end_ms,
                        content,
                    })));
                }
                KIND_END => {
                    let Some((totals, samples, index)) = self.end_of(&self.bytes[payload]) else {
                        return Err(self.block("the end mark has the wrong length"));
                    };
                    if !self.resumed && totals != self.totals {
                        return Err(self.block("the end mark counts other frames than there are"));
                    }
                    let all = totals.frames.saturating_mul(self.clock.frame_samples);
                    if samples.is_some_and(|samples| samples > all) {
                        return Err(self.block("the end mark counts more samples than the frames hold"));
                    }
                    self.ended = true;
                    self.used += size;
                    return Ok(Some(Item::End { duration_ms: totals.duration_ms, samples, index }));
                }
                // A kind of later versions, or an index: its length is known, so it can be passed over.
                _ => self.used += size,
            }
        }
    }

    /// Counts a block.
    fn pass(&mut self, count: usize, end_ms: u32, size: usize) {
        self.totals.frames = self.totals.frames.saturating_add(count as u64);
        self.totals.duration_ms = self.totals.duration_ms.max(end_ms);
        self.used += size;
    }

    /// What an end mark's payload says, in either version: totals, samples, and the place of an index.
    fn end_of(&self, payload: &[u8]) -> Option<(Totals, Option<u64>, u64)> {
        if self.version == FIRST_VERSION {
            let (frames, samples) = totals_of_one(payload)?;
            return Some((Totals { frames, duration_ms: self.clock.length_ms(frames) }, Some(samples), 0));
        }
        let end = End::parse(payload)?;
        Some((end.totals, end.samples(self.clock).filter(|_| self.whole), end.index))
    }

    /// Says that no more bytes come.
    ///
    /// # Errors
    /// If the file is not whole.
    pub fn finish(&self) -> Result<(), FileError> {
        if self.ended {
            return Ok(());
        }
        Err(not_whole(&self.bytes, self.before, self.seconds()))
    }

    fn next_header(&mut self) -> Result<Option<Header>, FileError> {
        let Some((version, fields, size)) = header_of(&self.bytes)? else { return Ok(None) };
        let (tokens, more) = parse_fields(fields)?;
        // What follows the name in version 1 is of no version that there is.
        let header = parse_more(tokens, if version == FIRST_VERSION { &[] } else { more })?;
        self.version = version;
        self.used = size;
        self.know(&header);
        Ok(Some(header))
    }

    fn know(&mut self, header: &Header) {
        for stream in header.ids() {
            self.named[usize::from(stream / 64)] |= 1 << (stream % 64);
        }
        self.whole = header.streams.is_empty();
        self.clock = Clock::of(&header.tokens);
        self.tokens = Some(header.tokens.clone());
    }

    fn seconds(&self) -> f64 {
        f64::from(self.totals.duration_ms) / 1000.0
    }

    fn block(&self, what: &'static str) -> FileError {
        FileError::Block { offset: self.whole_bytes(), seconds: self.seconds(), what }
    }
}

/// Stream and time of a block's payload.
fn fields(payload: &[u8]) -> Option<(u8, u32)> {
    let &[stream, a, b, c, d] = payload.first_chunk::<BLOCK_FIELDS>()?;
    Some((stream, u32::from_be_bytes([a, b, c, d])))
}

/// Whether the bytes are runs of so many frames, none deeper than that.
fn hold(mut bytes: &[u8], count: usize, depth: u8) -> bool {
    let mut frames = 0;
    while !bytes.is_empty() {
        let Some((run, rest)) = Run::split(bytes) else { return false };
        if run.codes.is_some_and(|codes| codes.depth > depth) {
            return false;
        }
        frames += run.count;
        bytes = rest;
    }
    frames == count
}

/// Frames and samples of an end mark of version 1. What later versions append is passed over.
fn totals_of_one(payload: &[u8]) -> Option<(u64, u64)> {
    let (frames, rest) = payload.split_first_chunk::<8>()?;
    let (samples, _) = rest.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*frames), u64::from_be_bytes(*samples)))
}

/// The fields that version 1 does not have. Those with tags of later versions are passed over.
fn parse_more(tokens: file::Header, mut more: &[u8]) -> Result<Header, FileError> {
    let short = || FileError::Header("its fields are cut short");
    let text = |bytes: &[u8]| {
        let no_text = |_| FileError::Header("a stream's name or its metadata are no text");
        str::from_utf8(bytes).map(str::to_owned).map_err(no_text)
    };
    let mut header = Header { tokens, created_ms: None, streams: Vec::new(), metadata: Vec::new() };
    while let Some((&tag, rest)) = more.split_first() {
        let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
        let (field, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into()).ok_or_else(short)?;
        more = rest;
        match tag {
            FIELD_CREATED => {
                header.created_ms = Some(u64::from_be_bytes(*field.first_chunk().ok_or_else(short)?));
            }
            FIELD_STREAM => {
                let (&id, name) = field.split_first().ok_or_else(short)?;
                header.streams.push(Stream { id, name: text(name)? });
            }
            FIELD_METADATA => {
                let (&length, rest) = field.split_first().ok_or_else(short)?;
                let (key, value) = rest.split_at_checked(length.into()).ok_or_else(short)?;
                header.metadata.push((text(key)?, text(value)?));
            }
            _ => {}
        }
    }
    Ok(header)
}
