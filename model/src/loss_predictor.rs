use std::sync::Arc;

use parlo_tokens::{FrameSet, TokenFrame};

use crate::{
    entropy::{EntropyCoder, EntropyModel},
    quantizer::Codebooks,
};

/// What a missing frame was probably like, by the entropy model and the frames before it.
#[derive(Debug)]
pub(crate) struct Foresight {
    coder: EntropyCoder,
    /// Frames that were heard, of the last [`WINDOW`](parlo_tokens::WINDOW).
    heard: FrameSet,
    /// Number of the next frame.
    next: u64,
    codebooks: Arc<Codebooks>,
    mean: Vec<f32>,
    known: bool,
}

impl Foresight {
    /// Of a bundle with these codebooks.
    pub(crate) fn new(model: &EntropyModel, codebooks: &Arc<Codebooks>) -> Self {
        let mean = vec![0.0; codebooks.dimension()];
        let (coder, codebooks) = (EntropyCoder::new(model), Arc::clone(codebooks));
        Self { coder, codebooks, heard: FrameSet::EMPTY, next: 0, mean, known: false }
    }

    /// The next frame came. It must fit the codebooks.
    pub(crate) fn hear(&mut self, frame: &TokenFrame) {
        if self.coder.remember(self.next, frame).is_ok() {
            self.heard.insert(self.next);
        }
        self.next += 1;
    }

    /// The next frame did not come: the mean of the first codebook's entries, each as probable as the model says. Finer
    /// codebooks add little that is certain: leaving them out was measured to be better (docs/lab/loss.md).
    pub(crate) fn miss(&mut self) {
        let number = self.next;
        self.next += 1;
        let context = self.heard.clipped(number);
        let prediction = self.coder.predict(number, &context, &[]);
        self.known = prediction.is_ok();
        let Ok(prediction) = prediction else { return };
        self.mean.fill(0.0);
        for (entry, frequency) in self.codebooks.first().zip(prediction.frequencies()) {
            let share = frequency as f32 / (1 << 24) as f32;
            self.mean.iter_mut().zip(entry).for_each(|(mean, value)| *mean += share * value);
        }
    }

    /// What was found when a frame was missing last; `None` if nothing is known of it.
    pub(crate) fn expected(&self) -> Option<&[f32]> {
        self.known.then_some(&self.mean)
    }

    /// As if new.
    pub(crate) fn reset(&mut self) {
        self.coder.forget();
        (self.heard, self.next) = (FrameSet::EMPTY, 0);
    }
}
