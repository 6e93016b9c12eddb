//! A model, for whole recordings in batches; it also makes streams.

use std::path::PathBuf;

use numpy::{
    PyReadonlyArray1, PyReadonlyArray2, PyReadwriteArray1, PyReadwriteArray2,
    ndarray::{ArrayViewMut2, s},
};
use parlo_archive::MAX_BLOCK_FRAMES;
use parlo_model::{Audio, Bundle, Decoder, Encoder, EncoderConfig, ModelError, Runtime, WholeDecoder, WholeEncoder};
use parlo_tokens::TokenFrame;
use pyo3::{
    exceptions::{PyRuntimeError, PyValueError},
    prelude::*,
};

use crate::{
    bundles,
    error::of_model,
    frames,
    parallel::{Pool, Stop, spread},
    stream_codec::{self, ToSamples, ToTokens},
    streams,
};

/// Frames decoded together, counted from the start: those of a block of a file, as `parlo decode` does.
const PIECE: usize = MAX_BLOCK_FRAMES;

/// A model, and encoders and decoders of it that wait for work.
#[pyclass(frozen, module = "parlo._native")]
pub(crate) struct Codec {
    runtime: Runtime,
    bundle: Bundle,
    /// By the beam that they were made for.
    encoders: Pool<usize, Encoder>,
    decoders: Pool<(), Decoder>,
}

#[pymethods]
impl Codec {
    /// Opens the `bundle` of this name or in this folder, or the usual one; `packaged` is the package's own folder of bundles. `library` is the ONNX Runtime
    /// to load, unless one was loaded before.
    #[new]
    fn new(py: Python<'_>, bundle: Option<PathBuf>, library: Option<PathBuf>, packaged: PathBuf) -> PyResult<Self> {
        py.detach(|| {
            let bundle = Bundle::open(&bundles::locate(bundle.as_deref(), &packaged)?).map_err(of_model)?;
            let runtime = Runtime::load(library.as_deref()).map_err(of_model)?;
            Ok(Self { runtime, bundle, encoders: Pool::new(), decoders: Pool::new() })
        })
    }

    #[getter]
    fn name(&self) -> &str {
        &self.bundle.manifest().name
    }

    #[getter]
    fn bundle_id(&self) -> String {
        self.bundle.id().to_string()
    }

    #[getter]
    fn tokens_id(&self) -> String {
        self.bundle.tokens().to_string()
    }

    /// All identities of its tokens, 64 digits each, `tokens_id` first.
    #[getter]
    fn identities(&self) -> Vec<String> {
        self.bundle.identities().iter().map(ToString::to_string).collect()
    }

    #[getter]
    fn folder(&self) -> String {
        self.bundle.folder().display().to_string()
    }

    #[getter]
    fn library(&self) -> String {
        self.runtime.library().display().to_string()
    }

    #[getter]
    fn sampling_rate(&self) -> u32 {
        self.audio().sample_rate
    }

    #[getter]
    fn frame_samples(&self) -> usize {
        self.audio().frame_samples
    }

    #[getter]
    fn delay_samples(&self) -> usize {
        self.audio().delay_samples
    }

    #[getter]
    fn codebook_sizes(&self) -> Vec<u32> {
        self.bundle.layout().sizes().to_vec()
    }

    fn num_samples(&self, samples: u64, rate: u32) -> u64 {
        stream_codec::num_samples(samples, rate, self.audio())
    }

    fn num_frames(&self, samples: u64, rate: u32) -> u64 {
        stream_codec::num_frames(samples, rate, self.audio())
    }

