//! Calls with contacts that a secret is shared with, and where the two do not have the same.

use parlo_protocol::psk::Psk;

use super::*;

fn psk(n: u8) -> Psk {
    Psk::from_bytes([n; 32])
}

fn contacts(side: &Side) -> KnownPeers {
    KnownPeers::new(&side.folder.path().join("parlo"))
}

/// The side knows somebody by this name, and shares a secret with it, or none.
fn knows(side: &Side, name: &str, address: Option<&str>, key: PublicKey, secret: Option<&Psk>) {
    let known = contacts(side);
    known.add(name, address, &key).unwrap();
    known.set_psk(name, secret).unwrap();
    // The daemon looks four times a second.
    std::thread::sleep(Duration::from_millis(600));
}

#[test]
fn a_caller_without_the_same_secret_is_turned_away_and_both_are_told() {
    let ben = Side::new(|_| {});
    let key = Identity::from_bytes([7; 32]).public();
    for (n, (ours, theirs, known)) in [
        (Some(1), Some(1), true),
        (Some(1), Some(2), true),
        (Some(1), None, true),
        (Some(1), None, false),
        (None, Some(1), true),
        (None, None, true),
    ]
    .into_iter()
    .enumerate()
    {
        knows(&ben, "carl", None, key, ours.map(psk).as_ref());
        let before = ben.said("").len();
        let theirs = theirs.map(psk);
        let caller = Caller::sharing("127.0.0.7", 7, &ben, known, theirs.as_ref()).answered();
        let same = ours.map(psk) == theirs;
        assert_eq!((caller.connected, caller.refused), (same, (!same).then_some(Reason::Psk)), "{n}");
        if same {
            caller.hang_up();
            continue;
        }
        let words = if ours.is_some() { "without the secret that you share" } else { "you have none" };
        ben.until("it is told", |_| ben.said("")[before..].iter().any(|line| line.contains(words)));
        assert!(ben.said(words).iter().all(|line| line.contains("carl") && line.contains("parlo contacts psk carl")));
        // Lines of the log that callers cause are limited.
        std::thread::sleep(Duration::from_millis(1100));
    }
}

#[test]
fn a_stranger_with_a_secret_learns_that_none_is_shared() {
    let ben = Side::new(|_| {});
    let caller = Caller::sharing("127.0.0.8", 8, &ben, true, Some(&psk(1))).answered();
    assert_eq!((caller.connected, caller.refused), (false, Some(Reason::Psk)));
    let caller = Caller::sharing("127.0.0.8", 8, &ben, true, None).answered();
    assert!(caller.connected);
    caller.hang_up();
}

#[test]
fn calls_out_use_the_secret_and_nothing_else() {
    let (ann, ben) = (Side::new(|_| {}), Side::new(|_| {}));
    let address = ben.address().to_string();
    knows(&ann, "ben", Some(&address), ben.key, Some(&psk(1)));
    let failed = |peer: &str, words: &str| {
        let id = match ann.ask(Request::Dial(Dial { peer: peer.into(), ..Dial::default() })).unwrap() {
            Reply::Call(call) => call.id,
            Reply::Done => panic!("a call was asked for"),
        };
        let ended = |status: &Status| {
            let call = status.calls.iter().find(|call| call.id == id);
            call.is_some_and(|call| call.failure.as_deref().is_some_and(|failure| failure.contains(words)))
        };
        ann.until(words, ended);
    };
    failed("ben", "does not have the secret that you share");
    knows(&ben, "ann", None, ann.key, Some(&psk(2)));
    failed("ben", "does not have the secret that you share");
    contacts(&ann).set_psk("ben", None).unwrap();
    std::thread::sleep(Duration::from_millis(600));
    failed("ben", "takes your calls with a shared secret only");
    contacts(&ann).set_psk("ben", Some(&psk(2))).unwrap();
    std::thread::sleep(Duration::from_millis(600));
    let Reply::Call(call) = ann.ask(Request::Dial(Dial { peer: "ben".into(), ..Dial::default() })).unwrap() else {
        panic!("a call was asked for")
    };
    ann.is_heard(call.id);
    ann.ask(Request::HangUp(call.id)).unwrap();
    // By the address alone the secret is not used: who answers there is known by its key.
    contacts(&ann).remove("ben").unwrap();
    contacts(&ben).set_psk("ann", None).unwrap();
    knows(&ann, "ben", None, ben.key, Some(&psk(2)));
    failed(&address, "by its address alone");
}
