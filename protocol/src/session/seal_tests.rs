//! Sealed packets: keys, epochs, replays, forgeries. `path_tests` has peers that move.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{
    Event, MAX_DATAGRAM, OVERHEAD, SealError, Session, VERSION,
    seal::{OpenError, Opened, Opener, Sealer, Space},
    testing::{World, answerer_address, caller_address},
    wire::{Outer, Sealed},
};

#[global_allocator]
static COUNTING: counting_alloc::Counting = counting_alloc::Counting;

fn header(datagram: &[u8]) -> Sealed {
    match Outer::parse(datagram) {
        Ok(Outer::Sealed { header, .. }) => header,
        other => panic!("{other:?}"),
    }
}

fn pair() -> (Sealer, Opener<256>) {
    (Sealer::new(&[7; 32], Space::Media), Opener::new(&[7; 32], Space::Media))
}

fn seal(sealer: &mut Sealer, number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    sealer.seal(number, 0x80, 9, [&[], &number.to_be_bytes()], &mut out).unwrap();
    out
}

fn open(opener: &mut Opener<256>, datagram: &[u8]) -> Result<Opened, OpenError> {
    let mut copy = datagram.to_vec();
    let opened = opener.open(header(datagram), &mut copy)?;
    assert_eq!(copy[5..13], opened.number.to_be_bytes());
    Ok(opened)
}

#[test]
fn epochs_change_and_old_keys_go() {
    let (mut sealer, mut opener) = pair();
    let before = seal(&mut sealer, 0x7000);
    open(&mut opener, &before).unwrap();
    let (late, lost) = (seal(&mut sealer, 0xE000), seal(&mut sealer, 0xFFFF));
    open(&mut opener, &late).unwrap();
    assert_eq!(opener.keys_held(), (0, false, false));
    let first = seal(&mut sealer, 0x1_0000);
    assert_eq!(open(&mut opener, &first), Ok(Opened { number: 0x1_0000, newest: true, rekeyed: false }));
    assert_eq!(opener.keys_held(), (1, true, false));
    // From before the change, as the window still reaches back.
    assert_eq!(open(&mut opener, &lost), Ok(Opened { number: 0xFFFF, newest: false, rekeyed: false }));
    assert_eq!(open(&mut opener, &lost), Err(OpenError::Replayed));
    for number in [0x1_2000, 0x1_3FBE, 0x1_3FBF, 0x1_4000] {
        open(&mut opener, &seal(&mut sealer, number)).unwrap();
        assert_eq!(opener.keys_held(), (1, number < 0x1_3FBF, false), "{number:#x}");
    }
    assert_eq!(open(&mut opener, &lost), Err(OpenError::Replayed));
    // Around many corners, with long steps.
    let mut number = 0x1_4000;
    for _ in 0..500 {
        number += 0x7000;
        open(&mut opener, &seal(&mut sealer, number)).unwrap();
    }
    assert_eq!(opener.keys_held().0, number >> 16);
}

#[test]
fn every_number_around_a_corner_arrives_in_any_order() {
    let (mut sealer, mut opener) = pair();
    for number in (0..0xF000).step_by(0x3000) {
        open(&mut opener, &seal(&mut sealer, number)).unwrap();
    }
    let mut datagrams: Vec<_> = (0xF800..0x1_0800).map(|number| seal(&mut sealer, number)).collect();
    let mut dice = super::testing::Dice::new(4);
    for at in (1..datagrams.len()).rev() {
        datagrams.swap(at, dice.roll() as usize % (at + 1));
    }
    for datagram in &datagrams {
        assert!(open(&mut opener, datagram).is_ok());
    }
    for datagram in &datagrams {
        assert_eq!(open(&mut opener, datagram), Err(OpenError::Replayed));
    }
}

