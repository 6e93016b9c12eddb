use super::*;
use crate::synthetic::{Hiss, voice};

const NOISE_ONLY: Switches = Switches { noise: true, ..Switches::NONE };
const ECHO_ONLY: Switches = Switches { echo: true, ..Switches::NONE };

fn run(stages: &mut Stages, sound: &[f32]) -> Vec<f32> {
    let size = stages.block();
    let mut out = sound.to_vec();
    for block in out.chunks_exact_mut(size) {
        stages.far(&vec![0.0; size]);
        stages.near(block);
    }
    out
}

fn sine(hz: f32, rate: u32) -> Vec<f32> {
    (0..rate * 2).map(|n| 0.3 * (std::f32::consts::TAU * hz * n as f32 / rate as f32).sin()).collect()
}

fn level_db(sound: &[f32]) -> f32 {
    10.0 * slot::power(sound).max(1e-20).log10()
}

/// The lag at which `after` is most like `before`.
fn lag(before: &[f32], after: &[f32], most: usize) -> usize {
    let product =
        |lag: usize| -> f64 { before.iter().zip(&after[lag..]).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
    (0..most).max_by(|&a, &b| product(a).total_cmp(&product(b))).unwrap()
}

#[test]
fn rates_that_the_library_does_not_take_are_refused() {
    for rate in [0, 8_000, 24_000, 44_100, 96_000] {
        let error = Stages::new(rate, Switches::ALL).unwrap_err();
        assert_eq!(error, DspError::StageRate(rate));
        assert!(error.to_string().contains("48000"), "{error}");
    }
    for rate in [16_000, 32_000, 48_000] {
        assert_eq!(Stages::new(rate, Switches::ALL).unwrap().block() as u32, rate / 100);
    }
}

#[test]
fn with_all_switches_off_samples_pass_bit_by_bit_and_at_once() {
    for rate in [16_000, 32_000, 48_000] {
        let mut stages = Stages::new(rate, Switches::NONE).unwrap();
        let sound: Vec<f32> = Hiss(1).take(rate as usize).collect();
        assert_eq!(run(&mut stages, &sound), sound);
        assert_eq!(stages.delay(), Duration::ZERO);
        assert_eq!(stages.readings(), Readings::default());
    }
    // Blocks of a wrong size are left alone.
    let mut stages = Stages::new(16_000, Switches::ALL).unwrap();
    let mut short = [0.5; 100];
    stages.far(&short);
    stages.near(&mut short);
    assert_eq!(short, [0.5; 100]);
}

#[test]
fn the_delay_is_what_it_says() {
    for rate in [16_000, 32_000, 48_000] {
        for switches in [ECHO_ONLY, NOISE_ONLY, Switches { echo: true, noise: true, ..Switches::NONE }, Switches::ALL] {
            let mut stages = Stages::new(rate, switches).unwrap();
            // Bursts of noise: alike at one lag only.
            let hiss = Hiss(7).take(2 * rate as usize);
            let sound: Vec<f32> =
                hiss.enumerate().map(|(n, sample)| if n / 3000 % 4 == 1 { 0.1 * sample } else { 0.0 }).collect();
            let out = run(&mut stages, &sound);
            let found = lag(&sound[..sound.len() - 1500], &out, 1500) as i64;
            let said = (stages.delay().as_secs_f64() * f64::from(rate)).round() as i64;
            println!("{rate} Hz, {switches:?}: {found} found, {said} said");
            assert!((found - said).abs() <= 1, "{rate} Hz, {switches:?}: {found}, {said}");
        }
    }
}

#[test]
fn the_high_pass_takes_rumble_and_leaves_voices() {
    for rate in [16_000, 48_000] {
        let change = |hz: f32| {
            let mut stages = Stages::new(rate, Switches { high_pass: true, ..Switches::NONE }).unwrap();
            let sound = sine(hz, rate);
            level_db(&run(&mut stages, &sound)[rate as usize..]) - level_db(&sound[rate as usize..])
        };
        for (hz, within) in [
            (20.0, f32::MIN..-40.0),
            (50.0, f32::MIN..-20.0),
            (300.0, -1.0..0.5),
            (1000.0, -0.5..0.5),
            (7000.0, -0.5..0.5),
        ] {
            let change = change(hz);
            println!("{rate} Hz: {hz} Hz by {change:.2} dB");
            assert!(within.contains(&change), "{rate} Hz: {hz} Hz by {change} dB");
        }
    }
}

#[test]
fn silence_stays_silence_and_noise_that_is_no_number_is_forgotten() {
    for rate in [16_000, 48_000] {
        let mut stages = Stages::new(rate, Switches::ALL).unwrap();
        let size = stages.block();
        for _ in 0..200 {
            let mut block = vec![0.0; size];
            stages.far(&block);
            stages.near(&mut block);
            assert!(block.iter().all(|sample| sample.abs() < 1e-4), "silence at {rate} Hz");
        }
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE] {
            stages.far(&vec![odd; size]);
            let mut block = vec![odd; size];
            stages.near(&mut block);
            assert!(block.iter().all(|sample| sample.abs() <= 1.0), "{odd} at {rate} Hz");
        }
        let sound = voice(rate, 3);
        let out = run(&mut stages, &sound);
        let end = rate as usize * 2..;
        assert!(out.iter().all(|sample| sample.abs() <= 1.0), "never beyond full scale, and numbers all of them");
        assert!(
            (level_db(&out[end.clone()]) - level_db(&sound[end])).abs() < 20.0,
            "speech passes after it at {rate} Hz"
        );
        let readings = stages.readings();
        assert!(readings.noise_reduction_db.is_some_and(f32::is_finite), "{readings:?}");
        assert!(readings.gain_db.is_some_and(f32::is_finite), "{readings:?}");
    }
}

