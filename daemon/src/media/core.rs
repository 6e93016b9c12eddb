//! The calls that are carried, and the threads that run while there are any.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crossbeam_channel::{Sender, bounded};
use ringbuf::{HeapCons, HeapProd, HeapRb, traits::Split};

use super::{
    CallAudio, CallAudioFigures, CallCodec, FrameEvent, MAX_CALLS, Settings, StreamFormat,
    block_ring::BlockRing,
    call_controls::CallControls,
    call_receiver::{self, CallReceiver},
    call_sender::{self, CallSender},
    capture::CaptureThread,
    devices::{Devices, Input, Output, unusable},
    metrics::EngineShared,
    playback::PlaybackThread,
    types::CallAudioGuard,
    worker::{Gone, Worker},
};
use crate::{
    audio::AudioError,
    call::{
        CallError,
        channels::{CHANNEL_FRAMES, Shared},
    },
    clock::Clock,
    config::Endpoint,
};

/// Sentences that wait at most.
const NOTICES: usize = 8;

/// Blocks of what is heard that the echo canceller may be behind.
const FAR_BLOCKS: usize = 32;

/// What is shared by the audio engine and its calls.
pub(super) struct Core {
    pub(super) common: Arc<EngineShared>,
    devices: Box<dyn Devices>,
    /// Held while devices are opened and threads waited for.
    state: Mutex<CoreState>,
    /// Held for a moment only.
    pub(super) settings: Mutex<Settings>,
    pub(super) heard: Mutex<Option<HeapCons<f32>>>,
}

struct CoreState {
    next_key: u64,
    calls: Vec<ActiveCall>,
    threads: Option<Threads>,
    heard: Option<HeapProd<f32>>,
}

/// A call that sits.
struct ActiveCall {
    key: u64,
    notices: Sender<String>,
    shared: Arc<Shared>,
}

struct Threads {
    capture: Worker<CaptureThread>,
    playback: Worker<PlaybackThread>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left call done where it could panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    pub(super) fn new(
        format: StreamFormat,
        settings: Settings,
        frame_events: Sender<FrameEvent>,
        devices: Box<dyn Devices>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        // A second.
        let (heard, look) = HeapRb::new(format.sample_rate.max(1) as usize).split();
        let calls = Vec::with_capacity(MAX_CALLS);
        Self {
            common: Arc::new(EngineShared::new(format, &settings, frame_events, clock)),
            devices,
            state: Mutex::new(CoreState { next_key: 0, calls, threads: None, heard: Some(heard) }),
            settings: Mutex::new(settings),
            heard: Mutex::new(Some(look)),
        }
    }

    pub(super) fn check(&self) -> Result<(), AudioError> {
        let settings = lock(&self.settings).clone();
        self.devices.check(&settings)
    }

    fn input(&self, settings: &Settings) -> Result<Box<Input>, AudioError> {
        let format = self.common.format;
        let source = self.devices.source(settings, format.sample_rate)?;
        let input = Input::new(source, format, self.common.controls.stages());
        Ok(Box::new(input.map_err(|error| unusable("input", &settings.source, &error))?))
    }

    fn output(&self, settings: &Settings) -> Result<Box<Output>, AudioError> {
        let format = self.common.format;
        let sink = self.devices.sink(settings, format.sample_rate)?;
        let output = Output::new(sink, format, settings.sink.clone());
        Ok(Box::new(output.map_err(|error| unusable("output", &settings.sink, &error))?))
    }

    /// What the user should know of an input before it is used.
    fn caveat(&self, input: &Input) -> Option<String> {
        let stages = lock(&self.settings).stages;
        let any = stages.high_pass || stages.echo_cancellation || stages.noise_suppression || stages.gain_control;
        (input.is_device && input.stages.is_none() && any).then(|| {
            format!(
                "the microphone's sound is sent as it is, with echo and noise: they are taken out at 16, 32 and 48 kHz, and \
                 this model works at {} Hz",
                self.common.format.sample_rate
            )
        })
    }

