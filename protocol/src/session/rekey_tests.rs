//! Keys that are agreed anew: over any network, against thieves, and with peers that do not know it.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::{
    Event, REKEY_EVERY, REKEY_OVERDUE, Session,
    rekey::LATE,
    testing::{Dice, Weather, World, answerer_address, caller_address},
};

const CALLER: usize = 0;
const LISTENER: usize = 1;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

struct Flight {
    arrives: Instant,
    to: usize,
    datagram: Vec<u8>,
    /// Of speech.
    number: Option<u64>,
}

/// A call that stands, a clock turned by hand, and a network.
struct Net {
    now: Instant,
    dice: Dice,
    weather: Weather,
    /// What the network does not let through, by who sends it and its length.
    blocked: Vec<(usize, usize)>,
    sides: [Session; 2],
    /// Whether each side is given the seeds that it asks for, and speaks.
    seeds: [bool; 2],
    speaks: [bool; 2],
    next: [u64; 2],
    flights: Vec<Flight>,
    came: [BTreeSet<u64>; 2],
    /// All that was sent, by whom.
    tape: Vec<(usize, Vec<u8>)>,
    seeded: Vec<[u8; 32]>,
}

impl Net {
    fn new(seed: u64, weather: Weather) -> Self {
        let (mut caller, mut listener, now) = World::open(seed, true);
        caller.enable_rekeying(now);
        listener.enable_rekeying(now);
        Self {
            now,
            dice: Dice::new(seed + 1),
            weather,
            blocked: Vec::new(),
            sides: [caller, listener],
            seeds: [true; 2],
            speaks: [true; 2],
            next: [0; 2],
            flights: Vec::new(),
            came: Default::default(),
            tape: Vec::new(),
            seeded: Vec::new(),
        }
    }

    fn send(&mut self, by: usize, datagram: &[u8], number: Option<u64>) {
        self.tape.push((by, datagram.to_vec()));
        if self.blocked.contains(&(by, datagram.len())) {
            return;
        }
        let copies = if self.dice.chance(self.weather.twice) { 2 } else { 1 };
        for _ in 0..copies {
            if !self.dice.chance(self.weather.loss) {
                let arrives = self.now + ms(20 + self.dice.roll() % (self.weather.jitter + 1));
                self.flights.push(Flight { arrives, to: 1 - by, datagram: datagram.to_vec(), number });
            }
        }
    }

    /// What each side does of itself.
    fn turn(&mut self) {
        for side in [CALLER, LISTENER] {
            if self.sides[side].poll_timeout().is_some_and(|due| due <= self.now) {
                assert_eq!(self.sides[side].handle_timeout(self.now), None);
            }
            if self.seeds[side] && self.sides[side].needs_seed() {
                let seed = self.dice.bytes();
                self.seeded.push(seed);
                self.sides[side].rekey(seed, self.now);
                assert!(!self.sides[side].needs_seed(), "it was given");
            }
            let mut out = Vec::new();
            while self.sides[side].poll_transmit(&mut out) {
                self.send(side, &out, None);
            }
        }
    }

    fn speak(&mut self, side: usize) {
        let (mut out, number) = (Vec::new(), self.next[side]);
        self.next[side] += 3;
        self.sides[side].seal_media(number, 0, &number.to_be_bytes(), &mut out).unwrap();
        assert_eq!(out.len(), 8 + 13, "packets of speech do not grow");
        self.send(side, &out, Some(number));
    }

    fn deliver(&mut self) {
        while let Some(at) = (0..self.flights.len())
            .filter(|&at| self.flights[at].arrives <= self.now)
            .min_by_key(|&at| self.flights[at].arrives)
        {
            let Flight { to, mut datagram, number, .. } = self.flights.remove(at);
            let from = if to == CALLER { answerer_address() } else { caller_address() };
            let event = self.sides[to].handle(self.now, from, &mut datagram);
            if let Some(number) = number {
                let body = number.to_be_bytes();
                let expected = Event::Media { number, header: 0, body: &body };
                let is_new = self.came[to].insert(number);
                assert_eq!(event, is_new.then_some(expected), "what comes is opened, once");
            }
            self.turn();
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += ms(20);
            self.deliver();
            self.turn();
            for side in [CALLER, LISTENER] {
                if self.speaks[side] && self.dice.chance(33) {
                    self.speak(side);
                }
            }
        }
    }

    fn rekeys(&self) -> [u64; 2] {
        [0, 1].map(|side| self.sides[side].rekeys())
    }

    fn roots(&self) -> [[u8; 32]; 2] {
        [0, 1].map(|side| *self.sides[side].keys.as_ref().unwrap().root())
    }

    fn ages(&self) -> [Duration; 2] {
        [0, 1].map(|side| self.sides[side].key_age(self.now).unwrap())
    }

    fn forged(&self) -> u64 {
        self.sides.iter().map(|side| side.stats().forged).sum()
    }
}

fn good() -> Weather {
    Weather::default()
}

