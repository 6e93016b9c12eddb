//! The last frames of a pause, which nobody codes until a word follows.

use std::time::Instant;

use parlo_tokens::ComfortNoise;

/// Frames before a word that are sent with it: the detector is a little late.
const LOOK_BACK: usize = 2;

/// Frames before those that the encoder hears first when a word begins. It heard nothing of the pause but its first 240 ms (which pass
/// for speech); so little more of the background brings it to where it would be.
const WARM_UP: usize = 3;

/// Frames from one description of the noise to the next.
const DESCRIBE: u64 = 20;

/// A frame in which nobody spoke.
#[derive(Debug, Clone, Copy)]
pub(super) struct Silent {
    pub(super) number: u64,
    pub(super) noise: ComfortNoise,
    /// When its last sample was captured.
    pub(super) at: Instant,
}

/// So many frames as an encoder has to hear when a word begins. Allocates nothing once made.
#[derive(Debug)]
pub(super) struct Pause {
    frame: usize,
    /// The newest last.
    sound: Vec<f32>,
    /// Of the last frames.
    silent: [Option<Silent>; LOOK_BACK],
    kept: usize,
    /// What was described last, and the frame to be described next.
    noise: Option<(ComfortNoise, u64)>,
}

impl Pause {
    /// For frames of so many samples.
    pub(super) fn new(frame: usize) -> Self {
        Self { frame, sound: vec![0.0; (WARM_UP + LOOK_BACK) * frame], silent: [None; LOOK_BACK], kept: 0, noise: None }
    }

    /// What a frame sounds like, for those who write it down: as a listener hears it, described anew every 400 ms.
    pub(super) fn described(&mut self, number: u64, noise: ComfortNoise) -> ComfortNoise {
        match self.noise {
            Some((noise, next)) if number < next => noise,
            _ => {
                self.noise = Some((noise, number + DESCRIBE));
                noise
            }
        }
    }

    /// Takes the pause's next frame. Gives the one that is now too old to go with a word.
    pub(super) fn push(&mut self, silent: Silent, frame: &[f32]) -> Option<Silent> {
        self.sound.rotate_left(self.frame);
        let place = self.sound.len() - self.frame;
        for (to, from) in self.sound[place..].iter_mut().zip(frame) {
            *to = *from;
        }
        self.kept = (self.kept + 1).min(WARM_UP + LOOK_BACK);
        self.silent.rotate_left(1);
        self.silent[LOOK_BACK - 1].replace(silent)
    }

    /// How many frames are kept.
    pub(super) fn kept(&self) -> usize {
        self.kept
    }

    /// One of the kept frames by its place, the oldest first; with what is known of it if it goes with a word.
    pub(super) fn get(&self, place: usize) -> Option<(&[f32], Option<Silent>)> {
        let back = self.kept.checked_sub(place).filter(|&back| back > 0)?;
        let start = self.sound.len().checked_sub(back * self.frame)?;
        let frame = self.sound.get(start..start + self.frame)?;
        let silent = LOOK_BACK.checked_sub(back).and_then(|place| self.silent[place]);
        Some((frame, silent))
    }

    /// The pause is over.
    pub(super) fn clear(&mut self) {
        (self.kept, self.silent, self.noise) = (0, [None; LOOK_BACK], None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_frames_are_kept_and_the_older_given_back_in_order() {
        let mut pause = Pause::new(2);
        let silent = |number| Silent { number, noise: ComfortNoise::SILENCE, at: Instant::now() };
        assert!(pause.get(0).is_none());
        let mut old = Vec::new();
        for number in 0..9_u64 {
            old.extend(pause.push(silent(number), &[number as f32; 2]).map(|silent| silent.number));
            let kept: Vec<(f32, Option<u64>)> = (0..pause.kept())
                .filter_map(|place| pause.get(place))
                .map(|(frame, silent)| (frame[1], silent.map(|silent| silent.number)))
                .collect();
            let first = (number + 1).saturating_sub((WARM_UP + LOOK_BACK) as u64);
            let expected: Vec<(f32, Option<u64>)> =
                (first..=number).map(|at| (at as f32, (at + LOOK_BACK as u64 > number).then_some(at))).collect();
            assert_eq!(kept, expected);
        }
        assert_eq!(old, [0, 1, 2, 3, 4, 5, 6]);
        pause.clear();
        assert!(pause.kept() == 0 && pause.get(0).is_none());
        assert!(pause.push(silent(20), &[1.0; 2]).is_none(), "what was cleared is not given back");
    }
}
