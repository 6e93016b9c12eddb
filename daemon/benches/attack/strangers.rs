//! Who is nobody's peer: floods, forgeries and replays while two daemons are in a call, and while a third one calls.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use parlo_api::CallState;
use parlo_protocol::{adapt::Limits, call::Call, identity::Identity, offer::Offer};

use crate::{
    dice::Dice,
    proxy::{Proxy, Seen},
    side::Side,
};

/// Addresses that floods come from.
const SOURCES: usize = 64;

/// Datagrams that floods send at a time, and how often.
const BURST: usize = 100;
const EVERY: Duration = Duration::from_millis(5);

/// Between two honest set-ups.
const SETUP_EVERY: Duration = Duration::from_secs(2);

/// What came of it.
pub(crate) struct Strangers {
    pub(crate) calls_lost: u64,
    pub(crate) attacks: u64,
    pub(crate) setup_s_p95: f64,
    pub(crate) amplification: f64,
}

/// What an attack has: where it goes, what was seen on the path of the call, and a way to send in the caller's name.
struct Aim<'a> {
    target: SocketAddr,
    seen: &'a Seen,
    back: &'a UdpSocket,
    stop: &'a AtomicBool,
}

/// An attack; gives how many datagrams it sent.
type Attack = fn(&Aim<'_>, &mut Dice) -> anyhow::Result<u64>;

const ATTACKS: [(&str, Attack); 7] = [
    ("junk from 64 addresses", junk),
    ("initiations, damaged, from 64 addresses", damaged),
    ("initiations with a cookie that are never confirmed", unconfirmed),
    ("the caller's own initiations again, in its name", replayed),
    ("the caller's own initiations again, from elsewhere", replayed_elsewhere),
    ("sealed packets again, and damaged, in the caller's name", forged),
    ("sealed packets again, and damaged, from elsewhere", forged_elsewhere),
];

pub(crate) fn measure(length: Duration) -> anyhow::Result<Strangers> {
    let (mut calls_lost, mut setups, mut amplification) = (0, Vec::new(), 0.0_f64);
    for (seed, (name, attack)) in (1..).zip(ATTACKS) {
        let (alice, bob, carol) = (Side::start("a")?, Side::start("b")?, Side::start("c")?);
        let proxy = Proxy::start(bob.address)?;
        let call = alice.dial(proxy.address)?;
        let there = bob.rings()?;
        bob.answer(there)?;
        alice.until(call, CallState::Active)?;
        thread::sleep(Duration::from_secs(1));
        let (seen, stop) = (proxy.seen(), AtomicBool::new(false));
        let aim = Aim { target: bob.address, seen: &seen, back: &proxy.back, stop: &stop };
        let (sent, times) = thread::scope(|scope| {
            let flood = scope.spawn(|| attack(&aim, &mut Dice::new(seed)));
            let times = honest(&carol, &bob, length);
            stop.store(true, Ordering::Relaxed);
            flood.join().map(|sent| (sent, times))
        })
        .map_err(|_| anyhow::anyhow!("the attack crashed"))?;
        // What was to end the call has had a moment to do so.
        thread::sleep(Duration::from_secs(1));
        let stands = [(&alice, call), (&bob, there)]
            .map(|(side, id)| side.call(id).is_ok_and(|call| call.state == CallState::Active));
        calls_lost += u64::from(stands != [true, true]);
        let times = times?;
        println!(
            "{name}: {} datagrams; the call {}; {} set-ups, the slowest {:.2} s",
            sent?,
            if stands == [true, true] { "stands" } else { "IS LOST" },
            times.len(),
            times.iter().copied().fold(0.0, f64::max)
        );
        setups.extend(times);
        amplification = amplification.max(amplified(bob.address, &seen, &mut Dice::new(seed))?);
    }
    setups.sort_by(f64::total_cmp);
    let p95 = *setups.get(setups.len() * 95 / 100).context("nobody called")?;
    Ok(Strangers { calls_lost, attacks: ATTACKS.len() as u64, setup_s_p95: p95, amplification })
}

/// Calls again and again; how long each took until it rang, seconds. One that never does counts as the time that it was waited for.
fn honest(carol: &Side, bob: &Side, length: Duration) -> anyhow::Result<Vec<f64>> {
    let (start, mut times) = (Instant::now(), Vec::new());
    while start.elapsed() < length {
        let begun = Instant::now();
        let id = carol.dial(bob.address)?;
        let rang = carol.until(id, CallState::Ringing);
        times.push(begun.elapsed().as_secs_f64());
        if let Err(error) = rang {
            println!("  a set-up failed: {error:#}");
        }
        let _ = carol.hang_up(id);
        thread::sleep(SETUP_EVERY.saturating_sub(begun.elapsed()));
    }
    Ok(times)
}

/// Sockets of many addresses of this machine.
fn sockets(count: usize) -> anyhow::Result<Vec<UdpSocket>> {
    let socket = |n: usize| {
        let socket = UdpSocket::bind((std::net::Ipv4Addr::new(127, 64, (n >> 8) as u8, n as u8), 0))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    (1..=count).map(socket).collect()
}

/// Sends what `next` gives, in bursts, from one address after another, until it is to stop.
fn flood(aim: &Aim<'_>, sources: &[UdpSocket], mut next: impl FnMut() -> Vec<u8>) -> u64 {
    let mut sent = 0;
    while !aim.stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        for _ in 0..BURST {
            let source = &sources[sent as usize % sources.len()];
            let _ = source.send_to(&next(), aim.target);
            sent += 1;
        }
        thread::sleep(EVERY.saturating_sub(begun.elapsed()));
    }
    sent
}

fn junk(aim: &Aim<'_>, dice: &mut Dice) -> anyhow::Result<u64> {
    let sources = sockets(SOURCES)?;
    Ok(flood(aim, &sources, || {
        let length = 1 + dice.below(1232);
        dice.bytes(length)
    }))
}

fn damaged(aim: &Aim<'_>, dice: &mut Dice) -> anyhow::Result<u64> {
    let sources = sockets(SOURCES)?;
    Ok(flood(aim, &sources, || damage(pick(&aim.seen.initiations, dice), dice)))
}

/// One of them; junk if there is none.
fn pick(all: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    match all {
        [] => dice.bytes(100),
        all => all[dice.below(all.len())].clone(),
    }
}

/// With some bytes changed behind the first, or cut, or longer.
fn damage(mut datagram: Vec<u8>, dice: &mut Dice) -> Vec<u8> {
    match dice.below(4) {
        0 => datagram.truncate(1 + dice.below(datagram.len())),
        1 => {
            let more = dice.below(64);
            datagram.extend(dice.bytes(more));
        }
        _ => {
            for _ in 0..=dice.below(4) {
                if let Some(byte) = (datagram.len() > 1).then(|| 1 + dice.below(datagram.len() - 1)) {
                    datagram[byte] ^= 1 << dice.below(8);
                }
            }
        }
    }
    datagram
}

/// Real handshakes up to the answer, of a new key each, and not a packet more.
fn unconfirmed(aim: &Aim<'_>, dice: &mut Dice) -> anyhow::Result<u64> {
    let sources = sockets(SOURCES)?;
    let offer = Offer { tokens: Vec::new(), opus: true, depth: 6, frames_per_packet: 3, rekeys: false };
    let (mut sent, mut datagram, mut bytes) = (0, Vec::new(), [0; 2048]);
    while !aim.stop.load(Ordering::Relaxed) {
        let mut calls = Vec::new();
        for source in &sources {
            let identity = Identity::from_bytes(dice.array());
            let (index, seed) = (dice.number() as u16, dice.array());
            let limits = Limits::new(6, 3);
            let mut call = Call::dial(&identity, None, aim.target, index, seed, &offer, limits, Instant::now())?;
            if call.poll_transmit(&mut datagram) {
                let _ = source.send_to(&datagram, aim.target);
                sent += 1;
            }
            calls.push(call);
        }
        thread::sleep(Duration::from_millis(20));
        for (source, call) in sources.iter().zip(&mut calls) {
            // The cookie; the initiation with it goes out, and what is answered is not taken.
            if let Ok((length, from)) = source.recv_from(&mut bytes) {
                call.handle(Instant::now(), from, &mut bytes[..length]);
                if call.poll_transmit(&mut datagram) {
                    let _ = source.send_to(&datagram, aim.target);
                    sent += 1;
                }
            }
        }
        thread::sleep(Duration::from_millis(20));
        for source in &sources {
            while source.recv(&mut bytes).is_ok() {}
        }
    }
    Ok(sent)
}

/// Sends what `next` gives by the caller's own socket on the path, 1000 each second.
fn in_its_name(aim: &Aim<'_>, mut next: impl FnMut() -> Vec<u8>) -> u64 {
    let mut sent = 0;
    while !aim.stop.load(Ordering::Relaxed) {
        for _ in 0..5 {
            let _ = aim.back.send(&next());
            sent += 1;
        }
        thread::sleep(EVERY);
    }
    sent
}

fn replayed(aim: &Aim<'_>, dice: &mut Dice) -> anyhow::Result<u64> {
    anyhow::ensure!(!aim.seen.initiations.is_empty(), "no initiation was seen");
    Ok(in_its_name(aim, || pick(&aim.seen.initiations, dice)))
}

fn replayed_elsewhere(aim: &Aim<'_>, dice: &mut Dice) -> anyhow::Result<u64> {
    let sources = sockets(SOURCES)?;
    Ok(flood(aim, &sources, || pick(&aim.seen.initiations, dice)))
}

fn again_or_damaged(aim: &Aim<'_>, dice: &mut Dice) -> Vec<u8> {
    let datagram = pick(&aim.seen.sealed, dice);
    if dice.below(2) == 0 { datagram } else { damage(datagram, dice) }
}

fn forged(aim: &Aim<'_>, dice: &mut Dice) -> anyhow::Result<u64> {
    anyhow::ensure!(!aim.seen.sealed.is_empty(), "no sealed packet was seen");
    Ok(in_its_name(aim, || again_or_damaged(aim, dice)))
}

fn forged_elsewhere(aim: &Aim<'_>, dice: &mut Dice) -> anyhow::Result<u64> {
    let sources = sockets(SOURCES)?;
    Ok(flood(aim, &sources, || again_or_damaged(aim, dice)))
}

/// The most bytes that come back for each that is sent, from an address that has shown nothing yet: payloads of UDP.
fn amplified(target: SocketAddr, seen: &Seen, dice: &mut Dice) -> anyhow::Result<f64> {
    let kinds = (0..=255_u8).step_by(3).chain(0x40..=0x47);
    let mut probes: Vec<Vec<u8>> = kinds
        .flat_map(|kind| [1, 20, 53, 120].map(|length| (kind, length)))
        .map(|(kind, length)| {
            let mut probe = dice.bytes(length);
            probe[0] = kind;
            probe
        })
        .collect();
    probes.extend(seen.initiations.iter().take(8).cloned());
    probes.extend(seen.sealed.iter().take(8).cloned());
    let (mut most, mut bytes) = (0.0_f64, [0; 2048]);
    // Each from an address of its own, and all at once: limits by source are not what is asked about.
    for probes in probes.chunks(100) {
        let sources = sockets(probes.len())?;
        for (source, probe) in sources.iter().zip(probes) {
            let _ = source.send_to(probe, target);
        }
        thread::sleep(Duration::from_millis(400));
        for (source, probe) in sources.iter().zip(probes) {
            let mut came = 0;
            while let Ok(length) = source.recv(&mut bytes) {
                came += length;
            }
            most = most.max(came as f64 / probe.len() as f64);
        }
    }
    Ok(most)
}
