//! One call on one socket: the protocol's state machine, and the codec threads' channels.

use std::{
    io,
    net::SocketAddr,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use crossbeam_channel::TryRecvError;
use parlo_protocol::{
    call::{self, Call},
    door::{Caller, Door},
    identity::PublicKey,
    offer::Codec,
    session::{Destination, Reason, destination},
};
use tokio::net::UdpSocket;

use super::{
    engine::{Engine, Event, Peer, Prepared, ReportParts, Running, Stop},
    error::CallError,
    inbound::Inbound,
    media::Incoming,
    meeting::Meeting,
    network::{self, Interrupt, admitted, is_loopback},
    outbound::{self, Outbound},
    socket::{RECEIVE_BYTES, index, passing, report_errors, secret, send},
};

/// How often watchers are told how things are.
const TICK: Duration = Duration::from_secs(1);

/// One call on one socket.
pub(super) struct Line<'e> {
    engine: &'e Engine,
    socket: UdpSocket,
    call: Call,
    /// Where others call meanwhile; a caller has none.
    door: Option<Door>,
    /// The relay that the call goes by, if it does.
    meeting: Option<Meeting>,
    /// Datagrams sent to the peer when the relay was last told so.
    relayed: u64,
    /// The peer itself, calling anew.
    pub(super) next_caller: Option<Caller>,
    peer: Option<PublicKey>,
    datagram: Vec<u8>,
    /// Frames received that the playback thread did not take.
    overrun: u64,
    refusals: u32,
    pub(super) interrupted: bool,
}

/// Which side of a call this is, with everything ready.
pub(super) enum Role {
    /// It asked.
    Caller {
        prepared: Box<Prepared>,
        /// The peer's name, if it is known.
        name: Option<String>,
    },
    /// It was asked.
    Listener { prepared: Box<Prepared> },
}

/// How a call came to its end.
enum End {
    /// This side wanted it, or its source is over.
    Ours,
    /// The peer wanted it.
    Theirs,
    Failed(CallError),
}

/// The media of a call that stands.
struct Media {
    outbound: Outbound,
    inbound: Inbound,
}

impl<'e> Line<'e> {
    pub(super) fn new(
        engine: &'e Engine,
        socket: UdpSocket,
        call: Call,
        door: Option<Door>,
        meeting: Option<Meeting>,
    ) -> Self {
        Self {
            engine,
            socket,
            call,
            door,
            meeting,
            relayed: 0,
            next_caller: None,
            peer: None,
            datagram: Vec::with_capacity(RECEIVE_BYTES),
            overrun: 0,
            refusals: 0,
            interrupted: false,
        }
    }

    /// The socket, the door and the seat at the relay, for the next call.
    pub(super) fn give_back(self, engine: &Engine) -> Result<(UdpSocket, Door, Option<Meeting>), CallError> {
        let door = match self.door {
            Some(door) => door,
            None => Door::new(&engine.identity, secret()?, Instant::now()),
        };
        Ok((self.socket, door, self.meeting))
    }

