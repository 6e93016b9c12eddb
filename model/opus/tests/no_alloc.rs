//! The hot path does not touch Rust's heap. (libopus allocates only what it creates, which is not counted here.)

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use counting_alloc::{Counting, allocations};
use parlo_opus::{FRAME_SAMPLES, OpusDecoder, OpusEncoder, Protection, RATE, pack, unpack};
use parlo_tokens::Slot;

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn frames_pass_without_an_allocation() {
    let mut encoder = OpusEncoder::new(24_000, Protection::Dred { duration_10ms: 100 }).unwrap();
    let mut decoder = OpusDecoder::new().unwrap();
    let (mut payload, mut out) = (Vec::with_capacity(1_000), Vec::with_capacity(3));
    let mut audio = [0.0; FRAME_SAMPLES];
    let mut before = 0;
    for number in 0..60 {
        // A buzz of 130 Hz.
        for (n, sample) in audio.iter_mut().enumerate() {
            let cycle = (number * FRAME_SAMPLES + n) as f32 * 130.0 / RATE as f32;
            *sample = 0.3 * (cycle.fract() - 0.5);
        }
        if number == 10 {
            before = allocations();
        }
        let frame = encoder.push(&audio).unwrap();
        decoder.reach(&frame).unwrap();
        match number % 5 {
            0 => decoder.play(&Slot::Missing).map(drop),
            1 => decoder.repair(&frame, 2).map(drop),
            2 => decoder.play(&Slot::Coarse(frame)).map(drop),
            _ => decoder.play(&Slot::Frame(frame)).map(drop),
        }
        .unwrap();
        payload.clear();
        out.clear();
        pack(&[frame; 3], &mut payload);
        unpack(&payload, 3, &mut out).unwrap();
    }
    assert!(before > 0, "the counter counts");
    assert_eq!(allocations() - before, 0);
}
