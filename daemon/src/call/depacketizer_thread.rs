//! From a call's packets to its frames, on a thread of the call's own.
//!
//! The entropy model takes some ten microseconds for each frame. A peer that sends many must not take that time from the thread
//! that has everybody's packets: so packets wait here for a thread that does nothing else, and the peer is allowed no more of
//! them than speech needs ([`Quota`]).

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use parlo_protocol::call::Event;
use parlo_tokens::{ComfortNoise, FrameSet, Slot};

use super::{
    channels::{ReceivedFrame, Shared},
    depacketizer::{Coded, Depacketizer},
};
use crate::realtime;

/// Packets that wait at most: more than the quota lets in at once.
const PACKETS: usize = 128;

/// News of what was decoded that waits at most. What finds no room is not reported to the peer, which does not build upon it.
const NEWS: usize = 256;

/// Times real time that frames may come in.
const TIMES: u32 = 3;

/// So much of that may come at once: what a network held back for about a second.
const BURST: Duration = Duration::from_secs(1);

/// Media of one packet, which waits to be decoded.
#[derive(Debug)]
pub(crate) struct Packet {
    arrived: Instant,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Silence { number: u64, noise: ComfortNoise },
    Frames { first: u64, count: u8, depth: u8, copies: u8, copy_depth: u8, context: FrameSet, payload: Vec<u8> },
}

impl Packet {
    /// What came at `arrived`; none if it is no media.
    pub(crate) fn new(event: &Event<'_>, arrived: Instant) -> Option<Self> {
        let body = match *event {
            Event::Silence { number, noise } => Body::Silence { number, noise },
            Event::Frames { first, count, depth, copies, copy_depth, context, payload } => {
                Body::Frames { first, count, depth, copies, copy_depth, context, payload: payload.to_vec() }
            }
            _ => return None,
        };
        Some(Self { arrived, body })
    }
}

/// How many frames a peer may send: three times as many as there are in real time, and a second's worth of these at once. A
/// copy, which has a third of a frame's codes, and a silence count as half a frame; so a sender that copies each frame twice
/// stays below two thirds of this.
#[derive(Debug)]
pub(crate) struct Quota {
    /// Time of frames that may come now.
    left: Duration,
    since: Option<Instant>,
}

impl Quota {
    const MOST: Duration = BURST.saturating_mul(TIMES);

    pub(crate) fn new() -> Self {
        Self { left: Self::MOST, since: None }
    }

    /// Whether a packet may be decoded; it is charged then. `frame` is how long a frame lasts.
    pub(crate) fn take(&mut self, now: Instant, frame: Duration, event: &Event<'_>) -> bool {
        let halves = match *event {
            Event::Frames { count, copies, .. } => 2 * u32::from(count) + u32::from(copies),
            _ => 1,
        };
        let passed = now.saturating_duration_since(*self.since.get_or_insert(now));
        self.since = Some(now);
        self.left = (self.left + passed.min(BURST) * TIMES).min(Self::MOST);
        match self.left.checked_sub(frame / 2 * halves) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

enum Order {
    Decode(Packet),
    /// Nothing more comes; the number after the last frame, if it is known.
    Drain(Option<u64>),
}

#[derive(Debug, Default)]
struct Counts {
    undecodable: AtomicU64,
    overrun: AtomicU64,
}

/// The thread that decodes one call's packets. It ends when this is closed or dropped, after what waits.
#[derive(Debug)]
pub(crate) struct DepacketizerThread {
    orders: Option<Sender<Order>>,
    news: Receiver<(u64, usize)>,
    shared: Arc<Shared>,
    counts: Arc<Counts>,
}

impl DepacketizerThread {
    /// Begins to decode what is [given](Self::give), for this playback side.
    ///
    /// # Errors
    /// If the system has no thread.
    pub(crate) fn start(
        inbound: Depacketizer,
        to_playback: Sender<ReceivedFrame>,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        let (orders, waiting) = bounded(PACKETS);
        let (tell, news) = bounded(NEWS);
        let counts = Arc::<Counts>::default();
        let thread = Thread { inbound, to_playback, shared: Arc::clone(&shared), tell, counts: Arc::clone(&counts) };
        thread::Builder::new().name("parlo-depacket".into()).spawn(move || thread.run(&waiting))?;
        Ok(Self { orders: Some(orders), news, shared, counts })
    }

    /// Decodes a packet, after those before it. Never waits; whether it was taken.
    pub(crate) fn give(&self, packet: Packet) -> bool {
        self.orders.as_ref().is_some_and(|orders| orders.try_send(Order::Decode(packet)).is_ok())
    }

    /// Nothing more comes: tells the playback side so, after what waits ([`Shared::drain`]).
    pub(crate) fn drain(&self, total: Option<u64>) {
        let sent = self.orders.as_ref().is_some_and(|orders| match orders.try_send(Order::Drain(total)) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        });
        if !sent {
            self.shared.drain(total);
        }
    }

    /// The next frames that were decoded and are kept, as first and count: for [`Call::decoded`](parlo_protocol::call::Call::decoded).
    pub(crate) fn poll_decoded(&self) -> Option<(u64, usize)> {
        self.news.try_recv().ok()
    }

    /// Ends the thread.
    pub(crate) fn close(&mut self) {
        self.orders = None;
    }

    /// Packets whose payload was none.
    pub(crate) fn undecodable(&self) -> u64 {
        self.counts.undecodable.load(Relaxed)
    }

    /// Frames that the playback side did not take.
    pub(crate) fn overrun(&self) -> u64 {
        self.counts.overrun.load(Relaxed)
    }
}

struct Thread {
    inbound: Depacketizer,
    to_playback: Sender<ReceivedFrame>,
    shared: Arc<Shared>,
    tell: Sender<(u64, usize)>,
    counts: Arc<Counts>,
}

impl Thread {
    fn run(mut self, orders: &Receiver<Order>) {
        // Speech waits for this as it does for the network's thread. Where it is refused, the call manager has been told already.
        let _ = realtime::promote(48_000, 480);
        for order in orders {
            match order {
                Order::Decode(packet) => self.decode(packet),
                Order::Drain(total) => self.shared.drain(total),
            }
        }
    }

