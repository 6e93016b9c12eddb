//! The entropy coder, with models of random weights: what is coded is decoded, the same on every kernel, and nothing that
//! comes from outside does harm.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{sync::LazyLock, time::Instant};

use parlo_model::{CodingError, EntropyCoder, EntropyModel, FrameCoder, Kernel, PacketShape};
use parlo_test_support::synthetic::{LARGE, Random, SHIPPED, SMALL, Synthetic};
use parlo_tokens::{FrameSet, TokenFrame};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

static MODEL: LazyLock<EntropyModel> = LazyLock::new(|| Synthetic::new(&SMALL, 1).model());

fn coder() -> EntropyCoder {
    EntropyCoder::new(&MODEL)
}

/// A coder with each kernel that this machine has.
fn coders(model: &EntropyModel) -> Vec<EntropyCoder> {
    Kernel::ALL.into_iter().filter_map(|kernel| EntropyCoder::with_kernel(model, kernel)).collect()
}

fn frames(seed: u64, depth: usize, count: usize) -> Vec<TokenFrame> {
    Random(seed).frames(MODEL.layout(), depth, count)
}

fn encode(coder: &mut EntropyCoder, frames: &[TokenFrame]) -> Vec<u8> {
    let mut payload = Vec::new();
    coder.encode(frames, &mut payload).unwrap();
    payload
}

