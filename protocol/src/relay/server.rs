//! The relay's half.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{
    cookie::{Cookies, Source},
    pace::Pace,
    packet::{Answer, JOIN, JOIN_BYTES, RETRY_BYTES, Reason, State, VERSION, is_for_peers, parse_join},
    stats::{Dropped, RelayStats},
    ticket::Ticket,
};

/// A member who was silent for longer gives way to another who knows the ticket: most likely to itself, at a new address.
/// Peers who have nothing to say show a sign of life every two seconds.
const GIVES_WAY_AFTER: Duration = Duration::from_secs(5);

/// How often members are looked at who may have left.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// IPv4 and UDP headers: a room's bytes are counted with them.
const HEADERS: usize = 28;

/// Joins of one source: one every quarter of a second in the long run, 16 at once.
const JOIN_COST: Duration = Duration::from_millis(250);
const JOIN_DEPTH: Duration = Duration::from_secs(4);

/// Sources whose joins are counted apart. More than that share.
const JOIN_CELLS: usize = 4096;

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
    /// The most members from one source: an IPv4 address, or an IPv6 network of 64 bits.
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
    /// Send it on to this address, as it is.
    Forward(SocketAddr),
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
    fn new(answer: Answer) -> Self {
        let mut bytes = [0; RETRY_BYTES];
        let length = answer.encode(&mut bytes);
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
    /// How many seats each source has.
    sources: HashMap<Source, u32>,
    /// How many joins each source may do, by its place.
    joins: Vec<Pace>,
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
    heard: Instant,
    pace: Pace,
}

impl Relay {
    /// A relay without rooms. The key is secret: 16 bytes from a generator fit for keys, new at each start.
    pub fn new(config: RelayConfig, key: [u8; 16], now: Instant) -> Self {
        Self {
            config,
            cookies: Cookies::new(key, now),
            index: HashMap::new(),
            rooms: Vec::new(),
            free: Vec::new(),
            seats: HashMap::new(),
            sources: HashMap::new(),
            joins: vec![Pace::new(now); JOIN_CELLS],
            sweep_at: now,
            stats: RelayStats::default(),
        }
    }

    /// Says what to do with a datagram that came at `now` from `from`.
    pub fn handle(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Action {
        let action = match datagram.first() {
            Some(&first) if is_for_peers(first) => self.carry(now, from, datagram.len()),
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

    fn carry(&mut self, now: Instant, from: SocketAddr, length: usize) -> Result<Action, Dropped> {
        if length > self.config.datagram_max {
            return Err(Dropped::Long);
        }
        let (member, other) = self.member(from).ok_or(Dropped::Stranger)?;
        member.heard = now;
        let other = other.as_ref().ok_or(Dropped::Alone)?.address;
        self.charge(now, from, length)?;
        self.stats.forwarded += 1;
        self.stats.forwarded_bytes += length as u64;
        Ok(Action::Forward(other))
    }

    fn join(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Result<Action, Dropped> {
        let reply = |answer| Ok(Action::Reply(Reply::new(answer)));
        // The length first: whatever the version, no answer is longer than its question.
        if datagram.len() != JOIN_BYTES {
            return Err(Dropped::Foreign);
        }
        let (version, ticket, cookie) = parse_join(datagram).ok_or(Dropped::Foreign)?;
        if version != VERSION {
            return reply(Answer::Error(Reason::Version));
        }
        // A member only shows that it is still here: its address was proved when it came.
        let sits = self.seats.get(&from).filter(|seat| self.rooms[seat.room].ticket == ticket);
        if sits.is_some() {
            self.charge(now, from, datagram.len())?;
            let (member, other) = self.member(from).ok_or(Dropped::Stranger)?;
            member.heard = now;
            let state = if other.is_some() { State::Together } else { State::Waiting };
            return reply(Answer::Joined(state));
        }
        if !self.cookies.is_valid(now, from, &ticket, &cookie) {
            self.stats.retries += 1;
            return reply(Answer::Retry(self.cookies.make(now, from, &ticket)));
        }
        match self.sit(now, from, ticket) {
            Ok(state) => reply(Answer::Joined(state)),
            Err(reason) => {
                self.stats.refused += 1;
                reply(Answer::Error(reason))
            }
        }
    }

    /// Gives a seat to an address that has none in this room.
    fn sit(&mut self, now: Instant, from: SocketAddr, ticket: Ticket) -> Result<State, Reason> {
        let source = Source::of(from);
        let place = self.cookies.place(source, self.joins.len());
        if !self.joins[place].take(now, JOIN_COST, JOIN_DEPTH) {
            return Err(Reason::Rate);
        }
        // Whoever comes from another room leaves that one, and counts no more there.
        if let Some(&seat) = self.seats.get(&from) {
            self.leave(seat);
        }
        if self.sources.get(&source).is_some_and(|seats| *seats >= self.config.seats_per_source) {
            return Err(Reason::Rate);
        }
        let seat = match self.index.get(&ticket) {
            Some(&room) => Seat { room, side: self.free_side(now, room)? },
            None => Seat { room: self.open(ticket)?, side: 0 },
        };
        self.rooms[seat.room].members[seat.side] = Some(Member { address: from, heard: now, pace: Pace::new(now) });
        self.seats.insert(from, seat);
        *self.sources.entry(source).or_default() += 1;
        self.stats.joins += 1;
        let other = &self.rooms[seat.room].members[1 - seat.side];
        Ok(if other.is_some() { State::Together } else { State::Waiting })
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

    fn open(&mut self, ticket: Ticket) -> Result<usize, Reason> {
        if self.index.len() >= self.config.rooms {
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
        let source = Source::of(address);
        if let Some(seats) = self.sources.get_mut(&source) {
            *seats -= 1;
            if *seats == 0 {
                self.sources.remove(&source);
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
