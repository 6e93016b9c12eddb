use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::packet::HELLO_BYTES;

fn offer(depth: u8) -> Offer {
    Offer { bundle: BundleId::from_bytes([3; 32]), depth, frames_per_packet: 3 }
}

/// Random numbers below `n` from a linear congruential generator.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

/// What one side saw.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    connected: u32,
    media: BTreeMap<u64, Vec<u8>>,
    ended: Vec<&'static str>,
}

impl Seen {
    fn note(&mut self, event: Option<Event<'_>>) {
        match event {
            Some(Event::Connected { .. }) => self.connected += 1,
            Some(Event::Media { first, payload, .. }) => {
                self.media.insert(first, payload.to_vec());
            }
            Some(Event::Refused(_)) => self.ended.push("refused"),
            Some(Event::PeerLeft) => self.ended.push("left"),
            Some(Event::TimedOut) => self.ended.push("timed out"),
            None => {}
        }
    }
}

struct Net {
    dice: Dice,
    loss: u64,
    duplicate: u64,
    corrupt: u64,
    delay: u64,
    flights: Vec<(u64, bool, Vec<u8>)>,
}

impl Net {
    fn send(&mut self, ms: u64, to_listener: bool, datagram: &[u8]) {
        let copies = 1 + u64::from(self.dice.below(100) < self.duplicate);
        for _ in 0..copies {
            if self.dice.below(100) < self.loss {
                continue;
            }
            let mut datagram = datagram.to_vec();
            if self.dice.below(100) < self.corrupt {
                let at = self.dice.below(datagram.len() as u64) as usize;
                datagram[at] ^= 1 << self.dice.below(8);
            }
            let due = ms + 1 + self.dice.below(self.delay);
            self.flights.push((due, to_listener, datagram));
        }
    }

    fn arrivals(&mut self, ms: u64) -> Vec<(bool, Vec<u8>)> {
        let (due, later) = std::mem::take(&mut self.flights).into_iter().partition(|flight| flight.0 <= ms);
        self.flights = later;
        let due: Vec<(u64, bool, Vec<u8>)> = due;
        due.into_iter().map(|(_, to, datagram)| (to, datagram)).collect()
    }
}

/// A caller that speaks for `speech_ms` and hangs up, a listener, and a network between, in steps of a millisecond.
fn talk(mut net: Net, speech_ms: u64) -> (Seen, Seen, CallStats, Option<CallStats>) {
    let start = Instant::now();
    let mut caller = Call::dial(77, 5, offer(6), start);
    let mut listener: Option<Call> = None;
    let (mut heard, mut told) = (Seen::default(), Seen::default());
    let mut datagram = Vec::new();
    let mut frame = 0;
    let mut opened_at = None;
    for ms in 0..speech_ms + 40_000 {
        let now = start + Duration::from_millis(ms);
        for (to_listener, bytes) in net.arrivals(ms) {
            if !to_listener {
                told.note(caller.handle(now, &bytes));
            } else if let Some(call) = &mut listener {
                heard.note(call.handle(now, &bytes));
            } else if let Knock::Hello(hello) = knock(&bytes)
                && let Ok(call) = Call::answer(&hello, offer(4), now)
            {
                listener = Some(call);
            }
        }
        if caller.poll_timeout().is_some_and(|due| due <= now) {
            told.note(caller.handle_timeout(now));
        }
        if let Some(call) = &mut listener
            && call.poll_timeout().is_some_and(|due| due <= now)
        {
            heard.note(call.handle_timeout(now));
        }
        if caller.is_open() {
            let since = *opened_at.get_or_insert(ms);
            if ms - since >= speech_ms {
                caller.hang_up(now);
            } else if (ms - since) % 60 == 0 {
                caller.send_frames(now, &caller.context(frame), 3, 6, &payload(frame)).unwrap();
                frame += 3;
            }
        }
        while caller.poll_transmit(&mut datagram) {
            net.send(ms, true, &datagram);
        }
        if let Some(call) = &mut listener {
            while call.poll_transmit(&mut datagram) {
                net.send(ms, false, &datagram);
            }
        }
        if caller.is_over() && listener.as_ref().is_none_or(Call::is_over) && net.flights.is_empty() {
            break;
        }
    }
    (told, heard, *caller.stats(), listener.map(|call| *call.stats()))
}

