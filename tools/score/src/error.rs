/// Why a measure has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScoreError {
    /// Too little to say anything.
    #[error("{seconds:.2} s of speech are too short to be compared; {needed:.2} s are needed")]
    TooShort {
        /// What there is, silence left out.
        seconds: f64,
        /// What is needed.
        needed: f64,
    },
    /// Signals that should be equally long are not.
    #[error("signals of {0} and {1} samples cannot be compared; cut them to one length")]
    Lengths(usize, usize),
    /// One of the signals is silent: which.
    #[error("the {0} is silent: there is nothing to compare")]
    Silent(&'static str),
    /// Samples that are no numbers.
    #[error("a signal holds a sample that is not a finite number")]
    NotFinite,
    /// The picture cannot be written.
    #[error("cannot write {file}: {error}")]
    Picture {
        /// The file.
        file: String,
        /// What was wrong.
        error: String,
    },
}

pub(crate) fn check(signal: &[f32]) -> Result<(), ScoreError> {
    if signal.iter().all(|sample| sample.is_finite()) { Ok(()) } else { Err(ScoreError::NotFinite) }
}
