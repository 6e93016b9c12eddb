//! Types of tokens, which the codec (`parlo-model`) and the wire and file formats (`parlo-protocol`) share.
//!
//! ```text
//! device, file <-> sample <-> token <-> byte <-> packet <-> network
//!                             ^^^^^
//! ```
//!
//! * [`TokenFrame`]: the codes of one frame (20 ms, with the model that ships), one code of 16 bits for each codebook in use, coarsest first;
//!   1 to [`MAX_DEPTH`] of them.
//! * [`CodeLayout`]: how many entries each codebook has, 2 to 65536. It tells which frames are possible, and how many bits they take.
//! * [`Slot`]: what there is of a frame when it must be heard: the frame, a coarse copy, silence, or nothing.
//! * [`ComfortNoise`]: level and spectrum of the background, as RFC 3389 has them.
//! * [`FrameSet`]: numbers of frames that both sides of a call hold, none [`WINDOW`] or more older than the newest.
//! * [`TokensId`], [`TokensPrefix`], [`BundleId`]: which tokens, and which bundle.
//!
//! Values that cannot be are refused when they are made: [`FrameError`], [`LayoutError`], [`ParseIdError`].
//!
//! ```
//! use parlo_tokens::{CodeLayout, TokenFrame};
//!
//! let layout = CodeLayout::new(&[1024; 12])?;
//! let frame = TokenFrame::new(&[7, 1023, 512, 3, 0, 99])?;
//! assert!(layout.admits(&frame));
//! assert_eq!(layout.frame_bits(frame.depth()), 60);
//! assert_eq!(frame.truncated(2).codes(), [7, 1023]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bundle_id;
mod comfort_noise;
mod digest;
mod frame;
mod frame_set;
mod layout;
mod slot;
mod tokens_id;

pub use bundle_id::BundleId;
pub use comfort_noise::{ComfortNoise, NOISE_ORDER};
pub use digest::ParseIdError;
pub use frame::{FrameError, TokenFrame};
pub use frame_set::{FrameSet, WINDOW};
pub use layout::{CodeLayout, LayoutError};
pub use slot::Slot;
pub use tokens_id::{TokensId, TokensPrefix};

/// The most codebooks that a bundle may have. The wire format's depth field has five bits.
pub const MAX_DEPTH: usize = 32;
