//! The acceptor of a listener: datagrams from anywhere, at any time.

use std::time::{Duration, Instant};

use parlo_protocol::{acceptor::Acceptor, identity::Identity, offer::Offer, session::Reason, session::Session};

use crate::{
    input::Input,
    sessions::{address, public},
};

/// Callers that initiate a session, some of them properly, and datagrams of no caller. Nobody gets more bytes than he sent before he has
/// shown a cookie; the acceptor keeps few, and forgets all of them.
pub(crate) fn acceptor(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut now = Instant::now();
    let mut acceptor = Acceptor::new(&Identity::from_bytes([2; 32]), [4; 32], now);
    let mut callers: Vec<(u8, Session)> = Vec::new();
    let (mut out, mut index, mut steps) = (Vec::new(), 1_u16, 0);
    while !input.is_empty() && steps < 120 {
        steps += 1;
        index += 1;
        let op = input.byte();
        match op % 6 {
            0 if callers.len() < 6 => {
                let n = callers.len() as u8 + 10;
                let key = (op & 0x40 == 0).then(|| public(if op & 0x80 == 0 { 2 } else { 3 }));
                let offer =
                    Offer { tokens: Vec::new(), opus: true, depth: 6, frames_per_packet: 3, rekeys: false }.to_bytes();
                let identity = Identity::from_bytes([n; 32]);
                callers.extend(
                    Session::dial(&identity, key, address(2), n.into(), &offer, [n; 32], now).ok().map(|s| (n, s)),
                );
            }
            1 => {
                now += Duration::from_millis(20 * u64::from(input.byte()));
                acceptor.handle_timeout(now);
                for (_, caller) in &mut callers {
                    let _ = caller.handle_timeout(now);
                }
            }
            2 => {
                let mut datagram = input.some().to_vec();
                if acceptor.handle(now, address(op), &mut datagram, index).is_some() {
                    unreachable!("bytes without a key agreement are no caller");
                }
            }
            op => {
                // What callers have to say: as it is, damaged, or from elsewhere.
                for (n, caller) in &mut callers {
                    while caller.poll_transmit(&mut out) {
                        if op == 3 {
                            input.damage(&mut out);
                        }
                        let from = if op == 4 && input.byte() & 1 == 0 { 200 } else { *n };
                        if let Some(caller) = acceptor.handle(now, address(from), &mut out, index) {
                            let reason = if from == 200 { Reason::Busy } else { Reason::Declined };
                            acceptor.refuse(caller, reason, now);
                        }
                    }
                }
            }
        }
        let mut replies = 0;
        while let Some(to) = acceptor.poll_transmit(&mut out) {
            replies += 1;
            assert!(replies < 64);
            for (n, caller) in &mut callers {
                if to == address(*n) {
                    let _ = caller.handle(now, address(2), &mut out);
                }
            }
        }
    }
    for _ in 0..4 {
        now += Duration::from_secs(20);
        acceptor.handle_timeout(now);
    }
    assert_eq!(acceptor.poll_timeout(), None, "all are forgotten");
}
