//! Calls over paths of `parlo-netem`, in virtual time.

#[path = "call_tests/adaptation.rs"]
mod adaptation;
#[path = "call_tests/document.rs"]
mod document;
#[path = "call_tests/handshake.rs"]
mod handshake;
#[path = "call_tests/network.rs"]
mod network;
#[path = "call_tests/peers.rs"]
mod peers;
#[path = "call_tests/presence.rs"]
mod presence;
#[path = "call_tests/recorded.rs"]
mod recorded;
#[path = "call_tests/rekey.rs"]
mod rekey;
#[path = "call_tests/rules.rs"]
mod rules;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use parlo_netem::{Path, PathConfig};
use parlo_tokens::{FrameSet, TokensId};

use super::*;
use crate::acceptor::Acceptor;

const CALLER: usize = 0;
const LISTENER: usize = 1;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 7275))
}

fn identity(n: u8) -> Identity {
    Identity::from_bytes([n; 32])
}

fn offer(tokens: &[u8], opus: bool) -> Offer {
    let tokens = tokens.iter().map(|&n| TokensId::from_bytes([n; 32])).collect();
    Offer { tokens, opus, depth: 6, frames_per_packet: 3, rekeys: false }
}

fn noise() -> ComfortNoise {
    ComfortNoise::new(60, [127; 8])
}

/// The payload of a packet: nobody else makes the same bytes of the same length for another frame.
fn payload(first: u64, length: usize) -> Vec<u8> {
    (0..length as u64).map(|n| (first.wrapping_mul(0x9E37_79B9) >> (8 * (n % 4))) as u8 ^ n as u8).collect()
}

/// What one side saw.
#[derive(Debug, Default)]
struct Seen {
    connected: Vec<(PublicKey, Codec)>,
    /// Payloads by first frame.
    packets: BTreeMap<u64, Vec<u8>>,
    /// Frames that came, as themselves or as copies.
    frames: BTreeSet<u64>,
    silences: Vec<u64>,
    moves: Vec<(SocketAddr, SocketAddr)>,
    ended: Vec<&'static str>,
    /// Whether it rang when the call stood.
    ringing: Vec<bool>,
    presences: Vec<Presence>,
    recorded: Vec<bool>,
    /// Why the peer left.
    reason: Option<Goodbye>,
    /// What the peer said that it sent.
    total: Option<u64>,
    /// Frames of context, summed over packets.
    context: usize,
}

/// How a side speaks.
#[derive(Debug, Clone, Copy)]
enum Speech {
    /// Not at all: nothing is sent.
    Mute,
    /// Always these frames a packet and codes a frame, 24 bytes.
    Fixed(usize, usize),
    /// As the call's plan says.
    Planned,
    /// Silence descriptors every 400 ms.
    Quiet,
}

/// What a side sent, and what it builds upon.
#[derive(Debug)]
struct Mouth {
    speech: Speech,
    /// Frames captured but not sent.
    waiting: usize,
    next: u64,
    sent: BTreeMap<u64, (usize, FrameSet)>,
}

/// A caller, a listener behind an acceptor, and the paths between them.
struct World {
    start: Instant,
    now: Instant,
    caller: Call,
    caller_address: SocketAddr,
    acceptor: Acceptor,
    ours: Offer,
    busy: bool,
    /// Whether the listener's answer is that it rings.
    ring: bool,
    /// What the listener answers in place of what it should.
    answer: Option<Answer>,
    listener: Option<Call>,
    /// Ways to the listener, by where datagrams on them come from.
    ways: Vec<(SocketAddr, Path)>,
    back: Path,
    seen: [Seen; 2],
    mouths: [Mouth; 2],
    /// Whether the sides get the seeds that they ask for.
    seeds: [bool; 2],
    /// All datagrams ever sent to the listener.
    tape: Vec<(SocketAddr, Vec<u8>)>,
    indexes: u16,
}

struct Setting {
    key: Option<PublicKey>,
    theirs: Offer,
    ours: Offer,
    there: PathConfig,
    back: PathConfig,
    limits: Limits,
}

impl Setting {
    fn new() -> Self {
        Self {
            key: Some(identity(2).public()),
            theirs: offer(&[3], true),
            ours: offer(&[3], true),
            there: PathConfig::default(),
            back: PathConfig::default(),
            limits: Limits::new(6, 3),
        }
    }

    fn over(text: &str) -> Self {
        let there: PathConfig = text.parse().unwrap();
        Self { back: there.derive(1), there, ..Self::new() }
    }

