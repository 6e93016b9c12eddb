mod streams;

use parlo_tokens::TokensPrefix;
use proptest::prelude::*;

use super::{
    frame::{KIND_END, KIND_WHOLE, append_block, append_checksum},
    *,
};

fn tokens() -> Tokens {
    Tokens {
        id: TokensPrefix::from_bytes(std::array::from_fn(|n| n as u8)),
        bundle_name: "test".into(),
        sample_rate: 24_000,
        frame_samples: 480,
        depth: 2,
        coding: Coding::Plain,
    }
}

/// Of a file of whole frames.
fn header() -> Header {
    Header { tokens: tokens(), created_ms: None, streams: Vec::new(), metadata: Vec::new() }
}

fn begun(header: &Header) -> (Writer, Vec<u8>) {
    let mut out = Vec::new();
    (Writer::begin(header, &mut out).unwrap(), out)
}

/// A file of these blocks (count and codes), whole; and where each of them ends.
fn file(blocks: &[(usize, Vec<u8>)], samples: u64) -> (Vec<u8>, Vec<usize>) {
    let (mut writer, mut out) = begun(&header());
    let mut ends = Vec::new();
    for (count, codes) in blocks {
        writer.whole(*count, codes, &mut out).unwrap();
        ends.push(out.len());
    }
    writer.end(Some(samples), &mut out);
    (out, ends)
}

/// A header with other fields, whose checksum is right.
fn with_fields(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let bytes = begun(&header()).1;
    // Magic, version, and a length of one byte.
    let mut fields = bytes[6..bytes.len() - 4].to_vec();
    change(&mut fields);
    let mut out = bytes[..5].to_vec();
    number::append_number(fields.len() as u64, &mut out);
    out.extend_from_slice(&fields);
    append_checksum(0, &mut out);
    out
}

type Blocks = Vec<(u64, usize, Vec<u8>)>;

/// Everything that a reader gives when the bytes come in pieces of this size.
fn read(bytes: &[u8], piece: usize) -> (Option<Tokens>, Blocks, Result<u64, FileError>) {
    let (mut reader, mut found, mut blocks, mut samples) = (Reader::new(), None, Vec::new(), None);
    let mut first = 0;
    for piece in bytes.chunks(piece.max(1)) {
        reader.push(piece);
        loop {
            match reader.next_item() {
                Ok(None) => break,
                Ok(Some(Item::Header(header))) => found = Some(header.tokens),
                Ok(Some(Item::Block(block))) => {
                    // 20 ms each.
                    assert_eq!((block.stream, block.start_ms), (0, first as f64 * 20.0));
                    assert_eq!(block.runs().map(|run| run.count).collect::<Vec<_>>(), [block.count]);
                    blocks.push((first, block.count, block.whole().unwrap().to_vec()));
                    first += block.count as u64;
                }
                Ok(Some(Item::End { samples: s, .. })) => samples = s,
                Err(error) => return (found, blocks, Err(error)),
            }
        }
    }
    let end = reader.finish().map(|()| samples.expect("a whole file has an end"));
    (found, blocks, end)
}

