//! Waveform to tokens to bits, and back: Parlo's neural codec.
//!
//! A [`Bundle`] is a folder that holds one model whole. From it come an [`Encoder`], which turns each frame of audio into
//! a [`TokenFrame`](parlo_tokens::TokenFrame), and a [`Decoder`], which turns token frames into audio. Both are plain
//! structs that own all their state: one per stream, `Send`, one frame per call or a few. A [`FrameCoder`] turns runs of token
//! frames into bytes: a [`PlainCoder`] packs them as they are, and an [`EntropyCoder`], if the bundle has an
//! [`EntropyModel`], by how probable they are. Nothing here knows of networks or sound cards.
//!
//! Bundles made from other projects' codecs fit the same slot: docs/bundle.md has what they can be. Some take whole recordings only;
//! [`encode_recording`] and [`decode_recording`] work with every bundle.
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
    Audio, DecoderGraph, EncoderGraph, Entropy, FileEntry, Manifest, Quantizer, State as StateTensor, Tensor, Tokens,
};
pub use offline::{WholeDecoder, WholeEncoder};
pub use packet_coder::PacketCoder;
pub use plain_coder::{CodingError, FrameCoder, PlainCoder};
pub use recording::{decode_recording, encode_recording};
pub use runtime::Runtime;
pub use telemetry::disable_telemetry;
