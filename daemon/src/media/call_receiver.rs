//! A call's part of the playback thread: from frames that came to blocks of sound.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender};
use parlo_dsp::{DspError, Meter, Resampler};
use parlo_tokens::Slot;
use ringbuf::{HeapProd, traits::Producer};

use super::{FrameEvent, StreamFormat, block_ring::fade, call_controls::CallControls, stages::Gain};
use crate::{
    call::{
        CallError, CodedFrame, FrameOrigin, Heard, Player, PlayerStats, Timeline,
        channels::{ReceivedFrame, Shared},
    },
    report::Durations,
};

/// Frames that may begin within one block. More are played, and not told of.
const BEGINNINGS: usize = 32;

/// Blocks from one look at the percentiles to the next: a second.
const P99_REFRESH_BLOCKS: u32 = 100;

/// What a stretched frame may be longer than others, seconds, and then some.
const STRETCH: f64 = 0.03;

/// Where an receiver's frames and sentences go.
pub(super) struct Ends {
    pub(super) frames: Receiver<ReceivedFrame>,
    pub(super) notices: Sender<String>,
    pub(super) frame_events: Sender<FrameEvent>,
    pub(super) shared: Arc<Shared>,
    pub(super) flags: Arc<CallControls>,
    /// To the others of the conference.
    pub(super) voice: HeapProd<f32>,
}

/// A frame that begins in the block at hand.
#[derive(Debug, Clone, Copy)]
struct Beginning {
    heard: Heard,
    slot: Slot<CodedFrame>,
    level: f32,
    /// StreamFormat samples after the block's first.
    offset: f64,
}

/// How far play-out of a call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PlayoutState {
    /// More may come.
    Open,
    /// The player knows that nothing comes any more.
    Ending,
    /// It has played everything; what is in the queue is left.
    Last,
    /// Nothing is left.
    Over,
}

/// The receiving call of a call.
pub(super) struct CallReceiver {
    pub(super) key: u64,
    call: u64,
    pub(super) player: Player,
    ends: Ends,
    resampler: Resampler,
    queue: VecDeque<f32>,
    /// StreamFormat samples of a frame, and the codec's of one of the engine's.
    frame: f64,
    ratio: f64,
    /// Samples that came from the player, and format samples that came of them.
    pushed: u64,
    queued: u64,
    gain: Gain,
    meter: Meter,
    state: PlayoutState,
    /// It was held in the block before.
    was_held: bool,
    /// Time passed while held that is not yet a frame's, format samples.
    passed: f64,
    beginnings: Vec<Beginning>,
    since_look: u32,
    pub(super) decode: Durations,
    pub(super) timeline: Timeline,
    /// The sink's underruns when it came.
    pub(super) underruns_before: u64,
    pub(super) underruns: u64,
    pub(super) failure: Option<CallError>,
}

impl CallReceiver {
    pub(super) fn new(
        (key, call): (u64, u64),
        format: StreamFormat,
        player: Player,
        (sample_rate, frame_samples): (u32, usize),
        ends: Ends,
        timeline: usize,
    ) -> Result<Self, DspError> {
        let ratio = f64::from(format.sample_rate) / f64::from(sample_rate.max(1));
        let frame = frame_samples.max(1) as f64 * ratio;
        let block = f64::from(format.sample_rate) / 100.0;
        let room = 2.0 * (frame + STRETCH * f64::from(format.sample_rate) + block);
        Ok(Self {
            key,
            call,
            player,
            resampler: Resampler::new(sample_rate, format.sample_rate)?,
            queue: VecDeque::with_capacity(room as usize),
            frame,
            ratio,
            pushed: 0,
            queued: 0,
            gain: Gain::new(format.sample_rate),
            meter: Meter::new(format.sample_rate),
            state: PlayoutState::Open,
            was_held: false,
            passed: 0.0,
            beginnings: Vec::with_capacity(BEGINNINGS),
            since_look: 0,
            decode: Durations::default(),
            timeline: Timeline::with_room(timeline),
            underruns_before: 0,
            underruns: 0,
            failure: None,
            ends,
        })
    }

    /// Makes the next block of what is heard of the call; `now` is when. Whether there is any sound.
    pub(super) fn render(&mut self, now: Instant, block: &mut [f32]) -> bool {
        self.beginnings.clear();
        // Asked before the channel is emptied: what was sent before the end is then surely in.
        let draining = self.ends.shared.draining();
        while let Ok(ReceivedFrame { number, slot, arrived }) = self.ends.frames.try_recv() {
            self.player.insert(number, slot, arrived);
        }
        if self.state == PlayoutState::Open && draining {
            self.player.end(self.ends.shared.total());
            self.state = PlayoutState::Ending;
        }
        if self.ends.shared.playback_stopped() {
            self.finish();
        }
        if self.state == PlayoutState::Over {
            block.fill(0.0);
            self.measure(block);
            return false;
        }
        let held = self.ends.flags.held();
        let silent = held && self.was_held;
        if silent {
            block.fill(0.0);
            self.skip_held(now, block.len());
        } else {
            self.fill(now, block.len());
            let count = block.len().min(self.queue.len());
            for (sample, queued) in block.iter_mut().zip(self.queue.drain(..count)) {
                *sample = queued;
            }
            block[count..].fill(0.0);
            if held {
                fade(block, |share| 1.0 - share);
                self.queue.clear();
                self.passed = 0.0;
            } else if self.was_held {
                fade(block, |share| share);
            }
        }
        self.was_held = held;
        if self.ends.flags.confers() {
            self.ends.voice.push_slice(block);
        }
        self.gain.set_db(self.ends.flags.volume_db.get());
        self.gain.process(block);
        self.measure(block);
        !silent
    }

