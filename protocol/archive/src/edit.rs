//! Parts of files, and files one after another. Sound is never decoded for it.

use std::{
    io::{Read, Seek, Write},
    ops::ControlFlow,
};

use parlo_protocol::ptk::Stream;

use crate::{
    coder::Coder,
    copy::{Copier, with_streams},
    error::ArchiveError,
    reader::Archive,
};

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// Bytes of the new file.
    pub bytes: u64,
    /// Frames of all streams.
    pub frames: u64,
    /// When the last of them ends, milliseconds.
    pub duration_ms: u64,
}

/// Writes the part of a file between two times as a file of its own, whose clock begins at `from_ms`. Blocks that lie in it whole
/// are copied; those at its ends are coded again, without a loss, for which a coder is needed.
///
/// Frames that begin at or after `from_ms` and before `to_ms` are kept. Of a file of one stream of whole frames, the frames that follow
/// are kept too as far as the decoder needs them to render the sound up to `to_ms`: `delay_samples` of the bundle's manifest.
///
/// # Errors
/// If the file cannot be read or is damaged there, `out` cannot be written, or a coder is needed and not given.
pub fn cut<S: Read + Seek, W: Write>(
    archive: &mut Archive<S>,
    mut coder: Option<&mut Coder>,
    from_ms: u64,
    to_ms: u64,
    delay_samples: usize,
    out: W,
) -> Result<Made, ArchiveError> {
    let (frame_ms, whole) = (archive.frame_ms(), archive.is_whole());
    let length = u64::from(archive.header().tokens.frame_samples.max(1));
    // Numbers of frames that begin then, where frames are counted.
    let number = |ms: u64| (ms as f64 / frame_ms).ceil() as u64;
    let first = number(from_ms);
    let end = number(to_ms).max(first).saturating_add((delay_samples as u64).div_ceil(length));
    let (from, to) = if whole {
        // Half a frame early: no rounding can take one frame more or less.
        ((first as f64 - 0.5) * frame_ms, (end as f64 - 0.5) * frame_ms)
    } else {
        (from_ms as f64, to_ms as f64)
    };
    let mut header = archive.raw().clone();
    header.created_ms = header.created_ms.map(|created| created.saturating_add(from_ms));
    let mut copier = Copier::begin(out, &header)?;
    let (mut frames, mut past, streams) = (Vec::new(), Vec::new(), archive.header().streams.len());
    archive.blocks(from_ms, None, |block| {
        if block.start_ms >= to && !past.contains(&block.stream) {
            past.push(block.stream);
        }
        // Blocks of a stream are in order.
        if past.len() == streams {
            return Ok(ControlFlow::Break(()));
        }
        let ends = block.start_ms + (block.count - 1) as f64 * frame_ms;
        if ends < from || block.start_ms >= to {
            return Ok(ControlFlow::Continue(()));
        }
        let shifted = |time: f64| (time - from_ms as f64).max(0.0);
        if block.start_ms >= from && ends < to {
            copier.copy(block, block.stream, shifted(block.start_ms))?;
            return Ok(ControlFlow::Continue(()));
        }
        let Some(coder) = coder.as_deref_mut() else { return Err(ArchiveError::NeedsModel) };
        frames.clear();
        let decoded = coder.decode_block(block, frame_ms, &mut frames);
        decoded.map_err(|error| ArchiveError::Codes { seconds: block.start_ms / 1000.0, error })?;
        frames.retain(|frame| (from..to).contains(&frame.time_ms));
        if let Some(begin) = frames.first().map(|frame| frame.time_ms) {
            copier.code(&frames, block.stream, shifted(begin), coder)?;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let totals = copier.totals();
    // What is heard of the original: from the first frame's place up to where it is cut, or to its own end.
    let heard = |samples: u64| {
        let wanted = number(to_ms).saturating_mul(length).min(samples);
        wanted.saturating_sub(first.saturating_mul(length)).min(totals.frames * length)
    };
    let samples = if whole { Some(heard(archive.samples().unwrap_or(u64::MAX))) } else { None };
    let bytes = copier.finish(samples)?;
    Ok(Made { bytes, frames: totals.frames, duration_ms: totals.duration_ms.into() })
}

/// Writes files one after another as one. All blocks are copied as they are. The header's metadata and created time are those of the
/// first; streams of the same name become one. Files of one stream of whole frames and one depth become such a file.
///
/// # Errors
/// If there are none; they are of several models or coded in several ways; one cannot be read or is damaged; or `out` cannot be written.
pub fn join<S: Read + Seek, W: Write>(archives: &mut [Archive<S>], out: W) -> Result<Made, ArchiveError> {
    let Some((first, others)) = archives.split_first() else { return Err(ArchiveError::Nothing) };
    let mut whole = first.is_whole();
    let tokens = &first.header().tokens;
    let mut header = first.raw().clone();
    for other in others {
        let found = &other.header().tokens;
        if found.id != tokens.id {
            return Err(ArchiveError::OtherModel {
                made: found.bundle_name.clone(),
                made_id: found.id.short(),
                given: tokens.bundle_name.clone(),
                given_id: tokens.id.short(),
            });
        }
        if found.coding != tokens.coding {
            return Err(ArchiveError::OtherCoding);
        }
        whole &= other.is_whole() && found.depth == tokens.depth;
        header.tokens.depth = header.tokens.depth.max(found.depth);
    }
    let mut streams: Vec<Stream> = Vec::new();
    for archive in archives.iter() {
        for stream in with_streams(archive.raw()).streams {
            if !streams.iter().any(|known| known.name == stream.name) {
                let free = |id: &u8| streams.iter().all(|known| known.id != *id);
                let id = Some(stream.id).filter(free).or_else(|| (0..=255).find(free));
                streams.push(Stream { id: id.ok_or(ArchiveError::TooManyStreams)?, name: stream.name });
            }
        }
    }
    if !whole {
        header.streams.clone_from(&streams);
    }
    let mut copier = Copier::begin(out, &header)?;
    let mut samples = Some(0_u64);
    for archive in archives {
        let begin = f64::from(copier.totals().duration_ms);
        let before = copier.totals().frames;
        let own = with_streams(archive.raw()).streams;
        let number = |id: u8| {
            let name = own.iter().find(|stream| stream.id == id).map(|stream| &stream.name);
            streams.iter().find(|stream| Some(&stream.name) == name).map_or(id, |stream| stream.id)
        };
        archive.blocks(0, None, |block| {
            copier.copy(block, number(block.stream), begin + block.start_ms)?;
            Ok(ControlFlow::Continue(()))
        })?;
        // Frames of all but the last file are heard to their end.
        let length = u64::from(archive.header().tokens.frame_samples);
        if copier.totals().frames > before {
            samples = archive.samples().map(|samples| before.saturating_mul(length).saturating_add(samples));
        }
    }
    let totals = copier.totals();
    let bytes = copier.finish(samples.filter(|_| whole))?;
    Ok(Made { bytes, frames: totals.frames, duration_ms: totals.duration_ms.into() })
}
