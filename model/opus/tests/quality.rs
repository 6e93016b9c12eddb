//! What speech comes to: intelligibility, bitrate, and what each protection gains, on the clip that ships.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::path::Path;

use parlo_opus::{FRAME_SAMPLES, OpusDecoder, OpusEncoder, OpusFrame, Protection, RATE};
use parlo_tokens::{ComfortNoise, Slot};
use support::Dice;

const DRED: Protection = Protection::Dred { duration_10ms: 100 };

fn speech() -> Vec<f32> {
    let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/speech.flac");
    let mut signal = support::read(&clip).unwrap();
    signal.truncate(signal.len() / FRAME_SAMPLES * FRAME_SAMPLES);
    signal
}

fn encode(signal: &[f32], bitrate: u32, protection: Protection, loss: u8) -> Vec<OpusFrame> {
    let mut encoder = OpusEncoder::new(bitrate, protection).unwrap();
    encoder.set_loss(loss).unwrap();
    signal.chunks_exact(FRAME_SAMPLES).map(|frame| encoder.push(frame).unwrap()).collect()
}

/// How many packets later a lost frame's repair may come.
fn play(frames: &[OpusFrame], lost: &[bool], wait: usize) -> Vec<f32> {
    let mut decoder = OpusDecoder::new().unwrap();
    let mut heard = Vec::new();
    for (number, frame) in frames.iter().enumerate() {
        if !lost[number] {
            heard.extend_from_slice(decoder.play(&Slot::Frame(*frame)).unwrap());
            continue;
        }
        let later = (number + 1..=number + wait).find(|&later| later < frames.len() && !lost[later]);
        let repaired = later.and_then(|later| decoder.repair(&frames[later], (later - number) as u32).unwrap());
        if let Some(audio) = repaired {
            heard.extend_from_slice(audio);
        } else {
            heard.extend_from_slice(decoder.play(&Slot::Missing).unwrap());
        }
    }
    heard
}

fn estoi(signal: &[f32], heard: &[f32]) -> f64 {
    let delay = OpusEncoder::new(9_000, Protection::None).unwrap().delay_samples();
    parlo_score::estoi(&signal[..signal.len() - delay], &heard[delay..], RATE).unwrap()
}

fn kbps(frames: &[OpusFrame]) -> f64 {
    let bytes: usize = frames.iter().map(|frame| frame.as_bytes().len()).sum();
    bytes as f64 * 0.4 / frames.len() as f64
}

/// One in five, the first frames excepted.
fn losses(count: usize) -> Vec<bool> {
    let mut dice = Dice(1);
    (0..count).map(|number| dice.percent(20) && number > 10).collect()
}

#[test]
fn speech_is_understood_at_its_bitrate_and_in_time() {
    let signal = speech();
    // 0.750, 0.893 and 0.982 were measured; the first is 0.681 if the library was built without its post-filters.
    for (bitrate, least) in [(6_000, 0.72), (9_000, 0.87), (24_000, 0.97)] {
        let frames = encode(&signal, bitrate, Protection::None, 0);
        let real = kbps(&frames) * 1_000.0 / f64::from(bitrate);
        assert!((0.85..=1.15).contains(&real), "{real} of {bitrate}");
        let heard = play(&frames, &vec![false; frames.len()], 0);
        let score = estoi(&signal, &heard);
        assert!(score > least, "{score} at {bitrate}");
        let alignment = parlo_score::align(&signal, &heard, RATE, 0.05).unwrap();
        assert!((100..=108).contains(&alignment.lag_samples), "{alignment:?}");
        // Wideband speech in one frame of 20 ms: configuration 9 (RFC 6716 table 2).
        assert!(frames.iter().all(|frame| frame.as_bytes()[0] >> 3 == 9));
    }
}

#[test]
fn the_bitrate_can_change_at_any_frame() {
    let signal = speech();
    let mut encoder = OpusEncoder::new(24_000, Protection::None).unwrap();
    let (first, second) = signal.split_at(signal.len() / 2 / FRAME_SAMPLES * FRAME_SAMPLES);
    let half = |encoder: &mut OpusEncoder, signal: &[f32]| -> Vec<_> {
        signal.chunks_exact(FRAME_SAMPLES).map(|frame| encoder.push(frame).unwrap()).collect()
    };
    let rich = half(&mut encoder, first);
    encoder.set_bitrate(9_000).unwrap();
    let poor = half(&mut encoder, second);
    assert!(kbps(&rich) > 20.0 && kbps(&poor) < 10.5, "{} and {}", kbps(&rich), kbps(&poor));
}

#[test]
fn protection_stays_within_the_bitrate_and_the_band() {
    let signal = speech();
    for (bitrate, protection, loss) in [
        (9_000, Protection::Fec, 20),
        (16_000, Protection::Fec, 20),
        (24_000, Protection::Fec, 20),
        (20_000, DRED, 5),
        (20_000, DRED, 18),
        (20_000, DRED, 20),
        (24_000, DRED, 5),
        (24_000, DRED, 20),
        (32_000, DRED, 2),
        (32_000, DRED, 20),
    ] {
        let frames = encode(&signal, bitrate, protection, loss);
        let real = kbps(&frames) * 1_000.0 / f64::from(bitrate);
        assert!((0.85..=1.15).contains(&real), "{real} of {bitrate}, {protection:?} at {loss} %");
        assert!(frames.iter().all(|frame| frame.as_bytes()[0] >> 3 == 9));
    }
}

