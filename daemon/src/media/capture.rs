//! The capture thread's work: from the source to every call.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use parlo_dsp::{Activity, Meter};
use ringbuf::{
    HeapCons, HeapProd,
    traits::{Consumer, Observer, Producer},
};

use super::{
    MAX_CALLS,
    call_sender::CallSender,
    devices::{Input, Read, again},
    metrics::EngineShared,
    stages::{Gain, Limiter, Readings, Stages},
    worker::AudioThread,
};
use crate::{
    audio::{AudioError, EndFigures},
    call::CallError,
};

/// Sound goes by in blocks of so much; who takes longer for one is late.
pub(super) const BLOCK: Duration = Duration::from_millis(10);

/// From the source to every call.
pub(super) struct CaptureThread {
    common: Arc<EngineShared>,
    pub(super) input: Option<Box<Input>>,
    ended: bool,
    failure: Option<AudioError>,
    chain: CaptureChain,
    #[allow(clippy::vec_box, reason = "they come and go in their boxes, which this thread must not free")]
    pub(super) senders: Vec<Box<CallSender>>,
    /// Counts of the device, as last seen.
    seen: EndFigures,
}

/// What the microphone's sound passes before the calls.
struct CaptureChain {
    block: usize,
    gain: Gain,
    mute: Gain,
    limiter: Limiter,
    limiting: bool,
    input: Meter,
    sent: Meter,
    activity: Activity,
    /// Two blocks, in which speech is looked for.
    looked: Vec<f32>,
    speech: bool,
    near: Vec<f32>,
    far_block: Vec<f32>,
    /// The conference: each call's block, one after another; and whether there is any.
    voices: Vec<f32>,
    confers: [bool; MAX_CALLS],
    others: Vec<f32>,
    /// What is heard, for the echo canceller.
    far: HeapCons<f32>,
    side_tone: HeapProd<f32>,
}

impl CaptureThread {
    pub(super) fn new(
        common: Arc<EngineShared>,
        input: Box<Input>,
        far: HeapCons<f32>,
        side_tone: HeapProd<f32>,
    ) -> Self {
        let (rate, block) = (common.format.sample_rate, common.block());
        let (mut gain, mut mute) = (Gain::new(rate), Gain::new(rate));
        gain.set_db(common.controls.input_gain_db.get());
        mute.mute(!common.controls.open());
        // They come to where they are set before there is any sound: of a muted microphone nothing at all is sent.
        gain.process(&mut vec![0.0; 20 * block]);
        mute.process(&mut vec![0.0; 20 * block]);
        let chain = CaptureChain {
            block,
            gain,
            mute,
            limiter: Limiter::new(rate),
            limiting: false,
            input: Meter::new(rate),
            sent: Meter::new(rate),
            activity: Activity::new(rate, 2 * block),
            looked: Vec::with_capacity(2 * block),
            speech: false,
            near: vec![0.0; block],
            far_block: vec![0.0; block],
            voices: vec![0.0; MAX_CALLS * block],
            confers: [false; MAX_CALLS],
            others: vec![0.0; block],
            far,
            side_tone,
        };
        let senders = Vec::with_capacity(MAX_CALLS);
        Self { common, input: Some(input), ended: false, failure: None, chain, senders, seen: EndFigures::default() }
    }

    fn fail(&mut self, error: AudioError) {
        for sender in &mut self.senders {
            sender.pipeline.fail(CallError::Audio(again(&error)));
        }
        self.failure = Some(error);
    }

    /// Brings figures up to date after blocks. `late`: they took too long.
    fn measure(&mut self, blocks: u32, spent: Duration) {
        let Some(input) = &self.input else { return };
        let figures = input.figures();
        let metrics = &self.common.metrics;
        metrics.capture.xruns.fetch_add(figures.xruns.saturating_sub(self.seen.xruns), Relaxed);
        metrics.system_late(figures.system_late.saturating_sub(self.seen.system_late));
        let waited = figures.owner_late > self.seen.owner_late;
        self.seen = figures;
        let stages = input.stages.as_ref().map_or(Duration::ZERO, Stages::delay);
        metrics.capture.set(&figures, input.delay() + stages);
        let late = waited || spent > BLOCK * blocks;
        for n in 0..blocks {
            metrics.block(late && n == 0);
        }
        let readings = input.stages.as_ref().map_or(Readings::default(), Stages::readings);
        metrics.set_input(self.chain.input.level(), self.chain.sent.level(), readings, self.chain.speech);
    }
}

impl AudioThread for CaptureThread {
    type PerCall = CallSender;
    type Device = Input;

    fn begin(&mut self, realtime: bool) {
        self.common.metrics.capture.set_realtime(Some(realtime));
        if let Some(input) = &mut self.input {
            input.begin();
        }
    }

