//! Live tokens of calls, for programs: each listener has a queue of its own, which drops its oldest frames when it is not read.
//!
//! ```text
//! codec threads -> FrameEvent -> frame tap -> Feeds -> queue -> a WebSocket
//!                                         `-> queue -> NATS
//! call manager -> changes (a call rings, begins, is over) ^
//! ```
//!
//! Nobody waits for a listener. the main thread never takes the lock here: what it has to say waits in a channel for whoever takes
//! the lock next. A frame becomes text once, and only if somebody listens.

mod queue;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender};
use parlo_api::{FeedFrame, FeedMark, FeedMessage, FeedStart, FeedStream};
use parlo_tokens::Slot;

pub use queue::{Inlet, Outlet, Taken, queue};

use crate::{call::CodedFrame, media::FrameEvent};

/// Messages that wait for one client at most: five seconds of both streams.
const ROOM: usize = 512;

/// Which streams are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// What comes from the peer.
    pub heard: bool,
    /// What is said here.
    pub said: bool,
}

impl Wanted {
    /// Both.
    pub const BOTH: Self = Self { heard: true, said: true };

    fn has(self, stream: FeedStream) -> bool {
        match stream {
            FeedStream::Heard => self.heard,
            FeedStream::Said => self.said,
        }
    }
}

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The beginning.
    Start,
    /// A frame of this stream.
    Frame(FeedStream),
    /// The end.
    End,
}

/// A message for listeners. Clones share the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Of which call.
    pub call: u64,
    /// What about.
    pub about: About,
    /// A [`FeedMessage`], as JSON.
    pub text: Arc<str>,
}

/// What became of calls, as the call manager tells it.
#[derive(Debug)]
enum Change {
    /// There is such a call: its feed can be asked for.
    Open(u64),
    /// Its sound is about to be opened. The message, the call's time 0, how long a frame is, and the codes of each book.
    Begin(u64, Arc<str>, Clock),
    /// It is over, or has no tokens.
    End(u64),
}

/// What turns frames to messages.
#[derive(Debug, Clone)]
struct Clock {
    zero: Instant,
    frame: Duration,
    sizes: Vec<u32>,
    /// The latest times of what was said and heard, ms.
    latest: [u64; 2],
}

impl Clock {
    /// A frame whose time is no earlier than that of the one before in its stream: a device's clock may step back.
    fn rising(&mut self, event: &FrameEvent) -> Option<FeedFrame> {
        let mut frame = self.frame(event)?;
        let latest = &mut self.latest[usize::from(frame.stream == FeedStream::Heard)];
        *latest = frame.time_ms.max(*latest);
        frame.time_ms = *latest;
        Some(frame)
    }

    fn ms(&self, at: Instant) -> u64 {
        let at = at.saturating_duration_since(self.zero).as_micros().saturating_add(500) / 1000;
        u64::try_from(at).unwrap_or(u64::MAX)
    }

    /// The codes, if they are such as the model has: a peer may claim a model and send another's.
    fn codes(&self, unit: &CodedFrame) -> Vec<u16> {
        let CodedFrame::Tokens(tokens) = unit else { return Vec::new() };
        let codes = tokens.codes();
        let fits = codes.len() <= self.sizes.len()
            && codes.iter().zip(&self.sizes).all(|(&code, &size)| u32::from(code) < size);
        if fits { codes.to_vec() } else { Vec::new() }
    }

    /// None for what is no frame: nothing has come yet.
    fn frame(&self, event: &FrameEvent) -> Option<FeedFrame> {
        Some(match event {
            FrameEvent::Sent { frame, at, .. } => FeedFrame {
                stream: FeedStream::Said,
                number: Some(frame.number),
                // Told is the end of the frame.
                time_ms: self.ms(at.checked_sub(self.frame).unwrap_or(*at)),
                mark: if frame.silence.is_some() { FeedMark::Unsent } else { FeedMark::Real },
                codes: frame.unit.as_ref().map_or_else(Vec::new, |unit| self.codes(unit)),
            },
            FrameEvent::Played { number, origin, slot, at, .. } => FeedFrame {
                stream: FeedStream::Heard,
                number: *number,
                time_ms: self.ms(*at),
                mark: origin.to_api()?.into(),
                codes: match slot {
                    Slot::Frame(unit) | Slot::Coarse(unit) => self.codes(unit),
                    Slot::Silence(_) | Slot::Missing => Vec::new(),
                },
            },
        })
    }
}

