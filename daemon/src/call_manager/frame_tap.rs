//! Writes down what is said and heard: live for clients, and for recordings. On a thread of its own at normal priority, so that
//! neither a slow disk nor many pages come near the threads that must not be late.

use std::{
    collections::HashMap,
    io,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parlo_api::{HeardFrame, Live, Message, SaidFrame, Voice};
use parlo_tokens::Slot;
use ringbuf::{HeapCons, traits::Consumer};
use tokio::sync::{broadcast, mpsc};

use super::{handle::ManagerChannels, spectrum::Spectrum, transitions::JobResult};
use crate::{
    call::{CodedFrame, Engine},
    feeds::Feeds,
    media::{AudioEngine, FrameEvent},
    recordings::Recorder,
};

/// How often clients are told.
const PAGE: Duration = Duration::from_millis(80);

/// How long frames may wait to be taken: who is woken for each of them is woken a hundred times a second for each call.
const NAP: Duration = Duration::from_millis(20);

/// Frames of a call that one message holds at most: what a client shows of a second that passed is no use.
const FRAMES: usize = 100;

enum Order {
    Record(u64, Recorder),
    Stop(u64),
    /// A call is over: nothing more is told of it.
    Over(u64),
}

/// The thread, ended with this.
pub(super) struct FrameTap {
    orders: Option<Sender<Order>>,
    feeds: Arc<Feeds>,
    thread: Option<JoinHandle<()>>,
}

impl FrameTap {
    /// Begins to listen to `frame_events`.
    pub(super) fn start(
        engine: &Engine,
        audio_engine: &Arc<AudioEngine>,
        frame_events: Receiver<FrameEvent>,
        channels: &ManagerChannels,
        done: mpsc::UnboundedSender<JobResult>,
    ) -> io::Result<Self> {
        let (orders, taken) = bounded(64);
        let format = engine.stream_format();
        let mut tap = TapThread {
            started: engine.started(),
            audio_engine: Arc::clone(audio_engine),
            live: channels.live.clone(),
            feeds: Arc::clone(&channels.feeds),
            done,
            heard: audio_engine.take_heard(),
            spectrum: Spectrum::new(format.sample_rate, format.frame_samples),
            block: vec![0.0; format.frame_samples],
            recorders: HashMap::new(),
            voices: Vec::new(),
        };
        let thread =
            std::thread::Builder::new().name("parlo-frame-tap".into()).spawn(move || tap.run(&frame_events, &taken))?;
        Ok(Self { orders: Some(orders), feeds: Arc::clone(&channels.feeds), thread: Some(thread) })
    }

    /// Records a call from now on.
    pub(super) fn record(&self, call: u64, recorder: Recorder) {
        // Not taken only if the thread hangs on a disk that does not answer: then nothing can be recorded either.
        self.order(Order::Record(call, recorder));
    }

    /// Ends the recording of a call, if there is one.
    pub(super) fn stop(&self, call: u64) {
        self.order(Order::Stop(call));
    }

    /// Ends the feed of a call whose sound is closed, after its last frame.
    pub(super) fn over(&self, call: u64) {
        if !self.order(Order::Over(call)) {
            self.feeds.end(call);
        }
    }

    /// Whether the order was taken.
    fn order(&self, order: Order) -> bool {
        self.orders.as_ref().is_some_and(|orders| orders.try_send(order).is_ok())
    }
}

impl Drop for FrameTap {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct TapThread {
    started: Instant,
    audio_engine: Arc<AudioEngine>,
    live: broadcast::Sender<Arc<str>>,
    feeds: Arc<Feeds>,
    done: mpsc::UnboundedSender<JobResult>,
    heard: Option<HeapCons<f32>>,
    spectrum: Spectrum,
    block: Vec<f32>,
    recorders: HashMap<u64, Recorder>,
    voices: Vec<Voice>,
}

impl TapThread {
    fn run(&mut self, frame_events: &Receiver<FrameEvent>, orders: &Receiver<Order>) {
        let mut page = Instant::now() + PAGE;
        loop {
            let wait = page.saturating_duration_since(Instant::now());
            match frame_events.recv_timeout(wait) {
                Ok(tell) => {
                    std::thread::sleep(NAP.min(wait));
                    self.take(&tell);
                    frame_events.try_iter().for_each(|tell| self.take(&tell));
                }
                Err(RecvTimeoutError::Timeout) => {}
                // The audio engine is gone, and with it all calls: only what it still had to say is written.
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(wait),
            }
            loop {
                match orders.try_recv() {
                    Ok(Order::Record(call, recorder)) => drop(self.recorders.insert(call, recorder)),
                    Ok(Order::Stop(call)) => drop(self.recorders.remove(&call)),
                    Ok(Order::Over(call)) => {
                        // Its last frames were told before the order was given.
                        frame_events.try_iter().for_each(|tell| self.take(&tell));
                        self.feeds.end(call);
                        self.feeds.settle();
                    }
                    Err(crossbeam_channel::TryRecvError::Empty) => break,
                    Err(crossbeam_channel::TryRecvError::Disconnected) => return,
                }
            }
            if Instant::now() >= page {
                page = Instant::now() + PAGE;
                self.look_after_recordings();
                self.feeds.settle();
                self.tell();
            }
        }
    }

    fn look_after_recordings(&mut self) {
        let failed: Vec<(u64, _)> =
            self.recorders.iter().filter_map(|(&call, recorder)| Some((call, recorder.failure()?))).collect();
        for (id, error) in failed {
            self.recorders.remove(&id);
            let _ = self.done.send(JobResult::RecordingFailed { id, error });
        }
    }

    fn take(&mut self, event: &FrameEvent) {
        let call = match *event {
            FrameEvent::Sent { call, .. } | FrameEvent::Played { call, .. } => call,
        };
        if let Some(recorder) = self.recorders.get(&call) {
            recorder.take(event);
        }
        self.feeds.take(event);
        if self.live.receiver_count() == 0 {
            return;
        }
        let at = self.voices.iter().position(|call_codec| call_codec.call == call).unwrap_or_else(|| {
            self.voices.push(Voice { call, level_dbfs: -120.0, heard: Vec::new(), said: Vec::new() });
            self.voices.len() - 1
        });
        let call_codec = &mut self.voices[at];
        match *event {
            FrameEvent::Sent { frame, .. } if call_codec.said.len() < FRAMES => call_codec.said.push(SaidFrame {
                number: frame.number,
                silent: frame.silence.is_some(),
                codes: frame.unit.as_ref().map(codes).unwrap_or_default(),
            }),
            FrameEvent::Played { number, origin, slot, level, .. } if call_codec.heard.len() < FRAMES => {
                call_codec.level_dbfs = (20.0 * level.max(1e-6).log10()).max(-120.0);
                // Nothing has come yet: nothing to show.
                let Some(mark) = origin.to_api() else { return };
                let codes = match &slot {
                    Slot::Frame(unit) | Slot::Coarse(unit) => codes(unit),
                    _ => Vec::new(),
                };
                call_codec.heard.push(HeardFrame { number, mark, codes });
            }
            _ => {}
        }
    }

    /// Sends what has gathered to whoever wants it.
    fn tell(&mut self) {
        let mut spectrogram = Vec::new();
        if let Some(heard) = &mut self.heard {
            while heard.occupied_len_at_least(self.block.len()) {
                heard.pop_slice(&mut self.block);
                if self.live.receiver_count() > 0 && spectrogram.len() < FRAMES {
                    spectrogram.push(self.spectrum.row(&self.block));
                }
            }
        }
        let calls = std::mem::take(&mut self.voices);
        if self.live.receiver_count() == 0 || (calls.is_empty() && spectrogram.is_empty()) {
            return;
        }
        let at_s = self.started.elapsed().as_secs_f64();
        let live = Message::Live(Live { at_s, meters: self.audio_engine.meters(), spectrogram, calls });
        if let Ok(text) = serde_json::to_string(&live) {
            // The last listener may have gone just now.
            let _ = self.live.send(text.into());
        }
    }
}

fn codes(unit: &CodedFrame) -> Vec<u16> {
    match unit {
        CodedFrame::Tokens(tokens) => tokens.codes().to_vec(),
        CodedFrame::Opus(_) => Vec::new(),
    }
}

/// Whether a ring holds so much.
trait Filled {
    fn occupied_len_at_least(&self, samples: usize) -> bool;
}

impl Filled for HeapCons<f32> {
    fn occupied_len_at_least(&self, samples: usize) -> bool {
        use ringbuf::traits::Observer;
        self.occupied_len() >= samples
    }
}
