use parlo_tokens::ComfortNoise;
use proptest::prelude::*;

use super::{assert_shown, begun, tokens};
use crate::ptk::{
    frame::{KIND_END, KIND_FRAMES, KIND_INDEX, KIND_WHOLE, append_block},
    *,
};

fn header() -> Header {
    Header {
        tokens: Tokens { depth: 4, ..tokens() },
        created_ms: Some(1_800_000_000_000),
        streams: vec![Stream { id: 0, name: "said".into() }, Stream { id: 200, name: "heard".into() }],
        metadata: vec![("peer".into(), "Bücher".into())],
    }
}

/// A run that can be kept.
#[derive(Debug, Clone, PartialEq)]
struct Kept {
    mark: Mark,
    count: usize,
    codes: Option<(u8, Vec<u8>)>,
    noise: Option<ComfortNoise>,
}

impl Kept {
    fn run(&self) -> Run<'_> {
        let codes = self.codes.as_ref().map(|(depth, payload)| Codes { depth: *depth, payload });
        Run { mark: self.mark, count: self.count, codes, noise: self.noise }
    }

    fn of(run: Run<'_>) -> Self {
        let codes = run.codes.map(|codes| (codes.depth, codes.payload.to_vec()));
        Self { mark: run.mark, count: run.count, codes, noise: run.noise }
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Part {
    stream: u8,
    time_ms: u32,
    runs: Vec<Kept>,
}

fn part() -> impl Strategy<Value = Part> {
    let mark = prop_oneof![
        Just(Mark::Real),
        Just(Mark::Unsent),
        Just(Mark::Coarse),
        Just(Mark::Predicted),
        Just(Mark::Faded),
        Just(Mark::Silent),
        Just(Mark::Held),
        Just(Mark::Waiting),
        Just(Mark::Gap),
        (9..64_u8).prop_map(Mark::Other),
    ];
    let codes = prop::option::of((1..=4_u8, prop::collection::vec(any::<u8>(), 0..300)));
    let noise =
        prop::option::of((0..128_u8, 0..255_u8).prop_map(|(level, value)| ComfortNoise::new(level, [value; 8])));
    let run =
        (mark, 1..=160_usize, codes, noise).prop_map(|(mark, count, codes, noise)| Kept { mark, count, codes, noise });
    let stream = prop_oneof![Just(0_u8), Just(200_u8)];
    (stream, any::<u32>(), prop::collection::vec(run, 1..4)).prop_map(|(stream, time_ms, runs)| Part {
        stream,
        time_ms,
        runs,
    })
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    prop::collection::vec(part(), 0..6)
}

/// A whole file, and where each of its parts ends.
fn file(parts: &[Part]) -> (Vec<u8>, Vec<usize>, u32) {
    let (mut writer, mut out) = begun(&header());
    let mut ends = Vec::new();
    for part in parts {
        let runs: Vec<Run<'_>> = part.runs.iter().map(Kept::run).collect();
        writer.block(part.stream, part.time_ms, &runs, &mut out).unwrap();
        ends.push(out.len());
    }
    let duration = writer.duration_ms();
    writer.end(None, &mut out);
    (out, ends, duration)
}

/// Everything that a reader gives when the bytes come in pieces of this size.
fn read(bytes: &[u8], piece: usize) -> (Option<Header>, Vec<Part>, Result<u32, FileError>) {
    let (mut reader, mut found, mut parts, mut duration) = (Reader::new(), None, Vec::new(), None);
    for piece in bytes.chunks(piece.max(1)) {
        reader.push(piece);
        loop {
            match reader.next_item() {
                Ok(None) => break,
                Ok(Some(Item::Header(header))) => found = Some(header),
                Ok(Some(Item::Block(block))) => {
                    let runs: Vec<Kept> = block.runs().map(Kept::of).collect();
                    assert_eq!(block.count, runs.iter().map(|run| run.count).sum::<usize>());
                    parts.push(Part { stream: block.stream, time_ms: block.time_ms, runs });
                }
                Ok(Some(Item::End { duration_ms, .. })) => duration = Some(duration_ms),
                Err(error) => return (found, parts, Err(error)),
            }
        }
    }
    let end = reader.finish().map(|()| duration.expect("a whole file has an end"));
    (found, parts, end)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_written_is_read_however_it_is_cut(parts in parts(), piece in 1_usize..300) {
        let (bytes, _, duration) = file(&parts);
        let (found, given, end) = read(&bytes, piece);
        prop_assert_eq!(found, Some(header()));
        prop_assert_eq!(given, parts);
        prop_assert_eq!(end, Ok(duration));
        prop_assert_eq!(End::of(&bytes).unwrap().0.totals.duration_ms, duration);
    }

    #[test]
    fn a_cut_file_gives_exactly_its_whole_blocks(parts in parts(), cut: prop::sample::Index, piece in 1_usize..300) {
        let (bytes, ends, _) = file(&parts);
        let cut = cut.index(bytes.len());
        let (_, given, end) = read(&bytes[..cut], piece);
        let whole = ends.iter().filter(|&&end| end <= cut).count();
        prop_assert_eq!(&given[..], &parts[..whole]);
        match end {
            Err(FileError::Empty) => prop_assert_eq!(cut, 0),
            Err(FileError::Truncated { offset, .. }) => prop_assert_eq!(offset, cut as u64),
            other => prop_assert!(false, "{:?}", other),
        }
        prop_assert_eq!(End::of(&bytes[..cut]), None);
    }

    #[test]
    fn one_flipped_bit_is_noticed(parts in parts(), at: prop::sample::Index, bit in 0..8_u8) {
        let (mut bytes, ends, _) = file(&parts);
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        let (_, given, end) = read(&bytes, 64);
        prop_assert!(end.is_err());
        let whole = ends.iter().filter(|&&end| end <= at).count();
        prop_assert_eq!(&given[..], &parts[..whole.min(given.len())]);
        prop_assert!(given.len() <= whole);
    }

    #[test]
    fn any_bytes_are_an_error_in_bounded_memory(mut bytes: Vec<u8>, whole_header: bool, piece in 1_usize..100) {
        if whole_header {
            bytes = [begun(&header()).1, bytes].concat();
        }
        prop_assert!(read(&bytes, piece).2.is_err());
    }

    #[test]
    fn any_payload_with_a_right_checksum_is_an_error_or_a_block(payload in prop::collection::vec(any::<u8>(), 0..60)) {
        let mut bytes = begun(&header()).1;
        append_block(KIND_FRAMES, &payload, &mut bytes);
        // `read` compares the count with the runs.
        let (_, parts, end) = read(&bytes, 100);
        prop_assert!(parts.len() <= 1 && end.is_err());
    }

    #[test]
    fn any_header_fields_with_a_right_checksum_are_an_error_or_good(more in prop::collection::vec(any::<u8>(), 0..60)) {
        let bytes = super::with_fields(|fields| fields.extend_from_slice(&more));
        match read(&bytes, 100) {
            (Some(header), _, _) => prop_assert_eq!(header.tokens, tokens()),
            (None, _, end) => prop_assert!(matches!(end, Err(FileError::Header(_)))),
        }
    }

    #[test]
    fn a_claim_is_what_a_block_is(part in part()) {
        let (bytes, ends, _) = file(std::slice::from_ref(&part));
        let block = &bytes[begun(&header()).1.len()..ends[0]];
        let claim = Claim::of(block).unwrap();
        let count: usize = part.runs.iter().map(|run| run.count).sum();
        prop_assert_eq!((claim.bytes(), claim.frames(block)), (block.len(), Some(count as u64)));
    }
}

#[test]
fn whole_frames_and_streams_do_not_share_a_file() {
    let (mut streams, mut out) = begun(&header());
    assert!(streams.whole(2, &[1], &mut out).is_err());
    append_block(KIND_WHOLE, &[2, 1], &mut out);
    assert!(matches!(read(&out, 100).2, Err(FileError::Block { .. })));
    let (mut whole, mut out) = begun(&Header { streams: Vec::new(), ..header() });
    let run = Run { mark: Mark::Real, count: 1, codes: None, noise: None };
    assert!(whole.block(0, 0, &[run], &mut out).is_err());
    assert_eq!(whole.totals(), Totals::default());
}

#[test]
fn a_long_file_ends_with_an_index() {
    let mut out = vec![1, 2, 3];
    let mut writer = Writer::begin(&header(), &mut out).unwrap();
    let run = |count| Run { mark: Mark::Real, count, codes: None, noise: None };
    for n in 0..40 {
        writer.block(0, n * 10_000, &[run(500)], &mut out).unwrap();
        writer.block(200, n * 10_000 + 5, &[run(100)], &mut out).unwrap();
    }
    let file = {
        writer.end(None, &mut out);
        out.split_off(3)
    };
    let (end, size) = End::of(&file).unwrap();
    let place = file.len() - size - end.index as usize;
    let index = Index::parse(&file[place..file.len() - size], place as u64, &header()).unwrap();
    assert_eq!((index.total(0), index.total(200), index.len()), (Some(20_000), Some(4_000), 6));
    for point in (0..index.len()).map(|n| index.point(n).unwrap()) {
        let mut reader = Reader::resume(&header(), point.place, 0);
        reader.push(&file[point.place as usize..]);
        let Ok(Some(Item::Block(block))) = reader.next_item() else { panic!("a block") };
        // One of the other stream's may begin earlier; none before it ends later.
        assert!((point.time_ms - 10_000..point.time_ms + 10_000).contains(&block.time_ms));
        assert_eq!(point.frames[0], 500 * u64::from(block.time_ms / 10_000 + u32::from(block.stream == 200)));
    }
    let mut reader = Reader::new();
    reader.push(&file);
    while reader.next_item().unwrap().is_some() {}
    assert_eq!(reader.finish(), Ok(()));
}

#[test]
fn fields_kinds_and_streams_of_later_versions_are_passed_over() {
    let one = Part { stream: 0, time_ms: 7, runs: vec![Kept { mark: Mark::Real, count: 3, codes: None, noise: None }] };
    let later = Header { metadata: vec![("key".into(), "value".into())], ..header() };
    let mut bytes = begun(&later).1;
    // A tag that there is not, in place of the metadata's, which is the last.
    let at = bytes.len() - 4 - (2 + 1 + "keyvalue".len());
    bytes[at] = 99;
    bytes.truncate(bytes.len() - 4);
    frame::append_checksum(0, &mut bytes);
    append_block(77, b"what is this", &mut bytes);
    // An index that is none.
    append_block(KIND_INDEX, &[0; 24], &mut bytes);
    append_block(KIND_FRAMES, &[0, 7, 0, 3], &mut bytes);
    // A stream that is announced elsewhere. Its frames count.
    append_block(KIND_FRAMES, &[9, 0, 0, 2], &mut bytes);
    append_block(KIND_END, b"\x05\x43\0\0more", &mut bytes);
    let found = Header { metadata: Vec::new(), ..later };
    assert_eq!(read(&bytes, 5), (Some(found), vec![one], Ok(67)));
}

#[test]
fn what_no_writer_makes_is_noticed() {
    // Too deep; no frames in a run; a level of noise that is none; a cut run; no frames; more than a block has; no time.
    for payload in [
        &[0, 0, 0x80, 1, 5, 0][..],
        &[0, 0, 0x80, 1, 0, 0],
        &[0, 0, 0, 0],
        &[0, 0, 0x45, 1, 200, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0, 0, 0x80, 1, 4, 3, 0],
        &[0, 0, 0x80],
        &[0, 0],
        &[0, 0, 0, 0x83, 0x75],
        &[0],
        &[],
    ] {
        let mut bytes = begun(&header()).1;
        append_block(KIND_FRAMES, payload, &mut bytes);
        assert!(matches!(read(&bytes, 50).2, Err(FileError::Block { .. })), "{payload:?}");
    }
}

#[test]
fn what_does_not_fit_is_not_written() {
    let mut out = Vec::new();
    let long = Header { metadata: vec![("notes".into(), "x".repeat(MAX_HEADER_BYTES))], ..header() };
    assert!(Writer::begin(&long, &mut out).is_err());
    assert!(out.is_empty());
    let mut writer = Writer::begin(&header(), &mut out).unwrap();
    let length = out.len();
    let run = |count, codes| Run { mark: Mark::Real, count, codes, noise: None };
    let payload = vec![0; 66_000];
    for runs in [
        vec![],
        vec![run(0, None)],
        vec![run(300, None), run(201, None)],
        vec![run(1, Some(Codes { depth: 2, payload: &payload }))],
        vec![run(1, Some(Codes { depth: 0, payload: &[] }))],
        vec![run(1, Some(Codes { depth: 2, payload: &payload[..22_000] })); 3],
    ] {
        assert!(writer.block(0, 0, &runs, &mut out).is_err());
        assert_eq!((out.len(), writer.duration_ms()), (length, 0));
    }
}

#[test]
fn a_clock_at_its_end_stays_there() {
    let run = Kept { mark: Mark::Gap, count: 500, codes: None, noise: None };
    let (bytes, _, duration) = file(&[Part { stream: 0, time_ms: u32::MAX, runs: vec![run] }]);
    assert_eq!((duration, read(&bytes, 10).2), (u32::MAX, Ok(u32::MAX)));
}

#[test]
fn the_document_shows_the_truth() {
    let mut header = header();
    header.tokens.depth = 2;
    header.streams[1].id = 1;
    header.metadata = vec![("peer".into(), "ann".into())];
    let (mut writer, mut made) = begun(&header);
    let codes = Codes { depth: 2, payload: &[0x12, 0x34, 0x56, 0x78, 0x9A] };
    let said = Run { mark: Mark::Real, count: 2, codes: Some(codes), noise: None };
    writer.block(0, 40, &[said], &mut made).unwrap();
    let coarse = Codes { depth: 1, payload: &[0x12, 0x00] };
    let heard = [
        Run { mark: Mark::Waiting, count: 3, codes: None, noise: None },
        Run { mark: Mark::Coarse, count: 1, codes: Some(coarse), noise: None },
        Run { mark: Mark::Silent, count: 200, codes: None, noise: Some(ComfortNoise::new(60, [127; 8])) },
    ];
    writer.block(1, 95, &heard, &mut made).unwrap();
    writer.end(None, &mut made);
    assert_shown("streams", &made);
}
