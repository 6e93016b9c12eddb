//! Two peers and a bad network between them, by a seed.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{
    identity::Identity,
    session::{Admission, CookieGate, Destination, Event, Session, destination},
};

/// A small generator (xorshift64*), for the network's whims.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.roll() % 100 < percent
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.roll() as u8)
    }
}

pub(super) const OFFER: &[u8] = b"an offer";
pub(super) const ANSWER: &[u8] = b"an answer";

pub(super) fn caller_identity() -> Identity {
    Identity::from_bytes([0x11; 32])
}

pub(super) fn answerer_identity() -> Identity {
    Identity::from_bytes([0x22; 32])
}

pub(super) fn caller_address() -> SocketAddr {
    "192.0.2.1:4000".parse().unwrap()
}

pub(super) fn answerer_address() -> SocketAddr {
    "198.51.100.2:7275".parse().unwrap()
}

/// What the network does.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weather {
    pub(super) loss: u64,
    pub(super) twice: u64,
    /// Delays are up to so many milliseconds more than 20.
    pub(super) jitter: u64,
}

struct Flight {
    arrives: Instant,
    to_answerer: bool,
    datagram: Vec<u8>,
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) dice: Dice,
    weather: Weather,
    flights: Vec<Flight>,
    pub(super) caller: Session,
    pub(super) gate: CookieGate,
    pub(super) answerer: Option<Session>,
    pub(super) caller_events: Vec<String>,
    pub(super) answerer_events: Vec<String>,
    /// Every datagram sent, to the answerer or not.
    pub(super) sent: Vec<(bool, Vec<u8>)>,
}

impl World {
    pub(super) fn new(seed: u64, known: bool, weather: Weather) -> Self {
        let now = Instant::now();
        let mut dice = Dice::new(seed);
        let peer = known.then(|| answerer_identity().public());
        let (index, bytes) = (dice.roll() as u16, dice.bytes());
        let caller = Session::dial(&caller_identity(), peer, answerer_address(), index, OFFER, bytes, now).unwrap();
        let gate = CookieGate::new(&answerer_identity(), dice.bytes(), now);
        Self {
            now,
            dice,
            weather,
            flights: Vec::new(),
            caller,
            gate,
            answerer: None,
            caller_events: Vec::new(),
            answerer_events: Vec::new(),
            sent: Vec::new(),
        }
    }

    fn send(&mut self, to_answerer: bool, datagram: &[u8]) {
        self.sent.push((to_answerer, datagram.to_vec()));
        let copies = if self.dice.chance(self.weather.twice) { 2 } else { 1 };
        for _ in 0..copies {
            if !self.dice.chance(self.weather.loss) {
                let delay = Duration::from_millis(20 + self.dice.roll() % (self.weather.jitter + 1));
                let flight = Flight { arrives: self.now + delay, to_answerer, datagram: datagram.to_vec() };
                self.flights.push(flight);
            }
        }
    }

    /// What is on the way is lost.
    pub(super) fn flights_lost(&mut self) {
        self.flights.clear();
        self.weather.loss = 100;
    }

    /// Somebody else sends this, and it arrives at once.
    pub(super) fn inject(&mut self, to_answerer: bool, datagram: &[u8]) {
        let flight = Flight { arrives: self.now, to_answerer, datagram: datagram.to_vec() };
        self.flights.insert(0, flight);
    }

    fn note(&mut self, to_answerer: bool, event: Option<&Event<'_>>) {
        let Some(event) = event else { return };
        let text = match event {
            Event::Incoming { peer, offer } => {
                assert_eq!((*peer, offer.as_slice()), (caller_identity().public(), OFFER));
                "incoming".to_owned()
            }
            Event::Established { peer, answer } => {
                assert_eq!((*peer, answer.as_slice()), (answerer_identity().public(), ANSWER));
                "established".to_owned()
            }
            other => format!("{other:?}"),
        };
        if to_answerer { &mut self.answerer_events } else { &mut self.caller_events }.push(text);
    }

