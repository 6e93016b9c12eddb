//! How a call comes from one phase to the next.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use parlo_api::{Direction, RefusalReason};
use parlo_protocol::{
    acceptor::{Caller, Confirmed},
    call::{self, Call},
    identity::PublicKey,
    offer::Codec,
    packet::{Goodbye, Presence},
    session::Reason,
};

use super::{
    call_session::{CallSession, End, MediaPath, Phase},
    event_loop::CallManager,
    figures,
    handle::{Refused, RefusedKind, Reply},
    policy::{self, Lines, Recognised, Welcome},
    socket::{index, report_errors, secret},
    udp_endpoint::{UdpEndpoint, headers},
};
use crate::{
    call::{CallError, Depacketizer, Event, Found, Packetizer, Peer, depacketizer_thread::DepacketizerThread},
    config::Endpoint,
    keys::KeysError,
    media::{CallAudio, CallAudioFigures, CallCodec},
    recordings::{Recorder, RecordingError},
    sentence_of,
};

/// How long a caller waits for an answer at an address if the peer has others.
const HOP: Duration = Duration::from_secs(3);

/// How long a caller waits at a relay for the other.
const RELAY_TIMEOUT: Duration = Duration::from_secs(30);

/// What a thread that may wait has done for a call.
pub(super) enum JobResult {
    /// The peer is found, and the codec made.
    Found { id: u64, result: Result<(Found, Box<CallCodec>), CallError> },
    /// The peer did not answer where it was called, and is to be called at its next address.
    NextAddress { id: u64 },
    /// The sound is open, and packets are decoded for it.
    AudioOpened { id: u64, result: Result<(Box<CallAudio>, DepacketizerThread), CallError> },
    /// The sound is closed.
    AudioClosed { id: u64, figures: Box<CallAudioFigures> },
    /// A recording has begun, or not.
    Recording { id: u64, result: Result<Recorder, RecordingError>, reply: ReplySender },
    /// A recording cannot go on.
    RecordingFailed { id: u64, error: RecordingError },
    /// Who answered for the first time at this address is written down, or cannot be.
    PeerNoted { id: u64, address: SocketAddr, key: PublicKey, result: Result<String, KeysError> },
    /// The devices that are set are there, or not.
    DevicesChecked(Result<(), crate::audio::AudioError>),
    /// Other devices are in use, or not.
    DevicesReplaced { result: Result<(), crate::audio::AudioError>, reply: ReplySender },
}

/// Where a request's answer goes.
pub(super) type ReplySender = tokio::sync::oneshot::Sender<Result<Reply, Refused>>;

