//! One call of the call manager: how far it has come, and what it is made of by then.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant, SystemTime},
};

use crossbeam_channel::TryRecvError;
use parlo_api::{CallFigures, CallSettings, Direction};
use parlo_protocol::{
    call::{self, Call},
    identity::PublicKey,
    offer::Codec,
    packet::Goodbye,
    relay::Ticket,
};

use super::{figures::Before, log_limit::LogLimit, socket::secret, udp_endpoint::UdpEndpoint};
use crate::{
    call::{
        CallError, Packetizer,
        depacketizer_thread::{DepacketizerThread, Packet, Quota},
        packetizer,
    },
    media::{CallAudio, CallAudioFigures, CallCodec},
};

/// Packets that are kept for a call whose sound is not open yet: two seconds of packets of a frame.
const EARLY: usize = 100;

/// How often frame numbers are moved on while a call is held. Sessions allow for gaps of nine minutes.
const KEEP_UP: Duration = Duration::from_secs(60);

/// How far a call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Outgoing: the peer's address is asked for, the codec is made.
    Preparing,
    /// Outgoing: the other is not at the relay yet.
    AtRelay {
        /// When to give up.
        until: Instant,
    },
    /// The handshake is under way.
    Handshake,
    /// It rings: at the peer, or here.
    Ringing {
        /// When to give up.
        until: Instant,
    },
    /// It is answered; its sound is being opened.
    OpeningAudio,
    /// Both sides may speak.
    Active,
    /// It is over but for goodbyes, and what the sound's threads still have.
    Closing,
    /// It is over.
    Ended {
        /// Since when.
        since: Instant,
    },
}

/// How a call came to its end.
#[derive(Debug)]
pub(super) enum End {
    /// This side wanted it, or its source is over.
    Ours,
    /// The peer wanted it, and what it said is played.
    Theirs,
    /// Something went wrong.
    Failed(CallError),
}

/// The network's side of the media of a call.
#[derive(Debug)]
pub(super) struct MediaPath {
    pub(super) packetizer: Packetizer,
    /// Made when its audio is open.
    pub(super) depacketizer: Option<DepacketizerThread>,
}

/// One call.
#[derive(Debug)]
pub(super) struct CallSession {
    pub(super) id: u64,
    pub(super) direction: Direction,
    pub(super) phase: Phase,
    /// The socket that it goes over; 0 before there is one.
    pub(super) endpoint: u64,
    /// Who is called, as the user wrote it, or where from a caller came.
    pub(super) asked: String,
    pub(super) address: Option<SocketAddr>,
    pub(super) name: Option<String>,
    pub(super) key: Option<PublicKey>,
    pub(super) ticket: Option<Ticket>,
    /// Where else it may be, or the relay; and when the next of these is tried.
    pub(super) others: VecDeque<SocketAddr>,
    pub(super) hop: Option<Instant>,
    pub(super) settings: CallSettings,
    pub(super) began: SystemTime,
    pub(super) call: Option<Call>,
    pub(super) codec: Option<Codec>,
    /// Frames in each of the peer's packets, as it said.
    pub(super) peer_frames: u8,
    /// Codebooks that it means to send at most.
    pub(super) peer_depth: u8,
    /// Its codec, made before its audio is open.
    pub(super) call_codec: Option<Box<CallCodec>>,
    pub(super) audio: Option<CallAudio>,
    pub(super) media: Option<MediaPath>,
    /// Lines about what the peer does.
    pub(super) lines: LogLimit,
    /// What came before the sound was open.
    pub(super) early: Vec<Packet>,
    /// What the peer may still send.
    pub(super) quota: Quota,
    /// Incoming: whether it was answered.
    pub(super) answered: bool,
    pub(super) held: bool,
    pub(super) conference: bool,
    pub(super) volume_db: f32,
    pub(super) recording: Option<String>,
    pub(super) talking_since: Option<Instant>,
    pub(super) peer_left: bool,
    /// Why, as it said.
    pub(super) goodbye: Option<Goodbye>,
    pub(super) end: Option<End>,
    /// What the audio's threads found, once it is closed.
    pub(super) left: Option<Box<CallAudioFigures>>,
    /// Whether the audio is being closed.
    pub(super) leaving: bool,
    /// Why it failed, for people.
    pub(super) failure: Option<String>,
    /// Datagrams sent to the peer when the relay was last told so.
    pub(super) relayed: u64,
    /// Packets received that were not decoded: more than the peer may send, or than the thread that decodes them took.
    pub(super) overrun: u64,
    /// Times that the system said that nobody listens there.
    pub(super) refusals: u32,
    pub(super) figures: Option<CallFigures>,
    /// Whether it was called with a shared secret.
    pub(super) shares: bool,
    /// Whether it was said that its keys are old.
    pub(super) told_of_keys: bool,
    pub(super) before: Before,
    /// When frame numbers were last moved on while it is held.
    kept_up: Option<Instant>,
    datagram: Vec<u8>,
}

impl CallSession {
    pub(super) fn new(id: u64, direction: Direction, asked: String, settings: CallSettings) -> Self {
        Self {
            id,
            direction,
            phase: Phase::Preparing,
            endpoint: 0,
            asked,
            address: None,
            name: None,
            key: None,
            ticket: None,
            others: VecDeque::new(),
            hop: None,
            settings,
            began: SystemTime::now(),
            call: None,
            codec: None,
            peer_frames: 1,
            peer_depth: 1,
            call_codec: None,
            audio: None,
            media: None,
            lines: LogLimit::default(),
            early: Vec::new(),
            quota: Quota::new(),
            answered: false,
            held: false,
            conference: false,
            volume_db: 0.0,
            recording: None,
            talking_since: None,
            peer_left: false,
            goodbye: None,
            end: None,
            left: None,
            leaving: false,
            failure: None,
            relayed: 0,
            overrun: 0,
            refusals: 0,
            figures: None,
            shares: false,
            told_of_keys: false,
            before: Before::default(),
            kept_up: None,
            datagram: Vec::with_capacity(2048),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ended { .. })
    }

