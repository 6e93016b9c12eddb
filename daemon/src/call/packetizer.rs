//! From coded frames to packets: what is bundled, copied, left out for silence, and when it is sent. Without I/O.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use parlo_model::PacketCoder;
use parlo_opus::OpusFrame;
use parlo_protocol::{
    call::{Call, Run},
    packet::{MAX_COPIES, MAX_FRAMES},
};
use parlo_tokens::{ComfortNoise, TokenFrame};

use super::{codec::CodedFrame, dtx::Descriptions};

/// How long a frame is that nobody says anything about.
const FRAME: Duration = Duration::from_millis(20);

/// A frame as the capture side gives it: coded, or described, never both. Only a [`FrameEvent`](crate::media::FrameEvent) has both, of
/// a pause's last frames when a word has followed.
#[derive(Debug, Clone, Copy)]
pub struct EncodedFrame {
    /// Its number.
    pub number: u64,
    /// What the codec made of it; none if nobody speaks. Those of a pause that a word follows come once more, coded.
    pub unit: Option<CodedFrame>,
    /// What it sounds like if nobody speaks; none if somebody does.
    pub silence: Option<ComfortNoise>,
    /// Whether its packet ends with it, as the capture side counts ([`RunBatcher`](super::RunBatcher)). It never does before there
    /// is a plan.
    pub ends_packet: bool,
}

/// Counts since the call began.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PacketizerStats {
    /// Frames sent.
    pub frames: u64,
    /// Of the frames captured, those in which nobody spoke.
    pub silent: u64,
    /// Copies sent.
    pub copies: u64,
    /// Frames that could not be sent.
    pub dropped: u64,
    /// Codes of the frames sent.
    pub frame_codes: u64,
    /// Codes of the copies sent.
    pub copy_codes: u64,
    /// What the frames hold by the entropy model, with copies, bits; none without a model.
    pub bits: Option<f64>,
}

/// Where datagrams go.
pub type Transmit<'t> = &'t mut dyn FnMut(SocketAddr, &[u8]);

/// Sends everything that a call has to send.
pub fn transmit(call: &mut Call, datagram: &mut Vec<u8>, out: Transmit<'_>) {
    while call.poll_transmit(datagram) {
        out(call.transmit_address(), datagram);
    }
}

/// How units become payloads.
#[derive(Debug)]
pub enum PayloadCoder {
    /// By the model.
    Tokens(PacketCoder),
    /// One after another.
    Opus,
}

/// The sending side of a call's media.
#[derive(Debug)]
pub struct Packetizer {
    packing: PayloadCoder,
    /// Frames that wait for their packet to be full, and the number of the first.
    pending: Vec<CodedFrame>,
    first: u64,
    /// The last frames that were sent, by number.
    sent: VecDeque<(u64, TokenFrame)>,
    /// The lowest number that can be sent.
    next: u64,
    descriptions: Descriptions,
    copies: Vec<TokenFrame>,
    tokens: Vec<TokenFrame>,
    opus: Vec<OpusFrame>,
    payload: Vec<u8>,
    datagram: Vec<u8>,
    stats: PacketizerStats,
}

impl Packetizer {
    /// The sending side at the start of a call, of frames of 20 ms.
    pub fn new(packing: PayloadCoder) -> Self {
        Self::with_frame(packing, FRAME)
    }

    /// The same, of frames of another length.
    pub fn with_frame(packing: PayloadCoder, frame: Duration) -> Self {
        let most = usize::from(MAX_FRAMES);
        Self {
            packing,
            pending: Vec::with_capacity(most),
            first: 0,
            sent: VecDeque::with_capacity(usize::from(MAX_COPIES) + 1),
            next: 0,
            descriptions: Descriptions::new(frame),
            copies: Vec::with_capacity(usize::from(MAX_COPIES)),
            tokens: Vec::with_capacity(most),
            opus: Vec::with_capacity(most),
            payload: Vec::with_capacity(4096),
            datagram: Vec::with_capacity(2048),
            stats: PacketizerStats::default(),
        }
    }

    /// Takes the next frame, and sends what is due.
    pub fn push(&mut self, now: Instant, call: &mut Call, captured: &EncodedFrame, out: Transmit<'_>) {
        let EncodedFrame { number, unit, silence, ends_packet } = *captured;
        match silence {
            None => {
                self.descriptions.end();
                // A pause's last frames come once more, coded, when a word follows: all but what the peer knows for silence.
                if let Some(unit) = unit
                    && number >= self.next
                {
                    self.add(now, call, number, unit, out);
                }
                if ends_packet {
                    self.flush(now, call, out);
                }
            }
            Some(noise) => {
                self.stats.silent += 1;
                self.flush(now, call, out);
                // The newest frame tells of silence: older ones would seem to have been long on the way.
                if self.descriptions.is_due(number) && number >= self.next {
                    if call.send_silence(now, number, noise).is_ok() {
                        self.descriptions.sent(number);
                        self.next = number + 1;
                    }
                    transmit(call, &mut self.datagram, out);
                }
            }
        }
    }

