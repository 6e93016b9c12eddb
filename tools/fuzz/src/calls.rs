//! Two calls, and a network that does as the input says.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parlo_protocol::{
    acceptor::Acceptor,
    adapt::{Costs, Limits},
    call::{Call, Event, Run},
    identity::Identity,
    offer::Offer,
    packet::{Goodbye, MAX_DATAGRAM, Presence},
    session::{Destination, Reason, destination},
};
use parlo_tokens::{ComfortNoise, FrameSet, TokensId};

use crate::{
    input::Input,
    sessions::{address, public},
};

/// What was sent of a packet, and what it builds upon.
type Packet = (Vec<u8>, FrameSet);

struct World {
    now: Instant,
    calls: [Option<Call>; 2],
    acceptor: Acceptor,
    at: u8,
    /// Datagrams on their way to the caller, and to the listener, with where they come from.
    ways: [Vec<(u8, Vec<u8>)>; 2],
    tape: Vec<(u8, Vec<u8>)>,
    sent: [HashMap<u64, Packet>; 2],
    next: [u64; 2],
    ends: [u32; 2],
    /// Whether frames that come are decoded.
    decodes: bool,
    /// Whether the listener's answer is that it rings.
    rings: bool,
    /// What each side knows of the other, from events; once it is connected.
    told: [Option<Presence>; 2],
    /// Why each side hung up.
    reasons: [Option<Goodbye>; 2],
}

fn offer() -> Offer {
    Offer { tokens: vec![TokensId::from_bytes([9; 32])], opus: true, depth: 6, frames_per_packet: 3, rekeys: true }
}

impl World {
    fn drain(&mut self) {
        let mut out = Vec::new();
        for side in [0, 1] {
            if let Some(call) = &mut self.calls[side]
                && call.needs_seed()
            {
                call.rekey([self.tape.len() as u8; 32], self.now);
            }
            while let Some(call) = &mut self.calls[side]
                && call.poll_transmit(&mut out)
            {
                assert!(!out.is_empty() && out.len() <= MAX_DATAGRAM);
                let (from, to) = if side == 0 { (self.at, None) } else { (2, Some(call.transmit_address())) };
                self.put(1 - side, from, &out, to.is_none_or(|to| to == address(self.at)));
            }
        }
        while let Some(to) = self.acceptor.poll_transmit(&mut out) {
            self.put(0, 2, &out, to == address(self.at));
        }
    }

    fn put(&mut self, to: usize, from: u8, datagram: &[u8], arrives: bool) {
        if self.tape.len() < 64 {
            self.tape.push((from, datagram.to_vec()));
        }
        if arrives && self.ways[to].len() < 48 {
            self.ways[to].push((from, datagram.to_vec()));
        }
    }

    fn arrive(&mut self, to: usize, from: u8, datagram: &mut [u8]) {
        let (now, from) = (self.now, address(from));
        let known = self.calls[to].as_ref().is_some_and(|call| match destination(datagram) {
            Destination::Session(index) => to == 0 || index == call.index(),
            _ => call.is_repeat(from, datagram),
        });
        if !known {
            if to == 1
                && let Some(caller) = self.acceptor.handle(now, from, datagram, 0xBEE0 + self.tape.len() as u16)
            {
                assert_eq!(caller.peer, public(1));
                if self.calls[1].is_some() {
                    self.acceptor.refuse(caller, Reason::Busy, now);
                } else if let Ok(call) =
                    Call::answer(caller.session, &caller.offer, &offer(), Limits::new(6, 3), self.rings, now)
                {
                    self.calls[1] = Some(call);
                }
            }
            return;
        }
        let Some(call) = &mut self.calls[to] else { return };
        let over = call.is_over();
        match call.handle(now, from, datagram) {
            Some(Event::Frames { first, count, context, payload, .. }) => {
                assert!(!call.presence().ringing && !call.peer_presence().ringing, "who sends has picked up");
                let sent = self.sent[1 - to].get(&first).expect("only what was sent comes");
                assert_eq!((payload, &context), (&sent.0[..], &sent.1), "as it was sent, upon the same frames");
                if self.decodes {
                    call.decoded(first, count.into());
                }
                assert!(!over);
            }
            Some(Event::Silence { number, .. }) => assert!(number < self.next[1 - to]),
            event => {
                let (ends, told) = (ends(event.as_ref()), told(event.as_ref()));
                self.ends[to] += ends;
                self.learn(to, told);
            }
        }
        while let Some(event) = self.calls[to].as_mut().and_then(Call::poll_event) {
            self.ends[to] += ends(Some(&event));
            self.learn(to, told(Some(&event)));
        }
        assert!(self.ends[to] <= 1, "a call ends once");
        let knows = self.calls[to].as_ref().filter(|call| call.is_open()).map(Call::peer_presence);
        assert!(knows.is_none() || knows == self.told[to], "what is known was told");
    }

