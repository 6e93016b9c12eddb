//! What a call tells and is told.

use std::net::SocketAddr;

use parlo_tokens::{ComfortNoise, FrameSet};

use crate::{
    identity::PublicKey,
    offer::Codec,
    packet::{Goodbye, Media, Presence},
    session::{self, Reason},
};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// The call stands: speech may be sent, unless it rings. On the side that answers, the first frames may come just before
    /// this.
    Connected {
        /// Who is there.
        peer: PublicKey,
        /// What both sides send.
        codec: Codec,
        /// Codebooks that the peer means to send at most.
        depth: u8,
        /// Frames in each of its packets while its path is good.
        frames_per_packet: u8,
        /// Nobody has picked up yet: what the answer said. On the side that answers it is what this side said itself.
        ringing: bool,
    },
    /// The peer is like this now, which it was not before: it has picked up, holds the call, or is back. If media tells of it,
    /// that comes just before this; [`peer_presence`](crate::call::Call::peer_presence) has it at once.
    Presence(Presence),
    /// The peer records the call from now on, or does no longer.
    Recorded(bool),
    /// Speech came.
    Frames {
        /// Number of the first frame.
        first: u64,
        /// Frames in the payload.
        count: u8,
        /// Codes in each.
        depth: u8,
        /// Copies of the frames right before the first, which come first in the payload.
        copies: u8,
        /// Codes in each copy.
        copy_depth: u8,
        /// Earlier frames that the payload is conditioned upon: exactly those that its sender used. None of them if it
        /// stands alone.
        context: FrameSet,
        /// The frames, as the model's coder made them.
        payload: &'a [u8],
    },
    /// Nobody speaks there, from this frame on.
    Silence {
        /// Number of the frame.
        number: u64,
        /// What it sounds like.
        noise: ComfortNoise,
    },
    /// The peer is reached at another address now.
    Moved {
        /// Where it was.
        from: SocketAddr,
        /// Where it is.
        to: SocketAddr,
    },
    /// The peer said no. The call is over.
    Refused(Reason),
    /// The peer hung up. The call is over.
    PeerLeft {
        /// Number of the frame after its last, if it said so: what is missing before it was lost.
        frames: Option<u64>,
        /// Why the peer ended the call.
        reason: Goodbye,
    },
    /// The peer did not answer, or fell silent, for ten seconds. The call is over.
    TimedOut,
    /// So many forged packets came that the call is not safe any more. It is over.
    Attacked,
}

/// Datagrams of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Datagrams of any kind.
    pub packets: u64,
    /// Their bytes, without IP and UDP headers.
    pub bytes: u64,
    /// Bytes of payloads among them: frames and copies.
    pub payload_bytes: u64,
    /// Bytes of reports and feedback among them.
    pub news_bytes: u64,
}

impl Count {
    /// Bytes on the wire, where each datagram has `headers` bytes of IP and UDP before it
    /// ([`IPV4_UDP`](crate::packet::IPV4_UDP), [`IPV6_UDP`](crate::packet::IPV6_UDP)).
    pub fn wire_bytes(&self, headers: usize) -> u64 {
        self.bytes + self.packets * headers as u64
    }

    pub(super) fn add(&mut self, bytes: usize, parts: Parts) {
        self.packets += 1;
        self.bytes += bytes as u64;
        self.payload_bytes += parts.payload as u64;
        self.news_bytes += parts.piggyback as u64;
    }
}

/// Bytes of what there is in a packet.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Parts {
    pub(super) payload: usize,
    pub(super) piggyback: usize,
}

impl Parts {
    pub(super) fn of(media: &Media<'_>) -> Self {
        match media {
            Media::Frames(frames) => Self { payload: frames.payload.len(), piggyback: frames.piggyback.bytes() },
            Media::Silence { piggyback, .. } => Self { payload: ComfortNoise::BYTES, piggyback: piggyback.bytes() },
        }
    }
}

/// Counts since the call began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallStats {
    /// Sent.
    pub sent: Count,
    /// Received, authentic and part of this call.
    pub received: Count,
    /// Copies of frames sent.
    pub copies: u64,
    /// Media packets received that build upon frames of which it is not known any more which they are: so late are they.
    pub unknown_context: u64,
    /// Media packets received while this side still rings: nobody is there to hear them.
    pub early: u64,
    /// Sealed by the peer, but no packets of this version.
    pub malformed: u64,
    /// Times that the peer moved to another address.
    pub moves: u64,
}

/// A run of frames to be sent at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run<'a> {
    /// Frames, 1 to [`MAX_FRAMES`](crate::packet::MAX_FRAMES).
    pub count: usize,
    /// Codes of each.
    pub depth: usize,
    /// Copies of the frames right before, 0 to [`MAX_COPIES`](crate::packet::MAX_COPIES).
    pub copies: usize,
    /// Codes of each.
    pub copy_depth: usize,
    /// What the model's coder made of copies and frames.
    pub payload: &'a [u8],
}

/// Why frames cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The call does not stand yet, or no longer.
    #[error("the call does not stand")]
    NotOpen,
    /// It still rings: until somebody picks up nobody may send.
    #[error("nobody has picked up yet")]
    Ringing,
    /// A run of frames that no packet can hold.
    #[error("{count} frames of {depth} codes in {bytes} bytes do not fit a packet")]
    DoesNotFit {
        /// Frames.
        count: usize,
        /// Codes each.
        depth: usize,
        /// Bytes of payload.
        bytes: usize,
    },
    /// The frames are not after all that were sent before, or the payload builds upon what was not given out for it.
    #[error("frame {first} is not after those sent before, or has another packet's context")]
    Context {
        /// Number of the first frame.
        first: u64,
    },
    /// The last packet was not taken out by `poll_transmit` yet.
    #[error("the packet before was not taken yet")]
    NotDrained,
    /// The packet cannot be sealed.
    #[error(transparent)]
    Seal(#[from] session::SealError),
}