fn payload(frame: u64) -> Vec<u8> {
    (0..24).map(|n| (frame * 31 + n) as u8).collect()
}

#[test]
fn a_perfect_network_carries_every_frame_and_one_goodbye() {
    let net = Net { dice: Dice(1), loss: 0, duplicate: 0, corrupt: 0, delay: 1, flights: Vec::new() };
    let (told, heard, caller, listener) = talk(net, 6000);
    assert_eq!((told.connected, told.ended.len()), (1, 0));
    assert_eq!(heard.ended, ["left"]);
    let expected: BTreeMap<u64, Vec<u8>> = (0..100).map(|n| (3 * n, payload(3 * n))).collect();
    assert_eq!(heard.media, expected);
    let listener = listener.unwrap();
    assert_eq!(caller.sent.payload_bytes, 100 * 24);
    assert_eq!(listener.received.payload_bytes, 100 * 24);
    assert_eq!((caller.junk, listener.junk), (0, 2), "two of three Byes come after the end");
    // Hello, media and Byes; 28 bytes of IPv4 and UDP before each.
    let bytes = HELLO_BYTES as u64 + 100 * 30 + 3 * 3;
    assert_eq!(caller.sent.wire_bytes(28), bytes + 104 * 28);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn bad_networks_carry_what_they_do_not_lose(
        seed: u64, loss in 0_u64..30, duplicate in 0_u64..20, delay in 1_u64..300,
    ) {
        let net = Net { dice: Dice(seed), loss, duplicate, corrupt: 0, delay, flights: Vec::new() };
        let (told, heard, caller, _) = talk(net, 6000);
        prop_assert_eq!(told.connected, 1);
        prop_assert_eq!(heard.ended.len(), 1);
        for (first, bytes) in &heard.media {
            prop_assert_eq!(bytes, &payload(*first));
        }
        prop_assert!(heard.media.len() as u64 * 100 >= (100 - loss) * 100 * 7 / 10, "{} of 100", heard.media.len());
        prop_assert!(caller.sent.packets < 140);
    }

    #[test]
    fn corruption_is_survived(seed: u64, corrupt in 1_u64..60) {
        let net = Net { dice: Dice(seed), loss: 10, duplicate: 5, corrupt, delay: 50, flights: Vec::new() };
        let (told, heard, ..) = talk(net, 3000);
        // Without authentication a flipped bit can forge a goodbye; but the call ends, on both sides, once.
        prop_assert!(told.connected <= 1 && told.ended.len() <= 1);
        prop_assert!(heard.ended.len() <= 1);
        prop_assert!(told.connected == 0 || told.ended.len() + heard.ended.len() >= 1, "somebody notices the end");
    }

    #[test]
    fn any_datagram_is_handled(datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..50)) {
        let now = Instant::now();
        let hello = Hello { call: 1, tag: 2, bundle: offer(1).bundle, depth: 1, frames_per_packet: 1 };
        let mut calls = [Call::dial(1, 2, offer(1), now), Call::answer(&hello, offer(1), now).unwrap()];
        for datagram in &datagrams {
            let _ = knock(datagram);
            for call in &mut calls {
                let _ = call.handle(now, datagram);
                let mut out = Vec::new();
                while call.poll_transmit(&mut out) {}
            }
        }
    }
}

