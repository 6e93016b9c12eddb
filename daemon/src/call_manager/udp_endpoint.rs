//! A socket that calls go over: the one that callers find, or one of a call that this side places.

use std::{
    net::SocketAddr,
    task::Poll,
    time::{Duration, Instant},
};

use parlo_protocol::{
    acceptor::Acceptor,
    identity::Identity,
    packet::{IPV4_UDP, IPV6_UDP},
    relay::Ticket,
};
use tokio::{io::ReadBuf, net::UdpSocket};

use super::{
    relay_link::RelayLink,
    socket::{bind, secret, send},
};
use crate::call::CallError;

/// How long a socket that reports an error is not read: a lasting one must not take all of the thread's time.
const REST: Duration = Duration::from_millis(100);

/// A socket, and what stands before the calls that go over it.
#[derive(Debug)]
pub(super) struct UdpEndpoint {
    pub(super) id: u64,
    pub(super) socket: UdpSocket,
    /// Where others call; a socket that calls are placed from has none.
    pub(super) acceptor: Option<Acceptor>,
    /// The relay that it is reached by, if it is.
    pub(super) relay_link: Option<RelayLink>,
    /// It has reported an error, and is not read until then.
    rests: Option<Instant>,
    datagram: Vec<u8>,
}

impl UdpEndpoint {
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
        let acceptor = Acceptor::new(identity, secret()?, Instant::now());
        Ok(Self::new(id, bind(at).await?, Some(acceptor), relay))
    }

    fn new(id: u64, socket: UdpSocket, acceptor: Option<Acceptor>, relay: Option<(SocketAddr, Ticket)>) -> Self {
        let relay_link = relay.map(|(relay, ticket)| RelayLink::new(relay, ticket, Instant::now()));
        Self { id, socket, acceptor, relay_link, rests: None, datagram: Vec::with_capacity(256) }
    }

    /// When something is due at the acceptor or the relay, or the socket is to be read again.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let acceptor = self.acceptor.as_ref().and_then(Acceptor::poll_timeout);
        let relay_link = self.relay_link.as_ref().and_then(RelayLink::poll_timeout);
        acceptor.into_iter().chain(relay_link).chain(self.rests).min()
    }

    /// The socket has reported an error that is none of a datagram's: it is left alone for a moment. Whatever it is, it may pass
    /// (no memory, an interface that is set up anew, a firewall), and the calls that go over the socket end by themselves if it
    /// does not.
    pub(super) fn rest(&mut self, now: Instant) {
        self.rests = Some(now + REST);
    }

    /// It is read again, if it is time.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.rests = self.rests.filter(|&until| now < until);
    }

    /// Sends a datagram to a peer, directly or by the relay.
    pub(super) fn send(&self, datagram: &[u8], to: SocketAddr) {
        match &self.relay_link {
            Some(relay_link) if relay_link.relay() == to => relay_link.send(&self.socket, datagram),
            _ => send(&self.socket, datagram, to),
        }
    }

    /// Sends what acceptor and relay have to say.
    pub(super) fn transmit(&mut self) {
        let mut datagram = std::mem::take(&mut self.datagram);
        while let Some(to) = self.acceptor.as_mut().and_then(|acceptor| acceptor.poll_transmit(&mut datagram)) {
            self.send(&datagram, to);
        }
        self.datagram = datagram;
        if let Some(relay_link) = &mut self.relay_link {
            relay_link.transmit(&self.socket);
        }
    }
}

/// Waits for a datagram on any of the sockets: which one, its length and where from. `turn` is whose turn it is to be looked at
/// first, so that a flood at one socket does not silence another.
pub(super) async fn receive(
    endpoints: &[UdpEndpoint],
    turn: &mut usize,
    buffer: &mut [u8],
) -> (usize, std::io::Result<(usize, SocketAddr)>) {
    std::future::poll_fn(|context| {
        for n in 0..endpoints.len() {
            let at = (*turn + n) % endpoints.len();
            if endpoints[at].rests.is_some() {
                continue;
            }
            let mut into = ReadBuf::new(buffer);
            if let Poll::Ready(received) = endpoints[at].socket.poll_recv_from(context, &mut into) {
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
