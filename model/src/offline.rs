//! Bundles whose graphs take a whole recording at once. Nothing is carried from run to run, so nothing is bound or kept: a run
//! makes its tensors, which are as long as the recording.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use ort::{
    session::{Session, SessionInputValue},
    value::Tensor,
};
use parlo_tokens::{CodeLayout, TokenFrame};

use crate::{
    bundle::Bundle,
    codes,
    encoder::EncoderConfig,
    error::ModelError,
    graph::{check_ports, open_session},
    manifest::Tensor as Declared,
    quantizer::Search,
    runtime::Runtime,
    tensor_io::declared as present,
};

/// Turns whole recordings into token frames, with a bundle that takes nothing less. Takes memory by the recording's length: some
/// hundred times the samples themselves, by the model.
#[derive(Debug)]
pub struct WholeEncoder {
    graph: WholeGraph,
    audio: Declared,
    output: Declared,
    search: Option<Search>,
    layout: CodeLayout,
    frame_samples: usize,
    depth: usize,
    bundle: Bundle,
}

impl WholeEncoder {
    /// An encoder for any number of recordings.
    ///
    /// # Errors
    /// If the bundle's encoder graph cannot be loaded or is not as its manifest says, if it takes one frame a run, or has fewer
    /// codebooks than asked.
    pub fn new(runtime: &Runtime, bundle: &Bundle, config: EncoderConfig) -> Result<Self, ModelError> {
        bundle.check_depth(config.depth)?;
        let declared = &bundle.manifest().encoder;
        let output = present(declared.latent.as_ref().or(declared.codes.as_ref()));
        Ok(Self {
            graph: WholeGraph::load(runtime, bundle, &declared.file, &[&declared.audio], output)?,
            audio: declared.audio.clone(),
            output: output.clone(),
            search: bundle.books().search(config.beam),
            layout: *bundle.layout(),
            bundle: bundle.clone(),
            frame_samples: bundle.manifest().audio.frame_samples,
            depth: config.depth,
        })
    }

    /// Encodes a recording: mono samples at the bundle's rate, nominally -1 to 1. Silence fills up the last frame.
    ///
    /// # Errors
    /// If there is more than an hour of it, a sample is not finite, ONNX Runtime fails, or the graph does not put out as many frames as it should.
    pub fn encode(&mut self, samples: &[f32]) -> Result<Vec<TokenFrame>, ModelError> {
        if !samples.iter().all(|sample| sample.is_finite()) {
            return Err(ModelError::NotFinite("the audio to be encoded"));
        }
        let frames = samples.len().div_ceil(self.frame_samples);
        if frames == 0 {
            return Ok(Vec::new());
        }
        self.bundle.takes(frames)?;
        let mut audio = Vec::with_capacity(frames * self.frame_samples);
        audio.extend_from_slice(samples);
        audio.resize(frames * self.frame_samples, 0.0);
        let audio = self.graph.floats(&self.audio, frames, audio)?;
        let Self { graph, output, search, layout, depth, .. } = self;
        match search {
            Some(search) => {
                let dimension = output.shape_for(1).iter().product::<i64>().unsigned_abs() as usize;
                let latents = graph.run::<f32>(vec![audio], output, frames, dimension)?;
                if !latents.iter().all(|value| value.is_finite()) {
                    return Err(ModelError::NotFinite("the encoder's latent"));
                }
                Ok(latents.chunks_exact(dimension).map(|latent| search.find(latent, *depth)).collect())
            }
            None => {
                let found = graph.run::<i64>(vec![audio], output, frames, layout.depth())?;
                let found = found.chunks_exact(layout.depth());
                found.map(|codes| codes::take(&graph.file, layout, codes, *depth)).collect()
            }
        }
    }
}

/// Turns token frames into whole recordings, with a bundle that takes nothing less.
#[derive(Debug)]
pub struct WholeDecoder {
    graph: WholeGraph,
    bundle: Bundle,
}

impl WholeDecoder {
    /// A decoder for any number of recordings.
    ///
    /// # Errors
    /// If the bundle's decoder graph cannot be loaded or is not as its manifest says, or takes one frame a run.
    pub fn new(runtime: &Runtime, bundle: &Bundle) -> Result<Self, ModelError> {
        let declared = &bundle.manifest().decoder;
        let inputs = [&declared.latent, &declared.codes, &declared.depth_one_hot, &declared.in_use];
        let inputs: Vec<_> = inputs.into_iter().flatten().collect();
        let graph = WholeGraph::load(runtime, bundle, &declared.file, &inputs, &declared.audio)?;
        Ok(Self { graph, bundle: bundle.clone() })
    }

