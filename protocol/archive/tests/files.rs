//! Files without a model: codes of any kind, packed as they are.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::io::Cursor;

use parlo_archive::{Archive, Coder, Coding, FileState, Mark, TimedFrame, cut, join, repair, survey};
use parlo_protocol::ptk::{Header, Stream, Tokens, Writer};
use parlo_tokens::{CodeLayout, ComfortNoise, TokenFrame, TokensPrefix};
use proptest::prelude::*;

const FRAME_MS: f64 = 20.0;

fn layout() -> CodeLayout {
    CodeLayout::new(&[1024, 300, 16]).unwrap()
}

fn header(streams: &[(u8, &str)]) -> Header {
    let tokens = Tokens {
        id: TokensPrefix::from_bytes([9; 16]),
        bundle_name: "test".into(),
        sample_rate: 16_000,
        frame_samples: 320,
        depth: 3,
        coding: Coding::Plain,
    };
    let streams = streams.iter().map(|&(id, name)| Stream { id, name: name.into() }).collect();
    Header { tokens, created_ms: Some(1_000), streams, metadata: vec![("speaker".into(), "ann".into())] }
}

/// Codes that tell which frame of which stream they are of.
fn codes(stream: u8, number: u64) -> TokenFrame {
    let mixed = number * 3 + u64::from(stream);
    TokenFrame::new(&[(mixed % 1024) as u16, (mixed / 1024 % 300) as u16, (mixed / 307_200 % 16) as u16]).unwrap()
}

/// A file of whole frames in blocks of so many; and its frames.
fn whole(counts: &[usize], samples: u64) -> (Vec<u8>, Vec<TimedFrame>) {
    let (mut bytes, mut coder, mut all) = (Vec::new(), Coder::plain(layout()), Vec::new());
    let mut writer = Writer::begin(&header(&[]), &mut bytes).unwrap();
    for &count in counts {
        let first = all.len();
        all.extend((first..first + count).map(|n| TimedFrame {
            time_ms: n as f64 * FRAME_MS,
            mark: Mark::Real,
            codes: Some(codes(0, n as u64)),
            noise: None,
        }));
        let tokens: Vec<TokenFrame> = all[first..].iter().filter_map(|frame| frame.codes).collect();
        let mut payload = Vec::new();
        coder.encode(&tokens, &mut payload).unwrap();
        writer.whole(count, &payload, &mut bytes).unwrap();
    }
    writer.end(Some(samples), &mut bytes);
    (bytes, all)
}

/// A file of two streams, whose blocks of so many frames come after pauses of so many milliseconds; and the frames of each.
fn timed(blocks: &[(bool, usize, u32)]) -> (Vec<u8>, [Vec<TimedFrame>; 2]) {
    let (mut bytes, mut coder, mut all) = (Vec::new(), Coder::plain(layout()), [Vec::new(), Vec::new()]);
    let mut writer = Writer::begin(&header(&[(0, "said"), (7, "heard")]), &mut bytes).unwrap();
    let mut ends = [0_u32; 2];
    for &(heard, count, pause) in blocks {
        let (at, stream) = (usize::from(heard), if heard { 7 } else { 0 });
        let begin = ends[at] + pause;
        ends[at] = begin + count as u32 * 20;
        let frames: Vec<TimedFrame> = (0..count)
            .map(|n| {
                let number = (all[at].len() + n) as u64;
                let time_ms = f64::from(begin) + n as f64 * FRAME_MS;
                match number % 7 {
                    4 => TimedFrame { time_ms, mark: Mark::Predicted, codes: None, noise: None },
                    5 => {
                        let noise = Some(ComfortNoise::new(60, [90; 8]));
                        TimedFrame { time_ms, mark: Mark::Silent, codes: None, noise }
                    }
                    6 => {
                        let codes = Some(codes(stream, number).truncated(1));
                        TimedFrame { time_ms, mark: Mark::Coarse, codes, noise: None }
                    }
                    _ => TimedFrame { time_ms, mark: Mark::Real, codes: Some(codes(stream, number)), noise: None },
                }
            })
            .collect();
        let mut payloads = Vec::new();
        let runs = coder.runs(&frames, &mut payloads).unwrap();
        writer.block(stream, begin, &runs, &mut bytes).unwrap();
        all[at].extend(frames);
    }
    writer.end(None, &mut bytes);
    (bytes, all)
}

fn open(bytes: &[u8]) -> Archive<Cursor<&[u8]>> {
    Archive::open(Cursor::new(bytes)).unwrap()
}

fn read(archive: &mut Archive<Cursor<&[u8]>>, stream: u8, from_ms: u64, to_ms: u64) -> Vec<TimedFrame> {
    let mut out = Vec::new();
    archive.read(&mut Coder::plain(layout()), stream, from_ms, to_ms, &mut out).unwrap();
    out
}

