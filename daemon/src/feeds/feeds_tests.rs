//! What listeners are told.

use parlo_tokens::{ComfortNoise, TokenFrame};

use super::*;
use crate::call::{EncodedFrame, FrameOrigin};

fn start(call: u64) -> FeedStart {
    FeedStart {
        call,
        peer: "ada".into(),
        bundle: "5a".repeat(32),
        bundle_name: "small".into(),
        tokens: "6b".repeat(32),
        sample_rate: 16_000,
        frame_samples: 320,
        sizes: vec![1024; 3],
        created_ms: 1,
    }
}

fn heard(call: u64, number: u64, at: Instant) -> FrameEvent {
    let slot = Slot::Frame(CodedFrame::Tokens(TokenFrame::new(&[number as u16, 1023]).unwrap()));
    FrameEvent::Played { call, number: Some(number), origin: FrameOrigin::Real, slot, at, level: 0.1 }
}

fn said(call: u64, number: u64, silent: bool, at: Instant) -> FrameEvent {
    let silence = silent.then(|| ComfortNoise::new(60, [100; 8]));
    let unit = CodedFrame::Tokens(TokenFrame::new(&[number as u16]).unwrap());
    FrameEvent::Sent { call, frame: EncodedFrame { number, unit: Some(unit), silence, ends_packet: false }, at }
}

/// All that there is now.
fn read(listening: &mut Listening) -> Vec<FeedMessage> {
    std::iter::from_fn(|| listening.take())
        .map(|taken| match taken {
            Taken::Item(told) => serde_json::from_str(&told.text).unwrap(),
            Taken::Missed(frames) => FeedMessage::Missed { frames },
        })
        .collect()
}

fn numbers(messages: &[FeedMessage], stream: FeedStream) -> Vec<u64> {
    let number = |message: &FeedMessage| match message {
        FeedMessage::Frame(frame) if frame.stream == stream => frame.number,
        _ => None,
    };
    messages.iter().filter_map(number).collect()
}

#[test]
fn a_feed_has_a_start_its_own_frames_once_in_order_and_an_end() {
    let feeds = Arc::new(Feeds::default());
    assert!(feeds.listen(1, Wanted::BOTH).is_none(), "there is no such call");
    feeds.open(1);
    feeds.open(2);
    // Who is early waits for the beginning.
    let mut early = feeds.listen(1, Wanted::BOTH).unwrap();
    feeds.settle();
    assert_eq!(read(&mut early), []);
    let zero = Instant::now();
    feeds.begin(zero, start(1));
    feeds.begin(zero, start(2));
    let mut ears = feeds.listen(1, Wanted { heard: true, said: false }).unwrap();
    let mut mouth = feeds.listen(1, Wanted { heard: false, said: true }).unwrap();
    for number in 0..20 {
        let at = zero + Duration::from_millis(20 * number);
        feeds.take(&said(1, number, number % 2 == 0, at + Duration::from_millis(20)));
        feeds.take(&heard(1, number + 100, at));
        feeds.take(&heard(2, 7, at));
    }
    feeds.end(1);
    feeds.settle();
    let all = read(&mut early);
    assert_eq!((&all[0], all.last().unwrap()), (&FeedMessage::Start(start(1)), &FeedMessage::End));
    assert_eq!(all.len(), 2 + 40);
    assert_eq!(numbers(&all, FeedStream::Heard), (100..120).collect::<Vec<_>>());
    assert_eq!(numbers(&all, FeedStream::Said), (0..20).collect::<Vec<_>>());
    let FeedMessage::Frame(frame) = &all[3] else { panic!("{all:?}") };
    assert_eq!((frame.time_ms, frame.mark, &frame.codes[..]), (20, FeedMark::Real, &[1][..]));
    for (listening, stream) in [(&mut ears, FeedStream::Heard), (&mut mouth, FeedStream::Said)] {
        let own = read(listening);
        assert_eq!((&own[0], own.last().unwrap(), own.len()), (&FeedMessage::Start(start(1)), &FeedMessage::End, 22));
        assert_eq!(numbers(&own, stream), numbers(&all, stream));
    }
    assert!(feeds.listen(1, Wanted::BOTH).is_none(), "it is over");
    assert_eq!(feeds.figures().clients.load(Relaxed), 3);
    drop((early, ears, mouth));
    assert_eq!(feeds.figures().clients.load(Relaxed), 0);
}

