//! The codec of a call, whichever it is.

use parlo_model::{Decoder, Encoder, ModelError};
use parlo_opus::{OpusDecoder, OpusEncoder, OpusError, OpusFrame};
use parlo_tokens::{Slot, TokenFrame};

/// A frame as the codec made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodedFrame {
    /// Of the model that both sides hold.
    Tokens(TokenFrame),
    /// Of Opus, where they hold none.
    Opus(OpusFrame),
}

/// Why a frame was not coded or not played.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Opus.
    #[error(transparent)]
    Opus(#[from] OpusError),
}

/// Bitrates of Opus by what is called depth in a call, from 1, bits per second.
pub const OPUS_RATES: [u32; 8] = [6_000, 7_000, 8_000, 9_000, 10_000, 12_000, 16_000, 24_000];

/// Frames that the model codes in one run at most. Its weights come to the processor once a run, so that six frames take less
/// than a third of the time that they take one by one; more gain little, and a run has to be done before the next block is due.
pub const RUN_FRAMES: usize = 6;

/// Encodes samples to frames.
#[derive(Debug)]
pub enum FrameEncoder {
    /// With a model.
    Tokens(Box<Encoder>),
    /// With Opus, at the rate of this depth.
    Opus(Box<OpusEncoder>, u8),
}

impl FrameEncoder {
    /// Codes the next frames, of `frame` samples each: up to [`RUN_FRAMES`] of them. They are appended to `units`; `scratch` has
    /// room for as many.
    ///
    /// # Errors
    /// If the codec fails.
    pub fn push_many(
        &mut self,
        samples: &[f32],
        frame: usize,
        scratch: &mut Vec<TokenFrame>,
        units: &mut Vec<CodedFrame>,
    ) -> Result<(), CodecError> {
        match self {
            Self::Tokens(encoder) => {
                scratch.clear();
                encoder.push_many(samples, scratch)?;
                units.extend(scratch.iter().copied().map(CodedFrame::Tokens));
            }
            Self::Opus(encoder, _) => {
                for frame in samples.chunks(frame.max(1)) {
                    units.push(CodedFrame::Opus(encoder.push(frame)?));
                }
            }
        }
        Ok(())
    }

    /// Hears a frame whose codes nobody needs: those of later frames are as if it had been coded.
    ///
    /// # Errors
    /// If the codec fails.
    pub fn warm_up(&mut self, frame: &[f32]) -> Result<(), CodecError> {
        match self {
            Self::Tokens(encoder) => drop(encoder.analyse(frame)?),
            Self::Opus(encoder, _) => drop(encoder.push(frame)?),
        }
        Ok(())
    }

    /// Follows what the call wants: codebooks at most, of which frames are cut to the plan's depth when they are sent; or the
    /// depth that stands for one of Opus' bitrates, and the share of packets lost.
    ///
    /// # Errors
    /// If the codec fails.
    pub fn follow(&mut self, depth: u8, loss: f64) -> Result<(), CodecError> {
        if let Self::Tokens(encoder) = self
            && encoder.depth() != usize::from(depth)
        {
            encoder.set_depth(usize::from(depth))?;
        }
        if let Self::Opus(encoder, now) = self {
            if *now != depth {
                let at = usize::from(depth).clamp(1, OPUS_RATES.len()) - 1;
                encoder.set_bitrate(OPUS_RATES[at])?;
                *now = depth;
            }
            encoder.set_loss((100.0 * loss).clamp(0.0, 100.0) as u8)?;
        }
        Ok(())
    }
}

/// Decodes what is known of frames to samples.
#[derive(Debug)]
pub enum FrameDecoder {
    /// With a model.
    Tokens(Box<Decoder>),
    /// With Opus.
    Opus(Box<OpusDecoder>),
}

impl FrameDecoder {
    /// Makes sound of what is known of the next frame, into `out`. Silence is made up for as a gap is: the noise is the
    /// caller's to make. `later` is the next frame that is there, and how many frames on: Opus finds some of a missing one there.
    /// `ahead` are the frames after this one, as far as they are there, without a gap: the model decodes them in the same run.
    /// What is heard does not depend on whether they are played in the end.
    ///
    /// # Errors
    /// If the codec fails.
    pub fn play(
        &mut self,
        slot: &Slot<CodedFrame>,
        later: Option<(u64, CodedFrame)>,
        ahead: &[TokenFrame],
        out: &mut [f32],
    ) -> Result<(), CodecError> {
        match self {
            Self::Tokens(decoder) => {
                let played = match slot {
                    Slot::Frame(CodedFrame::Tokens(tokens)) | Slot::Coarse(CodedFrame::Tokens(tokens)) => {
                        decoder.push_ahead(tokens, ahead)
                    }
                    _ => decoder.conceal(),
                };
                match played {
                    Ok(audio) => out.copy_from_slice(audio),
                    // Tokens of another model, from a peer that claimed ours: a gap, not the end of the call.
                    Err(ModelError::Tokens { .. }) => out.copy_from_slice(decoder.conceal()?),
                    Err(error) => return Err(error.into()),
                }
            }
            Self::Opus(decoder) => {
                let slot = match slot {
                    Slot::Frame(CodedFrame::Opus(frame)) => Slot::Frame(*frame),
                    Slot::Silence(noise) => Slot::Silence(*noise),
                    _ => Slot::Missing,
                };
                if slot == Slot::Missing
                    && let Some((ahead, CodedFrame::Opus(later))) = later
                    && let Ok(ahead) = u32::try_from(ahead)
                    && let Ok(Some(audio)) = decoder.repair(&later, ahead)
                {
                    out.copy_from_slice(audio);
                    return Ok(());
                }
                match decoder.play(&slot) {
                    Ok(audio) => out.copy_from_slice(audio),
                    // Bytes that are no Opus: a gap.
                    Err(_) => out.copy_from_slice(decoder.play(&Slot::Missing)?),
                }
            }
        }
        Ok(())
    }

    /// Whether the last frame took the codec's work, and was not decoded ahead.
    pub fn has_run(&self) -> bool {
        match self {
            Self::Tokens(decoder) => decoder.has_run(),
            Self::Opus(_) => true,
        }
    }
}
