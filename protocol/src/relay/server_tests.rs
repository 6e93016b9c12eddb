use proptest::prelude::*;

use super::*;
use crate::relay::packet::encode_join;

const KEY: [u8; 16] = [7; 16];
const PEER: &[u8] = &[0x80, 1, 2, 3];

fn address(n: u16) -> SocketAddr {
    format!("192.0.2.{}:{}", n / 200, 1000 + n).parse().unwrap()
}

fn ticket(n: u8) -> Ticket {
    Ticket::from_bytes([n; 16])
}

fn relay(config: RelayConfig) -> (Relay, Instant) {
    let now = Instant::now();
    (Relay::new(config, KEY, now), now)
}

fn join(ticket: Ticket, cookie: [u8; 16]) -> Vec<u8> {
    let mut datagram = Vec::new();
    encode_join(&ticket, &cookie, &mut datagram);
    datagram
}

fn answer(action: Action) -> Answer {
    let Action::Reply(reply) = action else { panic!("{action:?} is no reply") };
    Answer::parse(reply.as_bytes()).unwrap()
}

fn cookie(relay: &mut Relay, now: Instant, from: SocketAddr, ticket: Ticket) -> [u8; 16] {
    match answer(relay.handle(now, from, &join(ticket, [0; 16]))) {
        Answer::Retry(cookie) => cookie,
        other => panic!("{other:?} is no retry"),
    }
}

/// Joins as a peer does, cookie and all.
fn sit(relay: &mut Relay, now: Instant, from: SocketAddr, ticket: Ticket) -> Answer {
    let cookie = cookie(relay, now, from, ticket);
    answer(relay.handle(now, from, &join(ticket, cookie)))
}

/// What must hold at all times.
fn check(relay: &Relay) {
    let mut members = 0;
    let mut sources: HashMap<Source, u32> = HashMap::new();
    for (ticket, &at) in &relay.index {
        let room = &relay.rooms[at];
        assert_eq!(room.ticket, *ticket);
        assert!(!relay.free.contains(&at));
        assert!(room.members.iter().any(Option::is_some), "an empty room stays open");
        for (side, member) in room.members.iter().enumerate() {
            let Some(member) = member else { continue };
            assert_eq!(relay.seats[&member.address], Seat { room: at, side });
            *sources.entry(Source::of(member.address)).or_default() += 1;
            members += 1;
        }
    }
    assert_eq!(relay.seats.len(), members);
    assert_eq!(relay.sources, sources);
    assert_eq!(relay.rooms.len(), relay.index.len() + relay.free.len());
    assert!(relay.index.len() <= relay.config.rooms);
    assert!(sources.values().all(|seats| *seats <= relay.config.seats_per_source));
}

#[test]
fn two_members_hear_each_other_and_nobody_else() {
    let (mut relay, now) = relay(RelayConfig::default());
    let (first, second, stranger) = (address(1), address(2), address(3));
    assert_eq!(relay.poll_timeout(), None);
    assert_eq!(sit(&mut relay, now, first, ticket(1)), Answer::Joined(State::Waiting));
    assert_eq!(relay.handle(now, first, PEER), Action::Drop(Dropped::Alone));
    assert_eq!(sit(&mut relay, now, second, ticket(1)), Answer::Joined(State::Together));
    assert_eq!(relay.handle(now, first, PEER), Action::Forward(second));
    assert_eq!(relay.handle(now, second, PEER), Action::Forward(first));
    assert_eq!(relay.handle(now, stranger, PEER), Action::Drop(Dropped::Stranger));
    // The first learns of the second when it next asks, with whatever cookie.
    assert_eq!(answer(relay.handle(now, first, &join(ticket(1), [9; 16]))), Answer::Joined(State::Together));
    for first_byte in 0..=255 {
        let expected = match first_byte {
            0x40..=0x45 | 0x80..=0xff => Action::Forward(second),
            _ => Action::Drop(Dropped::Foreign),
        };
        assert_eq!(relay.handle(now, first, &[first_byte]), expected, "{first_byte:#x}");
    }
    assert_eq!(relay.handle(now, first, &[]), Action::Drop(Dropped::Foreign));
    assert_eq!(relay.handle(now, first, &[0x80; 1400]), Action::Forward(second));
    assert_eq!(relay.handle(now, first, &[0x80; 1401]), Action::Drop(Dropped::Long));
    check(&relay);
}

