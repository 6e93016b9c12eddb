//! Whole recordings, whatever the bundle: those that can stream do.

use parlo_tokens::TokenFrame;

use crate::{
    bundle::Bundle,
    decoder::Decoder,
    encoder::{Encoder, EncoderConfig},
    error::ModelError,
    offline::{WholeDecoder, WholeEncoder},
    runtime::Runtime,
};

/// Encodes a recording: mono samples at the bundle's rate, nominally -1 to 1. Silence fills up the last frame; behind it come as many
/// frames of silence as the decoder needs until it has rendered everything
/// ([`delay_samples`](crate::Audio::delay_samples)). These are the codes that `parlo encode` writes.
///
/// # Errors
/// As [`Encoder`] and [`WholeEncoder`].
pub fn encode_recording(
    runtime: &Runtime,
    bundle: &Bundle,
    config: EncoderConfig,
    samples: &[f32],
) -> Result<Vec<TokenFrame>, ModelError> {
    let audio = &bundle.manifest().audio;
    let behind = audio.delay_samples.div_ceil(audio.frame_samples);
    let count = samples.len().div_ceil(audio.frame_samples) + behind;
    let mut padded = samples.to_vec();
    padded.resize(count * audio.frame_samples, 0.0);
    if bundle.whole().is_some() {
        return WholeEncoder::new(runtime, bundle, config)?.encode(&padded);
    }
    let mut frames = Vec::with_capacity(count);
    Encoder::new(runtime, bundle, config)?.push_many(&padded, &mut frames)?;
    Ok(frames)
}

/// Decodes a recording: mono samples at the bundle's rate, in step with what was encoded. The decoder's delay is left out, so that
/// there are [`delay_samples`](crate::Audio::delay_samples) less than the frames have; what filled up the last frame is there.
///
/// # Errors
/// As [`Decoder`] and [`WholeDecoder`].
pub fn decode_recording(runtime: &Runtime, bundle: &Bundle, frames: &[TokenFrame]) -> Result<Vec<f32>, ModelError> {
    let audio = &bundle.manifest().audio;
    let mut samples = if bundle.whole().is_some() {
        WholeDecoder::new(runtime, bundle)?.decode(frames)?
    } else {
        let mut decoder = Decoder::new(runtime, bundle)?;
        let mut samples = Vec::with_capacity(frames.len() * audio.frame_samples);
        decoder.push_many(frames, &mut samples)?;
        samples
    };
    samples.drain(..audio.delay_samples.min(samples.len()));
    Ok(samples)
}
