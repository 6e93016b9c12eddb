//! What stands before a listener: it answers strangers without remembering them.
//!
//! An initiation without a valid cookie is answered with one: 20 bytes, fewer than any initiation has, and nothing is kept.
//! The cookie is a keyed hash of the source's address and port, the caller's index and the time, so only who can receive at that
//! address within 10 to 20 s has it; RFC 9147 section 5.1 and RFC 9000 section 8.1.2 do the same. The caller mixes the cookie
//! into the handshake (`noise`), so that a recorded initiation is of no use from another address, or later; within that time it is
//! known again, and not answered twice.
//!
//! Only an initiation with a valid cookie costs a key agreement, and those are limited: for each source, for the networks that it
//! is in (IPv4 /24; IPv6 /64, /56 and /48), and for all.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use hkdf::hmac::Mac;
use zeroize::Zeroizing;

use crate::{
    identity::Identity,
    session::{
        Event, Reason, Session,
        handshake::Responded,
        limit::{Bucket, Rate, Table, mac},
        noise::{self, Draw},
        recent::Recent,
        wire::{self, COOKIE, Outer, Pattern, Unread},
    },
};

/// How long a cookie is the newest one. It is valid for as long again.
const SLOT: Duration = Duration::from_secs(10);

/// Replies to one source that has no cookie, by its own reckoning: many callers may be behind one address translator, and each
/// asks up to four times a second.
const REPLIES: Rate = Rate { burst: 64, per_minute: 60 * 32 };

/// Replies to sources that have used up theirs. The source of a datagram without a cookie may be forged: so a flood in
/// somebody's name does not keep that one out, and yet all replies together are bounded.
const SPARE_REPLIES: Rate = Rate { burst: 1024, per_minute: 60 * 1024 };

/// How long a cookie may be valid.
const VALID: Duration = SLOT.saturating_mul(2);

/// Handshakes with one source.
const HANDSHAKES: Rate = Rate { burst: 8, per_minute: 60 * 2 };

/// Handshakes with one source that count as its first: see [`KEPT`].
const FIRST_HANDSHAKES: Rate = Rate { burst: 1, per_minute: 6 };

/// Handshakes with everybody: three or four X25519 operations each, some hundred microseconds. This is about 1 % of a core.
const ALL_HANDSHAKES: Rate = Rate { burst: 64, per_minute: 60 * 32 };

/// Of those, so many at once are kept for sources that had none in the last ten seconds. So some hundred sources that shake
/// hands as often as each may do not keep others out.
const KEPT: u32 = 32;

/// Handshakes with everybody while a cookie is valid.
const MOST_RECENT: usize =
    ALL_HANDSHAKES.burst as usize + ALL_HANDSHAKES.per_minute as usize * VALID.as_secs() as usize / 60;

const REPLY: usize = 0;
const HANDSHAKE: usize = 0;
const FIRST: usize = 1;

/// What became of a datagram that came to the gate.
#[derive(Debug)]
pub enum Admission {
    /// Send this back to where the datagram came from. It is shorter than the datagram.
    Reply(Vec<u8>),
    /// Somebody calls who is at that address. The event is [`Event::Incoming`] for IK; for XX it comes later, from
    /// [`Session::handle`]. Look for what the session has to send.
    Session(Box<Session>, Option<Event<'static>>),
    /// Nothing to do.
    Junk,
}

/// What became of the datagrams that came to a gate. Each counts once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GateStats {
    /// Sessions begun.
    pub sessions: u64,
    /// Cookies sent.
    pub retries: u64,
    /// Initiations of other versions, told so.
    pub versions: u64,
    /// Initiations for another key than this listener's, told so.
    pub wrong_keys: u64,
    /// Initiations that were not answered as their source, or all sources, had asked too often.
    pub limited: u64,
    /// Initiations that a session had come of before: somebody has recorded them, or asks again after the session's end.
    pub replayed: u64,
    /// What is no initiation.
    pub malformed: u64,
}

/// What stands before a listener: it answers strangers without remembering them, and makes a [`Session`] of those who can be
/// reached at the address that they send from. Its memory does not grow.
pub struct CookieGate {
    identity: Identity,
    cookie_key: Zeroizing<[u8; 32]>,
    start: Instant,
    draw: Draw,
    /// Sources that anybody can claim to be, and those that have shown a cookie: the first do not push the second out.
    claimed: Table<1>,
    proven: Table<2>,
    spare_replies: Bucket,
    handshakes: Bucket,
    recent: Recent,
    stats: GateStats,
}

impl std::fmt::Debug for CookieGate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("identity", &self.identity).field("stats", &self.stats).finish_non_exhaustive()
    }
}

impl CookieGate {
    /// A gate before the listener with this identity. The secret makes cookies and the ephemeral keys of handshakes: 32 bytes
    /// of the operating system's generator, new for each gate. `start` is the time at which cookies begin to count.
    pub fn new(identity: &Identity, secret: [u8; 32], start: Instant) -> Self {
        let mut draw = Draw::new(secret);
        let (cookie_key, table_key) = (draw.next(), draw.next());
        let mut keys = Draw::new(*table_key);
        Self {
            identity: identity.clone(),
            cookie_key,
            start,
            draw,
            claimed: Table::new(keys.next(), [REPLIES]),
            proven: Table::new(keys.next(), [HANDSHAKES, FIRST_HANDSHAKES]),
            spare_replies: Bucket::full(SPARE_REPLIES, start),
            handshakes: Bucket::full(ALL_HANDSHAKES, start),
            recent: Recent::new(VALID, MOST_RECENT),
            stats: GateStats::default(),
        }
    }

