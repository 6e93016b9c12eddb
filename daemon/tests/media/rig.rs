//! An audio engine whose microphone and loudspeaker are this test's: it feeds the one and reads the other, block by block, and time
//! goes on with that.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use counting_alloc::allocations;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use parlo_tokens::Slot;
use parlod::{
    audio::{AudioError, Format, ReadOutcome as Read, Sink, Source, WriteOutcome},
    call::{CodedFrame, EncodedFrame, FrameOrigin, channels::ReceivedFrame},
    clock::{Clock, ManualClock},
    config::Endpoint,
    media::{AudioEngine, CallAudio, CallAudioFigures, Devices, FrameEvent, Settings, StreamFormat},
};

use crate::codec::CODEC;

/// How long anything may take before the test has failed.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// What the microphone does next.
pub(crate) enum Feed {
    Samples(Vec<f32>),
    End,
    Fail,
    Panic,
}

/// The wires to both ends.
pub(crate) struct Wires {
    rate: u32,
    feeds: (Sender<Feed>, Receiver<Feed>),
    /// Feeds that were read, and that have been worked on.
    delivered: AtomicU64,
    done: AtomicU64,
    go: (Sender<()>, Receiver<()>),
    out: (Sender<Vec<f32>>, Receiver<Vec<f32>>),
    /// Nobody feeds or reads any more.
    free: AtomicBool,
    pub(crate) sink_fails: AtomicBool,
    pub(crate) sink_panics: AtomicBool,
    /// Allocations of the threads between two looks at their device.
    pub(crate) allocated: [AtomicU64; 2],
    /// Times that devices were opened and closed.
    pub(crate) opened: AtomicU64,
    pub(crate) closed: AtomicU64,
    start: Instant,
}

fn broken(name: &str) -> AudioError {
    AudioError::Unwritable { name: name.to_owned(), error: std::io::ErrorKind::StorageFull.into() }
}

struct WireSource {
    wires: Arc<Wires>,
    before: Option<u64>,
}

impl Source for WireSource {
    fn format(&self) -> Format {
        Format { rate: self.wires.rate, channels: 1 }
    }

    fn read(&mut self, buffer: &mut [f32]) -> Result<Read, AudioError> {
        if let Some(before) = self.before.take() {
            self.wires.allocated[0].fetch_add(allocations() - before, SeqCst);
        }
        self.wires.done.store(self.wires.delivered.load(SeqCst), SeqCst);
        let read = match self.wires.feeds.1.recv_timeout(Duration::from_millis(20)) {
            Ok(feed) => {
                self.wires.delivered.fetch_add(1, SeqCst);
                match feed {
                    Feed::Samples(samples) => {
                        buffer[..samples.len()].copy_from_slice(&samples);
                        Read::Samples { samples: samples.len(), at: Instant::now() }
                    }
                    Feed::End => {
                        self.wires.done.store(self.wires.delivered.load(SeqCst), SeqCst);
                        return Ok(Read::End);
                    }
                    Feed::Fail => return Err(broken("microphone")),
                    Feed::Panic => panic!("as the test wants it"),
                }
            }
            Err(_) => Read::Nothing,
        };
        self.before = Some(allocations());
        Ok(read)
    }

    fn name(&self) -> Option<String> {
        Some("wire in".to_owned())
    }
}

struct WireSink {
    wires: Arc<Wires>,
    written: u64,
    before: Option<u64>,
}

impl Sink for WireSink {
    fn format(&self) -> Format {
        Format { rate: self.wires.rate, channels: 1 }
    }

    fn write(&mut self, samples: &[f32]) -> Result<WriteOutcome, AudioError> {
        if let Some(before) = self.before.take() {
            self.wires.allocated[1].fetch_add(allocations() - before, SeqCst);
        }
        assert!(!self.wires.sink_panics.load(SeqCst), "as the test wants it");
        if self.wires.sink_fails.load(SeqCst) {
            return Err(broken("loudspeaker"));
        }
        let at = self.wires.start + Duration::from_secs_f64(self.written as f64 / f64::from(self.wires.rate));
        self.written += samples.len() as u64;
        let _ = self.wires.out.0.send(samples.to_vec());
        // Not for ever: a test that fails must end.
        let until = Instant::now() + STEP_TIMEOUT;
        while !self.wires.free.load(SeqCst) && Instant::now() < until {
            if self.wires.go.1.recv_timeout(Duration::from_millis(10)) != Err(RecvTimeoutError::Timeout) {
                break;
            }
        }
        if self.wires.free.load(SeqCst) {
            // A thread of real-time priority that never waited would leave the others no time.
            thread::sleep(Duration::from_millis(5));
        }
        self.before = Some(allocations());
        Ok(WriteOutcome::At(at))
    }

