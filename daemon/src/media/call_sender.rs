//! A call's part of the capture thread: from the microphone's blocks to frames.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use crossbeam_channel::{Sender, TrySendError};
use parlo_dsp::{DspError, Resampler};
use parlo_tokens::{ComfortNoise, TokenFrame};

use super::{FrameEvent, StreamFormat, block_ring::BlockRing, call_controls::CallControls, stages::Limiter};
use crate::{
    call::{
        CallError, CodecError, CodedFrame, Due, EncodedFrame, FrameEncoder, RUN_FRAMES, RunBatcher, Timeline,
        channels::Shared,
        dtx::{Dtx, Silent, Transmission},
    },
    report::Durations,
};

/// Frames from one look at the percentiles to the next: a second of the usual ones.
const P99_REFRESH_FRAMES: u64 = 50;

/// Where a sender's frames and sentences go.
pub(super) struct Ends {
    pub(super) captured: Sender<EncodedFrame>,
    pub(super) notices: Sender<String>,
    pub(super) frame_events: Sender<FrameEvent>,
    pub(super) shared: Arc<Shared>,
    pub(super) flags: Arc<CallControls>,
}

/// The codec that it sends with.
pub(super) struct CodecParams {
    pub(super) encoder: FrameEncoder,
    pub(super) sample_rate: u32,
    pub(super) frame_samples: usize,
    pub(super) delay_samples: usize,
}

/// The sending call of a call.
pub(super) struct CallSender {
    pub(super) key: u64,
    framer: Framer,
    pub(super) pipeline: SendPipeline,
    /// The call's own voice, for the others of its conference.
    pub(super) voice: BlockRing,
    limiter: Limiter,
    mixed: Vec<f32>,
}

/// Cuts blocks at the engine's rate into frames at the codec's.
struct Framer {
    resampler: Resampler,
    frame: Vec<f32>,
    filled: usize,
    device_rate: u32,
    /// StreamFormat samples taken.
    taken: u64,
}

/// A frame that waits to be coded.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    number: u64,
    /// What it sounds like, if nobody speaks yet: it goes with the word that follows.
    silence: Option<ComfortNoise>,
    /// When its last sample was captured.
    at: Instant,
}

/// From frames to codes.
pub(super) struct SendPipeline {
    call: u64,
    encoder: FrameEncoder,
    dtx: Dtx,
    silence: Vec<f32>,
    sample_rate: u32,
    delay_samples: usize,
    /// Number of the next frame.
    number: u64,
    batcher: RunBatcher,
    /// Samples of the frames that wait to be coded, and what is known of each.
    waiting: Vec<f32>,
    notes: Vec<Waiting>,
    tokens: Vec<TokenFrame>,
    units: Vec<CodedFrame>,
    /// Frames since the last look at the percentiles.
    since_look: u64,
    captured: Option<Sender<EncodedFrame>>,
    notices: Sender<String>,
    frame_events: Sender<FrameEvent>,
    shared: Arc<Shared>,
    pub(super) flags: Arc<CallControls>,
    pub(super) encode: Durations,
    pub(super) timeline: Timeline,
    pub(super) first_frame: Option<Instant>,
    pub(super) overrun: u64,
    pub(super) failure: Option<CallError>,
}

impl CallSender {
    pub(super) fn new(
        (key, call): (u64, u64),
        format: StreamFormat,
        codec: CodecParams,
        ends: Ends,
        timeline: usize,
        voice: BlockRing,
    ) -> Result<Self, DspError> {
        let CodecParams { encoder, sample_rate, frame_samples, delay_samples } = codec;
        let Ends { captured, notices, frame_events, shared, flags } = ends;
        Ok(Self {
            key,
            framer: Framer {
                resampler: Resampler::new(format.sample_rate, sample_rate)?,
                frame: vec![0.0; frame_samples.max(1)],
                filled: 0,
                device_rate: format.sample_rate,
                taken: 0,
            },
            pipeline: SendPipeline {
                call,
                encoder,
                dtx: Dtx::new(sample_rate, frame_samples.max(1)),
                silence: vec![0.0; frame_samples.max(1)],
                sample_rate,
                delay_samples,
                number: 0,
                batcher: RunBatcher::default(),
                waiting: Vec::with_capacity(RUN_FRAMES * frame_samples.max(1)),
                notes: Vec::with_capacity(RUN_FRAMES),
                tokens: Vec::with_capacity(RUN_FRAMES),
                units: Vec::with_capacity(RUN_FRAMES),
                since_look: 0,
                captured: Some(captured),
                notices,
                frame_events,
                shared,
                flags,
                encode: Durations::default(),
                timeline: Timeline::with_room(timeline),
                first_frame: None,
                overrun: 0,
                failure: None,
            },
            voice,
            limiter: Limiter::new(format.sample_rate),
            mixed: vec![0.0; (format.sample_rate as usize / 100).max(1)],
        })
    }

