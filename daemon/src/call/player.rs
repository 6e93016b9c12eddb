//! From what is known of frames to sound: jitter buffer, decoder, comfort noise, stretching. Without I/O.

use std::time::{Duration, Instant};

use parlo_dsp::{NoiseGenerator, Stretcher};
use parlo_protocol::jitter::{JitterBuffer, JitterConfig, JitterStats, Pace, Popped};
use parlo_tokens::{ComfortNoise, Slot, TokenFrame};

use super::{
    codec::{CodecError, CodedFrame, FrameDecoder, RUN_FRAMES},
    frame_origin::FrameOrigin,
};

/// How long the decoder makes up for missing frames in a row; after that it has faded.
const FADES_AFTER: Duration = Duration::from_millis(200);

/// Root mean square below which a frame is as good as silence: -50 dB of full scale.
const QUIET: f32 = 0.003;

/// How far ahead Opus looks for a packet that has something of a missing frame: as far as its deep redundancy reaches.
const LOOK_AHEAD: u64 = 52;

/// A frame that was played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// Its number, if it has one.
    pub number: Option<u64>,
    /// What it was made of.
    pub origin: FrameOrigin,
}

/// Counts since the call began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlayerStats {
    /// The jitter buffer's.
    pub jitter: JitterStats,
    /// Of the frames missing, those that were predicted.
    pub predicted: u64,
    /// Of the frames missing, those that came after too many others.
    pub faded: u64,
}

/// The receiving side of a call's media, from the jitter buffer on.
#[derive(Debug)]
pub struct Player {
    jitter: JitterBuffer<CodedFrame>,
    listener: FrameDecoder,
    stretcher: Stretcher,
    noise: NoiseGenerator,
    /// The noise that was played last, if it was.
    silence: Option<ComfortNoise>,
    frame: Vec<f32>,
    slot: Slot<CodedFrame>,
    /// The frames that are there after the one at hand.
    ahead: Vec<TokenFrame>,
    background: Vec<f32>,
    quiet: bool,
    /// [`FADES_AFTER`] in frames.
    fades_after: u64,
    missing: u64,
    predicted: u64,
    faded: u64,
}

impl Player {
    /// A player at the start of a call, of frames of so many samples.
    pub fn new(listener: FrameDecoder, jitter: JitterConfig, sample_rate: u32, frame_samples: usize) -> Self {
        // As the decoder rounds it.
        let fades_after = (FADES_AFTER.as_secs_f64() / jitter.frame.as_secs_f64()).round().max(1.0) as u64;
        Self {
            jitter: JitterBuffer::new(jitter),
            fades_after,
            listener,
            stretcher: Stretcher::new(sample_rate, frame_samples),
            noise: NoiseGenerator::new(1),
            silence: None,
            frame: vec![0.0; frame_samples],
            slot: Slot::Missing,
            ahead: Vec::with_capacity(RUN_FRAMES),
            background: vec![0.0; frame_samples],
            quiet: true,
            missing: 0,
            predicted: 0,
            faded: 0,
        }
    }

    /// What came of a frame at `arrived`.
    pub fn insert(&mut self, number: u64, slot: Slot<CodedFrame>, arrived: Instant) {
        self.jitter.insert(number, slot, arrived);
    }

    /// The peer sends nothing more; what has come is still played.
    pub fn end(&mut self, total: Option<u64>) {
        self.jitter.end(total);
    }

    /// Makes the next frame's sound, and gives it to `each`: a frame's samples, or a few less or more. To be called when the
    /// sink wants more. `None` once everything is played.
    ///
    /// # Errors
    /// If the decoder fails.
    pub fn next(&mut self, now: Instant, each: impl FnMut(&[f32])) -> Result<Option<Heard>, CodecError> {
        self.slot = Slot::Missing;
        let (heard, pace) = match self.jitter.pop(now, self.quiet) {
            Popped::Ended => return Ok(None),
            Popped::Waiting => {
                self.frame.fill(0.0);
                self.quiet = true;
                (Heard { number: None, origin: FrameOrigin::Waiting }, Pace::Normal)
            }
            Popped::Hold => {
                self.ahead.clear();
                self.render(&Slot::Missing, None)?;
                (Heard { number: None, origin: FrameOrigin::Held }, Pace::Normal)
            }
            Popped::Slot { number, slot, pace } => {
                self.slot = slot;
                let origin = self.classify(&slot);
                self.look_ahead(number);
                let later = if origin == FrameOrigin::Predicted { self.jitter.after(number, LOOK_AHEAD) } else { None };
                self.render(&slot, later.map(|(there, unit)| (there - number, unit)))?;
                (Heard { number: Some(number), origin }, pace)
            }
        };
        let pace = match pace {
            Pace::Normal => parlo_dsp::Pace::Normal,
            Pace::Faster => parlo_dsp::Pace::Faster,
            Pace::Slower => parlo_dsp::Pace::Slower,
        };
        self.stretcher.push(&self.frame, pace, each);
        Ok(Some(heard))
    }

