//! What goes wrong, as Python's exceptions.

use std::{io, path::Path};

use parlo_archive::ArchiveError;
use parlo_guard::plain_lines;
use parlo_model::ModelError;
use pyo3::{
    create_exception,
    exceptions::{PyException, PyOSError, PyValueError},
    prelude::*,
};

create_exception!(
    parlo,
    ParloError,
    PyException,
    "What goes wrong in Parlo, but for arguments (ValueError, TypeError) and files that cannot be read (OSError)."
);
create_exception!(
    parlo,
    BundleError,
    ParloError,
    "A model that is not here, damaged, or not the one that is needed; or no ONNX Runtime library to run it."
);
create_exception!(parlo, FileError, ParloError, "A token file that is damaged, or none at all.");

/// The longest message, characters.
const LONGEST: usize = 2_000;

/// A message as a terminal may show it: names in it are what files and bundles of others say.
pub(crate) fn shown(text: impl ToString) -> String {
    plain_lines(&text.to_string()).chars().take(LONGEST).collect()
}

/// What a model says, by whose fault it is, and what can be done about it in Python.
pub(crate) fn of_model(error: ModelError) -> PyErr {
    match error {
        ModelError::Depth { .. }
        | ModelError::FrameLength { .. }
        | ModelError::NotFinite(_)
        | ModelError::MixedDepths { .. }
        | ModelError::Tokens { .. } => PyValueError::new_err(shown(error)),
        error @ ModelError::Whole { .. } => {
            PyValueError::new_err(shown(format!("{error}; `Codec.encode` and `Codec.decode` take whole recordings")))
        }
        error @ ModelError::Long { .. } => BundleError::new_err(shown(format!(
            "{error}; take parts of it, or a model that streams, which takes any length"
        ))),
        ModelError::Runtime { reason } => BundleError::new_err(format!(
            "cannot load the ONNX Runtime library: {reason}; `pip install onnxruntime` brings it, or set ORT_DYLIB_PATH to a \
             libonnxruntime.so of version 1.29 or later before the first Codec is made"
        )),
        error @ ModelError::Graph { .. } => BundleError::new_err(format!(
            "{error} (the model that comes with this package needs ONNX Runtime 1.29 or later)"
        )),
        error => BundleError::new_err(shown(error)),
    }
}

/// What an archive says of the file at `path` that is written: of what is to be in it.
pub(crate) fn of_writing(path: &Path, error: ArchiveError) -> PyErr {
    match error {
        error @ (ArchiveError::Read(_) | ArchiveError::Write(_) | ArchiveError::Model(_)) => of_archive(path, error),
        error => PyValueError::new_err(shown(format!("{}: {error}", path.display()))),
    }
}

/// What an archive says of the file at `path` that is read.
pub(crate) fn of_archive(path: &Path, error: ArchiveError) -> PyErr {
    match error {
        ArchiveError::Read(error) | ArchiveError::Write(error) => of_io(path, &error),
        ArchiveError::Model(error) => of_model(error),
        error @ (ArchiveError::OtherModel { .. } | ArchiveError::NoEntropyModel(_)) => {
            BundleError::new_err(shown(format!("{}: {error}", path.display())))
        }
        error @ ArchiveError::Hole { .. } => {
            let parts = "a slice of a stream, as in file[\"heard\"][0:60], takes what lies before or after";
            FileError::new_err(shown(format!("{}: {error}; {parts}", path.display())))
        }
        error => FileError::new_err(shown(format!("{}: {error}", path.display()))),
    }
}

/// What the system says of the file at `path`: `FileNotFoundError` and its like, where Python has them.
pub(crate) fn of_io(path: &Path, error: &io::Error) -> PyErr {
    match error.raw_os_error() {
        // Python makes the right kind of exception of the number.
        Some(number) => {
            let said = error.to_string();
            let said = said.split(" (os error").next().unwrap_or_default().to_owned();
            PyOSError::new_err((number, said, path.as_os_str().to_owned()))
        }
        None => PyOSError::new_err(format!("{}: {error}", path.display())),
    }
}
