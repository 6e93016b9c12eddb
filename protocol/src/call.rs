//! One call between two peers, from Hello to Bye, without I/O.
//!
//! A [`Call`] is a state machine: datagrams, frames and the time go in; datagrams and [`Event`]s come out. One rule holds for
//! its users: after *every* call of a method that takes `&mut self`, call [`poll_transmit`](Call::poll_transmit) until it
//! returns false, and send what it gives; and call [`handle_timeout`](Call::handle_timeout) when the time that
//! [`poll_timeout`](Call::poll_timeout) names has come.
//!
//! Frames that the peer is known to hold may serve as context for those to come. Who sends asks for a packet's
//! [`context`](Call::context), makes the payload with no other frames than it names, and hands it back to
//! [`send_frames`](Call::send_frames); who receives finds the same frames in [`Event::Media`], and tells
//! [`decoded`](Call::decoded) what came out well. [`context`](crate::context) has the rest.
//!
//! Nothing is encrypted or authenticated yet. Whoever can send datagrams from the peer's address can end or disturb a call.

use std::time::{Duration, Instant};

use parlo_tokens::{BundleId, FrameSet};

use crate::{
    context::{Context, Contexts, REPORT_EVERY, Reporter},
    packet::{
        Hello, MAX_DATAGRAM, MAX_FRAMES, MEDIA_HEADER, Media, Packet, PacketError, Reason, Refuse, VERSION, Welcome,
        extend,
    },
    report::Report,
};

/// First pause before a Hello is repeated; each further one is twice as long, up to [`HELLO_PAUSE_MAX`].
const HELLO_PAUSE: Duration = Duration::from_millis(250);
const HELLO_PAUSE_MAX: Duration = Duration::from_secs(1);

/// After so long without an answer, or without anything from the peer, the call is over.
const PATIENCE: Duration = Duration::from_secs(10);

/// After so long without sending anything, a sign of life is sent. Some address translators forget a UDP flow after 30 s
/// (RFC 4787 section 4.3 wants two minutes, and is not always heeded).
const ALIVE_EVERY: Duration = Duration::from_secs(2);

/// A Bye cannot be answered, so it is sent three times, spread in time: what drops one may drop its neighbours too.
const BYES: u8 = 3;
const BYE_PAUSE: Duration = Duration::from_millis(30);

/// What a peer brings to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// The model that it holds.
    pub bundle: BundleId,
    /// Codebooks that it means to send, 1 to 32.
    pub depth: u8,
    /// Frames in each of its packets, 1 to [`MAX_FRAMES`].
    pub frames_per_packet: u8,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// The call stands: speech may be sent.
    Connected {
        /// Codebooks that the peer means to send.
        depth: u8,
        /// Frames in each of its packets.
        frames_per_packet: u8,
    },
    /// Speech came.
    Media {
        /// Number of the first frame.
        first: u64,
        /// Frames in the payload.
        count: u8,
        /// Codes in each.
        depth: u8,
        /// Earlier frames that the payload is conditioned upon: exactly those that its sender used. None of them if it
        /// stands alone.
        context: FrameSet,
        /// The frames, as the model's coder made them.
        payload: &'a [u8],
    },
    /// The peer said no. The call is over.
    Refused(Reason),
    /// The peer hung up. The call is over.
    PeerLeft,
    /// The peer did not answer, or fell silent, for ten seconds. The call is over.
    TimedOut,
}

/// Datagrams of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Datagrams of any kind.
    pub packets: u64,
    /// Their bytes, without IP and UDP headers.
    pub bytes: u64,
    /// Bytes of payloads among them.
    pub payload_bytes: u64,
    /// Bytes of reports among them.
    pub report_bytes: u64,
}

impl Count {
    /// Bytes on the wire, where each datagram has `headers` bytes of IP and UDP before it
    /// ([`IPV4_UDP`](crate::packet::IPV4_UDP), [`IPV6_UDP`](crate::packet::IPV6_UDP)).
    pub fn wire_bytes(&self, headers: usize) -> u64 {
        self.bytes + self.packets * headers as u64
    }

    fn add(&mut self, bytes: usize, parts: Parts) {
        self.packets += 1;
        self.bytes += bytes as u64;
        self.payload_bytes += parts.payload as u64;
        self.report_bytes += parts.report as u64;
    }
}

