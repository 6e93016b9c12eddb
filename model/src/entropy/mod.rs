//! Token frames in fewer bits: what a model finds likely takes little room.
//!
//! A small transformer, in integers from end to end, says how probable each code is, given earlier frames and its own
//! frame's coarser codes; a range coder turns that into bytes. A frame that is known is a *memory*: keys and values for
//! each layer, made of its codes alone, so that they are the same whatever else is known. A frame to be coded is a
//! *question* that attends to the memories it may use, layer by layer; one small network per codebook takes the *answer*
//! and the codes so far to the logits of the next.

mod arithmetic;
mod attention;
mod coder;
mod distribution;
mod kernel;
mod kv_cache;
mod matrix;
mod network;
mod range;
mod tensors;
mod weights;

use std::{path::Path, sync::Arc};

use parlo_tokens::CodeLayout;

pub use coder::{EntropyCoder, PacketShape};
pub use distribution::Prediction;
pub use kernel::Kernel;

use crate::error::ModelError;
use weights::Weights;

/// What is known of how token frames follow one another: probabilities of codes.
///
/// Cloning is cheap: clones share the weights. Each [`EntropyCoder`] is made of one.
#[derive(Debug, Clone)]
pub struct EntropyModel {
    weights: Arc<Weights>,
}

impl EntropyModel {
    /// Takes the model out of the bytes of a safetensors file, which errors name. [`Bundle::entropy_model`] does this with
    /// the bundle's own.
    ///
    /// # Errors
    /// If a tensor is missing or is not as it should be, or the model is not for codebooks of these sizes.
    ///
    /// [`Bundle::entropy_model`]: crate::Bundle::entropy_model
    pub fn parse(file: &Path, bytes: &[u8], layout: &CodeLayout) -> Result<Self, ModelError> {
        Ok(Self { weights: Arc::new(Weights::parse(file, bytes, layout)?) })
    }

    /// Sizes of the codebooks.
    pub fn layout(&self) -> &CodeLayout {
        &self.weights.layout
    }

    /// How many frames back it looks.
    pub fn reach(&self) -> u64 {
        self.weights.reach
    }

    fn weights(&self) -> &Weights {
        &self.weights
    }
}