    fn world(self) -> World {
        let now = Instant::now();
        let seed = [9; 32];
        let caller = Call::dial(&identity(1), self.key, address(2), 7, seed, &self.theirs, self.limits, now).unwrap();
        let mouth = || Mouth { speech: Speech::Mute, waiting: 0, next: 0, sent: BTreeMap::new() };
        World {
            start: now,
            now,
            caller,
            caller_address: address(1),
            acceptor: Acceptor::new(&identity(2), [8; 32], now),
            ours: self.ours,
            busy: false,
            ring: false,
            answer: None,
            listener: None,
            ways: vec![(address(1), Path::new(self.there, now))],
            back: Path::new(self.back, now),
            seen: Default::default(),
            mouths: [mouth(), mouth()],
            seeds: [true; 2],
            tape: Vec::new(),
            indexes: 1000,
        }
    }
}

impl World {
    fn call(&mut self, side: usize) -> Option<&mut Call> {
        if side == CALLER { Some(&mut self.caller) } else { self.listener.as_mut() }
    }

    fn listener(&self) -> &Call {
        self.listener.as_ref().expect("a listener in a call")
    }

    fn elapsed(&self) -> u64 {
        self.now.duration_since(self.start).as_millis() as u64
    }

    fn speak(&mut self, speech: [Speech; 2]) {
        self.mouths.iter_mut().zip(speech).for_each(|(mouth, speech)| mouth.speech = speech);
    }

    /// Lets time pass, in steps of a millisecond.
    fn run(&mut self, time: u64) {
        for _ in 0..time {
            self.deliver();
            for side in [CALLER, LISTENER] {
                let now = self.now;
                if let Some(call) = self.call(side)
                    && call.poll_timeout().is_some_and(|due| due <= now)
                {
                    let event = call.handle_timeout(now);
                    note(&mut self.seen[side], event);
                }
                self.say(side);
            }
            if self.acceptor.poll_timeout().is_some_and(|due| due <= self.now) {
                self.acceptor.handle_timeout(self.now);
            }
            self.transmit();
            self.now += ms(1);
        }
    }

    /// Runs until both sides know that the call stands.
    fn connect(mut self) -> Self {
        for _ in 0..20_000 {
            self.run(1);
            if self.seen.iter().all(|seen| !seen.connected.is_empty()) {
                return self;
            }
        }
        panic!("not connected: {:?}", self.seen);
    }

    fn deliver(&mut self) {
        let mut datagram = Vec::new();
        for way in 0..self.ways.len() {
            while self.ways[way].1.receive(self.now, &mut datagram) {
                self.arrive(self.ways[way].0, &mut datagram);
            }
        }
        while self.back.receive(self.now, &mut datagram) {
            let event = self.caller.handle(self.now, address(2), &mut datagram);
            if let Some((first, count)) = take(&mut self.seen[CALLER], &mut self.mouths[LISTENER], event) {
                self.caller.decoded(first, count);
            }
            while let Some(event) = self.caller.poll_event() {
                note(&mut self.seen[CALLER], Some(event));
            }
        }
    }

    fn arrive(&mut self, from: SocketAddr, datagram: &mut [u8]) {
        use crate::session::{Destination, destination};
        let to = destination(datagram);
        let ours = self.listener.as_ref().is_some_and(|call| match to {
            Destination::Session(index) => index == call.index(),
            _ => call.is_repeat(from, datagram),
        });
        if ours && let Some(call) = &mut self.listener {
            let event = call.handle(self.now, from, datagram);
            if let Some((first, count)) = take(&mut self.seen[LISTENER], &mut self.mouths[CALLER], event) {
                call.decoded(first, count);
            }
            while let Some(event) = call.poll_event() {
                note(&mut self.seen[LISTENER], Some(event));
            }
            return;
        }
        self.indexes += 1;
        let Some(caller) = self.acceptor.handle(self.now, from, datagram, self.indexes) else { return };
        if self.busy || self.listener.is_some() {
            return self.acceptor.refuse(caller, Reason::Busy, self.now);
        }
        if let Some(answer) = self.answer {
            let mut session = caller.session;
            session.accept(&answer.to_bytes(), self.now).unwrap();
            self.listener = Some(Call::new(session, self.ours.clone(), Some(answer), Limits::new(6, 3), self.now));
            return;
        }
        match Call::answer(caller.session, &caller.offer, &self.ours, Limits::new(6, 3), self.ring, self.now) {
            Ok(call) => self.listener = Some(call),
            Err(session) => self.acceptor.dismiss(session, self.now),
        }
    }

    fn transmit(&mut self) {
        for side in [CALLER, LISTENER] {
            let (seeds, seed, now) =
                (self.seeds[side], [(self.elapsed() as u8).wrapping_add(side as u8); 32], self.now);
            if let Some(call) = self.call(side).filter(|call| seeds && call.needs_seed()) {
                call.rekey(seed, now);
            }
        }
        let mut datagram = Vec::new();
        let way = self.ways.iter().position(|way| way.0 == self.caller_address).expect("a way from there");
        while self.caller.poll_transmit(&mut datagram) {
            self.tape.push((self.caller_address, datagram.clone()));
            self.ways[way].1.send(self.now, &datagram);
        }
        while let Some(to) = self.acceptor.poll_transmit(&mut datagram) {
            if to == self.caller_address {
                self.back.send(self.now, &datagram);
            }
        }
        if let Some(call) = &mut self.listener {
            while call.poll_transmit(&mut datagram) {
                // Nobody is at the old address any more.
                if call.transmit_address() == self.caller_address {
                    self.back.send(self.now, &datagram);
                }
            }
        }
    }

