use super::*;

#[test]
fn a_perfect_network_carries_every_frame_and_one_goodbye_and_bytes_are_counted_exactly() {
    for known in [true, false] {
        let key = known.then(|| identity(2).public());
        let mut world = Setting { key, ..Setting::over("delay=30ms") }.world().connect();
        let codec = Codec::Tokens(TokensId::from_bytes([3; 32]));
        assert_eq!(world.seen[CALLER].connected, [(identity(2).public(), codec)]);
        assert_eq!(world.seen[LISTENER].connected, [(identity(1).public(), codec)]);
        world.run(100);
        let before = *world.caller.stats();
        let heard = world.listener().stats().received;
        world.speak([Speech::Fixed(3, 6), Speech::Mute]);
        world.run(6000);
        world.speak([Speech::Quiet, Speech::Mute]);
        world.run(2000);
        let (count, total) = (world.mouths[CALLER].sent.len() as u64, world.mouths[CALLER].next);
        let hung_up = world.now;
        world.caller.hang_up(hung_up, Goodbye::HungUp);
        world.caller.hang_up(hung_up, Goodbye::HungUp);
        world.run(200);

        let seen = &world.seen[LISTENER];
        assert_eq!(seen.packets.keys().collect::<Vec<_>>(), world.mouths[CALLER].sent.keys().collect::<Vec<_>>());
        assert!(seen.packets.values().all(|bytes| bytes.len() == 24));
        assert_eq!((count, seen.silences.len()), (100, 5));
        assert_eq!((&seen.ended[..], &world.seen[CALLER].ended[..]), (&["left"][..], &[][..]));
        assert!(seen.total.is_some_and(|end| end <= total && end > total - 20), "{:?} {total}", seen.total);
        assert!(world.caller.is_over() && world.listener().is_over());
        assert_eq!((world.caller.poll_timeout(), world.listener().poll_timeout()), (None, None));

        let sent = world.caller.stats().sent;
        assert_eq!(sent.payload_bytes, 100 * 24 + 5 * 9);
        assert_eq!(sent.packets - before.sent.packets, 100 + 5 + 3);
        // The listener says nothing of media, so nothing is told of it.
        let (media, silence, bye) = (14 + 24, 14 + 9, 13 + 1 + 6);
        assert_eq!(sent.bytes - before.sent.bytes, 100 * media + 5 * silence + 3 * bye);
        assert_eq!(sent.news_bytes, 0);
        let received = world.listener().stats().received;
        // Two of three Byes come when it is over.
        assert_eq!(received.bytes - heard.bytes, 100 * media + 5 * silence + bye);
        assert_eq!(sent.wire_bytes(IPV4_UDP), sent.bytes + 28 * sent.packets);
        // What the listener tells is as the caller counts it: signs of life with their news.
        let told = world.listener().stats().sent.news_bytes;
        assert!(told > 0 && told == world.caller.stats().received.news_bytes, "{told}");
    }
}

#[test]
fn who_has_another_key_is_not_talked_to() {
    let mut world = Setting { key: Some(identity(5).public()), ..Setting::new() }.world();
    world.run(20_000);
    assert_eq!(world.seen[CALLER].ended, ["wrong key"]);
    assert!(world.caller.is_over() && world.listener.is_none());
}

#[test]
fn without_a_shared_codec_there_is_no_call_and_opus_is_the_last_resort() {
    for known in [true, false] {
        let key = known.then(|| identity(2).public());
        let setting = |theirs, ours| Setting { key, theirs, ours, ..Setting::new() };
        let mut world = setting(offer(&[3], true), offer(&[4], false)).world();
        world.run(20_000);
        assert_eq!(world.seen[CALLER].ended, ["no shared bundle"], "{known}");
        assert!(world.caller.is_over() && world.listener.is_none());
        assert_eq!(world.acceptor.poll_timeout(), None, "all is forgotten");

        let codec_of = |world: World| {
            let world = world.connect();
            assert_eq!(world.seen[CALLER].connected[0].1, world.seen[LISTENER].connected[0].1);
            world.seen[CALLER].connected[0].1
        };
        assert_eq!(codec_of(setting(offer(&[3], true), offer(&[4], true)).world()), Codec::Opus);
        let tokens = |n| Codec::Tokens(TokensId::from_bytes([n; 32]));
        assert_eq!(codec_of(setting(offer(&[5, 3, 4], true), offer(&[4, 3], true)).world()), tokens(3));
    }
}

#[test]
fn a_busy_door_says_so() {
    for known in [true, false] {
        let key = known.then(|| identity(2).public());
        let mut world = Setting { key, ..Setting::over("loss=20% delay=40ms seed=4") }.world();
        world.busy = true;
        world.run(15_000);
        assert_eq!(world.seen[CALLER].ended, ["busy"], "{known}");
        assert!(world.listener.is_none());
    }
}

#[test]
fn nobody_there_is_a_timeout_after_ten_seconds_of_fewer_and_fewer_questions() {
    let mut world = Setting::over("loss=100%").world();
    world.run(30_000);
    assert_eq!(world.seen[CALLER].ended, ["timed out"]);
    assert!((10..=14).contains(&world.caller.stats().sent.packets), "{:?}", world.caller.stats());
}

#[test]
fn who_hangs_up_before_there_is_an_answer_stays_hung_up() {
    for known in [true, false] {
        for wait in [1, 50, 110, 170, 230] {
            let key = known.then(|| identity(2).public());
            let mut world = Setting { key, ..Setting::over("delay=50ms") }.world();
            world.run(wait);
            let now = world.now;
            let joined = world.caller.is_open();
            world.caller.hang_up(now, Goodbye::HungUp);
            world.run(40_000);
            assert!(world.caller.is_over() && world.seen[CALLER].ended.is_empty(), "{wait}");
            assert!(joined || world.seen[CALLER].connected.is_empty(), "{wait}");
            if let Some(listener) = &world.listener {
                assert!(listener.is_over() && world.seen[LISTENER].ended.len() == 1, "{wait}");
            }
        }
    }
}

#[test]
fn an_answer_that_names_nothing_offered_ends_the_call_on_both_sides() {
    for known in [true, false] {
        let key = known.then(|| identity(2).public());
        let mut world = Setting { key, theirs: offer(&[3], false), ..Setting::new() }.world();
        world.answer = Some(Answer { tokens: Some(3), depth: 6, frames_per_packet: 3, ringing: false, rekeys: false });
        world.run(1000);
        assert_eq!(world.seen[CALLER].ended, ["no shared bundle"]);
        assert_eq!(world.seen[LISTENER].ended, ["left"]);
        assert!(world.caller.is_over() && world.listener().is_over());
    }
}
