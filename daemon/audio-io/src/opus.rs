//! Opus packets of a file (RFC 7845), mono to 255 channels, with the gain that the header asks for.

use parlo_opus::{FileDecoder, packet_samples};

use crate::{Format, ogg::Codec, reader::Trouble};

/// Sound comes out at this rate, whatever it was before.
pub(crate) const RATE: u32 = 48_000;

pub(crate) struct Opus {
    decoder: FileDecoder,
    channels: u16,
    skip: u16,
    gain: f32,
}

impl Opus {
    pub(crate) fn new(head: &[u8]) -> Result<Self, Trouble> {
        let damaged = || Trouble::Not("its header is damaged".to_owned());
        let fixed: [u8; 19] = head.get(..19).and_then(|fixed| fixed.try_into().ok()).ok_or_else(damaged)?;
        let channels = fixed[9];
        if fixed[8] >> 4 != 0 || channels == 0 {
            return Err(Trouble::Not("its Opus header is of a version that is not known".to_owned()));
        }
        let (skip, gain) = (u16::from_le_bytes([fixed[10], fixed[11]]), i16::from_le_bytes([fixed[16], fixed[17]]));
        let pair: Vec<u8> = (0..channels).collect();
        let (streams, coupled, mapping) = match fixed[18] {
            0 if channels <= 2 => (1, channels - 1, &pair[..]),
            0 => return Err(damaged()),
            _ => {
                let mapping = head.get(21..21 + usize::from(channels)).ok_or_else(damaged)?;
                (head[19], head[20], mapping)
            }
        };
        let decoder =
            FileDecoder::new(RATE, streams, coupled, mapping).map_err(|error| Trouble::Not(error.to_string()))?;
        Ok(Self { decoder, channels: channels.into(), skip, gain: 10_f32.powf(f32::from(gain) / (20.0 * 256.0)) })
    }
}

impl Codec for Opus {
    fn decode(&mut self, packet: &[u8], out: &mut Vec<f32>) -> Result<(), ()> {
        if packet.is_empty() {
            return Ok(());
        }
        let begin = out.len();
        if self.decoder.decode(packet, out).is_err() {
            out.truncate(begin);
            // Silence as long as it says it is.
            let frames = packet_samples(packet, RATE).unwrap_or(0);
            out.resize(begin + frames * usize::from(self.channels), 0.0);
            return Err(());
        }
        if self.gain != 1.0 {
            out[begin..].iter_mut().for_each(|sample| *sample *= self.gain);
        }
        Ok(())
    }

    fn gap(&mut self) {
        self.decoder.reset();
    }

    fn format(&self) -> Format {
        Format { rate: RATE, channels: self.channels }
    }

    fn headers(&self) -> u32 {
        2
    }

    fn skip(&self) -> u64 {
        self.skip.into()
    }
}
