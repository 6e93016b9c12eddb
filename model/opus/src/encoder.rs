use std::{fmt, ops::RangeInclusive};

use opusic_sys as sys;

use crate::{
    FRAME_SAMPLES,
    error::OpusError,
    frame::{FRAME_BYTES_MOST, OpusFrame},
    native::{Encoder, Setting},
};

/// The bitrates that can be asked for, in bits a second. Below, there is no wideband speech; above, libopus goes over to
/// its transform codec, which has neither copies nor NoLACE.
pub const BITRATES: RangeInclusive<u32> = 6_000..=48_000;

/// How long a past deep redundancy can be asked to carry, in steps of 10 ms. It comes in pieces of 40 ms.
pub const DRED_DURATIONS: RangeInclusive<u8> = 4..=104;

/// The loss that an encoder with protection starts from, in percent, until it is told. Without any, libopus sends no
/// protection at all.
const LOSS_ASSUMED: u8 = 20;

/// What an encoder adds against lost packets. Its bits are taken from the bitrate that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protection {
    /// Nothing.
    #[default]
    None,
    /// A coarse copy of the frame before, where it is speech that matters (LBRR, RFC 6716 section 2.1.7).
    ///
    /// To afford it, libopus narrows the band below some 21 kbps (at 20 % loss; 23 kbps at 10 %), and sends none below 16 kbps.
    /// Here the band is kept, so that there is none below the former limit either.
    Fec,
    /// Deep redundancy (DRED): the past as a neural network's latents, coarser the longer ago.
    ///
    /// libopus spends on it a share of what exceeds 12 kbps, and how far back it reaches follows from that: in speech, at
    /// 20 % loss, 55 ms at 20 kbps, 135 ms at 24 kbps and 175 ms at 32 kbps. Below some 20 kbps, or at little loss (24 kbps:
    /// up to 6 %), there is none.
    Dred {
        /// The furthest that it shall reach, in steps of 10 ms: one of [`DRED_DURATIONS`].
        duration_10ms: u8,
    },
}

/// Turns one stream of audio into Opus frames: 16 kHz mono, 20 ms a frame, wideband, constrained variable bitrate,
/// tuned for voice. Make one per stream.
pub struct OpusEncoder {
    native: Encoder,
    bitrate: u32,
    protection: Protection,
    loss: u8,
    delay_samples: usize,
    // libopus writes here, and a frame is copied out of it.
    packet: [u8; FRAME_BYTES_MOST],
    audio: [f32; FRAME_SAMPLES],
}

impl OpusEncoder {
    /// An encoder at the start of a stream, for so many bits a second, protection included. With protection it starts
    /// out for a loss of 20 %.
    ///
    /// # Errors
    /// If the bitrate is not one of [`BITRATES`], or the redundancy's duration not possible, or memory runs out.
    pub fn new(bitrate: u32, protection: Protection) -> Result<Self, OpusError> {
        if let Protection::Dred { duration_10ms: asked } = protection
            && !DRED_DURATIONS.contains(&asked)
        {
            let (least, most) = (*DRED_DURATIONS.start(), *DRED_DURATIONS.end());
            return Err(OpusError::Redundancy { asked, least, most });
        }
        check_bitrate(bitrate)?;
        let mut native = Encoder::new()?;
        let delay_samples = native.look_ahead()?;
        let mut encoder = Self {
            native,
            bitrate,
            protection,
            loss: if protection == Protection::None { 0 } else { LOSS_ASSUMED },
            delay_samples,
            packet: [0; FRAME_BYTES_MOST],
            audio: [0.0; FRAME_SAMPLES],
        };
        encoder.prepare()?;
        Ok(encoder)
    }

    /// Encodes the next frame: [`FRAME_SAMPLES`] samples, nominally -1 to 1; what is beyond is clipped.
    ///
    /// # Errors
    /// If the frame has the wrong length or holds a value that is not finite; the stream can go on with the next frame.
    /// If libopus fails.
    pub fn push(&mut self, frame: &[f32]) -> Result<OpusFrame, OpusError> {
        if frame.len() != FRAME_SAMPLES {
            return Err(OpusError::FrameLength { expected: FRAME_SAMPLES, found: frame.len() });
        }
        // One such value would stay in the filters' states.
        if !frame.iter().all(|sample| sample.is_finite()) {
            return Err(OpusError::NotFinite("the audio to be encoded"));
        }
        for (place, sample) in self.audio.iter_mut().zip(frame) {
            *place = sample.clamp(-1.0, 1.0);
        }
        let bytes = self.native.encode(&self.audio, &mut self.packet)?;
        OpusFrame::new(self.packet.get(..bytes).unwrap_or_default())
    }

