//! Waveform to tokens to bits, and back: Parlo's neural codec.
//!
//! A [`Bundle`] is a folder that holds one model whole. From it come an [`Encoder`], which turns each frame of audio into
//! a [`TokenFrame`](parlo_tokens::TokenFrame), and a [`Decoder`], which turns token frames into audio. Both are plain
//! structs that own all their state: one per stream, `Send`, one frame per call. A [`FrameCoder`] turns runs of token
//! frames into bytes: a [`PlainCoder`] packs them as they are, and an [`EntropyCoder`], if the bundle has an
//! [`EntropyModel`], by how probable they are. Nothing here knows of networks or sound cards.
//!
//! ```no_run
//! use parlo_model::{Bundle, Decoder, Encoder, EncoderConfig, Runtime};
//!
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
mod coding;
mod decoder;
mod encoder;
mod entropy;
mod error;
mod foresight;
mod graph;
mod locate;
mod manifest;
mod packets;
mod quantizer;
mod runtime;

pub use bundle::Bundle;
pub use coding::{CodingError, FrameCoder, PlainCoder};
pub use decoder::Decoder;
pub use encoder::{Encoder, EncoderConfig};
pub use entropy::{EntropyCoder, EntropyModel, Kernel, Prediction, Shape};
pub use error::ModelError;
pub use locate::{bundle_folders, find_bundle, locate_bundle};
pub use manifest::{Audio, Entropy, FileEntry, Manifest};
pub use packets::PacketCoder;
pub use runtime::Runtime;
