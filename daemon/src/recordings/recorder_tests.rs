use std::time::SystemTime;

use parlo_protocol::ptk::{Item, Reader};

use super::*;
use crate::{
    call::{EncodedFrame, FrameOrigin},
    recordings::Recordings,
};

const FRAME: Duration = Duration::from_millis(20);

fn shipped() -> Bundle {
    Bundle::open(&parlo_model::locate_bundle(None).unwrap()).unwrap()
}

fn said(number: u64, start: Instant) -> FrameEvent {
    let unit = CodedFrame::Tokens(TokenFrame::new(&[number as u16 % 200, 7, 9]).unwrap());
    let at = start + FRAME * (number as u32 + 1);
    FrameEvent::Sent {
        call: 3,
        frame: EncodedFrame { number, unit: Some(unit), silence: None, ends_packet: false },
        at,
    }
}

/// Time, mark and count of all runs.
fn runs(bytes: &[u8]) -> Vec<(u32, Mark, usize)> {
    let (mut reader, mut found) = (Reader::new(), Vec::new());
    reader.push(bytes);
    while let Some(item) = reader.next_item().unwrap() {
        if let Item::Block(block) = item {
            found.extend(block.runs().map(|run| (block.time_ms, run.mark, run.count)));
        }
    }
    found
}

#[test]
fn what_the_thread_has_no_room_for_is_marked() {
    let folder = tempfile::tempdir().unwrap();
    let recordings = Recordings::new(folder.path());
    let start = Instant::now();
    let recorder = recordings.begin_at("busy", &shipped(), SystemTime::now(), start).unwrap();
    // A thread needs far longer for a frame than this: the channel overflows soon.
    let mut number = 0;
    while recorder.missed[SAID].load(Ordering::Relaxed) < 20 {
        recorder.take(&said(number, start));
        number += 1;
    }
    let missed = recorder.missed[SAID].load(Ordering::Relaxed) as usize;
    while !recorder.notes.as_ref().unwrap().is_empty() {
        thread::sleep(Duration::from_millis(1));
    }
    recorder.take(&said(number, start));
    let path = recordings.tokens(recorder.name()).unwrap();
    drop(recorder);
    let duration = recordings.list()[0].duration_s;
    assert!((duration - 0.02 * (number + 1) as f64).abs() < 1e-9, "frames left out have their time");
    let runs = runs(&std::fs::read(path).unwrap());
    let frames: usize = runs.iter().map(|run| run.2).sum();
    let gaps: usize = runs.iter().filter(|run| run.1 == Mark::Gap).map(|run| run.2).sum();
    assert_eq!(frames as u64, number + 1);
    assert!(gaps >= missed && runs.last().unwrap().1 == Mark::Real);
}

#[test]
fn a_hold_is_in_the_clock_and_not_in_frames() {
    let folder = tempfile::tempdir().unwrap();
    let recordings = Recordings::new(folder.path());
    let start = Instant::now();
    let recorder = recordings.begin_at("hold", &shipped(), SystemTime::UNIX_EPOCH, start).unwrap();
    assert_eq!(recorder.name(), "1970-01-01-000000-hold");
    (0..10).for_each(|n| recorder.take(&said(n, start)));
    (10..70).for_each(|n| recorder.take(&said(n, start + Duration::from_secs(3600))));
    let path = recordings.tokens(recorder.name()).unwrap();
    drop(recorder);
    let found = &recordings.list()[0];
    assert_eq!((found.began_s, found.duration_s), (0.0, 3601.4));
    let real = |at, count| (at, Mark::Real, count);
    assert_eq!(runs(&std::fs::read(path).unwrap()), [real(0, 10), real(3_600_200, 48), real(3_601_160, 12)]);
}

#[test]
fn codes_that_are_none_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let recordings = Recordings::new(folder.path());
    let start = Instant::now();
    let recorder = recordings.begin_at("codes", &shipped(), SystemTime::now(), start).unwrap();
    let slot = Slot::Frame(CodedFrame::Tokens(TokenFrame::new(&[u16::MAX; 2]).unwrap()));
    recorder.take(&FrameEvent::Played {
        call: 3,
        number: Some(1),
        origin: FrameOrigin::Real,
        slot,
        at: start,
        level: 0.0,
    });
    let path = recordings.tokens(recorder.name()).unwrap();
    drop(recorder);
    assert!(!recordings.list()[0].broken_off);
    assert_eq!(runs(&std::fs::read(path).unwrap()), [(0, Mark::Real, 1)]);
}

