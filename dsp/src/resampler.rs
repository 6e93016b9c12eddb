use std::time::Duration;

use rubato::{
    Adjustable, Async, FixedAsync, Resampler as _, SincInterpolationParameters, SincInterpolationType, WindowFunction,
    audioadapter_buffers::direct::InterleavedSlice,
};

use crate::error::{DspError, check_rate};

/// Taps of the interpolation filter at the lower of the two rates. Half of them are the filter's delay.
const TAPS: usize = 64;

/// Side lobes 92 dB down (Harris, "On the use of windows for harmonic analysis", 1978, table 1). Its square, with side lobes
/// twice as far down, needs twice the taps for the same edge.
const WINDOW: WindowFunction = WindowFunction::BlackmanHarris;

/// Where the response has fallen to a half, as a part of the lower rate's half: the highest that keeps everything from half the
/// lower rate on 81 dB down, found by trying.
const CUTOFF: f32 = 0.895;

/// Blocks that go through the filter at once, per second: 0.5 ms is short against the filter, and a call costs little.
const BLOCKS: usize = 2_000;

/// Fewest samples of a block.
const MIN_BLOCK: usize = 8;

/// How far [`Resampler::set_ratio_ppm`] may go: sound cards differ by some hundred parts per million at worst.
const MAX_PPM: f64 = 5_000.0;

/// Changes the sample rate of a mono stream: band-limited interpolation with a windowed sinc (rubato's `Async`).
///
/// The start is trimmed so that output sample `k` lies at input time `k / to` seconds: files come out as long as they went
/// in, and live sound keeps its time. The filter still has to look ahead; [`delay`](Self::delay) says how far.
///
/// Held by this crate's tests (`tests/quality.rs`): up to 0.8 of the lower rate's half within 0.1 dB; from half the lower
/// rate on, aliases and images at least 80 dB down. Between the two the response falls: -0.9 dB at 0.85, -7.1 dB at 0.9.
/// Measured on a shared core with the development profile (`examples/resampler.rs`), steered all the time; beside it what twice
/// the taps in blocks of 2.5 ms cost:
///
/// | from, to | delay | CPU time per second of sound | twice the taps |
/// | --- | --- | --- | --- |
/// | 48, 16 kHz | 2.5 ms | 2.4 ms | 6.5 ms, 6.0 ms |
/// | 48, 24 kHz | 1.9 ms | 2.8 ms | 5.2 ms, 6.4 ms |
/// | 44.1, 24 kHz | 1.9 ms | 2.6 ms | 5.2 ms, 4.2 ms |
/// | 24, 48 kHz | 1.9 ms | 3.7 ms | 5.2 ms, 5.3 ms |
/// | 48, 48 kHz | 1.2 ms | 3.8 ms | 3.9 ms, 5.3 ms |
/// | 192, 16 kHz | 2.5 ms | 7.7 ms | 6.5 ms, 14.7 ms |
///
/// Blocks of 1 ms cost as much as those of 0.5 ms.
#[derive(Debug)]
pub struct Resampler {
    from: u32,
    to: u32,
    engine: Option<Engine>,
    /// Input samples taken and output samples given so far.
    taken: u64,
    given: u64,
    /// The ratio's adjustment now, as a part of 1, and the output samples that adjustments have added so far.
    adjusted: f64,
    added: f64,
}

struct Engine {
    inner: Async<f32>,
    input: Vec<f32>,
    filled: usize,
    output: Vec<f32>,
    /// Output samples still to be dropped from the start.
    trim: usize,
    delay: usize,
}

impl Resampler {
    /// A resampler from `from` Hz to `to` Hz. Equal rates pass samples through untouched.
    ///
    /// # Errors
    /// If a rate is not within 4 to 384 kHz.
    pub fn new(from: u32, to: u32) -> Result<Self, DspError> {
        Self::build(from, to, from != to)
    }

    /// As [`new`](Self::new), but ready for [`set_ratio_ppm`](Self::set_ratio_ppm) even if the rates are equal: for devices,
    /// whose clocks are never those of the house.
    ///
    /// # Errors
    /// If a rate is not within 4 to 384 kHz.
    pub fn steerable(from: u32, to: u32) -> Result<Self, DspError> {
        Self::build(from, to, true)
    }

    fn build(from: u32, to: u32, filters: bool) -> Result<Self, DspError> {
        check_rate(from)?;
        check_rate(to)?;
        let engine = if filters { Some(Engine::new(from, to)?) } else { None };
        Ok(Self { from, to, engine, taken: 0, given: 0, adjusted: 0.0, added: 0.0 })
    }

    /// How much later a sample comes out than it went in, at most: half the filter, and the block that it waits for.
    pub fn delay(&self) -> Duration {
        self.engine.as_ref().map_or(Duration::ZERO, |engine| {
            let filter = (engine.delay + 1) as f64 / f64::from(self.to);
            let block = (engine.input.len() + 1) as f64 / f64::from(self.from);
            Duration::from_secs_f64(filter + block)
        })
    }

