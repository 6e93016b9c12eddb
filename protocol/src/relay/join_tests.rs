use parlo_netem::{Path, PathConfig};
use proptest::prelude::*;

use super::*;
use crate::relay::{Action, Relay, RelayConfig};

const MS: Duration = Duration::from_millis(1);

fn address(n: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, n as u8], 7000 + n))
}

fn ticket() -> Ticket {
    Ticket::from_bytes([5; 16])
}

/// A peer at an address.
struct Peer {
    address: SocketAddr,
    join: Join,
    seen: Vec<(u64, Event)>,
    sent: u32,
}

/// A relay and peers, in steps of 10 ms, a datagram taking none.
struct World {
    start: Instant,
    ms: u64,
    relay: Relay,
    peers: Vec<Peer>,
    /// Whether datagrams get through, by the time.
    passes: fn(u64) -> bool,
}

impl World {
    fn new() -> Self {
        let start = Instant::now();
        Self {
            start,
            ms: 0,
            relay: Relay::new(RelayConfig::default(), [1; 16], start),
            peers: Vec::new(),
            passes: |_| true,
        }
    }

    fn now(&self) -> Instant {
        self.start + MS * self.ms as u32
    }

    fn dial(&mut self, n: u16) {
        let join = Join::dial(address(0), ticket(), self.now());
        self.peers.push(Peer { address: address(n), join, seen: Vec::new(), sent: 0 });
    }

    /// A peer sends this to the other by way of the relay.
    fn speak(&mut self, n: usize, now: Instant, body: &[u8]) -> Action {
        let peer = &self.peers[n];
        let mut datagram = body.to_vec();
        datagram.extend_from_slice(&peer.join.tag(body).expect("a seat"));
        self.relay.handle(now, peer.address, &datagram)
    }

    fn run(&mut self, ms: u64) {
        let end = self.ms + ms;
        while self.ms < end {
            let now = self.now();
            for peer in &mut self.peers {
                if peer.join.poll_timeout().is_some_and(|due| due <= now) {
                    let event = peer.join.handle_timeout(now);
                    peer.seen.extend(event.map(|event| (self.ms, event)));
                }
                let mut datagram = Vec::new();
                while peer.join.poll_transmit(&mut datagram) {
                    assert_eq!(datagram.len(), crate::relay::JOIN_BYTES);
                    peer.sent += 1;
                    if !(self.passes)(self.ms) {
                        continue;
                    }
                    if let Action::Reply(reply) = self.relay.handle(now, peer.address, &datagram) {
                        let event = peer.join.handle(now, address(0), reply.as_bytes());
                        peer.seen.extend(event.map(|event| (self.ms, event)));
                    }
                }
            }
            self.relay.handle_timeout(now);
            self.ms += 10;
        }
    }
}

#[test]
fn two_meet_within_a_second_and_stay() {
    let mut world = World::new();
    world.dial(1);
    world.run(3000);
    assert_eq!(world.peers[0].seen, [(0, Event::Waiting)]);
    world.dial(2);
    world.run(1100);
    assert_eq!(world.peers[1].seen, [(3000, Event::Together)]);
    assert_eq!(world.peers[0].seen[1..], [(4000, Event::Together)]);
    let sent = world.peers[0].sent;
    world.run(200_000);
    assert_eq!(world.relay.members(), 2);
    // One Join every two seconds each, which needs no new cookie.
    assert_eq!(world.peers[0].sent - sent, 100);
    assert_eq!(world.relay.stats().joins, 2);
}

#[test]
fn it_asks_with_longer_pauses_and_gives_up() {
    let mut world = World::new();
    world.passes = |_| false;
    world.dial(1);
    world.run(9990);
    assert_eq!((world.peers[0].seen.len(), world.peers[0].sent), (0, 12));
    world.run(1000);
    assert_eq!(world.peers[0].seen, [(10_000, Event::GaveUp(None))]);
    world.run(30_000);
    assert_eq!((world.peers[0].seen.len(), world.peers[0].sent), (1, 12));
    assert_eq!(world.peers[0].join.poll_timeout(), None);
}

