//! What a microphone's sound passes before it is coded.

mod echo;
mod high_pass;
mod level;
mod meters;
mod noise;
mod slot;
#[cfg(test)]
mod tests;

use std::time::Duration;

use self::{
    echo::Echo,
    high_pass::HighPass,
    level::GainControl,
    meters::{EchoMeter, GainMeter, NoiseMeter},
    noise::Noise,
    slot::Slot,
};
use crate::error::DspError;

/// Which stages work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switches {
    /// Takes away what lies below a voice. Works whenever `echo` does, which needs it.
    pub high_pass: bool,
    /// Takes away what comes from the loudspeaker.
    pub echo: bool,
    /// Weakens steady noise.
    pub noise: bool,
    /// Brings speech to one loudness.
    pub gain: bool,
}

impl Switches {
    /// Nothing works: samples pass bit by bit.
    pub const NONE: Self = Self { high_pass: false, echo: false, noise: false, gain: false };
    /// Everything works.
    pub const ALL: Self = Self { high_pass: true, echo: true, noise: true, gain: true };
}

/// What the stages do at the moment, read from the sound before and after each.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Readings {
    /// By how many dB the echo was weakened in about the last 2 s in which the loudspeaker spoke (echo return loss enhancement,
    /// ITU-T G.168). Speech at the microphone at the same time is meant to pass, and lowers the reading. `None` if the canceller
    /// is off, or if nothing louder than -60 dBFS was played for 10 s.
    pub echo_return_loss_enhancement_db: Option<f32>,
    /// By how many dB the pauses became fainter in about the last second of them. `None` if the suppressor is off, or if there was
    /// nothing but digital silence.
    pub noise_reduction_db: Option<f32>,
    /// Gain of the last 10 ms that were not silent, dB, -12 to 38. `None` if the gain control is off.
    pub gain_db: Option<f32>,
}

/// Stages between microphone and encoder, in this order: high-pass, echo cancellation, noise suppression, gain control. Mono, blocks of
/// 10 ms, samples of -1 to 1.
///
/// The work is done by sonora, WebRTC's audio processing in Rust, with WebRTC's settings; `docs/lab/audio.md` has what was
/// measured. Everything is built at once, so that a switch costs no memory: a stage that is switched on hears one block and is
/// faded in over the next, one that is switched off is faded out over a block. With the change of
/// [`Stages::delay`] the words shift by some milliseconds.
///
/// Nothing here allocates but the library's echo canceller, which does so 28 times a block at 16 kHz and 44 times at 48 kHz (small
/// pieces, given back before it returns), and offers no setting against it: call [`Stages::near`] from a thread that may wait, not
/// from a sound card's callback.
#[derive(Debug)]
pub struct Stages {
    rate: u32,
    block: usize,
    switches: Switches,
    high_pass: Slot<HighPass>,
    echo: Slot<Echo>,
    noise: Slot<Noise>,
    gain: Slot<GainControl>,
    echo_meter: EchoMeter,
    noise_meter: NoiseMeter,
    gain_meter: GainMeter,
    /// A far block whose samples were not all fit.
    cleaned: Vec<f32>,
}

impl Stages {
    /// Stages at `rate` Hz with these switches.
    ///
    /// # Errors
    /// If the rate is not 16000, 32000 or 48000 Hz, which is what the library takes.
    pub fn new(rate: u32, switches: Switches) -> Result<Self, DspError> {
        if ![16_000, 32_000, 48_000].contains(&rate) {
            return Err(DspError::StageRate(rate));
        }
        let block = rate as usize / 100;
        Ok(Self {
            rate,
            block,
            switches,
            high_pass: Slot::new(HighPass::new(rate, block), switches.high_pass || switches.echo, block),
            echo: Slot::new(Echo::new(rate, block), switches.echo, block),
            noise: Slot::new(Noise::new(rate, block), switches.noise, block),
            gain: Slot::new(GainControl::new(rate, block), switches.gain, block),
            echo_meter: EchoMeter::new(),
            noise_meter: NoiseMeter::new(),
            gain_meter: GainMeter::new(),
            cleaned: vec![0.0; block],
        })
    }

    /// Samples in a block, 10 ms.
    pub fn block(&self) -> usize {
        self.block
    }

    /// Turns stages on and off from the next block on, without a click and without an allocation. What the echo canceller has
    /// learnt of a room it keeps.
    pub fn set(&mut self, switches: Switches) {
        self.switches = switches;
    }

    /// [`Stages::block`] samples that go to the loudspeaker now; before the [`Stages::near`] of the same 10 ms, and in silence
    /// too: the canceller begins with the first, and finds the delay from how both streams run. The sound card's delay need not be
    /// told. Any other number of samples is passed over.
    pub fn far(&mut self, block: &[f32]) {
        if block.len() != self.block || !self.echo.runs(self.switches.echo) {
            return;
        }
        self.cleaned.copy_from_slice(block);
        clean(&mut self.cleaned, 1.0);
        self.echo.stage.far(&self.cleaned);
    }

    /// [`Stages::block`] samples that the microphone heard, in place. Any other number of samples passes untouched. Samples that
    /// are no numbers become silence; if any stage works, those beyond -1 to 1 are cut there.
    pub fn near(&mut self, block: &mut [f32]) {
        if block.len() != self.block {
            return;
        }
        let Switches { high_pass, echo, noise, gain } = self.switches;
        let any =
            self.high_pass.runs(high_pass) || self.echo.runs(echo) || self.noise.runs(noise) || self.gain.runs(gain);
        let most = if any { 1.0 } else { f32::MAX };
        clean(block, most);
        self.high_pass.process(high_pass || echo, block);
        let powers = self.echo.process(echo, block);
        self.echo_meter.take(self.echo.stage.far_power(), powers);
        self.noise_meter.take(self.noise.process(noise, block));
        self.gain_meter.take(self.gain.process(gain, block));
        // Filters ring beyond what came in.
        clean(block, most);
    }

    /// What the stages do at the moment.
    pub fn readings(&self) -> Readings {
        Readings {
            echo_return_loss_enhancement_db: self.echo_meter.reading(),
            noise_reduction_db: self.noise_meter.reading(),
            gain_db: self.gain_meter.reading(),
        }
    }

    /// How much later sound comes out than it went in, with the switches as they are: nothing if all are off. High-pass and gain
    /// control add no delay.
    pub fn delay(&self) -> Duration {
        let Switches { echo, noise, .. } = self.switches;
        let samples = u32::from(echo) * echo_delay(self.rate) + u32::from(noise) * noise_delay(self.rate);
        Duration::from_secs_f64(f64::from(samples) / f64::from(self.rate))
    }
}

/// Samples: a block of the canceller's window and half a block until its blocks of 64 make 160 (96 at 16 kHz); at other rates a
/// whole block for that, and what splitting into bands and joining them takes.
fn echo_delay(rate: u32) -> u32 {
    match rate {
        16_000 => 96,
        32_000 => 260,
        _ => 430,
    }
}

/// Samples: the overlap of the suppressor's windows (96 at 16 kHz), and at other rates what splitting into bands and joining them
/// takes.
fn noise_delay(rate: u32) -> u32 {
    match rate {
        16_000 => 96,
        32_000 => 196,
        _ => 334,
    }
}

/// What is no number is silence: it would stay in every filter for ever. What is larger than `most` is cut there.
fn clean(block: &mut [f32], most: f32) {
    for sample in block {
        *sample = if sample.is_finite() { sample.clamp(-most, most) } else { 0.0 };
    }
}
