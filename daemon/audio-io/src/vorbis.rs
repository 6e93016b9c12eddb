//! Vorbis I packets.

use symphonia::core::{
    codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions, well_known::CODEC_ID_VORBIS},
    packet::Packet,
    units::{Duration, Timestamp},
};
use symphonia::default::codecs::VorbisDecoder;

use crate::{
    Format,
    ogg::Codec,
    reader::{Trouble, guarded},
};

/// A stream: its first packet, of three, says rate and channels; the third, how to decode it.
pub(crate) struct Vorbis {
    format: Format,
    head: Vec<u8>,
    decoder: Option<VorbisDecoder>,
    samples: Vec<f32>,
}

impl Vorbis {
    pub(crate) fn new(packet: &[u8]) -> Result<Self, Trouble> {
        let &[channels, a, b, c, d] = packet.get(11..16).unwrap_or_default() else {
            return Err(Trouble::Not("its header is damaged".to_owned()));
        };
        let format = Format { rate: u32::from_le_bytes([a, b, c, d]), channels: channels.into() };
        if format.rate == 0 || channels == 0 {
            return Err(Trouble::Not("its header is damaged".to_owned()));
        }
        Ok(Self { format, head: packet.to_vec(), decoder: None, samples: Vec::new() })
    }
}

impl Codec for Vorbis {
    fn decode(&mut self, packet: &[u8], out: &mut Vec<f32>) -> Result<(), ()> {
        let Some(decoder) = &mut self.decoder else { return Err(()) };
        // A packet without anything is one that says nothing (and some streams end so).
        if packet.is_empty() {
            return Ok(());
        }
        let packet = Packet::new(0, Timestamp::ZERO, Duration::ZERO, packet);
        let samples = &mut self.samples;
        samples.clear();
        let decoded = guarded(|| {
            decoder.decode(&packet)?.copy_to_vec_interleaved::<f32>(samples);
            Ok(())
        });
        out.append(samples);
        decoded.map_err(drop)
    }

    fn gap(&mut self) {
        if let Some(decoder) = &mut self.decoder {
            decoder.reset();
        }
    }

    fn format(&self) -> Format {
        self.format
    }

    fn headers(&self) -> u32 {
        3
    }

    fn header(&mut self, packet: &[u8]) -> Result<(), Trouble> {
        if !packet.starts_with(b"\x05vorbis") {
            return Ok(());
        }
        let mut parameters = AudioCodecParameters::new();
        parameters.for_codec(CODEC_ID_VORBIS).with_extra_data([&self.head[..], packet].concat().into());
        let made = guarded(|| VorbisDecoder::try_new(&parameters, &AudioDecoderOptions::default()));
        self.decoder = Some(made.map_err(|error| Trouble::Not(error.to_string()))?);
        Ok(())
    }

    fn trims_start(&self) -> bool {
        true
    }
}
