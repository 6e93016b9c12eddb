//! Sound.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where speech comes from and goes: `default`, `device:NAME`, `file:PATH` or `none`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Endpoints {
    /// Where from, as configured.
    pub source: String,
    /// Where to, as configured.
    pub sink: String,
    /// The microphone in use; none while no call stands.
    pub source_name: Option<String>,
    /// The loudspeaker in use; none while no call stands.
    pub sink_name: Option<String>,
}

/// Which stages the microphone's sound passes. Files pass none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StageSwitches {
    /// Takes out rumble below 80 Hz.
    pub high_pass: bool,
    /// Takes out what the microphone hears of the loudspeaker.
    pub echo_cancellation: bool,
    /// Takes out steady noise.
    pub noise_suppression: bool,
    /// Brings speech to one level.
    pub gain_control: bool,
    /// Tells silence instead of sending it.
    pub silence: bool,
}

/// Levels and what the stages do, now.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Meters {
    /// Microphone after the input gain, peak, dBFS, -120 at least.
    pub input_peak_dbfs: f32,
    /// Its RMS over 300 ms.
    pub input_rms_dbfs: f32,
    /// What is sent, after all stages: RMS.
    pub sent_rms_dbfs: f32,
    /// What is heard, all calls mixed: peak.
    pub output_peak_dbfs: f32,
    /// Its RMS over 300 ms.
    pub output_rms_dbfs: f32,
    /// By how much the echo is weakened, dB; none while there is none, or the stage is off.
    pub echo_return_loss_enhancement_db: Option<f32>,
    /// By how much noise suppression weakens, dB; none if it is off.
    pub noise_reduction_db: Option<f32>,
    /// What gain control adds, dB; none if it is off.
    pub gain_db: Option<f32>,
    /// Whether somebody speaks into the microphone.
    pub speech: bool,
}

/// How well the sound's threads keep up. Counts are since the daemon began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SoundFigures {
    /// Whether both codec threads have real-time priority; none while no call stands.
    pub realtime: Option<bool>,
    /// Times that captured sound was lost because nobody took it.
    pub capture_overruns: u64,
    /// Times that the loudspeaker ran dry.
    pub playback_underruns: u64,
    /// Blocks of 10 ms that one of the two real-time threads was too late with: it took longer than 10 ms for one, let captured sound
    /// wait for longer than that, or had not given a block that was due when the loudspeaker ran dry.
    pub deadline_misses: u64,
    /// Times that the sound server (or driver) was too late: it brought nothing for 10 ms longer than what it had brought lasted, or
    /// the loudspeaker ran dry although all that was due had been given.
    #[serde(default)]
    pub server_late: u64,
    /// Blocks that were coded.
    pub blocks: u64,
    /// Sound in the ring behind the microphone, ms.
    pub capture_ring_ms: f64,
    /// Sound in the ring before the loudspeaker, ms.
    pub playback_ring_ms: f64,
    /// How much faster the microphone's clock runs than the machine's, parts per million.
    pub capture_drift_ppm: f64,
    /// How much faster the loudspeaker's clock runs than the machine's, parts per million.
    pub playback_drift_ppm: f64,
    /// From the microphone to the encoder, resampling counted, ms.
    pub capture_latency_ms: f64,
    /// From the decoder to the loudspeaker, resampling counted, ms.
    pub playback_latency_ms: f64,
}

/// Sound, as it is set and as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Audio {
    /// Where from, where to.
    pub endpoints: Endpoints,
    /// The microphone is off.
    pub muted: bool,
    /// The microphone is on only while talk is pressed.
    pub push_to_talk: bool,
    /// Talk is pressed.
    pub talking: bool,
    /// Gain of the microphone, dB, -60 to 40.
    pub input_gain_db: f32,
    /// Gain of the loudspeaker, dB, -60 to 12.
    pub output_gain_db: f32,
    /// How loud the own voice is heard, dB, -60 to 0; none for not at all.
    pub side_tone_db: Option<f32>,
    /// Which stages are on.
    pub stages: StageSwitches,
    /// Levels.
    pub meters: Meters,
    /// Counts and fill levels.
    pub figures: SoundFigures,
    /// What is wrong with the microphone or the loudspeaker that is set, in a sentence; none if nothing is known to be. Calls are silent
    /// in that direction until it is mended, which is noticed by itself.
    #[serde(default)]
    pub trouble: Option<String>,
}

/// Changes sound. What is left out stays.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AudioChange {
    /// `default`, `device:NAME`, `device:#NUMBER` or `none`. In a call, the device is changed under it.
    pub source: Option<String>,
    /// As `source`.
    pub sink: Option<String>,
    /// See [`Audio::muted`].
    pub muted: Option<bool>,
    /// See [`Audio::push_to_talk`].
    pub push_to_talk: Option<bool>,
    /// Presses talk, or lets it go.
    pub talking: Option<bool>,
    /// With `talking`: lets it go by itself after so long, 100 to 60000 ms, unless it is pressed again. For who may be gone before it
    /// lets go.
    pub talking_for_ms: Option<u32>,
    /// See [`Audio::input_gain_db`].
    pub input_gain_db: Option<f32>,
    /// See [`Audio::output_gain_db`].
    pub output_gain_db: Option<f32>,
    /// See [`Audio::side_tone_db`]; -60 and less is none.
    pub side_tone_db: Option<f32>,
    /// See [`StageSwitches`].
    pub high_pass: Option<bool>,
    /// See [`StageSwitches`].
    pub echo_cancellation: Option<bool>,
    /// See [`StageSwitches`].
    pub noise_suppression: Option<bool>,
    /// See [`StageSwitches`].
    pub gain_control: Option<bool>,
    /// See [`StageSwitches`].
    pub silence: Option<bool>,
}

/// A microphone or loudspeaker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Device {
    /// Its number, for `device:#NUMBER`.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// Its name within the sound system.
    pub id: String,
    /// "input" or "output".
    pub direction: String,
    /// Whether it is the default.
    pub is_default: bool,
    /// Whether it is no microphone but what a loudspeaker of this machine plays. Such a one is used only where it is named.
    #[serde(default)]
    pub is_monitor: bool,
    /// Sample rate, Hz.
    pub rate: u32,
    /// Channels.
    pub channels: u16,
}