    /// Changes the bitrate from the next frame on: bits a second, protection included.
    ///
    /// # Errors
    /// If it is not one of [`BITRATES`]; the one before then stays.
    pub fn set_bitrate(&mut self, bitrate: u32) -> Result<(), OpusError> {
        check_bitrate(bitrate)?;
        self.bitrate = bitrate;
        self.apply()
    }

    /// Tells how many packets in a hundred are lost, from which follows how much protection the next frames carry. At 0
    /// there is none.
    ///
    /// # Errors
    /// If it is above 100; the one before then stays.
    pub fn set_loss(&mut self, percent: u8) -> Result<(), OpusError> {
        if percent > 100 {
            return Err(OpusError::Loss(percent));
        }
        self.loss = percent;
        self.apply()
    }

    /// The bitrate that was asked for, bits a second.
    pub fn bitrate(&self) -> u32 {
        self.bitrate
    }

    /// How many samples later than what went in the decoder's audio is.
    pub fn delay_samples(&self) -> usize {
        self.delay_samples
    }

    /// Forgets everything heard so far, as if new. Settings stay.
    ///
    /// # Errors
    /// If libopus fails.
    pub fn reset(&mut self) -> Result<(), OpusError> {
        self.native.reset()?;
        self.prepare()
    }

    /// Hands all settings to an encoder of libopus that is new.
    fn prepare(&mut self) -> Result<(), OpusError> {
        self.native.set(Setting::Bandwidth, sys::OPUS_BANDWIDTH_WIDEBAND)?;
        self.native.set(Setting::Signal, sys::OPUS_SIGNAL_VOICE)?;
        self.native.set(Setting::Complexity, 10)?;
        self.native.set(Setting::VariableRate, 1)?;
        self.native.set(Setting::VariableRateConstraint, 1)?;
        self.apply()
    }

    /// Hands the settings that change to libopus.
    fn apply(&mut self) -> Result<(), OpusError> {
        let copies = self.protection == Protection::Fec && copies_keep_the_band(self.bitrate, self.loss);
        let duration = match self.protection {
            Protection::Dred { duration_10ms } if redundancy_pays(self.bitrate, self.loss) => duration_10ms,
            _ => 0,
        };
        self.native.set(Setting::Bitrate, self.bitrate.cast_signed())?;
        self.native.set(Setting::PacketLoss, i32::from(self.loss))?;
        self.native.set(Setting::InbandFec, i32::from(copies))?;
        self.native.set(Setting::DredDuration, i32::from(duration))
    }
}

impl fmt::Debug for OpusEncoder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("OpusEncoder")
            .field("bitrate", &self.bitrate)
            .field("protection", &self.protection)
            .field("loss", &self.loss)
            .finish_non_exhaustive()
    }
}

fn check_bitrate(asked: u32) -> Result<(), OpusError> {
    if BITRATES.contains(&asked) {
        Ok(())
    } else {
        Err(OpusError::Bitrate { asked, least: *BITRATES.start(), most: *BITRATES.end() })
    }
}

/// Whether libopus would send copies of wideband frames, rather than narrow the band for them. It decides so in
/// `decide_fec` and `compute_equiv_rate` of its src/opus_encoder.c: copies ask for 16 kbps, 1 kbps more to begin with,
/// and up to a quarter more the less is lost; loss makes the bitrate count for less.
fn copies_keep_the_band(bitrate: u32, loss: u8) -> bool {
    let loss = u32::from(loss);
    let counts = bitrate - bitrate * loss / (6 * loss + 10);
    let asked = 17_000 * (125 - loss.min(25)) / 100;
    counts > asked
}

/// Whether two pieces of deep redundancy fit into the share of the bitrate that libopus gives it. Where only one does, it
/// sends that one all the same, on top of the bitrate (7 kbps more), and it tells just 15 ms. The sums are those of
/// `compute_dred_bitrate` and `estimate_dred_bitrate` in its src/opus_encoder.c.
fn redundancy_pays(bitrate: u32, loss: u8) -> bool {
    /// Tenths of a bit that a piece takes, by quantizer.
    const PIECE: [u32; 16] = [732, 681, 625, 570, 515, 457, 399, 324, 264, 204, 163, 130, 93, 82, 72, 64];
    let loss = u32::from(loss);
    let percent = if loss > 5 { (55 + loss).min(80) } else { 12 * loss };
    let excess = bitrate.saturating_sub(12_000);
    // A frame has a fiftieth of it.
    let granted = excess * percent / 500;
    let magnitude = u32::BITS - excess.max(1).leading_zeros();
    let quantizer = 51_u32.saturating_sub(3 * magnitude).clamp(4, 15) as usize;
    // Five bytes of framing, the state that the pieces begin with, and two pieces.
    let needed = 400 + 500 + 2 * PIECE[quantizer] + PIECE[(quantizer + 1).min(15)];
    needed < granted
}

#[cfg(test)]
#[path = "encoder_tests.rs"]
mod tests;
