//! What a frame that is played was made of, and how the API and files call it.

use parlo_api::Mark;
use parlo_protocol::ptk;

/// What a frame that is played was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FrameOrigin {
    /// Nothing has come yet.
    Waiting,
    /// The frame.
    Real,
    /// A coarse copy.
    Coarse,
    /// What was to be expected.
    Predicted,
    /// Nothing any more: too much is missing.
    Faded,
    /// Comfort noise.
    Silent,
    /// What was to be expected, while the frame may still come.
    Held,
}

impl FrameOrigin {
    /// As clients are told of it; none of nothing that has come yet.
    pub(crate) fn to_api(self) -> Option<Mark> {
        Some(match self {
            Self::Waiting => return None,
            Self::Real => Mark::Real,
            Self::Coarse => Mark::Coarse,
            Self::Predicted => Mark::Predicted,
            Self::Faded => Mark::Faded,
            Self::Silent => Mark::Silent,
            Self::Held => Mark::Held,
        })
    }
}

impl From<FrameOrigin> for ptk::Mark {
    fn from(origin: FrameOrigin) -> Self {
        match origin {
            FrameOrigin::Waiting => Self::Waiting,
            FrameOrigin::Real => Self::Real,
            FrameOrigin::Coarse => Self::Coarse,
            FrameOrigin::Predicted => Self::Predicted,
            FrameOrigin::Faded => Self::Faded,
            FrameOrigin::Silent => Self::Silent,
            FrameOrigin::Held => Self::Held,
        }
    }
}
