use crate::TokenFrame;

/// What is known about a frame at the moment it must be heard.
///
/// The decoder is told which kind of evidence it gets, because the best sound to make differs: real codes are
/// rendered, a gap is concealed. Marked non-exhaustive: coarse copies and predicted frames will join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Slot {
    /// The frame as the sender coded it.
    Frame(TokenFrame),
    /// Nothing came in time: the decoder conceals.
    Missing,
}
