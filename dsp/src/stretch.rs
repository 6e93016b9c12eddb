/// Lengths of what is left out or put in, seconds: the periods of voices, and multiples of the short ones.
const SHORTEST: f32 = 0.0025;
const LONGEST: f32 = 0.015;

/// Length of a cross-fade, seconds.
const FADE: f32 = 0.005;

/// How much of what was before is compared too, seconds.
const BEFORE: f32 = 0.010;

/// The most that is left out of speech, as a share of what comes in: 1.3 times as fast.
const MOST_LEFT_OUT: f32 = 1.0 - 1.0 / 1.3;

/// The most that is put in, as a share of what comes in: 0.8 times as fast.
const MOST_PUT_IN: f32 = 0.25;

/// How alike two places must be, as their normalised correlation, for one to stand for the other.
const ALIKE: f32 = 0.75;

/// How much less alike than the best place one may be that is nearer.
const NEARLY: f32 = 0.02;

/// How much less alike with every frame that found nothing: in a hiss nothing is alike, and nothing is heard of a splice.
const LESS_ALIKE: f32 = 0.1;

/// Mean square below which nothing is heard of a splice, -60 dB.
const SILENT: f32 = 1e-6;

/// What the stretcher shall do with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Leave it as it is.
    Normal,
    /// Shorten it.
    Faster,
    /// Lengthen it.
    Slower,
}

/// Makes speech longer or shorter, at the same pitch: one period of the voice, found by normalised cross-correlation, is
/// left out or repeated, with a cross-fade of 5 ms. (As NetEQ's "accelerate" and "preemptive expand".)
///
/// Nothing is held back: what comes of a frame is given at once, up to 15 ms less or more than the frame. Speech becomes
/// 0.8 to 1.3 times as fast, at most, in the mean over some frames; how much a single frame gives depends on the voice.
#[derive(Debug)]
pub struct Stretcher {
    /// The last samples pushed, and after them the frame at hand.
    samples: Vec<f32>,
    /// How many of `samples` lie before the frame at hand.
    past: usize,
    shortest: usize,
    longest: usize,
    before: usize,
    fade: Vec<f32>,
    mixed: Vec<f32>,
    /// Samples that may be left out or put in by now.
    credit: f32,
    alike: f32,
    taken: u64,
    given: u64,
}

impl Stretcher {
    /// A stretcher of mono samples at `rate` Hz, pushed in frames of `frame_samples`; best 20 ms. Frames shorter than 7.5 ms
    /// cannot be shortened.
    pub fn new(rate: u32, frame_samples: usize) -> Self {
        let samples = |seconds: f32| ((seconds * rate as f32).round() as usize).max(1);
        let (longest, before, fade) = (samples(LONGEST), samples(BEFORE), samples(FADE));
        let past = longest + before;
        let frame = frame_samples.max(1);
        let weight = |n: usize| 0.5 - 0.5 * (std::f32::consts::PI * (n as f32 + 0.5) / fade as f32).cos();
        Self {
            samples: vec![0.0; past + frame],
            past,
            shortest: samples(SHORTEST),
            longest,
            before,
            fade: (0..fade).map(weight).collect(),
            mixed: vec![0.0; fade],
            credit: longest as f32,
            alike: ALIKE,
            taken: 0,
            given: 0,
        }
    }

    /// Takes a frame of mono samples, of the length that was told at first (one of another length passes as it is); calls
    /// `each` with what comes of it, in up to three parts. With [`Pace::Normal`] that is the frame itself.
    pub fn push(&mut self, frame: &[f32], pace: Pace, mut each: impl FnMut(&[f32])) {
        self.taken += frame.len() as u64;
        self.remember(frame);
        let share = if pace == Pace::Slower { MOST_PUT_IN } else { MOST_LEFT_OUT };
        self.credit = (self.credit + share * frame.len() as f32).min(self.longest as f32);
        let whole = self.samples.len() == self.past + frame.len() && self.fade.len() <= frame.len();
        let period = if whole { self.period(pace) } else { None };
        let mut given = 0;
        let mut give = |samples: &[f32]| {
            given += samples.len() as u64;
            if !samples.is_empty() {
                each(samples);
            }
        };
        if let Some(period) = period {
            self.credit -= period as f32;
            // What follows a period later, or came a period before, takes the place of what is here.
            let there = if pace == Pace::Faster { self.past + period } else { self.past - period };
            for (n, (mixed, weight)) in self.mixed.iter_mut().zip(&self.fade).enumerate() {
                *mixed = (1.0 - weight) * self.samples[self.past + n] + weight * self.samples[there + n];
            }
            give(&self.mixed);
            give(&self.samples[there + self.fade.len()..]);
        } else {
            give(frame);
        }
        self.given += given;
    }

    /// Samples pushed so far.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Samples given so far.
    pub fn given(&self) -> u64 {
        self.given
    }

    /// Moves the past on, and puts the frame (or its end, if it is too long) after it.
    fn remember(&mut self, frame: &[f32]) {
        let room = self.samples.len();
        let kept = frame.len().min(room);
        self.samples.copy_within(kept.., 0);
        self.samples[room - kept..].copy_from_slice(&frame[frame.len() - kept..]);
    }

    /// How many samples to leave out, or put in, at the beginning of the frame at hand.
    fn period(&mut self, pace: Pace) -> Option<usize> {
        if pace == Pace::Normal {
            self.alike = ALIKE;
            return None;
        }
        let (here, fade) = (self.past, self.fade.len());
        let room = self.samples.len() - self.past - fade;
        let longest = if pace == Pace::Faster { self.longest.min(room) } else { self.longest };
        let allowed = longest.min(self.credit as usize);
        if allowed < self.shortest {
            return None;
        }
        let length = self.before + fade;
        let from = here - self.before;
        let mean_square = |samples: &[f32]| dot(samples, samples) / samples.len() as f32;
        if mean_square(&self.samples) < SILENT {
            return Some(allowed);
        }
        let model = &self.samples[from..from + length];
        let own = dot(model, model);
        let (mut best, mut best_allowed) = ((f32::MIN, 0), (f32::MIN, 0));
        for period in self.shortest..=longest {
            let start = if pace == Pace::Faster { from + period } else { from - period };
            let other = &self.samples[start..start + length];
            let likeness = dot(model, other) / (own * dot(other, other)).sqrt().max(f32::MIN_POSITIVE);
            if likeness > best.0 {
                best = (likeness, period);
            }
            if period <= allowed && likeness > best_allowed.0 {
                best_allowed = (likeness, period);
            }
        }
        // A longer period that fits better is waited for until it is allowed.
        if best_allowed.0 >= self.alike.max(best.0 - NEARLY) {
            self.alike = ALIKE;
            return Some(best_allowed.1);
        }
        if best.0 < self.alike {
            self.alike -= LESS_ALIKE;
        }
        None
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    // Eight sums, so that they are made side by side.
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    let mut sums = [0.0; 8];
    for (a, b) in a.zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
#[path = "stretch_tests.rs"]
mod tests;
