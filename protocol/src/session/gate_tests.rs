//! The gate: cookies, limits, and that nobody gets more than they sent.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::{
    Gate, Knock, Session, VERSION,
    limit::ROWS,
    testing::{Dice, answerer_address, answerer_identity, caller_address, caller_identity},
};

fn gate(now: Instant) -> Gate {
    Gate::new(&answerer_identity(), [7; 32], now)
}

fn dial(known: bool, seed: u8, now: Instant) -> Session {
    let peer = known.then(|| answerer_identity().public());
    Session::dial(&caller_identity(), peer, answerer_address(), 0xABCD, b"offer", [seed; 32], now).unwrap()
}

fn taken(session: &mut Session) -> Vec<u8> {
    let mut out = Vec::new();
    assert!(session.poll_transmit(&mut out));
    out
}

/// A caller that holds a cookie for this address, and its initiation.
fn with_cookie(gate: &mut Gate, from: SocketAddr, known: bool, seed: u8, now: Instant) -> Vec<u8> {
    let mut caller = dial(known, seed, now);
    let first = taken(&mut caller);
    let Knock::Reply(mut retry) = gate.knock(now, from, &first, 1) else { panic!("a cookie") };
    assert_eq!((retry.len(), &retry[..4]), (20, &[0x42, VERSION, 0xAB, 0xCD][..]));
    assert_eq!(caller.handle(now, answerer_address(), &mut retry), None);
    taken(&mut caller)
}

fn is_session(knock: &Knock) -> bool {
    matches!(knock, Knock::Session(..))
}

fn is_retry(knock: &Knock) -> bool {
    matches!(knock, Knock::Reply(reply) if reply[0] == 0x42)
}

#[test]
fn a_cookie_serves_its_source_for_ten_to_twenty_seconds() {
    let start = Instant::now();
    for known in [true, false] {
        for (made, used, valid) in [
            (0, 0, true),
            (0, 19, true),
            (9, 19, true),
            (9, 20, false),
            (0, 20, false),
            (10, 29, true),
            (10, 30, false),
        ] {
            let mut gate = gate(start);
            let at = |seconds| start + Duration::from_secs(seconds);
            let initiation = with_cookie(&mut gate, caller_address(), known, 1, at(made));
            let knock = gate.knock(at(used), caller_address(), &initiation, 2);
            assert_eq!(is_session(&knock), valid, "made {made}, used {used}");
            assert_eq!(is_retry(&knock), !valid);
        }
    }
}

#[test]
fn a_cookie_serves_nobody_else() {
    let now = Instant::now();
    for known in [true, false] {
        let mut gate = gate(now);
        let initiation = with_cookie(&mut gate, caller_address(), known, 1, now);
        for from in ["192.0.2.1:4001", "192.0.2.9:4000", "[2001:db8::1]:4000"] {
            assert!(is_retry(&gate.knock(now, from.parse().unwrap(), &initiation, 2)));
        }
        // Nor another index, or any other cookie.
        for at in (2..4).chain(5..21) {
            let mut other = initiation.clone();
            other[at] ^= 1;
            assert!(is_retry(&gate.knock(now, caller_address(), &other, 2)));
        }
        // Nor another gate.
        assert!(is_retry(&Gate::new(&answerer_identity(), [8; 32], now).knock(now, caller_address(), &initiation, 2)));
        assert!(is_session(&gate.knock(now, "[::ffff:192.0.2.1]:4000".parse().unwrap(), &initiation, 2)));
    }
}

#[test]
fn other_versions_are_told_and_short_ones_are_not() {
    let now = Instant::now();
    let mut gate = gate(now);
    let mut initiation = taken(&mut dial(false, 1, now));
    initiation[1] = VERSION + 1;
    let Knock::Reply(reply) = gate.knock(now, caller_address(), &initiation, 1) else { panic!("a refusal") };
    assert_eq!(reply, [0x45, VERSION, 0xAB, 0xCD, 3]);
    initiation.pop();
    assert!(matches!(gate.knock(now, caller_address(), &initiation, 1), Knock::Junk));
    assert_eq!((gate.stats().versions, gate.stats().malformed), (1, 1));
}

#[test]
fn one_source_is_limited_and_others_are_not() {
    let now = Instant::now();
    let mut gate = gate(now);
    let asks = |gate: &mut Gate, from: &str, now| {
        let datagram = taken(&mut dial(true, 1, now));
        (0..200).filter(|_| matches!(gate.knock(now, from.parse().unwrap(), &datagram, 1), Knock::Reply(_))).count()
    };
    assert_eq!(asks(&mut gate, "192.0.2.1:1", now), 32);
    assert_eq!(asks(&mut gate, "192.0.2.1:2", now), 0);
    assert_eq!(asks(&mut gate, "192.0.2.2:1", now), 32);
    assert_eq!(asks(&mut gate, "[2001:db8::1]:1", now), 32);
    assert_eq!(asks(&mut gate, "[2001:db8::2]:1", now), 0);
    assert_eq!(asks(&mut gate, "192.0.2.1:1", now + Duration::from_secs(1)), 16);
    assert_eq!(gate.stats().limited, 1200 - 112);
}