#[test]
fn a_cookie_is_good_for_one_address_one_room_and_some_seconds() {
    let (mut relay, now) = relay(RelayConfig::default());
    let from = address(1);
    let good = cookie(&mut relay, now, from, ticket(1));
    let is_good = |after: u64, from, room, cookie| {
        let mut relay = Relay::new(RelayConfig::default(), KEY, now);
        let reply = relay.handle(now + Duration::from_secs(after), from, &join(room, cookie));
        assert_eq!(relay.members(), usize::from(matches!(answer(reply), Answer::Joined(_))));
        matches!(answer(reply), Answer::Joined(_))
    };
    assert!(is_good(0, from, ticket(1), good));
    assert!(is_good(19, from, ticket(1), good));
    assert!(!is_good(20, from, ticket(1), good));
    assert!(!is_good(0, from, ticket(2), good));
    assert!(!is_good(0, address(2), ticket(1), good));
    assert!(!is_good(0, "192.0.2.0:1002".parse().unwrap(), ticket(1), good));
    for bit in 0..128 {
        let forged = (u128::from_be_bytes(good) ^ 1 << bit).to_be_bytes();
        assert!(!is_good(0, from, ticket(1), forged));
    }
    let mut other = Relay::new(RelayConfig::default(), [8; 16], now);
    assert_ne!(cookie(&mut other, now, from, ticket(1)), good);
}

#[test]
fn joins_of_other_shapes_and_versions() {
    let (mut relay, now) = relay(RelayConfig::default());
    let mut long = join(ticket(1), [0; 16]);
    long.push(0);
    assert_eq!(relay.handle(now, address(1), &long), Action::Drop(Dropped::Foreign));
    assert_eq!(relay.handle(now, address(1), &long[..33]), Action::Drop(Dropped::Foreign));
    long[1] = 2;
    assert_eq!(answer(relay.handle(now, address(1), &long[..34])), Answer::Error(Reason::Version));
    assert_eq!(relay.stats().foreign, 2);
}

#[test]
fn a_third_gets_in_only_where_a_member_is_silent() {
    let (mut relay, start) = relay(RelayConfig::default());
    let (first, second, third) = (address(1), address(2), address(3));
    sit(&mut relay, start, first, ticket(1));
    sit(&mut relay, start, second, ticket(1));
    let later = start + Duration::from_secs(5);
    relay.handle(later, second, PEER);
    assert_eq!(sit(&mut relay, later, third, ticket(1)), Answer::Error(Reason::Taken));
    let later = later + Duration::from_millis(1);
    assert_eq!(sit(&mut relay, later, third, ticket(1)), Answer::Joined(State::Together));
    assert_eq!(relay.stats().moves, 1);
    assert_eq!(relay.handle(later, second, PEER), Action::Forward(third));
    assert_eq!(relay.handle(later, third, PEER), Action::Forward(second));
    assert_eq!(relay.handle(later, first, PEER), Action::Drop(Dropped::Stranger));
    check(&relay);
}

#[test]
fn who_goes_to_another_room_leaves_the_first() {
    let (mut relay, now) = relay(RelayConfig::default());
    sit(&mut relay, now, address(1), ticket(1));
    sit(&mut relay, now, address(2), ticket(1));
    assert_eq!(sit(&mut relay, now, address(1), ticket(2)), Answer::Joined(State::Waiting));
    assert_eq!(relay.handle(now, address(2), PEER), Action::Drop(Dropped::Alone));
    assert_eq!(sit(&mut relay, now, address(2), ticket(2)), Answer::Joined(State::Together));
    assert_eq!((relay.rooms(), relay.members()), (1, 2));
    check(&relay);
}

