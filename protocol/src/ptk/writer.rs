//! Writing, part by part.

use super::{
    Clock, MAX_BLOCK_BYTES, MAX_BLOCK_FRAMES,
    end::{End, Totals},
    frame::{KIND_FRAMES, KIND_INDEX, KIND_WHOLE, append_block},
    header::{Header, HeaderTooLarge},
    index::Index,
    number::append_number,
    run::Run,
};

/// Why a block cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a block of {frames} frames and {bytes} bytes is not possible; up to {MAX_BLOCK_FRAMES} and {MAX_BLOCK_BYTES} are"
)]
pub struct BlockTooLarge {
    /// Frames.
    pub frames: usize,
    /// Bytes of payload.
    pub bytes: usize,
}

/// Makes the bytes of a file, part by part. Takes the same little memory however long the file becomes.
#[derive(Debug)]
pub struct Writer {
    clock: Clock,
    /// Whether the file has one stream of whole frames.
    whole: bool,
    totals: Totals,
    /// Bytes of the file so far.
    place: u64,
    index: Index,
    /// Of the block at hand.
    payload: Vec<u8>,
}

impl Writer {
    /// Begins a file: appends its header to `out`. A bundle's name longer than 255 bytes is cut. A header without streams makes a
    /// file of one stream of whole frames, for [`whole`](Self::whole); any other one of streams, for [`block`](Self::block).
    ///
    /// # Errors
    /// If there is more to say than fits a header. `out` is then as before.
    pub fn begin(header: &Header, out: &mut Vec<u8>) -> Result<Self, HeaderTooLarge> {
        let start = out.len();
        header.append(out)?;
        Ok(Self {
            clock: Clock::of(&header.tokens),
            whole: header.is_whole(),
            totals: Totals::default(),
            place: (out.len() - start) as u64,
            index: Index::new(header),
            payload: Vec::new(),
        })
    }

    /// Appends a block of frames of a stream to `out`: the first frame began `time_ms` after the header's created time, and
    /// the others follow it without gaps, run by run. Blocks of a stream are to come in order of their times.
    ///
    /// # Errors
    /// If there are too many frames or bytes for one block, or none; or the header named no stream. `out` is then as before.
    pub fn block(
        &mut self,
        stream: u8,
        time_ms: u32,
        runs: &[Run<'_>],
        out: &mut Vec<u8>,
    ) -> Result<(), BlockTooLarge> {
        let count = runs.iter().map(|run| run.count).sum();
        self.payload.clear();
        self.payload.push(stream);
        append_number(time_ms.into(), &mut self.payload);
        let fit = runs.iter().all(|run| run.append(&mut self.payload));
        let end_ms = time_ms.saturating_add(self.clock.length_ms(count as u64));
        self.append(KIND_FRAMES, fit && !self.whole, (stream, count, end_ms), out)
    }

    /// Appends a block of `count` frames to `out`, all of the header's depth, which follow those before without a gap; the model's
    /// coder made their `codes`.
    ///
    /// # Errors
    /// If there are too many frames or bytes for one block, or none; or the header named streams. `out` is then as before.
    pub fn whole(&mut self, count: usize, codes: &[u8], out: &mut Vec<u8>) -> Result<(), BlockTooLarge> {
        self.payload.clear();
        append_number(count as u64, &mut self.payload);
        self.payload.extend_from_slice(codes);
        let end_ms = self.clock.length_ms(self.totals.frames + count as u64);
        self.append(KIND_WHOLE, self.whole, (0, count, end_ms), out)
    }

    /// Appends the payload as a block of a stream, with so many frames, the last of which ends then.
    fn append(
        &mut self,
        kind: u8,
        possible: bool,
        (stream, frames, end_ms): (u8, usize, u32),
        out: &mut Vec<u8>,
    ) -> Result<(), BlockTooLarge> {
        let bytes = self.payload.len();
        if !possible || !(1..=MAX_BLOCK_FRAMES).contains(&frames) || bytes > MAX_BLOCK_BYTES {
            return Err(BlockTooLarge { frames, bytes });
        }
        self.index.pass(self.place, self.totals.duration_ms, stream, frames as u64);
        let start = out.len();
        append_block(kind, &self.payload, out);
        self.place += (out.len() - start) as u64;
        self.totals.frames += frames as u64;
        self.totals.duration_ms = self.totals.duration_ms.max(end_ms);
        Ok(())
    }

    /// When the last frame so far ends, milliseconds after the created time.
    pub fn duration_ms(&self) -> u32 {
        self.totals.duration_ms
    }

    /// What there is so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Ends the file: appends an index, if the file is long enough to need one, and its end mark to `out`. Nothing may follow.
    /// `samples` is the length of the original at the bundle's rate, of files of one stream of whole frames: the last frames may
    /// be filled up beyond them.
    pub fn end(&self, samples: Option<u64>, out: &mut Vec<u8>) {
        let start = out.len();
        if let Some(payload) = self.index.payload() {
            append_block(KIND_INDEX, &payload, out);
        }
        let index = (out.len() - start) as u64;
        let all = self.totals.frames.saturating_mul(self.clock.frame_samples);
        let padding = samples.map(|samples| all.saturating_sub(samples));
        End { totals: self.totals, index, padding }.append(out);
    }
}
