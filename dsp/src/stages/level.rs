//! Speech of one loudness, whoever speaks and however far from the microphone.

use sonora_agc2::{
    adaptive_digital_gain_controller::{AdaptiveDigitalGainController, FrameInfo},
    common::{
        ADJACENT_SPEECH_FRAMES_THRESHOLD, SATURATION_PROTECTOR_INITIAL_HEADROOM_DB, VAD_RESET_PERIOD_MS,
        float_s16_to_dbfs,
    },
    fixed_digital_level_estimator::FixedDigitalLevelEstimator,
    noise_level_estimator::NoiseLevelEstimator,
    saturation_protector::SaturationProtector,
    speech_level_estimator::{AdaptiveDigitalConfig, SpeechLevelEstimator},
    vad_wrapper::VoiceActivityDetectorWrapper,
};

use super::slot::Stage;
use crate::limiter::Limiter;

/// The library's scale: 16-bit samples as floats.
const SCALE: f32 = 32_768.0;
/// The library's controller can only amplify. WebRTC turns the microphone's own volume down for loud speech; this stage does not
/// touch the device, and weakens everything by so much first: a quarter, -12 dB.
const BEFORE: f32 = 0.25;

/// WebRTC's gain controller 2, put together from its parts, as its own frame allocates a dozen times each block; a recurrent network tells
/// speech from all else. Its limiter is left out for the one of this crate.
#[derive(Debug)]
pub(super) struct GainControl {
    voice: VoiceActivityDetectorWrapper,
    noise: NoiseLevelEstimator,
    speech: SpeechLevelEstimator,
    headroom: SaturationProtector,
    controller: AdaptiveDigitalGainController,
    envelope: FixedDigitalLevelEstimator,
    limiter: Limiter,
    scaled: Vec<f32>,
}

impl GainControl {
    pub(super) fn new(rate: u32, block: usize) -> Self {
        // WebRTC's defaults: up to 50 dB, 15 at first, 6 dB a second, noise not above -50 dBFS, 5 dB of room above the peaks.
        let config = AdaptiveDigitalConfig {
            headroom_db: 5.0,
            max_gain_db: 50.0,
            initial_gain_db: 15.0,
            max_gain_change_db_per_second: 6.0,
            max_output_noise_level_dbfs: -50.0,
        };
        Self {
            voice: VoiceActivityDetectorWrapper::with_reset_period(
                VAD_RESET_PERIOD_MS,
                sonora_simd::detect_backend(),
                rate as i32,
            ),
            noise: NoiseLevelEstimator::default(),
            speech: SpeechLevelEstimator::new(&config, ADJACENT_SPEECH_FRAMES_THRESHOLD),
            headroom: SaturationProtector::new(
                SATURATION_PROTECTOR_INITIAL_HEADROOM_DB,
                ADJACENT_SPEECH_FRAMES_THRESHOLD,
            ),
            controller: AdaptiveDigitalGainController::new(config, ADJACENT_SPEECH_FRAMES_THRESHOLD),
            envelope: FixedDigitalLevelEstimator::new(block),
            limiter: Limiter::new(rate),
            scaled: vec![0.0; block],
        }
    }
}

impl Stage for GainControl {
    fn process(&mut self, block: &mut [f32]) {
        let scaled = &mut self.scaled;
        for (to, from) in scaled.iter_mut().zip(&*block) {
            *to = SCALE * from.clamp(-1.0, 1.0);
        }
        let speech_probability = self.voice.analyze(scaled);
        let (mut peak, mut power) = (0.0_f32, 0.0_f32);
        for sample in scaled.iter_mut() {
            *sample *= BEFORE;
            peak = peak.max(sample.abs());
            power += *sample * *sample;
        }
        let rms_dbfs = float_s16_to_dbfs((power / scaled.len().max(1) as f32).sqrt());
        let noise_rms_dbfs = self.noise.analyze(&[scaled]);
        self.speech.update(rms_dbfs, speech_probability);
        let speech_level_dbfs = self.speech.level_dbfs();
        self.headroom.analyze(speech_probability, float_s16_to_dbfs(peak), speech_level_dbfs);
        let frame = FrameInfo {
            speech_probability,
            speech_level_dbfs,
            speech_level_reliable: self.speech.is_confident(),
            noise_rms_dbfs,
            headroom_db: self.headroom.headroom_db(),
            limiter_envelope_dbfs: float_s16_to_dbfs(self.envelope.last_audio_level()),
        };
        self.controller.process(&frame, &mut [scaled.as_mut_slice()]);
        self.envelope.compute_level(&[scaled]);
        for (to, from) in block.iter_mut().zip(&*scaled) {
            *to = from / SCALE;
        }
        self.limiter.process(block);
    }
}
