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
fn a_pause_is_told_and_the_words_around_it_are_heard_whole() {
    let mut state = 5_u64;
    let mut hiss = |samples: usize| -> Vec<f32> {
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            0.001 * ((state >> 40) as f32 / (1_u32 << 23) as f32 - 1.0)
        };
        std::iter::repeat_with(next).take(samples).collect()
    };
    let words = SPEECH.samples.chunks_exact(3 * 16_000);
    let samples: Vec<f32> = words.take(2).flat_map(|word| [hiss(3 * 16_000), word.to_vec()].concat()).collect();
    let speech = Speech::of(samples, 6, true);
    let outcome = speech.call(|_| {});
    // Of six seconds of hiss, less what passes for speech at first and after the first word.
    assert!(outcome.stood && count(&outcome, FrameOrigin::Silent) > 200, "{:?}", outcome.origins);
    assert!(
        count(&outcome, FrameOrigin::Predicted) + count(&outcome, FrameOrigin::Faded) <= 3,
        "{:?}",
        outcome.origins
    );
    // A word has the end of the pause before it, as far as that was not told for silence already.
    let begin = speech.frames.iter().filter(|said| said.len() > 1);
    let before: Vec<u64> = begin.flat_map(|said| &said[..said.len() - 1]).map(|frame| frame.number).collect();
    let real = |number: &&u64| outcome.by_number.get(*number) == Some(&FrameOrigin::Real);
    let heard = before.iter().filter(real).count();
    assert!(before.len() >= 2 && 2 * heard >= before.len(), "{heard} of {before:?}");
}

#[test]
fn opus_speaks_through_the_same_call() {
    let way = OpusWay { bitrate: 24_000, protection: Protection::Fec, told: 20, frames: 1, least: LEAST };
    let outcome = SPEECH.opus(way, |script| script.there.loss = Loss::Random(0.1));
    assert!(outcome.stood && count(&outcome, FrameOrigin::Real) > 600, "{:?}", outcome.origins);
    assert!(SPEECH.estoi_after(&outcome, 104) > 0.85, "{}", SPEECH.estoi_after(&outcome, 104));
}
