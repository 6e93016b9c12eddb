//! Calls of two who share a secret, and of those who do not.

use std::time::Instant;

use super::{
    AcceptError, Admission, CookieGate, DialError, Event, Reason, Session,
    state::SessionState,
    testing::{ANSWER, OFFER, answerer_address, answerer_identity, caller_address, caller_identity, owned},
};
use crate::psk::Psk;

fn psk(n: u8) -> Psk {
    Psk::from_bytes([n; 32])
}

fn next(session: &mut Session) -> Vec<u8> {
    let mut out = Vec::new();
    assert!(session.poll_transmit(&mut out));
    out
}

/// The caller, the listener that was asked, and the time.
fn asked(known: bool, secret: Option<&Psk>) -> (Session, Session, Instant) {
    let (now, key) = (Instant::now(), known.then(|| answerer_identity().public()));
    let identity = caller_identity();
    let mut caller =
        Session::dial_with_psk(&identity, key, secret, answerer_address(), 7, OFFER, [3; 32], now).unwrap();
    let mut gate = CookieGate::new(&answerer_identity(), [4; 32], now);
    let question = next(&mut caller);
    let Admission::Reply(mut retry) = gate.admit(now, caller_address(), &question, 9) else { panic!("a cookie") };
    assert!(retry.len() < question.len());
    caller.handle(now, answerer_address(), &mut retry);
    let Admission::Session(mut listener, mut event) = gate.admit(now, caller_address(), &next(&mut caller), 9) else {
        panic!("a session")
    };
    if !known {
        caller.handle(now, answerer_address(), &mut next(&mut listener));
        event = listener.handle(now, caller_address(), &mut next(&mut caller)).map(|event| owned(&event));
    }
    assert_eq!(event, Some(Event::Incoming { peer: caller_identity().public(), offer: OFFER.to_vec() }));
    (caller, *listener, now)
}

#[test]
fn two_who_share_a_secret_have_a_call() {
    let (mut caller, mut listener, now) = asked(true, Some(&psk(7)));
    assert!(listener.shares(Some(&psk(7))));
    listener.accept(ANSWER, now).unwrap();
    let event = caller.handle(now, answerer_address(), &mut next(&mut listener)).map(|event| owned(&event));
    assert_eq!(event, Some(Event::Established { peer: answerer_identity().public(), answer: ANSWER.to_vec() }));
    assert_eq!(listener.handle(now, caller_address(), &mut next(&mut caller)), Some(Event::Confirmed));
    let mut speech = Vec::new();
    caller.seal_media(3, 0, b"speech", &mut speech).unwrap();
    assert!(matches!(listener.handle(now, caller_address(), &mut speech), Some(Event::Media { number: 3, .. })));
}

/// Whoever lacks the secret, or has another: the call does not come about, and both know why.
#[test]
fn two_who_do_not_share_a_secret_are_both_told() {
    for (known, theirs, ours) in [
        (true, Some(psk(7)), None),
        (true, Some(psk(7)), Some(psk(8))),
        (true, Some(psk(7)), Some(Psk::from_bytes([0; 32]))),
        (true, None, Some(psk(8))),
        (false, None, Some(psk(8))),
    ] {
        let (mut caller, mut listener, now) = asked(known, theirs.as_ref());
        assert!(!listener.shares(ours.as_ref()));
        listener.refuse(Reason::Psk, now);
        let mut answer = next(&mut listener);
        // Nobody on the way can say it in the listener's place.
        let mut forged = answer.clone();
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(caller.handle(now, answerer_address(), &mut forged), None);
        assert_eq!(caller.handle(now, answerer_address(), &mut answer), Some(Event::Refused(Reason::Psk)));
        assert!(caller.is_over() && !listener.is_open());
    }
}

/// A program that forgets to ask takes no call without the secret that the caller shows.
#[test]
fn who_shows_a_secret_is_not_accepted_without() {
    let (mut caller, mut listener, now) = asked(true, Some(&psk(7)));
    assert_eq!(listener.accept(ANSWER, now), Err(AcceptError::Psk));
    let event = caller.handle(now, answerer_address(), &mut next(&mut listener)).map(|event| owned(&event));
    assert_eq!(event, Some(Event::Refused(Reason::Psk)));
    assert!(!listener.is_open());
    // Not even if somebody who has the listener's key says so with no secret.
    let (mut caller, mut listener, now) = asked(true, Some(&psk(7)));
    listener.shown = None;
    let SessionState::Asked(noise) = &mut listener.state else { panic!("asked") };
    super::noise::set_psk(noise, &super::noise::NO_PSK).unwrap();
    listener.accept(ANSWER, now).unwrap();
    assert_eq!(caller.handle(now, answerer_address(), &mut next(&mut listener)), None);
    assert!(!caller.is_open() && caller.stats().forged == 1);
}

#[test]
fn who_shares_no_secret_shares_none() {
    for known in [true, false] {
        let (_, mut listener, now) = asked(known, None);
        assert!(listener.shares(None));
        listener.accept(ANSWER, now).unwrap();
    }
    // Without the key of who is called there is nobody to share it with.
    let (identity, now) = (caller_identity(), Instant::now());
    let dialed = Session::dial_with_psk(&identity, None, Some(&psk(1)), answerer_address(), 7, OFFER, [3; 32], now);
    assert_eq!(dialed.err(), Some(DialError::Handshake));
}

/// Other refusals are understood too, whether the listener has looked for the secret or not.
#[test]
fn other_refusals_are_understood() {
    for ours in [None, Some(None), Some(Some(psk(7))), Some(Some(psk(8)))] {
        let (mut caller, mut listener, now) = asked(true, Some(&psk(7)));
        if let Some(ours) = &ours {
            listener.shares(ours.as_ref());
        }
        listener.refuse(Reason::Busy, now);
        let event = caller.handle(now, answerer_address(), &mut next(&mut listener)).map(|event| owned(&event));
        assert_eq!(event, Some(Event::Refused(Reason::Busy)));
    }
}

/// The same keys and draws, and another secret: nothing that is sealed is the same, before new keys and after.
#[test]
fn all_keys_follow_from_the_secret() {
    let sealed = |secret: &Psk| {
        let (mut caller, mut listener, now) = asked(true, Some(secret));
        assert!(listener.shares(Some(secret)));
        listener.accept(ANSWER, now).unwrap();
        let mut answer = next(&mut listener);
        let _ = caller.handle(now, answerer_address(), &mut answer.clone());
        let mut speech = Vec::new();
        caller.seal_media(3, 0, b"speech", &mut speech).unwrap();
        let root = *caller.keys.as_ref().unwrap().root();
        (answer.split_off(4 + 32), speech.split_off(5), root)
    };
    let (one, other) = (sealed(&psk(7)), sealed(&psk(8)));
    assert!(one.0 != other.0 && one.1 != other.1 && one.2 != other.2);
    assert_eq!(one, sealed(&psk(7)));
}
