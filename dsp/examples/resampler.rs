//! Delay and cost of the resampler: the table in its documentation. Run with `--release`.

use std::time::{Duration, Instant};

use parlo_dsp::{DspError, Resampler};

fn main() -> Result<(), DspError> {
    for (from, to) in
        [(48_000, 16_000), (48_000, 24_000), (44_100, 24_000), (24_000, 48_000), (48_000, 48_000), (192_000, 16_000)]
    {
        let mut resampler = Resampler::steerable(from, to)?;
        let block = vec![0.1_f32; from as usize / 100];
        let mut best = Duration::MAX;
        for _ in 0..5 {
            let start = Instant::now();
            for n in 0..200_u32 {
                resampler.set_ratio_ppm(f64::from(n % 7) * 10.0);
                resampler.push(&block, |samples| {
                    std::hint::black_box(samples);
                });
            }
            best = best.min(start.elapsed());
        }
        let delay = 1e3 * resampler.delay().as_secs_f64();
        println!("| {from}, {to} | {delay:.1} ms | {:.1} ms |", 1e3 * best.as_secs_f64() / 2.0);
    }
    Ok(())
}
