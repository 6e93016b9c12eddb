//! From samples to token frames and back: what whole recordings and streams share.

use parlo_dsp::Intake;
use parlo_model::{Audio, Decoder, Encoder, ModelError};
use parlo_tokens::TokenFrame;
use pyo3::{exceptions::PyValueError, prelude::*};

/// Frames of a recording that are encoded together, counted from its start: how many there are in a run of the network may decide
/// the last bit of its sums, and so all programs that encode recordings take as many.
const RUN: usize = 32;

/// Samples at any rate to token frames, as `parlo encode` makes them.
pub(crate) struct ToTokens {
    encoder: Encoder,
    intake: Intake,
    audio: Audio,
    rate: u32,
    /// Whether frames wait until there are [`RUN`].
    gathers: bool,
    /// Whole frames that wait for the encoder, and how many samples came in.
    samples: Vec<f32>,
    taken: u64,
}

impl ToTokens {
    /// At the start of a stream at `rate` Hz, whose frames come as soon as they are whole.
    pub(crate) fn stream(encoder: Encoder, audio: &Audio, rate: u32) -> PyResult<Self> {
        Self::new(encoder, audio, rate, false)
    }

    /// At the start of a recording at `rate` Hz.
    pub(crate) fn recording(encoder: Encoder, audio: &Audio, rate: u32) -> PyResult<Self> {
        Self::new(encoder, audio, rate, true)
    }

    fn new(mut encoder: Encoder, audio: &Audio, rate: u32, gathers: bool) -> PyResult<Self> {
        encoder.reset();
        let intake = intake(audio, rate)?;
        Ok(Self { encoder, intake, audio: audio.clone(), rate, gathers, samples: Vec::new(), taken: 0 })
    }

    /// Takes samples, which must be finite; appends the frames that are whole now to `out`.
    pub(crate) fn push(&mut self, samples: &[f32], out: &mut Vec<TokenFrame>) -> Result<(), ModelError> {
        self.taken += samples.len() as u64;
        let waiting = &mut self.samples;
        self.intake.push(samples, |frame| waiting.extend_from_slice(frame));
        let run = if self.gathers { RUN * self.audio.frame_samples } else { self.audio.frame_samples };
        self.encode(self.samples.len() / run * run, out)
    }

    /// Ends the stream: appends what is left, and what the decoder needs to render all of it, to `out`.
    pub(crate) fn finish(&mut self, out: &mut Vec<TokenFrame>) -> Result<(), ModelError> {
        let waiting = &mut self.samples;
        self.intake.finish(|frame| waiting.extend_from_slice(frame));
        let flush = self.audio.delay_samples.div_ceil(self.audio.frame_samples) * self.audio.frame_samples;
        if self.taken > 0 {
            waiting.resize(waiting.len() + flush, 0.0);
        }
        self.encode(self.samples.len(), out)
    }

    /// As if new.
    pub(crate) fn reset(&mut self) -> PyResult<()> {
        self.intake = intake(&self.audio, self.rate)?;
        self.encoder.reset();
        self.samples.clear();
        self.taken = 0;
        Ok(())
    }

    /// Samples so far, at the model's rate.
    pub(crate) fn samples(&self) -> u64 {
        num_samples(self.taken, self.rate, &self.audio)
    }

    pub(crate) fn encoder(&mut self) -> &mut Encoder {
        &mut self.encoder
    }

    pub(crate) fn into_encoder(self) -> Encoder {
        self.encoder
    }

    /// Encodes so many of the samples that wait.
    fn encode(&mut self, count: usize, out: &mut Vec<TokenFrame>) -> Result<(), ModelError> {
        let encoded = self.encoder.push_many(&self.samples[..count], out);
        self.samples.drain(..count);
        encoded
    }
}

/// All of a recording at `rate` Hz, as a model that takes nothing less wants it: at its rate, whole frames, with what the decoder needs
/// to render all of it.
pub(crate) fn at_once(audio: &Audio, wave: &[f32], rate: u32) -> PyResult<Vec<f32>> {
    let mut intake = intake(audio, rate)?;
    let mut samples = Vec::with_capacity(usize::try_from(num_samples(wave.len() as u64, rate, audio)).unwrap_or(0));
    intake.push(wave, |frame| samples.extend_from_slice(frame));
    intake.finish(|frame| samples.extend_from_slice(frame));
    let flush = audio.delay_samples.div_ceil(audio.frame_samples) * audio.frame_samples;
    samples.resize(samples.len() + flush, 0.0);
    Ok(samples)
}

