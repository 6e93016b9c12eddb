//! The question to a STUN server: byte by byte, and over real sockets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use parlod::stun::{Query, StunError, TransactionId, outside_address, parse, request};
use proptest::prelude::*;
use stun_types::{
    attribute::{ErrorCode, Software, XorMappedAddress},
    message::{Message, MessageWrite, MessageWriteExt, MessageWriteVec},
};
use tokio::net::UdpSocket;

const ID: TransactionId = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

/// A tiny STUN server's answer.
fn answer(request: &[u8], address: SocketAddr) -> Vec<u8> {
    let request = Message::from_bytes(request).unwrap();
    let mut message = Message::builder_success(&request, MessageWriteVec::new());
    message.add_attribute(&Software::new("a test").unwrap()).unwrap();
    message.add_attribute(&XorMappedAddress::new(address, request.transaction_id())).unwrap();
    message.add_fingerprint().unwrap();
    message.finish()
}

#[test]
fn a_request_is_as_the_rfc_has_it() {
    let header = [0x00, 0x01, 0x00, 0x00, 0x21, 0x12, 0xa4, 0x42];
    assert_eq!(request(ID), [&header[..], &ID].concat());
}

/// The addresses of RFC 5769 sections 2.2 and 2.3, which were encoded there under this transaction.
#[test]
fn the_answers_of_rfc_5769_are_read() {
    let head = |length: u8| [&[0x01, 0x01, 0x00, length, 0x21, 0x12, 0xa4, 0x42], &ID[..]].concat();
    let v4 = [0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43];
    let v6 = [
        0x00, 0x20, 0x00, 0x14, 0x00, 0x02, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25,
        0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9,
    ];
    let read = |bytes: Vec<u8>| parse(&bytes, ID).unwrap().unwrap();
    assert_eq!(read([head(12), v4.to_vec()].concat()), "192.0.2.1:32853".parse().unwrap());
    let expected = "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap();
    assert_eq!(read([head(24), v6.to_vec()].concat()), expected);
    assert!(matches!(parse(&head(0), ID), Some(Err(StunError::NoAddress))));
}

#[test]
fn what_is_no_answer_to_this_request_is_ignored() {
    let address = "192.0.2.1:5".parse().unwrap();
    let good = answer(&request(ID), address);
    assert_eq!(parse(&good, ID).unwrap().unwrap(), address);
    assert!(parse(&good, [7; 12]).is_none());
    assert!(parse(&request(ID), ID).is_none());
    assert!(parse(&[], ID).is_none());
    // The fingerprint sees each flipped bit, unless that makes it something else than a fingerprint.
    let end = good.len();
    for at in (0..end - 8).chain(end - 4..end) {
        let mut wrong = good.clone();
        wrong[at] ^= 0x10;
        assert!(parse(&wrong, ID).is_none(), "byte {at}");
    }
}

#[test]
fn a_refusal_is_told() {
    let bytes = request(ID);
    let asked = Message::from_bytes(&bytes).unwrap();
    let mut message = Message::builder_error(&asked, MessageWriteVec::new());
    message.add_attribute(&ErrorCode::new(420, "no \u{1b}[31mway").unwrap()).unwrap();
    let error = parse(&message.finish(), ID).unwrap().unwrap_err();
    assert_eq!(error.to_string(), "the STUN server refused: no [31mway (error 420)");
}

/// RFC 8489 section 6.2.1, with four requests: at 0, 500, 1500 and 3500 ms, and 16 first pauses of patience after the last.
#[test]
fn requests_are_repeated_as_the_rfc_has_it() {
    let start = Instant::now();
    let mut query = Query::new(ID, start);
    let (mut sent, mut now) = (Vec::new(), start);
    let failed = loop {
        if let Some(bytes) = query.poll_transmit() {
            assert_eq!(bytes, request(ID));
            sent.push((now - start).as_millis());
        }
        assert!(query.handle_timeout(now).is_ok());
        assert!(query.poll_transmit().is_none());
        now = query.poll_timeout();
        if query.handle_timeout(now).is_err() {
            break now - start;
        }
    };
    assert_eq!(sent, [0, 500, 1500, 3500]);
    assert_eq!(failed, Duration::from_millis(11_500));
}

/// A server that ignores the first request, answers the second with another transaction's answer, and then the right one.
async fn ask_a_server(any: &str) {
    let server = UdpSocket::bind(any).await.unwrap();
    let server_address = server.local_addr().unwrap();
    tokio::spawn(async move {
        let mut datagram = [0; 100];
        server.recv_from(&mut datagram).await.unwrap();
        let (length, from) = server.recv_from(&mut datagram).await.unwrap();
        let wrong = answer(&request([1; 12]), "192.0.2.66:66".parse().unwrap());
        server.send_to(&wrong, from).await.unwrap();
        server.send_to(b"\x80 speech", from).await.unwrap();
        server.send_to(&answer(&datagram[..length], from), from).await.unwrap();
    });
    let socket = UdpSocket::bind(any).await.unwrap();
    let start = Instant::now();
    let outside = outside_address(&socket, server_address, ID).await.unwrap();
    assert_eq!(outside, socket.local_addr().unwrap());
    assert!(start.elapsed() >= Duration::from_millis(490));
}

#[tokio::test]
async fn the_outside_address_on_loopback_is_the_inside_one() {
    ask_a_server("127.0.0.1:0").await;
    ask_a_server("[::1]:0").await;
}

proptest! {
    #[test]
    fn whatever_comes_is_read_or_ignored(junk in prop::collection::vec(any::<u8>(), 0..200), like in any::<bool>()) {
        let mut junk = junk;
        if like && junk.len() >= 20 {
            let length = (junk.len() - 20) as u16;
            junk[..2].copy_from_slice(&[1, 1]);
            junk[2..4].copy_from_slice(&length.to_be_bytes());
            junk[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
            junk[8..20].copy_from_slice(&ID);
        }
        let _ = parse(&junk, ID);
    }
}
