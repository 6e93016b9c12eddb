//! The sound of all calls: one microphone, one loudspeaker, up to eight voices.
//!
//! ```text
//! source -> intake -> [input gain, mute, stages] -> for each call: frames -> encode -> channel -> the call's network side
//! sink   <- outlet <- [output gain, limiter] <- mix <- for each call: decode <- jitter buffer <- channel <-
//! ```
//!
//! Two threads, at real-time priority where the system allows it: one takes sound in, one gives it out. They allocate
//! nothing, lock nothing and log nothing while sound runs; what they need is made by [`AudioEngine::open_call`] and handed over by
//! channels, and goes back the same way to be dropped elsewhere. No device is open before the first call is opened, nor after
//! the last has left.
//!
//! Between the threads there is a ring for each voice of a conference, one for what is heard (the echo canceller's far end),
//! and one for the side tone. Mute comes after the stages: the echo canceller goes on learning, and what is sent is silence.
//! A voice alone that nothing makes louder passes bit by bit, in and out; all else passes a limiter.

mod block_ring;
mod call_controls;
mod call_receiver;
mod call_sender;
mod capture;
mod core;
mod devices;
mod metrics;
mod playback;
mod types;
mod worker;

use std::sync::Arc;

use crossbeam_channel::Sender;
pub use devices::Devices;
use parlo_api::{Meters, SoundFigures};
use ringbuf::HeapCons;
pub use types::{CallAudio, CallAudioFigures, CallCodec, FrameEvent, Names, Settings, StreamFormat};

use crate::{
    audio::{Absence, AudioError},
    call::CallError,
    clock::{Clock, SystemClock},
};
use core::{Core, lock};
// `parlo_dsp` itself, once it has them.
use parlo_dsp as stages;

/// The most calls at a time.
pub const MAX_CALLS: usize = 8;

/// The sound of all calls of one daemon. Shared by reference between threads.
#[derive(Debug)]
pub struct AudioEngine {
    core: Arc<Core>,
}

impl AudioEngine {
    /// An audio engine without calls: no device is open, no thread runs. What is said and heard is told to `frame_events` with
    /// `try_send`; whoever does not keep up misses some.
    /// Of a device that is not there when a call begins `absence` says what becomes.
    pub fn new(format: StreamFormat, settings: Settings, frame_events: Sender<FrameEvent>, absence: Absence) -> Self {
        Self::with_devices(format, settings, frame_events, Box::new(devices::System(absence)), Arc::new(SystemClock))
    }

    /// The same with other devices than the machine's, and another clock for play-out to go by: that of the moments in what
    /// goes to [`CallAudio::to_playback`].
    pub fn with_devices(
        format: StreamFormat,
        settings: Settings,
        frame_events: Sender<FrameEvent>,
        devices: Box<dyn Devices>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { core: Arc::new(Core::new(format, settings, frame_events, devices, clock)) }
    }

    /// Whether the devices that the settings name are there, without opening them.
    ///
    /// # Errors
    /// If one is not, as opening it would say.
    pub fn check(&self) -> Result<(), AudioError> {
        self.core.check()
    }

    /// Gives a call its place: from now on it hears and is heard. The first call opens the devices, which takes a while.
    ///
    /// # Errors
    /// If a device or file cannot be used, [`MAX_CALLS`] calls sit there ([`CallError::Full`]), or a thread has crashed and
    /// not all calls that it carried have left yet ([`CallError::Crashed`]).
    pub fn open_call(&self, voice: CallCodec) -> Result<CallAudio, CallError> {
        self.core.open_call(voice)
    }

    /// Changes the sound. Gains, switches and mute act within a block of 10 ms; other devices are opened first and then
    /// taken over, so that calls go on. While nobody sits there, other devices are looked for, not opened.
    ///
    /// # Errors
    /// If the new devices cannot be used: then everything stays as it was.
    pub fn change(&self, settings: &Settings) -> Result<(), AudioError> {
        self.core.change(settings)
    }

    /// Changes gains, switches and mute, and leaves the devices as they are. Never waits.
    pub fn adjust(&self, settings: &Settings) {
        self.core.adjust(settings);
    }

    /// As it is set.
    pub fn settings(&self) -> Settings {
        lock(&self.core.settings).clone()
    }

    /// Levels now. Never waits.
    pub fn meters(&self) -> Meters {
        self.core.common.metrics.meters()
    }

    /// Counts and fill levels. Never waits. A block counts as late if its sound was lost or missing at the device, or if it
    /// took longer than its own 10 ms to make.
    pub fn figures(&self) -> SoundFigures {
        self.core.common.metrics.figures()
    }

    /// What the devices in use are called.
    pub fn names(&self) -> Names {
        self.core.common.names().clone()
    }

    /// The ring with all that is heard, mixed, at the engine's rate, for a spectrogram; once. What finds no room there is left
    /// out. It holds a second, and goes on from one call to the next; only after a crash of the playback thread nothing comes
    /// any more.
    pub fn take_heard(&self) -> Option<HeapCons<f32>> {
        lock(&self.core.heard).take()
    }
}
