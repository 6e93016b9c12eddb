//! Peers that move, and those who only seem to.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::{
    Event, Session,
    testing::{World, answerer_address, caller_address},
};

const MS: Duration = Duration::from_millis(1);

fn at(n: u8) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, n], 9))
}

fn speech(session: &mut Session, number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    session.seal_media(number, 0, b"x", &mut out).unwrap();
    out
}

/// What a session has to send for its own sake, and where to.
fn sent(session: &mut Session) -> Vec<(SocketAddr, Vec<u8>)> {
    let (mut all, mut out) = (Vec::new(), Vec::new());
    while session.poll_transmit(&mut out) {
        all.push((session.transmit_address(), out.clone()));
    }
    all
}

/// Hands a datagram over; the moves that came of it.
fn take(session: &mut Session, now: Instant, from: SocketAddr, datagram: &[u8]) -> Vec<(SocketAddr, SocketAddr)> {
    let mut datagram = datagram.to_vec();
    let first = match session.handle(now, from, &mut datagram) {
        Some(Event::Moved { from, to }) => Some((from, to)),
        _ => None,
    };
    let rest = std::iter::from_fn(|| session.poll_event()).filter_map(|event| match event {
        Event::Moved { from, to } => Some((from, to)),
        _ => None,
    });
    first.into_iter().chain(rest).collect()
}

#[test]
fn who_moves_is_asked_and_then_followed() {
    for known in [true, false] {
        let (mut caller, mut answerer, now) = World::open(1, known);
        let (home, away) = (caller_address(), at(7));
        assert_eq!(take(&mut answerer, now, home, &speech(&mut caller, 1)), []);
        let moved = speech(&mut caller, 2);
        assert_eq!(take(&mut answerer, now, away, &moved), []);
        // A challenge goes there, and all else where it went before.
        assert_eq!(answerer.address(), home);
        let challenge = sent(&mut answerer);
        assert_eq!(challenge.iter().map(|(to, datagram)| (*to, datagram.len())).collect::<Vec<_>>(), [(away, 22)]);
        assert_eq!(answerer.transmit_address(), answerer.address());
        // Nobody else can answer: not with the packet that came, nor with the challenge itself.
        assert_eq!(take(&mut answerer, now, away, &moved), []);
        assert_eq!(take(&mut answerer, now, away, &challenge[0].1), []);
        // The echo goes to where the challenge came from.
        assert_eq!(take(&mut caller, now, answerer_address(), &challenge[0].1), []);
        let echo = sent(&mut caller);
        assert_eq!(
            echo.iter().map(|(to, datagram)| (*to, datagram.len())).collect::<Vec<_>>(),
            [(answerer_address(), 22)]
        );
        assert_eq!(take(&mut answerer, now, away, &echo[0].1), [(home, away)]);
        assert_eq!((answerer.address(), answerer.poll_timeout()), (away, None));
        // It comes once.
        assert_eq!(take(&mut answerer, now, away, &echo[0].1), []);
        assert!(sent(&mut answerer).is_empty() && sent(&mut caller).is_empty());
        // Neither a copy from elsewhere, nor an older packet, nor the same address in another form asks anything.
        let older = [speech(&mut caller, 5), speech(&mut caller, 6)];
        take(&mut answerer, now, away, &older[1]);
        for (from, datagram) in [(home, &older[0]), (at(9), &older[1]), (at(9), &echo[0].1)] {
            assert_eq!(take(&mut answerer, now, from, datagram), []);
        }
        take(&mut answerer, now, "[::ffff:203.0.113.7]:9".parse().unwrap(), &speech(&mut caller, 8));
        assert!(sent(&mut answerer).is_empty());
        assert_eq!(answerer.address(), away);
    }
}

/// Challenges and echoes get lost: it takes some tries, and neither more than three times what came nor anything else is sent.
#[test]
fn lost_challenges_are_repeated() {
    let (mut caller, mut answerer, start) = World::open(1, true);
    let away = at(7);
    let (mut received, mut given, mut number) = (0, 0, 0);
    for ms in 0..2000_u32 {
        let now = start + MS * ms;
        answerer.handle_timeout(now);
        if ms % 60 == 0 {
            number += 1;
            let datagram = speech(&mut caller, number);
            received += datagram.len();
            take(&mut answerer, now, away, &datagram);
        }
        for (to, datagram) in sent(&mut answerer) {
            assert_eq!(to, away);
            given += datagram.len();
            assert!(given <= 3 * received);
            // Four of them are lost, and two echoes.
            if given > 4 * 22 {
                take(&mut caller, now, answerer_address(), &datagram);
            }
        }
        for (_, datagram) in sent(&mut caller) {
            if given > 6 * 22 {
                assert_eq!(take(&mut answerer, now, away, &datagram), [(caller_address(), away)]);
                // Six pauses of 0.2 s, or a packet's time more each.
                assert!((1200..1600).contains(&ms), "{ms}");
                return;
            }
        }
    }
    panic!("it was not followed");
}