/// Bytes of what there is in a media packet; none in others.
#[derive(Debug, Clone, Copy, Default)]
struct Parts {
    payload: usize,
    report: usize,
}

impl Parts {
    fn of(media: &Media<'_>) -> Self {
        Self { payload: media.payload.len(), report: media.report.map_or(0, |report| report.bytes()) }
    }
}

/// Counts since the call began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallStats {
    /// Sent.
    pub sent: Count,
    /// Received, and part of this call.
    pub received: Count,
    /// Received, but no packet, or not of this call.
    pub junk: u64,
    /// Media packets received that build upon frames of which it is not known any more which they are: so late are they.
    pub unknown_context: u64,
}

/// Why frames cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The call does not stand yet, or no longer.
    #[error("the call does not stand")]
    NotOpen,
    /// A run of frames that no packet can hold.
    #[error("{count} frames of {depth} codes in {bytes} bytes do not fit a packet")]
    DoesNotFit {
        /// Frames.
        count: usize,
        /// Codes each.
        depth: usize,
        /// Bytes of payload.
        bytes: usize,
    },
    /// The frames are not after all that were sent before, or the payload builds upon what was not given out for it.
    #[error("frame {first} is not after those sent before, or has another packet's context")]
    Context {
        /// Number of the first frame.
        first: u64,
    },
    /// The last packet was not taken out by `poll_transmit` yet.
    #[error("the packet before was not taken yet")]
    NotDrained,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Dialing { since: Instant, next: Instant, pause: Duration },
    Open,
    Leaving { byes: u8, next: Instant },
    Closed,
}

/// One call, from either side.
#[derive(Debug)]
pub struct Call {
    id: u64,
    tag: u16,
    ours: Offer,
    caller: bool,
    state: State,
    /// Highest frame number received.
    highest: u64,
    last_sent: Instant,
    last_heard: Instant,
    /// A control packet to be sent.
    control: Option<Packet<'static>>,
    /// A media packet to be sent, whole; empty if there is none.
    media: Vec<u8>,
    media_parts: Parts,
    /// Of what the peer sends.
    reporter: Reporter,
    /// Of what the peer holds.
    contexts: Contexts,
    stats: CallStats,
}

impl Call {
    /// Begins a call: the Hello is ready to be sent. `id` and `tag` must be random.
    pub fn dial(id: u64, tag: u16, ours: Offer, now: Instant) -> Self {
        let state = State::Dialing { since: now, next: now + HELLO_PAUSE, pause: HELLO_PAUSE };
        let mut call = Self::new(id, tag, ours, true, state, now);
        call.control = Some(call.hello());
        call
    }

    /// Accepts a caller's Hello: the Welcome is ready to be sent, and the call stands.
    ///
    /// # Errors
    /// If the peers hold different bundles: then the refusal to be sent.
    pub fn answer(hello: &Hello, ours: Offer, now: Instant) -> Result<Self, Refuse> {
        if hello.bundle != ours.bundle {
            return Err(Refuse { version: VERSION, call: hello.call, reason: Reason::NoSharedBundle });
        }
        let mut call = Self::new(hello.call, hello.tag, ours, false, State::Open, now);
        call.control = Some(call.welcome());
        Ok(call)
    }

    fn new(id: u64, tag: u16, ours: Offer, caller: bool, state: State, now: Instant) -> Self {
        Self {
            id,
            tag,
            ours,
            caller,
            state,
            highest: 0,
            last_sent: now,
            last_heard: now,
            control: None,
            media: Vec::with_capacity(MAX_DATAGRAM),
            media_parts: Parts::default(),
            reporter: Reporter::new(REPORT_EVERY),
            contexts: Contexts::default(),
            stats: CallStats::default(),
        }
    }

