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
    encode_join(UNTAGGED, &ticket, &cookie, &mut datagram);
    datagram
}

/// All of a datagram goes there.
fn forward(to: SocketAddr, datagram: &[u8]) -> Action {
    Action::Forward { to, bytes: datagram.len() }
}

fn answer(action: Action) -> RelayAnswer {
    let Action::Reply(reply) = action else { panic!("{action:?} is no reply") };
    RelayAnswer::parse(reply.as_bytes()).unwrap().1
}

fn cookie(relay: &mut Relay, now: Instant, from: SocketAddr, ticket: Ticket) -> [u8; 16] {
    match answer(relay.handle(now, from, &join(ticket, [0; 16]))) {
        RelayAnswer::Retry(cookie) => cookie,
        other => panic!("{other:?} is no retry"),
    }
}

/// Joins as a peer does, cookie and all.
fn sit(relay: &mut Relay, now: Instant, from: SocketAddr, ticket: Ticket) -> RelayAnswer {
    let cookie = cookie(relay, now, from, ticket);
    answer(relay.handle(now, from, &join(ticket, cookie)))
}

/// What must hold at all times.
fn check(relay: &Relay) {
    let mut members = 0;
    let mut taken: HashMap<Network, u32> = HashMap::new();
    for (ticket, &at) in &relay.index {
        let room = &relay.rooms[at];
        assert_eq!(room.ticket, *ticket);
        assert!(!relay.free.contains(&at));
        assert!(room.members.iter().any(Option::is_some), "an empty room stays open");
        for (side, member) in room.members.iter().enumerate() {
            let Some(member) = member else { continue };
            assert_eq!(relay.seats[&member.address], Seat { room: at, side });
            for network in Network::all_of(member.address) {
                *taken.entry(network).or_default() += 1;
            }
            members += 1;
        }
    }
    assert_eq!(relay.seats.len(), members);
    assert_eq!(relay.taken, taken);
    assert_eq!(relay.rooms.len(), relay.index.len() + relay.free.len());
    assert!(relay.index.len() <= relay.config.rooms);
    assert!(taken.iter().all(|(network, seats)| *seats <= relay.config.seats_per_source * network.share()));
}

#[test]
fn two_members_hear_each_other_and_nobody_else() {
    let (mut relay, now) = relay(RelayConfig::default());
    let (first, second, stranger) = (address(1), address(2), address(3));
    assert_eq!(relay.poll_timeout(), None);
    assert_eq!(sit(&mut relay, now, first, ticket(1)), RelayAnswer::Joined(RoomState::Waiting, None));
    assert_eq!(relay.handle(now, first, PEER), Action::Drop(Dropped::Alone));
    assert_eq!(sit(&mut relay, now, second, ticket(1)), RelayAnswer::Joined(RoomState::Together, None));
    assert_eq!(relay.handle(now, first, PEER), forward(second, PEER));
    assert_eq!(relay.handle(now, second, PEER), forward(first, PEER));
    assert_eq!(relay.handle(now, stranger, PEER), Action::Drop(Dropped::Stranger));
    // The first learns of the second when it next asks, with whatever cookie.
    assert_eq!(
        answer(relay.handle(now, first, &join(ticket(1), [9; 16]))),
        RelayAnswer::Joined(RoomState::Together, None)
    );
    for first_byte in 0..=255 {
        let expected = match first_byte {
            0x40..=0x45 | 0x80..=0xff => forward(second, &[first_byte]),
            _ => Action::Drop(Dropped::Foreign),
        };
        assert_eq!(relay.handle(now, first, &[first_byte]), expected, "{first_byte:#x}");
    }
    assert_eq!(relay.handle(now, first, &[]), Action::Drop(Dropped::Foreign));
    assert_eq!(relay.handle(now, first, &[0x80; 1400]), forward(second, &[0x80; 1400]));
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
        assert_eq!(relay.members(), usize::from(matches!(answer(reply), RelayAnswer::Joined(..))));
        matches!(answer(reply), RelayAnswer::Joined(..))
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
    long[1] = 3;
    assert_eq!(answer(relay.handle(now, address(1), &long[..34])), RelayAnswer::Error(Reason::Version));
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
    assert_eq!(sit(&mut relay, later, third, ticket(1)), RelayAnswer::Error(Reason::Taken));
    let later = later + Duration::from_millis(1);
    assert_eq!(sit(&mut relay, later, third, ticket(1)), RelayAnswer::Joined(RoomState::Together, None));
    assert_eq!(relay.stats().moves, 1);
    assert_eq!(relay.handle(later, second, PEER), forward(third, PEER));
    assert_eq!(relay.handle(later, third, PEER), forward(second, PEER));
    assert_eq!(relay.handle(later, first, PEER), Action::Drop(Dropped::Stranger));
    check(&relay);
}

