use proptest::prelude::*;

use super::*;
use crate::synthetic::{Hiss, band_levels};

fn analyse(sound: &[f32]) -> (u8, [u8; NOISE_ORDER]) {
    let mut analyser = NoiseAnalyser::new(320);
    assert_eq!(analyser.describe(), None);
    for frame in sound.chunks(320) {
        analyser.push(frame);
    }
    analyser.describe().unwrap()
}

fn render(level: u8, reflection: &[u8; NOISE_ORDER], seconds: usize) -> Vec<f32> {
    let mut generator = NoiseGenerator::new(1);
    let mut out = vec![1.0; 16_000 * seconds];
    for frame in out.chunks_mut(320) {
        generator.render(level, reflection, frame);
    }
    out
}

fn level_db(sound: &[f32]) -> f32 {
    10.0 * (sound.iter().map(|sample| sample * sample).sum::<f32>() / sound.len() as f32).log10()
}

/// Noise of several colours: white, falling, rising, with a bump.
fn coloured(kind: usize, samples: usize) -> Vec<f32> {
    let mut past = [0.0_f32; 2];
    let shape = [(0.0, 0.0), (0.9, 0.0), (-0.6, 0.0), (1.2, -0.6)][kind];
    let next = |sample: f32| {
        let out = sample + shape.0 * past[0] + shape.1 * past[1];
        past = [out, past[0]];
        0.01 * out
    };
    Hiss(kind as u64 + 5).take(samples).map(next).collect()
}

#[test]
fn noise_comes_back_with_its_level_and_colour() {
    for kind in 0..4 {
        // The description is of 400 ms, and the comparison of as much, over and over: noise differs from itself in less.
        let sound = coloured(kind, 6_400);
        let (level, reflection) = analyse(&sound);
        assert!((f32::from(level) + level_db(&sound)).abs() <= 0.51, "{level}");
        let long = coloured(kind, 16_000 * 8);
        let made = &render(level, &reflection, 9)[16_000..];
        assert!((level_db(made) - level_db(&sound)).abs() < 1.0, "colour {kind}: {} dB", level_db(made));
        let bands = band_levels(&long, 16_000).into_iter().zip(band_levels(made, 16_000));
        for (band, (wanted, found)) in bands.enumerate() {
            assert!((wanted - found).abs() < 2.5, "colour {kind}, third octave {band}: {wanted} dB, {found} dB");
        }
    }
}

#[test]
fn no_sound_is_zeros_and_zeros_are_no_sound() {
    let (level, _) = analyse(&[0.0; 3200]);
    assert_eq!(level, 127);
    let mut generator = NoiseGenerator::new(7);
    let mut frame = [0.0; 320];
    generator.render(30, &[127; NOISE_ORDER], &mut frame);
    assert!(frame[200..].iter().any(|sample| sample.abs() > 0.01));
    generator.render(127, &[127; NOISE_ORDER], &mut frame);
    assert!(frame[0] != 0.0, "it glides");
    generator.render(127, &[127; NOISE_ORDER], &mut frame);
    assert_eq!(frame, [0.0; 320]);
}

#[test]
fn a_change_of_level_is_no_step() {
    let mut generator = NoiseGenerator::new(3);
    let mut frame = [0.0; 320];
    generator.render(70, &[200, 127, 127, 127, 127, 127, 127, 127], &mut frame);
    generator.render(20, &[60, 127, 127, 127, 127, 127, 127, 127], &mut frame);
    assert!(level_db(&frame[..40]) < level_db(&frame[280..]) - 10.0);
}

#[test]
fn the_same_seed_makes_the_same_noise() {
    assert_eq!(render(40, &[90; NOISE_ORDER], 1), render(40, &[90; NOISE_ORDER], 1));
}

#[test]
fn a_white_noise_has_no_coefficients_and_a_dull_one_a_negative_first() {
    let (_, white) = analyse(&coloured(0, 6_400));
    assert!(white.iter().all(|value| value.abs_diff(127) < 16), "{white:?}");
    let (_, dull) = analyse(&coloured(1, 6_400));
    assert!((10..=17).contains(&dull[0]), "-0.9 is 13: {dull:?}");
}

proptest! {
    #[test]
    fn any_description_is_rendered_within_bounds(
        descriptions in prop::collection::vec((any::<u8>(), any::<[u8; NOISE_ORDER]>(), 0_usize..700), 1..30),
        seed: u64,
    ) {
        let mut generator = NoiseGenerator::new(seed);
        let mut out = vec![0.0; 700];
        for (level, reflection, length) in descriptions {
            generator.render(level, &reflection, &mut out[..length]);
            prop_assert!(out[..length].iter().all(|sample| sample.is_finite() && sample.abs() <= 1.0));
        }
        // It does not run away: a level of 40 is about that, whatever was before.
        for _ in 0..50 {
            generator.render(40, &[127; NOISE_ORDER], &mut out[..320]);
        }
        prop_assert!((level_db(&out[..320]) + 40.0).abs() < 3.0);
    }

    #[test]
    fn any_sound_is_described(sound in prop::collection::vec(-1.0_f32..1.0, 0..700), repeat in 1_usize..30) {
        let mut analyser = NoiseAnalyser::new(320);
        for _ in 0..repeat {
            analyser.push(&sound);
        }
        if let Some((level, reflection)) = analyser.describe() {
            prop_assert!(level <= 127 && reflection.iter().all(|value| *value <= 254));
        } else {
            prop_assert!(sound.is_empty());
        }
    }
}
