//! The relay's half.

use std::{
    cmp::Reverse,
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use zeroize::Zeroizing;

use super::{
    cookie::{Cookies, tag},
    pace::TokenBucket,
    packet::{
        Cookie, JOIN, JOIN_BYTES, RETRY_BYTES, Reason, RelayAnswer, RoomState, TAG_BYTES, TAGGED, UNTAGGED,
        is_for_peers, parse_join,
    },
    stats::{Dropped, RelayStats},
    ticket::Ticket,
};
use crate::{
    network::Network,
    session::limit::{Rate, Table},
};

/// A member who was silent for longer gives way to another who knows the ticket: most likely to itself, at a new address.
/// Peers who have nothing to say show a sign of life every two seconds.
const GIVES_WAY_AFTER: Duration = Duration::from_secs(5);

/// How often members are looked at who may have left.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// IPv4 and UDP headers: a room's bytes are counted with them.
const HEADERS: usize = 28;

/// Joins of one source.
const JOINS: Rate = Rate { burst: 16, per_minute: 60 * 4 };

/// Weights are counted in quarters, as a network of 24 or 48 bits has four times the seats of a source.
const QUARTERS: u32 = 4;

/// Two who talk give up their room only to somebody who weighs so many times less.
const HEAVY: u32 = 4;

/// How many bytes a member may send at once, in time at its rate.
const BYTES_DEPTH: Duration = Duration::from_secs(1);

/// What a relay allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayConfig {
    /// The most rooms at a time.
    pub rooms: usize,
    /// Bits per second that each member of a room may send, headers of IPv4 and UDP included; more are dropped. Up to a
    /// second's worth may come at once, and one whole datagram always may.
    pub bits_per_second: u64,
    /// The longest datagram that is carried, in bytes without headers.
    pub datagram_max: usize,
    /// A member silent for so long has left.
    pub idle_max: Duration,
    /// The most members from one source: an IPv4 address, or an IPv6 network of 64 bits. An IPv6 network of 56 bits has twice as
    /// many in all, one of 48 bits or an IPv4 network of 24 bits four times.
    pub seats_per_source: u32,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            rooms: 1000,
            bits_per_second: 64_000,
            datagram_max: 1400,
            idle_max: Duration::from_secs(60),
            seats_per_source: 64,
        }
    }
}

/// What to do with a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send its first bytes on to this address, as they are.
    Forward {
        /// Where the other member is.
        to: SocketAddr,
        /// How many: all, but for the tag.
        bytes: usize,
    },
    /// Send this to the address that it came from.
    Reply(Reply),
    /// Nothing.
    Drop(Dropped),
}

/// A short answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    bytes: [u8; RETRY_BYTES],
    length: usize,
}

impl Reply {
    fn new(version: u8, answer: RelayAnswer) -> Self {
        let mut bytes = [0; RETRY_BYTES];
        let length = answer.encode(version, &mut bytes);
        Self { bytes, length }
    }

    /// The datagram to send: never longer than the one that it answers.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Carries datagrams between members of rooms, without I/O: [`handle`](Self::handle) says what to do with each that comes, and
/// [`handle_timeout`](Self::handle_timeout) is to be called when the time that [`poll_timeout`](Self::poll_timeout) names
/// has come.
#[derive(Debug)]
pub struct Relay {
    config: RelayConfig,
    cookies: Cookies,
    /// Where in `rooms` a room is.
    index: HashMap<Ticket, usize>,
    rooms: Vec<Room>,
    free: Vec<usize>,
    /// Who sits where. An address sits in one room.
    seats: HashMap<SocketAddr, Seat>,
    /// How many seats each source has, and each network of sources.
    taken: HashMap<Network, u32>,
    /// How many joins each may do.
    joins: Table<1>,
    sweep_at: Instant,
    stats: RelayStats,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seat {
    room: usize,
    side: usize,
}

#[derive(Debug)]
struct Room {
    ticket: Ticket,
    members: [Option<Member>; 2],
}

#[derive(Debug)]
struct Member {
    address: SocketAddr,
    /// Since when it sits here, and when it was heard last.
    since: Instant,
    heard: Instant,
    pace: TokenBucket,
    /// The cookie by which it tags what it sends, if it does.
    cookie: Option<Cookie>,
}

impl Relay {
    /// A relay without rooms. The key is secret: 16 bytes from a generator fit for keys, new at each start.
    pub fn new(config: RelayConfig, key: [u8; 16], now: Instant) -> Self {
        // Another function of the same key than what makes cookies.
        let mut table_key = Zeroizing::new([0; 32]);
        table_key[..16].copy_from_slice(&key);
        Self {
            config,
            cookies: Cookies::new(key, now),
            index: HashMap::new(),
            rooms: Vec::new(),
            free: Vec::new(),
            seats: HashMap::new(),
            taken: HashMap::new(),
            joins: Table::new(table_key, [JOINS]),
            sweep_at: now,
            stats: RelayStats::default(),
        }
    }

