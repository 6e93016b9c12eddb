//! The codec as a stream: one frame per call, or a few, on the bundle that ships.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use parlo_model::{Decoder, Encoder, EncoderConfig, ModelError};
use parlo_tokens::{Slot, TokenFrame};
use support::{hum, open};

const SECOND: usize = 50;

#[test]
fn streams_do_not_know_of_each_other() {
    let (runtime, bundle) = open();
    let audio = &bundle.manifest().audio;
    let one = hum(SECOND * audio.frame_samples, audio.sample_rate);
    let other: Vec<f32> = one.iter().rev().copied().collect();
    let encoder = || Encoder::new(&runtime, &bundle, EncoderConfig::default()).unwrap();
    let decoder = || Decoder::new(&runtime, &bundle).unwrap();

    let alone = |signal: &[f32]| -> (Vec<TokenFrame>, Vec<f32>) {
        let (mut encoder, mut decoder) = (encoder(), decoder());
        let tokens: Vec<_> = signal.chunks(audio.frame_samples).map(|frame| encoder.push(frame).unwrap()).collect();
        let decoded = tokens.iter().flat_map(|frame| decoder.push(frame).unwrap().to_vec()).collect();
        (tokens, decoded)
    };
    let (tokens, decoded) = alone(&one);
    let (other_tokens, other_decoded) = alone(&other);
    assert_ne!(tokens, other_tokens);

    // Side by side, frame by frame, decoding at once, on another thread.
    let side_by_side = {
        let (mut a, mut b, mut c, mut d) = (encoder(), encoder(), decoder(), decoder());
        let (one, other, length) = (one.clone(), other.clone(), audio.frame_samples);
        std::thread::spawn(move || {
            let pairs = one.chunks(length).zip(other.chunks(length)).map(|(x, y)| {
                let (x, y) = (a.push(x).unwrap(), b.push(y).unwrap());
                (x, y, c.push(&x).unwrap().to_vec(), d.push(&y).unwrap().to_vec())
            });
            pairs.collect::<Vec<_>>()
        })
        .join()
        .unwrap()
    };
    assert_eq!(side_by_side.iter().map(|p| p.0).collect::<Vec<_>>(), tokens);
    assert_eq!(side_by_side.iter().map(|p| p.1).collect::<Vec<_>>(), other_tokens);
    assert_eq!(side_by_side.iter().flat_map(|p| p.2.clone()).collect::<Vec<_>>(), decoded);
    assert_eq!(side_by_side.iter().flat_map(|p| p.3.clone()).collect::<Vec<_>>(), other_decoded);
}

#[test]
fn a_reset_stream_is_a_new_one() {
    let (runtime, bundle) = open();
    let audio = &bundle.manifest().audio;
    let signal = hum(10 * audio.frame_samples, audio.sample_rate);
    let mut encoder = Encoder::new(&runtime, &bundle, EncoderConfig::default()).unwrap();
    let mut decoder = Decoder::new(&runtime, &bundle).unwrap();
    let mut pass = || -> Vec<f32> {
        encoder.reset();
        decoder.reset();
        let frames = signal.chunks(audio.frame_samples).map(|frame| encoder.push(frame).unwrap());
        frames.collect::<Vec<_>>().iter().flat_map(|tokens| decoder.push(tokens).unwrap().to_vec()).collect()
    };
    let first = pass();
    assert!(first.iter().any(|sample| sample.abs() > 0.01));
    assert_eq!(first, pass());
}

