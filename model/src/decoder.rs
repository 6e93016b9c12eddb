use std::time::Duration;

use parlo_tokens::{CodeLayout, Slot, TokenFrame};

use crate::{
    bundle::Bundle, codes, error::ModelError, foresight::Foresight, graph::Graph, port::declared as present,
    quantizer::Books, runtime::Runtime,
};

/// How long it takes until concealment has glided to silence. Speech sounds last about half as long; what is made up longer is
/// a buzz and no help. docs/loss.md has what else was measured.
const GLIDE: Duration = Duration::from_millis(200);

/// How much of the last frame is in the first missing one; the rest is what the entropy model expects. In the second it is
/// the square of this, and so on: the longer the gap, the less the last frame tells. Of frames of other lengths than 20 ms it is
/// as much after the same time.
const KEPT: f32 = 0.8;
const KEPT_FRAME: Duration = Duration::from_millis(20);

/// Turns one stream of token frames into audio. Owns all its state; make one per stream.
#[derive(Debug)]
pub struct Decoder {
    graph: Graph,
    books: Books,
    layout: CodeLayout,
    tells_depth: bool,
    audio: Vec<f32>,
    foresight: Option<Foresight>,
    last: Option<TokenFrame>,
    missing: u16,
    /// Missing frames until silence, and how much of the last frame is in the first of them.
    glide: u16,
    kept: f32,
    gain: f32,
}

impl Decoder {
    /// A decoder at the start of a stream.
    ///
    /// # Errors
    /// If the bundle's decoder graph or entropy model cannot be loaded or is not as its manifest says, or if it takes whole
    /// recordings only ([`WholeDecoder`](crate::WholeDecoder)).
    pub fn new(runtime: &Runtime, bundle: &Bundle) -> Result<Self, ModelError> {
        bundle.streams()?;
        let declared = &bundle.manifest().decoder;
        // In this order: `synthesise` knows it.
        let first = present(declared.latent.as_ref().or(declared.codes.as_ref()));
        let second = declared.depth_one_hot.as_ref().or(declared.in_use.as_ref());
        let inputs: Vec<_> = [first].into_iter().chain(second).collect();
        let graph = Graph::load(runtime, bundle, &declared.file, &inputs, &declared.audio, &declared.states)?;
        let frame = bundle.manifest().audio.frame_duration();
        let foresight = match bundle.books() {
            Books::Residual(books) => bundle.entropy_model()?.map(|model| Foresight::new(&model, books)),
            // What the model expects of codes is no latent there.
            _ => None,
        };
        Ok(Self {
            graph,
            books: bundle.books().clone(),
            layout: *bundle.layout(),
            tells_depth: declared.depth_one_hot.is_some(),
            audio: vec![0.0; bundle.manifest().audio.frame_samples],
            foresight,
            last: None,
            missing: 0,
            glide: (GLIDE.as_secs_f64() / frame.as_secs_f64()).round().clamp(1.0, f64::from(u16::MAX)) as u16,
            kept: KEPT.powf(frame.as_secs_f32() / KEPT_FRAME.as_secs_f32()),
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
        self.place(tokens);
        self.synthesise(tokens.depth(), 1.0)?;
        Ok(&self.audio)
    }

    /// Makes up for a frame that is missing: between the last one and what the entropy model expects, closer to the latter
    /// from frame to frame, while gliding to silence within 200 ms. Without such a model, and where codes are not entries of
    /// residual codebooks, it is the last one.
    ///
    /// # Errors
    /// If ONNX Runtime fails.
    pub fn conceal(&mut self) -> Result<&[f32], ModelError> {
        self.missing = self.missing.saturating_add(1);
        if let Some(foresight) = &mut self.foresight {
            foresight.miss();
        }
        match self.last {
            Some(tokens) if self.missing <= self.glide => {
                self.place(&tokens);
                if let Some(expected) = self.foresight.as_ref().and_then(Foresight::expected) {
                    let kept = self.kept.powi(self.missing.into());
                    for (value, expected) in self.graph.input_mut(0).iter_mut().zip(expected) {
                        *value = kept * *value + (1.0 - kept) * expected;
                    }
                }
                self.synthesise(tokens.depth(), 1.0 - f32::from(self.missing) / f32::from(self.glide))?;
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

    /// Puts what the frame stands for where the network reads it.
    fn place(&mut self, tokens: &TokenFrame) {
        match &self.books {
            Books::Graph => {
                codes::put(tokens, self.graph.codes_mut(0));
                codes::put_in_use(tokens.depth(), self.graph.input_mut(1));
            }
            books => books.sum(tokens, self.graph.input_mut(0)),
        }
    }

    /// Runs the network on what is in its place, of so many codes, and glides from the present gain to `gain` over
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
