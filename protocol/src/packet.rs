//! The layout of one datagram. `docs/wire.md` has the byte diagrams; this module is their only implementation.
//!
//! All numbers are big-endian. The first byte's upper three bits are the kind; its lower five are the depth less one in
//! media packets, and the version in control packets.

use parlo_tokens::{BundleId, MAX_DEPTH};

use crate::report::Report;

/// Version of the protocol. Peers of different versions do not talk.
pub const VERSION: u8 = 1;

/// The most frames that a packet holds: 240 ms.
pub const MAX_FRAMES: u8 = 12;

/// The longest datagram ever sent: it passes every path that IPv6 allows (RFC 8200 section 5: 1280 bytes with headers).
pub const MAX_DATAGRAM: usize = 1200;

/// Bytes before the payload of a media packet; a report comes on top.
pub const MEDIA_HEADER: usize = 6;

/// Bytes of IPv4 (RFC 791, no options) and UDP (RFC 768) headers, which every datagram carries.
pub const IPV4_UDP: usize = 28;

/// Bytes of IPv6 (RFC 8200, no extensions) and UDP headers, which every datagram carries.
pub const IPV6_UDP: usize = 48;

/// Eight bytes that begin a Hello after its first byte, so that stray datagrams are not taken for calls.
const MAGIC: [u8; 8] = *b"parlo/hi";

const KIND_MEDIA: u8 = 0;
const KIND_HELLO: u8 = 1;
const KIND_WELCOME: u8 = 2;
const KIND_REFUSE: u8 = 3;
const KIND_BYE: u8 = 4;
const KIND_ALIVE: u8 = 5;
const KIND_REPORT: u8 = 6;

/// Length of a Hello. It is the longest control packet, so that no answer is longer than what asked for it.
pub const HELLO_BYTES: usize = 54;

/// One datagram, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Speech.
    Media(Media<'a>),
    /// "May I talk to you?"
    Hello(Hello),
    /// "Yes."
    Welcome(Welcome),
    /// "No."
    Refuse(Refuse),
    /// "That was all."
    Bye {
        /// Of the call that ends.
        tag: u16,
    },
    /// "I am still here", when there is nothing else to say.
    Alive {
        /// Of the call.
        tag: u16,
    },
}

/// A run of token frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Media<'a> {
    /// Which call.
    pub tag: u16,
    /// Codes in each frame, 1 to 32.
    pub depth: u8,
    /// Frames in the packet, 1 to [`MAX_FRAMES`].
    pub count: u8,
    /// The report whose frames the payload builds upon, 1 to 15; 0 if it stands alone.
    pub context: u8,
    /// Number of the first frame, lower 16 bits. Frames are numbered, not packets: bundling can change at any time.
    pub first: u16,
    /// Of the frames that came the other way.
    pub report: Option<Report>,
    /// The frames, as the model's coder made them. May be empty: an entropy coder needs no bits for what it is certain of.
    pub payload: &'a [u8],
}

/// A caller's proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// Chosen by the caller at random; repeated Hellos of one call have the same.
    pub call: u64,
    /// Chosen by the caller: marks all packets of the call.
    pub tag: u16,
    /// The model that the caller holds.
    pub bundle: BundleId,
    /// Codebooks that the caller means to send.
    pub depth: u8,
    /// Frames in each of its packets.
    pub frames_per_packet: u8,
}

/// An acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Welcome {
    /// The Hello's.
    pub call: u64,
    /// The Hello's.
    pub tag: u16,
    /// Codebooks that the listener means to send.
    pub depth: u8,
    /// Frames in each of its packets.
    pub frames_per_packet: u8,
}

/// A refusal. Its layout is the same in all versions, so that peers of different versions can tell each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refuse {
    /// The version of the Hello that it answers.
    pub version: u8,
    /// The Hello's.
    pub call: u64,
    /// Why.
    pub reason: Reason,
}

/// Why a call was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The listener is in another call.
    Busy,
    /// The peers hold different models.
    NoSharedBundle,
    /// The peers speak different versions of the protocol.
    Version,
    /// The listener does not want to.
    Declined,
    /// A reason of later versions, by its number: no less a refusal.
    Other(u8),
}

impl Reason {
    fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Busy,
            2 => Self::NoSharedBundle,
            3 => Self::Version,
            4 => Self::Declined,
            other => Self::Other(other),
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Busy => 1,
            Self::NoSharedBundle => 2,
            Self::Version => 3,
            Self::Declined => 4,
            Self::Other(code) => code,
        }
    }
}

