//! What the protocol costs without the codec: sealing, opening, contexts, feedback, adaptation and the jitter buffer.

use std::time::{Duration, Instant};

use parlo_protocol::{
    acceptor::Acceptor,
    adapt::{Costs, Limits},
    call::{Call, Event, Run},
    identity::Identity,
    jitter::{JitterBuffer, JitterConfig},
    offer::Offer,
};
use parlo_tokens::{Slot, TokenFrame, TokensId};

/// Length of the call.
const FRAMES: u64 = 50 * 600;

/// Processor time of one side of a call in which both speak, packets of 60 ms, as a share of the time that it lasts.
pub(crate) fn percent_of_a_core() -> f64 {
    let start = Instant::now();
    let [mut caller, mut listener] = connected(start);
    let mut jitter: [JitterBuffer; 2] = std::array::from_fn(|_| JitterBuffer::new(JitterConfig::default()));
    let frame = TokenFrame::new(&[1; 6]).unwrap();
    let mut datagram = Vec::with_capacity(2048);
    let before = processor_time();
    for number in 0..FRAMES {
        let now = start + Duration::from_millis(20 * (number + 1));
        if number % 3 == 2 {
            let first = number - 2;
            for (at, jitter) in jitter.iter_mut().enumerate() {
                let (from, to) = if at == 0 { (&mut caller, &mut listener) } else { (&mut listener, &mut caller) };
                let context = from.context(first);
                let run = Run {
                    count: 3,
                    depth: 6,
                    copies: if first > 0 { 3 } else { 0 },
                    copy_depth: 1,
                    payload: &[0x5A; 20],
                };
                from.send_frames(now, &context, &run).unwrap();
                let address = from.address();
                while from.poll_transmit(&mut datagram) {
                    if let Some(Event::Frames { first, count, .. }) = to.handle(now, address, &mut datagram) {
                        to.decoded(first, count.into());
                        for number in first..first + u64::from(count) {
                            jitter.insert(number, Slot::Frame(frame), now);
                        }
                    }
                }
            }
        }
        for jitter in &mut jitter {
            let _ = jitter.pop(now, false);
        }
    }
    let each = (processor_time() - before).as_secs_f64() / 2.0;
    100.0 * each / (0.02 * FRAMES as f64)
}

/// Two calls that stand.
fn connected(now: Instant) -> [Call; 2] {
    let keys = [1, 2].map(|n| Identity::from_bytes([n; 32]));
    let address = |port| ([127, 0, 0, 1], port).into();
    let offer = Offer {
        tokens: vec![TokensId::from_bytes([3; 32])],
        opus: false,
        depth: 6,
        frames_per_packet: 3,
        rekeys: false,
    };
    let limits = Limits::new(6, 3);
    let key = Some(keys[1].public());
    let mut caller = Call::dial(&keys[0], key, address(1), 1, [1; 32], &offer, limits, now).unwrap();
    let mut acceptor = Acceptor::new(&keys[1], [2; 32], now);
    let mut datagram = Vec::new();
    let mut listener: Option<Call> = None;
    for _ in 0..8 {
        while caller.poll_transmit(&mut datagram) {
            match &mut listener {
                Some(call) => {
                    let _ = call.handle(now, address(1), &mut datagram);
                }
                None => {
                    listener = acceptor.handle(now, address(1), &mut datagram, 2).and_then(|caller| {
                        Call::answer(caller.session, &caller.offer, &offer, limits, false, now).ok()
                    });
                }
            }
        }
        while acceptor.poll_transmit(&mut datagram).is_some() {
            let _ = caller.handle(now, address(1), &mut datagram);
        }
        while listener.as_mut().is_some_and(|call| call.poll_transmit(&mut datagram)) {
            let _ = caller.handle(now, address(1), &mut datagram);
        }
    }
    let mut listener = listener.unwrap();
    for call in [&mut caller, &mut listener] {
        while call.poll_event().is_some() {}
        assert!(call.is_open());
        call.adapt(limits, Costs::tokens([10; 12]), true);
    }
    [caller, listener]
}

/// Processor time of this thread.
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec for the call to write to, and the clock is this thread's own.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
