use std::{io, path::PathBuf};

use crate::output::OutputError;

/// Why sound cannot be had, or cannot be kept. One sentence each: what, where, what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AudioError {
    /// The file cannot be opened or read.
    #[error("cannot read {name}: {error}")]
    Unreadable {
        /// File, or "standard input".
        name: String,
        /// What the system said.
        error: io::Error,
    },
    /// No bytes.
    #[error("{0} is empty; it should be a WAV, FLAC, MP3 or Ogg file")]
    Empty(String),
    /// Not a sound file.
    #[error("{name} is not sound that can be read ({reason}); WAV, FLAC, MP3 and Ogg (Vorbis, Opus) are")]
    NotAudio {
        /// File, or "standard input".
        name: String,
        /// What the parser said.
        reason: String,
    },
    /// A sound file without a single sample.
    #[error("{0} holds no sound: not a single sample")]
    NoSamples(String),
    /// Sound that cannot be taken as it is, or not written as asked.
    #[error("{name}: {reason}")]
    Unusable {
        /// File, or "standard input".
        name: String,
        /// Why, and what is possible.
        reason: String,
    },
    /// A file that is not to be written there.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// No device at all.
    #[error(
        "there is no sound {direction} here ({reason}); plug one in, start the sound server, or use file:PATH or none"
    )]
    NoDevice {
        /// "input" or "output".
        direction: &'static str,
        /// What the sound system said.
        reason: String,
    },
    /// No device of this name.
    #[error("there is no sound {direction} \"{name}\"; {}", suggestion(.near, .all))]
    UnknownDevice {
        /// "input" or "output".
        direction: &'static str,
        /// As the user wrote it.
        name: String,
        /// The name most like it.
        near: Option<String>,
        /// Names that there are.
        all: Vec<String>,
    },
    /// The device does not work as asked.
    #[error("the sound {direction} \"{name}\" cannot be used: {reason}")]
    Device {
        /// "input" or "output".
        direction: &'static str,
        /// Its name.
        name: String,
        /// What the sound system said, and what to do.
        reason: String,
    },
    /// Output cannot be written.
    #[error("cannot write {name}: {error}{}", full(.error))]
    Unwritable {
        /// File, or "standard output".
        name: String,
        /// What the system said.
        error: io::Error,
    },
    /// A WAV file is full.
    #[error("{0} has reached the 4 GiB that a WAV file can hold; nothing more is written to it")]
    TooLong(PathBuf),
}

impl AudioError {
    /// It is of a device that is not there or does not work, which may come, or be mended, while a program waits.
    #[must_use]
    pub fn is_of_device(&self) -> bool {
        matches!(self, Self::NoDevice { .. } | Self::UnknownDevice { .. } | Self::Device { .. })
    }
}

fn suggestion(near: &Option<String>, all: &[String]) -> String {
    match (near, all) {
        (Some(near), _) => format!("did you mean \"{near}\"?"),
        (None, []) => "there are none at all".to_owned(),
        (None, all) => format!("there are {}", all.join(", ")),
    }
}

fn full(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::StorageFull { "; make room and try again" } else { "" }
}
