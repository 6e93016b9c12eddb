//! What is inside a sealed packet. `docs/wire.md` has the byte diagrams; this module is their only implementation. What is
//! around it, in the clear, is [`session`](crate::session)'s.
//!
//! All numbers are big-endian.

use parlo_tokens::{ComfortNoise, MAX_DEPTH};

use crate::{ack::FrameAck, feedback::Feedback};

/// Version of the protocol. Peers of different versions do not talk.
pub const VERSION: u8 = 3;

/// The most frames that a packet holds: 240 ms.
pub const MAX_FRAMES: u8 = 12;

/// The most copies of earlier frames that a packet holds: 240 ms.
pub const MAX_COPIES: u8 = 12;

/// The most codes of a copy.
pub const MAX_COPY_DEPTH: u8 = 4;

/// The longest datagram ever sent: it passes every path that IPv6 allows (RFC 8200 section 5: 1280 bytes with headers).
pub const MAX_DATAGRAM: usize = 1200;

/// Bytes of a media packet that are neither payload nor asked for by copies, reports or feedback: 5 in the clear, 8 of the
/// tag, and one inside.
pub const MEDIA_OVERHEAD: usize = 14;

/// The longest payload: what is left if a packet has all that there can be.
pub const MAX_PAYLOAD: usize = MAX_DATAGRAM - MEDIA_OVERHEAD - 1 - FrameAck::MAX_BYTES - Feedback::BYTES;

/// Bytes of IPv4 (RFC 791, no options) and UDP (RFC 768) headers, which every datagram carries.
pub const IPV4_UDP: usize = 28;

/// Bytes of IPv6 (RFC 8200, no extensions) and UDP headers, which every datagram carries.
pub const IPV6_UDP: usize = 48;

/// Of a media packet's header bits: an extension byte follows.
const EXTENDED: u8 = 0x40;
/// A report follows.
const REPORTS: u8 = 0x20;
/// Of the extension byte: feedback follows.
const FEEDS_BACK: u8 = 0x80;
/// In place of a count of frames: nobody speaks.
const SILENCE: u8 = 15;

const CONTROL_BYE: u8 = 1;
const CONTROL_ALIVE: u8 = 2;
const CONTROL_RECORDED: u8 = 3;

/// Of an alive's flags: a report follows.
const ALIVE_REPORTS: u8 = 0x01;
/// Feedback follows.
const ALIVE_FEEDS_BACK: u8 = 0x02;
/// It rings where this comes from.
const ALIVE_RINGING: u8 = 0x04;
/// The call is held there.
const ALIVE_HELD: u8 = 0x08;

/// What a side tells of what it receives, on any packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Piggyback {
    /// Which frames it holds.
    pub ack: Option<FrameAck>,
    /// How the path is.
    pub feedback: Option<Feedback>,
}

impl Piggyback {
    /// Bytes that it takes, without the extension byte.
    pub fn bytes(&self) -> usize {
        self.ack.map_or(0, |ack| ack.bytes()) + self.feedback.map_or(0, |_| Feedback::BYTES)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        if let Some(ack) = &self.ack {
            ack.encode(out);
        }
        if let Some(feedback) = &self.feedback {
            out.extend_from_slice(&feedback.to_bytes());
        }
    }

    fn parse(fields: &mut Fields<'_>, ack: bool, feedback: bool) -> Result<Self, PacketError> {
        let ack = ack.then(|| FrameAck::parse(fields)).transpose()?;
        let feedback = feedback.then(|| fields.take().map(Feedback::from_bytes)).transpose()?;
        Ok(Self { ack, feedback })
    }
}

/// A run of frames, or the news that there are none. Its number, which is that of its first frame, is the packet's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media<'a> {
    /// Speech.
    Frames(Frames<'a>),
    /// From the packet's number on nobody speaks, until frames come.
    Silence {
        /// What it sounds like there.
        noise: ComfortNoise,
        /// Of what comes the other way.
        piggyback: Piggyback,
    },
}

/// A run of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frames<'a> {
    /// Codes in each frame, 1 to 32.
    pub depth: u8,
    /// Frames in the packet, 1 to [`MAX_FRAMES`].
    pub count: u8,
    /// The report whose frames the payload builds upon, 1 to 15; 0 if it stands alone.
    pub context: u8,
    /// Copies of the frames right before the first, 0 to [`MAX_COPIES`].
    pub copies: u8,
    /// Codes in each copy, 1 to [`MAX_COPY_DEPTH`]; 1 if there are none.
    pub copy_depth: u8,
    /// Of what comes the other way.
    pub piggyback: Piggyback,
    /// Copies and frames, as the model's coder made them. May be empty: an entropy coder needs no bits for what it is
    /// certain of.
    pub payload: &'a [u8],
}

/// Why bytes are not a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// Fewer bytes than there must be, or more.
    #[error("a packet cannot have {found} bytes there")]
    Length {
        /// Bytes there were.
        found: usize,
    },
    /// A field with a value that it cannot have.
    #[error("{field} cannot be {value}")]
    Field {
        /// Its name in `docs/wire.md`.
        field: &'static str,
        /// Its value.
        value: u16,
    },
}