fn between(frames: &[TimedFrame], from_ms: u64, to_ms: u64) -> Vec<TimedFrame> {
    frames.iter().filter(|frame| (from_ms as f64..to_ms as f64).contains(&frame.time_ms)).copied().collect()
}

fn blocks() -> impl Strategy<Value = Vec<(bool, usize, u32)>> {
    let pause = prop_oneof![3 => Just(0), 1 => 0..2_000_u32, 1 => 0..90_000_u32];
    prop::collection::vec((any::<bool>(), 1..=500_usize, pause), 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_stretch_of_streams_is_read(blocks in blocks(), from in 0..200_000_u64, length in 0..100_000_u64) {
        let (bytes, all) = timed(&blocks);
        // With its index, if it is long enough to have one, and without.
        let cut = &bytes[..bytes.len() - 1];
        for bytes in [&bytes[..], cut] {
            let mut archive = open(bytes);
            prop_assert_eq!(archive.state() == &FileState::Whole, bytes.len() > cut.len());
            for (stream, all) in [0, 7].into_iter().zip(&all) {
                prop_assert_eq!(archive.frames(stream), all.len() as u64);
                prop_assert_eq!(read(&mut archive, stream, from, from + length), between(all, from, from + length));
                prop_assert_eq!(read(&mut archive, stream, 0, u64::MAX), &all[..]);
            }
            let ends = all.iter().filter_map(|all| all.last()).map(|last| (last.time_ms + FRAME_MS) as u64);
            prop_assert_eq!(Some(archive.duration_ms()), ends.max());
        }
    }

    #[test]
    fn any_stretch_of_whole_frames_is_read(
        counts in prop::collection::vec(1..=500_usize, 1..40), from in 0..400_000_u64, length in 0..100_000_u64,
    ) {
        let (bytes, all) = whole(&counts, all_samples(&counts) - 5);
        let mut archive = open(&bytes);
        // A point lies where a block begins.
        let before_last = archive.duration_ms() - 20 * *counts.last().unwrap() as u64;
        prop_assert_eq!(archive.has_index(), before_last >= 60_000);
        prop_assert_eq!(archive.samples(), Some(all_samples(&counts) - 5));
        prop_assert_eq!(read(&mut archive, 0, from, from + length), between(&all, from, from + length));
    }

    #[test]
    fn what_is_cut_apart_is_joined_again(blocks in blocks(), at in 0..300_000_u64, counts in prop::collection::vec(1..=500_usize, 1..20)) {
        let mut coder = Coder::plain(layout());
        let (bytes, all) = timed(&blocks);
        let (mut one, mut two) = (Vec::new(), Vec::new());
        cut(&mut open(&bytes), Some(&mut coder), 0, at, 0, &mut one).unwrap();
        cut(&mut open(&bytes), Some(&mut coder), at, u64::MAX, 0, &mut two).unwrap();
        for (stream, all) in [0, 7].into_iter().zip(&all) {
            prop_assert_eq!(read(&mut open(&one), stream, 0, u64::MAX), between(all, 0, at));
            let mut later = read(&mut open(&two), stream, 0, u64::MAX);
            later.iter_mut().for_each(|frame| frame.time_ms += at as f64);
            prop_assert_eq!(later, between(all, at, u64::MAX));
        }
        prop_assert_eq!(open(&two).header().created_ms, Some(1_000 + at));

        let (bytes, all) = whole(&counts, all_samples(&counts) - 7);
        let (mut one, mut two) = (Vec::new(), Vec::new());
        cut(&mut open(&bytes), Some(&mut coder), 0, at, 0, &mut one).unwrap();
        cut(&mut open(&bytes), Some(&mut coder), at, u64::MAX, 0, &mut two).unwrap();
        let mut joined = Vec::new();
        let made = join(&mut [open(&one), open(&two)], &mut joined).unwrap();
        prop_assert_eq!((made.bytes, made.frames), (joined.len() as u64, all.len() as u64));
        let mut joined = open(&joined);
        prop_assert_eq!(joined.state(), &FileState::Whole);
        prop_assert_eq!((joined.samples(), read(&mut joined, 0, 0, u64::MAX)), (Some(all_samples(&counts) - 7), all));
    }

    #[test]
    fn a_flipped_bit_is_an_error_or_the_rest(blocks in blocks(), at: prop::sample::Index, bit in 0..8_u8, of_whole: bool) {
        let (mut bytes, all) = timed(&blocks);
        let mut all = all.to_vec();
        if of_whole {
            let counts: Vec<usize> = blocks.iter().map(|block| block.1).collect();
            let (whole, frames) = whole(&counts, 5);
            (bytes, all) = (whole, vec![frames]);
        }
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let Ok(mut archive) = Archive::open(Cursor::new(&bytes[..])) else { return Ok(()) };
        let damaged = archive.state() != &FileState::Whole;
        let mut told = damaged;
        for (stream, all) in [0, 7].into_iter().zip(&all) {
            let mut out = Vec::new();
            let done = archive.read(&mut Coder::plain(layout()), stream, 0, u64::MAX, &mut out);
            told |= done.is_err();
            prop_assert_eq!(&out[..], &all[..out.len()]);
            prop_assert!(done.is_err() || damaged || out.len() == all.len());
        }
        prop_assert!(told);
        prop_assert!(!survey(&mut archive, None).unwrap().faults.is_empty());
        // One bit is mended, unless a block's length hides where it ends; what is saved is true.
        let mut saved = Vec::new();
        let repair = repair(&mut archive, Some(&mut Coder::plain(layout())), &mut saved).unwrap();
        prop_assert!(repair.losses.len() <= 1 && repair.was_whole != damaged);
        let mut saved = open(&saved);
        prop_assert_eq!(saved.state(), &FileState::Whole);
        for (stream, all) in [0, 7].into_iter().zip(&all) {
            let frames = read(&mut saved, stream, 0, u64::MAX);
            prop_assert!(!repair.losses.is_empty() || frames == *all);
            for frame in frames {
                // A bit of a block's length hides how many frames are lost.
                let length_known = !of_whole || repair.losses.iter().all(|loss| loss.frames.is_some());
                let right = |known: &TimedFrame| {
                    known.codes == frame.codes && (known.time_ms == frame.time_ms || !length_known)
                };
                prop_assert!(all.iter().any(right), "{frame:?}");
            }
        }
    }

    #[test]
    fn what_lies_before_the_break_of_a_block_is_saved(count in 1_usize..300, cut: prop::sample::Index) {
        let (bytes, all) = whole(&[count], count as u64 * 320);
        let end = bytes.len() - cut.index(bytes.len() - 60);
        let Ok(mut archive) = Archive::open(Cursor::new(&bytes[..end])) else { return Ok(()) };
        let mut saved = Vec::new();
        let start = archive.bytes() as usize;
        repair(&mut archive, Some(&mut Coder::plain(layout())), &mut saved).unwrap();
        let frames = read(&mut open(&saved), 0, 0, u64::MAX);
        prop_assert_eq!(&frames[..], &all[..frames.len()]);
        // 23 bits a frame; what is around them takes up to 10 bytes.
        prop_assert!(frames.len() >= (end.saturating_sub(start + 10) * 8 / 23).min(count), "{} of {count}", frames.len());
    }

    #[test]
    fn a_cut_file_is_mended(blocks in blocks(), at: prop::sample::Index) {
        let (bytes, all) = timed(&blocks);
        let at = at.index(bytes.len());
        let Ok(mut archive) = Archive::open(Cursor::new(&bytes[..at])) else { return Ok(()) };
        let mut saved = Vec::new();
        let repaired = repair(&mut archive, None, &mut saved).unwrap();
        prop_assert!(repaired.losses.len() <= 1);
        for (stream, all) in [0, 7].into_iter().zip(&all) {
            let frames = read(&mut open(&saved), stream, 0, u64::MAX);
            prop_assert_eq!(&frames[..], &all[..archive.frames(stream) as usize]);
        }
    }

    #[test]
    fn any_bytes_are_an_error_or_a_file(bytes: Vec<u8>, with_header: bool) {
        let mut file = Vec::new();
        if with_header {
            Writer::begin(&header(&[]), &mut file).unwrap();
        }
        file.extend(bytes);
        if let Ok(mut archive) = Archive::open(Cursor::new(&file[..])) {
            let _ = archive.read(&mut Coder::plain(layout()), 0, 0, u64::MAX, &mut Vec::new());
            repair(&mut archive, Some(&mut Coder::plain(layout())), &mut Vec::new()).unwrap();
        }
    }
}

fn all_samples(counts: &[usize]) -> u64 {
    counts.iter().sum::<usize>() as u64 * 320
}

#[test]
fn what_was_lost_in_the_middle_leaves_a_hole() {
    let (mut bytes, all) = whole(&[100, 50, 100], 5);
    // Codes of the second block: the third has twice as many.
    let place = bytes.len() - 400;
    // More than its checksum tells.
    (0..5).for_each(|n| bytes[place + n * 4] ^= 0x5A);
    let mut archive = open(&bytes);
    let FileState::Damaged { at, reason } = archive.state().clone() else { panic!("{:?}", archive.state()) };
    assert!(reason.contains("2.0 s in"), "{reason}");
    let mut saved = Vec::new();
    let repair = repair(&mut archive, Some(&mut Coder::plain(layout())), &mut saved).unwrap();
    let loss = repair.losses[0];
    assert_eq!((loss.at, loss.seconds, loss.frames), (at, 2.0, Some(50)));
    let mut expected = all[..100].to_vec();
    expected.extend_from_slice(&all[150..]);
    let mut saved = open(&saved);
    assert_eq!(read(&mut saved, 0, 0, u64::MAX), expected);
    assert_eq!((saved.header().streams[0].name.as_str(), saved.is_whole()), ("audio", false));
}

#[test]
fn a_day_is_sought_through() {
    // Whole frames in blocks of 10 s, and both sides of a call in blocks of 0.96 s.
    let (bytes, all) = whole(&vec![500; 8_640], 24 * 3_600 * 16_000);
    let mut archive = open(&bytes);
    assert!(archive.has_index() && archive.index().len() < 1_500);
    let (mut random, mut seconds) = (1_u64, vec![0, 1, 59, 60, 61, 86_398, 86_399]);
    for _ in 0..60 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        seconds.push(random >> 33);
    }
    for second in seconds.iter().map(|second| second % 86_400) {
        let frames = read(&mut archive, 0, second * 1_000, second * 1_000 + 1_000);
        assert_eq!(frames, all[second as usize * 50..][..50], "{second} s");
    }
    drop((bytes, all));
    let blocks: Vec<(bool, usize, u32)> = (0..180_000).map(|n| (n % 2 == 1, 48, 0)).collect();
    let (bytes, all) = timed(&blocks);
    for bytes in [&bytes[..], &bytes[..bytes.len() - 31]] {
        let mut archive = open(bytes);
        assert_eq!((archive.has_index(), archive.duration_ms()), (archive.state() == &FileState::Whole, 86_400_000));
        for second in seconds.iter().map(|second| second % 86_400) {
            for (stream, all) in [0, 7].into_iter().zip(&all) {
                let frames = read(&mut archive, stream, second * 1_000, second * 1_000 + 1_000);
                assert_eq!(frames, all[second as usize * 50..][..50], "{second} s");
            }
        }
    }
}