#[test]
fn frames_are_told_as_they_were() {
    let feeds = Arc::new(Feeds::default());
    let zero = Instant::now();
    feeds.begin(zero, start(1));
    let mut listening = feeds.listen(1, Wanted::BOTH).unwrap();
    let tokens = |codes: &[u16]| CodedFrame::Tokens(TokenFrame::new(codes).unwrap());
    let noise = ComfortNoise::new(60, [100; 8]);
    let tell = |number, origin, slot| FrameEvent::Played {
        call: 1,
        number,
        origin,
        slot,
        at: zero + Duration::from_micros(1_234_567),
        level: 0.0,
    };
    for (told, expected) in [
        (
            tell(Some(1), FrameOrigin::Real, Slot::Frame(tokens(&[1, 2, 3]))),
            Some((Some(1), FeedMark::Real, vec![1, 2, 3])),
        ),
        (tell(Some(2), FrameOrigin::Coarse, Slot::Coarse(tokens(&[9]))), Some((Some(2), FeedMark::Coarse, vec![9]))),
        (tell(Some(3), FrameOrigin::Predicted, Slot::Missing), Some((Some(3), FeedMark::Predicted, vec![]))),
        (tell(Some(4), FrameOrigin::Faded, Slot::Missing), Some((Some(4), FeedMark::Faded, vec![]))),
        (tell(Some(5), FrameOrigin::Silent, Slot::Silence(noise)), Some((Some(5), FeedMark::Silent, vec![]))),
        (tell(None, FrameOrigin::Held, Slot::Missing), Some((None, FeedMark::Held, vec![]))),
        (tell(None, FrameOrigin::Waiting, Slot::Missing), None),
        // Another model's codes, from a peer that claims ours: they were played as a gap.
        (tell(Some(6), FrameOrigin::Real, Slot::Frame(tokens(&[1, 1024]))), Some((Some(6), FeedMark::Real, vec![]))),
        (tell(Some(7), FrameOrigin::Real, Slot::Frame(tokens(&[1; 4]))), Some((Some(7), FeedMark::Real, vec![]))),
    ] {
        listening.take().filter(|taken| matches!(taken, Taken::Item(told) if told.about == About::Start));
        feeds.take(&told);
        let found = read(&mut listening);
        let expected = expected.map(|(number, mark, codes)| {
            let stream = FeedStream::Heard;
            FeedMessage::Frame(FeedFrame { stream, number, time_ms: 1235, mark, codes })
        });
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
    }
    // What was captured before the clock began counts as its beginning.
    feeds.take(&said(1, 0, true, zero));
    let found = read(&mut listening);
    assert!(matches!(&found[..], [FeedMessage::Frame(frame)] if frame.time_ms == 0 && frame.mark == FeedMark::Unsent));
}

#[test]
fn whoever_does_not_read_misses_the_oldest_and_nobody_else_does() {
    let feeds = Arc::new(Feeds::default());
    let zero = Instant::now();
    feeds.begin(zero, start(1));
    let mut slow = feeds.listen(1, Wanted::BOTH).unwrap();
    let mut quick = feeds.listen(1, Wanted::BOTH).unwrap();
    let (total, mut all) = (3 * ROOM as u64, Vec::new());
    for number in 0..total {
        feeds.take(&heard(1, number, zero));
        all.extend(read(&mut quick));
    }
    feeds.end(1);
    feeds.settle();
    all.extend(read(&mut quick));
    assert_eq!(numbers(&all, FeedStream::Heard), (0..total).collect::<Vec<_>>());
    let late = read(&mut slow);
    // The start is still there, then the gap, then the newest, and the end.
    let FeedMessage::Missed { frames } = late[1] else { panic!("{late:?}") };
    assert_eq!((&late[0], late.last().unwrap()), (&FeedMessage::Start(start(1)), &FeedMessage::End));
    assert_eq!(numbers(&late, FeedStream::Heard), (frames..total).collect::<Vec<_>>());
    assert_eq!(late.len(), ROOM + 1);
    assert_eq!(feeds.figures().missed.load(Relaxed), frames);
}

#[test]
fn whoever_listens_to_all_hears_of_those_that_have_begun_and_of_those_that_will() {
    let feeds = Arc::new(Feeds::default());
    let zero = Instant::now();
    feeds.begin(zero, start(1));
    let dropped = Arc::new(AtomicU64::new(0));
    let mut all = feeds.listen_to_all(100, Arc::clone(&dropped));
    assert_eq!(feeds.figures().clients.load(Relaxed), 0, "it is no client");
    feeds.open(2);
    feeds.open(3);
    feeds.begin(zero, start(2));
    feeds.take(&heard(1, 5, zero));
    feeds.take(&said(2, 6, false, zero));
    (1..=3).for_each(|call| feeds.end(call));
    feeds.settle();
    let told: Vec<(u64, About)> = std::iter::from_fn(|| all.take())
        .map(|taken| match taken {
            Taken::Item(told) => (told.call, told.about),
            Taken::Missed(_) => panic!("nothing is missing"),
        })
        .collect();
    let (heard, said) = (About::Frame(FeedStream::Heard), About::Frame(FeedStream::Said));
    assert_eq!(
        told,
        [(1, About::Start), (2, About::Start), (1, heard), (2, said), (1, About::End), (2, About::End)],
        "call 3 never began"
    );
    assert_eq!(dropped.load(Relaxed), 0);
}

proptest::proptest! {
    #[test]
    fn times_only_rise_whatever_devices_say(steps in proptest::collection::vec((proptest::bool::ANY, -3_000_i64..3_000), 1..200)) {
        let feeds = Arc::new(Feeds::default());
        let zero = Instant::now() + Duration::from_secs(10_000);
        feeds.begin(zero, start(1));
        let mut listening = feeds.listen(1, Wanted::BOTH).unwrap();
        let (mut at, mut found) = (0_i64, Vec::new());
        for (number, (is_said, step)) in steps.iter().enumerate() {
            at = (at + step).clamp(-5_000, 1_000_000);
            let away = Duration::from_millis(at.unsigned_abs());
            let instant = if at < 0 { zero - away } else { zero + away };
            let mut tell = if *is_said { said(1, number as u64, false, zero) } else { heard(1, number as u64, zero) };
            match &mut tell {
                FrameEvent::Sent { at, .. } | FrameEvent::Played { at, .. } => *at = instant,
            }
            feeds.take(&tell);
            found.extend(read(&mut listening));
        }
        for stream in [FeedStream::Said, FeedStream::Heard] {
            let times: Vec<u64> = found
                .iter()
                .filter_map(|message| match message {
                    FeedMessage::Frame(frame) if frame.stream == stream => Some(frame.time_ms),
                    _ => None,
                })
                .collect();
            proptest::prop_assert!(times.is_sorted(), "{times:?}");
        }
    }
}
