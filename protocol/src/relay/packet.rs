//! The layout of what peers and relays say to each other. `docs/relay.md` has the byte diagrams.

use super::ticket::Ticket;

/// Version of the relay's protocol.
pub(super) const VERSION: u8 = 1;

pub(super) const JOIN: u8 = 0x50;
const RETRY: u8 = 0x51;
const JOINED: u8 = 0x52;
const ERROR: u8 = 0x53;

/// Length of a Join. It is the longest packet, so that no answer is longer than what asked for it.
pub const JOIN_BYTES: usize = 34;

/// Length of a Retry, the longest answer.
pub(super) const RETRY_BYTES: usize = 18;

/// Proves that its bearer receives what is sent to its address; all zeros is none.
pub(super) type Cookie = [u8; 16];

/// Who is in the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Only the one who asks.
    Waiting,
    /// The other too.
    Together,
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
pub(super) enum Answer {
    /// "Say that again, with this."
    Retry(Cookie),
    Joined(State),
    Error(Reason),
}

impl Answer {
    /// Writes it to the start of `out`, and returns its length.
    pub(super) fn encode(&self, out: &mut [u8; RETRY_BYTES]) -> usize {
        let (kind, byte) = match self {
            Self::Retry(cookie) => {
                out[0] = RETRY;
                out[1] = VERSION;
                out[2..].copy_from_slice(cookie);
                return RETRY_BYTES;
            }
            Self::Joined(State::Waiting) => (JOINED, 0),
            Self::Joined(State::Together) => (JOINED, 1),
            Self::Error(reason) => (ERROR, reason.code()),
        };
        out[..3].copy_from_slice(&[kind, VERSION, byte]);
        3
    }

    /// `None` if it is no answer of a relay.
    pub(super) fn parse(datagram: &[u8]) -> Option<Self> {
        match *datagram {
            [RETRY, VERSION, ref cookie @ ..] => cookie.try_into().ok().map(Self::Retry),
            [JOINED, VERSION, 0] => Some(Self::Joined(State::Waiting)),
            [JOINED, VERSION, 1] => Some(Self::Joined(State::Together)),
            [ERROR, VERSION, 1] => Some(Self::Error(Reason::Full)),
            [ERROR, VERSION, 2] => Some(Self::Error(Reason::Rate)),
            [ERROR, VERSION, 3] => Some(Self::Error(Reason::Taken)),
            // The only answer that a relay of another version gives.
            [ERROR, _, 4] => Some(Self::Error(Reason::Version)),
            _ => None,
        }
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
pub(super) fn encode_join(ticket: &Ticket, cookie: &Cookie, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&[JOIN, VERSION]);
    out.extend_from_slice(ticket.as_bytes());
    out.extend_from_slice(cookie);
}

/// Takes a Join apart into its version, room and cookie. `None` if it is none.
pub(super) fn parse_join(datagram: &[u8]) -> Option<(u8, Ticket, Cookie)> {
    let [JOIN, version, rest @ ..] = datagram else { return None };
    let (room, cookie) = rest.split_first_chunk()?;
    Some((*version, Ticket::from_bytes(*room), cookie.try_into().ok()?))
}
