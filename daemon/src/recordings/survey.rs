//! What a file is, found without decoding it.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use parlo_protocol::file::streams::{END_BYTES, Header, Item, MAX_HEADER_BYTES, Reader, end_of};

/// What is to be said of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Summary {
    /// Who was there, for people.
    pub(super) peer: String,
    /// When it began, milliseconds since 1970-01-01 UTC.
    pub(super) created_ms: u64,
    /// When the last frame ended, milliseconds after that.
    pub(super) duration_ms: u32,
    /// Whether it has an end mark.
    pub(super) ended: bool,
}

/// Reads the beginning and the end of a file, and all of it only if it broke off.
///
/// # Errors
/// If it cannot be read, or is no recording.
pub(super) fn survey(path: &Path) -> io::Result<Summary> {
    let mut file = File::open(path)?;
    let mut start = Vec::new();
    // The magic, version, length and checksum are some bytes more.
    file.by_ref().take(MAX_HEADER_BYTES as u64 + 64).read_to_end(&mut start)?;
    let mut reader = Reader::new();
    reader.push(&start);
    let Ok(Some(Item::Header(header))) = reader.next_item() else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no recording"));
    };
    if let Some(duration_ms) = ended(&mut file)? {
        return Ok(summary(&header, duration_ms, true));
    }
    // It broke off: what is whole is counted. Some megabytes for each hour.
    let mut reader = Reader::new();
    super::read_pieces(path, |piece| {
        reader.push(piece);
        Ok::<bool, io::Error>(loop {
            match reader.next_item() {
                Ok(Some(_)) => {}
                Ok(None) => break true,
                Err(_) => break false,
            }
        })
    })?;
    Ok(summary(&header, reader.duration_ms(), reader.finish().is_ok()))
}

/// The duration in the end mark, milliseconds, if there is one.
pub(super) fn ended(file: &mut File) -> io::Result<Option<u32>> {
    let length = file.seek(SeekFrom::End(0))?;
    let Some(at) = length.checked_sub(END_BYTES as u64) else { return Ok(None) };
    file.seek(SeekFrom::Start(at))?;
    let mut end = [0; END_BYTES];
    file.read_exact(&mut end)?;
    Ok(end_of(&end))
}

fn summary(header: &Header, duration_ms: u32, ended: bool) -> Summary {
    let peer = header.metadata("peer").unwrap_or_default().to_owned();
    Summary { peer, created_ms: header.created_ms, duration_ms, ended }
}
