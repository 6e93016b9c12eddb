//! Token files.

use std::io::Cursor;

use parlo_archive::{Archive, Coder, FileState, SurveyFault, TimedFrame, cut, join, repair, survey};
use parlo_protocol::ptk::{End, Item, MAX_HEADER_BYTES, Reader};
use parlo_test_support::synthetic::SMALL;

use crate::seeds;

/// The first byte says in how large pieces the file comes. Blocks are of streams that there are, hold what they say, and the end
/// counts them.
pub(crate) fn file(bytes: &[u8]) {
    let Some((&piece, bytes)) = bytes.split_first() else { return };
    let mut reader = Reader::new();
    let (mut header, mut ended, mut latest, mut place) = (None, None, 0, 0);
    'pieces: for piece in bytes.chunks(usize::from(piece) + 1) {
        reader.push(piece);
        loop {
            match reader.next_item() {
                Ok(Some(Item::Header(found))) => {
                    assert!(header.is_none() && found.streams.len() <= MAX_HEADER_BYTES);
                    header = Some(found);
                }
                Ok(Some(Item::Block(block))) => {
                    let streams = header.as_ref().map(|header| &header.streams[..]).unwrap_or_default();
                    let named = streams.iter().any(|stream| stream.id == block.stream);
                    assert!(ended.is_none() && (named || (streams.is_empty() && block.stream == 0)));
                    assert!((1..=500).contains(&block.count) && block.end_ms >= block.time_ms);
                    assert!(block.place >= place && block.before_ms >= latest);
                    assert_eq!(block.runs().map(|run| run.count).sum::<usize>(), block.count);
                    let payloads = block.runs().filter_map(|run| run.codes).map(|codes| codes.payload.len());
                    assert!(payloads.sum::<usize>() < bytes.len());
                    (latest, place) = (latest.max(block.end_ms), block.place + 1);
                }
                Ok(Some(Item::End { duration_ms, .. })) => {
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
    if whole && reader.whole_bytes() == bytes.len() as u64 {
        // Where a later version writes more at the end, it is not found, which costs time only.
        let found = End::of(bytes).map(|(end, _)| end.totals.duration_ms);
        assert!(found.is_none() || found == ended);
    }
}

/// A whole file: opened, read by time, cut, joined, mended. If the first byte is odd, the rest says what is changed in a file that
/// is known, of which only true frames may come then.
pub(crate) fn archive(bytes: &[u8]) {
    let Some((&kind, rest)) = bytes.split_first() else { return };
    if kind & 1 == 0 {
        any_file(rest, u64::from(kind) * 20);
        return;
    }
    let known = seeds::long_file();
    let all = read_all(&mut open(&known).expect("a good file"), 0).expect("good frames");
    let mut damaged = known;
    for change in rest.chunks_exact(4).take(1 + usize::from(kind >> 1) % 4) {
        let at = usize::from(u16::from_be_bytes([change[0], change[1]])) % damaged.len();
        damaged[at] ^= change[2].max(1);
    }
    let Some(mut archive) = open(&damaged) else { return };
    let frames = read_all(&mut archive, 0);
    let found = frames.as_deref().unwrap_or_else(|frames| frames);
    assert_eq!(found, &all[..found.len()]);
    assert!(frames.is_err() || *archive.state() != FileState::Whole || found.len() == all.len());
}

fn open(bytes: &[u8]) -> Option<Archive<Cursor<&[u8]>>> {
    Archive::open(Cursor::new(bytes)).ok()
}

/// All frames of a stream, or those before the damage.
fn read_all(archive: &mut Archive<Cursor<&[u8]>>, stream: u8) -> Result<Vec<TimedFrame>, Vec<TimedFrame>> {
    let mut out = Vec::new();
    let done = archive.read(&mut Coder::plain(SMALL.layout()), stream, 0, u64::MAX, &mut out);
    if done.is_ok() { Ok(out) } else { Err(out) }
}

fn any_file(bytes: &[u8], at_ms: u64) {
    let Some(mut archive) = open(bytes) else { return };
    let mut coder = Coder::plain(SMALL.layout());
    for stream in archive.header().streams.clone() {
        let all = read_all(&mut archive, stream.number);
        let mut part = Vec::new();
        let done = archive.read(&mut coder, stream.number, at_ms, at_ms + 500, &mut part);
        assert!(part.iter().all(|frame| (at_ms as f64..at_ms as f64 + 500.0).contains(&frame.time_ms)));
        if let (Ok(all), Ok(())) = (all, done) {
            assert!(part.len() <= all.len() && all.len() as u64 == archive.frames(stream.number));
        }
    }
    let counted = survey(&mut archive, Some(&mut coder)).expect("memory can be read");
    assert!(counted.payload_bytes <= bytes.len() as u64);
    let mut mended = Vec::new();
    let done = repair(&mut archive, None, &mut mended).expect("memory can be written");
    let mut mended = open(&mended).expect("what was mended is a file");
    assert!(*mended.state() == FileState::Whole && done.made.bytes == mended.bytes());
    assert!(
        survey(&mut mended, None)
            .expect("memory can be read")
            .faults
            .iter()
            .all(|fault| matches!(fault, SurveyFault::Order { .. }))
    );
    let _ = cut(&mut mended, Some(&mut coder), at_ms, at_ms + 1_000, 320, Vec::new());
    let joined = join(&mut [mended], Vec::new());
    assert_eq!(joined.map(|made| made.frames).ok(), Some(done.made.frames));
}
