//! A peer that was let in and misbehaves: how much of another call's sound does it cost?

use std::{
    net::UdpSocket,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use parlo_api::CallState;
use parlo_model::{Bundle, locate_bundle};
use parlo_protocol::{
    adapt::Limits,
    call::{Call, Run},
    identity::Identity,
    offer::Offer,
};

use crate::{dice::Dice, side::Side};

/// Packets of twelve frames that it sends each second, twenty times what speech needs.
const PACKETS: u32 = 83;

/// Percent of the frames of an honest call that are lost while a second peer of the same conference sends junk as speech.
pub(crate) fn measure(length: Duration) -> anyhow::Result<f64> {
    let (alice, bob) = (Side::start("a")?, Side::start("b")?);
    let call = alice.dial(bob.address)?;
    let there = bob.rings()?;
    bob.answer(there)?;
    alice.until(call, CallState::Active)?;
    let stop = AtomicBool::new(false);
    let (before, after, sent) = thread::scope(|scope| -> anyhow::Result<_> {
        let mallory = scope.spawn(|| attack(&bob, &stop));
        let hurt = || -> anyhow::Result<_> {
            let second = bob.rings()?;
            bob.answer(second)?;
            bob.until(second, CallState::Active)?;
            bob.conference(there)?;
            bob.conference(second)?;
            thread::sleep(Duration::from_secs(2));
            let before = bob.frames(there)?;
            thread::sleep(length);
            Ok((before, bob.frames(there)?))
        };
        let hurt = hurt();
        stop.store(true, Ordering::Relaxed);
        let sent = mallory.join().map_err(|_| anyhow::anyhow!("the peer crashed"))?;
        let (before, after) = hurt?;
        Ok((before, after, sent?))
    })?;
    let (all, lost) = (after.0 - before.0, after.1 - before.1);
    if all == 0 {
        bail!("nothing was heard of the honest call");
    }
    println!("a hostile peer: {sent} packets of junk; of {all} frames of the other call {lost} were lost");
    Ok(100.0 * lost as f64 / all as f64)
}

/// Calls, and once it may speak sends frames of junk far faster than time goes.
fn attack(bob: &Side, stop: &AtomicBool) -> anyhow::Result<u64> {
    let bundle = Bundle::open(&locate_bundle(None)?)?;
    let depth = bundle.layout().depth() as u8;
    let mut dice = Dice::new(7);
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_nonblocking(true)?;
    let offer = Offer { tokens: bundle.identities().to_vec(), opus: true, depth, frames_per_packet: 12, rekeys: true };
    let identity = Identity::from_bytes(dice.array());
    let limits = Limits::new(depth, 12);
    let seed = dice.array();
    let mut call = Call::dial(&identity, None, bob.address, 77, seed, &offer, limits, Instant::now())?;
    let (mut datagram, mut bytes) = (Vec::new(), [0; 2048]);
    let (mut sent, mut first, mut next) = (0, 0, Instant::now());
    while !stop.load(Ordering::Relaxed) {
        while let Ok((length, from)) = socket.recv_from(&mut bytes) {
            call.handle(Instant::now(), from, &mut bytes[..length]);
        }
        call.handle_timeout(Instant::now());
        if call.is_open() && !call.peer_presence().ringing && Instant::now() >= next {
            let length = 60 + dice.below(100);
            let payload = dice.bytes(length);
            let context = call.context(first);
            let run = Run { count: 12, depth: depth.into(), copies: 0, copy_depth: 1, payload: &payload };
            if call.send_frames(Instant::now(), &context, &run).is_ok() {
                (first, sent) = (first + 12, sent + 1);
            }
            next = (next + Duration::from_secs(1) / PACKETS)
                .max(Instant::now().checked_sub(Duration::from_millis(100)).context("the clock has just begun")?);
        }
        while call.poll_transmit(&mut datagram) {
            let _ = socket.send_to(&datagram, bob.address);
        }
        thread::sleep(Duration::from_millis(1));
    }
    anyhow::ensure!(sent > 0, "it never came to speak");
    Ok(sent)
}
