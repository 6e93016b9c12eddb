use parlo_tokens::{CodeLayout, TokenFrame};

use crate::{
    bundle::Bundle, codes, error::ModelError, graph::Graph, quantizer::Search, runtime::Runtime,
    tensor_io::declared as present,
};

/// How an encoder shall work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncoderConfig {
    /// How many codebooks to use: 1 to the bundle's number. Each adds its bits to every frame.
    pub depth: usize,
    /// How many candidates the search over the codebooks keeps: 1 is the greedy walk. More find codes with less error,
    /// at no cost to the decoder; `docs/lab/performance.md` has what each costs and gains.
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
    dimension: usize,
    /// What the graph put out in its last run, if those are codes: all of each frame.
    coded: Vec<TokenFrame>,
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
        let graph = Graph::load(runtime, bundle, &declared.file, &[&declared.audio], output, &declared.states)?;
        let dimension = bundle.books().dimension();
        Ok(Self {
            search: bundle.books().search(config.beam),
            latent: vec![0.0; dimension * graph.most()],
            dimension,
            coded: Vec::with_capacity(graph.most()),
            graph,
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

    /// Encodes any number of whole frames, a few in each run of the network, which takes much less time than one by one: the
    /// weights come to the processor once a run. The codes are those of [`push`](Self::push) frame by frame, but for near
    /// ties: the last bits of the network's sums depend on how many frames it sums. Allocates for a number of frames (the
    /// last few, or all of up to 32) that is new to this encoder; see [`prepare`](Self::prepare).
    ///
    /// # Errors
    /// If the samples are no whole frames or one is not finite; nothing was encoded then, and the stream can go on. If ONNX
    /// Runtime fails or puts out what is not finite; the frames before are in `out` then.
    pub fn push_many(&mut self, samples: &[f32], out: &mut Vec<TokenFrame>) -> Result<(), ModelError> {
        let (frame, most) = (self.frame_samples, self.graph.most());
        if !samples.len().is_multiple_of(frame) {
            return Err(ModelError::FrameLength { expected: frame, found: samples.len() % frame });
        }
        if !samples.iter().all(|sample| sample.is_finite()) {
            return Err(ModelError::NotFinite("the audio to be encoded"));
        }
        for some in samples.chunks(frame * most) {
            self.run(some)?;
            match &mut self.search {
                Some(search) => {
                    let latents = &self.latent[..some.len() / frame * self.dimension];
                    search.find_many(latents, self.dimension, self.depth, |tokens| out.push(tokens));
                }
                None => out.extend(self.coded.iter().map(|tokens| tokens.truncated(self.depth))),
            }
        }
        Ok(())
    }

    /// Makes all that [`push_many`](Self::push_many) needs for up to so many frames at once, so that it does not allocate
    /// later. To be called at the start of a stream: it is a [`reset`](Self::reset) too.
    ///
    /// # Errors
    /// If ONNX Runtime fails.
    pub fn prepare(&mut self, frames: usize) -> Result<(), ModelError> {
        self.graph.prepare(frames)
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
        self.run(frame)?;
        Ok(&self.latent[..self.dimension])
    }

    /// Runs the network over whole frames, no more than it can take; their latents or codes are in their place then.
    fn run(&mut self, samples: &[f32]) -> Result<(), ModelError> {
        let frames = samples.len() / self.frame_samples;
        self.graph.choose(frames)?;
        self.graph.input_mut(0).copy_from_slice(samples);
        self.graph.run()?;
        if self.search.is_none() {
            self.coded.clear();
            let books = self.layout.depth();
            for found in self.graph.codes().chunks_exact(books) {
                match codes::take(self.graph.file(), &self.layout, found, books) {
                    Ok(frame) => self.coded.push(frame),
                    Err(error) => {
                        self.coded.clear();
                        self.graph.reset();
                        return Err(error);
                    }
                }
            }
            return Ok(());
        }
        if !self.graph.output().iter().all(|value| value.is_finite()) {
            self.graph.reset();
            return Err(ModelError::NotFinite("the encoder's latent"));
        }
        self.latent[..frames * self.dimension].copy_from_slice(self.graph.output());
        Ok(())
    }

    /// The second half of [`push`](Self::push): the codes of the latent that [`analyse`](Self::analyse) found last.
    pub fn quantize(&mut self) -> TokenFrame {
        match &mut self.search {
            Some(search) => search.find(&self.latent[..self.dimension], self.depth),
            None => self.coded.first().map_or_else(codes::nothing, |tokens| tokens.truncated(self.depth)),
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
