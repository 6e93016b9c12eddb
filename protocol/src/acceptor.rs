//! Where callers come: the gate before a listener, and those who have passed it but have not shown yet that they are there.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{
    call::{self, Call},
    identity::{Identity, PublicKey},
    packet::Goodbye,
    session::{Admission, CookieGate, Destination, Event, GateStats, Reason, Session, Source, destination, source},
};

/// Handshakes, calls that nobody has confirmed and refusals under way at a time. If there are more, the oldest is forgotten: most
/// handshakes are done within a second, and who keeps one waiting for longer must not keep others out. So many the
/// [cookie gate](CookieGate) lets in within two seconds.
const MOST: usize = 64;

/// Of these, those of one source.
const MOST_OF_SOURCE: usize = 2;

/// After so long the oldest of a source makes room for a new one; before, the new one is not answered, and its sender asks again.
const MAKES_ROOM: Duration = Duration::from_secs(1);

/// Replies of the gate that wait to be sent.
const REPLIES: usize = 16;

/// Somebody who calls, and waits for an answer. Until the call is [confirmed](Acceptor::poll_confirmed) nothing that matters to others
/// should follow from it: all of this may have been recorded, or come of a stolen key.
#[derive(Debug)]
pub struct Caller {
    /// The caller's public key.
    pub peer: PublicKey,
    /// What is offered ([`Offer`](crate::offer::Offer)).
    pub offer: Vec<u8>,
    /// For [`Call::answer`](crate::call::Call::answer).
    pub session: Box<Session>,
}

/// A call whose caller has shown that it is there, now, and has the answer.
#[derive(Debug)]
pub struct Confirmed {
    /// The call, which stands.
    pub call: Box<Call>,
    /// What it has said of that, to be taken before [`Call::poll_event`]. Media that came before is lost, unless the call rings
    /// and takes none.
    pub event: Option<call::Event<'static>>,
}

#[derive(Debug)]
enum Waits {
    /// A handshake, or a refusal.
    Session(Box<Session>),
    /// An answered call: the caller is yet to confirm it. Or one that is being told goodbye.
    Call(Box<Call>),
}

impl Waits {
    fn index(&self) -> u16 {
        match self {
            Self::Session(session) => session.index(),
            Self::Call(call) => call.index(),
        }
    }

    fn is_repeat(&self, from: SocketAddr, datagram: &[u8]) -> bool {
        match self {
            Self::Session(session) => session.is_repeat(from, datagram),
            Self::Call(call) => call.is_repeat(from, datagram),
        }
    }

    fn is_over(&self) -> bool {
        match self {
            Self::Session(session) => session.is_over(),
            Self::Call(call) => call.is_over(),
        }
    }

    fn poll_transmit(&mut self, datagram: &mut Vec<u8>) -> Option<SocketAddr> {
        match self {
            Self::Session(session) => session.poll_transmit(datagram).then(|| session.transmit_address()),
            Self::Call(call) => call.poll_transmit(datagram).then(|| call.transmit_address()),
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Session(session) => session.poll_timeout(),
            Self::Call(call) => call.poll_timeout(),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        // Who falls silent in the handshake is forgotten.
        match self {
            Self::Session(session) => {
                let _ = session.handle_timeout(now);
            }
            Self::Call(call) => {
                if call.poll_timeout().is_some_and(|due| now >= due) {
                    let _ = call.handle_timeout(now);
                }
            }
        }
    }
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    source: Source,
    who: Waits,
}

/// The acceptor of a listener. Without I/O: use it as a [`Call`], and ask it for who is
/// [confirmed](Self::poll_confirmed) after each datagram. What is over is forgotten when everything is sent.
#[derive(Debug)]
pub struct Acceptor {
    gate: CookieGate,
    /// Oldest first.
    waiting: Vec<Waiting>,
    confirmed: VecDeque<Confirmed>,
    replies: VecDeque<(SocketAddr, Vec<u8>)>,
}

impl Acceptor {
    /// The acceptor of the listener with this identity. `secret` is 32 bytes of the operating system's generator.
    pub fn new(identity: &Identity, secret: [u8; 32], now: Instant) -> Self {
        Self {
            gate: CookieGate::new(identity, secret, now),
            waiting: Vec::with_capacity(MOST),
            confirmed: VecDeque::new(),
            replies: VecDeque::with_capacity(REPLIES),
        }
    }

    /// Takes a datagram that is for no call. If a session comes of it, it has the index given, which must be random and no
    /// call's.
    pub fn handle(&mut self, now: Instant, from: SocketAddr, datagram: &mut [u8], index: u16) -> Option<Caller> {
        match destination(datagram) {
            Destination::Session(index) => {
                let at = self.waiting.iter().position(|waiting| waiting.who.index() == index)?;
                self.ask(now, from, datagram, at)
            }
            Destination::CookieGate => {
                match self.waiting.iter().position(|waiting| waiting.who.is_repeat(from, datagram)) {
                    Some(at) => self.ask(now, from, datagram, at),
                    None => self.admit(now, from, datagram, index),
                }
            }
            Destination::Stun | Destination::Nobody => None,
        }
    }

