//! The network side of a call: one UDP socket, the protocol's state machine, and the codec threads' channels.

use std::{
    future::Future,
    hash::{BuildHasher, Hasher, RandomState},
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use crossbeam_channel::TryRecvError;
use parlo_model::PacketCoder;
use parlo_protocol::{
    call::{self, Call, Knock},
    packet::{Hello, IPV4_UDP, IPV6_UDP, Packet, Reason, Refuse, VERSION},
};
use parlo_tokens::TokenFrame;
use tokio::{
    net::UdpSocket,
    signal::unix::{Signal, SignalKind, signal},
};

use super::{
    engine::{CallError, Engine, Event, Peer, Prepared, ReportParts, Running, Stop},
    media::Incoming,
};
use crate::{realtime, report::Traffic};

/// Longer than any datagram of ours: a longer one is cut, and so recognised as junk.
const RECEIVE_BYTES: usize = 2048;

/// How often watchers are told how things are.
const TICK: Duration = Duration::from_secs(1);

/// Runs the network on this thread until it is done.
pub(super) fn block_on<T>(future: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
    // Packets are timed as sound is: where the codec threads may have priority, so may this one. It sleeps but for moments.
    let _ = realtime::promote(48_000, 480);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(future)
}

/// Places a call.
pub(super) async fn place(
    engine: &Engine,
    address: SocketAddr,
    stop: &Stop,
    on_event: &mut dyn FnMut(Event),
) -> Result<(), CallError> {
    // Everything that can fail on this side comes first: nobody's phone rings for a call that cannot be.
    let prepared = engine.prepare()?;
    let any: SocketAddr =
        if address.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = bind(any).await?;
    // Connected: the system then tells when nobody listens there, and keeps other senders out.
    socket.connect(address).await?;
    on_event(Event::Calling(address));
    let (id, tag) = (random(), random() as u16);
    let call = Call::dial(id, tag, engine.offer(), Instant::now());
    let mut line = Line::new(engine, socket, address, true, call);
    line.hold(Role::Caller(Box::new(prepared)), stop, on_event).await
}

/// Waits for calls.
pub(super) async fn wait(
    engine: &Engine,
    address: SocketAddr,
    once: bool,
    stop: &Stop,
    on_event: &mut dyn FnMut(Event),
) -> Result<(), CallError> {
    crate::audio::check(&engine.config.audio)?;
    let mut socket = bind(address).await?;
    on_event(Event::Listening(socket.local_addr()?));
    let mut interrupt = Interrupt::new(stop)?;
    let mut datagram = vec![0; RECEIVE_BYTES];
    loop {
        let received = tokio::select! {
            () = interrupt.wait() => return Ok(()),
            received = socket.recv_from(&mut datagram) => received,
        };
        let Some((length, from)) = passing(received)? else { continue };
        let refuse = match call::knock(&datagram[..length]) {
            Knock::Junk => continue,
            Knock::Refuse(refuse) => refuse,
            Knock::Hello(hello) => match Call::answer(&hello, engine.offer(), Instant::now()) {
                Err(refuse) => refuse,
                Ok(call) => {
                    let mut line = Line::new(engine, socket, from, false, call);
                    let result = line.hold(Role::Listener(hello), stop, on_event).await;
                    if once || line.interrupted {
                        return result;
                    }
                    if let Err(error) = result {
                        on_event(Event::Notice(error.to_string()));
                    }
                    socket = line.socket;
                    on_event(Event::Listening(socket.local_addr()?));
                    continue;
                }
            },
        };
        answer(&socket, refuse, from).await;
    }
}

/// Sends a refusal. Whoever it is for asks again if it is lost.
async fn answer(socket: &UdpSocket, refuse: Refuse, to: SocketAddr) {
    let mut datagram = Vec::new();
    Packet::Refuse(refuse).encode(&mut datagram);
    let _ = socket.send_to(&datagram, to).await;
}

async fn bind(address: SocketAddr) -> Result<UdpSocket, CallError> {
    UdpSocket::bind(address).await.map_err(|error| CallError::Bind { address, error })
}

/// Sorts out errors that a UDP socket reports of datagrams sent before, and that are no fault of the socket.
fn passing(received: io::Result<(usize, SocketAddr)>) -> io::Result<Option<(usize, SocketAddr)>> {
    match received {
        Ok(received) => Ok(Some(received)),
        Err(error) if is_passing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionRefused
            | Kind::ConnectionReset
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NetworkDown
            | Kind::Interrupted
            | Kind::WouldBlock
    )
}

/// 64 random bits of the system's, by way of the standard library's hash keys.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The user's wish to end, in any of its forms.
struct Interrupt<'a> {
    stop: &'a Stop,
    interrupt: Signal,
    terminate: Signal,
}

