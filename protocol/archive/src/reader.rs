use std::{
    io::{Read, Seek, SeekFrom},
    ops::ControlFlow,
};

use parlo_protocol::ptk::{Block, End, FileError, Header, Index, Item, MAX_HEADER_BYTES, Reader};

use crate::{
    coder::Coder,
    error::ArchiveError,
    header::{FileHeader, FileState, TimedFrame},
};

/// Bytes read at once by whoever seeks.
const PIECE: usize = 1 << 15;

/// Bytes read at once by whoever reads all.
const LARGE_PIECE: usize = 1 << 18;

/// More than an index takes.
const MAX_INDEX: u64 = (1 << 20) + 64;

/// More than a header takes.
const HEADER: u64 = MAX_HEADER_BYTES as u64 + 64;

/// A token file. `S` is anything that can be read and sought.
///
/// Holds the index, some bytes for each minute, and at most one block of frames.
#[derive(Debug)]
pub struct Archive<S> {
    source: S,
    header: FileHeader,
    raw: Header,
    state: FileState,
    duration_ms: u32,
    samples: Option<u64>,
    index: Index,
    indexed: bool,
    ended: bool,
    damage: Option<FileError>,
    /// Bytes of the header.
    start: u64,
    /// Bytes that are whole.
    length: u64,
    /// The block that was decoded last, by its place.
    last: Option<(u64, Vec<TimedFrame>)>,
}

impl<S: Read + Seek> Archive<S> {
    /// Opens a file: reads its header, and its index if it has one. If not (it is short, or broke off), all of it is read
    /// once, and its checksums are compared; nothing is decoded.
    ///
    /// # Errors
    /// If it cannot be read, or its header is not that of a token file. A file that broke off or is damaged behind its header is
    /// opened: see [`state`](Self::state).
    pub fn open(mut source: S) -> Result<Self, ArchiveError> {
        let length = source.seek(SeekFrom::End(0)).map_err(ArchiveError::Read)?;
        let bytes = bytes_at(&mut source, 0, HEADER.min(length))?;
        let mut reader = Reader::new();
        reader.push(&bytes);
        let raw = match reader.next_item()? {
            Some(Item::Header(header)) => header,
            _ => return Err(reader.finish().err().unwrap_or(FileError::Empty).into()),
        };
        let start = reader.whole_bytes();
        let header = FileHeader::of(&raw);
        let index = Index::new(&raw);
        let mut archive = Self {
            source,
            header,
            raw,
            state: FileState::Whole,
            duration_ms: 0,
            samples: None,
            index,
            indexed: false,
            ended: false,
            damage: None,
            start,
            length,
            last: None,
        };
        if !archive.find_index()? {
            archive.walk()?;
        }
        Ok(archive)
    }

    /// Reads the end mark and the index that it names; gives whether there are both.
    fn find_index(&mut self) -> Result<bool, ArchiveError> {
        let tail = self.length.saturating_sub(End::BYTES as u64).max(self.start);
        let tail = bytes_at(&mut self.source, tail, self.length - tail)?;
        let found = End::of(&tail);
        self.ended = found.is_some();
        let Some((end, size)) = found else { return Ok(false) };
        // It lies behind the header, and takes no more than the largest of blocks.
        let place = self.length.saturating_sub(size as u64).saturating_sub(end.index);
        if place < self.start || !(1..=MAX_INDEX).contains(&end.index) {
            return Ok(false);
        }
        let bytes = bytes_at(&mut self.source, place, end.index)?;
        let Some(index) = Index::parse(&bytes, place, &self.raw) else { return Ok(false) };
        // It counts no more frames than the end mark does.
        let frames = index.streams().iter().filter_map(|&stream| index.total(stream)).fold(0, u64::saturating_add);
        if frames > end.totals.frames {
            return Ok(false);
        }
        self.samples = self.samples_of(&end);
        (self.index, self.indexed, self.duration_ms) = (index, true, end.totals.duration_ms);
        Ok(true)
    }

    fn samples_of(&self, end: &End) -> Option<u64> {
        let all = end.totals.frames.saturating_mul(self.header.tokens.frame_samples.into());
        end.padding.filter(|_| self.is_whole()).and_then(|padding| all.checked_sub(padding))
    }