    /// Takes a block of the microphone, and, in a conference, of what the others encode_pending together; `at` is when its last sample was
    /// captured.
    pub(super) fn push_block(&mut self, microphone: &[f32], others: Option<&[f32]>, at: Instant, detect: bool) {
        let Self { framer, pipeline, limiter, mixed, .. } = self;
        let sound = match others {
            Some(others) if others.len() == microphone.len() && mixed.len() == microphone.len() => {
                for ((mixed, own), others) in mixed.iter_mut().zip(microphone).zip(others) {
                    *mixed = own + others;
                }
                limiter.process(mixed);
                mixed.as_slice()
            }
            _ => microphone,
        };
        framer.push(sound, |frame, taken| pipeline.frame(frame, at, Some(taken), detect));
    }

    /// The source is at its end: codes what is left, and so much silence that the decoder renders all of it.
    pub(super) fn finish(&mut self, at: Instant, detect: bool) {
        let Self { framer, pipeline, .. } = self;
        framer.finish(|frame| pipeline.frame(frame, at, None, detect));
        pipeline.finish(at);
    }
}

impl Framer {
    fn push(&mut self, sound: &[f32], mut each: impl FnMut(&[f32], f64)) {
        self.taken += sound.len() as u64;
        let taken = self.taken as f64 / f64::from(self.device_rate);
        let Self { resampler, frame, filled, .. } = self;
        resampler.push(sound, |samples| cut(samples, frame, filled, |frame| each(frame, taken)));
    }

    fn finish(&mut self, mut each: impl FnMut(&[f32])) {
        let Self { resampler, frame, filled, .. } = self;
        resampler.finish(|samples| cut(samples, frame, filled, &mut each));
        if *filled > 0 {
            frame[*filled..].fill(0.0);
            *filled = 0;
            each(frame);
        }
    }
}

