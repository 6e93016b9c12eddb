//! The encrypted path between two peers, below a call: handshake, sealed packets, replay window, cookies, roaming.
//!
//! A [`CookieGate`] stands before a listener. It answers initiations with a cookie and keeps nothing, until one comes back with the
//! cookie and so from an address that its sender can be reached at; then it makes a [`Session`]. A caller makes a [`Session`]
//! with [`dial`](Session::dial). Either way it is a state machine without I/O: datagrams and the time go in; datagrams and
//! [`Event`]s come out. `docs/wire.md` has the bytes, `docs/threat-model.md` what they protect against.
//!
//! The rules for users:
//!
//! * Give a datagram to whom [`destination`] names. An initiation goes to the session whose
//!   [`is_repeat`](Session::is_repeat) says that it has it, and else to the gate.
//! * After *every* call of a method that takes `&mut self`, call [`poll_event`](Session::poll_event) until there is none, and
//!   [`poll_transmit`](Session::poll_transmit) until it returns false; send what it gives to
//!   [`transmit_address`](Session::transmit_address). Call [`handle_timeout`](Session::handle_timeout) when the time that
//!   [`poll_timeout`](Session::poll_timeout) names has come.
//! * What [`seal_media`](Session::seal_media) and [`seal_control`](Session::seal_control) make goes to
//!   [`address`](Session::address) as well.
//! * Where keys are [agreed anew](Session::enable_rekeying), after the same calls look whether it [needs a seed](Session::needs_seed),
//!   and give it one with [`rekey`](Session::rekey) before you poll.
//! * Once a session stands, silence is the user's matter: nothing here ends it but too many forgeries.

mod cookie_gate;
mod handshake;
pub(crate) mod limit;
mod noise;
mod path;
mod recent;
mod rekey;
mod seal;
mod state;
mod window;
mod wire;

#[cfg(test)]
mod cookie_gate_tests;
#[cfg(test)]
mod handshake_tests;
#[cfg(test)]
mod path_tests;
#[cfg(test)]
mod psk_tests;
#[cfg(test)]
mod rekey_tests;
#[cfg(test)]
mod seal_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod vector_tests;

use std::net::SocketAddr;

pub use cookie_gate::{Admission, CookieGate, GateStats};
pub(crate) use limit::{Source, source};
pub(crate) use noise::expand;
pub use rekey::{REKEY_EVERY, REKEY_OVERDUE};
pub use state::Session;
pub use wire::{Destination, destination};

use crate::identity::PublicKey;
pub use crate::packet::{MAX_DATAGRAM, VERSION};

/// The longest offer, bytes.
pub const MAX_OFFER: usize = 256;

/// The longest answer, bytes.
pub const MAX_ANSWER: usize = 64;

/// Bytes that sealing adds to the body of a media packet: kind, index, number and tag. A control packet has one more, which
/// tells the session's own from the application's.
pub const OVERHEAD: usize = wire::HEADER + wire::TAG;

/// Forged packets after which a session ends. Each is tried with two keys at most and accepted with probability 2^-63, so one in
/// 2^27 sessions that are attacked so accepts one; `docs/threat-model.md` argues it.
pub const MAX_FORGERIES: u64 = 1 << 36;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// Somebody calls. [`Session::accept`] or [`Session::refuse`] is to be called now.
    Incoming {
        /// Who: proven for XX. For IK it is proven only when [`Confirmed`](Event::Confirmed) comes, so do not ring before.
        peer: PublicKey,
        /// What it offers.
        offer: Vec<u8>,
    },
    /// The caller has its answer. Media may flow.
    Established {
        /// Who answered.
        peer: PublicKey,
        /// What was answered.
        answer: Vec<u8>,
    },
    /// The caller is really there, now, and has the answer. Media may flow.
    Confirmed,
    /// Media came, authentic and for the first time. It may come just before [`Confirmed`](Event::Confirmed).
    Media {
        /// As it was given to [`Session::seal_media`].
        number: u64,
        /// As it was given, 7 bits.
        header: u8,
        /// As it was given.
        body: &'a [u8],
    },
    /// A message of [`Session::seal_control`] came, for the first time.
    Control {
        /// Its place among all control packets of its sender, the session's own among them: the higher is the newer. They may
        /// come in any order.
        number: u64,
        /// As it was given.
        body: &'a [u8],
    },
    /// The peer has moved: it has answered from another address, where it is now reached.
    Moved {
        /// Where it was.
        from: SocketAddr,
        /// Where it is.
        to: SocketAddr,
    },
    /// The peer said no. The session is over.
    Refused(Reason),
    /// The handshake was not completed in time. The session is over.
    TimedOut,
    /// [`MAX_FORGERIES`] packets with wrong tags came. The session is over.
    Attacked,
}

