//! What is around every block: its kind, its length, and a checksum.

use parlo_tokens::MAX_DEPTH;

use super::{
    MAX_BLOCK_BYTES,
    number::{LENGTH_BYTES, Length, append_number, length, split_small},
    run::{frames_in, split_fields},
};

/// Frames of a stream, with their time and what became of them.
pub(super) const KIND_FRAMES: u8 = 1;
pub(super) const KIND_END: u8 = 2;
pub(super) const KIND_INDEX: u8 = 3;
/// Whole frames of files of one stream.
pub(super) const KIND_WHOLE: u8 = 4;

/// CRC32C.
pub(super) const CHECKSUM: usize = 4;

/// The most bytes of payload of an index, and of kinds of later versions.
pub(super) const MAX_OTHER_BYTES: usize = 1 << 20;

/// Appends a block with this payload.
pub(super) fn append_block(kind: u8, payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.push(kind);
    append_number(payload.len() as u64, out);
    out.extend_from_slice(payload);
    append_checksum(start, out);
}

/// Appends the checksum of all from `start` on.
pub(super) fn append_checksum(start: usize, out: &mut Vec<u8>) {
    let checksum = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&checksum.to_be_bytes());
}

/// Whether the last four bytes are the CRC32C of those before.
pub(super) fn checksum_fits(bytes: &[u8]) -> bool {
    bytes
        .split_last_chunk::<CHECKSUM>()
        .is_some_and(|(content, sum)| crc32c::crc32c(content) == u32::from_be_bytes(*sum))
}

/// What bytes at which a block may begin say of it. Nothing but their checksum shows whether it is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    pub(super) kind: u8,
    /// Bytes before the payload, and of it.
    pub(super) head: usize,
    pub(super) payload: usize,
}

impl Claim {
    /// The most bytes that it takes to know it.
    pub const BYTES: usize = 1 + LENGTH_BYTES;

    /// What these bytes say. Nothing yet if they break off before; an error if no block says that.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, &'static str> {
        let Some((&kind, rest)) = bytes.split_first() else { return Ok(None) };
        let known = [KIND_FRAMES, KIND_END, KIND_WHOLE].contains(&kind);
        let most = if known { MAX_BLOCK_BYTES } else { MAX_OTHER_BYTES };
        match length(rest) {
            Length::Of(payload, bytes) if payload <= most => Ok(Some(Self { kind, head: 1 + bytes, payload })),
            Length::Unfinished => Ok(None),
            _ => Err("a block claims to be larger than any is"),
        }
    }

    /// What these bytes say, [`BYTES`](Self::BYTES) of them or all that there are. `None` if no block begins so.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        Self::parse(bytes).ok().flatten()
    }

    /// All bytes of the block.
    pub fn bytes(&self) -> usize {
        self.head + self.payload + CHECKSUM
    }

    /// Whether it is of a kind of this version.
    pub fn is_known(&self) -> bool {
        [KIND_FRAMES, KIND_END, KIND_INDEX, KIND_WHOLE].contains(&self.kind)
    }

    /// Of a block of whole frames: how many it has, and their codes, as far as these bytes go, which may break off.
    pub fn whole_part<'b>(&self, block: &'b [u8]) -> Option<(usize, &'b [u8])> {
        let end = (self.head + self.payload).min(block.len());
        let (count, codes) = split_small::<u16>(block.get(self.head..end)?).filter(|_| self.kind == KIND_WHOLE)?;
        Some((count.into(), codes))
    }

    /// How many frames it seems to have, by its bytes, some of which may have changed.
    pub fn frames(&self, block: &[u8]) -> Option<u64> {
        let payload = block.get(self.head..self.head + self.payload)?;
        match self.kind {
            KIND_WHOLE => split_small::<u16>(payload).map(|(count, _)| count.into()),
            KIND_FRAMES => frames_in(split_fields(payload)?.2, MAX_DEPTH).map(|count| count as u64),
            _ => None,
        }
    }
}
