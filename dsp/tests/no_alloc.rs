//! Once built, the chains do not touch the heap.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use counting_alloc::{Counting, allocations};
use parlo_dsp::{Intake, Outlet};

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
        let before = allocations();
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
        assert_eq!(allocations() - before, 0, "{device} Hz, {channels} channels");
        assert!(frames >= 300 && samples > 0);
    }
}