#[test]
fn keys_are_agreed_anew_every_two_minutes() {
    let mut net = Net::new(1, good());
    let mut roots = BTreeSet::from([net.roots()[0]]);
    for n in 1..=10 {
        net.run(REKEY_EVERY + ms(100));
        assert_eq!(net.rekeys(), [n, n]);
        let [caller, listener] = net.roots();
        assert_eq!(caller, listener);
        assert!(roots.insert(caller), "each is another");
    }
    assert_eq!(net.forged(), 0);
    assert_eq!(net.seeded.len(), 20, "one of each side for each");
    // Two messages of 55 bytes and two of 14 each time.
    let lengths: Vec<_> = net.tape.iter().map(|(_, datagram)| datagram.len()).filter(|&length| length != 21).collect();
    assert_eq!(lengths, [55, 55, 14, 14].repeat(10));
}

#[test]
fn it_works_while_nobody_speaks() {
    let mut net = Net::new(2, good());
    net.speaks = [false; 2];
    net.run(10 * REKEY_EVERY + ms(3000));
    assert_eq!(net.rekeys(), [10, 10]);
    // Who speaks then, uses the newest keys; and so does who speaks first after long.
    net.speaks = [false, true];
    net.run(3 * REKEY_EVERY);
    net.speaks = [true, true];
    net.run(3 * REKEY_EVERY);
    assert_eq!((net.forged(), net.rekeys()), (0, [16, 16]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is lost, late, doubled or overtaken, by up to three seconds: what comes is opened, and both sides come to the same
    /// keys.
    #[test]
    fn nothing_is_lost_over_any_network(
        seed in 0..1000_u64, loss in 0..60_u64, twice in 0..50_u64, jitter in 0..3000_u64, speaks: [bool; 2],
    ) {
        let mut net = Net::new(seed, Weather { loss, twice, jitter });
        net.speaks = speaks;
        net.run(REKEY_EVERY * 6);
        prop_assert_eq!(net.forged(), 0);
        net.weather = good();
        net.speaks = [true, true];
        net.run(ms(15_000));
        let [caller, listener] = net.rekeys();
        prop_assert_eq!(caller, listener);
        prop_assert!(caller >= 3, "{} times in 12 minutes with {} % lost", caller, loss);
        let [caller, listener] = net.roots();
        prop_assert_eq!(caller, listener);
        prop_assert_eq!(net.forged(), 0);
    }
}

/// Sessions that are made from the same seeds are the same: so a thief has all that a side had when it was robbed.
#[test]
fn a_thief_of_the_keys_is_locked_out() {
    for (knows_seeds, opens) in [(false, false), (true, true)] {
        let mut net = Net::new(3, good());
        let robbed = Net::new(3, good());
        let [mut thief_caller, mut thief_listener] = robbed.sides;
        net.run(REKEY_EVERY + ms(500));
        assert_eq!(net.rekeys(), [1, 1]);
        let mut later = Vec::new();
        net.sides[CALLER].seal_media(0x4000, 0, b"later", &mut later).unwrap();
        // It hears all that is said, and lets its copies take part with what it draws itself.
        let now = robbed.now + REKEY_EVERY;
        assert_eq!(thief_caller.handle_timeout(now), None);
        thief_caller.rekey(if knows_seeds { net.seeded[0] } else { [1; 32] }, now);
        let mut before = 0;
        for (by, datagram) in &net.tape {
            let (thief, from) = if *by == CALLER {
                (&mut thief_listener, caller_address())
            } else {
                (&mut thief_caller, answerer_address())
            };
            let mut heard = datagram.clone();
            let event = thief.handle(now, from, &mut heard);
            before += u64::from(matches!(event, Some(Event::Media { .. })));
            if thief.needs_seed() {
                thief.rekey(if knows_seeds { net.seeded[1] } else { [2; 32] }, now);
            }
        }
        assert!(before > 1000, "it hears the call until then: {before}");
        let mut heard = later.clone();
        let event = thief_listener.handle(now, caller_address(), &mut heard);
        assert_eq!(matches!(event, Some(Event::Media { .. })), opens);
        let event = net.sides[LISTENER].handle(net.now, caller_address(), &mut later);
        assert!(matches!(event, Some(Event::Media { .. })), "the peer does");
    }
}

/// What came late is opened with the old keys, for half a minute; then they are gone, and with them all that was said before.
#[test]
fn old_keys_are_kept_for_half_a_minute() {
    let mut net = Net::new(4, good());
    net.run(REKEY_EVERY - ms(100));
    let mut seal = |number: u64| {
        let mut out = Vec::new();
        net.sides[CALLER].seal_media(number, 0, b"late", &mut out).unwrap();
        out
    };
    let (mut late, mut too_late) = (seal(0x4000), seal(0x4001));
    net.next[CALLER] = 0x4003;
    net.run(ms(500));
    assert_eq!(net.rekeys(), [1, 1]);
    net.run(LATE - ms(1000));
    let now = net.now;
    assert!(net.sides.iter().all(|side| side.keys.as_ref().unwrap().has_old()));
    assert!(net.sides[LISTENER].handle(now, caller_address(), &mut late).is_some());
    net.run(ms(1000));
    assert!(net.sides.iter().all(|side| !side.keys.as_ref().unwrap().has_old()));
    let now = net.now;
    assert!(net.sides[LISTENER].handle(now, caller_address(), &mut too_late).is_none());
}

/// Who keeps the peers from agreeing does not end the call: it goes on with the chain, and both know how old the keys are.
#[test]
fn an_attacker_who_drops_the_messages_is_noticed() {
    for blocked in [55, 14] {
        let mut net = Net::new(5, good());
        net.run(REKEY_EVERY + ms(1000));
        assert_eq!(net.rekeys(), [1, 1]);
        net.blocked = vec![(CALLER, blocked), (LISTENER, blocked)];
        net.speaks = [blocked == 55; 2];
        // More than an epoch.
        net.run(12 * REKEY_EVERY);
        assert_eq!((net.rekeys(), net.forged()), ([1, 1], 0));
        assert!(net.ages().iter().all(|&age| age > REKEY_OVERDUE));
        let asked = net.tape.iter().filter(|(by, datagram)| *by == CALLER && datagram.len() == blocked).count();
        assert!((300..400).contains(&asked), "once in four seconds: {asked}");
        (net.blocked, net.speaks) = (Vec::new(), [true; 2]);
        net.run(ms(6000));
        assert_eq!(net.rekeys(), [2, 2]);
        assert!(net.ages().iter().all(|&age| age < ms(7000)));
        net.run(3 * REKEY_EVERY + ms(1000));
        assert_eq!((net.rekeys(), net.forged()), ([5, 5], 0));
    }
}

/// Numbers may come to another epoch while keys are agreed, and then others.
#[test]
fn epochs_go_on_within_a_generation_and_while_one_is_agreed_upon() {
    let mut net = Net::new(6, good());
    for turn in 0..80_u64 {
        // The listener's answer is held back for as long as both take for an epoch and more.
        net.blocked = if turn % 16 < 12 { vec![(LISTENER, 55)] } else { Vec::new() };
        net.run(REKEY_EVERY / 8);
        for side in [CALLER, LISTENER] {
            net.next[side] += 0x5000 + 0x400 * side as u64;
        }
    }
    net.blocked = Vec::new();
    net.run(ms(10_000));
    assert!(net.next[CALLER] > 20 << 16);
    let [caller, listener] = net.rekeys();
    assert!(caller == listener && caller >= 5, "{caller} {listener}");
    assert_eq!(net.forged(), 0);
}

#[test]
fn a_peer_that_does_not_know_it_loses_nothing() {
    for side in [CALLER, LISTENER] {
        let mut net = Net::new(7, good());
        net.sides[side].rekeying = None;
        net.run(15 * REKEY_EVERY);
        assert_eq!((net.rekeys(), net.forged()), ([0, 0], 0));
        assert!(net.came.iter().all(|came| came.len() > 20_000));
    }
    // And who gives no seed is asked for one, no more.
    let mut net = Net::new(8, good());
    net.seeds = [true, false];
    net.run(3 * REKEY_EVERY);
    assert_eq!((net.rekeys(), net.forged(), net.sides[LISTENER].needs_seed()), ([0, 0], 0, true));
    net.seeds = [true, true];
    net.run(ms(5000));
    assert_eq!(net.rekeys(), [1, 1]);
}

/// A peer that asks without end costs one agreement in half a minute; one that says anything else nothing.
#[test]
fn a_hostile_caller_gets_one_agreement_in_half_a_minute() {
    let mut net = Net::new(9, good());
    net.speaks = [false, false];
    let message = |generation: u8, key: u8| {
        let mut body = vec![7, generation];
        body.extend([key; 32]);
        body.extend([0; 8]);
        body
    };
    let ask = |net: &mut Net, body: &[u8]| {
        let mut out = Vec::new();
        net.sides[CALLER].control(body[0], &body[1..], &mut out).unwrap();
        let now = net.now;
        assert_eq!(net.sides[LISTENER].handle(now, caller_address(), &mut out), None);
        net.sides[LISTENER].needs_seed()
    };
    for body in [message(0, 9), message(2, 9), message(1, 9)[..40].to_vec(), vec![8; 42], vec![7]] {
        assert!(!ask(&mut net, &body), "{body:?}");
    }
    // Of a point of small order comes a secret that all know.
    assert!(ask(&mut net, &message(1, 0)));
    net.sides[LISTENER].rekey([1; 32], net.now);
    assert!(!net.sides[LISTENER].needs_seed());
    assert!(!net.sides[LISTENER].poll_transmit(&mut Vec::new()));
    net.run(REKEY_EVERY + ms(1000));
    assert_eq!(net.rekeys(), [1, 1]);
    assert!(!ask(&mut net, &message(2, 9)));
    net.run(LATE);
    assert!(ask(&mut net, &message(2, 9)));
}