    pub(super) fn open_call(self: &Arc<Self>, voice: CallCodec) -> Result<CallAudio, CallError> {
        let mut state = lock(&self.state);
        if state.calls.len() >= MAX_CALLS {
            return Err(CallError::Full(MAX_CALLS));
        }
        let format = self.common.format;
        let key = state.next_key;
        state.next_key += 1;
        let CallCodec { call, encoder, player, sample_rate, frame_samples, delay_samples, timeline, wake } = voice;
        let (shared, flags) = (Shared::new(wake), Arc::new(CallControls::new()));
        let (captured, from_capture) = bounded(CHANNEL_FRAMES);
        let (to_playback, frames) = bounded(CHANNEL_FRAMES);
        let (notices, notice) = bounded(NOTICES);
        let (voice, heard) = BlockRing::new(self.common.block());
        let ends = call_sender::Ends {
            captured,
            notices: notices.clone(),
            frame_events: self.common.frame_events.clone(),
            shared: Arc::clone(&shared),
            flags: Arc::clone(&flags),
        };
        let codec = call_sender::CodecParams { encoder, sample_rate, frame_samples, delay_samples };
        let sender = Box::new(CallSender::new((key, call), format, codec, ends, timeline, heard)?);
        let ends = call_receiver::Ends {
            frames,
            notices: notices.clone(),
            frame_events: self.common.frame_events.clone(),
            shared: Arc::clone(&shared),
            flags: Arc::clone(&flags),
            voice,
        };
        let receiver =
            Box::new(CallReceiver::new((key, call), format, player, (sample_rate, frame_samples), ends, timeline)?);
        match &state.threads {
            Some(threads) => {
                threads.playback.add(receiver).map_err(|Gone| CallError::Crashed("playback"))?;
                if threads.capture.add(sender).is_err() {
                    let _ = threads.playback.remove(key);
                    return Err(CallError::Crashed("capture"));
                }
            }
            None => self.start(&mut state, sender, receiver, &notices)?,
        }
        state.calls.push(ActiveCall { key, notices, shared: Arc::clone(&shared) });
        let guard = CallAudioGuard::new(Arc::clone(self), key, flags);
        Ok(CallAudio { captured: from_capture, to_playback, notices: notice, shared, guard })
    }

