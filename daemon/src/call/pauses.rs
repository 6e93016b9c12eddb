use parlo_dsp::{Activity, NoiseAnalyser};
use parlo_tokens::ComfortNoise;

/// Finds the pauses of speech, and what they sound like.
#[derive(Debug)]
pub struct Pauses {
    activity: Activity,
    noise: NoiseAnalyser,
}

impl Pauses {
    /// For frames of so many mono samples at this rate.
    pub fn new(sample_rate: u32, frame_samples: usize) -> Self {
        Self { activity: Activity::new(sample_rate, frame_samples), noise: NoiseAnalyser::new(frame_samples) }
    }

    /// What the frame sounds like, if nobody speaks in it.
    pub fn silence(&mut self, frame: &[f32]) -> Option<ComfortNoise> {
        if self.activity.push(frame) {
            return None;
        }
        self.noise.push(frame);
        self.noise.describe().map(|(level, reflection)| ComfortNoise::new(level, reflection))
    }
}