    fn ask(&mut self, now: Instant, from: SocketAddr, datagram: &mut [u8], at: usize) -> Option<Caller> {
        match &mut self.waiting[at].who {
            Waits::Session(session) => {
                if let Some(Event::Incoming { peer, offer }) = session.handle(now, from, datagram) {
                    let Waits::Session(session) = self.waiting.remove(at).who else { return None };
                    return Some(Caller { peer, offer, session });
                }
            }
            Waits::Call(call) => {
                let stood = call.is_open();
                let event = call.handle(now, from, datagram);
                if !stood && call.is_open() {
                    let event = match event {
                        Some(call::Event::Connected { peer, codec, depth, frames_per_packet, ringing }) => {
                            Some(call::Event::Connected { peer, codec, depth, frames_per_packet, ringing })
                        }
                        _ => None,
                    };
                    let Waits::Call(call) = self.waiting.remove(at).who else { return None };
                    self.confirmed.push_back(Confirmed { call, event });
                    return None;
                }
            }
        }
        None
    }

    fn admit(&mut self, now: Instant, from: SocketAddr, datagram: &[u8], index: u16) -> Option<Caller> {
        if self.waiting.iter().any(|waiting| waiting.who.index() == index) {
            return None;
        }
        let source = source(from);
        let mut of_source = self.waiting.iter().filter(|waiting| waiting.source == source);
        let oldest = of_source.next().map(|waiting| waiting.since);
        let is_crowded = of_source.count() + 1 >= MOST_OF_SOURCE
            && oldest.is_some_and(|since| now.saturating_duration_since(since) < MAKES_ROOM);
        match self.gate.knock_where(now, from, datagram, index, !is_crowded) {
            Admission::Reply(reply) => {
                if self.replies.len() < REPLIES {
                    self.replies.push_back((from, reply));
                }
                None
            }
            Admission::Session(session, Some(Event::Incoming { peer, offer })) => Some(Caller { peer, offer, session }),
            Admission::Session(session, _) => {
                self.wait(now, from, Waits::Session(session));
                None
            }
            Admission::Junk => None,
        }
    }

    /// Keeps somebody until more comes of it.
    fn wait(&mut self, now: Instant, from: SocketAddr, who: Waits) {
        let source = source(from);
        let of_source = |waiting: &Waiting| waiting.source == source;
        if self.waiting.iter().filter(|waiting| of_source(waiting)).count() >= MOST_OF_SOURCE
            && let Some(oldest) = self.waiting.iter().position(of_source)
        {
            self.waiting.remove(oldest);
        }
        if self.waiting.len() >= MOST {
            self.waiting.remove(0);
        }
        self.waiting.push(Waiting { since: now, source, who });
    }

    /// Refuses a caller.
    pub fn refuse(&mut self, mut caller: Caller, reason: Reason, now: Instant) {
        caller.session.refuse(reason, now);
        self.dismiss(caller.session, now);
    }

    /// Sends what a refused session has to send, and again if its caller asks again.
    pub fn dismiss(&mut self, session: Box<Session>, now: Instant) {
        self.wait(now, session.address(), Waits::Session(session));
    }

    /// Sends what an answered call has to send, until its caller [confirms](Self::poll_confirmed) it. Who does not is
    /// forgotten.
    pub fn hold(&mut self, call: Box<Call>, now: Instant) {
        self.wait(now, call.address(), Waits::Call(call));
    }

    /// Says goodbye to a call that was confirmed, and is not wanted all the same.
    pub fn part(&mut self, mut call: Box<Call>, reason: Goodbye, now: Instant) {
        call.hang_up(now, reason);
        self.hold(call, now);
    }

    /// A call whose caller has just shown that it is there.
    pub fn poll_confirmed(&mut self) -> Option<Confirmed> {
        self.confirmed.pop_front()
    }

    /// Whether a session or a call that waits here has this index.
    pub fn has(&self, index: u16) -> bool {
        self.waiting.iter().any(|waiting| waiting.who.index() == index)
    }

    /// Gives the next datagram to be sent, in place of what `datagram` held, and where to.
    pub fn poll_transmit(&mut self, datagram: &mut Vec<u8>) -> Option<SocketAddr> {
        datagram.clear();
        if let Some((to, reply)) = self.replies.pop_front() {
            datagram.extend_from_slice(&reply);
            return Some(to);
        }
        let next = self.waiting.iter_mut().find_map(|waiting| waiting.who.poll_transmit(datagram));
        if next.is_none() {
            // What is over has sent everything now.
            self.waiting.retain(|waiting| !waiting.who.is_over());
        }
        next
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.iter().filter_map(|waiting| waiting.who.poll_timeout()).min()
    }

    /// Does what is due at `now`. Harmless when nothing is.
    pub fn handle_timeout(&mut self, now: Instant) {
        for waiting in &mut self.waiting {
            waiting.who.handle_timeout(now);
        }
    }

    /// What became of the callers so far.
    pub fn stats(&self) -> &GateStats {
        self.gate.stats()
    }
}

#[cfg(test)]
#[path = "acceptor_tests.rs"]
mod tests;