/// A side, and how its device's clock goes on from frame to frame, in milliseconds.
fn steps() -> impl proptest::strategy::Strategy<Value = Vec<(bool, i64)>> {
    use proptest::prelude::*;
    // Mostly a frame, with jitter; now and then a stall, a step back, or a hold.
    let step = prop_oneof![20 => 15_i64..25, 2 => -700_i64..700, 1 => -20_000_i64..60_000];
    prop::collection::vec((any::<bool>(), step), 1..400)
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

    #[test]
    fn times_only_rise_whatever_devices_say(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let recordings = Recordings::new(folder.path());
        let bundle = shipped();
        let start = Instant::now() + Duration::from_secs(100_000);
        let recorder = recordings.begin_at("clock", &bundle, SystemTime::UNIX_EPOCH, start).unwrap();
        let (mut at, mut told) = ([0_i64; 2], [0_u64; 2]);
        for (heard, step) in steps {
            let side = usize::from(heard);
            at[side] = (at[side] + step).max(-5_000);
            let instant = if at[side] < 0 {
                start - Duration::from_millis(at[side].unsigned_abs())
            } else {
                start + Duration::from_millis(at[side].unsigned_abs())
            };
            let unit = CodedFrame::Tokens(TokenFrame::new(&[told[side] as u16 % 200, 7, 9]).unwrap());
            recorder.take(&if heard {
                let slot = Slot::Frame(unit);
                FrameEvent::Played { call: 3, number: Some(told[side]), origin: FrameOrigin::Real, slot, at: instant, level: 0.0 }
            } else {
                let frame = EncodedFrame { number: told[side], unit: Some(unit), silence: None, ends_packet: false };
                FrameEvent::Sent { call: 3, frame, at: instant + FRAME }
            });
            told[side] += 1;
            // So that none is left out.
            while recorder.notes.as_ref().unwrap().len() > 100 {
                thread::yield_now();
            }
        }
        let path = recordings.tokens(recorder.name()).unwrap();
        drop(recorder);
        recordings.list();
        recordings.making.settle(Instant::now() + Duration::from_secs(10));
        let mut archive = parlo_archive::Archive::open(File::open(path).unwrap()).unwrap();
        let mut coder = parlo_archive::coder(&bundle, archive.header().tokens.coding).unwrap();
        let survey = parlo_archive::survey(&mut archive, Some(&mut coder)).unwrap();
        proptest::prop_assert!(survey.faults.is_empty(), "{:?}", survey.faults);
        for (side, &count) in told.iter().enumerate() {
            let mut frames = Vec::new();
            archive.read(&mut coder, side as u8, 0, u64::MAX, &mut frames).unwrap();
            let codes: Vec<u16> = frames.iter().map(|frame| frame.codes.unwrap().codes()[0]).collect();
            proptest::prop_assert_eq!(codes, (0..count).map(|n| n as u16 % 200).collect::<Vec<_>>());
            // Blocks' times rise (the survey says so); a frame may begin before the one before it has ended, where a block is brought back
            // to the clock: by a tenth of a second at most, to the millisecond that blocks have.
            proptest::prop_assert!(frames.windows(2).all(|pair| pair[1].time_ms > pair[0].time_ms + 20.0 - 101.1));
        }
    }
}

/// What the thread writes into: a pipe, whose end closes while it runs.
#[cfg(target_os = "linux")]
#[test]
fn writing_that_fails_is_told_once() {
    use std::io::Read;

    let (mut read, write) = io::pipe().unwrap();
    let making = Arc::new(Making::default());
    let begun = |file| Begun {
        name: "x".to_owned(),
        path: "x.ptk".into(),
        file,
        peer: "y".to_owned(),
        created_ms: 0,
        start: Instant::now(),
    };
    let file = File::from(std::os::fd::OwnedFd::from(write));
    let recorder = Recorder::start(begun(file), &shipped(), &making).unwrap();
    let mut header = [0; 64];
    read.read_exact(&mut header).unwrap();
    assert_eq!(&header[1..4], b"PTK");
    drop(read);
    let start = Instant::now();
    (0..60).for_each(|n| recorder.take(&said(n, start)));
    let failure = loop {
        match recorder.failure() {
            Some(failure) => break failure,
            None => thread::sleep(Duration::from_millis(1)),
        }
    };
    assert!(failure.to_string().starts_with("cannot write x.ptk: "), "{failure}");
    recorder.take(&said(60, start));
    assert!(recorder.failure().is_none());
    // A full disk is told at the start already.
    let full = File::options().write(true).open("/dev/full").unwrap();
    let error = Recorder::start(begun(full), &shipped(), &making).unwrap_err();
    assert!(matches!(error, RecordingError::Unwritable { .. }));
}