/// Fills the frame, and gives it away whenever it is full.
fn cut(mut samples: &[f32], frame: &mut [f32], filled: &mut usize, mut each: impl FnMut(&[f32])) {
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

impl SendPipeline {
    /// Takes a frame, and codes those that wait once they are due. `at` is when the sample was captured that came `taken` seconds
    /// after the call was opened; none if that is the frame's last.
    fn frame(&mut self, frame: &[f32], at: Instant, taken: Option<f64>, detect: bool) {
        if self.captured.is_some() && self.shared.capture_stopped() {
            self.flush();
            self.close();
        }
        if self.captured.is_none() {
            return;
        }
        if self.flags.held() {
            self.flush();
            self.drop_preroll();
            self.number += 1;
            return;
        }
        let at = self.captured_at(frame.len(), at, taken);
        match self.dtx.push(self.number, frame, at, detect) {
            Transmission::Described { noise, past } => self.push_silence(noise, past, at),
            Transmission::Coded => {
                self.encode_preroll();
                self.timeline.note(self.number, at);
                self.add(frame, Waiting { number: self.number, silence: None, at });
                self.number += 1;
            }
        }
    }

    /// Nobody speaks: the frame is described, and coded only if a word follows.
    fn push_silence(&mut self, noise: ComfortNoise, past: Option<Silent>, at: Instant) {
        self.flush();
        let number = self.number;
        self.send(EncodedFrame { number, unit: None, silence: Some(noise), ends_packet: false });
        self.shared.wake.notify_one();
        // Whether a frame goes with a word is known when it is out of the word's reach.
        if let Some(past) = past {
            self.tell_silent(past);
        }
        self.first_frame.get_or_insert_with(Instant::now);
        self.timeline.note(number, at);
        self.number += 1;
    }

    /// A word begins: the encoder hears the end of the pause, and what of that belongs to the word waits with it.
    fn encode_preroll(&mut self) {
        for place in 0..self.dtx.preroll.kept() {
            let Some((frame, silent)) = self.dtx.preroll.get(place) else { break };
            let Some(Silent { number, noise, at }) = silent else {
                if let Err(error) = self.encoder.warm_up(frame) {
                    self.fail(CallError::Codec(error));
                }
                continue;
            };
            self.waiting.extend_from_slice(frame);
            self.queue(Waiting { number, silence: Some(noise), at });
        }
        self.dtx.preroll.clear();
    }

    /// Has a frame wait with the others.
    fn add(&mut self, frame: &[f32], waiting: Waiting) {
        self.waiting.extend_from_slice(frame);
        self.queue(waiting);
    }

    /// Takes a note of a frame that waits now, and codes those that do once they are due.
    fn queue(&mut self, waiting: Waiting) {
        self.notes.push(waiting);
        let frames = self.shared.target.frames.load(Relaxed);
        let due = self.batcher.next(frames.into());
        // Without a plan, packets are the network's own business.
        self.code(due, frames > 0);
    }

    /// Codes and sends what waits, though it is not due.
    pub(super) fn flush(&mut self) {
        if self.captured.is_some() && !self.notes.is_empty() {
            self.batcher.end();
            self.code(Due::Packet, true);
        }
    }

    /// Codes what waits if it is due. `planned`: whether there is a plan by which packets end.
    fn code(&mut self, due: Due, planned: bool) {
        if due == Due::Later {
            return;
        }
        if let Err(error) = self.encode_pending(due, planned) {
            self.fail(CallError::Codec(error));
        }
        self.waiting.clear();
        self.notes.clear();
    }

    fn captured_at(&self, frame: usize, at: Instant, taken: Option<f64>) -> Instant {
        let Some(taken) = taken else { return at };
        let end = (self.number + 1) as f64 * frame as f64 / f64::from(self.sample_rate);
        at.checked_sub(Duration::from_secs_f64((taken - end).clamp(0.0, 60.0))).unwrap_or(at)
    }

    /// Codes the frames that wait.
    fn encode_pending(&mut self, due: Due, planned: bool) -> Result<(), CodecError> {
        let Some(captured) = &self.captured else { return Ok(()) };
        let start = Instant::now();
        let depth = self.shared.target.depth.load(Relaxed);
        let loss = f64::from(self.shared.target.loss.load(Relaxed)) / 100.0;
        if depth > 0 {
            self.encoder.follow(depth, loss)?;
        }
        self.units.clear();
        self.encoder.push_many(
            &self.waiting,
            self.waiting.len() / self.notes.len().max(1),
            &mut self.tokens,
            &mut self.units,
        )?;
        let end = Instant::now();
        self.encode.record(end - start);
        self.first_frame.get_or_insert(end);
        for (n, (waiting, &unit)) in (1..).zip(self.notes.iter().zip(&self.units)) {
            let &Waiting { number, silence, at } = waiting;
            let ends_packet = planned && due == Due::Packet && n == self.notes.len();
            // It is sent as speech even if nobody spoke yet.
            let said = EncodedFrame { number, unit: Some(unit), silence: None, ends_packet };
            // Nobody being there any more is the end of the call, which its side knows.
            if let Err(TrySendError::Full(_)) = captured.try_send(said) {
                self.overrun += 1;
            }
            let _ = self.frame_events.try_send(FrameEvent::Sent {
                call: self.call,
                frame: EncodedFrame { silence, ..said },
                at,
            });
        }
        self.since_look += self.notes.len() as u64;
        if self.since_look >= P99_REFRESH_FRAMES {
            self.since_look = 0;
            self.shared.live.encode_us_p99.store(self.encode.percentiles().p99, Relaxed);
        }
        if due == Due::Packet {
            self.shared.wake.notify_one();
        }
        Ok(())
    }

    fn send(&mut self, said: EncodedFrame) {
        // Nobody being there any more is the end of the call, which its side knows.
        if let Some(captured) = &self.captured
            && let Err(TrySendError::Full(_)) = captured.try_send(said)
        {
            self.overrun += 1;
        }
    }

    fn tell_silent(&self, silent: Silent) {
        let Silent { number, noise, at } = silent;
        let frame = EncodedFrame { number, unit: None, silence: Some(noise), ends_packet: false };
        let _ = self.frame_events.try_send(FrameEvent::Sent { call: self.call, frame, at });
    }

    /// The pause at hand is over, and no word has followed: what was not yet told of it is.
    fn drop_preroll(&mut self) {
        for place in 0..self.dtx.preroll.kept() {
            if let Some((_, Some(silent))) = self.dtx.preroll.get(place) {
                self.tell_silent(silent);
            }
        }
        self.dtx.preroll.clear();
    }

    fn finish(&mut self, at: Instant) {
        let silence = std::mem::take(&mut self.silence);
        self.drop_preroll();
        for _ in 0..self.delay_samples.div_ceil(silence.len().max(1)) {
            if self.captured.is_none() {
                return;
            }
            if self.flags.held() {
                self.flush();
                self.number += 1;
            } else {
                self.timeline.note(self.number, at);
                self.add(&silence, Waiting { number: self.number, silence: None, at });
                self.number += 1;
            }
        }
        self.flush();
        self.close();
    }

    /// Nothing more is said, and why.
    pub(super) fn fail(&mut self, error: CallError) {
        self.failure.get_or_insert(error);
        self.shared.fail();
        self.close();
    }

    /// Nothing more is said: the network side sees the channel's end.
    pub(super) fn close(&mut self) {
        self.captured = None;
        self.shared.wake.notify_one();
    }

    /// Tells the user something.
    pub(super) fn notice(&self, notice: &str) {
        // Nobody listening is no reason to stop talking.
        let _ = self.notices.try_send(notice.to_owned());
        self.shared.wake.notify_one();
    }
}

impl Drop for SendPipeline {
    fn drop(&mut self) {
        // Also when the thread panics: the network side is not left waiting.
        self.close();
    }
}
