use std::sync::Arc;

use parlo_tokens::{CodeLayout, Slot, TokenFrame};

use crate::{
    bundle::Bundle, error::ModelError, foresight::Foresight, graph::Graph, quantizer::Codebooks, runtime::Runtime,
};

/// How many missing frames it takes until concealment has glided to silence: 200 ms at 20 ms a frame. Speech sounds last
/// about half as long; what is made up longer is a buzz and no help. docs/loss.md has what else was measured.
const GLIDE_FRAMES: i32 = 10;

/// How much of the last frame is in the first missing one; the rest is what the entropy model expects. In the second it is
/// the square of this, and so on: the longer the gap, the less the last frame tells.
const KEPT: f32 = 0.8;

/// Turns one stream of token frames into audio. Owns all its state; make one per stream.
#[derive(Debug)]
pub struct Decoder {
    graph: Graph,
    codebooks: Arc<Codebooks>,
    layout: CodeLayout,
    tells_depth: bool,
    audio: Vec<f32>,
    foresight: Option<Foresight>,
    last: Option<TokenFrame>,
    missing: i32,
    gain: f32,
}

impl Decoder {
    /// A decoder at the start of a stream.
    ///
    /// # Errors
    /// If the bundle's decoder graph or entropy model cannot be loaded or is not as its manifest says.
    pub fn new(runtime: &Runtime, bundle: &Bundle) -> Result<Self, ModelError> {
        let declared = &bundle.manifest().decoder;
        let inputs: Vec<_> = [&declared.latent].into_iter().chain(&declared.depth_one_hot).collect();
        let graph = Graph::load(runtime, bundle, &declared.file, &inputs, &declared.audio, &declared.states)?;
        Ok(Self {
            graph,
            codebooks: bundle.codebooks(),
            layout: *bundle.layout(),
            tells_depth: declared.depth_one_hot.is_some(),
            audio: vec![0.0; bundle.manifest().audio.frame_samples],
            foresight: bundle.entropy_model()?.map(|model| Foresight::new(&model, bundle.codebooks().dimension())),
            last: None,
            missing: 0,
            gain: 1.0,
        })
    }

    /// Decodes the next frame: mono samples at the bundle's rate. They render the audio that was encoded
    /// [`delay_samples`](crate::Audio::delay_samples) before.
    ///
    /// # Errors
    /// If the tokens do not fit this bundle's codebooks; the stream can go on with the next frame. If ONNX Runtime fails.
    pub fn push(&mut self, tokens: &TokenFrame) -> Result<&[f32], ModelError> {
        if !self.layout.admits(tokens) {
            return Err(ModelError::Tokens { codes: tokens.codes().to_vec(), sizes: self.layout.sizes().to_vec() });
        }
        self.last = Some(*tokens);
        self.missing = 0;
        if let Some(foresight) = &mut self.foresight {
            foresight.hear(tokens);
        }
        self.codebooks.sum(tokens, self.graph.input_mut(0));
        self.synthesise(tokens.depth(), 1.0)?;
        Ok(&self.audio)
    }

    /// Makes up for a frame that is missing: between the last one and what the entropy model expects, closer to the latter
    /// from frame to frame, while gliding to silence within 200 ms. Without such a model it is the last one.
    ///
    /// # Errors
    /// If ONNX Runtime fails.
    pub fn conceal(&mut self) -> Result<&[f32], ModelError> {
        self.missing = self.missing.saturating_add(1);
        let expected = self.foresight.as_mut().and_then(|foresight| foresight.miss(&self.codebooks));
        match self.last {
            Some(tokens) if self.missing <= GLIDE_FRAMES => {
                let latent = self.graph.input_mut(0);
                self.codebooks.sum(&tokens, latent);
                if let Some(expected) = expected {
                    let kept = KEPT.powi(self.missing);
                    for (value, expected) in latent.iter_mut().zip(expected) {
                        *value = kept * *value + (1.0 - kept) * expected;
                    }
                }
                self.synthesise(tokens.depth(), 1.0 - self.missing as f32 / GLIDE_FRAMES as f32)?;
            }
            _ => {
                self.gain = 0.0;
                self.audio.fill(0.0);
            }
        }
        Ok(&self.audio)
    }

    /// Decodes or conceals, by what is known of the frame.
    ///
    /// # Errors
    /// As [`push`](Self::push) and [`conceal`](Self::conceal).
    pub fn play(&mut self, slot: &Slot) -> Result<&[f32], ModelError> {
        match slot {
            Slot::Frame(tokens) | Slot::Coarse(tokens) => self.push(tokens),
            _ => self.conceal(),
        }
    }

    /// Forgets everything played so far, as if new.
    pub fn reset(&mut self) {
        self.graph.reset();
        if let Some(foresight) = &mut self.foresight {
            foresight.reset();
        }
        self.last = None;
        self.missing = 0;
        self.gain = 1.0;
    }

    /// Runs the network on the latent that is in its place, of so many codes, and glides from the present gain to `gain` over
    /// the frame.
    fn synthesise(&mut self, depth: usize, gain: f32) -> Result<(), ModelError> {
        if self.tells_depth {
            let one_hot = self.graph.input_mut(1);
            one_hot.fill(0.0);
            one_hot[depth] = 1.0;
        }
        self.graph.run()?;
        if !self.graph.output().iter().all(|sample| sample.is_finite()) {
            self.graph.reset();
            return Err(ModelError::NotFinite("the decoder's audio"));
        }
        self.audio.copy_from_slice(self.graph.output());
        if self.gain != 1.0 || gain != 1.0 {
            let step = (gain - self.gain) / self.audio.len() as f32;
            for (n, sample) in self.audio.iter_mut().enumerate() {
                *sample *= self.gain + step * (n + 1) as f32;
            }
        }
        self.gain = gain;
        Ok(())
    }
}