/// Token frames to samples in line with what was encoded: the decoder's delay is left out at the start.
pub(crate) struct ToSamples {
    decoder: Decoder,
    audio: Audio,
    /// Samples at the start that are still to be left out.
    skip: usize,
    frames: u64,
    rendered: Vec<f32>,
}

impl ToSamples {
    /// At the start of a stream.
    pub(crate) fn new(decoder: Decoder, audio: &Audio) -> Self {
        let mut line = Self { decoder, audio: audio.clone(), skip: 0, frames: 0, rendered: Vec::new() };
        line.reset();
        line
    }

    /// Takes frames, `None` for missing ones; appends what they render to `out`.
    pub(crate) fn push(&mut self, frames: &[Option<TokenFrame>], out: &mut Vec<f32>) -> Result<(), ModelError> {
        let mut tokens = Vec::new();
        for run in frames.chunk_by(|a, b| a.is_some() == b.is_some()) {
            self.rendered.clear();
            tokens.clear();
            tokens.extend(run.iter().flatten());
            if tokens.is_empty() {
                for _ in run {
                    self.rendered.extend_from_slice(self.decoder.conceal()?);
                }
            } else {
                self.decoder.push_many(&tokens, &mut self.rendered)?;
            }
            let left_out = self.skip.min(self.rendered.len());
            self.skip -= left_out;
            out.extend_from_slice(&self.rendered[left_out..]);
            self.frames += run.len() as u64;
        }
        Ok(())
    }

    /// Ends the stream: appends what the delay still holds to `out`.
    pub(crate) fn finish(&mut self, out: &mut Vec<f32>) -> Result<(), ModelError> {
        let frame = self.audio.frame_samples;
        if self.frames > 0 {
            let missing = self.audio.delay_samples.div_ceil(frame);
            let before = out.len();
            let left = self.frames.min(missing as u64) as usize * frame;
            self.push(&vec![None; missing], out)?;
            out.truncate(before + self.audio.delay_samples.min(left));
        }
        self.reset();
        Ok(())
    }

    /// As if new.
    pub(crate) fn reset(&mut self) {
        self.decoder.reset();
        self.skip = self.audio.delay_samples;
        self.frames = 0;
    }

    /// Frames so far.
    pub(crate) fn frames(&self) -> u64 {
        self.frames
    }

    pub(crate) fn into_decoder(self) -> Decoder {
        self.decoder
    }
}

/// How many samples at the model's rate are as long as so many at `rate` Hz.
pub(crate) fn num_samples(samples: u64, rate: u32, audio: &Audio) -> u64 {
    let exact = (u128::from(samples) * u128::from(audio.sample_rate)).div_ceil(u128::from(rate.max(1)));
    u64::try_from(exact).unwrap_or(u64::MAX)
}

/// How many frames so many samples at `rate` Hz become, those that flush the decoder included.
pub(crate) fn num_frames(samples: u64, rate: u32, audio: &Audio) -> u64 {
    if samples == 0 {
        return 0;
    }
    let frame = audio.frame_samples as u64;
    num_samples(samples, rate, audio).div_ceil(frame).saturating_add((audio.delay_samples as u64).div_ceil(frame))
}

fn intake(audio: &Audio, rate: u32) -> PyResult<Intake> {
    Intake::new(rate, 1, audio.sample_rate, audio.frame_samples)
        .map_err(|error| PyValueError::new_err(format!("sr: {error}")))
}

/// Where the first sample is that is no finite number; `what` names the samples in the message.
pub(crate) fn check_finite(samples: &[f32], what: &str) -> PyResult<()> {
    match samples.iter().position(|sample| !sample.is_finite()) {
        None => Ok(()),
        Some(at) => Err(PyValueError::new_err(format!(
            "{what} holds {} at sample {at}: samples are finite numbers",
            samples[at]
        ))),
    }
}