#[test]
fn a_copy_in_the_next_packet_is_better_than_concealment() {
    let signal = speech();
    let frames = encode(&signal, 24_000, Protection::Fec, 20);
    let lost = losses(frames.len());
    let (concealed, repaired) = (estoi(&signal, &play(&frames, &lost, 0)), estoi(&signal, &play(&frames, &lost, 1)));
    assert!(repaired > concealed + 0.03, "{concealed} and {repaired}");
    // The same by way of slots.
    let mut decoder = OpusDecoder::new().unwrap();
    let mut heard = Vec::new();
    for (number, frame) in frames.iter().enumerate() {
        let slot = match frames.get(number + 1) {
            _ if !lost[number] => Slot::Frame(*frame),
            Some(later) if !lost[number + 1] => Slot::Coarse(*later),
            _ => Slot::Missing,
        };
        heard.extend_from_slice(decoder.play(&slot).unwrap());
    }
    assert!(heard == play(&frames, &lost, 1));
}

#[test]
fn deep_redundancy_reaches_back_and_is_better_than_concealment() {
    let signal = speech();
    let frames = encode(&signal, 24_000, DRED, 20);
    let mut decoder = OpusDecoder::new().unwrap();
    let mut reaches: Vec<u32> = frames.iter().map(|frame| decoder.reach(frame).unwrap()).collect();
    reaches.sort_unstable();
    // Seven frames were measured: 135 ms. Two are what is asked for.
    assert!(reaches[reaches.len() / 2] >= 2, "{reaches:?}");
    // Bursts of three, as a wait of three packets can repair.
    let lost: Vec<bool> = (0..frames.len()).map(|number| number > 20 && number % 12 < 3).collect();
    let (concealed, repaired) = (estoi(&signal, &play(&frames, &lost, 0)), estoi(&signal, &play(&frames, &lost, 3)));
    assert!(repaired > concealed + 0.02, "{concealed} and {repaired}");
    // None of it without protection.
    let frames = encode(&signal, 24_000, Protection::None, 20);
    assert!(frames.iter().all(|frame| decoder.reach(frame) == Ok(0)));
    assert_eq!(decoder.repair(&frames[50], 1), Ok(None));
}

#[test]
fn the_same_comes_of_the_same() {
    let signal = speech();
    for protection in [Protection::Fec, DRED] {
        let frames = encode(&signal, 24_000, protection, 20);
        assert!(frames == encode(&signal, 24_000, protection, 20));
        let lost = losses(frames.len());
        assert!(play(&frames, &lost, 2) == play(&frames, &lost, 2));
    }
}

#[test]
fn reset_is_as_new() {
    let signal = &speech()[..60 * FRAME_SAMPLES];
    for protection in [Protection::Fec, DRED] {
        let mut encoder = OpusEncoder::new(24_000, protection).unwrap();
        let mut decoder = OpusDecoder::new().unwrap();
        let mut run = || {
            let mut heard = Vec::new();
            let mut frames = Vec::new();
            for (number, audio) in signal.chunks_exact(FRAME_SAMPLES).enumerate() {
                let frame = encoder.push(audio).unwrap();
                let slot = if number % 7 == 3 { Slot::Missing } else { Slot::Frame(frame) };
                heard.extend_from_slice(decoder.play(&slot).unwrap());
                frames.push(frame);
            }
            encoder.reset().unwrap();
            decoder.reset().unwrap();
            (frames, heard)
        };
        let (first, second) = (run(), run());
        assert!(first.0 == second.0, "{protection:?}: the encoder kept something");
        assert!(first.1 == second.1, "{protection:?}: the decoder kept something");
    }
}

#[test]
fn silence_fades_and_then_the_decoder_stands_still() {
    let signal = speech();
    let frames = encode(&signal, 24_000, Protection::None, 0);
    let mut decoder = OpusDecoder::new().unwrap();
    // Into a vowel.
    let loud = (50..200).max_by_key(|&number| frames[number].as_bytes().len()).unwrap();
    for frame in &frames[..loud] {
        decoder.play(&Slot::Frame(*frame)).unwrap();
    }
    let silence = Slot::Silence(ComfortNoise::SILENCE);
    let faded = decoder.play(&silence).unwrap();
    assert!(faded[..20].iter().any(|sample| sample.abs() > 1e-3));
    assert_eq!(faded[FRAME_SAMPLES - 1], 0.0);
    for slot in [silence, Slot::Missing, Slot::Coarse(frames[loud]), silence] {
        assert!(decoder.play(&slot).unwrap().iter().all(|sample| *sample == 0.0));
    }
    let risen = decoder.play(&Slot::Frame(frames[loud])).unwrap();
    assert!(risen[0].abs() < 0.05 && risen.iter().any(|sample| sample.abs() > 0.01));
}

#[test]
fn the_loudest_noise_stays_within_a_frame() {
    let mut dice = Dice(9);
    for protection in [Protection::None, Protection::Fec, DRED] {
        let mut encoder = OpusEncoder::new(48_000, protection).unwrap();
        encoder.set_loss(50).unwrap();
        let mut most = 0;
        for _ in 0..50 {
            let noise: Vec<f32> = (0..FRAME_SAMPLES).map(|_| if dice.percent(50) { 1e9 } else { -1e9 }).collect();
            most = most.max(encoder.push(&noise).unwrap().as_bytes().len());
        }
        assert!(most > 100, "{most}");
    }
}
