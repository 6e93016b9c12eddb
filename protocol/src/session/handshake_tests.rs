//! Handshakes, in fair weather and foul.

use std::time::Duration;

use super::{
    AcceptError, DialError, Event, MAX_OFFER, Reason, SealError, Session, VERSION,
    testing::{
        ANSWER, OFFER, Weather, World, answerer_address, answerer_identity, caller_address, caller_identity, owned,
    },
};
use crate::identity::Identity;

#[test]
fn both_handshakes_end_with_two_who_may_send() {
    for known in [true, false] {
        let mut world = World::new(1, known, Weather::default());
        assert!(world.run());
        for _ in 0..4 {
            world.step(true);
        }
        assert_eq!(world.caller_events, ["established"]);
        assert_eq!(world.answerer_events, ["incoming", "Confirmed"]);
        let answerer = world.answerer.as_ref().unwrap();
        assert_eq!(world.caller.peer(), Some(answerer_identity().public()));
        assert_eq!(answerer.peer(), Some(caller_identity().public()));
        assert_eq!((answerer.index(), answerer.address()), (0x7777, caller_address()));
        // IK: initiation, cookie, initiation, answer, confirmation and its echo. XX: the second and third message come in
        // between, and nothing was said twice.
        assert_eq!(world.sent.len(), if known { 6 } else { 8 });
        assert_eq!(world.caller.poll_timeout(), None);
        assert_eq!(answerer.poll_timeout(), None);
        for stats in [world.caller.stats(), answerer.stats()] {
            assert_eq!((stats.forged, stats.malformed, stats.strangers, stats.unexpected), (0, 0, 0, 0));
        }
    }
}

#[test]
fn nothing_is_said_in_the_clear() {
    let (caller, answerer) = (caller_identity(), answerer_identity());
    for known in [true, false] {
        let mut world = World::new(2, known, Weather::default());
        assert!(world.run());
        let (ours, theirs) = (caller.public(), answerer.public());
        for secret in [OFFER, ANSWER, ours.as_bytes(), theirs.as_bytes(), caller.secret(), answerer.secret()] {
            let seen = |datagram: &[u8]| datagram.windows(secret.len()).any(|window| window == secret);
            assert!(!world.sent.iter().any(|(_, datagram)| seen(datagram)));
        }
    }
}

#[test]
fn the_same_seed_makes_the_same_bytes() {
    for known in [true, false] {
        let run = |seed| {
            let mut world = World::new(seed, known, Weather { loss: 20, twice: 10, jitter: 100 });
            world.run();
            world.sent
        };
        assert_eq!(run(5), run(5));
        assert_ne!(run(5), run(6));
    }
}

/// 1000 of each, with 30 % loss each way, datagrams that come twice, and delays of 20 to 320 ms.
#[test]
fn handshakes_survive_foul_weather() {
    for known in [true, false] {
        let (mut failed, mut longest) = (0, Duration::ZERO);
        for seed in 0..1000 {
            let mut world = World::new(seed, known, Weather { loss: 30, twice: 10, jitter: 300 });
            let start = world.now;
            if world.run() {
                longest = longest.max(world.now - start);
                assert_eq!(world.caller_events, ["established"], "{seed}");
                assert_eq!(world.answerer_events[0], "incoming", "{seed}");
            } else {
                failed += 1;
                // Who gives up says so.
                assert!(world.caller.is_over());
                assert_eq!(world.caller_events.last().map(String::as_str), Some("TimedOut"), "{seed}");
            }
        }
        println!("known: {known}: {failed} of 1000 failed, longest {longest:?}");
        assert!(failed < 10, "{failed} of 1000 failed");
    }
}

#[test]
fn nobody_there_is_told_after_ten_seconds() {
    for known in [true, false] {
        let mut world = World::new(3, known, Weather { loss: 100, ..Weather::default() });
        let start = world.now;
        assert!(!world.run());
        assert_eq!(world.caller_events, ["TimedOut"]);
        assert_eq!(world.now - start, Duration::from_secs(10));
        // 0, 0.25, 0.625, 1.19, 2.03, 3.03 ... s.
        assert_eq!(world.sent.len(), 12);
        assert!(world.caller.is_over() && world.caller.poll_timeout().is_none());
    }
}

