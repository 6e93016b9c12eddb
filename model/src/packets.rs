use parlo_tokens::{CodeLayout, FrameSet, TokenFrame};

use crate::{
    coding::{CodingError, FrameCoder, PlainCoder},
    entropy::{EntropyCoder, EntropyModel},
};

/// Turns the packets of one direction of a call into payloads, or back: by the bundle's entropy model if it has one
/// ([`Bundle::entropy_model`](crate::Bundle::entropy_model)), else as they are. Peers that hold the same bundle do the same.
#[derive(Debug)]
pub struct PacketCoder(Way);

#[derive(Debug)]
enum Way {
    Plain(PlainCoder),
    // Its scratch memory is part of it.
    Entropy(Box<EntropyCoder>),
}

impl PacketCoder {
    /// A coder at the start of a call, for codebooks of these sizes.
    pub fn new(layout: CodeLayout, model: Option<&EntropyModel>) -> Self {
        Self(match model {
            Some(model) => Way::Entropy(Box::new(EntropyCoder::new(model))),
            None => Way::Plain(PlainCoder::new(layout)),
        })
    }

    /// Whether payloads build upon context at all: if not, nobody need keep track of what has arrived.
    pub fn uses_context(&self) -> bool {
        matches!(self.0, Way::Entropy(_))
    }

    /// Appends the payload of frames `first`, `first + 1`, ... to `out`. It builds upon the frames of `context`, which this
    /// coder must have encoded.
    ///
    /// # Errors
    /// As [`EntropyCoder::encode_in`] and [`PlainCoder`]. `out` is then as before.
    pub fn encode(
        &mut self,
        first: u64,
        frames: &[TokenFrame],
        context: &FrameSet,
        out: &mut Vec<u8>,
    ) -> Result<(), CodingError> {
        match &mut self.0 {
            Way::Plain(coder) => coder.encode(frames, out),
            Way::Entropy(coder) => coder.encode_in(first, frames, context, out),
        }
    }

    /// Appends the `count` frames of `depth` codes that `payload` holds to `out`; `first` and `context` must be what they were
    /// for [`encode`](Self::encode).
    ///
    /// # Errors
    /// As [`EntropyCoder::decode_in`] and [`PlainCoder`]. `out` is then as before.
    pub fn decode(
        &mut self,
        first: u64,
        payload: &[u8],
        count: usize,
        depth: usize,
        context: &FrameSet,
        out: &mut Vec<TokenFrame>,
    ) -> Result<(), CodingError> {
        match &mut self.0 {
            Way::Plain(coder) => coder.decode(payload, count, depth, out),
            Way::Entropy(coder) => coder.decode_in(first, payload, count, depth, context, out),
        }
    }

    /// How many bits the model says that the last packet holds; none without a model. Speech that is like what the model
    /// met in training has few, and pauses fewer still. Only to be shown.
    pub fn bits(&self) -> Option<f64> {
        match &self.0 {
            Way::Plain(_) => None,
            Way::Entropy(coder) => Some(coder.bits()),
        }
    }
}
