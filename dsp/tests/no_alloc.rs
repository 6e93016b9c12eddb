//! Once built, the chains do not touch the heap.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use parlo_dsp::{Intake, Outlet};

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
fn seconds_of_sound_passes_without_an_allocation() {
    for (device, channels, model) in
        [(48_000, 2, 24_000), (44_100, 1, 16_000), (16_000, 1, 16_000), (8_000, 8, 24_000), (192_000, 3, 16_000)]
    {
        let mut intake = Intake::new(device, channels, model, model as usize / 50).unwrap();
        let mut outlet = Outlet::new(model, device, channels, model as usize / 50).unwrap();
        let block = vec![0.25_f32; device as usize / 100 * usize::from(channels)];
        let before = ALLOCATIONS.with(Cell::get);
        assert!(before > 0, "the counter counts");
        let (mut frames, mut samples) = (0, 0);
        for _ in 0..600 {
            intake.push(&block, |frame| {
                frames += 1;
                outlet.push(frame, |out| samples += out.len());
            });
        }
        intake.set_ratio_ppm(200.0);
        intake.push(&block, |_| frames += 1);
        intake.finish(|_| frames += 1);
        outlet.finish(|out| samples += out.len());
        let _ = intake.level();
        assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0, "{device} Hz, {channels} channels");
        assert!(frames >= 300 && samples > 0);
    }
}