#[test]
fn a_survey_counts() {
    let (bytes, all) = timed(&[(false, 70, 0), (true, 7, 0)]);
    let found = survey(&mut open(&bytes), Some(&mut Coder::plain(layout()))).unwrap();
    assert!(found.faults.is_empty() && found.blocks == 2 && found.bytes == bytes.len() as u64);
    let said = &found.streams[0];
    assert_eq!((said.frames, said.coded, said.codes), (70, 50, 40 * 3 + 10));
    let marks = [(Mark::Real, 40), (Mark::Predicted, 10), (Mark::Silent, 10), (Mark::Coarse, 10)];
    assert_eq!(said.marks, marks);
    let first: Vec<u16> = all[0].iter().filter_map(|frame| Some(frame.codes?.codes()[0])).collect();
    assert_eq!((said.books[0].codes, said.books[0].distinct, said.books[0].size), (50, first.len() as u32, 1024));
    assert!((said.books[0].entropy_bits - 50_f64.log2()).abs() < 1e-9 && said.books[2].entropy_bits == 0.0);
    assert_eq!((parlo_archive::overhead_pct(1_164, 1_000), parlo_archive::overhead_pct(10, 0)), (10.0, 0.0));
}

#[test]
fn what_does_not_go_together_is_refused() {
    let (bytes, _) = whole(&[100, 100], 5);
    let mut other = header(&[]);
    other.tokens.id = TokensPrefix::from_bytes([1; 16]);
    let mut others = Vec::new();
    Writer::begin(&other, &mut others).unwrap().end(Some(0), &mut others);
    let error = join(&mut [open(&bytes), open(&others)], Vec::new()).unwrap_err();
    assert!(error.to_string().contains("model"), "{error}");
    assert!(join::<Cursor<Vec<u8>>, _>(&mut [], Vec::new()).is_err());
    let error = cut(&mut open(&bytes), None, 500, 700, 0, Vec::new()).unwrap_err();
    assert!(error.to_string().contains("model"), "{error}");
    // At the edges of blocks no model is needed.
    let made = cut(&mut open(&bytes), None, 2_000, 4_000, 0, Vec::new()).unwrap();
    assert_eq!((made.frames, made.duration_ms), (100, 2_000));
    let error = open(&bytes).read(&mut Coder::plain(layout()), 3, 0, 1, &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "it has no stream 3; it has 0 \"audio\"");
}
