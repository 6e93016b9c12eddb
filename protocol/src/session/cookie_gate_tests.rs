//! The gate: cookies, limits, and that nobody gets more than they sent.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::{
    Admission, CookieGate, Session, VERSION,
    limit::ROWS,
    testing::{Dice, answerer_address, answerer_identity, caller_address, caller_identity},
};

fn gate(now: Instant) -> CookieGate {
    CookieGate::new(&answerer_identity(), [7; 32], now)
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
fn with_cookie(gate: &mut CookieGate, from: SocketAddr, known: bool, seed: u8, now: Instant) -> Vec<u8> {
    let mut caller = dial(known, seed, now);
    let first = taken(&mut caller);
    let Admission::Reply(mut retry) = gate.admit(now, from, &first, 1) else { panic!("a cookie") };
    assert_eq!((retry.len(), &retry[..4]), (20, &[0x42, VERSION, 0xAB, 0xCD][..]));
    assert_eq!(caller.handle(now, answerer_address(), &mut retry), None);
    taken(&mut caller)
}

fn is_session(admit: &Admission) -> bool {
    matches!(admit, Admission::Session(..))
}

fn is_retry(admit: &Admission) -> bool {
    matches!(admit, Admission::Reply(reply) if reply[0] == 0x42)
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
            let admit = gate.admit(at(used), caller_address(), &initiation, 2);
            assert_eq!(is_session(&admit), valid, "made {made}, used {used}");
            assert_eq!(is_retry(&admit), !valid);
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
            assert!(is_retry(&gate.admit(now, from.parse().unwrap(), &initiation, 2)));
        }
        // Nor another index, or any other cookie.
        for at in (2..4).chain(5..21) {
            let mut other = initiation.clone();
            other[at] ^= 1;
            assert!(is_retry(&gate.admit(now, caller_address(), &other, 2)));
        }
        // Nor another gate.
        assert!(is_retry(&CookieGate::new(&answerer_identity(), [8; 32], now).admit(
            now,
            caller_address(),
            &initiation,
            2
        )));
        assert!(is_session(&gate.admit(now, "[::ffff:192.0.2.1]:4000".parse().unwrap(), &initiation, 2)));
    }
}

#[test]
fn other_versions_are_told_and_short_ones_are_not() {
    let now = Instant::now();
    let mut gate = gate(now);
    let mut initiation = taken(&mut dial(false, 1, now));
    initiation[1] = VERSION + 1;
    let Admission::Reply(reply) = gate.admit(now, caller_address(), &initiation, 1) else { panic!("a refusal") };
    assert_eq!(reply, [0x45, VERSION, 0xAB, 0xCD, 3]);
    initiation.pop();
    assert!(matches!(gate.admit(now, caller_address(), &initiation, 1), Admission::Junk));
    assert_eq!((gate.stats().versions, gate.stats().malformed), (1, 1));
}

/// How often an initiation without a cookie is answered, of `count`.
fn asks(gate: &mut CookieGate, from: &str, count: usize, now: Instant) -> usize {
    let datagram = taken(&mut dial(true, 1, now));
    (0..count).filter(|_| matches!(gate.admit(now, from.parse().unwrap(), &datagram, 1), Admission::Reply(_))).count()
}

#[test]
fn replies_are_limited_by_source_and_in_all() {
    let now = Instant::now();
    let mut gate = gate(now);
    // Its own 64, and then what is for all.
    assert_eq!(asks(&mut gate, "192.0.2.1:1", 2000, now), 64 + 1024);
    assert_eq!(asks(&mut gate, "192.0.2.1:2", 100, now), 0);
    assert_eq!(asks(&mut gate, "198.51.100.1:1", 100, now), 64);
    assert_eq!(asks(&mut gate, "[2001:db8::1]:1", 100, now), 64);
    assert_eq!(asks(&mut gate, "[2001:db8::2]:1", 100, now), 0);
    // A network of 24 bits has four times one address's.
    let near: usize = (2..100).map(|n| asks(&mut gate, &format!("192.0.2.{n}:1"), 100, now)).sum();
    assert_eq!(near, 3 * 64);
    let later = now + Duration::from_secs(1);
    assert_eq!(asks(&mut gate, "192.0.2.1:1", 2000, later), 32 + 1024);
    assert_eq!(gate.stats().limited, 14_200 - 2 * 1088 - 2 * 64 - 192 + 32);
}

