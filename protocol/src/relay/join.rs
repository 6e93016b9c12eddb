//! The peer's half.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{
    cookie::tag,
    packet::{Cookie, Reason, RelayAnswer, RoomState, TAG_BYTES, TAGGED, UNTAGGED, encode_join},
    ticket::Ticket,
};

/// First pause before a Join is repeated; each further one is twice as long, up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// After so long without a seat, it is over.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a member who is alone asks whether the other has come.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// How often a member shows that it is still here, unless it has sent something else: a member that is silent for five
/// seconds gives way to whoever comes with the ticket.
const ALIVE_EVERY: Duration = Duration::from_secs(2);

/// How often a Retry is answered at once, before the next pause: two, for the cookie's time may just have run out.
const QUICK: u8 = 2;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// We sit in the room, alone.
    Waiting,
    /// Both of us do: datagrams sent to the relay reach the other.
    Together,
    /// The relay said no. We go on asking: what keeps us out may pass, and anyone could have said it in the relay's name.
    Refused(Reason),
    /// We got no seat for ten seconds: the relay did not answer, or gave this reason last. It is over.
    GaveUp(Option<Reason>),
}

/// Gets a seat in a room at a relay, and keeps it.
///
/// A state machine without I/O: after *every* call of a method that takes `&mut self`, call
/// [`poll_transmit`](Self::poll_transmit) until it returns false, and send what it gives to the [`relay`](Self::relay); and
/// call [`handle_timeout`](Self::handle_timeout) when the time that [`poll_timeout`](Self::poll_timeout) names has come.
/// It sees only the relay's own datagrams ([`is_from_relay`](super::is_from_relay)): the others are the peer's.
#[derive(Debug)]
pub struct Join {
    relay: SocketAddr,
    ticket: Ticket,
    /// What is shown next, as the relay said last. Anybody may have said it in the relay's name.
    cookie: Cookie,
    /// The cookie by which the relay has tagged its last answer, and knows what we send.
    key: Option<Cookie>,
    version: u8,
    state: Option<RoomState>,
    /// Since when we ask without an answer; `None` if the last one was answered.
    asking_since: Option<Instant>,
    pause: Duration,
    quick: u8,
    refused: Option<Reason>,
    /// When the next Join is due; `None` if it is over.
    due: Option<Instant>,
    must_send: bool,
}

impl Join {
    /// Starts to ask for a seat.
    pub fn dial(relay: SocketAddr, ticket: Ticket, now: Instant) -> Self {
        let mut join = Self {
            relay,
            ticket,
            cookie: [0; 16],
            key: None,
            version: TAGGED,
            state: None,
            asking_since: None,
            pause: PAUSE,
            quick: QUICK,
            refused: None,
            due: None,
            must_send: false,
        };
        join.ask(now);
        join
    }

    /// Where Joins go, and where the other's datagrams come from.
    pub fn relay(&self) -> SocketAddr {
        self.relay
    }

    /// Who is in the room, as the relay last said; `None` before we have a seat, and after it is over.
    pub fn state(&self) -> Option<RoomState> {
        self.state
    }

    /// Asks again, now: to be called when our own address has changed, or the other has been silent for suspiciously long
    /// (the relay may have been started anew, and know nothing of us). Has no effect while we ask anyway, or when it is
    /// over.
    pub fn rejoin(&mut self, now: Instant) {
        if self.due.is_some() && self.asking_since.is_none() {
            self.ask(now);
        }
    }

    /// Something else was sent by way of the relay, which shows that we are here.
    pub fn spoke(&mut self, now: Instant) {
        if self.state == Some(RoomState::Together) && self.asking_since.is_none() && self.due.is_some() {
            self.due = Some(now + ALIVE_EVERY);
        }
    }

    /// Takes a datagram. Those that are not the relay's own are left alone.
    pub fn handle(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Option<Event> {
        if from != self.relay || self.due.is_none() {
            return None;
        }
        // Whatever is not asked for, somebody else says in the relay's name.
        self.asking_since?;
        let (version, answer) = RelayAnswer::parse(datagram)?;
        match answer {
            RelayAnswer::Retry(cookie) => {
                // A relay that has known us by our tags does so still.
                if self.key.is_none() {
                    self.version = version;
                }
                self.cookie = cookie;
                if self.quick > 0 {
                    self.quick -= 1;
                    self.must_send = true;
                }
                None
            }
            RelayAnswer::Joined(state, given) => {
                let is_by = |cookie: &Cookie| {
                    let of = RelayAnswer::joined(state, given.is_some().then_some(cookie));
                    // Nobody gets a seat without a cookie.
                    *cookie != [0; 16] && of == answer
                };
                let cookie = [self.key.unwrap_or_default(), self.cookie].into_iter().find(is_by)?;
                if self.key.is_some() && version != TAGGED {
                    return None;
                }
                self.key = given.is_some().then_some(cookie);
                self.version = version;
                self.asking_since = None;
                self.refused = None;
                let pause = if state == RoomState::Together { ALIVE_EVERY } else { ASK_EVERY };
                self.due = Some(now + pause);
                let is_new = self.state.replace(state) != Some(state);
                is_new.then_some(if state == RoomState::Together { Event::Together } else { Event::Waiting })
            }
            RelayAnswer::Error(reason) => {
                // A relay of before answers in the version that it speaks.
                if reason == Reason::Version && version == UNTAGGED && self.version == TAGGED && self.key.is_none() {
                    self.version = UNTAGGED;
                    return None;
                }
                let is_new = self.refused.replace(reason) != Some(reason);
                is_new.then_some(Event::Refused(reason))
            }
        }
    }

    /// What is to be appended to a datagram for the other before it is sent to the relay, so that the relay knows it for ours;
    /// it takes it off again. `None` if the relay asks for nothing.
    pub fn tag(&self, datagram: &[u8]) -> Option<[u8; TAG_BYTES]> {
        self.key.map(|key| tag(&key, datagram))
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called; `None` if it is over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Event> {
        if self.due.is_none_or(|due| now < due) {
            return None;
        }
        let Some(since) = self.asking_since else {
            self.ask(now);
            return None;
        };
        if now.saturating_duration_since(since) >= JOIN_TIMEOUT {
            self.due = None;
            self.state = None;
            self.must_send = false;
            return Some(Event::GaveUp(self.refused));
        }
        self.must_send = true;
        self.quick = QUICK;
        self.pause = (2 * self.pause).min(PAUSE_MAX);
        self.due = Some((now + self.pause).min(since + JOIN_TIMEOUT));
        None
    }

    /// Writes the next datagram to send into `out`, which is emptied first. False if there is none.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        out.clear();
        if !std::mem::take(&mut self.must_send) {
            return false;
        }
        encode_join(self.version, &self.ticket, &self.cookie, out);
        true
    }

    fn ask(&mut self, now: Instant) {
        self.cookie = self.key.unwrap_or(self.cookie);
        self.must_send = true;
        self.quick = QUICK;
        self.pause = PAUSE;
        self.asking_since = Some(now);
        self.due = Some(now + PAUSE);
    }
}

#[cfg(test)]
#[path = "join_tests.rs"]
mod tests;