#[test]
fn rooms_are_limited_and_reused() {
    let (mut relay, now) = relay(RelayConfig { rooms: 3, ..RelayConfig::default() });
    for n in 0..3 {
        assert_eq!(sit(&mut relay, now, address(n), ticket(n as u8)), Answer::Joined(State::Waiting));
    }
    assert_eq!(sit(&mut relay, now, address(9), ticket(9)), Answer::Error(Reason::Full));
    assert_eq!(sit(&mut relay, now, address(8), ticket(0)), Answer::Joined(State::Together));
    check(&relay);
    let later = now + Duration::from_secs(30);
    relay.handle(later, address(0), PEER);
    // A Join is a sign of life too.
    relay.handle(later, address(1), &join(ticket(1), [0; 16]));
    let due = relay.poll_timeout().unwrap();
    relay.handle_timeout(due.max(now + Duration::from_secs(60)));
    assert_eq!((relay.rooms(), relay.members(), relay.stats().expired), (2, 2, 2));
    check(&relay);
    assert_eq!(sit(&mut relay, now + Duration::from_secs(61), address(9), ticket(9)), Answer::Joined(State::Waiting));
    assert_eq!(relay.rooms.len(), 3);
    relay.handle_timeout(now + Duration::from_secs(200));
    assert_eq!((relay.rooms(), relay.members(), relay.poll_timeout()), (0, 0, None));
    check(&relay);
}

#[test]
fn a_member_sends_as_fast_as_allowed() {
    let (mut relay, now) = relay(RelayConfig::default());
    sit(&mut relay, now, address(1), ticket(1));
    sit(&mut relay, now, address(2), ticket(1));
    // 100 bytes with headers: 12.5 ms at 64 kbit/s. A second's worth may come at once: 80.
    let datagram = [0x80; 72];
    let carried = |relay: &mut Relay, now, count| {
        (0..count).filter(|_| matches!(relay.handle(now, address(1), &datagram), Action::Forward(_))).count()
    };
    assert_eq!(carried(&mut relay, now, 100), 80);
    assert_eq!(relay.handle(now, address(1), &datagram), Action::Drop(Dropped::Fast));
    assert_eq!(relay.stats().fast, 21);
    // Keeping one's seat costs too.
    assert_eq!(relay.handle(now, address(1), &join(ticket(1), [0; 16])), Action::Drop(Dropped::Fast));
    assert_eq!(relay.handle(now, address(2), &datagram), Action::Forward(address(1)));
    let mut count = 0;
    for ms in 1..=10_000 {
        count += carried(&mut relay, now + Duration::from_millis(ms), 1);
    }
    assert_eq!(count, 800);
    // However slow, a whole datagram passes now and then.
    let slow = RelayConfig { bits_per_second: 0, ..RelayConfig::default() };
    let mut relay = Relay::new(slow, KEY, now);
    sit(&mut relay, now, address(1), ticket(1));
    sit(&mut relay, now, address(2), ticket(1));
    assert_eq!(relay.handle(now, address(1), &[0x80; 1400]), Action::Forward(address(2)));
    assert_eq!(relay.handle(now, address(1), &[0x80]), Action::Drop(Dropped::Fast));
}

#[test]
fn one_source_cannot_take_all() {
    let (mut relay, now) = relay(RelayConfig { seats_per_source: 20, ..RelayConfig::default() });
    let from = |n: u16| SocketAddr::from(([192, 0, 2, 1], n));
    for n in 0..16 {
        assert_eq!(sit(&mut relay, now, from(n), ticket(n as u8)), Answer::Joined(State::Waiting));
    }
    assert_eq!(sit(&mut relay, now, from(16), ticket(16)), Answer::Error(Reason::Rate));
    assert_eq!(sit(&mut relay, now, address(500), ticket(99)), Answer::Joined(State::Waiting));
    let later = now + Duration::from_secs(4);
    for n in 16..20 {
        assert_eq!(sit(&mut relay, later, from(n), ticket(n as u8)), Answer::Joined(State::Waiting));
    }
    assert_eq!(sit(&mut relay, later, from(20), ticket(20)), Answer::Error(Reason::Rate));
    check(&relay);

    // One IPv6 subscriber is one source, whatever the lower half.
    let subscriber = |n: u64| SocketAddr::from(([0x2001, 0xdb8, 0, 1, 0, 0, 0, n as u16], 9));
    assert_eq!(Source::of(subscriber(1)), Source::of(subscriber(2)));
    assert_ne!(Source::of(subscriber(1)), Source::of("[2001:db8:0:2::1]:9".parse().unwrap()));
    assert_ne!(Source::of(address(1)), Source::of(address(201)));
    assert_eq!(Source::of("[::ffff:192.0.2.1]:9".parse().unwrap()), Source::of("192.0.2.1:1".parse().unwrap()));
}

