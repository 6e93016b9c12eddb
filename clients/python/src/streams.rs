//! Streams: sound or codes as they come.

use std::sync::Mutex;

use numpy::{IntoPyArray, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2};
use parlo_tokens::{CodeLayout, TokenFrame};
use pyo3::{exceptions::PyValueError, prelude::*};

use crate::{
    error::of_model,
    frames,
    parallel::held,
    stream_codec::{self, ToSamples, ToTokens},
};

/// The most frames made up at once: an hour is a mistake.
const MOST_CONCEALED: usize = 100_000;

/// One stream of sound.
#[pyclass(frozen, module = "parlo._native")]
pub(crate) struct Encoder {
    line: Mutex<ToTokens>,
}

impl Encoder {
    pub(crate) fn new(line: ToTokens) -> Self {
        Self { line: Mutex::new(line) }
    }
}

#[pymethods]
impl Encoder {
    #[getter]
    fn depth(&self, py: Python<'_>) -> usize {
        py.detach(|| held(&self.line).encoder().depth())
    }

    #[setter]
    fn set_depth(&self, py: Python<'_>, depth: usize) -> PyResult<()> {
        py.detach(|| held(&self.line).encoder().set_depth(depth).map_err(of_model))
    }

    #[getter]
    fn num_samples(&self, py: Python<'_>) -> u64 {
        py.detach(|| held(&self.line).samples())
    }

    /// Takes samples (contiguous); gives the codes [K, t] of the frames that are whole now.
    fn push<'py>(&self, py: Python<'py>, samples: PyReadonlyArray1<'py, f32>) -> PyResult<Bound<'py, PyArray2<i64>>> {
        let samples = samples.as_slice()?;
        let (tokens, depth) = py.detach(|| {
            stream_codec::check_finite(samples, "samples")?;
            let (mut tokens, mut line) = (Vec::new(), held(&self.line));
            line.push(samples, &mut tokens).map_err(of_model)?;
            Ok::<_, PyErr>((tokens, line.encoder().depth()))
        })?;
        codes(py, &tokens, depth)
    }

    /// Ends the stream; the next push begins another.
    fn flush<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<i64>>> {
        let (tokens, depth) = py.detach(|| {
            let (mut tokens, mut line) = (Vec::new(), held(&self.line));
            let finished = line.finish(&mut tokens).map_err(of_model);
            line.reset()?;
            finished?;
            Ok::<_, PyErr>((tokens, line.encoder().depth()))
        })?;
        codes(py, &tokens, depth)
    }

    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| held(&self.line).reset())
    }
}

/// Codes as an array [K, t]; the memory is moved into it.
fn codes<'py>(py: Python<'py>, tokens: &[TokenFrame], depth: usize) -> PyResult<Bound<'py, PyArray2<i64>>> {
    let codes = frames::to_codes(tokens.iter().map(Some), depth);
    codes.into_pyarray(py).reshape([depth, tokens.len()])
}

/// One stream of codes.
#[pyclass(frozen, module = "parlo._native")]
pub(crate) struct Decoder {
    line: Mutex<ToSamples>,
    layout: CodeLayout,
}

impl Decoder {
    pub(crate) fn new(line: ToSamples, layout: CodeLayout) -> Self {
        Self { line: Mutex::new(line), layout }
    }
}

#[pymethods]
impl Decoder {
    #[getter]
    fn num_frames(&self, py: Python<'_>) -> u64 {
        py.detach(|| held(&self.line).frames())
    }

    /// Takes codes [K, t]; gives what they render.
    fn push<'py>(&self, py: Python<'py>, codes: PyReadonlyArray2<'py, i64>) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let frames = frames::of_codes(&codes.as_array(), &self.layout, "codes")?;
        self.render(py, &frames)
    }

    /// Makes up for frames that did not come.
    fn conceal<'py>(&self, py: Python<'py>, frames: usize) -> PyResult<Bound<'py, PyArray1<f32>>> {
        if frames > MOST_CONCEALED {
            return Err(PyValueError::new_err(format!(
                "{frames} frames are too many to be made up at once; up to {MOST_CONCEALED} are possible"
            )));
        }
        self.render(py, &vec![None; frames])
    }

    /// Ends the stream; the next push begins another.
    fn flush<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let samples = py.detach(|| {
            let mut samples = Vec::new();
            held(&self.line).finish(&mut samples).map(|()| samples)
        });
        Ok(samples.map_err(of_model)?.into_pyarray(py))
    }

    fn reset(&self, py: Python<'_>) {
        py.detach(|| held(&self.line).reset());
    }
}

impl Decoder {
    fn render<'py>(&self, py: Python<'py>, frames: &[Option<TokenFrame>]) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let samples = py.detach(|| {
            let mut samples = Vec::new();
            held(&self.line).push(frames, &mut samples).map(|()| samples)
        });
        Ok(samples.map_err(of_model)?.into_pyarray(py))
    }
}
