use std::time::Duration;

use crate::{
    error::{DspError, check_block, check_channels},
    resampler::Resampler,
};

/// From the model's mono samples to what a device or a file takes: resamples, and copies mono to every channel.
#[derive(Debug)]
pub struct Outlet {
    channels: usize,
    resampler: Resampler,
    interleaved: Vec<f32>,
}

impl Outlet {
    /// A chain from mono samples at `from_hz` to interleaved samples of `channels` channels at `to_hz`. `max_push` is the
    /// number of samples that are usually pushed at once; blocks are about as long, and more may be pushed all the same.
    ///
    /// # Errors
    /// If a rate is not within 4 to 384 kHz, there are not 1 to 64 channels, or `max_push` is not within 1 to 2^20.
    pub fn new(from_hz: u32, to_hz: u32, channels: u16, max_push: usize) -> Result<Self, DspError> {
        Self::build(Resampler::new(from_hz, to_hz)?, from_hz, to_hz, channels, max_push)
    }

    /// As [`new`](Self::new), for a device whose clock is followed by [`set_ratio_ppm`](Self::set_ratio_ppm), even if the
    /// rates are equal.
    ///
    /// # Errors
    /// As those of [`new`](Self::new).
    pub fn steerable(from_hz: u32, to_hz: u32, channels: u16, max_push: usize) -> Result<Self, DspError> {
        Self::build(Resampler::steerable(from_hz, to_hz)?, from_hz, to_hz, channels, max_push)
    }

    fn build(resampler: Resampler, from_hz: u32, to_hz: u32, channels: u16, max_push: usize) -> Result<Self, DspError> {
        check_channels(channels)?;
        check_block(max_push)?;
        let frames = (max_push as u64 * u64::from(to_hz)).div_ceil(u64::from(from_hz));
        let frames = usize::try_from(frames).unwrap_or(usize::MAX).clamp(1, 1 << 20);
        Ok(Self { channels: usize::from(channels), resampler, interleaved: vec![0.0; frames * usize::from(channels)] })
    }

    /// Takes mono samples; calls `each` with interleaved ones, whole sample frames, as they are ready.
    pub fn push(&mut self, mono: &[f32], mut each: impl FnMut(&[f32])) {
        let Self { channels, resampler, interleaved } = self;
        resampler.push(mono, |samples| spread(samples, *channels, interleaved, &mut each));
    }

    /// Ends the stream: gives the rest, so that exactly ceil(n x to / from) sample frames have come out for n samples.
    pub fn finish(&mut self, mut each: impl FnMut(&[f32])) {
        let Self { channels, resampler, interleaved } = self;
        resampler.finish(|samples| spread(samples, *channels, interleaved, &mut each));
    }

    /// How much later a sample comes out than it went in, at most.
    pub fn delay(&self) -> Duration {
        self.resampler.delay()
    }

    /// Follows a device's clock; see [`Resampler::set_ratio_ppm`].
    pub fn set_ratio_ppm(&mut self, ppm: f64) {
        self.resampler.set_ratio_ppm(ppm);
    }
}

fn spread(samples: &[f32], channels: usize, interleaved: &mut [f32], each: &mut impl FnMut(&[f32])) {
    if channels == 1 {
        each(samples);
        return;
    }
    for block in samples.chunks(interleaved.len() / channels) {
        let out = &mut interleaved[..block.len() * channels];
        for (frame, &sample) in out.chunks_exact_mut(channels).zip(block) {
            frame.fill(sample);
        }
        each(out);
    }
}