    /// Holds the call from its first packet to its report.
    pub(super) async fn hold(
        &mut self,
        role: Role,
        stop: &Stop,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<(), CallError> {
        let mut interrupt = Interrupt::new(stop)?;
        let (prepared, name, calls) = match role {
            Role::Caller { prepared, name } => (prepared, name, true),
            Role::Listener { prepared } => (prepared, None, false),
        };
        self.transmit();
        let Some(peer) = self.join(&mut interrupt, name, calls, on_event).await? else { return Ok(()) };
        // The called side knew the codec; the caller guessed it, and is wrong only if the peers share no model.
        let prepared = if prepared.codec == peer.codec { *prepared } else { self.engine.prepare(peer.codec)? };
        let codec = peer.codec;
        let adapts = self.engine.config.call.adapt;
        self.call.adapt(self.engine.limits(self.call.headers()), self.engine.costs(codec), adapts);
        on_event(Event::Connected(peer));
        if codec == Codec::Opus {
            on_event(Event::Notice("the peer holds another model: this call is in Opus".into()));
        }
        let running = prepared.start()?;
        let mut media = Media {
            outbound: Outbound::new(self.engine.packing(codec)),
            inbound: Inbound::new(self.engine.packing(codec)),
        };
        let end = self.talk(&running, &mut media, &mut interrupt, on_event).await;
        if !matches!(end, End::Theirs) {
            running.shared.stop_playback();
        }
        running.shared.stop_capture();
        self.say_goodbye().await;
        let (capture, playback, result) = running.finish();
        let finished = self.engine.report(ReportParts {
            codec,
            capture,
            playback,
            outbound: *media.outbound.stats(),
            overrun: self.overrun,
            stats: *self.call.stats(),
            session: *self.call.session_stats(),
            undecodable: media.inbound.undecodable(),
            headers: self.call.headers(),
        });
        on_event(Event::Ended(Box::new(finished)));
        match end {
            End::Failed(error) => Err(error),
            End::Ours | End::Theirs => result,
        }
    }

    /// Waits until the call stands; `None` if the user gave up.
    async fn join(
        &mut self,
        interrupt: &mut Interrupt<'_>,
        name: Option<String>,
        calls: bool,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Option<Peer>, CallError> {
        let mut buffer = vec![0; RECEIVE_BYTES];
        loop {
            let timeout = self.timeout();
            let event = tokio::select! {
                () = interrupt.wait() => {
                    self.interrupted = true;
                    self.say_goodbye().await;
                    return Ok(None);
                }
                received = self.socket.recv_from(&mut buffer) => match received {
                    Err(error) if calls && error.kind() == io::ErrorKind::ConnectionRefused => {
                        // The first may be of a listener that is just starting; nobody is there when it goes on.
                        self.refusals += 1;
                        if self.refusals >= 3 {
                            return Err(CallError::NoAnswer(self.call.address()));
                        }
                        None
                    }
                    received => match passing(received)? {
                        Some((length, from)) => self.sort(&mut buffer[..length], from, on_event)?,
                        None => None,
                    },
                },
                () = sleep_until(timeout) => self.tick(),
            };
            // Speech may come just before the news that the call stands: nobody plays it yet.
            let mut event = event.and_then(Joined::of);
            while let Some(next) = self.call.poll_event() {
                event = event.or(Joined::of(next));
            }
            self.transmit();
            let address = self.call.address();
            match event {
                Some(Joined::Connected { key, codec, depth, frames_per_packet }) => {
                    self.peer = Some(key);
                    report_errors(&self.socket, false);
                    let name = self.recognise(name, key, calls, on_event)?;
                    return Ok(Some(Peer { address, name, key, codec, depth, frames_per_packet }));
                }
                Some(Joined::Refused(Reason::WrongKey)) => {
                    let who = name.unwrap_or_else(|| address.to_string());
                    return Err(CallError::KeyChanged { who, address });
                }
                Some(Joined::Refused(reason)) => {
                    return Err(CallError::Refused { peer: address, reason: explain(reason).to_owned() });
                }
                Some(Joined::Over) => return Err(CallError::NoAnswer(address)),
                None => {}
            }
        }
    }

    /// The peer's name. Who is called for the first time is remembered from then on; addresses of this machine are not, as
    /// anything may listen there tomorrow.
    fn recognise(
        &mut self,
        name: Option<String>,
        key: PublicKey,
        calls: bool,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Option<String>, CallError> {
        if name.is_some() {
            return Ok(name);
        }
        let address = self.call.address();
        let known = self.engine.known.read()?;
        if let Some(peer) = known.by_key(&key) {
            return Ok(Some(peer.name.clone()));
        }
        if calls && self.meeting.is_none() && !is_loopback(address.ip()) {
            self.engine.known.first_use(&address.to_string(), &key)?;
            on_event(Event::Notice(format!(
                "{address} answers for the first time, with the key {} (fingerprint {}); if that matters, ask your peer \
                 whether it is theirs. It is remembered, and a change will be told",
                key,
                key.fingerprint()
            )));
        }
        Ok(None)
    }

    /// Carries frames both ways until the call ends.
    async fn talk(
        &mut self,
        running: &Running,
        media: &mut Media,
        interrupt: &mut Interrupt<'_>,
        on_event: &mut dyn FnMut(Event),
    ) -> End {
        let mut buffer = vec![0; RECEIVE_BYTES];
        let since = Instant::now();
        let mut tick = since + TICK;
        let (mut wire_before, mut sent_before) = (0, (0, 0.0));
        let mut peer_left = false;
        loop {
            let now = Instant::now();
            if now >= tick {
                let wire = self.call.stats().sent.wire_bytes(self.call.headers());
                let stats = media.outbound.stats();
                let sent = (stats.frames, stats.bits.unwrap_or_default());
                let bits = stats.bits.filter(|_| sent.0 > sent_before.0);
                let bits = bits.map(|bits| (bits - sent_before.1) / (sent.0 - sent_before.0) as f64);
                on_event(progress(running, &self.call, now - since, wire - wire_before, bits));
                (wire_before, sent_before) = (wire, sent);
                tick += TICK;
            }
            for notice in running.notices.try_iter() {
                on_event(Event::Notice(notice));
            }
            if running.playback_finished() {
                // After the peer's goodbye this is the end of what was left; before, it is a failure that `finish` finds.
                return if peer_left { End::Theirs } else { End::Ours };
            }
            let plan = self.call.plan();
            running.shared.wish.depth.store(plan.depth, Relaxed);
            running.shared.wish.loss.store((100.0 * self.call.outlook().1) as u8, Relaxed);
            let timeout = if peer_left { None } else { self.timeout() };
            let event = tokio::select! {
                biased;
                () = interrupt.wait() => {
                    self.interrupted = true;
                    return End::Ours;
                }
                () = running.shared.wake.notified() => match self.send_captured(running, media) {
                    true => None,
                    false if peer_left => None,
                    false => return End::Ours,
                },
                () = sleep_until(timeout) => self.tick(),
                () = sleep_until(Some(tick)) => None,
                // Last: whoever floods this port must not keep speech from being sent.
                received = self.socket.recv_from(&mut buffer) => match passing(received) {
                    Err(error) => return End::Failed(error.into()),
                    Ok(None) => None,
                    Ok(Some((length, from))) => match self.sort(&mut buffer[..length], from, on_event) {
                        Ok(event) => event,
                        Err(error) => return End::Failed(error),
                    },
                },
            };
            let mut next = event;
            while let Some(event) = next {
                match event {
                    call::Event::PeerLeft { frames } => {
                        peer_left = true;
                        running.shared.stop_capture();
                        running.shared.drain(frames);
                    }
                    call::Event::TimedOut => return End::Failed(CallError::Lost(self.call.address())),
                    call::Event::Attacked => return End::Failed(CallError::Attacked(self.call.address())),
                    call::Event::Moved { to, .. } => {
                        on_event(Event::Notice(format!("the peer is reached at {to} now")));
                    }
                    event => {
                        let (arrived, overrun) = (Instant::now(), &mut self.overrun);
                        media.inbound.take(&mut self.call, &event, |number, slot| {
                            // A full channel means that the playback thread hangs: its frames are of no use any more.
                            if running.to_playback.try_send(Incoming { number, slot, arrived }).is_err() {
                                *overrun += 1;
                            }
                        });
                    }
                }
                next = self.call.poll_event();
            }
            self.transmit();
            if self.next_caller.is_some() {
                // The peer has started anew: it does not miss the old call.
                return End::Ours;
            }
        }
    }

    /// Sends what the capture thread has ready; false once it has ended and everything is sent.
    fn send_captured(&mut self, running: &Running, media: &mut Media) -> bool {
        let socket = &self.socket;
        let mut out = |to: SocketAddr, datagram: &[u8]| send(socket, datagram, to);
        loop {
            match running.captured.try_recv() {
                Ok(captured) => media.outbound.push(Instant::now(), &mut self.call, &captured, &mut out),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => {
                    media.outbound.flush(Instant::now(), &mut self.call, &mut out);
                    return false;
                }
            }
        }
    }

    /// Gives a datagram to whom it is for.
    fn sort<'d>(
        &mut self,
        datagram: &'d mut [u8],
        from: SocketAddr,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Option<call::Event<'d>>, CallError> {
        let now = Instant::now();
        if self.meeting.as_mut().is_some_and(|meeting| meeting.takes(now, from, datagram)) {
            return Ok(None);
        }
        let for_call = match destination(datagram) {
            Destination::Session(index) => index == self.call.index() || self.door.is_none(),
            Destination::Gate => self.call.is_repeat(from, datagram),
            Destination::Stun | Destination::Nobody => self.door.is_none(),
        };
        if for_call {
            return Ok(self.call.handle(now, from, datagram));
        }
        let Some(door) = &mut self.door else { return Ok(None) };
        let index = index()?;
        if index == self.call.index() {
            return Ok(None);
        }
        if let Some(caller) = door.handle(now, from, datagram, index) {
            if Some(caller.peer) == self.peer && self.next_caller.is_none() {
                self.next_caller = Some(caller);
            } else {
                if matches!(admitted(self.engine, &caller), Ok(None)) {
                    on_event(Event::Notice(format!(
                        "{} calls, and was told that the line is busy",
                        caller.session.address()
                    )));
                }
                door.refuse(caller, Reason::Busy, now);
            }
        }
        network::transmit(&self.socket, door);
        Ok(None)
    }

    /// When something is due, of the call's or at the door.
    fn timeout(&self) -> Option<Instant> {
        let door = self.door.as_ref().and_then(Door::poll_timeout);
        let meeting = self.meeting.as_ref().and_then(Meeting::poll_timeout);
        self.call.poll_timeout().into_iter().chain(door).chain(meeting).min()
    }

    fn tick(&mut self) -> Option<call::Event<'static>> {
        let now = Instant::now();
        if let Some(door) = &mut self.door {
            door.handle_timeout(now);
            network::transmit(&self.socket, door);
        }
        if let Some(meeting) = &mut self.meeting {
            // A relay that is gone shows by the peer's silence, which ends the call soon enough.
            let _ = meeting.tick(now);
        }
        self.call.handle_timeout(now)
    }

    /// Sends what the call has to send.
    fn transmit(&mut self) {
        let socket = &self.socket;
        if let Some(meeting) = &mut self.meeting {
            let sent = self.call.stats().sent.packets;
            if std::mem::replace(&mut self.relayed, sent) != sent {
                meeting.spoke(Instant::now());
            }
            meeting.transmit(socket);
        }
        outbound::transmit(&mut self.call, &mut self.datagram, &mut |to, datagram| send(socket, datagram, to));
    }

    /// Hangs up, if the call is not over yet, and waits until the goodbyes are sent.
    async fn say_goodbye(&mut self) {
        self.call.hang_up(Instant::now());
        self.transmit();
        while let Some(due) = self.call.poll_timeout() {
            sleep_until(Some(due)).await;
            let _ = self.call.handle_timeout(Instant::now());
            self.transmit();
        }
    }
}

/// What matters before a call stands.
enum Joined {
    Connected { key: PublicKey, codec: Codec, depth: u8, frames_per_packet: u8 },
    Refused(Reason),
    Over,
}

impl Joined {
    fn of(event: call::Event<'_>) -> Option<Self> {
        match event {
            call::Event::Connected { peer, codec, depth, frames_per_packet } => {
                Some(Self::Connected { key: peer, codec, depth, frames_per_packet })
            }
            call::Event::Refused(reason) => Some(Self::Refused(reason)),
            call::Event::PeerLeft { .. } | call::Event::TimedOut | call::Event::Attacked => Some(Self::Over),
            call::Event::Frames { .. } | call::Event::Silence { .. } | call::Event::Moved { .. } => None,
        }
    }
}

fn progress(running: &Running, call: &Call, elapsed: Duration, wire_bytes: u64, bits_per_frame: Option<f64>) -> Event {
    let live = &running.shared.live;
    let plan = call.plan();
    Event::Progress {
        elapsed,
        played: live.played.load(Relaxed),
        lost: live.lost.load(Relaxed),
        jitter_delay: Duration::from_millis(live.delay_ms.load(Relaxed)),
        wire_kbps: wire_bytes as f64 * 8.0 / 1000.0 / TICK.as_secs_f64(),
        peer_loss: call.outlook().1,
        plan: [plan.depth, plan.frames, plan.copies],
        bits_per_frame,
    }
}

pub(super) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

fn explain(reason: Reason) -> &'static str {
    match reason {
        Reason::Busy => "it is in another call; try again later",
        Reason::NoSharedBundle => "it has another model, and no Opus; use the same bundle on both sides (--bundle)",
        Reason::Version => "it speaks another version of the protocol; update the older side",
        Reason::WrongKey => "it has another key",
        Reason::Declined => "it does not want to; if it does not know you, it may want your key (`parlo id`)",
        Reason::Other(_) => "it gave a reason that this program does not know; a newer Parlo may",
    }
}
