//! One call between two peers, from the first datagram to the last, without I/O.
//!
//! A [`Call`] is a state machine over a [`Session`]: datagrams, frames and the time go in; datagrams and [`Event`]s come out.
//! One rule holds for its users: after *every* call of a method that takes `&mut self`, call
//! [`poll_event`](Call::poll_event) until there is none and [`poll_transmit`](Call::poll_transmit) until it returns false, and
//! send what it gives to [`address`](Call::address); and call [`handle_timeout`](Call::handle_timeout) when the time that
//! [`poll_timeout`](Call::poll_timeout) names has come. Where it then [needs a seed](Call::needs_seed), it gets one with
//! [`rekey`](Call::rekey) before it is polled.
//!
//! What to send, the [`plan`](Call::plan) says: it follows from what the peer tells of the path ([`adapt`](crate::adapt)).
//! Frames that the peer is known to hold may serve as context for those to come. Who sends asks for a packet's
//! [`context`](Call::context), makes the payload with no other frames than it names, and hands it back to
//! [`send_frames`](Call::send_frames); who receives finds the same frames in [`Event::Frames`], and tells
//! [`decoded`](Call::decoded) what came out well. [`context`](crate::context) has the rest.
//!
//! A call may ring: who answers completes the handshake at once, says so, and ends it with
//! [`set_presence`](Call::set_presence) when somebody picks up. Until then nobody may send media. The same method holds a call,
//! from either side.

mod presence;
mod recorded;
mod types;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use parlo_tokens::ComfortNoise;

use crate::{
    adapt::{Adapter, Costs, Limits, Plan},
    context::{AckReceiver, AckSender, Context, REPORT_EVERY},
    feedback::{PathNews, PathObserver, SentLog},
    identity::{Identity, PublicKey},
    offer::{Answer, Codec, Offer},
    packet::{
        Control, Frames, Goodbye, IPV4_UDP, IPV6_UDP, MAX_COPIES, MAX_COPY_DEPTH, MAX_DATAGRAM, MAX_FRAMES,
        MAX_PAYLOAD, Media, Piggyback, Presence,
    },
    psk::Psk,
    session::{self, DialError, Reason, Session},
};

use presence::Presences;
use recorded::Recorded;
use types::Parts;
pub use types::{CallStats, Count, Event, Run, SendError};

/// After so long without anything from the peer, the call is over.
const PEER_TIMEOUT: Duration = Duration::from_secs(10);

/// After so long without sending anything, a sign of life is sent. Some address translators forget a UDP flow after 30 s
/// (RFC 4787 section 4.3 wants two minutes, and is not always heeded).
const ALIVE_EVERY: Duration = Duration::from_secs(2);

/// A Bye cannot be answered, so it is sent three times, spread in time: what drops one may drop its neighbours too.
const BYES: u8 = 3;
const BYE_PAUSE: Duration = Duration::from_millis(30);

/// Who answers cannot say goodbye before the caller has shown that it is there, and waits so long for that.
const PARTING: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CallPhase {
    /// The handshake is under way.
    Joining,
    Open,
    /// The side that answers has hung up, and cannot say so yet.
    Parting {
        reason: Goodbye,
        until: Instant,
    },
    Leaving {
        byes: u8,
        next: Instant,
        reason: Goodbye,
    },
    Closed,
}

/// A sealed packet to be sent.
#[derive(Debug, Default)]
struct Outgoing {
    datagram: Vec<u8>,
    parts: Parts,
}

impl Outgoing {
    fn new() -> Self {
        Self { datagram: Vec::with_capacity(MAX_DATAGRAM), parts: Parts::default() }
    }
}

/// One call, from either side.
#[derive(Debug)]
pub struct Call {
    session: Box<Session>,
    /// Where what was polled last goes, if not where the peer is.
    to: Option<SocketAddr>,
    offer: Offer,
    answer: Option<Answer>,
    caller: bool,
    state: CallPhase,
    last_sent: Instant,
    last_heard: Instant,
    /// The number after the last frame sent.
    end: u64,
    control: Outgoing,
    note: Outgoing,
    media: Outgoing,
    /// A packet before it is sealed.
    body: Vec<u8>,
    /// Of what the peer sends.
    ack_sender: AckSender,
    observer: PathObserver,
    /// Of what the peer holds.
    ack_receiver: AckReceiver,
    log: SentLog,
    adapter: Adapter,
    began: Instant,
    /// The handshake's.
    round_trip: Duration,
    path: Option<PathNews>,
    presences: Presences,
    recorded: Recorded,
    events: VecDeque<Event<'static>>,
    stats: CallStats,
}