    /// Says what to do with a datagram that came at `now` from `from`.
    pub fn handle(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Action {
        let action = match datagram.first() {
            Some(&first) if is_for_peers(first) => self.carry(now, from, datagram),
            Some(&JOIN) => self.join(now, from, datagram),
            _ => Err(Dropped::Foreign),
        };
        action.unwrap_or_else(|drop| {
            self.stats.count(drop);
            Action::Drop(drop)
        })
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next; `None` as long as nobody is here.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!self.seats.is_empty()).then_some(self.sweep_at)
    }

    /// Shows out the members who were silent for too long, and closes rooms that nobody sits in.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now < self.sweep_at {
            return;
        }
        self.sweep_at = now + SWEEP_EVERY;
        for room in 0..self.rooms.len() {
            for side in 0..2 {
                let member = &self.rooms[room].members[side];
                let silence = member.as_ref().map(|member| now.saturating_duration_since(member.heard));
                if silence.is_some_and(|silence| silence >= self.config.idle_max) {
                    self.leave(Seat { room, side });
                    self.stats.expired += 1;
                }
            }
        }
    }

    /// What it has done so far.
    pub fn stats(&self) -> &RelayStats {
        &self.stats
    }

    /// Rooms in use.
    pub fn rooms(&self) -> usize {
        self.index.len()
    }

    /// Members in all rooms.
    pub fn members(&self) -> usize {
        self.seats.len()
    }

