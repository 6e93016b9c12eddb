//! The codec's hot path does not touch the heap.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use counting_alloc::{Counting, allocations};
use parlo_model::{Decoder, Encoder, EncoderConfig};
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