#[test]
fn who_goes_to_another_room_leaves_the_first() {
    let (mut relay, now) = relay(RelayConfig::default());
    sit(&mut relay, now, address(1), ticket(1));
    sit(&mut relay, now, address(2), ticket(1));
    assert_eq!(sit(&mut relay, now, address(1), ticket(2)), RelayAnswer::Joined(RoomState::Waiting, None));
    assert_eq!(relay.handle(now, address(2), PEER), Action::Drop(Dropped::Alone));
    assert_eq!(sit(&mut relay, now, address(2), ticket(2)), RelayAnswer::Joined(RoomState::Together, None));
    assert_eq!((relay.rooms(), relay.members()), (1, 2));
    check(&relay);
}

#[test]
fn rooms_are_limited_and_reused() {
    let (mut relay, now) = relay(RelayConfig { rooms: 3, ..RelayConfig::default() });
    for n in 0..3 {
        assert_eq!(sit(&mut relay, now, address(n), ticket(n as u8)), RelayAnswer::Joined(RoomState::Waiting, None));
    }
    assert_eq!(sit(&mut relay, now, address(9), ticket(9)), RelayAnswer::Error(Reason::Full));
    assert_eq!(sit(&mut relay, now, address(8), ticket(0)), RelayAnswer::Joined(RoomState::Together, None));
    check(&relay);
    let later = now + Duration::from_secs(30);
    relay.handle(later, address(0), PEER);
    // A Join is a sign of life too.
    relay.handle(later, address(1), &join(ticket(1), [0; 16]));
    let due = relay.poll_timeout().unwrap();
    relay.handle_timeout(due.max(now + Duration::from_secs(60)));
    assert_eq!((relay.rooms(), relay.members(), relay.stats().expired), (2, 2, 2));
    check(&relay);
    assert_eq!(
        sit(&mut relay, now + Duration::from_secs(61), address(9), ticket(9)),
        RelayAnswer::Joined(RoomState::Waiting, None)
    );
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
        (0..count).filter(|_| matches!(relay.handle(now, address(1), &datagram), Action::Forward { .. })).count()
    };
    assert_eq!(carried(&mut relay, now, 100), 80);
    assert_eq!(relay.handle(now, address(1), &datagram), Action::Drop(Dropped::Fast));
    assert_eq!(relay.stats().fast, 21);
    // Keeping one's seat costs too.
    assert_eq!(relay.handle(now, address(1), &join(ticket(1), [0; 16])), Action::Drop(Dropped::Fast));
    assert_eq!(relay.handle(now, address(2), &datagram), forward(address(1), &datagram));
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
    assert_eq!(relay.handle(now, address(1), &[0x80; 1400]), forward(address(2), &[0x80; 1400]));
    assert_eq!(relay.handle(now, address(1), &[0x80]), Action::Drop(Dropped::Fast));
}