/// Somebody asks in the name of one who calls, and that one gets a cookie all the same.
#[test]
fn who_is_forged_is_not_kept_out() {
    let start = Instant::now();
    let mut gate = gate(start);
    for ms in 0..10_000_u64 {
        asks(&mut gate, "192.0.2.1:1", 1, start + Duration::from_millis(ms));
    }
    let now = start + Duration::from_secs(10);
    assert_eq!(asks(&mut gate, "192.0.2.1:4000", 1, now), 1);
}

#[test]
fn key_agreements_are_limited() {
    let now = Instant::now();
    let sessions = |gate: &mut CookieGate, from: SocketAddr, tries: u8, now| {
        // Each is another: one that has come before is known.
        let mut begins = |seed| {
            let initiation = with_cookie(gate, from, false, seed, now);
            is_session(&gate.admit(now, from, &initiation, 1))
        };
        (0..tries).filter(|&n| begins(n)).count()
    };
    // By address, and by network: 256 networks of an IPv6 customer are as four.
    let mut first = gate(now);
    assert_eq!(sessions(&mut first, "192.0.2.1:4000".parse().unwrap(), 20, now), 8);
    assert_eq!((2..=20).map(|n| sessions(&mut first, ([192, 0, 2, n], 4000).into(), 20, now)).sum::<usize>(), 24);
    let mut second = gate(now);
    let customer = |n: u16| SocketAddr::from(([0x2001, 0xdb8, 5, n, 0, 0, 0, 1], 4000));
    assert_eq!((0..60).map(|n| sessions(&mut second, customer(n), 2, now)).sum::<usize>(), 16);
    assert_eq!((60..120).map(|n| sessions(&mut second, customer(n << 8), 2, now)).sum::<usize>(), 16);
    assert_eq!(sessions(&mut second, "[2001:db8:6::1]:4000".parse().unwrap(), 20, now), 1);
    // All together: half are for who has had few.
    let mut third = gate(now);
    let far = |n: u8| SocketAddr::from(([10, 0, n, 1], 4000));
    assert_eq!((0..36).map(|n| sessions(&mut third, far(n), 20, now)).sum::<usize>(), 64);
    assert_eq!(sessions(&mut third, far(99), 9, now), 0);
    assert_eq!(sessions(&mut third, far(99), 9, now + Duration::from_secs(1)), 1);
}

/// 200 sources that shake hands as often as they may: once they have had their first, whoever comes new is let in at once.
#[test]
fn who_comes_seldom_is_let_in_under_a_flood_of_handshakes() {
    let start = Instant::now();
    let mut gate = gate(start);
    let far = |n: usize| SocketAddr::from(([10, 0, n as u8, 1], 4000));
    let (mut honest, mut taken) = (0, 0);
    for step in 0..500_u64 {
        let now = start + Duration::from_millis(50 * step);
        for n in (step as usize % 10..200).step_by(10) {
            let initiation = with_cookie(&mut gate, far(n), false, step as u8, now);
            taken += u32::from(is_session(&gate.admit(now, far(n), &initiation, 1)));
        }
        if step >= 200 && step % 20 == 0 {
            let from = SocketAddr::from(([192, 0, (step / 20) as u8, 1], 4000));
            let initiation = with_cookie(&mut gate, from, true, 1, now);
            honest += u32::from(is_session(&gate.admit(now, from, &initiation, 1)));
        }
    }
    assert!(taken > 500, "the flood is real: {taken}");
    assert_eq!(honest, 15);
}

