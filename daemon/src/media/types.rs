//! What goes to the audio engine and comes from it.

use std::{sync::Arc, time::Instant};

use crossbeam_channel::{Receiver, Sender};
use parlo_api::{Meters, StageSwitches};
use parlo_tokens::Slot;
use tokio::sync::Notify;

use super::{call_controls::CallControls, core::Core};
use crate::{
    audio::device::Backend,
    call::{
        CodedFrame, EncodedFrame, FrameEncoder, FrameOrigin, Player, PlayerStats, Timeline,
        channels::{ReceivedFrame, Shared},
    },
    config::{Config, Endpoint},
    report::Durations,
};

/// How sound is inside the engine: the bundle's rate, mono.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamFormat {
    /// Samples per second.
    pub sample_rate: u32,
    /// Samples of a frame.
    pub frame_samples: usize,
}

/// How sound is set.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Where speech comes from.
    pub source: Endpoint,
    /// Where it goes.
    pub sink: Endpoint,
    /// Which sound system.
    pub backend: Backend,
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
    /// How loud the own voice is heard, dB; none for not at all.
    pub side_tone_db: Option<f32>,
    /// What the microphone's sound passes. `silence` holds for files too.
    pub stages: StageSwitches,
}

impl Settings {
    /// What the configuration says.
    pub fn from_config(config: &Config) -> Self {
        let audio = &config.audio;
        Self {
            source: audio.source.clone(),
            sink: audio.sink.clone(),
            backend: audio.backend(),
            muted: false,
            push_to_talk: audio.push_to_talk,
            talking: false,
            input_gain_db: audio.input_gain_db,
            output_gain_db: audio.output_gain_db,
            side_tone_db: Some(audio.side_tone_db).filter(|&db| db > -60.0),
            stages: StageSwitches {
                high_pass: audio.high_pass,
                echo_cancellation: audio.echo_cancellation,
                noise_suppression: audio.noise_suppression,
                gain_control: audio.gain_control,
                silence: config.call.silence,
            },
        }
    }
}

impl Default for Settings {
    /// What the configuration says that nobody wrote.
    fn default() -> Self {
        Self::from_config(&Config::default())
    }
}

/// The codec of a call, made before its audio is opened.
#[derive(Debug)]
pub struct CallCodec {
    /// The call's number, for [`FrameEvent`].
    pub call: u64,
    /// From samples to frames.
    pub encoder: FrameEncoder,
    /// From frames to samples.
    pub player: Player,
    /// The codec's rate: the engine's, or Opus' own.
    pub sample_rate: u32,
    /// Samples of a frame at that rate.
    pub frame_samples: usize,
    /// How many samples later than its input the decoder renders: so much silence is coded after a source's end.
    pub delay_samples: usize,
    /// Moments of frames that there is room for; 0 notes none.
    pub timeline: usize,
    /// Notified when the capture thread has something for the network side: [`Shared::wake`].
    pub wake: Arc<Notify>,
}

/// A call's place at the audio engine. Dropping it gives the place back as [`close`](Self::close) does.
#[derive(Debug)]
pub struct CallAudio {
    /// Frames that were said. Closed once the source is at its end or failed, or [`Shared::stop_capture`] was called.
    pub captured: Receiver<EncodedFrame>,
    /// Frames that came. Full only if the audio engine hangs.
    pub to_playback: Sender<ReceivedFrame>,
    /// Sentences for the user.
    pub notices: Receiver<String>,
    /// What the audio engine and the call tell one another besides. `shared.wake` is notified when frames are there, when a notice is
    /// there, and when something has ended.
    pub shared: Arc<Shared>,
    pub(super) guard: CallAudioGuard,
}

impl CallAudio {
    /// Holds the call, or takes it up again: nothing is said (`captured` brings nothing), nothing is heard, frame numbers go on.
    pub fn hold(&self, held: bool) {
        self.guard.flags.hold(held);
    }

    /// Takes the call into the conference, or out: those in it hear one another.
    pub fn confer(&self, conference: bool) {
        self.guard.flags.confer(conference);
    }

