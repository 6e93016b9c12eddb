//! Token files.

use parlo_protocol::file::{
    FileReader, Item,
    streams::{self, END_BYTES, MAX_HEADER_BYTES},
};

/// The first byte says in how large pieces the file comes, for the readers of both versions.
pub(crate) fn file(bytes: &[u8]) {
    let Some((&piece, bytes)) = bytes.split_first() else { return };
    single(piece, bytes);
    several(piece, bytes);
}

/// Reads no more frames than there are bytes for.
fn single(piece: u8, bytes: &[u8]) {
    let mut reader = FileReader::new();
    let (mut frames, mut ended, mut items) = (0, false, 0);
    'pieces: for piece in bytes.chunks(usize::from(piece) + 1) {
        reader.push(piece);
        loop {
            match reader.next_item() {
                Ok(Some(Item::Frames { first, count, payload })) => {
                    assert!(!ended && first == frames && payload.len() <= bytes.len());
                    frames += count as u64;
                }
                Ok(Some(Item::End { .. })) => {
                    assert!(!ended);
                    ended = true;
                }
                Ok(Some(Item::Header(_))) => assert_eq!(items, 0),
                Ok(None) => break,
                Err(_) => break 'pieces,
            }
            items += 1;
        }
    }
    assert_eq!(reader.finish().is_ok(), ended);
}

/// Streams: blocks are of those that the header names, hold what they say, and the end counts them.
fn several(piece: u8, bytes: &[u8]) {
    let mut reader = streams::Reader::new();
    let (mut named, mut ended, mut latest) = (Vec::new(), None, 0);
    'pieces: for piece in bytes.chunks(usize::from(piece) + 1) {
        reader.push(piece);
        loop {
            match reader.next_item() {
                Ok(Some(streams::Item::Header(header))) => {
                    assert!(named.is_empty() && header.streams.len() <= MAX_HEADER_BYTES);
                    named = header.streams;
                }
                Ok(Some(streams::Item::Block(block))) => {
                    assert!(ended.is_none() && named.iter().any(|stream| stream.id == block.stream));
                    assert!((1..=500).contains(&block.count) && block.end_ms >= block.time_ms);
                    assert_eq!(block.runs().map(|run| run.count).sum::<usize>(), block.count);
                    let payloads = block.runs().filter_map(|run| run.codes).map(|codes| codes.payload.len());
                    assert!(payloads.sum::<usize>() < bytes.len());
                    latest = latest.max(block.end_ms);
                }
                Ok(Some(streams::Item::End { duration_ms })) => {
                    assert!(ended.is_none() && duration_ms >= latest);
                    ended = Some(duration_ms);
                }
                Ok(None) => break,
                Err(_) => break 'pieces,
            }
        }
    }
    assert!(reader.whole_bytes() <= bytes.len() as u64);
    let whole = reader.finish().is_ok();
    assert_eq!(whole, ended.is_some());
    if let Some(last) = bytes.last_chunk::<END_BYTES>() {
        let found = streams::end_of(last);
        // Where a later version writes more at the end, it is not found, which costs time only.
        assert!(!whole || reader.whole_bytes() < bytes.len() as u64 || found.is_none() || found == ended);
    }
}