fn blocks() -> impl Strategy<Value = Vec<(usize, Vec<u8>)>> {
    prop::collection::vec((1..=MAX_BLOCK_FRAMES, prop::collection::vec(any::<u8>(), 0..200)), 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_written_is_read_however_it_is_cut(blocks in blocks(), piece in 1_usize..300, short in 0_u64..480) {
        let frames: usize = blocks.iter().map(|block| block.0).sum();
        let samples = (frames as u64 * 480).saturating_sub(short);
        let (bytes, _) = file(&blocks, samples);
        let (found, given, end) = read(&bytes, piece);
        prop_assert_eq!(found, Some(tokens()));
        prop_assert_eq!(end, Ok(samples));
        let mut first = 0;
        prop_assert_eq!(given.len(), blocks.len());
        for ((number, count, payload), block) in given.into_iter().zip(&blocks) {
            prop_assert_eq!((number, count, &payload), (first, block.0, &block.1));
            first += count as u64;
        }
        let (end, size) = End::of(&bytes).unwrap();
        prop_assert_eq!((end.totals.frames, end.padding), (first, Some(first * 480 - samples)));
        let tail = &bytes[bytes.len().saturating_sub(End::BYTES)..];
        prop_assert_eq!(End::of(tail), Some((end, size)));
    }

    #[test]
    fn a_cut_file_gives_exactly_its_whole_blocks_and_says_where_it_breaks_off(
        blocks in blocks(), cut: prop::sample::Index, piece in 1_usize..300,
    ) {
        let (bytes, ends) = file(&blocks, 0);
        let cut = cut.index(bytes.len());
        let (_, given, end) = read(&bytes[..cut], piece);
        prop_assert_eq!(given.len(), ends.iter().filter(|&&end| end <= cut).count());
        for ((_, count, payload), block) in given.iter().zip(&blocks) {
            prop_assert_eq!((count, payload), (&block.0, &block.1));
        }
        let seconds = given.iter().map(|block| block.1).sum::<usize>() as f64 * 0.02;
        match end {
            Err(FileError::Empty) => prop_assert_eq!(cut, 0),
            Err(FileError::Truncated { offset, seconds: s }) => {
                prop_assert_eq!(offset, cut as u64);
                prop_assert!((s - seconds).abs() < 1e-9);
            }
            other => prop_assert!(false, "{:?}", other),
        }
        prop_assert_eq!(End::of(&bytes[..cut]), None);
    }

    #[test]
    fn one_flipped_bit_is_noticed(blocks in blocks(), at: prop::sample::Index, bit in 0..8_u8) {
        let (mut bytes, ends) = file(&blocks, 0);
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        let (_, given, end) = read(&bytes, 64);
        prop_assert!(end.is_err());
        prop_assert!(given.len() <= ends.iter().filter(|&&end| end <= at).count());
        for ((_, count, payload), block) in given.iter().zip(&blocks) {
            prop_assert_eq!((count, payload), (&block.0, &block.1));
        }
    }

    #[test]
    fn any_bytes_are_an_error_in_bounded_memory(mut bytes: Vec<u8>, whole_header: bool, piece in 1_usize..100) {
        if whole_header {
            bytes = [begun(&header()).1, bytes].concat();
        }
        prop_assert!(read(&bytes, piece).2.is_err());
    }

    #[test]
    fn a_claim_is_what_a_block_is(count in 1_usize..=500, codes in prop::collection::vec(any::<u8>(), 0..300)) {
        let (bytes, ends) = file(&[(count, codes)], 0);
        let block = &bytes[begun(&header()).1.len()..ends[0]];
        let claim = Claim::of(&block[..Claim::BYTES]).unwrap();
        prop_assert_eq!((claim.bytes(), claim.is_known()), (block.len(), true));
        prop_assert_eq!(claim.frames(block), Some(count as u64));
    }
}

#[test]
fn what_is_no_token_file_is_told_apart() {
    assert_eq!(read(b"", 1).2, Err(FileError::Empty));
    assert_eq!(read(b"RIFF....WAVE", 1).2, Err(FileError::NotTokens));
    assert_eq!(read(b"\x89PT", 1).2, Err(FileError::Truncated { offset: 3, seconds: 0.0 }));
    assert_eq!(read(b"\x89PTK\r\n\x1a\n\x02", 10).2, Err(FileError::Early));
    assert_eq!(read(b"\x89PTK\r\n\x1b\n\x02", 10).2, Err(FileError::Version(13)));
    let (mut newer, _) = file(&[], 0);
    newer[4] = 9;
    assert_eq!(read(&newer, 7).2, Err(FileError::Version(9)));
    let (mut longer, _) = file(&[(1, vec![1])], 480);
    longer.push(0);
    assert!(matches!(read(&longer, 1000).2, Err(FileError::Block { .. })));
}

#[test]
fn an_end_mark_that_does_not_fit_its_file_is_noticed() {
    let end = End { totals: Totals { frames: 2, duration_ms: 40 }, index: 0, padding: Some(0) };
    for (frames, duration_ms, padding, fits) in
        [(2, 40, 960, true), (3, 40, 0, false), (2, 41, 0, false), (2, 40, 961, false)]
    {
        let (bytes, ends) = file(&[(2, vec![1])], 0);
        let mut bytes = bytes[..ends[0]].to_vec();
        End { totals: Totals { frames, duration_ms }, padding: Some(padding), ..end }.append(&mut bytes);
        assert_eq!(read(&bytes, 50).2.is_ok(), fits, "{frames} frames, {duration_ms} ms, {padding} samples");
    }
    // Nothing at all, and numbers that break off.
    for payload in [&[][..], &[2], &[2, 40], &[2, 40, 0x81], &[2, 40, 0, 0x81]] {
        let (bytes, ends) = file(&[(2, vec![1])], 0);
        let mut bytes = bytes[..ends[0]].to_vec();
        append_block(KIND_END, payload, &mut bytes);
        assert!(matches!(read(&bytes, 50).2, Err(FileError::Block { .. })), "{payload:?}");
        assert_eq!(End::of(&bytes), None);
    }
}

#[test]
fn an_impossible_length_is_noticed_at_once() {
    let start = begun(&header()).1;
    for (kind, length, possible) in [
        (KIND_WHOLE, 1 << 16, true),
        (KIND_WHOLE, (1 << 16) + 1, false),
        (77, 1 << 20, true),
        (77, (1 << 20) + 1, false),
    ] {
        let mut bytes = start.clone();
        bytes.push(kind);
        number::append_number(length, &mut bytes);
        let error = read(&bytes, 50).2;
        let truncated = matches!(error, Err(FileError::Truncated { .. }));
        assert_eq!(truncated, possible, "{kind}, {length}: {error:?}");
    }
    assert!(matches!(read(&[&start[..], &[KIND_WHOLE, 0x80]].concat(), 50).2, Err(FileError::Block { .. })));
}

#[test]
fn what_later_versions_add_is_passed_over() {
    // A longer header, a block of an unknown kind, and more in the end mark.
    let mut bytes = with_fields(|fields| fields.extend_from_slice(b"\x63\x04news"));
    append_block(77, b"what is this", &mut bytes);
    append_block(KIND_WHOLE, &[2, 1], &mut bytes);
    append_block(KIND_END, b"\x02\x28\0\x07more", &mut bytes);
    assert_eq!(read(&bytes, 5), (Some(tokens()), vec![(0, 2, vec![1])], Ok(953)));
}

#[test]
fn blocks_that_are_too_large_are_not_written() {
    let (mut writer, mut out) = begun(&header());
    for (frames, bytes) in [(0, 2), (MAX_BLOCK_FRAMES + 1, 3), (1, MAX_BLOCK_BYTES + 1)] {
        let length = out.len();
        let head = if frames < 128 { 1 } else { 2 };
        assert_eq!(writer.whole(frames, &vec![0; bytes - head], &mut out), Err(BlockTooLarge { frames, bytes }));
        assert_eq!((out.len(), writer.totals()), (length, Totals::default()));
    }
    assert!(writer.whole(1, &vec![0; MAX_BLOCK_BYTES - 1], &mut out).is_ok());
}

#[test]
fn names_are_cut_between_characters() {
    let long = Tokens { bundle_name: "ü".repeat(200), ..tokens() };
    let (_, bytes) = begun(&Header { tokens: long, ..header() });
    assert_eq!(read(&bytes, 100).0.unwrap().bundle_name, "ü".repeat(127));
}

#[test]
fn a_file_is_read_from_the_middle() {
    let blocks: Vec<(usize, Vec<u8>)> = (0..5).map(|n| (300, vec![n; 9])).collect();
    let (bytes, ends) = file(&blocks, 1500 * 480 - 7);
    let place = ends[2];
    let mut reader = Reader::resume(&header(), place as u64, 900);
    reader.push(&bytes[place..]);
    for n in [3_u8, 4] {
        let Ok(Some(Item::Block(block))) = reader.next_item() else { panic!("a block") };
        assert_eq!((block.start_ms, block.end_ms), (f64::from(n) * 6_000.0, (u32::from(n) + 1) * 6_000));
        assert_eq!((block.place, block.whole().unwrap()), (ends[usize::from(n) - 1] as u64, &[n; 9][..]));
    }
    let samples = Some(1500 * 480 - 7);
    assert_eq!(reader.next_item(), Ok(Some(Item::End { duration_ms: 30_000, samples })));
    assert_eq!(reader.next_item(), Ok(None));
    assert_eq!(reader.finish(), Ok(()));
}

#[test]
fn times_of_frames_without_a_gap_do_not_drift() {
    let tokens = Tokens { sample_rate: 44_100, frame_samples: 512, ..tokens() };
    let (mut writer, mut bytes) = begun(&Header { tokens, ..header() });
    (0..20_000).for_each(|_| writer.whole(3, &[1], &mut bytes).unwrap());
    // 60000 * 512 / 44.1
    assert_eq!(writer.duration_ms(), 696_599);
    let mut reader = Reader::new();
    reader.push(&bytes);
    let mut last = 0.0;
    while let Some(item) = reader.next_item().unwrap() {
        if let Item::Block(block) = item {
            last = block.start_ms;
        }
    }
    assert!((last - 59_997.0 * 512.0 / 44.1).abs() < 1e-6);
}

/// Bytes that the document shows under this word.
fn shown(word: &str) -> Vec<u8> {
    let document = include_str!("../../../docs/file.md");
    let after = document.split(&format!("```{word}")).nth(1);
    let hex = after.and_then(|rest| rest.split("```").next()).unwrap_or_default();
    hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap_or_default()).collect()
}