#[test]
fn a_flood_of_noise_changes_nothing_and_is_not_answered() {
    let now = Instant::now();
    let hello = Hello { call: 1, tag: 0x4242, bundle: offer(1).bundle, depth: 1, frames_per_packet: 1 };
    let mut call = Call::answer(&hello, offer(1), now).unwrap();
    let mut out = Vec::new();
    while call.poll_transmit(&mut out) {}
    let mut dice = Dice(9);
    let mut events = 0;
    for n in 0..100_000 {
        let noise: Vec<u8> = (0..dice.below(60)).map(|_| dice.below(256) as u8).collect();
        if noise.first().is_some_and(|byte| byte >> 5 == 4) && noise.len() == 3 && noise[1..] == [0x42, 0x42] {
            continue;
        }
        assert_eq!(knock(&noise), Knock::Junk, "{n}");
        events += u32::from(call.handle(now, &noise).is_some());
        assert!(!call.poll_transmit(&mut out), "no answer to noise");
    }
    assert!(call.is_open());
    // A random tag is right once in 65536.
    assert!(events <= 10 && call.stats().junk > 99_900, "{events} {:?}", call.stats());
}

#[test]
fn nobody_there_is_a_timeout_after_ten_seconds_of_fewer_and_fewer_hellos() {
    let net = Net { dice: Dice(1), loss: 100, duplicate: 0, corrupt: 0, delay: 1, flights: Vec::new() };
    let (told, _, caller, _) = talk(net, 1000);
    assert_eq!(told.ended, ["timed out"]);
    assert!((10..=12).contains(&caller.sent.packets), "{caller:?}");
}

#[test]
fn a_peer_that_falls_silent_is_noticed_and_one_that_is_quiet_is_not() {
    let start = Instant::now();
    let hello = Hello { call: 1, tag: 2, bundle: offer(1).bundle, depth: 1, frames_per_packet: 1 };
    let mut call = Call::answer(&hello, offer(1), start).unwrap();
    let mut out = Vec::new();
    let mut alive = 0;
    for seconds in 0..60 {
        let now = start + Duration::from_secs(seconds);
        assert_eq!(call.handle_timeout(now), None);
        let mut sign = Vec::new();
        Packet::Alive { tag: 2 }.encode(&mut sign);
        if seconds % 5 == 0 {
            assert_eq!(call.handle(now, &sign), None);
        }
        while call.poll_transmit(&mut out) {
            alive += u32::from(out[0] >> 5 == 5);
        }
    }
    assert_eq!(alive, 29, "a sign of life every two seconds");
    assert_eq!(call.handle_timeout(start + Duration::from_secs(66)), Some(Event::TimedOut));
    assert!(call.is_over() && call.poll_timeout().is_none());
}

#[test]
fn different_bundles_versions_and_busy_listeners_refuse_in_fewer_bytes_than_were_sent() {
    let now = Instant::now();
    let mut caller = Call::dial(1, 2, offer(1), now);
    let mut sent = Vec::new();
    assert!(caller.poll_transmit(&mut sent));
    let Knock::Hello(hello) = knock(&sent) else { panic!("a Hello knocks") };
    let other = Offer { bundle: BundleId::from_bytes([4; 32]), ..offer(1) };
    let refusal = Call::answer(&hello, other, now).unwrap_err();
    assert_eq!(refusal.reason, Reason::NoSharedBundle);
    let mut answer = Vec::new();
    Packet::Refuse(refusal).encode(&mut answer);
    assert!(answer.len() <= sent.len());
    assert_eq!(caller.handle(now, &answer), Some(Event::Refused(Reason::NoSharedBundle)));
    assert!(caller.is_over());

    sent[0] |= 7;
    assert_eq!(knock(&sent), Knock::Refuse(Refuse { version: 7, call: 1, reason: Reason::Version }));
}

