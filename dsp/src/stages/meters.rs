//! What each stage does, read from the sound before and after it.

use super::slot::Powers;

/// Mean square of silence, -120 dBFS; what is fainter is not measured.
const SILENCE: f32 = 1e-12;
/// The loudspeaker says something: mean square from -60 dBFS on.
const FAR: f32 = 1e-6;
/// Blocks after the loudspeaker's last sound in which its echo still comes: half a second of device and room.
const ECHOES: u32 = 50;
/// Blocks after the loudspeaker's last sound until the reading is gone, 10 s.
const FORGOTTEN: u32 = 1000;

/// Times the floor that a pause is at most, 4 dB.
const LOUDER: f32 = 2.5;
/// Blocks in half the time that the floor is the faintest of.
const HALF: u32 = 150;
/// Blocks of noise until it is a pause: the suppressor has closed, and what is late of the word is through.
const PAUSE: u32 = 5;

/// What is left of a block's weight one block later: about the last 2 s count.
const KEEP: f32 = 0.995;

/// Powers of about the last 2 s, and their ratio.
#[derive(Debug, Clone, Copy)]
struct Ratio {
    before: f32,
    after: f32,
}

impl Ratio {
    fn new() -> Self {
        Self { before: 0.0, after: 0.0 }
    }

    fn take(&mut self, powers: Powers) {
        self.before = KEEP * self.before + (1.0 - KEEP) * powers.before;
        self.after = KEEP * self.after + (1.0 - KEEP) * powers.after;
    }

    /// By how many dB the sound became fainter.
    fn weaker_db(&self) -> Option<f32> {
        (self.before > SILENCE).then(|| 10.0 * (self.before / self.after.max(SILENCE)).log10())
    }
}

/// Echo return loss enhancement (ITU-T G.168): echo before over what is left of it, while the loudspeaker speaks.
#[derive(Debug)]
pub(super) struct EchoMeter {
    ratio: Ratio,
    since_far: u32,
}

impl EchoMeter {
    pub(super) fn new() -> Self {
        Self { ratio: Ratio::new(), since_far: FORGOTTEN }
    }

    pub(super) fn take(&mut self, far_power: f32, powers: Option<Powers>) {
        self.since_far = if far_power > FAR { 0 } else { self.since_far.saturating_add(1) };
        match powers {
            Some(powers) if self.since_far < ECHOES => self.ratio.take(powers),
            Some(_) if self.since_far < FORGOTTEN => {}
            _ => *self = Self { since_far: self.since_far, ..Self::new() },
        }
    }

    pub(super) fn reading(&self) -> Option<f32> {
        self.ratio.weaker_db()
    }
}

/// By how much the pauses became fainter.
#[derive(Debug)]
pub(super) struct NoiseMeter {
    weaker_db: Option<f32>,
    smooth: f32,
    /// The faintest of these 1.5 s and of the 1.5 s before.
    lows: [f32; 2],
    blocks: u32,
    /// Blocks since the last that was louder than the noise.
    quiet: u32,
}

impl NoiseMeter {
    pub(super) fn new() -> Self {
        Self { weaker_db: None, smooth: 0.0, lows: [f32::MAX; 2], blocks: 0, quiet: 0 }
    }

    pub(super) fn take(&mut self, powers: Option<Powers>) {
        let Some(powers) = powers else {
            *self = Self::new();
            return;
        };
        if powers.before <= SILENCE {
            return;
        }
        if self.lows[0] == f32::MAX && self.lows[1] == f32::MAX {
            self.smooth = powers.before;
        }
        self.smooth += 0.2 * (powers.before - self.smooth);
        if self.blocks.is_multiple_of(HALF) {
            self.lows = [f32::MAX, self.lows[0]];
        }
        self.blocks = self.blocks.wrapping_add(1);
        self.lows[0] = self.lows[0].min(self.smooth);
        let floor = self.lows[0].min(self.lows[1]);
        self.quiet = if self.smooth < LOUDER * floor { self.quiet.saturating_add(1) } else { 0 };
        if self.quiet > PAUSE {
            // In dB, so that a faint word which the suppressor lets pass weighs no more than any other block.
            let now = 10.0 * (powers.before / powers.after.max(SILENCE)).log10();
            let before = self.weaker_db.unwrap_or(now);
            self.weaker_db = Some(before + 0.01 * (now - before));
        }
    }

    pub(super) fn reading(&self) -> Option<f32> {
        self.weaker_db
    }
}

/// The gain of the last block that was not silent.
#[derive(Debug)]
pub(super) struct GainMeter(Option<f32>);

impl GainMeter {
    pub(super) fn new() -> Self {
        Self(None)
    }

    pub(super) fn take(&mut self, powers: Option<Powers>) {
        match powers {
            Some(powers) if powers.before > SILENCE => {
                self.0 = Some(10.0 * (powers.after.max(SILENCE) / powers.before).log10());
            }
            Some(_) => {}
            None => self.0 = None,
        }
    }

    pub(super) fn reading(&self) -> Option<f32> {
        self.0
    }
}
