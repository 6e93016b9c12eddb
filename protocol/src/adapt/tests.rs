use std::time::{Duration, Instant};

use super::*;

const RTT: Duration = Duration::from_millis(100);

fn costs() -> Costs {
    Costs::tokens([10; 12])
}

/// A sender of speech on a link: a queue of so many bits at most drains at `rate`, and `random` of 1000 packets are lost.
struct Link {
    rate: f64,
    most: f64,
    random: u64,
    queued: f64,
    seed: u64,
}

impl Link {
    fn new(rate: f64, random: u64) -> Self {
        Self { rate, most: 0.5 * rate, random, queued: 0.0, seed: 1 }
    }
}

/// What each packet of so many seconds waited for, and its plan.
fn call(link: &mut Link, adapter: &mut Adapter, seconds: u64) -> Vec<(f64, Plan)> {
    let start = Instant::now();
    let mut seen = Vec::new();
    let (mut sent, mut lost, mut arrived) = (0, 0, std::collections::VecDeque::new());
    let mut filled = 0;
    let mut least = f64::INFINITY;
    for tick in 0..seconds * 50 {
        let now = start + Duration::from_millis(20 * tick);
        link.queued = (link.queued - 0.02 * link.rate).max(0.0);
        filled += 1;
        let plan = adapter.plan();
        if filled >= plan.frames {
            let payload = ((0.8 * (f64::from(filled) * 10.0 * f64::from(plan.depth) + f64::from(plan.copies) * 8.0))
                / 8.0) as usize;
            adapter.coded(&plan, filled.into(), payload);
            let size = 8.0 * (42 + payload) as f64;
            seen.push((link.queued / link.rate, plan));
            sent += 1;
            link.seed = link.seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            if (link.seed >> 33) % 1000 < link.random || link.queued + size > link.most.max(size) {
                lost += 1;
            } else {
                link.queued += size;
                arrived.push_back((tick, size));
            }
            filled = 0;
        }
        least = least.min(link.queued / link.rate);
        while arrived.front().is_some_and(|(at, _)| at + 50 < tick) {
            arrived.pop_front();
        }
        if tick % 20 == 19 {
            let bits = arrived.iter().map(|(_, size)| size).sum::<f64>().min(link.rate);
            let round_trip = Some(Duration::from_millis(100));
            let queue = Duration::from_secs_f64(least);
            adapter.take(&PathNews { at: now, sent, lost, round_trip, queue, jitter: Duration::ZERO, rate: bits });
            (sent, lost, least) = (0, 0, f64::INFINITY);
        }
    }
    seen
}

fn share_above(seen: &[(f64, Plan)], seconds: f64) -> f64 {
    seen.iter().filter(|(queue, _)| *queue > seconds).count() as f64 / seen.len() as f64
}

#[test]
fn a_good_path_keeps_the_users_plan() {
    let mut adapter = Adapter::new(Limits::new(6, 3), costs(), true, RTT);
    let seen = call(&mut Link::new(1e6, 0), &mut adapter, 60);
    let plan = Plan { depth: 6, frames: 3, copies: 0, copy_depth: 1 };
    // But for the first seconds, in which it is not known yet.
    assert!(seen[150..].iter().all(|(_, now)| *now == plan));
}

#[test]
fn short_packets_stay_short_where_there_is_room() {
    for frames in [1, 2, 6] {
        let mut adapter = Adapter::new(Limits::new(6, frames), costs(), true, RTT);
        let seen = call(&mut Link::new(1e6, 0), &mut adapter, 30);
        let plan = Plan { depth: 6, frames, copies: 0, copy_depth: 1 };
        assert_eq!(seen.last().unwrap().1, plan);
    }
}

#[test]
fn thin_links_are_found_and_not_filled_again_and_again() {
    for rate in [4000.0, 6000.0, 8000.0] {
        let mut adapter = Adapter::new(Limits::new(6, 3), costs(), true, RTT);
        let seen = call(&mut Link::new(rate, 0), &mut adapter, 120);
        let settled = &seen[seen.len() / 20..];
        assert!(share_above(settled, 0.15) < 0.05, "{rate}: {}", share_above(settled, 0.15));
        // It is used, too: not all is given up for an empty queue.
        let depth = settled.iter().map(|(_, plan)| f64::from(plan.depth)).sum::<f64>() / settled.len() as f64;
        assert!(depth > if rate < 5000.0 { 2.5 } else { 4.0 }, "{rate}: {depth}");
    }
}

#[test]
fn a_link_that_widens_is_used_again() {
    let mut adapter = Adapter::new(Limits::new(6, 3), costs(), true, RTT);
    call(&mut Link::new(4000.0, 0), &mut adapter, 20);
    assert!(adapter.plan().frames > 3);
    let seen = call(&mut Link::new(1e5, 0), &mut adapter, 60);
    assert_eq!(seen.last().unwrap().1, Plan { depth: 6, frames: 3, copies: 0, copy_depth: 1 });
}

#[test]
fn random_loss_brings_copies_and_not_silence() {
    for (random, least) in [(30, 0.02), (100, 0.07), (200, 0.14)] {
        let mut adapter = Adapter::new(Limits::new(6, 3), costs(), true, RTT);
        let seen = call(&mut Link::new(1e6, random), &mut adapter, 30);
        assert!(adapter.loss() > least, "{random}: {}", adapter.loss());
        let plan = seen.last().unwrap().1;
        assert!(plan.copies >= 3 && plan.depth == 6 && plan.frames == 3, "{random}: {plan:?}");
        // And they go again.
        let seen = call(&mut Link::new(1e6, 0), &mut adapter, 60);
        assert_eq!(seen.last().unwrap().1.copies, 0);
    }
}

#[test]
fn the_users_limits_hold() {
    let limits = Limits { bits: Some(4200.0), latency: Duration::from_millis(120), ..Limits::new(6, 3) };
    let mut adapter = Adapter::new(limits, costs(), true, RTT);
    let seen = call(&mut Link::new(1e6, 150), &mut adapter, 20);
    let plan = seen.last().unwrap().1;
    assert!(plan.frames <= 6 && adapter.target() <= 4200.0, "{plan:?}");
    let mut fixed = Adapter::new(Limits::new(6, 3), costs(), false, RTT);
    call(&mut Link::new(4000.0, 150), &mut fixed, 20);
    assert_eq!(fixed.plan(), Plan { depth: 6, frames: 3, copies: 0, copy_depth: 1 });
}

#[test]
fn limits_changed_in_mid_call_hold_at_once_and_what_is_known_of_the_path_stays() {
    let mut adapter = Adapter::new(Limits::new(6, 3), Costs::tokens([10; 12]), true, Duration::from_millis(40));
    let before = adapter.target();
    adapter.set_limits(Limits::new(2, 1), true);
    let plan = adapter.plan();
    assert!(plan.depth <= 2 && plan.frames >= 1, "{plan:?}");
    assert!(adapter.target() <= before, "no more than can be used");
    adapter.set_limits(Limits::new(12, 4), false);
    let plan = adapter.plan();
    assert_eq!((plan.depth, plan.frames, plan.copies), (12, 4, 0), "one that does not adapt sends as it is told");
}
