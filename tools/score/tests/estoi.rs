//! ESTOI against pystoi 0.4.1 (`make_golden.py` makes the figures), and alignment of signals whose lag is known.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::f64::consts::TAU;

use parlo_score::{Panel, ScoreError, align, estoi, overlap, spectrogram_png};

fn noise(mut seed: u64, n: usize) -> Vec<f64> {
    (0..n)
        .map(|_| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 40) as f64 / f64::from(1 << 23) - 1.0
        })
        .collect()
}

/// Noise and a buzz that take turns, four syllables a second, with pauses.
fn speechlike(rate: u32, seconds: usize) -> Vec<f32> {
    retold(rate, seconds, 1, 130.0)
}

/// Nearly the same loudness in all bands, of another waveform: the hiss is of another seed, and the buzz of another pitch.
fn retold(rate: u32, seconds: usize, seed: u64, pitch: f64) -> Vec<f32> {
    let n = rate as usize * seconds;
    let hiss_source = noise(seed, n);
    (0..n)
        .map(|k| {
            let t = k as f64 / f64::from(rate);
            let buzz: f64 = (1..20).map(|h| (TAU * pitch * f64::from(h) * t).sin() / f64::from(h)).sum();
            let pause = if (TAU * 0.4 * t).sin() > -0.5 { 1.0 } else { 0.0 };
            let gate = (TAU * 2.0 * t).sin().max(0.0) * pause;
            let hiss = (TAU * 2.0 * t + 2.0).sin().max(0.0) * 0.3;
            (0.1 * (gate * buzz + hiss * hiss_source[k])) as f32
        })
        .collect()
}

fn with_noise(clean: &[f32], gain: f64) -> Vec<f32> {
    clean.iter().zip(noise(2, clean.len())).map(|(&c, n)| (f64::from(c) + gain * n) as f32).collect()
}

#[test]
fn agrees_with_pystoi() {
    for (rate, gain, expected) in [
        (10_000, 0.0, 1.0),
        (10_000, 0.02, 0.782_336_099),
        (10_000, 0.1, 0.213_160_332),
        (10_000, 0.5, 0.028_256_553),
        (16_000, 0.02, 0.807_608_216),
        (16_000, 0.1, 0.231_750_960),
        (22_050, 0.02, 0.804_718_737),
        (22_050, 0.1, 0.248_611_653),
        (24_000, 0.0, 1.0),
        (24_000, 0.02, 0.821_300_867),
        (24_000, 0.1, 0.278_090_506),
        (24_000, 0.5, 0.048_162_412),
        (48_000, 0.02, 0.819_975_257),
        (48_000, 0.1, 0.335_946_688),
    ] {
        let clean = speechlike(rate, 4);
        let found = estoi(&clean, &with_noise(&clean, gain), rate).unwrap();
        assert!((found - expected).abs() < 1e-6, "{rate} Hz, {gain}: {found} instead of {expected}");
    }
}

#[test]
fn a_known_lag_is_found_through_noise_and_inverted_phase() {
    let clean = speechlike(24_000, 4);
    for lag in [-3000_i64, -7, 0, 1, 480, 5000, 20_000] {
        let mut late = vec![0.0; usize::try_from(lag.max(0)).unwrap()];
        late.extend_from_slice(&clean[usize::try_from((-lag).max(0)).unwrap()..]);
        let found = align(&clean, &with_noise(&late, 0.01), 24_000, 1.0).unwrap();
        assert_eq!(found.lag_samples, lag);
        assert!(found.correlation > 0.5, "{found:?}");
        let (a, b) = overlap(&clean, &late, found);
        assert_eq!(a, b);
        // A codec may turn the phase around; the loudness still shows the place, to 5 ms.
        let inverted: Vec<f32> = late.iter().map(|sample| -sample).collect();
        let found = align(&clean, &inverted, 24_000, 1.0).unwrap();
        assert!((found.lag_samples - lag).abs() <= 120, "{lag}: {found:?}");
    }
}

#[test]
fn a_waveform_that_was_made_anew_does_not_mislead() {
    let clean = speechlike(16_000, 4);
    let anew = retold(16_000, 4, 7, 137.3);
    for lag in [0_usize, 77, 1600] {
        let late: Vec<f32> = std::iter::repeat_n(0.0, lag).chain(anew.iter().copied()).collect();
        let found = align(&clean, &late, 16_000, 1.0).unwrap();
        assert!((found.lag_samples - lag as i64).abs() <= 16, "within a millisecond of {lag}: {found:?}");
    }
}

#[test]
fn a_few_steps_that_are_alike_do_not_pass_for_the_whole() {
    let clean = speechlike(16_000, 2);
    let late: Vec<f32> = std::iter::repeat_n(0.0, 480).chain(clean.iter().copied()).collect();
    for most in [1.0, 3.0, f64::INFINITY] {
        assert_eq!(align(&clean, &with_noise(&late, 0.02), 16_000, most).unwrap().lag_samples, 480);
    }
}

#[test]
fn another_signal_does_not_pass_for_this_one() {
    let clean = speechlike(16_000, 4);
    let other: Vec<f32> = noise(9, clean.len()).into_iter().map(|n| 0.1 * n as f32).collect();
    assert!(align(&clean, &other, 16_000, 1.0).unwrap().correlation < 0.3);
    assert!(estoi(&clean, &other, 16_000).unwrap() < 0.2);
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let clean = speechlike(16_000, 1);
    assert!(matches!(estoi(&clean, &clean[1..], 16_000), Err(ScoreError::Lengths(16_000, 15_999))));
    assert!(matches!(estoi(&clean[..2000], &clean[..2000], 16_000), Err(ScoreError::TooShort { .. })));
    assert!(matches!(estoi(&[0.0; 16_000], &clean, 16_000), Err(ScoreError::Silent("reference"))));
    assert!(matches!(estoi(&[], &[], 16_000), Err(ScoreError::TooShort { .. })));
    let mut broken = clean.clone();
    broken[5] = f32::NAN;
    assert!(matches!(estoi(&clean, &broken, 16_000), Err(ScoreError::NotFinite)));
    assert!(matches!(align(&clean, &broken, 16_000, 1.0), Err(ScoreError::NotFinite)));
    assert!(matches!(align(&[0.0; 16_000], &clean, 16_000, 1.0), Err(ScoreError::Silent("reference"))));
    assert!(matches!(align(&clean, &[0.0; 16_000], 16_000, 1.0), Err(ScoreError::Silent("received signal"))));
}

#[test]
fn a_picture_is_written_whole_or_not_at_all() {
    let folder = std::env::temp_dir().join(format!("parlo-score-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("picture.png");
    let clean = speechlike(16_000, 1);
    let panel = Panel { title: "sent", samples: &clean, rate: 16_000 };
    spectrogram_png(&file, &[panel, panel]).unwrap();
    assert!(std::fs::read(&file).unwrap().starts_with(b"\x89PNG"));
    assert!(spectrogram_png(&folder.join("no/such/folder.png"), &[panel]).is_err());
    assert!(spectrogram_png(&folder.join("empty.png"), &[]).is_err());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    std::fs::remove_dir_all(&folder).unwrap();
}