/// Somebody on the way carries fresh packets to an address where the peer is not, and answers nothing.
#[test]
fn where_the_peer_is_not_the_stream_does_not_go() {
    let (mut caller, mut answerer, start) = World::open(1, true);
    let victim = at(7);
    let (mut received, mut given, mut now) = (0, 0, start);
    for number in 0..500_u64 {
        now += 20 * MS;
        let datagram = speech(&mut caller, number);
        received += datagram.len();
        assert_eq!(take(&mut answerer, now, victim, &datagram), []);
        answerer.handle_timeout(now);
        for (to, datagram) in sent(&mut answerer) {
            assert_eq!(to, victim);
            given += datagram.len();
            assert!(given <= 3 * received);
        }
        assert_eq!(answerer.address(), caller_address());
    }
    // One in 0.2 s: 880 bit/s.
    assert!((40..=52).contains(&(given / 22)), "{given}");
    // And when nothing comes from there any more, nothing is sent there for long.
    for _ in 0..1000 {
        now += 20 * MS;
        answerer.handle_timeout(now);
        given += sent(&mut answerer).iter().map(|(_, datagram)| datagram.len()).sum::<usize>();
    }
    assert!(given / 22 <= 52 + 16, "{given}");
    assert_eq!(answerer.poll_timeout(), None);
}

#[derive(Debug, Clone)]
enum Step {
    Wait(u32),
    /// The caller speaks, from one of some addresses, or somebody carries it there.
    Speak(u8),
    /// What was said before is carried to an address again.
    Again(prop::sample::Index, u8),
    /// What the answerer has sent to one of the addresses gets to the caller, whose echo comes from there.
    Echo(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..400_u32).prop_map(Step::Wait),
        (0..4_u8).prop_map(Step::Speak),
        (any::<prop::sample::Index>(), 0..4_u8).prop_map(|(which, to)| Step::Again(which, to)),
        (0..4_u8).prop_map(Step::Echo),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes from wherever: an address that has not answered gets three times what came from it at most, and is not
    /// where the session goes.
    #[test]
    fn only_where_an_echo_came_from_is_moved_to(steps in prop::collection::vec(step(), 1..150)) {
        let (mut caller, mut answerer, mut now) = World::open(1, true);
        let mut tape: Vec<Vec<u8>> = Vec::new();
        let mut challenges: Vec<(SocketAddr, Vec<u8>)> = Vec::new();
        // Bytes from and to each address that is not the peer's own, since the session last went there.
        let mut bytes: HashMap<SocketAddr, (usize, usize)> = HashMap::new();
        let mut number = 0;
        for step in steps {
            let mut arrivals = Vec::new();
            match step {
                Step::Wait(ms) => now += MS * ms,
                Step::Speak(from) => {
                    number += 1;
                    tape.push(speech(&mut caller, number));
                    arrivals.push((at(from), tape[tape.len() - 1].clone()));
                }
                Step::Again(which, from) if !tape.is_empty() => arrivals.push((at(from), which.get(&tape).clone())),
                Step::Again(..) => {}
                Step::Echo(via) => {
                    for (_, challenge) in challenges.iter().filter(|(to, _)| *to == at(via)) {
                        take(&mut caller, now, answerer_address(), challenge);
                    }
                    arrivals.extend(sent(&mut caller).into_iter().map(|(_, echo)| (at(via), echo)));
                    challenges.retain(|(to, _)| *to != at(via));
                }
            }
            answerer.handle_timeout(now);
            for (from, datagram) in arrivals {
                bytes.entry(from).or_default().0 += datagram.len();
                let before = answerer.address();
                for (from, to) in take(&mut answerer, now, from, &datagram) {
                    prop_assert!(datagram[0] == 0x40 && before == from && answerer.address() == to);
                    bytes.remove(&to);
                }
                prop_assert!(datagram[0] == 0x40 || answerer.address() == before);
            }
            for (to, datagram) in sent(&mut answerer) {
                prop_assert!(to != answerer.address() && datagram.len() == 22);
                let (received, given) = bytes.entry(to).or_default();
                *given += datagram.len();
                prop_assert!(*given <= 3 * *received, "{} of {}", given, received);
                challenges.push((to, datagram));
            }
        }
    }
}