#[test]
fn one_source_cannot_take_all() {
    let (mut relay, now) = relay(RelayConfig { seats_per_source: 20, ..RelayConfig::default() });
    let from = |n: u16| SocketAddr::from(([192, 0, 2, 1], n));
    for n in 0..16 {
        assert_eq!(sit(&mut relay, now, from(n), ticket(n as u8)), RelayAnswer::Joined(RoomState::Waiting, None));
    }
    assert_eq!(sit(&mut relay, now, from(16), ticket(16)), RelayAnswer::Error(Reason::Rate));
    assert_eq!(sit(&mut relay, now, address(500), ticket(99)), RelayAnswer::Joined(RoomState::Waiting, None));
    let later = now + Duration::from_secs(4);
    for n in 16..20 {
        assert_eq!(sit(&mut relay, later, from(n), ticket(n as u8)), RelayAnswer::Joined(RoomState::Waiting, None));
    }
    assert_eq!(sit(&mut relay, later, from(20), ticket(20)), RelayAnswer::Error(Reason::Rate));
    check(&relay);
}

/// Of a network that has as many seats as it may, those with few get one from those with many.
#[test]
fn neighbours_share_what_their_network_has() {
    let config = RelayConfig { seats_per_source: 4, ..RelayConfig::default() };
    for address in [
        |n: u16| SocketAddr::from(([192, 0, 2, n as u8], 9)),
        |n: u16| SocketAddr::from(([0x2001, 0xdb8, 1, n << 8, 0, 0, 0, 1], 9)),
    ] {
        let (mut relay, now) = relay(config);
        let mut sits = |n: u16, port: u16, after: u64| {
            let mut from = address(n);
            from.set_port(port);
            let room = Ticket::from_bytes(u128::from(100 * n + port).to_be_bytes());
            let answer = sit(&mut relay, now + Duration::from_secs(after), from, room);
            check(&relay);
            (answer, relay.stats().evicted)
        };
        // Four sources take all 16 seats of the network, and the fifth gets three from them: then all have as many.
        for n in 0..4 {
            for port in 0..4 {
                assert_eq!(sits(n, port, 0).0, RelayAnswer::Joined(RoomState::Waiting, None));
            }
        }
        for (port, evicted) in [(0, 1), (1, 2), (2, 3)] {
            assert_eq!(sits(4, port, 1), (RelayAnswer::Joined(RoomState::Waiting, None), evicted));
        }
        assert_eq!(sits(4, 3, 1), (RelayAnswer::Error(Reason::Rate), 3));
        // Nobody gets what another one needs as much.
        assert_eq!(sits(3, 9, 1), (RelayAnswer::Error(Reason::Rate), 3));
    }
}

/// Pairs that come to a relay which sources of a kind have filled, each as far as it may, and go on to fill; how many of them
/// met, and could talk to the end.
fn served(sources: usize, source: fn(usize) -> SocketAddr, in_pairs: bool, fills: bool) -> usize {
    let (mut relay, start) = relay(RelayConfig::default());
    let mut room = 0_u128;
    let mut fill = |relay: &mut Relay, now: Instant, round: usize| {
        for n in 0..sources {
            // Two sources each sit in a room together, or each in a room alone.
            room += u128::from(!in_pairs || n % 2 == 0);
            let mut from = source(n);
            from.set_port(1000 + round as u16);
            sit(relay, now, from, Ticket::from_bytes((1_u128 << 100 | room).to_be_bytes()));
        }
    };
    for round in 0..16 {
        fill(&mut relay, start + Duration::from_millis(10 * round as u64), round);
    }
    assert_eq!(relay.rooms() == 1000, fills, "{} rooms are in use", relay.rooms());
    let honest = |pair: usize, side: u8| SocketAddr::from(([203, pair as u8, 113, side], 4000));
    let mut met = [false; 100];
    for second in 1..60_usize {
        let now = start + Duration::from_secs(second as u64);
        // As often as sources may join, more or less.
        if second % 4 == 0 {
            fill(&mut relay, now, 100 + second);
        }
        for pair in 0..met.len().min(2 * second) {
            let room = Ticket::from_bytes((1 + pair as u128).to_be_bytes());
            let sides = [1, 2].map(|side| honest(pair, side));
            // The second comes two seconds after the first.
            for (n, from) in sides.into_iter().enumerate() {
                if second >= pair / 2 + 1 + 2 * n && !relay.seats.contains_key(&from) {
                    sit(&mut relay, now, from, room);
                }
            }
            let talks = relay.handle(now, sides[0], PEER) == forward(sides[1], PEER)
                && relay.handle(now, sides[1], PEER) == forward(sides[0], PEER);
            assert!(talks || !met[pair], "two who talk are parted");
            met[pair] = talks;
        }
    }
    check(&relay);
    met.iter().filter(|met| **met).count()
}

