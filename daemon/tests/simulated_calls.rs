//! Whole calls in simulated time: the real protocol, entropy coder, jitter buffer and codec over paths that lose, delay and
//! throttle by a seed. `cargo xtask bench transport` measures the same at length.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::{sync::LazyLock, time::Duration};

use parlo_netem::{Jitter, Loss, Outage, Rate};
use parlo_opus::Protection;
use parlod::call::FrameOrigin;
use support::{
    clip,
    simulation::{Outcome, quantile},
    spoken::{LEAST, OpusWay, Speech},
};

static SPEECH: LazyLock<Speech> = LazyLock::new(|| Speech::new(&[&clip()], 14, 6, false));

fn count(outcome: &Outcome, origin: FrameOrigin) -> u64 {
    outcome.origins.get(&origin).copied().unwrap_or_default()
}

#[test]
fn a_good_path_gives_every_frame_and_the_same_again() {
    let outcome = SPEECH.call(|_| {});
    assert!(count(&outcome, FrameOrigin::Real) >= 698 && outcome.stood, "{:?}", outcome.origins);
    assert!(SPEECH.estoi(&outcome) > 0.8, "{}", SPEECH.estoi(&outcome));
    assert!(quantile(&outcome.waits[30..], 0.5) < 60.0);
    let again = SPEECH.call(|_| {});
    assert!(again.heard == outcome.heard && again.wire == outcome.wire, "the same seed is the same call");
}

#[test]
fn a_fifth_of_all_packets_lost_is_hardly_heard() {
    let clean = SPEECH.estoi(&SPEECH.call(|_| {}));
    let outcome = SPEECH.call(|script| script.there.loss = Loss::Random(0.2));
    assert!(SPEECH.estoi(&outcome) > clean - 0.08, "{} of {clean}", SPEECH.estoi(&outcome));
    assert!(
        count(&outcome, FrameOrigin::Coarse) > 80 && count(&outcome, FrameOrigin::Faded) == 0,
        "{:?}",
        outcome.origins
    );
    assert!(outcome.longest_silence_ms <= 60.0 && outcome.sent.0 >= 690);
}

#[test]
fn bursts_jitter_disorder_and_damage_are_lived_through() {
    let outcome = SPEECH.call(|script| {
        script.there.loss = Loss::bursts(0.1, 3.0).unwrap();
        script.there.jitter = Jitter::Uniform(Duration::from_millis(100));
        script.there.jitter_reorders = true;
        (script.there.reorder, script.there.duplicate, script.there.corrupt) = (0.05, 0.05, 0.02);
        script.back = script.there.clone();
        script.skew_ppm = 200.0;
    });
    let heard = count(&outcome, FrameOrigin::Real) + count(&outcome, FrameOrigin::Coarse);
    assert!(outcome.stood && heard > 630 && outcome.ignored > 5, "{:?} {}", outcome.origins, outcome.ignored);
    assert!(SPEECH.estoi(&outcome) > 0.75, "{}", SPEECH.estoi(&outcome));
}

#[test]
fn an_outage_and_a_new_address_do_not_end_a_call() {
    let outcome = SPEECH.call(|script| {
        script.there.outages = vec![Outage { start: Duration::from_secs(5), length: Duration::from_secs(2) }];
        script.moves = Some(Duration::from_secs(9));
    });
    let heard = count(&outcome, FrameOrigin::Real) + count(&outcome, FrameOrigin::Coarse);
    assert!(outcome.stood && heard > 585, "{:?}", outcome.origins);
    // What comes last is heard nearly as soon as ever: no delay is left but that of waiting for copies.
    let (early, late) = (quantile(&outcome.delays[100..200], 0.5), quantile(&outcome.delays[500..], 0.5));
    assert!(late < early + 130.0, "{early} {late}");
}

#[test]
fn a_thin_link_is_not_filled() {
    let outcome = SPEECH.call(|script| script.there.rate = Some(Rate::new(8000)));
    let settled = &outcome.queue[250..];
    assert!(quantile(settled, 0.95) < 150.0, "{}", quantile(settled, 0.95));
    assert!(outcome.packets.1 <= 2 && SPEECH.estoi(&outcome) > 0.85, "{:?}", outcome.packets);
}

#[test]
fn a_flood_of_junk_costs_no_frame() {
    let outcome = SPEECH.call(|script| script.junk = 7);
    assert!(
        count(&outcome, FrameOrigin::Real) >= 698 && outcome.ignored > 10_000,
        "{:?} {}",
        outcome.origins,
        outcome.ignored
    );
}

#[test]
fn opus_speaks_through_the_same_call() {
    let way = OpusWay { bitrate: 24_000, protection: Protection::Fec, told: 20, frames: 1, least: LEAST };
    let outcome = SPEECH.opus(way, |script| script.there.loss = Loss::Random(0.1));
    assert!(outcome.stood && count(&outcome, FrameOrigin::Real) > 600, "{:?}", outcome.origins);
    assert!(SPEECH.estoi_after(&outcome, 104) > 0.85, "{}", SPEECH.estoi_after(&outcome, 104));
}
