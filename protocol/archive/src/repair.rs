//! What can be saved of a damaged file.

use std::io::{Read, Seek, SeekFrom, Write};

use parlo_protocol::ptk::{Block, Claim, Header, Item, Mark, Reader};
use parlo_tokens::TokenFrame;

use crate::{
    coder::Coder,
    copy::{Copier, with_streams},
    crc_correction,
    edit::Made,
    error::ArchiveError,
    header::{FileState, TimedFrame},
    reader::Archive,
};

/// Bytes read at once.
const PIECE: usize = 1 << 16;

/// How far a block may begin before the one before it has ended: times are rounded, and recordings are brought back to a clock that
/// what is heard has drifted from.
const OVERLAP_MS: f64 = 101.0;

/// What was saved, and what was not.
#[derive(Debug, Clone, PartialEq)]
pub struct Repair {
    /// The new file.
    pub made: Made,
    /// What is lost.
    pub losses: Vec<Loss>,
    /// Blocks of which a few bytes were changed, and which are again as they were.
    pub mended: u64,
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
    /// Frames of the block at its beginning that lie before the damage, and are saved.
    pub saved: u64,
}

/// Writes a whole file of all blocks of a damaged one that are whole themselves, with an index and an end mark. Blocks are copied as
/// they are. Where one byte of a block was changed, its checksum tells what they were. Of a block of whole frames that
/// breaks off, or of which a part was written over with nothing, the frames before are saved: what a coder makes of the first bytes does
/// not depend on the others. A file of one stream of whole frames of which something in the middle is lost becomes one whose blocks have
/// times, so that what is lost leaves a hole, as far as it is known how long it was.
///
/// `coder` is one of the model that made the file. Without it single bits are mended, and no part of a block is saved.
///
/// # Errors
/// If the file cannot be read, or `out` cannot be written.
pub fn repair<S: Read + Seek, W: Write>(
    archive: &mut Archive<S>,
    mut coder: Option<&mut Coder>,
    out: W,
) -> Result<Repair, ArchiveError> {
    let was_whole = *archive.state() == FileState::Whole;
    let (mut losses, mut holes, mut mended) = (Vec::new(), false, 0);
    let said = scan(archive, coder.as_deref_mut(), |found, _| {
        match found {
            Found::Block(_, changed) => {
                holes |= !losses.is_empty();
                mended += u64::from(changed);
            }
            Found::Loss(loss, _) => losses.push(loss),
        }
        Ok(())
    })?;
    let mut header = archive.raw().clone();
    let whole = archive.is_whole() && !holes;
    if !whole {
        header = with_streams(&header);
    }
    let (frame_ms, stream) = (archive.frame_ms(), header.streams.first().map_or(0, |stream| stream.id));
    let mut copier = Copier::begin(out, &header)?;
    let (mut missing, mut ends) = (0_u64, [0.0_f64; 256]);
    scan(archive, coder, |found, coder| {
        match found {
            // Where frames are counted, those that are lost count too.
            Found::Block(block, _) if block.whole().is_some() => {
                copier.copy(&block, block.stream, block.start_ms + missing as f64 * frame_ms)?;
            }
            Found::Block(block, _) => {
                // Times only rise: recordings were made when a device's clock stepped back.
                let end = &mut ends[usize::from(block.stream)];
                let time = if block.start_ms + OVERLAP_MS < *end { *end } else { block.start_ms };
                *end = time + block.count as f64 * frame_ms;
                copier.copy(&block, block.stream, time)?;
            }
            Found::Loss(loss, part) => {
                if let (Some(first), Some(coder)) = (part.first(), coder) {
                    copier.code(part, stream, first.time_ms + missing as f64 * frame_ms, coder)?;
                }
                missing += loss.saved + loss.frames.unwrap_or(0);
            }
        }
        Ok(())
    })?;
    let totals = copier.totals();
    // With frames lost, nobody knows where the original ends.
    let all = totals.frames.saturating_mul(archive.header().tokens.frame_samples.into());
    let bytes = copier.finish(said.filter(|&samples| whole && losses.is_empty() && samples <= all))?;
    let made = Made { bytes, frames: totals.frames, duration_ms: totals.duration_ms.into() };
    Ok(Repair { made, losses, mended, was_whole })
}