#[test]
fn honest_pairs_are_served_while_others_fill_the_relay() {
    let far: fn(usize) -> SocketAddr = |n| SocketAddr::from(([10, n as u8, (n >> 8) as u8, 1], 9));
    let neighbours: fn(usize) -> SocketAddr = |n| SocketAddr::from(([10, 1, 1, n as u8], 9));
    let customer: fn(usize) -> SocketAddr = |n| SocketAddr::from(([0x2001, 0xdb8, 1, n as u16, 0, 0, 0, 1], 9));
    let customers: fn(usize) -> SocketAddr = |n| SocketAddr::from(([0x2001, 0xdb8, n as u16, 0, 0, 0, 0, 1], 9));
    for (sources, source, fills) in [
        (16, neighbours, false),
        (256, neighbours, false),
        (256, customer, false),
        (256, far, true),
        (256, customers, true),
    ] {
        for in_pairs in [false, true] {
            let served = served(sources, source, in_pairs, fills);
            println!("{sources} sources, in pairs: {in_pairs}: {served} of 100 honest pairs");
            assert!(served >= 95, "{served}");
        }
    }
}

/// A member whose datagrams are tagged, as a peer does it.
fn sit_tagged(relay: &mut Relay, now: Instant, from: SocketAddr, ticket: Ticket) -> Cookie {
    let mut datagram = Vec::new();
    encode_join(TAGGED, &ticket, &[0; 16], &mut datagram);
    let RelayAnswer::Retry(cookie) = answer(relay.handle(now, from, &datagram)) else { panic!("no retry") };
    encode_join(TAGGED, &ticket, &cookie, &mut datagram);
    let RelayAnswer::Joined(state, given) = answer_tagged(relay.handle(now, from, &datagram)) else {
        panic!("no seat")
    };
    assert_eq!(RelayAnswer::Joined(state, given), RelayAnswer::joined(state, Some(&cookie)));
    cookie
}

fn answer_tagged(action: Action) -> RelayAnswer {
    let Action::Reply(reply) = action else { panic!("{action:?} is no reply") };
    let (version, answer) = RelayAnswer::parse(reply.as_bytes()).unwrap();
    assert_eq!(version, TAGGED);
    answer
}

fn tagged(cookie: &Cookie, body: &[u8]) -> Vec<u8> {
    [body, &tag::<TAG_BYTES>(cookie, body)].concat()
}