    /// What is left of a frame that was shortened or stretched, samples: less than a block. Every frame would wait for as long as
    /// that takes to play, until it is given out by itself.
    pub(super) fn left_over(&self) -> usize {
        let plays = self.state == PlayoutState::Open && !self.was_held && !self.ends.flags.held();
        if plays { self.queue.len() } else { 0 }
    }

    /// Whether it is made louder than the codec made it.
    pub(super) fn is_louder(&self) -> bool {
        self.ends.flags.volume_db.get() > 0.0
    }

    /// Has the player play until there is a block.
    fn fill(&mut self, now: Instant, block: usize) {
        while self.queue.len() < block && matches!(self.state, PlayoutState::Open | PlayoutState::Ending) {
            // The frame's first sample comes behind what waits here and in the resampler.
            let waits = self.pushed as f64 * self.ratio - self.queued as f64;
            let offset = self.queue.len() as f64 + waits.max(0.0);
            let start = Instant::now();
            let mut working = Duration::ZERO;
            let Self { player, resampler, queue, pushed, queued, .. } = self;
            let mut put = |samples: &[f32]| {
                // It never holds so much; but if it did, rather something is lost than memory asked for.
                let room = queue.capacity() - queue.len();
                queue.extend(samples.iter().take(room));
                *queued += samples.len() as u64;
            };
            let heard = player.next(now, |audio| {
                if working.is_zero() {
                    working = start.elapsed();
                }
                *pushed += audio.len() as u64;
                resampler.push(audio, &mut put);
            });
            match heard {
                Err(error) => {
                    self.failure = Some(CallError::Codec(error));
                    self.finish();
                }
                Ok(None) => {
                    resampler.finish(&mut put);
                    self.state = PlayoutState::Last;
                }
                Ok(Some(heard)) => {
                    if heard.number.is_some() && self.player.has_run() {
                        self.decode.record(working);
                    }
                    self.note(heard, offset);
                }
            }
        }
    }

    fn note(&mut self, heard: Heard, offset: f64) {
        let live = &self.ends.shared.live;
        let PlayerStats { jitter, predicted, .. } = self.player.stats();
        live.played.store(jitter.played + jitter.coarse + jitter.silent, Relaxed);
        live.lost.store(jitter.lost, Relaxed);
        live.predicted.store(predicted, Relaxed);
        live.coarse.store(jitter.coarse, Relaxed);
        live.silent.store(jitter.silent, Relaxed);
        live.late.store(jitter.late, Relaxed);
        live.delay_ms.store(u64::try_from(self.player.delay().as_millis()).unwrap_or(u64::MAX), Relaxed);
        if heard.origin != FrameOrigin::Waiting && self.beginnings.len() < self.beginnings.capacity() {
            let frame = self.player.frame();
            let power = frame.iter().map(|sample| sample * sample).sum::<f32>() / frame.len().max(1) as f32;
            self.beginnings.push(Beginning { heard, slot: self.player.slot(), level: power.sqrt(), offset });
        }
    }

    /// Lets a held call's time pass.
    fn skip_held(&mut self, now: Instant, block: usize) {
        self.passed += block as f64;
        while self.passed >= self.frame {
            self.passed -= self.frame;
            if !self.player.skip(now) {
                self.state = PlayoutState::Last;
                return;
            }
        }
    }

    fn measure(&mut self, block: &[f32]) {
        self.meter.push(block);
        self.ends.flags.level_dbfs.set(self.meter.level().rms_dbfs);
        self.since_look += 1;
        if self.since_look >= P99_REFRESH_BLOCKS {
            self.since_look = 0;
            self.ends.shared.live.decode_us_p99.store(self.decode.percentiles().p99, Relaxed);
        }
    }

    /// The block was written: frame_events of the frames that began in it. `at` says when a sample of it is heard, by its place.
    pub(super) fn report_played(&mut self, now: Instant, at: impl Fn(f64) -> Option<Instant>) {
        for Beginning { heard: Heard { number, origin }, slot, level, offset } in self.beginnings.drain(..) {
            let known = at(offset);
            if let (Some(number), Some(at)) = (number, known) {
                self.timeline.note(number, at);
            }
            let at = known.unwrap_or(now);
            let _ = self.ends.frame_events.try_send(FrameEvent::Played {
                call: self.call,
                number,
                origin,
                slot,
                at,
                level,
            });
        }
        if self.state == PlayoutState::Last && self.queue.is_empty() {
            self.finish();
        }
    }

    /// Nothing more is played, and why.
    pub(super) fn fail(&mut self, error: CallError) {
        self.failure.get_or_insert(error);
        self.ends.shared.fail();
        self.finish();
    }

    fn finish(&mut self) {
        if self.state != PlayoutState::Over {
            self.state = PlayoutState::Over;
            self.queue.clear();
            self.ends.flags.finish();
            self.ends.shared.wake.notify_one();
        }
    }

    /// Tells the user something.
    pub(super) fn notice(&self, notice: &str) {
        // Nobody listening is no reason to stop playing.
        let _ = self.ends.notices.try_send(notice.to_owned());
        self.ends.shared.wake.notify_one();
    }
}

impl Drop for CallReceiver {
    fn drop(&mut self) {
        // Also when the thread panics: nobody is left waiting for the rest to be played.
        self.finish();
    }
}