/// Why a datagram is not a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// No bytes at all.
    #[error("an empty datagram")]
    Empty,
    /// Not as long as its kind is.
    #[error("a packet of kind {kind} does not have {found} bytes")]
    Length {
        /// The kind, from the first byte.
        kind: u8,
        /// Bytes there were.
        found: usize,
    },
    /// A kind that this version does not have.
    #[error("there is no packet of kind {0}")]
    Kind(u8),
    /// A control packet of another version. Its Hello can still be answered, with a refusal.
    #[error("version {version} of the protocol, where this program speaks {VERSION}")]
    Version {
        /// The version that the sender speaks.
        version: u8,
        /// The call id, if the packet was a Hello.
        call: Option<u64>,
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

impl<'a> Packet<'a> {
    /// Takes a datagram apart. Looks at every byte once, allocates nothing, and accepts exactly what
    /// [`encode`](Self::encode) makes.
    ///
    /// # Errors
    /// If the bytes are no packet.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, PacketError> {
        let &first = datagram.first().ok_or(PacketError::Empty)?;
        let (kind, low) = (first >> 5, first & 0x1F);
        let mut fields = Fields { rest: &datagram[1..], kind, found: datagram.len() };
        if kind == KIND_MEDIA || kind == KIND_REPORT {
            return parse_media(low + 1, fields).map(Self::Media);
        }
        if kind > KIND_REPORT {
            return Err(PacketError::Kind(kind));
        }
        if kind == KIND_HELLO {
            // The magic comes before the version: what lacks it is noise, not a newer Parlo.
            if fields.take::<8>()? != MAGIC {
                return Err(PacketError::Field { field: "magic", value: 0 });
            }
        }
        if low != VERSION && kind != KIND_REFUSE {
            let call = (kind == KIND_HELLO).then(|| fields.u64()).transpose()?;
            return Err(PacketError::Version { version: low, call });
        }
        let packet = match kind {
            KIND_HELLO => {
                let (call, tag) = (fields.u64()?, fields.u16()?);
                let bundle = BundleId::from_bytes(fields.take()?);
                let (depth, frames_per_packet) = (fields.depth()?, fields.frames()?);
                Self::Hello(Hello { call, tag, bundle, depth, frames_per_packet })
            }
            KIND_WELCOME => Self::Welcome(Welcome {
                call: fields.u64()?,
                tag: fields.u16()?,
                depth: fields.depth()?,
                frames_per_packet: fields.frames()?,
            }),
            KIND_REFUSE => {
                Self::Refuse(Refuse { version: low, call: fields.u64()?, reason: Reason::from_code(fields.u8()?) })
            }
            KIND_BYE => Self::Bye { tag: fields.u16()? },
            _ => Self::Alive { tag: fields.u16()? },
        };
        if kind == KIND_HELLO {
            // Reserved for what later versions ask: zero now.
            let reserved = fields.u8()?;
            if reserved != 0 {
                return Err(PacketError::Field { field: "reserved", value: reserved.into() });
            }
        }
        fields.end()?;
        Ok(packet)
    }

    /// Appends the packet's bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Media(media) => {
                let kind = if media.report.is_some() { KIND_REPORT } else { KIND_MEDIA };
                out.push(kind << 5 | (media.depth.wrapping_sub(1) & 0x1F));
                out.push(media.count.wrapping_sub(1) << 4 | (media.context & 0x0F));
                out.extend_from_slice(&media.first.to_be_bytes());
                out.extend_from_slice(&media.tag.to_be_bytes());
                if let Some(report) = &media.report {
                    report.encode(out);
                }
                out.extend_from_slice(media.payload);
            }
            Self::Hello(hello) => {
                out.push(KIND_HELLO << 5 | VERSION);
                out.extend_from_slice(&MAGIC);
                out.extend_from_slice(&hello.call.to_be_bytes());
                out.extend_from_slice(&hello.tag.to_be_bytes());
                out.extend_from_slice(hello.bundle.as_bytes());
                out.extend_from_slice(&[hello.depth, hello.frames_per_packet, 0]);
            }
            Self::Welcome(welcome) => {
                out.push(KIND_WELCOME << 5 | VERSION);
                out.extend_from_slice(&welcome.call.to_be_bytes());
                out.extend_from_slice(&welcome.tag.to_be_bytes());
                out.extend_from_slice(&[welcome.depth, welcome.frames_per_packet]);
            }
            Self::Refuse(refuse) => {
                out.push(KIND_REFUSE << 5 | (refuse.version & 0x1F));
                out.extend_from_slice(&refuse.call.to_be_bytes());
                out.push(refuse.reason.code());
            }
            Self::Bye { tag } => {
                out.push(KIND_BYE << 5 | VERSION);
                out.extend_from_slice(&tag.to_be_bytes());
            }
            Self::Alive { tag } => {
                out.push(KIND_ALIVE << 5 | VERSION);
                out.extend_from_slice(&tag.to_be_bytes());
            }
        }
    }
}

