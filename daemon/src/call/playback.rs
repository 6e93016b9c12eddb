//! The playback thread: from token frames to a sink's samples. The sink's clock paces it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender};
use parlo_dsp::Outlet;

use super::{
    error::CallError,
    media::{Incoming, Shared},
    player::{Heard, Player, PlayerStats},
    timeline::Timeline,
};
use crate::{
    audio::{Format, Played, Sink},
    realtime,
    report::Durations,
};

/// What the thread needs, made beforehand so that errors come before the call.
pub(super) struct Playback {
    pub(super) sink: Box<dyn Sink>,
    pub(super) player: Player,
    pub(super) sample_rate: u32,
    pub(super) frame_samples: usize,
    pub(super) frames: Receiver<Incoming>,
    pub(super) notices: Sender<String>,
    pub(super) timeline: Timeline,
}

/// What the thread found.
#[derive(Debug, Default)]
pub(super) struct PlaybackFigures {
    pub(super) decode: Durations,
    pub(super) player: PlayerStats,
    pub(super) underruns: u64,
    pub(super) realtime: bool,
    pub(super) timeline: Timeline,
}

impl Playback {
    /// Runs until the call ends, and plays what is left if the peer hung up.
    pub(super) fn run(mut self, shared: &Arc<Shared>) -> Result<PlaybackFigures, CallError> {
        let mut figures = PlaybackFigures { timeline: std::mem::take(&mut self.timeline), ..Default::default() };
        figures.realtime = realtime::promote(self.sample_rate, self.frame_samples).is_ok();
        let result = self.pump(shared, &mut figures);
        figures.player = self.player.stats();
        figures.underruns = self.sink.underruns();
        // What was heard so far is kept even when the call failed.
        let finished = self.sink.finish().map_err(CallError::Audio);
        shared.wake.notify_one();
        result.and(finished).map(|()| figures)
    }

    fn pump(&mut self, shared: &Shared, figures: &mut PlaybackFigures) -> Result<(), CallError> {
        let mut outlet = self.outlet(self.sink.format())?;
        let mut span = Span::new(self.sink.format());
        let mut ended = false;
        while !shared.playback_stopped() {
            // Asked before the channel is emptied: what was sent before the end is then surely in.
            let draining = shared.draining();
            while let Ok(Incoming { number, slot, arrived }) = self.frames.try_recv() {
                self.player.insert(number, slot, arrived);
            }
            if draining && !ended {
                self.player.end(shared.total());
                ended = true;
            }
            let start = Instant::now();
            let mut outcome = Outcome::Fine;
            let (sink, span_ref, rate) = (&mut self.sink, &mut span, self.sample_rate);
            span_ref.heard = None;
            let mut working = Duration::ZERO;
            let played = self.player.next(start, |audio| {
                if working.is_zero() {
                    working = start.elapsed();
                }
                span_ref.begin(audio.len(), rate);
                outlet.push(audio, |block| {
                    if matches!(outcome, Outcome::Fine) {
                        outcome = span_ref.write(sink.as_mut(), block);
                    }
                });
            });
            let Some(Heard { number, .. }) = played.map_err(CallError::Voice)? else { break };
            if number.is_some() {
                figures.decode.record(working);
            }
            let stats = self.player.stats().jitter;
            shared.live.played.store(stats.played + stats.coarse + stats.silent, Ordering::Relaxed);
            shared.live.lost.store(stats.lost, Ordering::Relaxed);
            let delay = u64::try_from(self.player.delay().as_millis()).unwrap_or(u64::MAX);
            shared.live.delay_ms.store(delay, Ordering::Relaxed);
            match outcome {
                Outcome::Fine => {}
                Outcome::Failed(error) => return Err(CallError::Audio(error)),
                Outcome::Changed { format, notice } => {
                    outlet = self.outlet(format)?;
                    span = Span::new(format);
                    // Nobody listening is no reason to stop playing.
                    let _ = self.notices.try_send(notice);
                    shared.wake.notify_one();
                }
            }
            if let (Some(number), Some(at)) = (number, span.heard) {
                figures.timeline.note(number, at);
            }
        }
        let mut outcome = Outcome::Fine;
        let sink = &mut self.sink;
        outlet.finish(|block| {
            if matches!(outcome, Outcome::Fine) {
                outcome = span.write(sink.as_mut(), block);
            }
        });
        match outcome {
            Outcome::Failed(error) => Err(CallError::Audio(error)),
            _ => Ok(()),
        }
    }

    fn outlet(&self, format: Format) -> Result<Outlet, CallError> {
        Outlet::new(self.sample_rate, format.rate, format.channels, 2 * self.frame_samples).map_err(CallError::Dsp)
    }
}

enum Outcome {
    Fine,
    Failed(crate::audio::AudioError),
    Changed { format: Format, notice: String },
}

/// Tells when the first sample of the frame at hand is heard: the sink says so of each block's first sample, and blocks
/// lag behind frames by the resampler's delay.
struct Span {
    format: Format,
    /// Seconds of sound given to the outlet before the frame at hand, and with it.
    begins: f64,
    ends: f64,
    /// Sample frames that the sink has taken.
    written: u64,
    heard: Option<Instant>,
}

impl Span {
    fn new(format: Format) -> Self {
        Self { format, begins: 0.0, ends: 0.0, written: 0, heard: None }
    }

    fn begin(&mut self, samples: usize, rate: u32) {
        self.begins = self.ends;
        self.ends += samples as f64 / f64::from(rate);
    }

    fn write(&mut self, sink: &mut dyn Sink, block: &[f32]) -> Outcome {
        match sink.write(block) {
            Err(error) => return Outcome::Failed(error),
            Ok(Played::Changed { format, notice }) => return Outcome::Changed { format, notice },
            Ok(Played::Away) => {}
            Ok(Played::At(at)) => {
                let position = self.written as f64 / f64::from(self.format.rate);
                let ahead = self.begins - position;
                let shift = Duration::from_secs_f64(ahead.abs().min(60.0));
                self.heard.get_or_insert(if ahead >= 0.0 { at + shift } else { at.checked_sub(shift).unwrap_or(at) });
            }
        }
        self.written += block.len() as u64 / u64::from(self.format.channels.max(1));
        Outcome::Fine
    }
}
