//! The relay on a real socket, with real peers.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    cell::Cell,
    net::SocketAddr,
    time::{Duration, Instant},
};

use parlo_protocol::relay::{Event, Join, Relay, RelayConfig, Ticket, is_from_relay};
use parlod::relay::{Glance, serve};
use tokio::{net::UdpSocket, time::timeout};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Drives a Join over a socket until it says something.
async fn next_event(socket: &UdpSocket, join: &mut Join) -> Event {
    let mut datagram = Vec::new();
    let mut arrival = [0; 2000];
    loop {
        while join.poll_transmit(&mut datagram) {
            socket.send_to(&datagram, join.relay()).await.unwrap();
        }
        let due = join.poll_timeout().unwrap();
        let event = match timeout(due - Instant::now(), socket.recv_from(&mut arrival)).await {
            Ok(received) => {
                let (length, from) = received.unwrap();
                assert!(is_from_relay(&arrival[..length]));
                join.handle(Instant::now(), from, &arrival[..length])
            }
            Err(_) => join.handle_timeout(Instant::now()),
        };
        if let Some(event) = event {
            return event;
        }
    }
}

async fn meet_at(any: &str) {
    let relay_socket = UdpSocket::bind(any).await.unwrap();
    let relay_address = relay_socket.local_addr().unwrap();
    let glance = Cell::new(Glance::default());
    let serving = serve(&relay_socket, Relay::new(RelayConfig::default(), [3; 16], Instant::now()), &glance);
    let peers = async {
        let (first, second) = (UdpSocket::bind(any).await.unwrap(), UdpSocket::bind(any).await.unwrap());
        let dial = || Join::dial(relay_address, Ticket::from_bytes([4; 16]), Instant::now());
        let (mut first_join, mut second_join) = (dial(), dial());
        assert_eq!(next_event(&first, &mut first_join).await, Event::Waiting);
        assert_eq!(next_event(&second, &mut second_join).await, Event::Together);
        assert_eq!(next_event(&first, &mut first_join).await, Event::Together);

        let mut arrival = [0; 2000];
        for n in 0..20_u8 {
            let datagram = vec![0x80 | n; 1 + 25 * usize::from(n)];
            for (from, join, to) in [(&first, &first_join, &second), (&second, &second_join, &first)] {
                let tag = join.tag(&datagram).unwrap();
                from.send_to(&[&datagram[..], &tag].concat(), relay_address).await.unwrap();
                let (length, sender) = timeout(ANSWER_TIMEOUT, to.recv_from(&mut arrival)).await.unwrap().unwrap();
                assert_eq!((sender, &arrival[..length]), (relay_address, &datagram[..]));
            }
        }
        // A stranger reaches nobody, and a datagram too long, or of the relay's own kinds, goes nowhere.
        let stranger = UdpSocket::bind(any).await.unwrap();
        stranger.send_to(&[0x80; 10], relay_address).await.unwrap();
        let long = [0x80; 1401];
        first.send_to(&[&long[..], &first_join.tag(&long).unwrap()].concat(), relay_address).await.unwrap();
        // Nor does what only claims to be of a member.
        first.send_to(&[0x80; 10], relay_address).await.unwrap();
        first.send_to(&[0x52, 1, 1], relay_address).await.unwrap();
        for socket in [&second, &stranger] {
            assert!(timeout(Duration::from_millis(100), socket.recv_from(&mut arrival)).await.is_err());
        }
    };
    tokio::select! {
        ended = serving => panic!("the relay ended: {ended:?}"),
        () = peers => {}
    }
    let glance = glance.get();
    assert_eq!((glance.rooms, glance.members, glance.unsent), (1, 2, 0));
    assert_eq!((glance.stats.forwarded, glance.stats.joins, glance.stats.retries), (40, 2, 2));
    assert_eq!((glance.stats.strangers, glance.stats.long, glance.stats.foreign, glance.stats.forged), (1, 1, 1, 1));
}

#[tokio::test]
async fn two_peers_meet_over_ipv4() {
    meet_at("127.0.0.1:0").await;
}

#[tokio::test]
async fn two_peers_meet_over_ipv6() {
    meet_at("[::1]:0").await;
}

/// A peer that has gone makes the system complain at the relay, which goes on.
#[tokio::test]
async fn a_peer_that_vanishes_does_not_end_the_relay() {
    let relay_socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let relay_address: SocketAddr = relay_socket.local_addr().unwrap();
    let glance = Cell::new(Glance::default());
    let serving = serve(&relay_socket, Relay::new(RelayConfig::default(), [3; 16], Instant::now()), &glance);
    let peers = async {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut join = Join::dial(relay_address, Ticket::from_bytes([4; 16]), Instant::now());
        assert_eq!(next_event(&socket, &mut join).await, Event::Waiting);
        let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut other = Join::dial(relay_address, Ticket::from_bytes([4; 16]), Instant::now());
        assert_eq!(next_event(&gone, &mut other).await, Event::Together);
        drop(gone);
        for _ in 0..5 {
            socket.send_to(&[&[0x80; 10][..], &join.tag(&[0x80; 10]).unwrap()].concat(), relay_address).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        join.rejoin(Instant::now());
        assert_eq!(next_event(&socket, &mut join).await, Event::Together);
    };
    tokio::select! {
        ended = serving => panic!("the relay ended: {ended:?}"),
        () = peers => {}
    }
}