#[derive(Debug)]
struct Listener {
    /// None for all calls.
    call: Option<u64>,
    wanted: Wanted,
    inlet: Inlet<Told>,
    dropped: Arc<AtomicU64>,
}

impl Listener {
    fn hears(&self, call: u64) -> bool {
        self.call.is_none_or(|own| own == call)
    }

    fn put(&self, told: &Told) {
        let dropped = match told.about {
            About::Frame(stream) if !self.wanted.has(stream) => return,
            About::Frame(_) => self.inlet.push(told.clone()),
            About::Start | About::End => self.inlet.push_kept(told.clone()),
        };
        if dropped > 0 {
            self.dropped.fetch_add(dropped, Relaxed);
        }
    }
}

#[derive(Debug, Default)]
struct FeedsState {
    /// Calls that are not over; with a clock once they have begun.
    calls: HashMap<u64, Option<(Told, Clock)>>,
    listeners: Vec<Listener>,
}

impl FeedsState {
    fn tell(&self, told: &Told) {
        self.listeners.iter().filter(|listener| listener.hears(told.call)).for_each(|listener| listener.put(told));
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Open(call) => drop(self.calls.insert(call, None)),
            Change::Begin(call, text, clock) => {
                let told = Told { call, about: About::Start, text };
                self.tell(&told);
                self.calls.insert(call, Some((told, clock)));
            }
            Change::End(call) => {
                let Some(begun) = self.calls.remove(&call) else { return };
                let told = Told { call, about: About::End, text: message(&FeedMessage::End) };
                // Who listens to all calls has not been told of one that never began.
                let of_call = |listener: &Listener| listener.call == Some(call);
                let told_of = |listener: &&Listener| of_call(listener) || (listener.call.is_none() && begun.is_some());
                self.listeners.iter().filter(told_of).for_each(|listener| listener.put(&told));
                self.listeners.retain(|listener| !of_call(listener));
            }
        }
    }
}

/// How much has gone where. Counts are since the daemon began.
#[derive(Debug, Default)]
pub struct Figures {
    /// Clients of feeds.
    pub clients: AtomicUsize,
    /// Frames sent to them.
    pub sent: AtomicU64,
    /// Frames that were dropped because they did not read.
    pub missed: Arc<AtomicU64>,
}

/// The feeds of all calls.
#[derive(Debug)]
pub struct Feeds {
    state: Mutex<FeedsState>,
    changes: (Sender<Change>, Receiver<Change>),
    /// Whether there may be listeners, without the lock.
    listeners: AtomicUsize,
    figures: Figures,
}

impl Default for Feeds {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            changes: crossbeam_channel::unbounded(),
            listeners: AtomicUsize::new(0),
            figures: Figures::default(),
        }
    }
}

impl Feeds {
    /// There is such a call from now on: its feed can be asked for, and begins when it does.
    pub fn open(&self, call: u64) {
        self.change(Change::Open(call));
    }

    /// The sound of a call is about to be opened: its time 0 is `zero`. To be called before its first frame is told.
    pub fn begin(&self, zero: Instant, start: FeedStart) {
        let rate = start.sample_rate.max(1);
        let frame = Duration::from_secs(1).mul_f64(f64::from(start.frame_samples) / f64::from(rate));
        let clock = Clock { zero, frame, sizes: start.sizes.clone(), latest: [0; 2] };
        self.change(Change::Begin(start.call, message(&FeedMessage::Start(start)), clock));
    }

    /// A call is over, or turns out to have no tokens. To be called after its last frame was told.
    pub fn end(&self, call: u64) {
        self.change(Change::End(call));
    }

    fn change(&self, change: Change) {
        // It is never closed, as both ends are here.
        let _ = self.changes.0.send(change);
    }

    /// Sees to it that listeners know what has become of calls, and forgets those that have gone.
    pub fn settle(&self) {
        if !self.changes.1.is_empty() || self.listeners.load(Relaxed) > 0 {
            self.lock().listeners.retain(|listener| !listener.inlet.is_left());
        }
    }