impl<'a> Media<'a> {
    /// Takes a packet apart: the seven bits of its header, and what was sealed. Looks at every byte once, allocates nothing,
    /// and accepts exactly what [`encode`](Self::encode) makes.
    ///
    /// # Errors
    /// If they are no media packet.
    pub fn parse(header: u8, body: &'a [u8]) -> Result<Self, PacketError> {
        let wrong = |field, value: u8| Err(PacketError::Field { field, value: value.into() });
        let mut fields = Fields::new(body);
        if body.len() > MAX_DATAGRAM {
            return Err(fields.length());
        }
        if header > 0x7F {
            return wrong("header", header);
        }
        let byte = fields.u8()?;
        let (count, context) = (byte >> 4, byte & 0x0F);
        let extension = if header & EXTENDED != 0 { fields.u8()? } else { 0 };
        let (feeds_back, copies, copy_depth) =
            (extension & FEEDS_BACK != 0, extension >> 3 & 0x0F, (extension >> 1 & 0x03) + 1);
        // One way to write each packet: no extension that says nothing.
        let idle = header & EXTENDED != 0 && !feeds_back && copies == 0;
        if extension & 1 != 0 || copies > MAX_COPIES || (copies == 0 && copy_depth > 1) || idle {
            return wrong("extension", extension);
        }
        let piggyback = Piggyback::parse(&mut fields, header & REPORTS != 0, feeds_back)?;
        if count == SILENCE {
            if header & 0x1F != 0 || context != 0 || copies != 0 {
                return wrong("silence", byte);
            }
            let bytes = fields.take()?;
            fields.end()?;
            let Some(noise) = ComfortNoise::from_bytes(bytes) else { return wrong("noise", bytes[0]) };
            return Ok(Self::Silence { noise, piggyback });
        }
        if count >= MAX_FRAMES {
            return wrong("count", count);
        }
        let (depth, count) = ((header & 0x1F) + 1, count + 1);
        Ok(Self::Frames(Frames { depth, count, context, copies, copy_depth, piggyback, payload: fields.rest }))
    }

    /// Appends what is to be sealed to `out`, and gives the header's seven bits.
    pub fn encode(&self, out: &mut Vec<u8>) -> u8 {
        let (piggyback, copies, copy_depth, low, byte) = match self {
            Self::Frames(frames) => (
                &frames.piggyback,
                frames.copies,
                frames.copy_depth,
                frames.depth.wrapping_sub(1) & 0x1F,
                frames.count.wrapping_sub(1) << 4 | frames.context & 0x0F,
            ),
            Self::Silence { piggyback, .. } => (piggyback, 0, 1, 0, SILENCE << 4),
        };
        let feedback = if piggyback.feedback.is_some() { FEEDS_BACK } else { 0 };
        let depth = if copies > 0 { copy_depth.wrapping_sub(1) & 0x03 } else { 0 };
        let extension = feedback | (copies & 0x0F) << 3 | depth << 1;
        let mut header = low;
        out.push(byte);
        if extension != 0 {
            header |= EXTENDED;
            out.push(extension);
        }
        if piggyback.ack.is_some() {
            header |= REPORTS;
        }
        piggyback.encode(out);
        match self {
            Self::Frames(frames) => out.extend_from_slice(frames.payload),
            Self::Silence { noise, .. } => out.extend_from_slice(&noise.to_bytes()),
        }
        header
    }
}

/// What a side of a call is like, besides being there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Presence {
    /// It rings, and nobody has picked up yet.
    pub ringing: bool,
    /// Somebody has put the call aside for a while.
    pub held: bool,
}

/// Why a side ends a call that stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Goodbye {
    /// All is said.
    HungUp,
    /// Nobody wants to pick up.
    Declined,
    /// Who is called is in another call.
    Busy,
    /// It has rung for long enough.
    NoAnswer,
    /// Something went wrong where this comes from: not what anybody wanted.
    Failed,
    /// Another call with the same key has taken its place.
    Replaced,
    /// A reason of later versions, by its number: no less an end.
    Other(u8),
}

impl From<u8> for Goodbye {
    fn from(code: u8) -> Self {
        match code {
            0 => Self::HungUp,
            1 => Self::Declined,
            2 => Self::Busy,
            3 => Self::NoAnswer,
            4 => Self::Failed,
            5 => Self::Replaced,
            other => Self::Other(other),
        }
    }
}

impl From<Goodbye> for u8 {
    fn from(reason: Goodbye) -> Self {
        match reason {
            Goodbye::HungUp => 0,
            Goodbye::Declined => 1,
            Goodbye::Busy => 2,
            Goodbye::NoAnswer => 3,
            Goodbye::Failed => 4,
            Goodbye::Replaced => 5,
            Goodbye::Other(code) => code,
        }
    }
}

