//! A call in full swing allocates nothing, in either direction.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use counting_alloc::{Counting, allocations};
use parlo_protocol::{
    acceptor::Acceptor,
    adapt::{Costs, Limits},
    call::{Call, Event, Run},
    identity::Identity,
    offer::Offer,
};
use parlo_tokens::{ComfortNoise, TokensId};

#[global_allocator]
static COUNTING: Counting = Counting;

fn carry(from: &mut Call, at: SocketAddr, to: &mut Call, now: Instant, datagram: &mut Vec<u8>) -> u32 {
    let mut came = 0;
    while from.poll_transmit(datagram) {
        if let Some(Event::Frames { first, count, .. }) = to.handle(now, at, datagram) {
            to.decoded(first, count.into());
            came += 1;
        }
        while to.poll_event().is_some() {}
    }
    came
}

#[test]
fn a_call_in_full_swing_allocates_nothing() {
    assert_eq!(allocations_in_full_swing(false), (0, 0));
}

/// What agrees upon keys allocates, a few times every two minutes; nothing else does.
#[test]
fn agreements_of_keys_allocate_a_few_times_each() {
    let (allocations, rekeys) = allocations_in_full_swing(true);
    assert!((34..=35).contains(&rekeys), "{rekeys} in 69 minutes");
    assert!(allocations <= 6 * rekeys, "{allocations} in {rekeys} agreements");
}

/// Allocations of both sides in 69 minutes, and how often they agreed upon keys.
fn allocations_in_full_swing(rekeys: bool) -> (u64, u64) {
    let [here, there] = [1, 2].map(|n| SocketAddr::from(([10, 0, 0, n], 7275)));
    let mut now = Instant::now();
    let offer =
        Offer { tokens: vec![TokensId::from_bytes([3; 32])], opus: false, depth: 6, frames_per_packet: 3, rekeys };
    let (limits, key) = (Limits::new(6, 3), Identity::from_bytes([2; 32]).public());
    let mut caller =
        Call::dial(&Identity::from_bytes([1; 32]), Some(key), there, 1, [5; 32], &offer, limits, now).unwrap();
    let mut acceptor = Acceptor::new(&Identity::from_bytes([2; 32]), [6; 32], now);
    let mut datagram = Vec::with_capacity(1500);
    let mut listener = None;
    while listener.is_none() {
        assert!(caller.poll_transmit(&mut datagram));
        listener = acceptor
            .handle(now, here, &mut datagram, 9)
            .map(|caller| Call::answer(caller.session, &caller.offer, &offer, limits, false, now).unwrap());
        while acceptor.poll_transmit(&mut datagram).is_some() {
            caller.handle(now, there, &mut datagram);
        }
    }
    let mut listener = listener.unwrap();
    for _ in 0..3 {
        carry(&mut listener, there, &mut caller, now, &mut datagram);
        carry(&mut caller, here, &mut listener, now, &mut datagram);
    }
    assert!(caller.is_open() && listener.is_open());
    for call in [&mut caller, &mut listener] {
        call.adapt(limits, Costs::tokens([10; 12]), true);
    }

    let (mut came, mut number) = (0, 0);
    let mut before = 0;
    // The first packets fill what has its size by now. The others take 70 minutes, and three keys.
    for n in 0..70_000_u64 {
        if n == 1000 {
            before = allocations();
        }
        now += Duration::from_millis(60);
        let mut turn = |one: &mut Call, other: &mut Call, at| {
            let context = one.context(number);
            if n % 50 < 40 {
                let run = Run { count: 3, depth: 6, copies: 0, copy_depth: 1, payload: &[7; 18] };
                one.send_frames(now, &context, &run).unwrap();
            } else if n % 50 == 45 {
                one.send_silence(now, number, ComfortNoise::new(60, [127; 8])).unwrap();
            }
            // One of a hundred is lost.
            if n % 100 == 7 {
                one.poll_transmit(&mut datagram);
            }
            came += carry(one, at, other, now, &mut datagram);
            one.handle_timeout(now);
            for call in [&mut *one, &mut *other] {
                if call.needs_seed() {
                    call.rekey([n as u8; 32], now);
                }
            }
            carry(one, at, other, now, &mut datagram);
        };
        turn(&mut caller, &mut listener, here);
        turn(&mut listener, &mut caller, there);
        number += 3;
    }
    let allocated = allocations() - before;
    assert!(came > 100_000);
    (allocated, caller.keys(now).map_or(0, |(count, _)| count))
}