#[test]
fn a_caller_that_never_confirms_is_given_up() {
    for known in [true, false] {
        let mut world = World::new(3, known, Weather::default());
        while world.answerer.is_none() || !world.caller.is_open() {
            world.step(true);
        }
        let mut answerer = world.answerer.take().unwrap();
        assert!(!answerer.is_open());
        let mut out = Vec::new();
        assert_eq!(answerer.seal_media(0, 0, b"speech", &mut out), Err(SealError::NotOpen));
        assert_eq!(answerer.seal_control(b"words", &mut out), Err(SealError::NotOpen));
        assert!(out.is_empty());
        let late = answerer.poll_timeout().unwrap();
        assert_eq!(answerer.handle_timeout(late), Some(Event::TimedOut));
        assert!(answerer.is_over());
        // And a caller who hears nothing more gives up too.
        world.flights_lost();
        while world.step(true) {}
        assert_eq!(world.caller_events, ["established", "TimedOut"]);
    }
}

#[test]
fn refusals_are_heard_and_repeated() {
    for (known, loss) in [(true, 0), (false, 0), (true, 30), (false, 30)] {
        let mut heard = 0;
        for seed in 0..50 {
            let mut world = World::new(seed, known, Weather { loss, ..Weather::default() });
            while !world.caller.is_over() && world.step(false) {
                if world.answerer_events == ["incoming"]
                    && let Some(answerer) = &mut world.answerer
                {
                    answerer.refuse(Reason::Busy, world.now);
                    assert!(answerer.accept(b"", world.now) == Err(AcceptError::NotAsked));
                }
            }
            heard += u32::from(world.caller_events == ["Refused(Busy)"]);
            while world.step(false) {}
            assert_eq!(world.answerer_events.len(), 1, "{:?}", world.answerer_events);
            assert!(world.answerer.is_some_and(|answerer| answerer.is_over()));
            // Nobody on the way can read it.
            assert!(world.sent.iter().all(|(_, datagram)| datagram[0] != 0x45));
        }
        assert!(heard >= if loss == 0 { 50 } else { 48 }, "{heard}");
    }
}

#[test]
fn the_wrong_key_is_told_after_some_doubt() {
    let mut world = World::new(1, true, Weather::default());
    let now = world.now;
    let other = Identity::from_bytes([0x33; 32]).public();
    world.caller = Session::dial(&caller_identity(), Some(other), answerer_address(), 5, b"", [9; 32], now).unwrap();
    while world.step(true) {}
    assert_eq!(world.caller_events, ["Refused(WrongKey)"]);
    assert!((2.08..2.2).contains(&(world.now - now).as_secs_f64()));
    assert!(world.answerer.is_none());
    assert!(world.gate.stats().wrong_keys > 0);
}

/// Who can send from the answerer's address, and has guessed the index, ends no call that is answered.
#[test]
fn a_forged_refusal_or_retry_does_not_stop_a_handshake() {
    for known in [true, false] {
        let mut world = World::new(1, known, Weather::default());
        let [high, low] = world.caller.index().to_be_bytes();
        let mut forged = vec![vec![0x45, VERSION, high, low, 1], vec![0x42, VERSION, high, low]];
        forged[1].extend_from_slice(&[7; 16]);
        for mut datagram in forged {
            assert_eq!(world.caller.handle(world.now, answerer_address(), &mut datagram), None);
        }
        assert!(world.run(), "{:?}", world.caller_events);
        assert_eq!(world.caller_events, ["established"]);
    }
}

/// Damage to any one byte of any message: the genuine one that comes after it still counts.
#[test]
fn damaged_messages_are_counted_and_do_no_harm() {
    for known in [true, false] {
        let mut world = World::new(1, known, Weather::default());
        assert!(world.run());
        let messages = world.sent.len();
        for at in 0..messages {
            for flip in [0_usize, 1, 2, 5, 6, 20, 21, 40, 60, 80, 100, 1000] {
                let mut world = World::new(1, known, Weather::default());
                let mut done = 0;
                while !world.both_open() {
                    // Deliver a damaged copy just before each genuine one.
                    while done < world.sent.len() {
                        let (to_answerer, mut copy) = world.sent[done].clone();
                        let position = flip.min(copy.len() - 1);
                        copy[position] ^= 0x01;
                        if done == at {
                            world.inject(to_answerer, &copy);
                        }
                        done += 1;
                    }
                    assert!(world.step(true), "message {at}, byte {flip}: {:?}", world.caller_events);
                }
                assert_eq!(world.caller_events, ["established"], "message {at}, byte {flip}");
            }
        }
    }
}

