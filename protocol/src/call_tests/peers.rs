use super::*;

#[test]
fn a_caller_that_roams_is_followed_and_old_packets_do_not_lead_back() {
    for known in [true, false] {
        let key = known.then(|| identity(2).public());
        let mut world = Setting { key, ..Setting::over("delay=300ms") }.world().connect();
        world.speak([Speech::Fixed(3, 6), Speech::Fixed(3, 6)]);
        world.run(5000);
        // The new way is faster: what is on the old one comes later.
        let new = Path::new("delay=20ms".parse().unwrap(), world.now);
        world.ways.push((address(5), new));
        world.caller_address = address(5);
        world.run(5000);
        assert_eq!(world.seen[LISTENER].moves, [(address(1), address(5))]);
        assert_eq!(world.listener().stats().moves, 1);
        assert_eq!(world.listener().address(), address(5));
        assert!(world.seen[CALLER].moves.is_empty());
        let sent = world.mouths[CALLER].sent.len();
        assert!(world.seen[LISTENER].packets.len() + 2 >= sent, "nothing is lost on the way there");
        // The way back: what was sent to the old address until the first packet from the new one came.
        let last = *world.seen[CALLER].packets.last_key_value().unwrap().0;
        assert!(last + 30 > world.mouths[LISTENER].next, "media comes to the new address");
        // It waits for the address to be proven: one way there and back, with what was on its way.
        let missing =
            world.mouths[LISTENER].sent.keys().filter(|first| !world.seen[CALLER].packets.contains_key(first)).count();
        assert!(missing * 60 < 1000, "{missing} packets of 60 ms were sent where nobody is");
        // Another delay is no queue.
        assert!(world.caller.path().unwrap().queue < ms(30), "{:?}", world.caller.path());
        // A copy of a packet that came, from an attacker's address, moves nothing.
        let (_, tape) = world.tape.last().unwrap().clone();
        let now = world.now;
        world.run(100);
        world.listener.as_mut().unwrap().handle(now, address(66), &mut tape.clone());
        assert_eq!(world.listener().address(), address(5));
    }
}

#[test]
fn a_side_that_only_listens_still_tells_of_the_path_and_contexts_grow() {
    let mut world = Setting::over("loss=10% delay=50ms seed=2").world().connect();
    world.speak([Speech::Fixed(3, 6), Speech::Mute]);
    world.run(10_000);
    let path = world.caller.path().expect("feedback without media");
    assert!(world.now.duration_since(path.at) < ms(1500), "it is fresh");
    assert!(path.round_trip.is_some_and(|trip| (ms(98)..ms(112)).contains(&trip)), "{path:?}");
    assert!(path.rate > 6000.0, "{path:?}");
    let (_, loss) = world.caller.outlook();
    assert!((0.02..0.25).contains(&loss), "{loss}");
    let context = world.caller.context(world.mouths[CALLER].next);
    // Fewer than with reports at every half second: what is missing of 40 frames often does not fit a report.
    assert!(context.frames().len() > 30, "{}", context.frames().len());
    assert!(world.seen[LISTENER].context > 40 * world.seen[LISTENER].packets.len());
    assert_eq!(world.listener().stats().sent.payload_bytes, 0);
    // 0.6 to 1.3 of them a second.
    let signs = world.caller.stats().received.packets;
    assert!((8..=16).contains(&signs), "{signs}");
}

#[test]
fn a_peer_that_falls_silent_is_noticed_after_ten_seconds_and_one_that_is_quiet_is_not() {
    let mut world = Setting::new().world().connect();
    world.run(60_000);
    assert!(world.caller.is_open() && world.listener().is_open());
    let sent = world.caller.stats().sent.packets;
    assert!((29..=36).contains(&sent), "a sign of life every two seconds: {sent}");
    let silent = world.now;
    // The way there ends: its datagrams go where nobody is.
    world.ways[0].1 = Path::new("loss=100%".parse().unwrap(), world.now);
    while !world.listener().is_over() {
        world.run(1);
    }
    let noticed = world.now.duration_since(silent);
    assert!((ms(8000)..=ms(10_010)).contains(&noticed), "{noticed:?}");
    assert_eq!(world.seen[LISTENER].ended, ["timed out"]);
    // The listener says nothing now, which the caller notices in its turn.
    world.run(11_000);
    assert_eq!(world.seen[CALLER].ended, ["timed out"]);
    world.run(20_000);
    assert_eq!((world.seen[CALLER].ended.len(), world.seen[LISTENER].ended.len()), (1, 1));
}

#[test]
fn both_may_hang_up_at_once() {
    let mut world = Setting::over("delay=100ms").world().connect();
    let now = world.now;
    world.caller.hang_up(now, Goodbye::HungUp);
    world.listener.as_mut().unwrap().hang_up(now, Goodbye::HungUp);
    world.run(1000);
    assert!(world.caller.is_over() && world.listener().is_over());
    assert!(world.seen.iter().all(|seen| seen.ended.len() <= 1));
}

#[test]
fn a_goodbye_survives_the_loss_of_two() {
    let mut world = Setting::new().world().connect();
    let now = world.now;
    world.ways[0].1 = Path::new("outage=0s+50ms".parse().unwrap(), now);
    world.caller.hang_up(now, Goodbye::HungUp);
    world.run(100);
    assert_eq!(world.seen[LISTENER].ended, ["left"]);
    assert_eq!(world.ways[0].1.stats().cut, 2);
}
