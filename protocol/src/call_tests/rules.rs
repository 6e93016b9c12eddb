use super::*;

/// A caller and a listener that stand, without paths between them.
fn connected() -> (Call, Call, Instant) {
    let world = Setting::new().world().connect();
    let mut calls = (world.caller, world.listener.expect("a call"), world.now);
    let mut out = Vec::new();
    // What is left of the handshake.
    while calls.1.poll_transmit(&mut out) {
        calls.0.handle(calls.2, address(2), &mut out);
    }
    calls
}

fn run(count: usize, depth: usize, payload: &[u8]) -> Run<'_> {
    Run { count, depth, copies: 0, copy_depth: 0, payload }
}

#[test]
fn what_fits_no_packet_is_refused() {
    let (mut call, _, now) = connected();
    let longest = vec![0; MAX_PAYLOAD + 1];
    for (count, depth, bytes) in [(0, 1, 1), (13, 1, 1), (1, 0, 1), (1, 33, 1), (1, 1, MAX_PAYLOAD + 1)] {
        let result = call.send_frames(now, &Context::alone(0), &run(count, depth, &longest[..bytes]));
        assert_eq!(result, Err(SendError::DoesNotFit { count, depth, bytes }));
    }
    for (copies, copy_depth) in [(13, 1), (1, 0), (1, 5)] {
        let run = Run { count: 1, depth: 6, copies, copy_depth, payload: &[1] };
        let result = call.send_frames(now, &Context::alone(20), &run);
        assert_eq!(result, Err(SendError::DoesNotFit { count: 1, depth: 6, bytes: 1 }));
    }
    let copied = Run { count: 1, depth: 1, copies: 2, copy_depth: 1, payload: &[1] };
    let before_the_first = call.send_frames(now, &Context::alone(1), &copied);
    assert_eq!(before_the_first, Err(SendError::Context { first: 1 }));
    assert_eq!(call.send_frames(now, &Context::alone(7), &run(12, 1, &[])), Ok(()), "no bytes at all may do");
    assert_eq!(call.send_frames(now, &Context::alone(19), &run(1, 1, &[])), Err(SendError::NotDrained));
    assert_eq!(call.send_silence(now, 19, noise()), Err(SendError::NotDrained));
    let mut out = Vec::new();
    while call.poll_transmit(&mut out) {}
    for first in [0, 7, 18] {
        let result = call.send_frames(now, &Context::alone(first), &run(1, 1, &[0]));
        assert_eq!(result, Err(SendError::Context { first }));
        assert_eq!(call.send_silence(now, first, noise()), Err(SendError::Context { first }));
    }
    assert_eq!(call.send_frames(now, &Context::alone(19), &run(1, 1, &longest[1..])), Ok(()), "the longest packet");
    assert!(call.poll_transmit(&mut out) && out.len() <= MAX_DATAGRAM);
    call.hang_up(now, Goodbye::HungUp);
    assert_eq!(call.send_frames(now, &Context::alone(20), &run(1, 1, &[0])), Err(SendError::NotOpen));
    assert_eq!(call.send_silence(now, 20, noise()), Err(SendError::NotOpen));
}

#[test]
fn frame_numbers_go_on_past_sixteen_bits_and_epochs() {
    let (mut caller, mut listener, start) = connected();
    let mut out = Vec::new();
    let mut now = start;
    let mut without = 0;
    for number in (0..200_000_u64).step_by(12) {
        now += ms(240);
        let context = caller.context(number);
        without += u64::from(number > 1000 && context.frames().is_empty());
        caller.send_frames(now, &context, &run(12, 1, &[7; 15])).unwrap();
        assert!(caller.poll_transmit(&mut out));
        match listener.handle(now, address(1), &mut out) {
            Some(Event::Frames { first, context: told, .. }) => {
                assert_eq!((first, &told), (number, context.frames()));
            }
            other => panic!("media comes: {other:?}"),
        }
        listener.decoded(number, 12);
        listener.handle_timeout(now);
        while listener.poll_transmit(&mut out) {
            caller.handle(now, address(2), &mut out);
        }
        assert!(listener.poll_event().is_none());
    }
    assert_eq!(without, 0, "and contexts go on, too");
    caller.hang_up(now, Goodbye::HungUp);
    assert!(caller.poll_transmit(&mut out));
    let left = listener.handle(now, address(1), &mut out);
    assert_eq!(left, Some(Event::PeerLeft { frames: Some(200_004), reason: Goodbye::HungUp }));
}

#[test]
fn a_context_is_good_for_its_own_packet_and_call() {
    let (mut caller, mut listener, now) = connected();
    let mut out = Vec::new();
    caller.send_frames(now, &Context::alone(0), &run(12, 6, &[])).unwrap();
    caller.poll_transmit(&mut out);
    assert!(listener.handle(now, address(1), &mut out).is_some());
    listener.decoded(0, 12);
    listener.send_frames(now, &Context::alone(0), &run(1, 6, &[])).unwrap();
    listener.poll_transmit(&mut out);
    assert!(caller.handle(now, address(2), &mut out).is_some());
    let context = caller.context(12);
    assert_eq!((context.reference(), context.frames().len()), (1, 12));
    let elsewhere = listener.send_frames(now, &context, &run(1, 6, &[]));
    assert_eq!(elsewhere, Err(SendError::Context { first: 12 }));
    caller.send_frames(now, &context, &run(1, 6, &[])).unwrap();
    caller.poll_transmit(&mut out);
    let again = caller.send_frames(now, &context, &run(1, 6, &[]));
    assert_eq!(again, Err(SendError::Context { first: 12 }), "sent already");
}

#[test]
fn a_reference_to_what_was_never_reported_is_counted_and_no_event() {
    let (mut caller, mut listener, now) = connected();
    let frames = Frames {
        depth: 6,
        count: 3,
        context: 9,
        copies: 0,
        copy_depth: 1,
        piggyback: Piggyback::default(),
        payload: &[1],
    };
    let (mut body, mut out) = (Vec::new(), Vec::new());
    let header = Media::Frames(frames).encode(&mut body);
    caller.session.seal_media(5000, header, &body, &mut out).unwrap();
    assert_eq!(listener.handle(now, address(1), &mut out), None);
    assert_eq!((listener.stats().unknown_context, listener.stats().malformed), (1, 0));
    // Sealed by the peer, but no packet.
    for body in [&[0xF0, 1][..], &[0xE0]] {
        let number = 5001 + body.len() as u64;
        out.clear();
        caller.session.seal_media(number, 0, body, &mut out).ok();
        assert_eq!(listener.handle(now, address(1), &mut out), None);
    }
    out.clear();
    caller.session.seal_control(&[9, 9, 9], &mut out).unwrap();
    assert_eq!(listener.handle(now, address(1), &mut out), None);
    assert!(listener.stats().malformed >= 2 && listener.is_open(), "{:?}", listener.stats());
}
