//! Token files.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Mutex,
};

use numpy::{IntoPyArray, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray2};
use parlo_archive::{ArchiveError, Coder, FileState, Options, Side, TimedFrame, Writer};
use parlo_audio_io::{
    AtomicFile,
    output::{self, Kind, OutputError, Replace},
};
use parlo_model::Bundle;
use parlo_tokens::TokenFrame;
use pyo3::{
    exceptions::{PyFileExistsError, PyValueError},
    prelude::*,
};

use crate::{
    bundles,
    codec::Codec,
    error::{BundleError, of_archive, of_io, of_writing, shown},
    frames,
    parallel::held,
};

/// Codes [K, T], times in milliseconds [T], marks [T].
type Arrays<'py> = (Bound<'py, PyArray2<i64>>, Bound<'py, PyArray1<f64>>, Bound<'py, PyArray1<u8>>);

/// A token file that is open.
#[pyclass(frozen, module = "parlo._native")]
pub(crate) struct Archive {
    path: PathBuf,
    packaged: PathBuf,
    /// The model that was given, if one was.
    given: Option<Bundle>,
    open: Mutex<Open>,
}

struct Open {
    archive: parlo_archive::Archive<File>,
    /// Made when codes are read first.
    coder: Option<Coder>,
}

#[pymethods]
impl Archive {
    /// Opens the file; its model is looked for when codes are read, if `codec` is none. `packaged` is the package's own folder of
    /// bundles.
    #[new]
    fn new(py: Python<'_>, path: PathBuf, codec: Option<Py<Codec>>, packaged: PathBuf) -> PyResult<Self> {
        let given = codec.map(|codec| codec.get().bundle().clone());
        py.detach(|| {
            let file = File::open(&path).map_err(|error| of_io(&path, &error))?;
            let archive = parlo_archive::Archive::open(file).map_err(|error| of_archive(&path, error))?;
            let tokens = &archive.header().tokens;
            if let Some(given) = &given
                && !given.reads(tokens.id)
            {
                return Err(BundleError::new_err(shown(format!(
                    "{}: it was made with the model {} ({}), not with {}",
                    path.display(),
                    tokens.bundle_name,
                    tokens.id.short(),
                    given.title()
                ))));
            }
            Ok(Self { path, packaged, given, open: Mutex::new(Open { archive, coder: None }) })
        })
    }

    /// Version of the format, the first half of the tokens' id, the bundle's name, rate, samples of a frame, and depth.
    fn header(&self, py: Python<'_>) -> (u8, String, String, u32, u32, u8) {
        py.detach(|| {
            let open = held(&self.open);
            let header = open.archive.header();
            let tokens = &header.tokens;
            let id = tokens.id.to_string();
            (header.version, id, tokens.bundle_name.clone(), tokens.sample_rate, tokens.frame_samples, tokens.depth)
        })
    }

    /// When its clock began, milliseconds since 1970.
    #[getter]
    fn created_ms(&self, py: Python<'_>) -> Option<u64> {
        py.detach(|| held(&self.open).archive.header().created_ms)
    }

    #[getter]
    fn metadata(&self, py: Python<'_>) -> Vec<(String, String)> {
        py.detach(|| held(&self.open).archive.header().metadata.clone())
    }

    /// Number, name and frames of each stream.
    #[getter]
    fn streams(&self, py: Python<'_>) -> Vec<(u8, String, u64)> {
        py.detach(|| {
            let open = held(&self.open);
            let streams = open.archive.header().streams.iter();
            streams.map(|stream| (stream.number, stream.name.clone(), open.archive.frames(stream.number))).collect()
        })
    }

    #[getter]
    fn duration_ms(&self, py: Python<'_>) -> u64 {
        py.detach(|| held(&self.open).archive.duration_ms())
    }

    #[getter]
    fn samples(&self, py: Python<'_>) -> Option<u64> {
        py.detach(|| held(&self.open).archive.samples())
    }

