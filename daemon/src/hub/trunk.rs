//! A socket that calls go over: the one that callers find, or one of a call that this side places.

use std::{net::SocketAddr, task::Poll, time::Instant};

use parlo_protocol::{
    door::Door,
    identity::Identity,
    packet::{IPV4_UDP, IPV6_UDP},
    relay::Ticket,
};
use tokio::{io::ReadBuf, net::UdpSocket};

use super::{
    meeting::Meeting,
    socket::{bind, secret, send},
};
use crate::call::CallError;

/// A socket, and what stands before the calls that go over it.
#[derive(Debug)]
pub(super) struct Trunk {
    pub(super) id: u64,
    pub(super) socket: UdpSocket,
    /// Where others call; a socket that calls are placed from has none.
    pub(super) door: Option<Door>,
    /// The relay that it is reached by, if it is.
    pub(super) meeting: Option<Meeting>,
    datagram: Vec<u8>,
}

impl Trunk {
    /// A socket for one call that this side places.
    pub(super) async fn out(id: u64, to: SocketAddr, relay: Option<(SocketAddr, Ticket)>) -> Result<Self, CallError> {
        let any: SocketAddr = if to.is_ipv4() {
            (std::net::Ipv4Addr::UNSPECIFIED, 0).into()
        } else {
            (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
        };
        Ok(Self::new(id, bind(any).await?, None, relay))
    }

    /// A socket that callers find.
    pub(super) async fn open(
        id: u64,
        at: SocketAddr,
        identity: &Identity,
        relay: Option<(SocketAddr, Ticket)>,
    ) -> Result<Self, CallError> {
        let door = Door::new(identity, secret()?, Instant::now());
        Ok(Self::new(id, bind(at).await?, Some(door), relay))
    }

    fn new(id: u64, socket: UdpSocket, door: Option<Door>, relay: Option<(SocketAddr, Ticket)>) -> Self {
        let meeting = relay.map(|(relay, ticket)| Meeting::new(relay, ticket, Instant::now()));
        Self { id, socket, door, meeting, datagram: Vec::with_capacity(256) }
    }

    /// When something is due at the door or the relay.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let door = self.door.as_ref().and_then(Door::poll_timeout);
        door.into_iter().chain(self.meeting.as_ref().and_then(Meeting::poll_timeout)).min()
    }

    /// Sends a datagram to a peer, directly or by the relay.
    pub(super) fn send(&self, datagram: &[u8], to: SocketAddr) {
        match &self.meeting {
            Some(meeting) if meeting.relay() == to => meeting.send(&self.socket, datagram),
            _ => send(&self.socket, datagram, to),
        }
    }

    /// Sends what door and relay have to be told.
    pub(super) fn transmit(&mut self) {
        let mut datagram = std::mem::take(&mut self.datagram);
        while let Some(to) = self.door.as_mut().and_then(|door| door.poll_transmit(&mut datagram)) {
            self.send(&datagram, to);
        }
        self.datagram = datagram;
        if let Some(meeting) = &mut self.meeting {
            meeting.transmit(&self.socket);
        }
    }
}

/// Waits for a datagram on any of the sockets: which one, its length and where from. `turn` is whose turn it is to be looked at
/// first, so that a flood at one socket does not silence another.
pub(super) async fn receive(
    trunks: &[Trunk],
    turn: &mut usize,
    buffer: &mut [u8],
) -> (usize, std::io::Result<(usize, SocketAddr)>) {
    std::future::poll_fn(|context| {
        for n in 0..trunks.len() {
            let at = (*turn + n) % trunks.len();
            let mut into = ReadBuf::new(buffer);
            if let Poll::Ready(received) = trunks[at].socket.poll_recv_from(context, &mut into) {
                *turn = at + 1;
                return Poll::Ready((at, received.map(|from| (into.filled().len(), from))));
            }
        }
        Poll::Pending
    })
    .await
}

/// Bytes of IP and UDP headers on the way to an address.
pub(super) fn headers(address: SocketAddr) -> usize {
    if address.ip().to_canonical().is_ipv4() { IPV4_UDP } else { IPV6_UDP }
}
