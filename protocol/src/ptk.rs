//! Token files (`.ptk`): one stream of whole frames, or several with a common clock and what became of each frame, as recordings of
//! calls are. `docs/file.md` has the byte diagrams; this module is their only implementation.
//!
//! A file is a header, blocks of frames, and an end mark, each with its own checksum. It is written from front to back and can be
//! read so too, through pipes as well: whatever is cut off, all whole blocks before are good. At the end of a long one is an index,
//! which can be made again from the blocks. Reading takes bounded memory whatever the bytes are.

mod end;
mod frame;
mod header;
mod index;
mod number;
mod reader;
mod run;
mod writer;

pub use end::{End, Totals};
pub use frame::Claim;
pub use header::{Coding, Header, HeaderTooLarge, Stream, Tokens};
pub use index::{Index, Point, SPACING_MS};
pub use reader::{Block, Item, Reader, Runs};
pub use run::{Codes, Mark, Run};
pub use writer::{BlockTooLarge, Writer};

/// Version of the format.
pub const VERSION: u8 = 1;

/// The most bytes of header fields.
pub const MAX_HEADER_BYTES: usize = (1 << 14) - 1;

/// The most frames in one block: 10 s of frames of 20 ms.
pub const MAX_BLOCK_FRAMES: usize = 500;

/// The most bytes of payload in one block of frames: twice what 500 frames of 32 codes of 16 bits take as they are.
pub const MAX_BLOCK_BYTES: usize = 1 << 16;

/// The name of the stream of files that name none. Its number is 0.
pub const AUDIO: &str = "audio";

/// Why bytes are no token file. The sentence says where, and what to do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// Nothing at all.
    #[error("it is empty")]
    Empty,
    /// Something else.
    #[error("it is not a Parlo token file (.ptk)")]
    NotTokens,
    /// A later format.
    #[error("it has version {0} of the file format, and this program reads version {VERSION}: a newer Parlo wrote it")]
    Version(u8),
    /// A format that there was before any release.
    #[error(
        "a Parlo of before the first release wrote it, in a format that is not read any more: encode its sound again"
    )]
    Early,
    /// A header that no writer makes.
    #[error("its header is damaged: {0}")]
    Header(&'static str),
    /// Tokens coded in a way of later versions.
    #[error("its tokens are coded in a way (number {0}) that this program does not know: a newer Parlo wrote it")]
    Coding(u8),
    /// Bits that changed.
    #[error("it is damaged at byte {offset}, {seconds:.1} s in: the checksum differs; what lies before is whole")]
    Checksum {
        /// Where the block begins.
        offset: u64,
        /// How much speech lies before.
        seconds: f64,
    },
    /// A block that no writer makes.
    #[error("it is damaged at byte {offset}, {seconds:.1} s in: {what}; what lies before is whole")]
    Block {
        /// Where the block begins.
        offset: u64,
        /// How much speech lies before.
        seconds: f64,
        /// What is wrong.
        what: &'static str,
    },
    /// It ends in the middle.
    #[error("it breaks off at byte {offset}, after {seconds:.1} s of speech; what lies before is whole")]
    Truncated {
        /// How many bytes there are.
        offset: u64,
        /// How much whole speech there is.
        seconds: f64,
    },
}

/// Rates, as times of frames follow from them.
#[derive(Debug, Clone, Copy, Default)]
struct Clock {
    rate: u64,
    frame_samples: u64,
}

impl Clock {
    fn of(tokens: &Tokens) -> Self {
        Self { rate: tokens.sample_rate.max(1).into(), frame_samples: tokens.frame_samples.into() }
    }

    /// How long so many frames are, milliseconds, rounded up.
    fn length_ms(self, frames: u64) -> u32 {
        let length = frames.saturating_mul(1000).saturating_mul(self.frame_samples).div_ceil(self.rate.max(1));
        u32::try_from(length).unwrap_or(u32::MAX)
    }

    /// When frame `number` of those without gaps begins, milliseconds.
    fn start_ms(self, number: u64) -> f64 {
        number as f64 * self.frame_samples as f64 * 1000.0 / self.rate.max(1) as f64
    }
}

#[cfg(test)]
mod tests;
