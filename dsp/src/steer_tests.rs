//! An hour of two clocks each.

use std::{f64::consts::TAU, time::Duration};

use rand_like::Dice;

use crate::{Outlet, Resampler, Steer};

/// A sequence of numbers that look random, the same each time.
mod rand_like {
    pub(super) struct Dice(pub(super) u64);

    impl Dice {
        /// From 0 to 1.
        pub(super) fn roll(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 11) as f64 / (1_u64 << 53) as f64
        }
    }
}

/// Parts per million that a device is fast by, at a time.
type Drift = fn(f64) -> f64;

/// A loudspeaker with a clock of its own, and an owner who writes blocks of 10 ms by the house's clock.
struct World {
    /// Seconds of device time in a callback, and its jitter in seconds.
    callback: f64,
    jitter: f64,
    /// Parts per million that the device is fast by, at a time.
    drift: Drift,
    /// Times at which the next callback comes so much too late.
    stalls: Vec<(f64, f64)>,
    /// Whether the device plays on through a stall, and takes all of it afterwards; else it has lost that time.
    catches_up: bool,
}

/// What came of it.
struct Course {
    /// Furthest that the ring's content, averaged over a second, was from its average, and from what it should have been, after 30 s.
    worst: f64,
    /// Largest step and value of the answer.
    step: f64,
    most: f64,
    /// Mean of the answer over the last tenth.
    at_end: f64,
    recentred: u32,
}

/// More than callbacks and the owner together are ever late by, so that nothing runs dry.
const TARGET: f64 = 0.012;
const BLOCK: f64 = 0.010;

fn run(world: &World, seconds: f64) -> Course {
    let mut dice = Dice(7);
    let mut steer = Steer::new(Duration::from_secs_f64(TARGET));
    // Content of the ring in seconds of device time.
    let mut ring = TARGET;
    // When the device's clock, told by the house's, calls back next: on time, and as it happens.
    let (mut due, mut called) = (world.callback, 0.0);
    let mut comes = due;
    let mut tick = 0_u64;
    let (mut house_comes, mut ppm) = (0.0, 0.0);
    let mut course = Course { worst: 0.0, step: 0.0, most: 0.0, at_end: 0.0, recentred: 0 };
    let (mut summed, mut spent, mut second, mut last_event) = (0.0, 0.0, 1.0, 0.0);
    let mut end_sum = (0.0, 0);
    let mut stalls = world.stalls.iter().copied().peekable();
    let mut debt = 0_u32;
    loop {
        let now = f64::min(comes, house_comes);
        if now >= seconds {
            break;
        }
        // The true average of what waits, whatever the controller thinks of it.
        summed += ring * (now - last_event);
        spent += now - last_event;
        last_event = now;
        if now >= second {
            let average = summed / spent;
            // Blocks and callbacks add half of themselves on average to what lies between them.
            let expected = TARGET + (BLOCK + world.callback) / 2.0;
            let quiet = world.stalls.iter().all(|(at, _)| now < *at || now > at + 3.0);
            if now > 30.0 && quiet {
                course.worst = course.worst.max((average - expected).abs());
            }
            (summed, spent, second) = (0.0, 0.0, now + 1.0);
        }
        if comes <= house_comes {
            let rounds = 1 + std::mem::take(&mut debt);
            // What is not there is played as silence.
            ring = f64::max(0.0, ring - f64::from(rounds) * world.callback);
            called = now;
            due += world.callback / (1.0 + (world.drift)(now) * 1e-6);
            if let Some((_, late)) = stalls.next_if(|(at, _)| *at <= now) {
                if world.catches_up {
                    debt = (late / world.callback).round() as u32;
                    due += f64::from(debt) * world.callback / (1.0 + (world.drift)(now) * 1e-6);
                } else {
                    due += late;
                }
            }
            comes = f64::max(due + (dice.roll() - 0.5) * 2.0 * world.jitter, now + 1e-6);
        } else {
            let on_time = tick as f64 * BLOCK;
            let since = now - called;
            // Both sides as if they moved samples one by one.
            let fill = ring - since + (now - on_time);
            let answer = steer.push(Duration::from_secs_f64(now), fill);
            course.step = course.step.max((answer - ppm).abs());
            course.most = course.most.max(answer.abs());
            ppm = answer;
            if steer.is_lost() {
                ring = f64::max(0.0, ring + TARGET - fill);
                steer.recentred();
                course.recentred += 1;
            }
            ring += BLOCK * (1.0 + ppm * 1e-6);
            tick += 1;
            house_comes = tick as f64 * BLOCK + dice.roll() * 0.002;
            if now > 0.9 * seconds {
                end_sum = (end_sum.0 + ppm, end_sum.1 + 1);
            }
        }
    }
    course.at_end = end_sum.0 / f64::from(end_sum.1.max(1));
    course
}

fn steady(callback: f64, jitter: f64, drift: Drift) -> World {
    World { callback, jitter, drift, stalls: Vec::new(), catches_up: false }
}

