//! The codec's hot path does not touch the heap.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use counting_alloc::{Counting, allocations};
use parlo_model::{Bundle, Decoder, Encoder, EncoderConfig, EntropyCoder, FrameCoder, Kernel};
use parlo_test_support::{
    foreign::{Coded, Latents, Way},
    synthetic::{Random, SMALL, Synthetic},
};
use parlo_tokens::FrameSet;
use support::{hum, open};

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn frames_pass_without_an_allocation() {
    let (runtime, bundle) = open();
    let audio = &bundle.manifest().audio;
    let signal = hum(60 * audio.frame_samples, audio.sample_rate);
    let mut encoder = Encoder::new(&runtime, &bundle, EncoderConfig { depth: 12, beam: 4 }).unwrap();
    let mut decoder = Decoder::new(&runtime, &bundle).unwrap();
    let mut before = 0;
    for (n, frame) in signal.chunks(audio.frame_samples).enumerate() {
        if n == 10 {
            before = allocations();
        }
        let tokens = encoder.push(frame).unwrap();
        decoder.push(&tokens).unwrap();
        if n % 7 == 0 {
            decoder.conceal().unwrap();
        }
    }
    assert!(before > 0, "the counter counts");
    assert_eq!(allocations() - before, 0);
}

#[test]
fn frames_of_other_codecs_pass_without_an_allocation() {
    let latents = |way| Latents { rate: 16_000, frame: 240, way, remembers: true, whole: None };
    let ways = [
        Way::Residual { dimension: 6, sizes: vec![4096] },
        Way::Grouped { dimension: 8, groups: 2, sizes: vec![100, 64, 32, 90] },
        Way::Binary { dimension: 13 },
        Way::Scalar { levels: vec![8, 5, 5, 5] },
    ];
    let folders = ways.map(|way| {
        let folder = tempfile::tempdir().unwrap();
        latents(way).write(folder.path());
        folder
    });
    let coded = tempfile::tempdir().unwrap();
    Coded { rate: 24_000, frame: 1920, books: 8, whole: None, fault: 0 }.write(coded.path());
    let (runtime, _) = open();
    for folder in folders.iter().chain([&coded]) {
        let bundle = Bundle::open(folder.path()).unwrap();
        let audio = &bundle.manifest().audio;
        let signal = hum(30 * audio.frame_samples, audio.sample_rate);
        let mut encoder = Encoder::new(&runtime, &bundle, EncoderConfig::usual(&bundle)).unwrap();
        let mut decoder = Decoder::new(&runtime, &bundle).unwrap();
        let mut before = 0;
        for (n, frame) in signal.chunks(audio.frame_samples).enumerate() {
            if n == 10 {
                before = allocations();
            }
            let tokens = encoder.push(frame).unwrap();
            decoder.push(&tokens).unwrap();
            if n % 7 == 0 {
                decoder.conceal().unwrap();
            }
        }
        assert_eq!(allocations() - before, 0, "{}", bundle.manifest().quantizer.kind());
    }
}

#[test]
fn frames_pass_together_without_an_allocation() {
    let (runtime, bundle) = open();
    let audio = &bundle.manifest().audio;
    let signal = hum(60 * audio.frame_samples, audio.sample_rate);
    let mut encoder = Encoder::new(&runtime, &bundle, EncoderConfig { depth: 12, beam: 4 }).unwrap();
    let mut decoder = Decoder::new(&runtime, &bundle).unwrap();
    encoder.prepare(5).unwrap();
    decoder.prepare(5).unwrap();
    let (mut tokens, mut sound) = (Vec::with_capacity(60), Vec::with_capacity(signal.len()));
    let mut rest = signal.as_slice();
    let before = allocations();
    for count in [1, 3, 5, 2, 4].into_iter().cycle() {
        let Some((some, later)) = rest.split_at_checked(count * audio.frame_samples) else { break };
        rest = later;
        let first = tokens.len();
        encoder.push_many(some, &mut tokens).unwrap();
        // Some are decoded ahead for nothing.
        decoder.push_ahead(&tokens[first], &tokens[first + 1..]).unwrap();
        if count == 4 {
            decoder.conceal().unwrap();
        }
        decoder.push_many(&tokens[first + 1..], &mut sound).unwrap();
    }
    assert_eq!(allocations() - before, 0);
}

#[test]
fn payloads_are_made_and_read_without_an_allocation() {
    let model = Synthetic::new(&SMALL, 1).model();
    let frames = Random(1).frames(model.layout(), 4, 500);
    let context: FrameSet = (0..40).collect();
    for kernel in Kernel::ALL {
        let Some(mut coder) = EntropyCoder::with_kernel(&model, kernel) else { continue };
        let (mut payload, mut out) = (Vec::with_capacity(10_000), Vec::with_capacity(500));
        let before = allocations();
        coder.encode(&frames, &mut payload).unwrap();
        coder.decode(&payload, 500, 4, &mut out).unwrap();
        assert_eq!(out, frames);
        payload.clear();
        coder.encode_in(0, &frames[..40], &FrameSet::EMPTY, &mut payload).unwrap();
        payload.clear();
        coder.encode_in(40, &frames[..3], &context, &mut payload).unwrap();
        out.clear();
        coder.decode_in(40, &payload, 3, 4, &context, &mut out).unwrap();
        assert!(coder.decode_in(40, &[9; 100], 3, 4, &context, &mut out).is_err());
        coder.predict(43, &context, &[1, 2]).unwrap();
        coder.remember(43, &frames[9]).unwrap();
        assert_eq!(allocations() - before, 0, "{kernel:?}");
    }
}
