use parlo_tokens::{CodeLayout, TokenFrame};

use crate::{
    bundle::Bundle, codes, error::ModelError, graph::Graph, port::declared as present, quantizer::Search,
    runtime::Runtime,
};

/// How an encoder shall work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncoderConfig {
    /// How many codebooks to use: 1 to the bundle's number. Each adds its bits to every frame.
    pub depth: usize,
    /// How many candidates the search over the codebooks keeps: 1 is the greedy walk. More find codes with less error,
    /// at no cost to the decoder; `docs/performance.md` has what each costs and gains.
    pub beam: usize,
}

impl EncoderConfig {
    /// The default, but with no more codebooks than the bundle has.
    pub fn usual(bundle: &Bundle) -> Self {
        let usual = Self::default();
        Self { depth: usual.depth.min(bundle.layout().depth()), ..usual }
    }
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
    /// `None` if the graph puts out codes.
    search: Option<Search>,
    latent: Vec<f32>,
    /// What the graph put out last, if those are codes: all of them.
    coded: TokenFrame,
    layout: CodeLayout,
    frame_samples: usize,
    depth: usize,
}

impl Encoder {
    /// An encoder at the start of a stream.
    ///
    /// # Errors
    /// If the bundle's encoder graph cannot be loaded or is not as its manifest says, if it takes whole recordings only
    /// ([`WholeEncoder`](crate::WholeEncoder)), or has fewer codebooks than asked.
    pub fn new(runtime: &Runtime, bundle: &Bundle, config: EncoderConfig) -> Result<Self, ModelError> {
        bundle.streams()?;
        bundle.check_depth(config.depth)?;
        let declared = &bundle.manifest().encoder;
        let output = present(declared.latent.as_ref().or(declared.codes.as_ref()));
        Ok(Self {
            graph: Graph::load(runtime, bundle, &declared.file, &[&declared.audio], output, &declared.states)?,
            search: bundle.books().search(config.beam),
            latent: vec![0.0; bundle.books().dimension()],
            coded: codes::nothing(),
            layout: *bundle.layout(),
            frame_samples: bundle.manifest().audio.frame_samples,
            depth: config.depth,
        })
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
        let most = self.layout.depth();
        if depth == 0 || depth > most {
            return Err(ModelError::Depth { asked: depth, most });
        }
        self.depth = depth;
        Ok(())
    }

    /// Encodes the next frame: mono samples at the bundle's rate, nominally -1 to 1.
    ///
    /// # Errors
    /// If the frame has the wrong length or holds a value that is not finite; the stream can go on with the next frame.
    /// If ONNX Runtime fails, or the graph puts out codes that there are not.
    pub fn push(&mut self, frame: &[f32]) -> Result<TokenFrame, ModelError> {
        self.analyse(frame)?;
        Ok(self.quantize())
    }

    /// The first half of [`push`](Self::push): audio to latent, which is also returned. For those who want the time of
    /// each half, or the latent; which is empty where the graph puts out codes.
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
        if self.search.is_none() {
            let found = codes::take(self.graph.file(), &self.layout, self.graph.codes(), self.layout.depth());
            self.coded = found.inspect_err(|_| self.graph.reset())?;
            return Ok(&self.latent);
        }
        if !self.graph.output().iter().all(|value| value.is_finite()) {
            self.graph.reset();
            return Err(ModelError::NotFinite("the encoder's latent"));
        }
        self.latent.copy_from_slice(self.graph.output());
        Ok(&self.latent)
    }

    /// The second half of [`push`](Self::push): the codes of the latent that [`analyse`](Self::analyse) found last.
    pub fn quantize(&mut self) -> TokenFrame {
        match &mut self.search {
            Some(search) => search.find(&self.latent, self.depth),
            None => self.coded.truncated(self.depth),
        }
    }

    /// The squared distance between the latent that was quantized last and what its codes stand for; 0 where the graph puts out
    /// codes.
    pub fn quantization_error(&self) -> f32 {
        self.search.as_ref().map_or(0.0, Search::error)
    }

    /// Forgets everything heard so far, as if new.
    pub fn reset(&mut self) {
        self.graph.reset();
    }
}