    /// Opens the devices and starts the threads, with the first call in them.
    fn start(
        &self,
        state: &mut CoreState,
        sender: Box<CallSender>,
        receiver: Box<CallReceiver>,
        notices: &Sender<String>,
    ) -> Result<(), CallError> {
        let settings = lock(&self.settings).clone();
        let input = self.input(&settings)?;
        let output = self.output(&settings)?;
        for caveat in [input.trouble(), output.trouble(), self.caveat(&input)].into_iter().flatten() {
            let _ = notices.try_send(caveat);
        }
        *self.common.names() = super::Names { source: input.name(), sink: output.name() };
        let (rate, block) = (self.common.format.sample_rate, self.common.block());
        let (far, to_canceller) = HeapRb::new(FAR_BLOCKS * block).split();
        let (side_tone, own) = BlockRing::new(block);
        let capture = Box::new(CaptureThread::new(Arc::clone(&self.common), input, to_canceller, side_tone));
        let playback = Box::new(PlaybackThread::new(Arc::clone(&self.common), output, far, own, state.heard.take()));
        let frame = self.common.format.frame_samples.max(1);
        let capture = Worker::start("parlo-capture", capture, sender, rate, frame)?;
        match Worker::start("parlo-playback", playback, receiver, rate, frame) {
            Ok(playback) => state.threads = Some(Threads { capture, playback }),
            Err(error) => {
                let _ = capture.stop();
                self.rest();
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Nobody sits here any more.
    fn rest(&self) {
        *self.common.names() = super::Names::default();
        self.common.metrics.rest();
    }

    pub(super) fn close_call(&self, key: u64) -> CallAudioFigures {
        let mut state = lock(&self.state);
        let mut figures = CallAudioFigures::default();
        let Some(threads) = &state.threads else { return figures };
        let metrics = &self.common.metrics;
        figures.realtime = metrics.capture.realtime() == Some(true) && metrics.playback.realtime() == Some(true);
        let mut failure;
        match threads.capture.remove(key) {
            Ok(Some(mut sender)) => {
                let pipeline = &mut sender.pipeline;
                figures.encode = std::mem::take(&mut pipeline.encode);
                figures.captured = std::mem::take(&mut pipeline.timeline);
                (figures.first_frame, figures.overrun) = (pipeline.first_frame, pipeline.overrun);
                failure = pipeline.failure.take();
            }
            Ok(None) | Err(Gone) => failure = Some(CallError::Crashed("capture")),
        }
        match threads.playback.remove(key) {
            Ok(Some(mut receiver)) => {
                figures.decode = std::mem::take(&mut receiver.decode);
                figures.played = std::mem::take(&mut receiver.timeline);
                (figures.player, figures.underruns) = (receiver.player.stats(), receiver.underruns);
                failure = failure.or_else(|| receiver.failure.take());
            }
            Ok(None) | Err(Gone) => failure = failure.or(Some(CallError::Crashed("playback"))),
        }
        state.calls.retain(|active| active.key != key);
        if state.calls.is_empty()
            && let Some(threads) = state.threads.take()
        {
            let last = self.close(&mut state, threads);
            failure = failure.or(last);
        }
        figures.failure = failure;
        figures
    }

    /// Ends the threads and closes the devices.
    fn close(&self, state: &mut CoreState, threads: Threads) -> Option<CallError> {
        // Dropped here, with its device.
        let mut failure = threads.capture.stop().err().map(|Gone| CallError::Crashed("capture"));
        match threads.playback.stop() {
            Ok(mut side) => {
                state.heard = side.heard.take();
                failure = failure.or(side.failure().map(CallError::Audio));
                // What was heard so far is kept even when the call failed.
                if let Some(Err(error)) = side.output.take().map(|output| output.close()) {
                    failure = failure.or(Some(CallError::Audio(error)));
                }
            }
            Err(Gone) => failure = failure.or(Some(CallError::Crashed("playback"))),
        }
        self.rest();
        failure
    }

    pub(super) fn change(&self, settings: &Settings) -> Result<(), AudioError> {
        let state = lock(&self.state);
        let before = lock(&self.settings).clone();
        let other = |before: &Endpoint, now: &Endpoint, backend: bool| {
            before != now || (backend && matches!(now, Endpoint::Default | Endpoint::Device(_)))
        };
        let backend = before.backend != settings.backend;
        let source = other(&before.source, &settings.source, backend);
        let sink = other(&before.sink, &settings.sink, backend);
        // What somebody asks for now is there, or it is an error. What they do not ask for may be missing as before.
        if source || sink {
            let mut asked = settings.clone();
            if !source {
                asked.source = Endpoint::None;
            }
            if !sink {
                asked.sink = Endpoint::None;
            }
            self.devices.check(&asked)?;
        }
        match &state.threads {
            None => self.set(settings),
            Some(threads) => {
                // Both are open before either is used.
                let input = if source { Some(self.input(settings)?) } else { None };
                let output = if sink { Some(self.output(settings)?) } else { None };
                self.set(settings);
                if let Some(input) = input {
                    let (name, caveat) = (input.name(), self.caveat(&input));
                    if threads.capture.replace(input).is_ok() {
                        self.common.names().source = name;
                    }
                    if let Some(caveat) = caveat {
                        state.tell(&caveat);
                    }
                }
                if let Some(output) = output {
                    let name = output.name();
                    if let Ok(old) = threads.playback.replace(output) {
                        self.common.names().sink = name;
                        if let Some(Err(error)) = old.map(|old| old.close()) {
                            state.tell(&error.to_string());
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// All but the devices. Waits for nobody who opens some.
    pub(super) fn adjust(&self, settings: &Settings) {
        let mut now = lock(&self.settings);
        let (source, sink, backend) = (now.source.clone(), now.sink.clone(), now.backend);
        *now = Settings { source, sink, backend, ..settings.clone() };
        self.common.controls.set(&now);
    }

    fn set(&self, settings: &Settings) {
        self.common.controls.set(settings);
        *lock(&self.settings) = settings.clone();
    }
}

impl CoreState {
    fn tell(&self, notice: &str) {
        for active in &self.calls {
            let _ = active.notices.try_send(notice.to_owned());
            active.shared.wake.notify_one();
        }
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("format", &self.common.format).finish_non_exhaustive()
    }
}