    /// Takes a datagram that came from the peer's address. What is no packet of this call is counted and ignored.
    pub fn handle<'d>(&mut self, now: Instant, datagram: &'d [u8]) -> Option<Event<'d>> {
        match Packet::parse(datagram) {
            Ok(packet) => self.receive(now, packet, datagram.len()),
            Err(_) => {
                self.stats.junk += 1;
                None
            }
        }
    }

    fn receive<'d>(&mut self, now: Instant, packet: Packet<'d>, bytes: usize) -> Option<Event<'d>> {
        let ours = match packet {
            Packet::Media(Media { tag, .. }) | Packet::Bye { tag } | Packet::Alive { tag } => tag == self.tag,
            // A caller does not take calls; a listener takes the peer's next Hello as news that it has started anew.
            Packet::Hello(_) => !self.caller,
            Packet::Welcome(welcome) => self.caller && welcome.call == self.id && welcome.tag == self.tag,
            Packet::Refuse(refuse) => self.caller && refuse.call == self.id,
        };
        if !ours || self.is_over() {
            self.stats.junk += 1;
            return None;
        }
        self.last_heard = now;
        let parts = if let Packet::Media(media) = &packet { Parts::of(media) } else { Parts::default() };
        self.stats.received.add(bytes, parts);
        match (packet, self.state) {
            (Packet::Media(media), State::Open) => {
                if let Some(report) = &media.report {
                    self.contexts.take(report);
                }
                let first = extend(media.first, self.highest);
                self.highest = self.highest.max(first);
                let Some(context) = self.reporter.resolve(first, media.context) else {
                    self.stats.unknown_context += 1;
                    return None;
                };
                let Media { count, depth, payload, .. } = media;
                Some(Event::Media { first, count, depth, context, payload })
            }
            // The Welcome was lost or overtaken, but nobody sends media who has not sent it.
            (Packet::Media(media), State::Dialing { .. }) => Some(self.open(media.depth, media.count)),
            (Packet::Welcome(welcome), State::Dialing { .. }) => {
                Some(self.open(welcome.depth, welcome.frames_per_packet))
            }
            (Packet::Refuse(refuse), State::Dialing { .. }) => {
                self.state = State::Closed;
                Some(Event::Refused(refuse.reason))
            }
            (Packet::Hello(hello), State::Open) if hello.call == self.id => {
                self.control = Some(self.welcome());
                None
            }
            (Packet::Hello(_) | Packet::Bye { .. }, State::Open) => {
                self.state = State::Closed;
                Some(Event::PeerLeft)
            }
            _ => None,
        }
    }

    fn open(&mut self, depth: u8, frames_per_packet: u8) -> Event<'static> {
        self.state = State::Open;
        self.control = None;
        Event::Connected { depth, frames_per_packet }
    }

    /// What the payload of the packet that begins with frame `first` should be conditioned upon. The peer holds all of it.
    pub fn context(&self, first: u64) -> Context {
        self.contexts.context(first)
    }

    /// Frames of an [`Event::Media`] were decoded, and are kept for later packets to be conditioned upon. The first that
    /// come with a number count: later ones must not take their place.
    pub fn decoded(&mut self, first: u64, count: usize) {
        self.reporter.decoded(first, count);
    }

    /// Hands over a run of frames to be sent at once. `payload` is what the model's coder made of the `count` frames of
    /// `depth` codes that begin with the frame for which `context` was given out. Frame numbers must grow from call to call.
    ///
    /// # Errors
    /// If the call does not stand, the packet before was not taken, or the run does not fit a packet or the context.
    pub fn send_frames(
        &mut self,
        now: Instant,
        context: &Context,
        count: usize,
        depth: usize,
        payload: &[u8],
    ) -> Result<(), SendError> {
        if self.state != State::Open {
            return Err(SendError::NotOpen);
        }
        if !self.media.is_empty() {
            return Err(SendError::NotDrained);
        }
        let fits = (1..=usize::from(MAX_FRAMES)).contains(&count)
            && (1..=parlo_tokens::MAX_DEPTH).contains(&depth)
            && payload.len() <= MAX_DATAGRAM - MEDIA_HEADER;
        if !fits {
            return Err(SendError::DoesNotFit { count, depth, bytes: payload.len() });
        }
        let first = context.first();
        if self.contexts.last_sent().is_some_and(|last| first <= last) || !self.contexts.admits(context) {
            return Err(SendError::Context { first });
        }
        let room = payload.len() <= MAX_DATAGRAM - MEDIA_HEADER - Report::MAX_BYTES;
        let packet = Media {
            tag: self.tag,
            depth: depth as u8,
            count: count as u8,
            context: context.reference(),
            first: first as u16,
            report: if room { self.reporter.report(now) } else { None },
            payload,
        };
        self.contexts.sent(first, count);
        self.media_parts = Parts::of(&packet);
        Packet::Media(packet).encode(&mut self.media);
        self.last_sent = now;
        Ok(())
    }

    /// Gives the next datagram to be sent, in place of what `datagram` held; false if there is none.
    pub fn poll_transmit(&mut self, datagram: &mut Vec<u8>) -> bool {
        datagram.clear();
        if let Some(control) = self.control.take() {
            control.encode(datagram);
            self.stats.sent.add(datagram.len(), Parts::default());
            return true;
        }
        if self.media.is_empty() {
            return false;
        }
        datagram.extend_from_slice(&self.media);
        self.media.clear();
        self.stats.sent.add(datagram.len(), self.media_parts);
        true
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; `None` once the call is over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Dialing { since, next, .. } => Some(next.min(since + PATIENCE)),
            State::Open => Some((self.last_sent + ALIVE_EVERY).min(self.last_heard + PATIENCE)),
            State::Leaving { next, .. } => Some(next),
            State::Closed => None,
        }
    }

    /// Does what is due at `now`. Harmless when nothing is.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Event<'static>> {
        match self.state {
            State::Dialing { since, .. } if now >= since + PATIENCE => {
                self.state = State::Closed;
                return Some(Event::TimedOut);
            }
            State::Dialing { since, next, pause } if now >= next => {
                let pause = (2 * pause).min(HELLO_PAUSE_MAX);
                self.state = State::Dialing { since, next: now + pause, pause };
                self.control = Some(self.hello());
            }
            State::Open if now >= self.last_heard + PATIENCE => {
                self.state = State::Closed;
                return Some(Event::TimedOut);
            }
            State::Open if now >= self.last_sent + ALIVE_EVERY => {
                self.last_sent = now;
                self.control = Some(Packet::Alive { tag: self.tag });
            }
            State::Leaving { byes, next } if now >= next => self.bye(byes, now),
            _ => {}
        }
        None
    }

    /// Ends the call from this side. Byes are sent over the next 60 ms; then [`is_over`](Self::is_over).
    pub fn hang_up(&mut self, now: Instant) {
        match self.state {
            State::Dialing { .. } | State::Open => {
                self.control = None;
                self.bye(BYES, now);
            }
            State::Leaving { .. } | State::Closed => {}
        }
    }

    fn bye(&mut self, left: u8, now: Instant) {
        if left == 0 {
            self.state = State::Closed;
            return;
        }
        self.control = Some(Packet::Bye { tag: self.tag });
        self.state = if left == 1 { State::Closed } else { State::Leaving { byes: left - 1, next: now + BYE_PAUSE } };
    }

    /// Whether the call is over. What is left to send still comes out of [`poll_transmit`](Self::poll_transmit).
    pub fn is_over(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether speech may be sent.
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Counts so far.
    pub fn stats(&self) -> &CallStats {
        &self.stats
    }

    fn hello(&self) -> Packet<'static> {
        Packet::Hello(Hello {
            call: self.id,
            tag: self.tag,
            bundle: self.ours.bundle,
            depth: self.ours.depth,
            frames_per_packet: self.ours.frames_per_packet,
        })
    }

    fn welcome(&self) -> Packet<'static> {
        Packet::Welcome(Welcome {
            call: self.id,
            tag: self.tag,
            depth: self.ours.depth,
            frames_per_packet: self.ours.frames_per_packet,
        })
    }
}

/// What a listener makes of a datagram from an address that it has no call with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knock {
    /// A caller.
    Hello(Hello),
    /// A caller of another version; this is what to answer.
    Refuse(Refuse),
    /// Noise: no answer.
    Junk,
}

/// Looks at a datagram from an address that there is no call with.
pub fn knock(datagram: &[u8]) -> Knock {
    match Packet::parse(datagram) {
        Ok(Packet::Hello(hello)) => Knock::Hello(hello),
        // Nothing is amplified: what parses so far is longer than a refusal.
        Err(PacketError::Version { version, call: Some(call) }) => {
            Knock::Refuse(Refuse { version, call, reason: Reason::Version })
        }
        _ => Knock::Junk,
    }
}

#[cfg(test)]
#[path = "call_tests.rs"]
mod tests;
