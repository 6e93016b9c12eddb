//! Two sessions, from the first message on, and a network that does as the input says.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use parlo_protocol::{
    identity::{Identity, PublicKey},
    session::{Admission, CookieGate, Event, MAX_DATAGRAM, Reason, Session},
};

use crate::input::Input;

const OFFER: &[u8] = b"an offer";
const ANSWER: &[u8] = b"an answer";

pub(crate) fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 7275))
}

pub(crate) fn public(n: u8) -> PublicKey {
    Identity::from_bytes([n; 32]).public()
}

/// A gate that two sessions come of, as far as the input lets them.
struct Pair {
    now: Instant,
    sides: [Option<Box<Session>>; 2],
    gate: CookieGate,
    /// Datagrams on their way to the caller, and to the listener.
    ways: [Vec<Vec<u8>>; 2],
    tape: Vec<Vec<u8>>,
    numbers: [u64; 2],
    ends: [u32; 2],
    accepts: bool,
}

impl Pair {
    fn send(&mut self, to: usize, datagram: &[u8]) {
        assert!(!datagram.is_empty() && datagram.len() <= MAX_DATAGRAM);
        if self.tape.len() < 64 {
            self.tape.push(datagram.to_vec());
        }
        if self.ways[to].len() < 32 {
            self.ways[to].push(datagram.to_vec());
        }
    }

    fn drain(&mut self) {
        let mut out = Vec::new();
        for side in [0, 1] {
            if let Some(session) = self.sides[side].as_mut().filter(|session| session.needs_seed()) {
                session.rekey([self.tape.len() as u8; 32], self.now);
            }
            while self.sides[side].as_mut().is_some_and(|session| session.poll_transmit(&mut out)) {
                self.send(1 - side, &out);
            }
        }
    }

    fn arrive(&mut self, to: usize, from: SocketAddr, datagram: &mut [u8]) {
        let length = datagram.len();
        if to == 1 && self.sides[1].is_none() {
            match self.gate.admit(self.now, from, datagram, 0xBEEF) {
                Admission::Reply(reply) => {
                    assert!(reply.len() < length, "an answer is shorter than its question");
                    self.send(0, &reply);
                }
                Admission::Session(session, event) => {
                    self.sides[1] = Some(session);
                    self.told(1, event);
                }
                Admission::Junk => {}
            }
        } else if let Some(session) = &mut self.sides[to] {
            let event = session.handle(self.now, from, datagram);
            let open = session.is_open();
            match event {
                Some(Event::Media { number, header, body }) => {
                    assert!(number < self.numbers[1 - to], "only what was sent comes");
                    assert_eq!(body, [number as u8, header], "as it was sent");
                }
                Some(Event::Control { body, .. }) => assert!(open && body == b"words"),
                Some(Event::Incoming { peer, ref offer }) => {
                    assert_eq!((peer, &offer[..]), (public(1), OFFER), "nobody else is there");
                    self.told(to, event.map(owned));
                }
                event => self.told(to, event.map(owned)),
            }
            while let Some(event) = self.sides[to].as_mut().and_then(|session| session.poll_event()) {
                self.told(to, Some(event));
            }
        }
    }

    fn told(&mut self, side: usize, event: Option<Event<'static>>) {
        let Some(session) = &mut self.sides[side] else { return };
        match event {
            Some(Event::Incoming { .. }) => {
                if self.accepts {
                    session.accept(ANSWER, self.now).expect("it was asked");
                } else {
                    session.refuse(Reason::Busy, self.now);
                }
            }
            Some(Event::Established { peer, answer }) => {
                assert_eq!((peer, &answer[..]), (public(2), ANSWER));
                session.enable_rekeying(self.now);
            }
            Some(Event::Confirmed) => session.enable_rekeying(self.now),
            Some(Event::Refused(_) | Event::TimedOut | Event::Attacked) => self.ends[side] += 1,
            _ => {}
        }
        assert!(self.ends[side] <= 1, "a session ends once");
    }
}