enum Found<'a> {
    /// A block, and whether some of its bytes were changed.
    Block(Block<'a>, bool),
    /// What is lost, and the frames of it that are not.
    Loss(Loss, &'a [TimedFrame]),
}

/// Gives all whole blocks, and what lies between them that is none; and the samples that the end mark says, if it is there.
fn scan<S: Read + Seek>(
    archive: &mut Archive<S>,
    mut coder: Option<&mut Coder>,
    mut each: impl FnMut(Found<'_>, Option<&mut Coder>) -> Result<(), ArchiveError>,
) -> Result<Option<u64>, ArchiveError> {
    let (header, mut place, frame_ms) = (archive.raw().clone(), archive.start(), archive.frame_ms());
    let depth = usize::from(header.tokens.depth);
    let mut window = Window::new(archive.source())?;
    let (mut frames, mut seconds, mut samples) = (0, 0.0, None);
    let mut lost: Option<Lost> = None;
    while place < window.length {
        let claim = window.claim(place)?;
        // What nobody knows is passed over where a block is expected, but is no sign that one begins.
        let candidate = claim.filter(|claim| lost.is_none() || claim.is_known());
        let mut reader = Reader::resume(&header, place, frames);
        let (mut again, mut changed) = (Reader::resume(&header, place, frames), false);
        let mut item = match candidate {
            Some(claim) => {
                reader.push(window.at(place, claim.bytes())?);
                reader.next_item()
            }
            None => Ok(None),
        };
        // Where a block is expected, it may be one of which a few bytes are wrong.
        if let (Err(_), None, Some(claim)) = (&item, &lost, candidate)
            && let Some(block) =
                mended(window.at(place, claim.bytes())?, &header, (place, frames), coder.as_deref_mut(), frame_ms)
        {
            again.push(&block);
            (item, changed) = (again.next_item(), true);
        }
        let Some(claim) = candidate.filter(|_| item.is_ok()) else {
            if lost.is_none() {
                let whole = match claim {
                    Some(claim) => claim.frames(window.at(place, claim.bytes())?),
                    None => None,
                };
                let end = claim.map_or(place, |claim| place + claim.bytes() as u64);
                let part = match coder.as_deref_mut() {
                    Some(coder) => before_damage(&mut window, place, depth, coder)?,
                    None => Vec::new(),
                };
                let timed = |(n, codes)| TimedFrame {
                    time_ms: (frames + n as u64) as f64 * frame_ms,
                    mark: Mark::Real,
                    codes: Some(codes),
                    noise: None,
                };
                let part = part.into_iter().enumerate().map(timed).collect();
                lost = Some(Lost { at: place, frames: whole.map(|frames| (frames, end)), part });
            }
            place += 1;
            continue;
        };
        if let Some(lost) = lost.take() {
            each(Found::Loss(lost.until(place, seconds), &lost.part), coder.as_deref_mut())?;
        }
        match item {
            Ok(Some(Item::Block(block))) => {
                frames += block.count as u64;
                seconds = f64::from(block.end_ms) / 1000.0;
                each(Found::Block(block, changed), coder.as_deref_mut())?;
            }
            Ok(Some(Item::End { samples: found, .. })) => samples = found,
            _ => {}
        }
        place += claim.bytes() as u64;
    }
    if let Some(lost) = lost {
        each(Found::Loss(Loss { frames: None, ..lost.until(place, seconds) }, &lost.part), coder)?;
    }
    Ok(samples)
}

/// The block as it was before one of its bytes was changed, if that can be known: its checksum fits, and its codes are some of
/// the model's.
fn mended(
    block: &[u8],
    header: &Header,
    (place, frames): (u64, u64),
    mut coder: Option<&mut Coder>,
    frame_ms: f64,
) -> Option<Vec<u8>> {
    for change in crc_correction::changes(block) {
        // Of single bits there is hardly ever more than one that fits; of several, the codes must tell.
        if coder.is_none() && change.bits() > 1 {
            return None;
        }
        let block = change.apply(block);
        let mut reader = Reader::resume(header, place, frames);
        reader.push(&block);
        let right = match reader.next_item() {
            Ok(Some(Item::Block(block))) => {
                coder.as_deref_mut().is_none_or(|coder| coder.decode_block(&block, frame_ms, &mut Vec::new()).is_ok())
            }
            // An end mark or an index.
            Ok(_) => change.bits() == 1,
            Err(_) => false,
        };
        if right {
            return Some(block);
        }
    }
    None
}

/// The frames of a block of whole frames that lie before its damage, as far as it is known where that is: where the file breaks off,
/// or a stretch is all the same bytes.
fn before_damage<S: Read + Seek>(
    window: &mut Window<'_, S>,
    place: u64,
    depth: usize,
    coder: &mut Coder,
) -> Result<Vec<TokenFrame>, ArchiveError> {
    let Some(claim) = Claim::of(window.at(place, Claim::BYTES)?) else { return Ok(Vec::new()) };
    let left = usize::try_from(window.length - place).unwrap_or(usize::MAX);
    let (all, here) = (claim.bytes(), claim.bytes().min(left));
    let Some((count, payload)) = claim.whole_part(window.at(place, here)?) else { return Ok(Vec::new()) };
    let good = match crc_correction::before_blank(payload) {
        Some(good) => good,
        None if here < all => payload.len(),
        None => return Ok(Vec::new()),
    };
    let mut frames = Vec::new();
    coder.decode_beginning(&payload[..good], count, depth, &mut frames);
    Ok(frames)
}

/// A part that is lost, whose end is not known yet.
struct Lost {
    at: u64,
    /// What the block that began there said: how many frames it has, and where it ends.
    frames: Option<(u64, u64)>,
    /// The frames of it that are saved.
    part: Vec<TimedFrame>,
}

impl Lost {
    fn until(&self, place: u64, seconds: f64) -> Loss {
        // If another block begins just there, it said the truth.
        let frames = self.frames.filter(|&(_, end)| end == place).map(|(count, _)| count);
        let saved = self.part.len() as u64;
        let frames = frames.map(|frames| frames.saturating_sub(saved));
        Loss { at: self.at, bytes: place - self.at, seconds, frames, saved }
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