#[test]
fn a_switch_does_not_click_and_what_is_off_is_bit_exact_again() {
    for rate in [16_000, 48_000] {
        let sound = sine(440.0, rate);
        // The steepest step of such a tone, twice over: a click is far above it.
        let most = 2.0 * sound.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
        for on in [
            ECHO_ONLY,
            NOISE_ONLY,
            Switches { high_pass: true, ..Switches::NONE },
            Switches { gain: true, ..Switches::NONE },
        ] {
            let mut stages = Stages::new(rate, Switches::NONE).unwrap();
            let size = stages.block();
            let mut out = sound.clone();
            for (number, block) in out.chunks_exact_mut(size).enumerate() {
                let switches = if [20, 21, 40, 50, 51, 52, 80].contains(&number) { on } else { stages.switches };
                let switches = if [30, 45, 60, 90].contains(&number) { Switches::NONE } else { switches };
                stages.set(switches);
                stages.far(&vec![0.0; size]);
                stages.near(block);
            }
            let steepest = out.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
            assert!(steepest <= most, "{on:?} at {rate} Hz: {steepest} beyond {most}");
            assert_eq!(out[95 * size..], sound[95 * size..], "{on:?} at {rate} Hz");
            assert_ne!(out[85 * size..90 * size], sound[85 * size..90 * size], "{on:?} worked");
        }
    }
}

#[test]
fn readings_are_there_when_the_stage_works_and_go_with_it() {
    let mut stages = Stages::new(16_000, Switches::ALL).unwrap();
    let far = voice(16_000, 3);
    let late: Vec<f32> = std::iter::repeat_n(0.0, 1000).chain(far.iter().map(|sample| 0.5 * sample)).collect();
    for (far, near) in far.chunks_exact(160).zip(late.chunks_exact(160)) {
        stages.far(far);
        stages.near(&mut near.to_vec());
    }
    let readings = stages.readings();
    assert!(readings.echo_return_loss_enhancement_db.is_some_and(|db| db > 15.0), "{readings:?}");
    // Nothing was far for ten seconds.
    let hiss: Vec<f32> = Hiss(3).take(160 * 1100).map(|sample| 0.003 * sample).collect();
    run(&mut stages, &hiss);
    let readings = stages.readings();
    assert_eq!(readings.echo_return_loss_enhancement_db, None);
    assert!(readings.noise_reduction_db.is_some_and(|db| db > 8.0), "{readings:?}");
    stages.set(Switches::NONE);
    stages.near(&mut [0.1; 160]);
    assert_eq!(stages.readings(), Readings::default());
}

mod chance {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// Whatever comes, and however the switches change, samples are numbers within full scale, and none is lost.
        #[test]
        fn nothing_breaks_the_stages(
            steps in proptest::collection::vec((any::<[bool; 4]>(), any::<f32>(), -2.0_f32..2.0, any::<bool>()), 1..60),
        ) {
            let mut stages = Stages::new(16_000, Switches::NONE).unwrap();
            for ([high_pass, echo, noise, gain], odd, level, with_far) in steps {
                let switches = Switches { high_pass, echo, noise, gain };
                stages.set(switches);
                let mut block: Vec<f32> = Hiss(level.to_bits().into()).take(160).map(|sample| level * sample).collect();
                block[17] = odd;
                if with_far {
                    stages.far(&block);
                }
                stages.near(&mut block);
                let bound = if switches == Switches::NONE { f32::MAX } else { 1.0 };
                prop_assert!(block.iter().all(|sample| sample.abs() <= bound));
                let readings = stages.readings();
                for reading in [readings.echo_return_loss_enhancement_db, readings.noise_reduction_db, readings.gain_db] {
                    prop_assert!(reading.is_none_or(f32::is_finite));
                }
            }
        }
    }
}