fn decode(
    coder: &mut EntropyCoder,
    payload: &[u8],
    count: usize,
    depth: usize,
) -> Result<Vec<TokenFrame>, CodingError> {
    let mut out = Vec::new();
    let result = coder.decode(payload, count, depth, &mut out);
    assert!(result.is_ok() || out.is_empty());
    result.map(|()| out)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn what_is_encoded_is_decoded_and_all_kernels_agree(seed: u64, depth in 1_usize..=4, count in 0_usize..60) {
        let frames = frames(seed, depth, count);
        let mut coders = coders(&MODEL);
        let payload = encode(&mut coders[0], &frames);
        let bits = coders[0].bits();
        prop_assert!(payload.len() as f64 <= bits / 8.0 + 1.01);
        for coder in &mut coders {
            prop_assert_eq!(&encode(coder, &frames), &payload);
            prop_assert_eq!(decode(coder, &payload, count, depth), Ok(frames.clone()));
            prop_assert_eq!(coder.bits(), bits);
        }
    }

    #[test]
    fn a_call_goes_on_whatever_is_lost(seed: u64, lost in 0_i64..=60, start in prop_oneof![Just(0), 0..u64::MAX / 2]) {
        let random = &mut Random(seed);
        // Each end with another kernel.
        let mut ends = coders(&MODEL);
        let (mut receiver, mut sender) = (ends.remove(0), ends.pop().unwrap_or_else(coder));
        let (mut held, mut late) = (FrameSet::EMPTY, None);
        let (mut first, mut before) = (start, Vec::<TokenFrame>::new());
        for _ in 0..30 {
            let (count, depth) = (random.within(1, 8) as usize, random.within(1, 4) as usize);
            let frames = random.frames(MODEL.layout(), depth, count);
            // Some of what the receiver has, as if the latest news of it had not come yet.
            let context: FrameSet = held.iter().filter(|_| random.within(0, 9) > 0).collect();
            let mut payload = Vec::new();
            let (copies, copy_depth) = (random.within(0, before.len().min(12) as i64) as usize, random.within(1, 3) as usize);
            let copies: Vec<_> = before[before.len() - copies..].iter().map(|frame| frame.truncated(copy_depth)).collect();
            // Frames of less depth than asked for are not copied: copies have one depth.
            let copies = if copies.iter().all(|frame| frame.depth() == copy_depth) { copies } else { Vec::new() };
            sender.encode_packet(first, &copies, &frames, &context, &mut payload).unwrap();
            let shape = PacketShape { first, count, depth, copies: copies.len(), copy_depth };
            before.extend_from_slice(&frames);
            let packet = (shape, [copies, frames].concat(), context, payload);
            let packets = if random.within(0, 5) == 0 { late.replace(packet) } else { Some(packet) };
            if random.within(0, 99) >= lost {
                // What is a window late is not looked at.
                let newest = held.newest().unwrap_or(0);
                if let Some((shape, frames, context, payload)) = packets.filter(|packet| newest < packet.0.first + 256) {
                    let mut out = Vec::new();
                    receiver.decode_packet(&shape, &payload, &context, &mut out).unwrap();
                    prop_assert_eq!(&out, &frames);
                    // Copies do not count: they are not what was remembered of these frames, or would be.
                    (shape.first..).take(shape.count).for_each(|number| held.insert(number));
                }
            }
            // Now and then a gap in the numbers.
            let gap = if random.within(0, 9) == 0 { random.within(0, 300) as u64 } else { 0 };
            if gap > 0 {
                before.clear();
            }
            first += count as u64 + gap;
        }
    }

    #[test]
    fn any_bytes_give_frames_or_an_error(
        payload in prop::collection::vec(any::<u8>(), 0..40), count in 0_usize..30, depth in 0_usize..6,
    ) {
        let mut coder = coder();
        if let Ok(frames) = decode(&mut coder, &payload, count, depth) {
            prop_assert_eq!(frames.len(), count);
            prop_assert_eq!(encode(&mut coder, &frames), payload);
        }
    }

    #[test]
    fn no_two_payloads_mean_the_same(seed: u64, depth in 1_usize..=4, count in 1_usize..6, cut: usize, more: u8, bit: usize) {
        let frames = frames(seed, depth, count);
        let mut coder = coder();
        let payload = encode(&mut coder, &frames);
        let mut flipped = payload.clone();
        if let Some(byte) = payload.len().checked_sub(1).and_then(|last| flipped.get_mut(bit / 8 % (last + 1))) {
            *byte ^= 1 << (bit % 8);
            prop_assert_ne!(decode(&mut coder, &flipped, count, depth), Ok(frames.clone()));
            let cut = &payload[..cut % payload.len()];
            prop_assert_ne!(decode(&mut coder, cut, count, depth), Ok(frames.clone()));
        }
        prop_assert_ne!(decode(&mut coder, &[&payload[..], &[more]].concat(), count, depth), Ok(frames));
        prop_assert_eq!(decode(&mut coder, &[&payload[..], &[0]].concat(), count, depth), Err(CodingError::Damaged));
    }

    #[test]
    fn memories_are_the_same_whatever_way_they_came(seed: u64, count in 1_usize..50, depth in 1_usize..=4) {
        let old = frames(seed, depth, count);
        let new = frames(!seed, 4, 5);
        let context: FrameSet = (100..).take(count).filter(|number| number % 3 > 0).collect();
        let first = 100 + count as u64;
        let mut payloads = Vec::new();
        let (mut told, mut encoded, mut decoded, mut tried) = (coder(), coder(), coder(), coder());
        (100..).zip(&old).for_each(|(number, frame)| told.remember(number, frame).unwrap());
        let mut payload = Vec::new();
        encoded.encode_in(100, &old, &FrameSet::EMPTY, &mut payload).unwrap();
        let mut out = Vec::new();
        decoded.decode_in(100, &payload, count, depth, &FrameSet::EMPTY, &mut out).unwrap();
        tried.decode_in(100, &payload, count, depth, &FrameSet::EMPTY, &mut out).unwrap();
        // Packets that are refused, at their end, as well as frames that are none, change nothing.
        payload.push(0);
        let refused = tried.decode_in(100, &payload, count, depth, &FrameSet::EMPTY, &mut out);
        prop_assert_eq!(refused, Err(CodingError::Damaged));
        prop_assert!(tried.decode_in(100, &[7; 40], 0, depth, &FrameSet::EMPTY, &mut out).is_err());
        prop_assert!(tried.remember(101, &TokenFrame::new(&[80]).unwrap()).is_err());
        prop_assert!(tried.encode_in(101, &[TokenFrame::new(&[1, 80]).unwrap()], &context, &mut payload).is_err());
        for coder in [&mut told, &mut encoded, &mut decoded, &mut tried] {
            let mut payload = Vec::new();
            coder.encode_in(first, &new, &context, &mut payload).unwrap();
            payloads.push(payload);
        }
        prop_assert!(payloads.iter().all(|payload| payload == &payloads[0]));
    }
}