    /// Encodes each of `waves` (contiguous) into that of `made`, [depth, `num_frames`], of the same place.
    #[allow(clippy::too_many_arguments, reason = "they are Python's")]
    fn encode(
        &self,
        py: Python<'_>,
        waves: Vec<PyReadonlyArray1<'_, f32>>,
        mut made: Vec<PyReadwriteArray2<'_, i64>>,
        rate: u32,
        depth: usize,
        beam: usize,
        threads: usize,
    ) -> PyResult<()> {
        self.check_depth(depth)?;
        check_beam(beam)?;
        if waves.is_empty() {
            return Err(PyValueError::new_err("wav is empty: there is nothing to encode"));
        }
        let mut jobs = Vec::with_capacity(waves.len());
        for (n, (wave, made)) in waves.iter().zip(&mut made).enumerate() {
            let wave = wave.as_slice()?;
            if wave.is_empty() {
                return Err(PyValueError::new_err(format!("wav[{n}] is empty: there is nothing to encode")));
            }
            jobs.push((wave, made.as_array_mut()));
        }
        py.detach(|| {
            (0..).zip(&jobs).try_for_each(|(n, (wave, _))| stream_codec::check_finite(wave, &format!("wav[{n}]")))
        })?;
        if self.bundle.whole().is_some() {
            let config = EncoderConfig { depth, beam };
            return spread(
                py,
                jobs,
                threads,
                || WholeEncoder::new(&self.runtime, &self.bundle, config).map_err(of_model),
                |encoder, (wave, mut made), _| {
                    let samples = stream_codec::at_once(self.audio(), wave, rate)?;
                    let tokens = encoder.encode(&samples).map_err(of_model)?;
                    put_codes(&tokens, 0, &mut made).map(drop)
                },
                drop,
            );
        }
        let begin = || self.take_encoder(depth, beam).map(Some);
        spread(
            py,
            jobs,
            threads,
            begin,
            |tool, (wave, made), stop| {
                // Taken out and put back: a recording that fails leaves the tool behind.
                let encoder = tool.take().map_or_else(|| self.take_encoder(depth, beam), Ok)?;
                *tool = Some(self.encode_one(encoder, wave, made, rate, stop)?);
                Ok(())
            },
            |tool| tool.into_iter().for_each(|encoder| self.encoders.put(beam, encoder)),
        )
    }

    /// Decodes each of `codes` into that of `made`, as many samples as that has, of the same place. Frames without codes at the end
    /// are no frames: their samples are left as they are.
    fn decode(
        &self,
        py: Python<'_>,
        codes: Vec<PyReadonlyArray2<'_, i64>>,
        mut made: Vec<PyReadwriteArray1<'_, f32>>,
        threads: usize,
    ) -> PyResult<()> {
        let mut jobs = Vec::with_capacity(codes.len());
        for (n, (codes, made)) in codes.iter().zip(&mut made).enumerate() {
            let mut frames = frames::of_codes(&codes.as_array(), self.bundle.layout(), &format!("codes[{n}]"))?;
            frames.truncate(frames.iter().rposition(Option::is_some).map_or(0, |last| last + 1));
            jobs.push((frames, made.as_slice_mut()?));
        }
        if self.bundle.whole().is_some() {
            return spread(
                py,
                jobs,
                threads,
                || WholeDecoder::new(&self.runtime, &self.bundle).map_err(of_model),
                |decoder, (frames, made), _| self.decode_at_once(decoder, &frames, made),
                drop,
            );
        }
        spread(
            py,
            jobs,
            threads,
            || self.take_decoder().map(Some),
            |tool, (frames, made), stop| {
                let decoder = tool.take().map_or_else(|| self.take_decoder(), Ok)?;
                *tool = Some(self.decode_one(decoder, &frames, made, stop)?);
                Ok(())
            },
            |tool| tool.into_iter().for_each(|decoder| self.decoders.put((), decoder)),
        )
    }

    /// A stream of sound at `rate` Hz.
    fn encoder(&self, py: Python<'_>, rate: u32, depth: usize, beam: usize) -> PyResult<streams::Encoder> {
        self.check_depth(depth)?;
        check_beam(beam)?;
        py.detach(|| {
            let encoder = self.take_encoder(depth, beam)?;
            Ok(streams::Encoder::new(ToTokens::stream(encoder, self.audio(), rate)?))
        })
    }

    /// A stream of codes.
    fn decoder(&self, py: Python<'_>) -> PyResult<streams::Decoder> {
        py.detach(|| {
            let line = ToSamples::new(self.take_decoder()?, self.audio());
            Ok(streams::Decoder::new(line, *self.bundle.layout()))
        })
    }
}

impl Codec {
    pub(crate) fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    fn audio(&self) -> &Audio {
        &self.bundle.manifest().audio
    }

    fn check_depth(&self, depth: usize) -> PyResult<()> {
        let most = self.bundle.layout().depth();
        if (1..=most).contains(&depth) { Ok(()) } else { Err(of_model(ModelError::Depth { asked: depth, most })) }
    }

