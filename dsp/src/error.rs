/// Why a chain cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DspError {
    /// A sample rate out of range.
    #[error("a sample rate of {0} Hz is not possible; 4000 to 384000 Hz are")]
    Rate(u32),
    /// Too many channels, or none.
    #[error("{0} channels are not possible; 1 to 64 are")]
    Channels(u16),
    /// A channel that is not there.
    #[error("there is no channel {asked}; there {} {there}", if *.there == 1 { "is" } else { "are" })]
    NoChannel {
        /// Which, from 1 on.
        asked: u16,
        /// How many there are.
        there: u16,
    },
    /// A frame or block without samples, or of more than 2^20.
    #[error("blocks of {0} samples are not possible; 1 to 1048576 are")]
    Block(usize),
    /// A rate that the stages before the encoder do not take.
    #[error("the stages before the encoder take 16000, 32000 or 48000 Hz, not {0} Hz; resample first")]
    StageRate(u32),
    /// The resampling library refused.
    #[error("cannot convert {from} Hz to {to} Hz: {reason}")]
    Resampler {
        /// Rate that comes in.
        from: u32,
        /// Rate that goes out.
        to: u32,
        /// What the library said.
        reason: String,
    },
}

pub(crate) fn check_rate(hz: u32) -> Result<(), DspError> {
    if (4_000..=384_000).contains(&hz) { Ok(()) } else { Err(DspError::Rate(hz)) }
}

pub(crate) fn check_channels(channels: u16) -> Result<(), DspError> {
    if (1..=64).contains(&channels) { Ok(()) } else { Err(DspError::Channels(channels)) }
}

pub(crate) fn check_block(samples: usize) -> Result<(), DspError> {
    if (1..=1 << 20).contains(&samples) { Ok(()) } else { Err(DspError::Block(samples)) }
}