#[test]
fn payloads_that_stand_alone_do_not_know_of_calls() {
    let frames = frames(5, 3, 20);
    let mut used = coder();
    used.encode_in(0, &frames, &FrameSet::EMPTY, &mut Vec::new()).unwrap();
    let payload = encode(&mut used, &frames);
    assert_eq!(payload, encode(&mut coder(), &frames));
    // And the other way round.
    let (mut one, mut other) = (Vec::new(), Vec::new());
    let context: FrameSet = (0..20).collect();
    used.encode_in(20, &frames, &context, &mut one).unwrap();
    let mut fresh = coder();
    (0..).zip(&frames).for_each(|(number, frame)| fresh.remember(number, frame).unwrap());
    fresh.encode_in(20, &frames, &context, &mut other).unwrap();
    assert_eq!(one, other);
    assert_ne!(one, payload);
}

#[test]
fn what_is_known_makes_a_difference_within_reach_alone() {
    let (old, new) = (frames(6, 4, 100), frames(7, 4, 3));
    let mut coder = coder();
    (0..).zip(&old).for_each(|(number, frame)| coder.remember(number, frame).unwrap());
    let mut with = |context: FrameSet| {
        let mut payload = Vec::new();
        coder.encode_in(100, &new, &context, &mut payload).unwrap();
        payload
    };
    let nothing = with(FrameSet::EMPTY);
    assert_eq!(with((0..60).collect()), nothing);
    assert_eq!(with((100..140).collect()), nothing);
    assert_ne!(with((60..61).collect()), nothing);
    assert_eq!(with((0..100).collect()), with((60..100).collect()));
    assert_ne!(with((61..100).collect()), with((60..100).collect()));
}

#[test]
fn predictions_are_what_payloads_are_made_of() {
    let random = &mut Random(8);
    let old = random.frames(MODEL.layout(), 4, 30);
    let context: FrameSet = (3..30).collect();
    for mut coder in coders(&MODEL) {
        (0..).zip(&old).for_each(|(number, frame)| coder.remember(number, frame).unwrap());
        let frame = random.frame(MODEL.layout(), 4);
        let mut bits = 0.0;
        for (book, &code) in frame.codes().iter().enumerate() {
            let prediction = coder.predict(30, &context, &frame.codes()[..book]).unwrap();
            let frequencies: Vec<u32> = prediction.frequencies().collect();
            assert_eq!((frequencies.len(), frequencies.iter().sum()), (80, 1_u32 << 24));
            let best = frequencies[usize::from(prediction.likeliest())];
            assert!(frequencies.iter().all(|&frequency| frequency <= best + 1));
            bits += 24.0 - f64::from(frequencies[usize::from(code)]).log2();
        }
        coder.encode_in(30, &[frame], &context, &mut Vec::new()).unwrap();
        assert!((coder.bits() - bits).abs() < 1e-9);
        assert!(matches!(coder.predict(30, &context, frame.codes()), Err(CodingError::Depth { depth: 5, most: 4 })));
        assert!(matches!(coder.predict(30, &context, &[80]), Err(CodingError::Code { code: 80, .. })));
        // What is remembered meanwhile counts.
        let before: Vec<u32> = coder.predict(30, &context, &[]).unwrap().frequencies().collect();
        coder.remember(29, &frame).unwrap();
        assert!(!coder.predict(30, &context, &[]).unwrap().frequencies().eq(before));
        coder.forget();
        let forgotten = coder.predict(30, &context, &[]).err();
        assert_eq!(forgotten, Some(CodingError::Forgotten { number: 3 }));
    }
}