    /// Captures a frame every 20 ms, and sends what is due.
    fn say(&mut self, side: usize) {
        let (now, elapsed) = (self.now, self.elapsed());
        if !elapsed.is_multiple_of(20) {
            return;
        }
        let call = if side == CALLER { Some(&mut self.caller) } else { self.listener.as_mut() };
        let mouth = &mut self.mouths[side];
        let rings = |call: &Call| call.presence().ringing || call.peer_presence().ringing;
        let Some(call) = call.filter(|call| call.is_open()) else { return };
        if rings(call) {
            return mouth.skip();
        }
        let (plan, bytes) = match mouth.speech {
            Speech::Mute => return mouth.skip(),
            Speech::Quiet => {
                if mouth.next.is_multiple_of(20) {
                    call.send_silence(now, mouth.next, noise()).unwrap();
                }
                return mouth.skip();
            }
            Speech::Fixed(frames, depth) => {
                (Plan { frames: frames as u8, depth: depth as u8, copies: 0, copy_depth: 1 }, Some(24))
            }
            Speech::Planned => (call.plan(), None),
        };
        mouth.waiting += 1;
        if mouth.waiting < usize::from(plan.frames) {
            return;
        }
        let (count, depth) = (mouth.waiting, usize::from(plan.depth));
        mouth.waiting = 0;
        let (copies, copy_depth) = (usize::from(plan.copies).min(mouth.next as usize), usize::from(plan.copy_depth));
        let bytes = bytes.unwrap_or((depth * 10 * count * 8 / 10).div_ceil(8) + copies);
        let (context, payload) = (call.context(mouth.next), payload(mouth.next, bytes));
        let run = Run { count, depth, copies, copy_depth, payload: &payload };
        call.send_frames(now, &context, &run).unwrap();
        mouth.sent.insert(mouth.next, (count, *context.frames()));
        mouth.next += count as u64;
    }
}

impl Mouth {
    fn skip(&mut self) {
        self.next += 1 + self.waiting as u64;
        self.waiting = 0;
    }
}

/// Notes what came; gives the frames, if there are any.
fn take(seen: &mut Seen, mouth: &mut Mouth, event: Option<Event<'_>>) -> Option<(u64, usize)> {
    match event {
        Some(Event::Frames { first, count, copies, context, payload: bytes, .. }) => {
            let (sent, used) = mouth.sent.get(&first).expect("only what was sent comes");
            assert_eq!((*sent, *used), (count.into(), context), "both sides mean the same frames");
            assert_eq!(bytes, payload(first, bytes.len()));
            assert!(seen.packets.insert(first, bytes.to_vec()).is_none(), "nothing comes twice");
            seen.frames.extend(first - u64::from(copies)..first + u64::from(count));
            seen.context += context.len();
            Some((first, count.into()))
        }
        Some(Event::Silence { number, .. }) => {
            seen.silences.push(number);
            None
        }
        Some(Event::Connected { peer, codec, ringing, .. }) => {
            seen.connected.push((peer, codec));
            seen.ringing.push(ringing);
            None
        }
        Some(Event::Presence(presence)) => {
            seen.presences.push(presence);
            None
        }
        Some(Event::Recorded(recorded)) => {
            seen.recorded.push(recorded);
            None
        }
        Some(Event::Moved { from, to }) => {
            seen.moves.push((from, to));
            None
        }
        Some(Event::Refused(reason)) => {
            seen.ended.push(match reason {
                Reason::Busy => "busy",
                Reason::NoSharedBundle => "no shared bundle",
                Reason::WrongKey => "wrong key",
                _ => "refused",
            });
            None
        }
        Some(Event::PeerLeft { frames, reason }) => {
            seen.ended.push("left");
            (seen.total, seen.reason) = (frames, Some(reason));
            None
        }
        Some(Event::TimedOut) => {
            seen.ended.push("timed out");
            None
        }
        Some(Event::Attacked) => {
            seen.ended.push("attacked");
            None
        }
        None => None,
    }
}

fn note(seen: &mut Seen, event: Option<Event<'static>>) {
    assert!(!matches!(event, Some(Event::Frames { .. })), "frames come from datagrams only");
    let mut nobody = Mouth { speech: Speech::Mute, waiting: 0, next: 0, sent: BTreeMap::new() };
    take(seen, &mut nobody, event);
}
