//! Parlo's neural codec: samples to tokens, tokens to bytes, and back.
//!
//! ```text
//! device, file <-> sample <-> token <-> byte <-> packet <-> network
//!                  ^^^^^^^^^^^^^^^^^^^^^^^^^
//! ```
//!
//! * [`Bundle`]: a folder that holds one model whole; [`locate_bundle`] finds the one to use. [`Runtime`]: the ONNX Runtime library, which runs it.
//! * [`Encoder`]: each frame of samples (mono `f32`, nominally -1 to 1, at the bundle's rate) to a [`TokenFrame`](parlo_tokens::TokenFrame).
//!   [`Decoder`]: token frames to samples, [`Audio::delay_samples`] later, and sound for frames that were lost. Each owns the state of one stream,
//!   is `Send`, and takes one frame at a time or a few.
//! * [`FrameCoder`]: runs of token frames to bytes and back. A [`PlainCoder`] packs codes as they are; an [`EntropyCoder`], if the bundle has an
//!   [`EntropyModel`], makes probable ones short. [`PacketCoder`] is whichever the bundle has.
//! * [`encode_recording`], [`decode_recording`]: whole recordings, with every bundle. Bundles that were made of other projects' codecs may take nothing
//!   less ([`Bundle::whole`]); docs/bundle.md has what a bundle can be.
//!
//! What goes wrong with a model or its input is a [`ModelError`]; bytes that hold no frames of its codebooks are a [`CodingError`]. Nothing here knows of
//! networks or sound cards.
//!
//! ```no_run
//! use parlo_model::{Bundle, Decoder, Encoder, EncoderConfig, Runtime};
//!
//! // SAFETY: first thing in `main`: no other thread runs yet.
//! unsafe { parlo_model::disable_telemetry() };
//! let runtime = Runtime::load(None)?;
//! let bundle = Bundle::open(&parlo_model::locate_bundle(None)?)?;
//! let mut encoder = Encoder::new(&runtime, &bundle, EncoderConfig::default())?;
//! let mut decoder = Decoder::new(&runtime, &bundle)?;
//! let silence = vec![0.0; bundle.manifest().audio.frame_samples];
//! let tokens = encoder.push(&silence)?;
//! let audio = decoder.push(&tokens)?;
//! assert_eq!(audio.len(), silence.len());
//! # Ok::<(), parlo_model::ModelError>(())
//! ```

mod bundle;
mod codes;
mod decoder;
mod encoder;
mod entropy;
mod error;
mod graph;
mod identity;
mod locate;
mod loss_predictor;
mod manifest;
mod offline;
mod onnx;
mod packet_coder;
mod plain_coder;
mod quantizer;
mod recording;
mod runtime;
mod telemetry;
mod tensor_io;

pub use bundle::Bundle;
pub use decoder::Decoder;
pub use encoder::{Encoder, EncoderConfig};
pub use entropy::{EntropyCoder, EntropyModel, Kernel, PacketShape, Prediction};
pub use error::ModelError;
pub use locate::{Found, bundle_folders, find_bundles, locate_bundle};
pub use manifest::{
    Audio, DecoderGraph, EncoderGraph, Entropy, FileEntry, Manifest, Quantizer, StateTensor, Tensor, Tokens,
};
pub use offline::{WholeDecoder, WholeEncoder};
pub use packet_coder::PacketCoder;
pub use plain_coder::{CodingError, FrameCoder, PlainCoder};
pub use recording::{decode_recording, encode_recording};
pub use runtime::Runtime;
pub use telemetry::disable_telemetry;
