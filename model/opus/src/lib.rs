//! Opus 1.6: what two peers speak when they share no model, and what Parlo is measured against when packets are lost.
//!
//! ```text
//! device, file <-> sample <-> token <-> byte <-> packet <-> network
//!                  ^^^^^^^^^^^^^^^^^^^^^^^^^
//! ```
//!
//! Here an [`OpusFrame`], 1 to [`FRAME_BYTES_MOST`] bytes, is in the place of tokens. Sound is mono `f32` at 16 kHz ([`RATE`]), nominally -1 to 1, in
//! frames of 20 ms ([`FRAME_SAMPLES`]).
//!
//! * [`OpusEncoder`]: frames of samples to Opus frames, 6 to 48 kbps ([`BITRATES`]). [`Protection`] says what it adds against loss; libopus does so
//!   only where it thinks the bitrate suffices, and the limits stand there.
//! * [`OpusDecoder`]: plays a [`Slot`](parlo_tokens::Slot): a frame, a copy of it out of the next packet, or nothing, which is concealed. libopus'
//!   neural parts are in use: NoLACE behind the decoder, deep concealment, deep redundancy (DRED).
//! * [`pack`], [`unpack`]: several frames in one payload.
//! * [`FileDecoder`], [`FileEncoder`]: Opus in files, at any rate that it knows ([`FILE_RATES`]); the decoder for any number of channels.
//!
//! What goes wrong is an [`OpusError`]; after a damaged frame the stream can go on.
//!
//! ```
//! use parlo_opus::{FRAME_SAMPLES, OpusDecoder, OpusEncoder, Protection};
//! use parlo_tokens::Slot;
//!
//! let mut encoder = OpusEncoder::new(24_000, Protection::Fec)?;
//! let mut decoder = OpusDecoder::new()?;
//! let frame = encoder.push(&[0.0; FRAME_SAMPLES])?;
//! assert_eq!(decoder.play(&Slot::Frame(frame))?.len(), FRAME_SAMPLES);
//! // The next one is lost.
//! assert_eq!(decoder.play(&Slot::Missing)?.len(), FRAME_SAMPLES);
//! # Ok::<(), parlo_opus::OpusError>(())
//! ```

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
