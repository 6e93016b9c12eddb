//! Once built, the chains do not touch the heap.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use counting_alloc::{Counting, allocations};
use parlo_dsp::{
    Activity, Gain, Intake, Limiter, NoiseAnalyser, NoiseGenerator, Outlet, Pace, Stages, Stretcher, Switches,
};

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

#[test]
fn speech_is_stretched_and_silence_found_described_and_rendered_without_an_allocation() {
    let mut stretcher = Stretcher::new(16_000, 320);
    let mut activity = Activity::new(16_000, 320);
    let mut analyser = NoiseAnalyser::new(320);
    let mut generator = NoiseGenerator::new(1);
    let mut frame = [0.0_f32; 320];
    let before = allocations();
    let mut given = 0;
    for n in 0..500_u16 {
        for (at, sample) in frame.iter_mut().enumerate() {
            *sample = f32::from(n % 50) * 0.01 * (at as f32 * 0.1).sin();
        }
        let pace = [Pace::Normal, Pace::Faster, Pace::Slower][usize::from(n / 20 % 3)];
        stretcher.push(&frame, pace, |part| given += part.len());
        activity.push(&frame);
        analyser.push(&frame);
        let (level, reflection) = analyser.describe().unwrap();
        generator.render(level, &reflection, &mut frame);
    }
    assert_eq!(allocations() - before, 0);
    assert!(given > 0 && given as u64 == stretcher.given());
}

#[test]
fn stages_limiter_and_gain_do_not_allocate_but_for_the_library_s_echo_canceller() {
    for rate in [16_000_u32, 32_000, 48_000] {
        let size = rate as usize / 100;
        let all = Switches::ALL;
        let run = |switches: Switches| {
            let mut stages = Stages::new(rate, switches).unwrap();
            let mut limiter = Limiter::new(rate);
            let mut gain = Gain::new(rate);
            let mut block = vec![0.0_f32; size];
            let far = vec![0.1; size];
            let before = allocations();
            for n in 0..400_u16 {
                for (at, sample) in block.iter_mut().enumerate() {
                    *sample = f32::from(n % 50) * 0.03 * (at as f32 * 0.1).sin();
                }
                // Switches change on the way.
                stages.set(if n % 100 < 20 { Switches::NONE } else { switches });
                gain.set_db(f32::from(n % 7));
                gain.mute(n % 90 == 0);
                stages.far(&far);
                stages.near(&mut block);
                let _ = stages.readings();
                gain.process(&mut block);
                limiter.process(&mut block);
            }
            (allocations() - before) as f64 / 400.0
        };
        assert_eq!(run(Switches { echo: false, ..all }), 0.0, "{rate} Hz");
        // Eleven lists a block of 4 ms, two and a half blocks each 10 ms, and four blocks in five with the canceller on.
        let a_block = run(all);
        println!("{rate} Hz: {a_block} allocations each 10 ms");
        assert!(a_block < 40.0, "{rate} Hz: {a_block} allocations each 10 ms");
    }
}