    /// Reads all of the file, and makes its index again.
    fn walk(&mut self) -> Result<(), ArchiveError> {
        let (mut index, mut samples, mut reader) = (Index::new(&self.raw), None, Reader::new());
        let walked = pieces(&mut self.source, 0, self.length, LARGE_PIECE, |piece| {
            reader.push(piece);
            while let Some(item) = reader.next_item()? {
                match item {
                    Item::Block(block) => index.pass(block.place, block.before_ms, block.stream, block.count as u64),
                    Item::End { samples: found, .. } => samples = found,
                    Item::Header(_) => {}
                }
            }
            Ok(ControlFlow::Continue(()))
        });
        let walked = walked.and_then(|_| Ok(reader.finish()?));
        self.state = match walked {
            Ok(()) => {
                self.ended = true;
                FileState::Whole
            }
            Err(ArchiveError::File(FileError::Truncated { .. })) => FileState::Cut { at: reader.whole_bytes() },
            Err(ArchiveError::File(error)) => {
                let reason = error.to_string();
                self.damage = Some(error);
                FileState::Damaged { at: reader.whole_bytes(), reason }
            }
            Err(error) => return Err(error),
        };
        if self.state != FileState::Whole {
            self.length = reader.whole_bytes();
        }
        (self.index, self.samples, self.duration_ms) = (index, samples, reader.duration_ms());
        Ok(())
    }

    /// What it says of itself.
    pub fn header(&self) -> &FileHeader {
        &self.header
    }

    /// Whether it is whole.
    pub fn state(&self) -> &FileState {
        &self.state
    }

    /// Whether its last bytes are an end mark: what is damaged before did not come from breaking off.
    pub fn has_end_mark(&self) -> bool {
        self.ended
    }

    /// What is damaged, if it was found so when it was opened.
    pub fn damage(&self) -> Option<&FileError> {
        self.damage.as_ref()
    }

    /// When the last frame ends, milliseconds.
    pub fn duration_ms(&self) -> u64 {
        self.duration_ms.into()
    }

    /// Samples of the original at the bundle's rate, if it is said: frames hold a little more.
    pub fn samples(&self) -> Option<u64> {
        self.samples
    }

    /// How long a frame is, milliseconds.
    pub fn frame_ms(&self) -> f64 {
        self.header.frame_ms()
    }

    /// How many frames a stream has; 0 if there is no such stream.
    pub fn frames(&self, stream: u8) -> u64 {
        self.index.total(stream).unwrap_or(0)
    }

    /// Whether the file has one stream of whole frames without gaps, as `parlo encode` makes it.
    pub fn is_whole(&self) -> bool {
        self.raw.streams.is_empty()
    }

    /// Whether the file has an index that can be used.
    pub fn has_index(&self) -> bool {
        self.indexed
    }

    /// The file's index: its own, or what was made of its blocks.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Bytes that are whole.
    pub fn bytes(&self) -> u64 {
        self.length
    }

    /// What the protocol's own writer would begin a file like this one with.
    pub(crate) fn raw(&self) -> &Header {
        &self.raw
    }

    /// Appends the frames of a stream that begin at or after `from_ms` and before `to_ms` to `out`, in order of time.
    ///
    /// # Errors
    /// If there is no such stream, the file cannot be read, or what lies there is damaged or not of the coder's model. `out` has
    /// the frames before then.
    pub fn read(
        &mut self,
        coder: &mut Coder,
        stream: u8,
        from_ms: u64,
        to_ms: u64,
        out: &mut Vec<TimedFrame>,
    ) -> Result<(), ArchiveError> {
        if self.index.total(stream).is_none() {
            let there = self.header.streams.iter().map(|s| format!("{} \"{}\"", s.number, s.name));
            let there = there.collect::<Vec<_>>().join(", ");
            return Err(ArchiveError::NoStream { number: stream, there });
        }
        let (from, to, frame_ms) = (from_ms as f64, to_ms as f64, self.frame_ms());
        let mut last = self.last.take();
        let done = self.blocks(from_ms, Some(stream), |block| {
            if f64::from(block.end_ms) <= from {
                return Ok(ControlFlow::Continue(()));
            }
            if block.start_ms >= to {
                return Ok(ControlFlow::Break(()));
            }
            let (place, frames) = last.get_or_insert_default();
            if *place != block.place {
                frames.clear();
                *place = 0;
                let decoded = coder.decode_block(block, frame_ms, frames);
                decoded.map_err(|error| ArchiveError::Codes { seconds: block.start_ms / 1000.0, error })?;
                *place = block.place;
            }
            out.extend(frames.iter().filter(|frame| (from..to).contains(&frame.time_ms)));
            Ok(ControlFlow::Continue(()))
        });
        self.last = last;
        done
    }

