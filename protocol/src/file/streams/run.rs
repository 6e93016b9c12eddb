//! Runs: frames in a row of which the same is to be said.

use parlo_tokens::{ComfortNoise, MAX_DEPTH};

/// Whether codes follow.
const HAS_CODES: u8 = 0x80;
/// Whether a description of noise follows.
const HAS_NOISE: u8 = 0x40;

/// The largest number that [`append_number`] writes.
const LARGEST: usize = 0x7FFF;

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mark {
    /// It was said and sent, or came whole.
    Real,
    /// It was said, but nobody spoke: it was not sent, unless with the word that followed.
    Unsent,
    /// A coarse copy of it came.
    Coarse,
    /// It did not come: what was to be expected was heard.
    Predicted,
    /// It did not come, and too much before it neither: nothing was heard.
    Faded,
    /// The sender said that nobody spoke: comfort noise was heard.
    Silent,
    /// Play-out waited for it: what was to be expected was heard.
    Held,
    /// Nothing had come yet.
    Waiting,
    /// Whoever recorded could not keep up.
    Gap,
    /// Something of later versions, 9 to 63.
    Other(u8),
}

impl Mark {
    /// Its number in files.
    pub fn number(self) -> u8 {
        match self {
            Self::Real => 0,
            Self::Unsent => 1,
            Self::Coarse => 2,
            Self::Predicted => 3,
            Self::Faded => 4,
            Self::Silent => 5,
            Self::Held => 6,
            Self::Waiting => 7,
            Self::Gap => 8,
            Self::Other(number) => number & 0x3F,
        }
    }

    fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Real,
            1 => Self::Unsent,
            2 => Self::Coarse,
            3 => Self::Predicted,
            4 => Self::Faded,
            5 => Self::Silent,
            6 => Self::Held,
            7 => Self::Waiting,
            8 => Self::Gap,
            other => Self::Other(other),
        }
    }
}

/// Frames in a row of which the same is to be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run<'a> {
    /// What became of them.
    pub mark: Mark,
    /// How many there are.
    pub count: usize,
    /// Their codes, if there are any.
    pub codes: Option<Codes<'a>>,
    /// What the background was like, if it was said.
    pub noise: Option<ComfortNoise>,
}

/// Codes of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codes<'a> {
    /// Codes of each frame, 1 to 32.
    pub depth: u8,
    /// The frames, as the model's coder made them.
    pub payload: &'a [u8],
}

impl<'a> Run<'a> {
    /// Appends its bytes; gives whether it is one that can be written. If not, a part of it may have been.
    pub(super) fn append(&self, out: &mut Vec<u8>) -> bool {
        let length = self.codes.map_or(0, |codes| codes.payload.len());
        if self.count == 0 || self.count > LARGEST || length > LARGEST {
            return false;
        }
        let codes = if self.codes.is_some() { HAS_CODES } else { 0 };
        let noise = if self.noise.is_some() { HAS_NOISE } else { 0 };
        out.push(self.mark.number() | codes | noise);
        append_number(self.count, out);
        if let Some(codes) = &self.codes {
            if !(1..=MAX_DEPTH).contains(&usize::from(codes.depth)) {
                return false;
            }
            out.push(codes.depth);
            append_number(length, out);
            out.extend_from_slice(codes.payload);
        }
        if let Some(noise) = &self.noise {
            out.extend_from_slice(&noise.to_bytes());
        }
        true
    }

    /// The run that bytes begin with, and what follows it. `None` if no writer makes one like it.
    pub(super) fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (&first, rest) = bytes.split_first()?;
        let (count, mut rest) = split_number(rest)?;
        if count == 0 {
            return None;
        }
        let mut codes = None;
        if first & HAS_CODES != 0 {
            let (&depth, after) = rest.split_first()?;
            let (length, after) = split_number(after)?;
            let (payload, after) = after.split_at_checked(length)?;
            if !(1..=MAX_DEPTH).contains(&usize::from(depth)) {
                return None;
            }
            (codes, rest) = (Some(Codes { depth, payload }), after);
        }
        let mut noise = None;
        if first & HAS_NOISE != 0 {
            let (bytes, after) = rest.split_first_chunk::<{ ComfortNoise::BYTES }>()?;
            (noise, rest) = (Some(ComfortNoise::from_bytes(*bytes)?), after);
        }
        Some((Self { mark: Mark::from_number(first & 0x3F), count, codes, noise }, rest))
    }
}

/// One byte for numbers below 128, else two, the first with its highest bit set.
fn append_number(number: usize, out: &mut Vec<u8>) {
    if number >= 0x80 {
        out.push(0x80 | (number >> 8) as u8);
    }
    out.push(number as u8);
}

fn split_number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        return Some((first.into(), rest));
    }
    let (&second, rest) = rest.split_first()?;
    Some((usize::from(first & 0x7F) << 8 | usize::from(second), rest))
}
