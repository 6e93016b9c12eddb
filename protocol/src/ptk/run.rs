//! Runs: frames in a row of which the same is to be said.

use parlo_tokens::{ComfortNoise, MAX_DEPTH};

use super::{
    MAX_BLOCK_FRAMES,
    number::{append_number, split_small},
};

/// Whether codes follow.
const HAS_CODES: u8 = 0x80;
/// Whether a description of noise follows.
const HAS_NOISE: u8 = 0x40;

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
        if self.count == 0 {
            return false;
        }
        let codes = if self.codes.is_some() { HAS_CODES } else { 0 };
        let noise = if self.noise.is_some() { HAS_NOISE } else { 0 };
        out.push(self.mark.number() | codes | noise);
        append_number(self.count as u64, out);
        if let Some(codes) = &self.codes {
            if !(1..=MAX_DEPTH).contains(&usize::from(codes.depth)) {
                return false;
            }
            out.push(codes.depth);
            append_number(codes.payload.len() as u64, out);
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
        let (count, mut rest) = split_small::<usize>(rest)?;
        if count == 0 {
            return None;
        }
        let mut codes = None;
        if first & HAS_CODES != 0 {
            let (&depth, after) = rest.split_first()?;
            let (length, after) = split_small::<usize>(after)?;
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

/// Stream, time and runs of a block's payload.
pub(super) fn split_fields(payload: &[u8]) -> Option<(u8, u32, &[u8])> {
    let (&stream, rest) = payload.split_first()?;
    let (time_ms, runs) = split_small(rest)?;
    Some((stream, time_ms, runs))
}

/// How many frames these runs hold, if all of them are runs, none deeper than that, and a block can hold so many.
pub(super) fn frames_in(mut runs: &[u8], depth: usize) -> Option<usize> {
    let mut frames = 0_usize;
    while !runs.is_empty() {
        let (run, rest) = Run::split(runs)?;
        if run.codes.is_some_and(|codes| usize::from(codes.depth) > depth) {
            return None;
        }
        frames = frames.checked_add(run.count)?;
        runs = rest;
    }
    (1..=MAX_BLOCK_FRAMES).contains(&frames).then_some(frames)
}
