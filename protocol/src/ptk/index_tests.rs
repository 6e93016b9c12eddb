use parlo_tokens::TokensPrefix;
use proptest::prelude::*;

use super::*;
use crate::ptk::{Coding, Stream, Tokens, frame::append_block};

fn header(streams: &[u8]) -> Header {
    let tokens = Tokens {
        id: TokensPrefix::from_bytes([1; 16]),
        bundle_name: "test".into(),
        sample_rate: 24_000,
        frame_samples: 480,
        depth: 4,
        coding: Coding::Plain,
    };
    let streams = streams.iter().map(|&id| Stream { id, name: id.to_string() }).collect();
    Header { tokens, created_ms: None, streams, metadata: Vec::new() }
}

/// Its block, as the writer makes it.
fn block(index: &Index) -> Vec<u8> {
    let mut bytes = Vec::new();
    append_block(KIND_INDEX, &index.payload().unwrap(), &mut bytes);
    bytes
}

fn indexes() -> impl Strategy<Value = (Header, Index)> {
    let streams = prop::collection::btree_set(any::<u8>(), 0..5);
    let steps = prop::collection::vec((1..1_000_000_u64, 0..1_000_000_u32, any::<u8>(), 0..70_000_u64), 0..60);
    (streams, steps).prop_map(|(streams, steps)| {
        let header = header(&streams.into_iter().collect::<Vec<_>>());
        let (mut index, mut place, mut time) = (Index::new(&header), 0, 0_u32);
        for (bytes, milliseconds, stream, count) in steps {
            place += bytes;
            time += milliseconds;
            let stream = index.streams()[usize::from(stream) % index.streams().len()];
            index.pass(place, time, stream, count);
        }
        (header, index)
    })
}

proptest! {
    #[test]
    fn an_index_survives_its_bytes((header, index) in indexes()) {
        if index.is_empty() {
            prop_assert_eq!(index.payload(), None);
            return Ok(());
        }
        let bytes = block(&index);
        prop_assert_eq!(Claim::of(&bytes).map(|claim| claim.bytes()), Some(bytes.len()));
        let found = Index::parse(&bytes, u64::MAX, &header);
        prop_assert_eq!(found.as_ref(), Some(&index));
        // Points lie in front of it.
        prop_assert_eq!(Index::parse(&bytes, index.point(0).unwrap().place, &header), None);
    }

    #[test]
    fn one_flipped_bit_is_noticed((header, index) in indexes(), at: prop::sample::Index, bit in 0..8_u8) {
        prop_assume!(!index.is_empty());
        let mut bytes = block(&index);
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        prop_assert_eq!(Index::parse(&bytes, u64::MAX, &header), None);
    }

    #[test]
    fn any_payload_is_an_index_in_order_or_none(payload in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Some(index) = Index::of_payload(&payload) {
            let points: Vec<Point<'_>> = (0..index.len()).map(|n| index.point(n).unwrap()).collect();
            prop_assert!(points.windows(2).all(|two| two[0].place < two[1].place && two[0].time_ms <= two[1].time_ms));
        }
    }
}

#[test]
fn what_begins_later_lies_behind_the_point_that_is_found() {
    let mut index = Index::new(&header(&[7]));
    // A block of 10 s every 10 s.
    (0..100).for_each(|n| index.pass(100 + n * 10, n as u32 * 10_000, 7, 500));
    assert_eq!((index.len(), index.total(7), index.total(8)), (16, Some(50_000), None));
    assert_eq!((index.before(59_999), index.before(60_000), index.before(u64::MAX)), (0, 1, 16));
    assert_eq!(index.point(0), Some(Point { place: 160, time_ms: 60_000, frames: &[3_000] }));
    assert_eq!(index.point(16), None);
}

#[test]
fn memory_is_bounded_however_long_the_file_is() {
    let mut index = Index::new(&header(&[7]));
    (0..200_000_u64).for_each(|n| index.pass(100 + n, (n * 20_000) as u32, 7, 1_000));
    assert!((MOST_POINTS / 4..=MOST_POINTS).contains(&index.len()), "{}", index.len());
    let points: Vec<Point<'_>> = (0..index.len()).map(|n| index.point(n).unwrap()).collect();
    assert!(points.iter().all(|point| point.frames[0] == (point.place - 100) * 1_000));
    // With many streams each point takes more.
    let mut wide = Index::new(&header(&(0..=255).collect::<Vec<_>>()));
    (0..60_000_u64).for_each(|n| wide.pass(n, n as u32 * 60_000, 3, 9));
    assert!(block(&wide).len() < MAX_OTHER_BYTES + 20);
}

/// The vector in the document is what this code makes.
#[test]
fn the_document_shows_the_truth() {
    let mut index = Index::new(&header(&[0, 1]));
    index.pass(100, 0, 0, 3_000);
    index.pass(5_000, 60_000, 1, 250);
    index.pass(7_000, 70_000, 0, 500);
    index.pass(9_000, 130_000, 0, 500);
    crate::ptk::tests::assert_shown("index", &block(&index));
}
