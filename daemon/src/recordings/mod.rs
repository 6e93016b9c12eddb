//! Calls, kept as tokens: as they were said, and as they came.

use std::path::{Path, PathBuf};

use parlo_control::Recording;
use parlo_model::{Bundle, Runtime};

use crate::desk::Tell;

/// Why a recording cannot be made, read or removed. One sentence each.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// No recording of that name.
    #[error("there is no recording \"{0}\"; `parlo recordings` lists them")]
    Unknown(String),
    /// The disk.
    #[error("cannot write {}: {error}", .file.display())]
    Unwritable {
        /// Which file.
        file: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

/// Which side of a recording is to be heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What was said here.
    Said,
    /// What was heard from the peer.
    Heard,
    /// Both, mixed.
    Both,
}

/// A folder of recordings.
#[derive(Debug)]
pub struct Recordings {
    folder: PathBuf,
}

impl Recordings {
    /// The recordings of a folder, which need not exist yet. What broke off there is found whole up to its last second.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// All of them, newest first. What cannot be read is left out.
    pub fn list(&self) -> Vec<Recording> {
        Vec::new()
    }

    /// The token file of a recording.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn tokens(&self, name: &str) -> Result<PathBuf, RecordingError> {
        Err(RecordingError::Unknown(name.to_owned()))
    }

    /// A recording as a WAV file: 16 bits, mono, at the bundle's rate. Decodes all of it: slow.
    ///
    /// # Errors
    /// If there is none of that name, or it cannot be decoded.
    pub fn wav(&self, name: &str, side: Side, runtime: &Runtime, bundle: &Bundle) -> Result<Vec<u8>, RecordingError> {
        let _ = (side, runtime, bundle);
        Err(RecordingError::Unknown(name.to_owned()))
    }

    /// Removes a recording.
    ///
    /// # Errors
    /// If there is none of that name, or it is being made.
    pub fn remove(&self, name: &str) -> Result<(), RecordingError> {
        Err(RecordingError::Unknown(name.to_owned()))
    }

    /// Begins to record a call with a peer of this name or address. A thread of its own writes.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn begin(&self, peer: &str, bundle: &Bundle) -> Result<Recorder, RecordingError> {
        let _ = (peer, bundle);
        Err(RecordingError::Unknown(String::new()))
    }
}

/// A recording that is being made. Dropped, it is ended.
#[derive(Debug)]
pub struct Recorder {}

impl Recorder {
    /// Its name.
    pub fn name(&self) -> &str {
        ""
    }

    /// Takes a frame that passed the desk, of whichever call: only the recorded call's are to be given. Never waits.
    pub fn take(&self, tell: &Tell) {
        let _ = tell;
    }

    /// Why writing has failed, once, if it has: nothing more is recorded then, and what was written stays whole.
    pub fn failure(&self) -> Option<RecordingError> {
        None
    }
}
