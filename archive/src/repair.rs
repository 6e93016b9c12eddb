//! What can be saved of a damaged file.

use std::io::{Read, Seek, SeekFrom, Write};

use parlo_protocol::file::{Block, Claim, Item, Reader};

use crate::{
    copy::{Copier, with_streams},
    edit::Made,
    error::ArchiveError,
    header::State,
    reader::Archive,
};

/// Bytes read at once.
const PIECE: usize = 1 << 16;

/// What was saved, and what was not.
#[derive(Debug, Clone, PartialEq)]
pub struct Repair {
    /// The new file.
    pub made: Made,
    /// What is lost.
    pub losses: Vec<Loss>,
    /// Whether the file was whole, so that nothing but its index was made again.
    pub was_whole: bool,
}

/// A part that is lost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loss {
    /// Where in the file.
    pub at: u64,
    /// How many bytes were passed over.
    pub bytes: u64,
    /// How much speech lies before, seconds.
    pub seconds: f64,
    /// How many frames are lost, if that is known.
    pub frames: Option<u64>,
}

/// Writes a whole file of all blocks of a damaged one that are whole themselves, with an index and an end mark. Blocks are copied as
/// they are; no model is needed. A file of one stream of whole frames of which something in the middle is lost becomes one whose blocks
/// have times, so that what is lost leaves a hole, as far as it is known how long it was.
///
/// # Errors
/// If the file cannot be read, or `out` cannot be written.
pub fn repair<S: Read + Seek, W: Write>(archive: &mut Archive<S>, out: W) -> Result<Repair, ArchiveError> {
    let was_whole = *archive.state() == State::Whole;
    let (mut losses, mut holes) = (Vec::new(), false);
    let said = scan(archive, |found| {
        match found {
            Found::Block(_) => holes |= !losses.is_empty(),
            Found::Loss(loss) => losses.push(loss),
        }
        Ok(())
    })?;
    let mut header = archive.raw().clone();
    let whole = archive.is_whole() && !holes;
    if !whole {
        header = with_streams(&header);
    }
    let frame_ms = archive.frame_ms();
    let mut copier = Copier::begin(out, &header)?;
    let mut missing = 0_u64;
    scan(archive, |found| {
        match found {
            // Where frames are counted, those that are lost count too.
            Found::Block(block) if block.whole().is_some() => {
                copier.copy(&block, block.stream, block.start_ms + missing as f64 * frame_ms)?;
            }
            Found::Block(block) => copier.copy(&block, block.stream, block.start_ms)?,
            Found::Loss(loss) => missing += loss.frames.unwrap_or(0),
        }
        Ok(())
    })?;
    let totals = copier.totals();
    // With frames lost, nobody knows where the original ends.
    let all = totals.frames.saturating_mul(archive.header().tokens.frame_samples.into());
    let bytes = copier.finish(said.filter(|&samples| whole && losses.is_empty() && samples <= all))?;
    let made = Made { bytes, frames: totals.frames, duration_ms: totals.duration_ms.into() };
    Ok(Repair { made, losses, was_whole })
}

enum Found<'a> {
    Block(Block<'a>),
    Loss(Loss),
}

/// Gives all whole blocks, and what lies between them that is none; and the samples that the end mark says, if it is there.
fn scan<S: Read + Seek>(
    archive: &mut Archive<S>,
    mut each: impl FnMut(Found<'_>) -> Result<(), ArchiveError>,
) -> Result<Option<u64>, ArchiveError> {
    let (header, mut place) = (archive.raw().clone(), archive.start());
    let mut window = Window::new(archive.source())?;
    let (mut frames, mut seconds, mut samples) = (0, 0.0, None);
    let mut lost: Option<Lost> = None;
    while place < window.length {
        let claim = window.claim(place)?;
        // What nobody knows is passed over where a block is expected, but is no sign that one begins.
        let candidate = claim.filter(|claim| lost.is_none() || claim.is_known());
        let mut reader = Reader::resume(&header, place, frames);
        let item = match candidate {
            Some(claim) => {
                reader.push(window.at(place, claim.bytes())?);
                reader.next_item()
            }
            None => Ok(None),
        };
        let Some(claim) = candidate.filter(|_| item.is_ok()) else {
            if lost.is_none() {
                let frames = match claim {
                    Some(claim) => claim.frames(window.at(place, claim.bytes())?),
                    None => None,
                };
                let end = claim.map_or(place, |claim| place + claim.bytes() as u64);
                lost = Some(Lost { at: place, frames: frames.map(|frames| (frames, end)) });
            }
            place += 1;
            continue;
        };
        if let Some(lost) = lost.take() {
            each(Found::Loss(lost.until(place, seconds)))?;
        }
        match item {
            Ok(Some(Item::Block(block))) => {
                frames += block.count as u64;
                seconds = f64::from(block.end_ms) / 1000.0;
                each(Found::Block(block))?;
            }
            Ok(Some(Item::End { samples: found, .. })) => samples = found,
            _ => {}
        }
        place += claim.bytes() as u64;
    }
    if let Some(lost) = lost {
        each(Found::Loss(Loss { frames: None, ..lost.until(place, seconds) }))?;
    }
    Ok(samples)
}

/// A part that is lost, whose end is not known yet.
struct Lost {
    at: u64,
    /// What the block that began there said: how many frames it has, and where it ends.
    frames: Option<(u64, u64)>,
}

impl Lost {
    fn until(&self, place: u64, seconds: f64) -> Loss {
        // If another block begins just there, it said the truth.
        let frames = self.frames.filter(|&(_, end)| end == place).map(|(count, _)| count);
        Loss { at: self.at, bytes: place - self.at, seconds, frames }
    }
}

/// Some bytes of a file.
struct Window<'a, S> {
    source: &'a mut S,
    length: u64,
    place: u64,
    bytes: Vec<u8>,
}

impl<'a, S: Read + Seek> Window<'a, S> {
    fn new(source: &'a mut S) -> Result<Self, ArchiveError> {
        let length = source.seek(SeekFrom::End(0)).map_err(ArchiveError::Read)?;
        Ok(Self { source, length, place: 0, bytes: Vec::new() })
    }

    /// What would begin there, if it is possible and fits the file.
    fn claim(&mut self, place: u64) -> Result<Option<Claim>, ArchiveError> {
        let left = self.length - place;
        let claim = Claim::of(self.at(place, Claim::BYTES)?);
        Ok(claim.filter(|claim| claim.bytes() as u64 <= left))
    }

    /// So many bytes from there on, or as many as there are.
    fn at(&mut self, place: u64, count: usize) -> Result<&[u8], ArchiveError> {
        let here = |bytes: &[u8], begin: u64| {
            let start = usize::try_from(place.checked_sub(begin)?).ok()?;
            (start.checked_add(count)? <= bytes.len()).then_some(start)
        };
        let start = match here(&self.bytes, self.place) {
            Some(start) => start,
            None => {
                self.bytes.clear();
                self.place = place;
                self.source.seek(SeekFrom::Start(place)).map_err(ArchiveError::Read)?;
                let most = count.max(PIECE) as u64;
                self.source.by_ref().take(most).read_to_end(&mut self.bytes).map_err(ArchiveError::Read)?;
                0
            }
        };
        Ok(&self.bytes[start..(start + count).min(self.bytes.len())])
    }
}