#[test]
fn every_depth_codes_and_any_prefix_decodes() {
    let (runtime, bundle) = open();
    let audio = &bundle.manifest().audio;
    let most = bundle.layout().depth();
    let signal = hum(most * audio.frame_samples, audio.sample_rate);
    let mut encoder = Encoder::new(&runtime, &bundle, EncoderConfig { depth: 1, beam: 2 }).unwrap();
    let mut decoder = Decoder::new(&runtime, &bundle).unwrap();
    for (depth, frame) in (1..=most).zip(signal.chunks(audio.frame_samples)) {
        encoder.set_depth(depth).unwrap();
        let tokens = encoder.push(frame).unwrap();
        assert_eq!(tokens.depth(), depth);
        assert!(bundle.layout().admits(&tokens));
        assert_eq!(decoder.push(&tokens.truncated(depth.div_ceil(2))).unwrap().len(), audio.frame_samples);
    }
    for asked in [0, most + 1, usize::MAX] {
        let error = encoder.set_depth(asked).unwrap_err();
        assert!(matches!(error, ModelError::Depth { asked: a, most: m } if a == asked && m == most));
    }
}

#[test]
fn what_is_heard_follows_the_loudness_of_what_was_said() {
    let (runtime, bundle) = open();
    let audio = &bundle.manifest().audio;
    let signal = hum(SECOND * audio.frame_samples, audio.sample_rate);
    let decode = |depth, beam| -> Vec<f32> {
        let mut encoder = Encoder::new(&runtime, &bundle, EncoderConfig { depth, beam }).unwrap();
        let mut decoder = Decoder::new(&runtime, &bundle).unwrap();
        let frames = signal.chunks(audio.frame_samples).map(|frame| encoder.push(frame).unwrap());
        frames.collect::<Vec<_>>().iter().flat_map(|tokens| decoder.push(tokens).unwrap().to_vec()).collect()
    };
    // Energy, not waveform: this decoder does not promise phase.
    let loudness = |signal: &[f32]| -> Vec<f32> {
        signal.chunks(240).map(|c| (c.iter().map(|s| s * s).sum::<f32>() / c.len() as f32 + 1e-6).log10()).collect()
    };
    let heard = loudness(&decode(12, 4)[audio.delay_samples..]);
    let said = loudness(&signal);
    let mean = |v: &[f32]| v.iter().sum::<f32>() / v.len() as f32;
    let (mh, ms) = (mean(&heard), mean(&said));
    let product: f32 = heard.iter().zip(&said).map(|(h, s)| (h - mh) * (s - ms)).sum();
    let norm = |v: &[f32], m: f32| v.iter().map(|x| (x - m) * (x - m)).sum::<f32>().sqrt();
    let correlation = product / (norm(&heard, mh) * norm(&said[..heard.len()], ms));
    assert!(correlation > 0.8, "the decoded envelope follows the original's: {correlation}");
}

#[test]
fn bad_frames_are_refused_and_leave_no_trace() {
    let (runtime, bundle) = open();
    let audio = &bundle.manifest().audio;
    let signal = hum(20 * audio.frame_samples, audio.sample_rate);
    let mut clean = Encoder::new(&runtime, &bundle, EncoderConfig::default()).unwrap();
    let mut tried = Encoder::new(&runtime, &bundle, EncoderConfig::default()).unwrap();
    for frame in signal.chunks(audio.frame_samples) {
        let mut poisoned = frame.to_vec();
        poisoned[7] = f32::NAN;
        assert!(matches!(tried.push(&poisoned), Err(ModelError::NotFinite(_))));
        poisoned[7] = f32::INFINITY;
        assert!(matches!(tried.push(&poisoned), Err(ModelError::NotFinite(_))));
        assert!(matches!(tried.push(&frame[1..]), Err(ModelError::FrameLength { .. })));
        assert!(matches!(tried.push(&[]), Err(ModelError::FrameLength { found: 0, .. })));
        assert_eq!(tried.push(frame).unwrap(), clean.push(frame).unwrap());
    }
    // Samples far beyond full scale are odd but finite: they give tokens.
    let loud = vec![1e6; audio.frame_samples];
    assert!(bundle.layout().admits(&tried.push(&loud).unwrap()));

    let mut decoder = Decoder::new(&runtime, &bundle).unwrap();
    let foreign = TokenFrame::new(&[5000]).unwrap();
    assert!(matches!(decoder.push(&foreign), Err(ModelError::Tokens { .. })));
}

