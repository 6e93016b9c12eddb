//! The last frames of a pause, which nobody codes until a word follows.

use std::time::{Duration, Instant};

use parlo_tokens::ComfortNoise;

use super::{DESCRIBE, LOOK_BACK, WARM_UP};

/// A frame in which nobody spoke.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Silent {
    /// Its number.
    pub number: u64,
    /// What it sounds like, as a listener hears it.
    pub noise: ComfortNoise,
    /// When its last sample was captured.
    pub at: Instant,
}

/// So many frames as an encoder has to hear when a word begins. Allocates nothing once made.
#[derive(Debug)]
pub struct Preroll {
    frame: usize,
    /// [`DESCRIBE`] in frames.
    describe: u64,
    /// The newest last.
    sound: Vec<f32>,
    /// Of the last frames.
    silent: Vec<Option<Silent>>,
    kept: usize,
    /// What was described last, and the frame to be described next.
    noise: Option<(ComfortNoise, u64)>,
}

impl Preroll {
    /// For frames of so many samples.
    pub(super) fn new(sample_rate: u32, frame: usize) -> Self {
        let length = frame.max(1) as f64 / f64::from(sample_rate.max(1));
        // As long as it is, or a little longer; one frame at least.
        let frames = |time: Duration| (time.as_secs_f64() / length - 1e-6).ceil().max(1.0) as usize;
        let (look_back, warm_up) = (frames(LOOK_BACK), frames(WARM_UP));
        Self {
            frame,
            describe: frames(DESCRIBE) as u64,
            sound: vec![0.0; (warm_up + look_back) * frame],
            silent: vec![None; look_back],
            kept: 0,
            noise: None,
        }
    }

    /// What a frame sounds like, for those who write it down: as a listener hears it, described anew every 400 ms.
    pub(super) fn described(&mut self, number: u64, noise: ComfortNoise) -> ComfortNoise {
        match self.noise {
            Some((noise, next)) if number < next => noise,
            _ => {
                self.noise = Some((noise, number + self.describe));
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
        self.kept = (self.kept + 1).min(self.sound.len() / self.frame);
        self.silent.rotate_left(1);
        self.silent.last_mut()?.replace(silent)
    }

    /// How many frames are kept.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// One of the kept frames by its place, the oldest first; with what is known of it if it goes with a word.
    pub fn get(&self, place: usize) -> Option<(&[f32], Option<Silent>)> {
        let back = self.kept.checked_sub(place).filter(|&back| back > 0)?;
        let start = self.sound.len().checked_sub(back * self.frame)?;
        let frame = self.sound.get(start..start + self.frame)?;
        let silent = self.silent.len().checked_sub(back).and_then(|place| self.silent[place]);
        Some((frame, silent))
    }

    /// The pause is over.
    pub fn clear(&mut self) {
        self.silent.fill(None);
        (self.kept, self.noise) = (0, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_frames_are_kept_and_the_older_given_back_in_order() {
        // Of 20 ms.
        let mut preroll = Preroll::new(100, 2);
        let silent = |number| Silent { number, noise: ComfortNoise::SILENCE, at: Instant::now() };
        assert!(preroll.get(0).is_none());
        let mut old = Vec::new();
        for number in 0..9_u64 {
            old.extend(preroll.push(silent(number), &[number as f32; 2]).map(|silent| silent.number));
            let kept: Vec<(f32, Option<u64>)> = (0..preroll.kept())
                .filter_map(|place| preroll.get(place))
                .map(|(frame, silent)| (frame[1], silent.map(|silent| silent.number)))
                .collect();
            let first = (number + 1).saturating_sub(3 + 2);
            let expected: Vec<(f32, Option<u64>)> =
                (first..=number).map(|at| (at as f32, (at + 2 > number).then_some(at))).collect();
            assert_eq!(kept, expected);
        }
        assert_eq!(old, [0, 1, 2, 3, 4, 5, 6]);
        preroll.clear();
        assert!(preroll.kept() == 0 && preroll.get(0).is_none());
        assert!(preroll.push(silent(20), &[1.0; 2]).is_none(), "what was cleared is not given back");
    }

    #[test]
    fn frames_of_any_length_keep_as_much_time() {
        for (rate, frame, kept, with_word, described) in
            [(16_000, 320, 5, 2, 20), (24_000, 1_920, 2, 1, 5), (44_100, 512, 10, 4, 35), (16_000, 160, 10, 4, 40)]
        {
            let mut preroll = Preroll::new(rate, frame);
            let noise = |level| ComfortNoise::new(level, [100; 8]);
            let sound = vec![0.0; frame];
            for number in 0..20 {
                preroll.push(Silent { number, noise: noise(60), at: Instant::now() }, &sound);
            }
            let known =
                (0..preroll.kept()).filter(|&place| preroll.get(place).is_some_and(|(_, silent)| silent.is_some()));
            assert_eq!((preroll.kept(), known.count()), (kept, with_word), "{frame} samples at {rate} Hz");
            let anew = (1..).find(|&number| {
                preroll.described(0, noise(60));
                preroll.described(number, noise(70)) == noise(70)
            });
            assert_eq!(anew, Some(described), "{frame} samples at {rate} Hz");
        }
    }
}