/// Why a call was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The listener is in another call.
    Busy,
    /// The peers share no codec.
    NoSharedBundle,
    /// The peers speak different versions of the protocol. (Not authenticated.)
    Version,
    /// The listener does not want to.
    Declined,
    /// The listener has another key than the caller thinks. (Not authenticated.)
    WrongKey,
    /// One side has a [secret](crate::psk) for calls with the other, and the other has none, or another one.
    Psk,
    /// A reason of later versions, by its number: no less a refusal.
    Other(u8),
}

impl From<u8> for Reason {
    fn from(code: u8) -> Self {
        match code {
            1 => Self::Busy,
            2 => Self::NoSharedBundle,
            3 => Self::Version,
            4 => Self::Declined,
            5 => Self::WrongKey,
            6 => Self::Psk,
            other => Self::Other(other),
        }
    }
}

impl From<Reason> for u8 {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Busy => 1,
            Reason::NoSharedBundle => 2,
            Reason::Version => 3,
            Reason::Declined => 4,
            Reason::WrongKey => 5,
            Reason::Psk => 6,
            Reason::Other(code) => code,
        }
    }
}

/// What became of the datagrams that a session was given. Each counts once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Authentic media packets.
    pub media: u64,
    /// Authentic control packets, the session's own among them.
    pub control: u64,
    /// Handshake messages that were of use, repetitions that were answered among them.
    pub handshake: u64,
    /// Wrong tags: packets that were damaged on the way, or forged.
    pub forged: u64,
    /// Packets that came before, or were too late to know.
    pub replayed: u64,
    /// Not laid out as any packet is.
    pub malformed: u64,
    /// For an index that is not this session's, or a handshake message from an address that is not the peer's.
    pub strangers: u64,
    /// Handshake messages that are of no use now, and sealed packets before there is a key.
    pub unexpected: u64,
}

/// Why a session cannot be begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// The offer is longer than [`MAX_OFFER`].
    #[error("an offer has at most {MAX_OFFER} bytes, not {0}")]
    Offer(usize),
    /// The handshake could not be set up.
    #[error("the handshake cannot begin: the key is not usable")]
    Handshake,
}

/// Why a call was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    /// The answer is longer than [`MAX_ANSWER`].
    #[error("an answer has at most {MAX_ANSWER} bytes, not {0}")]
    Answer(usize),
    /// The caller has a shared secret, and the listener none, or another one. The caller was told so.
    #[error("the caller has another shared secret, or one where this side has none")]
    Psk,
    /// Nobody calls, or it is decided already.
    #[error("there is no call to be taken")]
    NotAsked,
}

/// Why a packet was not sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The session does not stand yet, or is over.
    #[error("the session is not open")]
    NotOpen,
    /// The number is not higher than all before.
    #[error("number {number} was used already")]
    Used {
        /// The number that was used.
        number: u64,
    },
    /// The number is more than 28672 after the one before: the receiver could not tell it from its 16 bits. 28672 frames are
    /// 9.5 minutes, so send something within that time.
    #[error("number {number} is too far after the one before")]
    Skip {
        /// The number that is too far ahead.
        number: u64,
    },
    /// More than [`MAX_DATAGRAM`] bytes.
    #[error("a datagram of {found} bytes, where {MAX_DATAGRAM} are the most")]
    TooLong {
        /// Bytes it would have.
        found: usize,
    },
}
