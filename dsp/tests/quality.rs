//! What goes in comes out: pitch, level, time and length, and nothing that was not there.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::f64::consts::TAU;

use parlo_dsp::{DspError, Intake, Outlet, Resampler};
use proptest::prelude::*;

fn sine(hz: f64, rate: u32, samples: usize) -> Vec<f32> {
    (0..samples).map(|n| (0.5 * (TAU * hz * n as f64 / f64::from(rate)).sin()) as f32).collect()
}

fn resample(signal: &[f32], from: u32, to: u32) -> Vec<f32> {
    let mut resampler = Resampler::new(from, to).unwrap();
    let mut out = Vec::new();
    resampler.push(signal, |block| out.extend_from_slice(block));
    resampler.finish(|block| out.extend_from_slice(block));
    out
}

/// Amplitude and phase (radians) of one frequency in the middle of a signal, by correlation under a Hann window.
fn tone(signal: &[f32], hz: f64, rate: u32) -> (f64, f64) {
    let (skip, n) = (signal.len() / 8, signal.len() * 3 / 4);
    let (mut re, mut im, mut weight) = (0.0, 0.0, 0.0);
    for (k, &sample) in signal.iter().enumerate().skip(skip).take(n) {
        let w = 0.5 - 0.5 * (TAU * (k - skip) as f64 / n as f64).cos();
        let angle = TAU * hz * k as f64 / f64::from(rate);
        re += w * f64::from(sample) * angle.sin();
        im += w * f64::from(sample) * angle.cos();
        weight += w;
    }
    (2.0 * re.hypot(im) / weight, im.atan2(re))
}

fn decibels(ratio: f64) -> f64 {
    20.0 * ratio.log10()
}

const PAIRS: [(u32, u32); 10] = [
    (96_000, 16_000),
    (48_000, 24_000),
    (48_000, 16_000),
    (44_100, 24_000),
    (24_000, 48_000),
    (16_000, 44_100),
    (8_000, 24_000),
    (22_050, 16_000),
    (192_000, 24_000),
    (11_025, 16_000),
];

#[test]
fn tones_in_band_keep_level_and_time() {
    for (from, to) in PAIRS {
        let band = f64::from(from.min(to)) / 2.0;
        for part in [0.02, 0.25, 0.5, 0.75, 0.8] {
            let hz = band * part;
            let out = resample(&sine(hz, from, from as usize), from, to);
            let (level, phase) = tone(&out, hz, to);
            let ripple = decibels(level / 0.5);
            let shift = phase / (TAU * hz) * f64::from(to);
            assert!(ripple.abs() < 0.1, "{from} -> {to}: {hz} Hz comes out at {ripple:.3} dB");
            assert!(shift.abs() < 0.51, "{from} -> {to}: {hz} Hz is shifted by {shift:.3} samples");
        }
    }
}

#[test]
fn what_does_not_fit_the_lower_rate_is_gone() {
    for (from, to) in PAIRS.into_iter().filter(|(from, to)| from > to) {
        let half = f64::from(to) / 2.0;
        for part in [1.005, 1.05, 1.2, 1.5, 1.9] {
            let hz = half * part;
            if hz > 0.45 * f64::from(from) {
                continue;
            }
            let out = resample(&sine(hz, from, from as usize), from, to);
            let (alias, _) = tone(&out, f64::from(to) - hz, to);
            assert!(
                decibels(alias / 0.5) < -80.0,
                "{from} -> {to}: {hz} Hz aliases at {:.1} dB",
                decibels(alias / 0.5)
            );
        }
    }
}

#[test]
fn raising_the_rate_adds_no_images() {
    for (from, to) in PAIRS.into_iter().filter(|(from, to)| from < to) {
        let hz = 0.8 * f64::from(from) / 2.0;
        let out = resample(&sine(hz, from, from as usize), from, to);
        let image = f64::from(from) - hz;
        if image < f64::from(to) / 2.0 {
            let (level, _) = tone(&out, image, to);
            assert!(decibels(level / 0.5) < -80.0, "{from} -> {to}: image at {:.1} dB", decibels(level / 0.5));
        }
    }
}

#[test]
fn the_delay_is_small_and_true() {
    for (from, to) in PAIRS {
        let mut resampler = Resampler::new(from, to).unwrap();
        let delay = resampler.delay().as_secs_f64();
        assert!(delay < 0.006, "{from} -> {to}: {delay}");
        // After any push, what has come out lags behind what went in by no more than the delay.
        let (mut pushed, mut given) = (0, 0);
        for _ in 0..200 {
            resampler.push(&[0.1; 37], |block| given += block.len());
            pushed += 37;
            let lag = f64::from(pushed) / f64::from(from) - given as f64 / f64::from(to);
            assert!(lag <= delay + 2.0 / f64::from(to), "{from} -> {to}: lags {lag}, says {delay}");
        }
    }
}