impl<'a> Interrupt<'a> {
    fn new(stop: &'a Stop) -> io::Result<Self> {
        Ok(Self { stop, interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            () = self.stop.requested() => {}
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// One call on one socket.
struct Line<'e> {
    engine: &'e Engine,
    socket: UdpSocket,
    peer: SocketAddr,
    connected: bool,
    call: Call,
    /// Of what is sent, and of what is received.
    sender: PacketCoder,
    receiver: PacketCoder,
    datagram: Vec<u8>,
    /// Frames that wait for their packet to be full.
    pending: Vec<TokenFrame>,
    /// Number of the first of them.
    first: u64,
    payload: Vec<u8>,
    unpacked: Vec<TokenFrame>,
    sent_frames: u64,
    /// What these hold by the entropy model.
    sent_bits: Option<f64>,
    dropped: u64,
    undecodable: u64,
    refusals: u32,
    interrupted: bool,
}

/// Which side of a call this is.
enum Role {
    /// It asked, and has everything ready.
    Caller(Box<Prepared>),
    /// It was asked, with this.
    Listener(Hello),
}

/// How a call came to its end.
enum End {
    /// This side wanted it, or its source is over.
    Ours,
    /// The peer wanted it.
    Theirs,
    Failed(CallError),
}

impl<'e> Line<'e> {
    fn new(engine: &'e Engine, socket: UdpSocket, peer: SocketAddr, connected: bool, call: Call) -> Self {
        let frames = usize::from(engine.config.call.frames_per_packet);
        Self {
            engine,
            socket,
            peer,
            connected,
            call,
            sender: engine.coder(),
            receiver: engine.coder(),
            datagram: Vec::with_capacity(RECEIVE_BYTES),
            pending: Vec::with_capacity(frames),
            first: 0,
            payload: Vec::with_capacity(RECEIVE_BYTES),
            unpacked: Vec::with_capacity(usize::from(parlo_protocol::packet::MAX_FRAMES)),
            sent_frames: 0,
            sent_bits: None,
            dropped: 0,
            undecodable: 0,
            refusals: 0,
            interrupted: false,
        }
    }

    /// Holds the call from its first packet to its report.
    async fn hold(&mut self, role: Role, stop: &Stop, on_event: &mut dyn FnMut(Event)) -> Result<(), CallError> {
        let mut interrupt = Interrupt::new(stop)?;
        let prepared = match role {
            Role::Caller(prepared) => {
                self.transmit().await?;
                match self.dial(&mut interrupt, on_event).await? {
                    true => *prepared,
                    false => return Ok(()),
                }
            }
            // The listener's devices are opened only now: no microphone is on before a call. Its Welcome waits until then,
            // so that speech does not pile up before there is a loudspeaker.
            Role::Listener(Hello { call, depth, frames_per_packet, .. }) => match self.engine.prepare() {
                Ok(prepared) => {
                    self.transmit().await?;
                    on_event(Event::Connected(Peer { address: self.peer, depth, frames_per_packet }));
                    prepared
                }
                Err(error) => {
                    answer(&self.socket, Refuse { version: VERSION, call, reason: Reason::Declined }, self.peer).await;
                    return Err(error);
                }
            },
        };
        let running = prepared.start()?;
        let end = self.talk(&running, &mut interrupt, on_event).await;
        if !matches!(end, End::Theirs) {
            running.shared.stop_playback();
        }
        running.shared.stop_capture();
        self.say_goodbye().await?;
        let (capture, playback, result) = running.finish();
        let stats = *self.call.stats();
        let headers = if self.peer.is_ipv4() { IPV4_UDP } else { IPV6_UDP };
        let traffic = |count: &call::Count| Traffic {
            packets: count.packets,
            payload_bytes: count.payload_bytes,
            report_bytes: count.report_bytes,
            wire_bytes: count.wire_bytes(headers),
        };
        let finished = self.engine.report(ReportParts {
            capture,
            playback,
            sent_frames: self.sent_frames,
            sent_bits: self.sent_bits,
            dropped: self.dropped,
            sent: traffic(&stats.sent),
            received: traffic(&stats.received),
            junk: stats.junk + self.undecodable,
            unknown_context: stats.unknown_context,
        });
        on_event(Event::Ended(Box::new(finished)));
        match end {
            End::Failed(error) => Err(error),
            End::Ours | End::Theirs => result,
        }
    }

    /// Waits for the answer to a Hello; false if the user gave up.
    async fn dial(
        &mut self,
        interrupt: &mut Interrupt<'_>,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<bool, CallError> {
        let mut buffer = vec![0; RECEIVE_BYTES];
        loop {
            let event = tokio::select! {
                () = interrupt.wait() => {
                    self.interrupted = true;
                    self.say_goodbye().await?;
                    return Ok(false);
                }
                received = self.socket.recv(&mut buffer) => match received {
                    Ok(length) => self.call.handle(Instant::now(), &buffer[..length]),
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                        // The first may be of a listener that is just starting; nobody is there when it goes on.
                        self.refusals += 1;
                        if self.refusals >= 3 {
                            return Err(CallError::NoAnswer(self.peer));
                        }
                        None
                    }
                    Err(error) if is_passing(&error) => None,
                    Err(error) => return Err(error.into()),
                },
                () = sleep_until(self.call.poll_timeout()) => self.call.handle_timeout(Instant::now()),
            };
            self.transmit().await?;
            match event {
                Some(call::Event::Connected { depth, frames_per_packet }) => {
                    on_event(Event::Connected(Peer { address: self.peer, depth, frames_per_packet }));
                    return Ok(true);
                }
                Some(call::Event::Refused(reason)) => {
                    return Err(CallError::Refused { peer: self.peer, reason: explain(reason).to_owned() });
                }
                Some(_) => return Err(CallError::NoAnswer(self.peer)),
                None => {}
            }
        }
    }

    /// Carries frames both ways until the call ends.
    async fn talk(&mut self, running: &Running, interrupt: &mut Interrupt<'_>, on_event: &mut dyn FnMut(Event)) -> End {
        let mut buffer = vec![0; RECEIVE_BYTES];
        let since = Instant::now();
        let mut tick = since + TICK;
        let (mut wire_before, mut sent_before) = (0, (0, 0.0));
        let mut peer_left = false;
        loop {
            let now = Instant::now();
            if now >= tick {
                let wire = self.call.stats().sent.wire_bytes(if self.peer.is_ipv4() { IPV4_UDP } else { IPV6_UDP });
                let sent = (self.sent_frames, self.sent_bits.unwrap_or_default());
                let bits = self.sent_bits.filter(|_| sent.0 > sent_before.0);
                let bits = bits.map(|bits| (bits - sent_before.1) / (sent.0 - sent_before.0) as f64);
                on_event(progress(running, now - since, wire - wire_before, bits));
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
            let timeout = if peer_left { None } else { self.call.poll_timeout() };
            let event = tokio::select! {
                biased;
                () = interrupt.wait() => {
                    self.interrupted = true;
                    return End::Ours;
                }
                received = self.receive(&mut buffer) => match received {
                    Err(error) => return End::Failed(error.into()),
                    Ok(None) => None,
                    Ok(Some((length, from))) if from == self.peer => self.call.handle(Instant::now(), &buffer[..length]),
                    Ok(Some((length, from))) => {
                        self.turn_away(&buffer[..length], from).await;
                        None
                    }
                },
                () = running.shared.wake.notified() => match self.send_captured(running).await {
                    Ok(true) => None,
                    Ok(false) if peer_left => None,
                    Ok(false) => return End::Ours,
                    Err(error) => return End::Failed(error),
                },
                () = sleep_until(timeout) => self.call.handle_timeout(Instant::now()),
                () = sleep_until(Some(tick)) => None,
            };
            match event {
                Some(call::Event::Media { first, count, depth, context, payload }) => {
                    let (count, depth) = (usize::from(count), usize::from(depth));
                    self.unpacked.clear();
                    // What comes too late to be heard is decoded all the same: packets to come may build upon it.
                    match self.receiver.decode(first, payload, count, depth, &context, &mut self.unpacked) {
                        Ok(()) if self.receiver.uses_context() => self.call.decoded(first, count),
                        Ok(()) => {}
                        Err(_) => self.undecodable += 1,
                    }
                    let arrived = Instant::now();
                    for (number, &tokens) in (first..).zip(&self.unpacked) {
                        // A full channel means that the playback thread hangs: its frames are of no use any more.
                        if running.to_playback.try_send(Incoming { number, tokens, arrived }).is_err() {
                            self.dropped += 1;
                        }
                    }
                }
                Some(call::Event::PeerLeft) => {
                    peer_left = true;
                    running.shared.stop_capture();
                    running.shared.drain();
                }
                Some(call::Event::TimedOut) => return End::Failed(CallError::Lost(self.peer)),
                _ => {}
            }
            if let Err(error) = self.transmit().await {
                return End::Failed(error.into());
            }
        }
    }

    /// Sends what the capture thread has ready; false once it has ended and everything is sent.
    async fn send_captured(&mut self, running: &Running) -> Result<bool, CallError> {
        let full = usize::from(self.engine.config.call.frames_per_packet);
        loop {
            match running.captured.try_recv() {
                Ok(frame) => {
                    // A gap in the numbers (this machine was too slow) ends a packet: its frames are numbered in a row.
                    if !self.pending.is_empty() && frame.number != self.first + self.pending.len() as u64 {
                        self.send_pending().await?;
                    }
                    if self.pending.is_empty() {
                        self.first = frame.number;
                    }
                    self.pending.push(frame.tokens);
                    if self.pending.len() == full {
                        self.send_pending().await?;
                    }
                }
                Err(TryRecvError::Empty) => return Ok(true),
                Err(TryRecvError::Disconnected) => {
                    self.send_pending().await?;
                    return Ok(false);
                }
            }
        }
    }

    async fn send_pending(&mut self) -> Result<(), CallError> {
        let Some(depth) = self.pending.first().map(TokenFrame::depth) else { return Ok(()) };
        self.payload.clear();
        // The encoder made these codes from the same bundle, so they fit; and the call stands, as the caller of this knows.
        let context = self.call.context(self.first);
        let packed = self.sender.encode(self.first, &self.pending, context.frames(), &mut self.payload).is_ok();
        let count = self.pending.len();
        if packed && self.call.send_frames(Instant::now(), &context, count, depth, &self.payload).is_ok() {
            self.sent_frames += count as u64;
            if let Some(bits) = self.sender.bits() {
                *self.sent_bits.get_or_insert(0.0) += bits;
            }
        } else if self.call.is_open() {
            self.dropped += count as u64;
        }
        self.pending.clear();
        self.transmit().await.map_err(CallError::from)
    }

    /// Sends what the call has to send.
    async fn transmit(&mut self) -> io::Result<()> {
        while self.call.poll_transmit(&mut self.datagram) {
            let sent = if self.connected {
                self.socket.send(&self.datagram).await
            } else {
                self.socket.send_to(&self.datagram, self.peer).await
            };
            match sent {
                Ok(_) => {}
                // As good as lost on the way.
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
        passing(if self.connected {
            self.socket.recv(buffer).await.map(|length| (length, self.peer))
        } else {
            self.socket.recv_from(buffer).await
        })
    }

    /// Tells a caller from elsewhere that the line is busy. Ignores all else.
    async fn turn_away(&self, datagram: &[u8], from: SocketAddr) {
        match call::knock(datagram) {
            Knock::Hello(hello) => {
                let refuse = Refuse { version: VERSION, call: hello.call, reason: Reason::Busy };
                answer(&self.socket, refuse, from).await;
            }
            Knock::Refuse(refuse) => answer(&self.socket, refuse, from).await,
            Knock::Junk => {}
        }
    }

    /// Hangs up, if the call is not over yet, and waits until the goodbyes are sent.
    async fn say_goodbye(&mut self) -> io::Result<()> {
        self.call.hang_up(Instant::now());
        self.transmit().await?;
        while let Some(due) = self.call.poll_timeout() {
            sleep_until(Some(due)).await;
            let _ = self.call.handle_timeout(Instant::now());
            self.transmit().await?;
        }
        Ok(())
    }
}

fn progress(running: &Running, elapsed: Duration, wire_bytes: u64, bits_per_frame: Option<f64>) -> Event {
    use std::sync::atomic::Ordering::Relaxed;
    let live = &running.shared.live;
    Event::Progress {
        elapsed,
        played: live.played.load(Relaxed),
        lost: live.lost.load(Relaxed),
        jitter_delay: Duration::from_millis(live.delay_ms.load(Relaxed)),
        wire_kbps: wire_bytes as f64 * 8.0 / 1000.0 / TICK.as_secs_f64(),
        bits_per_frame,
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

fn explain(reason: Reason) -> &'static str {
    match reason {
        Reason::Busy => "it is in another call; try again later",
        Reason::NoSharedBundle => "it has another model; use the same bundle on both sides (--bundle)",
        Reason::Version => "it speaks another version of the protocol; update the older side",
        Reason::Declined => "it does not want to",
        Reason::Other(_) => "it gave a reason that this program does not know; a newer Parlo may",
    }
}