    /// Goes through the blocks from the last point of the index before `from_ms` on, so of some before that too, until `each`
    /// breaks off. If a stream is named, only its blocks are given, and parts of the file that have none of it are skipped.
    ///
    /// # Errors
    /// If the file cannot be read, or is damaged there; or what `each` says.
    pub fn blocks(
        &mut self,
        from_ms: u64,
        stream: Option<u8>,
        mut each: impl FnMut(&Block<'_>) -> Result<ControlFlow<()>, ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let at = stream.and_then(|stream| self.index.streams().binary_search(&stream).ok());
        for stretch in self.index.before(from_ms)..=self.index.len() {
            let (begin, next) = (stretch.checked_sub(1).and_then(|n| self.index.point(n)), self.index.point(stretch));
            let (place, before) = begin.map_or((self.start, 0), |point| (point.place, point.frames[at.unwrap_or(0)]));
            let (end, after) = match (next, stream) {
                (Some(point), _) => (point.place, point.frames[at.unwrap_or(0)]),
                (None, Some(stream)) => (self.length, self.index.total(stream).unwrap_or(0)),
                (None, None) => (self.length, u64::MAX),
            };
            if stream.is_some() && before == after {
                continue;
            }
            let mut reader = Reader::resume(&self.raw, place, before);
            let flow = pieces(&mut self.source, place, end, PIECE, |piece| {
                reader.push(piece);
                while let Some(item) = reader.next_item()? {
                    if let Item::Block(block) = item
                        && stream.is_none_or(|stream| stream == block.stream)
                        && each(&block)?.is_break()
                    {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Ok(ControlFlow::Continue(()))
            })?;
            if flow.is_break() {
                return Ok(());
            }
            if reader.whole_bytes() != end {
                let seconds = f64::from(reader.duration_ms()) / 1000.0;
                let what = "a block runs over into what follows it";
                return Err(FileError::Block { offset: reader.whole_bytes(), seconds, what }.into());
            }
        }
        Ok(())
    }

    /// Goes through all blocks from front to back, as if there were no index: checksums of all parts, and the end mark's counts, are
    /// compared. What broke off or was found damaged ends where it is whole.
    ///
    /// # Errors
    /// As [`blocks`](Self::blocks).
    pub fn blocks_without_index(
        &mut self,
        mut each: impl FnMut(&Block<'_>) -> Result<ControlFlow<()>, ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let mut reader = Reader::new();
        let flow = pieces(&mut self.source, 0, self.length, LARGE_PIECE, |piece| {
            reader.push(piece);
            while let Some(item) = reader.next_item()? {
                if let Item::Block(block) = item
                    && each(&block)?.is_break()
                {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if flow.is_continue() && self.state == FileState::Whole { Ok(reader.finish()?) } else { Ok(()) }
    }

    /// Gives the file back.
    pub fn into_inner(self) -> S {
        self.source
    }

    pub(crate) fn source(&mut self) -> &mut S {
        &mut self.source
    }

    pub(crate) fn start(&self) -> u64 {
        self.start
    }
}

/// So many bytes from there on.
fn bytes_at<S: Read + Seek>(source: &mut S, place: u64, count: u64) -> Result<Vec<u8>, ArchiveError> {
    let mut bytes = Vec::new();
    source.seek(SeekFrom::Start(place)).map_err(ArchiveError::Read)?;
    source.by_ref().take(count).read_to_end(&mut bytes).map_err(ArchiveError::Read)?;
    Ok(bytes)
}

/// Reads from one place to another, piece by piece.
pub(crate) fn pieces<S: Read + Seek>(
    source: &mut S,
    from: u64,
    to: u64,
    size: usize,
    mut each: impl FnMut(&[u8]) -> Result<ControlFlow<()>, ArchiveError>,
) -> Result<ControlFlow<()>, ArchiveError> {
    source.seek(SeekFrom::Start(from)).map_err(ArchiveError::Read)?;
    let mut left = to.saturating_sub(from);
    let mut piece = vec![0; size.min(usize::try_from(left).unwrap_or(usize::MAX))];
    while left > 0 {
        let most = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = source.read(&mut piece[..most]).map_err(ArchiveError::Read)?;
        if count == 0 {
            // It became shorter since it was opened.
            break;
        }
        if each(&piece[..count])?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        left -= count as u64;
    }
    Ok(ControlFlow::Continue(()))
}
