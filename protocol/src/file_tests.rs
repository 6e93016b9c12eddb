use proptest::prelude::*;

use super::{
    streams::{Item, Reader},
    *,
};

fn header() -> Header {
    Header {
        bundle: BundleId::from_bytes(std::array::from_fn(|n| n as u8)),
        bundle_name: "test".into(),
        sample_rate: 24_000,
        frame_samples: 480,
        depth: 2,
        coding: Coding::Plain,
    }
}

/// What a header of version 2 says of a file of whole frames.
fn later_header() -> streams::Header {
    streams::Header { tokens: header(), created_ms: None, streams: Vec::new(), metadata: Vec::new() }
}

/// A file of these blocks (count and payload), whole.
fn file(blocks: &[(usize, Vec<u8>)], samples: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = FileWriter::begin(&header(), &mut out);
    for (count, payload) in blocks {
        writer.block(*count, payload, &mut out).unwrap();
    }
    writer.end(samples, &mut out);
    out
}

/// The same in version 2.
fn later_file(blocks: &[(usize, Vec<u8>)], samples: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = streams::Writer::begin(&later_header(), &mut out).unwrap();
    for (count, payload) in blocks {
        writer.whole(*count, payload, &mut out).unwrap();
    }
    writer.end(Some(samples), &mut out);
    out
}

fn file_of(later: bool, blocks: &[(usize, Vec<u8>)], samples: u64) -> Vec<u8> {
    if later { later_file(blocks, samples) } else { file(blocks, samples) }
}

type Blocks = Vec<(u64, usize, Vec<u8>)>;

/// Everything that a reader gives when the bytes come in pieces of this size.
fn read(bytes: &[u8], piece: usize) -> (Option<Header>, Blocks, Result<u64, FileError>) {
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
    fn what_is_written_is_read_however_it_is_cut(blocks in blocks(), piece in 1_usize..300, short in 0_u64..480, later: bool) {
        let frames: usize = blocks.iter().map(|block| block.0).sum();
        let samples = (frames as u64 * 480).saturating_sub(short);
        let (found, given, end) = read(&file_of(later, &blocks, samples), piece);
        prop_assert_eq!(found, Some(header()));
        prop_assert_eq!(end, Ok(samples));
        let mut first = 0;
        prop_assert_eq!(given.len(), blocks.len());
        for ((number, count, payload), block) in given.into_iter().zip(&blocks) {
            prop_assert_eq!((number, count, &payload), (first, block.0, &block.1));
            first += count as u64;
        }
    }

    #[test]
    fn a_cut_file_gives_its_whole_blocks_and_says_where_it_breaks_off(
        blocks in blocks(), cut: prop::sample::Index, piece in 1_usize..300, later: bool,
    ) {
        let bytes = file_of(later, &blocks, 0);
        let cut = cut.index(bytes.len());
        let (_, given, end) = read(&bytes[..cut], piece);
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
    }

    #[test]
    fn one_flipped_bit_is_noticed(
        blocks in blocks(), at: prop::sample::Index, bit in 0..8_u8, later: bool,
    ) {
        let mut bytes = file_of(later, &blocks, 0);
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        let (_, given, end) = read(&bytes, 64);
        prop_assert!(end.is_err());
        for ((_, count, payload), block) in given.iter().zip(&blocks) {
            prop_assert_eq!((count, payload), (&block.0, &block.1));
        }
    }

    #[test]
    fn any_bytes_are_an_error_in_bounded_memory(
        mut bytes: Vec<u8>, whole_header: bool, later: bool, piece in 1_usize..100,
    ) {
        if whole_header {
            let mut start = Vec::new();
            if later {
                streams::Writer::begin(&later_header(), &mut start).unwrap();
            } else {
                FileWriter::begin(&header(), &mut start);
            }
            start.append(&mut bytes);
            bytes = start;
        }
        prop_assert!(read(&bytes, piece).2.is_err());
    }
}

#[test]
fn what_is_no_token_file_is_told_apart() {
    assert_eq!(read(b"", 1).2, Err(FileError::Empty));
    assert_eq!(read(b"RIFF....WAVE", 1).2, Err(FileError::NotTokens));
    assert_eq!(read(b"\x89PT", 1).2, Err(FileError::Truncated { offset: 3, seconds: 0.0 }));
    let mut newer = file(&[], 0);
    newer[8] = 9;
    assert_eq!(read(&newer, 7).2, Err(FileError::Version(9)));
    let mut longer = file(&[(1, vec![1])], 480);
    longer.push(0);
    assert!(matches!(read(&longer, 1000).2, Err(FileError::Block { .. })));
}

#[test]
fn an_end_mark_that_does_not_fit_its_file_is_noticed() {
    for (frames, samples) in [(3_u64, 960_u64), (2, 961)] {
        let mut bytes = file(&[(2, vec![1])], 0);
        bytes.truncate(bytes.len() - (BLOCK_HEADER + 16 + CHECKSUM));
        let totals = [frames.to_be_bytes(), samples.to_be_bytes()].concat();
        append_block(KIND_END, 0, &totals, &mut bytes);
        assert!(matches!(read(&bytes, 50).2, Err(FileError::Block { .. })), "{frames} frames, {samples} samples");
    }
}

