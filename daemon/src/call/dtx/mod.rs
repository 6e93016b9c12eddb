//! Discontinuous transmission (DTX): where nobody speaks, what is said of a pause and when, and how much of it goes with the word
//! after it. Without I/O.
//!
//! | who | has | asks |
//! | --- | --- | --- |
//! | capture thread, for each call | [`Dtx`] | whether a frame is coded, and with which before it |
//! | main, in the [`Packetizer`](super::Packetizer) | [`Descriptions`] | whether a pause is described to the peer now |
//! | `parlo-playback` | `parlo_protocol`'s jitter buffer | how long it believes in silence without a word of it |
//!
//! A pause's frames are not coded. The thread that captures them has them described each, and keeps their sound for a moment: once
//! a word comes, the encoder hears the end of the pause, and the last 40 ms of it are sent once more, coded.

mod preroll;
mod voice_activity;

use std::time::{Duration, Instant};

use parlo_tokens::ComfortNoise;
pub use preroll::{Preroll, Silent};
use voice_activity::VoiceActivity;

/// What speech and noise are told apart in: they were tuned with so much at a time.
const ANALYSIS_STEP: Duration = Duration::from_millis(20);

/// How long after speech the background still counts as speech.
const HANGOVER: Duration = Duration::from_millis(240);

/// So much before a word is sent with it: it may begin more softly than the detector hears, and that is a little late.
const LOOK_BACK: Duration = Duration::from_millis(40);

/// So much before that is what the encoder hears first when a word begins. It heard nothing of the pause but its first 240 ms (which
/// pass for speech); so little more of the background brings it to where it would be.
const WARM_UP: Duration = Duration::from_millis(60);

/// From one description of a pause to the next.
const DESCRIBE: Duration = Duration::from_millis(400);

/// But the first is soon followed by another: were it lost, silence would pass for lost speech.
const DESCRIBE_AGAIN: Duration = Duration::from_millis(100);

/// The most frames between two of those that are sent, however short: a jitter buffer believes in silence for two and a half times
/// as many (`SILENCE_BELIEVED`).
const DESCRIBE_FRAMES: u64 = 20;

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Transmission {
    /// Somebody speaks: it is coded, after what [`Dtx::preroll`] has. That is cleared by whoever has taken it.
    Coded,
    /// Nobody speaks: it is described, not coded.
    Described {
        /// What it sounds like.
        noise: ComfortNoise,
        /// The frame of this pause that no word takes with it any more.
        past: Option<Silent>,
    },
}

/// Decides frame by frame what is coded. Allocates nothing once made.
#[derive(Debug)]
pub struct Dtx {
    activity: VoiceActivity,
    /// The last frames of the pause at hand.
    pub preroll: Preroll,
}

impl Dtx {
    /// For frames of so many mono samples at this rate.
    pub fn new(sample_rate: u32, frame_samples: usize) -> Self {
        Self {
            activity: VoiceActivity::new(sample_rate, frame_samples),
            preroll: Preroll::new(sample_rate, frame_samples),
        }
    }

    /// Takes the next frame: its number, its samples, and when the last of them was captured. Unless it is to `detect` pauses,
    /// all is coded; what a pause is like it learns all the same.
    pub fn push(&mut self, number: u64, frame: &[f32], at: Instant, detect: bool) -> Transmission {
        let Some(noise) = self.activity.silence(frame).filter(|_| detect) else { return Transmission::Coded };
        let described = self.preroll.described(number, noise);
        let past = self.preroll.push(Silent { number, noise: described, at }, frame);
        Transmission::Described { noise, past }
    }
}

/// When a pause is described to the peer: when it begins, soon again, and then every 400 ms.
#[derive(Debug)]
pub struct Descriptions {
    /// [`DESCRIBE`] and [`DESCRIBE_AGAIN`] in frames.
    every: u64,
    again: u64,
    /// The frame to be described next; none while somebody speaks.
    next: Option<u64>,
}

impl Descriptions {
    /// For frames of this length.
    pub fn new(frame: Duration) -> Self {
        // Rounded down, as silence is believed for so long at most; what is written down of a pause goes by time ([`Preroll`]).
        let frames =
            |time: Duration| (time.as_nanos() / frame.as_nanos().max(1)).clamp(1, DESCRIBE_FRAMES.into()) as u64;
        Self { every: frames(DESCRIBE), again: frames(DESCRIBE_AGAIN), next: None }
    }

    /// Whether this frame of a pause is to be described.
    pub fn is_due(&self, number: u64) -> bool {
        self.next.is_none_or(|next| number >= next)
    }

    /// It was.
    pub fn sent(&mut self, number: u64) {
        let after = if self.next.is_none() { self.again } else { self.every };
        self.next = Some(number + after);
    }

    /// Somebody speaks.
    pub fn end(&mut self) {
        self.next = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the first 100 frames of a pause are described.
    fn described(frame: Duration) -> Vec<u64> {
        let mut descriptions = Descriptions::new(frame);
        let due = |number: &u64| {
            let due = descriptions.is_due(*number);
            if due {
                descriptions.sent(*number);
            }
            due
        };
        (0..100).filter(due).collect()
    }

    #[test]
    fn a_pause_is_described_at_once_soon_again_and_then_every_400_ms() {
        assert_eq!(described(Duration::from_millis(20)), [0, 5, 25, 45, 65, 85]);
        assert_eq!(described(Duration::from_millis(80)), (0..100).filter(|n| *n < 2 || n % 5 == 1).collect::<Vec<_>>());
        // A jitter buffer counts frames, not time.
        assert_eq!(described(Duration::from_millis(5)), [0, 20, 40, 60, 80]);
        let mut descriptions = Descriptions::new(Duration::from_millis(20));
        descriptions.sent(7);
        assert!(!descriptions.is_due(8));
        descriptions.end();
        assert!(descriptions.is_due(8), "the next pause begins anew");
    }

    #[test]
    fn a_pause_is_described_and_the_word_after_it_has_its_last_frames() {
        let (rate, frame) = (16_000_u32, 320);
        let mut state = 5_u64;
        let mut noise = |level: f32| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            level * ((state >> 40) as f32 / (1_u32 << 23) as f32 - 1.0)
        };
        let mut dtx = Dtx::new(rate, frame);
        let (mut last, mut past) = (None, Vec::new());
        for number in 0..100 {
            let sound: Vec<f32> = (0..frame).map(|_| noise(0.001)).collect();
            match dtx.push(number, &sound, Instant::now(), true) {
                Transmission::Coded => assert!(number < 50, "{number}: the hiss is a pause once it is known"),
                Transmission::Described { past: told, .. } => {
                    last = Some(number);
                    past.extend(told.map(|silent| silent.number));
                }
            }
        }
        assert_eq!((last, past.last()), (Some(99), Some(&97)));
        let word: Vec<f32> = (0..frame).map(|_| noise(0.5)).collect();
        assert_eq!(dtx.push(100, &word, Instant::now(), true), Transmission::Coded);
        let kept = (0..dtx.preroll.kept()).filter_map(|place| dtx.preroll.get(place)?.1);
        assert_eq!(kept.map(|silent| silent.number).collect::<Vec<_>>(), [98, 99]);
        // Whoever does not want pauses found codes all.
        let hiss: Vec<f32> = (0..frame).map(|_| noise(0.001)).collect();
        assert!((101..140).all(|number| dtx.push(number, &hiss, Instant::now(), false) == Transmission::Coded));
    }
}
