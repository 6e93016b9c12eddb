//! Where nobody speaks.

use parlo_dsp::{Activity, NoiseAnalyser};
use parlo_tokens::ComfortNoise;

use super::{ANALYSIS_STEP, HANGOVER};

/// Finds the pauses of speech, and what they sound like. Frames may be of any length: long ones are looked at in pieces, short ones
/// together, and until there are enough of these what was found last holds.
#[derive(Debug)]
pub(super) struct VoiceActivity {
    activity: Activity,
    noise: NoiseAnalyser,
    piece: usize,
    waiting: Vec<f32>,
    spoken: bool,
}

impl VoiceActivity {
    /// For frames of so many mono samples at this rate.
    pub(super) fn new(sample_rate: u32, frame_samples: usize) -> Self {
        let rate = f64::from(sample_rate.max(1));
        let frames = ANALYSIS_STEP.as_secs_f64() * rate / frame_samples.max(1) as f64;
        let piece = if frames > 1.0 {
            frame_samples.max(1) * frames.round() as usize
        } else {
            (frame_samples as f64 / (1.0 / frames).round()).ceil() as usize
        };
        // It counts in pieces as if they were of 20 ms.
        let hangover = HANGOVER.mul_f64(ANALYSIS_STEP.as_secs_f64() * rate / piece as f64);
        Self {
            activity: Activity::new(sample_rate, piece).with_hangover(hangover),
            noise: NoiseAnalyser::new(piece),
            piece,
            waiting: Vec::with_capacity(piece + frame_samples),
            spoken: true,
        }
    }

    /// What the frame sounds like, if nobody speaks in it.
    pub(super) fn silence(&mut self, frame: &[f32]) -> Option<ComfortNoise> {
        self.waiting.extend_from_slice(frame);
        let whole = self.waiting.len() - self.waiting.len() % self.piece;
        if whole > 0 {
            let pieces = || self.waiting[..whole].chunks_exact(self.piece);
            // All of them are looked at: the detector learns from each.
            self.spoken = pieces().fold(false, |spoken, piece| self.activity.push(piece) | spoken);
            if !self.spoken {
                pieces().for_each(|piece| self.noise.push(piece));
            }
            self.waiting.drain(..whole);
        }
        if self.spoken {
            return None;
        }
        self.noise.describe().map(|(level, reflection)| ComfortNoise::new(level, reflection))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds of hiss, then of a voice-like buzz, then of hiss.
    fn sound(rate: u32) -> Vec<f32> {
        let mut state = 5_u64;
        (0..7 * rate)
            .map(|n| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let hiss = 0.001 * ((state >> 40) as f32 / (1_u32 << 23) as f32 - 1.0);
                let second = n / rate;
                let phase = n as f32 * 130.0 / rate as f32 * std::f32::consts::TAU;
                let voice: f32 = (1..=15).map(|h| (h as f32 * phase).sin() / h as f32).sum();
                if (3..5).contains(&second) { hiss + 0.1 * voice } else { hiss }
            })
            .collect()
    }

    #[test]
    fn pauses_are_found_at_the_same_times_whatever_the_frames_are() {
        for (rate, frame) in
            [(16_000, 320), (24_000, 320), (16_000, 640), (24_000, 1920), (44_100, 512), (24_000, 2048)]
        {
            let mut pauses = VoiceActivity::new(rate, frame);
            let sound = sound(rate);
            let speech: Vec<f64> = sound
                .chunks_exact(frame)
                .enumerate()
                .filter_map(|(n, frame)| pauses.silence(frame).is_none().then_some(n))
                .map(|n| (n * frame) as f64 / f64::from(rate))
                .filter(|&at| at > 1.0)
                .collect();
            let (first, last) = (speech[0], speech[speech.len() - 1]);
            let length = frame as f64 / f64::from(rate);
            // Short frames wait for one another.
            assert!(first > 2.8 && first < 3.0 + length, "{rate} {frame}: {first}");
            assert!((5.0..5.5).contains(&(last + length)), "{rate} {frame}: {}", last + length);
            assert!(speech.len() as f64 * length > 1.9, "{rate} {frame}");
        }
    }
}
