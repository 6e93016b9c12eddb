//! Reading, piece by piece.

use super::{
    BLOCK_FIELDS, END_PAYLOAD, FIELD_CREATED, FIELD_METADATA, FIELD_STREAM, FIXED_HEADER_BYTES, Header, KIND_END,
    KIND_FRAMES, MAX_BLOCK_BYTES, MAX_BLOCK_FRAMES, MAX_HEADER_BYTES, Run, Stream, VERSION, end_ms,
};
use crate::file::{
    self, BLOCK_HEADER, CHECKSUM, FileError, MAX_UNKNOWN_BYTES, checksum_fits, header_of, not_whole, parse_fields,
};

/// Bytes of the end mark that this version writes, which are the last of a file.
pub const END_BYTES: usize = BLOCK_HEADER + END_PAYLOAD + CHECKSUM;

/// One part of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item<'a> {
    /// The first.
    Header(Header),
    /// Frames of one of the streams that the header names.
    Block(Block<'a>),
    /// The last.
    End {
        /// When the last frame ended, milliseconds after the created time.
        duration_ms: u32,
    },
}

/// Frames of one stream, one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block<'a> {
    /// Which stream.
    pub stream: u8,
    /// When the first frame began, milliseconds after the created time.
    pub time_ms: u32,
    /// How many frames there are, 1 to 500: as many as the runs hold.
    pub count: usize,
    /// When the last frame ended, milliseconds after the created time.
    pub end_ms: u32,
    runs: &'a [u8],
}

impl<'a> Block<'a> {
    /// The frames, run by run.
    pub fn runs(&self) -> Runs<'a> {
        Runs(self.runs)
    }
}

/// The runs of a block.
#[derive(Debug, Clone)]
pub struct Runs<'a>(&'a [u8]);

impl<'a> Iterator for Runs<'a> {
    type Item = Run<'a>;

    fn next(&mut self) -> Option<Run<'a>> {
        let (run, rest) = Run::split(self.0)?;
        self.0 = rest;
        Some(run)
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
    /// What all versions say, once it is known.
    tokens: Option<file::Header>,
    /// Which streams the header names, by their numbers.
    named: [u64; 4],
    frames: u64,
    duration_ms: u32,
    ended: bool,
}

impl Reader {
    /// A reader at the start of a file.
    pub fn new() -> Self {
        Self::default()
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
        self.duration_ms
    }

    /// The next part, if it is whole already. Blocks of kinds and streams that are not known are passed over.
    ///
    /// # Errors
    /// If the bytes are no token file of this version, or damaged. What was given before is good; nothing more will come.
    pub fn next_item(&mut self) -> Result<Option<Item<'_>>, FileError> {
        let Some(tokens) = &self.tokens else {
            return Ok(self.next_header()?.map(Item::Header));
        };
        let (depth, rate, frame_samples) =
            (tokens.depth, u64::from(tokens.sample_rate), u64::from(tokens.frame_samples));
        loop {
            let rest = &self.bytes[self.used..];
            if self.ended {
                return if rest.is_empty() { Ok(None) } else { Err(self.block("bytes follow the end mark")) };
            }
            let Some(head) = rest.first_chunk::<BLOCK_HEADER>() else { return Ok(None) };
            let [kind, count @ .., a, b, c, d] = *head;
            let (count, length) = (usize::from(u16::from_be_bytes(count)), u32::from_be_bytes([a, b, c, d]) as usize);
            let most = if [KIND_FRAMES, KIND_END].contains(&kind) { MAX_BLOCK_BYTES } else { MAX_UNKNOWN_BYTES };
            if length > most {
                return Err(self.block("a block claims to be larger than any is"));
            }
            let whole = BLOCK_HEADER + length + CHECKSUM;
            if rest.len() < whole {
                return Ok(None);
            }
            if !checksum_fits(&rest[..whole]) {
                return Err(FileError::Checksum { offset: self.whole_bytes(), seconds: self.seconds() });
            }
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
                    let end_ms = end_ms(time_ms, count, frame_samples, rate);
                    self.frames += count as u64;
                    self.duration_ms = self.duration_ms.max(end_ms);
                    self.used += whole;
                    if self.named[usize::from(stream / 64)] >> (stream % 64) & 1 == 1 {
                        let runs = &self.bytes[runs];
                        return Ok(Some(Item::Block(Block { stream, time_ms, count, end_ms, runs })));
                    }
                }
                KIND_END => {
                    let Some((frames, duration_ms)) = totals(&self.bytes[payload]) else {
                        return Err(self.block("the end mark has the wrong length"));
                    };
                    if (frames, duration_ms) != (self.frames, self.duration_ms) {
                        return Err(self.block("the end mark counts other frames than there are"));
                    }
                    self.ended = true;
                    self.used += whole;
                    return Ok(Some(Item::End { duration_ms }));
                }
                // A kind of later versions, or an index: its length is known, so it can be passed over.
                _ => self.used += whole,
            }
        }
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
        let lengths = FIXED_HEADER_BYTES..=MAX_HEADER_BYTES;
        let Some((fields, whole)) = header_of(&self.bytes, VERSION, file::VERSION, lengths)? else { return Ok(None) };
        let (tokens, more) = parse_fields(fields)?;
        let header = parse_more(tokens, more)?;
        for stream in &header.streams {
            self.named[usize::from(stream.id / 64)] |= 1 << (stream.id % 64);
        }
        self.used = whole;
        self.tokens = Some(header.tokens.clone());
        Ok(Some(header))
    }

    fn seconds(&self) -> f64 {
        f64::from(self.duration_ms) / 1000.0
    }

    fn block(&self, what: &'static str) -> FileError {
        FileError::Block { offset: self.whole_bytes(), seconds: self.seconds(), what }
    }
}

/// The duration that the end mark says, milliseconds, if these, the last [`END_BYTES`] of a file, are one: quicker than to
/// read all of it. `None` if the file broke off, or a later version wrote its end.
pub fn end_of(bytes: &[u8; END_BYTES]) -> Option<u32> {
    let (head, payload) = bytes.split_first_chunk::<BLOCK_HEADER>()?;
    let expected = [KIND_END, 0, 0, 0, 0, 0, END_PAYLOAD as u8];
    (*head == expected && checksum_fits(bytes)).then(|| totals(payload))?.map(|(_, duration_ms)| duration_ms)
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

/// Frames and duration of an end mark. What later versions append is passed over.
fn totals(payload: &[u8]) -> Option<(u64, u32)> {
    let (frames, rest) = payload.split_first_chunk::<8>()?;
    let (duration, _) = rest.split_first_chunk::<4>()?;
    Some((u64::from_be_bytes(*frames), u32::from_be_bytes(*duration)))
}

/// The fields that version 1 does not have. Those with tags of later versions are passed over.
fn parse_more(tokens: file::Header, mut more: &[u8]) -> Result<Header, FileError> {
    let short = || FileError::Header("its fields are cut short");
    let text = |bytes: &[u8]| {
        let no_text = |_| FileError::Header("a stream's name or its metadata are no text");
        str::from_utf8(bytes).map(str::to_owned).map_err(no_text)
    };
    let mut header = Header { tokens, created_ms: 0, streams: Vec::new(), metadata: Vec::new() };
    while let Some((&tag, rest)) = more.split_first() {
        let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
        let (field, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into()).ok_or_else(short)?;
        more = rest;
        match tag {
            FIELD_CREATED => {
                header.created_ms = u64::from_be_bytes(*field.first_chunk().ok_or_else(short)?);
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
