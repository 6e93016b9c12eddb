//! Real speech in simulated rooms, through the stages before the encoder.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use parlo_dsp::{Stages, Switches};
use parlo_score::estoi;
use support::{
    Chance, at_level, decibels, power, scaled,
    scene::{ECHO, Place, SECONDS, through},
    speech, speech_level, sum,
};

const NOISE: Switches = Switches { noise: true, ..Switches::NONE };
const GAIN: Switches = Switches { gain: true, ..Switches::NONE };

#[test]
fn the_echo_is_gone_after_two_seconds_in_every_room_and_at_every_delay() {
    for (seed, delay_ms) in [(1, 50), (2, 100), (3, 150), (4, 70)] {
        let (enhancement, reading) = Place::office(seed, delay_ms).enhancement();
        println!("room {seed}, {delay_ms} ms: {enhancement:.1} dB, meter {reading:.1} dB");
        assert!(enhancement > 24.0, "room {seed}, {delay_ms} ms: {enhancement}");
        assert!((f64::from(reading) - enhancement).abs() < 12.0, "the meter tells {reading}, it was {enhancement}");
    }
}

#[test]
fn a_loudspeaker_that_distorts_and_clocks_apart_cost_little() {
    let office = Place::office(5, 100);
    for (place, least) in [
        (Place { distorts: true, ..office }, 20.0),
        (Place { t60_s: 0.5, ..office }, 18.0),
        (Place { drift_ppm: 30.0, ..office }, 20.0),
        // Far more than two sound cards differ by, and not steered.
        (Place { drift_ppm: 100.0, ..office }, 15.0),
        (Place { drift_ppm: -100.0, ..office }, 15.0),
    ] {
        let (enhancement, _) = place.enhancement();
        println!("{place:?}: {enhancement:.1} dB");
        assert!(enhancement > least, "{place:?}: {enhancement}");
    }
}

#[test]
fn the_echo_is_gone_at_other_rates_too() {
    for rate in [32_000, 48_000] {
        let (enhancement, _) = Place { rate, ..Place::office(1, 70) }.enhancement();
        println!("{rate} Hz: {enhancement:.1} dB");
        assert!(enhancement > 20.0, "{rate} Hz: {enhancement}");
    }
}

#[test]
fn who_speaks_at_the_microphone_is_heard_over_the_echo() {
    for seed in [1, 2] {
        let talk = Place::office(seed, 100).double_talk(ECHO);
        println!("room {seed}: {talk:?}");
        assert!(talk.processed > talk.unprocessed + 0.1, "{talk:?}");
        assert!(talk.alone > 0.97, "alone, near speech passes as it is: {talk:?}");
        assert!(talk.processed > talk.alone - 0.32, "{talk:?}");
    }
}

#[test]
fn steady_noise_becomes_fainter_and_speech_stays_as_clear() {
    let rate = 16_000;
    let voice = at_level(&speech(rate, SECONDS), rate, -26.0);
    let noise = Chance(5).fan(rate, voice.len(), -36.0);
    let mut stages = Stages::new(rate, NOISE).unwrap();
    let late = (stages.delay().as_secs_f64() * f64::from(rate)).round() as usize;
    let noisy = sum(&voice, &noise);
    let out = through(&mut stages, &voice, &noisy);

    let from = 3 * rate as usize;
    let end = voice.len() - 200;
    let (mut before, mut after) = (0.0, 0.0);
    for start in (from..end - 320).step_by(160) {
        if decibels(power(&voice[start..start + 320])) < -60.0 {
            before += power(&noise[start..start + 320]);
            after += power(&out[start + late..start + late + 320]);
        }
    }
    let reduction = decibels(before / after);
    let heard = |sound: &[f32], late: usize| estoi(&voice[from..end], &sound[from + late..end + late], rate).unwrap();
    let (noisy, cleaned) = (heard(&noisy, 0), heard(&out, late));
    let kept = speech_level(&out[from..], rate) - speech_level(&voice[from..], rate);
    let reading = stages.readings().noise_reduction_db.unwrap();
    println!(
        "noise by {reduction:.1} dB (meter {reading:.1}), ESTOI {noisy:.3} to {cleaned:.3}, speech by {kept:.1} dB"
    );
    assert!(reduction > 9.0, "{reduction}");
    assert!((f64::from(reading) - reduction).abs() < 3.0, "{reading} read, {reduction} measured");
    assert!(cleaned > noisy - 0.005, "{noisy} became {cleaned}");
    assert!(kept.abs() < 1.5, "{kept}");
}

#[test]
fn faint_and_loud_speech_come_out_alike_and_whole() {
    let rate = 16_000;
    let level_out = |dbfs: f64| {
        // A converter clips what is beyond it.
        let voice: Vec<f32> = at_level(&speech(rate, 24), rate, dbfs).iter().map(|x| x.clamp(-1.0, 1.0)).collect();
        let mut stages = Stages::new(rate, GAIN).unwrap();
        let hush = Chance(3).fan(rate, voice.len(), -85.0);
        let out = through(&mut stages, &vec![0.0; voice.len()], &sum(&voice, &hush));
        let late = &out[12 * rate as usize..];
        let full = late.iter().filter(|sample| sample.abs() >= 0.999).count();
        let reading = stages.readings().gain_db.unwrap();
        let level = speech_level(late, rate);
        println!("{dbfs} dBFS becomes {level:.1}, gain {reading:.1} dB, {full} samples at full scale");
        assert_eq!(full, 0, "nothing clips");
        assert!(reading.is_finite());
        level
    };
    let levels = [-45.0, -30.0, -20.0, -10.0].map(level_out);
    let spread = levels.iter().copied().fold(f64::MIN, f64::max) - levels.iter().copied().fold(f64::MAX, f64::min);
    assert!(spread < 6.0, "{levels:?}");
}

/// What a full set of stages costs: run with `--release -- --ignored --nocapture`.
#[test]
#[ignore = "tells times, asserts nothing"]
fn time_of_ten_milliseconds() {
    for rate in [16_000, 48_000] {
        let voice = scaled(&speech(rate, 10), -6.0);
        let mut stages = Stages::new(rate, Switches::ALL).unwrap();
        let start = std::time::Instant::now();
        let _ = through(&mut stages, &voice, &voice);
        println!("{rate} Hz: {:.1} us a block, speech", start.elapsed().as_secs_f64() * 1e3);
        let silence = vec![0.0; voice.len()];
        for second in 0..3 {
            let start = std::time::Instant::now();
            let _ = through(&mut stages, &silence, &silence);
            println!(
                "{rate} Hz: {:.1} us a block, silence from second {}",
                start.elapsed().as_secs_f64() * 1e3,
                10 * second
            );
        }
    }
}
