use parlo_tokens::TokenFrame;

use crate::{bundle::Bundle, error::ModelError, graph::Graph, quantizer::BeamSearch, runtime::Runtime};

/// How an encoder shall work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncoderConfig {
    /// How many codebooks to use: 1 to the bundle's number. Each adds its bits to every frame.
    pub depth: usize,
    /// How many candidates the search over the codebooks keeps: 1 is the greedy walk. More find codes with less error,
    /// at no cost to the decoder; `docs/performance.md` has what each costs and gains.
    pub beam: usize,
}

impl Default for EncoderConfig {
    fn default() -> Self {
        Self { depth: 6, beam: 4 }
    }
}

/// Turns one stream of audio frames into token frames. Owns all its state; make one per stream.
#[derive(Debug)]
pub struct Encoder {
    graph: Graph,
    search: BeamSearch,
    latent: Vec<f32>,
    frame_samples: usize,
    depth: usize,
    most: usize,
}

impl Encoder {
    /// An encoder at the start of a stream.
    ///
    /// # Errors
    /// If the bundle's encoder graph cannot be loaded or is not as its manifest says, or has fewer codebooks than asked.
    pub fn new(runtime: &Runtime, bundle: &Bundle, config: EncoderConfig) -> Result<Self, ModelError> {
        let declared = &bundle.manifest().encoder;
        let graph =
            Graph::load(runtime, bundle, &declared.file, &[&declared.audio], &declared.latent, &declared.states)?;
        let mut encoder = Self {
            graph,
            search: BeamSearch::new(bundle.codebooks(), config.beam),
            latent: vec![0.0; bundle.codebooks().dimension()],
            frame_samples: bundle.manifest().audio.frame_samples,
            depth: 0,
            most: bundle.layout().depth(),
        };
        encoder.set_depth(config.depth)?;
        Ok(encoder)
    }

    /// How many codebooks the next frames use.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Changes the depth from the next frame on.
    ///
    /// # Errors
    /// If the bundle does not have as many codebooks, or `depth` is 0.
    pub fn set_depth(&mut self, depth: usize) -> Result<(), ModelError> {
        if depth == 0 || depth > self.most {
            return Err(ModelError::Depth { asked: depth, most: self.most });
        }
        self.depth = depth;
        Ok(())
    }

    /// Encodes the next frame: mono samples at the bundle's rate, nominally -1 to 1.
    ///
    /// # Errors
    /// If the frame has the wrong length or holds a value that is not finite; the stream can go on with the next frame.
    /// If ONNX Runtime fails.
    pub fn push(&mut self, frame: &[f32]) -> Result<TokenFrame, ModelError> {
        self.analyse(frame)?;
        Ok(self.quantize())
    }

    /// The first half of [`push`](Self::push): audio to latent, which is also returned. For those who want the time of
    /// each half, or the latent.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn analyse(&mut self, frame: &[f32]) -> Result<&[f32], ModelError> {
        if frame.len() != self.frame_samples {
            return Err(ModelError::FrameLength { expected: self.frame_samples, found: frame.len() });
        }
        // One such value would stay in the network's states for ever.
        if !frame.iter().all(|sample| sample.is_finite()) {
            return Err(ModelError::NotFinite("the audio to be encoded"));
        }
        self.graph.input_mut(0).copy_from_slice(frame);
        self.graph.run()?;
        if !self.graph.output().iter().all(|value| value.is_finite()) {
            self.graph.reset();
            return Err(ModelError::NotFinite("the encoder's latent"));
        }
        self.latent.copy_from_slice(self.graph.output());
        Ok(&self.latent)
    }

    /// The second half of [`push`](Self::push): the codes of the latent that [`analyse`](Self::analyse) found last.
    pub fn quantize(&mut self) -> TokenFrame {
        self.search.find(&self.latent, self.depth)
    }

    /// The squared distance between the latent that was quantized last and the sum of its codes' entries.
    pub fn quantization_error(&self) -> f32 {
        self.search.error()
    }

    /// Forgets everything heard so far, as if new.
    pub fn reset(&mut self) {
        self.graph.reset();
    }
}