    /// What is wrong with the file; `None` if it is whole.
    #[getter]
    fn damage(&self, py: Python<'_>) -> Option<String> {
        py.detach(|| match held(&self.open).archive.state() {
            FileState::Whole => None,
            FileState::Cut { at } => Some(format!("it breaks off at byte {at}; what lies before is whole")),
            FileState::Damaged { reason, .. } => Some(reason.clone()),
        })
    }

    /// The frames of a stream that begin at or after `from_ms` and before `to_ms`.
    fn read<'py>(&self, py: Python<'py>, stream: u8, from_ms: u64, to_ms: u64) -> PyResult<Arrays<'py>> {
        let (frames, depth) = py.detach(|| {
            let mut open = held(&self.open);
            let Open { archive, coder } = &mut *open;
            let coder = match coder {
                Some(coder) => coder,
                None => coder.insert(self.coder(archive.header())?),
            };
            let mut frames = Vec::new();
            archive.read(coder, stream, from_ms, to_ms, &mut frames).map_err(|error| of_archive(&self.path, error))?;
            Ok::<_, PyErr>((frames, usize::from(archive.header().tokens.depth)))
        })?;
        arrays(py, &frames, depth)
    }
}

impl Archive {
    /// What reads the file's codes.
    fn coder(&self, header: &parlo_archive::FileHeader) -> PyResult<Coder> {
        let tokens = &header.tokens;
        let found;
        let bundle = match &self.given {
            Some(bundle) => bundle,
            None => {
                found = bundles::find(tokens.id, &tokens.bundle_name, &self.packaged)
                    .map_err(|error| about(&self.path, &error))?;
                &found
            }
        };
        parlo_archive::coder(bundle, tokens.coding).map_err(|error| of_archive(&self.path, error))
    }
}

/// A file's sound, a piece at a time.
#[pyclass(frozen, module = "parlo._native")]
pub(crate) struct Sound {
    path: PathBuf,
    /// With how many samples are still wanted.
    open: Mutex<(parlo_archive::Sound<File>, u64)>,
}

#[pymethods]
impl Sound {
    /// That of a side ("said", "heard", "both") of the file from `from_ms` to `to_ms`, on its clock.
    #[new]
    fn new(py: Python<'_>, path: PathBuf, codec: Py<Codec>, side: &str, from_ms: u64, to_ms: u64) -> PyResult<Self> {
        let side = match side {
            "said" => Side::Said,
            "heard" => Side::Heard,
            "both" => Side::Both,
            other => {
                return Err(PyValueError::new_err(format!(
                    "side is {other:?}; \"said\", \"heard\" and \"both\" are possible"
                )));
            }
        };
        py.detach(|| {
            let codec = codec.get();
            let file = File::open(&path).map_err(|error| of_io(&path, &error))?;
            let archive = parlo_archive::Archive::open(file).map_err(|error| of_archive(&path, error))?;
            let most = archive.samples().unwrap_or(u64::MAX);
            let sound = parlo_archive::Sound::open(archive, side, false, codec.runtime(), codec.bundle());
            let mut sound = sound.map_err(|error| of_archive(&path, error))?;
            let samples_at = |ms: u64| ms.saturating_mul(sound.rate().into()) / 1000;
            let end = samples_at(to_ms).min(sound.samples()).min(most);
            let from = samples_at(from_ms).min(end);
            sound.seek(from);
            Ok(Self { path, open: Mutex::new((sound, end - from)) })
        })
    }

    /// Samples that are still to come.
    #[getter]
    fn left(&self, py: Python<'_>) -> u64 {
        py.detach(|| held(&self.open).1)
    }