#[test]
fn refusals_name_the_fault_and_leave_nothing_behind() {
    let mut coder = coder();
    let frame = |codes: &[u16]| TokenFrame::new(codes).unwrap();
    let mut out = Vec::new();
    let mixed = coder.encode(&[frame(&[1, 2]), frame(&[1])], &mut out);
    assert_eq!(mixed, Err(CodingError::MixedDepths { first: 2, other: 1 }));
    let code = coder.encode(&[frame(&[1, 2]), frame(&[1, 80])], &mut out);
    assert_eq!(code, Err(CodingError::Code { code: 80, book: 1, size: 80 }));
    assert_eq!(coder.encode(&[frame(&[1; 5])], &mut out), Err(CodingError::Depth { depth: 5, most: 4 }));
    let count = CodingError::Count { frames: 501, first: 0, most: 500 };
    assert_eq!(coder.encode(&frames(1, 1, 501), &mut out).as_ref(), Err(&count));
    assert_eq!(decode(&mut coder, &[], 501, 1), Err(count));
    assert!(matches!(decode(&mut coder, &[], usize::MAX, 1), Err(CodingError::Count { .. })));
    assert_eq!(decode(&mut coder, &[], 1, 0), Err(CodingError::Depth { depth: 0, most: 4 }));
    assert_eq!(decode(&mut coder, &[], 1, usize::MAX), Err(CodingError::Depth { depth: usize::MAX, most: 4 }));
    let last = coder.encode_in(u64::MAX, &[frame(&[1])], &FrameSet::EMPTY, &mut out);
    assert_eq!(last, Err(CodingError::Count { frames: 1, first: u64::MAX, most: 500 }));
    coder.encode_in(7, &frames(1, 1, 2), &FrameSet::EMPTY, &mut Vec::new()).unwrap();
    let context: FrameSet = [7, 8, 9].into_iter().collect();
    let forgotten = coder.encode_in(10, &[frame(&[1])], &context, &mut out);
    assert_eq!(forgotten, Err(CodingError::Forgotten { number: 9 }));
    // 521 takes the place of 9, and is not mistaken for it.
    coder.encode_in(521, &[frame(&[1])], &FrameSet::EMPTY, &mut Vec::new()).unwrap();
    assert!(coder.encode_in(10, &[frame(&[1])], &context, &mut out).is_err());
    assert!(out.is_empty());
    // Nothing left in the coder either.
    assert_eq!(encode(&mut coder, &frames(9, 4, 9)), encode(&mut self::coder(), &frames(9, 4, 9)));
    assert!(encode(&mut coder, &[]).is_empty());
}

#[test]
fn a_long_block_goes_round() {
    let mut coder = coder();
    let frames = frames(3, 2, 500);
    let payload = encode(&mut coder, &frames);
    assert_eq!(decode(&mut coder, &payload, 500, 2).as_ref(), Ok(&frames));
    let mut in_call = Vec::new();
    coder.encode_in(12_345, &frames, &FrameSet::EMPTY, &mut in_call).unwrap();
    assert_eq!(in_call, payload);
}

/// What these bytes are follows from docs/entropy.md alone: the Python reference computes the same frequencies.
#[test]
fn bytes_do_not_change() {
    let mut digest = Sha256::new();
    for depth in 1..=4 {
        digest.update(encode(&mut coder(), &frames(depth as u64, depth, 100)));
    }
    let hex = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex, "e411b40517139c7c51badc83b94ca492c640084dc7e73c22b8319d001d41eb1f");
}

/// Not a test: how long frames take. `cargo test --release -p parlo-model --test entropy -- --ignored --nocapture`
#[test]
#[ignore = "it measures"]
fn timings() {
    for (name, sizes) in [("W=192 H=384", LARGE), ("W=160 H=288", SHIPPED)] {
        let model = Synthetic::new(&sizes, 1).model();
        let frames = Random(1).frames(model.layout(), 6, 1000);
        for kernel in Kernel::ALL {
            let Some(mut coder) = EntropyCoder::with_kernel(&model, kernel) else { continue };
            for known in [0_u64, 30, 256] {
                (0..).zip(&frames).for_each(|(number, frame)| coder.remember(number, frame).unwrap());
                let context: FrameSet = (1000 - known..1000).collect();
                let (mut payload, mut out) = (Vec::new(), Vec::new());
                let (mut encoding, mut decoding) = (Vec::new(), Vec::new());
                for frame in &frames[..400] {
                    payload.clear();
                    out.clear();
                    let start = Instant::now();
                    coder.encode_in(1000, std::slice::from_ref(frame), &context, &mut payload).unwrap();
                    let encoded = Instant::now();
                    coder.decode_in(1000, &payload, 1, 6, &context, &mut out).unwrap();
                    decoding.push(encoded.elapsed());
                    encoding.push(encoded - start);
                    assert_eq!(out, [*frame]);
                }
                // The median: what else the machine does is not of interest.
                let [encoding, decoding] = [encoding, decoding].map(|mut times| *times.select_nth_unstable(200).1);
                println!(
                    "{name} {kernel:?}, {known} known: {encoding:.1?} to encode, {decoding:.1?} to decode a frame"
                );
            }
        }
    }
}
