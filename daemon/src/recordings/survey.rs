//! What a file is, found without decoding it.

use std::{fs::File, io, path::Path};

use parlo_archive::{Archive, ArchiveError, FileState};

/// What is to be said of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Summary {
    /// Who was there, for people.
    pub(super) peer: String,
    /// When it began, milliseconds since 1970-01-01 UTC.
    pub(super) created_ms: u64,
    /// When the last frame ended, milliseconds after that.
    pub(super) duration_ms: u64,
    /// Whether it has an end mark.
    pub(super) ended: bool,
}

/// Reads the beginning and the end of a file, and all of it only if it is short or broke off.
///
/// # Errors
/// If it cannot be read, or is no recording.
pub(super) fn survey(path: &Path) -> io::Result<Summary> {
    let archive = Archive::open(File::open(path)?).map_err(|error| match error {
        ArchiveError::Read(error) => error,
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    })?;
    let header = archive.header();
    let peer = header.metadata.iter().find(|(key, _)| key == "peer").map(|(_, peer)| peer.clone());
    Ok(Summary {
        peer: peer.unwrap_or_default(),
        created_ms: header.created_ms.unwrap_or(0),
        duration_ms: archive.duration_ms(),
        ended: *archive.state() == FileState::Whole,
    })
}