#[test]
fn an_impossible_length_is_noticed_at_once() {
    let mut bytes = file(&[(2, vec![1])], 0);
    let block = bytes.len() - (BLOCK_HEADER + 16 + CHECKSUM) - (BLOCK_HEADER + 1 + CHECKSUM);
    bytes[block + 4] = 1;
    assert!(matches!(read(&bytes, 50).2, Err(FileError::Block { .. })));
}

#[test]
fn what_later_versions_add_is_passed_over() {
    // A longer header, and a block of an unknown kind.
    let mut bytes = file(&[], 0);
    let end = bytes.split_off(bytes.len() - (BLOCK_HEADER + 16 + CHECKSUM));
    bytes.truncate(bytes.len() - CHECKSUM);
    bytes.extend_from_slice(b"news");
    let length = u16::from_be_bytes([bytes[9], bytes[10]]) + 4;
    bytes[9..11].copy_from_slice(&length.to_be_bytes());
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_be_bytes());
    append_block(77, 3, b"what is this", &mut bytes);
    bytes.extend_from_slice(&end);
    let (found, given, end) = read(&bytes, 5);
    assert_eq!((found, given.len(), end), (Some(header()), 0, Ok(0)));
}

#[test]
fn blocks_that_are_too_large_are_not_written() {
    let mut out = Vec::new();
    let mut writer = FileWriter::begin(&header(), &mut out);
    for (frames, bytes) in [(0, 1), (MAX_BLOCK_FRAMES + 1, 1), (1, MAX_BLOCK_BYTES + 1)] {
        let length = out.len();
        assert_eq!(writer.block(frames, &vec![0; bytes], &mut out), Err(BlockTooLarge { frames, bytes }));
        assert_eq!(out.len(), length);
    }
}

#[test]
fn names_are_cut_between_characters() {
    let long = Header { bundle_name: "ü".repeat(200), ..header() };
    let mut out = Vec::new();
    FileWriter::begin(&long, &mut out).end(0, &mut out);
    assert_eq!(read(&out, 100).0.unwrap().bundle_name, "ü".repeat(127));
}

#[test]
fn a_file_is_read_from_the_middle() {
    let blocks: Blocks = (0..5).map(|n| (0, 300, vec![n; 9])).collect();
    let blocks: Vec<(usize, Vec<u8>)> = blocks.into_iter().map(|(_, count, payload)| (count, payload)).collect();
    let bytes = later_file(&blocks, 1500 * 480 - 7);
    let (header, size) = (later_header(), BLOCK_HEADER + 9 + CHECKSUM);
    let place = MAGIC.len() + 3 + FIXED_HEADER_BYTES + "test".len() + CHECKSUM + 3 * size;
    let mut reader = Reader::resume(2, &header, place as u64, 900);
    reader.push(&bytes[place..]);
    for n in [3_u8, 4] {
        let Ok(Some(Item::Block(block))) = reader.next_item() else { panic!("a block") };
        assert_eq!((block.start_ms, block.end_ms), (f64::from(n) * 6_000.0, (u32::from(n) + 1) * 6_000));
        assert_eq!((block.place, block.whole().unwrap()), ((place + usize::from(n - 3) * size) as u64, &[n; 9][..]));
    }
    let samples = Some(1500 * 480 - 7);
    assert_eq!(reader.next_item(), Ok(Some(Item::End { duration_ms: 30_000, samples, index: 0 })));
    assert_eq!(reader.next_item(), Ok(None));
    assert_eq!(reader.finish(), Ok(()));
}

#[test]
fn times_of_frames_without_a_gap_do_not_drift() {
    let tokens = Header { sample_rate: 44_100, frame_samples: 512, ..header() };
    let header = streams::Header { tokens, ..later_header() };
    let mut bytes = Vec::new();
    let mut writer = streams::Writer::begin(&header, &mut bytes).unwrap();
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

/// The vector in the document is what this code makes.
#[test]
fn the_document_shows_the_truth() {
    let document = include_str!("../../docs/file.md");
    let hex: String = document.split("```vector").nth(1).and_then(|rest| rest.split("```").next()).unwrap().into();
    let bytes: Vec<u8> = hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    let blocks = [(2, vec![0x12, 0x34, 0x56, 0x78, 0x9A])];
    assert_eq!(bytes, file(&blocks, 900));
    let hex: String = document.split("```whole").nth(1).and_then(|rest| rest.split("```").next()).unwrap().into();
    let bytes: Vec<u8> = hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    let made = later_file(&blocks, 900);
    let shown: String = made.iter().map(|byte| format!("{byte:02X} ")).collect();
    assert_eq!(bytes, made, "{shown}");
}

#[test]
fn files_say_how_their_payloads_are_coded() {
    for (number, coding) in [(0, Ok(Coding::Plain)), (1, Ok(Coding::Transformer)), (2, Err(FileError::Coding(2)))] {
        let mut bytes = Vec::new();
        FileWriter::begin(&header(), &mut bytes);
        // Before the name's length and the name, and the checksum.
        let (at, end) = (bytes.len() - 4 - "test".len() - 2, bytes.len() - 4);
        bytes[at] = number;
        let checksum = crc32c::crc32c(&bytes[..end]).to_be_bytes();
        bytes[end..].copy_from_slice(&checksum);
        let mut reader = Reader::new();
        reader.push(&bytes);
        let found = match reader.next_item() {
            Ok(Some(Item::Header(header))) => Ok(header.tokens.coding),
            Err(error) => Err(error),
            other => panic!("{other:?}"),
        };
        assert_eq!(found, coding);
    }
}
