use std::time::Duration;

use parlo_tokens::{CodeLayout, Slot, TokenFrame};

use crate::{
    bundle::Bundle, codes, error::ModelError, graph::Graph, loss_predictor::Foresight, quantizer::Books,
    runtime::Runtime, tensor_io::declared as present,
};

/// How long it takes until concealment has glided to silence. Speech sounds last about half as long; what is made up longer is
/// a buzz and no help. docs/lab/loss.md has what else was measured.
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
    /// Values of a frame in the graph's first input.
    first: usize,
    tells_depth: bool,
    /// All frames of a run have to be of one depth.
    one_depth: bool,
    audio: Vec<f32>,
    /// The frames of the last run, and how many of them were given out.
    ahead: Vec<TokenFrame>,
    given: usize,
    has_run: bool,
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
            ahead: Vec::with_capacity(graph.most()),
            given: 0,
            has_run: false,
            first: match bundle.books() {
                Books::Graph => bundle.layout().depth(),
                books => books.dimension(),
            },
            one_depth: second.is_some_and(|tensor| !tensor.is_open()),
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
        self.push_ahead(tokens, &[])
    }

    /// Decodes the next frame, and in the same run of the network those of `later`, as many as a run can take: they are
    /// expected to be pushed next, one by one, and their sound is there then. That takes much less time than one by one: the
    /// weights come to the processor once a run.
    ///
    /// What is heard is that of [`push`](Self::push), whatever comes next: what is not asked for was never decoded. (It is
    /// if the network runs again over the frames before it, from the states that it had.) Allocates for a number of frames
    /// that is new to this decoder; see [`prepare`](Self::prepare).
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_ahead(&mut self, tokens: &TokenFrame, later: &[TokenFrame]) -> Result<&[f32], ModelError> {
        if !self.layout.admits(tokens) {
            return Err(ModelError::Tokens { codes: tokens.codes().to_vec(), sizes: self.layout.sizes().to_vec() });
        }
        self.has_run = self.ahead.get(self.given) != Some(tokens);
        if self.has_run {
            self.settle()?;
            let fits =
                |next: &&TokenFrame| self.layout.admits(next) && (!self.one_depth || next.depth() == tokens.depth());
            let later = later.iter().take(self.graph.most() - 1).take_while(fits);
            self.ahead.push(*tokens);
            self.ahead.extend(later);
            self.run_ahead(self.ahead.len())?;
            if !self.graph.output().iter().all(|sample| sample.is_finite()) && self.ahead.len() > 1 {
                // Of whichever frame that is: found by decoding one by one.
                self.graph.undo();
                self.ahead.truncate(1);
                self.run_ahead(1)?;
            }
        }
        self.last = Some(*tokens);
        self.missing = 0;
        if let Some(foresight) = &mut self.foresight {
            foresight.hear(tokens);
        }
        let place = self.given * self.audio.len();
        self.given += 1;
        self.give(place, 1.0)?;
        Ok(&self.audio)
    }

    /// Decodes any number of frames, a few in each run of the network, and appends their sound to `out`.
    ///
    /// # Errors
    /// As [`push`](Self::push), of the first frame that is at fault; the sound of those before is in `out` then.
    pub fn push_many(&mut self, tokens: &[TokenFrame], out: &mut Vec<f32>) -> Result<(), ModelError> {
        for (n, frame) in tokens.iter().enumerate() {
            out.extend_from_slice(self.push_ahead(frame, &tokens[n + 1..])?);
        }
        Ok(())
    }

    /// Makes all that runs of up to so many frames need, so that [`push_ahead`](Self::push_ahead) does not allocate later. To
    /// be called at the start of a stream: it is a [`reset`](Self::reset) too.
    ///
    /// # Errors
    /// If ONNX Runtime fails.
    pub fn prepare(&mut self, frames: usize) -> Result<(), ModelError> {
        self.reset();
        self.graph.prepare(frames)
    }

    /// Makes up for a frame that is missing: between the last one and what the entropy model expects, closer to the latter
    /// from frame to frame, while gliding to silence within 200 ms. Without such a model, and where codes are not entries of
    /// residual codebooks, it is the last one.
    ///
    /// # Errors
    /// If ONNX Runtime fails.
    pub fn conceal(&mut self) -> Result<&[f32], ModelError> {
        self.settle()?;
        self.has_run = true;
        self.missing = self.missing.saturating_add(1);
        if let Some(foresight) = &mut self.foresight {
            foresight.miss();
        }
        match self.last {
            Some(tokens) if self.missing <= self.glide => {
                self.graph.choose(1)?;
                self.place(0, &tokens);
                if let Some(expected) = self.foresight.as_ref().and_then(Foresight::expected) {
                    let kept = self.kept.powi(self.missing.into());
                    for (value, expected) in self.graph.input_mut(0).iter_mut().zip(expected) {
                        *value = kept * *value + (1.0 - kept) * expected;
                    }
                }
                self.graph.run()?;
                self.give(0, 1.0 - f32::from(self.missing) / f32::from(self.glide))?;
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

    /// Whether the last frame took a run of the network. Others were decoded ahead: for whoever measures time.
    pub fn has_run(&self) -> bool {
        self.has_run
    }

    /// Forgets everything played so far, as if new.
    pub fn reset(&mut self) {
        self.graph.reset();
        self.ahead.clear();
        self.given = 0;
        if let Some(foresight) = &mut self.foresight {
            foresight.reset();
        }
        self.last = None;
        self.missing = 0;
        self.gain = 1.0;
    }

    /// Brings the states to where they are after the frames that were given out: those that were decoded ahead and not asked
    /// for take the run back, and it is done again without them.
    fn settle(&mut self) -> Result<(), ModelError> {
        let given = std::mem::take(&mut self.given);
        if given < self.ahead.len() {
            self.graph.undo();
            self.run_ahead(given)?;
        }
        self.ahead.clear();
        Ok(())
    }

    /// Runs the network over the first frames ahead. If that fails there are none.
    fn run_ahead(&mut self, frames: usize) -> Result<(), ModelError> {
        let run = self.try_ahead(frames);
        if run.is_err() {
            self.ahead.clear();
        }
        run
    }

    fn try_ahead(&mut self, frames: usize) -> Result<(), ModelError> {
        self.graph.choose(frames)?;
        for n in 0..frames {
            let tokens = self.ahead[n];
            self.place(n, &tokens);
        }
        self.graph.run()
    }

    /// Puts what the run's frame `n` stands for where the network reads it.
    fn place(&mut self, n: usize, tokens: &TokenFrame) {
        let place = n * self.first..(n + 1) * self.first;
        match &self.books {
            Books::Graph => codes::put(tokens, &mut self.graph.codes_mut(0)[place]),
            books => books.sum(tokens, &mut self.graph.input_mut(0)[place]),
        }
        // What is told once for all frames is told with the first.
        if n > 0 && self.one_depth {
            return;
        }
        let depth = tokens.depth();
        if self.tells_depth {
            let length = self.layout.depth() + 1;
            let one_hot = &mut self.graph.input_mut(1)[n * length..][..length];
            one_hot.fill(0.0);
            one_hot[depth] = 1.0;
        } else if matches!(self.books, Books::Graph) {
            let length = self.layout.depth();
            codes::put_in_use(depth, &mut self.graph.input_mut(1)[n * length..][..length]);
        }
    }

    /// Takes a frame out of what the last run put out, and glides from the present gain to `gain` over it.
    fn give(&mut self, place: usize, gain: f32) -> Result<(), ModelError> {
        let frame = self.audio.len();
        self.audio.copy_from_slice(&self.graph.output()[place..][..frame]);
        if !self.audio.iter().all(|sample| sample.is_finite()) {
            self.graph.reset();
            self.ahead.clear();
            self.given = 0;
            return Err(ModelError::NotFinite("the decoder's audio"));
        }
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
