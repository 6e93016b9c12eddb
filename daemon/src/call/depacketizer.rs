//! From packets to what is known of frames. Without I/O.

use parlo_model::PacketShape;
use parlo_opus::OpusFrame;
use parlo_protocol::call::{Call, Event};
use parlo_tokens::{FrameSet, Slot, TokenFrame};

use super::{codec::CodedFrame, packetizer::PayloadCoder};

/// A packet's frames, as they came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Coded<'a> {
    pub(super) first: u64,
    pub(super) count: u8,
    pub(super) depth: u8,
    pub(super) copies: u8,
    pub(super) copy_depth: u8,
    pub(super) context: FrameSet,
    pub(super) payload: &'a [u8],
}

/// The receiving side of a call's media, up to the jitter buffer.
#[derive(Debug)]
pub struct Depacketizer {
    packing: PayloadCoder,
    tokens: Vec<TokenFrame>,
    opus: Vec<OpusFrame>,
    undecodable: u64,
}

impl Depacketizer {
    /// The receiving side at the start of a call.
    pub fn new(packing: PayloadCoder) -> Self {
        Self { packing, tokens: Vec::with_capacity(32), opus: Vec::with_capacity(16), undecodable: 0 }
    }

    /// Takes a call's media, and tells `each` what there is of which frame.
    pub fn take(&mut self, call: &mut Call, event: &Event<'_>, mut each: impl FnMut(u64, Slot<CodedFrame>)) {
        match *event {
            Event::Silence { number, noise } => each(number, Slot::Silence(noise)),
            Event::Frames { first, count, depth, copies, copy_depth, context, payload } => {
                let coded = Coded { first, count, depth, copies, copy_depth, context, payload };
                if self.decode(&coded, each) {
                    call.decoded(first, count.into());
                }
            }
            _ => {}
        }
    }

    /// Decodes a packet's frames, and tells `each` what there is of which. Whether they are kept, for later ones to build upon: then
    /// the call is to be told.
    pub(super) fn decode(&mut self, coded: &Coded<'_>, mut each: impl FnMut(u64, Slot<CodedFrame>)) -> bool {
        let Coded { first, count, depth, copies, copy_depth, context, payload } = *coded;
        match &mut self.packing {
            PayloadCoder::Tokens(coder) => {
                let [count, depth, copies, copy_depth] = [count, depth, copies, copy_depth].map(usize::from);
                let shape = PacketShape { first, count, depth, copies, copy_depth };
                self.tokens.clear();
                // What comes too late to be heard is decoded all the same: packets to come may build upon it.
                if coder.decode(&shape, payload, &context, &mut self.tokens).is_err() {
                    self.undecodable += 1;
                    return false;
                }
                let start = first.saturating_sub(copies as u64);
                for (n, (number, &tokens)) in (start..).zip(&self.tokens).enumerate() {
                    let unit = CodedFrame::Tokens(tokens);
                    each(number, if n < copies { Slot::Coarse(unit) } else { Slot::Frame(unit) });
                }
                coder.uses_context()
            }
            PayloadCoder::Opus => {
                self.opus.clear();
                if parlo_opus::unpack(payload, count.into(), &mut self.opus).is_err() {
                    self.undecodable += 1;
                    return false;
                }
                for (number, &frame) in (first..).zip(&self.opus) {
                    each(number, Slot::Frame(CodedFrame::Opus(frame)));
                }
                false
            }
        }
    }

    /// Packets whose payload was none.
    pub fn undecodable(&self) -> u64 {
        self.undecodable
    }
}
