use std::time::Duration;

use super::*;
use crate::{adapt::Limits, call::Call, offer::Offer};

fn address(n: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 7275))
}

fn dial(from: u8, known: bool, now: Instant) -> Call {
    let offer = Offer { tokens: Vec::new(), opus: true, depth: 6, frames_per_packet: 3 };
    let key = known.then(|| Identity::from_bytes([200; 32]).public());
    let (identity, index) = (Identity::from_bytes([from; 32]), u16::from(from));
    Call::dial(&identity, key, address(0), index, [from; 32], &offer, Limits::new(6, 3), now).unwrap()
}

fn door(now: Instant) -> Door {
    Door::new(&Identity::from_bytes([200; 32]), [7; 32], now)
}

/// Lets a caller and a door talk until nobody has anything to say; gives who comes of it.
fn talk(call: &mut Call, at: u16, door: &mut Door, index: u16, now: Instant) -> Option<Caller> {
    let (mut datagram, mut came) = (Vec::new(), None);
    for _ in 0..6 {
        while call.poll_transmit(&mut datagram) {
            came = came.or(door.handle(now, address(at), &mut datagram, index));
        }
        while let Some(to) = door.poll_transmit(&mut datagram) {
            if to == address(at) {
                call.handle(now, address(0), &mut datagram);
            }
        }
    }
    came
}

#[test]
fn callers_come_in_who_they_are_and_what_they_offer() {
    for known in [true, false] {
        let now = Instant::now();
        let (mut call, mut door) = (dial(3, known, now), door(now));
        let caller = talk(&mut call, 1, &mut door, 50, now).expect("a caller");
        assert_eq!(caller.peer, Identity::from_bytes([3; 32]).public());
        assert_eq!(caller.session.index(), 50);
        assert!(Offer::parse(&caller.offer).is_ok_and(|offer| offer.opus));
        assert_eq!((door.stats().sessions, door.stats().retries), (1, 1));
        // Refused: the caller knows at once, and the door forgets it.
        door.refuse(caller, Reason::Declined, now);
        talk(&mut call, 1, &mut door, 51, now);
        assert!(call.is_over());
        door.handle_timeout(now + Duration::from_secs(6));
        assert_eq!(door.poll_timeout(), None);
    }
}

#[test]
fn junk_is_not_answered_and_nothing_is_kept_of_it() {
    let now = Instant::now();
    let mut door = door(now);
    let mut out = Vec::new();
    let mut dice = 5_u64;
    for n in 0..100_000_u64 {
        dice = dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let mut junk: Vec<u8> = (0..(dice >> 40) % 120).map(|i| (dice >> (i % 50)) as u8).collect();
        if n % 3 == 0 && junk.len() > 2 {
            (junk[0], junk[1]) = (0x41, 2);
        }
        let length = junk.len();
        assert!(door.handle(now, address(n as u16), &mut junk, n as u16).is_none());
        while door.poll_transmit(&mut out).is_some() {
            assert!(out.len() < length, "an answer is shorter than its question");
        }
    }
    assert!(door.sessions.is_empty() && door.replies.is_empty());
    assert!(door.poll_timeout().is_none() && door.stats().sessions == 0);
}

#[test]
fn who_begins_handshakes_and_leaves_does_not_keep_others_out() {
    let start = Instant::now();
    let mut door = door(start);
    let mut datagram = Vec::new();
    for n in 0..200_u16 {
        // Asks, shows its cookie, and never finishes.
        let now = start + Duration::from_millis(100 * u64::from(n));
        let mut call = dial((n % 150) as u8 + 1, false, now);
        for _ in 0..2 {
            while call.poll_transmit(&mut datagram) {
                door.handle(now, address(1000 + n / 4), &mut datagram, 1000 + n);
            }
            while door.poll_transmit(&mut datagram).is_some() {
                call.handle(now, address(0), &mut datagram);
            }
            call.handle_timeout(now);
        }
        assert!(door.sessions.len() <= MOST);
    }
    assert!(door.sessions.len() == MOST);
    let now = start + Duration::from_secs(20);
    for known in [true, false] {
        let mut honest = dial(160, known, now);
        assert!(talk(&mut honest, 7, &mut door, 77 + u16::from(known), now).is_some());
    }
    door.handle_timeout(now + Duration::from_secs(20));
    assert!(door.sessions.is_empty() && door.poll_timeout().is_none(), "all are forgotten in time");
}

#[test]
fn an_index_that_is_taken_is_not_given_twice() {
    let now = Instant::now();
    let mut door = door(now);
    let mut datagram = Vec::new();
    let mut begin = |from: u8, door: &mut Door| {
        let mut call = dial(from, false, now);
        for _ in 0..2 {
            call.poll_transmit(&mut datagram);
            door.handle(now, address(from.into()), &mut datagram, 9);
            if door.poll_transmit(&mut datagram).is_some() {
                call.handle(now, address(0), &mut datagram);
            }
        }
        call
    };
    begin(1, &mut door);
    begin(2, &mut door);
    assert_eq!(door.sessions.iter().filter(|session| session.index() == 9).count(), 1);
}