/// The vectors in the document are what this code makes.
pub(super) fn assert_shown(word: &str, made: &[u8]) {
    let hex: String = made.iter().map(|byte| format!("{byte:02X} ")).collect();
    assert_eq!(shown(word), made, "{word}: {hex}");
}

#[test]
fn the_document_shows_the_truth() {
    assert_shown("whole", &file(&[(2, vec![0x12, 0x34, 0x56, 0x78, 0x9A])], 900).0);
}

#[test]
fn fields_that_no_writer_makes_are_refused() {
    for (number, coding) in [(0, Ok(Coding::Plain)), (1, Ok(Coding::Transformer)), (2, Err(FileError::Coding(2)))] {
        // Behind the bundle, two numbers of three and two bytes, and the depth.
        let bytes = with_fields(|fields| fields[16 + 3 + 2 + 1] = number);
        let mut reader = Reader::new();
        reader.push(&bytes);
        let found = match reader.next_item() {
            Ok(Some(Item::Header(header))) => Ok(header.tokens.coding),
            Err(error) => Err(error),
            other => panic!("{other:?}"),
        };
        assert_eq!(found, coding);
    }
    let changes: [fn(&mut Vec<u8>); 7] = [
        |fields| fields[16 + 3 + 2] = 0,
        |fields| fields[16 + 3 + 2] = 33,
        // 128 Hz; frames of no samples.
        |fields| drop(fields.splice(16..19, [0x81, 0])),
        |fields| drop(fields.splice(19..21, [0])),
        // A name that is longer than all fields, and one that is no text.
        |fields| fields[23] = 5,
        |fields| fields[24] = 0xFF,
        |fields| fields.truncate(10),
    ];
    for (n, change) in changes.into_iter().enumerate() {
        assert!(matches!(read(&with_fields(change), 30).2, Err(FileError::Header(_))), "change {n}");
    }
}
