//! Sound files in.

use std::path::PathBuf;

use numpy::{IntoPyArray, PyArray1};
use parlo_audio_io::{AudioError, AudioReader, Channel, MonoReader};
use pyo3::{exceptions::PyValueError, prelude::*};

use crate::error::{FileError, of_io};

/// One channel's samples, their rate, and a sentence for each thing that was damaged or missing.
type Sound<'py> = (Bound<'py, PyArray1<f32>>, u32, Vec<String>);

/// Reads all of a sound file.
#[pyfunction]
pub(crate) fn read_audio<'py>(py: Python<'py>, path: PathBuf, channel: &str) -> PyResult<Sound<'py>> {
    let channel: Channel = channel.parse().map_err(|error| PyValueError::new_err(format!("channel: {error}")))?;
    let read = py.detach(|| {
        let mut reader = MonoReader::new(AudioReader::open(&path)?, channel)?;
        let samples = reader.read_all()?;
        let mut told: Vec<String> = reader.faults().sentences().collect();
        if reader.repaired() > 0 {
            told.push(format!("{} samples were no numbers, and became silence", reader.repaired()));
        }
        Ok((samples, reader.rate(), told))
    });
    match read {
        Ok((samples, rate, told)) => Ok((samples.into_pyarray(py), rate, told)),
        Err(AudioError::Unreadable { error, .. }) => Err(of_io(&path, &error)),
        Err(error @ AudioError::Unusable { .. }) => Err(PyValueError::new_err(error.to_string())),
        Err(error) => Err(FileError::new_err(error.to_string())),
    }
}
