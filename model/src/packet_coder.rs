use parlo_tokens::{CodeLayout, FrameSet, TokenFrame};

use crate::{
    entropy::{EntropyCoder, EntropyModel, PacketShape},
    plain_coder::{CodingError, FrameCoder, PlainCoder},
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

    /// Appends a packet's payload to `out`: `copies` of the frames right before `first` (their coarsest codes, the same number
    /// of each; none if there are none), and the frames `first`, `first + 1`, ... . It builds upon those frames of `context`
    /// that lie before the first copy; this coder must have encoded them.
    ///
    /// # Errors
    /// As [`EntropyCoder::encode_packet`] and [`PlainCoder`]. `out` is then as before.
    pub fn encode(
        &mut self,
        first: u64,
        copies: &[TokenFrame],
        frames: &[TokenFrame],
        context: &FrameSet,
        out: &mut Vec<u8>,
    ) -> Result<(), CodingError> {
        match &mut self.0 {
            Way::Plain(coder) => {
                let start = out.len();
                let coded = coder.encode(copies, out).and_then(|()| coder.encode(frames, out));
                coded.inspect_err(|_| out.truncate(start))
            }
            Way::Entropy(coder) => coder.encode_packet(first, copies, frames, context, out),
        }
    }

    /// Appends the copies that `payload` holds, and after them its frames, to `out`; `shape` and `context` must be what they
    /// were for [`encode`](Self::encode).
    ///
    /// # Errors
    /// As [`EntropyCoder::decode_packet`] and [`PlainCoder`]. `out` is then as before.
    pub fn decode(
        &mut self,
        shape: &PacketShape,
        payload: &[u8],
        context: &FrameSet,
        out: &mut Vec<TokenFrame>,
    ) -> Result<(), CodingError> {
        match &mut self.0 {
            Way::Plain(coder) => {
                let start = out.len();
                let read = if shape.copies == 0 {
                    coder.decode(payload, shape.count, shape.depth, out)
                } else {
                    let (copies, frames) = coder.split(payload, shape.copies, shape.copy_depth)?;
                    coder
                        .decode(copies, shape.copies, shape.copy_depth, out)
                        .and_then(|()| coder.decode(frames, shape.count, shape.depth, out))
                };
                read.inspect_err(|_| out.truncate(start))
            }
            Way::Entropy(coder) => coder.decode_packet(shape, payload, context, out),
        }
    }

    /// Appends the frames that a payload begins with to `out`, of which only the `beginning` is there: as many of them as are the same
    /// whatever follows. `shape` is that of the whole payload, which has no copies and builds upon no context.
    pub fn decode_beginning(&mut self, shape: &PacketShape, beginning: &[u8], out: &mut Vec<TokenFrame>) {
        match &mut self.0 {
            Way::Plain(coder) => coder.decode_beginning(beginning, shape.count, shape.depth, out),
            Way::Entropy(coder) => coder.decode_beginning(shape, beginning, out),
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
