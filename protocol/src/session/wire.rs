//! The outer layer of a datagram: what is read before any key is used. All numbers are big-endian.

use crate::session::VERSION;

pub(super) const CONTROL: u8 = 0x40;
const INITIATE: u8 = 0x41;
const RETRY: u8 = 0x42;
const RESPOND: u8 = 0x43;
const FINISH: u8 = 0x44;
const REFUSE: u8 = 0x45;
/// Set in the first byte of media packets; the other bits are the caller's.
pub(super) const MEDIA: u8 = 0x80;

/// Bytes before the ciphertext of a sealed packet.
pub(super) const HEADER: usize = 5;
/// Bytes of the authentication tag, at the end of a sealed packet.
pub(super) const TAG: usize = 8;
/// Bytes of a cookie.
pub(super) const COOKIE: usize = 16;

/// Bytes of an initiation before the Noise message.
pub(super) const INITIATE_HEADER: usize = 5 + COOKIE;
/// Bytes of a third message before the Noise message.
pub(super) const FINISH_HEADER: usize = 4;
/// Bytes of a Retry.
pub(super) const RETRY_BYTES: usize = 4 + COOKIE;
/// Bytes of a Refuse.
pub(super) const REFUSE_BYTES: usize = 5;
/// The shortest initiation in any version. An ephemeral key is the least that a handshake begins with.
pub(super) const SHORTEST_INITIATE: usize = INITIATE_HEADER + 32;
/// Every reply to an initiation that has not shown a valid cookie is shorter than the shortest of them.
const _: () = assert!(RETRY_BYTES < SHORTEST_INITIATE && REFUSE_BYTES < SHORTEST_INITIATE);

/// Which Noise handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pattern {
    /// IK: the initiator knows the responder's key.
    Known,
    /// XX: it does not.
    Unknown,
    /// IKpsk2: it knows the key, and has a secret that it shares with the responder.
    Shared,
}

impl Pattern {
    fn code(self) -> u8 {
        match self {
            Self::Known => 1,
            Self::Unknown => 2,
            Self::Shared => 3,
        }
    }

    /// That of an initiator who knows the key or not, and has a secret or not.
    pub(super) fn of(knows_key: bool, has_psk: bool) -> Self {
        match (knows_key, has_psk) {
            (true, true) => Self::Shared,
            (true, false) => Self::Known,
            (false, _) => Self::Unknown,
        }
    }
}

/// A sealed packet's header: also its associated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) bytes: [u8; HEADER],
}

impl Sealed {
    pub(super) fn new(first: u8, receiver: u16, number: u64) -> Self {
        let ([r0, r1], [n0, n1]) = (receiver.to_be_bytes(), (number as u16).to_be_bytes());
        Self { bytes: [first, r0, r1, n0, n1] }
    }

    pub(super) fn is_media(self) -> bool {
        self.bytes[0] & MEDIA != 0
    }

    /// The seven bits that belong to the caller.
    pub(super) fn caller_bits(self) -> u8 {
        self.bytes[0] & !MEDIA
    }

    pub(super) fn number(self) -> u16 {
        u16::from_be_bytes([self.bytes[3], self.bytes[4]])
    }
}