#[test]
fn a_relay_started_anew_is_joined_anew() {
    let mut world = World::new();
    world.dial(1);
    world.dial(2);
    world.run(5000);
    world.relay = Relay::new(RelayConfig::default(), [2; 16], world.now());
    // Whoever notices that the other is gone may ask at once; the other does within two seconds.
    let now = world.now();
    world.peers[0].join.rejoin(now);
    world.run(10);
    assert_eq!(world.peers[0].join.state(), Some(RoomState::Waiting));
    world.run(20_000);
    assert_eq!(world.peers[0].join.state(), Some(RoomState::Together));
    assert_eq!(world.peers[1].join.state(), Some(RoomState::Together));
    assert_eq!(world.relay.members(), 2);
}

#[test]
fn a_peer_that_moves_gets_its_seat_back() {
    let mut world = World::new();
    world.dial(1);
    world.dial(2);
    world.run(2000);
    let speak = |world: &mut World| {
        let now = world.now();
        world.speak(1, now, &[0x80; 40])
    };
    speak(&mut world);
    world.peers[0].address = address(3);
    world.peers[0].join.rejoin(world.start + 2000 * MS);
    for _ in 0..7 {
        world.run(1000);
        speak(&mut world);
    }
    let seen: Vec<Event> = world.peers[0].seen.iter().map(|seen| seen.1).collect();
    assert_eq!(seen, [Event::Waiting, Event::Together, Event::Refused(Reason::Taken)]);
    assert_eq!(speak(&mut world), Action::Forward { to: address(3), bytes: 40 });
    assert_eq!(world.relay.stats().moves, 1);
}

#[test]
fn a_third_is_told_why_it_gets_in_nowhere() {
    let mut world = World::new();
    world.dial(1);
    world.dial(2);
    world.run(2000);
    world.dial(3);
    for _ in 0..12 {
        world.run(1000);
        let now = world.now();
        world.speak(0, now, &[0x80]);
        world.speak(1, now, &[0x80]);
    }
    let seen: Vec<Event> = world.peers[2].seen.iter().map(|seen| seen.1).collect();
    assert_eq!(seen, [Event::Refused(Reason::Taken), Event::GaveUp(Some(Reason::Taken))]);
}

#[test]
fn others_cannot_speak_for_the_relay() {
    let now = Instant::now();
    let mut join = Join::dial(address(0), ticket(), now);
    let mut datagram = Vec::new();
    assert!(join.poll_transmit(&mut datagram) && !join.poll_transmit(&mut datagram));
    // Nobody has a seat before it has a cookie.
    assert_eq!(join.handle(now, address(0), &[0x52, 1, 1]), None);
    assert_eq!(join.state(), None);
    let retry = [&[0x51, 1][..], &[9; 16]].concat();
    assert_eq!(join.handle(now, address(1), &retry), None);
    assert!(!join.poll_transmit(&mut datagram));
    // A storm of Retries is answered twice, and then when the next Join is due anyway.
    let mut answered = 0;
    for _ in 0..100 {
        join.handle(now, address(0), &retry);
        answered += u32::from(join.poll_transmit(&mut datagram));
    }
    assert_eq!(answered, 2);
    assert_eq!(datagram, Vec::<u8>::new());
    assert_eq!(join.handle(now, address(0), &[0x52, 1, 1]), Some(Event::Together));
    assert_eq!(join.handle(now, address(0), &[0x53, 1, 1]), None);
    assert_eq!(join.poll_timeout(), Some(now + 2_000 * MS));
}

/// Whoever can send in the relay's name, but does not see what goes between: it takes away no seat, and no tag for longer than
/// until the next Join.
#[test]
fn forged_answers_change_no_tag() {
    let mut world = World::new();
    world.dial(1);
    world.dial(2);
    world.run(3000);
    let tag = |world: &World| world.peers[0].join.tag(b"speech");
    let before = tag(&world);
    assert!(before.is_some());
    for step in 0..1000_u64 {
        let now = world.now();
        let join = &mut world.peers[0].join;
        for (kind, version) in [(0x51, 1), (0x51, 2), (0x52, 1), (0x52, 2), (0x53, 1)] {
            let rest: &[u8] = match kind {
                0x51 => &[step as u8 | 1; 16],
                0x52 if version == 2 => &[0, 1, 2, 3, 4, 5, 6, 7, 8],
                0x52 => &[0],
                _ => &[4],
            };
            join.handle(now, address(0), &[&[kind, version][..], rest].concat());
        }
        world.run(10);
        assert_eq!(world.peers[0].join.state(), Some(RoomState::Together));
        let now = world.now();
        assert_eq!(world.speak(0, now, b"\x80 speech"), Action::Forward { to: address(2), bytes: 8 });
    }
}

