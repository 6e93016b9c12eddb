//! Calls in which keys are agreed anew.

use super::*;

fn setting(path: &str) -> Setting {
    let (theirs, ours) = (Offer { rekeys: true, ..offer(&[3], true) }, Offer { rekeys: true, ..offer(&[3], true) });
    Setting { theirs, ours, ..Setting::over(path) }
}

impl World {
    fn rekeys(&self) -> [Option<u64>; 2] {
        [&self.caller, self.listener()].map(|call| call.keys(self.now).map(|(count, _)| count))
    }

    fn forged(&self) -> u64 {
        self.caller.session_stats().forged + self.listener().session_stats().forged
    }
}

#[test]
fn keys_are_agreed_anew_if_both_sides_do_so() {
    for (theirs, ours) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut setting = setting("delay=30ms");
        (setting.theirs.rekeys, setting.ours.rekeys) = (theirs, ours);
        let mut world = setting.world().connect();
        world.speak([Speech::Fixed(3, 6), Speech::Fixed(3, 6)]);
        world.run(125_000);
        let expected = (theirs && ours).then_some(1);
        assert_eq!(world.rekeys(), [expected; 2], "{theirs} {ours}");
        assert_eq!(world.forged(), 0);
    }
}

/// The caller moves while keys are agreed, over a bad path: no frame that comes is lost.
#[test]
fn a_caller_may_roam_while_keys_are_agreed() {
    for known in [true, false] {
        let key = known.then(|| identity(2).public());
        let path = "loss=20% delay=150ms jitter=100ms jitter-reorders=yes duplicate=5% seed=3";
        let mut world = Setting { key, ..setting(path) }.world().connect();
        world.speak([Speech::Fixed(3, 6), Speech::Fixed(3, 6)]);
        for turn in 0..3_u8 {
            // What the caller says is on its way.
            while world.caller.keys(world.now).is_some_and(|(_, age)| age < session::REKEY_EVERY + ms(100)) {
                world.run(10);
            }
            let at = address(10 + turn);
            world.ways.push((at, Path::new(path.parse().unwrap(), world.now)));
            world.caller_address = at;
            world.run(10_000);
            assert_eq!(world.listener().address(), at);
            assert_eq!(world.rekeys(), [Some(u64::from(turn) + 1); 2]);
        }
        let received = world.listener().session_stats().media - world.listener().stats().unknown_context;
        assert!(received > 4000, "{received}");
        assert_eq!(world.forged(), 0);
        assert_eq!(world.seen[LISTENER].packets.len() as u64, received, "each packet that came is one of frames");
    }
}

#[test]
fn keys_are_agreed_anew_while_both_sides_hold() {
    let mut world = setting("delay=30ms loss=10% seed=4").world().connect();
    world.speak([Speech::Fixed(3, 6), Speech::Fixed(3, 6)]);
    world.run(5000);
    let held = Presence { held: true, ..Presence::default() };
    world.speak([Speech::Mute, Speech::Mute]);
    for side in [CALLER, LISTENER] {
        let now = world.now;
        world.call(side).unwrap().set_presence(now, held);
    }
    world.run(400_000);
    assert_eq!(world.rekeys(), [Some(3); 2]);
    for side in [CALLER, LISTENER] {
        let now = world.now;
        world.call(side).unwrap().set_presence(now, Presence::default());
    }
    world.speak([Speech::Fixed(3, 6), Speech::Fixed(3, 6)]);
    let before = world.seen.each_ref().map(|seen| seen.packets.len());
    world.run(60_000);
    assert!(world.seen.iter().zip(before).all(|(seen, before)| seen.packets.len() > before + 700));
    assert_eq!(world.forged(), 0);
}

/// A side that cannot have its seeds goes on, and says how old its keys are.
#[test]
fn a_call_without_new_keys_goes_on_and_tells_their_age() {
    let mut world = setting("delay=30ms").world().connect();
    world.speak([Speech::Fixed(3, 6), Speech::Fixed(3, 6)]);
    world.seeds = [true, false];
    world.run(310_000);
    assert!(world.caller.is_open() && world.listener().is_open());
    for call in [&world.caller, world.listener()] {
        let (count, age) = call.keys(world.now).unwrap();
        assert!(count == 0 && age > session::REKEY_OVERDUE);
    }
    world.seeds = [true, true];
    world.run(6000);
    assert_eq!(world.rekeys(), [Some(1); 2]);
}