#[test]
fn concealment_glides_to_silence_and_back_without_a_step() {
    let (runtime, bundle) = open();
    let audio = &bundle.manifest().audio;
    // A steady sound, so that a fall in level is the concealment's doing.
    let signal: Vec<f32> = (0..30 * audio.frame_samples)
        .map(|n| {
            let phase = n as f32 * 150.0 / audio.sample_rate as f32 * std::f32::consts::TAU;
            0.1 * (1..=10).map(|h| (h as f32 * phase).sin() / h as f32).sum::<f32>()
        })
        .collect();
    let mut encoder = Encoder::new(&runtime, &bundle, EncoderConfig::default()).unwrap();
    let mut decoder = Decoder::new(&runtime, &bundle).unwrap();
    let rms = |frame: &[f32]| (frame.iter().map(|s| s * s).sum::<f32>() / frame.len() as f32).sqrt();
    let mut levels = Vec::new();
    for (n, frame) in signal.chunks(audio.frame_samples).enumerate() {
        let tokens = encoder.push(frame).unwrap();
        let slot = if (10..24).contains(&n) { Slot::Missing } else { Slot::Frame(tokens) };
        levels.push(rms(decoder.play(&slot).unwrap()));
    }
    assert!(levels[9] > 0.01, "{levels:?}");
    assert!(levels[10] > 0.2 * levels[9] && levels[15] < levels[10], "{levels:?}");
    assert!(levels[20..24].iter().all(|&level| level == 0.0), "{levels:?}");
    assert!(levels[28] > 0.3 * levels[9], "{levels:?}");

    let mut fresh = Decoder::new(&runtime, &bundle).unwrap();
    assert!(fresh.conceal().unwrap().iter().all(|&sample| sample == 0.0), "nothing was heard yet: nothing to repeat");
}

