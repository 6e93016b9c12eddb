//! The sealed vectors in `docs/wire.md` are what this code makes.

use super::*;
use crate::{
    psk::Psk,
    session::{Admission, CookieGate, Event as Told},
};

/// The bytes of a line of the document.
fn vector(name: &str) -> Vec<u8> {
    let document = include_str!("../../../docs/wire.md");
    let line = document.lines().find(|line| line.starts_with(&format!("{name}: "))).expect(name);
    line[name.len() + 2..].split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect(name)).collect()
}

fn is(name: &str, bytes: &[u8]) {
    let text: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    if std::env::var_os("SHOW_VECTORS").is_some() {
        println!("{name}: {}", text.join(" "));
    } else {
        assert_eq!(vector(name), bytes, "{name}: {}", text.join(" "));
    }
}

fn next(session: &mut Session) -> Vec<u8> {
    let mut out = Vec::new();
    assert!(session.poll_transmit(&mut out));
    out
}

/// What HKDF-Expand draws from a seed: see the document.
fn draw(seed: &mut [u8; 32]) -> [u8; 32] {
    let mut out = [0; 64];
    hkdf::Hkdf::<sha2::Sha256>::from_prk(&*seed).unwrap().expand(b"parlo draw", &mut out).unwrap();
    seed.copy_from_slice(&out[..32]);
    std::array::from_fn(|n| out[32 + n])
}

#[test]
fn the_document_shows_true_handshakes_and_seals() {
    let now = Instant::now();
    let ours = Offer { tokens: vec![TokensId::from_bytes(std::array::from_fn(|n| n as u8))], ..offer(&[], true) };
    let answer = Answer { tokens: Some(0), depth: 4, frames_per_packet: 12, ringing: false, rekeys: false };
    is("offer", &ours.to_bytes());
    is("answer", &answer.to_bytes());
    is("answer-ringing", &Answer { ringing: true, ..answer }.to_bytes());
    is("sealed-caller-public", identity(1).public().as_bytes());
    is("sealed-listener-public", identity(2).public().as_bytes());
    let (mut callers, mut listeners) = ([3; 32], [4; 32]);
    draw(&mut callers);
    is("sealed-caller-ephemeral", &draw(&mut draw(&mut callers)));
    draw(&mut listeners);
    draw(&mut listeners);
    is("sealed-listener-ephemeral", &draw(&mut draw(&mut listeners)));
    for (pattern, key) in [("ik", Some(identity(2).public())), ("xx", None)] {
        let is = |name: &str, bytes: &[u8]| is(&format!("sealed-{pattern}-{name}"), bytes);
        let caller = SocketAddr::from(([192, 0, 2, 1], 7275));
        let mut gate = CookieGate::new(&identity(2), [4; 32], now);
        let mut dialer = Session::dial(&identity(1), key, address(2), 0x0102, &ours.to_bytes(), [3; 32], now).unwrap();
        let question = next(&mut dialer);
        let Admission::Reply(mut retry) = gate.admit(now, caller, &question, 0xBEEF) else { panic!("a cookie") };
        is("retry", &retry);
        dialer.handle(now, address(2), &mut retry);
        let question = next(&mut dialer);
        is("initiate", &question);
        let Admission::Session(mut answerer, event) = gate.admit(now, caller, &question, 0xBEEF) else {
            panic!("a session")
        };
        if key.is_some() {
            assert!(matches!(event, Some(Told::Incoming { .. })));
            answerer.accept(&answer.to_bytes(), now).unwrap();
        }
        let mut respond = next(&mut answerer);
        is("respond", &respond);
        let established = dialer.handle(now, address(2), &mut respond);
        if key.is_none() {
            let mut finish = next(&mut dialer);
            is("finish", &finish);
            assert!(matches!(answerer.handle(now, caller, &mut finish), Some(Told::Incoming { .. })));
            answerer.accept(&answer.to_bytes(), now).unwrap();
            let mut accept = next(&mut answerer);
            is("answer", &accept);
            assert!(matches!(dialer.handle(now, address(2), &mut accept), Some(Told::Established { .. })));
        } else {
            assert!(matches!(established, Some(Told::Established { .. })));
        }
        let mut confirm = next(&mut dialer);
        is("confirm", &confirm);
        assert_eq!(answerer.handle(now, caller, &mut confirm), Some(Told::Confirmed));
        let mut confirmed = next(&mut answerer);
        is("confirmed", &confirmed);
        assert_eq!(dialer.handle(now, address(2), &mut confirmed), None);

        let media = vector("media");
        let mut sealed = Vec::new();
        dialer.seal_media(0x1234, media[0] & 0x7F, &media[1..], &mut sealed).unwrap();
        is("media", &sealed);
        let event = answerer.handle(now, caller, &mut sealed);
        assert_eq!(event, Some(Told::Media { number: 0x1234, header: media[0], body: &media[1..] }));
        sealed.clear();
        // Its own that went before: the confirmation's answer, and in XX the answer.
        let number = if key.is_some() { 1 } else { 2 };
        answerer.seal_control(&vector("bye"), &mut sealed).unwrap();
        is("bye", &sealed);
        assert_eq!(dialer.handle(now, address(2), &mut sealed), Some(Told::Control { number, body: &vector("bye") }));
        // The caller speaks from elsewhere, and is asked whether it is there.
        let elsewhere = SocketAddr::from(([192, 0, 2, 9], 7275));
        sealed.clear();
        dialer.seal_media(0x1237, media[0] & 0x7F, &media[1..], &mut sealed).unwrap();
        assert!(matches!(answerer.handle(now, elsewhere, &mut sealed), Some(Told::Media { number: 0x1237, .. })));
        let mut challenge = next(&mut answerer);
        assert_eq!(answerer.transmit_address(), elsewhere);
        is("challenge", &challenge);
        assert_eq!(dialer.handle(now, address(2), &mut challenge), None);
        let mut echo = next(&mut dialer);
        is("echo", &echo);
        assert_eq!(answerer.handle(now, elsewhere, &mut echo), Some(Told::Moved { from: caller, to: elsewhere }));
        // Two minutes later keys are agreed anew.
        dialer.enable_rekeying(now);
        answerer.enable_rekeying(now);
        let now = now + crate::session::REKEY_EVERY;
        assert_eq!(dialer.handle_timeout(now), None);
        dialer.rekey([5; 32], now);
        let mut rekey = next(&mut dialer);
        is("rekey", &rekey);
        assert_eq!(answerer.handle(now, elsewhere, &mut rekey), None);
        answerer.rekey([6; 32], now);
        let mut rekeyed = next(&mut answerer);
        is("rekeyed", &rekeyed);
        assert_eq!(dialer.handle(now, address(2), &mut rekeyed), None);
        let mut confirm = next(&mut dialer);
        is("rekey-confirm", &confirm);
        assert_eq!(answerer.handle(now, elsewhere, &mut confirm), None);
        let mut confirmed = next(&mut answerer);
        is("rekey-confirmed", &confirmed);
        assert_eq!(dialer.handle(now, address(2), &mut confirmed), None);
        assert_eq!((dialer.rekeys(), answerer.rekeys()), (1, 1));
        sealed.clear();
        dialer.seal_media(0x123A, media[0] & 0x7F, &media[1..], &mut sealed).unwrap();
        is("rekey-media", &sealed);
        assert!(matches!(answerer.handle(now, elsewhere, &mut sealed), Some(Told::Media { number: 0x123A, .. })));
    }
    let mut gate = CookieGate::new(&identity(2), [4; 32], now);
    let mut other = vec![0x41, 9, 0x01, 0x02];
    other.resize(60, 0);
    let Admission::Reply(refuse) = gate.admit(now, address(1), &other, 1) else { panic!("a refusal") };
    is("refuse", &refuse);
}

