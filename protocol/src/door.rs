//! Where callers come: the gate before a listener, and those who have passed it but are not in a call.

use std::{collections::VecDeque, net::SocketAddr, time::Instant};

use crate::{
    identity::{Identity, PublicKey},
    session::{Destination, Event, Gate, GateStats, Knock, Reason, Session, destination},
};

/// Handshakes and refusals under way at a time. If there are more, the oldest is forgotten: most handshakes are done within a
/// second, and who keeps one waiting for longer must not keep others out.
const MOST: usize = 16;

/// Replies of the gate that wait to be sent.
const REPLIES: usize = 16;

/// Somebody who calls, and waits for an answer.
#[derive(Debug)]
pub struct Caller {
    /// Who.
    pub peer: PublicKey,
    /// What is offered ([`Offer`](crate::offer::Offer)).
    pub offer: Vec<u8>,
    /// For [`Call::answer`](crate::call::Call::answer).
    pub session: Box<Session>,
}

/// The door of a listener. Without I/O: use it as a [`Call`](crate::call::Call).
#[derive(Debug)]
pub struct Door {
    gate: Gate,
    #[expect(clippy::vec_box, reason = "they come boxed and go boxed")]
    sessions: Vec<Box<Session>>,
    replies: VecDeque<(SocketAddr, Vec<u8>)>,
}

impl Door {
    /// The door of the listener with this identity. `secret` is 32 bytes of the operating system's generator.
    pub fn new(identity: &Identity, secret: [u8; 32], now: Instant) -> Self {
        Self {
            gate: Gate::new(identity, secret, now),
            sessions: Vec::with_capacity(MOST),
            replies: VecDeque::with_capacity(REPLIES),
        }
    }

    /// Takes a datagram that is for no call. If a session comes of it, it has the index given, which must be random and no
    /// call's.
    pub fn handle(&mut self, now: Instant, from: SocketAddr, datagram: &mut [u8], index: u16) -> Option<Caller> {
        match destination(datagram) {
            Destination::Session(index) => {
                let at = self.sessions.iter().position(|session| session.index() == index)?;
                self.ask(now, from, datagram, at)
            }
            Destination::Gate => match self.sessions.iter().position(|session| session.is_repeat(from, datagram)) {
                Some(at) => self.ask(now, from, datagram, at),
                None => self.knock(now, from, datagram, index),
            },
            Destination::Stun | Destination::Nobody => None,
        }
    }

    fn ask(&mut self, now: Instant, from: SocketAddr, datagram: &mut [u8], at: usize) -> Option<Caller> {
        let event = self.sessions[at].handle(now, from, datagram);
        match event {
            Some(Event::Incoming { peer, offer }) => Some(Caller { peer, offer, session: self.sessions.remove(at) }),
            _ => {
                self.sessions.retain(|session| !session.is_over());
                None
            }
        }
    }

    fn knock(&mut self, now: Instant, from: SocketAddr, datagram: &[u8], index: u16) -> Option<Caller> {
        if self.sessions.iter().any(|session| session.index() == index) {
            return None;
        }
        match self.gate.knock(now, from, datagram, index) {
            Knock::Reply(reply) => {
                if self.replies.len() < REPLIES {
                    self.replies.push_back((from, reply));
                }
                None
            }
            Knock::Session(session, Some(Event::Incoming { peer, offer })) => Some(Caller { peer, offer, session }),
            Knock::Session(session, _) => {
                self.dismiss(session);
                None
            }
            Knock::Junk => None,
        }
    }

    /// Refuses a caller.
    pub fn refuse(&mut self, mut caller: Caller, reason: Reason, now: Instant) {
        caller.session.refuse(reason, now);
        self.dismiss(caller.session);
    }

    /// Sends what a refused session has to send, and again if its caller asks again.
    pub fn dismiss(&mut self, session: Box<Session>) {
        if self.sessions.len() >= MOST {
            self.sessions.remove(0);
        }
        self.sessions.push(session);
    }

    /// Gives the next datagram to be sent, in place of what `datagram` held, and where to.
    pub fn poll_transmit(&mut self, datagram: &mut Vec<u8>) -> Option<SocketAddr> {
        datagram.clear();
        if let Some((to, reply)) = self.replies.pop_front() {
            datagram.extend_from_slice(&reply);
            return Some(to);
        }
        let session =
            self.sessions.iter_mut().find_map(|session| session.poll_transmit(datagram).then_some(session))?;
        Some(session.transmit_address())
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.sessions.iter().filter_map(|session| session.poll_timeout()).min()
    }

    /// Does what is due at `now`. Harmless when nothing is.
    pub fn handle_timeout(&mut self, now: Instant) {
        for session in &mut self.sessions {
            // Who falls silent in the handshake is forgotten.
            let _ = session.handle_timeout(now);
        }
        self.sessions.retain(|session| !session.is_over());
    }

    /// What became of the callers so far.
    pub fn stats(&self) -> &GateStats {
        self.gate.stats()
    }
}

#[cfg(test)]
#[path = "door_tests.rs"]
mod tests;
