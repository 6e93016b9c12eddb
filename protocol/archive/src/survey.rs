//! What is in a file: counted block by block.

use std::{
    io::{Read, Seek},
    ops::ControlFlow,
};

use parlo_protocol::ptk::{Block, FileError, Index, Mark};

use crate::{
    coder::Coder,
    error::ArchiveError,
    header::{FileState, TimedFrame},
    reader::Archive,
};

/// Blocks out of their order that are told of one file; a file could have millions.
const MAX_FAULTS: usize = 20;

/// What is in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Survey {
    /// Each stream of the header, in its order.
    pub streams: Vec<StreamSurvey>,
    /// Blocks of all of them.
    pub blocks: u64,
    /// Bytes of codes.
    pub payload_bytes: u64,
    /// Bytes of the file, as far as it is whole.
    pub bytes: u64,
    /// What is wrong with it; nothing if it is whole.
    pub faults: Vec<SurveyFault>,
}

/// What is wrong with a file. One sentence each, to follow its name.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SurveyFault {
    /// Its blocks are not in their order.
    #[error("a block of {seconds:.1} s comes after a later one: seeking may miss it")]
    Order {
        /// When the block begins.
        seconds: f64,
    },
    /// It has another index than it should have.
    #[error("its index is not that of its blocks")]
    Index,
    /// It breaks off, or something of it cannot be read or decoded.
    #[error("{0}")]
    Damage(String),
}

/// What is in a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamSurvey {
    /// Its number.
    pub number: u8,
    /// Its name.
    pub name: String,
    /// All of its frames.
    pub frames: u64,
    /// Those that have codes.
    pub coded: u64,
    /// Codes of all frames together.
    pub codes: u64,
    /// Bytes of them.
    pub payload_bytes: u64,
    /// How many frames have each mark, as far as there are any.
    pub marks: Vec<(Mark, u64)>,
    /// How each codebook is used, coarsest first; nothing where codes were not decoded.
    pub books: Vec<BookUse>,
}

/// How a codebook is used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BookUse {
    /// Codes.
    pub codes: u64,
    /// Entries that occur.
    pub distinct: u32,
    /// Entries that there are.
    pub size: u32,
    /// Bits that a code takes if nothing is known but how often each occurs (Shannon's entropy).
    pub entropy_bits: f64,
}

impl Survey {
    /// How many percent longer a file is than its codes, 64 bytes being free: what `overhead_pct` of the bench is, if the codes are
    /// in blocks of 10 s. Never below 0.
    pub fn overhead_pct(&self) -> f64 {
        overhead_pct(self.bytes, self.payload_bytes)
    }
}

/// How many percent a file of `bytes` is longer than `bound`, what the coder makes of its codes in blocks of 10 s, and 64 bytes. Never
/// below 0; 0 of nothing.
pub fn overhead_pct(bytes: u64, bound: u64) -> f64 {
    let over = bytes.saturating_sub(64).saturating_sub(bound);
    if over == 0 { 0.0 } else { 100.0 * over as f64 / bound.max(1) as f64 }
}

/// How often each code occurs, for each codebook.
type Counts = Vec<Vec<u64>>;

