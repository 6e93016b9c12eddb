//! The end mark.

use super::{
    Clock,
    frame::{CHECKSUM, Claim, KIND_END, append_block, checksum_fits},
    number::{append_number, split_number, split_small},
};

/// What there is in a file so far, as its end mark says it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Frames, of all streams.
    pub frames: u64,
    /// When the last frame ended, milliseconds after the created time.
    pub duration_ms: u32,
}

/// What an end mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// What there is in the file.
    pub totals: Totals,
    /// Bytes of the index, which lies right before; 0 if there is none.
    pub index: u64,
    /// How many samples the last frames hold beyond the original's end, if it is said.
    pub padding: Option<u64>,
}

impl End {
    /// The most bytes that an end mark takes, which are the last of a file: four numbers and what is around them.
    pub const BYTES: usize = 2 + 10 + 5 + 10 + 10 + CHECKSUM;

    /// Appends it to `out`. For those who cannot go on with a [`Writer`](super::Writer); others [`end`](super::Writer::end) it.
    pub fn append(&self, out: &mut Vec<u8>) {
        let mut payload = Vec::with_capacity(Self::BYTES);
        append_number(self.totals.frames, &mut payload);
        append_number(self.totals.duration_ms.into(), &mut payload);
        append_number(self.index, &mut payload);
        if let Some(padding) = self.padding {
            append_number(padding, &mut payload);
        }
        append_block(KIND_END, &payload, out);
    }

    /// The end mark that a file ends with, if it does, and how many bytes it takes; `tail` are the file's last bytes,
    /// [`BYTES`](Self::BYTES) or all of them. `None` if the file broke off, or a later version wrote more into its end than that: then
    /// all of it is to be read.
    pub fn of(tail: &[u8]) -> Option<(Self, usize)> {
        (0..tail.len()).rev().take(Self::BYTES).find_map(|start| {
            let bytes = &tail[start..];
            let claim = Claim::of(bytes).filter(|claim| claim.kind == KIND_END && claim.bytes() == bytes.len())?;
            let end = checksum_fits(bytes).then(|| Self::parse(&bytes[claim.head..claim.head + claim.payload]))??;
            Some((end, bytes.len()))
        })
    }

    /// What its payload says. What later versions append is passed over.
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        let (frames, rest) = split_number(payload)?;
        let (duration_ms, rest) = split_small(rest)?;
        let (index, rest) = split_number(rest)?;
        let padding = if rest.is_empty() { None } else { Some(split_number(rest)?.0) };
        Some(Self { totals: Totals { frames, duration_ms }, index, padding })
    }

    /// Samples of the original; more than there can be if there are fewer than the padding.
    pub(super) fn samples(&self, clock: Clock) -> Option<u64> {
        let all = self.totals.frames.saturating_mul(clock.frame_samples);
        self.padding.map(|padding| all.checked_sub(padding).unwrap_or(u64::MAX))
    }
}