    /// How loud it is heard, dB, -60 to 12.
    pub fn set_volume(&self, db: f32) {
        self.guard.flags.volume_db.set(if db.is_nan() { 0.0 } else { db.clamp(-60.0, 12.0) });
    }

    /// How loud the peer's voice is heard, volume counted: RMS over 300 ms, dBFS, -120 at least.
    pub fn level_dbfs(&self) -> f32 {
        self.guard.flags.level_dbfs.get()
    }

    /// Whether everything that came has been played, after [`Shared::drain`]; or playing has failed.
    pub fn playback_finished(&self) -> bool {
        self.guard.flags.finished()
    }

    /// Ends the call's audio. The last one closes the devices (a sound file is written to its end). Waits for the threads, up to some
    /// tenths of a second: not to be called where that matters.
    pub fn close(self) -> CallAudioFigures {
        let mut audio = self;
        audio.guard.close()
    }
}

/// A call's key in the core.
pub(super) struct CallAudioGuard {
    core: Arc<Core>,
    key: u64,
    pub(super) flags: Arc<CallControls>,
    left: bool,
}

impl CallAudioGuard {
    pub(super) fn new(core: Arc<Core>, key: u64, flags: Arc<CallControls>) -> Self {
        Self { core, key, flags, left: false }
    }

    fn close(&mut self) -> CallAudioFigures {
        if std::mem::replace(&mut self.left, true) {
            CallAudioFigures::default()
        } else {
            self.core.close_call(self.key)
        }
    }
}

impl Drop for CallAudioGuard {
    fn drop(&mut self) {
        drop(self.close());
    }
}

impl std::fmt::Debug for CallAudioGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallAudioGuard").field("key", &self.key).field("flags", &self.flags).finish_non_exhaustive()
    }
}

/// What a call's sound was like.
#[derive(Debug, Default)]
pub struct CallAudioFigures {
    /// Time to encode each frame.
    pub encode: Durations,
    /// Time to decode each frame.
    pub decode: Durations,
    /// The jitter buffer's and the player's counts.
    pub player: PlayerStats,
    /// Frames captured that the network side did not take.
    pub overrun: u64,
    /// Times that the sink ran dry.
    pub underruns: u64,
    /// When the first frame was coded.
    pub first_frame: Option<Instant>,
    /// Whether both threads had real-time priority.
    pub realtime: bool,
    /// When frames were captured.
    pub captured: Timeline,
    /// When they were heard.
    pub played: Timeline,
    /// Why sound failed, if it did.
    pub failure: Option<crate::call::CallError>,
}

/// What the devices in use are called; none if none is open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// The microphone.
    pub source: Option<String>,
    /// The loudspeaker.
    pub sink: Option<String>,
}

/// A frame that passed the audio engine.
#[derive(Debug, Clone, Copy)]
pub enum FrameEvent {
    /// It was encoded, and is on its way to the peer.
    Sent {
        /// In which call.
        call: u64,
        /// The frame.
        frame: EncodedFrame,
        /// When its last sample was captured.
        at: Instant,
    },
    /// It was played. Not told while nothing has come yet ([`FrameOrigin::Waiting`]), nor while the call is held.
    Played {
        /// In which call.
        call: u64,
        /// Its number; none if play-out held.
        number: Option<u64>,
        /// What it was made of.
        origin: FrameOrigin,
        /// What was there of it.
        slot: Slot<CodedFrame>,
        /// When its first sample is heard; about now, if there is no device.
        at: Instant,
        /// Its root mean square, full scale being 1.
        level: f32,
    },
}

/// Meters while there is no call.
pub(super) const SILENT: Meters = Meters {
    input_peak_dbfs: -120.0,
    input_rms_dbfs: -120.0,
    sent_rms_dbfs: -120.0,
    output_peak_dbfs: -120.0,
    output_rms_dbfs: -120.0,
    echo_return_loss_enhancement_db: None,
    noise_reduction_db: None,
    gain_db: None,
    speech: false,
};
