//! Reading, piece by piece.

use super::{
    Clock, FileError, MAX_BLOCK_FRAMES,
    end::{End, Totals},
    frame::{Claim, KIND_END, KIND_FRAMES, KIND_WHOLE, checksum_fits},
    header::{Header, Tokens, not_whole},
    number::split_small,
    run::{Codes, Mark, Run, frames_in, split_fields},
};

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
    /// Once it is known.
    tokens: Option<Tokens>,
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

    /// A reader in the middle of a file with this header: what is pushed first is the byte at `place`, where a block begins, and
    /// before it are `frames` frames of the file's only stream (of files with several it does not matter).
    pub fn resume(header: &Header, place: u64, frames: u64) -> Self {
        let mut reader = Self { before: place, resumed: true, ..Self::default() };
        reader.know(header);
        if reader.whole {
            reader.totals = Totals { frames, duration_ms: reader.clock.length_ms(frames) };
        }
        reader
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
            let claim = match Claim::parse(rest) {
                Ok(Some(claim)) => claim,
                Ok(None) => return Ok(None),
                Err(what) => return Err(self.block(what)),
            };
            let size = claim.bytes();
            if rest.len() < size {
                return Ok(None);
            }
            if !checksum_fits(&rest[..size]) {
                return Err(FileError::Checksum { offset: self.whole_bytes(), seconds: self.seconds() });
            }
            let (place, before_ms) = (self.whole_bytes(), self.totals.duration_ms);
            let payload = self.used + claim.head..self.used + claim.head + claim.payload;
            match claim.kind {
                KIND_FRAMES => {
                    let Some((stream, time_ms, runs)) = split_fields(&self.bytes[payload.clone()]) else {
                        return Err(self.block("a block is too short"));
                    };
                    let runs = payload.end - runs.len()..payload.end;
                    let Some(count) = frames_in(&self.bytes[runs.clone()], depth.into()) else {
                        return Err(self.block("a block holds no frames, or none that a writer makes"));
                    };
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
                    let Some((count, codes)) = split_small::<usize>(&self.bytes[payload.clone()]) else {
                        return Err(self.block("a block is too short"));
                    };
                    if !(1..=MAX_BLOCK_FRAMES).contains(&count) {
                        return Err(self.block("a block has no frames, or more than any has"));
                    }
                    let codes = payload.end - codes.len()..payload.end;
                    let start_ms = self.clock.start_ms(self.totals.frames);
                    let end_ms = self.clock.length_ms(self.totals.frames.saturating_add(count as u64));
                    self.pass(count, end_ms, size);
                    let codes = Some(Codes { depth, payload: &self.bytes[codes] });
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
                    let Some(end) = End::parse(&self.bytes[payload]) else {
                        return Err(self.block("the end mark is too short"));
                    };
                    let totals = end.totals;
                    if !self.resumed && totals != self.totals {
                        return Err(self.block("the end mark counts other frames than there are"));
                    }
                    let samples = end.samples(self.clock).filter(|_| self.whole);
                    let all = totals.frames.saturating_mul(self.clock.frame_samples);
                    if samples.is_some_and(|samples| samples > all) {
                        return Err(self.block("the end mark counts more samples than the frames hold"));
                    }
                    self.ended = true;
                    self.used += size;
                    return Ok(Some(Item::End { duration_ms: totals.duration_ms, samples }));
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
        let Some((header, size)) = Header::parse(&self.bytes)? else { return Ok(None) };
        self.used = size;
        self.know(&header);
        Ok(Some(header))
    }

    fn know(&mut self, header: &Header) {
        for stream in header.ids() {
            self.named[usize::from(stream / 64)] |= 1 << (stream % 64);
        }
        self.whole = header.is_whole();
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