/// Media and control borrow from datagrams, and are looked at where they come.
fn owned(event: Event<'_>) -> Event<'static> {
    match event {
        Event::Incoming { peer, offer } => Event::Incoming { peer, offer },
        Event::Established { peer, answer } => Event::Established { peer, answer },
        Event::Moved { from, to } => Event::Moved { from, to },
        Event::Refused(reason) => Event::Refused(reason),
        Event::TimedOut => Event::TimedOut,
        Event::Attacked => Event::Attacked,
        Event::Media { .. } | Event::Control { .. } | Event::Confirmed => Event::Confirmed,
    }
}

/// A handshake and a talk. The first byte says which; each that follows says what happens next.
pub(crate) fn session(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let now = Instant::now();
    let setting = input.byte();
    let key = (setting & 1 == 0).then(|| public(2));
    let caller = Session::dial(&Identity::from_bytes([1; 32]), key, address(2), 0x0102, OFFER, [33; 32], now);
    let mut pair = Pair {
        now,
        sides: [caller.ok().map(Box::new), None],
        gate: CookieGate::new(&Identity::from_bytes([2; 32]), [44; 32], now),
        ways: [Vec::new(), Vec::new()],
        tape: Vec::new(),
        numbers: [0; 2],
        ends: [0; 2],
        accepts: setting & 2 == 0,
    };
    pair.drain();
    if setting & 4 == 0 {
        // Nothing happens to the handshake.
        for _ in 0..6 {
            for to in [1, 0] {
                for mut datagram in std::mem::take(&mut pair.ways[to]) {
                    pair.arrive(to, address(1 + (1 - to as u8)), &mut datagram);
                    pair.drain();
                }
            }
        }
    }
    let mut steps = 0;
    while !input.is_empty() && steps < 400 {
        steps += 1;
        let op = input.byte();
        let to = usize::from(op >> 7);
        let from = if op & 0x40 != 0 { address(op) } else { address(2 - to as u8) };
        match op % 8 {
            0 | 1 if !pair.ways[to].is_empty() => {
                let mut datagram = pair.ways[to].remove(0);
                pair.arrive(to, from, &mut datagram);
            }
            2 if !pair.ways[to].is_empty() => drop(pair.ways[to].remove(0)),
            3 if !pair.ways[to].is_empty() => {
                let mut datagram = pair.ways[to].remove(0);
                input.damage(&mut datagram);
                pair.arrive(to, from, &mut datagram);
            }
            4 if !pair.tape.is_empty() => {
                let mut datagram = pair.tape[input.below(pair.tape.len())].clone();
                pair.arrive(to, from, &mut datagram);
            }
            5 => {
                let mut datagram = input.some().to_vec();
                pair.arrive(to, from, &mut datagram);
            }
            6 => {
                pair.now += Duration::from_millis(8 * u64::from(input.byte()));
                for side in [0, 1] {
                    let now = pair.now;
                    let event = pair.sides[side].as_mut().and_then(|session| session.handle_timeout(now));
                    pair.told(side, event);
                }
            }
            7 => {
                let (skip, header, mut out) = (u64::from(input.byte()).pow(2), input.byte() & 0x7F, Vec::new());
                let number = pair.numbers[to] + skip;
                if let Some(session) = &mut pair.sides[to] {
                    let sealed = session.seal_media(number, header, &[number as u8, header], &mut out);
                    if sealed.is_ok() {
                        pair.numbers[to] = number + 1;
                        pair.send(1 - to, &out);
                    }
                    out.clear();
                    if op & 0x20 != 0
                        && pair.sides[to].as_mut().is_some_and(|s| s.seal_control(b"words", &mut out).is_ok())
                    {
                        pair.send(1 - to, &out);
                    }
                }
            }
            _ => {}
        }
        pair.drain();
    }
}