    /// Makes the output faster (positive) or slower by so many parts per million, within 5000, from the next block on:
    /// for following the clock of a sound card. The change is spread over a block of 0.5 ms. Does nothing when rates are equal
    /// and samples pass through; see [`steerable`](Self::steerable).
    pub fn set_ratio_ppm(&mut self, ppm: f64) {
        if let Some(engine) = &mut self.engine {
            let ppm = if ppm.is_finite() { ppm.clamp(-MAX_PPM, MAX_PPM) } else { 0.0 };
            self.adjusted = ppm * 1e-6;
            // In range by the clamp, so never refused.
            let _ = engine.inner.set_resample_ratio_relative(1.0 + self.adjusted, true);
        }
    }

    /// Takes samples, and gives those that are ready to `each`, in blocks of no particular size.
    pub fn push(&mut self, samples: &[f32], mut each: impl FnMut(&[f32])) {
        self.taken += samples.len() as u64;
        let Some(engine) = &mut self.engine else {
            self.given += samples.len() as u64;
            if !samples.is_empty() {
                each(samples);
            }
            return;
        };
        self.added += samples.len() as f64 * f64::from(self.to) / f64::from(self.from) * self.adjusted;
        let given = &mut self.given;
        engine.push(samples, |block| {
            *given += block.len() as u64;
            each(block);
        });
    }

    /// Ends the stream: gives what the filter still holds, so that exactly ceil(`taken` x `to` / `from`) samples have come
    /// out in all, and what adjustments of the ratio have added (as near as a block). The resampler is spent afterwards.
    pub fn finish(&mut self, mut each: impl FnMut(&[f32])) {
        let (from, to) = (u64::from(self.from), u64::from(self.to));
        let total = (self.taken * to).div_ceil(from).saturating_add_signed(self.added.round() as i64);
        let Some(engine) = &mut self.engine else { return };
        let given = &mut self.given;
        // Silence pushes the rest out.
        let mut silent = 0;
        while *given < total {
            let before = *given;
            engine.push_silence_block(|block| {
                let wanted = usize::try_from(total - *given).unwrap_or(usize::MAX);
                let block = &block[..block.len().min(wanted)];
                *given += block.len() as u64;
                if !block.is_empty() {
                    each(block);
                }
            });
            // Each block gives something once the start is trimmed; if the library ever refused one, this must still end.
            silent += u32::from(*given == before);
            if silent > 1000 {
                break;
            }
        }
    }
}

impl Engine {
    fn new(from: u32, to: u32) -> Result<Self, DspError> {
        let ratio = f64::from(to) / f64::from(from);
        let refused = |reason: String| DspError::Resampler { from, to, reason };
        // Downsampling narrows the filter's band, so it takes longer by as much to be as steep.
        let taps = ((TAPS as f64 / ratio.min(1.0)).ceil() as usize).next_multiple_of(8);
        let parameters = SincInterpolationParameters {
            sinc_len: taps,
            // For the filter's length at the lower rate, which the library scales: left to itself, it would take the lengthened
            // filter for a steeper one than it is, and let through what aliases just above half the new rate.
            f_cutoff: Some(CUTOFF),
            oversampling_factor: 256,
            interpolation: SincInterpolationType::Linear,
            window: WINDOW,
        };
        let block = (from as usize / BLOCKS).max(MIN_BLOCK);
        let inner = Async::new_sinc(ratio, 1.0 + 2.0 * MAX_PPM * 1e-6, &parameters, block, 1, FixedAsync::Input)
            .map_err(|error| refused(error.to_string()))?;
        // The filter reaches half its length back, and the library's first output lies one output sample on from the start
        // of its input (seen by the phase of tones, which the tests hold; its own `output_delay` leaves that out).
        let delay = (taps as f64 * ratio / 2.0 - 1.0).round().max(0.0) as usize;
        let output = vec![0.0; inner.output_frames_max()];
        Ok(Self { input: vec![0.0; block], filled: 0, output, trim: delay, delay, inner })
    }

    fn push(&mut self, mut samples: &[f32], mut each: impl FnMut(&[f32])) {
        while !samples.is_empty() {
            let (now, later) = samples.split_at(samples.len().min(self.input.len() - self.filled));
            self.input[self.filled..self.filled + now.len()].copy_from_slice(now);
            self.filled += now.len();
            samples = later;
            if self.filled == self.input.len() {
                self.process(&mut each);
            }
        }
    }

    fn push_silence_block(&mut self, mut each: impl FnMut(&[f32])) {
        self.input[self.filled..].fill(0.0);
        self.process(&mut each);
    }

    fn process(&mut self, each: &mut impl FnMut(&[f32])) {
        self.filled = 0;
        let frames = self.output.len();
        // The sizes are the library's own, so neither the adapters nor the call can refuse them.
        let Ok(input) = InterleavedSlice::new(&self.input, 1, self.input.len()) else { return };
        let Ok(mut output) = InterleavedSlice::new_mut(&mut self.output, 1, frames) else { return };
        let Ok((_, made)) = self.inner.process_into_buffer(&input, &mut output, None) else { return };
        let dropped = made.min(self.trim);
        self.trim -= dropped;
        if dropped < made {
            each(&self.output[dropped..made]);
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("delay", &self.delay).finish_non_exhaustive()
    }
}
