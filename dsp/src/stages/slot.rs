//! A place in the chain where a stage works or does not.

/// Something that changes blocks of 10 ms.
pub(super) trait Stage {
    fn process(&mut self, block: &mut [f32]);
}

/// Mean squares of a block before and after a stage.
#[derive(Debug, Clone, Copy)]
pub(super) struct Powers {
    pub(super) before: f32,
    pub(super) after: f32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StageState {
    Off,
    /// Was given a block whose result nobody heard: what it remembered of the time before it was switched off is gone.
    Primed,
    On,
}

/// A stage with its switch. Switched on, it hears one block and is faded in over the next; switched off, it is faded out over one
/// block. While off it costs nothing, and samples pass bit by bit.
#[derive(Debug)]
pub(super) struct Slot<S> {
    pub(super) stage: S,
    state: StageState,
    /// The other sound of a fade.
    other: Vec<f32>,
}

impl<S: Stage> Slot<S> {
    pub(super) fn new(stage: S, on: bool, block: usize) -> Self {
        Self { stage, state: if on { StageState::On } else { StageState::Off }, other: vec![0.0; block] }
    }

    /// Whether the stage has worked of late or is about to.
    pub(super) fn runs(&self, wanted: bool) -> bool {
        wanted || self.state != StageState::Off
    }

    /// One block, with the switch as it is `wanted`. Gives the powers if all of the block passed the stage.
    pub(super) fn process(&mut self, wanted: bool, block: &mut [f32]) -> Option<Powers> {
        let before = power(block);
        match (self.state, wanted) {
            (StageState::Off, false) => None,
            (StageState::Primed, false) => {
                self.state = StageState::Off;
                None
            }
            (StageState::Off, true) => {
                self.other.copy_from_slice(block);
                self.stage.process(&mut self.other);
                self.state = StageState::Primed;
                None
            }
            (StageState::Primed, true) => {
                self.other.copy_from_slice(block);
                self.stage.process(block);
                // From the dry sound to the stage's.
                fade(block, &self.other);
                self.state = StageState::On;
                None
            }
            (StageState::On, false) => {
                self.other.copy_from_slice(block);
                self.stage.process(&mut self.other);
                fade(block, &self.other);
                self.state = StageState::Off;
                None
            }
            (StageState::On, true) => {
                self.stage.process(block);
                Some(Powers { before, after: power(block) })
            }
        }
    }
}

/// From `from` to what `block` holds, in a straight line.
fn fade(block: &mut [f32], from: &[f32]) {
    let step = 1.0 / block.len().max(1) as f32;
    for (n, (sample, from)) in block.iter_mut().zip(from).enumerate() {
        *sample = from + (*sample - from) * (n + 1) as f32 * step;
    }
}

pub(super) fn power(block: &[f32]) -> f32 {
    block.iter().map(|sample| sample * sample).sum::<f32>() / block.len().max(1) as f32
}
