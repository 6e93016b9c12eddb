//! Two peers that meet at a relay.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use parlo_protocol::relay::{Event, Join, Reason, Ticket, is_from_relay};
use tokio::{net::UdpSocket, time::timeout_at};

use super::{
    error::CallError,
    network::Interrupt,
    socket::{RECEIVE_BYTES, passing, send},
};

/// How long a caller waits at the relay for the other.
const PATIENCE: Duration = Duration::from_secs(30);

/// A seat at a relay, kept for as long as this is served.
#[derive(Debug)]
pub(super) struct Meeting {
    join: Join,
    datagram: Vec<u8>,
}

impl Meeting {
    /// Asks the relay for a seat.
    pub(super) fn new(relay: SocketAddr, ticket: Ticket, now: Instant) -> Self {
        Self { join: Join::dial(relay, ticket, now), datagram: Vec::with_capacity(64) }
    }

    /// Where the peer is reached.
    pub(super) fn relay(&self) -> SocketAddr {
        self.join.relay()
    }

    /// Waits until the other is there too; false if the user wants to end.
    pub(super) async fn wait(&mut self, socket: &UdpSocket, interrupt: &mut Interrupt<'_>) -> Result<bool, CallError> {
        let end = Instant::now() + PATIENCE;
        let mut buffer = vec![0; RECEIVE_BYTES];
        loop {
            self.transmit(socket);
            let due = self.join.poll_timeout().unwrap_or(end).min(end);
            let event = tokio::select! {
                () = interrupt.wait() => return Ok(false),
                received = timeout_at(due.into(), socket.recv_from(&mut buffer)) => match received {
                    Ok(received) => match passing(received)? {
                        Some((length, from)) => self.join.handle(Instant::now(), from, &buffer[..length]),
                        None => None,
                    },
                    Err(_) => self.join.handle_timeout(Instant::now()),
                },
            };
            match event {
                Some(Event::Together) => return Ok(true),
                Some(Event::GaveUp(reason)) => return Err(self.failed(reason)),
                _ if Instant::now() >= end => return Err(CallError::NobodyAtRelay(self.relay())),
                _ => {}
            }
        }
    }

    fn failed(&self, reason: Option<Reason>) -> CallError {
        let reason = match reason {
            None => "it does not answer",
            Some(Reason::Full) => "all its rooms are in use",
            Some(Reason::Rate) => "too many ask it from your address",
            Some(Reason::Taken) => "two others are there with this ticket",
            Some(Reason::Version) => "it speaks another version of the protocol",
        };
        CallError::Relay { relay: self.relay(), reason }
    }

    /// Takes a datagram if it is the relay's own.
    pub(super) fn takes(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> bool {
        let takes = from == self.relay() && is_from_relay(datagram);
        if takes {
            // Who leaves the relay in mid-call finds out by the peer's silence.
            let _ = self.join.handle(now, from, datagram);
        }
        takes
    }

    /// When something is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.join.poll_timeout()
    }

    /// Does what is due.
    ///
    /// # Errors
    /// If the relay has given no seat for long.
    pub(super) fn tick(&mut self, now: Instant) -> Result<(), CallError> {
        match self.join.handle_timeout(now) {
            Some(Event::GaveUp(reason)) => Err(self.failed(reason)),
            _ => Ok(()),
        }
    }

    /// Something was sent to the peer by way of the relay.
    pub(super) fn spoke(&mut self, now: Instant) {
        self.join.spoke(now);
    }

    /// Sends what is to be said to the relay.
    pub(super) fn transmit(&mut self, socket: &UdpSocket) {
        while self.join.poll_transmit(&mut self.datagram) {
            send(socket, &self.datagram, self.join.relay());
        }
    }
}