    fn drain(&mut self) {
        let mut out = Vec::new();
        while self.caller.poll_transmit(&mut out) {
            self.send(true, &out);
        }
        while self.answerer.as_mut().is_some_and(|answerer| answerer.poll_transmit(&mut out)) {
            self.send(false, &out);
        }
    }

    /// Until the next thing happens; false if nothing ever will.
    pub(super) fn step(&mut self, accept: bool) -> bool {
        self.drain();
        let flight = self.flights.iter().map(|flight| flight.arrives).min();
        let timeouts = [self.caller.poll_timeout(), self.answerer.as_ref().and_then(Session::poll_timeout)];
        let Some(next) = timeouts.into_iter().chain([flight]).flatten().min() else { return false };
        self.now = self.now.max(next);
        let now = self.now;
        if let Some(at) = self.flights.iter().position(|flight| flight.arrives <= now) {
            let mut flight = self.flights.remove(at);
            if flight.to_answerer {
                self.reach_answerer(&mut flight.datagram, accept);
            } else {
                let event = self.caller.handle(now, answerer_address(), &mut flight.datagram);
                let event = event.map(|event| owned(&event));
                self.note(false, event.as_ref());
            }
        }
        let event = self.caller.handle_timeout(now);
        self.note(false, event.as_ref());
        let event = self.answerer.as_mut().and_then(|answerer| answerer.handle_timeout(now));
        self.note(true, event.as_ref());
        self.drain();
        true
    }

    fn reach_answerer(&mut self, datagram: &mut [u8], accept: bool) {
        let (now, from) = (self.now, caller_address());
        let known = self.answerer.as_ref().is_some_and(|session| session.is_repeat(from, datagram));
        let event = if destination(datagram) == Destination::CookieGate && !known {
            match self.gate.admit(now, from, datagram, 0x7777) {
                Admission::Reply(reply) => {
                    assert!(reply.len() < datagram.len());
                    self.send(false, &reply);
                    return;
                }
                Admission::Session(session, event) => {
                    // A caller whose answers were lost has begun anew; and the first message of XX is not authentic, so that
                    // it may come twice with a difference.
                    self.answerer = Some(*session);
                    event
                }
                Admission::Junk => return,
            }
        } else {
            let Some(answerer) = &mut self.answerer else { return };
            answerer.handle(now, from, datagram).map(|event| owned(&event))
        };
        self.note(true, event.as_ref());
        if accept
            && matches!(event, Some(Event::Incoming { .. }))
            && let Some(answerer) = &mut self.answerer
        {
            answerer.accept(ANSWER, now).unwrap();
        }
    }

    /// Runs until both may send, or nothing happens any more.
    pub(super) fn run(&mut self) -> bool {
        while !self.both_open() {
            if !self.step(true) {
                return false;
            }
        }
        true
    }

    pub(super) fn both_open(&self) -> bool {
        self.caller.is_open() && self.answerer.as_ref().is_some_and(Session::is_open)
    }

    /// Two sessions that stand, with nothing left on the way.
    pub(super) fn open(seed: u64, known: bool) -> (Session, Session, Instant) {
        let mut world = Self::new(seed, known, Weather::default());
        assert!(world.run());
        while world.caller.poll_timeout().is_some() || !world.flights.is_empty() {
            world.step(true);
        }
        (world.caller, world.answerer.unwrap(), world.now)
    }
}

/// The event without the datagram.
pub(super) fn owned(event: &Event<'_>) -> Event<'static> {
    match event {
        Event::Incoming { peer, offer } => Event::Incoming { peer: *peer, offer: offer.clone() },
        Event::Established { peer, answer } => Event::Established { peer: *peer, answer: answer.clone() },
        Event::Confirmed => Event::Confirmed,
        Event::Media { .. } | Event::Control { .. } => panic!("nobody sends while shaking hands"),
        Event::Moved { from, to } => Event::Moved { from: *from, to: *to },
        Event::Refused(reason) => Event::Refused(*reason),
        Event::TimedOut => Event::TimedOut,
        Event::Attacked => Event::Attacked,
    }
}
