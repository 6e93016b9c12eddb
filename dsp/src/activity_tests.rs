use proptest::prelude::*;

use super::*;
use crate::synthetic::{Hiss, voice};

const FRAME: usize = 320;

fn hiss(seconds: usize, amplitude: f32) -> Vec<f32> {
    Hiss(17).take(16_000 * seconds).map(|sample| amplitude * sample).collect()
}

fn decide(sound: &[f32]) -> Vec<bool> {
    let mut activity = Activity::new(16_000, FRAME);
    sound.chunks_exact(FRAME).map(|frame| activity.push(frame)).collect()
}

fn share(decisions: &[bool]) -> f32 {
    decisions.iter().filter(|speech| **speech).count() as f32 / decisions.len() as f32
}

#[test]
fn a_steady_background_is_no_speech_whatever_its_level() {
    for amplitude in [0.0, 1e-5, 1e-3, 0.03, 0.3] {
        let decisions = decide(&hiss(20, amplitude));
        assert!(decisions[..AT_FIRST as usize].iter().all(|speech| *speech), "nothing is known at first");
        assert!(share(&decisions[50..]) < 0.02, "{amplitude}: {}", share(&decisions[50..]));
    }
}

#[test]
fn speech_in_noise_is_found_from_its_first_frame_and_its_end_is_kept() {
    let voice = voice(16_000, 4);
    let power = voice.iter().map(|sample| sample * sample).sum::<f32>() / voice.len() as f32;
    for snr_db in [60.0, 20.0, 10.0] {
        let noise = hiss(12, (power * 10_f32.powf(-snr_db / 10.0)).sqrt());
        let at = |n: usize| n.checked_sub(16_000 * 4).and_then(|n| voice.get(n)).unwrap_or(&0.0);
        let sound: Vec<f32> = noise.iter().enumerate().map(|(n, noise)| noise + at(n)).collect();
        let decisions = decide(&sound);
        let begin = 200;
        assert!(share(&decisions[50..begin]) < 0.02, "{snr_db} dB: before speech");
        assert!(decisions[begin..begin + 3].contains(&true), "{snr_db} dB: the beginning");
        assert!(share(&decisions[begin + 2..400]) > 0.99, "{snr_db} dB: {}", share(&decisions[begin..400]));
        let end = decisions[400..].iter().position(|speech| !speech).unwrap();
        assert!((6..=13).contains(&end), "{snr_db} dB: kept for {end} frames");
        assert!(share(&decisions[420..]) < 0.02, "{snr_db} dB: after speech");
    }
}

#[test]
fn the_hangover_is_as_told() {
    for ms in [0, 200, 500] {
        let mut activity = Activity::new(16_000, FRAME).with_hangover(Duration::from_millis(ms));
        let mut noise = Hiss(1).map(|sample| 1e-3 * sample);
        let mut frame = |activity: &mut Activity, tone: f32| {
            let frame: Vec<f32> = (0..FRAME).map(|n| tone * (n as f32 * 0.3).sin() + noise.next().unwrap()).collect();
            activity.push(&frame)
        };
        for _ in 0..100 {
            frame(&mut activity, 0.0);
        }
        assert!((0..5).all(|_| frame(&mut activity, 0.2)));
        let kept = (0..100).take_while(|_| frame(&mut activity, 0.0)).count();
        assert_eq!(kept as u64, ms / 20);
    }
}

#[test]
fn a_background_that_becomes_louder_is_learned_within_three_seconds() {
    let mut sound = hiss(5, 1e-3);
    sound.extend(hiss(10, 3e-2));
    let decisions = decide(&sound);
    assert!(decisions[250], "it may be speech");
    assert!(share(&decisions[400..]) < 0.02);
    assert!(share(&decisions[250..400]) > 0.5);
}

#[test]
fn other_rates_and_odd_lengths_work() {
    for (rate, length) in [(24_000, 480), (8_000, 160), (48_000, 960), (16_000, 0), (1, 7), (16_000, 3)] {
        let mut activity = Activity::new(rate, length);
        for n in 0..200 {
            activity.push(&vec![0.1; if n % 3 == 0 { length } else { n }]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_sound_leaves_it_able_to_find_silence(frames in prop::collection::vec((0_u64.., -6_i32..1), 0..100)) {
        let mut activity = Activity::new(16_000, FRAME);
        for (seed, exponent) in frames {
            let frame: Vec<f32> = Hiss(seed).take(FRAME).map(|sample| 0.3 * 10_f32.powi(exponent) * sample).collect();
            activity.push(&frame);
        }
        let silence: Vec<bool> = (0..400).map(|_| activity.push(&[0.0; FRAME])).collect();
        prop_assert!(!silence[399]);
    }
}