    /// Lets the next frame's time pass without making its sound, for a call that is held: what comes meanwhile does not pile
    /// up. Whether there is more to come.
    pub fn skip(&mut self, now: Instant) -> bool {
        !matches!(self.jitter.pop(now, true), Popped::Ended)
    }

    fn classify(&mut self, slot: &Slot<CodedFrame>) -> FrameOrigin {
        let origin = match slot {
            Slot::Frame(_) => FrameOrigin::Real,
            Slot::Coarse(_) => FrameOrigin::Coarse,
            Slot::Silence(_) => FrameOrigin::Silent,
            Slot::Missing if self.missing < self.fades_after => FrameOrigin::Predicted,
            Slot::Missing => FrameOrigin::Faded,
        };
        self.predicted += u64::from(origin == FrameOrigin::Predicted);
        self.faded += u64::from(origin == FrameOrigin::Faded);
        self.missing = if *slot == Slot::Missing { self.missing + 1 } else { 0 };
        origin
    }

    /// Finds the frames right after `number` that are there, for the decoder to run over with it: the rest of its packet, as a
    /// rule. Only frames themselves, never copies: nothing better can come for them, so they are what will be played, unless
    /// play-out leaves one out or holds before it, whereupon the decoder takes what it did ahead back.
    fn look_ahead(&mut self, number: u64) {
        self.ahead.clear();
        for number in (number..).take(RUN_FRAMES - 1) {
            let Some((_, CodedFrame::Tokens(tokens))) = self.jitter.after(number, 1) else { return };
            self.ahead.push(tokens);
        }
    }

    /// Makes the frame's sound. Between speech and comfort noise one is faded into the other.
    fn render(&mut self, slot: &Slot<CodedFrame>, later: Option<(u64, CodedFrame)>) -> Result<(), CodecError> {
        let before = self.silence;
        let now = match slot {
            Slot::Silence(noise) => Some(*noise),
            // A gap in silence is silence: only speech is predicted.
            Slot::Missing => before,
            _ => None,
        };
        self.silence = now;
        if let Some(noise) = now.or(before) {
            self.noise.render(noise.level(), noise.reflection(), &mut self.background);
        }
        match (before, now) {
            (Some(_), Some(_)) => self.frame.copy_from_slice(&self.background),
            (before, now) => {
                self.listener.play(slot, later, &self.ahead, &mut self.frame)?;
                if before.is_some() || now.is_some() {
                    let step = 1.0 / self.frame.len() as f32;
                    for (n, (sample, noise)) in self.frame.iter_mut().zip(&self.background).enumerate() {
                        let share = (n + 1) as f32 * step;
                        let share = if now.is_some() { share } else { 1.0 - share };
                        *sample += share * (noise - *sample);
                    }
                }
            }
        }
        let power = self.frame.iter().map(|sample| sample * sample).sum::<f32>() / self.frame.len().max(1) as f32;
        self.quiet = now.is_some() || power < QUIET * QUIET;
        Ok(())
    }

    /// The frame that was played last, before it was stretched or shortened.
    pub fn frame(&self) -> &[f32] {
        &self.frame
    }

    /// Whether the frame that was played last took the codec's work, and was not decoded ahead.
    pub fn has_run(&self) -> bool {
        self.listener.has_run()
    }

    /// What there was of the frame that was played last; [`Slot::Missing`] also while play-out holds or waits.
    pub fn slot(&self) -> Slot<CodedFrame> {
        self.slot
    }

    /// How much speech waits now.
    pub fn delay(&self) -> Duration {
        self.jitter.delay()
    }

    /// The delay that is aimed at.
    pub fn target(&self) -> Duration {
        self.jitter.target()
    }

    /// Counts so far.
    pub fn stats(&self) -> PlayerStats {
        PlayerStats { jitter: *self.jitter.stats(), predicted: self.predicted, faded: self.faded }
    }
}