/// A datagram, as far as it can be read without keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outer<'a> {
    Sealed { receiver: u16, header: Sealed },
    Initiate { sender: u16, pattern: Pattern, cookie: [u8; COOKIE], noise: &'a [u8] },
    Retry { receiver: u16, cookie: [u8; COOKIE] },
    Respond { receiver: u16, noise: &'a [u8] },
    Finish { receiver: u16, noise: &'a [u8] },
    Refuse { receiver: u16, reason: u8 },
}

/// Why a datagram is none of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    Malformed,
    /// An initiation of another version of the protocol, which can be told so.
    OtherVersion {
        sender: u16,
    },
}

impl<'a> Outer<'a> {
    pub(super) fn parse(datagram: &'a [u8]) -> Result<Self, Unread> {
        let (&first, rest) = datagram.split_first().ok_or(Unread::Malformed)?;
        if first == CONTROL || first & MEDIA != 0 {
            let bytes = *datagram.first_chunk::<HEADER>().ok_or(Unread::Malformed)?;
            if datagram.len() < HEADER + TAG || datagram.len() > super::MAX_DATAGRAM {
                return Err(Unread::Malformed);
            }
            return Ok(Self::Sealed { receiver: u16::from_be_bytes([bytes[1], bytes[2]]), header: Sealed { bytes } });
        }
        let (&version, rest) = rest.split_first().ok_or(Unread::Malformed)?;
        let (&index, rest) = rest.split_first_chunk::<2>().ok_or(Unread::Malformed)?;
        let index = u16::from_be_bytes(index);
        if first == INITIATE && version != VERSION && datagram.len() >= SHORTEST_INITIATE {
            return Err(Unread::OtherVersion { sender: index });
        }
        // A Refuse has the same layout in all versions.
        if version != VERSION && first != REFUSE {
            return Err(Unread::Malformed);
        }
        match first {
            INITIATE => {
                let (&pattern, rest) = rest.split_first().ok_or(Unread::Malformed)?;
                let (&cookie, noise) = rest.split_first_chunk::<COOKIE>().ok_or(Unread::Malformed)?;
                let pattern = match (pattern, noise.len()) {
                    (1, 96..=352) => Pattern::Known,
                    (2, 32) => Pattern::Unknown,
                    (3, 112..=368) => Pattern::Shared,
                    _ => return Err(Unread::Malformed),
                };
                Ok(Self::Initiate { sender: index, pattern, cookie, noise })
            }
            RETRY => {
                let &cookie = rest.try_into().map_err(|_| Unread::Malformed)?;
                Ok(Self::Retry { receiver: index, cookie })
            }
            RESPOND if (50..=116).contains(&rest.len()) => Ok(Self::Respond { receiver: index, noise: rest }),
            FINISH if (64..=320).contains(&rest.len()) => Ok(Self::Finish { receiver: index, noise: rest }),
            REFUSE => match rest {
                &[reason] => Ok(Self::Refuse { receiver: index, reason }),
                _ => Err(Unread::Malformed),
            },
            _ => Err(Unread::Malformed),
        }
    }
}

pub(super) fn initiate(out: &mut Vec<u8>, sender: u16, pattern: Pattern, cookie: &[u8; COOKIE], noise: &[u8]) {
    out.extend_from_slice(&[INITIATE, VERSION]);
    out.extend_from_slice(&sender.to_be_bytes());
    out.push(pattern.code());
    out.extend_from_slice(cookie);
    out.extend_from_slice(noise);
}

pub(super) fn retry(receiver: u16, cookie: &[u8; COOKIE]) -> Vec<u8> {
    let mut out = Vec::with_capacity(RETRY_BYTES);
    out.extend_from_slice(&[RETRY, VERSION]);
    out.extend_from_slice(&receiver.to_be_bytes());
    out.extend_from_slice(cookie);
    out
}

pub(super) fn respond(out: &mut Vec<u8>, receiver: u16, noise: &[u8]) {
    out.extend_from_slice(&[RESPOND, VERSION]);
    out.extend_from_slice(&receiver.to_be_bytes());
    out.extend_from_slice(noise);
}

pub(super) fn finish(out: &mut Vec<u8>, receiver: u16, noise: &[u8]) {
    out.extend_from_slice(&[FINISH, VERSION]);
    out.extend_from_slice(&receiver.to_be_bytes());
    out.extend_from_slice(noise);
}

pub(super) fn refuse(receiver: u16, reason: u8) -> Vec<u8> {
    let [high, low] = receiver.to_be_bytes();
    vec![REFUSE, VERSION, high, low, reason]
}

/// Who a datagram is for, told by its first bytes alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// The session of this index.
    Session(u16),
    /// An initiation: for the session that [already has it](super::Session::is_repeat), or for the [`CookieGate`](super::CookieGate).
    CookieGate,
    /// STUN shares the port: RFC 8489 section 5 has two zero bits first.
    Stun,
    /// Nobody.
    Nobody,
}

