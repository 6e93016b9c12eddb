/// Why Opus frames cannot be made or played. Each message says what is wrong and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpusError {
    /// A bitrate that Parlo does not ask of Opus.
    #[error("Opus cannot be set to {asked} bits a second here; give {least} to {most}")]
    Bitrate {
        /// What was asked for.
        asked: u32,
        /// The lowest, bits a second.
        least: u32,
        /// The highest, bits a second.
        most: u32,
    },
    /// More loss than there can be.
    #[error("{0} percent of the packets cannot be lost; give 0 to 100")]
    Loss(u8),
    /// A longer past than deep redundancy can carry, or a shorter one.
    #[error("deep redundancy cannot reach back {asked} times 10 ms; give {least} to {most}")]
    Redundancy {
        /// What was asked for, in steps of 10 ms.
        asked: u8,
        /// The shortest, in steps of 10 ms.
        least: u8,
        /// The longest, in steps of 10 ms.
        most: u8,
    },
    /// Audio of the wrong length.
    #[error("a frame for Opus has {expected} samples (20 ms at 16 kHz), not {found}")]
    FrameLength {
        /// Samples of a frame.
        expected: usize,
        /// Samples given.
        found: usize,
    },
    /// Infinite or not-a-number samples went in, or came out of the decoder.
    #[error("{0} holds a sample that is not a finite number")]
    NotFinite(&'static str),
    /// An Opus packet with no bytes, or more than a frame may have.
    #[error("an Opus frame has 1 to {most} bytes, not {found}; the packet comes from another program, or is damaged")]
    Bytes {
        /// Bytes given.
        found: usize,
        /// The most there may be.
        most: usize,
    },
    /// An Opus packet that does not last 20 ms by its own header.
    #[error(
        "an Opus frame here lasts 20 ms, which this one's header denies; it comes from another program, or is damaged"
    )]
    Duration,
    /// Packed frames that do not add up.
    #[error("{bytes} bytes do not hold {count} Opus frames: {reason}; the packet is damaged")]
    Packing {
        /// Bytes of the payload.
        bytes: usize,
        /// Frames that it should hold.
        count: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// libopus refuses something, or fails.
    #[error("libopus cannot {doing}: {reason}")]
    Library {
        /// What it was to do.
        doing: &'static str,
        /// What it said.
        reason: &'static str,
    },
}
