use crate::{
    error::OpusError,
    native::{MultiDecoder, MultiEncoder},
};

/// Rates that Opus takes and gives, Hz.
pub const FILE_RATES: [u32; 5] = [8_000, 12_000, 16_000, 24_000, 48_000];

/// The longest packet: 120 ms (RFC 6716 section 3.2.5), in parts of a second.
const LONGEST: u32 = 120;

/// Decodes Opus packets of a file: several streams of one or two channels each, as Ogg maps them (RFC 7845 section 5.1.1).
pub struct FileDecoder {
    native: MultiDecoder,
    rate: u32,
    channels: usize,
    samples: Vec<f32>,
}

impl FileDecoder {
    /// A decoder whose samples come at `rate` Hz, one of [`FILE_RATES`], `mapping.len()` channels interleaved. Of its `streams`, the
    /// first `coupled` have two channels; `mapping` says which of them each channel is, 255 being silence.
    ///
    /// # Errors
    /// If there are no such streams, or memory runs out.
    pub fn new(rate: u32, streams: u8, coupled: u8, mapping: &[u8]) -> Result<Self, OpusError> {
        let native = MultiDecoder::new(rate, streams, coupled, mapping)?;
        Ok(Self { native, rate, channels: mapping.len(), samples: Vec::new() })
    }

    /// Decodes a packet; appends its samples, interleaved, to `out`.
    ///
    /// # Errors
    /// If the packet is damaged. `out` is then as before.
    pub fn decode(&mut self, packet: &[u8], out: &mut Vec<f32>) -> Result<(), OpusError> {
        self.samples.resize((self.rate * LONGEST / 1000) as usize * self.channels, 0.0);
        let frames = self.native.decode(packet, &mut self.samples)?;
        out.extend_from_slice(&self.samples[..frames * self.channels]);
        Ok(())
    }

    /// As at the start of a stream.
    pub fn reset(&mut self) {
        // Nothing of it can fail: the decoder was made for these.
        let _ = self.native.reset();
    }
}

/// Encodes mono for a file: 20 ms a packet, variable bitrate, tuned for what is not only speech.
pub struct FileEncoder {
    native: MultiEncoder,
    rate: u32,
    packet: Vec<u8>,
}

impl FileEncoder {
    /// An encoder of `rate` Hz, one of [`FILE_RATES`], for so many bits a second.
    ///
    /// # Errors
    /// If the rate is none of them, or memory runs out.
    pub fn new(rate: u32, bitrate: u32) -> Result<Self, OpusError> {
        let native = MultiEncoder::new(rate, bitrate)?;
        Ok(Self { native, rate, packet: vec![0; 4_000] })
    }

    /// Samples of a packet: 20 ms.
    pub fn frame_samples(&self) -> usize {
        self.rate as usize / 50
    }

    /// Samples, at its rate, that the decoder's sound is later than what went in.
    ///
    /// # Errors
    /// If libopus does not tell.
    pub fn delay_samples(&mut self) -> Result<usize, OpusError> {
        self.native.look_ahead()
    }

    /// Encodes the next [`frame_samples`](Self::frame_samples) samples, nominally -1 to 1.
    ///
    /// # Errors
    /// If there are more or fewer, or one is not finite.
    pub fn encode(&mut self, frame: &[f32]) -> Result<&[u8], OpusError> {
        if frame.len() != self.frame_samples() {
            return Err(OpusError::FrameLength { expected: self.frame_samples(), found: frame.len() });
        }
        if !frame.iter().all(|sample| sample.is_finite()) {
            return Err(OpusError::NotFinite("the audio to be encoded"));
        }
        let bytes = self.native.encode(frame, &mut self.packet)?;
        Ok(&self.packet[..bytes])
    }
}

/// Samples at `rate` Hz that a packet lasts by its own header (RFC 6716 section 3.1); none if that is not possible.
pub fn packet_samples(packet: &[u8], rate: u32) -> Option<usize> {
    let &first = packet.first()?;
    let kind = first >> 3;
    // In 48ths of a millisecond.
    let frame = match kind {
        0..12 => [480, 960, 1920, 2880][usize::from(kind & 3)],
        12..16 => [480, 960][usize::from(kind & 1)],
        _ => [120, 240, 480, 960][usize::from(kind & 3)],
    };
    let count = match first & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => usize::from(packet.get(1)? & 63),
    };
    let all = frame * count;
    (1..=5760).contains(&all).then_some(all * rate as usize / 48_000)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_comes_out_as_long_and_as_loud() {
        for rate in FILE_RATES {
            let mut encoder = FileEncoder::new(rate, 48_000).unwrap();
            let mut decoder = FileDecoder::new(rate, 1, 0, &[0]).unwrap();
            let (size, mut out) = (encoder.frame_samples(), Vec::new());
            let wave: Vec<f32> =
                (0..size * 25).map(|n| (n as f32 * 440.0 * std::f32::consts::TAU / rate as f32).sin() * 0.5).collect();
            for frame in wave.chunks(size) {
                let packet = encoder.encode(frame).unwrap();
                assert_eq!(packet_samples(packet, rate), Some(size));
                decoder.decode(packet, &mut out).unwrap();
            }
            assert_eq!(out.len(), wave.len());
            let power = out[size * 5..].iter().map(|s| s * s).sum::<f32>() / (size * 20) as f32;
            assert!((0.09..0.16).contains(&power), "{rate}: {power}");
        }
        assert!(FileEncoder::new(44_100, 48_000).is_err());
        assert!(FileDecoder::new(48_000, 0, 0, &[0]).is_err());
        assert!(FileDecoder::new(48_000, 1, 0, &[0]).unwrap().decode(&[0xFF; 3], &mut Vec::new()).is_err());
    }

    #[test]
    fn channels_are_those_that_the_mapping_says() {
        let mut encoder = FileEncoder::new(48_000, 48_000).unwrap();
        let wave: Vec<f32> = (0..960).map(|n| (n as f32 * 0.05).sin() * 0.5).collect();
        // Twice the same mono stream, of which one goes to the third channel; the others are silent.
        let mut decoder = FileDecoder::new(48_000, 1, 0, &[255, 255, 0]).unwrap();
        let mut out = Vec::new();
        for _ in 0..5 {
            decoder.decode(encoder.encode(&wave).unwrap(), &mut out).unwrap();
        }
        assert_eq!(out.len(), 5 * 960 * 3);
        assert!(out.chunks(3).all(|frame| frame[0] == 0.0 && frame[1] == 0.0));
        assert!(out.chunks(3).skip(960).any(|frame| frame[2].abs() > 0.3));
    }
}