    fn add(&mut self, mut call: Box<CallSender>) {
        if let Some(error) = &self.failure {
            call.pipeline.fail(CallError::Audio(again(error)));
        } else if self.ended {
            call.pipeline.close();
        }
        self.senders.push(call);
    }

    fn remove(&mut self, key: u64) -> Option<Box<CallSender>> {
        let place = self.senders.iter().position(|sender| sender.key == key)?;
        let mut sender = self.senders.swap_remove(place);
        sender.pipeline.flush();
        Some(sender)
    }

    fn replace(&mut self, mut device: Box<Input>) -> Option<Box<Input>> {
        device.begin();
        self.chain.far.clear();
        (self.ended, self.failure) = (false, None);
        self.seen = device.figures();
        self.input.replace(device)
    }

    fn step(&mut self) -> bool {
        if self.ended || self.failure.is_some() {
            return false;
        }
        let Some(input) = &mut self.input else { return false };
        let read = match input.read() {
            Ok(read) => read,
            Err(error) => {
                self.fail(error);
                return false;
            }
        };
        let start = Instant::now();
        let mut blocks = 0;
        let (chain, senders, common) = (&mut self.chain, &mut self.senders, &self.common);
        match read {
            Read::Nothing => {}
            Read::Samples => input.blocks(|block, at, stages| {
                chain.process(block, at, stages, common, senders);
                blocks += 1;
            }),
            Read::End => {
                let mut last = start;
                input.finish(|block, at, stages| {
                    last = at;
                    chain.process(block, at, stages, common, senders);
                });
                for sender in senders {
                    sender.finish(last, common.controls.silence());
                }
                self.ended = true;
                return false;
            }
            Read::Changed(notice) => {
                common.names().source = input.name();
                for sender in senders {
                    sender.pipeline.notice(&notice);
                }
            }
        }
        if blocks > 0 {
            self.measure(blocks, start.elapsed());
        }
        true
    }

    fn end(&mut self) {}
}

impl CaptureChain {
    fn process(
        &mut self,
        block: &[f32],
        at: Instant,
        stages: &mut Option<Stages>,
        common: &EngineShared,
        senders: &mut [Box<CallSender>],
    ) {
        let controls = &common.controls;
        self.near.copy_from_slice(block);
        let gain = controls.input_gain_db.get();
        self.gain.set_db(gain);
        self.gain.process(&mut self.near);
        // Only what was made louder is limited: what comes as it is goes as it is.
        self.limiting |= gain > 0.0;
        if self.limiting {
            self.limiter.process(&mut self.near);
        }
        self.input.push(&self.near);
        if let Some(stages) = stages {
            stages.set(controls.stages());
            while self.far.occupied_len() >= self.block {
                self.far.pop_slice(&mut self.far_block);
                stages.far(&self.far_block);
            }
            stages.near(&mut self.near);
        } else {
            self.far.clear();
        }
        // After the stages: the echo canceller goes on learning, and what is sent is silence indeed, not its comfort noise.
        self.mute.mute(!controls.open());
        self.mute.process(&mut self.near);
        self.sent.push(&self.near);
        self.looked.extend_from_slice(&self.near);
        if self.looked.len() >= 2 * self.block {
            self.speech = self.activity.push(&self.looked[..2 * self.block]);
            self.looked.clear();
        }
        self.side_tone.push_slice(&self.near);
        let confer = self.gather(senders);
        let detect = controls.silence();
        for (n, sender) in senders.iter_mut().enumerate() {
            let others = if confer > 1 && self.confers[n] {
                self.others.fill(0.0);
                for (_, voice) in
                    self.voices.chunks_exact(self.block).enumerate().filter(|(m, _)| *m != n && self.confers[*m])
                {
                    add(&mut self.others, voice);
                }
                Some(self.others.as_slice())
            } else {
                None
            };
            sender.push_block(&self.near, others, at, detect);
        }
    }

    /// Takes a block of each voice of the conference. How many there are.
    fn gather(&mut self, senders: &mut [Box<CallSender>]) -> usize {
        self.confers = [false; MAX_CALLS];
        for ((sender, voice), confers) in
            senders.iter_mut().zip(self.voices.chunks_exact_mut(self.block)).zip(&mut self.confers)
        {
            *confers = sender.pipeline.flags.confers();
            if *confers {
                sender.voice.pull(voice);
            } else {
                sender.voice.clear();
            }
        }
        self.confers.iter().filter(|&&confers| confers).count()
    }
}

/// Adds sound to sound.
pub(super) fn add(sum: &mut [f32], sound: &[f32]) {
    for (sum, sample) in sum.iter_mut().zip(sound) {
        *sum += sample;
    }
}