/// Whoever sends in a member's name, but has not its cookie: however much, the member loses nothing, and its seat is not kept.
#[test]
fn what_is_forged_counts_against_nobody() {
    let (mut relay, start) = relay(RelayConfig::default());
    let (first, second) = (address(1), address(300));
    let cookie = sit_tagged(&mut relay, start, first, ticket(1));
    let other = sit_tagged(&mut relay, start, second, ticket(1));
    let speech = [0x80; 60];
    let mut forged = vec![0x85; 1300];
    for ms in 0..20_000_u32 {
        let now = start + Duration::from_millis(ms.into());
        forged[1..5].copy_from_slice(&ms.to_be_bytes());
        // Once in 65536 times somebody guesses it.
        relay.handle(now, first, &forged);
        // A Join without the cookie is a stranger's.
        assert!(matches!(answer(relay.handle(now, first, &join(ticket(1), [0; 16]))), RelayAnswer::Retry(_)));
        if ms % 60 == 0 {
            assert_eq!(relay.handle(now, first, &tagged(&cookie, &speech)), forward(second, &speech), "{ms}");
            assert_eq!(relay.handle(now, second, &tagged(&other, &speech)), forward(first, &speech));
        }
    }
    assert!(relay.stats().forged > 19_990 && relay.stats().fast == 0, "{:?}", relay.stats());
    // The tag is of the whole datagram, and of this member.
    let now = start + Duration::from_secs(20);
    for wrong in [tagged(&other, &speech), tagged(&cookie, &speech)[1..].to_vec(), vec![0x80], vec![0x80, 1]] {
        assert_eq!(relay.handle(now, first, &wrong), Action::Drop(Dropped::Forged));
    }
    // The longest datagram, and one longer.
    assert_eq!(relay.handle(now, first, &tagged(&cookie, &[0x80; 1400])), forward(second, &[0x80; 1400]));
    assert_eq!(relay.handle(now, first, &tagged(&cookie, &[0x80; 1401])), Action::Drop(Dropped::Long));
    // A member of whom only forgeries come is silent, and gives way.
    for second in 0..6 {
        let now = now + Duration::from_secs(second);
        relay.handle(now, first, &forged);
        relay.handle(now, first, &join(ticket(1), [9; 16]));
        relay.handle(now, address(300), &tagged(&other, &speech));
    }
    sit_tagged(&mut relay, now + Duration::from_secs(6), address(500), ticket(1));
    assert_eq!(relay.stats().moves, 1);
}

/// A member that was started anew at the same address has a new cookie, and needs no other seat.
#[test]
fn a_member_may_change_its_cookie() {
    let (mut relay, start) = relay(RelayConfig::default());
    let old = sit_tagged(&mut relay, start, address(1), ticket(1));
    sit(&mut relay, start, address(300), ticket(1));
    let now = start + Duration::from_secs(30);
    let new = sit_tagged(&mut relay, now, address(1), ticket(1));
    assert_ne!(old, new);
    assert_eq!(relay.handle(now, address(1), &tagged(&new, PEER)), forward(address(300), PEER));
    assert_eq!(relay.handle(now, address(1), &tagged(&old, PEER)), Action::Drop(Dropped::Forged));
    // Without tags, as before there were any.
    assert_eq!(sit(&mut relay, now, address(1), ticket(1)), RelayAnswer::Joined(RoomState::Together, None));
    assert_eq!(relay.handle(now, address(1), PEER), forward(address(300), PEER));
    assert_eq!((relay.members(), relay.stats().joins), (2, 2));
    check(&relay);
}

#[test]
fn a_flood_leaves_no_trace() {
    let (mut relay, now) = relay(RelayConfig::default());
    for n in 0..100_000_u32 {
        let from = SocketAddr::from((n.to_be_bytes(), 7));
        let forged = join(ticket(n as u8), u128::from(n).to_be_bytes());
        assert!(matches!(answer(relay.handle(now, from, &forged)), RelayAnswer::Retry(_)));
        assert_eq!(relay.handle(now, from, PEER), Action::Drop(Dropped::Stranger));
    }
    assert_eq!((relay.rooms(), relay.members(), relay.taken.len(), relay.rooms.capacity()), (0, 0, 0, 0));
    assert_eq!((relay.seats.capacity(), relay.taken.capacity()), (0, 0));
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
                    let RelayAnswer::Retry(cookie) = answer_or_stop(relay.handle(now, from, &join(room, [0; 16]))) else { continue };
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
                        Action::Forward { to, bytes } => {
                            prop_assert_eq!(bytes, datagram.len());
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

fn answer_or_stop(action: Action) -> RelayAnswer {
    match action {
        Action::Reply(_) => answer(action),
        _ => RelayAnswer::Error(Reason::Rate),
    }
}
