//! Two peers that meet at a relay.

use std::{net::SocketAddr, time::Instant};

use parlo_protocol::{
    packet::MAX_DATAGRAM,
    relay::{Event, Join, Reason, TAG_BYTES, Ticket, is_from_relay},
};
use tokio::net::UdpSocket;

use super::socket::send;
use crate::call::CallError;

/// A place at a relay, kept for as long as this is served.
#[derive(Debug)]
pub(super) struct RelayLink {
    join: Join,
    datagram: Vec<u8>,
}

impl RelayLink {
    /// Asks the relay for a place.
    pub(super) fn new(relay: SocketAddr, ticket: Ticket, now: Instant) -> Self {
        Self { join: Join::dial(relay, ticket, now), datagram: Vec::with_capacity(64) }
    }

    /// Where the peer is reached.
    pub(super) fn relay(&self) -> SocketAddr {
        self.join.relay()
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

    /// Whether a datagram is the relay's own.
    pub(super) fn is_from_relay(&self, from: SocketAddr, datagram: &[u8]) -> bool {
        from == self.relay() && is_from_relay(datagram)
    }

    /// Takes a datagram of the relay's own; true if the other is there now.
    ///
    /// # Errors
    /// If the relay gives no place.
    pub(super) fn handle(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Result<bool, CallError> {
        let event = self.join.handle(now, from, datagram);
        self.heard(event)
    }

    /// When something is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.join.poll_timeout()
    }

    /// Does what is due; true if the other is there now.
    ///
    /// # Errors
    /// If the relay has given no place for long.
    pub(super) fn tick(&mut self, now: Instant) -> Result<bool, CallError> {
        let event = self.join.handle_timeout(now);
        self.heard(event)
    }

    fn heard(&self, event: Option<Event>) -> Result<bool, CallError> {
        match event {
            Some(Event::GaveUp(reason)) => Err(self.failed(reason)),
            Some(Event::Together) => Ok(true),
            _ => Ok(false),
        }
    }

    /// Something was sent to the peer by way of the relay.
    pub(super) fn spoke(&mut self, now: Instant) {
        self.join.spoke(now);
    }

    /// Sends a datagram for the peer by way of the relay, with the tag by which the relay knows it for ours.
    pub(super) fn send(&self, socket: &UdpSocket, datagram: &[u8]) {
        let mut tagged = [0; MAX_DATAGRAM + TAG_BYTES];
        let tagged = match (self.join.tag(datagram), tagged.get_mut(..datagram.len() + TAG_BYTES)) {
            (Some(tag), Some(tagged)) => {
                tagged[..datagram.len()].copy_from_slice(datagram);
                tagged[datagram.len()..].copy_from_slice(&tag);
                &*tagged
            }
            _ => datagram,
        };
        send(socket, tagged, self.join.relay());
    }

    /// Sends what is to be said to the relay.
    pub(super) fn transmit(&mut self, socket: &UdpSocket) {
        while self.join.poll_transmit(&mut self.datagram) {
            send(socket, &self.datagram, self.join.relay());
        }
    }
}
