use crate::{ComfortNoise, TokenFrame};

/// What is known about a frame at the moment it must be heard, best first.
///
/// The decoder is told which kind of evidence it gets, because the best sound to make differs. `F` is what a frame is
/// coded as: tokens, or another codec's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot<F = TokenFrame> {
    /// The frame as the sender coded it.
    Frame(F),
    /// Less of it, out of a later packet: the coarsest codes of a frame whose own packet was lost.
    Coarse(F),
    /// The sender said that nobody speaks, and what the background is like.
    Silence(ComfortNoise),
    /// Nothing came in time: the decoder predicts, and fades.
    Missing,
}