/// What is not media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// "That was all."
    Bye {
        /// Number of the frame after the last, lower 32 bits: what is missing before it was lost.
        frames: u32,
        /// Why the sender ends the call.
        reason: Goodbye,
    },
    /// "I am still here", when there is nothing else to say, or something to say of it.
    Alive {
        /// Of what comes the other way.
        piggyback: Piggyback,
        /// What this side is like.
        presence: Presence,
        /// If it is held: number of the frame after the last before that, lower 32 bits. So a packet that was sent before and
        /// comes late does not end it. 0 if it is not held.
        frames: u32,
    },
    /// Whether the side that sends this records the call. Programs before it ignore it, as they do any control that they do not
    /// know.
    Recorded(bool),
}

impl Control {
    /// Takes a control packet apart. Accepts exactly what [`encode`](Self::encode) makes.
    ///
    /// # Errors
    /// If the bytes are no control packet.
    pub fn parse(body: &[u8]) -> Result<Self, PacketError> {
        let mut fields = Fields::new(body);
        let control = match fields.u8()? {
            CONTROL_BYE => Self::Bye { frames: fields.u32()?, reason: fields.u8()?.into() },
            CONTROL_ALIVE => {
                let flags = fields.u8()?;
                if flags & !(ALIVE_REPORTS | ALIVE_FEEDS_BACK | ALIVE_RINGING | ALIVE_HELD) != 0 {
                    return Err(PacketError::Field { field: "flags", value: flags.into() });
                }
                let presence = Presence { ringing: flags & ALIVE_RINGING != 0, held: flags & ALIVE_HELD != 0 };
                let frames = if presence.held { fields.u32()? } else { 0 };
                let piggyback =
                    Piggyback::parse(&mut fields, flags & ALIVE_REPORTS != 0, flags & ALIVE_FEEDS_BACK != 0)?;
                Self::Alive { piggyback, presence, frames }
            }
            CONTROL_RECORDED => match fields.u8()? {
                recorded @ 0..=1 => Self::Recorded(recorded == 1),
                other => return Err(PacketError::Field { field: "recorded", value: other.into() }),
            },
            other => return Err(PacketError::Field { field: "control", value: other.into() }),
        };
        fields.end()?;
        Ok(control)
    }

    /// Appends the packet's bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Bye { frames, reason } => {
                out.push(CONTROL_BYE);
                out.extend_from_slice(&frames.to_be_bytes());
                out.push((*reason).into());
            }
            Self::Recorded(recorded) => out.extend_from_slice(&[CONTROL_RECORDED, (*recorded).into()]),
            Self::Alive { piggyback, presence, frames } => {
                let flag = |is: bool, flag| if is { flag } else { 0 };
                let flags = flag(piggyback.ack.is_some(), ALIVE_REPORTS)
                    | flag(piggyback.feedback.is_some(), ALIVE_FEEDS_BACK)
                    | flag(presence.ringing, ALIVE_RINGING)
                    | flag(presence.held, ALIVE_HELD);
                out.extend_from_slice(&[CONTROL_ALIVE, flags]);
                if presence.held {
                    out.extend_from_slice(&frames.to_be_bytes());
                }
                piggyback.encode(out);
            }
        }
    }
}

/// The bytes not yet looked at.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    found: usize,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, found: bytes.len() }
    }

    fn length(&self) -> PacketError {
        PacketError::Length { found: self.found }
    }

    pub(crate) fn take<const N: usize>(&mut self) -> Result<[u8; N], PacketError> {
        let (now, later) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.length())?;
        self.rest = later;
        Ok(*now)
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], PacketError> {
        let (now, later) = self.rest.split_at_checked(length).ok_or_else(|| self.length())?;
        self.rest = later;
        Ok(now)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, PacketError> {
        self.take::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, PacketError> {
        self.take().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, PacketError> {
        self.take().map(u32::from_be_bytes)
    }

    pub(crate) fn depth(&mut self) -> Result<u8, PacketError> {
        let depth = self.u8()?;
        if (1..=MAX_DEPTH).contains(&usize::from(depth)) {
            Ok(depth)
        } else {
            Err(PacketError::Field { field: "depth", value: depth.into() })
        }
    }

    pub(crate) fn frames(&mut self) -> Result<u8, PacketError> {
        let frames = self.u8()?;
        if (1..=MAX_FRAMES).contains(&frames) {
            Ok(frames)
        } else {
            Err(PacketError::Field { field: "frames", value: frames.into() })
        }
    }

    pub(crate) fn end(&self) -> Result<(), PacketError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.length()) }
    }
}

/// The full number whose lower 16 bits are `low`, nearest to `expected` (RFC 3711 section 3.3.1 estimates packet indices
/// so). Of two equally near the later one; never below zero.
pub fn extend(low: u16, expected: u64) -> u64 {
    let ahead = low.wrapping_sub(expected as u16);
    if ahead <= 0x8000 {
        expected.saturating_add(u64::from(ahead))
    } else {
        let back = u64::from(ahead.wrapping_neg());
        expected.checked_sub(back).unwrap_or(u64::from(low))
    }
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
