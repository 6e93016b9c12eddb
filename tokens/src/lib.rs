//! The few types that the model (`parlo-model`) and the wire and file formats (`parlo-protocol`) share.
//!
//! A *token frame* is a short stretch of speech (20 ms, with the model that ships) as the model sees it: one code per
//! codebook, coarsest first. Neither side needs
//! to know how the other works; both need to agree on this.

mod bundle_id;
mod digest;
mod frame;
mod frame_set;
mod layout;
mod noise;
mod slot;
mod tokens_id;

pub use bundle_id::BundleId;
pub use digest::ParseIdError;
pub use frame::{FrameError, TokenFrame};
pub use frame_set::{FrameSet, WINDOW};
pub use layout::{CodeLayout, LayoutError};
pub use noise::{ComfortNoise, NOISE_ORDER};
pub use slot::Slot;
pub use tokens_id::{TokensId, TokensPrefix};

/// The most codebooks that a bundle may have. The wire format's depth field has five bits.
pub const MAX_DEPTH: usize = 32;