    fn decode(&mut self, Packet { arrived, body }: Packet) {
        let Self { inbound, to_playback, tell, counts, .. } = self;
        let each = |number: u64, slot: Slot<super::CodedFrame>| {
            // A full channel means that the playback thread hangs: its frames are of no use any more.
            let taken = to_playback.try_send(ReceivedFrame { number, slot, arrived }).is_ok();
            counts.overrun.fetch_add(u64::from(!taken), Relaxed);
        };
        match body {
            Body::Silence { number, noise } => each(number, Slot::Silence(noise)),
            Body::Frames { first, count, depth, copies, copy_depth, context, payload } => {
                let coded = Coded { first, count, depth, copies, copy_depth, context, payload: &payload };
                if inbound.decode(&coded, each) {
                    let _ = tell.try_send((first, count.into()));
                }
                counts.undecodable.store(inbound.undecodable(), Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(20);

    fn frames(count: u8, copies: u8) -> Event<'static> {
        Event::Frames { first: 99, count, depth: 6, copies, copy_depth: 2, context: FrameSet::EMPTY, payload: &[] }
    }

    /// Frames of those that come at a rate that are let in within ten seconds.
    fn let_in(count: u8, copies: u8, per_second: u64) -> u64 {
        let (start, mut quota) = (Instant::now(), Quota::new());
        let event = frames(count, copies);
        let packets = (0..10 * per_second)
            .filter(|n| quota.take(start + Duration::from_micros(1_000_000 * n / per_second), FRAME, &event));
        packets.count() as u64 * u64::from(count)
    }

    #[test]
    fn what_any_sender_needs_is_let_in_and_what_none_needs_is_not() {
        // One frame a packet with twice as many copies, and twelve; a sender that is twice as fast as time.
        assert_eq!(let_in(1, 2, 50), 500);
        assert_eq!(let_in(12, 12, 5), 600);
        assert_eq!(let_in(3, 0, 34), 1020);
        // A flood: three times real time, and a second's worth of that at the beginning.
        for (count, per_second) in [(12, 200), (12, 5000), (1, 5000)] {
            let frames = let_in(count, 0, per_second);
            assert!((1600..=1650).contains(&frames), "{frames} of {count} at {per_second}");
        }
        assert!(let_in(12, 12, 2000) <= 1100);
    }

    #[test]
    fn a_second_that_the_network_held_back_may_come_at_once() {
        let (start, mut quota) = (Instant::now(), Quota::new());
        for second in 0..5 {
            let now = start + Duration::from_secs(second);
            assert!((0..17).all(|_| quota.take(now, FRAME, &frames(3, 6))), "{second}");
        }
        let now = start + Duration::from_secs(60);
        assert_eq!((0..1000).filter(|_| quota.take(now, FRAME, &frames(1, 0))).count(), 150);
        // Silences cost half a frame, and time that goes back nothing and gives nothing.
        let silence = Event::Silence { number: 1, noise: ComfortNoise::SILENCE };
        assert!(!quota.take(start, FRAME, &silence));
    }
}
