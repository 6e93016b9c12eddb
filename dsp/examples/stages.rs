//! Figures of the stages before the encoder, as JSON: echo in several rooms, double talk, noise, time.
//!
//! The time is that of 10 ms at 16 kHz with everything on.

#![allow(clippy::unwrap_used, reason = "a bench that cannot measure has nothing to say")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Instant;

use parlo_dsp::{Stages, Switches};
use support::{
    Chance, at_level, decibels, power,
    scene::{ECHO, Place, SECONDS, through},
    speech, sum,
};

fn main() {
    let verbose = std::env::args().any(|argument| argument == "--each");
    let mut enhancements = Vec::new();
    for seed in 1..=8 {
        let place = Place::office(seed, [50, 70, 100, 150][seed as usize % 4]);
        let place = Place { distorts: seed > 6, ..place };
        let (enhancement, reading) = place.enhancement();
        if verbose {
            eprintln!("{place:?}: {enhancement:.1} dB, meter {reading:.1} dB");
        }
        enhancements.push(enhancement);
    }
    if verbose && std::env::var("Q").is_err() {
        others();
    }
    let worst = enhancements.iter().copied().fold(f64::MAX, f64::min);
    let talks: Vec<_> = (1..=3).map(|seed| Place::office(seed, 100).double_talk(ECHO)).collect();
    if verbose {
        for talk in &talks {
            eprintln!("{talk:?}");
        }
    }
    let (p50, p99) = time();
    println!(
        "{{\"erle_db\": {:.1}, \"erle_db_worst\": {worst:.1}, \"double_talk_estoi\": {:.3}, \"double_talk_estoi_unprocessed\": {:.3}, \
         \"double_talk_estoi_alone\": {:.3}, \"stage_us_p50\": {p50:.1}, \"stage_us_p99\": {p99:.1}, \"noise_reduction_db\": {:.1}}}",
        median(&mut enhancements),
        median(&mut talks.iter().map(|talk| talk.processed).collect::<Vec<_>>()),
        median(&mut talks.iter().map(|talk| talk.unprocessed).collect::<Vec<_>>()),
        median(&mut talks.iter().map(|talk| talk.alone).collect::<Vec<_>>()),
        noise_reduction(),
    );
}

/// Places that are no part of the summary.
fn others() {
    for (what, place) in [
        ("100 ppm apart", Place { drift_ppm: 100.0, ..Place::office(1, 100) }),
        ("30 ppm apart", Place { drift_ppm: 30.0, ..Place::office(1, 100) }),
        ("reverberation of 0.6 s", Place { t60_s: 0.6, ..Place::office(2, 100) }),
        ("300 ms of device delay", Place::office(3, 300)),
        ("48 kHz", Place { rate: 48_000, ..Place::office(1, 100) }),
        ("32 kHz", Place { rate: 32_000, ..Place::office(1, 100) }),
    ] {
        let (enhancement, reading) = place.enhancement();
        eprintln!("{what}: {enhancement:.1} dB, meter {reading:.1} dB");
    }
    for seed in 1..=3 {
        eprintln!("all on: {:?}", Place::office(seed, 100).double_talk(Switches::ALL));
    }
}

/// By how many dB the suppressor weakens a fan's noise 10 dB below the speech, in the pauses.
fn noise_reduction() -> f64 {
    let voice = at_level(&speech(16_000, SECONDS), 16_000, -26.0);
    let noise = Chance(5).fan(16_000, voice.len(), -36.0);
    let mut stages = Stages::new(16_000, Switches { noise: true, ..Switches::NONE }).unwrap();
    let late = (stages.delay().as_secs_f64() * 16_000.0).round() as usize;
    let out = through(&mut stages, &voice, &sum(&voice, &noise));
    let (mut before, mut after) = (0.0, 0.0);
    for start in (4 * 16_000..voice.len() - 320 - late).step_by(160) {
        if decibels(power(&voice[start..start + 320])) < -60.0 {
            before += power(&noise[start..start + 320]);
            after += power(&out[start + late..start + late + 320]);
        }
    }
    decibels(before / after)
}

/// Microseconds for 10 ms at 16 kHz with everything on: median, and what one in a hundred takes longer than.
fn time() -> (f64, f64) {
    let place = Place::office(1, 100);
    let (far, echo) = place.far_and_echo();
    let mut near = sum(&echo, &place.hush());
    let mut stages = Stages::new(place.rate, Switches::ALL).unwrap();
    let size = stages.block();
    let mut times: Vec<f64> = far
        .chunks_exact(size)
        .zip(near.chunks_exact_mut(size))
        .map(|(far, near)| {
            let start = Instant::now();
            stages.far(far);
            stages.near(near);
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
