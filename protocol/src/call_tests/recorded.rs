//! Who records says so, whatever the path loses.

use super::*;

#[test]
fn a_recording_is_told_and_its_end_too_over_a_bad_path() {
    let mut world = Setting::over("loss=50% delay=40ms jitter=400ms jitter-reorders=yes seed=5").world().connect();
    world.speak([Speech::Fixed(3, 6), Speech::Fixed(3, 6)]);
    for turn in 0..20 {
        for (side, recorded) in [(CALLER, true), (LISTENER, true), (CALLER, false), (LISTENER, false)] {
            let now = world.now;
            world.call(side).unwrap().set_recorded(now, recorded);
            // All that is said in the first half second may be lost.
            for _ in 0..30 {
                world.run(if world.call(1 - side).unwrap().recorded_by_peer() == recorded { 20 } else { 400 });
            }
            assert_eq!(world.call(1 - side).unwrap().recorded_by_peer(), recorded, "{turn} {side}");
        }
    }
    let expected: Vec<_> = [true, false].into_iter().cycle().take(40).collect();
    assert!(
        world.seen.iter().all(|seen| seen.recorded == expected),
        "each change is told once: {:?}",
        world.seen[0].recorded
    );
}

#[test]
fn notes_take_no_sign_of_lifes_place() {
    // Programs of before refuse notes: they must find the call as alive as without.
    let sent = |recorded: bool| {
        let mut world = Setting::over("delay=20ms").world().connect();
        world.run(50);
        let (now, before) = (world.now, world.caller.stats().sent.packets);
        world.caller.set_recorded(now, recorded);
        world.caller.set_recorded(now, recorded);
        world.run(12_100);
        assert_eq!(world.seen[LISTENER].recorded, vec![true; usize::from(recorded)]);
        world.caller.stats().sent.packets - before
    };
    let (without, with) = (sent(false), sent(true));
    // At once, after 100, 200 and 400 ms, and then every 2 s.
    assert_eq!(with - without, 4 + 5);
}

#[test]
fn what_is_recorded_before_the_call_stands_is_told_when_it_does() {
    let mut world = Setting::over("delay=20ms").world();
    let now = world.now;
    world.caller.set_recorded(now, true);
    let mut world = world.connect();
    world.run(1000);
    assert_eq!((&world.seen[LISTENER].recorded[..], &world.seen[CALLER].recorded[..]), (&[true][..], &[][..]));
}
