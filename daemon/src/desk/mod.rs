//! The sound of all calls: one microphone, one loudspeaker, up to eight voices.
//!
//! ```text
//! source -> intake -> [input gain, mute, stages] -> for each call: frames -> encode -> channel -> the call's network side
//! sink   <- outlet <- [output gain, limiter] <- mix <- for each call: decode <- jitter buffer <- channel <-
//! ```
//!
//! Two threads, at real-time priority where the system allows it: one takes sound in, one gives it out. They allocate
//! nothing, lock nothing and log nothing while sound runs; what they need is made by [`Desk::seat`] and handed over by
//! channels, and goes back the same way to be dropped elsewhere. No device is open before the first call is seated, nor after
//! the last has left.

mod types;

pub use types::{House, Names, Seat, SeatFigures, Settings, Tell, Voice};

use crossbeam_channel::Sender;
use parlo_control::{Meters, SoundFigures};
use ringbuf::HeapCons;

use crate::{audio::AudioError, call::CallError};

/// The most calls at a time.
pub const MAX_SEATS: usize = 8;

/// The sound of all calls of one daemon. Shared by reference between threads.
#[derive(Debug)]
pub struct Desk {}

impl Desk {
    /// A desk where nobody sits: no device is open, no thread runs. What is said and heard is told to `tells` with
    /// `try_send`; whoever does not keep up misses some.
    pub fn new(house: House, settings: Settings, tells: Sender<Tell>) -> Self {
        let _ = (house, settings, tells);
        Self {}
    }

    /// Whether the devices that the settings name are there, without opening them.
    ///
    /// # Errors
    /// If one is not, as opening it would say.
    pub fn check(&self) -> Result<(), AudioError> {
        Ok(())
    }

    /// Gives a call its place: from now on it hears and is heard. The first call opens the devices, which takes a while.
    ///
    /// # Errors
    /// If a device or file cannot be used, or [`MAX_SEATS`] calls sit there.
    pub fn seat(&self, voice: Voice) -> Result<Seat, CallError> {
        drop(voice);
        Err(CallError::Crashed("desk"))
    }

    /// Changes the sound. Gains, switches and mute act within a block of 10 ms; other devices are opened first and then
    /// taken over, so that calls go on.
    ///
    /// # Errors
    /// If the new devices cannot be used: then those before stay.
    pub fn change(&self, settings: &Settings) -> Result<(), AudioError> {
        let _ = settings;
        Ok(())
    }

    /// As it is set.
    pub fn settings(&self) -> Settings {
        Settings::default()
    }

    /// Levels now.
    pub fn meters(&self) -> Meters {
        types::SILENT
    }

    /// Counts and fill levels.
    pub fn figures(&self) -> SoundFigures {
        SoundFigures::default()
    }

    /// What the devices in use are called.
    pub fn names(&self) -> Names {
        Names::default()
    }

    /// The ring with all that is heard, mixed, at the house's rate, for a spectrogram; once. What finds no room there is left
    /// out.
    pub fn take_heard(&self) -> Option<HeapCons<f32>> {
        None
    }
}