    fn learn(&mut self, side: usize, told: Told) {
        match told {
            Told::Connected { ringing } => {
                assert_eq!(ringing, self.rings);
                let presence = Presence { ringing: ringing && side == 0, held: false };
                assert_eq!(self.told[side].replace(presence), None, "a call begins once");
            }
            Told::Presence(presence) => {
                let before = self.told[side].replace(presence).expect("a call that stands");
                assert!(before != presence && before.ringing >= presence.ringing, "{before:?} {presence:?}");
            }
            Told::Left(reason) => assert_eq!(Some(reason), self.reasons[1 - side]),
            Told::Nothing => {}
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        for side in [0, 1] {
            let Some(call) = &mut self.calls[side] else { continue };
            if call.poll_timeout().is_some_and(|due| due <= self.now) {
                let event = call.handle_timeout(self.now);
                self.ends[side] += ends(event.as_ref());
                // What is due is done, or will be by the next call.
                let _ = call.handle_timeout(self.now);
                assert!(call.poll_timeout().is_none_or(|due| due > self.now), "time goes on");
            }
        }
        self.acceptor.handle_timeout(self.now);
    }

    fn speak(&mut self, side: usize, input: &mut Input<'_>) {
        let Some(call) = &mut self.calls[side] else { return };
        let plan = call.plan();
        let copies = usize::from(plan.copies).min(self.next[side] as usize);
        let first = self.next[side] + u64::from(input.byte() >> 4);
        let payload = vec![first as u8; input.below(64)];
        let context = call.context(first);
        let run = Run {
            count: plan.frames.into(),
            depth: plan.depth.into(),
            copies,
            copy_depth: plan.copy_depth.into(),
            payload: &payload,
        };
        let sent = call.send_frames(self.now, &context, &run).is_ok();
        assert!(!sent || !call.presence().ringing && !call.peer_presence().ringing);
        if sent {
            self.next[side] = first + u64::from(plan.frames);
            self.sent[side].insert(first, (payload, *context.frames()));
        }
    }
}

/// What an event tells of the peer.
enum Told {
    Connected { ringing: bool },
    Presence(Presence),
    Left(Goodbye),
    Nothing,
}

fn told(event: Option<&Event<'_>>) -> Told {
    match event {
        Some(&Event::Connected { ringing, .. }) => Told::Connected { ringing },
        Some(&Event::Presence(presence)) => Told::Presence(presence),
        Some(&Event::PeerLeft { reason, .. }) => Told::Left(reason),
        _ => Told::Nothing,
    }
}

fn ends(event: Option<&Event<'_>>) -> u32 {
    let over = matches!(event, Some(Event::Refused(_) | Event::PeerLeft { .. } | Event::TimedOut | Event::Attacked));
    u32::from(over)
}

/// A call. The first byte says how it begins; each that follows says what happens next.
pub(crate) fn call(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let now = Instant::now();
    let setting = input.byte();
    let key = (setting & 1 == 0).then(|| public(2));
    let identity = Identity::from_bytes([1; 32]);
    let caller = Call::dial(&identity, key, address(2), 0x0102, [33; 32], &offer(), Limits::new(6, 3), now);
    let mut world = World {
        now,
        calls: [caller.ok(), None],
        acceptor: Acceptor::new(&Identity::from_bytes([2; 32]), [44; 32], now),
        at: 1,
        ways: [Vec::new(), Vec::new()],
        tape: Vec::new(),
        sent: [HashMap::new(), HashMap::new()],
        next: [0; 2],
        ends: [0; 2],
        decodes: setting & 2 == 0,
        rings: setting & 8 != 0,
        told: [None; 2],
        reasons: [None; 2],
    };
    world.drain();
    if setting & 4 == 0 {
        // Nothing happens to the handshake.
        for _ in 0..6 {
            for to in [1, 0] {
                for (from, mut datagram) in std::mem::take(&mut world.ways[to]) {
                    world.arrive(to, from, &mut datagram);
                    world.drain();
                }
            }
        }
        for call in world.calls.iter_mut().flatten() {
            assert!(call.is_open());
            call.adapt(Limits::new(6, 1 + setting % 4), Costs::tokens([10; 12]), true);
        }
    }
    let mut steps = 0;
    while !input.is_empty() && steps < 600 {
        steps += 1;
        let op = input.byte();
        let to = usize::from(op >> 7);
        match op % 16 {
            0..=3 if !world.ways[to].is_empty() => {
                let (from, mut datagram) = world.ways[to].remove(0);
                world.arrive(to, from, &mut datagram);
            }
            4 if !world.ways[to].is_empty() => drop(world.ways[to].remove(0)),
            5 if !world.ways[to].is_empty() => {
                let (from, mut datagram) = world.ways[to].remove(0);
                input.damage(&mut datagram);
                world.arrive(to, from, &mut datagram);
            }
            6 if !world.tape.is_empty() => {
                let (from, mut datagram) = world.tape[input.below(world.tape.len())].clone();
                let from = if op & 0x40 == 0 { from } else { 99 };
                world.arrive(to, from, &mut datagram);
            }
            7 => {
                let mut datagram = input.some().to_vec();
                world.arrive(to, 98, &mut datagram);
            }
            8..=9 => world.pass(Duration::from_millis(4 * u64::from(input.byte()))),
            10..=12 => world.speak(to, &mut input),
            13 => {
                let (now, number) = (world.now, world.next[to]);
                if let Some(call) = &mut world.calls[to]
                    && call.send_silence(now, number, ComfortNoise::new(input.byte() & 0x7F, [127; 8])).is_ok()
                {
                    world.next[to] = number + 1;
                }
            }
            14 => {
                // Another packet than the next.
                let at = input.below(world.ways[to].len());
                if at < world.ways[to].len() {
                    let (from, mut datagram) = world.ways[to].remove(at);
                    world.arrive(to, from, &mut datagram);
                }
            }
            15 if op & 0x40 == 0 => world.at = 1 + input.byte() % 8 * 10,
            15 => {
                let (now, said) = (world.now, input.byte());
                let Some(call) = &mut world.calls[to] else { continue };
                if op & 0x20 != 0 {
                    call.hang_up(now, *world.reasons[to].get_or_insert(said.into()));
                } else {
                    call.set_presence(now, Presence { ringing: said & 1 != 0, held: said & 2 != 0 });
                }
            }
            _ => {}
        }
        world.drain();
        assert!(world.ends.iter().all(|&ends| ends <= 1), "a call ends once");
    }
    // Whatever happened: both end when nobody says anything any more.
    for _ in 0..8 {
        world.pass(Duration::from_secs(11));
        world.drain();
        world.ways = [Vec::new(), Vec::new()];
    }
    assert!(world.calls.iter().flatten().all(Call::is_over));
}
