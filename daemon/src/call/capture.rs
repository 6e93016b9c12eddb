//! The capture thread: from a source's samples to token frames.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use crossbeam_channel::{Sender, TrySendError};
use parlo_dsp::{Activity, Intake, NoiseAnalyser};
use parlo_tokens::ComfortNoise;

use super::{
    error::CallError,
    media::Shared,
    outbound,
    timeline::Timeline,
    voice::{Speaker, VoiceError},
};
use crate::{
    audio::{Captured, Format, Source},
    realtime,
    report::Durations,
};

/// What the thread needs, made beforehand so that errors come before the call.
pub(super) struct Capture {
    pub(super) source: Box<dyn Source>,
    pub(super) speaker: Speaker,
    /// Whether silence is told rather than sent.
    pub(super) detects_silence: bool,
    pub(super) sample_rate: u32,
    pub(super) frame_samples: usize,
    pub(super) delay_samples: usize,
    pub(super) frames: Sender<outbound::Captured>,
    pub(super) notices: Sender<String>,
    pub(super) timeline: Timeline,
}

/// What the thread found.
#[derive(Debug, Default)]
pub(super) struct CaptureFigures {
    pub(super) encode: Durations,
    pub(super) overrun: u64,
    pub(super) repaired: u64,
    pub(super) first_frame: Option<Instant>,
    pub(super) realtime: bool,
    pub(super) timeline: Timeline,
}

impl Capture {
    /// Runs until the source ends or the call does.
    pub(super) fn run(mut self, shared: &Arc<Shared>) -> Result<CaptureFigures, CallError> {
        let mut figures = CaptureFigures { timeline: std::mem::take(&mut self.timeline), ..Default::default() };
        figures.realtime = realtime::promote(self.sample_rate, self.frame_samples).is_ok();
        let result = self.pump(shared, &mut figures);
        // Dropping the channel's end tells the network that this is all.
        drop(self.frames);
        shared.wake.notify_one();
        result.map(|()| figures)
    }

    fn pump(&mut self, shared: &Shared, figures: &mut CaptureFigures) -> Result<(), CallError> {
        let mut format = self.source.format();
        let mut intake = self.intake(format)?;
        // 20 ms of any device; a source gives what it has.
        let mut buffer = vec![0.0; samples_in(format, Duration::from_millis(20))];
        let mut span = Span::new(format, self.sample_rate, self.frame_samples, 0);
        let mut number = 0;
        let mut pauses = self.detects_silence.then(|| Pauses::new(self.sample_rate, self.frame_samples));
        self.source.begin();
        while !shared.capture_stopped() {
            match self.source.read(&mut buffer).map_err(CallError::Audio)? {
                Captured::Nothing => {}
                Captured::End => {
                    figures.repaired += intake.repaired();
                    let at = Instant::now();
                    let mut failure = None;
                    intake.finish(|frame| {
                        self.encode(frame, &mut number, at, shared, &mut pauses, figures, &mut failure)
                    });
                    // The decoder renders the last frame's end only when it has what comes after.
                    let silence = vec![0.0; self.frame_samples];
                    for _ in 0..self.delay_samples.div_ceil(self.frame_samples) {
                        self.encode(&silence, &mut number, at, shared, &mut None, figures, &mut failure);
                    }
                    return failure.map_or(Ok(()), |error| Err(CallError::Voice(error)));
                }
                Captured::Samples { samples, at } => {
                    span.heard(samples, at);
                    let mut failure = None;
                    intake.push(&buffer[..samples], |frame| {
                        let captured = span.frame_captured(number);
                        self.encode(frame, &mut number, captured, shared, &mut pauses, figures, &mut failure);
                    });
                    if let Some(error) = failure {
                        return Err(CallError::Voice(error));
                    }
                }
                Captured::Changed { format: new, notice } => {
                    figures.repaired += intake.repaired();
                    format = new;
                    intake = self.intake(format)?;
                    buffer = vec![0.0; samples_in(format, Duration::from_millis(20))];
                    span = Span::new(format, self.sample_rate, self.frame_samples, number);
                    // Nobody listening is no reason to stop talking.
                    let _ = self.notices.try_send(notice);
                    shared.wake.notify_one();
                }
            }
        }
        figures.repaired += intake.repaired();
        Ok(())
    }

    fn intake(&self, format: Format) -> Result<Intake, CallError> {
        Intake::new(format.rate, format.channels, self.sample_rate, self.frame_samples).map_err(CallError::Dsp)
    }