/// Reads all of a file, compares every checksum, and with a coder decodes every code. What is wrong is in the
/// [`faults`](Survey::faults); what lies behind damage is not counted.
///
/// # Errors
/// If the file cannot be read.
pub fn survey<S: Read + Seek>(archive: &mut Archive<S>, mut coder: Option<&mut Coder>) -> Result<Survey, ArchiveError> {
    let sizes: Vec<u32> = coder.as_ref().map(|coder| coder.layout().sizes().to_vec()).unwrap_or_default();
    let names = &archive.header().streams;
    let mut streams: Vec<StreamSurvey> = names.iter().map(|name| empty(name.number, &name.name)).collect();
    let mut counts: Vec<Counts> =
        names.iter().map(|_| sizes.iter().map(|&size| vec![0; size as usize]).collect()).collect();
    let mut latest = vec![0.0_f64; streams.len()];
    let (mut blocks, mut faults) = (0, Vec::new());
    let (frame_ms, mut index, mut frames) = (archive.frame_ms(), Index::new(archive.raw()), Vec::new());
    // What it says itself is looked at after.
    let done = archive.blocks_without_index(|block| {
        blocks += 1;
        index.pass(block.place, block.before_ms, block.stream, block.count as u64);
        let Some(at) = streams.iter().position(|stream| stream.number == block.stream) else {
            return Ok(ControlFlow::Continue(()));
        };
        if block.start_ms < latest[at] && faults.len() < MAX_FAULTS {
            let seconds = block.start_ms / 1000.0;
            faults.push(SurveyFault::Order { seconds });
        }
        latest[at] = block.start_ms;
        count(block, &mut streams[at]);
        if let Some(coder) = coder.as_deref_mut() {
            frames.clear();
            let decoded = coder.decode_block(block, frame_ms, &mut frames);
            decoded.map_err(|error| ArchiveError::Codes { seconds: block.start_ms / 1000.0, error })?;
            tally(&frames, &mut counts[at]);
        }
        Ok(ControlFlow::Continue(()))
    });
    match done {
        Ok(()) => {}
        Err(error @ ArchiveError::Read(_)) => return Err(error),
        Err(error) => faults.push(SurveyFault::Damage(error.to_string())),
    }
    match archive.state() {
        FileState::Whole if archive.has_index() && faults.is_empty() && index != *archive.index() => {
            faults.push(SurveyFault::Index);
        }
        FileState::Whole => {}
        FileState::Cut { at } => {
            let (offset, seconds) = (*at, archive.duration_ms() as f64 / 1000.0);
            faults.push(SurveyFault::Damage(FileError::Truncated { offset, seconds }.to_string()));
        }
        FileState::Damaged { reason, .. } => faults.push(SurveyFault::Damage(reason.clone())),
    }
    for (stream, counts) in streams.iter_mut().zip(&counts) {
        stream.books = counts.iter().map(|counts| book(counts)).collect();
    }
    let payload_bytes = streams.iter().map(|stream| stream.payload_bytes).sum();
    Ok(Survey { streams, blocks, payload_bytes, bytes: archive.bytes(), faults })
}

fn empty(number: u8, name: &str) -> StreamSurvey {
    let name = name.to_owned();
    let (marks, books) = (Vec::new(), Vec::new());
    StreamSurvey { number, name, frames: 0, coded: 0, codes: 0, payload_bytes: 0, marks, books }
}

fn count(block: &Block<'_>, stream: &mut StreamSurvey) {
    for run in block.runs() {
        let frames = run.count as u64;
        stream.frames += frames;
        match stream.marks.iter_mut().find(|(mark, _)| *mark == run.mark) {
            Some((_, known)) => *known += frames,
            None => stream.marks.push((run.mark, frames)),
        }
        if let Some(codes) = run.codes {
            stream.coded += frames;
            stream.codes += frames * u64::from(codes.depth);
            stream.payload_bytes += codes.payload.len() as u64;
        }
    }
}

fn tally(frames: &[TimedFrame], counts: &mut Counts) {
    for codes in frames.iter().filter_map(|frame| frame.codes) {
        for (book, &code) in counts.iter_mut().zip(codes.codes()) {
            // The coder gives no code beyond its codebook.
            if let Some(count) = book.get_mut(usize::from(code)) {
                *count += 1;
            }
        }
    }
}

fn book(counts: &[u64]) -> BookUse {
    let codes: u64 = counts.iter().sum();
    let used = counts.iter().filter(|&&count| count > 0);
    let share = |&count: &u64| count as f64 / codes as f64;
    let entropy_bits = used.clone().map(share).map(|share| -share * share.log2()).sum::<f64>();
    BookUse { codes, distinct: used.count() as u32, size: counts.len() as u32, entropy_bits: entropy_bits.max(0.0) }
}

/// Frames that a listener misses: those that did not come, or came as coarse copies only.
pub fn is_loss(mark: Mark) -> bool {
    matches!(mark, Mark::Coarse | Mark::Predicted | Mark::Faded | Mark::Held | Mark::Gap)
}
