//! The sound of all calls, with the codec that ships, on a microphone and a loudspeaker that the test holds.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod codec;
mod ends;
mod rig;
mod sound;

use codec::CODEC;
use counting_alloc::Counting;
use parlo_tokens::{Slot, TokenFrame};
use parlod::call::{CodedFrame, EncodedFrame, FrameOrigin};
use rig::Told;

#[global_allocator]
static COUNTING: Counting = Counting;

pub(crate) fn tokens(said: &[EncodedFrame]) -> Vec<TokenFrame> {
    let tokens = said.iter().map(|frame| match frame.unit {
        Some(CodedFrame::Tokens(tokens)) => tokens,
        _ => panic!("the bundle speaks"),
    });
    tokens.collect()
}

pub(crate) fn numbers(said: &[EncodedFrame]) -> Vec<u64> {
    said.iter().map(|frame| frame.number).collect()
}

/// What must have been heard, from what was told of: each call's frames, decoded in one pass, at the places told of. Also
/// checks what is told besides.
pub(crate) fn expected(told: &[Told], length: usize) -> Vec<f32> {
    assert!(told.iter().all(|told| told.origin == FrameOrigin::Real), "{told:?}");
    let mut sum = vec![0.0; length];
    let mut calls: Vec<u64> = told.iter().map(|told| told.call).collect();
    calls.sort_unstable();
    calls.dedup();
    for call in calls {
        let frames: Vec<&Told> = told.iter().filter(|told| told.call == call && told.number.is_some()).collect();
        let coded: Vec<TokenFrame> = frames
            .iter()
            .map(|told| match told.slot {
                Slot::Frame(CodedFrame::Tokens(tokens)) => tokens,
                other => panic!("{other:?}"),
            })
            .collect();
        let decoded = CODEC.decode(&coded);
        for (told, frame) in frames.iter().zip(decoded.chunks(CODEC.frame)) {
            let level = (frame.iter().map(|sample| sample * sample).sum::<f32>() / frame.len() as f32).sqrt();
            assert!((told.level - level).abs() < 1e-5, "{told:?}: {level}");
            for (n, sample) in frame.iter().enumerate() {
                if let Some(sum) = sum.get_mut(told.sample + n) {
                    *sum += sample;
                }
            }
        }
    }
    sum
}

/// What the last bits of two decodings may differ by: how many frames a run of the network has decides how it sums.
const CLOSE: f32 = 2e-6;

/// Holds two sounds to be the same, sample by sample, and says where they are not.
pub(crate) fn same(heard: &[f32], expected: &[f32], told: &[Told]) {
    assert_eq!(heard.len(), expected.len());
    let Some(place) = heard.iter().zip(expected).position(|(heard, expected)| (heard - expected).abs() > CLOSE) else {
        return;
    };
    let near: Vec<&Told> = told.iter().filter(|told| told.sample.abs_diff(place) < 800).collect();
    panic!("at {place}: {} and not {}, {near:#?}", heard[place], expected[place]);
}

pub(crate) fn rms(sound: &[f32]) -> f32 {
    (sound.iter().map(|sample| sample * sample).sum::<f32>() / sound.len().max(1) as f32).sqrt()
}