    #[allow(clippy::too_many_arguments, reason = "the loop's own state, which its three places share")]
    fn encode(
        &mut self,
        frame: &[f32],
        number: &mut u64,
        captured: Instant,
        shared: &Shared,
        pauses: &mut Option<Pauses>,
        figures: &mut CaptureFigures,
        failure: &mut Option<VoiceError>,
    ) {
        if failure.is_some() {
            return;
        }
        let silence = pauses.as_mut().and_then(|pauses| pauses.silence(frame));
        let start = Instant::now();
        let depth = shared.wish.depth.load(Ordering::Relaxed);
        let loss = f64::from(shared.wish.loss.load(Ordering::Relaxed)) / 100.0;
        let told = if depth > 0 { self.speaker.follow(depth, loss) } else { Ok(()) };
        let unit = match told.and_then(|()| self.speaker.push(frame)) {
            Ok(unit) => unit,
            Err(error) => {
                *failure = Some(error);
                return;
            }
        };
        let end = Instant::now();
        figures.encode.record(end - start);
        figures.first_frame.get_or_insert(end);
        figures.timeline.note(*number, captured);
        let captured = outbound::Captured { number: *number, unit, silence };
        if let Err(TrySendError::Full(_)) = self.frames.try_send(captured) {
            figures.overrun += 1;
        }
        *number += 1;
        shared.wake.notify_one();
    }
}

/// Finds the pauses of speech, and what they sound like.
#[derive(Debug)]
pub struct Pauses {
    activity: Activity,
    noise: NoiseAnalyser,
}

impl Pauses {
    /// For frames of so many mono samples at this rate.
    pub fn new(sample_rate: u32, frame_samples: usize) -> Self {
        Self { activity: Activity::new(sample_rate, frame_samples), noise: NoiseAnalyser::new(frame_samples) }
    }

    /// What the frame sounds like, if nobody speaks in it.
    pub fn silence(&mut self, frame: &[f32]) -> Option<ComfortNoise> {
        if self.activity.push(frame) {
            return None;
        }
        self.noise.push(frame);
        self.noise.describe().map(|(level, reflection)| ComfortNoise::new(level, reflection))
    }
}

/// Tells when a frame's last sample was captured, from when the last sample of each chunk was.
struct Span {
    format: Format,
    model_rate: u32,
    frame_samples: usize,
    /// Number of the frame that began with the first sample counted here.
    first: u64,
    /// Sample frames heard since.
    heard: u64,
    at: Instant,
}

impl Span {
    fn new(format: Format, model_rate: u32, frame_samples: usize, first: u64) -> Self {
        Self { format, model_rate, frame_samples, first, heard: 0, at: Instant::now() }
    }

    fn heard(&mut self, samples: usize, at: Instant) {
        self.heard += samples as u64 / u64::from(self.format.channels.max(1));
        self.at = at;
    }

    fn frame_captured(&self, number: u64) -> Instant {
        let end = (number - self.first + 1) as f64 * self.frame_samples as f64 / f64::from(self.model_rate);
        let heard = self.heard as f64 / f64::from(self.format.rate);
        let ago = Duration::from_secs_f64((heard - end).clamp(0.0, 60.0));
        self.at.checked_sub(ago).unwrap_or(self.at)
    }
}

/// Values in so much time of this format, at least one sample frame.
pub(super) fn samples_in(format: Format, time: Duration) -> usize {
    let frames = (f64::from(format.rate) * time.as_secs_f64()).ceil().max(1.0) as usize;
    frames * usize::from(format.channels.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_ends_within_a_chunk_was_captured_before_the_chunks_end() {
        let format = Format { rate: 48_000, channels: 2 };
        let mut span = Span::new(format, 24_000, 480, 7);
        let start = Instant::now() + Duration::from_secs(10);
        // 25 ms have been heard by `start`: frame 7 ended 5 ms before.
        span.heard(2 * 1200, start);
        assert_eq!(span.frame_captured(7), start - Duration::from_millis(5));
        // 40 ms have been heard 15 ms later: frame 8 ends right there.
        span.heard(2 * 720, start + Duration::from_millis(15));
        assert_eq!(span.frame_captured(8), start + Duration::from_millis(15));
    }

    #[test]
    fn chunks_hold_whole_sample_frames() {
        assert_eq!(samples_in(Format { rate: 44_100, channels: 3 }, Duration::from_millis(20)), 882 * 3);
        assert_eq!(samples_in(Format { rate: 8_000, channels: 1 }, Duration::from_micros(1)), 1);
    }
}