#[test]
fn a_recorded_initiation_is_worth_nothing_elsewhere_or_later() {
    let mut world = World::new(1, true, Weather::default());
    assert!(world.run());
    let initiations: Vec<_> = world.sent.iter().filter(|(_, datagram)| datagram[0] == 0x41).collect();
    let recorded = initiations.last().unwrap().1.clone();
    let elsewhere = "203.0.113.9:4000".parse().unwrap();
    let sessions = world.gate.stats().sessions;
    for (now, from) in [(world.now, elsewhere), (world.now + Duration::from_secs(21), caller_address())] {
        let super::Admission::Reply(reply) = world.gate.admit(now, from, &recorded, 1) else { panic!("a cookie") };
        assert_eq!((reply[0], reply.len()), (0x42, 20));
        // With that cookie in place of its own, it cannot be read.
        let mut patched = recorded.clone();
        patched[5..21].copy_from_slice(&reply[4..]);
        let super::Admission::Reply(reply) = world.gate.admit(now, from, &patched, 1) else { panic!("a refusal") };
        assert_eq!(reply, [0x45, VERSION, recorded[2], recorded[3], 5]);
    }
    assert_eq!(world.gate.stats().sessions, sessions);
}

#[test]
fn limits_of_offers_and_answers_hold() {
    let world = World::new(1, true, Weather::default());
    for known in [None, Some(answerer_identity().public())] {
        let dial = |length| {
            let offer = vec![0; length];
            Session::dial(&caller_identity(), known, answerer_address(), 5, &offer, [9; 32], world.now)
        };
        assert_eq!(dial(MAX_OFFER + 1).unwrap_err(), DialError::Offer(257));
        let mut caller = dial(MAX_OFFER).unwrap();
        let mut gate = super::CookieGate::new(&answerer_identity(), [1; 32], world.now);
        let mut answerer: Option<Box<Session>> = None;
        let (mut out, mut answered) = (Vec::new(), None);
        for _ in 0..8 {
            while caller.poll_transmit(&mut out) {
                let mut event = None;
                match &mut answerer {
                    Some(answerer) if out[0] != 0x41 => {
                        event = answerer.handle(world.now, caller_address(), &mut out).map(|event| owned(&event));
                    }
                    _ => match gate.admit(world.now, caller_address(), &out, 3) {
                        super::Admission::Reply(mut reply) => {
                            assert_eq!(caller.handle(world.now, answerer_address(), &mut reply), None);
                        }
                        super::Admission::Session(session, first) => {
                            answerer = Some(session);
                            event = first;
                        }
                        super::Admission::Junk => panic!("junk"),
                    },
                }
                if let Some(Event::Incoming { offer, .. }) = event {
                    assert_eq!(offer.len(), MAX_OFFER);
                    let answerer = answerer.as_mut().unwrap();
                    assert_eq!(answerer.accept(&[1; 65], world.now), Err(AcceptError::Answer(65)));
                    answerer.accept(&[1; 64], world.now).unwrap();
                }
            }
            while answerer.as_mut().is_some_and(|answerer| answerer.poll_transmit(&mut out)) {
                if let Some(Event::Established { answer, .. }) = caller.handle(world.now, answerer_address(), &mut out)
                {
                    answered = Some(answer);
                }
            }
        }
        assert_eq!(answered, Some(vec![1; 64]));
    }
}

/// At every step, datagrams of junk that are well addressed: no event, no panic, each counted once, and the handshake ends
/// well.
#[test]
fn junk_at_any_step_changes_nothing() {
    for known in [true, false] {
        let mut world = World::new(8, known, Weather::default());
        let mut dice = super::testing::Dice::new(8);
        while !world.both_open() {
            for _ in 0..20 {
                let mut junk: Vec<u8> = (0..dice.roll() % 130).map(|_| dice.roll() as u8).collect();
                let sessions = [Some(&mut world.caller), world.answerer.as_mut()];
                for (session, from) in sessions.into_iter().zip([answerer_address(), caller_address()]) {
                    let Some(session) = session else { continue };
                    if let [first, second, third, fourth, ..] = &mut junk[..] {
                        // Neither a Retry nor a Refuse, which anyone can make.
                        *first = [0x40, 0x41, 0x43, 0x44, 0x80, 0xFF][dice.roll() as usize % 6];
                        let [high, low] = session.index().to_be_bytes();
                        if (0x41..0x80).contains(first) {
                            (*second, *third, *fourth) = (2, high, low);
                        } else {
                            (*second, *third) = (high, low);
                        }
                    }
                    let before = *session.stats();
                    assert_eq!(session.handle(world.now, from, &mut junk), None);
                    assert_eq!(session.poll_event(), None);
                    let after = *session.stats();
                    let sum = |s: super::Stats| s.forged + s.replayed + s.malformed + s.strangers + s.unexpected;
                    assert_eq!(sum(after), sum(before) + 1);
                }
            }
            assert!(world.step(true), "{:?}", world.caller_events);
        }
        assert_eq!(world.caller_events, ["established"]);
        assert_eq!(world.answerer_events, ["incoming", "Confirmed"]);
    }
}