#[test]
fn a_lost_welcome_is_repeated_and_media_stands_in_for_it() {
    let now = Instant::now();
    let mut caller = Call::dial(1, 2, offer(6), now);
    let mut out = Vec::new();
    caller.poll_transmit(&mut out);
    let Knock::Hello(hello) = knock(&out) else { panic!("a Hello knocks") };
    let mut listener = Call::answer(&hello, offer(4), now).unwrap();
    let hello = out.clone();
    let mut welcome = Vec::new();
    assert!(listener.poll_transmit(&mut welcome));
    assert_eq!(listener.handle(now, &hello), None);
    assert!(listener.poll_transmit(&mut out));
    assert_eq!(out, welcome, "the same again");

    listener.send_frames(now, &Context::alone(0), 3, 4, &[1; 15]).unwrap();
    assert_eq!(listener.send_frames(now, &Context::alone(3), 3, 4, &[1; 15]), Err(SendError::NotDrained));
    listener.poll_transmit(&mut out);
    assert_eq!(caller.handle(now, &out), Some(Event::Connected { depth: 4, frames_per_packet: 3 }));
    assert_eq!(caller.handle(now, &welcome), None);
    assert!(caller.is_open());
}

#[test]
fn packets_of_other_calls_are_not_taken_for_this_one() {
    let now = Instant::now();
    let bytes = |packet: Packet<'_>| {
        let mut out = Vec::new();
        packet.encode(&mut out);
        out
    };
    let mut caller = Call::dial(1, 2, offer(6), now);
    let welcome = Welcome { call: 9, tag: 2, depth: 4, frames_per_packet: 3 };
    let refuse = Refuse { version: VERSION, call: 9, reason: Reason::Busy };
    for packet in [Packet::Welcome(welcome), Packet::Refuse(refuse), Packet::Bye { tag: 3 }, Packet::Alive { tag: 3 }] {
        assert_eq!(caller.handle(now, &bytes(packet)), None);
    }
    assert_eq!(caller.stats().junk, 4);
    assert!(!caller.is_open() && !caller.is_over());

    // But another Hello from the peer's own address means that it has started anew.
    let hello = Hello { call: 1, tag: 2, bundle: offer(1).bundle, depth: 1, frames_per_packet: 1 };
    let mut listener = Call::answer(&hello, offer(1), now).unwrap();
    assert_eq!(listener.handle(now, &bytes(Packet::Hello(Hello { call: 7, ..hello }))), Some(Event::PeerLeft));
    assert!(listener.is_over());
}

#[test]
fn frame_numbers_go_on_past_sixteen_bits() {
    let now = Instant::now();
    let mut caller = Call::dial(1, 2, offer(1), now);
    let hello = Hello { call: 1, tag: 2, bundle: offer(1).bundle, depth: 1, frames_per_packet: 12 };
    let mut listener = Call::answer(&hello, offer(1), now).unwrap();
    let mut out = Vec::new();
    listener.poll_transmit(&mut out);
    caller.handle(now, &out);
    caller.poll_transmit(&mut out);
    for number in (0..200_000_u64).step_by(12) {
        caller.send_frames(now, &caller.context(number), 12, 1, &[0; 15]).unwrap();
        caller.poll_transmit(&mut out);
        let Some(Event::Media { first, .. }) = listener.handle(now, &out) else { panic!("media comes") };
        assert_eq!(first, number);
    }
}

/// Two calls that stand, and have nothing to send.
fn connected(now: Instant) -> [Call; 2] {
    let mut out = Vec::new();
    let mut caller = Call::dial(1, 2, offer(6), now);
    caller.poll_transmit(&mut out);
    let Knock::Hello(hello) = knock(&out) else { panic!("a Hello knocks") };
    let mut listener = Call::answer(&hello, offer(6), now).unwrap();
    listener.poll_transmit(&mut out);
    caller.handle(now, &out);
    assert!(caller.is_open() && !caller.poll_transmit(&mut out));
    [caller, listener]
}

