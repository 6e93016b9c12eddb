use proptest::prelude::*;

use super::*;
use crate::synthetic::{Hiss, band_levels, voice};

fn stretch(rate: u32, sound: &[f32], pace: impl Fn(usize) -> Pace) -> (Vec<f32>, Stretcher) {
    let frame = rate as usize / 50;
    let mut stretcher = Stretcher::new(rate, frame);
    let mut out = Vec::new();
    for (n, frame) in sound.chunks(frame).enumerate() {
        let before = out.len();
        stretcher.push(frame, pace(n), |part| out.extend_from_slice(part));
        assert!(out.len() - before <= frame.len() + stretcher.longest);
        assert_eq!((stretcher.given(), stretcher.taken()), (out.len() as u64, ((n + 1) * frame.len()) as u64));
    }
    (out, stretcher)
}

fn largest_jump(sound: &[f32]) -> f32 {
    sound.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max)
}

fn sine(rate: u32, hz: f32, samples: usize) -> Vec<f32> {
    (0..samples).map(|n| 0.5 * (std::f32::consts::TAU * hz * n as f32 / rate as f32).sin()).collect()
}

#[test]
fn at_the_normal_pace_samples_pass_as_they_are() {
    let sound = voice(16_000, 2);
    let (out, _) = stretch(16_000, &sound, |_| Pace::Normal);
    assert_eq!(out, sound);
    // And again right after stretching.
    let (out, _) = stretch(16_000, &sound, |n| if n < 50 { Pace::Faster } else { Pace::Normal });
    assert_eq!(out[out.len() - 16_000..], sound[16_000..]);
}

#[test]
fn a_tone_keeps_its_pitch_and_stays_smooth() {
    for rate in [16_000, 24_000] {
        for hz in [80.0, 130.0, 210.0, 333.0, 700.0] {
            for pace in [Pace::Faster, Pace::Slower] {
                let sound = sine(rate, hz, rate as usize * 2);
                let (out, _) = stretch(rate, &sound, |_| pace);
                let rises = out.windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count();
                let found = rises as f32 * rate as f32 / out.len() as f32;
                assert!((found / hz - 1.0).abs() < 0.01, "{hz} Hz at {rate} Hz, {pace:?}: {found} Hz");
                assert!(largest_jump(&out) <= largest_jump(&sound) * 1.1, "{hz} Hz, {pace:?}");
                assert!(out.iter().all(|sample| sample.abs() < 0.51));
            }
        }
    }
}

#[test]
fn speech_and_silence_reach_their_pace_and_go_no_further() {
    let hiss = |amplitude: f32| Hiss(3).take(16_000 * 4).map(|sample| amplitude * sample).collect::<Vec<_>>();
    let sounds =
        [("voice", voice(16_000, 8)), ("silence", vec![0.0; 64_000]), ("hiss", hiss(0.1)), ("faint hiss", hiss(1e-4))];
    for (name, sound) in sounds {
        let least = if name == "hiss" { 0.06 } else { 0.17 };
        let (out, _) = stretch(16_000, &sound, |_| Pace::Faster);
        let speed = sound.len() as f32 / out.len() as f32;
        assert!((1.0 + least..=1.307).contains(&speed), "{name}: {speed}");
        let (out, _) = stretch(16_000, &sound, |_| Pace::Slower);
        let speed = sound.len() as f32 / out.len() as f32;
        assert!((0.796..=1.0 - least / 1.3).contains(&speed), "{name}: {speed}");
    }
}

#[test]
fn speech_keeps_its_spectrum_and_its_level() {
    for rate in [16_000, 24_000] {
        let sound = voice(rate, 8);
        let before = band_levels(&sound, rate);
        for pace in [Pace::Faster, Pace::Slower] {
            let (out, _) = stretch(rate, &sound, |_| pace);
            let after = band_levels(&out, rate);
            let distances = before.iter().zip(&after).map(|(a, b)| (a - b).abs());
            let mean = distances.clone().sum::<f32>() / before.len() as f32;
            let worst = distances.fold(0.0, f32::max);
            assert!(mean < 0.5 && worst < 2.0, "{rate} Hz, {pace:?}: mean {mean} dB, worst {worst} dB");
        }
    }
}

#[test]
fn odd_lengths_pass_and_nothing_fails() {
    for (rate, frame) in [(16_000, 1), (16_000, 100), (8_000, 80), (48_000, 960), (16_000, 5_000)] {
        let mut stretcher = Stretcher::new(rate, frame);
        let mut given = 0;
        for length in [frame, 0, frame, 3 * frame, 1, frame, frame] {
            for pace in [Pace::Faster, Pace::Slower] {
                stretcher.push(&vec![0.1; length], pace, |part| given += part.len() as u64);
            }
        }
        assert_eq!(stretcher.given(), given);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Lengths add up, and no step is higher than the sound's own and what a fade over 5 ms may add.
    #[test]
    fn no_click_is_made(seed: u64, paces in prop::collection::vec(0_u8..3, 1..60), kind in 0_u8..3) {
        let samples = paces.len() * 320;
        let sound: Vec<f32> = match kind {
            0 => voice(16_000, 2).into_iter().cycle().skip(seed as usize % 32_000).take(samples).collect(),
            1 => Hiss(seed | 1).take(samples).map(|sample| 0.3 * sample).collect(),
            _ => sine(16_000, 60.0 + (seed % 1000) as f32, samples),
        };
        let (out, stretcher) = stretch(16_000, &sound, |n| [Pace::Normal, Pace::Faster, Pace::Slower][usize::from(paces[n])]);
        prop_assert_eq!(out.len() as u64, stretcher.given());
        let peak = sound.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
        prop_assert!(largest_jump(&out) <= largest_jump(&sound) + 0.05 * peak);
        prop_assert!(out.iter().all(|sample| sample.abs() <= peak));
    }
}