/// Tells who a datagram is for. It may still turn out to be junk.
pub fn destination(datagram: &[u8]) -> Destination {
    match datagram {
        &[0x00..=0x3F, ..] => Destination::Stun,
        &[INITIATE, ..] => Destination::CookieGate,
        &[CONTROL | MEDIA..=0xFF, high, low, ..] | &[RETRY..=REFUSE, _, high, low, ..] => {
            Destination::Session(u16::from_be_bytes([high, low]))
        }
        _ => Destination::Nobody,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn datagram() -> impl Strategy<Value = Vec<u8>> {
        let pattern = prop_oneof![
            (Just(Pattern::Known), prop::collection::vec(any::<u8>(), 96..=352)),
            (Just(Pattern::Unknown), prop::collection::vec(any::<u8>(), 32)),
            (Just(Pattern::Shared), prop::collection::vec(any::<u8>(), 112..=368)),
        ];
        prop_oneof![
            (any::<u16>(), pattern, any::<[u8; COOKIE]>()).prop_map(|(sender, (pattern, noise), cookie)| {
                let mut out = Vec::new();
                initiate(&mut out, sender, pattern, &cookie, &noise);
                out
            }),
            (any::<u16>(), any::<[u8; COOKIE]>()).prop_map(|(receiver, cookie)| retry(receiver, &cookie)),
            (any::<u16>(), prop::collection::vec(any::<u8>(), 50..=116)).prop_map(|(to, noise)| {
                let mut out = Vec::new();
                respond(&mut out, to, &noise);
                out
            }),
            (any::<u16>(), prop::collection::vec(any::<u8>(), 64..=320)).prop_map(|(to, noise)| {
                let mut out = Vec::new();
                finish(&mut out, to, &noise);
                out
            }),
            (any::<u16>(), any::<u8>()).prop_map(|(to, reason)| refuse(to, reason)),
        ]
    }

    proptest! {
        #[test]
        fn handshake_messages_survive_and_are_nothing_when_cut(datagram in datagram()) {
            let outer = Outer::parse(&datagram).unwrap();
            let mut again = Vec::new();
            match outer {
                Outer::Initiate { sender, pattern, cookie, noise } => initiate(&mut again, sender, pattern, &cookie, noise),
                Outer::Retry { receiver, cookie } => again = retry(receiver, &cookie),
                Outer::Respond { receiver, noise } => respond(&mut again, receiver, noise),
                Outer::Finish { receiver, noise } => finish(&mut again, receiver, noise),
                Outer::Refuse { receiver, reason } => again = refuse(receiver, reason),
                Outer::Sealed { .. } => {}
            }
            prop_assert_eq!(&again, &datagram);
            let receiver = u16::from_be_bytes([datagram[2], datagram[3]]);
            let to = destination(&datagram);
            prop_assert!(to == Destination::Session(receiver) || datagram[0] == INITIATE && to == Destination::CookieGate);
            for cut in 0..datagram.len().min(20) {
                prop_assert!(Outer::parse(&datagram[..cut]).is_err());
            }
        }

        #[test]
        fn any_bytes_are_read_without_panic(datagram in prop::collection::vec(any::<u8>(), 0..400)) {
            let parsed = Outer::parse(&datagram);
            // What is for nobody is no message, and STUN is left alone.
            if matches!(destination(&datagram), Destination::Nobody | Destination::Stun) {
                prop_assert_eq!(parsed, Err(Unread::Malformed));
            }
        }
    }

    #[test]
    fn every_first_byte_has_its_place() {
        for first in 0..=u8::MAX {
            let expected = match first {
                0..=0x3F => Destination::Stun,
                0x41 => Destination::CookieGate,
                0x46..=0x7F => Destination::Nobody,
                0x40 | 0x80.. => Destination::Session(0x0102),
                _ => Destination::Session(0x0203),
            };
            assert_eq!(destination(&[first, 1, 2, 3, 4]), expected, "{first:#x}");
        }
        assert_eq!(destination(&[]), Destination::Nobody);
        assert_eq!(destination(&[0x80, 1]), Destination::Nobody);
    }
}