    fn carry(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Result<Action, Dropped> {
        let (member, other) = self.member(from).ok_or(Dropped::Stranger)?;
        let bytes = match &member.cookie {
            None => datagram.len(),
            // Before anything else: what is forged is no sign of life, and costs the member nothing.
            Some(cookie) => match datagram.split_last_chunk::<TAG_BYTES>() {
                Some((body, given)) if *given == tag(cookie, body) => body.len(),
                _ => return Err(Dropped::Forged),
            },
        };
        member.heard = now;
        let other = other.as_ref().map(|other| other.address);
        if bytes > self.config.datagram_max {
            return Err(Dropped::Long);
        }
        let to = other.ok_or(Dropped::Alone)?;
        self.charge(now, from, datagram.len())?;
        self.stats.forwarded += 1;
        self.stats.forwarded_bytes += bytes as u64;
        Ok(Action::Forward { to, bytes })
    }

    fn join(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Result<Action, Dropped> {
        // The length first: whatever the version, no answer is longer than its question.
        if datagram.len() != JOIN_BYTES {
            return Err(Dropped::Foreign);
        }
        let (version, ticket, shown) = parse_join(datagram).ok_or(Dropped::Foreign)?;
        if !matches!(version, UNTAGGED | TAGGED) {
            return Ok(Action::Reply(Reply::new(TAGGED, RelayAnswer::Error(Reason::Version))));
        }
        let cookie = (version == TAGGED).then_some(shown);
        let reply = |answer| Ok(Action::Reply(Reply::new(version, answer)));
        // A member only shows that it is still here: its address was proved when it came.
        let sits = self.seats.get(&from).filter(|seat| self.rooms[seat.room].ticket == ticket);
        if sits.is_some()
            && let Some((member, other)) = self.member(from)
            && member.cookie == cookie
        {
            let state = if other.is_some() { RoomState::Together } else { RoomState::Waiting };
            member.heard = now;
            self.charge(now, from, datagram.len())?;
            return reply(RelayAnswer::joined(state, cookie.as_ref()));
        }
        if !self.cookies.is_valid(now, from, &ticket, &shown) {
            self.stats.retries += 1;
            return reply(RelayAnswer::Retry(self.cookies.make(now, from, &ticket)));
        }
        match self.sit(now, from, ticket, cookie) {
            Ok(state) => reply(RelayAnswer::joined(state, cookie.as_ref())),
            Err(reason) => {
                self.stats.refused += 1;
                reply(RelayAnswer::Error(reason))
            }
        }
    }

    /// Gives a seat to an address that has none in this room, or another cookie to one that has.
    fn sit(
        &mut self,
        now: Instant,
        from: SocketAddr,
        ticket: Ticket,
        cookie: Option<Cookie>,
    ) -> Result<RoomState, Reason> {
        if !self.joins.take(from, 0, now) {
            return Err(Reason::Rate);
        }
        if let Some(&seat) = self.seats.get(&from) {
            if self.rooms[seat.room].ticket == ticket
                && let Some((member, other)) = self.member(from)
            {
                (member.cookie, member.heard) = (cookie, now);
                return Ok(if other.is_some() { RoomState::Together } else { RoomState::Waiting });
            }
            // Whoever comes from another room leaves that one, and counts no more there.
            self.leave(seat);
        }
        self.make_room(from, &ticket)?;
        let seat = match self.index.get(&ticket) {
            Some(&room) => Seat { room, side: self.free_side(now, room)? },
            None => Seat { room: self.open(ticket, from)?, side: 0 },
        };
        let member = Member { address: from, since: now, heard: now, pace: TokenBucket::new(now), cookie };
        self.rooms[seat.room].members[seat.side] = Some(member);
        self.seats.insert(from, seat);
        for network in Network::all_of(from) {
            *self.taken.entry(network).or_default() += 1;
        }
        self.stats.joins += 1;
        let other = &self.rooms[seat.room].members[1 - seat.side];
        Ok(if other.is_some() { RoomState::Together } else { RoomState::Waiting })
    }

    /// Sees to it that the networks that an address is in have a seat for it. In one that has as many as it may, somebody who
    /// waits alone, and comes from an address with more seats, gives way.
    fn make_room(&mut self, from: SocketAddr, ticket: &Ticket) -> Result<(), Reason> {
        for (n, network) in Network::all_of(from).enumerate() {
            let most = self.config.seats_per_source.saturating_mul(network.share());
            let is_full = self.taken.get(&network).is_some_and(|taken| *taken >= most);
            if is_full && (n == 0 || !self.evict(from, Some(network), ticket)) {
                return Err(Reason::Rate);
            }
        }
        Ok(())
    }

    /// Seats that an address and the networks that it is in have, each by its share: the most of these, in quarters of a
    /// source's seat. Only of networks smaller than `within`, if that is given.
    fn weight(&self, address: SocketAddr, more: u32, within: Option<Network>) -> u32 {
        let smaller = Network::all_of(address).take_while(|network| Some(*network) != within);
        let weights = smaller.map(|network| {
            let taken = self.taken.get(&network).copied().unwrap_or_default();
            taken.saturating_add(more).saturating_mul(QUARTERS) / network.share()
        });
        weights.max().unwrap_or_default()
    }

    /// Closes a room for somebody who comes: of those who wait alone, that of who comes from where most seats are taken, and among
    /// these that of who came first; if nobody waits alone in vain, that of two who both come from where very many are. Nobody
    /// gives way to who weighs as much. With `within`, only rooms of that network. Whether there was one.
    fn evict(&mut self, comes: SocketAddr, within: Option<Network>, spare: &Ticket) -> bool {
        let ours = self.weight(comes, 1, within);
        let is_within = |address| within.is_none_or(|within| Network::all_of(address).any(|network| network == within));
        let mut heaviest = None;
        for at in self.index.iter().filter(|(ticket, _)| *ticket != spare).map(|(_, &at)| at) {
            let members = || self.rooms[at].members.iter().flatten();
            let alone = members().count() == 1;
            // Two who talk are of the whole relay, not of one network.
            if !members().all(|member| is_within(member.address)) || !alone && within.is_some() {
                continue;
            }
            let weight = members().map(|member| self.weight(member.address, 0, within)).min().unwrap_or_default();
            let limit = if alone { ours } else { ours.saturating_mul(HEAVY) };
            let since = members().map(|member| member.since).max();
            let found = (alone, weight, Reverse(since), at);
            if weight > limit && heaviest.is_none_or(|heaviest| found > heaviest) {
                heaviest = Some(found);
            }
        }
        let Some((.., room)) = heaviest else { return false };
        for side in 0..2 {
            self.leave(Seat { room, side });
        }
        self.stats.evicted += 1;
        true
    }

    /// A side of a room that is free, or whose member gives way.
    fn free_side(&mut self, now: Instant, room: usize) -> Result<usize, Reason> {
        let silence = |member: &Option<Member>| {
            member.as_ref().map_or(Duration::MAX, |member| now.saturating_duration_since(member.heard))
        };
        let silences = [0, 1].map(|side| silence(&self.rooms[room].members[side]));
        let side = usize::from(silences[1] > silences[0]);
        if silences[side] <= GIVES_WAY_AFTER {
            return Err(Reason::Taken);
        }
        if let Some(member) = self.rooms[room].members[side].take() {
            self.forget(member.address);
            self.stats.moves += 1;
        }
        Ok(side)
    }

    fn open(&mut self, ticket: Ticket, from: SocketAddr) -> Result<usize, Reason> {
        if self.index.len() >= self.config.rooms && !self.evict(from, None, &ticket) {
            return Err(Reason::Full);
        }
        let room = Room { ticket, members: [None, None] };
        let at = match self.free.pop() {
            Some(at) => {
                self.rooms[at] = room;
                at
            }
            None => {
                self.rooms.push(room);
                self.rooms.len() - 1
            }
        };
        self.index.insert(ticket, at);
        Ok(at)
    }

    /// Frees a seat, and closes the room if nobody is left in it.
    fn leave(&mut self, seat: Seat) {
        let room = &mut self.rooms[seat.room];
        let member = room.members[seat.side].take();
        if room.members.iter().all(Option::is_none) && self.index.remove(&room.ticket).is_some() {
            self.free.push(seat.room);
        }
        if let Some(member) = member {
            self.forget(member.address);
        }
    }

    fn forget(&mut self, address: SocketAddr) {
        self.seats.remove(&address);
        for network in Network::all_of(address) {
            if let Some(seats) = self.taken.get_mut(&network) {
                *seats -= 1;
                if *seats == 0 {
                    self.taken.remove(&network);
                }
            }
        }
    }

    /// The member at an address, and the one on the other side.
    fn member(&mut self, address: SocketAddr) -> Option<(&mut Member, &Option<Member>)> {
        let seat = *self.seats.get(&address)?;
        let [first, second] = &mut self.rooms[seat.room].members;
        let (member, other) = if seat.side == 0 { (first, second) } else { (second, first) };
        Some((member.as_mut()?, other))
    }

    /// Counts bytes that a member sends.
    fn charge(&mut self, now: Instant, from: SocketAddr, length: usize) -> Result<(), Dropped> {
        let cost = |bytes: usize| {
            let nanoseconds =
                8_000_000_000 * (bytes + HEADERS) as u128 / u128::from(self.config.bits_per_second.max(1));
            Duration::from_nanos(nanoseconds.try_into().unwrap_or(u64::MAX))
        };
        let (cost, depth) = (cost(length), BYTES_DEPTH.max(cost(self.config.datagram_max)));
        let (member, _) = self.member(from).ok_or(Dropped::Stranger)?;
        if member.pace.take(now, cost, depth) { Ok(()) } else { Err(Dropped::Fast) }
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