    /// Looks at a datagram that is [for the gate](super::Destination::CookieGate). If a session comes of it, it has the index given.
    pub fn admit(&mut self, now: Instant, from: SocketAddr, datagram: &[u8], index: u16) -> Admission {
        self.knock_where(now, from, datagram, index, true)
    }

    /// The same; without `room` for another session of this source, initiations that would begin one are not answered.
    pub(crate) fn knock_where(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        index: u16,
        room: bool,
    ) -> Admission {
        let (sender, pattern, shown, message) = match Outer::parse(datagram) {
            Ok(Outer::Initiate { sender, pattern, cookie, noise }) => (sender, pattern, cookie, noise),
            Err(Unread::OtherVersion { sender }) => {
                if !self.may_reply(from, now) {
                    self.stats.limited += 1;
                    return Admission::Junk;
                }
                self.stats.versions += 1;
                return Admission::Reply(wire::refuse(sender, Reason::Version.into()));
            }
            _ => {
                self.stats.malformed += 1;
                return Admission::Junk;
            }
        };
        let slot = self.slot(now);
        if !self.is_valid(&shown, slot, from, sender) {
            if !self.may_reply(from, now) {
                self.stats.limited += 1;
                return Admission::Junk;
            }
            self.stats.retries += 1;
            return Admission::Reply(wire::retry(sender, &self.cookie(slot, from, sender)));
        }
        // Before anything is counted against the source: this needs no key, only a recording.
        if self.recent.has(now, datagram) {
            self.stats.replayed += 1;
            return Admission::Junk;
        }
        if !room || !self.may_shake_hands(from, now) {
            self.stats.limited += 1;
            return Admission::Junk;
        }
        let seed = self.draw.next();
        let begun = match pattern {
            Pattern::Known | Pattern::Shared => {
                noise::responder(&self.identity, pattern, &shown, &seed).and_then(|mut noise| {
                    let payload = noise::read(&mut noise, message)?;
                    let shares = (pattern == Pattern::Shared).then(|| (self.identity.public(), shown));
                    let begun = Session::answering_known(noise, payload, shares, datagram, from, index, sender, now);
                    begun.map(|(session, event)| (session, Some(event))).ok_or(snow::Error::Decrypt)
                })
            }
            Pattern::Unknown => {
                Responded::new(&self.identity, &shown, &seed, message, index).map(|(responded, second)| {
                    (Session::answering_unknown(responded, &second, datagram, from, index, sender, now), None)
                })
            }
        };
        // It fails if the message was made for another key. The caller has proven its address, and is told.
        match begun {
            Ok((session, event)) => {
                self.stats.sessions += 1;
                self.recent.take(now, datagram);
                Admission::Session(Box::new(session), event)
            }
            Err(_) => {
                self.stats.wrong_keys += 1;
                Admission::Reply(wire::refuse(sender, Reason::WrongKey.into()))
            }
        }
    }

    /// What became of the datagrams so far.
    pub fn stats(&self) -> &GateStats {
        &self.stats
    }

    /// Whether one more reply goes to an address that is not proven.
    fn may_reply(&mut self, from: SocketAddr, now: Instant) -> bool {
        self.claimed.take(from, REPLY, now) || self.spare_replies.take(SPARE_REPLIES, now)
    }

    /// Whether a key agreement is computed for an address that is proven.
    fn may_shake_hands(&mut self, from: SocketAddr, now: Instant) -> bool {
        if !self.proven.take(from, HANDSHAKE, now) {
            return false;
        }
        if self.handshakes.take_above(KEPT, ALL_HANDSHAKES, now) {
            let _ = self.proven.take(from, FIRST, now);
            return true;
        }
        // Who asks while there is nothing left loses nothing by it.
        self.handshakes.left(ALL_HANDSHAKES, now) > 0
            && self.proven.take(from, FIRST, now)
            && self.handshakes.take(ALL_HANDSHAKES, now)
    }

    fn slot(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs() / SLOT.as_secs()
    }

    fn cookie(&self, slot: u64, from: SocketAddr, sender: u16) -> [u8; COOKIE] {
        let mut cookie = [0; COOKIE];
        cookie.copy_from_slice(&self.hash(slot, from, sender).finalize().into_bytes()[..COOKIE]);
        cookie
    }

    fn is_valid(&self, cookie: &[u8; COOKIE], slot: u64, from: SocketAddr, sender: u16) -> bool {
        let is_of = |slot| self.hash(slot, from, sender).verify_truncated_left(cookie).is_ok();
        is_of(slot) || slot.checked_sub(1).is_some_and(is_of)
    }

    fn hash(&self, slot: u64, from: SocketAddr, sender: u16) -> impl Mac + use<> {
        let ip = match from.ip().to_canonical() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        mac(&self.cookie_key, &[&slot.to_be_bytes(), &ip.octets(), &from.port().to_be_bytes(), &sender.to_be_bytes()])
    }
}