#[test]
fn packets_build_upon_frames_that_the_peer_has_reported_and_no_others() {
    let start = Instant::now();
    let mut calls = connected(start);
    let mut dice = Dice(3);
    let mut out = Vec::new();
    let (mut alone, mut beyond) = (0, 0);
    for packet in 0..1000_u64 {
        let now = start + Duration::from_millis(60 * packet);
        for from in [0, 1] {
            let context = calls[from].context(3 * packet);
            calls[from].send_frames(now, &context, 3, 6, &[0; 20]).unwrap();
            assert!(calls[from].poll_transmit(&mut out));
            if dice.below(10) == 0 {
                continue;
            }
            let Some(Event::Media { first, count, context: told, .. }) = calls[1 - from].handle(now, &out) else {
                panic!("media comes")
            };
            assert_eq!((first, &told), (3 * packet, context.frames()));
            calls[1 - from].decoded(first, usize::from(count));
            alone += u32::from(told.is_empty());
            beyond += told.len();
        }
    }
    assert!(alone < 40 && beyond > 1700 * 150, "{alone} {beyond}");
    for (one, other) in [(0, 1), (1, 0)] {
        let (sent, received) = (calls[one].stats().sent, calls[other].stats().received);
        assert!(received.report_bytes < sent.report_bytes && sent.report_bytes < 125 * 12, "{sent:?}");
        assert!(sent.report_bytes > 3 * 110 && calls[one].stats().unknown_context == 0);
    }

    // A reference to what was never reported: counted, and no event.
    let media = Media { tag: 2, depth: 6, count: 3, context: 9, first: 5000, report: None, payload: &[1] };
    out.clear();
    Packet::Media(media).encode(&mut out);
    assert_eq!(calls[0].handle(start, &out), None);
    assert_eq!((calls[0].stats().unknown_context, calls[0].stats().junk), (1, 0));
}

#[test]
fn a_context_is_good_for_its_own_packet_and_call() {
    let now = Instant::now();
    let [mut caller, mut listener] = connected(now);
    let mut out = Vec::new();
    caller.send_frames(now, &Context::alone(0), 12, 6, &[]).unwrap();
    caller.poll_transmit(&mut out);
    assert!(listener.handle(now, &out).is_some());
    listener.decoded(0, 12);
    listener.send_frames(now, &Context::alone(0), 1, 6, &[]).unwrap();
    listener.poll_transmit(&mut out);
    assert!(caller.handle(now, &out).is_some());
    let context = caller.context(12);
    assert_eq!((context.reference(), context.frames().len()), (1, 12));
    let elsewhere = listener.send_frames(now, &context, 1, 6, &[]);
    assert_eq!(elsewhere, Err(SendError::Context { first: 12 }));
    caller.send_frames(now, &context, 1, 6, &[]).unwrap();
    caller.poll_transmit(&mut out);
    assert_eq!(caller.send_frames(now, &context, 1, 6, &[]), Err(SendError::Context { first: 12 }), "sent already");
}

#[test]
fn what_fits_no_packet_is_refused() {
    let now = Instant::now();
    let hello = Hello { call: 1, tag: 2, bundle: offer(1).bundle, depth: 1, frames_per_packet: 12 };
    let mut call = Call::answer(&hello, offer(1), now).unwrap();
    for (count, depth, bytes) in [(0, 1, 1), (13, 1, 1), (1, 0, 1), (1, 33, 1), (1, 1, 1195)] {
        let result = call.send_frames(now, &Context::alone(0), count, depth, &vec![0; bytes]);
        assert_eq!(result, Err(SendError::DoesNotFit { count, depth, bytes }));
    }
    assert_eq!(call.send_frames(now, &Context::alone(7), 12, 1, &[]), Ok(()), "no bytes at all may do");
    let mut out = Vec::new();
    while call.poll_transmit(&mut out) {}
    for first in [0, 7, 18] {
        assert_eq!(call.send_frames(now, &Context::alone(first), 1, 1, &[0]), Err(SendError::Context { first }));
    }
    assert_eq!(call.send_frames(now, &Context::alone(19), 1, 1, &[0; 1194]), Ok(()), "the longest packet");
    call.hang_up(now);
    assert_eq!(call.send_frames(now, &Context::alone(20), 1, 1, &[0]), Err(SendError::NotOpen));
}
