//! The steady noise of a room or a fan, made fainter.

use sonora::{
    AudioProcessing, Config, StreamConfig,
    config::{NoiseSuppression, NoiseSuppressionLevel},
};
use sonora_ns::{
    config::{NS_FRAME_SIZE, NsConfig, SuppressionLevel},
    noise_suppressor::NoiseSuppressor,
};

use super::{echo::pipeline, slot::Stage};

/// The library's scale: 16-bit samples as floats.
const SCALE: f32 = 32_768.0;

/// WebRTC's noise suppressor: a Wiener filter on 16 ms of sound at a time, steered by how likely it is that somebody speaks.
#[derive(Debug)]
pub(super) enum Noise {
    /// 16 kHz, which is one band of the suppressor.
    One { suppressor: Box<NoiseSuppressor>, frame: Box<[f32; NS_FRAME_SIZE]> },
    /// More bands, which the library splits and joins; it puts a high-pass before, whether that is wanted or not.
    Several { processing: Box<AudioProcessing>, out: Vec<f32> },
}

impl Noise {
    pub(super) fn new(rate: u32, block: usize) -> Self {
        if block == NS_FRAME_SIZE {
            let suppressor = NoiseSuppressor::new(NsConfig { target_level: SuppressionLevel::K12dB });
            return Self::One { suppressor: Box::new(suppressor), frame: Box::new([0.0; NS_FRAME_SIZE]) };
        }
        let suppression = NoiseSuppression { level: NoiseSuppressionLevel::Moderate, ..NoiseSuppression::default() };
        let processing = AudioProcessing::builder()
            .config(Config { noise_suppression: Some(suppression), pipeline: pipeline(), ..Config::default() })
            .capture_config(StreamConfig::new(rate, 1))
            .render_config(StreamConfig::new(rate, 1))
            .build();
        let mut noise = Self::Several { processing: Box::new(processing), out: vec![0.0; block] };
        // The library finishes its set-up at its first block.
        noise.process(&mut vec![0.0; block]);
        noise
    }
}

impl Stage for Noise {
    fn process(&mut self, block: &mut [f32]) {
        match self {
            Self::One { suppressor, frame } => {
                for (to, from) in frame.iter_mut().zip(&*block) {
                    *to = SCALE * from.clamp(-1.0, 1.0);
                }
                suppressor.analyze(frame);
                suppressor.process(frame);
                for (to, from) in block.iter_mut().zip(frame.iter()) {
                    *to = from / SCALE;
                }
            }
            Self::Several { processing, out } => {
                if processing.process_capture_f32(&[block], &mut [out.as_mut_slice()]).is_ok() {
                    block.copy_from_slice(out);
                }
            }
        }
    }
}