impl CallManager<'_> {
    /// Begins an outgoing call as the configuration says; its number.
    pub(crate) fn call(&mut self, peer: &str) -> u64 {
        let config = &self.engine.config().call;
        let (relay, ticket) = (config.relay.clone(), config.ticket.clone());
        let call = CallSession::new(0, Direction::Outgoing, peer.to_owned(), self.engine.settings());
        self.dial(call, relay, ticket)
    }

    /// Begins an outgoing call; its number.
    pub(super) fn dial(&mut self, mut call: CallSession, relay: String, ticket: String) -> u64 {
        self.last_id += 1;
        call.id = self.last_id;
        let (id, engine, audio_engine, done) =
            (call.id, self.engine.clone(), self.audio_engine.clone(), self.done.clone());
        let (peer, settings, wake) = (call.asked.clone(), call.settings, self.wake());
        let once = self.purpose.once;
        self.jobs.run(move || {
            // Everything that can fail on this side comes first: nobody's phone rings for a call that cannot be.
            let find = || -> Result<_, CallError> {
                let found = engine.find(&peer, &relay, &ticket)?;
                if once {
                    audio_engine.check()?;
                }
                Ok((found, Box::new(engine.call_codec(id, engine.usual_codec(), &settings, wake)?)))
            };
            // The call manager may have ended meanwhile.
            let _ = done.send(JobResult::Found { id, result: find() });
        });
        self.calls.push(call);
        self.feed_opens(id);
        self.stale = true;
        id
    }

    /// Takes what another thread has done.
    pub(super) async fn on_job_result(&mut self, done: JobResult) {
        self.stale = true;
        match done {
            JobResult::Found { id, result } => {
                let Some(at) = self.by_id(id).filter(|&at| !self.calls[at].is_ending()) else { return };
                let placed = match result {
                    Ok((found, call_codec)) => self.dial_found(at, found, call_codec).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = placed {
                    self.try_next_address(at, error);
                }
            }
            JobResult::NextAddress { id } => {
                let Some(at) = self.by_id(id).filter(|&at| !self.calls[at].is_ending()) else { return };
                if let Err(error) = self.dial_next_address(at).await {
                    self.try_next_address(at, error);
                }
            }
            JobResult::AudioOpened { id, result } => self.on_audio_opened(id, result),
            JobResult::AudioClosed { id, figures } => {
                if let Some(at) = self.by_id(id) {
                    let call = &mut self.calls[at];
                    // What clients see of an end is why it came.
                    let why = || figures.failure.as_ref().map(|error| sentence_of(error));
                    call.failure = call.failure.take().or_else(why);
                    (call.left, call.leaving) = (Some(figures), false);
                }
            }
            JobResult::Recording { id, result, reply } => self.recording_began(id, result, reply),
            JobResult::RecordingFailed { id, error } => {
                if let Some(at) = self.by_id(id) {
                    self.calls[at].recording = None;
                    self.tell_recorded(at);
                }
                self.notice(Some(id), format!("the recording has ended: {}; the call goes on", sentence_of(&error)));
            }
            JobResult::PeerNoted { id, address, key, result } => self.on_peer_noted(id, address, &key, result),
            JobResult::DevicesChecked(found) => self.on_devices_checked(found),
            JobResult::DevicesReplaced { result, reply } => self.on_devices_replaced(result, reply),
        }
    }

    /// Who answered for the first time is written down, or not.
    fn on_peer_noted(&mut self, id: u64, address: SocketAddr, key: &PublicKey, result: Result<String, KeysError>) {
        let first = format!(
            "{address} answers for the first time, with the key {key} (fingerprint {}); if that matters, ask your peer whether it is \
             theirs.",
            key.fingerprint()
        );
        match result {
            Ok(_) => self.notice(Some(id), format!("{first} It is remembered, and a change will be told")),
            // Another program has noted another key there meanwhile.
            Err(KeysError::Taken { name, .. }) => {
                if let Some(at) = self.by_id(id).filter(|&at| !self.calls[at].is_ending()) {
                    self.end(at, End::Failed(CallError::KeyChanged { who: name, address }));
                }
            }
            Err(error) => self.notice(
                Some(id),
                format!("{first} It is remembered until this program ends, and not longer, as it could not be written down: {error}"),
            ),
        }
    }

    /// The peer is found: calls it, or first meets it at the relay.
    async fn dial_found(&mut self, at: usize, found: Found, call_codec: Box<CallCodec>) -> Result<(), CallError> {
        let Found { addresses, name, key, ticket } = found;
        let call = &mut self.calls[at];
        (call.name, call.key, call.call_codec, call.ticket) = (name, key, Some(call_codec), ticket);
        call.others = addresses.into();
        self.dial_next_address(at).await
    }

    /// Calls the peer at the next of its addresses, or meets it at the next of the relay's.
    async fn dial_next_address(&mut self, at: usize) -> Result<(), CallError> {
        let call = &mut self.calls[at];
        let Some(address) = call.others.pop_front() else { return Err(CallError::NoAnswer(call.peer_address())) };
        let relay = call.ticket.map(|ticket| (address, ticket));
        // At a relay somebody is waited for.
        call.hop = (!call.others.is_empty() && relay.is_none()).then(|| Instant::now() + HOP);
        (call.address, call.call, call.refusals) = (Some(address), None, 0);
        self.last_id += 1;
        let endpoint = UdpEndpoint::out(self.last_id, address, relay).await?;
        report_errors(&endpoint.socket, true);
        let meets = endpoint.relay_link.is_some();
        self.calls[at].endpoint = endpoint.id;
        self.endpoints.push(endpoint);
        (self.observer)(Event::Calling(address));
        if meets {
            self.calls[at].phase = Phase::AtRelay { until: Instant::now() + RELAY_TIMEOUT };
            Ok(())
        } else {
            self.start_handshake(at)
        }
    }

    /// The peer does not answer where it is called, or cannot be called there: it is called at its next address, if it has one.
    fn try_next_address(&mut self, at: usize, error: CallError) {
        let call = &mut self.calls[at];
        let before = matches!(call.phase, Phase::Preparing | Phase::AtRelay { .. } | Phase::Handshake);
        if !before || call.others.is_empty() || call.direction == Direction::Incoming {
            return self.end(at, End::Failed(error));
        }
        call.phase = Phase::Preparing;
        (call.call, call.hop) = (None, None);
        let (id, next) = (call.id, call.others[0]);
        self.notice(Some(id), format!("{}; trying {next}", sentence_of(&error)));
        // The call manager itself takes it.
        let _ = self.done.send(JobResult::NextAddress { id });
    }

    /// Sends the first datagram of a call.
    fn start_handshake(&mut self, at: usize) -> Result<(), CallError> {
        let call = &mut self.calls[at];
        let Some(address) = call.address else { return Ok(()) };
        let offer = self.engine.offer(&call.settings);
        let limits = self.engine.limits(&call.settings, headers(address), None);
        let identity = self.engine.identity();
        let peers = self.engine.contacts().current().peers;
        let psk = call.key.as_ref().and_then(|key| peers.psk(key));
        let (index, seed, now) = (index()?, secret()?, Instant::now());
        call.shares = psk.is_some();
        call.call = Some(Call::dial_with_psk(identity, call.key, psk, address, index, seed, &offer, limits, now)?);
        call.phase = Phase::Handshake;
        Ok(())
    }

    /// The other is at the relay, or the relay has failed.
    pub(super) fn on_relay_event(&mut self, endpoint: u64, met: Result<bool, CallError>) {
        let waits = |call: &CallSession| call.endpoint == endpoint && matches!(call.phase, Phase::AtRelay { .. });
        let Some(at) = self.calls.iter().position(waits) else {
            // A listener whose relay has failed is reached by nobody through it.
            if let Err(error) = met {
                self.notice(None, sentence_of(&error));
                if let Some(endpoint) = self.endpoint(endpoint) {
                    endpoint.relay_link = None;
                }
            }
            return;
        };
        match met {
            Ok(false) => {}
            Ok(true) => {
                if let Err(error) = self.start_handshake(at) {
                    self.end(at, End::Failed(error));
                }
            }
            Err(error) => self.try_next_address(at, error),
        }
        self.stale = true;
    }

    /// Somebody calls, or somebody says so: until the call is [confirmed](Self::on_confirmed), nothing but an answer comes of it.
    pub(super) fn on_caller(&mut self, endpoint: u64, mut caller: Caller, now: Instant) {
        let from = caller.session.address();
        if let Welcome::Refuse { reason, notice } = self.welcome(&caller.peer, from) {
            if let Some(acceptor) = self.endpoint(endpoint).and_then(|endpoint| endpoint.acceptor.as_mut()) {
                acceptor.refuse(caller, reason, now);
            }
            return self.refused(now, notice);
        }
        // Who shares a secret with somebody takes no call of that one without it, nor one with another.
        if !caller.session.shares(self.engine.contacts().current().peers.psk(&caller.peer)) {
            let notice = policy::unshared(&self.engine, &caller.peer, from);
            if let Some(acceptor) = self.endpoint(endpoint).and_then(|endpoint| endpoint.acceptor.as_mut()) {
                acceptor.refuse(caller, Reason::Psk, now);
            }
            return self.refused(now, notice);
        }
        let settings = self.engine.settings();
        let offer = self.engine.offer(&settings);
        // It rings until the sound is open here, even where nobody is asked.
        let limits = self.engine.limits(&settings, headers(from), None);
        let answered = Call::answer(caller.session, &caller.offer, &offer, limits, true, now);
        let Some(acceptor) = self.endpoint(endpoint).and_then(|endpoint| endpoint.acceptor.as_mut()) else { return };
        match answered {
            Err(session) => acceptor.dismiss(session, now),
            Ok(call) => acceptor.hold(Box::new(call), now),
        }
    }

    /// A caller has shown that it is there, now: from here on it is a call.
    pub(super) fn on_confirmed(&mut self, endpoint: u64, confirmed: Confirmed, now: Instant) {
        let Confirmed { call, event } = confirmed;
        let (from, Some(peer)) = (call.address(), call.peer()) else { return };
        // As things are now: others may have come meanwhile.
        let (name, answer) = match self.welcome(&peer, from) {
            Welcome::Answer { name } => (name, true),
            Welcome::Ring { name } => (name, false),
            Welcome::Refuse { reason, notice } => {
                let goodbye = if reason == Reason::Busy { Goodbye::Busy } else { Goodbye::Declined };
                if let Some(acceptor) = self.endpoint(endpoint).and_then(|endpoint| endpoint.acceptor.as_mut()) {
                    acceptor.part(call, goodbye, now);
                }
                return self.refused(now, notice);
            }
        };
        if let Some(at) = self.replaced_by(&peer, from) {
            let who = self.calls[at].who();
            self.end(at, End::Failed(CallError::Replaced(who)));
        }
        self.last_id += 1;
        let settings = self.engine.settings();
        let mut session = CallSession::new(self.last_id, Direction::Incoming, from.to_string(), settings);
        session.endpoint = endpoint;
        session.call = Some(*call);
        (session.address, session.name, session.key) = (Some(from), name, Some(peer));
        session.phase = Phase::Handshake;
        session.answered = answer;
        self.calls.push(session);
        self.feed_opens(self.last_id);
        self.stale = true;
        self.on_events(self.calls.len() - 1, event);
    }

    /// Decides about a caller, as things are now.
    fn welcome(&self, peer: &PublicKey, from: SocketAddr) -> Welcome {
        let away = self.presence.do_not_disturb || self.is_ending();
        let replaced = self.replaced_by(peer, from);
        let mut lines = Lines { most: self.purpose.calls, ..Lines::default() };
        let ours = self.engine.identity().public();
        for (at, call) in self.calls.iter().enumerate() {
            if call.is_over() || Some(at) == replaced {
                continue;
            }
            let is_incoming = call.direction == Direction::Incoming;
            lines.taken += 1;
            lines.incoming += usize::from(is_incoming);
            lines.strangers += usize::from(is_incoming && call.name.is_none() && call.key != Some(ours));
        }
        policy::welcome(&self.engine, peer, from, away, lines)
    }

    /// Says that somebody was refused, unless too much of that was said just now.
    fn refused(&mut self, now: Instant, notice: String) {
        if let Some(line) = self.refusals.pass(now, || notice) {
            self.notice(None, line);
        }
    }

    /// The call that a new one of this peer takes the place of: a peer that calls anew from where it was does not miss the old one.
    fn replaced_by(&self, peer: &PublicKey, from: SocketAddr) -> Option<usize> {
        // Calls of this machine's own key are several programs' rather.
        if *peer == self.engine.identity().public() {
            return None;
        }
        self.calls.iter().position(|call| {
            call.key == Some(*peer)
                && call.direction == Direction::Incoming
                && call.address.is_some_and(|address| address.ip() == from.ip())
                && !call.is_ending()
        })
    }

    /// The system says that nobody listens where a call goes.
    pub(super) fn refused_by_system(&mut self, endpoint: u64) {
        let joins = |call: &CallSession| call.endpoint == endpoint && call.phase == Phase::Handshake;
        let Some(at) = self.calls.iter().position(joins) else { return };
        // The first may be of a listener that is just starting; nobody is there when it goes on.
        self.calls[at].refusals += 1;
        if self.calls[at].refusals >= 3
            && let Some(address) = self.calls[at].address
        {
            self.try_next_address(at, CallError::NoAnswer(address));
        }
    }

    /// A datagram of a call.
    pub(super) fn on_datagram(&mut self, at: usize, now: Instant, from: SocketAddr, datagram: &mut [u8]) {
        let Some(mut call) = self.calls[at].call.take() else { return };
        let event = call.handle(now, from, datagram);
        // Speech goes on its way before anything else; the call is back in its place for that.
        match event {
            Some(event @ (call::Event::Frames { .. } | call::Event::Silence { .. })) => {
                while let Some(first) = call.poll_event() {
                    self.calls[at].call = Some(call);
                    self.on_event(at, first);
                    let Some(back) = self.calls[at].call.take() else { return };
                    call = back;
                }
                self.calls[at].call = Some(call);
                let frame = self.engine.frame(self.calls[at].codec);
                self.calls[at].take_media(&event, frame);
            }
            event => {
                let event = event.and_then(lasting);
                self.calls[at].call = Some(call);
                self.on_events(at, event);
            }
        }
    }

    pub(super) fn call_due(&mut self, at: usize, now: Instant) {
        let call = &mut self.calls[at];
        let mut event = None;
        if let Some(call) = &mut call.call
            && call.poll_timeout().is_some_and(|due| now >= due)
        {
            event = call.handle_timeout(now);
        }
        self.on_events(at, event);
        match self.calls[at].phase {
            Phase::Handshake if self.calls[at].hop.is_some_and(|hop| now >= hop) => {
                let address = self.calls[at].peer_address();
                self.try_next_address(at, CallError::NoAnswer(address));
            }
            Phase::AtRelay { until } if now >= until => {
                let relay = self.calls[at].peer_address();
                self.end(at, End::Failed(CallError::NobodyAtRelay(relay)));
            }
            Phase::Ringing { until } if now >= until => {
                let error = match self.calls[at].direction {
                    Direction::Outgoing => CallError::NotPickedUp(self.calls[at].peer_address()),
                    Direction::Incoming => CallError::Missed(self.calls[at].who()),
                };
                self.end(at, End::Failed(error));
            }
            _ => {}
        }
    }

    /// Takes an event, and whatever waits behind it.
    fn on_events(&mut self, at: usize, event: Option<call::Event<'static>>) {
        let mut next = event;
        loop {
            if let Some(event) = next {
                self.on_event(at, event);
            }
            next = self.calls[at].call.as_mut().and_then(Call::poll_event);
            if next.is_none() {
                return;
            }
        }
    }

    fn on_event(&mut self, at: usize, event: call::Event<'static>) {
        match event {
            call::Event::Connected { peer, codec, frames_per_packet, ringing, depth } => {
                let joined = self.joined(at, peer, codec, frames_per_packet, depth);
                match joined {
                    Err(error) => self.end(at, End::Failed(error)),
                    Ok(()) => self.ring_or_open_audio(at, ringing),
                }
            }
            call::Event::Presence(presence) => {
                if matches!(self.calls[at].phase, Phase::Ringing { .. })
                    && self.calls[at].direction == Direction::Outgoing
                    && !presence.ringing
                {
                    self.open_audio(at);
                }
            }
            call::Event::Recorded(recorded) => {
                // Clients see it of the call.
                let text = if recorded { "records this call" } else { "records this call no longer" };
                let who = self.calls[at].who();
                if let Some(line) = self.calls[at].lines.pass(Instant::now(), || format!("{who} {text}")) {
                    (self.observer)(Event::Notice(line));
                }
            }
            call::Event::Moved { to, .. } => {
                let call = &mut self.calls[at];
                call.address = Some(to);
                let (id, line) = (call.id, || format!("the peer is reached at {to} now"));
                if let Some(line) = call.lines.pass(Instant::now(), line) {
                    self.notice(Some(id), line);
                }
            }
            call::Event::Refused(reason) => {
                let error = self.refusal(at, reason);
                self.end(at, End::Failed(error));
            }
            call::Event::PeerLeft { frames, reason } => self.peer_left(at, frames, reason),
            call::Event::TimedOut => {
                let call = &self.calls[at];
                let address = call.peer_address();
                let error = match call.phase {
                    Phase::Handshake if call.shares => CallError::NoAnswerShared(address),
                    Phase::Handshake => CallError::NoAnswer(address),
                    _ => CallError::Lost(address),
                };
                // Only before it stood.
                self.try_next_address(at, error);
            }
            call::Event::Attacked => {
                let address = self.calls[at].peer_address();
                self.end(at, End::Failed(CallError::Attacked(address)));
            }
            // Media has its own way.
            call::Event::Frames { .. } | call::Event::Silence { .. } => {}
        }
        self.stale = true;
    }

    /// The handshake is done: who is there, and in what speech will be.
    fn joined(
        &mut self,
        at: usize,
        peer: PublicKey,
        codec: Codec,
        peer_frames: u8,
        peer_depth: u8,
    ) -> Result<(), CallError> {
        if let Some(endpoint) = self.endpoints.iter().find(|endpoint| endpoint.id == self.calls[at].endpoint) {
            report_errors(&endpoint.socket, false);
        }
        let shares = self.engine.contacts().current().peers.psk(&peer).is_some();
        let codec = self.engine.known_as(codec);
        let call = &mut self.calls[at];
        // It was called by its address alone, and turns out to be somebody with whom a secret is shared.
        if shares && !call.shares && call.direction == Direction::Outgoing {
            let who = call.who();
            return Err(CallError::Unshared(who));
        }
        (call.key, call.codec) = (Some(peer), Some(codec));
        call.settings = self.engine.fit(call.settings, codec);
        (call.peer_frames, call.peer_depth) = (peer_frames, peer_depth);
        if call.name.is_none() {
            let direct = call.ticket.is_none() && call.direction == Direction::Outgoing;
            let address = call.address.filter(|_| direct);
            match policy::recognise(&self.engine, &peer, address) {
                Recognised::Known(name) => call.name = Some(name),
                Recognised::Stranger => {}
                Recognised::First(address) => {
                    let (id, done) = (call.id, self.done.clone());
                    let told = Box::new(move |result| {
                        // The call manager may have ended meanwhile.
                        let _ = done.send(JobResult::PeerNoted { id, address, key: peer, result });
                    });
                    self.engine.contacts().note(&address.to_string(), &peer, told);
                }
                Recognised::Changed(who) => {
                    let address = call.peer_address();
                    return Err(CallError::KeyChanged { who, address });
                }
            }
        }
        let packetizer = Packetizer::with_frame(self.engine.packing(codec), self.engine.frame(Some(codec)));
        self.calls[at].media = Some(MediaPath { packetizer, depacketizer: None });
        Ok(())
    }

    fn ring_or_open_audio(&mut self, at: usize, ringing: bool) {
        let call = &mut self.calls[at];
        let waits = match call.direction {
            Direction::Outgoing => ringing,
            Direction::Incoming => !call.answered,
        };
        if !waits {
            self.open_audio(at);
            return;
        }
        let until = Instant::now() + Duration::from_secs(self.engine.config().call.ring_seconds);
        // The called side gives up first, and says so.
        let grace = if call.direction == Direction::Outgoing { Duration::from_secs(2) } else { Duration::ZERO };
        call.phase = Phase::Ringing { until: until + grace };
        let (id, who, address) = (call.id, call.who(), call.address);
        match (call.direction, address) {
            (Direction::Outgoing, Some(address)) => (self.observer)(Event::Ringing(address)),
            (Direction::Outgoing, None) => {}
            (Direction::Incoming, _) => (self.observer)(Event::Incoming { call: id, who }),
        }
    }

    /// Opens a call's sound, on a thread that may wait.
    pub(super) fn open_audio(&mut self, at: usize) {
        let call = &mut self.calls[at];
        let (Some(codec), false) = (call.codec, matches!(call.phase, Phase::OpeningAudio | Phase::Active)) else {
            return;
        };
        call.phase = Phase::OpeningAudio;
        self.feed_begins(at, codec);
        let call = &mut self.calls[at];
        // The caller guessed the codec, and is wrong if the best that the peers share is another.
        let made = call.call_codec.take().filter(|_| self.engine.is_usual(codec));
        let (id, settings) = (call.id, call.settings);
        let (engine, audio_engine, done, wake) =
            (self.engine.clone(), self.audio_engine.clone(), self.done.clone(), self.wake());
        self.jobs.run(move || {
            let audio = || -> Result<_, CallError> {
                let call_codec = match made {
                    Some(call_codec) => *call_codec,
                    None => engine.call_codec(id, codec, &settings, wake)?,
                };
                let depacketizer = Depacketizer::new(engine.packing(codec));
                let audio = audio_engine.open_call(call_codec)?;
                match DepacketizerThread::start(depacketizer, audio.to_playback.clone(), Arc::clone(&audio.shared)) {
                    Ok(depacketizer) => Ok((Box::new(audio), depacketizer)),
                    Err(error) => {
                        audio.close();
                        Err(error.into())
                    }
                }
            };
            if let Err(unsent) = done.send(JobResult::AudioOpened { id, result: audio() })
                && let JobResult::AudioOpened { result: Ok((audio, _)), .. } = unsent.0
            {
                audio.close();
            }
        });
    }

    /// The sound is open: both sides may speak.
    fn on_audio_opened(&mut self, id: u64, result: Result<(Box<CallAudio>, DepacketizerThread), CallError>) {
        let at = self.by_id(id).filter(|&at| self.calls[at].phase == Phase::OpeningAudio);
        let (at, audio, depacketizer) = match (at, result) {
            (Some(at), Ok((audio, depacketizer))) => (at, *audio, depacketizer),
            (Some(at), Err(error)) => return self.end(at, End::Failed(error)),
            (None, Ok((audio, _))) => {
                // It has ended meanwhile.
                self.jobs.run(move || drop(audio.close()));
                return;
            }
            (None, Err(_)) => return,
        };
        let now = Instant::now();
        let records = self.keeps_sound();
        let call = &mut self.calls[at];
        let (Some(protocol), Some(codec)) = (&mut call.call, call.codec) else { return };
        protocol.adapt(
            self.engine.limits(&call.settings, protocol.headers(), call.codec),
            self.engine.costs(codec),
            call.settings.adapt,
        );
        protocol.set_presence(now, Presence { ringing: false, held: call.held });
        if records {
            protocol.set_recorded(now, true);
        }
        for packet in call.early.drain(..) {
            call.overrun += u64::from(!depacketizer.give(packet));
        }
        if let Some(media) = &mut call.media {
            media.depacketizer = Some(depacketizer);
        }
        audio.set_volume(call.volume_db);
        audio.hold(call.held);
        audio.confer(call.conference);
        call.audio = Some(audio);
        call.phase = Phase::Active;
        call.talking_since = Some(now);
        call.tell_plan();
        let peer = call.address.zip(call.key).map(|(address, key)| Peer {
            address,
            name: call.name.clone(),
            key,
            codec,
            depth: call.peer_depth,
            frames_per_packet: call.peer_frames,
        });
        if let Some(peer) = peer {
            (self.observer)(Event::Connected(peer));
        }
        if codec == Codec::Opus {
            self.notice(Some(id), "the peer holds another model: this call is in Opus".into());
        }
        self.stale = true;
    }

    /// Whether what is heard is written to a file instead of played: as good as recorded.
    fn keeps_sound(&self) -> bool {
        matches!(self.settings.sink, Endpoint::File(_))
    }

    /// Tells a call's peer whether it is recorded here.
    pub(super) fn tell_recorded(&mut self, at: usize) {
        let kept = self.keeps_sound();
        let call = &mut self.calls[at];
        let recorded = call.recording.is_some() || kept;
        if let Some(protocol) = &mut call.call {
            protocol.set_recorded(Instant::now(), recorded);
        }
    }

    fn peer_left(&mut self, at: usize, frames: Option<u64>, reason: Goodbye) {
        let call = &mut self.calls[at];
        call.peer_left = true;
        call.goodbye = Some(reason);
        match (&call.audio, call.phase) {
            (Some(audio), Phase::Active) => {
                // What was said before is played to its end.
                audio.shared.stop_capture();
                match call.media.as_ref().and_then(|media| media.depacketizer.as_ref()) {
                    Some(depacketizer) => depacketizer.drain(frames),
                    None => audio.shared.drain(frames),
                }
            }
            _ => {
                let who = call.who();
                let error = match (call.direction, reason) {
                    (Direction::Outgoing, Goodbye::Declined) => Some(self.refusal(at, Reason::Declined)),
                    (Direction::Outgoing, Goodbye::Busy) => Some(self.refusal(at, Reason::Busy)),
                    (Direction::Outgoing, Goodbye::NoAnswer) => Some(CallError::NotPickedUp(call.peer_address())),
                    (_, Goodbye::Replaced) => Some(CallError::ReplacedThere(who)),
                    (Direction::Incoming, _) => Some(CallError::Missed(who)),
                    (Direction::Outgoing, _) => None,
                };
                self.end(at, error.map_or(End::Theirs, End::Failed));
            }
        }
    }

    /// The peer's refusal, in words.
    fn refusal(&self, at: usize, reason: Reason) -> CallError {
        let call = &self.calls[at];
        let address = call.peer_address();
        let peers = self.engine.contacts().current().peers;
        let peer = call.call.as_ref().and_then(Call::peer);
        match reason {
            Reason::WrongKey => {
                CallError::KeyChanged { who: call.name.clone().unwrap_or_else(|| address.to_string()), address }
            }
            Reason::Psk if call.shares => CallError::NotShared(call.who()),
            // It was called by its address alone.
            Reason::Psk if peer.is_some_and(|peer| peers.psk(&peer).is_some()) => CallError::Unshared(call.who()),
            Reason::Psk => CallError::SharesSecret(call.who()),
            reason => CallError::Refused { peer: address, reason: explain(reason).to_owned() },
        }
    }

    /// Answers a call that rings here.
    pub(super) fn answer(&mut self, at: usize) {
        self.calls[at].answered = true;
        if matches!(self.calls[at].phase, Phase::Ringing { .. }) {
            self.open_audio(at);
        }
        self.stale = true;
    }

    /// Refuses a call that rings here.
    pub(super) fn refuse(&mut self, at: usize, reason: RefusalReason) {
        let goodbye = match reason {
            RefusalReason::Declined => Goodbye::Declined,
            RefusalReason::Busy => Goodbye::Busy,
        };
        self.end_with(at, End::Ours, goodbye);
    }

    /// Ends a call, however far it has come. What has to be done for that takes a while.
    pub(super) fn end(&mut self, at: usize, end: End) {
        let broken = self.calls[at].audio.as_ref().is_some_and(|audio| audio.shared.has_failed());
        let goodbye = match (&end, self.calls[at].phase) {
            // The sound has failed, which leaving finds.
            (End::Ours, Phase::Active) if broken => Goodbye::Failed,

            (End::Failed(CallError::Missed(_) | CallError::NotPickedUp(_)), _) => Goodbye::NoAnswer,
            (End::Failed(CallError::Replaced(_)), _) => Goodbye::Replaced,
            (End::Failed(_), Phase::OpeningAudio) => Goodbye::Declined,
            // Not to a peer that is the reason.
            (End::Failed(error), Phase::Active)
                if !matches!(error, CallError::PeerFailed(_) | CallError::ReplacedThere(_)) =>
            {
                Goodbye::Failed
            }
            _ => Goodbye::HungUp,
        };
        self.end_with(at, end, goodbye);
    }

    fn end_with(&mut self, at: usize, end: End, goodbye: Goodbye) {
        let call = &mut self.calls[at];
        if call.is_ending() {
            return;
        }
        let theirs = matches!(end, End::Theirs);
        call.phase = Phase::Closing;
        // Clients may see the end before it is concluded.
        if let End::Failed(error) = &end {
            call.failure = Some(sentence_of(error));
        }
        call.end = Some(end);
        (call.call_codec, call.peer_left) = (None, false);
        call.early = Vec::new();
        if let Some(depacketizer) = call.media.as_mut().and_then(|media| media.depacketizer.as_mut()) {
            depacketizer.close();
        }
        let id = call.id;
        if let Some(protocol) = &mut call.call {
            protocol.hang_up(Instant::now(), goodbye);
        }
        if let Some(audio) = call.audio.take() {
            if !theirs {
                audio.shared.stop_playback();
            }
            audio.shared.stop_capture();
            call.leaving = true;
            let done = self.done.clone();
            self.jobs.run(move || {
                // The call manager may have ended: then nobody waits for the figures.
                let _ = done.send(JobResult::AudioClosed { id, figures: Box::new(audio.close()) });
            });
        }
        if call.recording.take().is_some()
            && let Some(frame_tap) = &self.frame_tap
        {
            frame_tap.stop(id);
        }
        self.stale = true;
    }

    /// Ends a call that is leaving, once goodbyes are sent and the sound is closed.
    pub(super) fn finish(&mut self, at: usize, now: Instant) {
        let call = &mut self.calls[at];
        let said = call.call.as_ref().is_none_or(|call| call.is_over() || call.poll_timeout().is_none());
        if call.phase != Phase::Closing || call.leaving || !said {
            return;
        }
        call.phase = Phase::Ended { since: now };
        let sound = call.left.as_mut().and_then(|figures| figures.failure.take());
        let failure = match call.end.take() {
            Some(End::Failed(error)) => Some(error),
            _ => sound,
        };
        call.failure = failure.as_ref().map(|error| sentence_of(error));
        let (id, failed) = (call.id, call.failure.clone());
        self.feed_ends(id);
        let call = &mut self.calls[at];
        if let Some(finished) = figures::report(call, &self.engine) {
            (self.observer)(Event::Ended(Box::new(finished)));
        }
        call.call = None;
        call.media = None;
        self.stale = true;
        if self.purpose.once {
            self.failure = failure;
        } else if let Some(text) = failed {
            // Clients have it with the call: to them it would be said twice.
            (self.observer)(Event::Notice(text));
        }
        self.call_is_over();
    }
}

