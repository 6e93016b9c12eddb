//! Sound files as the signal that Opus gets here, and a loss that is the same every time.

use std::{
    fs::{self, File},
    path::Path,
};

use anyhow::{Context, Result};
use parlo_opus::RATE;
use symphonia::core::{
    codecs::{CodecParameters, audio::AudioDecoderOptions},
    formats::{FormatOptions, TrackType, probe::Hint},
    io::MediaSourceStream,
    meta::MetadataOptions,
};

/// The first channel of a sound file, at [`RATE`]. A file that ends in `.f32` is raw: little-endian floats at that rate.
pub(crate) fn read(path: &Path) -> Result<Vec<f32>> {
    let named = || format!("cannot read {}", path.display());
    if path.extension().is_some_and(|extension| extension == "f32") {
        let bytes = fs::read(path).with_context(named)?;
        let (samples, _) = bytes.as_chunks::<4>();
        return Ok(samples.iter().map(|&sample| f32::from_le_bytes(sample)).collect());
    }
    let file = File::open(path).with_context(named)?;
    let stream = MediaSourceStream::new(Box::new(file), Default::default());
    let mut reader = symphonia::default::get_probe()
        .probe(&Hint::new(), stream, FormatOptions::default(), MetadataOptions::default())
        .with_context(named)?;
    let track = reader.default_track(TrackType::Audio).with_context(named)?;
    let Some(CodecParameters::Audio(parameters)) = &track.codec_params else { anyhow::bail!("{}", named()) };
    let mut decoder =
        symphonia::default::get_codecs().make_audio_decoder(parameters, &AudioDecoderOptions::default())?;
    let (mut signal, mut block, mut rate) = (Vec::new(), Vec::new(), RATE);
    while let Some(packet) = reader.next_packet().with_context(named)? {
        let audio = decoder.decode(&packet).with_context(named)?;
        rate = audio.spec().rate();
        let channels = audio.spec().channels().count().max(1);
        block.clear();
        audio.copy_to_vec_interleaved::<f32>(&mut block);
        signal.extend(block.iter().step_by(channels));
    }
    Ok(if rate == RATE { signal } else { parlo_score::resample(&signal, rate, RATE) })
}

/// A generator of 32-bit numbers: splitmix64's upper half.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 32) as u32
    }

    /// True so many times in a hundred.
    pub(crate) fn percent(&mut self, percent: u8) -> bool {
        self.roll() % 100 < u32::from(percent)
    }
}