#[test]
fn the_ratio_follows_a_clock() {
    let mut resampler = Resampler::new(48_000, 24_000).unwrap();
    // The filter's own delay out of the way first.
    resampler.push(&[0.0; 48_000], |_| {});
    let mut given = 0_i64;
    for ppm in [500.0, 500.0, f64::NAN] {
        resampler.set_ratio_ppm(ppm);
        resampler.push(&vec![0.0; 4_800_000], |block| given += block.len() as i64);
    }
    let gained = given - 3 * 2_400_000;
    assert!((gained - 2 * 1200).abs() < 5, "500 ppm of 4.8 million samples at half rate are 2400 more, not {gained}");
}

#[test]
fn equal_rates_pass_samples_through_and_channels_are_averaged() {
    let mut intake = Intake::new(16_000, 2, 16_000, 4).unwrap();
    let mut frames = Vec::new();
    intake.push(&[1.0, 0.0, 0.5, 0.5, f32::NAN, 0.5, f32::INFINITY, 0.0, 3.0, -3.0, 0.7], |f| frames.push(f.to_vec()));
    intake.finish(|f| frames.push(f.to_vec()));
    assert_eq!(frames, [[0.5, 0.5, 0.25, 0.0], [0.0, 0.0, 0.0, 0.0]]);
    assert_eq!((intake.repaired(), intake.clipped()), (2, 2));

    let mut outlet = Outlet::new(16_000, 16_000, 3, 2).unwrap();
    let mut out = Vec::new();
    outlet.push(&[0.1, 0.2, 0.3], |block| out.extend_from_slice(block));
    assert_eq!(out, [0.1, 0.1, 0.1, 0.2, 0.2, 0.2, 0.3, 0.3, 0.3]);
}

#[test]
fn impossible_formats_are_refused() {
    assert_eq!(Intake::new(0, 1, 16_000, 320).unwrap_err(), DspError::Rate(0));
    assert_eq!(Intake::new(48_000, 1, 1, 320).unwrap_err(), DspError::Rate(1));
    assert_eq!(Intake::new(48_000, 0, 16_000, 320).unwrap_err(), DspError::Channels(0));
    assert_eq!(Intake::new(48_000, 65, 16_000, 320).unwrap_err(), DspError::Channels(65));
    assert_eq!(Intake::new(48_000, 1, 16_000, 0).unwrap_err(), DspError::Block(0));
    assert_eq!(Outlet::new(16_000, u32::MAX, 1, 320).unwrap_err(), DspError::Rate(u32::MAX));
}

fn any_sample() -> impl Strategy<Value = f32> {
    prop_oneof![
        8 => -1.0_f32..1.0,
        1 => prop_oneof![Just(f32::NAN), Just(f32::INFINITY), Just(f32::NEG_INFINITY), Just(f32::MAX), Just(1e-42)],
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn however_the_stream_is_split_the_frames_are_the_same(
        samples in prop::collection::vec(any_sample(), 0..6000),
        splits in prop::collection::vec(1_usize..700, 1..20),
        pair in prop::sample::select(PAIRS.to_vec()),
        channels in 1_u16..=8,
        frame in 1_usize..700,
    ) {
        let whole = samples.len() / usize::from(channels) * usize::from(channels);
        let samples = &samples[..whole];
        let run = |pieces: &mut dyn Iterator<Item = usize>| {
            let mut intake = Intake::new(pair.0, channels, pair.1, frame).unwrap();
            let mut frames = Vec::new();
            let mut rest = samples;
            while !rest.is_empty() {
                let size = (pieces.next().unwrap() * usize::from(channels)).min(rest.len());
                intake.push(&rest[..size], |f| frames.push(f.to_vec()));
                rest = &rest[size..];
            }
            intake.finish(|f| frames.push(f.to_vec()));
            frames
        };
        let at_once = run(&mut std::iter::repeat(samples.len().max(1)));
        let in_pieces = run(&mut splits.iter().copied().cycle());
        prop_assert_eq!(&at_once, &in_pieces);
        prop_assert!(at_once.iter().flatten().all(|sample| sample.is_finite() && sample.abs() < 2.0));
        let expected = (whole as u64 / u64::from(channels) * u64::from(pair.1)).div_ceil(u64::from(pair.0));
        prop_assert_eq!(at_once.len() as u64, expected.div_ceil(frame as u64));
    }

    #[test]
    fn playback_comes_out_as_long_as_it_went_in(
        lengths in prop::collection::vec(0_usize..1000, 0..12),
        pair in prop::sample::select(PAIRS.to_vec()),
        channels in 1_u16..=8,
    ) {
        let mut outlet = Outlet::new(pair.1, pair.0, channels, 320).unwrap();
        let mut given = 0;
        for &length in &lengths {
            outlet.push(&vec![0.5; length], |block| given += block.len());
        }
        outlet.finish(|block| given += block.len());
        let pushed: usize = lengths.iter().sum();
        let expected = (pushed as u64 * u64::from(pair.0)).div_ceil(u64::from(pair.1)) * u64::from(channels);
        prop_assert_eq!(given as u64, expected);
    }
}