/// As above by IKpsk2, with a secret of 32 bytes 07; and how a listener refuses that has none.
#[test]
fn the_document_shows_true_calls_with_a_shared_secret() {
    let now = Instant::now();
    let (ours, answer) = (vector("offer"), vector("answer"));
    let psk = Psk::from_bytes([7; 32]);
    is("sealed-psk-text", psk.to_text().as_bytes());
    let caller = SocketAddr::from(([192, 0, 2, 1], 7275));
    for shared in [false, true] {
        let mut gate = CookieGate::new(&identity(2), [4; 32], now);
        let key = Some(identity(2).public());
        let mut dialer =
            Session::dial_with_psk(&identity(1), key, Some(&psk), address(2), 0x0102, &ours, [3; 32], now).unwrap();
        let Admission::Reply(mut retry) = gate.admit(now, caller, &next(&mut dialer), 0xBEEF) else {
            panic!("a cookie")
        };
        is("sealed-psk-retry", &retry);
        dialer.handle(now, address(2), &mut retry);
        let question = next(&mut dialer);
        is("sealed-psk-initiate", &question);
        let Admission::Session(mut answerer, Some(Told::Incoming { .. })) = gate.admit(now, caller, &question, 0xBEEF)
        else {
            panic!("a session")
        };
        if !shared {
            assert!(!answerer.shares(None));
            answerer.refuse(Reason::Psk, now);
            let mut refused = next(&mut answerer);
            is("sealed-psk-refused", &refused);
            assert_eq!(dialer.handle(now, address(2), &mut refused), Some(Told::Refused(Reason::Psk)));
            continue;
        }
        assert!(answerer.shares(Some(&psk)));
        answerer.accept(&answer, now).unwrap();
        let mut respond = next(&mut answerer);
        is("sealed-psk-respond", &respond);
        assert!(matches!(dialer.handle(now, address(2), &mut respond), Some(Told::Established { .. })));
        let mut confirm = next(&mut dialer);
        is("sealed-psk-confirm", &confirm);
        assert_eq!(answerer.handle(now, caller, &mut confirm), Some(Told::Confirmed));
        let media = vector("media");
        let mut sealed = Vec::new();
        dialer.seal_media(0x1234, media[0] & 0x7F, &media[1..], &mut sealed).unwrap();
        is("sealed-psk-media", &sealed);
        assert!(matches!(answerer.handle(now, caller, &mut sealed), Some(Told::Media { .. })));
    }
}
