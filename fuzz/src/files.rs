//! Token files.

use parlo_protocol::file::{FileReader, Item};

/// The first byte says in how large pieces the file comes. Reads no more frames than there are bytes for.
pub(crate) fn file(bytes: &[u8]) {
    let Some((&piece, bytes)) = bytes.split_first() else { return };
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
