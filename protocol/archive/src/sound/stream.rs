//! One stream's sound, as it was heard.

use std::ops::ControlFlow;

use parlo_dsp::{NoiseGenerator, Pace, Stretcher};
use parlo_model::{Audio, Decoder, ModelError};
use parlo_protocol::ptk::{Block, Mark};
use parlo_tokens::{ComfortNoise, Slot};

use super::Coder;
use crate::{error::ArchiveError, header::TimedFrame};

/// How far a stream's sound may lag behind its clock before silence is put in, seconds; below that it is slowed down.
const HOLE: f64 = 0.06;

/// How far it may be off before it is slowed down or hurried.
const OFF: f64 = 0.01;

/// Makes a stream's sound, as a call's player did when it was heard.
pub(super) struct Renderer {
    coder: Coder,
    decoder: Decoder,
    stretcher: Stretcher,
    noise: NoiseGenerator,
    /// The noise that was played last, if it was.
    silence: Option<ComfortNoise>,
    frame: Vec<f32>,
    background: Vec<f32>,
    frames: Vec<TimedFrame>,
    sample_rate: u32,
    rate: f64,
    /// Samples that the decoder is late, as far as the stream's clock does not have it in it.
    delay: f64,
    /// The first sample that is wanted, and the next to be made, counted from the clock's start; none before the first frame.
    origin: i64,
    place: Option<i64>,
}

impl Renderer {
    pub(super) fn new(coder: Coder, decoder: Decoder, audio: &Audio) -> Self {
        Self {
            coder,
            decoder,
            stretcher: Stretcher::new(audio.sample_rate, audio.frame_samples),
            noise: NoiseGenerator::new(1),
            silence: None,
            frame: vec![0.0; audio.frame_samples],
            background: vec![0.0; audio.frame_samples],
            frames: Vec::new(),
            sample_rate: audio.sample_rate,
            rate: f64::from(audio.sample_rate),
            delay: 0.0,
            origin: 0,
            place: None,
        }
    }

    /// Forgets what was heard. What is wanted begins with sample number `origin` of a stream that is so late.
    pub(super) fn begin(&mut self, origin: u64, delay: u64) {
        self.decoder.reset();
        self.stretcher = Stretcher::new(self.sample_rate, self.frame.len());
        self.noise = NoiseGenerator::new(1);
        self.silence = None;
        self.delay = delay as f64;
        self.origin = i64::try_from(origin).unwrap_or(i64::MAX);
        self.place = None;
    }

    /// Plays the frames of a block that begin at or after a time into `out`; breaks off where that is full. What is not played is left as
    /// it is there.
    pub(super) fn block(
        &mut self,
        block: &Block<'_>,
        frame_ms: f64,
        from_ms: f64,
        out: &mut [i16],
    ) -> Result<ControlFlow<()>, ArchiveError> {
        if self.sample_of(block.start_ms) >= (self.origin + out.len() as i64) as f64 {
            return Ok(ControlFlow::Break(()));
        }
        let mut frames = std::mem::take(&mut self.frames);
        frames.clear();
        let decoded = self.coder.decode_block(block, frame_ms, &mut frames);
        let played = match decoded {
            Ok(()) => {
                let wanted = frames.partition_point(|frame| frame.time_ms < from_ms);
                self.play_all(&frames[wanted..], out).map_err(ArchiveError::from)
            }
            Err(error) => Err(ArchiveError::Codes { seconds: block.start_ms / 1000.0, error }),
        };
        self.frames = frames;
        played
    }

    fn sample_of(&self, time_ms: f64) -> f64 {
        time_ms / 1000.0 * self.rate - self.delay
    }

    fn play_all(&mut self, frames: &[TimedFrame], out: &mut [i16]) -> Result<ControlFlow<()>, ModelError> {
        let Some(first) = frames.first() else { return Ok(ControlFlow::Continue(())) };
        let mut due = self.sample_of(first.time_ms);
        let late = |place: i64| due - place as f64 > HOLE * self.rate;
        let mut place = self.place.filter(|&place| !late(place)).unwrap_or(due.round() as i64);
        for frame in frames {
            if place >= self.origin + out.len() as i64 {
                return Ok(ControlFlow::Break(()));
            }
            self.play(frame)?;
            let behind = due - place as f64;
            // What was heard faster or slower is so again.
            let pace = match behind / self.rate {
                behind if behind > OFF => Pace::Slower,
                behind if behind < -OFF => Pace::Faster,
                _ => Pace::Normal,
            };
            let origin = self.origin;
            self.stretcher.push(&self.frame, pace, |part| {
                for sample in part {
                    let at = usize::try_from(place - origin).ok();
                    if let Some(out) = at.and_then(|at| out.get_mut(at)) {
                        // A cast of NaN gives 0, and the clamp keeps the rest in range.
                        *out = (sample * 32768.0).round().clamp(-32768.0, 32767.0) as i16;
                    }
                    place += 1;
                }
            });
            self.place = Some(place);
            due += self.frame.len() as f64;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Makes a frame's sound. Between speech and comfort noise one is faded into the other.
    fn play(&mut self, frame: &TimedFrame) -> Result<(), ModelError> {
        if frame.mark == Mark::Waiting {
            self.frame.fill(0.0);
            return Ok(());
        }
        let before = self.silence;
        let now = match (frame.codes, frame.noise) {
            (None, Some(noise)) => Some(noise),
            // A gap in silence is silence: only speech is predicted.
            (None, None) => before,
            (Some(_), _) => None,
        };
        self.silence = now;
        if let Some(noise) = now.or(before) {
            self.noise.render(noise.level(), noise.reflection(), &mut self.background);
        }
        if before.is_some() && now.is_some() {
            self.frame.copy_from_slice(&self.background);
            return Ok(());
        }
        let slot = frame.codes.map_or(Slot::Missing, Slot::Frame);
        self.frame.copy_from_slice(self.decoder.play(&slot)?);
        if before.is_some() || now.is_some() {
            let step = 1.0 / self.frame.len() as f32;
            for (n, (sample, noise)) in self.frame.iter_mut().zip(&self.background).enumerate() {
                let share = (n + 1) as f32 * step;
                let share = if now.is_some() { share } else { 1.0 - share };
                *sample += share * (noise - *sample);
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Renderer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renderer").field("place", &self.place).finish_non_exhaustive()
    }
}