    /// Decodes a recording: as many samples as the frames have, mono, at the bundle's rate.
    ///
    /// # Errors
    /// If there are more than an hour of frames, they do not fit the bundle's codebooks or have different depths, ONNX Runtime fails, or the graph does not put out as
    /// many samples as it should.
    pub fn decode(&mut self, frames: &[TokenFrame]) -> Result<Vec<f32>, ModelError> {
        let Some(depth) = frames.first().map(TokenFrame::depth) else { return Ok(Vec::new()) };
        for frame in frames {
            self.bundle.check_tokens(frame)?;
            if frame.depth() != depth {
                return Err(ModelError::MixedDepths { first: depth, other: frame.depth() });
            }
        }
        self.bundle.takes(frames.len())?;
        let (count, books) = (frames.len(), self.bundle.books());
        let declared = &self.bundle.manifest().decoder;
        let mut inputs = Vec::with_capacity(2);
        if let Some(latent) = &declared.latent {
            let mut latents = vec![0.0; count * books.dimension()];
            for (frame, latent) in frames.iter().zip(latents.chunks_exact_mut(books.dimension().max(1))) {
                books.sum(frame, latent);
            }
            inputs.push(self.graph.floats(latent, count, latents)?);
        }
        if let Some(codes) = &declared.codes {
            let mut all = vec![0; count * self.bundle.layout().depth()];
            for (frame, place) in frames.iter().zip(all.chunks_exact_mut(self.bundle.layout().depth())) {
                codes::put(frame, place);
            }
            inputs.push(self.graph.codes(codes, count, all)?);
        }
        if let Some(one_hot) = &declared.depth_one_hot {
            let mut values = vec![0.0; self.bundle.layout().depth() + 1];
            values[depth] = 1.0;
            inputs.push(self.graph.floats(one_hot, 1, values)?);
        }
        if let Some(in_use) = &declared.in_use {
            let mut values = vec![0.0; self.bundle.layout().depth()];
            codes::put_in_use(depth, &mut values);
            inputs.push(self.graph.floats(in_use, 1, values)?);
        }
        let frame_samples = self.bundle.manifest().audio.frame_samples;
        let audio = self.graph.run::<f32>(inputs, &declared.audio, count, frame_samples)?;
        if !audio.iter().all(|sample| sample.is_finite()) {
            return Err(ModelError::NotFinite("the decoder's audio"));
        }
        Ok(audio)
    }
}

/// A graph without states, of any length.
struct WholeGraph {
    session: Session,
    file: PathBuf,
}

type Input = (Cow<'static, str>, SessionInputValue<'static>);

impl WholeGraph {
    fn load(
        runtime: &Runtime,
        bundle: &Bundle,
        name: &str,
        inputs: &[&Declared],
        output: &Declared,
    ) -> Result<Self, ModelError> {
        if bundle.whole().is_none() {
            return Err(ModelError::Streams { name: bundle.manifest().name.clone() });
        }
        let file = bundle.folder().join(name);
        let session = open_session(runtime, &file, &bundle.read(name)?)?;
        check_ports(&file, &session, inputs, output, &[])?;
        Ok(Self { session, file })
    }

    fn floats(&self, declared: &Declared, frames: usize, values: Vec<f32>) -> Result<Input, ModelError> {
        let tensor = Tensor::from_array((declared.shape_for(frames), values)).map_err(|error| self.failed(&error))?;
        Ok((declared.name.clone().into(), tensor.into()))
    }

    fn codes(&self, declared: &Declared, frames: usize, values: Vec<i64>) -> Result<Input, ModelError> {
        let tensor = Tensor::from_array((declared.shape_for(frames), values)).map_err(|error| self.failed(&error))?;
        Ok((declared.name.clone().into(), tensor.into()))
    }

    /// The output's values, of which each frame has `each`.
    fn run<T: ort::value::PrimitiveTensorElementType + Copy + std::fmt::Debug>(
        &mut self,
        inputs: Vec<Input>,
        output: &Declared,
        frames: usize,
        each: usize,
    ) -> Result<Vec<T>, ModelError> {
        let failed = |file: &Path, reason: String| ModelError::Graph { file: file.to_owned(), reason };
        let outputs = self.session.run(inputs).map_err(|error| failed(&self.file, error.to_string()))?;
        let (_, values) = outputs[output.name.as_str()]
            .try_extract_tensor::<T>()
            .map_err(|error| failed(&self.file, error.to_string()))?;
        let expected = frames * each;
        if values.len() != expected {
            let (file, tensor) = (self.file.clone(), output.name.clone());
            return Err(ModelError::Output { file, tensor, frames, expected, found: values.len() });
        }
        Ok(values.to_vec())
    }

    fn failed(&self, error: &ort::Error) -> ModelError {
        ModelError::Graph { file: self.file.clone(), reason: error.to_string() }
    }
}

impl std::fmt::Debug for WholeGraph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WholeGraph").field("file", &self.file).finish_non_exhaustive()
    }
}