    fn add(&mut self, now: Instant, call: &mut Call, number: u64, unit: CodedFrame, out: Transmit<'_>) {
        // A gap in the numbers (this machine was too slow) ends a packet: its frames are numbered in a row.
        if !self.pending.is_empty() && number != self.first + self.pending.len() as u64 {
            self.flush(now, call, out);
        }
        if self.pending.is_empty() {
            self.first = number;
        }
        self.pending.push(unit);
        // Where a packet ends is the capture thread's to say, which codes its frames in as few runs as it can. This is what holds where it
        // cannot: it has no plan for the first frames, as sound is open before the call is told how to send; and frames of a packet
        // that was begun under another plan must not make one that is longer than the present plan has them.
        if self.pending.len() >= usize::from(call.plan().frames.clamp(1, MAX_FRAMES)) {
            self.flush(now, call, out);
        }
    }

    /// While nothing is sent for long, moves the numbers on, so that the peer knows later ones for those of this call: a silence,
    /// told with a number that no frame to come is below.
    pub fn advance_numbers(&mut self, now: Instant, call: &mut Call, number: u64, out: Transmit<'_>) {
        if number >= self.next && call.send_silence(now, number, ComfortNoise::SILENCE).is_ok() {
            self.next = number + 1;
        }
        transmit(call, &mut self.datagram, out);
    }

    /// Sends what waits, full or not.
    pub fn flush(&mut self, now: Instant, call: &mut Call, out: Transmit<'_>) {
        if self.pending.is_empty() {
            return;
        }
        let (first, count) = (self.first, self.pending.len());
        self.payload.clear();
        let sent = match self.packing {
            PayloadCoder::Tokens(_) => self.send_tokens(now, call),
            PayloadCoder::Opus => self.send_opus(now, call),
        };
        if sent {
            self.stats.frames += count as u64;
            self.next = first + count as u64;
        } else if call.is_open() {
            self.stats.dropped += count as u64;
        }
        self.pending.clear();
        transmit(call, &mut self.datagram, out);
    }

    fn send_tokens(&mut self, now: Instant, call: &mut Call) -> bool {
        let PayloadCoder::Tokens(coder) = &mut self.packing else { return false };
        let plan = call.plan();
        let full = self.pending.iter().filter_map(|unit| match unit {
            CodedFrame::Tokens(tokens) => Some(*tokens),
            CodedFrame::Opus(_) => None,
        });
        let depth = full.clone().map(|tokens| tokens.depth()).min().unwrap_or(1).min(plan.depth.into());
        self.tokens.clear();
        self.tokens.extend(full.clone().map(|tokens| tokens.truncated(depth)));
        // Copies are of the frames right before the first, as many of them in a row as were sent.
        let copy_depth = usize::from(plan.copy_depth);
        let before = self.sent.iter().rev().zip(1..).take(plan.copies.into());
        let copies = before
            .take_while(|((number, tokens), back)| number + back == self.first && tokens.depth() >= copy_depth)
            .count();
        self.copies.clear();
        let start = self.sent.len() - copies;
        self.copies.extend(self.sent.range(start..).map(|(_, tokens)| tokens.truncated(copy_depth)));
        let context = call.context(self.first);
        let coded = coder.encode(self.first, &self.copies, &self.tokens, context.frames(), &mut self.payload);
        let run = Run { count: self.tokens.len(), depth, copies, copy_depth, payload: &self.payload };
        // The encoder made these codes from the same model, so they fit; and the call stands, or all is over.
        if coded.is_err() || call.send_frames(now, &context, &run).is_err() {
            return false;
        }
        self.stats.copies += copies as u64;
        self.stats.frame_codes += (self.tokens.len() * depth) as u64;
        self.stats.copy_codes += (copies * copy_depth) as u64;
        if let Some(bits) = coder.bits() {
            *self.stats.bits.get_or_insert(0.0) += bits;
        }
        for (number, tokens) in (self.first..).zip(full) {
            if self.sent.len() == usize::from(MAX_COPIES) {
                self.sent.pop_front();
            }
            self.sent.push_back((number, tokens));
        }
        true
    }

    fn send_opus(&mut self, now: Instant, call: &mut Call) -> bool {
        self.opus.clear();
        self.opus.extend(self.pending.iter().filter_map(|unit| match unit {
            CodedFrame::Opus(frame) => Some(*frame),
            CodedFrame::Tokens(_) => None,
        }));
        parlo_opus::pack(&self.opus, &mut self.payload);
        let context = parlo_protocol::context::Context::alone(self.first);
        let depth = usize::from(call.plan().depth);
        let run = Run { count: self.opus.len(), depth, copies: 0, copy_depth: 1, payload: &self.payload };
        call.send_frames(now, &context, &run).is_ok()
    }

    /// Counts so far.
    pub fn stats(&self) -> &PacketizerStats {
        &self.stats
    }
}
