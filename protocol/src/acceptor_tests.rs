use std::time::Duration;

use super::*;
use crate::{adapt::Limits, call::Call, offer::Offer};

fn address(n: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 7275))
}

fn dial(from: u8, known: bool, now: Instant) -> Call {
    let offer = Offer { tokens: Vec::new(), opus: true, depth: 6, frames_per_packet: 3, rekeys: false };
    let key = known.then(|| Identity::from_bytes([200; 32]).public());
    let (identity, index) = (Identity::from_bytes([from; 32]), u16::from(from));
    Call::dial(&identity, key, address(0), index, [from; 32], &offer, Limits::new(6, 3), now).unwrap()
}

fn acceptor(now: Instant) -> Acceptor {
    Acceptor::new(&Identity::from_bytes([200; 32]), [7; 32], now)
}

/// Lets a caller and an acceptor talk until nobody has anything to say; gives who comes of it.
fn talk(call: &mut Call, at: u16, acceptor: &mut Acceptor, index: u16, now: Instant) -> Option<Caller> {
    let (mut datagram, mut came) = (Vec::new(), None);
    for _ in 0..6 {
        while call.poll_transmit(&mut datagram) {
            came = came.or(acceptor.handle(now, address(at), &mut datagram, index));
        }
        while let Some(to) = acceptor.poll_transmit(&mut datagram) {
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
        let (mut call, mut acceptor) = (dial(3, known, now), acceptor(now));
        let caller = talk(&mut call, 1, &mut acceptor, 50, now).expect("a caller");
        assert_eq!(caller.peer, Identity::from_bytes([3; 32]).public());
        assert_eq!(caller.session.index(), 50);
        assert!(Offer::parse(&caller.offer).is_ok_and(|offer| offer.opus));
        assert_eq!((acceptor.stats().sessions, acceptor.stats().retries), (1, 1));
        // Refused: the caller knows at once, and the acceptor forgets it.
        acceptor.refuse(caller, Reason::Declined, now);
        talk(&mut call, 1, &mut acceptor, 51, now);
        assert!(call.is_over());
        acceptor.handle_timeout(now + Duration::from_secs(6));
        assert!(acceptor.poll_transmit(&mut Vec::new()).is_none());
        assert_eq!((acceptor.poll_timeout(), acceptor.waiting.len()), (None, 0));
    }
}

#[test]
fn junk_is_not_answered_and_nothing_is_kept_of_it() {
    let now = Instant::now();
    let mut acceptor = acceptor(now);
    let mut out = Vec::new();
    let mut dice = 5_u64;
    for n in 0..100_000_u64 {
        dice = dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let mut junk: Vec<u8> = (0..(dice >> 40) % 120).map(|i| (dice >> (i % 50)) as u8).collect();
        if n % 3 == 0 && junk.len() > 2 {
            (junk[0], junk[1]) = (0x41, 2);
        }
        let length = junk.len();
        assert!(acceptor.handle(now, address(n as u16), &mut junk, n as u16).is_none());
        while acceptor.poll_transmit(&mut out).is_some() {
            assert!(out.len() < length, "an answer is shorter than its question");
        }
    }
    assert!(acceptor.waiting.is_empty() && acceptor.replies.is_empty());
    assert!(acceptor.poll_timeout().is_none() && acceptor.stats().sessions == 0);
}

#[test]
fn who_begins_handshakes_and_leaves_does_not_keep_others_out() {
    let start = Instant::now();
    let mut acceptor = acceptor(start);
    let mut datagram = Vec::new();
    for n in 0..200_u16 {
        // Asks, shows its cookie, and never finishes.
        let now = start + Duration::from_millis(100 * u64::from(n));
        let mut call = dial((n % 150) as u8 + 1, false, now);
        for _ in 0..2 {
            while call.poll_transmit(&mut datagram) {
                acceptor.handle(now, address(1000 + n / 4), &mut datagram, 1000 + n);
            }
            while acceptor.poll_transmit(&mut datagram).is_some() {
                call.handle(now, address(0), &mut datagram);
            }
            call.handle_timeout(now);
        }
        assert!(acceptor.waiting.len() <= MOST);
    }
    assert!(acceptor.waiting.len() > MOST / 2, "{}", acceptor.waiting.len());
    let now = start + Duration::from_secs(20);
    for known in [true, false] {
        let mut honest = dial(160, known, now);
        assert!(talk(&mut honest, 7, &mut acceptor, 77 + u16::from(known), now).is_some());
    }
    acceptor.handle_timeout(now + Duration::from_secs(20));
    while acceptor.poll_transmit(&mut datagram).is_some() {}
    assert!(acceptor.waiting.is_empty() && acceptor.poll_timeout().is_none(), "all are forgotten in time");
}

#[test]
fn an_index_that_is_taken_is_not_given_twice() {
    let now = Instant::now();
    let mut acceptor = acceptor(now);
    let mut datagram = Vec::new();
    let mut begin = |from: u8, acceptor: &mut Acceptor| {
        let mut call = dial(from, false, now);
        for _ in 0..2 {
            call.poll_transmit(&mut datagram);
            acceptor.handle(now, address(from.into()), &mut datagram, 9);
            if acceptor.poll_transmit(&mut datagram).is_some() {
                call.handle(now, address(0), &mut datagram);
            }
        }
        call
    };
    begin(1, &mut acceptor);
    begin(2, &mut acceptor);
    assert_eq!(acceptor.waiting.iter().filter(|waiting| waiting.who.index() == 9).count(), 1);
}

/// A caller's call at the acceptor: answered, and not confirmed yet.
fn held(caller: &mut Call, at: u16, acceptor: &mut Acceptor, index: u16, now: Instant) -> bool {
    let mut datagram = Vec::new();
    for _ in 0..4 {
        while caller.poll_transmit(&mut datagram) {
            if let Some(Caller { offer, session, .. }) = acceptor.handle(now, address(at), &mut datagram, index) {
                let ours = Offer { tokens: Vec::new(), opus: true, depth: 6, frames_per_packet: 3, rekeys: false };
                let call = Call::answer(session, &offer, &ours, Limits::new(6, 3), true, now).unwrap();
                acceptor.hold(Box::new(call), now);
                return true;
            }
        }
        while acceptor.poll_transmit(&mut datagram).is_some() {
            caller.handle(now, address(0), &mut datagram);
        }
    }
    false
}

#[test]
fn a_call_comes_of_a_handshake_when_the_caller_has_confirmed_it() {
    for known in [true, false] {
        let now = Instant::now();
        let (mut caller, mut acceptor) = (dial(3, known, now), acceptor(now));
        assert!(
            held(&mut caller, 1, &mut acceptor, 50, now) && acceptor.has(50) && acceptor.poll_confirmed().is_none()
        );
        talk(&mut caller, 1, &mut acceptor, 51, now);
        let Confirmed { mut call, event } = acceptor.poll_confirmed().expect("a call");
        let event = event.or_else(|| call.poll_event());
        assert!(matches!(event, Some(call::Event::Connected { ringing: true, .. })), "{event:?}");
        assert!(caller.is_open() && call.is_open() && !acceptor.has(50) && acceptor.poll_confirmed().is_none());
        // Not wanted all the same: the caller is told, three times, and it is forgotten.
        acceptor.part(call, Goodbye::Busy, now);
        let (mut datagram, mut byes, mut reason) = (Vec::new(), 0, None);
        for step in 0..10 {
            let now = now + Duration::from_millis(10 * step);
            acceptor.handle_timeout(now);
            while acceptor.poll_transmit(&mut datagram).is_some() {
                // What confirms the confirmation may come before.
                if let Some(call::Event::PeerLeft { reason: why, .. }) = caller.handle(now, address(0), &mut datagram) {
                    reason = Some(why);
                }
                byes += 1;
            }
        }
        assert!((3..=4).contains(&byes), "{byes}");
        assert_eq!((reason, acceptor.waiting.len()), (Some(Goodbye::Busy), 0));
    }
}

#[test]
fn who_never_confirms_is_forgotten_without_a_word() {
    let start = Instant::now();
    let (mut caller, mut acceptor) = (dial(3, true, start), acceptor(start));
    assert!(held(&mut caller, 1, &mut acceptor, 50, start));
    // Its answer goes out, and nothing more.
    let (mut datagram, mut sent) = (Vec::new(), 0);
    for second in 0..40 {
        acceptor.handle_timeout(start + Duration::from_secs(second));
        while acceptor.poll_transmit(&mut datagram).is_some() {
            sent += 1;
        }
    }
    assert_eq!(sent, 1);
    assert!(acceptor.waiting.is_empty() && acceptor.poll_confirmed().is_none());
}

#[test]
fn two_of_a_source_wait_and_the_third_is_let_in_when_one_is_old_or_done() {
    for known in [true, false] {
        let start = Instant::now();
        let mut acceptor = acceptor(start);
        let here = |n: u16, ms: u64, acceptor: &mut Acceptor| {
            let now = start + Duration::from_millis(ms);
            let mut caller = dial(n as u8, known, now);
            let before = acceptor.stats().sessions;
            // Begins, and leaves it at that.
            let mut datagram = Vec::new();
            for _ in 0..2 {
                caller.poll_transmit(&mut datagram);
                if let Some(came) = acceptor.handle(now, address(1), &mut datagram, n) {
                    acceptor.dismiss(came.session, now);
                }
                while acceptor.poll_transmit(&mut datagram).is_some() {
                    caller.handle(now, address(0), &mut datagram);
                }
            }
            acceptor.stats().sessions > before
        };
        assert!(here(1, 0, &mut acceptor) && here(2, 100, &mut acceptor));
        for n in 3..8 {
            assert!(!here(n, 100 * u64::from(n), &mut acceptor), "{n}");
        }
        assert!(here(8, 1000, &mut acceptor), "the first is a second old");
        assert!(!here(9, 1010, &mut acceptor) && here(10, 1100, &mut acceptor), "and so is the second now");
        assert_eq!(acceptor.waiting.iter().filter(|waiting| waiting.source == source(address(1))).count(), 2);
        // Nobody else is kept out.
        let now = start + Duration::from_millis(1100);
        assert!(held(&mut dial(30, known, now), 2, &mut acceptor, 99, now));
    }
}

#[test]
fn what_was_recorded_brings_nobody_back() {
    let now = Instant::now();
    let (mut caller, mut acceptor) = (dial(3, true, now), acceptor(now));
    let (mut datagram, mut recorded) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        while caller.poll_transmit(&mut datagram) {
            recorded.push(datagram.clone());
            // The call that came of it is over.
            drop(acceptor.handle(now, address(1), &mut datagram, 50));
        }
        while acceptor.poll_transmit(&mut datagram).is_some() {
            caller.handle(now, address(0), &mut datagram);
        }
    }
    assert!(recorded.len() >= 2);
    for mut datagram in recorded {
        assert!(acceptor.handle(now, address(1), &mut datagram, 60).is_none());
    }
    assert!(acceptor.waiting.is_empty() && acceptor.stats().sessions == 1 && acceptor.stats().replayed == 1);
}
