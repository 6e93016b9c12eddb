//! The codec's hot path does not touch the heap.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use parlo_model::{Decoder, Encoder, EncoderConfig};
use support::{hum, open};

/// Counts what each thread allocates.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract; counting in a
// const-initialised thread-local without a destructor neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

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
            before = ALLOCATIONS.with(Cell::get);
        }
        let tokens = encoder.push(frame).unwrap();
        decoder.push(&tokens).unwrap();
        if n % 7 == 0 {
            decoder.conceal().unwrap();
        }
    }
    assert!(before > 0, "the counter counts");
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0);
}