#[test]
fn key_agreements_are_limited() {
    let now = Instant::now();
    let mut gate = gate(now);
    let mut begun = 0;
    for host in 1..=20_u8 {
        let from = SocketAddr::from(([192, 0, 2, host], 4000));
        let mut begins = |n| {
            let initiation = with_cookie(&mut gate, from, false, n, now);
            is_session(&gate.knock(now, from, &initiation, 1))
        };
        let here = (1..=20).filter(|&n| begins(n)).count();
        assert_eq!(here, if host <= 8 { 8 } else { 0 });
        begun += here;
    }
    assert_eq!(begun, 64);
    let from = SocketAddr::from(([192, 0, 2, 77], 4000));
    let later = now + Duration::from_secs(1);
    let initiation = with_cookie(&mut gate, from, true, 1, later);
    assert!(is_session(&gate.knock(later, from, &initiation, 1)));
}

#[test]
fn an_initiation_is_answered_once() {
    let start = Instant::now();
    for known in [true, false] {
        let mut gate = gate(start);
        let initiation = with_cookie(&mut gate, caller_address(), known, 1, start);
        assert!(is_session(&gate.knock(start, caller_address(), &initiation, 1)));
        // Whoever has recorded it, and from whichever form of the address: for as long as its cookie is valid.
        for seconds in [0, 1, 10, 19] {
            for from in [caller_address(), "[::ffff:192.0.2.1]:4000".parse().unwrap()] {
                let knock = gate.knock(start + Duration::from_secs(seconds), from, &initiation, 2);
                assert!(matches!(knock, Knock::Junk), "{seconds}");
            }
        }
        assert_eq!((gate.stats().sessions, gate.stats().replayed), (1, 8));
        // The source may still begin others, as repetitions cost it nothing.
        let later = start + Duration::from_secs(19);
        let other = with_cookie(&mut gate, caller_address(), known, 2, later);
        assert!(is_session(&gate.knock(later, caller_address(), &other, 3)));
        assert!(is_retry(&gate.knock(start + Duration::from_secs(21), caller_address(), &initiation, 2)));
    }
}

/// 100 000 datagrams of junk from everywhere: no session, no reply that is not shorter, and the gate does not grow.
#[test]
fn a_flood_leaves_no_trace() {
    let now = Instant::now();
    let mut gate = gate(now);
    let mut dice = Dice::new(3);
    let initiation = taken(&mut dial(true, 1, now));
    let mut junk = Vec::with_capacity(400);
    let (mut replies, before) = (0_u64, counting_alloc::allocations());
    for n in 0..100_000_u64 {
        let from = SocketAddr::from(((dice.roll() as u32).to_be_bytes(), dice.roll() as u16));
        junk.clear();
        if n % 2 == 0 {
            junk.extend_from_slice(&initiation);
            let at = dice.roll() as usize % junk.len();
            junk[at] ^= dice.roll() as u8;
        } else {
            let length = dice.roll() % 400;
            for _ in 0..length {
                junk.push(dice.roll() as u8);
            }
        }
        match gate.knock(now, from, &junk, 1) {
            Knock::Reply(reply) => {
                assert!(reply.len() < junk.len() && reply.len() <= 20);
                replies += 1;
            }
            Knock::Session(..) => panic!("a session for nobody"),
            Knock::Junk => {}
        }
    }
    // The replies themselves, and nothing else.
    assert_eq!(counting_alloc::allocations() - before, replies);
    let stats = *gate.stats();
    assert_eq!(stats.retries + stats.versions + stats.limited + stats.malformed, 100_000);
    assert!(replies > 40_000 && stats.sessions == 0, "{stats:?}");
    const { assert!(ROWS == 1024) };
    // It still serves.
    let initiation = with_cookie(&mut gate, caller_address(), true, 9, now);
    assert!(is_session(&gate.knock(now, caller_address(), &initiation, 1)));
}

proptest! {
    #[test]
    fn no_reply_is_longer_than_what_asked_for_it(
        mut datagram in prop::collection::vec(any::<u8>(), 0..500), version in 0..4_u8, pattern in 0..4_u8,
        exact in prop::sample::select(vec![0_usize, 53, 117, 300]),
    ) {
        let now = Instant::now();
        let mut gate = gate(now);
        if exact > 0 {
            datagram.resize(exact, 0);
            datagram[0] = 0x41;
            datagram[1] = version;
            datagram[4] = pattern;
        }
        match gate.knock(now, caller_address(), &datagram, 1) {
            Knock::Reply(reply) => prop_assert!(reply.len() < datagram.len()),
            Knock::Session(..) => prop_assert!(false, "a session without a cookie"),
            Knock::Junk => {}
        }
    }
}
