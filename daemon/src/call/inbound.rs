//! From packets to what is known of frames. Without I/O.

use parlo_model::Shape;
use parlo_opus::OpusFrame;
use parlo_protocol::call::{Call, Event};
use parlo_tokens::{Slot, TokenFrame};

use super::{outbound::Packing, voice::Unit};

/// The receiving side of a call's media, up to the jitter buffer.
#[derive(Debug)]
pub struct Inbound {
    packing: Packing,
    tokens: Vec<TokenFrame>,
    opus: Vec<OpusFrame>,
    undecodable: u64,
}

impl Inbound {
    /// The receiving side at the start of a call.
    pub fn new(packing: Packing) -> Self {
        Self { packing, tokens: Vec::with_capacity(32), opus: Vec::with_capacity(16), undecodable: 0 }
    }

    /// Takes a call's media, and tells `each` what there is of which frame.
    pub fn take(&mut self, call: &mut Call, event: &Event<'_>, mut each: impl FnMut(u64, Slot<Unit>)) {
        match *event {
            Event::Silence { number, noise } => each(number, Slot::Silence(noise)),
            Event::Frames { first, count, depth, copies, copy_depth, context, payload } => match &mut self.packing {
                Packing::Tokens(coder) => {
                    let [count, depth, copies, copy_depth] = [count, depth, copies, copy_depth].map(usize::from);
                    let shape = Shape { first, count, depth, copies, copy_depth };
                    self.tokens.clear();
                    // What comes too late to be heard is decoded all the same: packets to come may build upon it.
                    if coder.decode(&shape, payload, &context, &mut self.tokens).is_err() {
                        self.undecodable += 1;
                        return;
                    }
                    if coder.uses_context() {
                        call.decoded(first, count);
                    }
                    let start = first.saturating_sub(copies as u64);
                    for (n, (number, &tokens)) in (start..).zip(&self.tokens).enumerate() {
                        let unit = Unit::Tokens(tokens);
                        each(number, if n < copies { Slot::Coarse(unit) } else { Slot::Frame(unit) });
                    }
                }
                Packing::Opus => {
                    self.opus.clear();
                    if parlo_opus::unpack(payload, count.into(), &mut self.opus).is_err() {
                        self.undecodable += 1;
                        return;
                    }
                    for (number, &frame) in (first..).zip(&self.opus) {
                        each(number, Slot::Frame(Unit::Opus(frame)));
                    }
                }
            },
            _ => {}
        }
    }

    /// Packets whose payload was none.
    pub fn undecodable(&self) -> u64 {
        self.undecodable
    }
}