    /// Whether it is on its way to its end, or there.
    pub(super) fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Ended { .. })
    }

    /// Where the peer is, or the relay that it is met at; nowhere, before that is known, which is before anything is sent.
    pub(super) fn peer_address(&self) -> SocketAddr {
        self.address.unwrap_or_else(|| (std::net::Ipv4Addr::UNSPECIFIED, 0).into())
    }

    /// What to call the peer, for people.
    pub(super) fn who(&self) -> String {
        match (&self.name, &self.key) {
            (Some(name), _) => name.clone(),
            (None, Some(key)) => format!("a stranger ({})", key.fingerprint()),
            (None, None) => self.asked.clone(),
        }
    }

    /// Sends what the call has to send; whether that was anything.
    pub(super) fn transmit(&mut self, endpoint: &UdpEndpoint) -> bool {
        let Some(call) = &mut self.call else { return false };
        // Without randomness it asks again, and the keys grow old, which is told.
        if call.needs_seed()
            && let Ok(seed) = secret()
        {
            call.rekey(seed, Instant::now());
        }
        packetizer::transmit(call, &mut self.datagram, &mut |to, datagram| endpoint.send(datagram, to));
        let sent = call.stats().sent.packets;
        std::mem::replace(&mut self.relayed, sent) != sent
    }

    /// Sends what the microphone's side has ready; false once that has ended and everything is sent.
    pub(super) fn send_captured(&mut self, endpoint: &UdpEndpoint) -> bool {
        let (Some(audio), Some(call), Some(media)) = (&self.audio, &mut self.call, &mut self.media) else {
            return true;
        };
        let mut out = |to: SocketAddr, datagram: &[u8]| endpoint.send(datagram, to);
        loop {
            match audio.captured.try_recv() {
                Ok(captured) => media.packetizer.push(Instant::now(), call, &captured, &mut out),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => {
                    media.packetizer.flush(Instant::now(), call, &mut out);
                    return false;
                }
            }
        }
    }

    /// Moves frame numbers on while the call is held: a session takes no number that is minutes beyond the last.
    pub(super) fn advance_numbers(&mut self, endpoint: &UdpEndpoint, now: Instant, frame: Duration) {
        let due = self.kept_up.is_none_or(|last| now.saturating_duration_since(last) >= KEEP_UP);
        let talking = self.talking(now);
        if !self.held || !due || talking < KEEP_UP {
            return;
        }
        let (Some(call), Some(media)) = (&mut self.call, &mut self.media) else { return };
        self.kept_up = Some(now);
        // A second behind the microphone's own count, which may lag a little.
        let number = (talking.saturating_sub(Duration::from_secs(1)).as_nanos() / frame.as_nanos().max(1)) as u64;
        media.packetizer.advance_numbers(now, call, number, &mut |to, datagram| endpoint.send(datagram, to));
    }

    /// Takes speech, or its absence, off the wire, if the peer may send so much. It is decoded by another thread.
    pub(super) fn take_media(&mut self, event: &call::Event<'_>, frame: Duration) {
        let arrived = Instant::now();
        let Some(media) = &self.media else { return };
        let taken = self.quota.take(arrived, frame, event)
            && Packet::new(event, arrived).is_some_and(|packet| match &media.depacketizer {
                Some(depacketizer) => depacketizer.give(packet),
                None if self.early.len() < EARLY => {
                    self.early.push(packet);
                    true
                }
                None => false,
            });
        self.overrun += u64::from(!taken);
    }

    /// Tells the call which frames were decoded, so that the peer is told what it may build upon.
    pub(super) fn take_decoded(&mut self) {
        let depacketizer = self.media.as_ref().and_then(|media| media.depacketizer.as_ref());
        let (Some(call), Some(depacketizer)) = (&mut self.call, depacketizer) else { return };
        while let Some((first, count)) = depacketizer.poll_decoded() {
            call.decoded(first, count);
        }
    }

    /// Tells the encoder what the call's plan is now.
    pub(super) fn tell_plan(&self) {
        let (Some(audio), Some(call)) = (&self.audio, &self.call) else { return };
        // A model's frames are cut to the plan's depth as they are sent; Opus has to be told.
        let depth = if self.codec == Some(Codec::Opus) { call.plan().depth } else { self.settings.depth };
        audio.shared.target.depth.store(depth, Relaxed);
        audio.shared.target.frames.store(call.plan().frames, Relaxed);
        audio.shared.target.loss.store((100.0 * call.outlook().1) as u8, Relaxed);
    }

    /// When something is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Ringing { until } | Phase::AtRelay { until } => Some(until),
            Phase::Handshake => self.hop,
            _ => None,
        };
        // What the peer left is played to its end, whatever becomes of the call.
        let call = self.call.as_ref().filter(|_| !self.peer_left).and_then(Call::poll_timeout);
        call.into_iter().chain(phase).min()
    }

    /// Since when both sides may speak.
    pub(super) fn talking(&self, now: Instant) -> Duration {
        self.talking_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}
