//! The layout of what peers and relays say to each other. `docs/relay.md` has the byte diagrams.

use super::{cookie::tag, ticket::Ticket};

/// Version of the relay's protocol in which members tag what they send.
pub(super) const TAGGED: u8 = 2;
/// The one before, in which they do not.
pub(super) const UNTAGGED: u8 = 1;

pub(super) const JOIN: u8 = 0x50;
const RETRY: u8 = 0x51;
const JOINED: u8 = 0x52;
const ERROR: u8 = 0x53;

/// Length of a Join. It is the longest packet, so that no answer is longer than what asked for it.
pub const JOIN_BYTES: usize = 34;

/// Length of the tag at the end of what a member sends to the other by way of the relay.
pub const TAG_BYTES: usize = 2;

/// Length of the tag of a Joined.
pub(super) const JOINED_TAG: usize = 8;

/// Length of a Retry, the longest answer.
pub(super) const RETRY_BYTES: usize = 18;

/// Proves that its bearer receives what is sent to its address; all zeros is none.
pub(super) type Cookie = [u8; 16];

/// Who is in the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoomState {
    /// Only the one who asks.
    Waiting,
    /// The other too.
    Together,
}

impl RoomState {
    fn code(self) -> u8 {
        u8::from(self == Self::Together)
    }

    fn of(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Waiting),
            1 => Some(Self::Together),
            _ => None,
        }
    }
}

/// Why a relay said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// All its rooms are in use.
    Full,
    /// Too many joins, or too many seats, for one source address.
    Rate,
    /// Two others sit in the room, and neither was silent for more than five seconds.
    Taken,
    /// It speaks another version of the protocol.
    Version,
}

impl Reason {
    fn code(self) -> u8 {
        match self {
            Self::Full => 1,
            Self::Rate => 2,
            Self::Taken => 3,
            Self::Version => 4,
        }
    }
}

/// What a relay answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RelayAnswer {
    /// "Say that again, with this."
    Retry(Cookie),
    /// The tag is by the cookie that was shown; there is none in [`UNTAGGED`].
    Joined(RoomState, Option<[u8; JOINED_TAG]>),
    Error(Reason),
}

impl RelayAnswer {
    /// The answer to one who sits now, tagged by the cookie if there is one.
    pub(super) fn joined(state: RoomState, cookie: Option<&Cookie>) -> Self {
        Self::Joined(state, cookie.map(|cookie| tag(cookie, &[JOINED, TAGGED, state.code()])))
    }

    /// Writes it to the start of `out`, and returns its length.
    pub(super) fn encode(&self, version: u8, out: &mut [u8; RETRY_BYTES]) -> usize {
        let (kind, byte) = match self {
            Self::Retry(cookie) => {
                out[0] = RETRY;
                out[1] = version;
                out[2..].copy_from_slice(cookie);
                return RETRY_BYTES;
            }
            Self::Joined(state, _) => (JOINED, state.code()),
            Self::Error(reason) => (ERROR, reason.code()),
        };
        out[..3].copy_from_slice(&[kind, version, byte]);
        match self {
            Self::Joined(_, Some(tag)) => {
                out[3..3 + JOINED_TAG].copy_from_slice(tag);
                3 + JOINED_TAG
            }
            _ => 3,
        }
    }

    /// With the version of the relay. `None` if it is no answer of one.
    pub(super) fn parse(datagram: &[u8]) -> Option<(u8, Self)> {
        let &[kind, version, ref rest @ ..] = datagram else { return None };
        // The only answer that a relay of another version gives.
        if (kind, rest) == (ERROR, &[4]) {
            return Some((version, Self::Error(Reason::Version)));
        }
        let answer = match (kind, version, rest) {
            (RETRY, UNTAGGED | TAGGED, cookie) => Self::Retry(cookie.try_into().ok()?),
            (JOINED, UNTAGGED, &[state]) => Self::Joined(RoomState::of(state)?, None),
            (JOINED, TAGGED, &[state, ref tag @ ..]) => Self::Joined(RoomState::of(state)?, Some(tag.try_into().ok()?)),
            (ERROR, UNTAGGED | TAGGED, [1]) => Self::Error(Reason::Full),
            (ERROR, UNTAGGED | TAGGED, [2]) => Self::Error(Reason::Rate),
            (ERROR, UNTAGGED | TAGGED, [3]) => Self::Error(Reason::Taken),
            _ => return None,
        };
        Some((version, answer))
    }
}

/// Whether a datagram that came from a relay is its own, rather than one that it carried.
pub fn is_from_relay(datagram: &[u8]) -> bool {
    matches!(datagram, [RETRY..=ERROR, ..])
}

/// Whether it is for peers to understand: relays carry these, and no others.
pub(super) fn is_for_peers(first: u8) -> bool {
    matches!(first, 0x40..=0x45 | 0x80..)
}

/// Writes a Join into `out`, which is emptied first.
pub(super) fn encode_join(version: u8, ticket: &Ticket, cookie: &Cookie, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&[JOIN, version]);
    out.extend_from_slice(ticket.as_bytes());
    out.extend_from_slice(cookie);
}

/// Takes a Join apart into its version, room and cookie. `None` if it is none.
pub(super) fn parse_join(datagram: &[u8]) -> Option<(u8, Ticket, Cookie)> {
    let [JOIN, version, rest @ ..] = datagram else { return None };
    let (room, cookie) = rest.split_first_chunk()?;
    Some((*version, Ticket::from_bytes(*room), cookie.try_into().ok()?))
}