    /// Takes a frame that passed the audio engine. Never waits for a listener.
    pub fn take(&self, event: &FrameEvent) {
        if self.listeners.load(Relaxed) == 0 {
            return;
        }
        let call = match *event {
            FrameEvent::Sent { call, .. } | FrameEvent::Played { call, .. } => call,
        };
        let mut state = self.lock();
        let Some(Some((_, clock))) = state.calls.get_mut(&call) else { return };
        if let Some(frame) = clock.rising(event) {
            give(&state, call, frame);
        }
    }

    /// A frame of a call that has begun, as it is.
    pub fn frame(&self, call: u64, frame: FeedFrame) {
        give(&self.lock(), call, frame);
    }

    /// The feed of a call: its start, if it has begun, and then its frames from now on. None if there is no such call.
    pub fn listen(self: &Arc<Self>, call: u64, wanted: Wanted) -> Option<Listening> {
        let mut state = self.lock();
        let begun = state.calls.get(&call)?;
        let (inlet, outlet) = queue(ROOM);
        if let Some((told, _)) = begun {
            inlet.push_kept(told.clone());
        }
        let dropped = Arc::clone(&self.figures.missed);
        state.listeners.push(Listener { call: Some(call), wanted, inlet, dropped });
        self.listeners.fetch_add(1, Relaxed);
        self.figures.clients.fetch_add(1, Relaxed);
        Some(Listening { outlet, client: true, feeds: Arc::clone(self) })
    }

    /// What happens in all calls from now on, and the starts of those that have begun. Frames that are dropped, because more than
    /// `room` messages wait, are counted in `dropped`.
    pub fn listen_to_all(self: &Arc<Self>, room: usize, dropped: Arc<AtomicU64>) -> Listening {
        let mut state = self.lock();
        let (inlet, outlet) = queue(room);
        let mut begun: Vec<_> = state.calls.values().flatten().map(|(told, _)| told).collect();
        begun.sort_by_key(|told| told.call);
        for told in begun {
            inlet.push_kept(told.clone());
        }
        state.listeners.push(Listener { call: None, wanted: Wanted::BOTH, inlet, dropped });
        self.listeners.fetch_add(1, Relaxed);
        Listening { outlet, client: false, feeds: Arc::clone(self) }
    }

    /// Clients and what they got.
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// The state, up to date with what the call manager has said.
    fn lock(&self) -> MutexGuard<'_, FeedsState> {
        // What is behind it is whole at any time.
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for change in self.changes.1.try_iter() {
            state.apply(change);
        }
        state
    }
}

fn give(state: &FeedsState, call: u64, frame: FeedFrame) {
    let stream = frame.stream;
    if state.listeners.iter().any(|listener| listener.hears(call) && listener.wanted.has(stream)) {
        state.tell(&Told { call, about: About::Frame(stream), text: message(&FeedMessage::Frame(frame)) });
    }
}

fn message(message: &FeedMessage) -> Arc<str> {
    // Numbers, texts and lists: there is nothing in it that JSON cannot say.
    serde_json::to_string(message).unwrap_or_default().into()
}

/// A place among those who listen. Dropping it gives the place back.
#[derive(Debug)]
pub struct Listening {
    outlet: Outlet<Told>,
    client: bool,
    feeds: Arc<Feeds>,
}

impl Listening {
    /// Waits for the next message, or for how many frames are missing before it; none after the call's end. Safe to cancel: nothing
    /// is lost.
    pub async fn next(&mut self) -> Option<Taken<Told>> {
        self.outlet.next().await
    }

    /// The next of it, if there is one now.
    pub fn take(&mut self) -> Option<Taken<Told>> {
        self.outlet.take()
    }

    /// Notes that so many frames were sent to this client.
    pub fn sent(&self, frames: u64) {
        self.feeds.figures.sent.fetch_add(frames, Relaxed);
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // The queue itself is forgotten when something is told next.
        self.feeds.listeners.fetch_sub(1, Relaxed);
        if self.client {
            self.feeds.figures.clients.fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
#[path = "feeds_tests.rs"]
mod tests;