    fn name(&self) -> Option<String> {
        Some("wire out".to_owned())
    }

    fn finish(self: Box<Self>) -> Result<(), AudioError> {
        self.wires.closed.fetch_add(1, SeqCst);
        Ok(())
    }
}

struct Ends(Arc<Wires>);

impl Devices for Ends {
    fn source(&self, settings: &Settings, _: u32) -> Result<Box<dyn Source>, AudioError> {
        if settings.source == Endpoint::Device("missing".into()) {
            return Err(broken("missing"));
        }
        self.0.opened.fetch_add(1, SeqCst);
        Ok(Box::new(WireSource { wires: Arc::clone(&self.0), before: None }))
    }

    fn sink(&self, settings: &Settings, _: u32) -> Result<Box<dyn Sink>, AudioError> {
        if settings.sink == Endpoint::Device("missing".into()) {
            return Err(broken("missing"));
        }
        self.0.opened.fetch_add(1, SeqCst);
        Ok(Box::new(WireSink { wires: Arc::clone(&self.0), written: 0, before: None }))
    }

    fn check(&self, settings: &Settings) -> Result<(), AudioError> {
        let missing = Endpoint::Device("missing".into());
        if settings.source == missing || settings.sink == missing { Err(broken("missing")) } else { Ok(()) }
    }
}

/// What was said in one call, as it was heard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    pub(crate) call: u64,
    pub(crate) number: Option<u64>,
    pub(crate) slot: Slot<CodedFrame>,
    pub(crate) sample: usize,
    pub(crate) level: f32,
    pub(crate) origin: FrameOrigin,
}

/// An audio engine on wires.
pub(crate) struct Rig {
    pub(crate) audio_engine: AudioEngine,
    pub(crate) wires: Arc<Wires>,
    clock: Arc<ManualClock>,
    frame_events: Receiver<FrameEvent>,
    fed: u64,
    primed: bool,
    /// Everything that the loudspeaker got.
    pub(crate) heard: Vec<f32>,
}

/// Sound as it is: no stage, nothing but what is said.
pub(crate) fn plain() -> Settings {
    let mut settings = Settings::default();
    settings.stages.silence = false;
    settings
}

impl Rig {
    pub(crate) fn new(settings: Settings) -> Self {
        Self::at(StreamFormat { sample_rate: CODEC.rate, frame_samples: CODEC.frame }, settings)
    }

    pub(crate) fn at(format: StreamFormat, settings: Settings) -> Self {
        let start = Instant::now();
        let wires = Arc::new(Wires {
            rate: format.sample_rate,
            feeds: bounded(1),
            delivered: AtomicU64::new(0),
            done: AtomicU64::new(0),
            go: bounded(1),
            out: unbounded(),
            free: AtomicBool::new(false),
            sink_fails: AtomicBool::new(false),
            sink_panics: AtomicBool::new(false),
            allocated: [AtomicU64::new(0), AtomicU64::new(0)],
            opened: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            start,
        });
        let clock = Arc::new(ManualClock::new(start));
        // With room for all that a test says: this channel takes no memory while sound runs.
        let (tell, frame_events) = bounded(1 << 14);
        let ends = Box::new(Ends(Arc::clone(&wires)));
        let audio_engine =
            AudioEngine::with_devices(format, settings, tell, ends, Arc::clone(&clock) as Arc<dyn Clock>);
        Self { audio_engine, wires, clock, frame_events, fed: 0, primed: false, heard: Vec::new() }
    }