impl Call {
    /// Begins a call: the first datagram is ready to be sent. `key` is the peer's, if it is known: then nobody else can answer.
    /// `index` and `seed` must be random, the latter from the operating system. Media is as `limits` says.
    ///
    /// # Errors
    /// If the key cannot be used.
    #[expect(clippy::too_many_arguments, reason = "each is another thing, and there are no defaults")]
    pub fn dial(
        identity: &Identity,
        key: Option<PublicKey>,
        address: SocketAddr,
        index: u16,
        seed: [u8; 32],
        offer: &Offer,
        limits: Limits,
        now: Instant,
    ) -> Result<Self, DialError> {
        Self::dial_with_psk(identity, key, None, address, index, seed, offer, limits, now)
    }

    /// The same, with a secret that is shared with the peer of that key: nobody takes the call who does not have both.
    ///
    /// # Errors
    /// If the key cannot be used, or is missing.
    #[expect(clippy::too_many_arguments, reason = "each is another thing, and there are no defaults")]
    pub fn dial_with_psk(
        identity: &Identity,
        key: Option<PublicKey>,
        psk: Option<&Psk>,
        address: SocketAddr,
        index: u16,
        seed: [u8; 32],
        offer: &Offer,
        limits: Limits,
        now: Instant,
    ) -> Result<Self, DialError> {
        let session = Session::dial_with_psk(identity, key, psk, address, index, &offer.to_bytes(), seed, now)?;
        Ok(Self { caller: true, ..Self::new(Box::new(session), offer.clone(), None, limits, now) })
    }

    /// Takes a call that a session told of, once it was [asked](Session::shares) for a secret: the answer is ready to be sent. The call stands once the caller has it
    /// ([`Event::Connected`]). If it is `ringing`, nobody has picked up yet, and the answer says so:
    /// [`set_presence`](Self::set_presence) ends that.
    ///
    /// # Errors
    /// If the peers share no codec, or the offer is none: then the session is refused. It is given back, for the refusal to be
    /// sent.
    pub fn answer(
        mut session: Box<Session>,
        offer: &[u8],
        ours: &Offer,
        limits: Limits,
        ringing: bool,
        now: Instant,
    ) -> Result<Self, Box<Session>> {
        let shared = Offer::parse(offer).ok().and_then(|offer| Some((offer.shared(ours)?, offer)));
        let Some((answer, offer)) = shared else {
            session.refuse(Reason::NoSharedBundle, now);
            return Err(session);
        };
        let answer = Answer { ringing, ..answer };
        if session.accept(&answer.to_bytes(), now).is_err() {
            return Err(session);
        }
        Ok(Self::new(session, offer, Some(answer), limits, now))
    }

    fn new(session: Box<Session>, offer: Offer, answer: Option<Answer>, limits: Limits, now: Instant) -> Self {
        Self {
            session,
            to: None,
            offer,
            answer,
            caller: false,
            state: CallPhase::Joining,
            last_sent: now,
            last_heard: now,
            end: 0,
            control: Outgoing::new(),
            note: Outgoing::new(),
            media: Outgoing::new(),
            body: Vec::with_capacity(MAX_DATAGRAM),
            ack_sender: AckSender::new(REPORT_EVERY),
            observer: PathObserver::new(limits.frame, now),
            ack_receiver: AckReceiver::default(),
            log: SentLog::default(),
            adapter: Adapter::new(limits, Costs::tokens([10; 32]), false, Duration::ZERO),
            began: now,
            round_trip: Duration::ZERO,
            path: None,
            presences: Presences::answering(answer.is_some_and(|answer| answer.ringing)),
            recorded: Recorded::default(),
            events: VecDeque::with_capacity(8),
            stats: CallStats::default(),
        }
    }

