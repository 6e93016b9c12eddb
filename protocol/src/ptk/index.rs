//! Where in a file which time is, so that nobody need read all of it.

use super::{
    frame::{Claim, KIND_INDEX, MAX_OTHER_BYTES, checksum_fits},
    header::Header,
    number::{append_number, split_number},
};

/// Points lie at least this far apart, milliseconds: whoever seeks reads at most so much in vain. An index takes 0.01 kbps at most.
pub const SPACING_MS: u32 = 60_000;

/// The most points. With more, every other one is left out: an index takes bounded memory however long the file is.
const MOST_POINTS: usize = 1 << 16;

/// The most counts of frames in them together: a file of many streams has fewer points.
const MOST_COUNTS: usize = 1 << 18;

/// A place in a file where a block begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point<'a> {
    /// Bytes before it.
    pub place: u64,
    /// All frames before it ended at this time or earlier, milliseconds after the created time.
    pub time_ms: u32,
    /// How many frames of each stream lie before it, in the order of the [index's streams](Index::streams).
    pub frames: &'a [u64],
}

/// Points of a file, in order, and how many frames its streams have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Numbers of the streams, ascending.
    streams: Vec<u8>,
    /// Frames of each.
    totals: Vec<u64>,
    places: Vec<(u64, u32)>,
    /// As many for each place as there are streams.
    frames: Vec<u64>,
    spacing_ms: u32,
}

impl Index {
    /// That of a file without blocks.
    pub fn new(header: &Header) -> Self {
        let streams = header.ids();
        let totals = vec![0; streams.len()];
        Self { streams, totals, places: Vec::new(), frames: Vec::new(), spacing_ms: SPACING_MS }
    }

    /// Takes the next block: it begins at `place`, all before it ended at `before_ms`, and it has `count` frames of a stream.
    pub fn pass(&mut self, place: u64, before_ms: u32, stream: u8, count: u64) {
        let last = self.places.last().map_or(0, |point| point.1);
        if before_ms.saturating_sub(last) >= self.spacing_ms {
            self.places.push((place, before_ms));
            self.frames.extend_from_slice(&self.totals);
            if self.places.len() > MOST_POINTS || self.frames.len() > MOST_COUNTS {
                self.thin();
            }
        }
        if let Ok(at) = self.streams.binary_search(&stream) {
            self.totals[at] = self.totals[at].saturating_add(count);
        }
    }

    /// Leaves out every other point.
    fn thin(&mut self) {
        let width = self.streams.len();
        self.places = self.places.iter().copied().skip(1).step_by(2).collect();
        self.frames = self.frames.chunks(width).skip(1).step_by(2).flatten().copied().collect();
        self.spacing_ms = self.spacing_ms.saturating_mul(2);
    }

    /// Numbers of the streams, ascending.
    pub fn streams(&self) -> &[u8] {
        &self.streams
    }

    /// How many frames a stream has; none if there is no such stream.
    pub fn total(&self, stream: u8) -> Option<u64> {
        Some(self.totals[self.streams.binary_search(&stream).ok()?])
    }

    /// How many points there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none: the file is shorter than [`SPACING_MS`].
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// A point, by its number.
    pub fn point(&self, number: usize) -> Option<Point<'_>> {
        let &(place, time_ms) = self.places.get(number)?;
        let width = self.streams.len();
        Some(Point { place, time_ms, frames: self.frames.get(number * width..(number + 1) * width)? })
    }

    /// How many points all lie at this time or earlier: what begins then lies behind the last of them.
    pub fn before(&self, time_ms: u64) -> usize {
        self.places.partition_point(|point| u64::from(point.1) <= time_ms)
    }

    /// The payload of its block; none if there are no points, or too many streams for one block.
    pub(super) fn payload(&self) -> Option<Vec<u8>> {
        if self.is_empty() {
            return None;
        }
        let mut thinner = self.clone();
        loop {
            let payload = thinner.bytes();
            if payload.len() <= MAX_OTHER_BYTES {
                return Some(payload);
            }
            if thinner.len() < 2 {
                return None;
            }
            thinner.thin();
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = vec![(self.streams.len() - 1) as u8];
        for (&stream, &total) in self.streams.iter().zip(&self.totals) {
            out.push(stream);
            append_number(total, &mut out);
        }
        let (mut place, mut time, mut frames) = (0, 0, vec![0; self.streams.len()]);
        for point in (0..self.len()).filter_map(|n| self.point(n)) {
            append_number(point.place - place, &mut out);
            append_number(u64::from(point.time_ms - time), &mut out);
            for (now, before) in point.frames.iter().zip(&mut frames) {
                append_number(now - *before, &mut out);
                *before = *now;
            }
            (place, time) = (point.place, point.time_ms);
        }
        out
    }

    /// The index whose block these bytes are, at this place of a file with this header. `None` if there is none, or it is damaged,
    /// or not of this file: then it can be made again from the blocks.
    pub fn parse(bytes: &[u8], place: u64, header: &Header) -> Option<Self> {
        let claim = Claim::of(bytes).filter(|claim| claim.kind == KIND_INDEX && claim.bytes() == bytes.len())?;
        let payload = checksum_fits(bytes).then(|| &bytes[claim.head..claim.head + claim.payload])?;
        let index = Self::of_payload(payload)?;
        let last = index.places.last().map_or(0, |point| point.0);
        (index.streams == header.ids() && last < place).then_some(index)
    }

    fn of_payload(payload: &[u8]) -> Option<Self> {
        let (&count, mut rest) = payload.split_first()?;
        let width = usize::from(count) + 1;
        let (mut streams, mut totals) = (Vec::with_capacity(width), Vec::with_capacity(width));
        for _ in 0..width {
            let (&stream, after) = rest.split_first()?;
            let (total, after) = split_number(after)?;
            if streams.last().is_some_and(|&last| last >= stream) {
                return None;
            }
            streams.push(stream);
            totals.push(total);
            rest = after;
        }
        let mut index = Self { streams, totals, places: Vec::new(), frames: Vec::new(), spacing_ms: SPACING_MS };
        let (mut place, mut time_ms, mut frames) = (0_u64, 0_u32, vec![0_u64; width]);
        while !rest.is_empty() {
            let (ahead, after) = split_number(rest)?;
            let (later, after) = split_number(after)?;
            rest = after;
            // Each lies behind the one before.
            place = place.checked_add(ahead).filter(|_| ahead > 0)?;
            time_ms = time_ms.checked_add(u32::try_from(later).ok()?)?;
            for (frames, &total) in frames.iter_mut().zip(&index.totals) {
                let (more, after) = split_number(rest)?;
                rest = after;
                *frames = frames.checked_add(more).filter(|&frames| frames <= total)?;
            }
            index.places.push((place, time_ms));
            index.frames.extend_from_slice(&frames);
        }
        Some(index)
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