    /// Samples of a block.
    pub(crate) fn block(&self) -> usize {
        self.wires.rate as usize / 100
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Feeds the microphone, and waits until it has been worked on.
    pub(crate) fn feed(&mut self, feed: Feed) {
        self.wires.feeds.0.send_timeout(feed, STEP_TIMEOUT).unwrap();
        self.fed += 1;
        let until = Instant::now() + STEP_TIMEOUT;
        while self.wires.done.load(SeqCst) < self.fed {
            assert!(Instant::now() < until, "the capture thread hangs");
            thread::sleep(Duration::from_micros(50));
        }
    }

    /// Lets 10 ms go by: the microphone gets a block, then `between` passes what was said on, then the loudspeaker gets one.
    pub(crate) fn tick(&mut self, microphone: &[f32], between: impl FnOnce(&Self)) {
        if !self.primed {
            self.primed = true;
            self.heard.extend(self.wires.out.1.recv_timeout(STEP_TIMEOUT).unwrap());
        }
        self.clock.advance(Duration::from_millis(10));
        self.feed(Feed::Samples(microphone.to_vec()));
        between(self);
        self.play();
    }

    /// Feeds the microphone what ends its thread or its work.
    pub(crate) fn send(&mut self, feed: Feed) {
        self.wires.feeds.0.send_timeout(feed, STEP_TIMEOUT).unwrap();
    }

    /// Has the loudspeaker ask for a block.
    pub(crate) fn go(&mut self) {
        self.wires.go.0.send_timeout((), STEP_TIMEOUT).unwrap();
    }

    /// Lets 10 ms go by of which the microphone knows nothing.
    pub(crate) fn play_on(&mut self) {
        self.clock.advance(Duration::from_millis(10));
        self.play();
    }

    /// Takes a block from the loudspeaker.
    fn play(&mut self) {
        self.wires.go.0.send_timeout((), STEP_TIMEOUT).unwrap();
        self.heard.extend(self.wires.out.1.recv_timeout(STEP_TIMEOUT).unwrap());
    }

    /// Passes everything that was said in `from` on to `to`.
    pub(crate) fn pass(&self, from: &CallAudio, to: &CallAudio) -> Vec<EncodedFrame> {
        let said: Vec<EncodedFrame> = from.captured.try_iter().collect();
        for frame in &said {
            // What nobody speaks in is not coded.
            if let Some(unit) = frame.unit {
                self.say(to, frame.number, unit);
            }
        }
        said
    }

    /// A frame comes from the network.
    pub(crate) fn say(&self, to: &CallAudio, number: u64, unit: CodedFrame) {
        to.to_playback.send(ReceivedFrame { number, slot: Slot::Frame(unit), arrived: self.now() }).unwrap();
    }

    /// What was told of since the last time: of what was heard, with where it lies in all that was heard.
    pub(crate) fn told(&self) -> Vec<Told> {
        self.frame_events
            .try_iter()
            .filter_map(|tell| match tell {
                FrameEvent::Sent { .. } => None,
                FrameEvent::Played { call, number, slot, at, level, origin } => {
                    let sample = (at - self.wires.start).as_secs_f64() * f64::from(self.wires.rate);
                    Some(Told { call, number, slot, sample: sample.round() as usize, level, origin })
                }
            })
            .collect()
    }

    /// Does something that waits for the threads, while time goes by in silence.
    pub(crate) fn meanwhile<T: Send>(&mut self, work: impl FnOnce(&AudioEngine) -> T + Send) -> T {
        let silence = vec![0.0; self.block()];
        let (wires, clock) = (Arc::clone(&self.wires), Arc::clone(&self.clock));
        let (fed, heard) = (&mut self.fed, &mut self.heard);
        let audio_engine = &self.audio_engine;
        thread::scope(|scope| {
            let work = scope.spawn(|| work(audio_engine));
            while !work.is_finished() {
                clock.advance(Duration::from_millis(10));
                if wires.feeds.0.try_send(Feed::Samples(silence.clone())).is_ok() {
                    *fed += 1;
                }
                let _ = wires.go.0.try_send(());
                thread::sleep(Duration::from_millis(2));
            }
            // What was set going is waited for, so that both ends wait for the test again.
            let until = Instant::now() + STEP_TIMEOUT;
            while !wires.go.0.is_empty() || wires.done.load(SeqCst) < *fed {
                assert!(Instant::now() < until, "a thread hangs");
                thread::sleep(Duration::from_millis(1));
            }
            thread::sleep(Duration::from_millis(50));
            while let Ok(block) = wires.out.1.try_recv() {
                heard.extend(block);
            }
            work.join().unwrap()
        })
    }

    /// One of several calls leaves.
    pub(crate) fn leave(&mut self, audio: CallAudio) -> CallAudioFigures {
        self.meanwhile(|_| audio.close())
    }

    /// The last calls leave, and everything ends.
    pub(crate) fn end(&mut self, audios: impl IntoIterator<Item = CallAudio>) -> Vec<CallAudioFigures> {
        self.wires.free.store(true, SeqCst);
        let figures = audios.into_iter().map(CallAudio::close).collect();
        self.wires.free.store(false, SeqCst);
        let (go, out, feeds) = (&self.wires.go.1, &self.wires.out.1, &self.wires.feeds.1);
        let _: (Vec<_>, Vec<_>, Vec<_>) =
            (go.try_iter().collect(), out.try_iter().collect(), feeds.try_iter().collect());
        self.fed = self.wires.delivered.load(SeqCst);
        self.primed = false;
        figures
    }
}