/// Events that outlast the datagram that they came of.
fn lasting(event: call::Event<'_>) -> Option<call::Event<'static>> {
    Some(match event {
        call::Event::Frames { .. } | call::Event::Silence { .. } => return None,
        call::Event::Connected { peer, codec, depth, frames_per_packet, ringing } => {
            call::Event::Connected { peer, codec, depth, frames_per_packet, ringing }
        }
        call::Event::Presence(presence) => call::Event::Presence(presence),
        call::Event::Recorded(recorded) => call::Event::Recorded(recorded),
        call::Event::Moved { from, to } => call::Event::Moved { from, to },
        call::Event::Refused(reason) => call::Event::Refused(reason),
        call::Event::PeerLeft { frames, reason } => call::Event::PeerLeft { frames, reason },
        call::Event::TimedOut => call::Event::TimedOut,
        call::Event::Attacked => call::Event::Attacked,
    })
}

fn explain(reason: Reason) -> &'static str {
    match reason {
        Reason::Busy => "it is in another call; try again later",
        Reason::NoSharedBundle => "it has another model, and no Opus; use the same bundle on both sides (--bundle)",
        Reason::Version => "it speaks another version of the protocol; update the older side",
        Reason::WrongKey => "it has another key",
        Reason::Declined => "it does not want to; if it does not know you, it may want your key (`parlo id`)",
        Reason::Psk => "the two of you do not share the same secret (PSK)",
        Reason::Other(_) => "it gave a reason that this program does not know; a newer Parlo may",
    }
}

/// So that a refusal's kind need not be named where it is always the same.
pub(super) fn conflict(text: impl Into<String>) -> Refused {
    Refused::new(RefusedKind::Conflict, text)
}
