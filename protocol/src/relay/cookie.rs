//! Cookies: the relay remembers nothing, and yet knows what it once sent to an address.

use std::{
    hash::Hasher,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use siphasher::sip128::{Hasher128, SipHasher24};

use super::{packet::Cookie, ticket::Ticket};

/// A cookie is good in the slot of time in which it was made, and in the next.
const SLOT: Duration = Duration::from_secs(10);

/// Makes and checks cookies: SipHash-2-4 with 128 bits (Aumasson and Bernstein, 2012), a keyed hash made for such uses,
/// over the address, the room and the slot of time.
#[derive(Debug)]
pub(super) struct Cookies {
    key: [u8; 16],
    start: Instant,
}

impl Cookies {
    pub(super) fn new(key: [u8; 16], start: Instant) -> Self {
        Self { key, start }
    }

    /// A cookie for an address and a room, made at `now`.
    pub(super) fn make(&self, now: Instant, from: SocketAddr, room: &Ticket) -> Cookie {
        self.of_slot(self.slot(now), from, room)
    }

    /// Whether a cookie was made for this address and room, not long before `now`.
    pub(super) fn is_valid(&self, now: Instant, from: SocketAddr, room: &Ticket, cookie: &Cookie) -> bool {
        let slot = self.slot(now);
        let given = u128::from_be_bytes(*cookie);
        // As numbers: no faster for a guess that begins well.
        let is = |slot| u128::from_be_bytes(self.of_slot(slot, from, room)) == given;
        is(slot) || slot.checked_sub(1).is_some_and(is)
    }

    fn slot(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs() / SLOT.as_secs()
    }

    fn of_slot(&self, slot: u64, from: SocketAddr, room: &Ticket) -> Cookie {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(&address_bytes(from.ip()));
        hasher.write(&from.port().to_be_bytes());
        hasher.write(room.as_bytes());
        hasher.write(&slot.to_be_bytes());
        hasher.finish128().as_u128().to_be_bytes()
    }
}

/// The first bytes of SipHash-2-4 under a cookie: who knows the cookie that was sent to an address made this, rather than who
/// only claims to be there.
pub(super) fn tag<const BYTES: usize>(cookie: &Cookie, message: &[u8]) -> [u8; BYTES] {
    const { assert!(BYTES <= 8) };
    let mut hasher = SipHasher24::new_with_key(cookie);
    hasher.write(message);
    let hash = hasher.finish128().as_u128().to_be_bytes();
    let mut tag = [0; BYTES];
    tag.copy_from_slice(&hash[..BYTES]);
    tag
}

/// As IPv6 has it, IPv4 addresses mapped (RFC 4291 section 2.5.5.2).
fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}
