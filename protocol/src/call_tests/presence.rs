//! Ringing, picking up, declining, giving up; and holding.

use super::*;

const HELD: Presence = Presence { ringing: false, held: true };
const THERE: Presence = Presence { ringing: false, held: false };
const RINGING: Presence = Presence { ringing: true, held: false };

fn ringing(text: &str, known: bool) -> World {
    let key = known.then(|| identity(2).public());
    let mut world = Setting { key, ..Setting::over(text) }.world();
    world.ring = true;
    world
}

/// What a call has to send.
fn drained(call: &mut Call) -> Vec<Vec<u8>> {
    let (mut all, mut out) = (Vec::new(), Vec::new());
    while call.poll_transmit(&mut out) {
        all.push(out.clone());
    }
    all
}

fn one(call: &mut Call) -> Vec<u8> {
    let mut all = drained(call);
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// Gives a copy of a datagram to a call: whether media came of it, and what it tells of the peer then.
fn give(call: &mut Call, now: Instant, datagram: &[u8]) -> (bool, Option<Presence>) {
    let from = call.address();
    let media = match call.handle(now, from, &mut datagram.to_vec()) {
        Some(Event::Frames { .. } | Event::Silence { .. }) => true,
        None => false,
        other => panic!("{other:?}"),
    };
    let presence = call.poll_event().map(|event| match event {
        Event::Presence(presence) => presence,
        other => panic!("{other:?}"),
    });
    assert!(presence.is_none_or(|presence| presence == call.peer_presence()));
    assert_eq!(call.poll_event(), None);
    (media, presence)
}

fn speech(call: &mut Call, now: Instant, first: u64) -> Vec<u8> {
    let context = call.context(first);
    call.send_frames(now, &context, &Run { count: 3, depth: 6, copies: 0, copy_depth: 1, payload: &[7; 20] }).unwrap();
    one(call)
}

fn alive(call: &mut Call, now: Instant, presence: Presence) -> Vec<u8> {
    call.set_presence(now, presence);
    assert_eq!(call.presence(), presence);
    one(call)
}

#[test]
fn it_rings_over_a_lossy_path_until_somebody_picks_up() {
    for known in [true, false] {
        let mut world = ringing("loss=30% delay=80ms jitter=60ms jitter-reorders=yes seed=11", known).connect();
        assert!(world.seen.iter().all(|seen| seen.ringing == [true]));
        world.speak([Speech::Fixed(3, 6), Speech::Fixed(3, 6)]);
        world.run(40_000);
        for side in [CALLER, LISTENER] {
            assert!(world.seen[side].ended.is_empty() && world.seen[side].presences.is_empty(), "{side}");
            let (now, mouth) = (world.now, world.mouths[side].next);
            let call = world.call(side).unwrap();
            assert!(call.is_open() && call.stats().sent.payload_bytes == 0);
            let context = call.context(mouth);
            let run = Run { count: 1, depth: 1, copies: 0, copy_depth: 1, payload: &[1] };
            assert_eq!(call.send_frames(now, &context, &run), Err(SendError::Ringing));
            assert_eq!(call.send_silence(now, mouth, noise()), Err(SendError::Ringing));
        }
        assert_eq!((world.caller.peer_presence(), world.listener().presence()), (RINGING, RINGING));
        let now = world.now;
        world.listener.as_mut().unwrap().set_presence(now, THERE);
        world.run(10_000);
        assert_eq!((&world.seen[CALLER].presences[..], &world.seen[LISTENER].presences[..]), (&[THERE][..], &[][..]));
        for side in [CALLER, LISTENER] {
            let share = world.seen[side].packets.len() as f64 / world.mouths[1 - side].sent.len() as f64;
            assert!(share > 0.55 && world.mouths[1 - side].sent.len() > 140, "{share}");
            assert_eq!(world.call(side).unwrap().stats().early, 0);
        }
    }
}

#[test]
fn a_call_that_does_not_ring_says_so() {
    let world = Setting::new().world().connect();
    assert!(world.seen.iter().all(|seen| seen.ringing == [false] && seen.presences.is_empty()));
    assert_eq!((world.caller.peer_presence(), world.listener().peer_presence()), (THERE, THERE));
}

#[test]
fn who_declines_says_so_and_who_gives_up_too() {
    let reasons = [
        Goodbye::Declined,
        Goodbye::Busy,
        Goodbye::NoAnswer,
        Goodbye::HungUp,
        Goodbye::Failed,
        Goodbye::Replaced,
        Goodbye::Other(77),
    ];
    for (n, reason) in reasons.into_iter().enumerate() {
        for side in [CALLER, LISTENER] {
            let text = format!("loss=30% delay=60ms seed={}", 20 + n);
            let mut world = ringing(&text, n % 2 == 0).connect();
            world.run(25_000);
            let now = world.now;
            world.call(side).unwrap().hang_up(now, reason);
            world.run(1000);
            assert_eq!(
                (world.seen[1 - side].ended.as_slice(), world.seen[1 - side].reason),
                (&["left"][..], Some(reason))
            );
            assert_eq!(world.seen[1 - side].total, Some(0), "nothing was said");
            assert!(world.caller.is_over() && world.listener().is_over() && world.seen[side].ended.is_empty());
        }
    }
}

#[test]
fn who_declines_before_the_caller_is_known_to_be_there_waits_for_it() {
    for known in [true, false] {
        let mut world = ringing("delay=100ms", known);
        while world.listener.is_none() {
            world.run(1);
        }
        let now = world.now;
        world.listener.as_mut().unwrap().hang_up(now, Goodbye::Declined);
        assert!(!world.listener().is_over());
        world.run(600);
        assert_eq!(
            (&world.seen[CALLER].ended[..], world.seen[CALLER].reason),
            (&["left"][..], Some(Goodbye::Declined))
        );
        assert!(world.listener().is_over() && world.seen[LISTENER].connected.is_empty());

        // A caller who is not there any more is waited for, but not for long.
        let mut world = ringing("delay=100ms", known);
        while world.listener.is_none() {
            world.run(1);
        }
        let now = world.now;
        world.ways[0].1 = Path::new("loss=100%".parse().unwrap(), now);
        world.listener.as_mut().unwrap().hang_up(now, Goodbye::Declined);
        while !world.listener().is_over() {
            world.run(1);
        }
        assert!((ms(1990)..=ms(2010)).contains(&world.now.duration_since(now)));
        assert!(world.seen[LISTENER].ended.is_empty() && world.listener().poll_timeout().is_none());
    }
}

#[test]
fn who_picks_up_before_the_caller_is_known_to_be_there_is_heard_of_it() {
    for known in [true, false] {
        let mut world = ringing("delay=100ms", known);
        while world.listener.is_none() {
            world.run(1);
        }
        let now = world.now;
        world.listener.as_mut().unwrap().set_presence(now, THERE);
        world.caller.set_presence(now, HELD);
        world = world.connect();
        assert!(world.seen.iter().all(|seen| seen.ringing == [true]), "the answer was given already");
        world.run(300);
        assert_eq!(
            (&world.seen[CALLER].presences[..], &world.seen[LISTENER].presences[..]),
            (&[THERE][..], &[HELD][..])
        );
    }
}

#[test]
fn media_says_that_somebody_has_picked_up_if_nothing_else_arrives() {
    let mut world = ringing("delay=10ms", true).connect();
    let now = world.now;
    let mut listener = world.listener.take().unwrap();
    drained(&mut listener);
    // Lost.
    alive(&mut listener, now, THERE);
    let first = speech(&mut listener, now, 5);
    assert_eq!(give(&mut world.caller, now, &first), (true, Some(THERE)));
    let second = speech(&mut listener, now, 8);
    assert_eq!(give(&mut world.caller, now, &second), (true, None), "it is told once");
    assert!(world.caller.send_silence(now, 0, noise()).is_ok());
}

#[test]
fn media_to_who_still_rings_is_not_given_on() {
    let mut world = ringing("delay=10ms", true).connect();
    let now = world.now;
    let mut out = Vec::new();
    // No caller of this version does that.
    world.caller.session.seal_media(0, 5, &[0, 1, 2, 3], &mut out).unwrap();
    let mut listener = world.listener.take().unwrap();
    assert_eq!(give(&mut listener, now, &out), (false, None));
    assert_eq!((listener.stats().early, listener.presence()), (1, RINGING));
}

#[test]
fn a_hold_is_told_four_times_in_four_tenths_of_a_second_and_then_every_two() {
    let mut world = Setting::over("delay=20ms").world().connect();
    world.run(50);
    let (now, before) = (world.now, world.caller.stats().sent.packets);
    world.caller.set_presence(now, HELD);
    world.caller.set_presence(now, HELD);
    world.run(1000);
    assert_eq!(world.caller.stats().sent.packets - before, 4);
    world.run(10_400);
    assert_eq!(world.caller.stats().sent.packets - before, 9);
    assert_eq!(world.seen[LISTENER].presences, [HELD]);
    assert_eq!((world.listener().peer_presence(), world.caller.peer_presence()), (HELD, THERE));
}

#[test]
fn a_hold_may_last_for_hours_while_frame_numbers_go_on() {
    let mut world = Setting::over("delay=20ms").world().connect();
    world.speak([Speech::Fixed(3, 6), Speech::Quiet]);
    world.run(3000);
    world.speak([Speech::Mute, Speech::Quiet]);
    let now = world.now;
    world.caller.set_presence(now, HELD);
    for _ in 0..120 {
        world.run(60_000);
        let (now, number) = (world.now, world.mouths[CALLER].next);
        world.caller.send_silence(now, number, noise()).unwrap();
        world.mouths[CALLER].next += 1;
    }
    world.run(1000);
    assert_eq!((world.seen[LISTENER].silences.len(), &world.seen[LISTENER].presences[..]), (120, &[HELD][..]));
    let before = world.seen[LISTENER].packets.len();
    world.speak([Speech::Fixed(3, 6), Speech::Quiet]);
    let now = world.now;
    world.caller.set_presence(now, THERE);
    world.run(1000);
    assert_eq!(world.seen[LISTENER].presences, [HELD, THERE]);
    assert!(world.seen[LISTENER].packets.len() >= before + 14);
}

#[test]
fn holds_over_a_bad_path_are_told_once_each() {
    // Packets overtake each other, and half of them are lost.
    let mut world = Setting::over("loss=50% delay=40ms jitter=400ms jitter-reorders=yes seed=8").world().connect();
    for turn in 0..30 {
        world.speak([Speech::Fixed(1, 6), Speech::Mute]);
        let now = world.now;
        world.caller.set_presence(now, THERE);
        world.run(4000);
        assert_eq!(world.listener().peer_presence(), THERE, "{turn}");
        world.speak([Speech::Mute, Speech::Mute]);
        let now = world.now;
        world.caller.set_presence(now, HELD);
        // All that is said in the first half second may be lost.
        for _ in 0..20 {
            world.run(if world.listener().peer_presence() == HELD { 100 } else { 400 });
        }
        assert_eq!(world.listener().peer_presence(), HELD, "{turn}");
    }
    let expected: Vec<_> = [HELD, THERE].into_iter().cycle().take(59).collect();
    assert_eq!(world.seen[LISTENER].presences, expected);
}

#[test]
fn what_is_older_undoes_nothing() {
    let world = Setting::new().world().connect();
    let (mut caller, mut listener, now) = (world.caller, world.listener.unwrap(), world.now);
    for datagram in drained(&mut listener) {
        give(&mut caller, now, &datagram);
    }
    for datagram in drained(&mut caller) {
        give(&mut listener, now, &datagram);
    }
    let said = speech(&mut caller, now, 0);
    assert_eq!(give(&mut listener, now, &said), (true, None));
    // Two packets of media from before the hold, one of them the newest of all, come after the news of it.
    let (old, newest) = (speech(&mut caller, now, 3), speech(&mut caller, now, 6));
    let hold = alive(&mut caller, now, HELD);
    assert_eq!(give(&mut listener, now, &hold), (false, Some(HELD)));
    assert_eq!(give(&mut listener, now, &newest), (true, None));
    assert_eq!(give(&mut listener, now, &old), (true, None));
    assert_eq!(listener.peer_presence(), HELD);
    // Its news come in the wrong order.
    let back = alive(&mut caller, now, THERE);
    let again = alive(&mut caller, now, HELD);
    let back_again = alive(&mut caller, now, THERE);
    assert_eq!(give(&mut listener, now, &back_again), (false, Some(THERE)));
    assert_eq!(give(&mut listener, now, &back), (false, None));
    assert_eq!(give(&mut listener, now, &again), (false, None));
    // Held and back, of which only media tells; then comes the news of the hold.
    let hold = alive(&mut caller, now, HELD);
    let lost = alive(&mut caller, now, THERE);
    let said = speech(&mut caller, now, 9);
    assert_eq!(give(&mut listener, now, &said), (true, None));
    assert_eq!(give(&mut listener, now, &hold), (false, None));
    assert_eq!(give(&mut listener, now, &lost), (false, None));
    // The hold comes first, and then the media that ends it.
    let hold = alive(&mut caller, now, HELD);
    caller.set_presence(now, THERE);
    drained(&mut caller);
    let said = speech(&mut caller, now, 12);
    assert_eq!(give(&mut listener, now, &hold), (false, Some(HELD)));
    assert_eq!(give(&mut listener, now, &said), (true, Some(THERE)));
}