#[test]
fn an_hour_of_any_drift_stays_within_five_milliseconds() {
    let drifts: [(&str, Drift, Option<f64>); 4] = [
        ("-500", |_| -500.0, Some(-500.0)),
        ("0", |_| 0.0, Some(0.0)),
        ("500", |_| 500.0, Some(500.0)),
        // Warming up and cooling down by 200 ppm every ten minutes.
        ("wandering", |now| 300.0 + 200.0 * (TAU * now / 600.0).sin(), None),
    ];
    for (callback, jitter) in
        [(0.010, 0.0), (0.010, 0.005), (0.005_33, 0.0), (0.005_33, 0.002), (0.021_3, 0.0), (0.021_3, 0.005)]
    {
        for (name, drift, settles) in drifts {
            let course = run(&steady(callback, jitter, drift), 3_600.0);
            let told = format!("{name} ppm, {callback} s, jitter {jitter} s: {:.2} ms", 1e3 * course.worst);
            println!(
                "{told}, most {:.0} ppm, step {:.1} ppm, at the end {:.1} ppm",
                course.most, course.step, course.at_end
            );
            assert!(course.worst <= 0.005, "{told}");
            assert!(course.step <= 20.0 + 1e-9 && course.most <= 1_000.0, "{told}: {} {}", course.step, course.most);
            assert_eq!(course.recentred, 0, "{told}");
            if let Some(settles) = settles {
                assert!((course.at_end - settles).abs() < 5.0, "{told}: ends at {}", course.at_end);
            }
        }
    }
}

#[test]
fn accidents_leave_no_mark_on_the_pitch() {
    for catches_up in [false, true] {
        let stalls = vec![(60.0, 0.100), (90.0, 0.100), (120.0, 0.300)];
        let world = World { stalls, catches_up, ..steady(0.010, 0.001, |_| 300.0) };
        let calm = run(&steady(0.010, 0.001, |_| 300.0), 200.0);
        let course = run(&world, 200.0);
        println!(
            "catches up {catches_up}: {:.2} ms, most {:.0} ppm, recentred {}",
            1e3 * course.worst,
            course.most,
            course.recentred
        );
        assert!(course.worst <= 0.005, "{}", course.worst);
        assert!(course.most < calm.most + 200.0, "{} is no more than {} and a nudge", course.most, calm.most);
        assert!((course.at_end - 300.0).abs() < 10.0, "the drift is still known: {}", course.at_end);
        assert!(catches_up || course.recentred == 3, "{}", course.recentred);
    }
}

#[test]
fn what_is_no_number_changes_nothing() {
    let mut steer = Steer::new(Duration::from_millis(5));
    let mut last = 0.0;
    for n in 0..500_u32 {
        last = steer.push(n * Duration::from_millis(10), 0.004);
    }
    for fill in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300] {
        assert_eq!(steer.push(Duration::from_secs(5), fill), last);
    }
    assert!(last > 0.0 && steer.drift_ppm() > 0.0, "a ring that is too empty is filled faster");
    steer.forget();
    assert_eq!((steer.drift_ppm(), steer.ppm()), (0.0, last));
}

/// A sine through a resampler that is steered as hard as it ever is has no step: its second difference is bounded by that of
/// a sine, (2 pi f / rate) squared times the amplitude, and a sample dropped or repeated would be far beyond.
#[test]
fn a_steered_sine_has_no_click() {
    let (rate, hz, amplitude) = (48_000, 440.0, 0.5);
    let mut outlet = Outlet::steerable(rate, rate, 1, 480).unwrap();
    let mut steer = Steer::new(Duration::from_millis(5));
    let mut out = Vec::new();
    let mut most = 0.0_f64;
    for block in 0..1_000_u32 {
        // Up and down across the whole range.
        let fill = if block / 150 % 2 == 0 { -0.004 } else { 0.014 };
        let ppm = steer.push(block * Duration::from_millis(10), fill);
        most = most.max(ppm.abs());
        outlet.set_ratio_ppm(ppm);
        let sine: Vec<f32> = (0..480)
            .map(|n| (amplitude * (TAU * hz * f64::from(block * 480 + n) / f64::from(rate)).sin()) as f32)
            .collect();
        outlet.push(&sine, |samples| out.extend_from_slice(samples));
    }
    assert!(most > 300.0, "it was steered: {most} ppm");
    let bound = amplitude * (TAU * hz / f64::from(rate)).powi(2);
    // The first samples are the filter's way in: silence becomes a tone.
    let worst = out[960..].windows(3).map(|w| f64::from(w[0] - 2.0 * w[1] + w[2]).abs()).fold(0.0, f64::max);
    assert!(worst < 1.02 * bound, "{worst} of {bound}");
    // One sample left out makes a step of a first difference, 17 times as much: the bound would show it.
    out.remove(20_000);
    let torn = out[960..].windows(3).map(|w| f64::from(w[0] - 2.0 * w[1] + w[2]).abs()).fold(0.0, f64::max);
    assert!(torn > 2.0 * bound, "{torn} of {bound}");
}

#[test]
fn equal_rates_can_be_steered() {
    let mut resampler = Resampler::steerable(16_000, 16_000).unwrap();
    let (mut given, mut finished) = (0, 0);
    resampler.set_ratio_ppm(500.0);
    resampler.push(&vec![0.1; 16_000 * 100], |block| given += block.len());
    resampler.finish(|block| finished += block.len());
    let extra = given + finished - 16_000 * 100;
    assert!((798..=802).contains(&extra), "500 ppm of 1.6 million samples are 800, not {extra}");
    assert!(resampler.delay() < Duration::from_millis(4), "{:?}", resampler.delay());
}
