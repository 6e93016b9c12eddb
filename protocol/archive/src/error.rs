use std::io;

use parlo_model::{CodingError, ModelError};
use parlo_protocol::ptk::{BlockTooLarge, FileError, HeaderTooLarge};

/// Why a token file cannot be read or made. One sentence each, to follow the name of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The disk.
    #[error("it cannot be read: {0}")]
    Read(#[source] io::Error),
    /// The disk, or whatever else is written to.
    #[error("it cannot be written: {0}")]
    Write(#[source] io::Error),
    /// It is no token file, or not a whole one.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its checksums are right, and yet its codes are none of the model's.
    #[error("it is damaged {seconds:.1} s in: {error}; what lies before is whole")]
    Codes {
        /// How much lies before.
        seconds: f64,
        /// What is wrong with them.
        error: CodingError,
    },
    /// Frames that do not fit the model.
    #[error(transparent)]
    Frames(#[from] CodingError),
    /// More than fits a block.
    #[error(transparent)]
    TooLarge(#[from] BlockTooLarge),
    /// More than fits a header.
    #[error(transparent)]
    HeaderTooLarge(#[from] HeaderTooLarge),
    /// A block that is only wanted in part, and nothing to decode it with.
    #[error("it is to be cut within a block, for which the model that made it is needed")]
    NeedsModel,
    /// No files.
    #[error("there is nothing to join")]
    Nothing,
    /// Files whose payloads are coded differently.
    #[error("one is entropy-coded and the other plain: encode both alike")]
    OtherCoding,
    /// Files that have more than 256 streams together.
    #[error("together they have more than 256 streams")]
    TooManyStreams,
    /// A stream that is not there.
    #[error("it has no stream {number}; it has {there}")]
    NoStream {
        /// Its number.
        number: u8,
        /// Those that are there.
        there: String,
    },
    /// Another model made it.
    #[error("it was made with the model {made} ({made_id}), not with {given} ({given_id})")]
    OtherModel {
        /// The name of the model that made it.
        made: String,
        /// The first digits of its id.
        made_id: String,
        /// The name of the model that was given.
        given: String,
        /// The first digits of that one's id.
        given_id: String,
    },
    /// Entropy-coded, and the bundle has no entropy model.
    #[error("its tokens are entropy-coded, but the model {0} cannot do that")]
    NoEntropyModel(String),
    /// Nothing for long.
    #[error(
        "it has nothing from {:.1} s to {:.1} s: up to {} hours are played as silence",
        f64::from(*from_ms) / 1000.0, f64::from(*to_ms) / 1000.0, most_ms / 3_600_000
    )]
    Hole {
        /// Where all before had ended, milliseconds.
        from_ms: u32,
        /// Where it goes on.
        to_ms: u32,
        /// How long that may be.
        most_ms: u32,
    },
    /// More sound than a WAV file holds.
    #[error("it holds {} hours, and a sound file up to 4 GiB of samples", seconds / 3600)]
    TooLong {
        /// How long it is.
        seconds: u64,
    },
    /// The model's files.
    #[error(transparent)]
    Model(#[from] ModelError),
}