    fn take_encoder(&self, depth: usize, beam: usize) -> PyResult<Encoder> {
        let config = EncoderConfig { depth, beam };
        let waiting = self.encoders.take(&beam);
        let made = waiting.map_or_else(|| Encoder::new(&self.runtime, &self.bundle, config), Ok);
        let mut encoder = made.map_err(of_model)?;
        encoder.set_depth(depth).map_err(of_model)?;
        Ok(encoder)
    }

    fn take_decoder(&self) -> PyResult<Decoder> {
        self.decoders.take(&()).map_or_else(|| Decoder::new(&self.runtime, &self.bundle), Ok).map_err(of_model)
    }

    fn encode_one(
        &self,
        encoder: Encoder,
        wave: &[f32],
        mut made: ArrayViewMut2<'_, i64>,
        rate: u32,
        stop: &Stop,
    ) -> PyResult<Encoder> {
        let mut line = ToTokens::recording(encoder, self.audio(), rate)?;
        let (mut tokens, mut done) = (Vec::new(), 0);
        let mut pieces = wave.chunks(rate.max(1) as usize);
        loop {
            let piece = pieces.next();
            match piece {
                Some(piece) => line.push(piece, &mut tokens),
                None => line.finish(&mut tokens),
            }
            .map_err(of_model)?;
            done = put_codes(&tokens, done, &mut made)?;
            tokens.clear();
            if piece.is_none() || stop.is_wanted() {
                return Ok(line.into_encoder());
            }
        }
    }

    fn decode_one(
        &self,
        mut decoder: Decoder,
        frames: &[Option<TokenFrame>],
        made: &mut [f32],
        stop: &Stop,
    ) -> PyResult<Decoder> {
        decoder.reset();
        let mut line = ToSamples::new(decoder, self.audio());
        let (mut samples, mut rest) = (Vec::new(), made);
        for piece in frames.chunks(PIECE) {
            if rest.is_empty() || stop.is_wanted() {
                break;
            }
            line.push(piece, &mut samples).map_err(of_model)?;
            let count = samples.len().min(rest.len());
            let (now, later) = rest.split_at_mut(count);
            now.copy_from_slice(&samples[..count]);
            rest = later;
            samples.clear();
        }
        Ok(line.into_decoder())
    }
}

impl Codec {
    fn decode_at_once(
        &self,
        decoder: &mut WholeDecoder,
        frames: &[Option<TokenFrame>],
        made: &mut [f32],
    ) -> PyResult<()> {
        if let Some(at) = frames.iter().position(Option::is_none) {
            return Err(PyValueError::new_err(format!(
                "frame {at} has no codes (-1), and this model decodes whole recordings only: it cannot make up for lost frames"
            )));
        }
        let frames: Vec<TokenFrame> = frames.iter().flatten().copied().collect();
        if frames.is_empty() {
            return Ok(());
        }
        let samples = decoder.decode(&frames).map_err(of_model)?;
        let samples = samples.get(self.audio().delay_samples..).unwrap_or_default();
        let count = samples.len().min(made.len());
        made[..count].copy_from_slice(&samples[..count]);
        Ok(())
    }
}

/// Writes frames into the columns of `made` from `at` on. Gives where the next begin.
fn put_codes(tokens: &[TokenFrame], at: usize, made: &mut ArrayViewMut2<'_, i64>) -> PyResult<usize> {
    let (books, end) = (made.nrows(), at + tokens.len());
    if end > made.ncols() || tokens.iter().any(|frame| frame.depth() != books) {
        return Err(PyRuntimeError::new_err(format!(
            "{end} frames do not fit an array of {} [codebooks, frames]: this is a fault of Parlo's, please report it",
            format_args!("[{books}, {}]", made.ncols())
        )));
    }
    for (mut column, frame) in made.slice_mut(s![.., at..end]).columns_mut().into_iter().zip(tokens) {
        column.iter_mut().zip(frame.codes()).for_each(|(slot, &code)| *slot = i64::from(code));
    }
    Ok(end)
}

fn check_beam(beam: usize) -> PyResult<()> {
    if (1..=32).contains(&beam) {
        return Ok(());
    }
    Err(PyValueError::new_err(format!("beam {beam} is not possible; 1 to 32 are, and beyond 16 nothing is gained")))
}
