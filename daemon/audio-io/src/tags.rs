//! What lies in a sound file and is no sound: ID3v2 (id3.org, 2.2 to 2.4), ID3v1, APE tags (versions 1 and 2), Lyrics3, padding.

use std::io;

use crate::bytes::Bytes;

/// How far the end of a tag is looked for whose beginning does not say its length.
const REACH: usize = 1 << 17;

/// Length of what begins here and is no sound; none if nothing of the kind does. Only `TAG`, which may be sound by chance, is taken on
/// its word where a container expects something else.
pub(crate) fn length(bytes: &mut Bytes) -> io::Result<Option<u64>> {
    let head = bytes.peek(32)?;
    if let Some(length) = id3v2(head) {
        return Ok(Some(length));
    }
    if head.starts_with(b"TAG+") {
        return Ok(Some(227));
    }
    if head.starts_with(b"TAG") {
        return Ok(Some(128));
    }
    if head.starts_with(b"APETAGEX") && head.len() == 32 {
        let (size, flags) = (le(&head[12..16]), le(&head[20..24]));
        // A header is followed by all that it counts; a footer on its own ends what it counts.
        return Ok(Some(32 + if flags >> 29 & 1 == 1 { u64::from(size) } else { 0 }));
    }
    if head.starts_with(b"LYRICSBEGIN") {
        let text = bytes.peek(REACH)?;
        let end = [&b"LYRICS200"[..], b"LYRICSEND"].iter().filter_map(|end| find(text, end)).min();
        return Ok(end.map(|at| at as u64 + 9));
    }
    Ok(None)
}

/// Length of the ID3v2 tag that these bytes begin with.
pub(crate) fn id3v2(head: &[u8]) -> Option<u64> {
    let [b'I', b'D', b'3', major, minor, flags, a, b, c, d, ..] = *head else { return None };
    if major == 0xFF || minor == 0xFF || [a, b, c, d].iter().any(|byte| byte & 0x80 != 0) {
        return None;
    }
    let size = u64::from(a) << 21 | u64::from(b) << 14 | u64::from(c) << 7 | u64::from(d);
    Some(10 + size + if flags & 0x10 != 0 { 10 } else { 0 })
}

/// Whether all that is left is a tag without a beginning of its own (APE of version 1), or zeros.
pub(crate) fn is_rest(bytes: &mut Bytes) -> io::Result<bool> {
    let rest = bytes.peek(REACH)?;
    let known = [&b"APETAGEX"[..], b"TAG", b"ID3"];
    if rest.iter().all(|&byte| byte == 0) {
        return Ok(rest.len() < REACH);
    }
    let Some(at) = find(rest, known[0]) else { return Ok(false) };
    let Some(foot) = rest.get(at..at + 32) else { return Ok(false) };
    // Its footer counts itself and all items before it.
    let begins = (at as u64 + 32).checked_sub(u64::from(le(&foot[12..16])));
    Ok(begins == Some(0) || begins == Some(32))
}

/// Passes over all tags that begin here; gives whether there were any.
pub(crate) fn skip(bytes: &mut Bytes) -> io::Result<bool> {
    let mut any = false;
    while let Some(length) = length(bytes)? {
        bytes.skip(length)?;
        any = true;
    }
    Ok(any)
}

pub(crate) fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

fn le(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u32::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn length_of(bytes: &[u8]) -> Option<u64> {
        length(&mut Bytes::new(Cursor::new(bytes.to_vec()))).unwrap()
    }

    #[test]
    fn tags_tell_their_length() {
        assert_eq!(length_of(b"ID3\x04\0\x10\0\x01\0\0rest"), Some(10 + 16_384 + 10));
        assert_eq!(length_of(b"ID3\x04\0\0\x80\0\0\0rest"), None, "no such number");
        assert_eq!(length_of(&[b"TAG".as_slice(), &[0; 125]].concat()), Some(128));
        let mut ape = b"APETAGEX\xd0\x07\0\0".to_vec();
        ape.extend([100, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(length_of(&ape), Some(132));
        ape[23] = 0x80;
        assert_eq!(length_of(&ape), Some(32), "a footer");
        assert_eq!(length_of(b"LYRICSBEGINwords000020LYRICS200x"), Some(31));
        assert_eq!(length_of(b"\xff\xfb\x90\x64"), None);
    }
}