/// How far apart two renderings are.
fn apart(one: &[f32], other: &[f32]) -> f32 {
    assert_eq!(one.len(), other.len());
    one.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// What each way of running the same graphs may differ by.
const CLOSE: f32 = 1e-4;

#[test]
fn many_frames_at_once_are_coded_as_one_by_one() {
    let (runtime, bundle) = open();
    let audio = &bundle.manifest().audio;
    let signal = hum(2 * SECOND * audio.frame_samples, audio.sample_rate);
    let mut encoder = Encoder::new(&runtime, &bundle, EncoderConfig::default()).unwrap();
    let mut decoder = Decoder::new(&runtime, &bundle).unwrap();
    let tokens: Vec<_> = signal.chunks(audio.frame_samples).map(|frame| encoder.push(frame).unwrap()).collect();
    let sound: Vec<f32> = tokens.iter().flat_map(|frame| decoder.push(frame).unwrap().to_vec()).collect();
    for count in [1, 2, 3, 7, 33, 2 * SECOND] {
        encoder.reset();
        decoder.reset();
        let (mut many, mut heard) = (Vec::new(), Vec::new());
        for some in signal.chunks(count * audio.frame_samples) {
            encoder.push_many(some, &mut many).unwrap();
        }
        assert_eq!(many, tokens, "{count} at once");
        for some in many.chunks(count) {
            decoder.push_many(some, &mut heard).unwrap();
        }
        assert!(apart(&heard, &sound) < CLOSE, "{count} at once");
    }
    encoder.push_many(&[], &mut Vec::new()).unwrap();
    decoder.push_many(&[], &mut Vec::new()).unwrap();
}

#[test]
fn what_was_decoded_ahead_and_not_asked_for_leaves_no_trace() {
    let (runtime, bundle) = open();
    let audio = &bundle.manifest().audio;
    let signal = hum(SECOND * audio.frame_samples, audio.sample_rate);
    let mut encoder = Encoder::new(&runtime, &bundle, EncoderConfig { depth: 12, beam: 2 }).unwrap();
    let mut tokens = Vec::new();
    encoder.push_many(&signal, &mut tokens).unwrap();
    // Depths that change from frame to frame, frames lost for short and for long, frames other than foretold.
    let slots: Vec<Slot> = (0..tokens.len())
        .map(|n| match n {
            7 | 8 | 20..36 => Slot::Missing,
            12 => Slot::Coarse(tokens[n].truncated(2)),
            _ => Slot::Frame(tokens[n].truncated(1 + n * 5 % 12)),
        })
        .collect();
    let mut one = Decoder::new(&runtime, &bundle).unwrap();
    let expected: Vec<f32> = slots.iter().flat_map(|slot| one.play(slot).unwrap().to_vec()).collect();
    for ahead in [1, 2, 5, 40] {
        let mut decoder = Decoder::new(&runtime, &bundle).unwrap();
        let mut heard = Vec::new();
        for (n, slot) in slots.iter().enumerate() {
            // Foretold is every frame that was spoken, at another depth here and there, whether it comes or not.
            let foretold: Vec<TokenFrame> = (n + 1..tokens.len().min(n + 1 + ahead))
                .map(|m| tokens[m].truncated(if m % 11 == 0 { 12 } else { 1 + m * 5 % 12 }))
                .collect();
            let sound = match slot {
                Slot::Frame(tokens) => decoder.push_ahead(tokens, &foretold),
                other => decoder.play(other),
            };
            heard.extend_from_slice(sound.unwrap());
        }
        assert!(apart(&heard, &expected) < CLOSE, "{ahead} ahead");
    }
    // What does not fit is no reason to refuse what does.
    let foreign = TokenFrame::new(&[5000]).unwrap();
    let mut decoder = Decoder::new(&runtime, &bundle).unwrap();
    decoder.push_ahead(&tokens[0], &[tokens[1], foreign, tokens[2]]).unwrap();
    decoder.push(&tokens[1]).unwrap();
    assert!(matches!(decoder.push(&foreign), Err(ModelError::Tokens { .. })));
    let mut heard = Vec::new();
    assert!(matches!(decoder.push_many(&[tokens[2], foreign, tokens[3]], &mut heard), Err(ModelError::Tokens { .. })));
    assert_eq!(heard.len(), audio.frame_samples, "the frame before the fault");
    decoder.push_ahead(&tokens[3], &tokens[4..9]).unwrap();
    decoder.reset();
    one.reset();
    assert!(apart(decoder.push(&tokens[4]).unwrap(), one.push(&tokens[4]).unwrap()) < CLOSE, "a new stream");
}

#[test]
fn bad_samples_among_many_are_refused_whole() {
    let (runtime, bundle) = open();
    let audio = &bundle.manifest().audio;
    let signal = hum(8 * audio.frame_samples, audio.sample_rate);
    let mut clean = Encoder::new(&runtime, &bundle, EncoderConfig::default()).unwrap();
    let mut tried = Encoder::new(&runtime, &bundle, EncoderConfig::default()).unwrap();
    let (mut expected, mut found) = (Vec::new(), Vec::new());
    for some in signal.chunks(4 * audio.frame_samples) {
        let mut poisoned = some.to_vec();
        poisoned[3 * audio.frame_samples] = f32::NAN;
        assert!(matches!(tried.push_many(&poisoned, &mut found), Err(ModelError::NotFinite(_))));
        let cut = tried.push_many(&some[1..], &mut found);
        assert!(matches!(cut, Err(ModelError::FrameLength { found, .. }) if found == audio.frame_samples - 1));
        tried.push_many(some, &mut found).unwrap();
        clean.push_many(some, &mut expected).unwrap();
    }
    assert_eq!(found, expected);
}