    /// The next samples; `None` at the end.
    fn read<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyArray1<f32>>>> {
        let piece = py.detach(|| {
            let mut open = held(&self.open);
            let (sound, left) = &mut *open;
            if *left == 0 {
                return Ok(Vec::new());
            }
            let piece = sound.read().map_err(|error| of_archive(&self.path, error))?;
            let piece = &piece[..piece.len().min(usize::try_from(*left).unwrap_or(usize::MAX))];
            *left = if piece.is_empty() { 0 } else { *left - piece.len() as u64 };
            Ok::<_, PyErr>(piece.iter().map(|&sample| f32::from(sample) / 32_768.0).collect())
        })?;
        Ok(if piece.is_empty() { None } else { Some(piece.into_pyarray(py)) })
    }
}

/// The same said of a file.
fn about(path: &Path, error: &PyErr) -> PyErr {
    Python::attach(|py| BundleError::new_err(format!("{}: {}", path.display(), error.value(py))))
}

fn arrays<'py>(py: Python<'py>, frames: &[TimedFrame], depth: usize) -> PyResult<Arrays<'py>> {
    let codes = frames::to_codes(frames.iter().map(|frame| frame.codes.as_ref()), depth);
    let times: Vec<f64> = frames.iter().map(|frame| frame.time_ms / 1000.0).collect();
    let marks: Vec<u8> = frames.iter().map(|frame| frame.mark.number()).collect();
    let codes = codes.into_pyarray(py).reshape([depth, frames.len()])?;
    Ok((codes, times.into_pyarray(py), marks.into_pyarray(py)))
}

/// Writes codes [K, T], all there, as a file of one stream, in the name of `path` only when it is whole.
#[pyfunction]
#[allow(clippy::too_many_arguments, reason = "they are Python's")]
pub(crate) fn write(
    py: Python<'_>,
    path: PathBuf,
    codes: PyReadonlyArray2<'_, i64>,
    codec: &Bound<'_, Codec>,
    samples: Option<u64>,
    created_ms: Option<u64>,
    metadata: Vec<(String, String)>,
    plain: bool,
) -> PyResult<()> {
    let bundle = codec.get().bundle();
    let codes = codes.as_array();
    let frames = whole(frames::of_codes(&codes, bundle.layout(), "codes")?, codes.nrows())?;
    let options = Options { depth: codes.nrows(), plain, created_ms, metadata, ..Options::default() };
    let most = (frames.len() as u64).saturating_mul(bundle.manifest().audio.frame_samples as u64);
    if samples.is_some_and(|samples| samples > most) {
        return Err(PyValueError::new_err(format!(
            "{} frames hold up to {most} samples, not {samples:?}",
            frames.len()
        )));
    }
    py.detach(|| {
        output::check(&path, Kind::Tokens, &[], Replace::OwnKind).map_err(|error| match error {
            error @ OutputError::Other { .. } => PyFileExistsError::new_err(error.to_string()),
            error => PyValueError::new_err(error.to_string()),
        })?;
        let written = AtomicFile::create(&path).map_err(ArchiveError::Write).and_then(|mut file| {
            write_to(&mut file, bundle, &options, &frames, samples)?;
            file.commit().map_err(ArchiveError::Write)
        });
        written.map_err(|error| of_writing(&path, error))
    })
}

/// The same frames, if each has as many codes as it can.
fn whole(frames: Vec<Option<TokenFrame>>, depth: usize) -> PyResult<Vec<TokenFrame>> {
    let is_whole = |frame: &Option<TokenFrame>| frame.filter(|frame| frame.depth() == depth);
    frames
        .iter()
        .enumerate()
        .map(|(at, frame)| {
            is_whole(frame).ok_or_else(|| {
                PyValueError::new_err(format!(
                    "codes: frame {at} has no code (-1) in some codebook, and only whole frames can be written"
                ))
            })
        })
        .collect()
}

fn write_to(
    file: &mut AtomicFile,
    bundle: &Bundle,
    options: &Options,
    frames: &[TokenFrame],
    samples: Option<u64>,
) -> Result<(), ArchiveError> {
    let mut writer = Writer::begin(file, bundle, options)?;
    for frame in frames {
        writer.push(frame)?;
    }
    writer.finish(samples).map(drop)
}