    /// From now on the plan follows the path, within these limits. To be called when the codec is known.
    pub fn adapt(&mut self, limits: Limits, costs: Costs, adapts: bool) {
        // None of the peer's frames is older than the codec.
        self.observer.set_frame(limits.frame, self.last_heard);
        self.adapter = Adapter::new(limits, costs, adapts, self.round_trip);
    }

    /// Changes what the user lets the call send, in mid-call; what is known of the path stays.
    pub fn set_limits(&mut self, limits: Limits, adapts: bool) {
        self.adapter.set_limits(limits, adapts);
    }

    /// How long the handshake's first round trip took; zero before it is known.
    pub fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// Takes a datagram that came to this call's port, and opens it in place. What is no packet of this call is counted and
    /// ignored.
    pub fn handle<'d>(&mut self, now: Instant, from: SocketAddr, datagram: &'d mut [u8]) -> Option<Event<'d>> {
        let bytes = datagram.len();
        let event = self.session.handle(now, from, datagram);
        if self.caller && self.round_trip.is_zero() && self.session.stats().handshake > 0 {
            // The first answer is a cookie, which takes no time to be made; what comes after it may wait for a model to load.
            self.round_trip = now.saturating_duration_since(self.began);
        }
        let event = event.and_then(|event| self.heard(now, event, bytes));
        while let Some(event) = self.session.poll_event() {
            if let Some(event) = self.heard(now, event, 0) {
                self.events.push_back(event);
            }
        }
        if self.state == CallPhase::Open
            && let Some(presence) = self.presences.news()
        {
            self.events.push_back(Event::Presence(presence));
        }
        if self.state == CallPhase::Open
            && let Some(recorded) = self.recorded.news()
        {
            self.events.push_back(Event::Recorded(recorded));
        }
        event
    }

    fn heard<'d>(&mut self, now: Instant, event: session::Event<'d>, bytes: usize) -> Option<Event<'d>> {
        // What is over stays over: a late answer does not begin it anew.
        if self.is_over() {
            return None;
        }
        if let CallPhase::Parting { reason, .. } = self.state {
            match event {
                session::Event::Confirmed => self.bye(BYES, reason, now),
                session::Event::Attacked => self.state = CallPhase::Closed,
                _ => {}
            }
            return None;
        }
        match event {
            session::Event::Established { peer, answer } => {
                let answer = Answer::parse(&answer).ok();
                let codec = answer.and_then(|answer| Some((answer, self.offer.codec(&answer)?)));
                let Some((answer, codec)) = codec else {
                    // The peer holds it for a call by now, and is told that it is none.
                    self.bye(1, Goodbye::HungUp, now);
                    return Some(Event::Refused(Reason::NoSharedBundle));
                };
                self.answer = Some(answer);
                if self.offer.rekeys && answer.rekeys {
                    self.session.enable_rekeying(now);
                }
                self.presences.answered(answer.ringing);
                Some(self.open(now, peer, codec, answer.depth, answer.frames_per_packet, answer.ringing))
            }
            session::Event::Confirmed => {
                let peer = self.session.peer()?;
                let answer = self.answer?;
                let codec = self.offer.codec(&answer)?;
                if answer.rekeys {
                    self.session.enable_rekeying(now);
                }
                Some(self.open(now, peer, codec, self.offer.depth, self.offer.frames_per_packet, answer.ringing))
            }
            session::Event::Media { number, header, body } => {
                let Ok(media) = Media::parse(header, body) else {
                    self.stats.malformed += 1;
                    return None;
                };
                self.last_heard = now;
                self.stats.received.add(bytes, Parts::of(&media));
                if self.presences.ours().ringing {
                    self.stats.early += 1;
                    return None;
                }
                self.presences.media(number);
                self.media(now, number, media, bytes)
            }
            session::Event::Control { number, body } => {
                let Ok(control) = Control::parse(body) else {
                    self.stats.malformed += 1;
                    return None;
                };
                self.last_heard = now;
                let piggyback = if let Control::Alive { piggyback, .. } = &control { piggyback.bytes() } else { 0 };
                self.stats.received.add(bytes, Parts { payload: 0, piggyback });
                match control {
                    Control::Alive { piggyback, presence, frames } => {
                        self.learn(now, &piggyback);
                        self.presences.alive(number, presence, frames.into());
                        None
                    }
                    Control::Recorded(recorded) => {
                        self.recorded.heard(number, recorded);
                        None
                    }
                    Control::Bye { frames, reason } => {
                        self.state = CallPhase::Closed;
                        Some(Event::PeerLeft { frames: Some(frames.into()), reason })
                    }
                }
            }
            session::Event::Moved { from, to } => {
                self.stats.moves += 1;
                self.observer.moved(now);
                Some(Event::Moved { from, to })
            }
            session::Event::Refused(reason) => {
                self.state = CallPhase::Closed;
                Some(Event::Refused(reason))
            }
            session::Event::TimedOut => {
                self.state = CallPhase::Closed;
                Some(Event::TimedOut)
            }
            session::Event::Attacked => {
                self.state = CallPhase::Closed;
                Some(Event::Attacked)
            }
            // Answered before there was a call.
            session::Event::Incoming { .. } => None,
        }
    }

    fn open(
        &mut self,
        now: Instant,
        peer: PublicKey,
        codec: Codec,
        depth: u8,
        frames_per_packet: u8,
        ringing: bool,
    ) -> Event<'static> {
        self.state = CallPhase::Open;
        if !self.caller {
            self.round_trip = now.saturating_duration_since(self.began);
        }
        (self.last_heard, self.last_sent) = (now, now);
        if self.presences.is_news() {
            self.alive(now);
        }
        if self.recorded.is_news() {
            self.say_recorded(now);
        }
        Event::Connected { peer, codec, depth, frames_per_packet, ringing }
    }

    fn media<'d>(&mut self, now: Instant, number: u64, media: Media<'d>, bytes: usize) -> Option<Event<'d>> {
        let wire = bytes + self.headers();
        match media {
            Media::Silence { noise, piggyback } => {
                self.observer.packet(now, number, 1, wire);
                self.learn(now, &piggyback);
                Some(Event::Silence { number, noise })
            }
            Media::Frames(frames) => {
                let Frames { depth, count, context, copies, copy_depth, piggyback, payload } = frames;
                self.observer.packet(now, number, count, wire);
                self.learn(now, &piggyback);
                let Some(context) = self.ack_sender.resolve(number, context) else {
                    self.stats.unknown_context += 1;
                    return None;
                };
                Some(Event::Frames { first: number, count, depth, copies, copy_depth, context, payload })
            }
        }
    }

    fn learn(&mut self, now: Instant, piggyback: &Piggyback) {
        if let Some(ack) = &piggyback.ack {
            self.ack_receiver.take(ack);
        }
        if let Some(path) = piggyback.feedback.and_then(|feedback| self.log.take(now, &feedback)) {
            self.adapter.take(&path);
            self.path = Some(path);
        }
    }

    fn news(&mut self, now: Instant) -> Piggyback {
        Piggyback { ack: self.ack_sender.ack(now), feedback: self.observer.feedback(now) }
    }

    /// Gives an event that did not fit the last call's answer.
    pub fn poll_event(&mut self) -> Option<Event<'static>> {
        self.events.pop_front()
    }

    /// What to send next: how many frames to bundle, how deep, with which copies. It may change with any feedback.
    pub fn plan(&self) -> Plan {
        self.adapter.plan()
    }

    /// What the payload of the packet that begins with frame `first` should be conditioned upon. The peer holds all of it.
    pub fn context(&self, first: u64) -> Context {
        self.ack_receiver.context(first)
    }

    /// Frames of an [`Event::Frames`] were decoded, and are kept for later packets to be conditioned upon. The first that
    /// come with a number count: later ones must not take their place. Copies are not frames.
    pub fn decoded(&mut self, first: u64, count: usize) {
        self.ack_sender.decoded(first, count);
    }

    /// Hands over a run of frames, made by the present plan, to be sent at once. Its payload is what the model's coder made of
    /// the frames that begin with the one for which `context` was given out. Frame numbers must grow from call to call.
    ///
    /// # Errors
    /// If the call does not stand or still rings, the packet before was not taken, or the run does not fit a packet or the
    /// context.
    pub fn send_frames(&mut self, now: Instant, context: &Context, run: &Run<'_>) -> Result<(), SendError> {
        let Run { count, depth, copies, copy_depth, payload } = *run;
        self.ready()?;
        let fits = (1..=usize::from(MAX_FRAMES)).contains(&count)
            && (1..=parlo_tokens::MAX_DEPTH).contains(&depth)
            && copies <= usize::from(MAX_COPIES)
            && (copies == 0 || (1..=usize::from(MAX_COPY_DEPTH)).contains(&copy_depth))
            && payload.len() <= MAX_PAYLOAD;
        if !fits {
            return Err(SendError::DoesNotFit { count, depth, bytes: payload.len() });
        }
        let first = context.first();
        if first < self.end || copies as u64 > first || !self.ack_receiver.admits(context) {
            return Err(SendError::Context { first });
        }
        let plan = self.plan();
        let media = Media::Frames(Frames {
            depth: depth as u8,
            count: count as u8,
            context: context.reference(),
            copies: copies as u8,
            copy_depth: if copies > 0 { copy_depth as u8 } else { 1 },
            piggyback: self.news(now),
            payload,
        });
        self.seal(now, first, &media)?;
        self.ack_receiver.sent(first, count);
        self.end = first + count as u64;
        self.stats.copies += copies as u64;
        if usize::from(plan.depth) == depth && usize::from(plan.copies) == copies {
            self.adapter.coded(&plan, count, payload.len());
        }
        Ok(())
    }

    /// Tells that nobody speaks, from frame `number` on: to be called every 400 ms or so, with the number of the last frame
    /// captured, until somebody does. Ends no hold of this side, if it is sent while it holds: so numbers may go on.
    ///
    /// # Errors
    /// As [`send_frames`](Self::send_frames).
    pub fn send_silence(&mut self, now: Instant, number: u64, noise: ComfortNoise) -> Result<(), SendError> {
        self.ready()?;
        if number < self.end {
            return Err(SendError::Context { first: number });
        }
        let media = Media::Silence { noise, piggyback: self.news(now) };
        self.seal(now, number, &media)?;
        self.end = number + 1;
        if self.presences.ours().held {
            // Goes before it, and says that the hold begins after it.
            self.alive(now);
        }
        Ok(())
    }

    fn ready(&self) -> Result<(), SendError> {
        if self.state != CallPhase::Open {
            return Err(SendError::NotOpen);
        }
        if self.presences.ringing() {
            return Err(SendError::Ringing);
        }
        if self.media.datagram.is_empty() { Ok(()) } else { Err(SendError::NotDrained) }
    }

    fn seal(&mut self, now: Instant, number: u64, media: &Media<'_>) -> Result<(), SendError> {
        self.body.clear();
        let header = media.encode(&mut self.body);
        self.session.seal_media(number, header, &self.body, &mut self.media.datagram)?;
        self.media.parts = Parts::of(media);
        self.log.packet(now, number);
        self.last_sent = now;
        Ok(())
    }

    fn say(&mut self, now: Instant, control: &Control) {
        self.body.clear();
        control.encode(&mut self.body);
        // A note has a place of its own: it must not push out what is said at the same time.
        let (place, piggyback) = match control {
            Control::Recorded(_) => (&mut self.note, 0),
            Control::Alive { piggyback, .. } => (&mut self.control, piggyback.bytes()),
            Control::Bye { .. } => (&mut self.control, 0),
        };
        place.datagram.clear();
        place.parts = Parts { payload: 0, piggyback };
        // Nothing but a session that is over refuses this.
        let _ = self.session.seal_control(&self.body, &mut place.datagram);
        // A peer that does not know notes is still to be sent its signs of life.
        if !matches!(control, Control::Recorded(_)) {
            self.last_sent = now;
        }
    }

    fn say_recorded(&mut self, now: Instant) {
        let recorded = self.recorded.say(now);
        self.say(now, &Control::Recorded(recorded));
    }

    /// Says whether this side records the call. The peer is told at once, three times more within 400 ms, and then every 2 s until
    /// the call ends; if the call does not stand yet, once it does. A peer that does not know such notes ignores them.
    pub fn set_recorded(&mut self, now: Instant, recorded: bool) {
        self.recorded.set(recorded);
        if self.state == CallPhase::Open && self.recorded.is_news() {
            self.say_recorded(now);
        }
    }

    /// Whether the peer says that it records the call.
    pub fn recorded_by_peer(&self) -> bool {
        self.recorded.theirs()
    }

    fn alive(&mut self, now: Instant) {
        let (piggyback, presence) = (self.news(now), self.presences.say(now));
        let frames = if presence.held { self.end as u32 } else { 0 };
        self.say(now, &Control::Alive { piggyback, presence, frames });
    }

    /// What this side is like from now on. The peer is told at once, three times more within 400 ms, and then with every sign
    /// of life; if the call does not stand yet, once it does. Ringing only ends, where it was answered so
    /// ([`answer`](Self::answer)): it never begins again.
    ///
    /// A side that holds the call sends no frames, as these would tell that it is back. If its frame numbers go on meanwhile, it
    /// sends silence every minute or so, as a number must not be more than 28672 after the one before (9.5 minutes).
    pub fn set_presence(&mut self, now: Instant, presence: Presence) {
        self.presences.set(presence);
        if self.state == CallPhase::Open && self.presences.is_news() {
            self.alive(now);
        }
    }

    /// What this side is like.
    pub fn presence(&self) -> Presence {
        self.presences.ours()
    }

    /// What the peer is like, as far as it is known.
    pub fn peer_presence(&self) -> Presence {
        self.presences.theirs()
    }

    /// Gives the next datagram to be sent, to [`transmit_address`](Self::transmit_address), in place of what `datagram` held;
    /// false if there is none.
    pub fn poll_transmit(&mut self, datagram: &mut Vec<u8>) -> bool {
        datagram.clear();
        self.to = None;
        if self.session.poll_transmit(datagram) {
            self.to = Some(self.session.transmit_address());
            self.stats.sent.add(datagram.len(), Parts::default());
            return true;
        }
        for outgoing in [&mut self.control, &mut self.note, &mut self.media] {
            if !outgoing.datagram.is_empty() {
                datagram.extend_from_slice(&outgoing.datagram);
                outgoing.datagram.clear();
                self.stats.sent.add(datagram.len(), outgoing.parts);
                return true;
            }
        }
        false
    }

    /// Where the datagram goes that [`poll_transmit`](Self::poll_transmit) gave last: to [`address`](Self::address), or to where
    /// the peer may have moved.
    pub fn transmit_address(&self) -> SocketAddr {
        self.to.unwrap_or_else(|| self.address())
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; `None` once the call is over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let session = self.session.poll_timeout();
        match self.state {
            CallPhase::Joining => session.into_iter().chain([self.last_heard + 2 * PEER_TIMEOUT]).min(),
            CallPhase::Open => {
                let ends = [self.last_sent + ALIVE_EVERY, self.last_heard + PEER_TIMEOUT];
                session
                    .into_iter()
                    .chain(self.observer.pressing())
                    .chain(self.presences.due())
                    .chain(self.recorded.due())
                    .chain(ends)
                    .min()
            }
            CallPhase::Parting { until, .. } => Some(until),
            CallPhase::Leaving { next, .. } => Some(next),
            CallPhase::Closed => None,
        }
    }

    /// Does what is due at `now`. Harmless when nothing is.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Event<'static>> {
        if matches!(self.state, CallPhase::Joining | CallPhase::Open)
            && self.session.poll_timeout().is_some_and(|due| now >= due)
            && let Some(event) = self.session.handle_timeout(now)
        {
            return self.heard(now, event, 0);
        }
        match self.state {
            // The session gives up before, if it is the one that asks.
            CallPhase::Joining if now >= self.last_heard + 2 * PEER_TIMEOUT => {
                self.state = CallPhase::Closed;
                return Some(Event::TimedOut);
            }
            CallPhase::Open if now >= self.last_heard + PEER_TIMEOUT => {
                self.state = CallPhase::Closed;
                return Some(Event::TimedOut);
            }
            CallPhase::Open => {
                let pressing = self.observer.pressing().into_iter().chain(self.presences.due()).min();
                if now >= self.last_sent + ALIVE_EVERY || pressing.is_some_and(|due| now >= due) {
                    self.alive(now);
                }
                if self.recorded.due().is_some_and(|due| now >= due) {
                    self.say_recorded(now);
                }
            }
            CallPhase::Parting { until, .. } if now >= until => {
                self.session.close();
                self.state = CallPhase::Closed;
            }
            CallPhase::Leaving { byes, next, reason } if now >= next => self.bye(byes, reason, now),
            _ => {}
        }
        None
    }

    /// Ends the call from this side, and says why. Byes are sent over the next 60 ms; then [`is_over`](Self::is_over). Before
    /// the call stands, a caller just falls silent; who answers waits for the caller to be there, for two seconds at most, and
    /// then says goodbye: datagrams are to be handed over as before.
    pub fn hang_up(&mut self, now: Instant, reason: Goodbye) {
        match self.state {
            CallPhase::Joining if self.caller => {
                self.session.close();
                self.state = CallPhase::Closed;
            }
            CallPhase::Joining => self.state = CallPhase::Parting { reason, until: now + PARTING },
            CallPhase::Open => self.bye(BYES, reason, now),
            CallPhase::Parting { .. } | CallPhase::Leaving { .. } | CallPhase::Closed => {}
        }
    }

    fn bye(&mut self, left: u8, reason: Goodbye, now: Instant) {
        self.say(now, &Control::Bye { frames: self.end as u32, reason });
        let next = now + BYE_PAUSE;
        self.state = if left <= 1 { CallPhase::Closed } else { CallPhase::Leaving { byes: left - 1, next, reason } };
    }

    /// Whether [`rekey`](Self::rekey) is to be called: to be looked at before [`poll_transmit`](Self::poll_transmit).
    pub fn needs_seed(&self) -> bool {
        self.state == CallPhase::Open && self.session.needs_seed()
    }

    /// Gives what [`needs_seed`](Self::needs_seed) asks for: 32 bytes of the operating system's generator, fetched now, of which new
    /// keys are agreed with the peer.
    pub fn rekey(&mut self, seed: [u8; 32], now: Instant) {
        self.session.rekey(seed, now);
    }

    /// How often keys were agreed anew, and how old they are; none of a peer that does not do so.
    pub fn keys(&self, now: Instant) -> Option<(u64, Duration)> {
        self.session.key_age(now).map(|age| (self.session.rekeys(), age))
    }

    /// Whether the call is over. What is left to send still comes out of [`poll_transmit`](Self::poll_transmit).
    pub fn is_over(&self) -> bool {
        self.state == CallPhase::Closed
    }

    /// Whether the call stands. Speech may be sent then, unless it rings on one side
    /// ([`presence`](Self::presence), [`peer_presence`](Self::peer_presence)).
    pub fn is_open(&self) -> bool {
        self.state == CallPhase::Open
    }

    /// Who the peer is, as far as it is known: before the call stands it is not proven.
    pub fn peer(&self) -> Option<PublicKey> {
        self.session.peer()
    }

    /// Where the peer is.
    pub fn address(&self) -> SocketAddr {
        self.session.address()
    }

    /// The index by which the peer's packets name this call.
    pub fn index(&self) -> u16 {
        self.session.index()
    }

    /// Whether this initiation is one that began this call, sent again: it is to be given to [`handle`](Self::handle).
    pub fn is_repeat(&self, from: SocketAddr, datagram: &[u8]) -> bool {
        self.session.is_repeat(from, datagram)
    }

    /// Bytes of IP and UDP headers on the way to the peer.
    pub fn headers(&self) -> usize {
        if self.address().is_ipv4() { IPV4_UDP } else { IPV6_UDP }
    }

    /// The path to the peer, as it told last.
    pub fn path(&self) -> Option<PathNews> {
        self.path
    }

    /// What the path is thought to carry, bits per second with all headers; and the share of packets lost lately.
    pub fn outlook(&self) -> (f64, f64) {
        (self.adapter.target(), self.adapter.loss())
    }

    /// Counts so far.
    pub fn stats(&self) -> &CallStats {
        &self.stats
    }

    /// What the session below has counted: what was forged, replayed, or none of its packets.
    pub fn session_stats(&self) -> &session::Stats {
        self.session.stats()
    }
}

#[cfg(test)]
#[path = "call_tests.rs"]
mod tests;
