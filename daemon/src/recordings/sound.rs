//! From a recording to sound: what the archive plays, as the daemon's own file and error.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use parlo_archive::{Archive, ArchiveError, Side, Sound, Wav};
use parlo_model::{Bundle, Runtime};

use super::RecordingError;

/// Bytes of a file that are read at once.
const PIECE: u64 = 1 << 16;

/// A file's bytes, made as they are read, from anywhere in it: no more than a piece is ever held.
pub trait Source: Send {
    /// How many there are.
    fn bytes(&self) -> u64;

    /// Goes on with this byte.
    ///
    /// # Errors
    /// If it cannot be sought.
    fn seek(&mut self, byte: u64) -> Result<(), RecordingError>;

    /// Appends the next bytes to `out`; none at the end. Takes long.
    ///
    /// # Errors
    /// If they cannot be read or made.
    fn read(&mut self, out: &mut Vec<u8>) -> Result<(), RecordingError>;
}

/// A recording as a WAV file.
pub(super) struct Playing {
    wav: Wav<File>,
    name: String,
    path: PathBuf,
}

impl Playing {
    pub(super) fn open(
        name: &str,
        path: &Path,
        side: Side,
        runtime: &Runtime,
        bundle: &Bundle,
    ) -> Result<Self, RecordingError> {
        let opened = File::open(path).map_err(ArchiveError::Read).and_then(Archive::open);
        let sound = opened.and_then(|archive| Sound::open(archive, side, false, runtime, bundle));
        let sound = sound.map_err(|error| told(error, name, path))?;
        Ok(Self { wav: Wav::new(sound), name: name.to_owned(), path: path.to_owned() })
    }
}

impl Source for Playing {
    fn bytes(&self) -> u64 {
        self.wav.bytes()
    }

    fn seek(&mut self, byte: u64) -> Result<(), RecordingError> {
        self.wav.seek(byte);
        Ok(())
    }

    fn read(&mut self, out: &mut Vec<u8>) -> Result<(), RecordingError> {
        self.wav.read(out).map_err(|error| told(error, &self.name, &self.path))
    }
}

/// Bytes as they are: a token file, or what a test has.
#[derive(Debug)]
pub struct Plain<S> {
    source: S,
    path: PathBuf,
    bytes: u64,
}

impl<S: Read + Seek> Plain<S> {
    /// Those of `source`, which errors name so.
    ///
    /// # Errors
    /// If it cannot be sought.
    pub fn new(mut source: S, path: &Path) -> Result<Self, RecordingError> {
        let path = path.to_owned();
        let length = source.seek(SeekFrom::End(0)).and_then(|bytes| source.rewind().map(|()| bytes));
        match length {
            Ok(bytes) => Ok(Self { source, path, bytes }),
            Err(error) => Err(RecordingError::Unreadable { file: path, error }),
        }
    }

    fn unreadable(&self, error: io::Error) -> RecordingError {
        RecordingError::Unreadable { file: self.path.clone(), error }
    }
}

impl<S: Read + Seek + Send> Source for Plain<S> {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn seek(&mut self, byte: u64) -> Result<(), RecordingError> {
        self.source.seek(SeekFrom::Start(byte)).map(drop).map_err(|error| self.unreadable(error))
    }

    fn read(&mut self, out: &mut Vec<u8>) -> Result<(), RecordingError> {
        let read = self.source.by_ref().take(PIECE).read_to_end(out);
        read.map(drop).map_err(|error| self.unreadable(error))
    }
}

/// Why it cannot be played, in a sentence for people.
pub(super) fn told(error: ArchiveError, name: &str, path: &Path) -> RecordingError {
    let file = path.to_owned();
    match error {
        ArchiveError::Read(error) => RecordingError::Unreadable { file, error },
        ArchiveError::File(error) => RecordingError::Damaged { file, error },
        ArchiveError::Codes { seconds, error } => RecordingError::Tokens { file, seconds, error },
        ArchiveError::Model(error) => RecordingError::Model(error),
        ArchiveError::OtherModel { made, made_id, given, given_id } => {
            RecordingError::OtherModel { name: name.to_owned(), made, made_id, given, given_id }
        }
        error => RecordingError::Unplayable { file, error: Box::new(error) },
    }
}
