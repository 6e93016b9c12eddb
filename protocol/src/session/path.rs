//! Path validation, as in RFC 9000 sections 8.2 and 9: an address that the peer seems to have moved to is asked to prove it.
//!
//! A packet that is authentic and newer than all before may have been carried there by somebody else. So where it came from is
//! sent a *challenge*, sealed, and nothing else; what is said to the peer goes where it went before. When the peer sends the
//! challenge's bytes back, sealed, it is there. Until then the address gets three times the bytes that came from it at most
//! (section 8.1), so that nobody is flooded in whose name a packet was sent.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{OVERHEAD, state::same};

/// Bytes of a challenge, and of its echo.
pub(super) const CHALLENGE_BYTES: usize = 8;

/// Bytes of the datagram that carries either.
const DATAGRAM: usize = OVERHEAD + 1 + CHALLENGE_BYTES;

/// A challenge is repeated after so long, as it or its answer may be lost.
const PAUSE: Duration = Duration::from_millis(200);

/// An address that has not answered after so long is forgotten. A packet from there begins anew.
const VALIDATION_TIMEOUT: Duration = Duration::from_secs(3);

/// How many times as much as came from an address is sent to it.
const FACTOR: usize = 3;

/// An address that is being tested.
#[derive(Debug)]
pub(super) struct Probe {
    to: SocketAddr,
    challenge: [u8; CHALLENGE_BYTES],
    received: usize,
    sent: usize,
    due: bool,
    next: Instant,
    end: Instant,
}

impl Probe {
    /// Begins to test an address.
    pub(super) fn new(to: SocketAddr, challenge: [u8; CHALLENGE_BYTES], now: Instant) -> Self {
        Self { to, challenge, received: 0, sent: 0, due: true, next: now + PAUSE, end: now + VALIDATION_TIMEOUT }
    }

    pub(super) fn is_of(&self, address: SocketAddr) -> bool {
        same(self.to, address)
    }

    /// So many authentic bytes came from there.
    pub(super) fn came(&mut self, bytes: usize, now: Instant) {
        self.received += bytes;
        self.tick(now);
    }

    /// The challenge to be sent now, and where to.
    pub(super) fn take(&mut self) -> Option<(SocketAddr, [u8; CHALLENGE_BYTES])> {
        if !self.due || self.sent + DATAGRAM > FACTOR * self.received {
            return None;
        }
        self.due = false;
        self.sent += DATAGRAM;
        Some((self.to, self.challenge))
    }

    /// The address, if this is what it was asked for.
    pub(super) fn answered(&self, echo: &[u8]) -> Option<SocketAddr> {
        (self.challenge == echo).then_some(self.to)
    }

    /// When [`tick`](Self::tick) is to be called.
    pub(super) fn due(&self) -> Instant {
        self.next.min(self.end)
    }

    /// Does what is due; false if it is over.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        if now >= self.next {
            (self.due, self.next) = (true, now + PAUSE);
        }
        now < self.end
    }
}