/// Forged packets that claim to be of the next epoch cost one derivation and move nothing.
#[test]
fn forgeries_move_no_key() {
    let (mut sealer, mut opener) = pair();
    for number in [0x7000, 0xE000] {
        open(&mut opener, &seal(&mut sealer, number)).unwrap();
    }
    for low in 0..0x6000_u16 {
        let mut junk = vec![0x80, 0, 9, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
        junk[3..5].copy_from_slice(&low.to_be_bytes());
        assert_eq!(open(&mut opener, &junk), Err(OpenError::Forged));
    }
    assert_eq!(opener.keys_held(), (0, false, true));
    open(&mut opener, &seal(&mut sealer, 0xE001)).unwrap();
    assert_eq!(opener.keys_held(), (0, false, true));
    open(&mut opener, &seal(&mut sealer, 0x1_0005)).unwrap();
    assert_eq!(opener.keys_held(), (1, true, false));
}

/// Around the number from which a sender has other keys nothing is refused, in any order; and of two generations only.
#[test]
fn every_number_around_new_keys_arrives_in_any_order() {
    for corner in [0x5000_u64, 0xFFF0] {
        for seed in 0..20 {
            let (mut sealer, mut opener) = pair();
            for number in (0..corner - 0x200).step_by(0x3000) {
                open(&mut opener, &seal(&mut sealer, number)).unwrap();
            }
            let first = corner >> 16;
            opener.expect_generation(&[8; 32], first);
            let mut datagrams: Vec<_> = (corner - 0x100..corner).map(|number| seal(&mut sealer, number)).collect();
            sealer.rekey(&[8; 32], first);
            datagrams.extend((corner..corner + 0x100).step_by(3).map(|number| seal(&mut sealer, number)));
            let mut dice = super::testing::Dice::new(seed);
            for at in (1..datagrams.len()).rev() {
                datagrams.swap(at, dice.roll() as usize % (at + 1));
            }
            let mut rekeyed = 0;
            for datagram in &datagrams {
                rekeyed += usize::from(open(&mut opener, datagram).unwrap().rekeyed);
            }
            assert_eq!(rekeyed, 1);
            for datagram in &datagrams {
                assert_eq!(open(&mut opener, datagram), Err(OpenError::Replayed));
            }
            assert!(opener.has_old());
            opener.expect_generation(&[9; 32], first);
            assert!(!opener.has_old(), "there are never three");
        }
    }
}

#[test]
fn spaces_and_directions_have_keys_of_their_own() {
    let sealed = |direction: u8, space| {
        let mut out = Vec::new();
        Sealer::new(&[direction; 32], space).seal(0, 0x80, 9, [&[], &[0; 40]], &mut out).unwrap();
        out
    };
    let all: BTreeSet<_> = [(1, Space::Media), (1, Space::Control), (2, Space::Media), (2, Space::Control)]
        .map(|(d, s)| sealed(d, s))
        .into();
    assert_eq!(all.len(), 4);
}

#[test]
fn numbers_are_used_once_and_skips_are_bounded() {
    let (mut sealer, _) = pair();
    let mut out = Vec::new();
    let mut try_seal = |number| sealer.seal(number, 0x80, 9, [&[], b""], &mut out);
    assert_eq!(try_seal(0x7001), Err(SealError::Skip { number: 0x7001 }));
    assert_eq!(try_seal(5), Ok(()));
    for number in [0, 4, 5] {
        assert_eq!(try_seal(number), Err(SealError::Used { number }));
    }
    assert_eq!(try_seal(6 + 0x7001), Err(SealError::Skip { number: 0x7007 }));
    assert_eq!(try_seal(6 + 0x7000), Ok(()));
    let long = vec![0; MAX_DATAGRAM];
    let (mut sealer, mut opener) = pair();
    let mut out = vec![1, 2, 3];
    assert_eq!(sealer.seal(0, 0x80, 9, [&[], &long], &mut out), Err(SealError::TooLong { found: 1213 }));
    assert_eq!(out, [1, 2, 3]);
    sealer.seal(0, 0x80, 9, [&[], &long[OVERHEAD..]], &mut out).unwrap();
    let datagram = &mut out[3..];
    assert_eq!(datagram.len(), MAX_DATAGRAM);
    assert!(opener.open(header(datagram), datagram).is_ok());
}

fn media(session: &mut Session, number: u64, header: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    session.seal_media(number, header, body, &mut out).unwrap();
    assert_eq!(out.len(), body.len() + 13);
    out
}

fn control(session: &mut Session, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    session.seal_control(body, &mut out).unwrap();
    out
}

#[test]
fn media_and_control_go_both_ways() {
    for known in [true, false] {
        let (caller, answerer, now) = World::open(1, known);
        let mut ends = [(caller, caller_address()), (answerer, answerer_address())];
        let mut last = [None; 2];
        for number in 0..600_u64 {
            ends.swap(0, 1);
            last.swap(0, 1);
            let [(from, address), (to, _)] = &mut ends;
            let body = vec![number as u8; number as usize];
            let header = (number % 128) as u8;
            let mut datagram = media(from, number * 3, header, &body);
            assert_eq!(datagram[0], 0x80 | header);
            let event = to.handle(now, *address, &mut datagram);
            assert_eq!(event, Some(Event::Media { number: number * 3, header, body: &body }));
            let mut datagram = control(from, &body);
            let Some(Event::Control { number, body: came }) = to.handle(now, *address, &mut datagram) else {
                panic!("words")
            };
            assert_eq!(came, body);
            assert!(last[0] < Some(number), "numbers tell the order in which they were sent");
            last[0] = Some(number);
            assert_eq!(to.poll_event(), None);
        }
        assert_eq!(ends[0].0.stats().media, 300);
    }
}

#[test]
fn replays_and_reflections_are_nothing() {
    let (mut caller, mut answerer, now) = World::open(1, true);
    let (speech, words) = (media(&mut caller, 5, 1, b"speech"), control(&mut caller, b"words"));
    // Back to who sent it: even with its own index in it.
    for datagram in [&speech, &words] {
        let mut back = datagram.clone();
        back[1..3].copy_from_slice(&caller.index().to_be_bytes());
        assert_eq!(caller.handle(now, answerer_address(), &mut back), None);
    }
    assert_eq!(caller.stats().forged, 2);
    // One space's packet in the other's place.
    let mut swapped = speech.clone();
    swapped[0] = 0x40;
    assert_eq!(answerer.handle(now, caller_address(), &mut swapped), None);
    assert_eq!(answerer.stats().forged + answerer.stats().replayed, 1);
    let before = *answerer.stats();
    for n in 0..3_u64 {
        for datagram in [&speech, &words] {
            assert_eq!(answerer.handle(now, caller_address(), &mut datagram.clone()).is_some(), n == 0);
        }
    }
    assert_eq!(answerer.stats().replayed, before.replayed + 4);
}

#[test]
fn a_handshake_message_from_elsewhere_is_a_strangers() {
    let (_, mut answerer, now) = World::open(1, true);
    let strangers = answerer.stats().strangers;
    let [high, low] = answerer.index().to_be_bytes();
    assert_eq!(answerer.handle(now, "203.0.113.8:9".parse().unwrap(), &mut [0x45, VERSION, high, low, 1]), None);
    assert_eq!(answerer.stats().strangers, strangers + 1);
}

#[test]
fn media_before_the_confirmation_confirms() {
    let mut world = World::new(1, true, super::testing::Weather::default());
    while !world.caller.is_open() {
        world.step(true);
    }
    let mut answerer = world.answerer.take().unwrap();
    assert!(!answerer.is_open());
    let mut speech = media(&mut world.caller, 0, 3, b"speech");
    let event = answerer.handle(world.now, caller_address(), &mut speech);
    assert_eq!(event, Some(Event::Media { number: 0, header: 3, body: b"speech" }));
    assert_eq!(answerer.poll_event(), Some(Event::Confirmed));
    assert_eq!(answerer.poll_event(), None);
    assert!(answerer.is_open() && answerer.poll_timeout().is_none());
}

#[test]
fn sealing_and_opening_allocate_nothing() {
    let (mut caller, mut answerer, now) = World::open(1, true);
    let mut out = Vec::with_capacity(MAX_DATAGRAM);
    let before = counting_alloc::allocations();
    // Past an epoch's end.
    for number in (0..200_000_u64).step_by(12) {
        out.clear();
        caller.seal_media(number, 5, &[1; 50], &mut out).unwrap();
        assert!(answerer.handle(now, caller_address(), &mut out).is_some());
        out.clear();
        caller.seal_control(&[1; 20], &mut out).unwrap();
        assert!(answerer.handle(now, caller_address(), &mut out).is_some());
    }
    assert_eq!(counting_alloc::allocations(), before);
}

#[test]
fn junk_changes_nothing_and_is_counted() {
    let (mut caller, mut answerer, now) = World::open(1, true);
    let mut dice = super::testing::Dice::new(9);
    let [high, low] = answerer.index().to_be_bytes();
    let mut junk = Vec::with_capacity(200);
    let before = counting_alloc::allocations();
    for n in 0..100_000_u64 {
        junk.clear();
        let length = dice.roll() % 180;
        for _ in 0..length {
            junk.push(dice.roll() as u8);
        }
        // Half of it is well addressed.
        if n % 2 == 0 && junk.len() > 4 {
            junk[0] = [0x40, 0x80, 0xFF, 0x41, 0x42, 0x43, 0x44, 0x45][dice.roll() as usize % 8];
            if junk[0] > 0x40 && junk[0] < 0x80 {
                junk[1] = VERSION;
                junk[2..4].copy_from_slice(&[high, low]);
            } else {
                junk[1..3].copy_from_slice(&[high, low]);
            }
        }
        assert_eq!(answerer.handle(now, caller_address(), &mut junk), None);
    }
    assert_eq!(counting_alloc::allocations(), before);
    let stats = *answerer.stats();
    let counted = stats.forged + stats.replayed + stats.malformed + stats.strangers + stats.unexpected;
    assert_eq!(counted, 100_000);
    assert!(stats.forged > 10_000 && stats.unexpected > 5_000, "{stats:?}");
    assert_eq!((answerer.address(), answerer.poll_event(), answerer.poll_timeout()), (caller_address(), None, None));
    let mut speech = media(&mut caller, 40, 0, b"speech");
    assert!(answerer.handle(now, caller_address(), &mut speech).is_some());
}

#[test]
fn too_many_forgeries_end_a_session() {
    let (mut caller, mut answerer, now) = World::open(1, true);
    let good = media(&mut caller, 0, 0, b"speech");
    let mut bad = good.clone();
    bad[12] ^= 1;
    answerer.stats.forged = super::MAX_FORGERIES - 2;
    assert_eq!(answerer.handle(now, caller_address(), &mut bad.clone()), None);
    assert_eq!(answerer.handle(now, caller_address(), &mut bad), Some(Event::Attacked));
    assert!(answerer.is_over());
    assert_eq!(answerer.handle(now, caller_address(), &mut good.clone()), None);
}

#[test]
fn a_closed_session_is_silent() {
    let (mut caller, mut answerer, now) = World::open(1, true);
    let mut speech = media(&mut caller, 0, 0, b"speech");
    answerer.close();
    assert!(answerer.is_over() && !answerer.is_open());
    assert_eq!(answerer.handle(now, caller_address(), &mut speech), None);
    assert_eq!(answerer.seal_control(b"", &mut Vec::new()), Err(SealError::NotOpen));
    assert_eq!((answerer.handle_timeout(now), answerer.poll_timeout()), (None, None));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A flipped bit anywhere, a byte less, a byte more: never an event, and counted once.
    #[test]
    fn damage_is_nothing(
        number in 0..0x7000_u64, bits in 0..128_u8, body in prop::collection::vec(any::<u8>(), 0..200), is_media: bool,
        at: prop::sample::Index, flip in 0..8_u8,
    ) {
        let (mut caller, mut answerer, now) = World::open(1, true);
        let good = if is_media { media(&mut caller, number, bits, &body) } else { control(&mut caller, &body) };
        let mut damaged = vec![good.clone(), good.clone(), good.clone()];
        let at = at.index(good.len());
        damaged[0][at] ^= 1 << flip;
        damaged[1].truncate(at);
        damaged[2].push(0);
        for mut datagram in damaged {
            let before = *answerer.stats();
            prop_assert_eq!(answerer.handle(now, caller_address(), &mut datagram), None);
            prop_assert_eq!(answerer.poll_event(), None);
            let after = *answerer.stats();
            let sum = |s: super::Stats| s.forged + s.replayed + s.malformed + s.strangers + s.unexpected;
            prop_assert_eq!(sum(after), sum(before) + 1);
            prop_assert_eq!((after.media, after.control), (before.media, before.control));
        }
        let mut good = good;
        prop_assert!(answerer.handle(now, caller_address(), &mut good).is_some());
    }
}