fn parse_media(depth: u8, mut fields: Fields<'_>) -> Result<Media<'_>, PacketError> {
    if fields.found > MAX_DATAGRAM {
        return Err(fields.length());
    }
    let byte = fields.u8()?;
    let (count, context) = ((byte >> 4) + 1, byte & 0x0F);
    if count > MAX_FRAMES {
        return Err(PacketError::Field { field: "count", value: count.into() });
    }
    let (first, tag) = (fields.u16()?, fields.u16()?);
    let report = (fields.kind == KIND_REPORT).then(|| Report::parse(&mut fields)).transpose()?;
    Ok(Media { tag, depth, count, context, first, report, payload: fields.rest })
}

/// The bytes not yet looked at.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    kind: u8,
    found: usize,
}

impl<'a> Fields<'a> {
    fn length(&self) -> PacketError {
        PacketError::Length { kind: self.kind, found: self.found }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], PacketError> {
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

    fn u64(&mut self) -> Result<u64, PacketError> {
        self.take().map(u64::from_be_bytes)
    }

    fn depth(&mut self) -> Result<u8, PacketError> {
        let depth = self.u8()?;
        if (1..=MAX_DEPTH).contains(&usize::from(depth)) {
            Ok(depth)
        } else {
            Err(PacketError::Field { field: "depth", value: depth.into() })
        }
    }

    fn frames(&mut self) -> Result<u8, PacketError> {
        let frames = self.u8()?;
        if (1..=MAX_FRAMES).contains(&frames) {
            Ok(frames)
        } else {
            Err(PacketError::Field { field: "frames", value: frames.into() })
        }
    }

    fn end(&self) -> Result<(), PacketError> {
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
mod tests {
    use parlo_tokens::FrameSet;
    use proptest::prelude::*;

    use super::*;

    fn hello() -> impl Strategy<Value = Hello> {
        (any::<u64>(), any::<u16>(), any::<[u8; 32]>(), 1..=32_u8, 1..=MAX_FRAMES).prop_map(
            |(call, tag, id, depth, frames_per_packet)| Hello {
                call,
                tag,
                bundle: BundleId::from_bytes(id),
                depth,
                frames_per_packet,
            },
        )
    }

    fn control() -> impl Strategy<Value = Packet<'static>> {
        let reason =
            prop::sample::select(vec![Reason::Busy, Reason::NoSharedBundle, Reason::Version, Reason::Declined]);
        prop_oneof![
            hello().prop_map(Packet::Hello),
            hello().prop_map(|h| Packet::Welcome(Welcome {
                call: h.call,
                tag: h.tag,
                depth: h.depth,
                frames_per_packet: h.frames_per_packet,
            })),
            (0..32_u8, any::<u64>(), reason).prop_map(|(version, call, reason)| Packet::Refuse(Refuse {
                version,
                call,
                reason
            })),
            any::<u16>().prop_map(|tag| Packet::Bye { tag }),
            any::<u16>().prop_map(|tag| Packet::Alive { tag }),
        ]
    }

    fn bytes(packet: &Packet<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        packet.encode(&mut out);
        out
    }

    fn report() -> impl Strategy<Value = Report> {
        let held = prop::collection::btree_set(0..600_u64, 1..400);
        (1..=15_u8, held, 1..=7_u8, 1..255_u64, any::<bool>()).prop_filter_map(
            "nothing new",
            |(number, held, back, behind, alone)| {
                let held: FrameSet = held.into_iter().collect();
                let before = held.newest()?.checked_sub(behind)?;
                Report::new(number, &held, (!alone).then_some((back, before)))
            },
        )
    }

    proptest! {
        #[test]
        fn control_packets_survive_and_no_answer_is_longer_than_a_hello(packet in control()) {
            let encoded = bytes(&packet);
            prop_assert!(encoded.len() <= HELLO_BYTES);
            if matches!(packet, Packet::Hello(_)) {
                prop_assert_eq!(encoded.len(), HELLO_BYTES);
            }
            prop_assert_eq!(Packet::parse(&encoded), Ok(packet));
            // One byte less or more is no packet at all.
            prop_assert!(Packet::parse(&encoded[..encoded.len() - 1]).is_err());
            let mut longer = encoded;
            longer.push(0);
            prop_assert!(Packet::parse(&longer).is_err());
        }

        #[test]
        fn media_packets_survive(
            tag: u16, depth in 1..=32_u8, count in 1..=MAX_FRAMES, context in 0..16_u8, first: u16,
            report in prop::option::of(report()),
            payload in prop::collection::vec(any::<u8>(), 0..MAX_DATAGRAM - MEDIA_HEADER - Report::MAX_BYTES),
        ) {
            let packet = Packet::Media(Media { tag, depth, count, context, first, report, payload: &payload });
            let encoded = bytes(&packet);
            let report_bytes = report.map_or(0, |report| report.bytes());
            prop_assert!(report_bytes <= Report::MAX_BYTES);
            prop_assert_eq!(encoded.len(), MEDIA_HEADER + report_bytes + payload.len());
            prop_assert_eq!(Packet::parse(&encoded), Ok(packet));
            // A packet that is cut within its report is none.
            for cut in 0..MEDIA_HEADER + report_bytes {
                prop_assert!(Packet::parse(&encoded[..cut]).is_err());
            }
        }

        #[test]
        fn any_bytes_after_a_header_are_a_report_in_its_one_form_or_an_error(
            first in any::<u8>(), bytes_after in prop::collection::vec(prop_oneof![Just(0), 0..8_u8, any::<u8>()], 0..60),
        ) {
            let mut datagram = vec![0xC5, 0x21, 0, 0, 0, 0, first];
            datagram.extend_from_slice(&bytes_after);
            if let Ok(packet) = Packet::parse(&datagram) {
                prop_assert_eq!(bytes(&packet), datagram);
            }
        }

        #[test]
        fn any_bytes_are_a_packet_that_encodes_to_them_or_an_error(datagram in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(packet) = Packet::parse(&datagram) {
                prop_assert_eq!(bytes(&packet), datagram);
            }
        }

        #[test]
        fn damaged_packets_are_an_error_or_another_packet(packet in control(), at: prop::sample::Index, flip in 1..=255_u8) {
            let mut damaged = bytes(&packet);
            let at = at.index(damaged.len());
            damaged[at] ^= flip;
            if let Ok(other) = Packet::parse(&damaged) {
                prop_assert_eq!(bytes(&other), damaged);
            }
        }

        #[test]
        fn numbers_are_extended_to_the_nearest(number in 0..u64::MAX / 2, off in -0x7FFF_i64..=0x8000) {
            if let Some(near) = number.checked_add_signed(off) {
                prop_assert_eq!(extend(near as u16, number), near);
            }
        }
    }

    #[test]
    fn numbers_near_zero_do_not_wrap_below() {
        assert_eq!(extend(0xFFFF, 0), 0xFFFF);
        assert_eq!(extend(3, 0x1_0000), 0x1_0003);
        assert_eq!(extend(0xFFFE, 0x1_0003), 0xFFFE);
        assert_eq!(extend(0, u64::MAX), u64::MAX);
    }

    #[test]
    fn a_newer_version_is_told_apart_from_noise() {
        let hello = Hello {
            call: 0x0102_0304_0506_0708,
            tag: 9,
            bundle: BundleId::from_bytes([7; 32]),
            depth: 6,
            frames_per_packet: 3,
        };
        let mut newer = bytes(&Packet::Hello(hello));
        newer[0] |= 4;
        newer.extend_from_slice(&[1, 2, 3]);
        assert_eq!(Packet::parse(&newer), Err(PacketError::Version { version: 5, call: Some(hello.call) }));
        newer[5] ^= 1;
        assert_eq!(Packet::parse(&newer), Err(PacketError::Field { field: "magic", value: 0 }));
    }

    /// The vectors in the document are what this code makes.
    #[test]
    fn the_document_shows_the_truth() {
        let document = include_str!("../../docs/wire.md");
        let vector = |name: &str| -> Vec<u8> {
            let line = document.lines().find(|line| line.starts_with(&format!("{name}: "))).expect(name);
            line[name.len() + 2..].split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
        };
        let bundle = BundleId::from_bytes(std::array::from_fn(|n| n as u8));
        let call = 0x0123_4567_89AB_CDEF;
        let media =
            Media { tag: 0xBEEF, depth: 6, count: 3, context: 0, first: 0x1234, report: None, payload: &[0xA5; 4] };
        let held: FrameSet = (0x0200..0x0230_u64).filter(|n| !(0x0220..0x0223).contains(n)).collect();
        let whole = Report::new(2, &held, None);
        let after = Report::new(3, &held, Some((1, 0x0223)));
        let cases = [
            ("media", Packet::Media(media)),
            ("media-with-whole-report", Packet::Media(Media { report: whole, ..media })),
            ("media-with-report", Packet::Media(Media { context: 14, report: after, ..media })),
            ("hello", Packet::Hello(Hello { call, tag: 0xBEEF, bundle, depth: 6, frames_per_packet: 3 })),
            ("welcome", Packet::Welcome(Welcome { call, tag: 0xBEEF, depth: 4, frames_per_packet: 12 })),
            ("refuse", Packet::Refuse(Refuse { version: VERSION, call, reason: Reason::Busy })),
            ("bye", Packet::Bye { tag: 0xBEEF }),
            ("alive", Packet::Alive { tag: 0xBEEF }),
        ];
        for (name, packet) in cases {
            assert_eq!(vector(name), bytes(&packet), "{name}");
        }
    }
}