#[test]
fn an_initiation_is_answered_once() {
    let start = Instant::now();
    for known in [true, false] {
        let mut gate = gate(start);
        let initiation = with_cookie(&mut gate, caller_address(), known, 1, start);
        assert!(is_session(&gate.admit(start, caller_address(), &initiation, 1)));
        // Whoever has recorded it, and from whichever form of the address: for as long as its cookie is valid.
        for seconds in [0, 1, 10, 19] {
            for from in [caller_address(), "[::ffff:192.0.2.1]:4000".parse().unwrap()] {
                let admit = gate.admit(start + Duration::from_secs(seconds), from, &initiation, 2);
                assert!(matches!(admit, Admission::Junk), "{seconds}");
            }
        }
        assert_eq!((gate.stats().sessions, gate.stats().replayed), (1, 8));
        // The source may still begin others, as repetitions cost it nothing.
        let later = start + Duration::from_secs(19);
        let other = with_cookie(&mut gate, caller_address(), known, 2, later);
        assert!(is_session(&gate.admit(later, caller_address(), &other, 3)));
        assert!(is_retry(&gate.admit(start + Duration::from_secs(21), caller_address(), &initiation, 2)));
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
        match gate.admit(now, from, &junk, 1) {
            Admission::Reply(reply) => {
                assert!(reply.len() < junk.len() && reply.len() <= 20);
                replies += 1;
            }
            Admission::Session(..) => panic!("a session for nobody"),
            Admission::Junk => {}
        }
    }
    // The replies themselves, and nothing else.
    assert_eq!(counting_alloc::allocations() - before, replies);
    let stats = *gate.stats();
    assert_eq!(stats.retries + stats.versions + stats.limited + stats.malformed, 100_000);
    assert!(replies > 40_000 && stats.sessions == 0, "{stats:?}");
    const { assert!(ROWS == 2048) };
    // It still serves.
    let initiation = with_cookie(&mut gate, caller_address(), true, 9, now);
    assert!(is_session(&gate.admit(now, caller_address(), &initiation, 1)));
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
        match gate.admit(now, caller_address(), &datagram, 1) {
            Admission::Reply(reply) => prop_assert!(reply.len() < datagram.len()),
            Admission::Session(..) => prop_assert!(false, "a session without a cookie"),
            Admission::Junk => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// One who has a cookie asks as it likes, with its own messages recorded, changed and cut, for half a minute: an answer that is
    /// longer comes three times to each, none comes within 100 ms, and to what shows no cookie comes nothing longer.
    #[test]
    fn what_is_asked_again_and_again_is_answered_seldom(
        known: bool, steps in prop::collection::vec((0..3_u8, 0..400_u64, any::<prop::sample::Index>(), 0..4_u8), 1..200),
    ) {
        let start = Instant::now();
        let mut gate = gate(start);
        let mut now = start;
        let initiations: Vec<Vec<u8>> = (0..3).map(|seed| with_cookie(&mut gate, caller_address(), known, seed, now)).collect();
        // Sessions, and of each question when it was answered.
        let mut sessions: Vec<(Vec<u8>, Session)> = Vec::new();
        let mut answered: Vec<(Vec<u8>, Vec<Instant>)> = Vec::new();
        for (which, ms, at, change) in steps {
            now += Duration::from_millis(ms);
            let mut datagram = initiations[usize::from(which)].clone();
            let at = at.index(datagram.len());
            match change {
                1 => datagram[at] ^= 1,
                2 => datagram.truncate(at),
                _ => {}
            }
            for (_, session) in &mut sessions {
                let _ = session.handle_timeout(now);
            }
            sessions.retain(|(_, session)| !session.is_over());
            let shown = datagram.get(5..21).is_some_and(|cookie| cookie == &initiations[usize::from(which)][5..21]);
            let asked = sessions.iter_mut().find(|(_, session)| session.is_repeat(caller_address(), &datagram));
            if let Some((_, session)) = asked {
                prop_assert!(session.handle(now, caller_address(), &mut datagram.clone()).is_none());
            } else {
                match gate.admit(now, caller_address(), &datagram, 1) {
                    Admission::Reply(reply) => prop_assert!(reply.len() <= datagram.len()),
                    Admission::Session(mut session, event) => {
                        prop_assert!(shown, "a session without proof");
                        if event.is_some() {
                            session.accept(&[1; 64], now).unwrap();
                        }
                        sessions.push((datagram, *session));
                    }
                    Admission::Junk => {}
                }
            }
            let mut out = Vec::new();
            for (question, session) in &mut sessions {
                while session.poll_transmit(&mut out) {
                    prop_assert_eq!(known, out.len() <= question.len());
                    let at = answered.iter().position(|(asked, _)| asked == question).unwrap_or(answered.len());
                    if at == answered.len() {
                        answered.push((question.clone(), Vec::new()));
                    }
                    answered[at].1.push(now);
                }
            }
        }
        for (_, times) in answered {
            for two in times.windows(2) {
                prop_assert!(two[1] - two[0] >= Duration::from_millis(100));
            }
            if !known {
                prop_assert!(times.len() <= 3, "{:?}", times);
            }
        }
    }
}
