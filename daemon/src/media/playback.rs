//! The playback thread's work: from every call to the sink, whose clock paces it.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use parlo_dsp::Meter;
use ringbuf::{HeapProd, traits::Producer};

use super::{
    MAX_CALLS,
    block_ring::BlockRing,
    call_receiver::CallReceiver,
    capture::{BLOCK, add},
    devices::{Output, Written, again},
    metrics::EngineShared,
    stages::{Gain, Limiter},
    worker::AudioThread,
};
use crate::{
    audio::{AudioError, EndFigures},
    call::CallError,
};

/// What is heard less loudly than this is not heard, dB: where a gain fades out to.
const NOTHING_DB: f32 = -90.0;

/// Blocks that the limiter stays on for after what made it needed: longer than it takes to let go.
const LIMITED: u32 = 100;

/// From every call to the sink.
pub(super) struct PlaybackThread {
    common: Arc<EngineShared>,
    pub(super) output: Option<Box<Output>>,
    failure: Option<AudioError>,
    #[allow(clippy::vec_box, reason = "they come and go in their boxes, which this thread must not free")]
    pub(super) receivers: Vec<Box<CallReceiver>>,
    /// Samples of the block at hand; of the buffers, so many are in use.
    size: usize,
    mix: Vec<f32>,
    one: Vec<f32>,
    gain: Gain,
    limiter: Limiter,
    /// Blocks that it stays on for.
    limited: u32,
    meter: Meter,
    side_tone: BlockRing,
    side_gain: Gain,
    /// To the echo canceller.
    far: HeapProd<f32>,
    /// To whoever looks at it; it outlives the thread.
    pub(super) heard: Option<HeapProd<f32>>,
    /// Counts of the device, as last seen.
    seen: EndFigures,
    /// Underruns of the device, as last seen; and of all.
    underruns: u64,
    all_underruns: u64,
}

impl PlaybackThread {
    pub(super) fn new(
        common: Arc<EngineShared>,
        output: Box<Output>,
        far: HeapProd<f32>,
        side_tone: BlockRing,
        heard: Option<HeapProd<f32>>,
    ) -> Self {
        let (rate, block) = (common.format.sample_rate, common.block());
        let mut gain = Gain::new(rate);
        gain.set_db(common.controls.output_gain_db.get());
        // It comes to where it is set before there is any sound.
        gain.process(&mut vec![0.0; 20 * block]);
        Self {
            output: Some(output),
            failure: None,
            receivers: Vec::with_capacity(MAX_CALLS),
            size: block,
            mix: vec![0.0; block],
            one: vec![0.0; block],
            gain,
            limiter: Limiter::new(rate),
            limited: 0,
            meter: Meter::new(rate),
            side_tone,
            side_gain: Gain::new(rate),
            far,
            heard,
            seen: EndFigures::default(),
            underruns: 0,
            all_underruns: 0,
            common,
        }
    }

    fn fail(&mut self, error: AudioError) {
        for receiver in &mut self.receivers {
            receiver.fail(CallError::Audio(again(&error)));
        }
        self.failure = Some(error);
    }

    /// Makes the next block of what is heard.
    ///
    /// One voice alone has its block end with its frame: a shorter one, where the frame was stretched or shortened. Its next frame
    /// then waits for nothing.
    fn render(&mut self, now: Instant) {
        let whole = self.common.block();
        self.size = match self.receivers.as_slice() {
            [receiver] if (1..whole).contains(&receiver.left_over()) => receiver.left_over(),
            _ => whole,
        };
        let (mix, one) = (&mut self.mix[..self.size], &mut self.one[..self.size]);
        mix.fill(0.0);
        let (mut voices, mut louder) = (0, false);
        for receiver in &mut self.receivers {
            if receiver.render(now, one) {
                voices += 1;
                louder |= receiver.is_louder();
                add(mix, one);
            }
        }
        if let Some(db) = self.common.controls.side_tone_db() {
            if self.side_tone.pull(one) {
                self.side_gain.set_db(db.max(NOTHING_DB));
                self.side_gain.process(one);
                add(mix, one);
                voices += 1;
            }
        } else {
            self.side_tone.clear();
        }
        let gain = self.common.controls.output_gain_db.get();
        self.gain.set_db(gain);
        self.gain.process(mix);
        // One voice that is not made louder goes as the codec made it.
        self.limited = if voices > 1 || louder || gain > 0.0 { LIMITED } else { self.limited.saturating_sub(1) };
        if self.limited > 0 {
            self.limiter.process(mix);
        }
        self.meter.push(mix);
        // What finds no room is not needed: nobody looks, or nobody cancels.
        self.far.push_slice(mix);
        if let Some(heard) = &mut self.heard {
            heard.push_slice(mix);
        }
    }
}

impl AudioThread for PlaybackThread {
    type PerCall = CallReceiver;
    type Device = Output;

    fn begin(&mut self, realtime: bool) {
        self.common.metrics.playback.set_realtime(Some(realtime));
    }

    fn add(&mut self, mut call: Box<CallReceiver>) {
        call.underruns_before = self.all_underruns;
        if let Some(error) = &self.failure {
            call.fail(CallError::Audio(again(error)));
        }
        self.receivers.push(call);
    }

    fn remove(&mut self, key: u64) -> Option<Box<CallReceiver>> {
        let place = self.receivers.iter().position(|receiver| receiver.key == key)?;
        let mut receiver = self.receivers.swap_remove(place);
        receiver.underruns = self.all_underruns - receiver.underruns_before;
        Some(receiver)
    }

    fn replace(&mut self, device: Box<Output>) -> Option<Box<Output>> {
        self.failure = None;
        self.underruns = device.underruns();
        self.seen = device.figures();
        self.output.replace(device)
    }

    fn step(&mut self) -> bool {
        if self.failure.is_some() || self.output.is_none() {
            return false;
        }
        let (now, start) = (self.common.clock.now(), Instant::now());
        self.render(now);
        let spent = start.elapsed();
        let Some(output) = &mut self.output else { return false };
        match output.write(&self.mix[..self.size]) {
            Written::Fine => {}
            Written::Failed(error) => {
                self.fail(error);
                return false;
            }
            Written::Changed(notice) => {
                self.common.names().sink = output.name();
                for receiver in &self.receivers {
                    receiver.notice(&notice);
                }
            }
        }
        for receiver in &mut self.receivers {
            receiver.report_played(now, |offset| output.heard_at(offset));
        }
        let underruns = output.underruns();
        let dry = underruns.saturating_sub(self.underruns);
        self.underruns = underruns;
        self.all_underruns += dry;
        let metrics = &self.common.metrics;
        metrics.playback.xruns.fetch_add(dry, Relaxed);
        let figures = output.figures();
        metrics.playback.set(&figures, output.delay());
        metrics.system_late(figures.system_late.saturating_sub(self.seen.system_late));
        let overdue = figures.owner_late > self.seen.owner_late;
        self.seen = figures;
        metrics.block(overdue || spent > BLOCK);
        metrics.set_output(self.meter.level());
        true
    }

    fn end(&mut self) {
        if let Some(output) = &mut self.output
            && self.failure.is_none()
            && let Written::Failed(error) = output.flush()
        {
            self.fail(error);
        }
    }
}

impl PlaybackThread {
    /// Why the sink failed, if it did.
    pub(super) fn failure(&mut self) -> Option<AudioError> {
        self.failure.take()
    }
}
