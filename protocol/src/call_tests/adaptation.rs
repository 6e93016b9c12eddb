use super::*;

/// How long packets waited for the bottleneck: the share above `bound` among those sent, looked at every 20 ms.
fn waits(world: &mut World, time: u64, bound: Duration) -> f64 {
    let mut above = 0;
    for _ in 0..time / 20 {
        world.run(20);
        let now = world.now;
        above += u64::from(world.ways[0].1.queue_delay(now) > bound);
    }
    above as f64 / (time / 20) as f64
}

fn thin(text: &str) -> World {
    let setting = Setting { back: "delay=40ms".parse().unwrap(), ..Setting::over(text) };
    let mut world = setting.world().connect();
    let costs = Costs::tokens([10; 12]);
    world.caller.adapt(Limits::new(6, 3), costs, true);
    world
}

#[test]
fn a_thin_link_is_found_within_five_seconds_and_its_queue_stays_short() {
    for speaks in [Speech::Mute, Speech::Fixed(3, 6)] {
        let mut world = thin("rate=8kbps queue=500ms delay=40ms");
        world.speak([Speech::Planned, speaks]);
        world.run(5000);
        let settled = world.mouths[CALLER].next;
        let above = waits(&mut world, 60_000, ms(150));
        assert!(above < 0.05, "{above}");
        world.run(1000);
        let came = &world.seen[LISTENER].frames;
        let last = world.mouths[CALLER].next - 60;
        assert!((settled..last).all(|n| came.contains(&n)), "nothing is lost");
        // The link is used: speech of more than two thirds of the codes.
        let plan = world.caller.plan();
        assert!(plan.depth >= 4, "{plan:?}");
    }
}

#[test]
fn copies_come_with_loss_and_go_with_it() {
    let mut world = thin("loss=20% delay=40ms seed=5");
    world.speak([Speech::Planned, Speech::Mute]);
    let mut copied = false;
    for _ in 0..50 {
        world.run(100);
        copied |= world.caller.plan().copies > 0;
    }
    assert!(copied && world.caller.plan().copies > 0, "{:?}", world.caller.plan());
    let (from, before) = (world.mouths[CALLER].next, world.caller.stats().copies);
    world.run(20_000);
    assert!(world.caller.stats().copies > before + 300);
    let came = |range: std::ops::Range<u64>| {
        let frames = &world.seen[LISTENER].frames;
        range.clone().filter(|n| frames.contains(n)).count() as f64 / (range.end - range.start) as f64
    };
    let repaired = came(from..from + 900);
    assert!(repaired > 0.93, "copies repair what is lost: {repaired}");
    let now = world.now;
    world.ways[0].1 = Path::new("delay=40ms".parse().unwrap(), now);
    world.run(30_000);
    assert_eq!(world.caller.plan(), Plan { depth: 6, frames: 3, copies: 0, copy_depth: 1 });
}

#[test]
fn an_outage_of_two_seconds_is_survived() {
    for text in ["delay=40ms outage=10s+2s", "delay=40ms rate=64kbps outage=10s+2s"] {
        let mut world = thin(text);
        world.speak([Speech::Planned, Speech::Fixed(3, 6)]);
        world.run(20_000);
        assert!(world.caller.is_open() && world.listener().is_open());
        world.run(40_000);
        assert_eq!(world.caller.plan(), Plan { depth: 6, frames: 3, copies: 0, copy_depth: 1 }, "as before");
        let path = world.caller.path().unwrap();
        assert!(path.queue < ms(30) && path.lost == 0, "{path:?}");
        let end = world.mouths[CALLER].next - 30;
        assert!((end - 1000..end).all(|n| world.seen[LISTENER].frames.contains(&n)));
    }
}

#[test]
fn a_link_that_stalls_and_then_lets_all_through_is_survived() {
    // What a radio link does: nothing for 1.5 s, and then all of it.
    let mut world = thin("delay=40ms");
    world.speak([Speech::Planned, Speech::Mute]);
    world.run(10_000);
    let mut held = Vec::new();
    for _ in 0..1500 {
        let mut datagram = Vec::new();
        let now = world.now;
        while world.ways[0].1.receive(now, &mut datagram) {
            held.push(datagram.clone());
        }
        world.run(1);
    }
    for mut datagram in held {
        world.arrive(address(1), &mut datagram);
    }
    world.run(60_000);
    assert_eq!(world.caller.plan().depth, 6);
    let end = world.mouths[CALLER].next - 30;
    assert!((end - 3000..end).all(|n| world.seen[LISTENER].frames.contains(&n)));
}

#[test]
fn jitter_is_no_queue_however_few_packets_there_are() {
    for text in [
        "delay=40ms jitter=120ms jitter-reorders=yes",
        "delay=40ms jitter=normal:40ms",
        "delay=40ms jitter=pareto:50ms",
    ] {
        for frames in [1, 3, 6, 12] {
            let mut world = thin(text);
            world.caller.adapt(Limits::new(6, frames), Costs::tokens([10; 12]), true);
            world.speak([Speech::Planned, Speech::Mute]);
            world.run(120_000);
            let plan = world.caller.plan();
            // The longest tail looks a little like a queue now and then, if packets are many.
            assert!(plan.depth == 6 && (frames..=frames.max(3)).contains(&plan.frames), "{text}: {plan:?}");
            assert_eq!(plan.copies, 0, "{text}: {plan:?}");
        }
    }
}

#[test]
fn a_path_that_becomes_longer_is_no_queue() {
    // As when a phone changes from one radio to another behind the same address.
    for (before, after) in [
        ("delay=40ms", "delay=160ms"),
        ("delay=40ms jitter=10ms", "delay=160ms jitter=10ms"),
        ("delay=40ms jitter=20ms", "delay=300ms jitter=20ms"),
    ] {
        let mut world = thin(before);
        world.speak([Speech::Planned, Speech::Mute]);
        world.run(20_000);
        world.ways[0].1 = Path::new(after.parse().unwrap(), world.now);
        for second in 0..100 {
            world.run(1000);
            let plan = world.caller.plan();
            // A step down, to see whether it helps; and back.
            assert!(second < 5 || (plan.depth, plan.frames) == (6, 3), "{after}, {second} s: {plan:?}");
        }
    }
}
