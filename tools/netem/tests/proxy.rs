//! The proxy with real sockets, on loopback.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::{Duration, Instant};

use parlo_netem::{
    Path, PathConfig,
    proxy::{Proxy, ProxyConfig, Watch},
};
use tokio::{net::UdpSocket, task::JoinHandle, time};

/// Sends back whatever comes.
async fn echo() -> std::net::SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut datagram = [0; 2000];
        loop {
            let (length, from) = socket.recv_from(&mut datagram).await.unwrap();
            socket.send_to(&datagram[..length], from).await.unwrap();
        }
    });
    address
}

async fn proxy(up: &str, down: &str, clients_max: usize) -> (UdpSocket, Watch, JoinHandle<std::io::Result<()>>) {
    let config = ProxyConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        to: echo().await,
        up: up.parse().unwrap(),
        down: down.parse().unwrap(),
        clients_max,
    };
    let proxy = Proxy::bind(config).await.unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(proxy.local_address().unwrap()).await.unwrap();
    let watch = proxy.watch();
    (client, watch, tokio::spawn(proxy.run()))
}

/// Numbers of the packets out of `numbers` that a path lets through.
fn survivors(config: &PathConfig, numbers: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let start = Instant::now();
    let mut path = Path::new(config.clone(), start);
    let mut bytes = Vec::new();
    numbers
        .into_iter()
        .filter(|number| {
            path.send(start, &[*number]);
            path.receive(start + Duration::from_secs(1), &mut bytes)
        })
        .collect()
}

#[tokio::test]
async fn datagrams_take_their_time_and_are_lost_as_the_seed_says() {
    let text = "seed=5 loss=20%/2 delay=30ms";
    let (client, watch, _running) = proxy(text, text, 64).await;
    let config: PathConfig = text.parse().unwrap();
    let expected = survivors(&config.derive(1), survivors(&config, 0..150));
    let (mut sent, mut seen) = (Vec::new(), Vec::new());
    let mut datagram = [0; 10];
    for number in 0..150 {
        sent.push(Instant::now());
        client.send(&[number]).await.unwrap();
        let pause = time::sleep(Duration::from_millis(4));
        tokio::pin!(pause);
        loop {
            tokio::select! {
                received = client.recv(&mut datagram) => {
                    assert_eq!(received.unwrap(), 1);
                    seen.push((datagram[0], Instant::now()));
                }
                () = &mut pause => break,
            }
        }
    }
    while let Ok(received) = time::timeout(Duration::from_millis(500), client.recv(&mut datagram)).await {
        assert_eq!(received.unwrap(), 1);
        seen.push((datagram[0], Instant::now()));
    }
    let numbers: Vec<u8> = seen.iter().map(|seen| seen.0).collect();
    assert_eq!(numbers, expected);
    let mut delays: Vec<_> = seen.iter().map(|(number, at)| *at - sent[usize::from(*number)]).collect();
    delays.sort_unstable();
    assert!(delays[0] >= Duration::from_millis(60), "{:?}", delays[0]);
    let median = delays[delays.len() / 2];
    assert!(median < Duration::from_millis(75), "{median:?}");
    let stats = watch.stats();
    assert_eq!((stats.clients, stats.ignored, stats.refused), (1, 0, 0));
    assert_eq!((stats.up.sent, stats.down.sent), (150, stats.up.delivered));
    assert_eq!(stats.down.delivered, expected.len() as u64);
}

#[tokio::test]
async fn clients_have_paths_of_their_own_up_to_a_limit() {
    let (first, watch, _running) = proxy("", "", 2).await;
    let to = first.peer_addr().unwrap();
    let mut datagram = [0; 10];
    first.send(b"first").await.unwrap();
    assert_eq!(first.recv(&mut datagram).await.unwrap(), 5);
    for (message, answered) in [(b"secon", true), (b"third", false)] {
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(to).await.unwrap();
        client.send(message).await.unwrap();
        let answer = time::timeout(Duration::from_millis(300), client.recv(&mut datagram)).await;
        assert_eq!(answer.is_ok(), answered);
        assert!(!answered || &datagram[..5] == message);
    }
    first.send(b"again").await.unwrap();
    assert_eq!(first.recv(&mut datagram).await.unwrap(), 5);
    assert_eq!(&datagram[..5], b"again");
    let stats = watch.stats();
    assert_eq!((stats.clients, stats.ignored, stats.up.sent), (2, 1, 3));
}

#[tokio::test]
async fn a_target_that_nobody_listens_at_does_not_end_it() {
    let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let config = ProxyConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        to: closed,
        up: PathConfig::default(),
        down: PathConfig::default(),
        clients_max: 1,
    };
    let proxy = Proxy::bind(config).await.unwrap();
    let (address, watch) = (proxy.local_address().unwrap(), proxy.watch());
    let running = tokio::spawn(proxy.run());
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(address).await.unwrap();
    for _ in 0..3 {
        client.send(b"anyone?").await.unwrap();
        time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!running.is_finished());
    assert!(watch.stats().refused > 0);
}
