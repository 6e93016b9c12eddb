use std::{fmt, ops::Range};

use parlo_tokens::Slot;

use crate::{
    FRAME_SAMPLES,
    error::OpusError,
    frame::OpusFrame,
    native::{Decoder, Redundancy, has_copy},
};

/// How many samples speech takes to come up after silence: 5 ms, enough that it does not click.
const RISE_SAMPLES: f32 = 80.0;

/// Turns one stream of Opus frames into audio: 16 kHz mono. Make one per stream.
///
/// Slots are played in the order of time. A lost frame whose later packet is already there can be played by
/// [`repair`](Self::repair) in place of a [`Slot::Missing`]; that packet's own frame is still to be played in its turn.
pub struct OpusDecoder {
    native: Decoder,
    redundancy: Redundancy,
    parsed: Option<Parsed>,
    audio: [f32; FRAME_SAMPLES],
    gain: f32,
}

/// The packet whose deep redundancy was read last: one packet often repairs several frames.
struct Parsed {
    packet: OpusFrame,
    samples_back: Range<usize>,
}

impl OpusDecoder {
    /// A decoder at the start of a stream.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn new() -> Result<Self, OpusError> {
        Ok(Self {
            native: Decoder::new()?,
            redundancy: Redundancy::new()?,
            parsed: None,
            audio: [0.0; FRAME_SAMPLES],
            gain: 1.0,
        })
    }

    /// Plays the next 20 ms, by what is known of them: [`FRAME_SAMPLES`] samples, nominally -1 to 1.
    ///
    /// * `Frame`: decoded.
    /// * `Coarse`: the frame in it is the one of the *next* 20 ms, out of which comes the copy of this one. If it holds
    ///   none, as `Missing`.
    /// * `Missing`: made up by libopus, which fades by itself. After silence it is silence.
    /// * `Silence`: whoever calls renders the noise. What was played last fades within the frame; then there are zeros, and
    ///   the decoder stands still, as the encoder does that is given nothing.
    ///
    /// # Errors
    /// If the packet is damaged; the stream can go on, best with this slot as `Missing`.
    pub fn play(&mut self, slot: &Slot<OpusFrame>) -> Result<&[f32], OpusError> {
        match slot {
            Slot::Frame(frame) => {
                self.native.decode(frame, &mut self.audio)?;
                self.finish(true)?;
            }
            Slot::Coarse(later) => {
                if self.repair(later, 1)?.is_none() {
                    self.conceal(false)?;
                }
            }
            Slot::Missing => self.conceal(false)?,
            Slot::Silence(_) => self.conceal(true)?,
        }
        Ok(&self.audio)
    }

    /// Plays the next 20 ms, whose own packet was lost, out of one that came later: of the frame `frames_back` frames
    /// after this one. The copy in it (LBRR) tells one frame back, deep redundancy further. `None` if it tells nothing of
    /// this frame; then nothing was played.
    ///
    /// # Errors
    /// If the packet is damaged; the stream can go on, best with this slot as `Missing`.
    pub fn repair(&mut self, later: &OpusFrame, frames_back: u32) -> Result<Option<&[f32]>, OpusError> {
        if frames_back == 1 && has_copy(later) {
            self.native.decode_copy(later, &mut self.audio)?;
        } else if covers(&self.read(later)?, frames_back) {
            self.redundancy.decode(&mut self.native, frames_back as usize * FRAME_SAMPLES, &mut self.audio)?;
        } else {
            return Ok(None);
        }
        self.finish(true)?;
        Ok(Some(&self.audio))
    }

    /// How many frames before its own this packet can [`repair`](Self::repair) without a gap; 0 if none. Plays nothing.
    ///
    /// # Errors
    /// If the packet is damaged.
    pub fn reach(&mut self, later: &OpusFrame) -> Result<u32, OpusError> {
        let told = self.read(later)?;
        let first = u32::from(has_copy(later) || covers(&told, 1));
        if first == 0 {
            return Ok(0);
        }
        Ok((2..).take_while(|&back| covers(&told, back)).last().unwrap_or(first))
    }

    /// Forgets everything played so far, as if new.
    ///
    /// # Errors
    /// If libopus fails.
    pub fn reset(&mut self) -> Result<(), OpusError> {
        self.gain = 1.0;
        self.native.reset()
    }

    /// Which samples before its own this packet's deep redundancy tells about, counted backwards.
    fn read(&mut self, later: &OpusFrame) -> Result<Range<usize>, OpusError> {
        if let Some(parsed) = self.parsed.as_ref().filter(|parsed| parsed.packet == *later) {
            return Ok(parsed.samples_back.clone());
        }
        self.parsed = None;
        let samples_back = self.redundancy.parse(later)?;
        self.parsed = Some(Parsed { packet: *later, samples_back: samples_back.clone() });
        Ok(samples_back)
    }

    /// Makes up a frame; if nobody speaks, one that fades to silence. In silence it is zeros.
    fn conceal(&mut self, silence: bool) -> Result<(), OpusError> {
        if self.gain == 0.0 {
            self.audio.fill(0.0);
            return Ok(());
        }
        self.native.conceal(&mut self.audio)?;
        self.finish(!silence)
    }

    /// Checks what libopus made, and glides to full level, or to none.
    fn finish(&mut self, heard: bool) -> Result<(), OpusError> {
        // Damaged packets can drive the networks anywhere.
        if !self.audio.iter().all(|sample| sample.is_finite()) {
            self.reset()?;
            return Err(OpusError::NotFinite("the decoder's audio"));
        }
        let step = if heard { 1.0 / RISE_SAMPLES } else { -1.0 / FRAME_SAMPLES as f32 };
        if heard && self.gain == 1.0 {
            return Ok(());
        }
        for (n, sample) in self.audio.iter_mut().enumerate() {
            *sample *= (self.gain + step * (n + 1) as f32).clamp(0.0, 1.0);
        }
        self.gain = if heard { 1.0 } else { 0.0 };
        Ok(())
    }
}

impl fmt::Debug for OpusDecoder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("OpusDecoder").field("gain", &self.gain).finish_non_exhaustive()
    }
}

/// Whether redundancy that tells about these samples back tells at least the later half of the frame that is so many frames
/// back. The other half libopus makes up, as it would all of it; that is better than nothing.
fn covers(samples_back: &Range<usize>, frames_back: u32) -> bool {
    let Some(later) = (frames_back as usize).checked_sub(1) else { return false };
    let nearer_end = later.saturating_mul(FRAME_SAMPLES);
    samples_back.start <= nearer_end && samples_back.end >= nearer_end.saturating_add(FRAME_SAMPLES / 2)
}

#[cfg(test)]
#[path = "decoder_tests.rs"]
mod tests;
