//! Opus 1.6 as Parlo's fallback: what two peers speak when they share no model, and what Parlo is measured against when
//! packets are lost.
//!
//! 16 kHz mono in frames of 20 ms. The [`OpusEncoder`] makes an [`OpusFrame`] of each; the [`OpusDecoder`] plays what a
//! `Slot<OpusFrame>` tells: a frame, a copy of it out of the next packet, or nothing, which it makes up. libopus' neural
//! parts are all in use: NoLACE behind the decoder, deep concealment, deep redundancy (DRED).
//!
//! [`FileDecoder`] and [`FileEncoder`] are for Opus in files: any rate that Opus knows, any number of channels.
//!
//! [`pack`] puts several frames into one payload, [`unpack`] takes them out.
//!
//! libopus sends protection only where it thinks the bitrate suffices; [`Protection`] has the limits.

#![deny(unsafe_code)]

mod decoder;
mod encoder;
mod error;
mod file;
mod frame;
mod native;
mod packing;

pub use decoder::OpusDecoder;
pub use encoder::{BITRATES, DRED_DURATIONS, OpusEncoder, Protection};
pub use error::OpusError;
pub use file::{FILE_RATES, FileDecoder, FileEncoder, packet_samples};
pub use frame::{FRAME_BYTES_MOST, OpusFrame};
pub use packing::{pack, unpack};

/// Samples a second, in and out.
pub const RATE: u32 = 16_000;

/// Samples of a frame: 20 ms.
pub const FRAME_SAMPLES: usize = 320;
