use std::time::Duration;

use crate::{
    error::{DspError, check_block, check_channels},
    meter::{Level, Meter},
    resampler::Resampler,
};

/// Samples mixed at a time. Bounds the scratch memory, whatever is pushed.
const BLOCK: usize = 256;

/// From what a device or a file gives to the model's frames: mends, mixes to mono, resamples, cuts into frames.
///
/// Mono is the mean of the channels, so that it cannot clip where they did not. Samples that are no finite numbers become
/// 0, and those beyond -1 to 1 are brought there; both are counted. (Resampling may overshoot that range again, by a fifth at
/// worst: that is no clipping, and the model takes it.)
#[derive(Debug)]
pub struct Intake {
    channels: usize,
    resampler: Resampler,
    mono: [f32; BLOCK],
    frame: Vec<f32>,
    filled: usize,
    meter: Meter,
    repaired: u64,
    clipped: u64,
}

impl Intake {
    /// A chain from interleaved samples of `channels` channels at `from_hz` to mono frames of `frame` samples at `to_hz`.
    ///
    /// # Errors
    /// If a rate is not within 4 to 384 kHz, there are not 1 to 64 channels, or `frame` is not within 1 to 2^20.
    pub fn new(from_hz: u32, channels: u16, to_hz: u32, frame: usize) -> Result<Self, DspError> {
        Self::build(Resampler::new(from_hz, to_hz)?, from_hz, channels, frame)
    }

    /// As [`new`](Self::new), for a device whose clock is followed by [`set_ratio_ppm`](Self::set_ratio_ppm), even if the
    /// rates are equal.
    ///
    /// # Errors
    /// As those of [`new`](Self::new).
    pub fn steerable(from_hz: u32, channels: u16, to_hz: u32, frame: usize) -> Result<Self, DspError> {
        Self::build(Resampler::steerable(from_hz, to_hz)?, from_hz, channels, frame)
    }

    fn build(resampler: Resampler, from_hz: u32, channels: u16, frame: usize) -> Result<Self, DspError> {
        check_channels(channels)?;
        check_block(frame)?;
        Ok(Self {
            channels: usize::from(channels),
            resampler,
            mono: [0.0; BLOCK],
            frame: vec![0.0; frame],
            filled: 0,
            meter: Meter::new(from_hz),
            repaired: 0,
            clipped: 0,
        })
    }

    /// Takes interleaved samples, any number of them; calls `each` with every frame that is complete. If the last sample
    /// frame lacks channels, it is left out.
    pub fn push(&mut self, interleaved: &[f32], mut each: impl FnMut(&[f32])) {
        let scale = 1.0 / self.channels as f32;
        for block in interleaved.chunks(BLOCK * self.channels) {
            let mut count = 0;
            for frame in block.chunks_exact(self.channels) {
                let mut sum = 0.0;
                for &sample in frame {
                    sum += self.mended(sample);
                }
                self.mono[count] = sum * scale;
                count += 1;
            }
            self.meter.push(&self.mono[..count]);
            let Self { resampler, frame, filled, mono, .. } = self;
            resampler.push(&mono[..count], |samples| cut(samples, frame, filled, &mut each));
        }
    }

    /// Ends the stream: gives the rest, filled up with silence to a whole frame. In all, the frames hold the smallest
    /// multiple of the frame length that is at least ceil(n x to / from) samples, for n sample frames pushed.
    pub fn finish(&mut self, mut each: impl FnMut(&[f32])) {
        let Self { resampler, frame, filled, .. } = self;
        resampler.finish(|samples| cut(samples, frame, filled, &mut each));
        if *filled > 0 {
            frame[*filled..].fill(0.0);
            *filled = 0;
            each(frame);
        }
    }

    /// Samples, after resampling, that the frame at hand lacks: 1 to its length.
    pub fn lacks(&self) -> usize {
        self.frame.len() - self.filled
    }

    /// How much later a sample is in a frame than it was pushed, at most, the frame itself not counted.
    pub fn delay(&self) -> Duration {
        self.resampler.delay()
    }

    /// Follows a device's clock; see [`Resampler::set_ratio_ppm`].
    pub fn set_ratio_ppm(&mut self, ppm: f64) {
        self.resampler.set_ratio_ppm(ppm);
    }

    /// Level of the mono sound, before resampling.
    pub fn level(&self) -> Level {
        self.meter.level()
    }

    /// Samples so far that were no finite numbers.
    pub fn repaired(&self) -> u64 {
        self.repaired
    }

    /// Samples so far that lay beyond -1 to 1.
    pub fn clipped(&self) -> u64 {
        self.clipped
    }

    fn mended(&mut self, sample: f32) -> f32 {
        if !sample.is_finite() {
            self.repaired += 1;
            return 0.0;
        }
        if sample.abs() > 1.0 {
            self.clipped += 1;
        }
        sample.clamp(-1.0, 1.0)
    }
}

/// Fills the frame, and gives it away whenever it is full.
fn cut(mut samples: &[f32], frame: &mut [f32], filled: &mut usize, each: &mut impl FnMut(&[f32])) {
    while !samples.is_empty() {
        let (now, later) = samples.split_at(samples.len().min(frame.len() - *filled));
        frame[*filled..*filled + now.len()].copy_from_slice(now);
        *filled += now.len();
        samples = later;
        if *filled == frame.len() {
            *filled = 0;
            each(frame);
        }
    }
}
