//! Several frames in one payload: the lengths of all but the last, then the frames. The payload's own end tells the
//! last one's length. Lengths are written as in RFC 6716 section 3.2.1: one byte up to 251, else two.

use crate::{
    error::OpusError,
    frame::{FRAME_BYTES_MOST, OpusFrame},
};

/// The longest length of one byte.
const ONE_BYTE: u8 = 251;

/// Writes frames behind what `out` holds: their bytes, and one byte (two above 251) for each but the last.
pub fn pack(frames: &[OpusFrame], out: &mut Vec<u8>) {
    let Some((_, but_last)) = frames.split_last() else { return };
    let lengths: usize =
        but_last.iter().map(|frame| 1 + usize::from(frame.as_bytes().len() > usize::from(ONE_BYTE))).sum();
    out.reserve(lengths + frames.iter().map(|frame| frame.as_bytes().len()).sum::<usize>());
    for frame in but_last {
        // A frame's length fits a byte by its type.
        let length = frame.as_bytes().len() as u8;
        out.push(length);
        if length > ONE_BYTE {
            // 252 to 255, as four times the second byte and the first: the second is 0 up to 255.
            out.push(0);
        }
    }
    for frame in frames {
        out.extend_from_slice(frame.as_bytes());
    }
}

/// Reads `count` frames from a payload that holds them and nothing else, and puts them behind what `out` holds.
///
/// What [`pack`] never writes is refused, so that a payload has one reading and one writing.
///
/// # Errors
/// If the payload does not hold as many frames, or more, or one that is none. `out` is then as it was.
pub fn unpack(payload: &[u8], count: usize, out: &mut Vec<OpusFrame>) -> Result<(), OpusError> {
    let refused = |reason| OpusError::Packing { bytes: payload.len(), count, reason };
    if count == 0 {
        return if payload.is_empty() { Ok(()) } else { Err(refused("none are announced")) };
    }
    // Each frame but the last takes two bytes at the least. This bounds what a few bytes can have allocated.
    if count > payload.len().div_ceil(2) {
        return Err(refused("there are too few"));
    }
    let mut lengths = payload;
    let mut total = 0_usize;
    for _ in 1..count {
        total += take_length(&mut lengths).ok_or(refused("a length is cut off, or not possible"))?;
    }
    let last = lengths.len().checked_sub(total).ok_or(refused("there are too few"))?;
    if !(1..=FRAME_BYTES_MOST).contains(&last) {
        return Err(refused("the last frame is empty, or too long"));
    }
    let before = out.len();
    out.reserve_exact(count);
    let (mut headers, mut bytes) = (payload, lengths);
    for _ in 1..count {
        // The lengths were read before; here they cannot fail.
        let length = take_length(&mut headers).unwrap_or(0);
        let (frame, rest) = bytes.split_at_checked(length).ok_or(refused("there are too few"))?;
        bytes = rest;
        push(frame, before, out)?;
    }
    push(bytes, before, out)
}

/// Puts one frame behind the others, or takes back all since `before`.
fn push(frame: &[u8], before: usize, out: &mut Vec<OpusFrame>) -> Result<(), OpusError> {
    match OpusFrame::new(frame) {
        Ok(frame) => {
            out.push(frame);
            Ok(())
        }
        Err(error) => {
            out.truncate(before);
            Err(error)
        }
    }
}

/// Takes a frame's length off the front, if there is a whole one that a frame can have.
fn take_length(bytes: &mut &[u8]) -> Option<usize> {
    let (&first, rest) = bytes.split_first()?;
    *bytes = rest;
    if first > ONE_BYTE {
        let (&second, rest) = rest.split_first()?;
        *bytes = rest;
        if second != 0 {
            return None;
        }
    }
    (first > 0).then_some(usize::from(first))
}

#[cfg(test)]
#[path = "packing_tests.rs"]
mod tests;