#[test]
fn a_flood_leaves_no_trace() {
    let (mut relay, now) = relay(RelayConfig::default());
    for n in 0..100_000_u32 {
        let from = SocketAddr::from((n.to_be_bytes(), 7));
        let forged = join(ticket(n as u8), u128::from(n).to_be_bytes());
        assert!(matches!(answer(relay.handle(now, from, &forged)), Answer::Retry(_)));
        assert_eq!(relay.handle(now, from, PEER), Action::Drop(Dropped::Stranger));
    }
    assert_eq!((relay.rooms(), relay.members(), relay.sources.len(), relay.rooms.capacity()), (0, 0, 0, 0));
    assert_eq!((relay.seats.capacity(), relay.joins.len()), (0, JOIN_CELLS));
    // Nor do real addresses, beyond the rooms there are.
    for n in 0..20_000_u32 {
        let (from, room) = (SocketAddr::from((n.to_be_bytes(), 7)), Ticket::from_bytes(u128::from(n).to_be_bytes()));
        sit(&mut relay, now, from, room);
    }
    assert_eq!((relay.rooms(), relay.members(), relay.rooms.len()), (1000, 1000, 1000));
    check(&relay);
}

/// What can happen to a relay.
#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Sit(u16, u8),
    Forged(u16, u8, [u8; 16]),
    Datagram(u16, Vec<u8>),
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    let junk = || prop::collection::vec(any::<u8>(), 0..60);
    let join_like = (prop::collection::vec(any::<u8>(), 33)).prop_map(|rest| [&[JOIN], &rest[..]].concat());
    prop_oneof![
        (0_u64..9000).prop_map(Step::Wait),
        (0_u16..8, 0_u8..4).prop_map(|(from, room)| Step::Sit(from, room)),
        (0_u16..8, 0_u8..4, any::<[u8; 16]>()).prop_map(|(from, room, cookie)| Step::Forged(from, room, cookie)),
        (0_u16..8, prop_oneof![junk(), join_like, junk().prop_map(|rest| [PEER, &rest[..]].concat())])
            .prop_map(|(from, datagram)| Step::Datagram(from, datagram)),
        Just(Step::Expire),
    ]
}

proptest! {
    #[test]
    fn whatever_comes_only_members_of_a_room_are_joined(steps in prop::collection::vec(step(), 1..80)) {
        let config = RelayConfig { rooms: 3, seats_per_source: 5, ..RelayConfig::default() };
        let (mut relay, mut now) = relay(config);
        for step in steps {
            match step {
                Step::Wait(ms) => now += Duration::from_millis(ms),
                Step::Expire => relay.handle_timeout(now),
                Step::Sit(from, room) => {
                    let (from, room) = (address(from), ticket(room));
                    let Answer::Retry(cookie) = answer_or_stop(relay.handle(now, from, &join(room, [0; 16]))) else { continue };
                    relay.handle(now, from, &join(room, cookie));
                }
                Step::Forged(from, room, cookie) => {
                    let before = relay.members();
                    relay.handle(now, address(from), &join(ticket(room), cookie));
                    prop_assert_eq!(relay.members(), before);
                }
                Step::Datagram(from, datagram) => {
                    let from = address(from);
                    let (members, seats) = (relay.members(), relay.seats.clone());
                    match relay.handle(now, from, &datagram) {
                        Action::Forward(to) => {
                            prop_assert!(is_for_peers(datagram[0]));
                            prop_assert_eq!(seats[&from].room, seats[&to].room);
                            prop_assert_eq!(seats[&from].side, 1 - seats[&to].side);
                        }
                        Action::Reply(reply) => {
                            prop_assert_eq!(datagram[0], JOIN);
                            prop_assert!(reply.as_bytes().len() <= datagram.len());
                        }
                        Action::Drop(_) => {}
                    }
                    prop_assert_eq!(relay.members(), members);
                }
            }
            check(&relay);
        }
    }
}

fn answer_or_stop(action: Action) -> Answer {
    match action {
        Action::Reply(_) => answer(action),
        _ => Answer::Error(Reason::Rate),
    }
}