/// Relays and peers of before tags.
#[test]
fn a_relay_that_knows_no_tags_is_spoken_to_without() {
    let start = Instant::now();
    for answers_other_versions in [true, false] {
        let mut join = Join::dial(address(0), ticket(), start);
        let mut datagram = Vec::new();
        assert!(join.poll_transmit(&mut datagram) && datagram[1] == 2);
        if answers_other_versions {
            assert_eq!(join.handle(start, address(0), &[0x53, 1, 4]), None);
            join.handle_timeout(start + 250 * MS);
            assert!(join.poll_transmit(&mut datagram) && datagram[1] == 1);
        }
        join.handle(start, address(0), &[&[0x51, 1][..], &[9; 16]].concat());
        assert!(join.poll_transmit(&mut datagram) && datagram[1] == 1 && datagram[18..] == [9; 16]);
        assert_eq!(join.handle(start, address(0), &[0x52, 1, 1]), Some(Event::Together));
        assert_eq!(join.tag(b"speech"), None);
    }
    // One that knows neither says so for good.
    let mut join = Join::dial(address(0), ticket(), start);
    assert_eq!(join.handle(start, address(0), &[0x53, 3, 4]), Some(Event::Refused(Reason::Version)));
}

/// Two peers behind paths that lose, delay, reorder, double and corrupt: when do both know that both are there?
fn meeting(path: &PathConfig) -> Option<u64> {
    let start = Instant::now();
    let mut relay = Relay::new(RelayConfig::default(), [1; 16], start);
    let mut peers = [1, 2].map(|n| {
        let path = |way| Path::new(path.derive(2 * u64::from(n) + way), start);
        (address(n), Join::dial(address(0), ticket(), start), path(0), path(1))
    });
    let mut datagram = Vec::new();
    for ms in 0..30_000 {
        let now = start + MS * ms;
        for (peer, join, up, down) in &mut peers {
            while down.receive(now, &mut datagram) {
                join.handle(now, address(0), &datagram);
            }
            join.handle_timeout(now);
            while join.poll_transmit(&mut datagram) {
                up.send(now, &datagram);
            }
            while up.receive(now, &mut datagram) {
                if let Action::Reply(reply) = relay.handle(now, *peer, &datagram) {
                    down.send(now, reply.as_bytes());
                }
            }
        }
        if peers.iter().all(|(_, join, ..)| join.state() == Some(RoomState::Together)) {
            return Some(u64::from(ms));
        }
    }
    None
}

#[test]
fn bad_paths_keep_nobody_from_meeting() {
    let text = "loss=30%/2 delay=40ms jitter=pareto:20ms reorder=5% duplicate=10% corrupt=2%";
    let path: PathConfig = text.parse().unwrap();
    let mut times: Vec<u64> = (0..100).filter_map(|seed| meeting(&PathConfig { seed, ..path.clone() })).collect();
    times.sort_unstable();
    // Half of all exchanges fail on such paths. 97 met within their patience, half of them after 2.9 s.
    assert!(times.len() >= 95 && times[50] < 3500, "{} met, after {:?} ms", times.len(), times.get(50));
}

proptest! {
    #[test]
    fn whatever_comes_it_ends_or_has_a_seat(
        junk in prop::collection::vec((0_u64..3000, prop::collection::vec(any::<u8>(), 0..40), 0x50_u8..0x55), 0..60),
    ) {
        let start = Instant::now();
        let mut join = Join::dial(address(0), ticket(), start);
        let (mut now, mut datagram, mut sent) = (start, Vec::new(), 0);
        for (ms, mut bytes, kind) in junk {
            now += MS * ms as u32;
            if let [first, second, ..] = &mut bytes[..] {
                (*first, *second) = (kind, 1 + (ms % 2) as u8);
            }
            join.handle(now, address(0), &bytes);
            sent += u32::from(join.poll_transmit(&mut datagram));
            join.handle_timeout(now);
            sent += u32::from(join.poll_transmit(&mut datagram));
            prop_assert!(!join.poll_transmit(&mut datagram));
            prop_assert!(join.state().is_none() || join.poll_timeout().is_some());
        }
        // No faster than it should: at most three in each pause of 250 ms.
        let pauses = (now - start).as_millis() as u32 / 250 + 1;
        prop_assert!(sent <= 3 * pauses + 3);
    }
}
